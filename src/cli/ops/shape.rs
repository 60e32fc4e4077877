//! The shape of each resource's answers: one description serves tables, documents and envelopes.

use chrono::{DateTime, Utc};
use serde_json::{Value, json};

/// A resource's answers.
#[derive(Debug, Clone, Copy)]
pub struct Shape {
    /// Name of a list of them.
    pub many: &'static str,
    /// Columns of a table.
    pub columns: &'static [&'static str],
    /// Fields that every item has; null where the API leaves one out.
    pub fields: &'static [&'static str],
}

/// Projects and components.
pub const PROJECTS: Shape = Shape {
    many: "projects",
    columns: &["id", "title", "type", "status.name", "owner.email", "lastEditedAt", "lastPublishedAt"],
    fields: &[
        "id",
        "title",
        "description",
        "status",
        "type",
        "creator",
        "owner",
        "categories",
        "lastEditedAt",
        "lastPublishedAt",
        "createdAt",
        "archivedAt",
        "trashedAt",
    ],
};
/// Runs.
pub const RUNS: Shape = Shape {
    many: "runs",
    columns: &[
        "runId",
        "status",
        "runTrigger",
        "startTime",
        "endTime",
        "elapsedTime",
        "elapsedSeconds",
        "projectVersion",
    ],
    fields: &[
        "projectId",
        "runId",
        "runUrl",
        "status",
        "startTime",
        "endTime",
        "elapsedTime",
        "elapsedSeconds",
        "traceId",
        "projectVersion",
    ],
};
/// Runs that were just started.
pub const STARTED_RUNS: Shape = Shape {
    many: "runs",
    columns: &["runId", "runUrl"],
    fields: &["projectId", "runId", "runUrl", "runStatusUrl", "traceId", "projectVersion"],
};
/// Queried tables.
pub const TABLES: Shape = Shape {
    many: "tables",
    columns: &["tableName", "dataConnectionName", "dataConnectionId"],
    fields: &["dataConnectionId", "dataConnectionName", "tableName"],
};
/// Cells.
pub const CELLS: Shape = Shape {
    many: "cells",
    columns: &["id", "staticId", "cellType", "label", "dataConnectionId"],
    fields: &["id", "staticId", "cellType", "label", "dataConnectionId", "contents", "projectId"],
};
/// Collections.
pub const COLLECTIONS: Shape = Shape {
    many: "collections",
    columns: &["id", "name", "description", "creator.email"],
    fields: &["id", "name", "description", "creator"],
};
/// Data connections.
pub const CONNECTIONS: Shape = Shape {
    many: "connections",
    columns: &["id", "name", "type", "allowWritebackCells", "description"],
    fields: &["id", "name", "type", "description", "connectViaSsh", "includeMagic", "allowWritebackCells"],
};
/// Groups.
pub const GROUPS: Shape =
    Shape { many: "groups", columns: &["id", "name", "createdAt"], fields: &["id", "name", "createdAt"] };
/// Users.
pub const USERS: Shape = Shape {
    many: "users",
    columns: &["id", "name", "email", "role", "lastLoginDate"],
    fields: &["id", "name", "email", "role"],
};
/// Answers that are passed on as they come.
pub const PLAIN: Shape = Shape { many: "values", columns: &[], fields: &[] };

impl Shape {
    /// An answer with every field: null where the API left one out, seconds beside a run's raw elapsed time.
    pub fn complete(&self, mut answer: Value) -> Value {
        if self.fields.contains(&"elapsedSeconds") {
            let seconds = elapsed_seconds(&answer);
            if let Some(object) = answer.as_object_mut() {
                object.insert("elapsedSeconds".to_owned(), json!(seconds));
            }
        }
        if let Some(object) = answer.as_object_mut() {
            for field in self.fields {
                object.entry(*field).or_insert(Value::Null);
            }
        }
        answer
    }
}

/// Duration of a run, in seconds. Hex's description says that the raw value is in milliseconds, and other texts that it
/// is in seconds: where start and end are known, they decide.
fn elapsed_seconds(run: &Value) -> Option<f64> {
    let time = |field: &str| run[field].as_str()?.parse::<DateTime<Utc>>().ok();
    let span = time("startTime").zip(time("endTime")).map(|(from, to)| (to - from).num_milliseconds());
    let span = span.map(|ms| ms as f64 / 1000.0);
    let elapsed = &run["elapsedTime"];
    let Some(raw) = elapsed.as_f64().or_else(|| elapsed.as_str()?.parse().ok()) else { return span };
    match span {
        Some(span) if (raw - span).abs() < (raw / 1000.0 - span).abs() => Some(raw),
        _ => Some(raw / 1000.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_are_read_from_milliseconds_from_seconds_and_from_start_and_end() {
        let times = json!({"startTime": "2026-11-02T06:00:00.000Z", "endTime": "2026-11-02T06:01:30.500Z"});
        let with = |elapsed: Value| {
            let mut run = times.clone();
            run["elapsedTime"] = elapsed;
            elapsed_seconds(&run)
        };
        assert_eq!(with(json!(90_500)), Some(90.5));
        assert_eq!(with(json!(90.5)), Some(90.5));
        assert_eq!(with(json!("90500")), Some(90.5));
        assert_eq!(with(Value::Null), Some(90.5));
        assert_eq!(elapsed_seconds(&json!({"elapsedTime": 2000})), Some(2.0));
        assert_eq!(elapsed_seconds(&json!({"elapsedTime": null})), None);
    }

    #[test]
    fn a_field_that_was_left_out_is_null() {
        let whole = COLLECTIONS.complete(json!({"id": "c", "name": "n", "more": 1}));
        assert_eq!(whole, json!({"id": "c", "name": "n", "more": 1, "description": null, "creator": null}));
    }
}
