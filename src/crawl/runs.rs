//! How far back a run history must be read.

use std::collections::HashSet;
use std::sync::Arc;

use serde_json::Value;

use super::base::KnownRuns;
use crate::client::identifier;
use crate::client::operation::GET_PROJECT_RUNS;
use crate::schema::timestamp;

/// How much later than a run before it a run may have started while the order still counts as newest first:
/// runs are ordered by when they were triggered, and wait for a kernel before they start.
const SLACK_MICROS: i64 = 6 * 3_600_000_000;

/// What was seen of a project's run history, page by page.
#[derive(Debug)]
pub(super) struct History {
    known: Option<Arc<KnownRuns>>,
    earliest: i64,
    newest_first: bool,
    reached: bool,
    seen_open: HashSet<String>,
    latest_api_run: Option<i64>,
}

impl History {
    pub fn new(known: Option<Arc<KnownRuns>>) -> Self {
        Self {
            known,
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
        let Some(known) = &self.known else { return };
        let id = GET_PROJECT_RUNS.listing.as_ref().and_then(|listing| identifier(listing, item));
        let Some(run_id) = id else { return };
        if let Some(start) = start {
            self.newest_first &= start <= self.earliest.saturating_add(SLACK_MICROS);
            self.earliest = self.earliest.min(start);
        }
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
        let pages = self.known.as_ref().map_or(0, |known| known.runs.div_ceil(page.max(1)));
        self.reached && self.newest_first && self.unseen_open().len() as u64 <= pages.max(1)
    }

    /// Runs that had not ended when they were last read and were not on the pages read now.
    pub fn unseen_open(&self) -> Vec<String> {
        let open = self.known.iter().flat_map(|known| &known.open);
        open.filter(|id| !self.seen_open.contains(*id)).cloned().collect()
    }
}
