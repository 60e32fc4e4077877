//! `runs`: run histories of projects.

use serde_json::{Value, json};

use crate::client::operation::GET_PROJECT_RUNS;
use crate::schema::columns::{SubField, Type, boolean, float, int, text, time};
use crate::schema::float as number;
use crate::schema::{Column, GONE, Origin, Table, parse_timestamp};

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
    doc: "Runs of projects: over the API, scheduled, and of publishing or refreshing apps",
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
        float(
            "elapsed_time",
            "elapsedTime",
            "Elapsed time as the API gives it: milliseconds by its description",
        ),
        float(
            "duration_seconds",
            "@duration",
            "Duration in seconds: elapsed_time / 1000, else end_time - start_time",
        ),
        boolean(
            "duration_agrees",
            "@agrees",
            "Whether elapsed_time / 1000 is end_time - start_time, to 1 s or 2 %; null where one is missing",
        ),
        text("run_url", "runUrl", "Page of the run in Hex"),
        text("trace_id", "traceId", "Hex's trace id"),
        text("flag_config_override", "flagConfigOverride", "Value of the header flag-config-override"),
        Column::new("state_events", Type::List(&EVENT), "stateEvents", "What happened when"),
        Column::new(
            "notifications",
            Type::List(&NOTIFICATION),
            "notifications",
            "Who is told of the outcome",
        ),
        boolean(
            GONE,
            "",
            "Whether Hex no longer listed the run when the project's history was last read to its end",
        ),
    ],
    elsewhere: &["projectId"],
    explode: with_duration,
};

/// Adds the duration in seconds and whether the API's two ways of telling it agree.
fn with_duration(mut item: Value) -> Vec<Value> {
    if !item.is_object() {
        return vec![item];
    }
    let at = |name: &str| item[name].as_str().and_then(parse_timestamp);
    let span = at("startTime").zip(at("endTime")).map(|(start, end)| (end - start) as f64 / 1e6);
    let elapsed = number(&item["elapsedTime"]).map(|ms| ms / 1000.0);
    if let Some((span, elapsed)) = span.zip(elapsed) {
        item["@agrees"] = json!((span - elapsed).abs() <= (0.02 * span.abs()).max(1.0));
    }
    if let Some(seconds) = elapsed.or(span) {
        item["@duration"] = json!(seconds);
    }
    vec![item]
}
