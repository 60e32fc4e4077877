//! `project_schedules`: when projects run unattended.

use serde_json::{Value, json};

use crate::client::operation::LIST_PROJECTS;
use crate::schema::columns::{boolean, int, text};
use crate::schema::{Origin, Table, take_objects};

/// One row a project and schedule.
pub static PROJECT_SCHEDULES: Table = Table {
    name: "project_schedules",
    doc: "Schedules of projects",
    origin: Origin::Api(&LIST_PROJECTS),
    key: &["project_id", "position"],
    columns: &[
        text("project_id", "projectId", "Project").required(),
        int("position", "position", "Position of the schedule in the project, from 0").required(),
        text("cadence", "cadence", "HOURLY, DAILY, WEEKLY, MONTHLY, CUSTOM"),
        boolean("enabled", "enabled", "Whether the schedule is enabled"),
        text(
            "timezone",
            "hourly.timezone|daily.timezone|weekly.timezone|monthly.timezone|custom.timezone",
            "Time zone, such as +01:00",
        ),
        int("minute", "hourly.minute|daily.minute|weekly.minute|monthly.minute", "Minute, 0 to 59"),
        int("hour", "daily.hour|weekly.hour|monthly.hour", "Hour, 0 to 23"),
        text("day_of_week", "weekly.dayOfWeek", "SUNDAY to SATURDAY, of a weekly schedule"),
        int("day", "monthly.day", "Day of the month, 1 to 28, of a monthly schedule"),
        text("cron", "custom.cron", "Cron expression, of a custom schedule"),
    ],
    elsewhere: &[],
    explode: schedules,
};

fn schedules(mut item: Value) -> Vec<Value> {
    let id = item["id"].clone();
    let mut rows = take(&mut item);
    for (position, row) in rows.iter_mut().enumerate() {
        row["projectId"] = id.clone();
        row["position"] = json!(position);
    }
    rows
}

/// Takes a project's schedules out of it. Anything that isn't a schedule stays.
pub(super) fn take(item: &mut Value) -> Vec<Value> {
    take_objects(item, &["schedules"])
}
