//! `run_daily`: runs of each project by day.

use polars::prelude::*;

use super::Inputs;
use crate::schema::columns::{date, float, int, text};
use crate::schema::{Origin, Table, itself};
use crate::tables::RUNS;

/// One row a project, day (UTC) on which a run started, and trigger.
pub static RUN_DAILY: Table = Table {
    name: "run_daily",
    doc: "Runs of each project by the day (UTC) that they started on, and by trigger",
    origin: Origin::Derived(&["runs"]),
    key: &["project_id", "day", "run_trigger"],
    columns: &[
        text("project_id", "", "Project").required(),
        date("day", "", "Day, UTC").required(),
        text(
            "run_trigger",
            "",
            "API, SCHEDULED, APP_REFRESH; null if the API doesn't say, and in snapshots of schema version 2, whose rows are \
             of all triggers together",
        ),
        int("runs", "", "Runs").required(),
        int("completed", "", "Runs that succeeded").required(),
        int("failed", "", "Runs that ended without success").required(),
        float("total_seconds", "", "Total duration"),
        float("mean_seconds", "", "Mean duration"),
        float("max_seconds", "", "Longest duration"),
        float("p50_seconds", "", "Median duration"),
        float("p95_seconds", "", "95th percentile of the durations"),
        float("mean_queue_seconds", "", "Mean of runs.queue_seconds, where it is known"),
    ],
    elsewhere: &[],
    explode: itself,
};

/// Computes the rows.
pub fn derive(inputs: &Inputs<'_>) -> PolarsResult<DataFrame> {
    let is = |status: &'static str| col("status").eq(lit(status));
    let failed = is("ERRORED").or(is("KILLED")).or(is("UNABLE_TO_ALLOCATE_KERNEL"));
    inputs
        .scan(&RUNS)?
        .filter(col("start_time").is_not_null())
        .with_column(col("start_time").dt().date().alias("day"))
        .group_by([col("project_id"), col("day"), col("run_trigger")])
        .agg([
            len().cast(DataType::Int64).alias("runs"),
            is("COMPLETED").cast(DataType::Int64).sum().alias("completed"),
            failed.cast(DataType::Int64).sum().alias("failed"),
            col("duration_seconds").sum().alias("total_seconds"),
            col("duration_seconds").mean().alias("mean_seconds"),
            col("duration_seconds").max().alias("max_seconds"),
            col("duration_seconds").quantile(lit(0.5), QuantileMethod::Linear).alias("p50_seconds"),
            col("duration_seconds").quantile(lit(0.95), QuantileMethod::Linear).alias("p95_seconds"),
            col("queue_seconds").mean().alias("mean_queue_seconds"),
        ])
        .collect()
}
