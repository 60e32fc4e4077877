//! The crawl: which requests to make, in what order, with what budget.
//!
//! A crawl's only state is its [journal]: a request that was answered there is not sent
//! again, so the same crawl goes on after any interruption. What the last snapshot knows ([`Base`]) decides
//! what need not be asked again at all.

mod ask;
mod base;
mod coverage;
mod decide;
mod endpoint;
mod engine;
mod estimate;
mod runs;

use std::sync::Arc;

use tokio::time::Instant;

pub use ask::{Source, org_id};
pub use base::{Base, Known, KnownRuns};
pub use coverage::{Coverage, State};
pub use decide::{Decision, ProjectFacts, decide};
pub use endpoint::{Endpoint, Scope};
pub use engine::{Report, crawl};
pub use estimate::{Estimate, estimate};

use crate::client;
use crate::journal;

/// How much a crawl may spend on groups and projects. The lists of the workspace are read in any case:
/// without them nothing is known.
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

/// What to crawl, and how.
#[derive(Debug, Clone)]
pub struct Options {
    /// What to read.
    pub endpoints: std::collections::BTreeSet<Endpoint>,
    /// Requests under way at once.
    pub concurrency: usize,
    /// How much may be spent.
    pub budget: Budget,
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
    /// Tells it.
    pub fn stop(&self) {
        self.0.send_replace(true);
    }

    /// Whether it was told.
    pub fn is_stopped(&self) -> bool {
        *self.0.borrow()
    }

    /// Returns once it is told.
    pub async fn stopped(&self) {
        let mut receiver = self.0.subscribe();
        // An error means that no sender is left, and `self` holds one.
        let _ = receiver.wait_for(|stopped| *stopped).await;
    }
}

/// Why a crawl ended without a result. All that was answered is in the journal.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It was told to stop.
    #[error("the crawl was interrupted")]
    Interrupted,
    /// The API doesn't take the token, or allows it nothing.
    #[error("the API refuses the token: {0}")]
    Refused(client::Error),
    /// The token may not list what everything else depends on.
    #[error("the token may not read {operation}: {reason}")]
    Forbidden {
        /// Operation refused.
        operation: &'static str,
        /// What the API said.
        reason: String,
    },
    /// The API is dead, or not Hex.
    #[error("{0}")]
    Api(client::Error),
    /// A list of the workspace could not be read to its end.
    #[error("{operation} could not be read to its end: {reason}")]
    List {
        /// Operation of the list.
        operation: &'static str,
        /// What went wrong.
        reason: String,
    },
    /// The journal can't be written or read.
    #[error(transparent)]
    Journal(#[from] journal::Error),
}
