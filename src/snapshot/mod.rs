//! Snapshots: their layout in a destination, how they are written, and the atomic commit.
//!
//! ```text
//! DEST/
//!   snapshot=2026-11-24T020000Z/   one immutable snapshot: a file for each table, and manifest.json
//!   latest.json                    pointer to the last committed snapshot
//!   views.sql                      DuckDB views over the latest and over all snapshots
//!   _state/                        what has to be known the next time: what catalogs were told
//!   _journal/                      journals of crawls that are not committed yet, or that were kept
//! ```
//!
//! Files are written into a folder beside, flushed to the disk, and the folder is renamed: a reader sees a
//! whole snapshot or none.

mod lake;
mod manifest;
mod reader;
mod retention;
pub mod rows;
mod views;
mod writer;

use std::io;
use std::path::PathBuf;

pub use lake::{Damage, Lake, LakeLock, Staging, snapshot_id};
pub use manifest::{
    EndpointSummary, FileEntry, Latest, MANIFEST_VERSION, Manifest, TableEntry, ToolEntry, WorkspaceEntry,
};
pub use reader::TableReader;
pub use retention::Policy;
pub use views::sql as views_of;
pub use writer::{Format, TableWriter};

/// What can go wrong with a destination.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The destination can't be read or written.
    #[error("{what} {}: {source}", path.display())]
    Io {
        /// What was tried.
        what: &'static str,
        /// On what.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The destination holds something that isn't hexport's.
    #[error("{} is not empty and holds no snapshots of hexport (found {found})", path.display())]
    Foreign {
        /// The destination.
        path: PathBuf,
        /// Something that was found in it.
        found: String,
    },
    /// Another export is at work in the destination.
    #[error("another export is writing to {}: {holder}", path.display())]
    Locked {
        /// The destination.
        path: PathBuf,
        /// Who holds the lock.
        holder: String,
    },
    /// A file in the destination is not what it should be.
    #[error("{}: {why}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// Rows could not be written.
    #[error("table {table}: {why}")]
    Table {
        /// The table.
        table: &'static str,
        /// What is wrong.
        why: String,
    },
}

impl Error {
    fn io(what: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Error::Io { what, path, source }
    }
}
