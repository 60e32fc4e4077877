//! Usage and cost of projects' queries, from an imported query history.

use std::collections::BTreeMap;

use chrono::{NaiveDate, TimeDelta};
use serde::{Deserialize, Serialize};

use super::Places;
use crate::derive::PROJECT_COST;
use crate::snapshot::Error;
use crate::snapshot::rows::{self, Open};

/// Days before the last one of the query history that are added up.
const WINDOW: i64 = 30;

/// Usage of projects' queries over a span of days.
#[derive(Serialize)]
pub(super) struct Costs {
    since: NaiveDate,
    until: NaiveDate,
    /// Currency of the prices; none where nothing has one.
    currency: Option<String>,
    projects: Vec<Cost>,
}

/// Usage of one project's queries.
#[derive(Default, Serialize)]
struct Cost {
    project: usize,
    queries: i64,
    failures: i64,
    hours: f64,
    /// Of these, of scheduled runs.
    scheduled_hours: f64,
    credits: f64,
    cost: Option<f64>,
}

/// A row of `project_cost`.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Day {
    project_id: String,
    day: NaiveDate,
    context: Option<String>,
    queries: i64,
    failures: i64,
    seconds: f64,
    credits: f64,
    cost: Option<f64>,
    currency: Option<String>,
}

/// Adds them up, the most expensive first; `None` where no query history was imported.
pub(super) fn costs(open: &Open<'_>, places: &Places) -> Result<Option<Costs>, Error> {
    let days: Vec<Day> = rows::all(open, &PROJECT_COST)?;
    let Some(until) = days.iter().map(|day| day.day).max() else { return Ok(None) };
    let since = until - TimeDelta::days(WINDOW - 1);
    let mut currency = None;
    let mut projects: BTreeMap<usize, Cost> = BTreeMap::new();
    for day in days.into_iter().filter(|day| day.day >= since) {
        let Some(project) = places.get(&*day.project_id) else { continue };
        let of = projects.entry(*project).or_insert_with(|| Cost { project: *project, ..Cost::default() });
        of.queries += day.queries;
        of.failures += day.failures;
        of.hours += day.seconds / 3_600.0;
        if day.context.as_deref() == Some("SCHEDULED_RUN") {
            of.scheduled_hours += day.seconds / 3_600.0;
        }
        of.credits += day.credits;
        if let Some(cost) = day.cost {
            *of.cost.get_or_insert_default() += cost;
        }
        currency = currency.or(day.currency);
    }
    let mut projects: Vec<Cost> = projects.into_values().collect();
    let rank = |cost: &Cost| (cost.cost.unwrap_or(0.0), cost.credits, cost.hours);
    projects.sort_by(|a, b| rank(b).partial_cmp(&rank(a)).unwrap_or(std::cmp::Ordering::Equal));
    Ok(Some(Costs { since, until, currency, projects }))
}
