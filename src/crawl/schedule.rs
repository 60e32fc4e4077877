//! When schedules were due.

use std::collections::BTreeSet;
use std::str::FromStr;

use chrono::{DateTime, FixedOffset, TimeZone, Utc};
use croner::Cron;

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
