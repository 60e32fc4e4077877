//! The `hexport` command: clap types, and one thin handler per command.

/// Prints for people, or JSON: see [`out`]. Replaces std's in all commands, since that panics when nobody reads.
macro_rules! println {
    () => { $crate::cli::out::print(format_args!("\n")) };
    ($($text:tt)*) => { $crate::cli::out::print(format_args!("{}\n", format_args!($($text)*))) };
}
macro_rules! print {
    ($($text:tt)*) => { $crate::cli::out::print(format_args!($($text)*)) };
}
macro_rules! eprintln {
    ($($text:tt)*) => { $crate::cli::out::print_error(format_args!("{}\n", format_args!($($text)*))) };
}

mod access;
mod audit;
mod check;
mod completions;
mod cost;
mod datahub;
mod dbt;
mod ddl;
#[cfg(feature = "sim")]
mod demo;
mod diff;
mod exit;
mod export;
mod forget;
mod given;
mod handed;
mod impact;
mod import;
mod init;
mod lakes;
mod lineage;
#[cfg(feature = "mcp")]
mod mcp;
mod metrics;
mod near;
mod nightly;
mod notify;
mod openlineage;
mod openmetadata;
mod ops;
mod out;
mod plan;
mod progress;
mod query;
mod rebuild;
mod render;
mod report;
mod schema;
mod settings;
#[cfg(feature = "sim")]
mod simulate;
mod snapshots;
mod strict;
mod summary;
mod values;
mod why;

use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::{Mutex, PoisonError};

use clap::{CommandFactory, FromArgMatches, Parser, Subcommand, ValueEnum};
use serde_json::{Map, Value};
use tracing_subscriber::EnvFilter;

use crate::export::Outcome;
use exit::{Code, Failure};
use settings::Settings;

/// Workspace audit and metadata exporter for Hex
#[derive(Debug, Parser)]
#[command(name = "hexport", version, after_help = exit::help_footer(), max_term_width = 110)]
struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Args)]
struct Global {
    /// Settings file [default: hexport.toml in the current folder, if there is one]
    #[arg(long, global = true, env = "HEXPORT_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
    /// Print log lines instead of a progress bar [default: a bar on a terminal, else text]
    #[arg(long, global = true, env = "HEXPORT_LOG_FORMAT", value_name = "FORMAT")]
    log_format: Option<LogFormat>,
    /// Say more: -v prints log lines instead of a progress bar, -vv adds each request
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    verbose: u8,
    /// Print only errors and the result
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    quiet: bool,
}

/// Format of log lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// Form of a command's result.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Output {
    /// Tables for people.
    Table,
    /// One JSON document.
    Json,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Set up hexport: check URL and token, write hexport.toml, show a schedule and what an export will cost
    Init(init::Args),
    /// Try it: export a simulated workspace over HTTP, without a Hex account
    #[cfg(feature = "sim")]
    Demo(demo::Args),
    /// Crawl a workspace and commit a snapshot of it to DEST
    Export(export::Args),
    /// Show what an export to DEST would cost; sends only the list requests
    Plan(plan::Args),
    /// Rebuild a snapshot from a kept journal, without calling the API
    Rebuild(rebuild::Args),
    /// Import what comes from elsewhere than Hex: query histories of warehouses
    #[command(subcommand)]
    Import(import::Command),
    /// Show what projects, owners, schedules, cells, tables, users or runs cost, by imported query histories
    Cost(cost::Args),
    /// Check a snapshot for governance problems
    Audit(audit::Args),
    /// Explain why a snapshot is incomplete, or why there is none
    Why(why::Args),
    /// Show who can reach a project or table, what a person can reach, and how access changed
    Access(access::Args),
    /// Send new and resolved audit findings to Slack, Teams, a webhook or email
    Notify(notify::Args),
    /// Show what was added, removed and changed between two snapshots
    Diff(diff::Args),
    /// List, show, verify and prune snapshots
    #[command(subcommand)]
    Snapshots(snapshots::Command),
    /// Replace a person's email address by a pseudonym in everything that a lake holds
    ///
    /// The key in HEXPORT_PSEUDONYM_KEY makes the pseudonym. Later exports and imports replace the address, too, and
    /// need the same key. hexport snapshots verify --forgotten EMAIL checks that the address is nowhere left.
    Forget(forget::Args),
    /// Show which projects read a table or use a connection, or what a project reads
    Lineage(lineage::Args),
    /// Show what a change of the warehouse breaks: projects, cells, owners, views, the next run
    Impact(impact::Args),
    /// Write exposures for dbt
    #[command(subcommand)]
    Dbt(dbt::Command),
    /// Write one self-contained HTML page about a snapshot
    Report(report::Args),
    /// Send runs and lineage to a data catalog, as OpenLineage events
    #[command(name = "openlineage")]
    OpenLineage(openlineage::Args),
    /// Write projects, cells, lineage, owners and usage as a file that DataHub ingests
    #[command(name = "datahub")]
    DataHub(datahub::Args),
    /// Write a snapshot as the requests that OpenMetadata's API takes: dashboards, charts, tags, lineage
    #[command(name = "openmetadata")]
    OpenMetadata(openmetadata::Args),
    /// Answer an assistant's questions about a lake over the Model Context Protocol, on standard input and output
    #[cfg(feature = "mcp")]
    Mcp(mcp::Args),
    /// Run a prepared query, or any SQL, over a lake with DuckDB
    Query(query::Args),
    /// List, show, create, update, share and export projects
    #[command(subcommand)]
    Projects(ops::projects::Command),
    /// List, show, start, cancel and wait for runs
    #[command(subcommand)]
    Runs(ops::runs::Command),
    /// List the warehouse tables that a project's published runs have queried (Enterprise plan)
    Tables(ops::projects::TablesArgs),
    /// List and show the cells of a project's draft
    #[command(subcommand)]
    Cells(ops::cells::Command),
    /// List, show, create and edit collections
    #[command(subcommand)]
    Collections(ops::collections::Command),
    /// List and show data connections
    #[command(subcommand)]
    Connections(ops::connections::Command),
    /// List, show, create, edit and delete groups
    #[command(subcommand)]
    Groups(ops::groups::Command),
    /// List users, show whose token this is, deactivate a user
    #[command(subcommand)]
    Users(ops::users::Command),
    /// Check the token, the URL, what the token may read, and the rate limits
    Check(check::Args),
    /// Show the exported tables: columns, types, sources, meaning
    Schema(schema::Args),
    /// Serve a simulated workspace that speaks the Hex API
    #[cfg(feature = "sim")]
    Simulate(Box<simulate::Args>),
    /// Print shell completions
    Completions {
        /// Shell
        #[arg(value_enum)]
        shell: clap_complete::Shell,
    },
    /// Write the man pages into a folder
    Man {
        /// Folder, created if it doesn't exist
        #[arg(value_name = "FOLDER")]
        folder: PathBuf,
    },
}

/// Runs the command that the process was started with.
pub fn main() -> ExitCode {
    let (cli, name) = match parse() {
        Ok(parsed) => parsed,
        Err(ended) => return ended,
    };
    let (settings, broken) = match Settings::load(cli.global.config.as_deref()) {
        Ok(settings) => (settings, None),
        Err(failure) => (Settings::default(), Some(failure)),
    };
    let ui = Ui::new(&cli.global, &settings);
    ui.start_logging();
    let metrics_file = cli.command.metrics_file(&settings).map(PathBuf::from);
    let result = match broken {
        Some(failure) if cli.command.needs_settings() => Err(failure),
        Some(failure) => {
            eprintln!("warning: {}; {name} doesn't need it, and goes on", failure.parts().0);
            cli.command.start(&settings, &ui)
        }
        None => cli.command.start(&settings, &ui),
    };
    let committed = ui.take_committed();
    let (mut code, mut failed) = match result {
        Ok(code) => (code, None),
        Err(failure) => {
            print_failure(&failure);
            (failure.code, Some(failure))
        }
    };
    let figures = committed.as_ref().map(|committed| &committed.figures);
    if let Some(path) = metrics_file
        && let Err(why) = metrics::record(&path, code, figures)
    {
        eprintln!("warning: the metrics file {} can't be written: {why}", path.display());
    }
    if let Err(failure) = out::finish() {
        // A committed snapshot stays a success, even if nobody could read about it.
        if committed.is_some() {
            eprintln!("warning: {}", failure.parts().0);
        } else {
            print_failure(&failure);
            code = failure.code;
            failed = Some(failure);
        }
    }
    close_log(Some(&name), code, failed.as_ref(), committed);
    code.into()
}

/// Prints an error for people, or as an event of a JSON log.
fn print_failure(failure: &Failure) {
    if !out::is_json_log() {
        eprintln!("{failure}");
        return;
    }
    let (what, next) = failure.parts();
    let mut fields = Map::from_iter([("exit_code".to_owned(), Value::from(failure.code as u8))]);
    fields.extend(next.map(|next| ("next".to_owned(), Value::from(next))));
    out::event("ERROR", what, fields);
}

/// Ends a JSON log with one event that says what came of the command.
fn close_log(command: Option<&str>, code: Code, failed: Option<&Failure>, committed: Option<Committed>) {
    if !out::is_json_log() {
        return;
    }
    let mut fields = Map::new();
    fields.insert("command".into(), command.into());
    fields.insert("exit_code".into(), Value::from(code as u8));
    fields.insert("meaning".into(), code.meaning().into());
    fields.insert("committed".into(), committed.is_some().into());
    if let Some(failure) = failed {
        fields.insert("error".into(), failure.parts().0.into());
    }
    if let Some(committed) = committed {
        fields.extend(committed.fields);
    }
    let level = match (failed, code) {
        (Some(_), _) => "ERROR",
        (None, Code::Complete) => "INFO",
        (None, _) => "WARN",
    };
    out::event(level, "ended", fields);
}

/// Reads the command line, and gives the command's name; or how the process ends, where there is nothing to run.
fn parse() -> Result<(Cli, String), ExitCode> {
    if wants_json_log() {
        out::log_as_json();
    }
    let command = without_empty_variables(Cli::command());
    let parsed = command.clone().try_get_matches().and_then(|matches| {
        let name = matches.subcommand_name().unwrap_or_default().to_owned();
        Cli::from_arg_matches(&matches).map(|cli| (cli, name))
    });
    parsed.map_err(|error| {
        let text = error.render().to_string();
        if error.use_stderr() {
            let tip = moved(&error, &command).map_or(String::new(), |tip| format!("\n\n  tip: {tip}"));
            eprintln!("{}{tip}", text.trim_end());
            let code = error.exit_code() as u8;
            if code == Code::Usage as u8 {
                close_log(None, Code::Usage, None, None);
            }
            return ExitCode::from(code);
        }
        println!("{}", text.trim_end());
        match out::finish() {
            Ok(()) => ExitCode::SUCCESS,
            Err(failure) => {
                print_failure(&failure);
                failure.code.into()
            }
        }
    })
}

/// Whether a JSON log was asked for on the command line or in the environment. Errors in the command line itself are
/// written before it has been understood.
fn wants_json_log() -> bool {
    let args: Vec<_> = std::env::args_os().skip(1).map(|arg| arg.to_string_lossy().into_owned()).collect();
    let flag = args.iter().enumerate().find_map(|(i, arg)| match arg.strip_prefix("--log-format") {
        Some("") => Some(args.get(i + 1).cloned().unwrap_or_default()),
        Some(value) => value.strip_prefix('=').map(str::to_owned),
        None => None,
    });
    let asked = flag.or_else(|| std::env::var("HEXPORT_LOG_FORMAT").ok());
    asked.is_some_and(|format| format.eq_ignore_ascii_case("json"))
}

/// Where a command that isn't there lives instead: `hexport verify` is `hexport snapshots verify`.
fn moved(error: &clap::Error, command: &clap::Command) -> Option<String> {
    use clap::error::{ContextKind, ContextValue};
    let Some(ContextValue::String(asked)) = error.get(ContextKind::InvalidSubcommand) else { return None };
    let homes: Vec<String> = command
        .get_subcommands()
        .filter(|home| home.find_subcommand(asked).is_some())
        .map(|home| format!("'hexport {} {asked}'", home.get_name()))
        .collect();
    (!homes.is_empty()).then(|| format!("there is {}", homes.join(", ")))
}

/// An environment variable that is set and empty counts as not set.
fn without_empty_variables(command: clap::Command) -> clap::Command {
    let is_empty = |name: &std::ffi::OsStr| std::env::var_os(name).is_some_and(|value| value.is_empty());
    command
        .mut_args(|arg| match arg.get_env().is_some_and(is_empty) {
            true => arg.env(clap::builder::Resettable::Reset),
            false => arg,
        })
        .mut_subcommands(without_empty_variables)
}

impl Command {
    /// File for an export's metrics, if they are wanted.
    fn metrics_file<'a>(&'a self, settings: &'a Settings) -> Option<&'a Path> {
        match self {
            Command::Export(args) => args.metrics_file(&settings.file.export),
            _ => None,
        }
    }

    /// Whether the settings file says anything to the command. A broken file stops no other.
    fn needs_settings(&self) -> bool {
        match self {
            #[cfg(feature = "sim")]
            Command::Demo(_) | Command::Simulate(_) => false,
            Command::Init(_)
            | Command::Why(_)
            | Command::Diff(_)
            | Command::Snapshots(_)
            | Command::Forget(_)
            | Command::Lineage(_)
            | Command::Query(_)
            | Command::OpenLineage(_)
            | Command::Schema(_)
            | Command::Completions { .. }
            | Command::Man { .. } => false,
            _ => true,
        }
    }

    /// Runs to the end on a runtime of its own.
    fn start(self, settings: &Settings, ui: &Ui) -> Result<Code, Failure> {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
        let runtime =
            runtime.map_err(|e| Failure::new(Code::Nothing, format!("the runtime can't start: {e}")))?;
        let result = runtime.block_on(self.run(settings, ui));
        // Nobody waits for a request that is still under way.
        runtime.shutdown_background();
        result
    }

    async fn run(self, settings: &Settings, ui: &Ui) -> Result<Code, Failure> {
        match self {
            #[cfg(feature = "sim")]
            Command::Demo(args) => demo::run(args, ui).await,
            Command::Init(args) => init::run(args, settings, ui).await,
            Command::Export(args) => export::run(args, settings, ui).await,
            Command::Plan(args) => plan::run(args, settings, ui).await,
            Command::Rebuild(args) => rebuild::run(args, settings, ui).await,
            Command::Import(command) => import::run(command, settings),
            Command::Cost(args) => cost::run(&args, settings),
            Command::Audit(args) => audit::run(&args, settings),
            Command::Why(args) => why::run(&args),
            Command::Access(args) => access::run(&args, settings),
            Command::Notify(args) => notify::run(args, settings).await,
            Command::Diff(args) => diff::run(&args),
            Command::Snapshots(command) => snapshots::run(command),
            Command::Forget(args) => forget::run(&args),
            Command::Lineage(args) => lineage::run(args),
            Command::Impact(args) => impact::run(&args),
            Command::Dbt(command) => dbt::run(command),
            Command::DataHub(args) => datahub::run(args, settings),
            Command::OpenMetadata(args) => openmetadata::run(args, settings),
            #[cfg(feature = "mcp")]
            Command::Mcp(args) => mcp::run(args, settings).await,
            Command::Query(args) => query::run(&args),
            Command::Report(args) => report::run(&args, settings),
            Command::OpenLineage(args) => openlineage::run(args, ui).await,
            Command::Projects(command) => ops::projects::run(command, settings, ui).await,
            Command::Runs(command) => ops::runs::run(command, settings, ui).await,
            Command::Tables(args) => ops::projects::tables(args, settings, ui).await,
            Command::Cells(command) => ops::cells::run(command, settings, ui).await,
            Command::Collections(command) => ops::collections::run(command, settings, ui).await,
            Command::Connections(command) => ops::connections::run(command, settings, ui).await,
            Command::Groups(command) => ops::groups::run(command, settings, ui).await,
            Command::Users(command) => ops::users::run(command, settings, ui).await,
            Command::Check(args) => check::run(args, settings, ui).await,
            Command::Schema(args) => schema::run(&args),
            #[cfg(feature = "sim")]
            Command::Simulate(args) => simulate::run(*args).await,
            Command::Completions { shell } => completions::print(shell),
            Command::Man { folder } => completions::man(&folder),
        }
    }
}

/// A committed snapshot, as the end of the process tells of it.
#[derive(Debug)]
struct Committed {
    figures: metrics::Figures,
    fields: Map<String, Value>,
}

/// Console settings, and the commit to report at the end.
#[derive(Debug)]
struct Ui {
    bars: bool,
    log_format: LogFormat,
    level: &'static str,
    committed: Mutex<Option<Committed>>,
}

impl Ui {
    fn new(global: &Global, settings: &Settings) -> Self {
        let format = global.log_format.or(settings.file.log_format);
        let level = match (global.quiet, global.verbose) {
            (true, _) => "error",
            (false, 0 | 1) => "info",
            (false, _) => "debug",
        };
        let bars =
            format.is_none() && !global.quiet && global.verbose == 0 && std::io::stderr().is_terminal();
        let log_format = format.unwrap_or(LogFormat::Text);
        if log_format == LogFormat::Json {
            out::log_as_json();
        }
        Self { bars, log_format, level, committed: Mutex::new(None) }
    }

    /// Notes a commit: its metrics, and the fields of the closing event.
    fn committed(&self, outcome: &Outcome, sent: u64, untold: Option<usize>) {
        let figures = metrics::figures(outcome, sent, untold);
        let fields = summary::closing_fields(outcome, sent);
        let committed = Committed { figures, fields };
        *self.committed.lock().unwrap_or_else(PoisonError::into_inner) = Some(committed);
    }

    /// The commit, if there was one.
    fn take_committed(&self) -> Option<Committed> {
        self.committed.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    fn start_logging(&self) {
        let level = if self.bars { "error" } else { self.level };
        let asked = std::env::var("HEXPORT_LOG").ok().filter(|filter| !filter.is_empty());
        let filter = asked
            .and_then(|filter| EnvFilter::try_new(filter).ok())
            .unwrap_or_else(|| EnvFilter::new(format!("off,hexport={level}")));
        let builder = tracing_subscriber::fmt()
            .with_env_filter(filter)
            .with_writer(|| out::LogWriter)
            .with_target(false)
            .with_ansi(false)
            .log_internal_errors(false);
        match self.log_format {
            LogFormat::Text => builder.init(),
            LogFormat::Json => builder.json().flatten_event(true).init(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }
}
