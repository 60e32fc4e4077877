//! `--metrics-file`: figures in the form of Prometheus' textfile collector.
//!
//! Every attempt is recorded, whatever ended it, above the metrics of the last committed snapshot.

use std::fmt::Write as _;
use std::io;
use std::path::Path;

use super::exit::Code;
use crate::export::Outcome;

/// Begins the part of the file that a failed attempt leaves as it is.
const KEPT: &str = "# Of the last snapshot that was committed:\n";

/// Figures of a committed snapshot, as text.
#[derive(Debug)]
pub struct Figures(String);

/// One metric with its samples: labels and values.
fn metric(out: &mut String, name: &str, help: &str, samples: &[(String, f64)]) {
    let _ = writeln!(out, "# HELP hexport_{name} {help}\n# TYPE hexport_{name} gauge");
    for (labels, value) in samples {
        let _ = writeln!(out, "hexport_{name}{labels} {value}");
    }
}

fn one(value: f64) -> Vec<(String, f64)> {
    vec![(String::new(), value)]
}

/// The figures of an export that committed a snapshot, with the number of receivers of notifications that could not
/// be reached, if there are receivers.
pub fn figures(outcome: &Outcome, sent: u64, untold: Option<usize>) -> Figures {
    let mut out = String::new();
    let mut metric =
        |name: &str, help: &str, samples: &[(String, f64)]| metric(&mut out, name, help, samples);
    metric("last_success_time_seconds", "When it was committed, in seconds since 1970", &one(now()));
    metric("requests_sent", "Requests sent by that export", &one(sent as f64));
    if let Some(receivers) = untold {
        let help = "Receivers that could not be notified of findings";
        metric("notifications_failed", help, &one(receivers as f64));
    }
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
    Figures(out)
}

/// Metrics of one attempt.
fn attempt(code: Code, figures: Option<&Figures>) -> String {
    let mut out = String::new();
    let mut metric = |name: &str, help: &str, value: f64| metric(&mut out, name, help, &one(value));
    metric(
        "export_success",
        "1 if the last attempt committed a snapshot",
        f64::from(u8::from(figures.is_some())),
    );
    metric(
        "export_complete",
        "1 if the last attempt committed a snapshot without gaps",
        f64::from(u8::from(figures.is_some() && code == Code::Complete)),
    );
    metric("export_end_time_seconds", "When the last attempt ended, in seconds since 1970", now());
    metric("export_exit_code", "Exit code of the last attempt", f64::from(code as u8));
    out
}

fn now() -> f64 {
    chrono::Utc::now().timestamp() as f64
}

/// Replaces the file in one step: the collector never reads half of it.
///
/// # Errors
/// If it can't be written.
pub fn record(path: &Path, code: Code, figures: Option<&Figures>) -> io::Result<()> {
    let kept = match figures {
        Some(figures) => figures.0.clone(),
        None => {
            let before = std::fs::read_to_string(path).unwrap_or_default();
            before.split_once(KEPT).map_or(String::new(), |(_, kept)| kept.to_owned())
        }
    };
    let mut text = attempt(code, figures);
    if !kept.is_empty() {
        text = text + KEPT + &kept;
    }
    let mut beside = path.as_os_str().to_owned();
    beside.push(".tmp");
    let written = std::fs::write(&beside, text).and_then(|()| std::fs::rename(&beside, path));
    if written.is_err() {
        let _ = std::fs::remove_file(&beside);
    }
    written
}
