//! Queries that ask for known results again.

use std::collections::BTreeSet;

use super::{Rule, counted, live};
use crate::audit::{Config, Facts, Found, Need, Severity};

/// Every rule of this subject.
pub const RULES: &[&Rule] = &[&CACHED_RESULTS_UNUSED];

static CACHED_RESULTS_UNUSED: Rule = Rule {
    id: "cached-results-unused",
    severity: Severity::Low,
    looks_for: "Runs that send the same query again and again on a day and get the same result: a cached one would do",
    action: "Turn on cached results for these cells in Hex, or run it less often",
    needs: &[Need::Each("projects"), Need::Present("query_repeats")],
    find: cached_results_unused,
};

fn cached_results_unused(facts: &Facts, config: &Config) -> Found {
    // Half an hour in a month is no news; the same share of what makes a schedule costly.
    let least = config.costly_hours / 10.0;
    live(facts, |p| {
        let repeats = facts.spending.repeats.get(&*p.project_id)?;
        let often = || repeats.iter().filter(|repeat| repeat.queries >= config.repeated_queries.max(2));
        // The first run of a day is needed.
        let spared = |queries: i64, seconds: f64| seconds * (queries - 1) as f64 / queries as f64 / 3600.0;
        let hours: f64 = often().map(|repeat| spared(repeat.queries, repeat.seconds.unwrap_or(0.0))).sum();
        let texts: BTreeSet<&str> = often().map(|repeat| repeat.text_hash.as_str()).collect();
        let days: BTreeSet<_> = often().map(|repeat| repeat.day).collect();
        let most = often().map(|repeat| repeat.queries).max()?;
        (hours >= least).then(|| {
            format!(
                "on {} it sent {} up to {most} times a day without a change of text, rows or bytes: {hours:.1} hours of \
                 the warehouse in 30 days that a cached result would have spared",
                counted(days.len(), "day", "days"),
                counted(texts.len(), "query", "queries"),
            )
        })
    })
    .into()
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::fixtures::*;
    use super::*;
    use crate::audit::spending::Repeat;

    /// A query that runs so often on each of some days.
    fn repeated(facts: &mut Facts, queries: i64, days: i64, seconds_each: f64) {
        let repeats = (1..=days).map(|day| Repeat {
            project_id: "p1".into(),
            day: ago(day).unwrap().date_naive(),
            text_hash: "h".into(),
            queries,
            seconds: Some(queries as f64 * seconds_each),
        });
        facts.spending.repeats.insert("p1".into(), repeats.collect());
    }

    pub const CASES: &[Case] = &[Case {
        rule: &CACHED_RESULTS_UNUSED,
        entity: "p1",
        // 3 of 4 runs of 10 minutes on two days: an hour.
        case: |f| repeated(f, 4, 2, 600.0),
        near_misses: &[
            |f| repeated(f, 3, 9, 600.0),
            |f| repeated(f, 24, 2, 30.0),
            |f| {
                repeated(f, 4, 2, 600.0);
                f.projects[0].archived_at = ago(1);
            },
        ],
    }];

    #[test]
    fn what_could_be_spared_is_said() {
        let mut facts = calm();
        repeated(&mut facts, 4, 2, 600.0);
        let found = cached_results_unused(&facts, &Config::default());
        assert_eq!(
            found.hits[0].evidence,
            "on 2 days it sent 1 query up to 4 times a day without a change of text, rows or bytes: 1.0 hours of the \
             warehouse in 30 days that a cached result would have spared"
        );
    }
}
