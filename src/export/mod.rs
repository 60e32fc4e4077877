//! The main job: crawl a workspace, build its tables, commit a snapshot.
//!
//! ```no_run
//! # async fn example(client: hexport::client::Client) -> Result<(), hexport::export::Error> {
//! use hexport::crawl::{Quiet, Source, Stop};
//! use hexport::export::{Options, export};
//! use hexport::snapshot::Lake;
//!
//! let lake = Lake::new("/data/lake/hex");
//! let done = export(Source::Api(client), &lake, Options::default(), std::sync::Arc::new(Quiet), Stop::default()).await?;
//! println!("{} projects", done.manifest.tables["projects"].rows);
//! # Ok(()) }
//! ```

mod bases;
mod build;
mod choice;
mod commit;
mod derived;
mod journals;
mod plan;
mod principals;
mod rebuild;
mod recent;
mod truth;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use chrono::{DateTime, TimeDelta, Utc};

use crate::client::operation::ME;
use crate::client::users::ActingAs;
use crate::crawl::{
    self, Base, Budget, Coverage, Empty, Endpoint, Freshness, Identity, Progress, Reread, Source, State,
    Stop, Workspace,
};
use crate::journal::{self, Journal};
use crate::schema::Table;
use crate::snapshot::{self, DeltaMode, Format, Lake, Manifest, Manifests, SnapshotId, TableState};

use bases::Bases;
use commit::Commit;
use journals::{Crawler, open_journal};

pub(crate) use build::strip_files;
pub use choice::choose;
pub use plan::{Plan, plan};
pub use rebuild::rebuild;
pub use truth::Accept;
pub(crate) use truth::{Known, of_inputs};

/// Time allowed for looking up the token's identity after the budget has run out.
const IDENTITY_GRACE: Duration = Duration::from_secs(10);

/// Options of an export.
#[derive(Debug, Clone)]
pub struct Options {
    /// Tables to write; see [`choose`].
    pub tables: Vec<&'static Table>,
    /// Formats of the files.
    pub formats: Vec<Format>,
    /// Mode of Delta tables, if they are wanted; the snapshot then has Parquet files.
    pub delta: Option<DeltaMode>,
    /// Base URL of the API, as the manifest names it.
    pub base_url: String,
    /// Requests under way at once.
    pub concurrency: usize,
    /// Budget of time and requests.
    pub budget: Budget,
    /// Freshness of runs.
    pub freshness: Freshness,
    /// Reuse of the last snapshot.
    pub reuse: Reuse,
    /// Handling of an interrupted crawl.
    pub unfinished: Unfinished,
    /// Handling of the journal after the commit.
    pub journal: JournalFate,
    /// A fixed time for the snapshot and every answer, so that the same workspace gives the same files.
    pub fixed_time: Option<DateTime<Utc>>,
    /// Settings of the audit.
    pub audit: crate::audit::Config,
    /// The organisation, where the API doesn't tell it.
    pub workspace_id: Option<String>,
    /// Lists that are believed although they shrank.
    pub accept_shrink: Accept,
    /// Tables whose loss is accepted: if they can no longer be read, their old rows are dropped.
    pub without: Vec<&'static Table>,
    /// Maximum age of reused data; `None` for no limit.
    pub revalidate: Option<TimeDelta>,
    /// Age from which runs are left out of the snapshot; `None` to keep all.
    pub runs_keep: Option<TimeDelta>,
    /// Knowledge about the warehouses that the API doesn't have.
    pub given: crate::derive::Given,
}

/// Reused data is re-read within two weeks, since some changes show in no stamp.
pub const REVALIDATE: TimeDelta = TimeDelta::days(14);

impl Default for Options {
    fn default() -> Self {
        Self {
            tables: crate::registry::exported().collect(),
            formats: vec![Format::Parquet],
            delta: None,
            base_url: crate::client::DEFAULT_BASE_URL.into(),
            concurrency: 8,
            budget: Budget::default(),
            freshness: Freshness::Exact,
            reuse: Reuse::Unchanged,
            unfinished: Unfinished::Resume,
            journal: JournalFate::Removed,
            fixed_time: None,
            audit: crate::audit::Config::default(),
            workspace_id: None,
            accept_shrink: Accept::Nothing,
            without: Vec::new(),
            revalidate: Some(REVALIDATE),
            runs_keep: None,
            given: crate::derive::Given::default(),
        }
    }
}

/// Reuse of the last snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reuse {
    /// Reuse what hasn't changed since.
    Unchanged,
    /// Nothing but the history of runs that Hex no longer has.
    Nothing,
}

/// Handling of an interrupted crawl.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unfinished {
    /// Resume it.
    Resume,
    /// Discard it.
    Discard,
}

/// Handling of the journal after the commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JournalFate {
    /// Remove it.
    Removed,
    /// Keep it, for `rebuild` and as evidence.
    Kept,
}

/// Errors of an export that committed nothing.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The crawl.
    #[error(transparent)]
    Crawl(#[from] crawl::Error),
    /// The destination.
    #[error(transparent)]
    Snapshot(#[from] snapshot::Error),
    /// The journal.
    #[error(transparent)]
    Journal(#[from] journal::Error),
    /// The destination holds snapshots of another workspace.
    #[error("the destination holds snapshots of the workspace {theirs}, but the token belongs to {ours}")]
    OtherWorkspace {
        /// Organisation of the snapshots.
        theirs: String,
        /// Organisation of the token.
        ours: String,
    },
    /// A derived table.
    #[error(transparent)]
    Derive(#[from] crate::derive::Error),
    /// The journal would give less than the snapshot that is there.
    #[error("the snapshot {snapshot_id} would know less than it does: {why}")]
    Worse {
        /// The snapshot.
        snapshot_id: SnapshotId,
        /// The loss, in words.
        why: String,
    },
    /// There is no journal to rebuild from.
    #[error(transparent)]
    NoJournal(#[from] NoJournal),
}

/// Reasons for having no journal to rebuild from.
#[derive(Debug, thiserror::Error)]
pub enum NoJournal {
    /// The destination has none.
    #[error("{lake} holds no journal")]
    None {
        /// The destination.
        lake: String,
    },
    /// None is of a crawl that was committed, and no snapshot was named.
    #[error(
        "{lake} holds journals of unfinished crawls alone ({}): hexport export resumes the last one, and --snapshot \
         builds an incomplete snapshot from the one it names",
        listed(.unfinished)
    )]
    Unfinished {
        /// The destination.
        lake: String,
        /// Snapshots of these crawls.
        unfinished: Vec<SnapshotId>,
    },
    /// There are others than the one of the snapshot that was named.
    #[error("there is no journal of {wanted}; there are {}", listed(.others))]
    Others {
        /// The snapshot.
        wanted: SnapshotId,
        /// Snapshots that there are journals of.
        others: Vec<SnapshotId>,
    },
}

fn listed(ids: &[SnapshotId]) -> String {
    ids.iter().map(|id| id.as_str()).collect::<Vec<_>>().join(", ")
}

/// A committed snapshot and how it came about.
#[derive(Debug)]
pub struct Outcome {
    /// The snapshot.
    pub manifest: Manifest,
    /// Place: a folder, or a URL.
    pub place: String,
    /// Place of its journal, if that was kept.
    pub journal: Option<String>,
    /// Time that writing each table took.
    pub table_seconds: BTreeMap<&'static str, f64>,
    /// Time of the crawl.
    pub crawl_seconds: f64,
    /// Answers that an interrupted crawl had left.
    pub resumed: usize,
    /// Snapshot that rows were taken over from.
    pub base: Option<SnapshotId>,
    /// Endpoints and entities that were not read, and why: what is neither fetched, nor reused, nor known to be empty.
    pub not_read: Vec<Coverage>,
    /// Failures to write an additional format; the snapshot itself is committed.
    pub side_failures: Vec<String>,
}

impl Outcome {
    /// Entities that are missing from the snapshot, or old.
    pub fn gaps(&self) -> impl Iterator<Item = &Coverage> {
        self.not_read.iter().filter(|c| {
            use crawl::Standing;
            matches!(c.standing(), Standing::Partial | Standing::Stale)
                || (c.standing() == Standing::Unreadable && self.is_gap(c.endpoint))
        })
    }

    /// Entities that the token or the plan doesn't allow.
    pub fn forbidden(&self) -> impl Iterator<Item = &Coverage> {
        self.not_read.iter().filter(|c| c.state == State::Forbidden)
    }

    /// Tables in a state, by name.
    pub fn tables_in(&self, wanted: impl Fn(TableState) -> bool) -> impl Iterator<Item = &str> {
        let tables = self.manifest.tables.iter();
        tables.filter(move |(_, entry)| entry.state.is_some_and(&wanted)).map(|(name, _)| name.as_str())
    }

    /// Whether a table of the endpoint is partial or stale.
    fn is_gap(&self, endpoint: Endpoint) -> bool {
        self.tables_in(TableState::is_gap)
            .any(|name| crate::registry::by_name(name).and_then(Endpoint::of_table) == Some(endpoint))
    }
}

/// Exports a workspace into a lake.
///
/// # Errors
/// Any of [`Error`]. Nothing is committed then, and what was answered is in a journal that the next export
/// takes up; a destination in which nothing was begun is left as it was.
pub async fn export(
    source: Source,
    lake: &Lake,
    options: Options,
    progress: Arc<dyn Progress>,
    stop: Stop,
) -> Result<Outcome, Error> {
    lake.check()?;
    let identity = match options.budget.until {
        Some(until) => tokio::time::timeout_at(until + IDENTITY_GRACE, crawl::identify(&source))
            .await
            .map_err(|_| crawl::Error::OutOfTime { operation: ME.id })??,
        None => crawl::identify(&source).await?,
    };
    if let Some(why) = &identity.failure {
        progress.note(&format!("unknown whose token this is: {why}"));
    }
    let lock = lake.lock()?;
    let result = export_locked(source, lake, options, identity, progress, stop).await;
    lake.tidy(lock);
    result
}

async fn export_locked(
    source: Source,
    lake: &Lake,
    options: Options,
    identity: Identity,
    progress: Arc<dyn Progress>,
    stop: Stop,
) -> Result<Outcome, Error> {
    let manifests = lake.manifests()?;
    if let Some(warning) = manifests.warning() {
        progress.note(&warning);
    }
    // Before anything is asked: without the key, nothing could be written.
    lake.pseudonyms()?;
    if lake.is_forgetting()? {
        progress.warn("forgetting a person was interrupted: run the same hexport forget again");
    }
    warn_of_clock(&manifests, &options, &*progress);
    lake.repair()?;
    for remark in lake.store().remarks() {
        progress.warn(&remark);
    }
    // A side format never stops the main job: what is missed now is made up for after the commit, or told then.
    if let (Some(mode), Some(manifest)) = (options.delta, lake.latest()?)
        && let Err(error) = delta(lake, manifest, mode, Catch::Up).await
    {
        progress.warn(&format!("Delta tables could not be brought up to date: {error}"));
    }
    let (workspace, how) = settle_workspace(&manifests, &identity, &options)?;
    let crawler = Crawler::new(&options, workspace, identity.acting_as.clone());
    let (journal, resumed) = open_journal(lake, &options, &crawler, &*progress)?;
    lake.clean(Some(&journal.header().snapshot_id))?;
    let bases = bases::choose(lake, &options.tables)?;
    lake.build_on(
        &journal.header().snapshot_id,
        &bases.values().map(|base| base.snapshot_id.clone()).collect(),
    )?;
    let options = Options { tables: choice::writable(&options.tables, &bases), ..options };
    let job = Job { source, lake, options: &options, journal: &journal, bases, how, identity };
    let mut result = job.run(progress, stop).await;
    if let Ok(outcome) = &mut result {
        // Before anything else can fail: from here on no crawl continues this journal.
        journal.commit(journal.header().fixed_time.unwrap_or_else(Utc::now))?;
        lake.built(&journal.header().snapshot_id)?;
        if options.journal == JournalFate::Kept {
            outcome.journal = Some(lake.keep_journal(journal.path())?);
        }
    }
    if let (Err(_), true) = (&result, journal.is_empty()) {
        // Not one answer: nothing is worth keeping.
        let _ = std::fs::remove_file(journal.path());
    } else if result.is_ok() && (options.journal == JournalFate::Removed || lake.remote().is_some()) {
        std::fs::remove_file(journal.path())
            .map_err(|source| journal::Error::Io { path: journal.path().into(), source })?;
    } else {
        journal.sync()?;
    }
    if let (Ok(outcome), Some(mode)) = (&mut result, options.delta)
        && let Err(error) = delta(lake, outcome.manifest.clone(), mode, Catch::New).await
    {
        outcome.side_failures.push(format!("Delta tables: {error}"));
    }
    result.map(|outcome| Outcome { resumed, ..outcome })
}

/// Snapshots are ordered by their sequence, so a wrong clock does no harm to the order; but its times mislead people.
fn warn_of_clock(manifests: &Manifests, options: &Options, progress: &dyn Progress) {
    let now = options.fixed_time.unwrap_or_else(Utc::now);
    let newest = manifests.readable.iter().map(|m| m.snapshot_at).max();
    if let Some(newest) = newest.filter(|newest| *newest > now + TimeDelta::hours(1)) {
        progress.note(&format!(
            "this machine's clock says {}, but the lake has a snapshot of {}: check the clock",
            now.format("%Y-%m-%d %H:%M UTC"),
            newest.format("%Y-%m-%d %H:%M UTC"),
        ));
    }
}

/// The workspace that is exported, and how it is known to be the lake's. By the API's word first, then by a
/// person's, then by the projects that are listed.
fn settle_workspace(
    manifests: &Manifests,
    identity: &Identity,
    options: &Options,
) -> Result<(Option<String>, Workspace), Error> {
    let ours = identity.org_id.clone().or_else(|| options.workspace_id.clone());
    let theirs = manifests.readable.iter().rev().find_map(|m| m.workspace.org_id.clone());
    match (ours, theirs) {
        (Some(ours), Some(theirs)) if ours != theirs => Err(Error::OtherWorkspace { theirs, ours }),
        (Some(ours), Some(_)) => Ok((Some(ours), Workspace::Settled)),
        (Some(ours), None) if options.workspace_id.is_some() => Ok((Some(ours), Workspace::Settled)),
        (ours, theirs) => Ok((ours.or(theirs), Workspace::ByItsProjects)),
    }
}

/// Whether Delta tables are made, or only brought up to a snapshot that is committed.
#[derive(Debug, PartialEq)]
enum Catch {
    Up,
    New,
}

async fn delta(lake: &Lake, manifest: Manifest, mode: DeltaMode, catch: Catch) -> Result<(), Error> {
    #[cfg(feature = "delta")]
    {
        use crate::snapshot::delta::{Which, write};
        let which = if catch == Catch::Up { Which::Existing } else { Which::All };
        let lake = lake.clone();
        let work = move || write(&lake, &manifest, crate::registry::all(), mode, which);
        Ok(tokio::task::spawn_blocking(work).await.expect("writing Delta tables doesn't panic")?)
    }
    #[cfg(not(feature = "delta"))]
    {
        let _ = (mode, catch);
        Err(without_delta(lake, &manifest))
    }
}

/// Writes the Delta tables of a snapshot that was imported, if the lake has Delta tables at all.
///
/// # Errors
/// If they can't be written.
pub fn follow_with_delta(lake: &Lake, manifest: &Manifest, mode: DeltaMode) -> Result<(), Error> {
    if lake.store().list("delta/").map_err(snapshot::Error::from)?.is_empty() {
        return Ok(());
    }
    #[cfg(feature = "delta")]
    {
        use crate::snapshot::delta::{Which, write};
        // It has threads of its own, which may not be started from another's.
        let work = || write(lake, manifest, crate::registry::all(), mode, Which::All);
        let written = std::thread::scope(|scope| scope.spawn(work).join());
        Ok(written.expect("writing Delta tables doesn't panic")?)
    }
    #[cfg(not(feature = "delta"))]
    {
        let _ = mode;
        Err(without_delta(lake, manifest))
    }
}

#[cfg(not(feature = "delta"))]
fn without_delta(lake: &Lake, manifest: &Manifest) -> Error {
    let source = Box::new(snapshot::DeltaRefusal::NotBuilt);
    snapshot::Error::Delta { table: format!("{} {}", lake.name(), manifest.snapshot_id), source }.into()
}

/// A crawl and the snapshot that it becomes.
struct Job<'a> {
    source: Source,
    lake: &'a Lake,
    options: &'a Options,
    journal: &'a Arc<Journal>,
    bases: Bases,
    how: Workspace,
    identity: Identity,
}

impl Job<'_> {
    async fn run(self, progress: Arc<dyn Progress>, stop: Stop) -> Result<Outcome, Error> {
        let now = self.options.fixed_time.unwrap_or_else(Utc::now);
        let base = Arc::new(Base::load(self.lake, self.bases.clone(), now)?);
        let endpoints = self.endpoints();
        let accepts_none = self.accepts(Endpoint::PROJECTS);
        let crawl_options = crawl::Options {
            endpoints: endpoints.clone(),
            concurrency: self.options.concurrency,
            budget: self.options.budget,
            spent: self.identity.requests,
            full: self.options.reuse == Reuse::Nothing,
            reread: Reread { now, within: self.options.revalidate, freshness: self.options.freshness },
            doubted_before: (self.identity.acting_as == ActingAs::Unknown).then_some(now),
            workspace: self.how,
            empty: if accepts_none { Empty::Accepted } else { Empty::Refused },
        };
        let started = Instant::now();
        let is_rebuilt = matches!(self.source, Source::JournalOnly);
        let (source, journal) = (self.source.clone(), self.journal.clone());
        let mut report =
            crawl::crawl(source, journal, base.clone(), crawl_options, progress.clone(), stop).await?;
        let crawl_time = started.elapsed();
        let without: BTreeSet<Endpoint> =
            self.options.without.iter().filter_map(|table| Endpoint::of_table(table)).collect();
        let doubt = truth::Doubt {
            base: &base,
            acting_as: &self.identity.acting_as,
            accept: &|list| self.accepts(list),
            without: &without,
        };
        let kept = truth::keep(&mut report, &endpoints, &doubt);
        for note in &kept.notes {
            progress.warn(note);
        }
        progress.note("crawl finished; writing tables");
        let commit = Commit {
            lake: self.lake.clone(),
            options: self.options.clone(),
            journal: self.journal.clone(),
            identity: self.identity,
            bases: self.bases,
            base,
            is_rebuilt,
            report,
            kept,
            crawl_time,
        };
        tokio::task::spawn_blocking(move || commit.run()).await.expect("writing tables doesn't panic")
    }

    /// Endpoints to read: those that the tables need, and the list of projects where only that identifies the
    /// workspace.
    fn endpoints(&self) -> BTreeSet<Endpoint> {
        let mut endpoints = Endpoint::needed_for(self.options.tables.iter().copied());
        if self.how == Workspace::ByItsProjects && !self.bases.is_empty() {
            endpoints.insert(Endpoint::PROJECTS);
        }
        endpoints
    }

    /// Whether a list is believed however much it shrank: a person says so, or (of a snapshot that is built again)
    /// it was believed when the snapshot was committed.
    fn accepts(&self, list: Endpoint) -> bool {
        let was_believed = || {
            let manifest = self.lake.manifest(&self.journal.header().snapshot_id).ok();
            let table = crawl::primary_table(list);
            manifest.zip(table).is_some_and(|(m, t)| {
                m.tables.get(t.name).and_then(|entry| entry.state).is_some_and(TableState::is_current)
            })
        };
        self.options.accept_shrink.holds(list)
            || (matches!(self.source, Source::JournalOnly) && was_believed())
    }
}
