//! Which journal a crawl continues, and which ones it leaves alone.
//!
//! A journal is open until its snapshot is committed. An export continues an open journal only if it has the same
//! identity (server, workspace, acting user) and the same intent (tables, reuse): anything else would mix
//! what two users may see, or throw one crawl's answers away for another's.

use std::path::PathBuf;
use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};

use super::{Error, Options, Reuse, Unfinished};
use crate::client::users::ActingAs;
use crate::crawl::Progress;
use crate::journal::{self, CrawlHeader, Journal};
use crate::snapshot::{Lake, SnapshotId};

/// Time that an open journal of another identity or intent is kept.
const KEPT: TimeDelta = TimeDelta::days(7);

/// Who crawls what: what a journal must agree with to be continued.
#[derive(Debug, Clone)]
pub struct Crawler {
    /// Base URL of the API.
    pub base_url: String,
    /// Organisation, if it is known.
    pub workspace: Option<String>,
    /// User that the token acts as.
    pub acting_as: ActingAs,
    /// Names of the tables.
    pub tables: Vec<String>,
    /// Whether everything is read again.
    pub full: bool,
    /// The fixed time of its answers, if they have one.
    pub fixed_time: Option<DateTime<Utc>>,
}

impl Crawler {
    /// Whose export this is, by the options and by what the API says of the token.
    pub fn new(options: &Options, workspace: Option<String>, acting_as: ActingAs) -> Self {
        Self {
            base_url: options.base_url.clone(),
            workspace,
            acting_as,
            tables: options.tables.iter().map(|t| t.name.to_owned()).collect(),
            full: options.reuse == Reuse::Nothing,
            fixed_time: options.fixed_time,
        }
    }

    /// Reason that this crawl can't continue a journal; `None` if it can.
    fn differs(&self, header: &CrawlHeader) -> Option<String> {
        if header.base_url != self.base_url {
            return Some(format!("of {}", header.base_url));
        }
        if header.format < journal::FORMAT {
            return Some("of an earlier version of hexport".into());
        }
        if header.workspace != self.workspace {
            let name = |org: &Option<String>| org.clone().unwrap_or_else(|| "an unknown workspace".into());
            return Some(format!("of {}", name(&header.workspace)));
        }
        if header.acting_as != self.acting_as {
            return Some(format!("by {}", header.acting_as));
        }
        if header.tables != self.tables {
            return Some("of other tables".into());
        }
        if header.fixed_time != self.fixed_time {
            return Some(match header.fixed_time {
                Some(at) => format!("at the fixed time {}", when(at)),
                None => "without a fixed time".into(),
            });
        }
        (header.full != self.full).then(|| match header.full {
            true => "with --full".into(),
            false => "without --full".into(),
        })
    }
}

/// An open journal that another crawl left.
struct Open {
    path: PathBuf,
    header: CrawlHeader,
    answers: usize,
}

/// The journal of the crawl that continues, or of a new one, and how many answers it has.
///
/// # Errors
/// [`Error::Journal`], [`Error::Snapshot`]. A journal that can't be read is left alone and named.
pub fn open_journal(
    lake: &Lake,
    options: &Options,
    crawler: &Crawler,
    progress: &dyn Progress,
) -> Result<(Arc<Journal>, usize), Error> {
    let mut mine = None;
    for open in unfinished(lake, progress)? {
        match crawler.differs(&open.header) {
            None => mine = Some(open),
            Some(how) => set_aside(&open, &how, progress)?,
        }
    }
    match (mine, options.unfinished) {
        (Some(open), Unfinished::Discard) => remove(&open.path)?,
        (Some(open), Unfinished::Resume) => {
            let journal = Journal::open(&open.path)?;
            let (begun, answers) = (when(journal.header().snapshot_at), journal.len());
            progress.note(&format!("resuming the crawl begun at {begun}, with {answers} responses"));
            report_damage(&journal, progress);
            return Ok((Arc::new(journal), answers));
        }
        (None, _) => {}
    }
    begin(lake, options, crawler).map(|journal| (Arc::new(journal), 0))
}

/// Tells a person what of a journal can't be read.
pub fn report_damage(journal: &Journal, progress: &dyn Progress) {
    let bytes: u64 = journal.damage().iter().map(|damage| damage.bytes).sum();
    if bytes > 0 {
        progress.note(&format!(
            "{} is damaged: {bytes} bytes in {} places can't be read, and the responses there are lost",
            journal.path().display(),
            journal.damage().len(),
        ));
    }
}

/// Journals whose snapshot is not committed, the oldest first.
fn unfinished(lake: &Lake, progress: &dyn Progress) -> Result<Vec<Open>, Error> {
    let committed = lake.snapshots()?;
    let latest = lake.latest()?.map(|manifest| manifest.snapshot_at);
    let mut found = Vec::new();
    for (id, path) in lake.journals()? {
        if committed.contains(&id) {
            continue;
        }
        let journal = match Journal::open_read(&path) {
            Ok(journal) => journal,
            Err(error) => {
                progress.note(&format!("left alone: {error}"));
                continue;
            }
        };
        let header = journal.header().clone();
        // Journals of the first format don't say that they are committed. One older than the newest snapshot was,
        // and its snapshot was pruned: crawls of that version went on with the last journal alone.
        let was_committed = journal.committed().is_some()
            || (header.format < journal::FORMAT && latest.is_some_and(|latest| header.snapshot_at <= latest));
        if !was_committed {
            found.push(Open { path, header, answers: journal.len() });
        }
    }
    found.sort_by_key(|open| open.header.snapshot_at);
    Ok(found)
}

/// Names an open journal that isn't continued, or removes it once nobody has touched it for a week.
fn set_aside(open: &Open, how: &str, progress: &dyn Progress) -> Result<(), Error> {
    let written = std::fs::metadata(&open.path).and_then(|meta| meta.modified());
    let is_old = written.is_ok_and(|at| Utc::now() - DateTime::<Utc>::from(at) > KEPT);
    let (begun, answers, path) = (when(open.header.snapshot_at), open.answers, open.path.display());
    if is_old {
        progress
            .note(&format!("removed an unfinished crawl {how}, begun at {begun}, which nobody continued"));
        return remove(&open.path);
    }
    progress.note(&format!(
        "an unfinished crawl {how}, begun at {begun} with {answers} answers, is left alone ({path}); it is removed a \
         week after its last answer"
    ));
    Ok(())
}

fn remove(path: &PathBuf) -> Result<(), Error> {
    let removed = std::fs::remove_file(path);
    Ok(removed.map_err(|source| journal::Error::Io { path: path.clone(), source })?)
}

fn when(at: DateTime<Utc>) -> String {
    at.format("%Y-%m-%d %H:%M:%S UTC").to_string()
}

fn begin(lake: &Lake, options: &Options, crawler: &Crawler) -> Result<Journal, Error> {
    let committed = lake.snapshots()?;
    let folder = lake.journal_folder();
    std::fs::create_dir_all(&folder).map_err(|source| journal::Error::Io { path: folder, source })?;
    let mut at = options.fixed_time.unwrap_or_else(Utc::now);
    let is_taken = |id: &SnapshotId| committed.contains(id) || lake.journal_path(id).exists();
    while is_taken(&SnapshotId::at(at)) || !lake.claim(&SnapshotId::at(at))? {
        at += TimeDelta::seconds(1);
    }
    let header = CrawlHeader {
        format: journal::FORMAT,
        tool_version: env!("CARGO_PKG_VERSION").into(),
        base_url: crawler.base_url.clone(),
        workspace: crawler.workspace.clone(),
        acting_as: crawler.acting_as.clone(),
        snapshot_id: SnapshotId::at(at),
        snapshot_at: at,
        tables: crawler.tables.clone(),
        full: crawler.full,
        bases: super::bases::choose(lake, &options.tables)?
            .into_iter()
            .map(|(table, manifest)| (table, manifest.snapshot_id.clone()))
            .collect(),
        base_snapshot: None,
        fixed_time: options.fixed_time,
    };
    Ok(Journal::create(&lake.journal_path(&header.snapshot_id), header)?)
}
