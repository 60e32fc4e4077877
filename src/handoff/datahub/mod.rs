//! DataHub: a snapshot as metadata change proposals, which DataHub's file source reads.
//!
//! A project is a dashboard, a component a chart, and a SQL cell that reads a warehouse a chart of its project's
//! dashboard. What a project writes are the outputs of a job. Tables are named and never described: that is their own connectors' matter.

mod proposals;
mod urn;

use std::collections::{BTreeMap, BTreeSet, HashMap};

use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::Pages;
use super::rows::{
    ByProject, Category, Cell, ColumnEdge, Edge, Grant, Project, Run, SqlColumn, SqlTable, TableKey,
};
use crate::derive::Given;
use crate::snapshot::{Error, Flaw, Lake, Manifest, TableReader, rows};
use crate::tables::PROJECTS;

use proposals::{Of, Shaper};
pub use urn::Names;

/// Tables that proposals are made of, the one that they can't do without first.
pub const TABLES: [&str; 9] = [
    "projects",
    "lineage",
    "column_lineage",
    "sql_tables",
    "sql_columns",
    "cells",
    "runs",
    "project_categories",
    "project_sharing",
];

/// Settings of a hand-off.
#[derive(Debug, Clone)]
pub struct Options {
    /// Name of the workspace, as DataHub's own Hex source has it (`workspace_name`).
    pub workspace: String,
    /// Parts that names are built from.
    pub names: Names,
    /// Settings of connections: their type and platform instance.
    pub given: Given,
    /// Record of earlier hand-offs: what has gone since gets a tombstone.
    pub told: Option<Told>,
}

/// Kind of thing that a name stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// A project.
    Project,
    /// A component.
    Component,
    /// A cell.
    Cell,
    /// A project that writes tables.
    Flow,
    /// A task of such a flow.
    Job,
}

/// All that was ever handed over, kept in the destination beside the snapshots. A tombstone is repeated in every
/// hand-off, so that one that DataHub didn't read costs nothing.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Told {
    /// Names with what they stand for.
    pub urns: BTreeMap<String, Kind>,
}

impl Told {
    fn note(name: &str) -> String {
        let digest = Sha256::digest(name).iter().take(8).map(|b| format!("{b:02x}")).collect::<String>();
        format!("datahub-{digest}.json")
    }

    /// Record of what was handed over under a name.
    ///
    /// # Errors
    /// If the destination can't be read, or the note in it is damaged.
    pub fn load(lake: &Lake, name: &str) -> Result<Self, Error> {
        let Some(text) = lake.note(&Self::note(name))? else { return Ok(Self::default()) };
        serde_json::from_slice(&text).map_err(|source| {
            let path = lake.root().join("_state").join(Self::note(name));
            Flaw::Note { what: "a note of what DataHub was handed", source }.of(path)
        })
    }

    /// Keeps it.
    ///
    /// # Errors
    /// If the destination can't be written.
    pub fn save(&self, lake: &Lake, name: &str) -> Result<(), Error> {
        lake.set_note(&Self::note(name), &serde_json::to_vec(self).unwrap_or_default())
    }
}

/// Counts of what was written.
#[derive(Debug, Clone, Default)]
pub struct Made {
    /// Proposals.
    pub proposals: u64,
    /// Projects.
    pub dashboards: u64,
    /// Components and cells.
    pub charts: u64,
    /// From a project, component or cell to a table.
    pub edges: u64,
    /// From a project or component to a table that it writes.
    pub outputs: u64,
    /// Things that are gone.
    pub tombstones: u64,
    /// Tables that have no name in DataHub: their connection's type isn't known, or their name couldn't be parsed.
    pub unnamed: BTreeSet<(String, String)>,
    /// Everything ever handed over, including now.
    pub told: Told,
}

/// Makes the proposals of a snapshot and hands each to `emit`. The snapshot must hold the first of [`TABLES`].
///
/// # Errors
/// If the snapshot can't be read; what `emit` gives.
pub fn proposals<E: From<Error>>(
    lake: &Lake,
    manifest: &Manifest,
    options: &Options,
    mut emit: impl FnMut(&Value) -> Result<(), E>,
) -> Result<Made, E> {
    let open = |table| TableReader::open(lake, manifest, table);
    let projects: Vec<Project> = rows::all(&open, &PROJECTS)?;
    let mut readers = Readers::open(lake, manifest)?;
    let shaper = Shaper::new(options, Pages::new(manifest), manifest.snapshot_at);
    let mut made = Made::default();
    let mut tags = BTreeSet::new();
    let mut hand_over = |proposals: Vec<Value>, made: &mut Made| -> Result<(), E> {
        made.proposals += proposals.len() as u64;
        proposals.iter().try_for_each(&mut emit)
    };
    hand_over(shaper.workspace(), &mut made)?;
    for project in &projects {
        let id = &*project.project_id;
        let rows = readers.take(id)?;
        if !project.is_alive() {
            continue;
        }
        let datasets = datasets(&rows.edges, options, &mut made.unnamed);
        let cells = cells(&rows, &datasets);
        let of = Of {
            project,
            reads: rows.edges.iter().filter_map(|edge| datasets.get(&edge.table())).cloned().collect(),
            fields: fields(
                rows.columns.iter().map(|c| (&c.data_connection_id, &c.table_key, &c.column_name)),
                &datasets,
            ),
            tags: shaper.tags(project, &rows.categories, &rows.grants),
            last_run: rows.runs.iter().max_by_key(|run| run.start_time),
            last_success: rows
                .runs
                .iter()
                .filter(|run| run.status.as_deref() == Some("COMPLETED"))
                .filter_map(|r| r.start_time)
                .max(),
            cells: &cells,
        };
        made.edges += of.reads.len() as u64;
        tags.extend(of.tags.iter().cloned());
        let (urn, kind, proposals) = match project.is_component() {
            true => (options.names.component(id), Kind::Component, shaper.component(&of)),
            false => (options.names.dashboard(id), Kind::Project, shaper.dashboard(&of)),
        };
        match kind {
            Kind::Project => made.dashboards += 1,
            _ => made.charts += 1,
        }
        made.told.urns.insert(urn, kind);
        hand_over(proposals, &mut made)?;
        let written = self::datasets(&rows.writes, options, &mut made.unnamed);
        let outputs: BTreeSet<String> =
            rows.writes.iter().filter_map(|edge| written.get(&edge.table())).cloned().collect();
        if !outputs.is_empty() {
            made.outputs += outputs.len() as u64;
            made.told.urns.insert(options.names.flow(id), Kind::Flow);
            made.told.urns.insert(options.names.job(id), Kind::Job);
            hand_over(shaper.writes(&of, &outputs), &mut made)?;
        }
        // A component's cells are part of the chart that it is.
        for cell in cells.iter().filter(|_| !project.is_component()) {
            made.charts += 1;
            made.edges += cell.reads.len() as u64;
            made.told.urns.insert(options.names.cell(id, &cell.static_id), Kind::Cell);
            hand_over(shaper.cell(project, cell), &mut made)?;
        }
    }
    hand_over(tags.iter().map(|tag| shaper.tag(tag)).collect(), &mut made)?;
    let is_there = |table: &str| manifest.tables.get(table).is_some_and(|table| !table.files.is_empty());
    for (urn, kind) in options.told.iter().flat_map(|told| &told.urns) {
        if made.told.urns.contains_key(urn) {
            continue;
        }
        made.told.urns.insert(urn.clone(), *kind);
        // What isn't in the lake at all isn't gone.
        let rests_on_lineage = matches!(kind, Kind::Cell | Kind::Flow | Kind::Job);
        if !rests_on_lineage || ["sql_tables", "lineage", "cells"].into_iter().all(is_there) {
            made.tombstones += 1;
            hand_over(vec![shaper.tombstone(urn)], &mut made)?;
        }
    }
    Ok(made)
}

/// DataHub's names of the tables that a project reads.
fn datasets(
    edges: &[Edge],
    options: &Options,
    unnamed: &mut BTreeSet<TableKey>,
) -> HashMap<TableKey, String> {
    let mut found = HashMap::new();
    for edge in edges {
        let id = edge.data_connection_id.as_deref().unwrap_or("");
        let told = options.given.connection(id, edge.connection_name.as_deref());
        let kind = told.and_then(|told| told.kind.as_deref()).or(edge.connection_type.as_deref());
        let instance = told.and_then(|told| told.platform_instance.as_deref());
        let parts = [edge.database_name.as_deref(), edge.schema_name.as_deref(), Some(&*edge.table_name)];
        let parts: Vec<&str> = parts.into_iter().flatten().collect();
        let name =
            kind.filter(|_| edge.parsed).and_then(|kind| options.names.dataset(kind, instance, &parts));
        match name {
            Some(name) => drop(found.insert(edge.table(), name)),
            None => drop(unnamed.insert((edge.connection().to_owned(), edge.table_key.clone()))),
        }
    }
    found
}

/// DataHub's names of columns; those that stand for all are left out.
fn fields<'a>(
    columns: impl Iterator<Item = (&'a String, &'a String, &'a String)>,
    datasets: &HashMap<TableKey, String>,
) -> BTreeSet<(String, String)> {
    columns
        .filter(|(_, _, column)| *column != "*")
        .filter_map(|(connection, table, column)| {
            let dataset = datasets.get(&(connection.clone(), table.clone()))?;
            let is_kept = dataset.contains("dataPlatform:bigquery,");
            let column = if is_kept { column.clone() } else { column.to_lowercase() };
            Some((urn::field(dataset, &column), column))
        })
        .collect()
}

/// A SQL cell that reads the warehouse.
#[derive(Debug, Clone)]
struct Reading {
    static_id: String,
    label: Option<String>,
    source: Option<String>,
    reads: BTreeSet<String>,
    fields: BTreeSet<(String, String)>,
}

fn cells(rows: &Rows, datasets: &HashMap<TableKey, String>) -> Vec<Reading> {
    let mut reads: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
    for row in rows.tables.iter().filter(|row| row.direction == "read") {
        if let Some(dataset) = datasets.get(&(row.data_connection_id.clone(), row.table_key.clone())) {
            reads.entry(&row.static_id).or_default().insert(dataset.clone());
        }
    }
    let known: HashMap<&str, &Cell> = rows.cells.iter().map(|cell| (cell.static_id.as_str(), cell)).collect();
    reads
        .into_iter()
        .map(|(id, reads)| {
            let own = rows.sql_columns.iter().filter(|column| column.static_id == id);
            let cell = known.get(id);
            Reading {
                static_id: id.to_owned(),
                label: cell.and_then(|cell| cell.label.clone()),
                source: cell.and_then(|cell| cell.source.clone()),
                reads,
                fields: fields(own.map(|c| (&c.data_connection_id, &c.table_key, &c.column_name)), datasets),
            }
        })
        .collect()
}

/// The rows of one project.
struct Rows {
    /// Tables that it reads.
    edges: Vec<Edge>,
    /// Tables that it writes.
    writes: Vec<Edge>,
    columns: Vec<ColumnEdge>,
    tables: Vec<SqlTable>,
    sql_columns: Vec<SqlColumn>,
    cells: Vec<Cell>,
    runs: Vec<Run>,
    categories: Vec<Category>,
    grants: Vec<Grant>,
}

struct Readers {
    edges: ByProject<Edge>,
    columns: ByProject<ColumnEdge>,
    tables: ByProject<SqlTable>,
    sql_columns: ByProject<SqlColumn>,
    cells: ByProject<Cell>,
    runs: ByProject<Run>,
    categories: ByProject<Category>,
    grants: ByProject<Grant>,
}

impl Readers {
    fn open(lake: &Lake, manifest: &Manifest) -> Result<Self, Error> {
        let table = ["project_id", "data_connection_id", "table_key"];
        let with = |more: &[&'static str]| [&table[..], more].concat();
        let names = [
            "direction",
            "database_name",
            "schema_name",
            "table_name",
            "parsed",
            "connection_name",
            "connection_type",
        ];
        Ok(Self {
            edges: ByProject::open(lake, manifest, "lineage", &with(&names))?,
            columns: ByProject::open(lake, manifest, "column_lineage", &with(&["column_name"]))?,
            tables: ByProject::open(lake, manifest, "sql_tables", &with(&["static_id", "direction"]))?,
            sql_columns: ByProject::open(
                lake,
                manifest,
                "sql_columns",
                &with(&["static_id", "column_name"]),
            )?,
            cells: ByProject::open(lake, manifest, "cells", &["project_id", "static_id", "label", "source"])?,
            runs: ByProject::open(
                lake,
                manifest,
                "runs",
                &["project_id", "run_id", "status", "start_time", "duration_seconds"],
            )?,
            categories: ByProject::open(lake, manifest, "project_categories", &["project_id", "name"])?,
            grants: ByProject::open(
                lake,
                manifest,
                "project_sharing",
                &["project_id", "principal_type", "principal"],
            )?,
        })
    }

    fn take(&mut self, project: &str) -> Result<Rows, Error> {
        let (edges, writes) = self.edges.take(project)?.into_iter().partition(Edge::is_read);
        Ok(Rows {
            edges,
            writes,
            columns: self.columns.take(project)?,
            tables: self.tables.take(project)?,
            sql_columns: self.sql_columns.take(project)?,
            cells: self.cells.take(project)?,
            runs: self.runs.take(project)?,
            categories: self.categories.take(project)?,
            grants: self.grants.take(project)?,
        })
    }
}
