//! Schedules that want more kernels at once than Hex gives a workspace.

use std::collections::HashMap;

use chrono::{DateTime, TimeDelta, Utc};

use super::Rule;
use crate::audit::facts::Project;
use crate::audit::{Config, Facts, Found, Hit, Need, Severity};
use crate::derive::schedule::ScheduleRow;

/// Time after the snapshot that is planned.
const AHEAD: TimeDelta = TimeDelta::days(7);
/// Projects that are named one by one.
const NAMED: usize = 5;

/// Every rule of this subject.
pub const RULES: &[&Rule] = &[&SCHEDULE_COLLISION];

static SCHEDULE_COLLISION: Rule = Rule {
    id: "schedule-collision",
    severity: Severity::Medium,
    looks_for: "Times at which scheduled runs want more kernels than Hex gives at once",
    action: "Spread the schedules over the hour, or shorten the longest runs",
    needs: &[
        Need::Each("projects"),
        Need::Present("project_schedules"),
        Need::Any(&["runs"]),
        Need::Present("run_stats"),
    ],
    find: schedule_collision,
};

/// Usual length of a project's scheduled runs. One that never ran holds a kernel for at least a moment.
fn usual(facts: &Facts, project: &str) -> TimeDelta {
    let seconds = facts.scheduled_stats.get(project).and_then(|stats| stats.p50_seconds).unwrap_or(0.0);
    TimeDelta::seconds(seconds.clamp(60.0, 86_400.0) as i64)
}

fn schedule_collision(facts: &Facts, config: &Config) -> Found {
    let alive: HashMap<&str, &Project> =
        facts.projects.iter().filter(|p| p.is_alive()).map(|p| (&*p.project_id, p)).collect();
    let planned =
        || facts.schedules.iter().filter(|schedule| alive.contains_key(schedule.project_id.as_str()));
    let until = facts.now + AHEAD;
    // Runs that begin less those that end, by minute: memory doesn't grow with the number of runs.
    let minutes = AHEAD.num_minutes() as usize;
    let minute = |at: DateTime<Utc>| ((at - facts.now).num_minutes().max(0) as usize).min(minutes);
    let mut steps = vec![0i64; minutes + 2];
    let mut unreadable = 0;
    for schedule in planned() {
        let Some(times) = schedule.timetable.schedule().due(facts.now, until) else {
            unreadable += 1;
            continue;
        };
        let length = usual(facts, &schedule.project_id);
        for at in times {
            steps[minute(at)] += 1;
            steps[minute(at + length).max(minute(at) + 1)] -= 1;
        }
    }
    let mut running = 0;
    let at_once: Vec<i64> = steps
        .iter()
        .map(|step| {
            running += step;
            running
        })
        .collect();
    let unknown = (unreadable > 0).then(|| (unreadable, "their schedules can't be read".into()));
    let limit = config.kernels.max(1) as i64;
    let peak = at_once.iter().copied().enumerate().max_by_key(|(at, n)| (*n, std::cmp::Reverse(*at)));
    let Some((at, most)) = peak.filter(|(_, most)| *most > limit) else {
        return Found { hits: Vec::new(), unknown };
    };
    let crowded = at_once.iter().filter(|n| **n > limit).count();
    let peak = facts.now + TimeDelta::minutes(at as i64);
    let mut names: Vec<&str> = planned()
        .filter(|schedule| runs_at(facts, schedule, peak))
        .filter_map(|schedule| alive.get(schedule.project_id.as_str()))
        .map(|project| &*project.title)
        .collect();
    names.sort_unstable();
    names.dedup();
    let rest = names.len().saturating_sub(NAMED);
    let mut named = names[..names.len().min(NAMED)].join(", ");
    if rest > 0 {
        named += &format!(" and {rest} more");
    }
    let evidence = format!(
        "on {} {most} scheduled runs would hold a kernel at once, by their median durations, and Hex gives {limit}; \
         too many for {crowded} minutes of the next 7 days; at the peak: {named}",
        peak.format("%a %Y-%m-%d %H:%M UTC"),
    );
    let hit = Hit {
        entity_type: "workspace".into(),
        entity_id: "workspace".into(),
        entity: "workspace".into(),
        evidence,
        ..Hit::default()
    };
    Found { hits: vec![hit], unknown }
}

/// Whether a run of a schedule holds a kernel in the minute that begins then.
fn runs_at(facts: &Facts, schedule: &ScheduleRow, at: DateTime<Utc>) -> bool {
    let end = at + TimeDelta::minutes(1) - TimeDelta::seconds(1);
    let from = at - usual(facts, &schedule.project_id);
    schedule.timetable.schedule().due(from, end).is_some_and(|times| times.iter().any(|due| *due > facts.now))
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::fixtures::*;
    use super::*;
    use crate::audit::facts::Stats;
    use crate::derive::schedule::Timetable;

    /// Projects with a daily schedule, one every so many minutes from 2:00 on, whose runs take so many seconds.
    fn daily(facts: &mut Facts, n: i64, apart: i64, seconds: f64) {
        for i in 0..n {
            let id = format!("s{i:02}");
            facts.projects.push(fine(&id));
            facts.categorised.insert(id.as_str().into());
            let timetable = Timetable {
                cadence: Some("DAILY".into()),
                hour: Some(2 + i * apart / 60),
                minute: Some(i * apart % 60),
                ..Timetable::default()
            };
            facts.schedules.push(ScheduleRow { project_id: id.clone(), timetable, enabled: Some(true) });
            let stats = Stats { p50_seconds: Some(seconds), ..Stats::default() };
            facts.scheduled_stats.insert(id.into(), stats);
        }
    }

    pub const CASES: &[Case] = &[Case {
        rule: &SCHEDULE_COLLISION,
        entity: "workspace",
        // Two minutes apart, each takes an hour.
        case: |f| daily(f, 26, 2, 3600.0),
        near_misses: &[
            |f| daily(f, 25, 0, 3600.0),
            // Each ends before the next begins.
            |f| daily(f, 60, 2, 100.0),
            |f| {
                daily(f, 26, 0, 60.0);
                f.projects.last_mut().unwrap().archived_at = ago(1);
            },
        ],
    }];

    #[test]
    fn the_peak_is_told_with_its_projects_and_schedules_that_can_not_be_read_are_said() {
        let mut facts = calm();
        daily(&mut facts, 30, 1, 1800.0);
        let timetable = Timetable {
            cadence: Some("CUSTOM".into()),
            cron: Some("whenever".into()),
            ..Timetable::default()
        };
        facts.schedules.push(ScheduleRow { project_id: "p1".into(), timetable, enabled: Some(true) });
        let found = schedule_collision(&facts, &Config::default());
        assert_eq!(found.unknown.unwrap().0, 1);
        let evidence = &found.hits[0].evidence;
        // The first of 30 ends a minute after the last has begun.
        assert!(evidence.starts_with("on Tue 2026-11-03 02:29 UTC 30 scheduled runs"), "{evidence}");
        assert!(evidence.contains("too many for 63 minutes"), "{evidence}");
        assert!(evidence.ends_with("Title of s04 and 25 more"), "{evidence}");
        let more = Config { kernels: 30, ..Config::default() };
        assert!(schedule_collision(&facts, &more).hits.is_empty());
    }
}
