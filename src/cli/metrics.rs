//! `--metrics-file`: figures in the form of Prometheus' textfile collector.

use std::fmt::Write as _;
use std::path::Path;

use super::exit::{Code, Failure};
use crate::export::Outcome;

/// Receivers of notifications that could not be told.
pub fn untold(receivers: usize) -> String {
    format!(
        "# HELP hexport_notifications_failed Receivers that could not be told of findings\n\
         # TYPE hexport_notifications_failed gauge\nhexport_notifications_failed {receivers}\n"
    )
}

/// The figures of an export; of one that committed nothing, those that there are.
pub fn text(outcome: Option<&Outcome>, sent: u64, complete: bool) -> String {
    let mut out = String::new();
    let mut metric = |name: &str, help: &str, samples: &[(String, f64)]| {
        let _ = writeln!(out, "# HELP hexport_{name} {help}\n# TYPE hexport_{name} gauge");
        for (labels, value) in samples {
            let _ = writeln!(out, "hexport_{name}{labels} {value}");
        }
    };
    let one = |value: f64| vec![(String::new(), value)];
    metric("export_success", "1 if a snapshot was committed", &one(f64::from(u8::from(outcome.is_some()))));
    metric("export_complete", "1 if the snapshot has no gaps", &one(f64::from(u8::from(complete))));
    metric(
        "export_end_time_seconds",
        "When the export ended, in seconds since 1970",
        &one(chrono::Utc::now().timestamp() as f64),
    );
    metric("requests_sent", "Requests sent by this export", &one(sent as f64));
    let Some(outcome) = outcome else { return out };
    let manifest = &outcome.manifest;
    metric(
        "snapshot_time_seconds",
        "The snapshot's time, in seconds since 1970",
        &one(manifest.snapshot_at.timestamp() as f64),
    );
    metric("crawl_seconds", "Time of the crawl", &one(outcome.crawl_seconds));
    let rows: Vec<_> = manifest
        .tables
        .iter()
        .map(|(name, table)| (format!("{{table=\"{name}\"}}"), table.rows as f64))
        .collect();
    metric("table_rows", "Rows of each table", &rows);
    let requests: Vec<_> = manifest
        .endpoints
        .iter()
        .map(|(name, e)| (format!("{{endpoint=\"{name}\"}}"), e.requests as f64))
        .collect();
    metric(
        "endpoint_requests",
        "Requests of each endpoint, those of an interrupted crawl included",
        &requests,
    );
    let retries: Vec<_> = manifest
        .endpoints
        .iter()
        .map(|(name, e)| (format!("{{endpoint=\"{name}\"}}"), e.retries as f64))
        .collect();
    metric("endpoint_retries", "Repeated and refused requests of each endpoint", &retries);
    let states: Vec<_> = manifest
        .endpoints
        .iter()
        .flat_map(|(name, e)| {
            e.states
                .iter()
                .map(move |(state, n)| (format!("{{endpoint=\"{name}\",state=\"{state}\"}}"), *n as f64))
        })
        .collect();
    metric("coverage_entities", "Entities of each endpoint by what came of them", &states);
    out
}

/// Replaces the file in one step: the collector never reads half of it.
///
/// # Errors
/// If it can't be written.
pub fn write(path: &Path, text: &str) -> Result<(), Failure> {
    let beside = path.with_extension("prom.tmp");
    let written = std::fs::write(&beside, text).and_then(|()| std::fs::rename(&beside, path));
    written.map_err(|e| {
        Failure::new(Code::Usage, format!("the metrics file {} can't be written: {e}", path.display()))
            .next("The snapshot, if one was made, is committed. Name a file in a folder that this user may write to.")
    })
}
