//! Why query histories could not be imported.

use std::path::PathBuf;

use super::kind::Kind;
use crate::{derive, snapshot};

/// Errors of an import. Nothing was committed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file can't be opened or read.
    #[error("can't read {}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A file isn't Parquet, CSV or JSON, or is damaged.
    #[error("{} isn't a readable {form} file", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Format that it was read as.
        form: &'static str,
        /// Why.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A file lacks a column that every query needs.
    #[error(
        "{} has no column for {missing} (looked for {}); it has {}",
        path.display(),
        looked_for.join(", "),
        found.join(", ")
    )]
    Columns {
        /// The file.
        path: PathBuf,
        /// The field that nothing fills.
        missing: &'static str,
        /// Columns that would.
        looked_for: Vec<String>,
        /// Columns that it has.
        found: Vec<String>,
    },
    /// A file says that it is of another kind of warehouse.
    #[error("{} is a history of {theirs}, and not of {ours}", path.display())]
    OtherKind {
        /// The file.
        path: PathBuf,
        /// Kind of warehouse that the file names.
        theirs: String,
        /// Kind of warehouse asked for.
        ours: Kind,
    },
    /// `--map` names a column that a file doesn't have.
    #[error("{} has no column {column}, which is mapped to {field}; it has {}", path.display(), found.join(", "))]
    Mapped {
        /// The file.
        path: PathBuf,
        /// The column.
        column: String,
        /// The field.
        field: &'static str,
        /// Columns that it has.
        found: Vec<String>,
    },
    /// The connection that was named isn't in the lake.
    #[error("there is no connection '{name}'; the workspace has {}", known.join(", "))]
    Connection {
        /// The name.
        name: String,
        /// Names of the workspace's connections.
        known: Vec<String>,
    },
    /// The destination has no snapshot to build on.
    #[error("{place} holds no snapshot")]
    NoSnapshot {
        /// The destination.
        place: String,
    },
    /// Sorting needs room for temporary files.
    #[error("can't keep sorted rows in {}", path.display())]
    Scratch {
        /// Where.
        path: PathBuf,
        /// Why.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The destination can't be read or written.
    #[error(transparent)]
    Snapshot(#[from] snapshot::Error),
    /// A derived table can't be computed.
    #[error(transparent)]
    Derive(#[from] derive::Error),
}
