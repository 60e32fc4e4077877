//! Snapshots: their layout in a destination, how they are written, and the atomic commit.
//!
//! ```text
//! DEST/
//!   snapshot=2026-11-24T020000Z/   one immutable snapshot: a file for each table, and manifest.json
//!   latest.json                    pointer to the last committed snapshot
//!   views.sql                      DuckDB views over the newest of each table
//!   history.sql                    DuckDB views over all snapshots
//!   delta/TABLE/                   a Delta Lake table, if they are wanted
//!   _state/                        what has to be known the next time: what catalogs were told, who is forgotten
//!   _journal/                      journals of crawls that are not committed yet, or that were kept
//! ```
//!
//! On a local path files are written into a temporary folder next to it, flushed to the disk, and the folder is renamed. In an
//! object store the files go up to `_staging/ID/` and are copied from there, then the manifest is put, if there is
//! none of its name yet. A reader that follows the pointer, the views or the manifests sees a whole snapshot or none;
//! one that lists `snapshot=*/` in a bucket may see a part of one for the seconds of the copies.

mod catalog;
mod claims;
mod commit;
mod counting;
mod csv;
#[cfg(feature = "delta")]
pub mod delta;
mod forget;
mod journals;
mod lake;
mod lock;
mod manifest;
mod reader;
mod retention;
pub mod rows;
mod upgrade;
mod verify;
mod views;
mod writer;

use std::io;
use std::path::PathBuf;

use arrow::error::ArrowError;

pub use catalog::{Manifests, Newest, Unreadable};
pub use claims::Leftover;
pub use commit::Staging;
pub(crate) use counting::Counting;
pub use forget::{
    DOMAIN as PSEUDONYM_DOMAIN, Forgotten, ForgottenEntry, KEY as PSEUDONYM_KEY, Key, KeyFlaw, Named,
    Pseudonyms,
};
pub use lake::Lake;
pub use lock::LakeLock;
pub use manifest::{
    EndpointSummary, EntityCounts, FileEntry, Latest, MANIFEST_VERSION, Manifest, TableEntry, TableState,
    ToolEntry, WorkspaceEntry,
};
pub use reader::{KeyRange, TableReader};
pub use retention::Policy;
pub use verify::Damage;
pub use views::Views;
pub use writer::{Format, TableWriter};

pub use crate::journal::{NotASnapshotId, SnapshotId};
use crate::schema::Table;
use crate::store;

/// The rows that a Delta table holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeltaMode {
    /// The rows of every snapshot, partitioned by the snapshot's day.
    History,
    /// The rows of the last snapshot; those of earlier ones are earlier versions.
    Current,
}

/// Errors of a destination.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The destination can't be read or written.
    #[error("{what} {}: {source}", path.display())]
    Io {
        /// Attempted action.
        what: &'static str,
        /// On what.
        path: PathBuf,
        /// Error of the operating system.
        source: io::Error,
    },
    /// The destination holds something that isn't hexport's.
    #[error("{} isn't empty, but holds no hexport snapshots (found {found})", path.display())]
    Foreign {
        /// The destination.
        path: PathBuf,
        /// Something that was found in it.
        found: String,
    },
    /// Another export is writing to the destination.
    #[error("another export is writing to {}: {holder}", path.display())]
    Locked {
        /// The destination.
        path: PathBuf,
        /// Holder of the lock.
        holder: String,
    },
    /// An object store refuses, or can't be reached; or the destination's name is wrong.
    #[error(transparent)]
    Store(store::Error),
    /// A Delta table can't be written.
    #[error("Delta table {table}: {source}")]
    Delta {
        /// The table.
        table: String,
        /// The engine's error, or a [`DeltaRefusal`].
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// People are forgotten, and the key to their pseudonyms is missing or wrong.
    #[error(transparent)]
    Pseudonyms(#[from] KeyFlaw),
    /// Another machine is doing something that excludes this.
    #[error(transparent)]
    Busy(Busy),
    /// There is a snapshot of this name already.
    #[error("{place} already exists: another export committed it, or is building it")]
    Taken {
        /// The snapshot.
        place: String,
    },
    /// A file in the destination is not what it should be.
    #[error("{}: {source}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// The flaw.
        source: Flaw,
    },
    /// Rows could not be written.
    #[error("table {table}: {source}")]
    Table {
        /// The table.
        table: &'static str,
        /// Reason.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

/// Reasons why a file counts as damaged.
#[derive(Debug, thiserror::Error)]
pub enum Flaw {
    /// It isn't there.
    #[error("is not there")]
    Missing,
    /// It has another size than its manifest says.
    #[error("has {found} bytes, and should have {wanted}")]
    Size {
        /// Bytes that it has.
        found: u64,
        /// Bytes by the manifest.
        wanted: u64,
    },
    /// It has another checksum than its manifest says.
    #[error("doesn't have the SHA-256 of the manifest")]
    Checksum,
    /// A manifest can't be parsed.
    #[error("is not a manifest: {0}")]
    Manifest(#[source] serde_json::Error),
    /// A manifest stands in the folder of another snapshot.
    #[error("is the manifest of {0}")]
    OfAnother(SnapshotId),
    /// A manifest has a form that this version doesn't know.
    #[error("was written by a later version of hexport (manifest version {0})")]
    Later(u32),
    /// A note of hexport's can't be parsed.
    #[error("isn't {what}: {source}")]
    Note {
        /// Kind of note that it should be.
        what: &'static str,
        /// The parser's error.
        source: serde_json::Error,
    },
    /// It isn't Parquet.
    #[error("is not Parquet: {0}")]
    Parquet(#[from] parquet::errors::ParquetError),
    /// It isn't CSV.
    #[error("is not CSV: {0}")]
    Csv(#[from] ::csv::Error),
    /// Its rows can't be decoded.
    #[error("its rows can't be read: {0}")]
    Rows(#[from] ArrowError),
    /// It can't be written again with another address in it.
    #[error("can't be written again: {0}")]
    Rewrite(#[source] Box<dyn std::error::Error + Send + Sync>),
}

impl Flaw {
    /// The error of a file with this flaw.
    pub fn of(self, path: impl Into<PathBuf>) -> Error {
        Error::Damaged { path: path.into(), source: self }
    }
}

/// Reasons for not writing a Delta table, apart from errors of the engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DeltaRefusal {
    /// Every try met another writer's commit.
    #[error("others kept committing to it")]
    Contended,
    /// It was made in the other mode.
    #[error("it was made with --delta-mode {0}")]
    OtherMode(&'static str),
    /// The engine was left out of this build.
    #[error("this hexport was built without Delta Lake")]
    NotBuilt,
}

/// Work of another machine that excludes ours.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Busy {
    /// It removes a snapshot that is to be built on.
    #[error("a prune on another machine is removing {0}")]
    Pruning(SnapshotId),
    /// It has taken over the totals of query histories.
    #[error(
        "another machine has taken over the totals of query histories: this one was silent for half an hour"
    )]
    Counting,
    /// It builds on a snapshot that is to be removed.
    #[error("an export on another machine builds on {0}")]
    Exporting(SnapshotId),
}

impl From<store::Error> for Error {
    fn from(error: store::Error) -> Self {
        match error {
            store::Error::Io { what, path, source } => Error::Io { what, path, source },
            other => Error::Store(other),
        }
    }
}

impl Error {
    /// Rows of a table that can't be computed or converted.
    pub fn of_table<E>(table: &Table) -> impl Fn(E) -> Self + Copy + use<E>
    where
        E: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let table = table.name;
        move |error| Error::Table { table, source: error.into() }
    }

    fn io(what: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Error::Io { what, path, source }
    }
}
