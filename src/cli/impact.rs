//! `hexport impact`: what a change of the warehouse breaks.

use std::path::PathBuf;

use chrono::{DateTime, Utc};

use super::diff::escaped;
use super::exit::{Code, Failure, causes};
use super::settings::StoreArgs;
use super::{lakes, render};
use crate::audit::Severity;
use crate::handoff::dbt::{load_catalog, load_manifest};
use crate::handoff::impact::{
    self, Certainty, Change, Hit, Impact, SqlError, TABLES, of_catalogs, of_manifests, of_sql,
};

/// Cells that a line names; the rest is counted.
const NAMED: usize = 3;

/// Arguments of `hexport impact`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The data lake: a folder, or a URL such as s3://bucket/prefix
    #[arg(value_name = "DEST")]
    dest: PathBuf,
    #[command(flatten)]
    store: StoreArgs,
    #[command(flatten)]
    about: About,
    /// dbt's manifest before the change
    #[arg(long, value_name = "FILE", requires = "manifest")]
    against: Option<PathBuf>,
    /// dbt's catalog before the change
    #[arg(long, value_name = "FILE", requires = "catalog")]
    against_catalog: Option<PathBuf>,
    /// Only this column of the table
    #[arg(long, value_name = "COLUMN", requires = "table")]
    column: Option<String>,
    /// Only through this connection, by name or identifier; may be given again
    #[arg(long, value_name = "CONNECTION")]
    connection: Vec<String>,
    /// Exit with 7 if something of this severity, or a higher one, is found
    #[arg(long, value_name = "SEVERITY")]
    fail_on: Option<Severity>,
    /// Snapshot to look at [default: the last one]
    #[arg(long, value_name = "SNAPSHOT")]
    snapshot: Option<String>,
    /// Form of the result
    #[arg(long, value_enum, default_value_t = Form::Text)]
    output: Form,
    /// Look for the next scheduled run after this time instead of now
    #[arg(long, value_name = "TIME", hide = true)]
    fixed_time: Option<DateTime<Utc>>,
}

/// Source of the changes: dbt's artifacts, SQL, or flags.
#[derive(Debug, clap::Args)]
#[group(required = true, multiple = true)]
struct About {
    /// dbt's manifest after the change
    #[arg(long, value_name = "FILE", requires = "against", conflicts_with_all = ["sql", "table"])]
    manifest: Option<PathBuf>,
    /// dbt's catalog after the change
    #[arg(long, value_name = "FILE", requires = "against_catalog", conflicts_with_all = ["sql", "table"])]
    catalog: Option<PathBuf>,
    /// Statements: ALTER TABLE, RENAME TABLE, DROP TABLE, DROP VIEW
    #[arg(long, value_name = "SQL", conflicts_with = "table")]
    sql: Option<String>,
    /// A table: its whole name or the end of it, such as core.orders
    #[arg(long, value_name = "TABLE")]
    table: Option<String>,
}

/// Form of the result.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Form {
    /// For people.
    Text,
    /// One JSON object.
    Json,
    /// Markdown, for a pull request.
    Markdown,
}

/// Answers; 7 if something is as grave as `--fail-on`.
///
/// # Errors
/// If there is no snapshot, or the changes can't be read.
pub fn run(args: &Args) -> Result<Code, Failure> {
    let changes = changes(args)?;
    let lake = args.store.open(&args.dest)?;
    let manifest = super::snapshots::one(&lake, args.snapshot.as_deref())?;
    lakes::require(&manifest, &TABLES)?;
    lakes::require(&manifest, &["projects"])?;
    let now = args.fixed_time.unwrap_or_else(Utc::now);
    let found = impact::impact(&lake, &manifest, changes, &args.connection, now)?;
    match args.output {
        Form::Json => println!("{}", serde_json::to_string_pretty(&found).unwrap_or_default()),
        Form::Text => print!("{}", text(&found)),
        Form::Markdown => print!("{}", markdown(&found)),
    }
    let is_grave = found.worst().zip(args.fail_on).is_some_and(|(worst, limit)| worst >= limit);
    Ok(if is_grave { Code::Findings } else { Code::Complete })
}

fn changes(args: &Args) -> Result<Vec<Change>, Failure> {
    let mut changes = Vec::new();
    if let (Some(new), Some(old)) = (&args.about.manifest, &args.against) {
        changes.extend(of_manifests(&load_manifest(old)?, &load_manifest(new)?));
    }
    if let (Some(new), Some(old)) = (&args.about.catalog, &args.against_catalog) {
        changes.extend(of_catalogs(&load_catalog(old)?, &load_catalog(new)?));
    }
    if let Some(sql) = &args.about.sql {
        changes.extend(of_sql(sql)?);
    }
    if let Some(table) = &args.about.table {
        changes.push(Change::asked(table, args.column.as_deref()));
    }
    Ok(changes)
}

/// One sentence with the numbers of changes and of projects touched.
fn summary(found: &Impact) -> String {
    let counted = |n: usize, one: &str| format!("{n} {one}{}", if n == 1 { "" } else { "s" });
    let changes = counted(found.changes.len(), "change");
    match found.worst() {
        _ if found.changes.is_empty() => "Nothing changes that anyone could read.".into(),
        None => format!("{changes}; no project of the snapshot {} uses what changes.", found.snapshot_id),
        Some(worst) => {
            let breaks = found.hits.iter().filter(|hit| hit.certainty == Certainty::Breaks);
            let breaks: std::collections::BTreeSet<&str> =
                breaks.map(|hit| hit.project_id.as_str()).collect();
            format!(
                "{changes} touch{} {}, {} of them for certain; the highest severity is {}.",
                if found.changes.len() == 1 { "es" } else { "" },
                counted(found.projects(), "project"),
                breaks.len(),
                worst.name()
            )
        }
    }
}

fn cells(hit: &Hit) -> String {
    let named: Vec<String> = hit
        .cells
        .iter()
        .take(NAMED)
        .map(|cell| match cell.label.as_deref().map(str::trim).filter(|label| !label.is_empty()) {
            Some(label) => one_line(label),
            None => cell.static_id.chars().take(8).collect(),
        })
        .collect();
    let mut text = named.join(", ");
    if hit.cells.len() > NAMED {
        text += &format!(" and {} more", hit.cells.len() - NAMED);
    }
    if hit.cells_after > 0 {
        text += &format!(" (+{} after)", hit.cells_after);
    }
    text
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The cells of a row: severity, certainty, project, owner, table, cells, views, next run.
fn columns(hit: &Hit) -> [String; 8] {
    let certainty = match (hit.certainty, hit.direction.as_str()) {
        (Certainty::Breaks, "write") => "writes it",
        (Certainty::Breaks, _) => "breaks",
        (Certainty::May, _) => "may break",
    };
    let state = match (hit.archived, hit.component, hit.published) {
        (true, _, _) => " (archived)",
        (false, true, _) => " (component)",
        (false, false, false) => " (draft)",
        (false, false, true) => "",
    };
    let via = match &*hit.via_components {
        [] => String::new(),
        names => format!(" (through {})", one_line(&names.join(", "))),
    };
    [
        hit.severity.name().to_owned(),
        certainty.to_owned(),
        format!("{}{state}{via}", hit.project),
        hit.owner.clone().unwrap_or_else(|| "no owner".into()),
        format!("{} ({})", hit.table, one_line(&hit.connection)),
        cells(hit),
        hit.views.map_or("?".into(), |views| render::count(views.max(0) as u64)),
        hit.next_run.map_or("-".into(), |at| at.format("%Y-%m-%d %H:%M UTC").to_string()),
    ]
}

const HEAD: [&str; 8] = ["Severity", "", "Project", "Owner", "Table", "Cells", "Views, 30 days", "Next run"];

fn text(found: &Impact) -> String {
    let mut out = summary(found) + "\n";
    for (at, change) in found.changes.iter().enumerate() {
        let hits: Vec<&Hit> = found.hits.iter().filter(|hit| hit.change == at).collect();
        if hits.is_empty() {
            continue;
        }
        let mut table = render::table(&HEAD, &[6]);
        hits.iter().for_each(|hit| table.add_row(columns(hit)));
        out += &format!("\n{}: {}\n{table}\n", one_line(&change.words()), one_line(&change.told_by));
    }
    let harmless: Vec<String> = found.harmless().map(|change| one_line(&change.words())).collect();
    if !harmless.is_empty() {
        out += &format!("\nNo project uses:\n  - {}\n", harmless.join("\n  - "));
    }
    if !found.not_known.is_empty() {
        out += &format!("\nNot known:\n  - {}\n", found.not_known.join("\n  - "));
    }
    out
}

fn markdown(found: &Impact) -> String {
    let mut out = format!("### Hex projects that this change touches\n\n{}\n", summary(found));
    for (at, change) in found.changes.iter().enumerate() {
        let hits: Vec<&Hit> = found.hits.iter().filter(|hit| hit.change == at).collect();
        if hits.is_empty() {
            continue;
        }
        out += &format!(
            "\n**{}** ({})\n\n",
            escaped(&one_line(&change.words())),
            escaped(&one_line(&change.told_by))
        );
        out += &format!("| {} |\n|{}\n", HEAD.join(" | "), " --- |".repeat(HEAD.len()));
        for hit in hits {
            let mut cells = columns(hit).map(|cell| escaped(&cell));
            if let Some(url) = &hit.url {
                cells[2] = format!("[{}]({url})", cells[2]);
            }
            out += &format!("| {} |\n", cells.join(" | "));
        }
    }
    let harmless: Vec<String> = found.harmless().map(|change| escaped(&one_line(&change.words()))).collect();
    if !harmless.is_empty() {
        out += &format!("\nNo project uses:\n\n- {}\n", harmless.join("\n- "));
    }
    if !found.not_known.is_empty() {
        out += &format!("\nNot known:\n\n- {}\n", found.not_known.join("\n- "));
    }
    out
}

impl From<impact::Error> for Failure {
    fn from(error: impact::Error) -> Self {
        let text = error.to_string();
        match error {
            impact::Error::Snapshot(inner) => inner.into(),
            impact::Error::Connection { .. } => Failure::new(Code::Usage, text),
            impact::Error::Adapter { .. } => Failure::new(Code::Usage, text)
                .next("Name the connections to the warehouse that dbt builds in with --connection."),
        }
    }
}

impl From<SqlError> for Failure {
    fn from(error: SqlError) -> Self {
        Failure::new(Code::Usage, causes(&error)).next(
            "Give ALTER TABLE that drops or renames columns or the table, RENAME TABLE, DROP TABLE or DROP VIEW.",
        )
    }
}
