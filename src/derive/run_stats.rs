//! `run_stats`: how runs of each project go.

use std::collections::{BTreeSet, HashMap};

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{Int64Type, TimestampMicrosecondType};
use chrono::{DateTime, TimeDelta, Utc};
use polars::prelude::*;

use super::Inputs;
use super::connections::text as text_at;
use super::schedule::Schedule;
use crate::client::operation::GET_PROJECT_RUNS;
use crate::client::runs::TERMINAL_STATUSES;
use crate::schema::columns::{float, int, text, time};
use crate::schema::{Origin, Table, itself};
use crate::tables::{CRAWL_COVERAGE, RUNS};

/// Time before the snapshot over which adherence to schedules is judged.
const WINDOW: TimeDelta = TimeDelta::days(30);
/// Maximum delay of a scheduled run before it counts as late.
const LATE: TimeDelta = TimeDelta::minutes(15);

/// One row a project and trigger, and one a project over all triggers. Durations are of runs that have ended,
/// in seconds; quantiles are interpolated between the two nearest values.
pub static RUN_STATS: Table = Table {
    name: "run_stats",
    doc: "Outcomes and durations of each project's runs, by trigger and overall (trigger ALL); quantiles interpolate linearly",
    origin: Origin::Derived(&["runs", "projects", "project_schedules"]),
    key: &["project_id", "run_trigger"],
    columns: &[
        text("project_id", "", "Project").required(),
        text("run_trigger", "", "API, SCHEDULED, APP_REFRESH, UNKNOWN where the API doesn't say, or ALL")
            .required(),
        int("runs", "", "Runs").required(),
        int("completed", "", "Runs that succeeded").required(),
        int("errored", "", "Runs that failed").required(),
        int("killed", "", "Runs that were cancelled").required(),
        int("no_kernel", "", "Runs that got no kernel (UNABLE_TO_ALLOCATE_KERNEL)").required(),
        int("unfinished", "", "Runs that had not ended yet").required(),
        float("success_rate", "", "Share of ended runs that succeeded; null if none has ended"),
        float("min_seconds", "", "Shortest duration"),
        float("mean_seconds", "", "Mean duration"),
        float("p50_seconds", "", "Median duration"),
        float("p90_seconds", "", "90 % of durations are at most this"),
        float("p95_seconds", "", "95 % of durations are at most this"),
        float("p99_seconds", "", "99 % of durations are at most this"),
        float("max_seconds", "", "Longest duration"),
        int("durations_disagree", "", "Runs whose elapsed time is not their end minus their start")
            .required(),
        time("first_run_at", "", "Start of the first run"),
        time("last_run_at", "", "Start of the last run"),
        time("last_success_at", "", "Start of the last successful run"),
        float("seconds_since_success", "", "Time from last_success_at to the snapshot"),
        int(
            "failure_streak",
            "",
            "Runs since the last success that failed or got no kernel; cancelled runs don't count",
        )
        .required(),
        int(
            "expected_runs",
            "",
            "SCHEDULED only: runs due in the 30 days before the snapshot, by the enabled schedules",
        ),
        int("seen_runs", "", "SCHEDULED only: due runs that started"),
        int("late_runs", "", "SCHEDULED only: due runs that started more than 15 minutes late"),
        int(
            "missed_runs",
            "",
            "SCHEDULED only: runs due since the first known one, and more than 15 minutes ago, that never started",
        ),
        float("adherence", "", "SCHEDULED only: seen_runs / expected_runs; null if none was due"),
        time(
            "history_read_until",
            "",
            "When the run history was last read from the API: later runs are not known, and schedules are judged up to it",
        ),
    ],
    elsewhere: &[],
    explode: itself,
};

const KEY: [&str; 2] = ["project_id", "run_trigger"];

/// Computes the rows.
pub fn derive(inputs: &Inputs<'_>) -> PolarsResult<DataFrame> {
    // Older servers don't say what triggered a run.
    let runs = inputs.scan(&RUNS)?.with_column(col("run_trigger").fill_null(lit("UNKNOWN")));
    let all = runs.clone().with_column(lit("ALL").alias("run_trigger"));
    let runs = concat([runs, all], UnionArgs::default())?;
    let is = |status: &'static str| col("status").eq(lit(status));
    let count = |of: Expr, name: &'static str| of.cast(DataType::Int64).sum().alias(name);
    let ended = || TERMINAL_STATUSES.iter().map(|s| is(s)).reduce(Expr::or).expect("there are some");
    let duration = || col("duration_seconds").filter(ended());
    let quantile =
        |q: f64, name: &'static str| duration().quantile(lit(q), QuantileMethod::Linear).alias(name);
    // A run that got no kernel has no start. One of which no time is known counts only where none succeeded.
    let ordered = || coalesce(&[col("start_time"), col("ordered_at")]).to_physical();
    let last_success = || ordered().filter(is("COMPLETED")).max().fill_null(lit(i64::MIN));
    let failed = is("ERRORED").or(is("UNABLE_TO_ALLOCATE_KERNEL"));
    let failed_since = failed.and(ordered().fill_null(lit(i64::MIN + 1)).gt(last_success()));
    let stats = runs.group_by(KEY.map(col)).agg([
        len().cast(DataType::Int64).alias("runs"),
        count(is("COMPLETED"), "completed"),
        count(is("ERRORED"), "errored"),
        count(is("KILLED"), "killed"),
        count(is("UNABLE_TO_ALLOCATE_KERNEL"), "no_kernel"),
        count(ended().not().fill_null(lit(true)), "unfinished"),
        duration().min().alias("min_seconds"),
        duration().mean().alias("mean_seconds"),
        quantile(0.5, "p50_seconds"),
        quantile(0.9, "p90_seconds"),
        quantile(0.95, "p95_seconds"),
        quantile(0.99, "p99_seconds"),
        duration().max().alias("max_seconds"),
        count(col("duration_agrees").not(), "durations_disagree"),
        col("start_time").min().alias("first_run_at"),
        col("start_time").max().alias("last_run_at"),
        col("start_time").filter(is("COMPLETED")).max().alias("last_success_at"),
        count(failed_since, "failure_streak"),
    ]);
    let schedules = schedules(inputs)?.lazy();
    let with_schedules = stats.join(
        schedules,
        KEY.map(col),
        KEY.map(col),
        JoinArgs::new(JoinType::Full).with_coalesce(JoinCoalesce::CoalesceColumns),
    );
    let counts = [
        "runs",
        "completed",
        "errored",
        "killed",
        "no_kernel",
        "unfinished",
        "durations_disagree",
        "failure_streak",
    ];
    let now = inputs.snapshot_at.timestamp_micros();
    let with_schedules = with_schedules.join(
        history_read(inputs)?.lazy(),
        [col("project_id")],
        [col("project_id")],
        JoinArgs::new(JoinType::Left),
    );
    with_schedules
        .with_columns(counts.map(|name| col(name).fill_null(lit(0i64))))
        .with_columns([
            ratio(col("completed"), col("runs") - col("unfinished")).alias("success_rate"),
            ((lit(now) - col("last_success_at").to_physical()).cast(DataType::Float64) / lit(1e6))
                .alias("seconds_since_success"),
            ratio(col("seen_runs"), col("expected_runs")).alias("adherence"),
        ])
        .collect()
}

/// A share; null where there is nothing to have a share of.
pub(super) fn ratio(part: Expr, of: Expr) -> Expr {
    let share = part.cast(DataType::Float64) / of.clone().cast(DataType::Float64);
    when(of.gt(lit(0))).then(share).otherwise(lit(NULL).cast(DataType::Float64))
}

/// For each project with enabled schedules: runs that were due in the window, and scheduled runs seen in it.
fn schedules(inputs: &Inputs<'_>) -> PolarsResult<DataFrame> {
    let failed = super::unreadable;
    let windows = windows(inputs).map_err(failed)?;
    let mut due: HashMap<String, Option<BTreeSet<DateTime<Utc>>>> = HashMap::new();
    let table = &crate::tables::PROJECT_SCHEDULES;
    for batch in inputs.read(table).map_err(failed)? {
        let batch = batch.map_err(failed)?;
        for i in 0..batch.num_rows() {
            let Some((project, schedule)) = schedule(&batch, i) else { continue };
            let Some((from, until)) = windows.get(project) else { continue };
            let times = schedule.due(*from, *until);
            // A schedule that can't be read leaves open how many runs were due.
            let so_far = due.entry(project.to_owned()).or_insert_with(|| Some(BTreeSet::new()));
            *so_far = so_far.take().zip(times).map(|(mut so_far, times)| {
                so_far.extend(times);
                so_far
            });
        }
    }
    let mut projects: Vec<&String> = due.keys().collect();
    projects.sort();
    let expected: Vec<Option<i64>> =
        projects.iter().map(|p| due[*p].as_ref().map(|times| times.len() as i64)).collect();
    let bounds =
        projects.iter().map(|p| (windows[*p].0.timestamp_micros(), windows[*p].1.timestamp_micros()));
    let (from, until): (Vec<i64>, Vec<i64>) = bounds.unzip();
    let names: Vec<&str> = projects.iter().map(|p| p.as_str()).collect();
    let frame =
        df!("project_id" => names.clone(), "expected_runs" => expected, "from" => from, "until" => until)?
            .lazy();
    let start = || col("start_time").to_physical();
    let starts = inputs
        .scan(&RUNS)?
        .filter(col("run_trigger").eq(lit("SCHEDULED")))
        .join(frame.clone(), [col("project_id")], [col("project_id")], JoinArgs::new(JoinType::Inner))
        .filter(start().gt(col("from")).and(start().lt_eq(col("until"))))
        .select([col("project_id"), start().alias("start")])
        .collect()?;
    let mut started: HashMap<&str, Vec<i64>> = HashMap::new();
    let ids = starts.column("project_id")?.str()?;
    for (project, start) in ids.iter().zip(starts.column("start")?.i64()?.iter()) {
        if let (Some(project), Some(start)) = (project, start) {
            started.entry(project).or_default().push(start);
        }
    }
    let met: Vec<Option<Met>> = projects
        .iter()
        .map(|project| {
            let due = due[*project].as_ref()?;
            let starts = started.get_mut(project.as_str()).map(std::mem::take).unwrap_or_default();
            Some(Met::of(due, starts, windows[*project].1))
        })
        .collect();
    let column =
        |of: fn(&Met) -> i64| -> Vec<Option<i64>> { met.iter().map(|met| met.as_ref().map(of)).collect() };
    let counts = df!(
        "project_id" => names,
        "seen_runs" => column(|met| met.seen),
        "late_runs" => column(|met| met.late),
        "missed_runs" => column(|met| met.missed),
    )?;
    frame
        .join(counts.lazy(), [col("project_id")], [col("project_id")], JoinArgs::new(JoinType::Left))
        .select([
            col("project_id"),
            lit("SCHEDULED").alias("run_trigger"),
            col("expected_runs"),
            col("seen_runs"),
            col("late_runs"),
            col("missed_runs"),
        ])
        .collect()
}

/// Punctuality of runs, compared with the times at which they were due.
#[derive(Debug, Default, PartialEq)]
struct Met {
    seen: i64,
    late: i64,
    missed: i64,
}

impl Met {
    /// Each time is met by a run that starts before the next one: so no more are met than there are.
    fn of(due: &BTreeSet<DateTime<Utc>>, mut starts: Vec<i64>, until: DateTime<Utc>) -> Self {
        starts.sort_unstable();
        // A clock that is a little early makes no run one of the time before.
        let slack = TimeDelta::seconds(5).num_microseconds().unwrap_or_default();
        let grace = LATE.num_microseconds().unwrap_or_default();
        let times: Vec<i64> = due.iter().map(|at| at.timestamp_micros()).collect();
        let mut met = Self::default();
        let mut next = 0;
        for (at, time) in times.iter().enumerate() {
            let end = times.get(at + 1).map_or(i64::MAX, |time| time - slack);
            next += starts[next..].partition_point(|start| *start < time - slack);
            match starts.get(next).filter(|start| **start < end) {
                Some(start) => {
                    met.seen += 1;
                    met.late += i64::from(start - time > grace);
                    next += 1;
                }
                // Before the first run that is known the schedule may not have been there.
                None if next == 0 => {}
                None => met.missed += i64::from(until.timestamp_micros() - time > grace),
            }
        }
        met
    }
}

fn schedule(batch: &RecordBatch, row: usize) -> Option<(&str, Schedule<'_>)> {
    let number = |name: &str| {
        let column = batch.column_by_name(name).expect("a column of the table").as_primitive::<Int64Type>();
        if column.is_valid(row) { column.value(row) } else { 0 }
    };
    let enabled = batch.column_by_name("enabled").expect("a column of the table").as_boolean();
    if !(enabled.is_valid(row) && enabled.value(row)) {
        return None;
    }
    let schedule = Schedule {
        cadence: text_at(batch, "cadence", row)?,
        timezone: text_at(batch, "timezone", row),
        minute: number("minute"),
        hour: number("hour"),
        day_of_week: text_at(batch, "day_of_week", row),
        day: number("day"),
        cron: text_at(batch, "cron", row),
    };
    Some((text_at(batch, "project_id", row)?, schedule))
}

/// For each project, when its run history was last read.
fn history_read(inputs: &Inputs<'_>) -> PolarsResult<DataFrame> {
    let read = histories(inputs).map_err(|e| polars_err!(ComputeError: "{}", e))?;
    let (ids, times): (Vec<String>, Vec<i64>) =
        read.into_iter().map(|(id, at)| (id, at.timestamp_micros())).unzip();
    let utc = DataType::Datetime(TimeUnit::Microseconds, Some(TimeZone::UTC));
    df!("project_id" => ids, "history_read_until" => times)?
        .lazy()
        .with_column(col("history_read_until").cast(utc))
        .collect()
}

fn histories(inputs: &Inputs<'_>) -> Result<HashMap<String, DateTime<Utc>>, crate::snapshot::Error> {
    let mut read = HashMap::new();
    for batch in inputs.read(&CRAWL_COVERAGE)? {
        let batch = batch?;
        let at = batch.column_by_name("last_read_at").expect("a column of the table");
        let at = at.as_primitive::<TimestampMicrosecondType>();
        for i in (0..batch.num_rows()).filter(|i| at.is_valid(*i)) {
            let is_of_runs = text_at(&batch, "operation", i) == Some(GET_PROJECT_RUNS.id);
            let time = DateTime::from_timestamp_micros(at.value(i));
            if let (true, Some(id), Some(time)) = (is_of_runs, text_at(&batch, "entity_id", i), time) {
                read.insert(id.to_owned(), time);
            }
        }
    }
    Ok(read)
}

/// When something began and ended.
type Window = (DateTime<Utc>, DateTime<Utc>);

/// For each published project the time in which its schedules ran: not before its last publication, since
/// they may have been made with it, and not after it was archived or trashed, or its history was last read. A
/// project whose history was never read is left out: nothing is known of its runs.
fn windows(inputs: &Inputs<'_>) -> Result<HashMap<String, Window>, crate::snapshot::Error> {
    let read = histories(inputs)?;
    let mut windows = HashMap::new();
    let table = &crate::tables::PROJECTS;
    for batch in inputs.read(table)? {
        let batch = batch?;
        let at = |name: &str, row: usize| {
            let column = batch.column_by_name(name).expect("a column of the table");
            let column = column.as_primitive::<TimestampMicrosecondType>();
            column.is_valid(row).then(|| DateTime::from_timestamp_micros(column.value(row))).flatten()
        };
        for i in 0..batch.num_rows() {
            let (Some(id), Some(published)) = (text_at(&batch, "project_id", i), at("last_published_at", i))
            else {
                continue;
            };
            let from = published.max(inputs.snapshot_at - WINDOW);
            let Some(read) = read.get(id) else { continue };
            let ends = [at("archived_at", i), at("trashed_at", i), Some(*read)];
            let until = ends.into_iter().flatten().fold(inputs.snapshot_at, DateTime::min);
            windows.insert(id.to_owned(), (from, until));
        }
    }
    Ok(windows)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_due_time_is_met_once() {
        let at = |hour: u32, minute: u32| {
            chrono::NaiveDate::from_ymd_opt(2026, 1, 1)
                .unwrap()
                .and_hms_opt(hour, minute, 0)
                .unwrap()
                .and_utc()
        };
        let due: BTreeSet<_> = [at(1, 0), at(2, 0), at(3, 0), at(4, 0)].into();
        let of = |starts: &[(u32, u32)], until| {
            let starts = starts.iter().map(|(hour, minute)| at(*hour, *minute).timestamp_micros()).collect();
            let met = Met::of(&due, starts, until);
            (met.seen, met.late, met.missed)
        };
        assert_eq!(of(&[(4, 0), (1, 0), (2, 0), (3, 0)], at(5, 0)), (4, 0, 0));
        // Twice for one time is once; the time after is missed; one comes late.
        assert_eq!(of(&[(1, 0), (1, 1), (3, 20), (4, 0)], at(5, 0)), (3, 1, 1));
        // The last is due just now.
        assert_eq!(of(&[(1, 0), (2, 0), (3, 0)], at(4, 10)), (3, 0, 0));
        // Nothing is known of the time before the first run.
        assert_eq!(of(&[(2, 0), (3, 0)], at(5, 0)), (2, 0, 1));
        assert_eq!(of(&[], at(5, 0)), (0, 0, 0));
    }
}
