//! Cells of a project's draft, and the tables that its published runs have queried.

use std::collections::{BTreeSet, HashMap, HashSet};

use rand::RngExt;

use super::World;
use super::projects::ProjectRecord;
use crate::client::cells::{Cell, Source, SqlSource};
use crate::client::projects::QueriedTable;
use crate::sim::rng::{self, chance, pick, skewed};
use crate::sim::sql::{self, CellTruth};

/// Edits of a draft's cells over the API.
#[derive(Debug, Default)]
pub struct Authored {
    /// Cells made, each with the identifier of the cell that it comes after; at the end, if none.
    pub added: Vec<(Option<String>, Cell)>,
    /// Cells changed, by their durable identifier.
    pub changed: HashMap<String, Cell>,
    /// Durable identifiers of deleted cells.
    pub removed: HashSet<String>,
}

impl Authored {
    fn apply(&self, mut cells: Vec<(Cell, CellTruth)>) -> Vec<(Cell, CellTruth)> {
        for (after, cell) in &self.added {
            let named =
                |other: &Cell| after.as_ref().is_some_and(|id| other.id == *id || other.static_id == *id);
            let at = cells.iter().position(|(other, _)| named(other)).map_or(cells.len(), |at| at + 1);
            cells.insert(at, (cell.clone(), CellTruth::default()));
        }
        for (cell, truth) in &mut cells {
            if let Some(changed) = self.changed.get(&cell.static_id) {
                // What the new source reads isn't known.
                (*cell, *truth) = (changed.clone(), CellTruth::default());
            }
        }
        cells.retain(|(cell, _)| !self.removed.contains(&cell.static_id));
        cells
    }
}

const CELL_TYPES: [&str; 9] =
    ["INPUT", "DISPLAY_TABLE", "CHART", "TEXT", "METRIC", "PIVOT", "FILTER", "MAP", "COMPONENT_IMPORT"];

impl World {
    /// Cells of a project's draft, and the truth about what they read.
    pub fn cells(&self, record: &ProjectRecord) -> Vec<(Cell, CellTruth)> {
        record.authored.apply(self.cells_at(record, record.edits))
    }

    /// Cells of a project's published version.
    pub fn published_cells(&self, record: &ProjectRecord) -> Vec<(Cell, CellTruth)> {
        self.cells_at(record, record.published_edits)
    }

    /// The cell with this identifier, of a version or durable, and the place of its project.
    pub fn find_cell(&self, id: &str) -> Option<(usize, Cell)> {
        self.projects.iter().enumerate().find_map(|(at, record)| {
            let mut cells = self.cells(record).into_iter().map(|(cell, _)| cell);
            Some((at, cells.find(|cell| cell.id == id || cell.static_id == id)?))
        })
    }

    pub(super) fn cells_at(&self, record: &ProjectRecord, edits: u32) -> Vec<(Cell, CellTruth)> {
        let config = &self.config;
        let r = &mut rng::of(config.seed, "cells", record.index + (u64::from(edits) << 40));
        let spread = -(1.0 - r.random::<f64>()).ln();
        let count = (1.0 + spread * (config.cells_per_project - 1.0)).round().clamp(0.0, 5000.0) as usize;
        let count = if record.index % 23 == 11 { 0 } else { count };
        let main = skewed(r, self.catalogs.len());
        let second = skewed(r, self.catalogs.len());
        let prefer = r.random_range(0..60);
        let mut frames: Vec<(String, Vec<String>)> = Vec::new();
        let mut cells = Vec::with_capacity(count);
        for at in 0..count {
            let key = record.index.wrapping_mul(1 << 20) + at as u64;
            let static_id = rng::uuid(config.seed, "cell", key);
            let version = key.wrapping_add(u64::from(edits) << 44);
            let mut cell = Cell {
                id: rng::uuid(config.seed, "cell-version", version).into(),
                static_id,
                project_id: record.project.id.clone(),
                label: chance(r, 0.4).then(|| format!("Step {at}")),
                ..Cell::default()
            };
            let mut truth = CellTruth::default();
            match r.random_range(0..100) {
                0..=34 => {
                    cell.cell_type = "SQL".into();
                    let frame = format!("df_{at}");
                    let of_frame = !frames.is_empty() && chance(r, 0.25);
                    let made = if of_frame {
                        let (name, columns) = &frames[r.random_range(0..frames.len())];
                        sql::dataframe_query(r, name, columns)
                    } else {
                        let connection = if chance(r, 0.85) { main } else { second };
                        cell.data_connection_id = Some(self.connections[connection].id.clone());
                        sql::query(r, &self.catalogs[connection], prefer)
                    };
                    if !made.output.is_empty() {
                        frames.push((frame.clone(), made.output));
                    }
                    truth = made.truth;
                    cell.contents.sql_cell = Some(SqlSource { source: made.source, output_dataframe: frame });
                }
                35..=59 => {
                    cell.cell_type = "CODE".into();
                    let source = format!("import pandas as pd\n\n# step {at}\nprint('Ünïcode ✓', {at})");
                    cell.contents.code_cell = Some(Source { source });
                }
                60..=74 => {
                    cell.cell_type = "MARKDOWN".into();
                    cell.contents.markdown_cell =
                        Some(Source { source: format!("## Part {at}\n\nSee `df_{at}`.") });
                }
                _ => {
                    cell.cell_type = pick(r, &CELL_TYPES).to_owned();
                    // Drawn apart, so that what follows does not depend on it.
                    let r = &mut rng::of(config.seed, "cell-detail", key);
                    let is_import = cell.cell_type == "COMPONENT_IMPORT";
                    // Components of components are rare: were they as common as components, their chains would
                    // lead one project in ten to over 600 tables.
                    if is_import && record.project.kind == "COMPONENT" && chance(r, 0.7) {
                        cell.cell_type = "INPUT".into();
                    } else if is_import && !self.components.is_empty() {
                        truth.component =
                            Some(self.components[r.random_range(0..self.components.len())].clone());
                    } else if cell.cell_type == "TEXT" && chance(r, 0.6) {
                        cell.cell_type = "COLLAPSIBLE".into();
                        truth.holds = r.random_range(1..4);
                    }
                }
            }
            cells.push((cell, truth));
        }
        cells
    }

    /// Tables that a project's published runs have queried: none for a project that was never published.
    pub fn queried_tables(&self, record: &ProjectRecord) -> Vec<QueriedTable> {
        // Published runs fill the list: without one it is empty (hex-api.md).
        let has_run = || {
            record.project.analytics.published_results_updated_at.is_some() || !self.runs(record).is_empty()
        };
        if record.project.last_published_at.is_none() || !has_run() {
            return Vec::new();
        }
        let tables: BTreeSet<QueriedTable> = self
            .cells_at(record, record.published_edits)
            .iter()
            .flat_map(|(_, truth)| &truth.tables)
            .map(|table| QueriedTable {
                data_connection_id: self.connections[table.connection].id.clone(),
                data_connection_name: self.connections[table.connection].name.clone(),
                table_name: table.qualified(),
            })
            .chain(record.run_tables.iter().cloned())
            .collect();
        tables.into_iter().collect()
    }
}
