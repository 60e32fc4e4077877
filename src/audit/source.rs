//! Where the audit reads tables from: a committed snapshot, or the files of one that is being written.

use std::path::{Path, PathBuf};

use crate::registry;
use crate::schema::Table;
use crate::snapshot::{Error, Lake, Manifest, SnapshotId, TableReader, TableState, Views};
use crate::tables::CRAWL_COVERAGE;

/// Tables of one snapshot, or the newest of each.
pub trait Tables {
    /// Opens some columns of a table, all of them if none is named; `None` if the table isn't there.
    ///
    /// # Errors
    /// If it can't be read.
    fn open(&self, table: &'static Table, columns: &[&str]) -> Result<Option<TableReader>, Error>;

    /// Whether the table is there.
    fn has(&self, table: &'static Table) -> bool;

    /// DuckDB views over the tables, for a query.
    ///
    /// # Errors
    /// If the tables can't be fetched.
    fn views(&self, sql: &str) -> Result<Views, Error>;

    /// The other snapshot that a table is from, where the newest one doesn't hold it.
    fn home(&self, _: &'static Table) -> Option<&SnapshotId> {
        None
    }

    /// State of a table by the manifest; `None` where there is no manifest yet.
    fn state(&self, _: &'static Table) -> Option<TableState> {
        None
    }

    /// Some columns of what a snapshot, by its [`home`](Self::home), says about what it read.
    ///
    /// # Errors
    /// If it can't be read.
    fn coverage(&self, home: Option<&SnapshotId>, columns: &[&str]) -> Result<Option<TableReader>, Error> {
        debug_assert!(home.is_none(), "all tables are of one snapshot");
        self.open(&CRAWL_COVERAGE, columns)
    }
}

/// A committed snapshot.
#[derive(Debug, Clone, Copy)]
pub struct Committed<'a> {
    /// The lake.
    pub lake: &'a Lake,
    /// The snapshot.
    pub manifest: &'a Manifest,
}

impl Tables for Committed<'_> {
    fn open(&self, table: &'static Table, columns: &[&str]) -> Result<Option<TableReader>, Error> {
        match columns {
            [] => TableReader::open(self.lake, self.manifest, table),
            some => TableReader::open_columns(self.lake, self.manifest, table, some),
        }
    }

    fn has(&self, table: &'static Table) -> bool {
        self.manifest.tables.get(table.name).is_some_and(|entry| !entry.files.is_empty())
    }

    fn views(&self, sql: &str) -> Result<Views, Error> {
        // Not the lake's views.sql, which is of the last snapshot.
        self.lake.views(self.manifest, sql)
    }

    fn home(&self, table: &'static Table) -> Option<&SnapshotId> {
        self.manifest.tables.get(table.name)?.files.first()?.snapshot.as_ref()
    }

    fn state(&self, table: &'static Table) -> Option<TableState> {
        self.manifest.tables.get(table.name)?.state
    }

    fn coverage(&self, home: Option<&SnapshotId>, columns: &[&str]) -> Result<Option<TableReader>, Error> {
        match home {
            None => self.open(&CRAWL_COVERAGE, columns),
            Some(home) => {
                let manifest = self.lake.manifest(home)?;
                TableReader::open_columns(self.lake, &manifest, &CRAWL_COVERAGE, columns)
            }
        }
    }
}

/// Parquet files in a folder, each named after its table.
#[derive(Debug, Clone, Copy)]
pub struct Folder<'a>(pub &'a Path);

impl Folder<'_> {
    fn path(&self, table: &Table) -> PathBuf {
        self.0.join(format!("{}.parquet", table.name))
    }
}

impl Tables for Folder<'_> {
    fn open(&self, table: &'static Table, columns: &[&str]) -> Result<Option<TableReader>, Error> {
        match (self.has(table), columns) {
            (false, _) => Ok(None),
            (true, []) => TableReader::open_file(&self.path(table), table).map(Some),
            (true, some) => TableReader::open_file_columns(&self.path(table), table, some).map(Some),
        }
    }

    fn has(&self, table: &'static Table) -> bool {
        self.path(table).exists()
    }

    fn views(&self, _: &str) -> Result<Views, Error> {
        let names = registry::all().filter(|table| self.has(table)).map(|table| table.name);
        Ok(Views::of_parquet(self.0, names))
    }
}

/// Files of a snapshot that is being written, over the newest of each other table.
#[derive(Debug, Clone, Copy)]
pub struct Overlay<'a> {
    /// The files.
    pub folder: Folder<'a>,
    /// The earlier snapshots below.
    pub below: Committed<'a>,
}

impl Tables for Overlay<'_> {
    fn open(&self, table: &'static Table, columns: &[&str]) -> Result<Option<TableReader>, Error> {
        match self.folder.has(table) {
            true => self.folder.open(table, columns),
            false => self.below.open(table, columns),
        }
    }

    fn has(&self, table: &'static Table) -> bool {
        self.folder.has(table) || self.below.has(table)
    }

    fn views(&self, sql: &str) -> Result<Views, Error> {
        // Of tables that are split over snapshots the folder has a part.
        let written = registry::all().filter(|table| self.folder.has(table) && !table.is_split());
        Ok(self.below.views(sql)?.covered_by(self.folder.0, written.map(|table| table.name)))
    }

    fn home(&self, table: &'static Table) -> Option<&SnapshotId> {
        self.below.home(table)
    }

    fn state(&self, table: &'static Table) -> Option<TableState> {
        self.below.state(table).filter(|_| !self.folder.has(table))
    }

    fn coverage(&self, home: Option<&SnapshotId>, columns: &[&str]) -> Result<Option<TableReader>, Error> {
        self.below.coverage(home, columns)
    }
}
