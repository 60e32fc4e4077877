//! `hexport export`: the main job.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::Ui;
use super::exit::{Code, Failure};
use super::given::GivenArgs;
use super::near::did_you_mean;
use super::nightly::{ExportSettings, Switch, is_on};
use super::progress::{Reporter, stop_on_signals};
use super::settings::{ApiArgs, Settings, StoreArgs};
use super::summary::{self, Shown, SummaryForm};
use crate::crawl::{Budget, Freshness, Source, Stop};
use crate::derive::Given;
use crate::export::{self, Accept, JournalFate, Options, Outcome, Reuse, Unfinished, choose};
use crate::notify::Mode;
use crate::registry;
use crate::schema::Table;
use crate::snapshot::{DeltaMode, Format, Lake, TableState};
use crate::units::parse_duration;
use chrono::{DateTime, TimeDelta, Utc};

/// Tables and formats.
#[derive(Debug, clap::Args)]
pub struct WhatArgs {
    /// Tables to write, separated by commas [default: all]
    #[arg(long, value_name = "TABLES", value_delimiter = ',')]
    tables: Vec<String>,
    /// File formats, separated by commas [default: parquet]
    #[arg(long, value_name = "FORMATS", value_delimiter = ',')]
    format: Vec<FormatArg>,
    /// Content of Delta tables [default: history]
    #[arg(long, value_enum, value_name = "MODE")]
    delta_mode: Option<DeltaMode>,
    #[command(flatten)]
    given: GivenArgs,
}

/// Flags about the output of an export.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum FormatArg {
    /// Apache Parquet, zstd
    Parquet,
    /// CSV (RFC 4180), times in ISO 8601 UTC, nested values as JSON
    Csv,
    /// Delta Lake tables under DEST/delta, one version per snapshot; implies parquet
    Delta,
}

impl WhatArgs {
    /// The tables to write: those asked for, and what they are derived from.
    ///
    /// # Errors
    /// For a name that isn't a table's.
    pub fn tables(&self, file: &ExportSettings) -> Result<Vec<&'static Table>, Failure> {
        choose(self.asked(file)).map_err(|name| unknown_table(&name))
    }

    /// The names of tables that were asked for; none means all.
    pub fn asked<'a>(&'a self, file: &'a ExportSettings) -> &'a [String] {
        if self.tables.is_empty() { &file.tables } else { &self.tables }
    }

    /// Knowledge about the warehouses that the API doesn't have.
    ///
    /// # Errors
    /// If the file of schemas can't be read, or a flag isn't understood.
    pub fn given(&self, settings: &Settings) -> Result<Given, Failure> {
        self.given.read(settings)
    }

    fn chosen<'a>(&'a self, file: &'a ExportSettings) -> &'a [FormatArg] {
        match (self.format.is_empty(), file.format.is_empty()) {
            (false, _) => &self.format,
            (true, false) => &file.format,
            (true, true) => &[FormatArg::Parquet],
        }
    }

    /// The formats, each once.
    pub fn formats(&self, file: &ExportSettings) -> Vec<Format> {
        let format = |arg: &FormatArg| match arg {
            FormatArg::Parquet | FormatArg::Delta => Format::Parquet,
            FormatArg::Csv => Format::Csv,
        };
        let mut formats: Vec<Format> = self.chosen(file).iter().map(format).collect();
        formats.sort();
        formats.dedup();
        formats
    }

    /// Content of Delta tables, if they are wanted.
    pub fn delta(&self, file: &ExportSettings) -> Option<DeltaMode> {
        let mode = self.delta_mode.or(file.delta_mode).unwrap_or(DeltaMode::History);
        self.chosen(file).contains(&FormatArg::Delta).then_some(mode)
    }
}

/// Budget of time and requests.
#[derive(Debug, clap::Args)]
struct BudgetArgs {
    /// Stop after this time, such as 30m; what matters most and was read longest ago comes first
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    budget: Option<Duration>,
    /// Stop after this many requests; the lists of the workspace are always read
    #[arg(long, value_name = "N")]
    max_requests: Option<u64>,
}

/// Flags about sudden shrinks.
#[derive(Debug, clap::Args)]
struct TruthArgs {
    /// Believe that lists shrank, this once; or only the lists of these tables, separated by commas
    #[arg(long, value_name = "TABLES", value_delimiter = ',', num_args = 0.., require_equals = true)]
    accept_shrink: Option<Vec<String>>,
    /// Give up these tables if they can't be read: drop their old rows, and don't count them as gaps
    #[arg(long, value_name = "TABLES", value_delimiter = ',')]
    without: Vec<String>,
    /// Re-read even unchanged data once it is this old, since some changes leave no trace; 'never' to trust the
    /// traces [default: 14d]
    #[arg(long, value_name = "DURATION", value_parser = parse_revalidate)]
    revalidate: Option<Revalidate>,
    /// Maximum delay in seeing a run: 'exact' asks every published project for runs each time; a duration such as 7d
    /// asks those that can have run, and the others within that time (30d if archived or in the trash); tables that a
    /// run queried without a new publication may be seen equally late [default: exact]
    #[arg(long, value_name = "exact|DURATION", value_parser = parse_freshness)]
    freshness: Option<Freshness>,
    /// Leave runs that are older, such as 400d, out of the snapshot and of those after it; the 16 newest of each
    /// project stay [default: keep all]
    #[arg(long, value_name = "DURATION", value_parser = parse_age)]
    runs_keep: Option<TimeDelta>,
    /// Organisation that the token belongs to, where the API doesn't say
    #[arg(long, env = "HEX_WORKSPACE_ID", value_name = "ID")]
    workspace_id: Option<String>,
}

/// Age at which reused data is re-read.
#[derive(Debug, Clone, Copy)]
pub struct Revalidate(Option<TimeDelta>);

/// Reads `never` or a duration.
pub fn parse_revalidate(text: &str) -> Result<Revalidate, String> {
    if text.eq_ignore_ascii_case("never") {
        return Ok(Revalidate(None));
    }
    let within = TimeDelta::from_std(parse_duration(text)?).map_err(|_| "that is too long".to_owned())?;
    Ok(Revalidate(Some(within)))
}

/// Reads an age of at least a day.
pub fn parse_age(text: &str) -> Result<TimeDelta, String> {
    let age = TimeDelta::from_std(parse_duration(text)?).map_err(|_| "that is too long".to_owned())?;
    if age >= TimeDelta::days(1) { Ok(age) } else { Err("that is less than a day".into()) }
}

/// Reads `exact` or a duration.
pub fn parse_freshness(text: &str) -> Result<Freshness, String> {
    if text.eq_ignore_ascii_case("exact") {
        return Ok(Freshness::Exact);
    }
    let within = TimeDelta::from_std(parse_duration(text)?).map_err(|_| "that is too long".to_owned())?;
    match within >= TimeDelta::days(1) {
        true => Ok(Freshness::Within(within)),
        false => Err("a bound of less than a day asks every project: use 'exact'".into()),
    }
}

impl TruthArgs {
    /// Adds them to the options of an export.
    fn apply(&self, options: Options, file: &ExportSettings) -> Result<Options, Failure> {
        let names = self.accept_shrink.clone();
        let accept_shrink = match names {
            None => Accept::Nothing,
            Some(names) if names.is_empty() => Accept::Everything,
            Some(names) => Accept::Tables(tables(&names)?.iter().map(|t| t.name.to_owned()).collect()),
        };
        Ok(Options {
            accept_shrink,
            without: tables(if self.without.is_empty() { &file.without } else { &self.without })?,
            revalidate: self.revalidate.or(file.revalidate).map_or(options.revalidate, |age| age.0),
            runs_keep: self.runs_keep.or(file.runs_keep),
            freshness: self.freshness.or(file.freshness).unwrap_or(Freshness::Exact),
            workspace_id: self.workspace_id.clone().or(file.workspace_id.clone()).filter(|id| !id.is_empty()),
            ..options
        })
    }
}

/// The tables of these names.
fn tables(names: &[String]) -> Result<Vec<&'static Table>, Failure> {
    names.iter().map(|name| registry::by_name(name).ok_or_else(|| unknown_table(name))).collect()
}

fn unknown_table(name: &str) -> Failure {
    let known: Vec<&str> = registry::all().map(|t| t.name).collect();
    let hint = did_you_mean(name, known.iter().copied()).map_or(String::new(), |hint| hint + " ");
    Failure::new(Code::Usage, format!("there is no table '{name}'"))
        .next(format!("{hint}The tables are {}.", known.join(", ")))
}

/// Arguments of `hexport export`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The data lake: a folder, created if it doesn't exist, or a URL such as s3://bucket/prefix, gs://, az://, abfss://
    #[arg(value_name = "DEST")]
    dest: PathBuf,
    #[command(flatten)]
    store: StoreArgs,
    #[command(flatten)]
    what: WhatArgs,
    /// Re-read everything, even what hasn't changed
    #[arg(long)]
    full: bool,
    /// Discard an interrupted crawl instead of resuming it
    #[arg(long)]
    fresh: bool,
    #[command(flatten)]
    truth: TruthArgs,
    /// Keep the journal after the commit, for hexport rebuild
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    keep_journal: Option<Switch>,
    /// Count tables that the token or the plan doesn't allow as incomplete (exit code 4)
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    strict: Option<Switch>,
    /// Exit with 0 instead of 4 once a snapshot is committed, for schedulers that retry on anything else
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    ok_incomplete: Option<Switch>,
    #[command(flatten)]
    budget: BudgetArgs,
    /// Form of the closing summary
    #[arg(long, value_enum, default_value_t = SummaryForm::Summary)]
    output: SummaryForm,
    /// Write metrics for Prometheus' textfile collector to this file
    #[arg(long, value_name = "FILE")]
    metrics_file: Option<PathBuf>,
    /// Use this time for the snapshot and every response, so that the same workspace gives the same files
    #[arg(long, value_name = "TIME", hide = true)]
    fixed_time: Option<DateTime<Utc>>,
    #[command(flatten)]
    api: ApiArgs,
}

impl Args {
    /// File for the metrics, if they are wanted.
    pub fn metrics_file<'a>(&'a self, file: &'a ExportSettings) -> Option<&'a Path> {
        self.metrics_file.as_deref().or(file.metrics_file.as_deref())
    }
}

/// Exports, and says what came of it.
///
/// # Errors
/// If nothing could be committed.
pub async fn run(args: Args, settings: &Settings, ui: &Ui) -> Result<Code, Failure> {
    let file = &settings.file.export;
    let tables = args.what.tables(file)?;
    let given = args.what.given(settings)?;
    let reporter = Arc::new(Reporter::new(ui));
    let api = args.api.connect(settings, reporter.clone())?;
    let lake = args.store.open(&args.dest)?;
    let keep_journal = is_on(args.keep_journal, file.keep_journal);
    let options = Options {
        tables,
        formats: args.what.formats(file),
        delta: args.what.delta(file),
        base_url: api.client.base_url().to_string(),
        concurrency: api.concurrency,
        budget: Budget {
            until: args.budget.budget.or(file.budget).map(|budget| tokio::time::Instant::now() + budget),
            requests: args.budget.max_requests.or(file.max_requests),
        },
        reuse: if args.full { Reuse::Nothing } else { Reuse::Unchanged },
        unfinished: if args.fresh { Unfinished::Discard } else { Unfinished::Resume },
        journal: if keep_journal { JournalFate::Kept } else { JournalFate::Removed },
        fixed_time: args.fixed_time,
        audit: settings.file.audit.clone(),
        given,
        ..Options::default()
    };
    let options = args.truth.apply(options, file)?;
    let stop = Stop::default();
    stop_on_signals(&stop);
    let result =
        export::export(Source::Api(api.client.clone()), &lake, options, reporter.clone(), stop).await;
    reporter.end();
    let sent = api.client.requests_sent();
    let outcome = result?;
    let code = exit_code(&outcome, is_on(args.strict, file.strict));
    let untold = tell(&outcome, &lake, settings).await;
    ui.committed(&outcome, sent, untold);
    let shown =
        Shown { outcome: &outcome, lake: &lake, dest: &args.dest, asked: args.what.asked(file), sent };
    summary::show(&shown, args.output, code);
    let is_accepted = is_on(args.ok_incomplete, file.ok_incomplete) && code == Code::Incomplete;
    Ok(if is_accepted { Code::Complete } else { code })
}

/// Notifies people of what the audit found, if the settings name receivers. Returns the number of receivers that
/// could not be reached: a warning, whatever becomes of the export.
async fn tell(outcome: &Outcome, lake: &Lake, settings: &Settings) -> Option<usize> {
    let config = &settings.file.notify;
    if config.to.is_empty() {
        return None;
    }
    match super::notify::tell(lake, &outcome.manifest, settings, config, Mode::Send).await {
        Ok(failures) => {
            for failure in &failures {
                eprintln!("warning: no notification sent: {}", super::exit::causes(failure));
            }
            Some(failures.len())
        }
        Err(failure) => {
            eprintln!("warning: no notification sent: {failure}");
            Some(1)
        }
    }
}

/// Exit code of a committed snapshot: it follows from the states of its tables, and from side formats that failed.
pub fn exit_code(outcome: &Outcome, strict: bool) -> Code {
    let unreadable = strict && outcome.tables_in(|state| state == TableState::Unreadable).next().is_some();
    let whole = outcome.manifest.complete && outcome.side_failures.is_empty() && !unreadable;
    if whole { Code::Complete } else { Code::Incomplete }
}
