//! The crawl: which requests to make, in what order, with what budget.
//!
//! A crawl's only state is its [journal]: a request that was answered there is not sent
//! again, so the same crawl continues after any interruption. What earlier snapshots know ([`Base`]) decides
//! what need not be asked again at all.

mod ask;
mod base;
mod coverage;
mod decide;
mod endpoint;
mod engine;
mod estimate;
mod freshness;
mod gate;
mod identity;
mod order;
mod runs;
pub mod schedule;
mod task;

use std::sync::Arc;

use tokio::time::Instant;

pub use ask::Source;
pub use base::{Base, GIVEN_UP_AFTER, Known, KnownRuns, is_given_up, primary_table};
pub use coverage::{Coverage, Standing, State};
pub use decide::{Decision, ProjectFacts, Reread, decide};
pub use endpoint::{Endpoint, Need, Probe, Scope, Shrink, Spec};
pub use engine::{Report, crawl};
pub use estimate::{Estimate, estimate};
pub use freshness::Freshness;
pub use identity::{Identity, identify};

use crate::client;
use crate::journal;

/// Limits on what a crawl may spend on groups and projects. The lists of the workspace are read in any case: without
/// them nothing is known.
#[derive(Debug, Clone, Copy, Default)]
pub struct Budget {
    /// No request is begun after this.
    pub until: Option<Instant>,
    /// Requests, those of an interrupted crawl that is resumed included.
    pub requests: Option<u64>,
}

impl Budget {
    /// Whether anything limits the crawl.
    pub fn is_limited(&self) -> bool {
        self.until.is_some() || self.requests.is_some()
    }
}

/// Parameters of a crawl.
#[derive(Debug, Clone)]
pub struct Options {
    /// Endpoints to read.
    pub endpoints: std::collections::BTreeSet<Endpoint>,
    /// Requests under way at once, in each group of operations that the server counts together.
    pub concurrency: usize,
    /// Budget of time and requests.
    pub budget: Budget,
    /// Requests that were spent on it before.
    pub spent: u64,
    /// Whether what has not changed is read again all the same.
    pub full: bool,
    /// When what is reused is read again.
    pub reread: Reread,
    /// Lists that the journal already has are re-read: they may have been read under another identity.
    pub doubted_before: Option<chrono::DateTime<chrono::Utc>>,
    /// Means of recognising the base's workspace.
    pub workspace: Workspace,
    /// Handling of a list of projects that is suddenly empty.
    pub empty: Empty,
}

/// Means of recognising that the token's workspace is the one that the base is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Workspace {
    /// By its identifier, or there is nothing to compare with.
    Settled,
    /// At least half of the projects that were listed before must be listed again.
    ByItsProjects,
}

/// Handling of a list of projects that is suddenly empty.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Empty {
    /// It ends the crawl.
    Refused,
    /// A person says that it is right.
    Accepted,
}

/// Listens to a crawl. Calls come often and must be quick.
pub trait Progress: Send + Sync {
    /// So many more entities (or, for a list of the workspace, one list) will be read.
    fn expect(&self, endpoint: Endpoint, entities: u64);
    /// A page came, from the API or from the journal.
    fn page(&self, endpoint: Endpoint, items: u64, replayed: bool);
    /// An endpoint and entity is done with.
    fn done(&self, coverage: &Coverage);
    /// Something that a person should read.
    fn note(&self, text: &str);
    /// Something that a person should look into.
    fn warn(&self, text: &str) {
        self.note(text);
    }
}

/// Hears nothing.
pub struct Quiet;

impl Progress for Quiet {
    fn expect(&self, _: Endpoint, _: u64) {}
    fn page(&self, _: Endpoint, _: u64, _: bool) {}
    fn done(&self, _: &Coverage) {}
    fn note(&self, _: &str) {}
}

/// Tells a crawl to end early.
#[derive(Debug, Clone)]
pub struct Stop(Arc<tokio::sync::watch::Sender<bool>>);

impl Default for Stop {
    fn default() -> Self {
        Self(Arc::new(tokio::sync::watch::channel(false).0))
    }
}

impl Stop {
    /// Requests a stop.
    pub fn stop(&self) {
        self.0.send_replace(true);
    }

    /// Whether it was requested.
    pub fn is_stopped(&self) -> bool {
        *self.0.borrow()
    }

    /// Returns once it is requested.
    pub async fn stopped(&self) {
        let mut receiver = self.0.subscribe();
        // An error means that no sender is left, and `self` holds one.
        let _ = receiver.wait_for(|stopped| *stopped).await;
    }
}

/// Errors that end a crawl. All responses so far are in the journal.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It was stopped.
    #[error("the crawl was interrupted")]
    Interrupted,
    /// The API doesn't take the token, or allows it nothing.
    #[error("the API refused the token: {0}")]
    Refused(#[source] client::Error),
    /// The token may not list what everything else depends on.
    #[error("the token may not read {operation}: {reason}")]
    Forbidden {
        /// Operation refused.
        operation: &'static str,
        /// Reason that the API gave.
        reason: String,
    },
    /// The API is dead, or not Hex.
    #[error("{0}")]
    Api(#[source] client::Error),
    /// A list of the workspace could not be read to its end.
    #[error("{operation} could not be read completely: {reason}")]
    List {
        /// Operation of the list.
        operation: &'static str,
        /// The failure.
        reason: String,
    },
    /// No project is listed, and some were before.
    #[error("the list of projects is empty, but had {known} before")]
    NoProjects {
        /// Projects known.
        known: usize,
    },
    /// The projects listed are hardly those that the base knows.
    #[error(
        "the token lists {shared} of the {known} projects in the destination: this may be another workspace"
    )]
    OtherProjects {
        /// Projects known.
        known: usize,
        /// Of these, listed.
        shared: usize,
    },
    /// The budget's time ended before the lists were read.
    #[error("the budget ran out before {operation} was read completely")]
    OutOfTime {
        /// Operation of the list.
        operation: &'static str,
    },
    /// The journal can't be written or read.
    #[error(transparent)]
    Journal(#[from] journal::Error),
}
