//! The figures at the head of the page.

use chrono::{NaiveDate, TimeDelta};

use super::{Days, Figure, Trend};
use crate::audit::{Facts, Finding, Severity};

pub(super) fn figures(
    facts: &Facts,
    findings: &[Finding],
    days: &Days,
    trend: &Trend,
    tables: usize,
    today: NaiveDate,
) -> Vec<Figure> {
    let figure =
        |id, name, value: usize, trend| Figure { id, name, kind: "count", value: Some(value as f64), trend };
    let of_table = |table: &str| -> Vec<Option<f64>> {
        trend.rows.iter().map(|rows| rows.get(table).map(|rows| *rows as f64)).collect()
    };
    let of_severity = |name: &str| -> Vec<Option<f64>> {
        trend.findings.get(name).into_iter().flatten().map(|count| Some(*count as f64)).collect()
    };
    let live = facts.projects.iter().filter(|p| p.is_alive() && p.last_published_at.is_some()).count();
    let high = findings.iter().filter(|f| f.severity == Severity::High).count();
    let failing = findings.iter().filter(|f| f.rule == "schedule-failing").count();
    let since = today - TimeDelta::days(30);
    let recent = days.day.iter().position(|day| *day > since).unwrap_or(days.day.len());
    let completed: i64 = days.completed[recent..].iter().sum();
    let failed: i64 = days.failed[recent..].iter().sum();
    let ended = (completed + failed) as f64;
    let of_days = |value: &dyn Fn(usize) -> Option<f64>| (recent..days.day.len()).map(value).collect();
    let both = |i: usize| (days.completed[i] + days.failed[i]) as f64;
    vec![
        figure("projects", "projects and components", facts.projects.len(), of_table("projects")),
        figure("live", "published and live", live, Vec::new()),
        figure("people", "people", facts.users.len(), of_table("users")),
        figure("connections", "data connections", facts.connections.len(), of_table("data_connections")),
        figure("tables", "warehouse tables read", tables, of_table("table_usage")),
        figure("runs", "ended runs in 30 days", ended as usize, of_days(&|i| Some(both(i)))),
        Figure {
            id: "success",
            name: "of these runs succeeded",
            kind: "share",
            value: (ended > 0.0).then(|| completed as f64 / ended),
            trend: of_days(&|i| (both(i) > 0.0).then(|| days.completed[i] as f64 / both(i))),
        },
        figure("failing", "failing schedules", failing, Vec::new()),
        figure("high", "findings of high severity", high, of_severity("high")),
    ]
}
