//! Groups of users.

use serde::{Deserialize, Serialize};

use super::operation::{GET_GROUP, LIST_GROUPS};
use super::{ApiRequest, Client, Error, List, SortDirection};

/// A group. Its members come from [`ListUsers`](super::users::ListUsers) with its id.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Group {
    /// Identifier (UUID).
    pub id: String,
    /// Name.
    pub name: String,
    /// Creation (ISO 8601).
    pub created_at: String,
}

/// What a list of groups or data connections is sorted by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NameOrCreated {
    /// Creation.
    CreatedAt,
    /// Name.
    Name,
}

impl std::fmt::Display for NameOrCreated {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            NameOrCreated::CreatedAt => "CREATED_AT",
            NameOrCreated::Name => "NAME",
        })
    }
}

/// Parameters of `ListGroups`.
#[derive(Debug, Clone, Default)]
pub struct ListGroups {
    /// Sorted by.
    pub sort_by: Option<NameOrCreated>,
    /// Sort direction.
    pub sort_direction: Option<SortDirection>,
    /// Groups a page, 1 to 500; 500 by default.
    pub page_size: Option<u32>,
}

impl List for ListGroups {
    type Item = Group;

    fn request(&self) -> ApiRequest {
        ApiRequest::new(&LIST_GROUPS, &[])
            .query_opt("sortBy", self.sort_by)
            .query_opt("sortDirection", self.sort_direction)
            .query("limit", self.page_size.unwrap_or(500))
    }
}

impl Client {
    /// One group (`GetGroup`).
    ///
    /// # Errors
    /// Any of [`Error`].
    pub async fn get_group(&self, group_id: &str) -> Result<Group, Error> {
        self.fetch(ApiRequest::new(&GET_GROUP, &[group_id])).await
    }
}
