//! The `hexport` command: clap types, and one thin handler a command.

/// Prints for people, or JSON: see [`out`]. Takes the place of std's in all commands, which ends the process with a
/// panic when nobody reads.
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
mod datahub;
mod dbt;
mod ddl;
#[cfg(feature = "sim")]
mod demo;
mod diff;
mod exit;
mod export;
mod given;
mod impact;
mod lakes;
mod lineage;
#[cfg(feature = "mcp")]
mod mcp;
mod metrics;
mod notify;
mod openlineage;
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

use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::{Mutex, PoisonError};

use clap::{CommandFactory, FromArgMatches, Parser, Subcommand, ValueEnum};
use tracing_subscriber::EnvFilter;

use exit::{Code, Failure};
use settings::Settings;

const EXIT_CODES: &str = "\
Exit codes:
    0  complete
    2  usage: a flag, a setting or a URL is wrong
    3  authentication: no token, or one that the API refuses
    4  incomplete: a snapshot was committed, crawl_coverage says what is missing
    5  nothing was committed; the same command goes on where it ended
    6  the destination can't be written, or isn't hexport's
    7  the audit, or hexport impact, found something at or above --fail-on
   20  a run that was waited for failed (ERRORED)
   21  a run that was waited for was cancelled (KILLED)
   22  a run that was waited for got no kernel (UNABLE_TO_ALLOCATE_KERNEL)
   23  a run that was waited for has not ended in the time allowed; it goes on
  24  a run that was to be cancelled had ended before
  130  interrupted; the same command goes on where it ended

The token comes from HEX_API_TOKEN, or from the file that HEX_API_TOKEN_FILE or --token-file names.
Settings: flag, then environment, then hexport.toml, then default.";

/// Workspace audit and metadata exporter for Hex
#[derive(Debug, Parser)]
#[command(name = "hexport", version, after_help = EXIT_CODES, max_term_width = 110)]
struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Args)]
struct Global {
    /// Settings file; hexport.toml in the current folder by default
    #[arg(long, global = true, env = "HEXPORT_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
    /// Log lines in place of progress bars [default: bars on a terminal, else text]
    #[arg(long, global = true, env = "HEXPORT_LOG_FORMAT", value_name = "FORMAT")]
    log_format: Option<LogFormat>,
    /// Say more: -v gives log lines in place of progress bars, -vv names each request
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    verbose: u8,
    /// Say nothing but errors and the result
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    quiet: bool,
}

/// Form of log lines.
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
    /// Export a simulated workspace over HTTP: everything works, nothing is needed
    #[cfg(feature = "sim")]
    Demo(demo::Args),
    /// Crawl a workspace and commit a snapshot of it to DEST
    Export(export::Args),
    /// Show what an export to DEST would cost, before anything but the list calls is spent
    Plan(plan::Args),
    /// Build a snapshot again from a kept journal, without asking the API
    Rebuild(rebuild::Args),
    /// Check a snapshot for governance problems
    Audit(audit::Args),
    /// Show who can reach a project or table, what a person can reach, and what changed in it
    Access(access::Args),
    /// Tell people by Slack, Teams, a webhook or email what the audit found since it last told them
    Notify(notify::Args),
    /// Show what was added, removed and changed between two snapshots
    Diff(diff::Args),
    /// List, show, verify and prune snapshots
    #[command(subcommand)]
    Snapshots(snapshots::Command),
    /// Show which projects read a table or use a connection, or what a project reads
    Lineage(lineage::Args),
    /// Show what a change of the warehouse breaks: projects, cells, owners, views, the next run
    Impact(impact::Args),
    /// Write exposures for dbt
    #[command(subcommand)]
    Dbt(dbt::Command),
    /// Write one self-contained HTML page about a snapshot
    Report(report::Args),
    /// Tell a catalog what runs and which tables it reads, as OpenLineage events
    #[command(name = "openlineage")]
    OpenLineage(openlineage::Args),
    /// Write projects, cells, lineage, owners and usage as a file that DataHub ingests
    #[command(name = "datahub")]
    DataHub(datahub::Args),
    /// Answer an assistant's questions about a lake by the Model Context Protocol, on standard input and output
    #[cfg(feature = "mcp")]
    Mcp(mcp::Args),
    /// Run a query of the library, or any SQL, over a lake with DuckDB
    Query(query::Args),
    /// List, show, create, update, share and export projects
    #[command(subcommand)]
    Projects(ops::projects::Command),
    /// List, show, start, cancel and wait for runs
    #[command(subcommand)]
    Runs(ops::runs::Command),
    /// List the warehouse tables that a project's published runs have queried (Enterprise plan)
    Tables(ops::projects::TablesArgs),
    /// List and show cells of a project's draft
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
    /// List users, show who the token acts as, deactivate a user
    #[command(subcommand)]
    Users(ops::users::Command),
    /// Check token, URL, reach and limit
    Check(check::Args),
    /// Show the exported tables: columns, types, docs, sources
    Schema(schema::Args),
    /// Serve a simulated workspace that speaks the Hex API
    #[cfg(feature = "sim")]
    Simulate(Box<simulate::Args>),
    /// Print the completions of a shell
    Completions {
        /// Shell
        #[arg(value_enum)]
        shell: clap_complete::Shell,
    },
    /// Write the man pages into a folder
    Man {
        /// Folder; made if it isn't there
        #[arg(value_name = "FOLDER")]
        folder: PathBuf,
    },
}

/// Runs the command that the process was started with.
pub fn main() -> ExitCode {
    let cli = match parse() {
        Ok(cli) => cli,
        Err(ended) => return ended,
    };
    let metrics_file = cli.command.metrics_file().map(PathBuf::from);
    let mut figures = None;
    let result = Settings::load(cli.global.config.as_deref()).and_then(|settings| {
        let ui = Ui::new(&cli.global, &settings);
        ui.start_logging();
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
        let runtime =
            runtime.map_err(|e| Failure::new(Code::Nothing, format!("the runtime can't start: {e}")))?;
        let result = runtime.block_on(cli.command.run(&settings, &ui));
        // A request that is still under way is nobody's any more.
        runtime.shutdown_background();
        figures = ui.figures();
        result
    });
    let mut code = match result {
        Ok(code) => code,
        Err(failure) => {
            eprintln!("{failure}");
            failure.code
        }
    };
    if let Some(path) = metrics_file
        && let Err(why) = metrics::record(&path, code, figures.as_ref())
    {
        eprintln!("warning: the metrics file {} can't be written: {why}", path.display());
    }
    if let Err(failure) = out::finish() {
        // What is committed stays a success, although nobody could read of it.
        match figures {
            Some(_) => eprintln!("warning: {failure}"),
            None => {
                eprintln!("{failure}");
                code = failure.code;
            }
        }
    }
    code.into()
}

/// Reads the command line; or gives how the process ends, where there is nothing to run.
fn parse() -> Result<Cli, ExitCode> {
    let parsed = without_empty_variables(Cli::command()).try_get_matches();
    parsed.and_then(|matches| Cli::from_arg_matches(&matches)).map_err(|error| {
        let text = error.render();
        if error.use_stderr() {
            eprintln!("{}", text.to_string().trim_end());
            return ExitCode::from(error.exit_code() as u8);
        }
        println!("{}", text.to_string().trim_end());
        match out::finish() {
            Ok(()) => ExitCode::SUCCESS,
            Err(failure) => {
                eprintln!("{failure}");
                failure.code.into()
            }
        }
    })
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
    /// Where the figures of a run are wanted.
    fn metrics_file(&self) -> Option<&Path> {
        match self {
            Command::Export(args) => args.metrics_file(),
            _ => None,
        }
    }

    async fn run(self, settings: &Settings, ui: &Ui) -> Result<Code, Failure> {
        match self {
            #[cfg(feature = "sim")]
            Command::Demo(args) => demo::run(args, ui).await,
            Command::Export(args) => export::run(args, settings, ui).await,
            Command::Plan(args) => plan::run(args, settings, ui).await,
            Command::Rebuild(args) => rebuild::run(args, settings, ui).await,
            Command::Audit(args) => audit::run(&args, settings),
            Command::Access(args) => access::run(&args, settings),
            Command::Notify(args) => notify::run(args, settings).await,
            Command::Diff(args) => diff::run(&args),
            Command::Snapshots(command) => snapshots::run(command),
            Command::Lineage(args) => lineage::run(args),
            Command::Impact(args) => impact::run(&args),
            Command::Dbt(command) => dbt::run(command),
            Command::DataHub(args) => datahub::run(args, settings),
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

/// How the command talks to whoever started it.
#[derive(Debug)]
struct Ui {
    bars: bool,
    log_format: LogFormat,
    level: &'static str,
    /// Figures of the snapshot that was committed.
    figures: Mutex<Option<metrics::Figures>>,
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
        Self { bars, log_format: format.unwrap_or(LogFormat::Text), level, figures: Mutex::new(None) }
    }

    /// Takes note of a commit and its figures.
    fn committed(&self, figures: metrics::Figures) {
        *self.figures.lock().unwrap_or_else(PoisonError::into_inner) = Some(figures);
    }

    /// The figures of the snapshot that was committed, if one was.
    fn figures(&self) -> Option<metrics::Figures> {
        self.figures.lock().unwrap_or_else(PoisonError::into_inner).take()
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
