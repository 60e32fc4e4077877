//! `hexport diff`: what changed between two snapshots.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::PathBuf;

use serde_json::json;

use super::exit::{Code, Failure};
use super::lakes::{known, resolve};
use super::near::did_you_mean;
use super::settings::StoreArgs;
use super::{render, summary};
use crate::diff::{Known, Noise, RowName, TableDiff, Unread, diff};
use crate::registry;
use crate::schema::Table;
use crate::snapshot::{Lake, Manifest, SnapshotId};
use crate::tables::CRAWL_COVERAGE;

/// Rows of each kind that text and Markdown name, a table; JSON names all.
const NAMED: usize = 25;
/// Tables that are compared by default: what people made, without what only happened.
const USUAL: [&str; 13] = [
    "projects",
    "project_categories",
    "project_schedules",
    "project_sharing",
    "users",
    "groups",
    "group_members",
    "collections",
    "collection_sharing",
    "data_connections",
    "data_connection_sharing",
    "cells",
    "lineage",
];

/// Arguments of `hexport diff`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The data lake: a folder, or a URL such as s3://bucket/prefix
    #[arg(value_name = "DEST")]
    dest: PathBuf,
    #[command(flatten)]
    store: StoreArgs,
    /// Earlier snapshot: its name, a date such as 2026-11-24, or an age such as 7d [default: the one before B]
    #[arg(value_name = "A")]
    a: Option<String>,
    /// Later snapshot, named alike [default: the newest]
    #[arg(value_name = "B")]
    b: Option<String>,
    /// Tables to compare, separated by commas [default: what people make, and lineage]
    #[arg(long, value_name = "TABLES", value_delimiter = ',')]
    tables: Vec<String>,
    /// Include fields that change without anybody's doing, such as view counters and last logins
    #[arg(long)]
    noise: bool,
    /// Form of the result
    #[arg(long, value_enum, default_value_t = Form::Text)]
    output: Form,
}

/// Form of the result.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Form {
    /// For people.
    Text,
    /// One JSON document.
    Json,
    /// Markdown, for a pull request or a post.
    Markdown,
}

/// Compares.
///
/// # Errors
/// If there are no two snapshots, or one can't be read.
pub fn run(args: &Args) -> Result<Code, Failure> {
    let lake = args.store.open(&args.dest)?;
    let (before, after) = two(&lake, args)?;
    let noise = if args.noise { Noise::Kept } else { Noise::Left };
    let known = Known::load(&lake, &before, &after)?;
    let (mut diffs, mut not_compared) = (Vec::new(), Vec::new());
    for table in chosen(&args.tables)? {
        match diff(&lake, &before, &after, table, noise, &known)? {
            Some(found) if !found.is_empty() => diffs.push(found),
            Some(_) => {}
            None if args.tables.is_empty() => not_compared.push(table.name),
            None => {
                return Err(Failure::new(
                    Code::Usage,
                    format!("not both snapshots have the table {} as Parquet", table.name),
                )
                .next("Leave it out of --tables, or export it."));
            }
        }
    }
    match args.output {
        Form::Json => {
            let result = json!({
                "before": before.snapshot_id,
                "after": after.snapshot_id,
                "tables": diffs,
                "not_compared": not_compared,
            });
            println!("{}", serde_json::to_string_pretty(&result).unwrap_or_default());
        }
        Form::Text => print!("{}", text(&before, &after, &diffs, &titles(&lake, &before, &after)?)),
        Form::Markdown => {
            print!("{}", markdown(&before, &after, &diffs, &titles(&lake, &before, &after)?));
        }
    }
    if !not_compared.is_empty() && args.output != Form::Json {
        println!("\nnot compared, since only one of the snapshots has it: {}", not_compared.join(", "));
    }
    Ok(Code::Complete)
}

/// Titles of both snapshots; where a title changed, the later one.
fn titles(lake: &Lake, before: &Manifest, after: &Manifest) -> Result<Titles, Failure> {
    let mut titles = summary::titles(lake, before)?;
    titles.extend(summary::titles(lake, after)?);
    Ok(titles)
}

fn two(lake: &Lake, args: &Args) -> Result<(Manifest, Manifest), Failure> {
    let manifests = known(lake)?;
    let all: Vec<&SnapshotId> = manifests.readable.iter().map(|m| &m.snapshot_id).collect();
    let place = |name: &String| -> Result<usize, Failure> {
        let id = resolve(&manifests, name)?;
        all.iter().position(|known| **known == id).ok_or_else(|| {
            Failure::new(Code::Destination, format!("the snapshot {id} is damaged"))
                .next("hexport snapshots verify says how, and what to do about it.")
        })
    };
    // An import of a query history says nothing of the workspace: snapshots of crawls are compared.
    let is_crawl = |at: &usize| manifests.readable[*at].tables.contains_key(CRAWL_COVERAGE.name);
    let last = (0..all.len()).rev().find(is_crawl).or(all.len().checked_sub(1));
    let nothing = || {
        let crawls = (0..all.len()).filter(is_crawl).count() as u64;
        let what = render::counted(crawls, "readable snapshot of an export");
        Failure::new(Code::Usage, format!("{} holds {what}, and a diff needs two", lake.name()))
            .next("Export again, or name an earlier snapshot: hexport snapshots list shows them.")
    };
    let b = match &args.b {
        Some(name) => place(name)?,
        None => last.ok_or_else(nothing)?,
    };
    let a = match &args.a {
        Some(name) => place(name)?,
        None => (0..b).rev().find(is_crawl).or(b.checked_sub(1)).ok_or_else(nothing)?,
    };
    // Of each table what was known then: a snapshot of some tables says nothing of the others.
    let of_then = |id| manifests.as_of(id).expect("one of the readable");
    let (before, after) = (of_then(all[a]), of_then(all[b]));
    let mut notes: Vec<&String> = after.notes.iter().chain(&before.notes).collect();
    notes.dedup();
    notes.into_iter().for_each(|note| super::lakes::warn(note));
    Ok((before.manifest, after.manifest))
}

fn chosen(names: &[String]) -> Result<Vec<&'static Table>, Failure> {
    if names.is_empty() {
        return Ok(USUAL.iter().filter_map(|name| registry::by_name(name)).collect());
    }
    names
        .iter()
        .map(|name| {
            registry::by_name(name).ok_or_else(|| {
                let hint = did_you_mean(name, registry::all().map(|t| t.name));
                let next =
                    [hint.as_deref().unwrap_or_default(), "hexport schema lists the tables."].join(" ");
                Failure::new(Code::Usage, format!("there is no table '{name}'")).next(next.trim().to_owned())
            })
        })
        .collect()
}

/// Titles of projects by identifier, of both snapshots.
type Titles = BTreeMap<String, String>;

/// A row as people call it: its title or name with the identifier beside it. Of a row that only names its project by
/// identifier, the project's title stands in.
fn called(row: &RowName, titles: &Titles) -> String {
    let key = || row.key.values().filter(|v| !v.is_empty()).cloned().collect::<Vec<_>>().join(" ");
    let label = row.label.as_ref().map(|label| label.split_whitespace().collect::<Vec<_>>().join(" "));
    let project = row.key.get("project_id").and_then(|id| titles.get(id)).cloned();
    match (label, project) {
        (Some(label), _) if row.key.values().any(|value| *value == label) && row.key.len() == 1 => label,
        (Some(label), Some(project)) if label != project => format!("{project}: {label} ({})", key()),
        (Some(label), _) => format!("{label} ({})", key()),
        (None, Some(project)) => format!("{project} ({})", key()),
        (None, None) => key(),
    }
}

/// A value, short enough for a line.
fn short(value: Option<&String>) -> String {
    let Some(value) = value else { return "nothing".into() };
    let line = value.split_whitespace().collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(60) {
        Some((at, _)) => format!("{}…", &line[..at]),
        None => line,
    }
}

/// The lines of a table's differences: a sign, and what it is about.
fn lines(diff: &TableDiff, titles: &Titles) -> Vec<(char, String)> {
    let called = |row: &RowName| called(row, titles);
    let mut lines = Vec::new();
    let mut named = |sign, rows: Vec<String>| {
        let more = rows.len().saturating_sub(NAMED);
        lines.extend(rows.into_iter().take(NAMED).map(|row| (sign, row)));
        if more > 0 {
            lines.push((sign, format!("and {} more", render::count(more as u64))));
        }
    };
    named('+', diff.added.iter().map(called).collect());
    named('-', diff.removed.iter().map(called).collect());
    let fields = |change: &crate::diff::RowChange| {
        let each = change
            .fields
            .iter()
            .map(|f| format!("{}: {} → {}", f.field, short(f.before.as_ref()), short(f.after.as_ref())));
        format!("{}: {}", called(&change.row), each.collect::<Vec<_>>().join("; "))
    };
    named('~', diff.changed.iter().map(fields).collect());
    let unread = |rows: &[Unread], what: &str| {
        rows.iter().map(|unread| format!("{} {what}: {}", called(&unread.row), unread.why)).collect()
    };
    named('?', unread(&diff.unreadable, "couldn't be read this time"));
    named('?', unread(&diff.readable_again, "couldn't be read last time"));
    lines
}

fn counts(diff: &TableDiff) -> String {
    let mut text =
        format!("{} added, {} removed, {} changed", diff.added.len(), diff.removed.len(), diff.changed.len());
    for (rows, what) in [(&diff.unreadable, "no longer readable"), (&diff.readable_again, "readable again")] {
        if !rows.is_empty() {
            let _ = write!(text, ", {} {what}", rows.len());
        }
    }
    text
}

fn text(before: &Manifest, after: &Manifest, diffs: &[TableDiff], titles: &Titles) -> String {
    let mut out = format!("{} → {}\n", before.snapshot_id, after.snapshot_id);
    if diffs.is_empty() {
        out.push_str("nothing changed\n");
    }
    for diff in diffs {
        let _ = writeln!(out, "\n{}: {}", diff.table, counts(diff));
        for (sign, line) in lines(diff, titles) {
            let _ = writeln!(out, "  {sign} {line}");
        }
    }
    out
}

fn markdown(before: &Manifest, after: &Manifest, diffs: &[TableDiff], titles: &Titles) -> String {
    let mut out = format!("# Hex workspace: {} → {}\n", before.snapshot_id, after.snapshot_id);
    if diffs.is_empty() {
        out.push_str("\nNothing changed.\n");
    }
    for diff in diffs {
        let _ = writeln!(out, "\n## {}\n\n{}\n", diff.table, counts(diff));
        for (sign, line) in lines(diff, titles) {
            let _ = writeln!(out, "- `{sign}` {}", escaped(&line));
        }
    }
    out
}

/// Text that Markdown leaves as it is.
pub fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '&' => out.push_str("&amp;"),
            '\\' | '`' | '*' | '_' | '[' | ']' | '#' | '|' | '!' | '~' | '@' => {
                out.push('\\');
                out.push(c);
            }
            c => out.push(c),
        }
    }
    out
}
