//! What a crawl reads: lists of the workspace, and lists of each group or project.

use std::collections::BTreeSet;

use crate::client::cells::ListCells;
use crate::client::collections::ListCollections;
use crate::client::connections::ListDataConnections;
use crate::client::groups::ListGroups;
use crate::client::guides::ListDraftGuides;
use crate::client::operation::{self, Operation};
use crate::client::projects::{ListProjects, ListQueriedTables};
use crate::client::runs::ListRuns;
use crate::client::threads::{ListThreads, ListTopics};
use crate::client::users::ListUsers;
use crate::client::{ApiRequest, List};
use crate::schema::Table;

/// Something that a crawl reads. The order is the order in which a crawl prefers to read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Endpoint {
    /// Who the token acts as: names the workspace.
    Me,
    /// Projects and components.
    Projects,
    /// Groups.
    Groups,
    /// Users.
    Users,
    /// Collections.
    Collections,
    /// Data connections.
    DataConnections,
    /// Agent threads.
    Threads,
    /// Topics of threads.
    Topics,
    /// Drafts of guides.
    DraftGuides,
    /// Members of each group.
    GroupMembers,
    /// Queried tables of each project.
    QueriedTables,
    /// Run history of each project.
    Runs,
    /// Cells of each project.
    Cells,
}

/// What an endpoint is asked about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// The workspace: asked once.
    Workspace,
    /// A group: asked once a group.
    Group,
    /// A project: asked once a project.
    Project,
}

impl Endpoint {
    /// Every endpoint.
    pub const ALL: [Endpoint; 13] = [
        Endpoint::Me,
        Endpoint::Projects,
        Endpoint::Groups,
        Endpoint::Users,
        Endpoint::Collections,
        Endpoint::DataConnections,
        Endpoint::Threads,
        Endpoint::Topics,
        Endpoint::DraftGuides,
        Endpoint::GroupMembers,
        Endpoint::QueriedTables,
        Endpoint::Runs,
        Endpoint::Cells,
    ];

    /// The operation of the API.
    pub fn operation(self) -> &'static Operation {
        match self {
            Endpoint::Me => &operation::ME,
            Endpoint::Projects => &operation::LIST_PROJECTS,
            Endpoint::Groups => &operation::LIST_GROUPS,
            Endpoint::Users | Endpoint::GroupMembers => &operation::LIST_USERS,
            Endpoint::Collections => &operation::LIST_COLLECTIONS,
            Endpoint::DataConnections => &operation::LIST_DATA_CONNECTIONS,
            Endpoint::Threads => &operation::LIST_THREADS,
            Endpoint::Topics => &operation::LIST_TOPICS,
            Endpoint::DraftGuides => &operation::LIST_DRAFT_GUIDES,
            Endpoint::QueriedTables => &operation::GET_QUERIED_TABLES,
            Endpoint::Runs => &operation::GET_PROJECT_RUNS,
            Endpoint::Cells => &operation::LIST_CELLS,
        }
    }

    /// What it is asked about.
    pub fn scope(self) -> Scope {
        match self {
            Endpoint::GroupMembers => Scope::Group,
            Endpoint::QueriedTables | Endpoint::Runs | Endpoint::Cells => Scope::Project,
            _ => Scope::Workspace,
        }
    }

    /// A name for people: the operation, and what tells apart the two uses of `ListUsers`.
    pub fn name(self) -> &'static str {
        match self {
            Endpoint::GroupMembers => "ListUsers (members)",
            other => other.operation().id,
        }
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
        for endpoint in needed.clone() {
            match endpoint.scope() {
                Scope::Workspace => {}
                Scope::Group => drop(needed.insert(Endpoint::Groups)),
                Scope::Project => drop(needed.insert(Endpoint::Projects)),
            }
        }
        needed.insert(Endpoint::Me);
        needed
    }

    /// The request for the first page, with the largest page that the API allows.
    pub fn first_request(self, entity: Option<&str>) -> ApiRequest {
        let id = || entity.unwrap_or_default().to_owned();
        match self {
            Endpoint::Me => ApiRequest::new(&operation::ME, &[]),
            Endpoint::Projects => ListProjects::everything().request(),
            Endpoint::Groups => ListGroups::default().request(),
            Endpoint::Users => ListUsers::default().request(),
            Endpoint::Collections => ListCollections::default().request(),
            Endpoint::DataConnections => ListDataConnections::default().request(),
            Endpoint::Threads => ListThreads.request(),
            Endpoint::Topics => ListTopics.request(),
            Endpoint::DraftGuides => ListDraftGuides.request(),
            Endpoint::GroupMembers => ListUsers { group_id: Some(id()), ..ListUsers::default() }.request(),
            Endpoint::QueriedTables => ListQueriedTables { project_id: id(), page_size: None }.request(),
            Endpoint::Runs => ListRuns { project_id: id(), ..ListRuns::default() }.request(),
            Endpoint::Cells => ListCells { project_id: id(), page_size: None }.request(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tables;

    #[test]
    fn every_entity_table_has_an_endpoint_and_every_endpoint_but_me_a_table() {
        let endpoints: BTreeSet<_> =
            tables::ENTITIES.iter().map(|t| Endpoint::of_table(t).expect(t.name)).collect();
        let expected: BTreeSet<_> = Endpoint::ALL.into_iter().filter(|e| *e != Endpoint::Me).collect();
        assert_eq!(endpoints, expected);
    }

    #[test]
    fn a_fan_out_needs_the_list_that_names_its_entities() {
        let needed = Endpoint::needed_for([&crate::tables::RUNS]);
        assert_eq!(
            needed.into_iter().collect::<Vec<_>>(),
            [Endpoint::Me, Endpoint::Projects, Endpoint::Runs]
        );
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
}
