//! The journal's header: whose crawl it is, and what it was asked for.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::SnapshotId;
use crate::client::users::ActingAs;

/// A journal's header: enough to decide who may resume the crawl, and to rebuild its snapshot.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CrawlHeader {
    /// Version of the journal's form; 1 before journals said whose they are.
    #[serde(default = "first_format")]
    pub format: u32,
    /// Version of hexport that began it.
    pub tool_version: String,
    /// Base URL of the API.
    pub base_url: String,
    /// Organisation that the crawl reads, if it is known.
    #[serde(default)]
    pub workspace: Option<String>,
    /// User that the token acts as.
    #[serde(default)]
    pub acting_as: ActingAs,
    /// Snapshot that it becomes.
    pub snapshot_id: SnapshotId,
    /// The snapshot's time: when the crawl began.
    pub snapshot_at: DateTime<Utc>,
    /// Tables asked for.
    pub tables: Vec<String>,
    /// Whether everything is read again, even what hasn't changed (`--full`).
    #[serde(default)]
    pub full: bool,
    /// Snapshot that each table builds on.
    #[serde(default)]
    pub bases: BTreeMap<String, SnapshotId>,
    /// Snapshot that all tables build on, in journals of format 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base_snapshot: Option<SnapshotId>,
    /// A fixed time for every answer, where one was asked for (reproducible samples).
    pub fixed_time: Option<DateTime<Utc>>,
}

fn first_format() -> u32 {
    1
}

impl CrawlHeader {
    /// Snapshots that the crawl builds on.
    pub fn base_snapshots(&self) -> BTreeSet<&SnapshotId> {
        self.bases.values().chain(&self.base_snapshot).collect()
    }
}
