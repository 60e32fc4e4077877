//! What came of each thing that a crawl asked for.

use std::sync::Arc;

use chrono::{DateTime, Utc};

use super::Endpoint;
use crate::schema::{Datum, Row};
use crate::tables::CRAWL_COVERAGE;

/// What came of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum State {
    /// Read to its end, or (runs) to what was known already.
    Fetched,
    /// Unchanged since an earlier snapshot, whose rows are taken over.
    Reused,
    /// Not asked for: the answer is known to be empty.
    Skipped,
    /// Not asked for, or not to its end: the budget ended first.
    Deferred,
    /// The token or the workspace's plan doesn't allow it.
    Forbidden,
    /// Gone between the list that named it and the call that asked about it.
    Vanished,
    /// No usable answer came.
    Failed,
}

impl State {
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
        }
    }

    /// Whether a snapshot with it is incomplete: something that could be read was not.
    pub fn is_gap(self) -> bool {
        matches!(self, State::Deferred | State::Failed)
    }
}

/// What came of one endpoint and entity: a row of `crawl_coverage`.
#[derive(Debug, Clone)]
pub struct Coverage {
    /// What was asked.
    pub endpoint: Endpoint,
    /// Group or project asked about.
    pub entity: Option<Arc<str>>,
    /// What came of it.
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
}

impl Coverage {
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
