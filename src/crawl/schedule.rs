//! When schedules were due.

use std::collections::BTreeSet;
use std::str::FromStr;

use chrono::{DateTime, FixedOffset, TimeZone, Utc};
use croner::Cron;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::schema::float;

/// A schedule as `project_schedules` has it.
#[derive(Debug, Clone, Default)]
pub struct Schedule<'a> {
    /// `HOURLY`, `DAILY`, `WEEKLY`, `MONTHLY`, `CUSTOM`.
    pub cadence: &'a str,
    /// An offset such as `+01:00`, or a name such as `Europe/Berlin`.
    pub timezone: Option<&'a str>,
    /// Minute.
    pub minute: i64,
    /// Hour.
    pub hour: i64,
    /// `SUNDAY` to `SATURDAY`.
    pub day_of_week: Option<&'a str>,
    /// Day of the month.
    pub day: i64,
    /// Cron expression, of `CUSTOM`.
    pub cron: Option<&'a str>,
}

/// A schedule with texts of its own.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Timetable {
    /// See [`Schedule::cadence`].
    pub cadence: Option<String>,
    /// See [`Schedule::timezone`].
    pub timezone: Option<String>,
    /// Minute; 0 if the cadence names none.
    pub minute: Option<i64>,
    /// Hour; 0 if the cadence names none.
    pub hour: Option<i64>,
    /// See [`Schedule::day_of_week`].
    pub day_of_week: Option<String>,
    /// Day of the month, of `MONTHLY`.
    pub day: Option<i64>,
    /// See [`Schedule::cron`].
    pub cron: Option<String>,
}

impl Timetable {
    /// Reads an enabled schedule as the API lists it: with an object that is named after its cadence. `None` for one
    /// that is switched off.
    pub fn of_api(schedule: &Value) -> Option<Self> {
        if schedule["enabled"].as_bool() == Some(false) {
            return None;
        }
        let text = |value: &Value| value.as_str().map(str::to_owned);
        let cadence = text(&schedule["cadence"]);
        let of = &schedule[cadence.as_deref().unwrap_or_default().to_lowercase()];
        let number = |name: &str| float(&of[name]).map(|n| n as i64);
        Some(Self {
            timezone: text(&of["timezone"]),
            minute: number("minute"),
            hour: number("hour"),
            day_of_week: text(&of["dayOfWeek"]),
            day: number("day"),
            cron: text(&of["cron"]),
            cadence,
        })
    }

    /// The schedule in the words of a stamp. Lakes hold these stamps: other words would have all projects read again.
    pub fn stamp(&self) -> String {
        let Schedule { cadence, timezone, minute, hour, day_of_week, day, cron } = self.schedule();
        format!(
            "Due {{ cadence: {cadence:?}, timezone: {timezone:?}, minute: {minute}, hour: {hour}, \
             day_of_week: {day_of_week:?}, day: {day}, cron: {cron:?} }}"
        )
    }

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

/// A row of `project_schedules`.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct ScheduleRow {
    /// Project.
    #[serde(skip_serializing)]
    pub project_id: String,
    /// Whether it is switched on.
    pub enabled: Option<bool>,
    /// When it is due.
    #[serde(flatten)]
    pub timetable: Timetable,
}

impl Schedule<'_> {
    /// The schedule as a cron expression of five fields; `None` if it has none.
    fn expression(&self) -> Option<String> {
        let Schedule { minute, hour, day, .. } = self;
        Some(match self.cadence {
            "HOURLY" => format!("{minute} * * * *"),
            "DAILY" => format!("{minute} {hour} * * *"),
            "WEEKLY" => format!("{minute} {hour} * * {}", self.day_of_week?.get(..3)?),
            "MONTHLY" => format!("{minute} {hour} {day} * *"),
            "CUSTOM" => self.cron?.to_owned(),
            _ => return None,
        })
    }

    /// The times after `from` and not after `until` at which it was due. `None` if its cadence, cron
    /// expression or time zone can't be read.
    pub fn due(&self, from: DateTime<Utc>, until: DateTime<Utc>) -> Option<BTreeSet<DateTime<Utc>>> {
        Some(match self.read()? {
            (cron, Zone::Named(zone)) => times(&cron, &zone, from, until),
            (cron, Zone::Offset(zone)) => times(&cron, &zone, from, until),
        })
    }

    /// The first time after `from`, if it is not after `until`. `None` outside if the schedule can't be read.
    pub fn first_due(&self, from: DateTime<Utc>, until: DateTime<Utc>) -> Option<Option<DateTime<Utc>>> {
        Some(match self.read()? {
            (cron, Zone::Named(zone)) => first(&cron, &zone, from, until),
            (cron, Zone::Offset(zone)) => first(&cron, &zone, from, until),
        })
    }

    fn read(&self) -> Option<(Cron, Zone)> {
        let cron = Cron::from_str(&self.expression()?).ok()?;
        let zone = self.timezone.unwrap_or("UTC");
        if let Ok(zone) = zone.parse::<chrono_tz::Tz>() {
            return Some((cron, Zone::Named(zone)));
        }
        let zone = if zone == "Z" { "+00:00" } else { zone };
        Some((cron, Zone::Offset(FixedOffset::from_str(zone).ok()?)))
    }
}

enum Zone {
    Named(chrono_tz::Tz),
    Offset(FixedOffset),
}

/// The first time after `from`, if it is not after `until`.
fn first<Z: TimeZone + Copy>(
    cron: &Cron,
    zone: &Z,
    from: DateTime<Utc>,
    until: DateTime<Utc>,
) -> Option<DateTime<Utc>> {
    let next = cron.iter_after(from.with_timezone(zone)).next()?.with_timezone(&Utc);
    (next <= until).then_some(next)
}

fn times<Z: TimeZone + Copy>(
    cron: &Cron,
    zone: &Z,
    from: DateTime<Utc>,
    until: DateTime<Utc>,
) -> BTreeSet<DateTime<Utc>> {
    cron.iter_after(from.with_timezone(zone))
        .map(|at| at.with_timezone(&Utc))
        .take_while(|at| *at <= until)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn due(schedule: &Schedule<'_>, from: &str, until: &str) -> Vec<String> {
        let times = schedule.due(from.parse().unwrap(), until.parse().unwrap()).unwrap();
        times.iter().map(|at| at.format("%d %H:%M").to_string()).collect()
    }

    #[test]
    fn each_cadence_is_due_in_its_own_time_zone() {
        let (from, until) = ("2026-03-01T00:00:00Z", "2026-03-04T00:00:00Z");
        let daily = Schedule {
            cadence: "DAILY",
            timezone: Some("+09:00"),
            hour: 8,
            minute: 30,
            ..Schedule::default()
        };
        assert_eq!(due(&daily, from, until), ["01 23:30", "02 23:30", "03 23:30"]);
        let weekly =
            Schedule { cadence: "WEEKLY", day_of_week: Some("MONDAY"), hour: 5, ..Schedule::default() };
        assert_eq!(due(&weekly, from, until), ["02 05:00"]);
        let monthly = Schedule { cadence: "MONTHLY", day: 3, hour: 1, ..Schedule::default() };
        assert_eq!(due(&monthly, from, until), ["03 01:00"]);
        let hourly =
            Schedule { cadence: "HOURLY", minute: 15, timezone: Some("-05:00"), ..Schedule::default() };
        assert_eq!(due(&hourly, from, until).len(), 72);
        let custom = Schedule { cadence: "CUSTOM", cron: Some("0 */12 * * 1-5"), ..Schedule::default() };
        assert_eq!(due(&custom, from, until), ["02 00:00", "02 12:00", "03 00:00", "03 12:00", "04 00:00"]);
    }

    #[test]
    fn a_named_zone_follows_its_summer_time() {
        let berlin =
            Schedule { cadence: "DAILY", timezone: Some("Europe/Berlin"), hour: 8, ..Schedule::default() };
        assert_eq!(due(&berlin, "2026-03-28T00:00:00Z", "2026-03-30T00:00:00Z"), ["28 07:00", "29 06:00"]);
    }

    #[test]
    fn what_can_not_be_read_has_no_times() {
        let at = "2026-03-01T00:00:00Z".parse().unwrap();
        for schedule in [
            Schedule { cadence: "YEARLY", ..Schedule::default() },
            Schedule { cadence: "CUSTOM", cron: Some("whenever"), ..Schedule::default() },
            Schedule { cadence: "CUSTOM", ..Schedule::default() },
            Schedule { cadence: "WEEKLY", ..Schedule::default() },
            Schedule { cadence: "DAILY", timezone: Some("Moon/Base"), ..Schedule::default() },
        ] {
            assert!(schedule.due(at, at).is_none(), "{schedule:?}");
        }
    }
}
