//! `runs`: run histories of projects.

use serde_json::{Value, json};

use crate::client::operation::GET_PROJECT_RUNS;
use crate::schema::columns::{SubField, Type, boolean, float, int, text, time};
use crate::schema::{Column, GONE, Origin, Table, float as number, timestamp};

const EVENT: Type = Type::Struct(&[
    SubField::new("type", Type::Utf8, "type"),
    SubField::new("value", Type::Utf8, "value"),
    SubField::new("timestamp", Type::Timestamp, "timestamp"),
]);
const RECIPIENT: Type = Type::Struct(&[
    SubField::new("id", Type::Utf8, "id"),
    SubField::new("name", Type::Utf8, "name"),
    SubField::new("is_private", Type::Boolean, "isPrivate"),
]);
const NOTIFICATION: Type = Type::Struct(&[
    SubField::new("type", Type::Utf8, "type"),
    SubField::new("subject", Type::Utf8, "subject"),
    SubField::new("body", Type::Utf8, "body"),
    SubField::new("recipient_type", Type::Utf8, "recipientType"),
    SubField::new("include_success_screenshot", Type::Boolean, "includeSuccessScreenshot"),
    SubField::new("screenshot_format", Type::List(&Type::Utf8), "screenshotFormat"),
    SubField::new("recipient", RECIPIENT, "recipient"),
]);

/// One row a run. Runs accumulate: a run that Hex no longer lists stays in the next snapshot.
pub static RUNS: Table = Table {
    name: "runs",
    doc: "Runs of projects: started over the API, by schedule, or by publishing or refreshing an app",
    origin: Origin::Api(&GET_PROJECT_RUNS),
    key: &["project_id", "run_id"],
    columns: &[
        text("project_id", "@entity", "Project").required(),
        text("run_id", "runId", "Identifier (UUID)").required(),
        text("status", "status", "PENDING, RUNNING, ERRORED, COMPLETED, KILLED, UNABLE_TO_ALLOCATE_KERNEL"),
        text("run_trigger", "runTrigger", "API, SCHEDULED, APP_REFRESH"),
        int("project_version", "projectVersion", "Version of the project that ran, from 1"),
        time("start_time", "startTime", "Start"),
        time("end_time", "endTime", "End"),
        time(
            "ordered_at",
            "@ordered",
            "When it happened, as far as the API says, even if it never started: start_time, else end_time, \
             the first of state_events, or the time in the identifier (UUIDv7)",
        ),
        float(
            "elapsed_time",
            "elapsedTime",
            "Elapsed time as the API gives it: milliseconds, says its description",
        ),
        float(
            "duration_seconds",
            "@duration",
            "Duration in seconds: elapsed_time / 1000, else end_time - start_time; null where neither can be right; extra says why",
        ),
        boolean(
            "duration_agrees",
            "@agrees",
            "Whether elapsed_time / 1000 is end_time - start_time, to 1 s or 2 %; null where one is missing",
        ),
        float(
            "queue_seconds",
            "@queue",
            "Seconds from the first of state_events to the first that is RUNNING, or to start_time; null without events",
        ),
        float(
            "kernel_seconds",
            "@kernel",
            "Seconds from the first of state_events that is RUNNING to the last one: how long it held a kernel",
        ),
        text("run_url", "runUrl", "Page of the run in Hex"),
        text("trace_id", "traceId", "Hex's trace id"),
        text("flag_config_override", "flagConfigOverride", "Value of the header flag-config-override"),
        Column::new("state_events", Type::List(&EVENT), "stateEvents", "Changes of status, with their times"),
        Column::new(
            "notifications",
            Type::List(&NOTIFICATION),
            "notifications",
            "Notifications about the outcome",
        ),
        time("first_seen_at", "", "When hexport first read the run"),
        boolean(
            "given_up",
            "",
            "Whether the run was still open 7 days after it started or was first seen; its status is no longer polled",
        ),
        boolean(
            GONE,
            "",
            "Whether Hex had dropped the run when the project's history was last read to its end",
        ),
    ],
    elsewhere: &["projectId"],
    explode: with_duration,
};

/// Longest time that a run is taken to have taken, in seconds: a year.
const LONGEST: f64 = 366.0 * 86_400.0;

/// Adds the duration in seconds and whether the API's two ways of telling it agree. A duration that can't be is
/// left out, and the reason goes to `extra`.
fn with_duration(mut item: Value) -> Vec<Value> {
    if let Some(ordered) = happened_at(&item) {
        item["@ordered"] = json!(ordered);
    }
    let (queue, kernel) = waits(&item);
    for (name, seconds) in [("@queue", queue), ("@kernel", kernel)] {
        if let Some(seconds) = seconds {
            item[name] = json!(seconds);
        }
    }
    match duration(&item) {
        Ok((seconds, agrees)) => {
            item["@duration"] = json!(seconds);
            item["@agrees"] = json!(agrees);
        }
        Err(why) => item["@duration"] = json!(why),
    }
    vec![item]
}

/// Seconds that a run waited, and seconds that it held a kernel, from its changes of status.
fn waits(run: &Value) -> (Option<f64>, Option<f64>) {
    let events = run["stateEvents"].as_array().into_iter().flatten();
    let mut times: Vec<(i64, bool)> = events
        .filter_map(|event| Some((timestamp(&event["timestamp"])?, event["value"] == "RUNNING")))
        .collect();
    times.sort_unstable_by_key(|(at, _)| *at);
    let Some((first, _)) = times.first().copied() else { return (None, None) };
    let running = times.iter().find(|(_, is_running)| *is_running).map(|(at, _)| *at);
    let begun = running.or_else(|| timestamp(&run["startTime"]));
    let seconds = |from: i64, to: i64| (to - from) as f64 / 1e6;
    let fits = |seconds: &f64| (0.0..=LONGEST).contains(seconds);
    let queue = begun.filter(|_| times.len() > 1 || running != Some(first)).map(|at| seconds(first, at));
    let last = times.last().filter(|(_, is_running)| !is_running).map(|(at, _)| *at);
    let kernel = running.zip(last).map(|(from, to)| seconds(from, to));
    (queue.filter(fits), kernel.filter(fits))
}

fn duration(run: &Value) -> Result<(Option<f64>, Option<bool>), &'static str> {
    let at = |name: &str, why| match &run[name] {
        Value::Null => Ok(None),
        given => timestamp(given).map(Some).ok_or(why),
    };
    let start = at("startTime", "startTime is no plausible time")?;
    let end = at("endTime", "endTime is no plausible time")?;
    let span = start.zip(end).map(|(start, end)| (end - start) as f64 / 1e6);
    let elapsed = number(&run["elapsedTime"]).map(|ms| ms / 1000.0);
    match (span, elapsed) {
        (Some(span), _) if span < 0.0 => Err("endTime is before startTime"),
        (Some(span), _) if span > LONGEST => Err("endTime is more than a year after startTime"),
        (_, Some(elapsed)) if !(0.0..=LONGEST).contains(&elapsed) => {
            Err("elapsedTime is negative or more than a year")
        }
        _ => {
            let agree = |(span, elapsed): (f64, f64)| (span - elapsed).abs() <= (0.02 * span).max(1.0);
            Ok((elapsed.or(span), span.zip(elapsed).map(agree)))
        }
    }
}

/// When a run happened. One that got no kernel has neither start nor end.
fn happened_at(item: &Value) -> Option<String> {
    let text = |value: &Value| {
        let micros = timestamp(value)?;
        Some(
            chrono::DateTime::from_timestamp_micros(micros)?
                .to_rfc3339_opts(chrono::SecondsFormat::Micros, true),
        )
    };
    let events = item["stateEvents"].as_array().into_iter().flatten();
    text(&item["startTime"])
        .or_else(|| text(&item["endTime"]))
        .or_else(|| events.filter_map(|event| text(&event["timestamp"])).min())
        .or_else(|| made_at(item["runId"].as_str()?))
}

/// The time that a UUID of version 7 was made at: its first 48 bits count milliseconds.
fn made_at(id: &str) -> Option<String> {
    let id = uuid::Uuid::parse_str(id).ok().filter(|id| id.get_version_num() == 7)?;
    let milliseconds = (id.as_u128() >> 80) as i64;
    let at = chrono::DateTime::from_timestamp_millis(milliseconds)?;
    Some(at.to_rfc3339_opts(chrono::SecondsFormat::Micros, true))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_happened_when_the_first_thing_that_tells_says() {
        let id = "01930a8b-6c00-7abc-8def-0123456789ab";
        let at = |day: u32| format!("2026-01-0{day}T00:00:00.000000Z");
        for (item, when) in [
            (json!({"startTime": "2026-01-02T00:00:00Z", "endTime": "2026-01-03T00:00:00Z"}), Some(at(2))),
            (json!({"endTime": "2026-01-03T00:00:00Z", "runId": id}), Some(at(3))),
            (
                json!({"startTime": null, "stateEvents": [
                    {"timestamp": "2026-01-05T00:00:00Z"}, {"timestamp": "2026-01-04T00:00:00Z"}
                ]}),
                Some(at(4)),
            ),
            (json!({"startTime": null, "runId": id}), Some("2024-11-08T06:52:09.600000Z".to_owned())),
            (json!({"startTime": "soon", "runId": "4f2b1c9e-3d1a-4e5f-9a7b-0123456789ab"}), None),
            (json!({}), None),
        ] {
            let row = with_duration(item).remove(0);
            assert_eq!(row["@ordered"].as_str(), when.as_deref(), "{row}");
        }
    }

    #[test]
    fn a_duration_that_cannot_be_is_null_and_says_why() {
        let start = "2026-01-01T00:00:00Z";
        for (run, duration, agrees) in [
            (json!({"startTime": start, "endTime": "2026-01-01T00:01:40Z"}), json!(100.0), json!(null)),
            (
                json!({"startTime": start, "endTime": "2026-01-01T00:01:40Z", "elapsedTime": 100_500}),
                json!(100.5),
                json!(true),
            ),
            (
                json!({"startTime": start, "endTime": "2026-01-01T00:01:40Z", "elapsedTime": 100}),
                json!(0.1),
                json!(false),
            ),
            (json!({"startTime": start, "endTime": null, "elapsedTime": "2500"}), json!(2.5), json!(null)),
            (json!({}), json!(null), json!(null)),
            (
                json!({"startTime": start, "endTime": "0001-01-01T00:00:00Z", "elapsedTime": 1}),
                json!("endTime is no plausible time"),
                json!(null),
            ),
            (
                json!({"startTime": start, "endTime": "2025-12-31T23:59:59Z"}),
                json!("endTime is before startTime"),
                json!(null),
            ),
            (
                json!({"startTime": 5, "endTime": start}),
                json!("endTime is more than a year after startTime"),
                json!(null),
            ),
            (
                json!({"startTime": {}, "endTime": start}),
                json!("startTime is no plausible time"),
                json!(null),
            ),
            (json!({"elapsedTime": -1}), json!("elapsedTime is negative or more than a year"), json!(null)),
            (
                json!({"elapsedTime": "1e300"}),
                json!("elapsedTime is negative or more than a year"),
                json!(null),
            ),
        ] {
            let row = with_duration(run.clone()).remove(0);
            assert_eq!((&row["@duration"], &row["@agrees"]), (&duration, &agrees), "{run}");
        }
    }
}
