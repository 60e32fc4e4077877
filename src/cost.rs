//! Answers about cost from committed snapshots: which projects, owners, schedules, cells, tables, users and runs used
//! what, and what it cost.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{Date32Type, Int64Type, TimestampMicrosecondType};
use chrono::{DateTime, NaiveDate, SecondsFormat, TimeDelta, Utc};
use serde_json::{Value, json};

use crate::derive::RUN_COST;
use crate::derive::prices::{Config, Spent, Usage};
use crate::schema::Table;
use crate::snapshot::{Error, Lake, Manifest, TableReader};
use crate::tables::{
    CELLS, EXECUTED_TABLES, HISTORY_DAYS, PROJECT_SCHEDULES, PROJECTS, QUERY_DAYS, QUERY_RUNS,
};

/// Dimension that costs are grouped by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum By {
    /// Project
    Project,
    /// Owner of the projects
    Owner,
    /// Project, of what its schedules ran alone, with the views of its app
    Schedule,
    /// Cell
    Cell,
    /// Warehouse table; a query counts for each table that it reads or writes
    Table,
    /// User that the queries were sent for
    User,
    /// Run
    Run,
}

impl By {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            By::Project => "project",
            By::Owner => "owner",
            By::Schedule => "schedule",
            By::Cell => "cell",
            By::Table => "table",
            By::User => "user",
            By::Run => "run",
        }
    }

    /// Columns that say what a line is of.
    pub fn labels(self) -> &'static [&'static str] {
        match self {
            By::Project => &["project", "owner", "views", "project_id"],
            By::Owner => &["owner", "projects"],
            By::Schedule => &["project", "owner", "cadence", "views", "last_viewed", "project_id"],
            By::Cell => &["project", "cell", "project_id", "cell_id"],
            By::Table => &["connection", "table", "projects"],
            By::User => &["user", "projects"],
            By::Run => &["project", "trigger", "started", "joined_by", "project_id", "run_id"],
        }
    }
}

/// Usage and cost of a group of queries.
#[derive(Debug, Clone, PartialEq)]
pub struct Line {
    /// Values of the dimension, in the order of [`By::labels`].
    pub labels: Vec<Value>,
    /// Usage.
    pub spent: Spent,
}

/// Share of usage that belongs to known runs.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Joined {
    /// Queries that belong to a run by its trace id.
    pub by_trace: i64,
    /// Queries that belong to the only run of their project then.
    pub by_time: i64,
    /// Queries of which no run is known.
    pub unknown: i64,
}

/// An answer.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
    /// Lines, the most expensive first.
    pub lines: Vec<Line>,
    /// Currency; none if nothing has a price.
    pub currency: Option<String>,
    /// Share of usage that belongs to known runs; none if the snapshot doesn't have it.
    pub joined: Option<Joined>,
    /// First and last day of the query histories.
    pub covers: Option<(NaiveDate, NaiveDate)>,
}

/// A snapshot and the prices.
struct Source<'a> {
    lake: &'a Lake,
    manifest: &'a Manifest,
    prices: &'a Config,
    since: Option<NaiveDate>,
}

/// Adds up what queries used since a day; `None` if no query history was imported.
///
/// # Errors
/// If the snapshot can't be read.
pub fn find(
    lake: &Lake,
    manifest: &Manifest,
    by: By,
    since: Option<NaiveDate>,
    prices: &Config,
) -> Result<Option<Answer>, Error> {
    if !manifest.holds_whole(QUERY_DAYS.name) {
        return Ok(None);
    }
    let source = Source { lake, manifest, prices, since };
    let mut lines = match by {
        By::Table => source.tables()?,
        By::Run => source.runs()?,
        by => source.days(by)?,
    };
    let has_credits = lines.iter().any(|line| line.spent.usage.credits > 0.0);
    let rank = |spent: &Spent| match prices.is_empty() {
        false => spent.cost.unwrap_or(0.0),
        true if has_credits => spent.usage.credits,
        true => spent.usage.seconds,
    };
    lines.sort_by(|a, b| {
        let by_rank = rank(&b.spent).total_cmp(&rank(&a.spent));
        let by_time = b.spent.usage.seconds.total_cmp(&a.spent.usage.seconds);
        by_rank.then(by_time).then_with(|| words(&a.labels).cmp(&words(&b.labels)))
    });
    let currency = prices.currency.clone().filter(|_| !prices.is_empty());
    Ok(Some(Answer { lines, currency, joined: source.joined()?, covers: source.covers()? }))
}

fn words(labels: &[Value]) -> String {
    labels.iter().map(Value::to_string).collect::<Vec<_>>().join(" ")
}

/// A project, as far as lines name it.
#[derive(Default)]
struct Project {
    title: Option<String>,
    owner: Option<String>,
    views: Option<i64>,
    last_viewed: Option<i64>,
}

impl Source<'_> {
    fn open(&self, table: &'static Table) -> Result<impl Iterator<Item = Result<RecordBatch, Error>>, Error> {
        Ok(TableReader::open(self.lake, self.manifest, table)?.into_iter().flatten())
    }

    fn projects(&self) -> Result<HashMap<String, Project>, Error> {
        let mut projects = HashMap::new();
        for batch in self.open(&PROJECTS)? {
            let batch = batch?;
            let views = batch.column_by_name("app_views_last_30_days").map(|c| c.as_primitive::<Int64Type>());
            for row in 0..batch.num_rows() {
                let project = Project {
                    title: text(&batch, "title", row),
                    owner: text(&batch, "owner_email", row),
                    views: views.filter(|views| views.is_valid(row)).map(|views| views.value(row)),
                    last_viewed: time(&batch, "last_viewed_at", row),
                };
                projects.insert(text(&batch, "project_id", row).unwrap_or_default(), project);
            }
        }
        Ok(projects)
    }

    /// Cadences of the schedules that are enabled, by project.
    fn cadences(&self) -> Result<HashMap<String, String>, Error> {
        let mut cadences: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for batch in self.open(&PROJECT_SCHEDULES)? {
            let batch = batch?;
            let enabled = batch.column_by_name("enabled").map(|column| column.as_boolean());
            for row in 0..batch.num_rows() {
                let runs = enabled.is_some_and(|enabled| enabled.is_valid(row) && enabled.value(row));
                if let (true, Some(project)) = (runs, text(&batch, "project_id", row)) {
                    let cadence = text(&batch, "cadence", row).unwrap_or_default().to_lowercase();
                    cadences.entry(project).or_default().push(cadence);
                }
            }
        }
        Ok(cadences.into_iter().map(|(project, all)| (project, all.join(", "))).collect())
    }

    /// Labels of cells, by project and any of a cell's identifiers.
    fn cells(&self) -> Result<HashMap<(String, String), String>, Error> {
        let mut cells = HashMap::new();
        for batch in self.open(&CELLS)? {
            let batch = batch?;
            for row in 0..batch.num_rows() {
                let (Some(project), Some(label)) =
                    (text(&batch, "project_id", row), text(&batch, "label", row))
                else {
                    continue;
                };
                for id in ["cell_id", "static_id"].iter().filter_map(|name| text(&batch, name, row)) {
                    cells.insert((project.clone(), id.to_lowercase()), label.clone());
                }
            }
        }
        Ok(cells)
    }

    fn is_wanted(&self, day: NaiveDate) -> bool {
        self.since.is_none_or(|since| day >= since)
    }

    fn cost(&self, batch: &RecordBatch, row: usize, usage: &Usage) -> Option<f64> {
        let (warehouse, connection) = (text(batch, "warehouse", row), text(batch, "connection_name", row));
        self.prices.cost(warehouse.as_deref().unwrap_or(""), connection.as_deref(), usage)
    }

    fn days(&self, by: By) -> Result<Vec<Line>, Error> {
        let projects = self.projects()?;
        let none = Project::default();
        let mut groups: BTreeMap<(String, String), (Spent, BTreeSet<String>)> = BTreeMap::new();
        for batch in self.open(&QUERY_DAYS)? {
            let batch = batch?;
            for row in 0..batch.num_rows() {
                let text = |name: &str| text(&batch, name, row);
                let is_scheduled = text("context").is_some_and(|c| c.to_uppercase().contains("SCHEDULED"));
                if !day(&batch, "day", row).is_some_and(|day| self.is_wanted(day))
                    || (by == By::Schedule && !is_scheduled)
                {
                    continue;
                }
                let project = text("project_id").unwrap_or_default();
                let key = match by {
                    By::Owner => (
                        projects.get(&project).and_then(|p| p.owner.clone()).unwrap_or_default(),
                        String::new(),
                    ),
                    By::User => (text("user_email").unwrap_or_default(), String::new()),
                    By::Cell => match text("cell_id") {
                        Some(cell) => (project.clone(), cell),
                        None => continue,
                    },
                    _ => (project.clone(), String::new()),
                };
                let usage = Usage::at(&batch, row);
                let (spent, of) = groups.entry(key).or_default();
                spent.add(usage, self.cost(&batch, row, &usage), text("outcome").as_deref().unwrap_or(""));
                of.insert(project);
            }
        }
        let cadences = if by == By::Schedule { self.cadences()? } else { HashMap::new() };
        let cells = if by == By::Cell { self.cells()? } else { HashMap::new() };
        let line = |((first, second), (spent, of)): ((String, String), (Spent, BTreeSet<String>))| {
            let project = projects.get(&first).unwrap_or(&none);
            let title = json!(project.title);
            let viewed = project.last_viewed.and_then(DateTime::from_timestamp_micros);
            let labels = match by {
                By::Project => vec![title, json!(project.owner), json!(project.views), json!(first)],
                By::Schedule => vec![
                    title,
                    json!(project.owner),
                    json!(cadences.get(&first)),
                    json!(project.views),
                    json!(viewed.map(|at| at.format("%Y-%m-%d").to_string())),
                    json!(first),
                ],
                By::Cell => {
                    let label = cells.get(&(first.clone(), second.clone()));
                    vec![title, json!(label), json!(first), json!(second)]
                }
                _ => vec![json!(Some(first).filter(|name| !name.is_empty())), json!(of.len())],
            };
            Line { labels, spent }
        };
        Ok(groups.into_iter().map(line).collect())
    }

    fn tables(&self) -> Result<Vec<Line>, Error> {
        let mut groups: BTreeMap<(Option<String>, String), (Spent, BTreeSet<String>)> = BTreeMap::new();
        for batch in self.open(&EXECUTED_TABLES)? {
            let batch = batch?;
            for row in 0..batch.num_rows() {
                if !day(&batch, "day", row).is_some_and(|day| self.is_wanted(day)) {
                    continue;
                }
                let text = |name: &str| text(&batch, name, row);
                let usage = Usage::at(&batch, row);
                let key = (text("connection_name"), text("table_key").unwrap_or_default());
                let (spent, of) = groups.entry(key).or_default();
                spent.add(usage, self.cost(&batch, row, &usage), "");
                of.extend(text("project_id"));
            }
        }
        let line = |((connection, table), (spent, of)): (_, (Spent, BTreeSet<String>))| {
            let connection: Option<String> = connection;
            let table: String = table;
            Line { labels: vec![json!(connection), json!(table), json!(of.len())], spent }
        };
        Ok(groups.into_iter().map(line).collect())
    }

    fn runs(&self) -> Result<Vec<Line>, Error> {
        let projects = self.projects()?;
        // Costs by today's prices: the run that queries belong to is that of the derived table.
        type Run = (Option<String>, Option<String>, Option<String>);
        let mut of_group: HashMap<(String, String), Run> = HashMap::new();
        for batch in self.open(&RUN_COST)? {
            let batch = batch?;
            for row in 0..batch.num_rows() {
                let text = |name: &str| text(&batch, name, row);
                let key = (text("project_id").unwrap_or_default(), text("group_id").unwrap_or_default());
                of_group.insert(key, (text("run_id"), text("run_trigger"), text("joined_by")));
            }
        }
        type Group = (Spent, i64, Option<String>, Option<String>);
        let mut groups: BTreeMap<(String, Option<String>, String), Group> = BTreeMap::new();
        for batch in self.open(&QUERY_RUNS)? {
            let batch = batch?;
            for row in 0..batch.num_rows() {
                let first = time(&batch, "first_at", row).unwrap_or_default();
                let started = DateTime::from_timestamp_micros(first).unwrap_or_default();
                if !self.is_wanted(started.date_naive()) {
                    continue;
                }
                let text = |name: &str| text(&batch, name, row);
                let project = text("project_id").unwrap_or_default();
                let group = text("group_id").unwrap_or_default();
                let found = of_group.get(&(project.clone(), group.clone())).cloned();
                let (run, trigger, by) = found.unwrap_or_default();
                let rest = if run.is_some() { String::new() } else { group };
                let usage = Usage::at(&batch, row);
                let cost = self.cost(&batch, row, &usage);
                let failures =
                    batch.column_by_name("failures").map(|c| c.as_primitive::<Int64Type>().value(row));
                let entry =
                    groups.entry((project, run, rest)).or_insert((Spent::default(), first, trigger, by));
                entry.0.add(usage, cost, "");
                entry.0.failures += failures.unwrap_or(0);
                entry.1 = entry.1.min(first);
            }
        }
        let line =
            |((project, run, _), (spent, first, trigger, by)): ((String, Option<String>, String), Group)| {
                let title = projects.get(&project).and_then(|p| p.title.clone());
                let started = DateTime::from_timestamp_micros(first).unwrap_or_default();
                let started = started.to_rfc3339_opts(SecondsFormat::Secs, true);
                let labels =
                    vec![json!(title), json!(trigger), json!(started), json!(by), json!(project), json!(run)];
                Line { labels, spent }
            };
        Ok(groups.into_iter().map(line).collect())
    }

    fn joined(&self) -> Result<Option<Joined>, Error> {
        if !self.manifest.holds_whole(RUN_COST.name) {
            return Ok(None);
        }
        let mut joined = Joined::default();
        for batch in self.open(&RUN_COST)? {
            let batch = batch?;
            let queries = batch.column_by_name("queries").expect("a column of the table");
            let queries = queries.as_primitive::<Int64Type>();
            for row in 0..batch.num_rows() {
                let at = time(&batch, "last_at", row).and_then(DateTime::from_timestamp_micros);
                if !at.is_some_and(|at: DateTime<Utc>| self.is_wanted(at.date_naive())) {
                    continue;
                }
                *match text(&batch, "joined_by", row).as_deref() {
                    Some("trace") => &mut joined.by_trace,
                    Some(_) => &mut joined.by_time,
                    None => &mut joined.unknown,
                } += queries.value(row);
            }
        }
        Ok(Some(joined))
    }

    fn covers(&self) -> Result<Option<(NaiveDate, NaiveDate)>, Error> {
        let mut covers: Option<(NaiveDate, NaiveDate)> = None;
        for batch in self.open(&HISTORY_DAYS)? {
            let batch = batch?;
            for day in (0..batch.num_rows()).filter_map(|row| day(&batch, "day", row)) {
                let (first, last) = covers.unwrap_or((day, day));
                covers = Some((first.min(day), last.max(day)));
            }
        }
        Ok(covers)
    }
}

fn text(batch: &RecordBatch, column: &str, row: usize) -> Option<String> {
    let column = batch.column_by_name(column).expect("a column of the table").as_string::<i32>();
    column.is_valid(row).then(|| column.value(row).to_owned())
}

fn time(batch: &RecordBatch, column: &str, row: usize) -> Option<i64> {
    let column = batch.column_by_name(column).expect("a column of the table");
    let times = column.as_primitive::<TimestampMicrosecondType>();
    times.is_valid(row).then(|| times.value(row))
}

fn day(batch: &RecordBatch, column: &str, row: usize) -> Option<NaiveDate> {
    let column = batch.column_by_name(column).expect("a column of the table");
    let days = column.as_primitive::<Date32Type>();
    days.is_valid(row).then(|| NaiveDate::default() + TimeDelta::days(days.value(row).into()))
}
