//! One self-contained HTML page about a snapshot: charts, findings, lineage, people. It needs no network.
//!
//! The page carries its data as JSON and builds its tables and charts from it. Whatever people wrote (titles, names) is
//! only ever data: it reaches the page as text, and the page's policy runs no scripts but its own two.

mod costs;
mod covered;
mod figures;
mod grants;
mod moves;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use chrono::{DateTime, NaiveDate, TimeDelta, Utc};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::audit::{Audit, Committed, Config, Facts, OwnRule, RuleOutcome, Severity, audit};
use crate::derive::{
    CELL_CHANGES, COLUMN_LINEAGE, CONNECTION_USAGE, RUN_DAILY, RUN_STATS, TABLE_USAGE, USER_ACTIVITY,
};
use crate::snapshot::rows::{self, Open};
use crate::snapshot::{Lake, Manifest, TableReader};
use crate::tables::{AUDIT_FINDINGS, PROJECT_SHARING, USERS};
use costs::{Costs, costs};
use covered::NotCovered;
use figures::figures;
use grants::grants;
use moves::changes;

pub use crate::audit::Error;

const PAGE: &str = include_str!("assets/page.html");
const STYLE: &str = include_str!("assets/page.css");
const SCRIPT: &str = include_str!("assets/page.js");
const LIBRARY: &str = include_str!("assets/echarts.min.js");

/// Maximum number of snapshots in the trend.
const TREND: usize = 60;
/// Days of the series of one project.
const SERIES_DAYS: i64 = 90;
/// Maximum number of projects with their own series: those with the longest total run time.
const SERIES_PROJECTS: usize = 300;
/// Maximum number of findings per rule on the page.
const FINDINGS_PER_RULE: usize = 400;
/// Maximum number of columns per project and table on the page.
const COLUMNS_PER_EDGE: usize = 25;
const SEVERITIES: [Severity; 4] = [Severity::High, Severity::Medium, Severity::Low, Severity::Info];

#[derive(Serialize)]
struct Data {
    snapshot: Snapshot,
    /// Base address of projects' pages.
    pages: Option<String>,
    figures: Vec<Figure>,
    trend: Trend,
    rules: Vec<RuleOutcome>,
    findings: Vec<Line>,
    not_covered: NotCovered,
    /// Texts that many rows share: owners, principals, columns.
    texts: Vec<String>,
    projects: Vec<Project>,
    tables: Vec<TableUsage>,
    connections: Vec<ConnectionUsage>,
    /// Place of the table, place of the project, place of the evidence, places of the columns' names.
    edges: Vec<(usize, usize, usize, Vec<usize>)>,
    /// Grants: place of the project, of the kind of principal, of the principal, of the level of access.
    grants: Vec<(usize, usize, usize, usize)>,
    /// Changes of cells.
    changes: Vec<moves::Change>,
    /// Whether there are readings that cells were compared with.
    changes_since: bool,
    evidence: Vec<String>,
    days: Days,
    series: Vec<Series>,
    stats: Vec<Stats>,
    people: Vec<Person>,
    /// Whether the users were read, so that anybody missing from them has left.
    users_known: bool,
    roles: BTreeMap<String, usize>,
    access: BTreeMap<&'static str, usize>,
    /// Usage and cost of queries; none where no query history was imported.
    costs: Option<Costs>,
}

/// A finding: place of the rule, of the severity, of the project, name of what isn't a project, place of the owner,
/// evidence, since when.
#[derive(Serialize)]
struct Line(usize, usize, Option<usize>, Option<String>, Option<usize>, String, Option<NaiveDate>);

/// Places of the projects, by their identifiers.
type Places = HashMap<Arc<str>, usize>;

/// Texts by their places.
#[derive(Default)]
struct Texts {
    places: HashMap<String, usize>,
    texts: Vec<String>,
}

impl Texts {
    fn place(&mut self, text: &str) -> usize {
        if let Some(place) = self.places.get(text) {
            return *place;
        }
        let place = self.texts.len();
        self.texts.push(text.to_owned());
        self.places.insert(text.to_owned(), place);
        place
    }
}

#[derive(Serialize)]
struct Snapshot {
    id: String,
    complete: bool,
    workspace: String,
}

#[derive(Serialize)]
struct Figure {
    id: &'static str,
    name: &'static str,
    kind: &'static str,
    value: Option<f64>,
    trend: Vec<Option<f64>>,
}

#[derive(Serialize, Default)]
struct Trend {
    snapshots: Vec<DateTime<Utc>>,
    findings: BTreeMap<&'static str, Vec<u64>>,
    #[serde(skip)]
    rows: Vec<BTreeMap<String, u64>>,
}

#[derive(Serialize)]
struct Project {
    id: String,
    title: String,
    owner: Option<usize>,
    state: &'static str,
    views: Option<i64>,
    last_run: Option<NaiveDate>,
}

#[derive(Serialize, Default)]
struct Days {
    day: Vec<NaiveDate>,
    completed: Vec<i64>,
    failed: Vec<i64>,
    mean: Vec<Option<f64>>,
    longest: Vec<Option<f64>>,
}

#[derive(Serialize)]
struct Series {
    project: usize,
    day: Vec<NaiveDate>,
    mean: Vec<Option<f64>>,
    failed: Vec<i64>,
}

#[derive(Serialize)]
struct Stats {
    project: usize,
    runs: i64,
    success: Option<f64>,
    p50: Option<f64>,
    p95: Option<f64>,
    longest: Option<f64>,
    streak: i64,
}

/// A row of `table_usage`, under the names that the page has for its columns.
#[derive(Serialize, Deserialize, Default)]
#[serde(default)]
struct TableUsage {
    #[serde(rename(deserialize = "table_key"))]
    key: String,
    #[serde(skip_serializing)]
    data_connection_id: Option<String>,
    #[serde(skip_deserializing)]
    connection: Option<usize>,
    projects: i64,
    columns: i64,
    #[serde(rename(deserialize = "app_views_last_30_days"))]
    views: i64,
    #[serde(rename(deserialize = "runs_last_30_days"))]
    runs: i64,
}

/// A row of `connection_usage`.
#[derive(Serialize, Deserialize, Default)]
#[serde(default)]
struct ConnectionUsage {
    #[serde(skip_serializing)]
    data_connection_id: String,
    name: Option<String>,
    #[serde(rename = "type")]
    kind: Option<String>,
    projects: i64,
    tables: i64,
    #[serde(rename(deserialize = "sql_cells"))]
    cells: i64,
    #[serde(rename(deserialize = "runs_last_30_days"))]
    runs: i64,
    #[serde(rename(deserialize = "last_run_at"))]
    last_run: Option<DateTime<Utc>>,
}

/// A row of `user_activity`.
#[derive(Serialize, Deserialize, Default)]
#[serde(default)]
struct Person {
    email: String,
    name: Option<String>,
    role: Option<String>,
    #[serde(rename(deserialize = "is_active_user"))]
    active: bool,
    #[serde(rename(deserialize = "last_login_at"))]
    last_login: Option<DateTime<Utc>>,
    #[serde(rename(deserialize = "projects_owned"))]
    owned: i64,
    #[serde(rename(deserialize = "published_owned"))]
    published: i64,
    #[serde(rename(deserialize = "app_views_last_30_days"))]
    views: i64,
    #[serde(rename(deserialize = "runs_last_30_days"))]
    runs: i64,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct StatsRow {
    project_id: String,
    run_trigger: String,
    runs: i64,
    success_rate: Option<f64>,
    p50_seconds: Option<f64>,
    p95_seconds: Option<f64>,
    max_seconds: Option<f64>,
    failure_streak: i64,
    last_run_at: Option<DateTime<Utc>>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct DailyRow {
    project_id: String,
    day: NaiveDate,
    runs: i64,
    completed: i64,
    failed: i64,
    total_seconds: Option<f64>,
    max_seconds: Option<f64>,
}

/// Adds a row, to the one before if only their triggers differ.
fn of_any_trigger(mut rows: Vec<DailyRow>, row: DailyRow) -> Vec<DailyRow> {
    if let Some(day) = rows.last_mut().filter(|d| d.day == row.day && d.project_id == row.project_id) {
        (day.runs, day.failed) = (day.runs + row.runs, day.failed + row.failed);
        day.completed += row.completed;
        day.total_seconds = Some(day.total_seconds.unwrap_or(0.0) + row.total_seconds.unwrap_or(0.0));
        day.max_seconds = [day.max_seconds, row.max_seconds].into_iter().flatten().reduce(f64::max);
        return rows;
    }
    rows.push(row);
    rows
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct SeverityRow {
    severity: String,
    status: Option<String>,
}

/// The page about a snapshot.
///
/// # Errors
/// If a snapshot can't be read, or one of the user's own rules can't be run.
pub fn page(lake: &Lake, manifest: &Manifest, config: &Config, own: &[OwnRule]) -> Result<String, Error> {
    let data = collect(lake, manifest, config, own)?;
    let json = serde_json::to_string(&data).unwrap_or_default();
    // Without any `<`, nothing in it can end the script element.
    let json = json.replace('<', "\\u003c");
    let hash = |script: &str| format!("'sha256-{}'", BASE64_STANDARD.encode(Sha256::digest(script)));
    let policy = format!(
        "default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src {} {}",
        hash(LIBRARY),
        hash(SCRIPT)
    );
    // Split at the placeholders, so that inserted text isn't scanned again.
    let mut page = String::with_capacity(json.len() + LIBRARY.len() + 64_000);
    for piece in PAGE.split("{{") {
        let Some((name, rest)) = piece.split_once("}}") else {
            page += piece;
            continue;
        };
        page += match name {
            "policy" => &policy,
            "style" => STYLE,
            "data" => &json,
            "library" => LIBRARY,
            "script" => SCRIPT,
            other => unreachable!("page.html names no part {other}"),
        };
        page += rest;
    }
    Ok(page)
}

fn collect(lake: &Lake, manifest: &Manifest, config: &Config, own: &[OwnRule]) -> Result<Data, Error> {
    let open = |table| TableReader::open(lake, manifest, table);
    let tables = Committed { lake, manifest };
    let facts = Facts::load(&tables, manifest.snapshot_at, &manifest.workspace, config)?;
    let found = audit(lake, manifest, config, own)?;
    let mut texts = Texts::default();
    let stats: Vec<StatsRow> = rows::all(&open, &RUN_STATS)?;
    let last_runs: HashMap<&str, Option<DateTime<Utc>>> = stats
        .iter()
        .filter(|row| row.run_trigger == "ALL")
        .map(|row| (row.project_id.as_str(), row.last_run_at))
        .collect();
    let places: Places = facts.projects.iter().enumerate().map(|(i, p)| (p.project_id.clone(), i)).collect();
    let projects = facts.projects.iter().map(|p| Project {
        id: p.project_id.to_string(),
        title: p.title.to_string(),
        owner: p.owner_email.as_deref().map(|owner| texts.place(owner)),
        state: match (p.trashed_at.is_some(), p.archived_at.is_some(), p.last_published_at.is_some()) {
            (true, _, _) => "trashed",
            (_, true, _) => "archived",
            (_, _, true) => "published",
            _ => "draft",
        },
        views: p.app_views_last_30_days,
        last_run: last_runs.get(&*p.project_id).copied().flatten().map(|at| at.date_naive()),
    });
    let projects: Vec<Project> = projects.collect();
    let connections: Vec<ConnectionUsage> = rows::all(&open, &CONNECTION_USAGE)?;
    let by_connection: HashMap<&str, usize> =
        connections.iter().enumerate().map(|(i, c)| (c.data_connection_id.as_str(), i)).collect();
    let mut tables: Vec<TableUsage> = rows::all(&open, &TABLE_USAGE)?;
    for table in &mut tables {
        let id = table.data_connection_id.as_deref().unwrap_or("");
        table.connection = by_connection.get(id).copied();
    }
    let by_table: HashMap<(Option<&str>, &str), usize> = tables
        .iter()
        .enumerate()
        .map(|(i, t)| ((t.data_connection_id.as_deref(), t.key.as_str()), i))
        .collect();
    let mut evidence = Vec::new();
    let edges = facts.lineage.iter().filter(|edge| edge.is_read).filter_map(|edge| {
        let table = by_table.get(&(edge.table.data_connection_id.as_deref(), &*edge.table.table_key))?;
        let project = *places.get(edge.project_id)?;
        let known = evidence.iter().position(|kinds| *kinds == edge.evidence);
        let place = known.unwrap_or_else(|| {
            evidence.push(edge.evidence);
            evidence.len() - 1
        });
        Some((*table, project, place, Vec::new()))
    });
    let mut edges: Vec<_> = edges.collect();
    add_columns(&open, &mut edges, &by_table, &places, &mut texts)?;
    let grants = grants(&open, &places, &mut texts)?;
    let changes = changes(&facts, &places, &mut texts);
    let changes_since = manifest.tables.get(CELL_CHANGES.name).is_some_and(|table| table.base.is_some());
    let (lines, left_out) = lines(&found, &places, &mut texts);
    let not_covered = NotCovered::of(manifest, &facts, &found, left_out);
    let (days, series) = daily(&open, manifest.snapshot_at.date_naive(), &places)?;
    let trend = trend(lake, manifest)?;
    let mut roles: BTreeMap<String, usize> = BTreeMap::new();
    for user in &facts.users {
        *roles.entry(user.role.clone()).or_default() += 1;
    }
    let workspace = &manifest.workspace;
    let pages = facts.pages.as_deref().map(str::to_owned);
    Ok(Data {
        snapshot: Snapshot {
            id: manifest.snapshot_id.to_string(),
            complete: manifest.complete,
            workspace: workspace_name(&workspace.base_url, workspace.org_id.as_deref()),
        },
        pages,
        figures: figures(&facts, &found, &days, &trend, tables.len(), manifest.snapshot_at.date_naive()),
        trend,
        rules: found.rules,
        findings: lines,
        not_covered,
        edges,
        grants,
        changes,
        changes_since,
        evidence: evidence.iter().map(ToString::to_string).collect(),
        days,
        series,
        stats: stats
            .into_iter()
            .filter(|row| row.run_trigger == "ALL")
            .filter_map(|row| {
                Some(Stats {
                    project: *places.get(&*row.project_id)?,
                    runs: row.runs,
                    success: row.success_rate,
                    p50: row.p50_seconds,
                    p95: row.p95_seconds,
                    longest: row.max_seconds,
                    streak: row.failure_streak,
                })
            })
            .collect(),
        people: rows::all(&open, &USER_ACTIVITY)?,
        users_known: facts.evidence.gap(USERS.name).is_none(),
        roles,
        access: access(&facts),
        costs: costs(&open, &places)?,
        projects,
        tables,
        connections,
        texts: texts.texts,
    })
}

/// The workspace as people know it: its host, and the organisation.
fn workspace_name(base_url: &str, org_id: Option<&str>) -> String {
    let host = base_url.split("//").last().and_then(|rest| rest.split('/').next()).unwrap_or(base_url);
    match org_id {
        Some(org) => format!("{host}, organisation {org}"),
        None => host.to_owned(),
    }
}

/// The findings as the page has them, and what it leaves out.
fn lines(found: &Audit, places: &Places, texts: &mut Texts) -> (Vec<Line>, Vec<String>) {
    let rules: HashMap<&str, usize> =
        found.rules.iter().enumerate().map(|(i, rule)| (rule.rule.as_str(), i)).collect();
    let mut counts = vec![0; found.rules.len()];
    let mut lines = Vec::new();
    for finding in &found.findings {
        let Some(rule) = rules.get(&*finding.rule) else { continue };
        counts[*rule] += 1;
        if counts[*rule] > FINDINGS_PER_RULE {
            continue;
        }
        let project = places.get(&finding.entity_id).copied();
        lines.push(Line(
            *rule,
            SEVERITIES.iter().position(|severity| *severity == finding.severity).unwrap_or_default(),
            project,
            project.is_none().then(|| finding.entity.to_string()),
            finding.owner.as_deref().map(|owner| texts.place(owner)),
            finding.evidence.to_string(),
            finding.since.map(|at| at.date_naive()),
        ));
    }
    let mut left_out = vec![format!(
        "Charts of single projects cover the {SERIES_PROJECTS} with the longest total run time, over \
         {SERIES_DAYS} days."
    )];
    for (rule, count) in found.rules.iter().zip(counts).filter(|(_, count)| *count > FINDINGS_PER_RULE) {
        left_out.push(format!(
            "This page shows the first {FINDINGS_PER_RULE} of {count} findings of {}; hexport audit lists them all.",
            rule.rule
        ));
    }
    (lines, left_out)
}

#[derive(Deserialize)]
struct ColumnRow {
    project_id: String,
    #[serde(default)]
    data_connection_id: Option<String>,
    table_key: String,
    column_name: String,
}

/// Adds to each edge the columns that the project reads of the table.
fn add_columns(
    open: &Open<'_>,
    edges: &mut [(usize, usize, usize, Vec<usize>)],
    by_table: &HashMap<(Option<&str>, &str), usize>,
    places: &Places,
    texts: &mut Texts,
) -> Result<(), Error> {
    let of: HashMap<(usize, usize), usize> =
        edges.iter().enumerate().map(|(i, edge)| ((edge.0, edge.1), i)).collect();
    for row in rows::all::<ColumnRow>(open, &COLUMN_LINEAGE)? {
        let table = by_table.get(&(row.data_connection_id.as_deref(), row.table_key.as_str()));
        let edge =
            table.zip(places.get(&*row.project_id)).and_then(|(table, project)| of.get(&(*table, *project)));
        if let Some(edge) = edge.filter(|edge| edges[**edge].3.len() < COLUMNS_PER_EDGE) {
            edges[*edge].3.push(texts.place(&row.column_name));
        }
    }
    Ok(())
}

/// Live projects by the widest audience that can open them.
fn access(facts: &Facts) -> BTreeMap<&'static str, usize> {
    let mut access = BTreeMap::new();
    for project in facts.projects.iter().filter(|p| p.is_alive()) {
        let grants = facts.grants.get(&project.project_id);
        let is_open_to = |who: &str| grants.is_some_and(|g| g.iter().any(|g| &*g.principal_type == who));
        let circle = if facts.evidence.gap_of(&PROJECT_SHARING, &project.project_id).is_some() {
            "Unknown: sharing was not read"
        } else if is_open_to("PUBLIC_WEB") {
            "Everyone on the web"
        } else if is_open_to("WORKSPACE") {
            "The whole workspace"
        } else {
            "Named people and groups"
        };
        *access.entry(circle).or_default() += 1;
    }
    access
}

/// Runs by day, of all projects and of those with the longest total run time.
fn daily(open: &Open<'_>, today: NaiveDate, places: &Places) -> Result<(Days, Vec<Series>), Error> {
    #[derive(Default)]
    struct Day {
        runs: i64,
        completed: i64,
        failed: i64,
        seconds: f64,
        longest: Option<f64>,
    }
    let mut all: BTreeMap<NaiveDate, Day> = BTreeMap::new();
    let mut of_projects: HashMap<usize, (f64, Series)> = HashMap::new();
    let first = today - TimeDelta::days(SERIES_DAYS);
    for row in rows::all::<DailyRow>(open, &RUN_DAILY)?.into_iter().fold(Vec::new(), of_any_trigger) {
        let day = all.entry(row.day).or_default();
        day.runs += row.runs;
        day.completed += row.completed;
        day.failed += row.failed;
        day.seconds += row.total_seconds.unwrap_or(0.0);
        day.longest = [day.longest, row.max_seconds].into_iter().flatten().reduce(f64::max);
        if let Some(project) = places.get(&*row.project_id).filter(|_| row.day >= first) {
            let new = || (0.0, Series { project: *project, day: vec![], mean: vec![], failed: vec![] });
            let (seconds, series) = of_projects.entry(*project).or_insert_with(new);
            *seconds += row.total_seconds.unwrap_or(0.0);
            series.day.push(row.day);
            series.mean.push(row.total_seconds.filter(|_| row.runs > 0).map(|s| s / row.runs as f64));
            series.failed.push(row.failed);
        }
    }
    let mut days = Days::default();
    for (day, of_day) in all {
        days.day.push(day);
        days.completed.push(of_day.completed);
        days.failed.push(of_day.failed);
        days.mean.push((of_day.runs > 0).then(|| of_day.seconds / of_day.runs as f64));
        days.longest.push(of_day.longest);
    }
    let mut series: Vec<(f64, Series)> = of_projects.into_values().collect();
    series.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.project.cmp(&b.1.project)));
    series.truncate(SERIES_PROJECTS);
    Ok((days, series.into_iter().map(|(_, series)| series).collect()))
}

fn trend(lake: &Lake, manifest: &Manifest) -> Result<Trend, Error> {
    let known = lake.manifests()?;
    let up_to_now: Vec<&Manifest> =
        known.before(&manifest.snapshot_id).iter().chain(known.get(&manifest.snapshot_id)).collect();
    let mut trend = Trend::default();
    for of_then in up_to_now.iter().skip(up_to_now.len().saturating_sub(TREND)) {
        let of_then = &known.as_of(&of_then.snapshot_id).map_or_else(|| (*of_then).clone(), |n| n.manifest);
        let open = |table| TableReader::open_columns(lake, of_then, table, &["severity", "status"]);
        let is_open = |row: &SeverityRow| row.status.as_deref() != Some("excepted");
        let found: Vec<SeverityRow> = rows::some(&open, &AUDIT_FINDINGS, is_open)?;
        for severity in [Severity::High, Severity::Medium, Severity::Low, Severity::Info] {
            let count = found.iter().filter(|row| row.severity == severity.name()).count();
            trend.findings.entry(severity.name()).or_default().push(count as u64);
        }
        trend.snapshots.push(of_then.snapshot_at);
        trend.rows.push(of_then.tables.iter().map(|(name, table)| (name.clone(), table.rows)).collect());
    }
    Ok(trend)
}
