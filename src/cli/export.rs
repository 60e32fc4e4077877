//! `hexport export`: the main job.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::json;

use super::exit::{Code, Failure};
use super::given::GivenArgs;
use super::progress::{Reporter, stop_on_signals};
use super::settings::{ApiArgs, Settings, StoreArgs};
use super::{Output, Ui, render};
use crate::crawl::{Budget, Freshness, Source, Stop};
use crate::derive::Given;
use crate::export::{self, Accept, JournalFate, Options, Outcome, Reuse, Unfinished, choose};
use crate::notify::Mode;
use crate::registry;
use crate::schema::Table;
use crate::snapshot::{DeltaMode, Format, Lake, TableState};
use crate::units::parse_duration;

/// Which tables, in which formats.
#[derive(Debug, clap::Args)]
pub struct WhatArgs {
    /// Tables to write, separated by commas [default: all]
    #[arg(long, value_name = "TABLES", value_delimiter = ',')]
    tables: Vec<String>,
    /// Formats of the files, separated by commas
    #[arg(long, value_name = "FORMATS", value_delimiter = ',', default_value = "parquet")]
    format: Vec<FormatArg>,
    /// What Delta tables hold
    #[arg(long, value_enum, value_name = "MODE", default_value = "history")]
    delta_mode: DeltaMode,
    #[command(flatten)]
    given: GivenArgs,
}

/// What an export writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum FormatArg {
    /// Apache Parquet, zstd
    Parquet,
    /// CSV (RFC 4180), times in ISO 8601 UTC, nested values as JSON
    Csv,
    /// Delta Lake tables under DEST/delta, one version a snapshot; the snapshot has Parquet files then
    Delta,
}

impl WhatArgs {
    /// The tables.
    ///
    /// # Errors
    /// For a name that isn't a table's.
    pub fn tables(&self) -> Result<Vec<&'static Table>, Failure> {
        choose(&self.tables).map_err(|name| unknown_table(&name))
    }

    /// What a person told about the warehouses.
    ///
    /// # Errors
    /// If the file of schemas can't be read, or a flag isn't understood.
    pub fn given(&self, settings: &Settings) -> Result<Given, Failure> {
        self.given.read(settings)
    }

    /// The formats, each once.
    pub fn formats(&self) -> Vec<Format> {
        let format = |arg: &FormatArg| match arg {
            FormatArg::Parquet | FormatArg::Delta => Format::Parquet,
            FormatArg::Csv => Format::Csv,
        };
        let mut formats: Vec<Format> = self.format.iter().map(format).collect();
        formats.sort();
        formats.dedup();
        formats
    }

    /// What Delta tables hold, if they are wanted.
    pub fn delta(&self) -> Option<DeltaMode> {
        self.format.contains(&FormatArg::Delta).then_some(self.delta_mode)
    }
}

/// How much may be spent.
#[derive(Debug, clap::Args)]
struct BudgetArgs {
    /// Time that may be spent, such as 30m; what matters most and was read longest ago comes first
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    budget: Option<Duration>,
    /// Requests that may be spent; the lists of the workspace are read in any case
    #[arg(long, value_name = "N")]
    max_requests: Option<u64>,
}

/// What is believed of what the API says.
#[derive(Debug, clap::Args)]
struct TruthArgs {
    /// Believe that lists shrank, this once; or the lists of these tables alone, separated by commas
    #[arg(long, value_name = "TABLES", value_delimiter = ',', num_args = 0.., require_equals = true)]
    accept_shrink: Option<Vec<String>>,
    /// Accept that these tables can't be read any longer: their old rows go, and don't count as a gap
    #[arg(long, value_name = "TABLES", value_delimiter = ',')]
    without: Vec<String>,
    /// Re-read within this time even what seems unchanged, for what leaves no trace; 'never' trusts the traces
    #[arg(long, value_name = "DURATION", default_value = "14d", value_parser = parse_revalidate)]
    revalidate: Revalidate,
    /// How late a run may be seen: 'exact' asks every published project for runs each time; a duration such as 7d
    /// asks those that can have run, and the others within that time (30d if archived or in the trash)
    #[arg(long, value_name = "exact|DURATION", default_value = "exact", value_parser = parse_freshness)]
    freshness: Freshness,
    /// Organisation that the token belongs to, where the API doesn't say
    #[arg(long, env = "HEX_WORKSPACE_ID", value_name = "ID")]
    workspace_id: Option<String>,
}

/// When what is reused is read again.
#[derive(Debug, Clone, Copy)]
struct Revalidate(Option<TimeDelta>);

fn parse_revalidate(text: &str) -> Result<Revalidate, String> {
    if text.eq_ignore_ascii_case("never") {
        return Ok(Revalidate(None));
    }
    let within = TimeDelta::from_std(parse_duration(text)?).map_err(|_| "that is too long".to_owned())?;
    Ok(Revalidate(Some(within)))
}

/// Reads `exact` or a duration.
pub fn parse_freshness(text: &str) -> Result<Freshness, String> {
    if text.eq_ignore_ascii_case("exact") {
        return Ok(Freshness::Exact);
    }
    let within = TimeDelta::from_std(parse_duration(text)?).map_err(|_| "that is too long".to_owned())?;
    match within >= TimeDelta::days(1) {
        true => Ok(Freshness::Within(within)),
        false => Err("within less than a day everything is asked: use 'exact'".into()),
    }
}

impl TruthArgs {
    /// Adds them to the options of an export.
    fn apply(&self, options: Options) -> Result<Options, Failure> {
        let names = self.accept_shrink.clone();
        let accept_shrink = match names {
            None => Accept::Nothing,
            Some(names) if names.is_empty() => Accept::Everything,
            Some(names) => Accept::Tables(tables(&names)?.iter().map(|t| t.name.to_owned()).collect()),
        };
        Ok(Options {
            accept_shrink,
            without: tables(&self.without)?,
            revalidate: self.revalidate.0,
            freshness: self.freshness,
            workspace_id: self.workspace_id.clone().filter(|id| !id.is_empty()),
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
    Failure::new(Code::Usage, format!("there is no table '{name}'"))
        .next(format!("There are {}.", known.join(", ")))
}

/// Arguments of `hexport export`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The data lake: a folder, made if it isn't there, or a URL such as s3://bucket/prefix, gs://, az://, abfss://
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
    #[arg(long)]
    keep_journal: bool,
    /// Count what the token or the plan doesn't allow as incomplete (exit code 4)
    #[arg(long)]
    strict: bool,
    /// Exit with 0 instead of 4 once a snapshot is committed, for schedulers that retry on anything else
    #[arg(long)]
    ok_incomplete: bool,
    #[command(flatten)]
    budget: BudgetArgs,
    /// Form of the closing summary
    #[arg(long, value_enum, default_value_t = Output::Table)]
    output: Output,
    /// Write figures for Prometheus' textfile collector to this file
    #[arg(long, value_name = "FILE")]
    metrics_file: Option<PathBuf>,
    /// Give the snapshot and every answer this time, so that the same workspace gives the same files
    #[arg(long, value_name = "TIME", hide = true)]
    fixed_time: Option<DateTime<Utc>>,
    #[command(flatten)]
    api: ApiArgs,
}

impl Args {
    /// Where the figures are wanted.
    pub fn metrics_file(&self) -> Option<&Path> {
        self.metrics_file.as_deref()
    }
}

/// Exports, and says what came of it.
///
/// # Errors
/// If nothing could be committed.
pub async fn run(args: Args, settings: &Settings, ui: &Ui) -> Result<Code, Failure> {
    let tables = args.what.tables()?;
    let given = args.what.given(settings)?;
    let reporter = Arc::new(Reporter::new(ui));
    let api = args.api.connect(settings, reporter.clone())?;
    let lake = args.store.open(&args.dest)?;
    let options = Options {
        tables,
        formats: args.what.formats(),
        delta: args.what.delta(),
        base_url: api.client.base_url().to_string(),
        concurrency: api.concurrency,
        budget: Budget {
            until: args.budget.budget.map(|budget| tokio::time::Instant::now() + budget),
            requests: args.budget.max_requests,
        },
        reuse: if args.full { Reuse::Nothing } else { Reuse::Unchanged },
        unfinished: if args.fresh { Unfinished::Discard } else { Unfinished::Resume },
        journal: if args.keep_journal { JournalFate::Kept } else { JournalFate::Removed },
        fixed_time: args.fixed_time,
        audit: settings.file.audit.clone(),
        given,
        ..Options::default()
    };
    let options = args.truth.apply(options)?;
    let stop = Stop::default();
    stop_on_signals(&stop);
    let result =
        export::export(Source::Api(api.client.clone()), &lake, options, reporter.clone(), stop).await;
    reporter.end();
    let sent = api.client.requests_sent();
    let outcome = result?;
    let code = exit_code(&outcome, args.strict);
    let untold = tell(&outcome, &lake, settings).await;
    ui.committed(super::metrics::figures(&outcome, sent, untold));
    show(&outcome, sent, args.output, code);
    Ok(if args.ok_incomplete && code == Code::Incomplete { Code::Complete } else { code })
}

/// Tells people what the audit found, if the settings name somebody. Gives the number of receivers that could not
/// be told: a warning, whatever becomes of the export.
async fn tell(outcome: &Outcome, lake: &Lake, settings: &Settings) -> Option<usize> {
    let config = &settings.file.notify;
    if config.to.is_empty() {
        return None;
    }
    match super::notify::tell(lake, &outcome.manifest, settings, config, Mode::Send).await {
        Ok(failures) => {
            for failure in &failures {
                eprintln!("warning: not told: {}", super::exit::causes(failure));
            }
            Some(failures.len())
        }
        Err(failure) => {
            eprintln!("warning: not told: {failure}");
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

/// Prints what came of an export.
pub fn show(outcome: &Outcome, sent: u64, output: Output, code: Code) {
    match output {
        Output::Json => {
            let text = serde_json::to_string_pretty(&summary(outcome, sent, code)).unwrap_or_default();
            println!("{text}");
        }
        Output::Table => show_tables(outcome, sent),
    }
}

fn summary(outcome: &Outcome, sent: u64, code: Code) -> serde_json::Value {
    let manifest = &outcome.manifest;
    let tables: BTreeMap<&str, serde_json::Value> = manifest
        .tables
        .iter()
        .map(|(name, table)| {
            let seconds = outcome.table_seconds.get(name.as_str());
            let bytes: u64 = table.files.iter().map(|f| f.bytes).sum();
            (name.as_str(), json!({"rows": table.rows, "bytes": bytes, "seconds": seconds, "state": table.state, "entities": table.entities}))
        })
        .collect();
    let list = |state: &crate::crawl::Coverage| json!({"operation": state.endpoint.name(), "entity": state.entity.as_deref(), "state": state.state.name(), "reason": state.reason});
    json!({
        "snapshot_id": manifest.snapshot_id,
        "path": outcome.place,
        "sequence": manifest.sequence,
        "acting_as": manifest.acting_as,
        "complete": manifest.complete,
        "exit_code": code as u8,
        "requests_sent": sent,
        "resumed_answers": outcome.resumed,
        "base_snapshot": outcome.base,
        "crawl_seconds": outcome.crawl_seconds,
        "journal": outcome.journal,
        "tables": tables,
        "endpoints": manifest.endpoints,
        "side_failures": outcome.side_failures,
        "gaps": outcome.gaps().map(list).collect::<Vec<_>>(),
        "forbidden": outcome.forbidden().filter(|c| c.requests > 0).map(list).collect::<Vec<_>>(),
        "schema_drift": manifest.schema_drift,
    })
}

fn show_tables(outcome: &Outcome, sent: u64) {
    let manifest = &outcome.manifest;
    let mut endpoints = render::table(&["Endpoint", "Requests", "Repeated", "Items", "Coverage"], &[1, 2, 3]);
    for (name, summary) in &manifest.endpoints {
        let states: Vec<String> =
            summary.states.iter().map(|(state, n)| format!("{} {state}", render::count(*n))).collect();
        endpoints.add_row([
            name.clone(),
            render::count(summary.requests),
            render::count(summary.retries),
            render::count(summary.rows),
            states.join(", "),
        ]);
    }
    let mut tables = render::table(&["Table", "Rows", "Size", "Time", "State"], &[1, 2, 3]);
    for (name, table) in &manifest.tables {
        let bytes = table.files.iter().map(|f| f.bytes).sum();
        let took = outcome.table_seconds.get(name.as_str()).copied().unwrap_or(0.0);
        tables.add_row([
            name.clone(),
            render::count(table.rows),
            render::bytes(bytes),
            render::seconds(took),
            table.state.map_or("", TableState::name).to_owned(),
        ]);
    }
    println!("{endpoints}\n\n{tables}\n");
    for (table, fields) in &manifest.schema_drift {
        let (repaired, kept): (Vec<_>, Vec<_>) =
            fields.iter().partition(|(name, _)| name.starts_with("repaired: "));
        if !kept.is_empty() {
            let names: Vec<&str> = kept.iter().map(|(name, _)| name.as_str()).collect();
            println!("{table}: kept in 'extra', since no column fits it: {}", names.join(", "));
        }
        if !repaired.is_empty() {
            let kinds: Vec<String> =
                repaired.iter().map(|(name, n)| format!("{} ({n})", &name["repaired: ".len()..])).collect();
            println!("{table}: repaired in the API's answers: {}", kinds.join(", "));
        }
    }
    for gone in outcome.forbidden().filter(|c| c.requests > 0) {
        println!("forbidden: {}: {}", gone.endpoint.name(), gone.reason.as_deref().unwrap_or(""));
    }
    for failure in &outcome.side_failures {
        println!("committed, but not everywhere: {failure}");
    }
    let gaps: Vec<&str> = outcome.tables_in(TableState::is_gap).collect();
    if !gaps.is_empty() {
        println!(
            "incomplete: {} old or missing in part; the table crawl_coverage says which, and why",
            gaps.join(", ")
        );
    }
    let unreadable: Vec<&str> = outcome.tables_in(|state| state == TableState::Unreadable).collect();
    if !unreadable.is_empty() {
        println!("not readable with this token: {}", unreadable.join(", "));
    }
    let took = render::seconds(outcome.crawl_seconds);
    println!("{} requests in {took}; committed {}", render::count(sent), outcome.place);
}
