//! Impact of a warehouse change: projects, their cells, owners and viewers, and when it will first be noticed.

mod changes;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};

use super::rows::{Edge, Project, ScheduleRow};
use super::{Pages, Relation, relation::ends};
use crate::audit::Severity;
use crate::derive::names::Warehouse;
use crate::derive::{CELL_LINEAGE, LINEAGE, SQL_CELLS, SQL_COLUMNS, SQL_TABLES};
use crate::snapshot::{self, Lake, Manifest, SnapshotId, TableReader, rows};
use crate::tables::{CELLS, PROJECT_SCHEDULES, PROJECTS};

pub use changes::{Change, Kind, Naming, SqlError, of_catalogs, of_manifests, of_sql};

/// Time to look ahead for the next scheduled run.
const HORIZON: TimeDelta = TimeDelta::days(366);

/// Tables that the answer rests on, the one that it can't do without first.
pub const TABLES: [&str; 8] = [
    "lineage",
    "projects",
    "sql_tables",
    "sql_columns",
    "sql_cells",
    "cells",
    "cell_lineage",
    "project_schedules",
];

/// Errors of an impact analysis.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The snapshot can't be read.
    #[error(transparent)]
    Snapshot(#[from] snapshot::Error),
    /// No connection has this name.
    #[error("the lineage has no connection '{name}'; it has {}", known.join(", "))]
    Connection {
        /// The name.
        name: String,
        /// Connections that there are.
        known: Vec<String>,
    },
    /// The changes are of a kind of warehouse that nothing is connected to: that they touch nothing would say nothing.
    #[error("the lineage has no connection of the kind of warehouse that dbt builds in; it has {}", known.join(", "))]
    Adapter {
        /// Connections that there are.
        known: Vec<String>,
    },
}

/// Whether a project really uses what changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Certainty {
    /// It may: it reads all columns, or its columns aren't known, or the change isn't certain.
    May,
    /// It does.
    Breaks,
}

/// A SQL cell that uses what changes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Cell {
    /// Durable identifier.
    pub static_id: String,
    /// Label.
    pub label: Option<String>,
}

/// A project that a change touches.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Hit {
    /// Severity of the impact.
    pub severity: Severity,
    /// Whether it breaks.
    pub certainty: Certainty,
    /// The change, as its place in [`Impact::changes`].
    pub change: usize,
    /// Connection's name.
    pub connection: String,
    /// The table's whole name.
    pub table: String,
    /// `read` or `write`.
    pub direction: String,
    /// Kinds of evidence: `component`, `executed`, `queried`, `scanned`, `sql`.
    pub evidence: Vec<String>,
    /// Titles of the imported components through which the project uses the table.
    pub via_components: Vec<String>,
    /// Project.
    pub project_id: String,
    /// Project's title.
    pub project: String,
    /// Project's owner.
    pub owner: Option<String>,
    /// Whether it is a component; projects that import it are hits of their own.
    pub component: bool,
    /// Whether it is published.
    pub published: bool,
    /// Whether it is archived or in the trash.
    pub archived: bool,
    /// SQL cells that use what changes, those of imported components included; none if only the warehouse's word is
    /// known.
    pub cells: Vec<Cell>,
    /// Cells that read a result of these, directly or through others.
    pub cells_after: usize,
    /// Columns of the table that the SQL of the project and of the components that it imports reads.
    pub columns: Vec<String>,
    /// Views of the app in the last 30 days.
    pub views: Option<i64>,
    /// Next run by an enabled schedule.
    pub next_run: Option<DateTime<Utc>>,
    /// The project's page.
    pub url: Option<String>,
}

/// Impact of a set of changes.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Impact {
    /// The snapshot.
    pub snapshot_id: SnapshotId,
    /// Changes.
    pub changes: Vec<Change>,
    /// Projects that they touch, the gravest first.
    pub hits: Vec<Hit>,
    /// Gaps of the snapshot, which the answer may lack.
    pub not_known: Vec<String>,
}

impl Impact {
    /// The highest severity of all hits.
    pub fn worst(&self) -> Option<Severity> {
        self.hits.iter().map(|hit| hit.severity).max()
    }

    /// The changes that touch no project.
    pub fn harmless(&self) -> impl Iterator<Item = &Change> {
        let hit: HashSet<usize> = self.hits.iter().map(|hit| hit.change).collect();
        self.changes.iter().enumerate().filter(move |(at, _)| !hit.contains(at)).map(|(_, change)| change)
    }

    /// Projects that are touched, each once.
    pub fn projects(&self) -> usize {
        self.hits.iter().map(|hit| &hit.project_id).collect::<HashSet<_>>().len()
    }
}

/// Finds what changes break, through all connections or those alone that are named. The snapshot must hold the
/// first of [`TABLES`]; `now` is the time from which the next run is looked for.
///
/// # Errors
/// If the snapshot can't be read.
pub fn impact(
    lake: &Lake,
    manifest: &Manifest,
    changes: Vec<Change>,
    connections: &[String],
    now: DateTime<Utc>,
) -> Result<Impact, Error> {
    let open = |table| TableReader::open(lake, manifest, table);
    let names = Names::new(&changes, connections);
    let edges: Vec<Edge> = rows::all(&open, &LINEAGE)?;
    check(&edges, &changes, connections)?;
    let mut touched: Vec<(Edge, Vec<usize>)> = Vec::new();
    for edge in edges.into_iter().filter(|edge| is_through(edge, connections)) {
        let found = names.find(&changes, &edge);
        if !found.is_empty() {
            touched.push((edge, found));
        }
    }
    let facts = Facts::load(lake, manifest, &touched)?;
    let pages = Pages::new(manifest);
    let mut hits = Vec::new();
    for (edge, found) in &touched {
        for at in found {
            let Some((certainty, cells)) = facts.uses(edge, &changes[*at]) else { continue };
            let Some(project) = facts.projects.get(&*edge.project_id) else { continue };
            let next_run = facts.next_run(project, now);
            // Nobody views a component: who imports it does.
            let is_used = next_run.is_some()
                || project.app_views_last_30_days.unwrap_or(0) > 0
                || project.is_component();
            let published = project.last_published_at.is_some();
            let severity = match (project.is_alive(), certainty, published && is_used) {
                (false, _, _) => Severity::Info,
                (true, Certainty::Breaks, true) => Severity::High,
                (true, Certainty::Breaks, false) | (true, Certainty::May, true) => Severity::Medium,
                (true, Certainty::May, false) => Severity::Low,
            };
            hits.push(Hit {
                severity,
                certainty,
                change: *at,
                connection: edge.connection().to_owned(),
                table: edge.table_key.clone(),
                direction: edge.direction.clone(),
                evidence: edge.evidence.clone(),
                via_components: edge.via().iter().map(|id| facts.title(id)).collect(),
                project_id: project.project_id.to_string(),
                project: project.name(),
                owner: project.owner_email.as_deref().map(str::to_owned),
                component: project.is_component(),
                published,
                archived: !project.is_alive(),
                cells_after: facts.cells_after(&project.project_id, &cells),
                cells: facts.labelled(cells),
                columns: facts.columns(edge),
                views: project.app_views_last_30_days,
                next_run,
                url: pages.draft(&project.project_id),
            });
        }
    }
    hits.sort_by(|a, b| {
        let order = |hit: &Hit| (std::cmp::Reverse(hit.severity), hit.change);
        order(a).cmp(&order(b)).then_with(|| (&a.project, &a.project_id).cmp(&(&b.project, &b.project_id)))
    });
    let not_known = not_known(manifest);
    Ok(Impact { snapshot_id: manifest.snapshot_id.clone(), changes, hits, not_known })
}

/// Whether an edge goes through one of some connections; all do, if none is named.
fn is_through(edge: &Edge, connections: &[String]) -> bool {
    connections.is_empty() || connections.iter().any(|name| edge.is_through(name))
}

/// Makes sure that the lineage can answer: nothing would be found where nothing is looked at.
fn check(edges: &[Edge], changes: &[Change], connections: &[String]) -> Result<(), Error> {
    let known = || -> Vec<String> {
        let kind = |edge: &Edge| edge.connection_type.clone().unwrap_or_else(|| "?".into());
        let all = edges.iter().map(|edge| format!("{} ({})", edge.connection(), kind(edge)));
        all.collect::<BTreeSet<_>>().into_iter().collect()
    };
    if edges.is_empty() {
        return Ok(());
    }
    for name in connections {
        if !edges.iter().any(|edge| edge.is_through(name)) {
            return Err(Error::Connection { name: name.clone(), known: known() });
        }
    }
    let wanted = changes.iter().filter_map(|change| match change.naming {
        Some(Naming::Of(warehouse)) if connections.is_empty() => Some(warehouse),
        _ => None,
    });
    match wanted.into_iter().find(|warehouse| !edges.iter().any(|edge| edge.warehouse() == *warehouse)) {
        Some(_) => Err(Error::Adapter { known: known() }),
        None => Ok(()),
    }
}

/// Gaps of the snapshot, in sentences.
fn not_known(manifest: &Manifest) -> Vec<String> {
    let tables = ["projects", "queried_tables", "cells", "lineage", "sql_columns"];
    let said = |name: &str| match manifest.tables.get(name) {
        Some(table) if !table.files.is_empty() => {
            let state = table.state.filter(|state| !state.is_current())?;
            Some(format!("{name} is {}: projects may be missing", state.name()))
        }
        _ => Some(format!("no snapshot holds {name}: what only it shows is missing")),
    };
    tables.into_iter().filter_map(said).collect()
}

/// Changes by the names of their tables.
struct Names {
    /// Changes by the name that each kind of warehouse would give their table.
    by_name: HashMap<Warehouse, HashMap<String, Vec<usize>>>,
    /// The same by the name's ends.
    by_end: HashMap<Warehouse, HashMap<String, Vec<usize>>>,
    /// Changes whose table is named in any case, by its name in lower case.
    typed: HashMap<String, Vec<usize>>,
}

impl Names {
    /// Where connections are named, they are what the names are of, whatever their kind.
    fn new(changes: &[Change], connections: &[String]) -> Self {
        let mut names = Self { by_name: HashMap::new(), by_end: HashMap::new(), typed: HashMap::new() };
        for (at, change) in changes.iter().enumerate() {
            let relation = Relation::new(change.table.clone());
            let only = match change.naming {
                Some(Naming::Of(warehouse)) if connections.is_empty() => Some(warehouse),
                _ => None,
            };
            if change.naming == Some(Naming::Typed) {
                names.typed.entry(change.table.to_lowercase()).or_default().push(at);
            }
            for warehouse in Warehouse::ALL.into_iter().filter(|one| only.is_none_or(|only| only == *one)) {
                let Some(key) = relation.key(warehouse) else { continue };
                let ended = names.by_end.entry(warehouse).or_default();
                ends(&key).skip(1).for_each(|end| ended.entry(end.to_owned()).or_default().push(at));
                names.by_name.entry(warehouse).or_default().entry(key).or_default().push(at);
            }
        }
        names
    }

    /// The changes of an edge's table.
    fn find(&self, changes: &[Change], edge: &Edge) -> Vec<usize> {
        let warehouse = edge.warehouse();
        let mut found = BTreeSet::new();
        if let Some(names) = self.by_name.get(&warehouse) {
            for (place, end) in ends(&edge.table_key).enumerate() {
                let partial = |at: &&usize| matches!(changes[**at].naming, Some(Naming::Sql | Naming::Typed));
                let of_end = names.get(end).into_iter().flatten();
                found.extend(of_end.filter(|at| place == 0 || partial(at)));
            }
        }
        // The lineage's own name may be without its beginning.
        if edge.database_name.is_none()
            && let Some(names) = self.by_end.get(&warehouse)
        {
            found.extend(names.get(&edge.table_key).into_iter().flatten());
        }
        if !self.typed.is_empty() {
            let key = edge.table_key.to_lowercase();
            found.extend(ends(&key).filter_map(|end| self.typed.get(end)).flatten());
        }
        found.into_iter().collect()
    }
}

/// A row of `sql_tables` or `sql_columns`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
struct Use {
    project_id: String,
    static_id: String,
    data_connection_id: String,
    table_key: String,
    direction: String,
    evidence: String,
    column_name: String,
}

/// A row of `sql_cells`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
struct SqlCell {
    project_id: String,
    static_id: String,
    parsed: bool,
    unresolved_columns: i64,
}

/// A row of `cells`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
struct CellRow {
    project_id: String,
    static_id: String,
    label: Option<String>,
}

/// A row of `cell_lineage`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
struct Flow {
    project_id: String,
    from_static_id: String,
    to_static_id: String,
}

/// A project's use of a table: project, connection, table.
type Key = (String, String, String);

/// The uses of a table that an edge rests on: the project's own, and those of the components that it imports.
fn keys(edge: &Edge) -> impl Iterator<Item = Key> {
    let connection = edge.data_connection_id.as_deref().unwrap_or_default();
    let users = [&edge.project_id].into_iter().chain(edge.via());
    users.map(move |user| (user.clone(), connection.to_owned(), edge.table_key.clone()))
}

/// A cell: its project and its durable identifier.
type CellId = (String, String);

/// Knowledge about the projects that are affected.
struct Facts {
    projects: HashMap<Arc<str>, Project>,
    schedules: HashMap<String, Vec<ScheduleRow>>,
    tables: HashMap<Key, Vec<Use>>,
    columns: HashMap<Key, Vec<Use>>,
    /// Cells by project and identifier whose columns aren't all known.
    vague: HashSet<(String, String)>,
    labels: HashMap<(String, String), Option<String>>,
    flows: HashMap<String, Vec<Flow>>,
}

impl Facts {
    fn load(
        lake: &Lake,
        manifest: &Manifest,
        touched: &[(Edge, Vec<usize>)],
    ) -> Result<Self, snapshot::Error> {
        let open = |table| TableReader::open(lake, manifest, table);
        let keys: HashSet<Key> = touched.iter().flat_map(|(edge, _)| keys(edge)).collect();
        let ids: HashSet<&str> = keys.iter().map(|(user, _, _)| user.as_str()).collect();
        let used = |name| -> Result<HashMap<Key, Vec<Use>>, snapshot::Error> {
            let mut by_key: HashMap<Key, Vec<Use>> = HashMap::new();
            for row in rows::some(&open, name, |row: &Use| ids.contains(row.project_id.as_str()))? {
                let key = (row.project_id.clone(), row.data_connection_id.clone(), row.table_key.clone());
                if keys.contains(&key) {
                    by_key.entry(key).or_default().push(row);
                }
            }
            Ok(by_key)
        };
        let (tables, columns) = (used(&SQL_TABLES)?, used(&SQL_COLUMNS)?);
        let cells: HashSet<(&str, &str)> =
            tables.values().flatten().map(|row| (row.project_id.as_str(), row.static_id.as_str())).collect();
        let is_one = |project: &str, cell: &str| cells.contains(&(project, cell));
        let vague = rows::some(&open, &SQL_CELLS, |c: &SqlCell| is_one(&c.project_id, &c.static_id))?;
        let labels = rows::some(&open, &CELLS, |c: &CellRow| is_one(&c.project_id, &c.static_id))?;
        let mut flows: HashMap<String, Vec<Flow>> = HashMap::new();
        for flow in rows::some(&open, &CELL_LINEAGE, |f: &Flow| ids.contains(f.project_id.as_str()))? {
            flows.entry(flow.project_id.clone()).or_default().push(flow);
        }
        let mut schedules: HashMap<String, Vec<ScheduleRow>> = HashMap::new();
        let wanted = |row: &ScheduleRow| ids.contains(row.project_id.as_str()) && row.enabled != Some(false);
        for row in rows::some(&open, &PROJECT_SCHEDULES, wanted)? {
            schedules.entry(row.project_id.clone()).or_default().push(row);
        }
        let projects = rows::some(&open, &PROJECTS, |p: &Project| ids.contains(&*p.project_id))?;
        let vague = vague.into_iter().filter(|cell| !cell.parsed || cell.unresolved_columns > 0);
        Ok(Self {
            projects: projects.into_iter().map(|project| (project.project_id.clone(), project)).collect(),
            schedules,
            vague: vague.map(|cell| (cell.project_id, cell.static_id)).collect(),
            labels: labels.into_iter().map(|cell| ((cell.project_id, cell.static_id), cell.label)).collect(),
            tables,
            columns,
            flows,
        })
    }

    /// Whether a project uses what changes, and by which cells; `None` if it is known not to.
    fn uses(&self, edge: &Edge, change: &Change) -> Option<(Certainty, BTreeSet<CellId>)> {
        let id = |row: &Use| (row.project_id.clone(), row.static_id.clone());
        let of = |known: &'_ HashMap<Key, Vec<Use>>| -> Vec<Use> {
            keys(edge).filter_map(|key| known.get(&key)).flatten().cloned().collect()
        };
        let mut cells = of(&self.tables);
        cells.retain(|row| row.direction == edge.direction);
        let all: BTreeSet<CellId> = cells.iter().map(id).collect();
        let certainty = if change.certain { Certainty::Breaks } else { Certainty::May };
        let Some(column) = &change.column else { return Some((certainty, all)) };
        if !edge.is_read() {
            // The columns that a statement writes aren't kept.
            return Some((Certainty::May, all));
        }
        let columns = of(&self.columns);
        let reading = |is_it: &dyn Fn(&str) -> bool| -> BTreeSet<CellId> {
            columns.iter().filter(|row| is_it(&row.column_name)).map(id).collect()
        };
        let sure = reading(&|name| name.eq_ignore_ascii_case(column));
        if !sure.is_empty() {
            return Some((certainty, sure));
        }
        let mut possible = reading(&|name| name == "*");
        let is_vague = |row: &&Use| {
            row.evidence == "scanned" || self.vague.contains(&(row.project_id.clone(), row.static_id.clone()))
        };
        possible.extend(cells.iter().filter(is_vague).map(id));
        // Of what only the warehouse reports, no column is known.
        (!possible.is_empty() || all.is_empty() || columns.is_empty()).then_some((Certainty::May, possible))
    }

    fn columns(&self, edge: &Edge) -> Vec<String> {
        let rows = keys(edge).filter_map(|key| self.columns.get(&key)).flatten().filter(|_| edge.is_read());
        rows.map(|row| row.column_name.clone()).collect::<BTreeSet<_>>().into_iter().collect()
    }

    fn labelled(&self, cells: BTreeSet<CellId>) -> Vec<Cell> {
        let label = |id: &CellId| self.labels.get(id).cloned().flatten();
        cells.into_iter().map(|id| Cell { label: label(&id), static_id: id.1 }).collect()
    }

    /// The title of a project, or its identifier where it isn't listed.
    fn title(&self, id: &str) -> String {
        self.projects.get(id).map_or_else(|| id.to_owned(), Project::name)
    }

    /// Cells that read the result of a project's own, directly or through others.
    fn cells_after(&self, project: &str, cells: &BTreeSet<CellId>) -> usize {
        let cells: BTreeSet<&String> =
            cells.iter().filter(|(of, _)| of == project).map(|(_, cell)| cell).collect();
        let mut after: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for flow in self.flows.get(project).into_iter().flatten() {
            after.entry(&flow.from_static_id).or_default().push(&flow.to_static_id);
        }
        let mut seen: HashSet<&str> = cells.iter().map(|cell| cell.as_str()).collect();
        let mut next: Vec<&str> = seen.iter().copied().collect();
        while let Some(cell) = next.pop() {
            for to in after.get(cell).into_iter().flatten() {
                if seen.insert(to) {
                    next.push(to);
                }
            }
        }
        seen.len() - cells.len()
    }

    fn next_run(&self, project: &Project, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
        let rows =
            self.schedules.get(&*project.project_id).into_iter().flatten().filter(|_| project.is_alive());
        rows.filter_map(|row| row.timetable.schedule().first_due(now, now + HORIZON)?).min()
    }
}
