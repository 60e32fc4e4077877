//! Rows of a snapshot's tables, as far as the hand-offs read them.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::derive::names::Warehouse;
use crate::derive::schedule::Schedule;

/// A row of `projects`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Project {
    pub project_id: String,
    pub title: String,
    pub description: Option<String>,
    #[serde(rename = "type")]
    pub kind: String,
    pub status: Option<String>,
    pub creator_email: Option<String>,
    pub owner_email: Option<String>,
    pub created_at: Option<DateTime<Utc>>,
    pub last_edited_at: Option<DateTime<Utc>>,
    pub last_published_at: Option<DateTime<Utc>>,
    pub archived_at: Option<DateTime<Utc>>,
    pub trashed_at: Option<DateTime<Utc>>,
    pub last_viewed_at: Option<DateTime<Utc>>,
    pub app_views_last_7_days: Option<i64>,
    pub app_views_last_30_days: Option<i64>,
    pub app_views_all_time: Option<i64>,
}

impl Project {
    /// Whether people can still open it: it is neither archived nor in the trash.
    pub fn is_live(&self) -> bool {
        self.archived_at.is_none() && self.trashed_at.is_none()
    }

    /// Whether it is a component, which other projects import.
    pub fn is_component(&self) -> bool {
        self.kind == "COMPONENT"
    }

    /// Its title on one line.
    pub fn name(&self) -> String {
        self.title.split_whitespace().collect::<Vec<_>>().join(" ")
    }
}

/// A row of `lineage`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Edge {
    pub project_id: String,
    pub data_connection_id: Option<String>,
    pub table_key: String,
    pub direction: String,
    pub database_name: Option<String>,
    pub evidence: Vec<String>,
    pub connection_name: Option<String>,
    pub connection_type: Option<String>,
}

impl Edge {
    /// Whether the project reads the table; it writes it otherwise.
    pub fn is_read(&self) -> bool {
        self.direction != "write"
    }

    /// Kind of the warehouse that it is in.
    pub fn warehouse(&self) -> Warehouse {
        Warehouse::of_type(self.connection_type.as_deref().unwrap_or(""))
    }

    /// Whether it goes through the connection of this name or identifier, in any case.
    pub fn is_through(&self, name: &str) -> bool {
        let names = [&self.connection_name, &self.data_connection_id];
        names.into_iter().flatten().any(|own| own.to_lowercase() == name.to_lowercase())
    }

    /// Connection's name, or its identifier if it isn't listed.
    pub fn connection(&self) -> &str {
        self.connection_name.as_deref().or(self.data_connection_id.as_deref()).unwrap_or("")
    }
}

/// A row of `project_categories`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Category {
    pub project_id: String,
    pub name: String,
}

/// A row of `project_schedules`.
#[derive(Debug, Clone, Default, Deserialize, Serialize)]
#[serde(default)]
pub struct ScheduleRow {
    #[serde(skip_serializing)]
    pub project_id: String,
    pub cadence: Option<String>,
    pub enabled: Option<bool>,
    pub timezone: Option<String>,
    pub minute: Option<i64>,
    pub hour: Option<i64>,
    pub day_of_week: Option<String>,
    pub day: Option<i64>,
    pub cron: Option<String>,
}

impl ScheduleRow {
    /// The schedule, to compute with.
    pub fn schedule(&self) -> Schedule<'_> {
        Schedule {
            cadence: self.cadence.as_deref().unwrap_or(""),
            timezone: self.timezone.as_deref(),
            minute: self.minute.unwrap_or(0),
            hour: self.hour.unwrap_or(0),
            day_of_week: self.day_of_week.as_deref(),
            day: self.day.unwrap_or(0),
            cron: self.cron.as_deref(),
        }
    }
}

/// A row of `users`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct User {
    pub email: Option<String>,
    pub name: Option<String>,
}
