//! What a snapshot says about itself.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

/// Version of the form of `manifest.json`.
pub const MANIFEST_VERSION: u32 = 1;

/// `manifest.json` of a snapshot.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// Version of this file's form.
    pub manifest_version: u32,
    /// The snapshot.
    pub snapshot_id: String,
    /// Its place in the order of commits: one more than the highest before it. Everything "newest" goes by it,
    /// never by a clock. Snapshots of earlier versions have none, and come before those that have one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sequence: Option<u64>,
    /// The snapshot's time: when its crawl began.
    pub snapshot_at: DateTime<Utc>,
    /// When it was committed.
    pub committed_at: DateTime<Utc>,
    /// What wrote it.
    pub tool: ToolEntry,
    /// What it is of.
    pub workspace: WorkspaceEntry,
    /// Whether everything that was asked for was answered.
    pub complete: bool,
    /// Version of the tables' schemas.
    pub schema_version: u32,
    /// Tables by name.
    pub tables: BTreeMap<String, TableEntry>,
    /// Operations of the API by name.
    pub endpoints: BTreeMap<String, EndpointSummary>,
    /// Fields of the API that no column maps, by table and path, with the number of rows that had them.
    pub schema_drift: BTreeMap<String, BTreeMap<String, u64>>,
}

impl Manifest {
    /// Whether the snapshot holds all rows of a table, so that others may build on it or read it.
    pub fn holds_whole(&self, table: &str) -> bool {
        self.tables.get(table).is_some_and(|entry| !entry.files.is_empty())
    }

    /// Its place among snapshots.
    pub fn order(&self) -> (u64, &str) {
        (self.sequence.unwrap_or(0), &self.snapshot_id)
    }
}

#[cfg(test)]
impl Manifest {
    /// A manifest of nothing, for tests.
    pub fn empty(snapshot_id: &str) -> Self {
        Self {
            manifest_version: 1,
            snapshot_id: snapshot_id.into(),
            sequence: None,
            snapshot_at: DateTime::UNIX_EPOCH,
            committed_at: DateTime::UNIX_EPOCH,
            tool: ToolEntry { name: "hexport".into(), version: "0".into() },
            workspace: WorkspaceEntry { base_url: "http://localhost/api/v1".into(), org_id: None },
            complete: true,
            schema_version: 1,
            tables: BTreeMap::new(),
            endpoints: BTreeMap::new(),
            schema_drift: BTreeMap::new(),
        }
    }
}

/// What wrote a snapshot.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ToolEntry {
    /// Always `hexport`.
    pub name: String,
    /// Its version.
    pub version: String,
}

/// The workspace of a snapshot.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct WorkspaceEntry {
    /// Base URL of the API.
    pub base_url: String,
    /// Organisation, if the API told it.
    pub org_id: Option<String>,
}

/// A table of a snapshot.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct TableEntry {
    /// Rows.
    pub rows: u64,
    /// What a row is.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub doc: String,
    /// Columns and their types in the order of the CSV file, which doesn't tell them itself; none without one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub columns: Vec<(String, String)>,
    /// Files, one a format.
    pub files: Vec<FileEntry>,
}

/// A file of a table.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FileEntry {
    /// Name within the snapshot's folder.
    pub path: String,
    /// `parquet` or `csv`.
    pub format: String,
    /// Size.
    pub bytes: u64,
    /// SHA-256, in hexadecimal.
    pub sha256: String,
    /// The snapshot that holds the file, where a table was taken from another than the manifest's own.
    #[serde(skip)]
    pub snapshot: Option<String>,
}

/// What the crawl did with one operation.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct EndpointSummary {
    /// Requests sent, repeated and refused ones included; those of an interrupted crawl before it too.
    pub requests: u64,
    /// Of these, repeated or refused.
    pub retries: u64,
    /// Items received.
    pub rows: u64,
    /// Entities by what came of them: fetched, skipped, forbidden, vanished, failed.
    pub states: BTreeMap<String, u64>,
}

/// `latest.json` of a destination.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Latest {
    /// The last committed snapshot.
    pub snapshot_id: String,
    /// Its place in the order of commits; see [`Manifest::sequence`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sequence: Option<u64>,
    /// Its folder.
    pub path: String,
    /// Its manifest.
    pub manifest: String,
    /// When it was committed.
    pub committed_at: DateTime<Utc>,
}
