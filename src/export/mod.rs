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

mod build;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use chrono::{DateTime, TimeDelta, Utc};

use crate::crawl::{self, Base, Budget, Coverage, Endpoint, Progress, Report, Source, State, Stop};
use crate::journal::{self, CrawlHeader, Journal};
use crate::schema::{Origin, SCHEMA_VERSION, Table};
use crate::snapshot::{self, DeltaMode, Format, Lake, Manifest, ToolEntry, WorkspaceEntry, snapshot_id};

pub use build::choose;

/// How to export.
#[derive(Debug, Clone)]
pub struct Options {
    /// Tables to write; see [`choose`].
    pub tables: Vec<&'static Table>,
    /// Formats of the files.
    pub formats: Vec<Format>,
    /// What Delta tables are made to hold, if they are wanted; the snapshot has Parquet files then.
    pub delta: Option<DeltaMode>,
    /// Base URL of the API, as the manifest names it.
    pub base_url: String,
    /// Requests under way at once.
    pub concurrency: usize,
    /// How much may be spent.
    pub budget: Budget,
    /// What of the last snapshot is used.
    pub reuse: Reuse,
    /// What is done about a crawl that was interrupted.
    pub unfinished: Unfinished,
    /// What becomes of the journal after the commit.
    pub journal: JournalFate,
    /// A fixed time for the snapshot and every answer, so that the same workspace gives the same files.
    pub fixed_time: Option<DateTime<Utc>>,
    /// What the audit of the snapshot goes by.
    pub audit: crate::audit::Config,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            tables: crate::registry::all().collect(),
            formats: vec![Format::Parquet],
            delta: None,
            base_url: crate::client::DEFAULT_BASE_URL.into(),
            concurrency: 8,
            budget: Budget::default(),
            reuse: Reuse::Unchanged,
            unfinished: Unfinished::Resume,
            journal: JournalFate::Removed,
            fixed_time: None,
            audit: crate::audit::Config::default(),
        }
    }
}

/// What of the last snapshot is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reuse {
    /// What has not changed since.
    Unchanged,
    /// Nothing but the history of runs that Hex no longer has.
    Nothing,
}

/// What is done about a crawl that was interrupted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unfinished {
    /// It goes on.
    Resume,
    /// It is thrown away.
    Discard,
}

/// What becomes of the journal after the commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JournalFate {
    /// It is removed.
    Removed,
    /// It is kept, for `rebuild` and as evidence.
    Kept,
}

/// Why nothing was committed.
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
    /// The destination holds an unfinished crawl of another server.
    #[error("the destination holds an unfinished crawl of {url} ({})", path.display())]
    OtherCrawl {
        /// The other server.
        url: String,
        /// The crawl's journal.
        path: PathBuf,
    },
    /// The destination holds snapshots of another workspace.
    #[error("the destination holds snapshots of the workspace {theirs}, and the token is of {ours}")]
    OtherWorkspace {
        /// Organisation of the snapshots.
        theirs: String,
        /// Organisation of the token.
        ours: String,
    },
    /// A derived table.
    #[error(transparent)]
    Derive(#[from] crate::derive::Error),
    /// There is no journal to rebuild from.
    #[error("{0}")]
    NoJournal(String),
}

/// A committed snapshot and how it came about.
#[derive(Debug)]
pub struct Outcome {
    /// The snapshot.
    pub manifest: Manifest,
    /// Where it is: a folder, or a URL.
    pub place: String,
    /// Where its journal is, if it was kept.
    pub journal: Option<String>,
    /// Time that writing each table took.
    pub table_seconds: BTreeMap<&'static str, f64>,
    /// Time of the crawl.
    pub crawl_seconds: f64,
    /// Answers that an interrupted crawl had left.
    pub resumed: usize,
    /// Snapshot that rows were taken over from.
    pub base: Option<String>,
    /// What came of each endpoint and entity.
    pub coverage: Vec<Coverage>,
}

impl Outcome {
    /// What was asked for and is not in the snapshot, or is old.
    pub fn gaps(&self) -> impl Iterator<Item = &Coverage> {
        self.coverage.iter().filter(|c| c.state.is_gap())
    }

    /// What the token or the plan doesn't allow.
    pub fn forbidden(&self) -> impl Iterator<Item = &Coverage> {
        self.coverage.iter().filter(|c| c.state == State::Forbidden)
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
    let lock = lake.lock()?;
    if let Some(warning) = lake.manifests()?.warning() {
        progress.note(&warning);
    }
    lake.repair()?;
    if let (Some(mode), Some(manifest)) = (options.delta, lake.latest()?) {
        delta(lake, manifest, mode, Catch::Up).await?;
    }
    let (journal, resumed) = open_journal(lake, &options, &*progress)?;
    lake.clean(Some(&journal.header().snapshot_id))?;
    let mut result = run(source, lake, &options, &journal, progress, stop).await;
    if let (Ok(outcome), JournalFate::Kept) = (&mut result, options.journal) {
        journal.sync()?;
        outcome.journal = Some(lake.keep_journal(journal.path())?);
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
    if let (Ok(outcome), Some(mode)) = (&result, options.delta) {
        delta(lake, outcome.manifest.clone(), mode, Catch::New).await?;
    }
    lake.tidy(lock);
    result.map(|outcome| Outcome { resumed, ..outcome })
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
        let work = move || write(&lake, &manifest, mode, which);
        Ok(tokio::task::spawn_blocking(work).await.expect("writing Delta tables doesn't panic")?)
    }
    #[cfg(not(feature = "delta"))]
    {
        let why = format!("this hexport was built without Delta Lake ({mode:?}, {catch:?})");
        Err(snapshot::Error::Delta { table: lake.name() + &manifest.snapshot_id, why }.into())
    }
}

/// Builds the snapshot of a kept journal again, with the tables as this version declares them. Asks nothing
/// of the API.
///
/// # Errors
/// Any of [`Error`].
pub async fn rebuild(
    lake: &Lake,
    snapshot: Option<&str>,
    options: Options,
    progress: Arc<dyn Progress>,
    stop: Stop,
) -> Result<Outcome, Error> {
    let lock = lake.lock()?;
    lake.fetch_journals()?;
    let journals = lake.journals()?;
    let path = match snapshot {
        None => journals.last().map(|(_, path)| path.clone()),
        Some(id) => journals.iter().find(|(of, _)| of == id).map(|(_, path)| path.clone()),
    };
    let path = path.ok_or_else(|| {
        let known: Vec<&str> = journals.iter().map(|(id, _)| id.as_str()).collect();
        Error::NoJournal(match (snapshot, known.is_empty()) {
            (_, true) => format!("{} holds no journal", lake.name()),
            (wanted, false) => {
                format!("there is no journal of {}; there are {}", wanted.unwrap_or("it"), known.join(", "))
            }
        })
    })?;
    let journal = Arc::new(Journal::open(&path)?);
    let options =
        Options { base_url: journal.header().base_url.clone(), budget: Budget::default(), ..options };
    let result = run(Source::JournalOnly, lake, &options, &journal, progress, stop).await;
    if let (Ok(outcome), Some(mode)) = (&result, options.delta) {
        delta(lake, outcome.manifest.clone(), mode, Catch::New).await?;
    }
    lake.tidy(lock);
    let journal_at = path.display().to_string();
    result.map(|outcome| Outcome { resumed: journal.len(), journal: Some(journal_at), ..outcome })
}

/// The journal of the crawl that goes on, or of a new one, and how many answers it has.
fn open_journal(
    lake: &Lake,
    options: &Options,
    progress: &dyn Progress,
) -> Result<(Arc<Journal>, usize), Error> {
    let committed = lake.snapshots()?;
    let unfinished: Vec<_> = lake.journals()?.into_iter().filter(|(id, _)| !committed.contains(id)).collect();
    if options.unfinished == Unfinished::Discard {
        for (_, path) in &unfinished {
            std::fs::remove_file(path).map_err(|source| journal::Error::Io { path: path.clone(), source })?;
        }
    } else if let Some((_, path)) = unfinished.last() {
        let journal = Journal::open(path)?;
        let header = journal.header();
        if header.base_url != options.base_url {
            return Err(Error::OtherCrawl { url: header.base_url.clone(), path: path.clone() });
        }
        let begun = header.snapshot_at.format("%Y-%m-%d %H:%M:%S UTC");
        progress.note(&format!(
            "resuming the crawl begun at {begun}: {} answers are there already",
            journal.len()
        ));
        let resumed = journal.len();
        return Ok((Arc::new(journal), resumed));
    }
    let mut at = options.fixed_time.unwrap_or_else(Utc::now);
    while committed.contains(&snapshot_id(at)) || !lake.claim(&snapshot_id(at))? {
        at += TimeDelta::seconds(1);
    }
    let header = CrawlHeader {
        tool_version: env!("CARGO_PKG_VERSION").into(),
        base_url: options.base_url.clone(),
        snapshot_id: snapshot_id(at),
        snapshot_at: at,
        tables: options.tables.iter().map(|t| t.name.to_owned()).collect(),
        base_snapshot: base_for(lake, &options.tables)?,
        fixed_time: options.fixed_time,
    };
    let folder = lake.journal_folder();
    std::fs::create_dir_all(&folder).map_err(|source| journal::Error::Io { path: folder, source })?;
    Ok((Arc::new(Journal::create(&lake.journal_path(&header.snapshot_id), header)?), 0))
}

/// The snapshot to compare with: the last one that has all the tables that are wanted, since an export of some
/// tables alone must not end the history of the others; else the last one.
fn base_for(lake: &Lake, tables: &[&'static Table]) -> Result<Option<String>, Error> {
    let manifests = lake.manifests()?;
    for manifest in manifests.readable.iter().rev() {
        let has = |table: &&Table| {
            manifest.tables.get(table.name).is_some_and(|t| t.files.iter().any(|f| f.format == "parquet"))
        };
        if tables.iter().filter(|table| matches!(table.origin, Origin::Api(_))).all(has) {
            return Ok(Some(manifest.snapshot_id.clone()));
        }
    }
    Ok(manifests.latest().map(|manifest| manifest.snapshot_id.clone()))
}

async fn run(
    source: Source,
    lake: &Lake,
    options: &Options,
    journal: &Arc<Journal>,
    progress: Arc<dyn Progress>,
    stop: Stop,
) -> Result<Outcome, Error> {
    let header = journal.header().clone();
    let base_manifest = header.base_snapshot.as_deref().map(|id| lake.manifest(id)).transpose()?;
    check_workspace(&source, journal, base_manifest.as_ref()).await?;
    let base = match (&base_manifest, options.reuse) {
        (Some(manifest), Reuse::Unchanged) => Base::load(lake, manifest.clone())?.map(Arc::new),
        _ => None,
    };
    if base.is_none() && base_manifest.is_some() && options.reuse == Reuse::Unchanged {
        progress.note("the last snapshot has no Parquet files to compare with: everything is read anew");
    }
    let crawl_options = crawl::Options {
        endpoints: Endpoint::needed_for(options.tables.iter().copied()),
        concurrency: options.concurrency,
        budget: options.budget,
    };
    let started = Instant::now();
    let report = crawl::crawl(source, journal.clone(), base, crawl_options, progress.clone(), stop).await?;
    let crawl_time = started.elapsed();
    progress.note("all answers are there; writing tables");
    let (lake, options, journal) = (lake.clone(), options.clone(), journal.clone());
    let write = move || commit(&lake, &options, &journal, base_manifest.as_ref(), report, crawl_time);
    tokio::task::spawn_blocking(write).await.expect("writing tables doesn't panic")
}

/// Makes sure that the destination's snapshots are of the token's workspace, before anything is spent.
async fn check_workspace(source: &Source, journal: &Journal, base: Option<&Manifest>) -> Result<(), Error> {
    let ours = crawl::org_id(source, journal).await?;
    let theirs = base.and_then(|manifest| manifest.workspace.org_id.clone());
    match (ours, theirs) {
        (Some(ours), Some(theirs)) if ours != theirs => Err(Error::OtherWorkspace { theirs, ours }),
        _ => Ok(()),
    }
}

fn commit(
    lake: &Lake,
    options: &Options,
    journal: &Journal,
    base: Option<&Manifest>,
    report: Report,
    crawl_time: Duration,
) -> Result<Outcome, Error> {
    let header = journal.header();
    let staging = lake.stage(&header.snapshot_id)?;
    let sources = build::Sources { journal, report: &report, base: base.map(|manifest| (lake, manifest)) };
    let is_derived = |table: &Table| matches!(table.origin, Origin::Derived(_));
    let (derived, plain): (Vec<&Table>, Vec<&Table>) =
        options.tables.iter().partition(|table| is_derived(table));
    let mut formats = options.formats.clone();
    if !derived.is_empty() && !formats.contains(&Format::Parquet) {
        formats.push(Format::Parquet);
    }
    let workspace = WorkspaceEntry { base_url: header.base_url.clone(), org_id: report.org_id.clone() };
    let target = build::Target {
        folder: staging.folder(),
        snapshot_id: &header.snapshot_id,
        snapshot_at: header.snapshot_at,
        formats: &formats,
        workspace: &workspace,
        audit: &options.audit,
    };
    let mut built = build::build(&sources, &target, &plain)?;
    built.extend(build::derive(&target, sources.base, &derived)?);
    build::strip(&mut built, staging.folder(), &options.formats)?;
    let manifest = Manifest {
        manifest_version: snapshot::MANIFEST_VERSION,
        snapshot_id: header.snapshot_id.clone(),
        sequence: Some(lake.sequence_for(&header.snapshot_id)?),
        snapshot_at: header.snapshot_at,
        committed_at: header.fixed_time.unwrap_or_else(Utc::now),
        tool: ToolEntry { name: "hexport".into(), version: env!("CARGO_PKG_VERSION").into() },
        workspace: workspace.clone(),
        complete: !report.coverage.iter().any(|c| c.state.is_gap()),
        schema_version: SCHEMA_VERSION,
        tables: built.iter().map(|b| (b.table.name.to_owned(), b.entry.clone())).collect(),
        endpoints: report
            .endpoints
            .iter()
            .map(|(e, summary)| (e.name().to_owned(), summary.clone()))
            .collect(),
        schema_drift: drift(&built),
    };
    let place = staging.commit(&manifest)?;
    Ok(Outcome {
        manifest,
        place,
        journal: None,
        table_seconds: built.iter().map(|b| (b.table.name, b.took.as_secs_f64())).collect(),
        crawl_seconds: crawl_time.as_secs_f64(),
        resumed: 0,
        base: base.map(|manifest| manifest.snapshot_id.clone()),
        coverage: report.coverage,
    })
}

fn drift(built: &[build::Built]) -> BTreeMap<String, BTreeMap<String, u64>> {
    built.iter().filter(|b| !b.drift.is_empty()).map(|b| (b.table.name.to_owned(), b.drift.clone())).collect()
}

/// Works out what an export would cost. Spends the calls that list projects and groups.
///
/// # Errors
/// Any of [`Error`].
pub async fn plan(
    source: Source,
    lake: &Lake,
    options: &Options,
    progress: Arc<dyn Progress>,
    stop: Stop,
) -> Result<Vec<crawl::Estimate>, Error> {
    let base = match (lake.latest()?, options.reuse) {
        (Some(manifest), Reuse::Unchanged) => Base::load(lake, manifest)?,
        _ => None,
    };
    let scratch =
        tempfile::tempdir().map_err(|source| journal::Error::Io { path: std::env::temp_dir(), source })?;
    let header = CrawlHeader {
        tool_version: env!("CARGO_PKG_VERSION").into(),
        base_url: options.base_url.clone(),
        snapshot_id: "plan".into(),
        snapshot_at: Utc::now(),
        tables: Vec::new(),
        base_snapshot: None,
        fixed_time: None,
    };
    let journal = Arc::new(Journal::create(&scratch.path().join("plan.hxj"), header)?);
    let wanted = Endpoint::needed_for(options.tables.iter().copied());
    let lists =
        wanted.iter().copied().filter(|e| matches!(e, Endpoint::Projects | Endpoint::Groups)).collect();
    let crawl_options =
        crawl::Options { endpoints: lists, concurrency: options.concurrency, budget: Budget::default() };
    let report = crawl::crawl(source, journal, None, crawl_options, progress, stop).await?;
    Ok(wanted.into_iter().map(|endpoint| crawl::estimate(endpoint, &report, base.as_ref())).collect())
}
