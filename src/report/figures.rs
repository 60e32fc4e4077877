//! The figures at the head of the page.

use chrono::{NaiveDate, TimeDelta};

use super::{Days, Figure, Trend};
use crate::audit::{Audit, Facts, Severity};

pub(super) fn figures(
    facts: &Facts,
    found: &Audit,
    days: &Days,
    trend: &Trend,
    tables: usize,
    today: NaiveDate,
) -> Vec<Figure> {
    let figure = |id, name, value: Option<usize>, trend| {
        let value = value.map(|value| value as f64);
        Figure { id, name, kind: "count", value, trend }
    };
    // An empty table that wasn't read doesn't mean zero.
    let of = |table: &str, value: usize| (value > 0 || facts.evidence.is_usable(table)).then_some(value);
    let of_table = |table: &str| -> Vec<Option<f64>> {
        trend.rows.iter().map(|rows| rows.get(table).map(|rows| *rows as f64)).collect()
    };
    let of_severity = |name: &str| -> Vec<Option<f64>> {
        trend.findings.get(name).into_iter().flatten().map(|count| Some(*count as f64)).collect()
    };
    let live = facts.projects.iter().filter(|p| p.is_alive() && p.last_published_at.is_some()).count();
    let high = found.findings.iter().filter(|f| f.severity == Severity::High).count();
    let rule = found.rules.iter().find(|rule| rule.rule == "schedule-failing");
    let failing = rule.filter(|rule| rule.why_not.is_none()).map(|rule| rule.findings as usize);
    let since = today - TimeDelta::days(30);
    let recent = days.day.iter().position(|day| *day > since).unwrap_or(days.day.len());
    let completed: i64 = days.completed[recent..].iter().sum();
    let failed: i64 = days.failed[recent..].iter().sum();
    let ended = (completed + failed) as f64;
    let of_days = |value: &dyn Fn(usize) -> Option<f64>| (recent..days.day.len()).map(value).collect();
    let both = |i: usize| (days.completed[i] + days.failed[i]) as f64;
    vec![
        figure(
            "projects",
            "projects and components",
            of("projects", facts.projects.len()),
            of_table("projects"),
        ),
        figure("live", "published and live", of("projects", live), Vec::new()),
        figure("people", "people", of("users", facts.users.len()), of_table("users")),
        figure(
            "connections",
            "data connections",
            of("data_connections", facts.connections.len()),
            of_table("data_connections"),
        ),
        figure("tables", "warehouse tables read", of("table_usage", tables), of_table("table_usage")),
        figure("runs", "finished runs in 30 days", of("runs", ended as usize), of_days(&|i| Some(both(i)))),
        Figure {
            id: "success",
            name: "of these runs succeeded",
            kind: "share",
            value: (ended > 0.0).then(|| completed as f64 / ended),
            trend: of_days(&|i| (both(i) > 0.0).then(|| days.completed[i] as f64 / both(i))),
        },
        figure("failing", "failing schedules", failing, Vec::new()),
        figure("high", "high-severity findings", Some(high), of_severity("high")),
    ]
}
