//! Tables computed from tables: lineage and statistics.
//!
//! Each table's file declares its columns and how they come from the snapshot's other tables. To add one,
//! write its file and name it in [`DERIVATIONS`].

pub mod jinja;
pub mod names;
pub mod sql;

mod cells;
mod column_lineage;
mod connection_usage;
mod connections;
mod frame;
mod lineage;
mod run_daily;
mod run_stats;
pub mod schedule;
mod sql_cells;
mod sql_tables;
mod table_usage;
mod user_activity;

use std::path::{Path, PathBuf};

use chrono::{DateTime, Utc};
use polars::prelude::{DataFrame, LazyFrame, PlRefPath, PolarsError, ScanArgsParquet};

use crate::snapshot::{self, TableReader};
use crate::tables::Table;

pub use cells::read_cells;
pub use frame::to_batch;

/// What can go wrong with a derived table.
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
        /// What polars said.
        source: PolarsError,
    },
}

/// How a table is derived.
#[derive(Debug)]
pub struct Derivation {
    /// The table.
    pub table: &'static Table,
    /// Computes its rows, without the common columns.
    pub derive: fn(&Inputs<'_>) -> Result<DataFrame, PolarsError>,
}

/// Tables that are derived with polars, each after those that it is derived from.
pub const DERIVATIONS: &[Derivation] = &[
    Derivation { table: &run_stats::RUN_STATS, derive: run_stats::derive },
    Derivation { table: &run_daily::RUN_DAILY, derive: run_daily::derive },
    Derivation { table: &lineage::LINEAGE, derive: lineage::derive },
    Derivation { table: &table_usage::TABLE_USAGE, derive: table_usage::derive },
    Derivation { table: &connection_usage::CONNECTION_USAGE, derive: connection_usage::derive },
    Derivation { table: &user_activity::USER_ACTIVITY, derive: user_activity::derive },
];

/// Tables that are read out of the cells' SQL, all in one pass.
pub const FROM_SQL: [&Table; 3] =
    [&sql_cells::SQL_CELLS, &sql_tables::SQL_TABLES, &column_lineage::COLUMN_LINEAGE];

/// All derived tables.
pub fn tables() -> impl Iterator<Item = &'static Table> {
    FROM_SQL.into_iter().chain(DERIVATIONS.iter().map(|d| d.table))
}

/// What tables are derived from: the Parquet files of a snapshot that is being written.
#[derive(Debug)]
pub struct Inputs<'a> {
    /// Folder of the files.
    pub folder: &'a Path,
    /// The snapshot's time.
    pub snapshot_at: DateTime<Utc>,
    /// The file of the last snapshot's lineage: tells when a table was first seen.
    pub last_lineage: Option<PathBuf>,
}

impl Inputs<'_> {
    /// The path of a table's file.
    pub fn path(&self, table: &str) -> PathBuf {
        self.folder.join(format!("{table}.parquet"))
    }

    /// A table, to compute with.
    ///
    /// # Errors
    /// If it can't be read.
    pub fn scan(&self, table: &str) -> Result<LazyFrame, PolarsError> {
        scan(&self.path(table))
    }

    /// A table's record batches.
    ///
    /// # Errors
    /// If it can't be read.
    pub fn read(&self, table: &'static Table) -> Result<TableReader, snapshot::Error> {
        TableReader::open_file(&self.path(table.name), table)
    }
}

fn scan(path: &Path) -> Result<LazyFrame, PolarsError> {
    LazyFrame::scan_parquet(PlRefPath::try_from_path(path)?, ScanArgsParquet::default())
}
