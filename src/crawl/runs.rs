//! Depth to which a run history must be read.

use std::collections::HashSet;
use std::sync::Arc;

use serde_json::Value;

use super::base::KnownRuns;
use crate::client::identifier;
use crate::client::operation::GET_PROJECT_RUNS;
use crate::schema::timestamp;

/// Time by which a run may have started later than one before it while the order still counts as newest first: runs are
/// ordered by when they were triggered, and wait for a kernel before they start.
const SLACK_MICROS: i64 = 6 * 3_600_000_000;

/// Number of known runs to read again where a history is continued: a run that was deleted meanwhile must not hide
/// another.
const OVERLAP: u64 = 16;
/// Stamp of a history that was read from its newest run to somewhere, before its number of runs.
const READ_AS_FAR_AS: &str = "read as far as ";

/// Stamp of a history of which the `runs` newest are known without a gap.
pub(super) fn part_stamp(runs: u64) -> String {
    format!("{READ_AS_FAR_AS}{runs}")
}

/// Number of the newest runs of a history that are known, if it wasn't read to its end.
pub(super) fn part_of(stamp: &str) -> Option<u64> {
    stamp.strip_prefix(READ_AS_FAR_AS)?.parse().ok()
}

/// A project's run history as far as it was read, page by page.
#[derive(Debug)]
pub(super) struct History {
    known: Option<Arc<KnownRuns>>,
    /// The newest runs that are known, of a history that wasn't read to its end: it is continued behind them.
    part: Option<u64>,
    skipped: bool,
    earliest: i64,
    newest_first: bool,
    reached: bool,
    seen_open: HashSet<String>,
    latest_api_run: Option<i64>,
}

impl History {
    /// A history of which these runs are known; all of them, or the newest `part` of them.
    pub fn new(known: Option<Arc<KnownRuns>>, part: Option<u64>) -> Self {
        Self {
            known,
            part,
            skipped: false,
            earliest: i64::MAX,
            newest_first: true,
            reached: false,
            seen_open: HashSet::new(),
            latest_api_run: None,
        }
    }

    /// Takes note of a run.
    pub fn see(&mut self, item: &str) {
        let run: Value = serde_json::from_str(item).unwrap_or_default();
        let start = timestamp(&run["startTime"]);
        if run["runTrigger"] == "API" {
            self.latest_api_run = self.latest_api_run.max(start);
        }
        if let Some(start) = start {
            self.newest_first &= start <= self.earliest.saturating_add(SLACK_MICROS);
            self.earliest = self.earliest.min(start);
        }
        let Some(known) = &self.known else { return };
        let id = GET_PROJECT_RUNS.listing.as_ref().and_then(|listing| identifier(listing, item));
        let Some(run_id) = id else { return };
        self.reached |= known.is_landmark(&run_id);
        if known.open.contains(&run_id) {
            self.seen_open.insert(run_id);
        }
    }

    /// Start of the latest API run on the pages read, or known before.
    pub fn latest_api_run(&self) -> Option<i64> {
        self.latest_api_run.max(self.known.as_ref().and_then(|known| known.latest_api_run))
    }

    /// Whether what is older need not be paged for: it is known already, but for runs that had not ended, and
    /// asking for these one by one is cheaper than reading on. A server whose order isn't newest first is read
    /// to the end.
    pub fn is_enough(&self, page: u64) -> bool {
        if self.part.is_some() || self.skipped {
            return false;
        }
        let pages = self.known.as_ref().map_or(0, |known| known.runs.div_ceil(page.max(1)));
        self.reached && self.newest_first && self.unseen_open().len() as u64 <= pages.max(1)
    }

    /// Where to go on once what is known is reached, if a crawl before ended in the middle of the history: given once,
    /// if that is behind `offset`. New runs have moved the others back, so it is never too far.
    pub fn skip_known(&mut self, offset: u64) -> Option<u64> {
        if !(self.reached && self.newest_first) {
            return None;
        }
        let to = self.part.take_if(|part| part.saturating_sub(OVERLAP) > offset)?.saturating_sub(OVERLAP);
        self.skipped = true;
        Some(to)
    }

    /// Whether runs that are known were skipped: the pages don't name every run then.
    pub fn has_skipped(&self) -> bool {
        self.skipped
    }

    /// The stamp of the history if it ends before `offset`: everything newer is known.
    pub fn stamp_at(&self, offset: u64) -> Option<String> {
        (self.newest_first && offset > 0).then(|| part_stamp(offset))
    }

    /// Runs that had not ended when they were last read and were not on the pages read now.
    pub fn unseen_open(&self) -> Vec<String> {
        let open = self.known.iter().flat_map(|known| &known.open);
        open.filter(|id| !self.seen_open.contains(*id)).cloned().collect()
    }
}
