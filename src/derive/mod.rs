//! Tables computed from tables: lineage and statistics.
//!
//! Each table's file declares its columns and how they come from the snapshot's other tables. To add one,
//! write its file and name it in [`DERIVATIONS`].

pub mod sql;

pub use sql::{fingerprint, names};

mod cell_changes;
mod cell_cost;
mod cell_lineage;
mod cells;
mod column_lineage;
mod components;
mod connection_usage;
mod connections;
mod different;
mod earlier;
mod effective_access;
mod frame;
mod given;
mod lineage;
pub mod prices;
mod project_cost;
mod project_edits;
mod run_cost;
mod run_daily;
mod run_health;
mod run_stats;
mod scan;
mod sql_cells;
mod sql_columns;
mod sql_tables;
mod table_usage;
mod user_activity;

pub use crate::crawl::schedule;
use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use chrono::{DateTime, Utc};
use polars::prelude::{DataFrame, JoinArgs, JoinType, LazyFrame, PolarsError};

use crate::schema::{Origin, Table};
use crate::snapshot::{self, KeyRange, TableEntry, TableReader, TableWriter};

pub use cell_changes::{CELL_CHANGES, COMPARED_CELLS, write_changes};
pub use cell_cost::CELL_COST;
pub use cell_lineage::CELL_LINEAGE;
pub use cells::read_cells;
pub use column_lineage::COLUMN_LINEAGE;
pub use components::Components;
pub use connection_usage::CONNECTION_USAGE;
pub use connections::{Naming, namings};
pub use earlier::Earlier;
pub use effective_access::{EFFECTIVE_ACCESS, write_access};
pub use frame::to_batch;
pub use given::{ConnectionNames, Given, GivenError, schemas};
pub use lineage::LINEAGE;
pub use project_cost::PROJECT_COST;
pub use project_edits::{COMPARED_PROJECTS, PROJECT_EDITS, write_edits};
pub use run_cost::RUN_COST;
pub use run_daily::RUN_DAILY;
pub use run_health::RUN_HEALTH;
pub use run_stats::RUN_STATS;
pub use sql_cells::SQL_CELLS;
pub use sql_columns::SQL_COLUMNS;
pub use sql_tables::SQL_TABLES;
pub use table_usage::TABLE_USAGE;
pub use user_activity::USER_ACTIVITY;

/// Errors of a derived table.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A table that it is derived from can't be read, or it can't be written.
    #[error(transparent)]
    Snapshot(#[from] snapshot::Error),
    /// It can't be computed.
    #[error("deriving {table}: {source}")]
    Compute {
        /// The table.
        table: &'static str,
        /// Error of polars.
        source: PolarsError,
    },
}

/// An error of reading a snapshot, on its way through polars; [`Error::of`] takes it out again.
fn unreadable(error: snapshot::Error) -> PolarsError {
    PolarsError::IO { error: Arc::new(io::Error::other(error)), msg: None }
}

impl Error {
    /// Error of a table that polars was to compute: of a table that can't be read, if that is why.
    fn of(table: &'static Table, source: PolarsError) -> Self {
        let compute = |source| Error::Compute { table: table.name, source };
        let PolarsError::IO { error, msg } = source else { return compute(source) };
        match Arc::try_unwrap(error).map(io::Error::downcast::<snapshot::Error>) {
            Ok(Ok(inner)) => inner.into(),
            Ok(Err(error)) => compute(PolarsError::IO { error: Arc::new(error), msg }),
            Err(error) => compute(PolarsError::IO { error, msg }),
        }
    }
}

/// A derived table and the function that computes it.
#[derive(Debug)]
pub struct Derivation {
    /// The table.
    pub table: &'static Table,
    /// Division into parts.
    pub split: Split,
    /// Computes its rows, without the common columns.
    pub derive: fn(&Inputs<'_>) -> Result<DataFrame, PolarsError>,
}

/// Whether a table can be computed in parts.
#[derive(Debug)]
pub enum Split {
    /// It is computed at once: what it groups by is spread over all projects.
    Whole,
    /// Some projects at a time: its key begins with the project.
    ByProject,
    /// Some projects at a time, where more rows come together than its inputs have: as many as this counts.
    Growing(fn(&Inputs<'_>) -> Result<u64, PolarsError>),
}

/// Tables that are derived with polars, each after those that it is derived from.
pub const DERIVATIONS: &[Derivation] = &[
    Derivation { table: &RUN_STATS, split: Split::ByProject, derive: run_stats::derive },
    Derivation { table: &RUN_DAILY, split: Split::ByProject, derive: run_daily::derive },
    Derivation { table: &RUN_HEALTH, split: Split::Whole, derive: run_health::derive },
    Derivation { table: &LINEAGE, split: Split::Growing(components::handed_on), derive: lineage::derive },
    Derivation { table: &TABLE_USAGE, split: Split::Whole, derive: table_usage::derive },
    Derivation { table: &CONNECTION_USAGE, split: Split::Whole, derive: connection_usage::derive },
    Derivation { table: &USER_ACTIVITY, split: Split::Whole, derive: user_activity::derive },
    Derivation { table: &PROJECT_COST, split: Split::ByProject, derive: project_cost::derive },
    Derivation { table: &CELL_COST, split: Split::ByProject, derive: cell_cost::derive },
    Derivation { table: &RUN_COST, split: Split::ByProject, derive: run_cost::derive },
];

/// Tables that are read out of the cells' SQL, all in one pass.
pub const FROM_SQL: [&Table; 5] = [&SQL_CELLS, &SQL_TABLES, &SQL_COLUMNS, &COLUMN_LINEAGE, &CELL_LINEAGE];

impl Derivation {
    /// Names of the tables that it is computed from.
    pub fn input_names(&self) -> &'static [&'static str] {
        match self.table.origin {
            Origin::Derived(from) => from,
            Origin::Api(_) | Origin::Crawl | Origin::History(_) => &[],
        }
    }

    /// Tables that it is computed from.
    fn inputs(&self) -> Vec<&'static Table> {
        let all = || crate::tables::ENTITIES.iter().chain(crate::tables::HISTORY).copied().chain(tables());
        self.input_names().iter().filter_map(|name| all().find(|table| table.name == *name)).collect()
    }

    /// Computes and writes the table.
    ///
    /// # Errors
    /// If it can't be computed or written.
    pub fn write(
        &self,
        inputs: &Inputs<'_>,
        create: impl Fn(&'static Table) -> Result<TableWriter, snapshot::Error>,
    ) -> Result<TableEntry, Error> {
        let failed = |source| Error::of(self.table, source);
        let parts = match self.split {
            Split::Whole => vec![inputs.clone()],
            Split::ByProject => inputs.parts(&self.inputs(), 0)?,
            // Rows that come together are wide, and are held more than once.
            Split::Growing(count) => inputs.parts(&self.inputs(), 2 * count(inputs).map_err(failed)?)?,
        };
        let mut writer = create(self.table)?;
        for part in parts {
            let frame = (self.derive)(&part).map_err(failed)?;
            writer.write(&to_batch(self.table, &frame, inputs.snapshot_at).map_err(failed)?)?;
        }
        Ok(writer.finish()?)
    }
}

/// All derived tables.
pub fn tables() -> impl Iterator<Item = &'static Table> {
    let apart = [&EFFECTIVE_ACCESS, &CELL_CHANGES, &PROJECT_EDITS];
    FROM_SQL.into_iter().chain(DERIVATIONS.iter().map(|d| d.table)).chain(apart)
}

/// Rows of one table that are computed with at a time.
pub const PART_ROWS: u64 = 50_000;

/// Inputs of derived tables: the Parquet files of a snapshot that is being written.
#[derive(Debug, Clone)]
pub struct Inputs<'a> {
    /// Folder of the files.
    pub folder: &'a Path,
    /// Files of tables that are kept elsewhere: those of earlier snapshots.
    pub elsewhere: HashMap<&'static str, PathBuf>,
    /// The snapshot's time.
    pub snapshot_at: DateTime<Utc>,
    /// The file of the last snapshot's lineage: tells when a table was first seen.
    pub last_lineage: Option<PathBuf>,
    /// Knowledge about the warehouses that the API doesn't have.
    pub given: &'a Given,
    /// The projects that are looked at, of tables whose key begins with the project.
    pub projects: KeyRange,
    /// Rows of one table in a part; see [`PART_ROWS`].
    pub part_rows: u64,
    /// Components, once they were read; the parts share them.
    pub components: Arc<OnceLock<Components>>,
}

impl Inputs<'_> {
    /// The path of a table's file.
    pub fn path(&self, table: &str) -> PathBuf {
        let elsewhere = self.elsewhere.get(table).cloned();
        elsewhere.unwrap_or_else(|| self.folder.join(format!("{table}.parquet")))
    }

    /// Whether there is such a table.
    pub fn has(&self, table: &str) -> bool {
        self.path(table).exists()
    }

    /// A table, to compute with.
    ///
    /// # Errors
    /// If it can't be read.
    pub fn scan(&self, table: &'static Table) -> Result<LazyFrame, PolarsError> {
        self.scan_file(self.path(table.name), table)
    }

    /// A table of another snapshot, to compute with.
    fn scan_file(&self, path: PathBuf, table: &'static Table) -> Result<LazyFrame, PolarsError> {
        match table.key[0] == PROJECT {
            true => scan::scan(path, table, &self.projects),
            false => scan::scan(path, table, &KeyRange::default()),
        }
    }

    /// A table's record batches.
    ///
    /// # Errors
    /// If it can't be read.
    pub fn read(&self, table: &'static Table) -> Result<TableReader, snapshot::Error> {
        match table.key[0] == PROJECT {
            true => TableReader::open_range(&self.path(table.name), table, &self.projects),
            false => TableReader::open_file(&self.path(table.name), table),
        }
    }

    /// The same inputs in parts: in each, these tables, and so many more rows that come of them, are few enough
    /// to compute with in memory.
    ///
    /// # Errors
    /// If one of the tables can't be read.
    pub fn parts(&self, of: &[&'static Table], rows: u64) -> Result<Vec<Self>, snapshot::Error> {
        let mut most = rows;
        for table in of.iter().filter(|t| t.key[0] == PROJECT && self.has(t.name)) {
            most = most.max(TableReader::open_file(&self.path(table.name), table)?.rows());
        }
        let parts = most.div_ceil(self.part_rows).max(1) as usize;
        let table = &crate::tables::PROJECTS;
        let mut ids: Vec<String> = Vec::new();
        if parts > 1 {
            for batch in TableReader::open_file(&self.path(table.name), table)? {
                let batch = batch?;
                ids.extend(
                    (0..batch.num_rows())
                        .filter_map(|i| connections::text(&batch, PROJECT, i))
                        .map(str::to_owned),
                );
            }
        }
        // Identifiers are random: as many projects have about as many rows.
        let mut bounds: Vec<Option<String>> =
            (1..parts).map(|i| ids.get(i * ids.len() / parts).cloned()).collect();
        bounds.dedup();
        bounds.retain(Option::is_some);
        let ends = bounds.iter().cloned().chain([None]);
        let starts = [None].into_iter().chain(bounds.iter().cloned());
        Ok(starts
            .zip(ends)
            .map(|(from, to)| Self { projects: KeyRange { from, to }, ..self.clone() })
            .collect())
    }
}

/// A join by a key that may have nulls: Hex doesn't name the connection of every table.
fn by_nullable_key(how: JoinType) -> JoinArgs {
    JoinArgs { nulls_equal: true, ..JoinArgs::new(how) }
}

/// First column of the key of tables that say something of projects.
const PROJECT: &str = "project_id";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_that_cannot_be_read_is_no_fault_of_what_is_computed() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("runs.parquet"), "PAR1 no more").unwrap();
        let given = Given::default();
        let inputs = Inputs {
            folder: folder.path(),
            elsewhere: HashMap::new(),
            snapshot_at: Utc::now(),
            last_lineage: None,
            given: &given,
            projects: KeyRange::default(),
            part_rows: PART_ROWS,
            components: Arc::default(),
        };
        let error = run_daily::derive(&inputs).unwrap_err();
        match Error::of(&RUN_DAILY, error) {
            Error::Snapshot(snapshot::Error::Damaged { .. }) => {}
            other => panic!("{other:?}"),
        }
        // What is an error of polars stays one.
        let other = Error::of(&RUN_DAILY, polars::prelude::polars_err!(ComputeError: "x"));
        assert!(matches!(other, Error::Compute { table: "run_daily", .. }));
    }
}
