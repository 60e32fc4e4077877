//! Schedules.

use super::{Rule, live, projects};
use crate::audit::{Config, Facts, Found, Need, Severity};

pub static SCHEDULE_FAILING: Rule = Rule {
    id: "schedule-failing",
    severity: Severity::High,
    looks_for: "Schedules whose runs keep failing",
    action: "Fix the project, or turn its schedule off",
    needs: &[
        Need::Each("projects"),
        Need::Each("runs"),
        Need::Present("project_schedules"),
        Need::Present("run_stats"),
    ],
    find: schedule_failing,
};

fn schedule_failing(facts: &Facts, config: &Config) -> Found {
    live(facts, |p| {
        let stats = facts.scheduled_stats.get(&p.project_id)?;
        let failing =
            facts.scheduled.contains(&p.project_id) && stats.failure_streak >= config.failing_runs.max(1);
        let said = match stats.failure_streak {
            1 => "the last scheduled run failed".to_owned(),
            n => format!("the last {n} scheduled runs all failed"),
        };
        failing.then(|| said + &cause(facts, &p.project_id).unwrap_or_default())
    })
    .into()
}

/// Since when it fails, and what happened to the project right before.
fn cause(facts: &Facts, project: &str) -> Option<String> {
    let health = facts.health.get(project)?;
    let since = format!(", since {}", health.failing_since?.format("%Y-%m-%d %H:%M UTC"));
    let (Some(what), Some(at)) = (&health.preceded_by, health.preceded_at) else { return Some(since) };
    Some(format!("{since}, after {what} on {}", at.format("%Y-%m-%d %H:%M UTC")))
}

pub static SCHEDULE_UNVIEWED: Rule = Rule {
    id: "schedule-unviewed",
    severity: Severity::Medium,
    looks_for: "Schedules of apps that nobody viewed in 30 days and whose runs notify nobody",
    action: "Turn the schedule off",
    needs: &[Need::Each("projects"), Need::Each("runs"), Need::Present("project_schedules")],
    find: schedule_unviewed,
};

fn schedule_unviewed(facts: &Facts, _: &Config) -> Found {
    let is_candidate = |id: &String| facts.scheduled.contains(id) && !facts.notifying.contains(id);
    let hits = live(facts, |p| {
        let unviewed = is_candidate(&p.project_id) && p.app_views_last_30_days == Some(0);
        unviewed.then(|| "runs on a schedule, but nobody viewed it in the last 30 days".into())
    });
    let unknown = facts
        .projects
        .iter()
        .filter(|p| p.is_alive() && is_candidate(&p.project_id) && p.app_views_last_30_days.is_none())
        .count() as u64;
    Found {
        hits,
        unknown: (unknown > 0).then(|| (unknown, "the API gives no view counts for these apps".into())),
    }
}

pub static SCHEDULE_ON_ARCHIVED: Rule = Rule {
    id: "schedule-on-archived",
    severity: Severity::Medium,
    looks_for: "Projects in the archive or trash whose schedule is still enabled",
    action: "Turn the schedule off",
    needs: &[Need::Each("projects"), Need::Present("project_schedules")],
    find: schedule_on_archived,
};

fn schedule_on_archived(facts: &Facts, _: &Config) -> Found {
    projects(facts, |p| {
        let place = if p.trashed_at.is_some() { "in the trash" } else { "archived" };
        (!p.is_alive() && facts.scheduled.contains(&p.project_id))
            .then(|| format!("{place}, but its schedule is still enabled"))
    })
    .into()
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::fixtures::*;
    use super::*;

    pub const CASES: &[Case] = &[
        Case {
            rule: &SCHEDULE_FAILING,
            entity: "p1",
            case: |f| streak(f, 3),
            near_misses: &[
                |f| streak(f, 2),
                // The schedule is off.
                |f| {
                    streak(f, 9);
                    f.scheduled.clear();
                },
            ],
        },
        Case {
            rule: &SCHEDULE_UNVIEWED,
            entity: "p1",
            case: |f| {
                f.scheduled.insert("p1".into());
                f.projects[0].app_views_last_30_days = Some(0);
            },
            near_misses: &[
                |f| {
                    f.scheduled.insert("p1".into());
                    f.projects[0].app_views_last_30_days = Some(1);
                },
                // Nobody views it, but somebody is notified of its runs.
                |f| {
                    f.scheduled.insert("p1".into());
                    f.projects[0].app_views_last_30_days = Some(0);
                    f.notifying.insert("p1".into());
                },
                // Its views aren't known.
                |f| {
                    f.scheduled.insert("p1".into());
                    f.projects[0].app_views_last_30_days = None;
                },
            ],
        },
        Case {
            rule: &SCHEDULE_ON_ARCHIVED,
            entity: "p1",
            case: |f| {
                f.scheduled.insert("p1".into());
                f.projects[0].trashed_at = ago(1);
            },
            near_misses: &[|f| f.projects[0].archived_at = ago(1)],
        },
    ];

    #[test]
    fn unknown_views_are_said_to_be_unknown() {
        let mut facts = calm();
        facts.scheduled.insert("p1".into());
        facts.projects[0].app_views_last_30_days = None;
        assert_eq!(schedule_unviewed(&facts, &Config::default()).unknown.unwrap().0, 1);
    }
}
