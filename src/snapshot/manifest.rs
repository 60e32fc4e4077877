//! The manifest: the file that makes a folder a snapshot.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::SnapshotId;
use super::forget::ForgottenEntry;
use crate::client::users::ActingAs;

/// Version of the form of `manifest.json`.
pub const MANIFEST_VERSION: u32 = 1;

/// `manifest.json` of a snapshot.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// Version of this file's form.
    pub manifest_version: u32,
    /// The snapshot.
    pub snapshot_id: SnapshotId,
    /// Its place in the order of commits: one more than the highest before it. "Newest" is decided by it,
    /// never by a clock. Snapshots of earlier versions have none, and come before those that have one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sequence: Option<u64>,
    /// The snapshot's time: when its crawl began.
    pub snapshot_at: DateTime<Utc>,
    /// When it was committed.
    pub committed_at: DateTime<Utc>,
    /// Tool that wrote it.
    pub tool: ToolEntry,
    /// Workspace.
    pub workspace: WorkspaceEntry,
    /// Who the token acted as, and so whose view of the workspace it is; snapshots of earlier versions don't say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub acting_as: Option<ActingAs>,
    /// Whether no table is partial or stale. Follows from the tables' states; nothing else sets it.
    pub complete: bool,
    /// Version of the tables' schemas.
    pub schema_version: u32,
    /// Tables by name.
    pub tables: BTreeMap<String, TableEntry>,
    /// Operations of the API by name.
    pub endpoints: BTreeMap<String, EndpointSummary>,
    /// Fields of the API that no column maps, by table and path, with the number of rows that had them.
    pub schema_drift: BTreeMap<String, BTreeMap<String, u64>>,
    /// People whose addresses were replaced by pseudonyms after the commit.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub forgotten: Vec<ForgottenEntry>,
}

impl Manifest {
    /// Whether others may build on the snapshot's rows of a table, or read them. A stale table is among these: each
    /// snapshot carries all rows that are known, and its coverage says which ones are old. One that couldn't be
    /// read says nothing.
    pub fn holds_whole(&self, table: &str) -> bool {
        let holds = |entry: &TableEntry| {
            !entry.files.is_empty() && entry.state.is_none_or(|state| state != TableState::Unreadable)
        };
        self.tables.get(table).is_some_and(holds)
    }

    /// Its place among snapshots.
    pub fn order(&self) -> (u64, &SnapshotId) {
        (self.sequence.unwrap_or(0), &self.snapshot_id)
    }
}

#[cfg(test)]
impl Manifest {
    /// A manifest of nothing, for tests.
    pub fn empty(snapshot_id: &str) -> Self {
        Self {
            manifest_version: 1,
            snapshot_id: snapshot_id.parse().expect("an identifier of a snapshot"),
            sequence: None,
            snapshot_at: DateTime::UNIX_EPOCH,
            committed_at: DateTime::UNIX_EPOCH,
            tool: ToolEntry { name: "hexport".into(), version: "0".into() },
            workspace: WorkspaceEntry { base_url: "http://localhost/api/v1".into(), org_id: None },
            acting_as: None,
            complete: true,
            schema_version: 1,
            tables: BTreeMap::new(),
            endpoints: BTreeMap::new(),
            schema_drift: BTreeMap::new(),
            forgotten: Vec::new(),
        }
    }
}

/// Tool that wrote a snapshot.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ToolEntry {
    /// Always `hexport`.
    pub name: String,
    /// Version.
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
    /// Description of a row.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub doc: String,
    /// Columns and their types in the order of the CSV file, which doesn't tell them itself; none without one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub columns: Vec<(String, String)>,
    /// Files, one a format.
    pub files: Vec<FileEntry>,
    /// State; snapshots of earlier versions don't record it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<TableState>,
    /// Entity counts behind the state, for tables of the API.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub entities: Option<EntityCounts>,
    /// Snapshot that it was built on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base: Option<SnapshotId>,
    /// Time since which rows are kept (`--runs-keep`); what happened before is left out, but for the 16 newest runs
    /// of each project.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kept_since: Option<DateTime<Utc>>,
    /// Who saw its rows, if it isn't who the snapshot's token acted as.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seen_by: Option<ActingAs>,
}

/// State of a table: how much of it a snapshot knows. The order is from good to bad, except for the first.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TableState {
    /// The API never gave it, for any entity.
    Unreadable,
    /// Read in this crawl, to its end.
    #[default]
    Read,
    /// Nothing had changed: the rows are carried over, and hold.
    Reused,
    /// Some entities have no rows yet, or not all of them.
    Partial,
    /// Some rows are old, and may no longer hold: what they are of couldn't be read, or wasn't.
    Stale,
}

impl TableState {
    /// Its name in manifests.
    pub fn name(self) -> &'static str {
        match self {
            TableState::Unreadable => "unreadable",
            TableState::Read => "read",
            TableState::Reused => "reused",
            TableState::Partial => "partial",
            TableState::Stale => "stale",
        }
    }

    /// Whether nothing is missing that could be known.
    pub fn is_current(self) -> bool {
        matches!(self, TableState::Read | TableState::Reused)
    }

    /// Whether a snapshot with it is incomplete.
    pub fn is_gap(self) -> bool {
        matches!(self, TableState::Partial | TableState::Stale)
    }

    /// Rank of incompleteness: a snapshot is never replaced by one whose table ranks higher.
    pub fn rank(self) -> u8 {
        match self {
            TableState::Read | TableState::Reused => 0,
            TableState::Stale => 1,
            TableState::Partial => 2,
            TableState::Unreadable => 3,
        }
    }
}

/// Entities (items of a list; groups or projects of a fan-out) by how a snapshot stands towards them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct EntityCounts {
    /// Read in this crawl.
    pub read: u64,
    /// Carried over, since nothing had changed.
    pub reused: u64,
    /// Known to have no rows, so not asked about.
    pub empty: u64,
    /// Without rows yet, or without all of them.
    pub partial: u64,
    /// With rows of an earlier crawl that may no longer hold.
    pub stale: u64,
    /// Never given by the API.
    pub unreadable: u64,
}

impl EntityCounts {
    /// All of them.
    pub fn total(&self) -> u64 {
        self.read + self.reused + self.empty + self.partial + self.stale + self.unreadable
    }

    /// The state of a table of these: that of its worst entity. It is unreadable only if nothing of it ever was
    /// read; one refused project among many leaves it partial.
    pub fn state(&self) -> TableState {
        let known = self.read + self.reused;
        if self.stale > 0 {
            TableState::Stale
        } else if self.partial > 0 || (self.unreadable > 0 && known > 0) {
            TableState::Partial
        } else if self.unreadable > 0 {
            TableState::Unreadable
        } else if self.reused > 0 && self.read == 0 {
            TableState::Reused
        } else {
            TableState::Read
        }
    }
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
    pub snapshot: Option<SnapshotId>,
}

/// Requests and results of one operation.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct EndpointSummary {
    /// Requests sent, repeated and refused ones included; those of an interrupted crawl before it too.
    pub requests: u64,
    /// Of these, repeated or refused.
    pub retries: u64,
    /// Items received.
    pub rows: u64,
    /// Entities by what came of them, as in `crawl_coverage`.
    pub states: BTreeMap<String, u64>,
}

/// `latest.json` of a destination.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Latest {
    /// The last committed snapshot.
    pub snapshot_id: SnapshotId,
    /// Its place in the order of commits; see [`Manifest::sequence`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sequence: Option<u64>,
    /// Folder.
    pub path: String,
    /// Manifest.
    pub manifest: String,
    /// When it was committed.
    pub committed_at: DateTime<Utc>,
}
