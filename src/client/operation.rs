//! The operations of the Hex API that this client speaks: one constant each.
//!
//! An [`Operation`] is what the contract tests compare with the published description, what the crawler
//! schedules, and what the journal files a response under.

use std::fmt;

use super::limits::{self, LimitGroup};

/// HTTP method of an operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Method {
    /// A read.
    Get,
    /// A write (or, for `ExportProject`, a read that takes a body).
    Post,
    /// A partial update.
    Patch,
    /// A removal or a cancellation.
    Delete,
}

impl Method {
    /// The method's name on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Method::Get => "GET",
            Method::Post => "POST",
            Method::Patch => "PATCH",
            Method::Delete => "DELETE",
        }
    }
}

/// Paging of a list operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Paging {
    /// Query `limit` and `after`; answer `{<items>: [...], pagination: {after, before}}`.
    Cursor,
    /// Query `limit` and `offset`; answer `{<items>: [...], nextPage, previousPage}`.
    Offset,
}

/// The list half of an operation: where its items are and how many fit on a page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Listing {
    /// Pagination scheme.
    pub paging: Paging,
    /// Key of the array of items in the answer.
    pub items: &'static str,
    /// Largest page the description allows, in items.
    pub max_page: u32,
    /// Fields of an item, the first that is set of which identifies it; none where items have no identifier.
    pub ids: &'static [&'static str],
}

/// Effect of an operation on the workspace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// Changes nothing; may be sent again after a failure.
    Read,
    /// Changes the workspace; never sent twice.
    Write,
}

/// One operation of the Hex API.
#[derive(Debug, PartialEq, Eq)]
pub struct Operation {
    /// `operationId` of the published description.
    pub id: &'static str,
    /// HTTP method.
    pub method: Method,
    /// Path below the API root, with `{name}` placeholders.
    pub path: &'static str,
    /// Whether it changes the workspace.
    pub effect: Effect,
    /// Set for list operations.
    pub listing: Option<Listing>,
    /// Operations that Hex counts together with it.
    pub group: &'static LimitGroup,
    /// Headers that the whole answer depends on.
    pub headers: &'static [(&'static str, &'static str)],
}

impl Operation {
    const fn counted_in(self, group: &'static LimitGroup) -> Self {
        Self { group, ..self }
    }
}

impl Operation {
    /// The same list, whose items are identified by other fields than `id`.
    const fn identified_by(self, ids: &'static [&'static str]) -> Self {
        match self.listing {
            Some(listing) => Self { listing: Some(Listing { ids, ..listing }), ..self },
            None => self,
        }
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.id)
    }
}

const fn read(id: &'static str, path: &'static str) -> Operation {
    Operation {
        id,
        method: Method::Get,
        path,
        effect: Effect::Read,
        listing: None,
        group: &limits::DEFAULT,
        headers: &[],
    }
}

const fn list(id: &'static str, path: &'static str, items: &'static str, max_page: u32) -> Operation {
    let listing = Some(Listing { paging: Paging::Cursor, items, max_page, ids: &["id"] });
    Operation {
        id,
        method: Method::Get,
        path,
        effect: Effect::Read,
        listing,
        group: &limits::DEFAULT,
        headers: &[],
    }
}

const fn write(id: &'static str, method: Method, path: &'static str) -> Operation {
    Operation {
        id,
        method,
        path,
        effect: Effect::Write,
        listing: None,
        group: &limits::DEFAULT,
        headers: &[],
    }
}

/// Who the token acts as: user, organisation, token expiry.
pub const ME: Operation = read("Me", "/users/me").counted_in(&limits::HEX_API);
/// All projects (and, on request, components, archived and trashed ones).
pub const LIST_PROJECTS: Operation = list("ListProjects", "/projects", "values", 100);
/// One project.
pub const GET_PROJECT: Operation = read("GetProject", "/projects/{projectId}").counted_in(&limits::HEX_API);
/// Warehouse tables that a project's runs have queried. Enterprise plan only.
pub const GET_QUERIED_TABLES: Operation =
    list("GetQueriedTables", "/projects/{projectId}/queriedTables", "values", 100).identified_by(&[]);
/// Run history of a project.
pub const GET_PROJECT_RUNS: Operation = Operation {
    id: "GetProjectRuns",
    method: Method::Get,
    path: "/projects/{projectId}/runs",
    effect: Effect::Read,
    listing: Some(Listing { paging: Paging::Offset, items: "runs", max_page: 100, ids: &["runId"] }),
    group: &limits::DEFAULT,
    headers: &[],
};
/// Header without which newer versions of the API leave out a run's `stateEvents` (hex-api.md).
pub const EXPANDED_STATS: &str = "enable-expanded-stats";
/// One run.
pub const GET_RUN_STATUS: Operation = Operation {
    headers: &[(EXPANDED_STATS, "true")],
    ..read("GetRunStatus", "/projects/{projectId}/runs/{runId}")
};
/// Cells of a project's draft.
pub const LIST_CELLS: Operation = list("ListCells", "/cells", "values", 100)
    .identified_by(&["staticId", "id"])
    .counted_in(&limits::HEX_API);
/// One cell.
pub const GET_CELL: Operation = read("GetCell", "/cells/{cellId}").counted_in(&limits::HEX_API);
/// Users of the workspace, or the members of one group.
pub const LIST_USERS: Operation = list("ListUsers", "/users", "values", 500).counted_in(&limits::HEX_API);
/// Groups of the workspace.
pub const LIST_GROUPS: Operation = list("ListGroups", "/groups", "values", 500);
/// One group.
pub const GET_GROUP: Operation = read("GetGroup", "/groups/{groupId}");
/// Collections of projects.
pub const LIST_COLLECTIONS: Operation = list("ListCollections", "/collections", "values", 100);
/// One collection.
pub const GET_COLLECTION: Operation = read("GetCollection", "/collections/{collectionId}");
/// Data connections.
pub const LIST_DATA_CONNECTIONS: Operation = list("ListDataConnections", "/data-connections", "values", 100);
/// One data connection.
pub const GET_DATA_CONNECTION: Operation = read("GetDataConnection", "/data-connections/{dataConnectionId}");
/// Agent threads (managers and admins only).
pub const LIST_THREADS: Operation =
    list("ListThreads", "/threads", "threads", 100).counted_in(&limits::HEX_API);
/// Thread topics.
pub const LIST_TOPICS: Operation =
    list("ListTopics", "/context/topics", "topics", 100).counted_in(&limits::HEX_API);
/// Draft guides.
pub const LIST_DRAFT_GUIDES: Operation =
    list("ListDraftGuides", "/guides/draft/list", "values", 100).counted_in(&limits::HEX_API);

/// Sets or clears a project's status.
pub const UPDATE_PROJECT: Operation = write("UpdateProject", Method::Patch, "/projects/{projectId}");
/// Starts a run of a project's published version.
pub const RUN_PROJECT: Operation =
    write("RunProject", Method::Post, "/projects/{projectId}/runs").counted_in(&limits::RUN_PROJECT);
/// Cancels a run.
pub const CANCEL_RUN: Operation = write("CancelRun", Method::Delete, "/projects/{projectId}/runs/{runId}");
/// Creates a collection.
pub const CREATE_COLLECTION: Operation = write("CreateCollection", Method::Post, "/collections");

/// Creates a project.
pub const CREATE_PROJECT: Operation = write("CreateProject", Method::Post, "/projects");
/// A project as a YAML file. A read, although it is a POST.
pub const EXPORT_PROJECT: Operation = Operation {
    id: "ExportProject",
    method: Method::Post,
    path: "/projects/export",
    effect: Effect::Read,
    listing: None,
    group: &limits::HEX_API,
    headers: &[],
};
/// Grants users access to a project.
pub const SHARE_WITH_USERS: Operation =
    write("EditProjectSharingUsers", Method::Patch, "/projects/{projectId}/sharing/users");
/// Grants groups access to a project.
pub const SHARE_WITH_GROUPS: Operation =
    write("EditProjectSharingGroups", Method::Patch, "/projects/{projectId}/sharing/groups");
/// Adds a project to collections, with an access level each.
pub const SHARE_WITH_COLLECTIONS: Operation =
    write("EditProjectSharingCollections", Method::Patch, "/projects/{projectId}/sharing/collections");
/// Sets the access of the workspace and of the public web to a project.
pub const SHARE_WITH_WORKSPACE: Operation = write(
    "EditProjectSharingOrgAndPublic",
    Method::Patch,
    "/projects/{projectId}/sharing/workspaceAndPublic",
);
/// Renames a collection or changes who may use it.
pub const EDIT_COLLECTION: Operation = write("EditCollection", Method::Patch, "/collections/{collectionId}");
/// Creates a group.
pub const CREATE_GROUP: Operation = write("CreateGroup", Method::Post, "/groups");
/// Renames a group, adds and removes members.
pub const EDIT_GROUP: Operation = write("EditGroup", Method::Patch, "/groups/{groupId}");
/// Deletes a group.
pub const DELETE_GROUP: Operation = write("DeleteGroup", Method::Delete, "/groups/{groupId}");
/// Deactivates a user.
pub const DEACTIVATE_USER: Operation =
    write("DeactivateUser", Method::Post, "/users/{userId}/deactivate").counted_in(&limits::HEX_API);

/// Every operation of this client.
pub const ALL: &[&Operation] = &[
    &ME,
    &LIST_PROJECTS,
    &GET_PROJECT,
    &GET_QUERIED_TABLES,
    &GET_PROJECT_RUNS,
    &GET_RUN_STATUS,
    &LIST_CELLS,
    &GET_CELL,
    &LIST_USERS,
    &LIST_GROUPS,
    &GET_GROUP,
    &LIST_COLLECTIONS,
    &GET_COLLECTION,
    &LIST_DATA_CONNECTIONS,
    &GET_DATA_CONNECTION,
    &LIST_THREADS,
    &LIST_TOPICS,
    &LIST_DRAFT_GUIDES,
    &UPDATE_PROJECT,
    &RUN_PROJECT,
    &CANCEL_RUN,
    &CREATE_COLLECTION,
    &CREATE_PROJECT,
    &EXPORT_PROJECT,
    &SHARE_WITH_USERS,
    &SHARE_WITH_GROUPS,
    &SHARE_WITH_COLLECTIONS,
    &SHARE_WITH_WORKSPACE,
    &EDIT_COLLECTION,
    &CREATE_GROUP,
    &EDIT_GROUP,
    &DELETE_GROUP,
    &DEACTIVATE_USER,
];

/// The operation with this `operationId`, if this client speaks it.
pub fn by_id(id: &str) -> Option<&'static Operation> {
    ALL.iter().copied().find(|op| op.id == id)
}
