//! Runs that drift away from what is usual for them.

use chrono::TimeDelta;

use super::{Rule, live};
use crate::audit::facts::Project;
use crate::audit::{Config, Facts, Found, Hit, Need, Severity};

const NEEDS: &[Need] = &[Need::Each("projects"), Need::Each("runs"), Need::Present("run_health")];

/// Every rule of this subject.
pub const RULES: &[&Rule] =
    &[&RUNS_SLOWER, &FAILURES_RISING, &SCHEDULE_MISSED, &KERNEL_STARVATION, &APP_STALE];

static RUNS_SLOWER: Rule = Rule {
    id: "runs-slower",
    severity: Severity::Low,
    looks_for: "Projects whose runs take much longer than usual",
    action: "Check what changed in the project or its tables",
    needs: NEEDS,
    find: runs_slower,
};

fn runs_slower(facts: &Facts, _: &Config) -> Found {
    live(facts, |p| {
        let health = facts.health.get(&p.project_id).filter(|health| health.is_slower == Some(true))?;
        let (now, usual) = (health.recent_median_seconds?, health.baseline_median_seconds?);
        Some(format!(
            "median run time of the last 7 days is {now:.0} s, {:.1} times the usual {usual:.0} s",
            now / usual
        ))
    })
    .into()
}

static FAILURES_RISING: Rule = Rule {
    id: "failures-rising",
    severity: Severity::Medium,
    looks_for: "Projects whose runs fail much more often than usual",
    action: "Check the errors of its latest runs",
    needs: NEEDS,
    find: failures_rising,
};

fn failures_rising(facts: &Facts, _: &Config) -> Found {
    live(facts, |p| {
        let health = facts.health.get(&p.project_id).filter(|health| health.is_failing_more == Some(true))?;
        Some(format!(
            "{:.0} % of runs failed in the last 7 days, {:.0} % before",
            health.recent_failure_rate? * 100.0,
            health.baseline_failure_rate? * 100.0
        ))
    })
    .into()
}

static SCHEDULE_MISSED: Rule = Rule {
    id: "schedule-missed",
    severity: Severity::Medium,
    looks_for: "Schedules whose runs often start late or never",
    action: "Check the schedule in Hex, and whether kernels were free",
    needs: &[
        Need::Each("projects"),
        Need::Each("runs"),
        Need::Present("project_schedules"),
        Need::Present("run_stats"),
    ],
    find: schedule_missed,
};

fn schedule_missed(facts: &Facts, config: &Config) -> Found {
    let hits = live(facts, |p| {
        let stats = facts.scheduled_stats.get(&p.project_id)?;
        let (missed, late) = (stats.missed_runs.unwrap_or(0), stats.late_runs.unwrap_or(0));
        let due = stats.seen_runs.unwrap_or(0) + missed;
        let share = (missed + late) as f64 / due.max(1) as f64;
        let is_much = missed + late >= config.missed_runs.max(1) && share >= 0.2;
        (facts.scheduled.contains(&p.project_id) && is_much).then(|| {
            format!("of {due} runs due in 30 days, {missed} never started and {late} started more than 15 minutes late")
        })
    });
    let is_unknown = |p: &&Project| {
        let stats = facts.scheduled_stats.get(&p.project_id);
        p.is_alive()
            && facts.scheduled.contains(&p.project_id)
            && stats.is_some_and(|stats| stats.missed_runs.is_none())
    };
    let unknown = facts.projects.iter().filter(is_unknown).count() as u64;
    Found::but_for(hits, unknown, "it isn't known when their runs were due")
}

static KERNEL_STARVATION: Rule = Rule {
    id: "kernel-starvation",
    severity: Severity::Medium,
    looks_for: "Runs that got no kernel because too many ran at once",
    action: "Spread the schedules, or shorten the longest runs",
    needs: &[Need::Any(&["runs"]), Need::Present("run_health")],
    find: kernel_starvation,
};

fn kernel_starvation(facts: &Facts, config: &Config) -> Found {
    let of = |p: &Project| facts.health.get(&p.project_id).map_or(0, |health| health.recent_no_kernel);
    let starved: Vec<(&Project, i64)> =
        facts.projects.iter().map(|p| (p, of(p))).filter(|(_, runs)| *runs > 0).collect();
    let runs: i64 = starved.iter().map(|(_, runs)| runs).sum();
    if runs < config.starved_runs.max(1) {
        return Found::default();
    }
    vec![Hit {
        entity_type: "workspace".into(),
        entity_id: "workspace".into(),
        entity: "workspace".into(),
        evidence: format!("{runs} runs of {} projects got no kernel in the last 7 days", starved.len()),
        ..Hit::default()
    }]
    .into()
}

static APP_STALE: Rule = Rule {
    id: "app-stale",
    severity: Severity::Low,
    looks_for: "Apps that people view although their results are old",
    action: "Schedule it, or show the age of its results in the app",
    needs: &[Need::Each("projects")],
    find: app_stale,
};

fn app_stale(facts: &Facts, config: &Config) -> Found {
    let limit = facts.now - TimeDelta::days(config.stale_app_days);
    live(facts, |p| {
        let views = p.app_views_last_30_days.filter(|views| *views > 0)?;
        let published = p.last_published_at?;
        // Publishing refreshes too.
        let refreshed = p.published_results_updated_at?.max(published);
        (refreshed < limit).then(|| {
            format!("viewed {views} times in 30 days, with results from {}", refreshed.format("%Y-%m-%d"))
        })
    })
    .into()
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::fixtures::*;
    use super::*;
    use crate::audit::facts::{Health, Stats};

    fn health(facts: &mut Facts, change: impl Fn(&mut Health)) {
        let mut health = Health {
            recent_median_seconds: Some(30.0),
            baseline_median_seconds: Some(10.0),
            recent_failure_rate: Some(0.5),
            baseline_failure_rate: Some(0.0),
            ..Health::default()
        };
        change(&mut health);
        facts.health.insert("p1".into(), health);
    }

    fn met(facts: &mut Facts, seen: i64, late: i64, missed: i64) {
        facts.scheduled.insert("p1".into());
        let stats = Stats {
            seen_runs: Some(seen),
            late_runs: Some(late),
            missed_runs: Some(missed),
            ..Stats::default()
        };
        facts.scheduled_stats.insert("p1".into(), stats);
    }

    fn refreshed(facts: &mut Facts, days: i64) {
        let project = &mut facts.projects[0];
        (project.published_results_updated_at, project.last_published_at) = (ago(days), ago(days));
    }

    pub const CASES: &[Case] = &[
        Case {
            rule: &RUNS_SLOWER,
            entity: "p1",
            case: |f| health(f, |h| h.is_slower = Some(true)),
            near_misses: &[
                |f| health(f, |h| h.is_slower = Some(false)),
                |f| health(f, |h| h.is_slower = None),
            ],
        },
        Case {
            rule: &FAILURES_RISING,
            entity: "p1",
            case: |f| health(f, |h| h.is_failing_more = Some(true)),
            near_misses: &[|f| health(f, |h| h.is_failing_more = None)],
        },
        Case {
            rule: &SCHEDULE_MISSED,
            entity: "p1",
            case: |f| met(f, 10, 2, 1),
            near_misses: &[|f| met(f, 10, 1, 1), |f| met(f, 30, 2, 2)],
        },
        Case {
            rule: &KERNEL_STARVATION,
            entity: "workspace",
            case: |f| health(f, |h| h.recent_no_kernel = 5),
            near_misses: &[|f| health(f, |h| h.recent_no_kernel = 4)],
        },
        Case {
            rule: &APP_STALE,
            entity: "p1",
            case: |f| refreshed(f, 91),
            near_misses: &[
                |f| refreshed(f, 90),
                |f| {
                    refreshed(f, 91);
                    f.projects[0].last_published_at = ago(1);
                },
                |f| {
                    refreshed(f, 91);
                    f.projects[0].app_views_last_30_days = Some(0);
                },
            ],
        },
    ];
}
