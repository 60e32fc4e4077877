//! Coverage: what was asked for each entity, and the result.

use std::sync::Arc;

use chrono::{DateTime, Utc};

use super::Endpoint;
use crate::schema::{Datum, Row};
use crate::tables::CRAWL_COVERAGE;

/// Outcome.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum State {
    /// Read to its end, or (runs) to what was known already.
    Fetched,
    /// Unchanged since an earlier snapshot, whose rows are carried over.
    Reused,
    /// Not asked for: the answer is known to be empty.
    Skipped,
    /// Not asked for, or not to its end: the budget ended first.
    Deferred,
    /// The token or the workspace's plan doesn't allow it.
    Forbidden,
    /// 404, although the list that was just read names it.
    Vanished,
    /// No usable answer came, or not to the end of the list.
    Failed,
    /// An entity that a list no longer names, which isn't believed yet: its last known row is kept.
    Missing,
    /// Not asked for, since the list that should name the entity doesn't, which isn't believed yet.
    Held,
}

impl State {
    /// Every state.
    pub const ALL: [Self; 9] = [
        Self::Fetched,
        Self::Reused,
        Self::Skipped,
        Self::Deferred,
        Self::Forbidden,
        Self::Vanished,
        Self::Failed,
        Self::Missing,
        Self::Held,
    ];

    /// Name in `crawl_coverage` and in manifests.
    pub fn name(self) -> &'static str {
        match self {
            State::Fetched => "fetched",
            State::Reused => "reused",
            State::Skipped => "skipped",
            State::Deferred => "deferred",
            State::Forbidden => "forbidden",
            State::Vanished => "vanished",
            State::Failed => "failed",
            State::Missing => "missing",
            State::Held => "held",
        }
    }

    /// The state of this name.
    pub fn by_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.name() == name)
    }
}

/// Standing of one entity's rows in a snapshot, after a crawl.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// Its rows are those of this crawl.
    Read,
    /// It is known to have no rows.
    Empty,
    /// Its rows are carried over, and still hold.
    Reused,
    /// Its rows are those of an earlier crawl, and may no longer hold.
    Stale,
    /// It could be read, and has no rows yet, or not all.
    Partial,
    /// The API doesn't give it, and never did.
    Unreadable,
}

/// Result for one endpoint and entity: a row of `crawl_coverage`.
#[derive(Debug, Clone)]
pub struct Coverage {
    /// Endpoint.
    pub endpoint: Endpoint,
    /// Group or project asked about; of a missing entity, that entity.
    pub entity: Option<Arc<str>>,
    /// Outcome.
    pub state: State,
    /// Why.
    pub reason: Option<String>,
    /// Requests sent, repeated and refused ones included.
    pub requests: u64,
    /// Items received.
    pub rows: u64,
    /// When it was last read, to its end or in part.
    pub last_read_at: Option<DateTime<Utc>>,
    /// State of the project when it was last read to its end.
    pub stamp: Option<String>,
    /// Whether every item that the API has was received (and not only those that are new).
    pub whole: bool,
    /// Whether an earlier snapshot holds what was read of it.
    pub known: bool,
    /// Whether the server itself refused it, in contrast to an answer that never came.
    pub refused: bool,
}

impl Coverage {
    /// Standing of the entity's rows in the snapshot.
    pub fn standing(&self) -> Standing {
        match self.state {
            State::Fetched => Standing::Read,
            State::Skipped => Standing::Empty,
            State::Reused => Standing::Reused,
            State::Missing | State::Held => Standing::Stale,
            State::Deferred | State::Forbidden | State::Vanished | State::Failed if self.known => {
                Standing::Stale
            }
            State::Deferred => Standing::Partial,
            // The beginning of a list that broke off is in the snapshot.
            _ if self.rows > 0 || !self.refused => Standing::Partial,
            _ => Standing::Unreadable,
        }
    }

    /// The row of `crawl_coverage`.
    pub fn row(&self, snapshot_at: DateTime<Utc>) -> Row {
        let row = vec![
            Datum::Text(self.endpoint.operation().id.into()),
            Datum::text(self.entity.as_deref()),
            Datum::Text(self.state.name().into()),
            Datum::text(self.reason.as_deref()),
            Datum::Int(self.requests as i64),
            Datum::Int(self.rows as i64),
            self.last_read_at.map_or(Datum::Null, Datum::time),
            Datum::text(self.stamp.as_deref()),
            Datum::time(self.last_read_at.unwrap_or(snapshot_at)),
            Datum::time(snapshot_at),
        ];
        debug_assert_eq!(row.len(), CRAWL_COVERAGE.all_columns().count());
        row
    }
}
