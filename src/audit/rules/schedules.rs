//! Schedules.

use super::{Rule, live, projects};
use crate::audit::{Config, Facts, Found, Need, Severity};

/// Every rule of this subject.
pub const RULES: &[&Rule] = &[&SCHEDULE_FAILING, &SCHEDULE_UNVIEWED, &SCHEDULE_ON_ARCHIVED];

static SCHEDULE_FAILING: Rule = Rule {
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
    let failing_since = health.failing_since?;
    let mut said = format!(", since {}", failing_since.format("%Y-%m-%d %H:%M UTC"));
    if let (Some(what), Some(at)) = (&health.preceded_by, health.preceded_at) {
        said += &format!(", after {what} on {}", at.format("%Y-%m-%d %H:%M UTC"));
    }
    // Without a run that succeeded, any change could be the cause.
    if let Some(cells) = health.last_success_at.and_then(|at| facts.moves.between(project, at, failing_since))
    {
        said += &format!("; {cells}");
    }
    Some(said)
}

static SCHEDULE_UNVIEWED: Rule = Rule {
    id: "schedule-unviewed",
    severity: Severity::Medium,
    looks_for: "Schedules of apps that nobody viewed in 30 days and whose runs notify nobody",
    action: "Turn the schedule off",
    needs: &[Need::Each("projects"), Need::Each("runs"), Need::Present("project_schedules")],
    find: schedule_unviewed,
};

fn schedule_unviewed(facts: &Facts, _: &Config) -> Found {
    let is_candidate = |id: &str| facts.scheduled.contains(id) && !facts.notifying.contains(id);
    let hits = live(facts, |p| {
        let unviewed = is_candidate(&p.project_id) && p.app_views_last_30_days == Some(0);
        unviewed.then(|| "runs on a schedule, but nobody viewed it in the last 30 days".into())
    });
    let unknown = facts
        .projects
        .iter()
        .filter(|p| p.is_alive() && is_candidate(&p.project_id) && p.app_views_last_30_days.is_none())
        .count() as u64;
    Found::but_for(hits, unknown, "the API gives no view counts for these apps")
}

static SCHEDULE_ON_ARCHIVED: Rule = Rule {
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
    use crate::audit::facts::Health;
    use crate::audit::{CellChange, Moves};

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
    fn a_streak_names_the_cells_that_changed_before_it_and_no_others() {
        let evidence = |changes: Vec<CellChange>, last_success| {
            let mut facts = calm();
            streak(&mut facts, 3);
            let health = Health {
                failing_since: ago(3),
                last_success_at: last_success,
                preceded_by: Some("edit".into()),
                preceded_at: ago(4),
                ..Health::default()
            };
            facts.health.insert("p1".into(), health);
            facts.moves = Moves::of(changes);
            schedule_failing(&facts, &Config::default()).hits.remove(0).evidence
        };
        let change = |id: &str, project: &str, after: i64, before: i64| CellChange {
            project_id: project.into(),
            static_id: id.into(),
            label: (id == "c1").then(|| "Orders".into()),
            change: "edited".into(),
            changed_after: ago(after).unwrap(),
            changed_before: ago(before).unwrap(),
        };
        let said = evidence(vec![change("c1", "p1", 5, 4), change("c2", "p1", 4, 2)], ago(5));
        assert_eq!(
            said,
            "the last 3 scheduled runs all failed, since 2026-10-30 06:00 UTC, after edit on 2026-10-29 06:00 UTC; \
             cells of the draft changed between 2026-10-28 06:00 UTC and 2026-10-31 06:00 UTC: 'Orders' edited, 'c2' edited"
        );
        // Near misses: before the last success, after the first failure, of another project; no success is known.
        let others = vec![change("c1", "p1", 9, 6), change("c1", "p1", 2, 1), change("c1", "p2", 5, 4)];
        assert!(evidence(others, ago(5)).ends_with("after edit on 2026-10-29 06:00 UTC"));
        assert!(evidence(vec![change("c1", "p1", 5, 4)], None).ends_with("06:00 UTC"));
        let many = (0..5).map(|i| change(&format!("c{}", i + 2), "p1", 5, 4)).collect();
        assert!(evidence(many, ago(5)).ends_with("'c2' edited, 'c3' edited, 'c4' edited, 2 more"));
    }

    #[test]
    fn unknown_views_are_said_to_be_unknown() {
        let mut facts = calm();
        facts.scheduled.insert("p1".into());
        facts.projects[0].app_views_last_30_days = None;
        assert_eq!(schedule_unviewed(&facts, &Config::default()).unknown.unwrap().0, 1);
    }
}
