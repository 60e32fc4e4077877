//! One request in a paginated series about an endpoint and entity, with the results of the earlier ones.

use std::collections::HashSet;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use chrono::{DateTime, Utc};

use super::base::KnownRuns;
use super::runs::History;
use super::{Endpoint, ProjectFacts};
use crate::client::operation::Operation;
use crate::client::{ApiRequest, identifier};

/// Pages in a row without one new item after which a list is given up: a server that always invents a new cursor
/// would be followed for ever.
const BARREN_PAGES: u32 = 20;

/// A task's place in the queue: most wanted first.
pub(super) type Rank = (u8, i64, i64);

/// One request in a paginated series about an endpoint and entity.
#[derive(Debug)]
pub(super) struct Task {
    pub endpoint: Endpoint,
    pub entity: Option<Arc<str>>,
    pub request: ApiRequest,
    /// Most wanted first: lists and further pages, then what was read longest ago, then what is viewed most.
    pub rank: Rank,
    pub serial: u64,
    pub stamp: Option<String>,
    /// The project, of a fan-out over projects.
    pub facts: Option<Arc<ProjectFacts>>,
    pub history: Option<History>,
    /// Keys of the pages read: a server whose cursors go round in a circle is not followed.
    pub visited: HashSet<String>,
    pub requests: u64,
    pub rows: u64,
    pub read_at: Option<DateTime<Utc>>,
    /// Single runs that are asked for after the pages.
    pub stragglers: Vec<String>,
    pub in_stragglers: bool,
    /// Whether one of the cells read imports a component.
    pub imports: bool,
    seen: HashSet<u64>,
    barren: u32,
}

impl Task {
    /// Takes note of a page's items: whether the list still says something new. Items without an identifier
    /// count by their whole text.
    pub fn see<'a>(&mut self, items: impl Iterator<Item = &'a str>) {
        let before = self.seen.len();
        let listing = self.endpoint.operation().listing;
        for item in items {
            let mut hasher = DefaultHasher::new();
            match listing.and_then(|listing| identifier(&listing, item)) {
                Some(id) => id.hash(&mut hasher),
                None => item.hash(&mut hasher),
            }
            self.seen.insert(hasher.finish());
        }
        self.barren = if self.seen.len() > before { 0 } else { self.barren + 1 };
    }

    /// Whether page after page brought nothing new.
    pub fn is_barren(&self) -> bool {
        self.barren >= BARREN_PAGES
    }
}

/// A series of requests that was not begun. A large workspace has hundreds of thousands of them waiting, each a tenth
/// of what a [`Task`] takes.
#[derive(Debug)]
pub(super) struct Intent {
    pub endpoint: Endpoint,
    pub entity: Option<Arc<str>>,
    /// As a task's.
    pub rank: Rank,
    pub serial: u64,
    pub stamp: Option<String>,
    /// The project, of a fan-out over projects.
    pub facts: Option<Arc<ProjectFacts>>,
    /// Of a run history: the runs that are known; all, or the newest of them.
    pub history: Option<(Option<Arc<KnownRuns>>, Option<u64>)>,
}

impl Intent {
    /// The task with its first request.
    pub fn begin(self) -> Task {
        Task {
            endpoint: self.endpoint,
            request: self.endpoint.first_request(self.entity.as_deref()),
            entity: self.entity,
            rank: self.rank,
            serial: self.serial,
            stamp: self.stamp,
            facts: self.facts,
            history: self.history.map(|(known, part)| History::new(known, part)),
            visited: HashSet::new(),
            requests: 0,
            rows: 0,
            read_at: None,
            stragglers: Vec::new(),
            in_stragglers: false,
            imports: false,
            seen: HashSet::new(),
            barren: 0,
        }
    }
}

/// Whatever waits for its turn.
#[derive(Debug)]
pub(super) enum Queued {
    New(Intent),
    /// One of which a page was read, or whose request was held up.
    Begun(Box<Task>),
}

impl Queued {
    /// The task, with the request that is next.
    pub fn begin(self) -> Task {
        match self {
            Queued::New(intent) => intent.begin(),
            Queued::Begun(task) => *task,
        }
    }

    /// The operation of the request that is next.
    pub fn operation(&self) -> &'static Operation {
        match self {
            Queued::New(intent) => intent.endpoint.operation(),
            Queued::Begun(task) => task.request.operation(),
        }
    }

    pub fn rank(&self) -> Rank {
        match self {
            Queued::New(intent) => intent.rank,
            Queued::Begun(task) => task.rank,
        }
    }

    fn serial(&self) -> u64 {
        match self {
            Queued::New(intent) => intent.serial,
            Queued::Begun(task) => task.serial,
        }
    }
}

impl From<Intent> for Queued {
    fn from(intent: Intent) -> Self {
        Queued::New(intent)
    }
}

impl From<Task> for Queued {
    fn from(task: Task) -> Self {
        Queued::Begun(Box::new(task))
    }
}

impl PartialEq for Queued {
    fn eq(&self, other: &Self) -> bool {
        (self.rank(), self.serial()) == (other.rank(), other.serial())
    }
}

impl Eq for Queued {}

impl PartialOrd for Queued {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Queued {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        // A heap gives its greatest, and the least rank is wanted most.
        (other.rank(), other.serial()).cmp(&(self.rank(), self.serial()))
    }
}
