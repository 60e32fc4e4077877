//! Endpoints of a crawl: lists of the workspace, and lists of each group or project.
//!
//! An endpoint is described once, by its [`Spec`]; planning, crawling, building and the command line iterate over
//! [`Endpoint::ALL`]. To add one, write its `Spec` here, name it in `ALL`, and declare its table.

use std::cmp::Ordering;
use std::collections::BTreeSet;
use std::fmt;
use std::hash::{Hash, Hasher};

use super::ProjectFacts;
use crate::client::cells::ListCells;
use crate::client::collections::ListCollections;
use crate::client::connections::ListDataConnections;
use crate::client::groups::ListGroups;
use crate::client::guides::ListDraftGuides;
use crate::client::operation::{self, Operation};
use crate::client::project_file::{count_imports, export_request};
use crate::client::projects::{ListProjects, ListQueriedTables, Version};
use crate::client::runs::ListRuns;
use crate::client::threads::{ListThreads, ListTopics};
use crate::client::users::ListUsers;
use crate::client::{ApiRequest, List};
use crate::schema::Table;

/// Entities that an endpoint is asked about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// The workspace: asked once.
    Workspace,
    /// A group: asked once a group.
    Group,
    /// A project: asked once a project.
    Project,
}

/// Consequence for a snapshot when a list of the workspace can't be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Need {
    /// Nothing is committed: without it nothing is known.
    Required,
    /// Its tables keep their last known rows, and say so.
    Optional,
}

/// Whether a list that suddenly lost many entries is believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shrink {
    /// Only when the next crawl says the same.
    Guarded,
    /// At once: the list is a window, or its entries come and go.
    Believed,
}

/// Treatment of the first entity of a fan-out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Probe {
    /// Alone: its answer tells whether the workspace's plan has the operation at all.
    Alone,
    /// Together with others.
    Together,
}

/// The description of an endpoint.
pub struct Spec {
    /// A name for people: the operation, and what tells apart two uses of the same one.
    pub name: &'static str,
    /// The operation of the API.
    pub operation: &'static Operation,
    /// Scope of a request.
    pub scope: Scope,
    /// Whether a snapshot can do without it.
    pub need: Need,
    /// Whether a sudden shrink is believed.
    pub shrink: Shrink,
    /// Treatment of a fan-out's first entity.
    pub probe: Probe,
    /// The request for the first page, with the largest page that the API allows.
    pub first: fn(Option<&str>) -> ApiRequest,
    /// State of the project that the answer depends on, for fan-outs over projects that can be reused.
    pub stamp: Option<fn(&ProjectFacts) -> String>,
    /// Reason that the answer is known to be empty, if it is.
    pub known_empty: fn(&ProjectFacts) -> Option<&'static str>,
    /// Counts what is wanted of an answer that isn't a page of a list, or says why it can't be read.
    pub count: fn(&[u8]) -> Result<u64, String>,
}

/// Something that a crawl reads. The order is the order in which a crawl prefers to read.
#[derive(Clone, Copy)]
pub struct Endpoint(&'static Spec);

const fn workspace(
    operation: &'static Operation,
    shrink: Shrink,
    first: fn(Option<&str>) -> ApiRequest,
) -> Spec {
    Spec {
        name: operation.id,
        operation,
        scope: Scope::Workspace,
        need: Need::Optional,
        shrink,
        probe: Probe::Together,
        first,
        stamp: None,
        known_empty: |_| None,
        count: |_| Ok(1),
    }
}

const fn of_project(operation: &'static Operation, first: fn(Option<&str>) -> ApiRequest) -> Spec {
    Spec { scope: Scope::Project, ..workspace(operation, Shrink::Believed, first) }
}

fn id<I: for<'a> From<&'a str>>(entity: Option<&str>) -> I {
    I::from(entity.unwrap_or_default())
}

fn runs_of_published(project: &ProjectFacts) -> Option<&'static str> {
    // A run needs a published version, and queried tables are filled by published runs (hex-api.md).
    project.published.is_none().then_some("never published: it has no runs")
}

static PROJECTS: Spec = Spec {
    need: Need::Required,
    ..workspace(&operation::LIST_PROJECTS, Shrink::Guarded, |_| ListProjects::everything().request())
};
static GROUPS: Spec =
    workspace(&operation::LIST_GROUPS, Shrink::Guarded, |_| ListGroups::default().request());
static USERS: Spec = workspace(&operation::LIST_USERS, Shrink::Guarded, |_| ListUsers::default().request());
static COLLECTIONS: Spec =
    workspace(&operation::LIST_COLLECTIONS, Shrink::Guarded, |_| ListCollections::default().request());
static DATA_CONNECTIONS: Spec = workspace(&operation::LIST_DATA_CONNECTIONS, Shrink::Guarded, |_| {
    ListDataConnections::default().request()
});
static THREADS: Spec = workspace(&operation::LIST_THREADS, Shrink::Believed, |_| ListThreads.request());
static TOPICS: Spec = workspace(&operation::LIST_TOPICS, Shrink::Believed, |_| ListTopics.request());
static DRAFT_GUIDES: Spec =
    workspace(&operation::LIST_DRAFT_GUIDES, Shrink::Believed, |_| ListDraftGuides.request());
static GROUP_MEMBERS: Spec = Spec {
    name: "ListUsers (members)",
    scope: Scope::Group,
    ..workspace(&operation::LIST_USERS, Shrink::Believed, |group| {
        ListUsers { group_id: Some(id(group)), ..ListUsers::default() }.request()
    })
};
static QUERIED_TABLES: Spec = Spec {
    // A 403 means the workspace's plan, not the project (hex-api.md): learn it from one request.
    probe: Probe::Alone,
    stamp: Some(ProjectFacts::results_stamp),
    known_empty: runs_of_published,
    ..of_project(&operation::GET_QUERIED_TABLES, |project| {
        ListQueriedTables { project_id: id(project), page_size: None }.request()
    })
};
static RUNS: Spec = Spec {
    stamp: Some(ProjectFacts::activity_stamp),
    known_empty: runs_of_published,
    ..of_project(&operation::GET_PROJECT_RUNS, |project| {
        ListRuns { project_id: id(project), ..ListRuns::default() }.request()
    })
};
static COMPONENT_IMPORTS: Spec = Spec {
    // The file is the draft's, as the cells are.
    stamp: Some(ProjectFacts::draft_stamp),
    count: count_imports,
    ..of_project(&operation::EXPORT_PROJECT, |project| export_request(&id(project), Version::Draft))
};
static CELLS: Spec = Spec {
    stamp: Some(ProjectFacts::draft_stamp),
    ..of_project(&operation::LIST_CELLS, |project| {
        ListCells { project_id: id(project), page_size: None }.request()
    })
};

impl Endpoint {
    /// Projects and components.
    pub const PROJECTS: Self = Self(&PROJECTS);
    /// Groups.
    pub const GROUPS: Self = Self(&GROUPS);
    /// Users.
    pub const USERS: Self = Self(&USERS);
    /// Collections.
    pub const COLLECTIONS: Self = Self(&COLLECTIONS);
    /// Data connections.
    pub const DATA_CONNECTIONS: Self = Self(&DATA_CONNECTIONS);
    /// Agent threads.
    pub const THREADS: Self = Self(&THREADS);
    /// Topics of threads.
    pub const TOPICS: Self = Self(&TOPICS);
    /// Drafts of guides.
    pub const DRAFT_GUIDES: Self = Self(&DRAFT_GUIDES);
    /// Members of each group.
    pub const GROUP_MEMBERS: Self = Self(&GROUP_MEMBERS);
    /// Queried tables of each project.
    pub const QUERIED_TABLES: Self = Self(&QUERIED_TABLES);
    /// Run history of each project.
    pub const RUNS: Self = Self(&RUNS);
    /// Components that each project imports; asked only for projects with a cell that imports one.
    pub const COMPONENT_IMPORTS: Self = Self(&COMPONENT_IMPORTS);
    /// Cells of each project.
    pub const CELLS: Self = Self(&CELLS);

    /// Every endpoint, in the order in which a crawl prefers to read.
    pub const ALL: [Self; 13] = [
        Self::PROJECTS,
        Self::GROUPS,
        Self::USERS,
        Self::COLLECTIONS,
        Self::DATA_CONNECTIONS,
        Self::THREADS,
        Self::TOPICS,
        Self::DRAFT_GUIDES,
        Self::GROUP_MEMBERS,
        Self::QUERIED_TABLES,
        Self::RUNS,
        Self::CELLS,
        Self::COMPONENT_IMPORTS,
    ];

    /// Description.
    pub fn spec(self) -> &'static Spec {
        self.0
    }

    /// The operation of the API.
    pub fn operation(self) -> &'static Operation {
        self.0.operation
    }

    /// Scope of a request.
    pub fn scope(self) -> Scope {
        self.0.scope
    }

    /// A name for people.
    pub fn name(self) -> &'static str {
        self.0.name
    }

    /// The list that names the groups or projects that it is asked about.
    pub fn named_by(self) -> Option<Self> {
        match self.scope() {
            Scope::Workspace => None,
            Scope::Group => Some(Self::GROUPS),
            Scope::Project => Some(Self::PROJECTS),
        }
    }

    /// Fan-outs over the entities that this list names.
    pub fn names(self) -> impl Iterator<Item = Self> {
        Self::ALL.into_iter().filter(move |endpoint| endpoint.named_by() == Some(self))
    }

    fn order(self) -> usize {
        Self::ALL.iter().position(|other| std::ptr::eq(other.0, self.0)).unwrap_or(usize::MAX)
    }

    /// The endpoint that a journalled or tabled answer belongs to.
    pub fn of(operation: &str, has_entity: bool) -> Option<Self> {
        let wanted =
            |e: &Endpoint| e.operation().id == operation && (e.scope() != Scope::Workspace) == has_entity;
        Self::ALL.into_iter().find(wanted)
    }

    /// The endpoint that a table's rows come from; `None` for tables that the crawl itself makes.
    pub fn of_table(table: &Table) -> Option<Self> {
        let has_entity = table.columns.iter().any(|column| column.from == "@entity");
        Self::of(table.operation()?.id, has_entity)
    }

    /// The endpoints that `tables` need, those that name the projects and groups to ask about included.
    pub fn needed_for<'a>(tables: impl IntoIterator<Item = &'a Table>) -> BTreeSet<Self> {
        let mut needed: BTreeSet<Self> = tables.into_iter().filter_map(Self::of_table).collect();
        needed.extend(needed.clone().into_iter().filter_map(Self::named_by));
        needed
    }

    /// The request for the first page, with the largest page that the API allows.
    pub fn first_request(self, entity: Option<&str>) -> ApiRequest {
        (self.0.first)(entity)
    }
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl PartialEq for Endpoint {
    fn eq(&self, other: &Self) -> bool {
        std::ptr::eq(self.0, other.0)
    }
}

impl Eq for Endpoint {}

impl Hash for Endpoint {
    fn hash<H: Hasher>(&self, state: &mut H) {
        std::ptr::hash(self.0, state);
    }
}

impl PartialOrd for Endpoint {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Endpoint {
    fn cmp(&self, other: &Self) -> Ordering {
        self.order().cmp(&other.order())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tables;

    #[test]
    fn every_entity_table_has_an_endpoint_and_every_endpoint_a_table() {
        let endpoints: BTreeSet<_> =
            tables::ENTITIES.iter().map(|t| Endpoint::of_table(t).expect(t.name)).collect();
        assert_eq!(endpoints, BTreeSet::from(Endpoint::ALL));
    }

    #[test]
    fn a_fan_out_needs_the_list_that_names_its_entities() {
        let needed = Endpoint::needed_for([&tables::RUNS]);
        assert_eq!(needed.into_iter().collect::<Vec<_>>(), [Endpoint::PROJECTS, Endpoint::RUNS]);
    }

    #[test]
    fn the_largest_page_is_asked_for_everywhere() {
        for endpoint in Endpoint::ALL {
            let request = endpoint.first_request(Some("x"));
            if let Some(listing) = request.operation().listing {
                let limit =
                    request.query_pairs().iter().find(|(name, _)| *name == "limit").map(|(_, v)| v.as_str());
                assert_eq!(limit, Some(listing.max_page.to_string().as_str()), "{endpoint:?}");
            }
        }
    }

    #[test]
    fn only_the_list_of_projects_is_required() {
        let required: Vec<_> =
            Endpoint::ALL.into_iter().filter(|e| e.spec().need == Need::Required).collect();
        assert_eq!(required, [Endpoint::PROJECTS]);
    }
}
