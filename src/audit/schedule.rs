//! Schedules of projects, as rules look at them.

use serde::Deserialize;

use crate::derive::schedule::Schedule as Clock;

/// A row of `project_schedules`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Schedule {
    pub project_id: String,
    pub enabled: Option<bool>,
    pub cadence: String,
    pub timezone: Option<String>,
    pub minute: i64,
    pub hour: i64,
    pub day_of_week: Option<String>,
    pub day: i64,
    pub cron: Option<String>,
}

impl Schedule {
    /// When it is due.
    pub fn clock(&self) -> Clock<'_> {
        Clock {
            cadence: &self.cadence,
            timezone: self.timezone.as_deref(),
            minute: self.minute,
            hour: self.hour,
            day_of_week: self.day_of_week.as_deref(),
            day: self.day,
            cron: self.cron.as_deref(),
        }
    }
}
