//! Cost of projects' warehouse queries, as rules see it.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use chrono::{DateTime, NaiveDate, TimeDelta, Utc};
use serde::Deserialize;

use super::Config;
use super::source::Tables;
use crate::derive::PROJECT_COST;
use crate::snapshot::Error;
use crate::snapshot::rows;
use crate::tables::{QUERY_FINGERPRINTS, QUERY_REPEATS};

/// Days that rules look back.
const MONTH: i64 = 30;
/// Days of a project's baseline that have to be known.
const LEAST_BASELINE: i64 = 14;

/// A row of `project_cost`, or several of one day and context: a large workspace has millions.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Day {
    pub project_id: String,
    pub day: NaiveDate,
    pub context: Option<String>,
    pub failures: i64,
    pub seconds: f64,
    pub failed_seconds: f64,
    pub cost: Option<f64>,
    pub failed_cost: Option<f64>,
    pub currency: Option<String>,
}

/// A row of `query_fingerprints`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Fingerprint {
    pub warehouse: Arc<str>,
    pub fingerprint: Arc<str>,
    pub project_id: Arc<str>,
    pub queries: i64,
    pub seconds: Option<f64>,
    pub last_at: Option<DateTime<Utc>>,
}

/// A row of `query_repeats`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Repeat {
    pub project_id: String,
    pub day: NaiveDate,
    pub text_hash: String,
    pub queries: i64,
    pub seconds: Option<f64>,
}

/// Unit of an amount.
#[derive(Debug, Clone, Default, PartialEq)]
pub enum Unit {
    /// Hours in the warehouse: nothing has a price.
    #[default]
    Hours,
    /// Money, of a currency.
    Money(String),
}

impl Unit {
    /// An amount in words: what queries did.
    pub fn words(&self, amount: f64) -> String {
        match self {
            Unit::Hours => format!("took {amount:.1} hours of the warehouse"),
            Unit::Money(currency) => format!("cost {amount:.2} {currency}").trim_end().to_owned(),
        }
    }

    /// The amount from which on something is costly.
    pub fn costly(&self, config: &Config) -> f64 {
        match self {
            Unit::Hours => config.costly_hours,
            Unit::Money(_) => config.costly,
        }
    }
}

/// The same query in several projects.
#[derive(Debug, Clone, PartialEq)]
pub struct Shared {
    /// Its fingerprint.
    pub fingerprint: String,
    /// Number of projects that send it.
    pub projects: usize,
    /// Number of queries.
    pub queries: i64,
    /// Hours that it took.
    pub hours: f64,
}

/// Cost of queries.
#[derive(Debug, Clone, Default)]
pub struct Spending {
    /// Days, by project.
    pub days: HashMap<String, Vec<Day>>,
    /// Queries, by fingerprint and project.
    pub fingerprints: Vec<Fingerprint>,
    /// Queries that ran again and again, by project.
    pub repeats: HashMap<String, Vec<Repeat>>,
    /// First and last day of the histories.
    pub covers: Option<(NaiveDate, NaiveDate)>,
    /// Unit of all amounts.
    pub unit: Unit,
}

impl Spending {
    /// Reads it; nothing where no query history was imported.
    ///
    /// # Errors
    /// If a table can't be read.
    pub fn load(tables: &dyn Tables) -> Result<Self, Error> {
        let open = |table| tables.open(table, &[]);
        let mut spending = Self::default();
        rows::each(&open, &PROJECT_COST, |day| spending.add(day))?;
        let mut known: HashSet<Arc<str>> = HashSet::new();
        let mut shared = |text: &mut Arc<str>| match known.get(&**text) {
            Some(same) => *text = same.clone(),
            None => drop(known.insert(text.clone())),
        };
        rows::each(&open, &QUERY_FINGERPRINTS, |mut query: Fingerprint| {
            for text in [&mut query.warehouse, &mut query.fingerprint, &mut query.project_id] {
                shared(text);
            }
            spending.fingerprints.push(query);
        })?;
        rows::each(&open, &QUERY_REPEATS, |repeat: Repeat| {
            spending.repeats.entry(repeat.project_id.clone()).or_default().push(repeat);
        })?;
        Ok(spending)
    }

    /// Adds a row of `project_cost`. Those of a project come in the order of their days, so that rows of one day and
    /// context are next to each other, but for the users in whose names they were.
    fn add(&mut self, day: Day) {
        if let (Some(_), Unit::Hours) = (day.cost, &self.unit) {
            self.unit = Unit::Money(day.currency.clone().unwrap_or_default());
        }
        let (first, last) = self.covers.unwrap_or((day.day, day.day));
        self.covers = Some((first.min(day.day), last.max(day.day)));
        if !self.days.contains_key(&day.project_id) {
            self.days.insert(day.project_id.clone(), Vec::new());
        }
        let Some(days) = self.days.get_mut(&day.project_id) else { return };
        let mut of_day = days.iter_mut().rev().take_while(|known| known.day == day.day);
        match of_day.find(|known| known.context == day.context) {
            None => days.push(day),
            Some(known) => {
                let plus = |a: Option<f64>, b: Option<f64>| a.into_iter().chain(b).reduce(|a, b| a + b);
                known.failures += day.failures;
                known.seconds += day.seconds;
                known.failed_seconds += day.failed_seconds;
                known.cost = plus(known.cost, day.cost);
                known.failed_cost = plus(known.failed_cost, day.failed_cost);
            }
        }
    }

    /// That of these rows.
    pub fn of(days: Vec<Day>, fingerprints: Vec<Fingerprint>) -> Self {
        let mut spending = Self { fingerprints, ..Self::default() };
        days.into_iter().for_each(|day| spending.add(day));
        spending
    }

    fn amount(&self, day: &Day) -> f64 {
        match self.unit {
            Unit::Hours => day.seconds / 3600.0,
            Unit::Money(_) => day.cost.unwrap_or(0.0),
        }
    }

    fn failed(&self, day: &Day) -> f64 {
        match self.unit {
            Unit::Hours => day.failed_seconds / 3600.0,
            Unit::Money(_) => day.failed_cost.unwrap_or(0.0),
        }
    }

    /// The days of a project in the last 30 of the histories.
    fn month(&self, project: &str) -> impl Iterator<Item = &Day> {
        let from = self.covers.map(|(_, last)| last - TimeDelta::days(MONTH - 1));
        let days = self.days.get(project).into_iter().flatten();
        days.filter(move |day| from.is_some_and(|from| day.day >= from))
    }

    /// Cost of a project's scheduled runs in 30 days.
    pub fn scheduled(&self, project: &str) -> f64 {
        let is_scheduled =
            |day: &&Day| day.context.as_ref().is_some_and(|c| c.to_uppercase().contains("SCHEDULED"));
        self.month(project).filter(is_scheduled).map(|day| self.amount(day)).sum()
    }

    /// Failed queries of a project in 30 days, and what they cost.
    pub fn failures(&self, project: &str) -> (i64, f64) {
        self.month(project).fold((0, 0.0), |(n, cost), day| (n + day.failures, cost + self.failed(day)))
    }

    /// Cost of a project in the last 7 days of the histories, and in a usual week of the 28 before; `None` where
    /// too few of these are known, or it cost nothing then.
    pub fn weeks(&self, project: &str) -> Option<(f64, f64)> {
        let (first, last) = self.covers?;
        let (recent, before) = (last - TimeDelta::days(6), last - TimeDelta::days(34));
        let known = (recent - first.max(before)).num_days();
        if known < LEAST_BASELINE {
            return None;
        }
        let sum = |is: &dyn Fn(NaiveDate) -> bool| -> f64 {
            let days = self.days.get(project).into_iter().flatten();
            days.filter(|day| is(day.day)).map(|day| self.amount(day)).sum()
        };
        let usual = sum(&|day| day >= before && day < recent) / known as f64 * 7.0;
        (usual > 0.0).then(|| (sum(&|day| day >= recent), usual))
    }

    /// Queries that several projects sent in the last 30 days, by fingerprint.
    pub fn shared(&self) -> Vec<Shared> {
        let last = self.fingerprints.iter().filter_map(|query| query.last_at).max();
        let mut shared: BTreeMap<(&str, &str), (HashSet<&str>, i64, f64)> = BTreeMap::new();
        for query in &self.fingerprints {
            let is_recent =
                last.zip(query.last_at).is_some_and(|(last, at)| last - at < TimeDelta::days(MONTH));
            if !is_recent || query.project_id.is_empty() {
                continue;
            }
            let (projects, queries, hours) =
                shared.entry((&query.warehouse, &query.fingerprint)).or_default();
            projects.insert(&query.project_id);
            *queries += query.queries;
            *hours += query.seconds.unwrap_or(0.0) / 3600.0;
        }
        let of =
            |((_, fingerprint), (projects, queries, hours)): ((&str, &str), (HashSet<&str>, i64, f64))| {
                Shared { fingerprint: fingerprint.to_owned(), projects: projects.len(), queries, hours }
            };
        shared.into_iter().map(of).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_are_added_up_over_users_and_stay_apart_by_context() {
        let day = |at: u32, context: &str, seconds: f64, cost: Option<f64>| Day {
            project_id: "p".into(),
            day: NaiveDate::from_ymd_opt(2026, 11, at).unwrap(),
            context: Some(context.into()),
            failures: 1,
            seconds,
            cost,
            currency: cost.map(|_| "EUR".into()),
            ..Day::default()
        };
        let rows = vec![
            day(1, "LOGIC", 1.0, None),
            day(1, "LOGIC", 2.0, Some(3.0)),
            day(1, "SCHEDULED_RUN", 4.0, None),
            day(1, "LOGIC", 8.0, Some(5.0)),
            day(2, "LOGIC", 16.0, None),
        ];
        let spending = Spending::of(rows, Vec::new());
        let days: Vec<_> =
            spending.days["p"].iter().map(|d| (d.day.to_string(), d.failures, d.seconds, d.cost)).collect();
        let expected = [
            ("2026-11-01".to_owned(), 3, 11.0, Some(8.0)),
            ("2026-11-01".to_owned(), 1, 4.0, None),
            ("2026-11-02".to_owned(), 1, 16.0, None),
        ];
        assert_eq!(days, expected);
        assert_eq!(spending.unit, Unit::Money("EUR".into()));
        assert_eq!(spending.covers.map(|(a, b)| (b - a).num_days()), Some(1));
    }
}
