//! Cost of warehouse queries, from imported query histories.

use super::{Rule, counted, live};
use crate::audit::{Config, Facts, Found, Hit, Need, Severity};

/// Every rule of this subject.
pub const RULES: &[&Rule] =
    &[&COSTLY_SCHEDULE_UNVIEWED, &COST_JUMP, &FAILED_QUERIES_COST, &SAME_QUERY_IN_MANY_PROJECTS];

static COSTLY_SCHEDULE_UNVIEWED: Rule = Rule {
    id: "costly-schedule-unviewed",
    severity: Severity::Medium,
    looks_for: "Schedules that cost much, of apps that nobody views and whose runs notify nobody",
    action: "Run it less often, or turn the schedule off",
    needs: &[Need::Each("projects"), Need::Each("runs"), Need::Present("project_cost")],
    find: costly_schedule_unviewed,
};

fn costly_schedule_unviewed(facts: &Facts, config: &Config) -> Found {
    let spending = &facts.spending;
    let least = spending.unit.costly(config);
    let is_costly = |id: &str| spending.scheduled(id) >= least && !facts.notifying.contains(id);
    let hits = live(facts, |p| {
        let is_candidate = p.app_views_last_30_days == Some(0) && is_costly(&p.project_id);
        let words = || spending.unit.words(spending.scheduled(&p.project_id));
        is_candidate.then(|| format!("its scheduled runs {} in 30 days, and nobody viewed it", words()))
    });
    let is_unknown = |p: &&crate::audit::facts::Project| {
        p.is_alive() && p.app_views_last_30_days.is_none() && is_costly(&p.project_id)
    };
    let unknown = facts.projects.iter().filter(is_unknown).count() as u64;
    Found::but_for(hits, unknown, "the API doesn't tell the views of these apps")
}

static COST_JUMP: Rule = Rule {
    id: "cost-jump",
    severity: Severity::Medium,
    looks_for: "Projects that cost much more than is usual for them",
    action: "Look at what changed in the project, its schedules or its tables",
    needs: &[Need::Each("projects"), Need::Present("project_cost")],
    find: cost_jump,
};

fn cost_jump(facts: &Facts, config: &Config) -> Found {
    let spending = &facts.spending;
    // A jump of little is no news.
    let least = spending.unit.costly(config) / 4.0;
    live(facts, |p| {
        let (recent, usual) = spending.weeks(&p.project_id)?;
        (recent >= config.cost_jump * usual && recent - usual >= least).then(|| {
            let words = spending.unit.words(recent);
            format!("its queries {words} in the last 7 days, {:.1} times a usual week", recent / usual)
        })
    })
    .into()
}

static FAILED_QUERIES_COST: Rule = Rule {
    id: "failed-queries-cost",
    severity: Severity::Low,
    looks_for: "Projects whose failed queries cost much",
    action: "Fix the queries, or let the project stop at the first failure",
    needs: &[Need::Each("projects"), Need::Present("project_cost")],
    find: failed_queries_cost,
};

fn failed_queries_cost(facts: &Facts, config: &Config) -> Found {
    let spending = &facts.spending;
    let least = spending.unit.costly(config) / 5.0;
    live(facts, |p| {
        let (failures, amount) = spending.failures(&p.project_id);
        (failures > 0 && amount >= least).then(|| {
            let queries = counted(failures as usize, "failed query", "failed queries");
            format!("{queries} {} in 30 days", spending.unit.words(amount))
        })
    })
    .into()
}

static SAME_QUERY_IN_MANY_PROJECTS: Rule = Rule {
    id: "same-query-in-many-projects",
    severity: Severity::Low,
    looks_for: "Heavy queries that many projects send, each for itself",
    action: "Make it a table, or a component that the projects import",
    needs: &[Need::Present("query_fingerprints")],
    find: same_query_in_many_projects,
};

fn same_query_in_many_projects(facts: &Facts, config: &Config) -> Found {
    let is_hit = |shared: &crate::audit::spending::Shared| {
        shared.projects >= config.shared_query_projects && shared.hours >= config.costly_hours
    };
    let hit = |shared: crate::audit::spending::Shared| Hit {
        entity_type: "query".into(),
        entity: format!("query {}", shared.fingerprint).into(),
        evidence: format!(
            "{} sent it {} in 30 days, and it took {:.1} hours of the warehouse",
            counted(shared.projects, "project", "projects"),
            counted(shared.queries as usize, "time", "times"),
            shared.hours
        ),
        entity_id: shared.fingerprint.into(),
        ..Hit::default()
    };
    facts.spending.shared().into_iter().filter(is_hit).map(hit).collect::<Vec<_>>().into()
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::fixtures::*;
    use super::*;
    use crate::audit::spending::{Day, Fingerprint, Spending};

    /// Days of p1, from so many days ago on: context, cost a day, cost of failures a day.
    fn spent(facts: &mut Facts, parts: &[(std::ops::RangeInclusive<i64>, &str, f64, f64)]) {
        let day = |ago_days: i64, context: &str, cost: f64, failed: f64| Day {
            project_id: "p1".into(),
            day: ago(ago_days).unwrap().date_naive(),
            context: Some(context.into()),
            failures: i64::from(failed > 0.0),
            cost: Some(cost),
            failed_cost: Some(failed),
            currency: Some("EUR".into()),
            ..Day::default()
        };
        let days = parts.iter().flat_map(|(range, context, cost, failed)| {
            range.clone().map(|ago| day(ago, context, *cost, *failed)).collect::<Vec<_>>()
        });
        facts.spending = Spending::of(days.collect(), Vec::new());
    }

    fn unviewed(facts: &mut Facts, views: Option<i64>) {
        facts.projects[0].app_views_last_30_days = views;
    }

    fn queries(facts: &mut Facts, projects: usize, hours: f64, at: i64) {
        let query = |n: usize| Fingerprint {
            warehouse: "trino".into(),
            fingerprint: "abc".into(),
            project_id: format!("p{n}").into(),
            queries: 10,
            seconds: Some(hours * 3600.0 / projects as f64),
            last_at: ago(if n == 0 { 0 } else { at }),
        };
        facts.spending = Spending::of(Vec::new(), (0..projects).map(query).collect());
    }

    pub const CASES: &[Case] = &[
        Case {
            rule: &COSTLY_SCHEDULE_UNVIEWED,
            entity: "p1",
            case: |f| {
                unviewed(f, Some(0));
                spent(f, &[(0..=29, "SCHEDULED_RUN", 2.0, 0.0)]);
            },
            near_misses: &[
                // Somebody views it, or is notified.
                |f| spent(f, &[(0..=29, "SCHEDULED_RUN", 2.0, 0.0)]),
                |f| {
                    unviewed(f, Some(0));
                    spent(f, &[(0..=29, "SCHEDULED_RUN", 2.0, 0.0)]);
                    f.notifying.insert("p1".into());
                },
                // It costs little, by its schedule, or in the last 30 days.
                |f| {
                    unviewed(f, Some(0));
                    spent(f, &[(0..=29, "SCHEDULED_RUN", 1.6, 0.0)]);
                },
                |f| {
                    unviewed(f, Some(0));
                    spent(f, &[(0..=29, "LOGIC", 9.0, 0.0)]);
                },
                |f| {
                    unviewed(f, Some(0));
                    spent(f, &[(0..=0, "LOGIC", 1.0, 0.0), (30..=60, "SCHEDULED_RUN", 9.0, 0.0)]);
                },
            ],
        },
        Case {
            rule: &COST_JUMP,
            entity: "p1",
            case: |f| spent(f, &[(0..=6, "LOGIC", 6.0, 0.0), (7..=34, "LOGIC", 2.0, 0.0)]),
            near_misses: &[
                |f| spent(f, &[(0..=6, "LOGIC", 3.9, 0.0), (7..=34, "LOGIC", 2.0, 0.0)]),
                // Little money, little history, nothing to compare with.
                |f| spent(f, &[(0..=6, "LOGIC", 0.6, 0.0), (7..=34, "LOGIC", 0.2, 0.0)]),
                |f| spent(f, &[(0..=6, "LOGIC", 6.0, 0.0), (7..=19, "LOGIC", 2.0, 0.0)]),
                |f| spent(f, &[(0..=6, "LOGIC", 60.0, 0.0), (36..=60, "LOGIC", 2.0, 0.0)]),
            ],
        },
        Case {
            rule: &FAILED_QUERIES_COST,
            entity: "p1",
            case: |f| spent(f, &[(0..=9, "LOGIC", 3.0, 1.0)]),
            near_misses: &[
                |f| spent(f, &[(0..=9, "LOGIC", 30.0, 0.9)]),
                |f| spent(f, &[(0..=0, "LOGIC", 1.0, 0.0), (40..=60, "LOGIC", 30.0, 9.0)]),
            ],
        },
        Case {
            rule: &SAME_QUERY_IN_MANY_PROJECTS,
            entity: "abc",
            case: |f| queries(f, 3, 6.0, 1),
            near_misses: &[|f| queries(f, 2, 6.0, 1), |f| queries(f, 3, 4.9, 1), |f| queries(f, 3, 6.0, 31)],
        },
    ];

    #[test]
    fn without_prices_hours_are_counted() {
        let mut facts = calm();
        spent(&mut facts, &[(0..=9, "SCHEDULED_RUN", 0.0, 0.0)]);
        let mut days = facts.spending.days.remove("p1").unwrap();
        days.iter_mut().for_each(|day| (day.cost, day.failed_cost, day.seconds) = (None, None, 3600.0));
        facts.spending = Spending::of(days, Vec::new());
        unviewed(&mut facts, Some(0));
        let found = costly_schedule_unviewed(&facts, &Config::default());
        assert_eq!(
            found.hits[0].evidence,
            "its scheduled runs took 10.0 hours of the warehouse in 30 days, and nobody viewed it"
        );
        unviewed(&mut facts, None);
        assert_eq!(costly_schedule_unviewed(&facts, &Config::default()).unknown.unwrap().0, 1);
    }
}
