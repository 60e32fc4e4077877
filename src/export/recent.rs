//! Leaving old runs out of a snapshot.

use std::collections::HashMap;

use arrow::array::{Array, AsArray, BooleanArray, RecordBatch};
use arrow::compute::filter_record_batch;
use arrow::datatypes::TimestampMicrosecondType;
use arrow::error::ArrowError;
use chrono::{DateTime, Utc};

use crate::tables::RUNS;

/// So many of the newest runs of a project stay, however old: the next crawl reads its history as far as these.
const NEWEST: usize = 16;

/// The runs that happened since, and the newest of each project. A run of which nobody knows when it happened stays.
pub fn runs_since(batch: &RecordBatch, since: DateTime<Utc>) -> Result<RecordBatch, ArrowError> {
    let place = |name: &str| RUNS.index_of(name).expect("a column of runs");
    let times = batch.column(place("ordered_at")).as_primitive::<TimestampMicrosecondType>();
    let projects = batch.column(place("project_id")).as_string::<i32>();
    let since = since.timestamp_micros();
    let mut of_project: HashMap<&str, Vec<i64>> = HashMap::new();
    for row in (0..batch.num_rows()).filter(|row| times.is_valid(*row)) {
        of_project.entry(projects.value(row)).or_default().push(times.value(row));
    }
    let oldest_kept: HashMap<&str, i64> = of_project
        .into_iter()
        .map(|(project, mut times)| {
            times.sort_unstable_by(|a, b| b.cmp(a));
            let newest = times.get(NEWEST - 1).copied().unwrap_or(i64::MIN);
            (project, newest.min(since))
        })
        .collect();
    let stays: BooleanArray = (0..batch.num_rows())
        .map(|row| Some(times.is_null(row) || times.value(row) >= oldest_kept[projects.value(row)]))
        .collect();
    filter_record_batch(batch, &stays)
}
