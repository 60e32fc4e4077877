//! `hexport lineage`: who reads and writes what.

use std::collections::BTreeSet;
use std::path::PathBuf;

use chrono::{DateTime, Utc};

use super::exit::{Code, Failure};
use super::near::did_you_mean;
use super::out;
use super::render::counted;
use super::settings::StoreArgs;
use super::summary::text;
use crate::derive::LINEAGE;
use crate::lineage::{Edge, Question, find, mermaid};
use crate::schema::Table;
use crate::snapshot::{Lake, Manifest, TableReader};
use crate::tables::{DATA_CONNECTIONS, PROJECTS};

/// Arguments of `hexport lineage`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The data lake: a folder, or a URL such as s3://bucket/prefix
    #[arg(value_name = "DEST")]
    dest: PathBuf,
    #[command(flatten)]
    store: StoreArgs,
    #[command(flatten)]
    about: About,
    /// Only projects that read this column
    #[arg(long, value_name = "COLUMN")]
    column: Option<String>,
    /// Snapshot: its name, a date such as 2026-11-24, or an age such as 7d [default: the newest]
    #[arg(long, value_name = "SNAPSHOT")]
    snapshot: Option<String>,
    /// Form of the result
    #[arg(long, value_enum, default_value_t = Form::Tree)]
    output: Form,
}

/// Subject of the question.
#[derive(Debug, clap::Args)]
#[group(required = true, multiple = false)]
struct About {
    /// List who reads and writes a table (its full name or the end of it, such as core.orders)
    #[arg(long, value_name = "TABLE")]
    table: Option<String>,
    /// List who uses a connection (name or identifier)
    #[arg(long, value_name = "CONNECTION")]
    connection: Option<String>,
    /// List what a project reads and writes (title or identifier)
    #[arg(long, value_name = "PROJECT")]
    project: Option<String>,
}

/// Form of the result.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Form {
    /// For people.
    Tree,
    /// A JSON array.
    Json,
    /// CSV.
    Csv,
    /// A Mermaid flow chart.
    Mermaid,
}

/// Answers a question about lineage.
///
/// # Errors
/// If there is no snapshot, or it can't be read.
pub fn run(args: Args) -> Result<Code, Failure> {
    let question = match (args.about.table, args.about.connection, args.about.project) {
        (Some(table), _, _) => Question::Table(table),
        (_, Some(connection), _) => Question::Connection(connection),
        (_, _, project) => Question::Project(project.unwrap_or_default()),
    };
    let lake = args.store.open(&args.dest)?;
    let manifest = super::snapshots::one(&lake, args.snapshot.as_deref())?;
    let edges = find(&lake, &manifest, &question, args.column.as_deref())?.ok_or_else(|| {
        Failure::new(Code::Usage, format!("the snapshot {} has no lineage as Parquet", manifest.snapshot_id))
            .next("Export with --format parquet and with the table lineage.")
    })?;
    if edges.is_empty() {
        check_known(&lake, &manifest, &question, args.column.as_deref())?;
    }
    match args.output {
        Form::Json => println!("{}", serde_json::to_string_pretty(&edges).unwrap_or_default()),
        Form::Csv => print_csv(&edges)?,
        Form::Mermaid => print!("{}", mermaid(&edges)),
        Form::Tree if edges.is_empty() => println!("no lineage in the snapshot {}", manifest.snapshot_id),
        Form::Tree => print_tree(&question, &edges, args.column.is_some()),
    }
    Ok(Code::Complete)
}

/// Makes sure that no answer means no lineage, and not a mistyped name.
///
/// # Errors
/// If nothing of the name is in the snapshot, with the names that come near.
fn check_known(
    lake: &Lake,
    manifest: &Manifest,
    question: &Question,
    column: Option<&str>,
) -> Result<(), Failure> {
    let (kind, wanted, places): (_, _, &[(&'static Table, &str)]) = match question {
        Question::Table(name) => ("table", name, &[(&LINEAGE, "table_key"), (&LINEAGE, "reported_name")]),
        Question::Connection(name) => (
            "connection",
            name,
            &[
                (&DATA_CONNECTIONS, "name"),
                (&DATA_CONNECTIONS, "data_connection_id"),
                (&LINEAGE, "connection_name"),
                (&LINEAGE, "data_connection_id"),
            ],
        ),
        Question::Project(name) => {
            ("project", name, &[(&PROJECTS, "title"), (&PROJECTS, "project_id"), (&LINEAGE, "project_title")])
        }
    };
    let mut known = BTreeSet::new();
    for (table, column) in places {
        for batch in TableReader::open_columns(lake, manifest, table, &[column])?.into_iter().flatten() {
            let batch = batch?;
            known.extend((0..batch.num_rows()).filter_map(|row| text(&batch, column, row)));
        }
    }
    let lower = wanted.to_lowercase();
    let is_named = |name: &String| {
        let name = name.to_lowercase();
        let end = name.strip_suffix(&lower);
        name == lower || (kind == "table" && end.is_some_and(|before| before.ends_with('.')))
    };
    if known.iter().any(is_named) {
        return match column {
            Some(column) if kind == "table" => {
                Err(Failure::new(Code::Usage, format!("no project is known to read {wanted}.{column}"))
                    .next("Leave --column out to see who reads the table, and which of its columns."))
            }
            _ => Ok(()),
        };
    }
    let hint = did_you_mean(wanted, known.iter().map(String::as_str));
    let next = hint.unwrap_or_else(|| format!("{} known.", counted(known.len() as u64, kind)));
    let why = format!("no {kind} '{wanted}' in the snapshot {}", manifest.snapshot_id);
    Err(Failure::new(Code::Usage, why).next(next))
}

fn print_csv(edges: &[Edge]) -> Result<(), Failure> {
    let failed = |e: csv::Error| Failure::new(Code::Nothing, format!("CSV can't be written: {e}"));
    let mut csv = csv::Writer::from_writer(out::stream());
    csv.write_record([
        "connection",
        "connection_type",
        "table",
        "project",
        "project_id",
        "owner",
        "direction",
        "evidence",
        "cells",
        "executions",
        "last_executed_at",
        "archived",
        "last_run_at",
        "columns",
        "via_components",
    ])
    .map_err(failed)?;
    for e in edges {
        let time = |at: Option<DateTime<Utc>>| {
            at.map_or(String::new(), |at| at.to_rfc3339_opts(chrono::SecondsFormat::Millis, true))
        };
        let (run, executed) = (time(e.last_run_at), time(e.last_executed_at));
        let (kind, owner) = (e.connection_type.as_deref().unwrap_or(""), e.owner.as_deref().unwrap_or(""));
        let [cells, executions] = [e.cells, e.executions].map(|n| n.map_or(String::new(), |n| n.to_string()));
        let archived = e.archived.to_string();
        let (columns, via) = (e.columns.join(" "), e.via_components.join("; "));
        csv.write_record([
            &e.connection,
            kind,
            &e.table,
            &e.project,
            &e.project_id,
            owner,
            &e.direction,
            &e.evidence_text(),
            &cells,
            &executions,
            &executed,
            &archived,
            &run,
            &columns,
            &via,
        ])
        .map_err(failed)?;
    }
    csv.flush().map_err(|e| failed(e.into()))
}

/// Three levels: what was asked about comes first, and what is alike stands under one head.
fn print_tree(question: &Question, edges: &[Edge], with_columns: bool) {
    let connection = |e: &Edge| match &e.connection_type {
        Some(kind) => format!("{} ({kind})", e.connection),
        None => e.connection.clone(),
    };
    let project = |e: &Edge| {
        let owner = e.owner.as_deref().unwrap_or("no owner");
        let run =
            e.last_run_at.map_or("never ran".into(), |at| format!("last run {}", at.format("%Y-%m-%d")));
        let archived = if e.archived { ", archived" } else { "" };
        format!("{}  ({owner}, {run}{archived})", one_line(&e.project))
    };
    let how = |e: &Edge| {
        let cells = e.cells.map_or(String::new(), |n| format!(", {n} cell{}", if n == 1 { "" } else { "s" }));
        let columns = if with_columns { format!(": {}", e.columns.join(", ")) } else { String::new() };
        let executed = e.last_executed_at.map(|at| format!(", last executed {}", at.format("%Y-%m-%d")));
        let cells = cells + &executed.unwrap_or_default();
        let verb = if e.is_read() { "" } else { "writes: " };
        let via = match &*e.via_components {
            [] => String::new(),
            names => format!(", through {}", one_line(&names.join(", "))),
        };
        format!("[{verb}{}{cells}{via}]{columns}", e.evidence_text())
    };
    let rows: Vec<[String; 3]> = match question {
        Question::Project(_) => {
            edges.iter().map(|e| [project(e), connection(e), format!("{}  {}", e.table, how(e))]).collect()
        }
        _ => edges
            .iter()
            .map(|e| [connection(e), e.table.clone(), format!("{}  {}", project(e), how(e))])
            .collect(),
    };
    let mut rows = rows;
    rows.iter_mut().for_each(|row| row[2] = out::one_line(&row[2]));
    rows.sort();
    for (i, [first, second, third]) in rows.iter().enumerate() {
        let before = i.checked_sub(1).map(|i| &rows[i]);
        let after = rows.get(i + 1);
        if before.is_none_or(|b| b[0] != *first) {
            println!("{}", out::one_line(first));
        }
        let last_second = rows[i..].iter().take_while(|r| r[0] == *first).all(|r| r[1] == *second);
        if before.is_none_or(|b| b[..2] != rows[i][..2]) {
            println!("{} {}", if last_second { "└─" } else { "├─" }, out::one_line(second));
        }
        let last_third = after.is_none_or(|a| a[..2] != rows[i][..2]);
        println!("{}  {} {third}", if last_second { " " } else { "│" }, if last_third { "└─" } else { "├─" });
    }
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}
