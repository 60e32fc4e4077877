//! Which projects can have run since their history was last read.
//!
//! Hex announces runs nowhere, so an exact picture asks every published project each night. Most runs leave a trace
//! in what the list of projects says anyway; what leaves none is bounded by how old a look may be.

use chrono::{DateTime, TimeDelta, Utc};

use super::base::{Known, KnownRuns};
use super::decide::ProjectFacts;
use super::schedule::Timetable;

/// Freshness of runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Freshness {
    /// The same night: every published project is asked.
    #[default]
    Exact,
    /// The same night if anything hints at it, else within this time.
    Within(TimeDelta),
}

/// Archived and trashed projects run only by accident.
pub(super) const BOUND_OF_ARCHIVED: TimeDelta = TimeDelta::days(30);
/// An API run in this time means that more may come: API runs move nothing else.
const API_RUNS_RECUR: TimeDelta = TimeDelta::days(30);
/// A run may be listed so long after it was due: of what was due just before the last look, that look may have seen
/// nothing yet.
const LATE: TimeDelta = TimeDelta::hours(1);
/// Nights begin at different minutes: a look that is due within this is made now, or the bound would be missed.
const JITTER: TimeDelta = TimeDelta::hours(12);

/// Whether a schedule was due after one time and not after the other. One that can't be read may always be due.
fn is_due(timetable: &Timetable, from: DateTime<Utc>, until: DateTime<Utc>) -> bool {
    timetable.schedule().first_due(from, until).is_none_or(|due| due.is_some())
}

/// Whether a project can have run since its history was last read, so that asking for it may bring something; or
/// it is its turn to be asked all the same.
pub(super) fn can_have_run(
    project: &ProjectFacts,
    known: &Known,
    runs: Option<&KnownRuns>,
    now: DateTime<Utc>,
    bound: TimeDelta,
) -> bool {
    let Some(read) = known.last_read_at.filter(|read| *read <= now) else { return true };
    let since_api_run = now - API_RUNS_RECUR;
    known.stamp.as_deref() != Some(project.activity_stamp().as_str())
        || is_its_turn(project, read, now, bound)
        || runs.is_some_and(|runs| !runs.open.is_empty())
        || runs.and_then(|runs| runs.latest_api_run).is_some_and(|at| at >= since_api_run.timestamp_micros())
        || project.schedules.iter().any(|schedule| is_due(schedule, read - LATE, now))
}

/// Each project has a moment of its own in every stretch as long as the bound, so that the nights share the looks.
pub(super) fn is_its_turn(
    project: &ProjectFacts,
    read: DateTime<Utc>,
    now: DateTime<Utc>,
    bound: TimeDelta,
) -> bool {
    let bound = if project.put_away { bound.max(BOUND_OF_ARCHIVED) } else { bound };
    let share = f64::from(crc32fast::hash(project.id.as_bytes())) / f64::from(u32::MAX);
    let turns =
        |at: DateTime<Utc>| (at.timestamp() as f64 / bound.num_seconds().max(1) as f64 + share).floor();
    now - read >= bound - JITTER || turns(now) > turns(read)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn at(text: &str) -> DateTime<Utc> {
        format!("2026-{text}:00Z").parse().unwrap()
    }

    fn project(change: impl Fn(&mut Value)) -> ProjectFacts {
        let mut item = json!({
            "id": "p", "lastPublishedAt": "2026-01-01T00:00:00Z", "lastEditedAt": "2026-01-01T00:00:00Z",
            "analytics": {"appViews": {"allTime": 7}, "publishedResultsUpdatedAt": "2026-01-01T00:00:00Z"},
            "schedules": [{"enabled": false, "cadence": "DAILY", "daily": {"hour": 5, "minute": 0, "timezone": "UTC"}}],
        });
        change(&mut item);
        ProjectFacts::read(&item.to_string()).unwrap()
    }

    /// Asked on a Tuesday at two, after a look the night before.
    fn asked(project: &ProjectFacts, runs: &KnownRuns, read: &str) -> bool {
        let stamp = Some(self::project(|_| {}).activity_stamp());
        let known = Known { last_read_at: Some(at(read)), stamp, rows: 3 };
        can_have_run(project, &known, Some(runs), at("02-03T02:00"), TimeDelta::days(7))
    }

    #[test]
    fn a_project_is_asked_if_anything_hints_at_a_run() {
        let quiet = KnownRuns::default();
        let weekly = |day: &'static str| {
            move |p: &mut Value| {
                p["schedules"] = json!([{"enabled": true, "cadence": "WEEKLY",
                    "weekly": {"dayOfWeek": day, "hour": 12, "minute": 0, "timezone": "UTC"}}]);
            }
        };
        // The stamp names the schedules: it was read with the same ones.
        let unchanged = |change: &dyn Fn(&mut Value)| {
            let project = project(change);
            let known = Known {
                last_read_at: Some(at("02-02T02:00")),
                stamp: Some(project.activity_stamp()),
                rows: 3,
            };
            can_have_run(&project, &known, Some(&quiet), at("02-03T02:00"), TimeDelta::days(7))
        };
        assert!(!unchanged(&|_| {}), "at rest");
        assert!(unchanged(&weekly("MONDAY")), "it was due since the last look");
        assert!(!unchanged(&weekly("FRIDAY")));
        let just_before = json!({"dayOfWeek": "MONDAY", "hour": 1, "minute": 55, "timezone": "UTC"});
        assert!(
            unchanged(&|p| {
                p["schedules"] = json!([{"enabled": true, "cadence": "WEEKLY", "weekly": just_before}]);
            }),
            "a run was due minutes before the last read, which may have missed it"
        );
        assert!(unchanged(
            &|p| p["schedules"] = json!([{"cadence": "CUSTOM", "custom": {"cron": "whenever"}}])
        ));
        for moved in [
            (|p| p["lastPublishedAt"] = json!("2026-02-02T08:00:00Z")) as fn(&mut Value),
            |p| p["lastEditedAt"] = json!("2026-02-02T08:00:00Z"),
            |p| p["analytics"]["publishedResultsUpdatedAt"] = json!("2026-02-02T08:00:00Z"),
            |p| p["analytics"]["appViews"]["allTime"] = json!(8),
            |p| p["schedules"][0]["enabled"] = json!(true),
        ] {
            assert!(asked(&project(moved), &quiet, "02-02T02:00"));
        }
        let mut open = KnownRuns::default();
        open.open.push("r".into());
        assert!(asked(&project(|_| {}), &open, "02-02T02:00"));
        let api = |day: &str| {
            let mut runs = KnownRuns::default();
            runs.latest_api_run = Some(at(day).timestamp_micros());
            runs
        };
        assert!(asked(&project(|_| {}), &api("01-10T02:00"), "02-02T02:00"));
        assert!(!asked(&project(|_| {}), &api("01-03T02:00"), "02-02T02:00"));
    }

    #[test]
    fn nothing_is_looked_at_later_than_its_bound_and_not_all_in_one_night() {
        for (put_away, bound) in [(false, 7), (true, 30)] {
            let mut nights = vec![0_u32; 61];
            for n in 0..500 {
                let mut project = project(|_| {});
                project.id = format!("project {n}").into();
                project.put_away = put_away;
                let mut read = at("01-01T02:00");
                for (night, count) in nights.iter_mut().enumerate().skip(1) {
                    // Nights begin up to an hour late.
                    let now = at("01-01T02:00")
                        + TimeDelta::days(night as i64)
                        + TimeDelta::minutes((n * 7 + night as i64 * 13) % 60);
                    let known =
                        Known { last_read_at: Some(read), stamp: Some(project.activity_stamp()), rows: 1 };
                    if can_have_run(&project, &known, None, now, TimeDelta::days(7)) {
                        assert!(now - read <= TimeDelta::days(bound) + TimeDelta::hours(1), "{}", now - read);
                        read = now;
                        *count += 1;
                    }
                }
            }
            let most = nights.iter().max().unwrap();
            assert!(*most < 500 * 3 / bound as u32, "{nights:?}");
        }
    }
}
