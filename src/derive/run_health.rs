//! `run_health`: how the runs of each project have changed, against the project's own past.
//!
//! Durations are compared as logarithms, by medians and the median absolute deviation: a project that now and then
//! takes long is not slow for it.

use std::collections::HashMap;

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{Float64Type, TimestampMicrosecondType};
use chrono::TimeDelta;
use polars::prelude::*;

use super::Inputs;
use super::connections::text as text_at;
use super::lineage::utc;
use crate::schema::columns::{boolean, float, int, text, time};
use crate::schema::{Origin, Table, itself};
use crate::snapshot::{self, TableReader};
use crate::tables::{PROJECTS, RUNS};

/// Time before the snapshot that is compared,
const RECENT: TimeDelta = TimeDelta::days(7);
/// with as much time before that.
const BASELINE: TimeDelta = TimeDelta::days(60);
/// Runs that are enough to compare: recent ones, and those before.
const ENOUGH: (usize, usize) = (4, 12);
/// A deviation of so many standard errors, and a ratio of so much, is no chance.
const SCORE: f64 = 4.0;
const RATIO: f64 = 1.5;
/// Probability below which so many failures are no chance.
const CHANCE: f64 = 0.001;

/// One row a project that has run in the 67 days before the snapshot.
pub static RUN_HEALTH: Table = Table {
    name: "run_health",
    doc: "How each project's runs of the last 7 days compare with those of the 60 days before",
    origin: Origin::Derived(&["runs", "projects"]),
    key: &["project_id"],
    columns: &[
        text("project_id", "", "Project").required(),
        int("recent_runs", "", "Runs that ended in the 7 days before the snapshot").required(),
        int("baseline_runs", "", "Runs that ended in the 60 days before these").required(),
        float("recent_median_seconds", "", "Median duration of the recent runs that succeeded"),
        float("baseline_median_seconds", "", "Median duration of the earlier runs that succeeded"),
        float(
            "baseline_deviation",
            "",
            "Median absolute deviation of the logarithms of the earlier durations, times 1.4826",
        ),
        float("duration_score", "", "How far the recent median is above the earlier one, in standard errors"),
        boolean(
            "is_slower",
            "",
            "Whether it is slower by 1.5 times and 4 standard errors; null if too few runs",
        ),
        float("recent_failure_rate", "", "Share of the recent runs that failed; cancelled runs don't count"),
        float("baseline_failure_rate", "", "Share of the earlier runs that failed"),
        boolean(
            "is_failing_more",
            "",
            "Whether chance alone would give that many failures in fewer than one of 1,000 cases; null if too few runs",
        ),
        int("recent_no_kernel", "", "Recent runs that got no kernel").required(),
        int("failure_streak", "", "Runs since the last success that failed").required(),
        time("failing_since", "", "Start of the first run of that streak"),
        time("last_success_at", "", "Start of the last run before it that succeeded"),
        text(
            "preceded_by",
            "",
            "publication or edit: what happened to the project between the last success and the first failure",
        ),
        time("preceded_at", "", "When that happened"),
    ],
    elsewhere: &[],
    explode: itself,
};

/// A run that ended.
#[derive(Debug, Clone, Copy)]
struct Run {
    /// Microseconds since 1970.
    at: i64,
    outcome: Outcome,
    seconds: Option<f64>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Outcome {
    Succeeded,
    Failed,
    NoKernel,
}

/// Last changes of a project: edit and publication.
type Stamps = (Option<i64>, Option<i64>);

/// A row of the table.
#[derive(Debug, Default, PartialEq)]
struct Health {
    recent_runs: i64,
    baseline_runs: i64,
    recent_median: Option<f64>,
    baseline_median: Option<f64>,
    deviation: Option<f64>,
    score: Option<f64>,
    is_slower: Option<bool>,
    recent_rate: Option<f64>,
    baseline_rate: Option<f64>,
    is_failing_more: Option<bool>,
    no_kernel: i64,
    streak: i64,
    failing_since: Option<i64>,
    last_success_at: Option<i64>,
    preceded_by: Option<&'static str>,
    preceded_at: Option<i64>,
}

/// Computes the rows.
pub fn derive(inputs: &Inputs<'_>) -> PolarsResult<DataFrame> {
    let failed = super::unreadable;
    let now = inputs.snapshot_at.timestamp_micros();
    let stamps = stamps(inputs).map_err(failed)?;
    let mut rows: Vec<(String, Health)> = Vec::new();
    let mut of_project: (String, Vec<Run>) = Default::default();
    let mut end = |(project, runs): (String, Vec<Run>)| {
        if !runs.is_empty() {
            let stamps = stamps.get(&project).copied().unwrap_or_default();
            rows.push((project, health(now, runs, stamps)));
        }
    };
    let columns = ["project_id", "status", "start_time", "ordered_at", "duration_seconds"];
    let reader = TableReader::open_file_columns(&inputs.path(RUNS.name), &RUNS, &columns).map_err(failed)?;
    let first = now - micros(RECENT + BASELINE);
    for batch in reader {
        let batch = batch.map_err(failed)?;
        for i in 0..batch.num_rows() {
            let Some(project) = text_at(&batch, "project_id", i) else { continue };
            if of_project.0 != project {
                end(std::mem::replace(&mut of_project, (project.to_owned(), Vec::new())));
            }
            of_project.1.extend(run(&batch, i).filter(|run| run.at > first && run.at <= now));
        }
    }
    end(of_project);
    frame(&rows)
}

fn micros(delta: TimeDelta) -> i64 {
    delta.num_microseconds().unwrap_or_default()
}

fn run(batch: &RecordBatch, row: usize) -> Option<Run> {
    let time = |name| time_at(batch, name, row);
    let outcome = match text_at(batch, "status", row)? {
        "COMPLETED" => Outcome::Succeeded,
        "ERRORED" => Outcome::Failed,
        "UNABLE_TO_ALLOCATE_KERNEL" => Outcome::NoKernel,
        _ => return None,
    };
    let seconds = batch.column_by_name("duration_seconds")?.as_primitive::<Float64Type>();
    let seconds = (seconds.is_valid(row) && seconds.value(row) > 0.0).then(|| seconds.value(row));
    Some(Run { at: time("start_time").or_else(|| time("ordered_at"))?, outcome, seconds })
}

fn time_at(batch: &RecordBatch, name: &str, row: usize) -> Option<i64> {
    let column = batch.column_by_name(name)?.as_primitive::<TimestampMicrosecondType>();
    column.is_valid(row).then(|| column.value(row))
}

fn stamps(inputs: &Inputs<'_>) -> Result<HashMap<String, Stamps>, snapshot::Error> {
    let columns = ["project_id", "last_edited_at", "last_published_at"];
    let mut stamps = HashMap::new();
    for batch in TableReader::open_file_columns(&inputs.path(PROJECTS.name), &PROJECTS, &columns)? {
        let batch = batch?;
        for i in 0..batch.num_rows() {
            let Some(project) = text_at(&batch, "project_id", i) else { continue };
            let at = |name| time_at(&batch, name, i);
            stamps.insert(project.to_owned(), (at("last_edited_at"), at("last_published_at")));
        }
    }
    Ok(stamps)
}

fn health(now: i64, mut runs: Vec<Run>, (edited, published): Stamps) -> Health {
    runs.sort_by_key(|run| run.at);
    let split = runs.partition_point(|run| run.at <= now - micros(RECENT));
    let (before, recent) = runs.split_at(split);
    let count = |runs: &[Run], outcome| runs.iter().filter(|run| run.outcome == outcome).count();
    let mut health = Health {
        recent_runs: recent.len() as i64,
        baseline_runs: before.len() as i64,
        no_kernel: count(recent, Outcome::NoKernel) as i64,
        ..Health::default()
    };
    durations(&mut health, before, recent);
    // No kernel is the workspace's failure, not the project's.
    let failures = |runs: &[Run]| (count(runs, Outcome::Failed), runs.len() - count(runs, Outcome::NoKernel));
    let ((old, of_old), (new, of_new)) = (failures(before), failures(recent));
    let rate = |part: usize, of: usize| (of > 0).then(|| part as f64 / of as f64);
    (health.baseline_rate, health.recent_rate) = (rate(old, of_old), rate(new, of_new));
    if of_new >= ENOUGH.0 && of_old >= ENOUGH.1 {
        // A project that never failed may fail once.
        let usual = (old as f64 + 1.0) / (of_old as f64 + 2.0);
        health.is_failing_more = Some(at_least(new, of_new, usual) < CHANCE);
    }
    let last_success = runs.iter().rposition(|run| run.outcome == Outcome::Succeeded);
    let since = &runs[last_success.map_or(0, |at| at + 1)..];
    health.streak = since.len() as i64;
    health.failing_since = since.first().map(|run| run.at);
    health.last_success_at = last_success.map(|at| runs[at].at);
    if let (Some(until), Some(success)) = (health.failing_since, last_success) {
        let from = runs[success].at;
        let between = |at: &i64| (from..=until).contains(at);
        let causes = [(published, "publication"), (edited, "edit")];
        let cause = causes.into_iter().find_map(|(at, what)| Some((at.filter(between)?, what)));
        health.preceded_at = cause.map(|(at, _)| at);
        health.preceded_by = cause.map(|(_, what)| what);
    }
    health
}

fn durations(health: &mut Health, before: &[Run], recent: &[Run]) {
    let logs = |runs: &[Run]| -> Vec<f64> {
        let succeeded = runs.iter().filter(|run| run.outcome == Outcome::Succeeded);
        succeeded.filter_map(|run| run.seconds.map(f64::ln)).collect()
    };
    let (before, recent) = (logs(before), logs(recent));
    let (usual, now) = (median(before.clone()), median(recent.clone()));
    (health.baseline_median, health.recent_median) = (usual.map(f64::exp), now.map(f64::exp));
    let (Some(usual), Some(now)) = (usual, now) else { return };
    // The factor makes it the standard deviation of what is distributed normally.
    let deviation =
        median(before.iter().map(|log| (log - usual).abs()).collect()).unwrap_or_default() * 1.4826;
    // Durations that never vary still differ by some per cent between machines.
    let deviation = deviation.max(0.05);
    health.deviation = Some(deviation);
    if recent.len() >= ENOUGH.0 && before.len() >= ENOUGH.1 {
        // The standard error of a median is larger than that of a mean by this factor.
        let error = 1.2533 * deviation * (1.0 / recent.len() as f64 + 1.0 / before.len() as f64).sqrt();
        let score = (now - usual) / error;
        health.score = Some(score);
        health.is_slower = Some(score >= SCORE && now - usual >= RATIO.ln());
    }
}

fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let n = values.len();
    (n > 0).then(|| (values[(n - 1) / 2] + values[n / 2]) / 2.0)
}

/// Probability of at least `k` of `n`, each with probability `p`.
fn at_least(k: usize, n: usize, p: f64) -> f64 {
    let mut below = 0.0;
    let mut log = n as f64 * (1.0 - p).ln();
    for i in 0..k {
        below += log.exp();
        log += ((n - i) as f64).ln() - ((i + 1) as f64).ln() + p.ln() - (1.0 - p).ln();
    }
    (1.0 - below).max(0.0)
}

fn frame(rows: &[(String, Health)]) -> PolarsResult<DataFrame> {
    fn column<T>(rows: &[(String, Health)], of: impl Fn(&Health) -> T) -> Vec<T> {
        rows.iter().map(|(_, health)| of(health)).collect()
    }
    let frame = df!(
        "project_id" => rows.iter().map(|(project, _)| project.as_str()).collect::<Vec<_>>(),
        "recent_runs" => column(rows, |h| h.recent_runs),
        "baseline_runs" => column(rows, |h| h.baseline_runs),
        "recent_median_seconds" => column(rows, |h| h.recent_median),
        "baseline_median_seconds" => column(rows, |h| h.baseline_median),
        "baseline_deviation" => column(rows, |h| h.deviation),
        "duration_score" => column(rows, |h| h.score),
        "is_slower" => column(rows, |h| h.is_slower),
        "recent_failure_rate" => column(rows, |h| h.recent_rate),
        "baseline_failure_rate" => column(rows, |h| h.baseline_rate),
        "is_failing_more" => column(rows, |h| h.is_failing_more),
        "recent_no_kernel" => column(rows, |h| h.no_kernel),
        "failure_streak" => column(rows, |h| h.streak),
        "failing_since" => column(rows, |h| h.failing_since),
        "last_success_at" => column(rows, |h| h.last_success_at),
        "preceded_by" => column(rows, |h| h.preceded_by),
        "preceded_at" => column(rows, |h| h.preceded_at),
    )?;
    let times = ["failing_since", "last_success_at", "preceded_at"].map(|name| col(name).cast(utc()));
    frame.lazy().with_columns(times).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: i64 = 86_400_000_000;
    const NOW: i64 = 20_000 * DAY;

    /// A run a day, the last today: seconds, or none for a failure.
    fn daily(seconds: &[Option<f64>]) -> Vec<Run> {
        let n = seconds.len() as i64;
        let run = |(i, seconds): (usize, &Option<f64>)| Run {
            at: NOW - (n - 1 - i as i64) * DAY,
            outcome: if seconds.is_some() { Outcome::Succeeded } else { Outcome::Failed },
            seconds: *seconds,
        };
        seconds.iter().enumerate().map(run).collect()
    }

    fn of(before: f64, recent: &[Option<f64>]) -> Health {
        let mut seconds: Vec<Option<f64>> =
            (0..40).map(|i| Some(before * (1.0 + 0.1 * f64::from(i % 5)))).collect();
        seconds.extend(recent);
        health(NOW, daily(&seconds), (None, None))
    }

    #[test]
    fn slower_is_slower_than_the_projects_own_past() {
        assert_eq!(of(10.0, &[Some(30.0); 7]).is_slower, Some(true));
        assert_eq!(of(10.0, &[Some(12.0); 7]).is_slower, Some(false));
        // One outlier is no trend; a slow project is not slower.
        let mut once = [Some(12.0); 7];
        once[3] = Some(500.0);
        assert_eq!(of(10.0, &once).is_slower, Some(false));
        assert_eq!(of(3000.0, &[Some(3600.0); 7]).is_slower, Some(false));
        // Too few to tell.
        assert_eq!(health(NOW, daily(&[Some(1.0), Some(99.0)]), (None, None)).is_slower, None);
    }

    #[test]
    fn failures_are_compared_with_chance() {
        let failing = [None, None, Some(1.0), None, None, None, None];
        assert_eq!(of(1.0, &failing).is_failing_more, Some(true));
        assert_eq!(
            of(1.0, &[None, Some(1.0), Some(1.0), Some(1.0), Some(1.0), Some(1.0), Some(1.0)])
                .is_failing_more,
            Some(false)
        );
        assert!((at_least(2, 3, 0.5) - 0.5).abs() < 1e-12);
        assert!((at_least(0, 5, 0.3) - 1.0).abs() < 1e-12);
        assert!((at_least(1, 4, 0.1) - (1.0 - 0.9_f64.powi(4))).abs() < 1e-12);
    }

    #[test]
    fn a_streak_names_what_came_before_it() {
        let runs = daily(&[Some(1.0), Some(1.0), None, None]);
        let stamps = (Some(NOW - 5 * DAY / 2 + DAY / 2), Some(NOW - 3 * DAY / 2));
        let found = health(NOW, runs.clone(), stamps);
        assert_eq!((found.streak, found.failing_since), (2, Some(NOW - DAY)));
        assert_eq!((found.preceded_by, found.preceded_at), (Some("publication"), stamps.1));
        let found = health(NOW, runs.clone(), (stamps.1, Some(NOW - 9 * DAY)));
        assert_eq!(found.preceded_by, Some("edit"));
        // A change after it began is no cause.
        assert_eq!(health(NOW, runs, (Some(NOW), None)).preceded_by, None);
    }
}
