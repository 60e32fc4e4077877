//! `run_cost`: what the queries of each run used and cost.

use std::collections::{BTreeMap, HashMap};

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::TimestampMicrosecondType;
use polars::prelude::*;

use super::Inputs;
use super::connections::text as text_at;
use super::prices::{Spent, Usage};
use super::project_cost::usage_columns;
use crate::schema::columns::{float, int, text};
use crate::schema::{Origin, Table, itself};
use crate::tables::usage::{BYTES_SCANNED, CACHED, FIRST_AT, LAST_AT, QUERIES, SECONDS};
use crate::tables::{QUERY_RUNS, RUNS};

/// One row a run, and one a trace of which no run is known.
pub static RUN_COST: Table = Table {
    name: "run_cost",
    doc: "What the warehouse queries of each run used and cost; of queries that belong to no known run, by trace",
    origin: Origin::Derived(&["query_runs", "runs"]),
    key: &["project_id", "run_id", "group_id"],
    columns: &[
        text("project_id", "", "Project").required(),
        text("run_id", "", "Run; null if none is known that they belong to"),
        text("group_id", "", "Trace id, or the minute (UTC) of queries whose comment has none").required(),
        text(
            "joined_by",
            "",
            "How the run is known: trace (its trace id), time (the only run of the project then); null if it isn't",
        ),
        text("context", "", "What made Hex send them, by the queries' comment"),
        text("run_trigger", "", "The run's trigger"),
        FIRST_AT,
        LAST_AT,
        QUERIES,
        int("failures", "", "Of these, failed").required(),
        CACHED,
        SECONDS.required(),
        BYTES_SCANNED.required(),
        float("credits", "", "Credits or DBUs that the warehouse attributes to them").required(),
        float("slot_seconds", "", "Slot or CPU time, in seconds").required(),
        float("cost", "", "Cost by the prices in [cost]; null if nothing of it has a price"),
    ],
    elsewhere: &[],
    explode: itself,
};

/// Microseconds by which a query may start before its run, or after it: the clocks are two.
const SLACK: i64 = 2_000_000;

struct Run {
    id: String,
    trigger: Option<String>,
    start: i64,
    end: i64,
}

#[derive(Default)]
struct Runs {
    by_trace: HashMap<String, usize>,
    all: Vec<Run>,
}

impl Runs {
    /// The run that queries belong to: by its trace, else the only one that was under way then.
    fn of(&self, trace: Option<&str>, first: i64, last: i64) -> Option<(&Run, &'static str)> {
        if let Some(at) = trace.and_then(|trace| self.by_trace.get(trace)) {
            return Some((&self.all[*at], "trace"));
        }
        let mut then = self.all.iter().filter(|run| run.start - SLACK <= first && last <= run.end + SLACK);
        let only = then.next()?;
        then.next().is_none().then_some((only, "time"))
    }
}

struct Group {
    context: Option<String>,
    first: i64,
    last: i64,
    trigger: Option<String>,
    joined_by: Option<&'static str>,
    spent: Spent,
}

/// Computes the rows.
pub fn derive(inputs: &Inputs<'_>) -> PolarsResult<DataFrame> {
    let failed = super::unreadable;
    let prices = &inputs.given.prices;
    let runs = runs(inputs).map_err(failed)?;
    let none = Runs::default();
    let mut groups: BTreeMap<(String, Option<String>, String), Group> = BTreeMap::new();
    for batch in inputs.read(&QUERY_RUNS).map_err(failed)? {
        let batch = batch.map_err(failed)?;
        let failures = batch.column_by_name("failures").expect("a column of the table");
        let failures = failures.as_primitive::<arrow::datatypes::Int64Type>();
        for row in 0..batch.num_rows() {
            let text = |name| text_at(&batch, name, row);
            let project = text("project_id").unwrap_or("");
            let (first, last) = (time_at(&batch, "first_at", row), time_at(&batch, "last_at", row));
            let (Some(first), Some(last)) = (first, last) else { continue };
            let usage = Usage::at(&batch, row);
            let cost = prices.cost(text("warehouse").unwrap_or(""), text("connection_name"), &usage);
            let run = runs.get(project).unwrap_or(&none).of(text("trace_id"), first, last);
            let key = (
                project.to_owned(),
                run.map(|(run, _)| run.id.clone()),
                text("group_id").unwrap_or("").to_owned(),
            );
            let group = groups.entry(key).or_insert_with(|| Group {
                context: text("context").map(str::to_owned),
                first,
                last,
                trigger: run.and_then(|(run, _)| run.trigger.clone()),
                joined_by: run.map(|(_, by)| by),
                spent: Spent::default(),
            });
            (group.first, group.last) = (group.first.min(first), group.last.max(last));
            group.spent.add(usage, cost, "");
            group.spent.failures += failures.value(row);
        }
    }
    let keys = || groups.keys();
    let all = || groups.values();
    let mut frame = df!(
        "project_id" => keys().map(|key| key.0.clone()).collect::<Vec<_>>(),
        "run_id" => keys().map(|key| key.1.clone()).collect::<Vec<_>>(),
        "group_id" => keys().map(|key| key.2.clone()).collect::<Vec<_>>(),
        "joined_by" => all().map(|group| group.joined_by).collect::<Vec<_>>(),
        "context" => all().map(|group| group.context.clone()).collect::<Vec<_>>(),
        "run_trigger" => all().map(|group| group.trigger.clone()).collect::<Vec<_>>(),
        "first_at" => all().map(|group| group.first).collect::<Vec<_>>(),
        "last_at" => all().map(|group| group.last).collect::<Vec<_>>(),
    )?;
    for column in usage_columns(groups.values().map(|group| &group.spent)) {
        frame.with_column(column)?;
    }
    Ok(frame)
}

fn time_at(batch: &RecordBatch, name: &str, row: usize) -> Option<i64> {
    let column = batch.column_by_name(name).expect("a column of the table");
    let times = column.as_primitive::<TimestampMicrosecondType>();
    times.is_valid(row).then(|| times.value(row))
}

/// Runs of each project that has started ones.
fn runs(inputs: &Inputs<'_>) -> Result<HashMap<String, Runs>, crate::snapshot::Error> {
    let now = inputs.snapshot_at.timestamp_micros();
    let mut runs: HashMap<String, Runs> = HashMap::new();
    for batch in inputs.read(&RUNS)? {
        let batch = batch?;
        for row in 0..batch.num_rows() {
            let text = |name| text_at(&batch, name, row);
            let (Some(project), Some(id)) = (text("project_id"), text("run_id")) else { continue };
            let Some(start) = time_at(&batch, "start_time", row) else { continue };
            let end = time_at(&batch, "end_time", row).unwrap_or(now);
            let of = runs.entry(project.to_owned()).or_default();
            if let Some(trace) = text("trace_id") {
                of.by_trace.insert(trace.to_lowercase(), of.all.len());
            }
            of.all.push(Run {
                id: id.to_owned(),
                trigger: text("run_trigger").map(str::to_owned),
                start,
                end,
            });
        }
    }
    Ok(runs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries_join_runs_by_trace_and_else_by_time_where_one_run_alone_fits() {
        let run = |id: &str, start: i64, end: i64| Run { id: id.into(), trigger: None, start, end };
        let second = 1_000_000;
        let runs = Runs {
            by_trace: HashMap::from([("t1".into(), 0)]),
            all: vec![
                run("a", 0, 10 * second),
                run("b", 20 * second, 40 * second),
                run("c", 35 * second, 50 * second),
            ],
        };
        for (trace, first, last, expected) in [
            (Some("t1"), 90, 95, Some(("a", "trace"))),
            (Some("t9"), 22, 30, Some(("b", "time"))),
            (None, -1, 11, Some(("a", "time"))),
            (None, 36, 39, None),
            (None, 39, 41, None),
            (None, 44, 49, Some(("c", "time"))),
            (None, 60, 61, None),
        ] {
            let found = runs.of(trace, first * second, last * second).map(|(run, by)| (run.id.as_str(), by));
            assert_eq!(found, expected, "{trace:?} {first}");
        }
    }
}
