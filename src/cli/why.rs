//! `hexport why`: why a snapshot is incomplete, or why there is none.

use std::collections::BTreeMap;
use std::path::PathBuf;

use arrow::array::{Array, AsArray};
use arrow::datatypes::TimestampMicrosecondType;
use chrono::{DateTime, Utc};
use serde::Serialize;
use serde_json::json;

use super::exit::{Code, Failure};
use super::render::{self, counted};
use super::settings::StoreArgs;
use super::summary::{text, titles, without_trace};
use super::{Output, lakes};
use crate::snapshot::{Error, Lake, Manifest, Manifests, SnapshotId, TableReader, TableState};
use crate::tables::CRAWL_COVERAGE;

/// Entities named for each reason; JSON names as many.
const NAMED: usize = 3;
/// States that leave nothing to explain.
const FINE: [&str; 3] = ["fetched", "reused", "skipped"];

/// Arguments of `hexport why`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The data lake: a folder, or a URL such as s3://bucket/prefix
    #[arg(value_name = "DEST")]
    dest: PathBuf,
    #[command(flatten)]
    store: StoreArgs,
    /// Snapshot: its name, a date such as 2026-11-24, or an age such as 7d [default: the newest]
    #[arg(value_name = "SNAPSHOT")]
    snapshot: Option<String>,
    /// Form of the result
    #[arg(long, value_enum, default_value_t = Output::Table)]
    output: Output,
}

/// Entities that are missing or old for the same reason.
#[derive(Debug, Default, Serialize)]
struct Reason {
    operation: String,
    state: String,
    reason: String,
    /// Projects or groups; 1 for a list of the workspace.
    entities: u64,
    /// When the oldest of them was last read.
    last_read_at: Option<DateTime<Utc>>,
    /// Some of them, with their titles.
    examples: Vec<String>,
}

/// Explains.
///
/// # Errors
/// If there is no snapshot, or its coverage can't be read.
pub fn run(args: &Args) -> Result<Code, Failure> {
    let lake = args.store.open(&args.dest)?;
    let manifests = lakes::known(&lake)?;
    let id = match &args.snapshot {
        Some(name) => Some(lakes::resolve(&manifests, name)?),
        None => None,
    };
    let manifest = match &id {
        Some(id) => lake.manifest(id)?,
        // An import of a query history has read nothing of the workspace.
        None => manifests
            .readable
            .iter()
            .rev()
            .find(|manifest| manifest.tables.contains_key(CRAWL_COVERAGE.name))
            .or(manifests.latest())
            .cloned()
            .map_or_else(|| lakes::newest(&lake, None), Ok)?,
    };
    let reasons = reasons(&lake, &manifest)?;
    let unfinished = unfinished(&lake, &manifests)?;
    match args.output {
        Output::Json => {
            let states = manifest.tables.iter().map(|(name, table)| (name.clone(), json!(table.state)));
            let result = json!({
                "snapshot_id": manifest.snapshot_id, "complete": manifest.complete,
                "tables": states.collect::<serde_json::Map<_, _>>(),
                "reasons": reasons, "unfinished_crawls": unfinished,
            });
            println!("{}", serde_json::to_string_pretty(&result).unwrap_or_default());
        }
        Output::Table => print(args, &manifest, &reasons, &unfinished),
    }
    Ok(Code::Complete)
}

/// Crawls that were begun after the newest snapshot and not committed.
fn unfinished(lake: &Lake, manifests: &Manifests) -> Result<Vec<SnapshotId>, Error> {
    let newest = manifests.latest().map(|m| &m.snapshot_id);
    let journals = lake.journals()?.into_iter().map(|(id, _)| id);
    Ok(journals.filter(|id| Some(id) > newest && manifests.get(id).is_none()).collect())
}

/// Reasons that entities are missing or old, the most frequent first.
fn reasons(lake: &Lake, manifest: &Manifest) -> Result<Vec<Reason>, Failure> {
    let columns = ["operation", "entity_id", "state", "reason", "last_read_at"];
    let reader = TableReader::open_columns(lake, manifest, &CRAWL_COVERAGE, &columns)?;
    let reader = reader.ok_or_else(|| {
        Failure::new(
            Code::Usage,
            format!(
                "the snapshot {} has no table crawl_coverage, which exports write and imports don't",
                manifest.snapshot_id
            ),
        )
        .next("Name the snapshot of an export: hexport snapshots list shows them.")
    })?;
    let titles = titles(lake, manifest)?;
    let mut found: BTreeMap<(String, String, String), Reason> = BTreeMap::new();
    for batch in reader {
        let batch = batch?;
        let read_at = batch.column_by_name("last_read_at");
        let read_at = read_at.map(|column| column.as_primitive::<TimestampMicrosecondType>().clone());
        for row in 0..batch.num_rows() {
            let [operation, entity, state, why] =
                ["operation", "entity_id", "state", "reason"].map(|name| text(&batch, name, row));
            let (operation, state) = (operation.unwrap_or_default(), state.unwrap_or_default());
            let why = without_trace(&why.unwrap_or_default());
            if FINE.contains(&state.as_str()) {
                continue;
            }
            let reason = found
                .entry((operation.clone(), state.clone(), why.clone()))
                .or_insert_with(|| Reason { operation, state, reason: why, ..Reason::default() });
            reason.entities += 1;
            let at = read_at.as_ref().filter(|column| column.is_valid(row)).map(|column| column.value(row));
            let at = at.and_then(DateTime::from_timestamp_micros);
            reason.last_read_at = match (reason.last_read_at, at) {
                (Some(a), Some(b)) => Some(a.min(b)),
                (a, b) => a.or(b),
            };
            if let Some(id) = entity.filter(|_| reason.examples.len() < NAMED) {
                reason.examples.push(match titles.get(&id) {
                    Some(title) => format!("{title} ({id})"),
                    None => id,
                });
            }
        }
    }
    let mut reasons: Vec<Reason> = found.into_values().collect();
    reasons.sort_by_key(|reason| std::cmp::Reverse(reason.entities));
    Ok(reasons)
}

/// Remedy for a state of coverage.
fn remedy(state: &str) -> &'static str {
    match state {
        "deferred" => {
            "Give the export more time or requests (--budget, --max-requests), or wait: each export continues."
        }
        "failed" => {
            "The next export asks again; if it fails every night, check the reason and Hex's status page."
        }
        "forbidden" => "Use a token whose user and scope may read it, or give it up with --without TABLE.",
        "vanished" => "The next export settles it: the project was probably deleted while the crawl ran.",
        "missing" => {
            "If the list really shrank, accept it with --accept-shrink; otherwise the next export decides."
        }
        "held" => {
            "It depends on the list that names it: once that list is read to its end, it is asked for again."
        }
        _ => "",
    }
}

fn print(args: &Args, manifest: &Manifest, reasons: &[Reason], unfinished: &[SnapshotId]) {
    let dest = args.dest.display();
    for id in unfinished {
        println!(
            "The crawl of {id} was interrupted and has committed nothing: hexport export {dest} resumes it.\n"
        );
    }
    let gaps: Vec<(&String, TableState)> = manifest
        .tables
        .iter()
        .filter_map(|(name, table)| table.state.map(|state| (name, state)))
        .filter(|(_, state)| state.is_gap() || *state == TableState::Unreadable)
        .collect();
    let incomplete = gaps.iter().filter(|(_, state)| state.is_gap()).count() as u64;
    if manifest.complete {
        println!("{} is complete.", manifest.snapshot_id);
    } else {
        let what = counted(incomplete, "table");
        println!("{} is incomplete: {what} with missing or old rows.", manifest.snapshot_id);
    }
    if !gaps.is_empty() {
        let mut table = render::table(&["Table", "State", "Meaning"], &[]);
        for (name, state) in gaps {
            let meaning = match state {
                TableState::Unreadable => "the API never gave it to this token",
                TableState::Partial => "rows of some entities are missing",
                TableState::Stale => "some rows are the last known ones; fetched_at says from when",
                TableState::Read | TableState::Reused => "",
            };
            table.add_row([name.as_str(), state.name(), meaning]);
        }
        println!("\n{table}");
    }
    for r in reasons {
        let read = r
            .last_read_at
            .map_or(String::new(), |at| format!("; oldest read {}", at.format("%Y-%m-%d %H:%M UTC")));
        println!("\n{}: {} {}{read}", r.operation, render::count(r.entities), r.state);
        if !r.reason.is_empty() {
            println!("  why   {}", r.reason);
        }
        if !r.examples.is_empty() {
            let more = r.entities - r.examples.len() as u64;
            let more = if more > 0 { format!(", and {} more", render::count(more)) } else { String::new() };
            println!("  of    {}{more}", r.examples.join(", "));
        }
        if !remedy(&r.state).is_empty() {
            println!("  next  {}", remedy(&r.state));
        }
    }
}
