//! `hexport import`: data from sources other than Hex.

use std::path::PathBuf;

use chrono::{DateTime, Utc};
use chrono_tz::Tz;
use serde_json::json;

use super::exit::{Code, Failure};
use super::settings::{Settings, StoreArgs};
use super::{Output, lakes, render};
use crate::derive::Given;
use crate::history::{self, Field, Kind, Left, Options, Outcome, Sql, extractions};
use crate::snapshot::{DeltaMode, Lake};

/// Commands of `hexport import`.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Import a warehouse's query history: what projects cost, and which tables their queries really read
    ///
    /// Keeps the queries that carry Hex's comment, and commits them as a snapshot on top of the newest of each table.
    /// Queries imported before aren't counted twice. Times without a zone are UTC unless --timezone says otherwise.
    ///
    /// Exits with 0 if all rows could be read (even if all were imported before), 4 if some could not, 5 if no row
    /// carries Hex's comment, and 2 if a file is from another kind of warehouse.
    QueryHistory(Box<Args>),
}

/// Arguments of `hexport import query-history`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The data lake: a folder, or a URL such as s3://bucket/prefix
    #[arg(value_name = "DEST", required_unless_present = "sql")]
    dest: Option<PathBuf>,
    #[command(flatten)]
    store: StoreArgs,
    /// Files of the history: Parquet, CSV or JSON (an array, or one object per line)
    #[arg(value_name = "FILE", required_unless_present = "sql", conflicts_with = "sql")]
    files: Vec<PathBuf>,
    /// Kind of warehouse that the files come from
    #[arg(long, value_enum, value_name = "KIND", required_unless_present = "sql")]
    warehouse: Option<Kind>,
    /// Print the SQL that extracts the history of a kind of warehouse, from where the last import into DEST ended
    #[arg(long, value_enum, value_name = "KIND", conflicts_with_all = ["warehouse", "connection", "map", "keep_sql"])]
    sql: Option<Kind>,
    /// Data connection that the history belongs to, by name or identifier [default: the one in each query's comment]
    #[arg(long, value_name = "NAME")]
    connection: Option<String>,
    /// Name that the files use for a column, such as query_text=sql_text
    #[arg(long, value_name = "COLUMN=NAME", value_parser = mapping)]
    map: Vec<(Field, String)>,
    /// Time zone of times that don't name one, such as Europe/Berlin
    #[arg(long, value_name = "ZONE", default_value = "UTC", value_parser = zone)]
    timezone: Tz,
    /// Keep the queries' SQL, with its literals [default: a fingerprint]
    #[arg(long)]
    keep_sql: bool,
    /// Form of the summary
    #[arg(long, value_enum, default_value_t = Output::Table)]
    output: Output,
    /// Fixed time of the snapshot, so that the same files give the same snapshot
    #[arg(long, value_name = "TIME", hide = true)]
    fixed_time: Option<DateTime<Utc>>,
}

fn mapping(text: &str) -> Result<(Field, String), String> {
    let (field, name) =
        text.split_once('=').filter(|(_, name)| !name.is_empty()).ok_or("write COLUMN=NAME")?;
    let known = || Field::ALL.map(Field::name).join(", ");
    let field =
        Field::named(field).ok_or_else(|| format!("there is no column '{field}'; use one of {}", known()))?;
    Ok((field, name.to_owned()))
}

fn zone(text: &str) -> Result<Tz, String> {
    text.parse().map_err(|_| format!("'{text}' is not a time zone such as Europe/Berlin"))
}

/// Imports.
///
/// # Errors
/// If a file can't be read or is of another kind, or nothing could be committed.
pub fn run(command: Command, settings: &Settings) -> Result<Code, Failure> {
    let Command::QueryHistory(args) = command;
    let dest = args.dest.as_deref();
    let lake = dest.map(|dest| args.store.open(dest)).transpose()?;
    if let Some(kind) = args.sql {
        return print_sql(lake.as_ref(), kind);
    }
    let (Some(lake), Some(kind)) = (lake, args.warehouse) else {
        return Err(Failure::new(Code::Usage, "give the lake, the files and --warehouse"));
    };
    lakes::known(&lake)?;
    let options = Options {
        connection: args.connection.clone(),
        map: args.map.iter().cloned().collect(),
        zone: args.timezone,
        sql: if args.keep_sql { Sql::Kept } else { Sql::Dropped },
        given: given(settings),
        audit: settings.file.audit.clone(),
        delta: settings.file.export.delta_mode.unwrap_or(DeltaMode::History),
        fixed_time: args.fixed_time,
        ..Options::new(kind)
    };
    let outcome = history::import(&lake, &args.files, &options)?;
    for failure in &outcome.side_failures {
        tracing::warn!("{failure}");
    }
    let code = code(&outcome);
    match args.output {
        Output::Json => print_json(&outcome, code),
        Output::Table => print_table(&outcome),
    }
    if code == Code::Nothing {
        return Err(Failure::new(Code::Nothing, "no row carries Hex's comment, so nothing was committed").next(
            "Check that the extraction keeps the full text of queries, comments included, and that it comes from \
             the warehouse that Hex uses.",
        ));
    }
    Ok(code)
}

/// The warehouses' settings in the settings file.
pub fn given(settings: &Settings) -> Given {
    let connections = settings.file.connections.iter();
    Given {
        connections: connections.map(|(name, names)| (name.to_lowercase(), names.clone())).collect(),
        prices: settings.file.cost.clone(),
        ..Given::default()
    }
}

fn code(outcome: &Outcome) -> Code {
    let is_incomplete = outcome.committed.as_ref().is_some_and(|(manifest, _)| !manifest.complete);
    match outcome.with_comment() {
        0 => Code::Nothing,
        _ if outcome.left.contains_key(&Left::Unreadable) || is_incomplete => Code::Incomplete,
        _ => Code::Complete,
    }
}

fn print_sql(lake: Option<&Lake>, kind: Kind) -> Result<Code, Failure> {
    for extraction in extractions(lake, kind, Utc::now())? {
        let since = extraction.since.format("%Y-%m-%d %H:%M:%S UTC");
        match &extraction.connection {
            Some(name) => println!("-- Connection {}, since {since}", name.replace(['\n', '\r'], " ")),
            None => println!("-- Since {since}: nothing was imported yet"),
        }
        println!("{}", extraction.sql.trim_end());
    }
    Ok(Code::Complete)
}

fn print_json(outcome: &Outcome, code: Code) {
    let committed = outcome.committed.as_ref();
    let tables = committed.map(|(manifest, _)| {
        let rows = manifest
            .tables
            .iter()
            .map(|(name, table)| (name.clone(), json!({"rows": table.rows, "state": table.state})));
        rows.collect::<serde_json::Map<_, _>>()
    });
    let connections = outcome
        .connections
        .iter()
        .map(|(name, (queries, last))| (name.clone(), json!({"queries": queries, "last_started_at": last})));
    let whole = json!({
        "snapshot_id": committed.map(|(manifest, _)| &manifest.snapshot_id),
        "path": committed.map(|(_, place)| place),
        "exit_code": code as u8,
        "rows": outcome.rows,
        "imported": outcome.used,
        "not_used": outcome.left,
        "unreadable": outcome.unreadable,
        "remarks": outcome.remarks,
        "connections": connections.collect::<serde_json::Map<_, _>>(),
        "tables": tables,
    });
    println!("{}", serde_json::to_string_pretty(&whole).unwrap_or_default());
}

fn print_table(outcome: &Outcome) {
    println!("{} rows, {} of them imported", render::count(outcome.rows), render::count(outcome.used));
    for (why, n) in &outcome.left {
        println!("  {:>12}  {}", render::count(*n), why.words());
    }
    for (why, n) in &outcome.unreadable {
        println!("  {:>12}  unreadable: {why}", render::count(*n));
    }
    let remarks = &outcome.remarks;
    let counts = [
        (remarks.times_without_zone, "start at a time without a zone (--timezone)"),
        (remarks.in_the_future, "start in the future: check --timezone"),
        (remarks.repaired_comments, "have a damaged comment, of which the intact fields were read"),
        (remarks.without_project, "name no project"),
        (remarks.unknown_connection, "name no connection of the workspace (--connection)"),
        (remarks.tables_unknown, "read tables that could not be determined"),
    ];
    let counts = counts.into_iter().filter(|(n, _)| *n > 0).collect::<Vec<_>>();
    if !counts.is_empty() {
        println!("Of the queries with Hex's comment:");
    }
    for (n, what) in counts {
        println!("  {:>12}  {what}", render::count(n));
    }
    for (column, n) in &remarks.values_unread {
        println!("  {:>12}  have a value of {column} that can't be read", render::count(*n));
    }
    let mut table = render::table(&["Connection", "Queries", "Last one started"], &[1]);
    for (name, (queries, last)) in &outcome.connections {
        let name = if name.is_empty() { "(unknown)" } else { name };
        table.add_row([
            name.to_owned(),
            render::count(*queries),
            last.format("%Y-%m-%d %H:%M:%S UTC").to_string(),
        ]);
    }
    match &outcome.committed {
        Some((_, place)) => println!("\n{table}\n\ncommitted {place}"),
        None if outcome.with_comment() > 0 => println!("\nNothing new: no snapshot was committed."),
        None => {}
    }
}
