//! The closing summary of an export: a screen for people, all tables on request, or JSON.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use arrow::array::{Array, AsArray, RecordBatch};
use serde_json::{Map, Value, json};

use super::exit::Code;
use super::render::{self, counted};
use crate::crawl::{Coverage, Endpoint};
use crate::diff::{Known, Noise, diff};
use crate::export::Outcome;
use crate::registry;
use crate::schema::{Origin, Table};
use crate::snapshot::{Error, Lake, Manifest, TableReader, TableState};
use crate::tables::{AUDIT_FINDINGS, PROJECTS};

/// Tables whose rows the summary compares one by one; small enough to read twice.
const COMPARED: [&str; 5] = ["projects", "users", "groups", "collections", "data_connections"];
/// Tables of which the summary gives the number of rows, and how it moved.
const COUNTED: [&str; 4] = ["runs", "cells", "queried_tables", "lineage"];
/// Tables that have a line even if nothing moved.
const ALWAYS: [&str; 4] = ["projects", "users", "runs", "lineage"];
/// Lines for gaps, before the rest is counted.
const GAPS: usize = 3;
/// Tables named in one line.
const NAMED: usize = 6;
/// Characters of a reason that a line has room for.
const REASON: usize = 110;
/// Severities, worst first.
const SEVERITIES: [&str; 4] = ["high", "medium", "low", "info"];

/// Form of the closing summary.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum SummaryForm {
    /// New, changed, gaps and findings, on one screen
    Summary,
    /// Every endpoint and every table
    Table,
    /// One JSON document
    Json,
}

/// An export, and how it was asked for.
pub struct Shown<'a> {
    /// The committed snapshot.
    pub outcome: &'a Outcome,
    /// Its lake.
    pub lake: &'a Lake,
    /// The lake as the command line names it.
    pub dest: &'a Path,
    /// Names of the tables asked for; none means all.
    pub asked: &'a [String],
    /// Requests sent.
    pub sent: u64,
}

/// Prints the summary.
pub fn show(shown: &Shown<'_>, form: SummaryForm, code: Code) {
    match form {
        SummaryForm::Json => {
            let text = serde_json::to_string_pretty(&as_json(shown.outcome, shown.sent, code));
            println!("{}", text.unwrap_or_default());
        }
        SummaryForm::Table => show_tables(shown),
        SummaryForm::Summary => print_screen(shown),
    }
}

/// Fields of the closing log event that describe a committed snapshot.
pub fn closing_fields(outcome: &Outcome, sent: u64) -> Map<String, Value> {
    let names =
        |wanted: fn(TableState) -> bool| outcome.tables_in(wanted).map(Value::from).collect::<Vec<_>>();
    let fields = json!({
        "snapshot_id": outcome.manifest.snapshot_id,
        "committed_to": outcome.place,
        "complete": outcome.manifest.complete,
        "tables": outcome.manifest.tables.len(),
        "requests_sent": sent,
        "crawl_seconds": outcome.crawl_seconds,
        "incomplete_tables": names(TableState::is_gap),
        "unreadable_tables": names(|state| state == TableState::Unreadable),
        "gaps": gaps(outcome).into_iter().map(|gap| gap.words()).collect::<Vec<_>>(),
        "side_failures": outcome.side_failures,
    });
    match fields {
        Value::Object(fields) => fields,
        _ => Map::new(),
    }
}

/// Entities with the same gap for the same reason.
struct Gap {
    operation: &'static str,
    state: &'static str,
    reason: String,
    entities: u64,
}

impl Gap {
    fn words(&self) -> String {
        let why = if self.reason.is_empty() { String::new() } else { format!(": {}", self.reason) };
        format!("{} {} {}{why}", self.operation, render::count(self.entities), self.state)
    }
}

/// A reason without the trace identifier of its response, so that the same reason is the same text.
pub fn without_trace(reason: &str) -> String {
    const MARK: &str = ", traceId ";
    let Some((before, rest)) = reason.split_once(MARK) else { return reason.to_owned() };
    let after = rest.trim_start_matches(|c: char| c.is_ascii_alphanumeric() || c == '-');
    format!("{before}{}", without_trace(after))
}

/// The first characters of a text.
fn cut(text: &str, most: usize) -> String {
    match text.char_indices().nth(most) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text.to_owned(),
    }
}

/// The gaps of an export, the most frequent first; of equals, what others depend on.
fn gaps(outcome: &Outcome) -> Vec<Gap> {
    let mut counts: BTreeMap<(Endpoint, &'static str, String), u64> = BTreeMap::new();
    for gap in outcome.gaps() {
        let reason = without_trace(gap.reason.as_deref().unwrap_or_default());
        *counts.entry((gap.endpoint, gap.state.name(), reason)).or_default() += 1;
    }
    let mut gaps: Vec<Gap> = counts
        .into_iter()
        .map(|((endpoint, state, reason), entities)| Gap {
            operation: endpoint.name(),
            state,
            reason,
            entities,
        })
        .collect();
    gaps.sort_by_key(|gap| std::cmp::Reverse(gap.entities));
    gaps
}

fn print_screen(shown: &Shown<'_>) {
    let Shown { outcome, dest, sent, .. } = shown;
    let manifest = &outcome.manifest;
    let took = render::seconds(outcome.crawl_seconds);
    println!("committed {} ({} in {took})", outcome.place, counted(*sent, "request"));
    if let Some(line) = derived_too(shown) {
        println!("{line}");
    }
    let base = outcome.base.as_ref().and_then(|id| shown.lake.manifest(id).ok());
    match &base {
        Some(base) => println!("\nSince {}", base.snapshot_id),
        None => println!("\nFirst snapshot"),
    }
    for line in changes(shown, base.as_ref()) {
        println!("  {line}");
    }
    match findings(shown.lake, manifest, base.as_ref()) {
        Ok(Some(line)) => println!("Findings  {line}"),
        Ok(None) => {}
        Err(error) => eprintln!("warning: no findings to show: {error}"),
    }
    print_gaps(outcome);
    let mut next =
        vec![("audit", "the findings, and what to do about each"), ("report", "all of it on one HTML page")];
    if base.is_some() {
        next.insert(0, ("diff", "what changed"));
    }
    if !manifest.complete {
        next.insert(0, ("why", "what is missing or old, and why"));
    }
    println!();
    for (i, (command, what)) in next.into_iter().enumerate() {
        let head = if i == 0 { "Next" } else { "" };
        println!("{head:<10}{:<40}  {what}", format!("hexport {command} {}", dest.display()));
    }
}

/// Tables of a state in a line. Those of the API are named; those derived from them follow from these.
fn tables_line(outcome: &Outcome, wanted: fn(TableState) -> bool) -> Option<String> {
    let all: Vec<&str> = outcome.tables_in(wanted).collect();
    let is_derived =
        |name: &&str| registry::by_name(name).is_some_and(|table| matches!(table.origin, Origin::Derived(_)));
    let (derived, read): (Vec<&str>, Vec<&str>) = all.iter().partition(|name| is_derived(name));
    let (named, others) = if read.is_empty() { (derived, 0) } else { (read, derived.len()) };
    if named.is_empty() {
        return None;
    }
    let mut line = named.iter().take(NAMED).copied().collect::<Vec<_>>().join(", ");
    if named.len() > NAMED {
        line += &format!(" and {} more", named.len() - NAMED);
    }
    if others > 0 {
        line += &format!("; with them {}", counted(others as u64, "derived table"));
    }
    Some(line)
}

fn print_gaps(outcome: &Outcome) {
    println!("Gaps      {}", tables_line(outcome, TableState::is_gap).unwrap_or_else(|| "none".into()));
    let gaps = gaps(outcome);
    for gap in gaps.iter().take(GAPS) {
        println!("          {}", cut(&gap.words(), REASON));
    }
    if gaps.len() > GAPS {
        println!("          and {}", counted((gaps.len() - GAPS) as u64, "other kind"));
    }
    if let Some(line) = tables_line(outcome, |state| state == TableState::Unreadable) {
        println!("No access {line}");
    }
    for failure in &outcome.side_failures {
        println!("committed, but not everywhere: {failure}");
    }
}

/// Why more tables were written than were asked for.
fn derived_too(shown: &Shown<'_>) -> Option<String> {
    let asked: BTreeSet<&str> = shown.asked.iter().map(String::as_str).collect();
    let written = &shown.outcome.manifest.tables;
    let more: Vec<&str> = written.keys().map(String::as_str).filter(|name| !asked.contains(name)).collect();
    if asked.is_empty() || more.is_empty() {
        return None;
    }
    let line = format!(
        "{} written for the {} asked for, since those are derived from, or explained by, {}",
        counted(written.len() as u64, "table"),
        asked.len(),
        more.join(", ")
    );
    Some(cut(&line, REASON + 40))
}

/// A line for each table that has rows: how many, and how that differs from `base`.
fn changes(shown: &Shown<'_>, base: Option<&Manifest>) -> Vec<String> {
    let manifest = &shown.outcome.manifest;
    let known = base.and_then(|base| Known::load(shown.lake, base, manifest).ok());
    let mut lines = Vec::new();
    for name in COMPARED.iter().chain(&COUNTED) {
        let (Some(entry), Some(table)) = (manifest.tables.get(*name), registry::by_name(name)) else {
            continue;
        };
        let moved = match (base, &known) {
            (Some(base), Some(known)) if COMPARED.contains(name) => {
                // Tables that can't be compared row by row still have their numbers of rows.
                compared(shown.lake, base, manifest, table, known)
                    .or_else(|| Some(difference(base.tables.get(*name)?.rows, entry.rows)))
            }
            (Some(base), _) => base.tables.get(*name).map(|old| difference(old.rows, entry.rows)),
            (None, _) => None,
        };
        let moved = moved.filter(|text| !text.is_empty()).map_or(String::new(), |text| format!("   {text}"));
        if base.is_some() && moved.is_empty() && !ALWAYS.contains(name) {
            continue;
        }
        lines.push(format!("{name:<18}{:>12}{moved}", render::count(entry.rows)));
    }
    lines
}

fn difference(old: u64, new: u64) -> String {
    match new.cmp(&old) {
        std::cmp::Ordering::Equal => String::new(),
        std::cmp::Ordering::Greater => format!("{} more", render::count(new - old)),
        std::cmp::Ordering::Less => format!("{} fewer", render::count(old - new)),
    }
}

/// "3 new, 12 changed, 1 gone"; nothing if the tables can't be compared.
fn compared(
    lake: &Lake,
    before: &Manifest,
    after: &Manifest,
    table: &'static Table,
    known: &Known,
) -> Option<String> {
    let found = diff(lake, before, after, table, Noise::Left, known).ok()??;
    let counts =
        [(found.added.len(), "new"), (found.changed.len(), "changed"), (found.removed.len(), "gone")];
    let words =
        counts.iter().filter(|(n, _)| *n > 0).map(|(n, what)| format!("{} {what}", render::count(*n as u64)));
    Some(words.collect::<Vec<_>>().join(", "))
}

/// Identifiers and severities of the open findings of a snapshot; `None` if it has no such table.
fn open_findings(lake: &Lake, manifest: &Manifest) -> Result<Option<Vec<(String, String)>>, Error> {
    let columns = ["finding_id", "severity", "status"];
    let Some(reader) = TableReader::open_columns(lake, manifest, &AUDIT_FINDINGS, &columns)? else {
        return Ok(None);
    };
    let mut found = Vec::new();
    for batch in reader {
        let batch = batch?;
        for row in 0..batch.num_rows() {
            let [id, severity, status] = columns.map(|name| text(&batch, name, row).unwrap_or_default());
            if status == "open" {
                found.push((id, severity));
            }
        }
    }
    Ok(Some(found))
}

/// One text of a batch.
pub fn text(batch: &RecordBatch, column: &str, row: usize) -> Option<String> {
    let column = batch.column_by_name(column)?.as_string_opt::<i32>()?;
    column.is_valid(row).then(|| column.value(row).to_owned())
}

/// Open findings by severity, and how many of them are new.
fn findings(lake: &Lake, manifest: &Manifest, base: Option<&Manifest>) -> Result<Option<String>, Error> {
    let Some(found) = open_findings(lake, manifest)? else { return Ok(None) };
    let counts = SEVERITIES.map(|severity| {
        let n = found.iter().filter(|(_, s)| s == severity).count();
        format!("{} {severity}", render::count(n as u64))
    });
    let before = base.map(|base| open_findings(lake, base)).transpose()?.flatten();
    let new = before.map(|before| {
        let old: BTreeSet<String> = before.into_iter().map(|(id, _)| id).collect();
        found.iter().filter(|(id, _)| !old.contains(id)).count()
    });
    let new = new.map_or(String::new(), |n| format!("; {} new", render::count(n as u64)));
    Ok(Some(counts.join(", ") + &new))
}

/// Titles of projects by identifier.
///
/// # Errors
/// If the snapshot can't be read.
pub fn titles(lake: &Lake, manifest: &Manifest) -> Result<BTreeMap<String, String>, Error> {
    let columns = ["project_id", "title"];
    let mut titles = BTreeMap::new();
    let Some(reader) = TableReader::open_columns(lake, manifest, &PROJECTS, &columns)? else {
        return Ok(titles);
    };
    for batch in reader {
        let batch = batch?;
        for row in 0..batch.num_rows() {
            if let [Some(id), Some(title)] = columns.map(|name| text(&batch, name, row)) {
                titles.insert(id, title.split_whitespace().collect::<Vec<_>>().join(" "));
            }
        }
    }
    Ok(titles)
}

fn as_json(outcome: &Outcome, sent: u64, code: Code) -> Value {
    let manifest = &outcome.manifest;
    let tables: BTreeMap<&str, Value> = manifest
        .tables
        .iter()
        .map(|(name, table)| {
            let seconds = outcome.table_seconds.get(name.as_str());
            let bytes: u64 = table.files.iter().map(|f| f.bytes).sum();
            (name.as_str(), json!({"rows": table.rows, "bytes": bytes, "seconds": seconds, "state": table.state, "entities": table.entities}))
        })
        .collect();
    let list = |state: &Coverage| json!({"operation": state.endpoint.name(), "entity": state.entity.as_deref(), "state": state.state.name(), "reason": state.reason});
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

fn show_tables(shown: &Shown<'_>) {
    let outcome = shown.outcome;
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
            println!("{table}: fields that no column maps, kept in 'extra': {}", names.join(", "));
        }
        if !repaired.is_empty() {
            let kinds: Vec<String> =
                repaired.iter().map(|(name, n)| format!("{} ({n})", &name["repaired: ".len()..])).collect();
            println!("{table}: repaired in the API's answers: {}", kinds.join(", "));
        }
    }
    for refused in outcome.forbidden().filter(|c| c.requests > 0) {
        println!("forbidden: {}: {}", refused.endpoint.name(), refused.reason.as_deref().unwrap_or(""));
    }
    print_gaps(outcome);
    if let Some(line) = derived_too(shown) {
        println!("{line}");
    }
    let took = render::seconds(outcome.crawl_seconds);
    println!("{} in {took}; committed {}", counted(shown.sent, "request"), outcome.place);
}
