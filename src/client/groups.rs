//! Groups of users.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::operation::{CREATE_GROUP, DELETE_GROUP, EDIT_GROUP, GET_GROUP, LIST_GROUPS};
use super::{ApiRequest, Call, Client, GroupId, List, SortDirection, UserId};

/// A group. Its members come from [`ListUsers`](super::users::ListUsers) with its id.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Group {
    /// Identifier (UUID).
    pub id: GroupId,
    /// Name.
    pub name: String,
    /// Creation (ISO 8601).
    pub created_at: String,
}

/// Sort keys of a list of groups or data connections.
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
    /// ```
    /// # hexport::sim::try_out(async |client, world| {
    /// let group = client.get_group(&world.groups[0].id).await?;
    /// assert_eq!(group.name, world.groups[0].name);
    /// # Ok(()) });
    /// ```
    ///
    /// # Errors
    /// Any of [`Error`](super::Error).
    pub fn get_group(&self, group_id: &GroupId) -> Call<Group> {
        self.call(ApiRequest::new(&GET_GROUP, &[group_id]))
    }

    /// Creates a group with these users (`CreateGroup`). Sent once, whatever happens.
    ///
    /// ```
    /// # hexport::sim::try_out(async |client, world| {
    /// let group = client.create_group("Auditors", &[world.users[1].id.clone()]).await?;
    /// assert_eq!(group.members.users.len(), 1);
    /// # Ok(()) });
    /// ```
    ///
    /// # Errors
    /// Any of [`Error`](super::Error).
    pub fn create_group(&self, name: &str, users: &[UserId]) -> Call<CreatedGroup> {
        let mut body = json!({ "name": name });
        if !users.is_empty() {
            body["members"] = json!({ "users": ids(users) });
        }
        self.call(ApiRequest::new(&CREATE_GROUP, &[]).body(body))
    }

    /// Changes a group (`EditGroup`). Sent once.
    ///
    /// ```
    /// # hexport::sim::try_out(async |client, world| {
    /// use hexport::client::groups::GroupEdit;
    ///
    /// let edit = GroupEdit { name: Some("Money".into()), add: vec![world.users[2].id.clone()], ..GroupEdit::default() };
    /// assert_eq!(client.edit_group(&world.groups[0].id, &edit).await?.name, "Money");
    /// # Ok(()) });
    /// ```
    ///
    /// # Errors
    /// Any of [`Error`](super::Error).
    pub fn edit_group(&self, group_id: &GroupId, edit: &GroupEdit) -> Call<Group> {
        self.call(ApiRequest::new(&EDIT_GROUP, &[group_id]).body(edit.body()))
    }

    /// Deletes a group (`DeleteGroup`). Sent once.
    ///
    /// ```
    /// # hexport::sim::try_out(async |client, world| {
    /// client.delete_group(&world.groups[0].id).await?;
    /// # Ok(()) });
    /// ```
    ///
    /// # Errors
    /// Any of [`Error`](super::Error).
    pub fn delete_group(&self, group_id: &GroupId) -> Call<()> {
        self.order(ApiRequest::new(&DELETE_GROUP, &[group_id]))
    }
}

/// A group that was just created. The API doesn't give its creation time here.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct CreatedGroup {
    /// Identifier (UUID).
    pub id: GroupId,
    /// Name.
    pub name: String,
    /// Members.
    pub members: Members,
}

/// Members of a group that was just created.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Members {
    /// Users, by identifier.
    pub users: Vec<Member>,
}

/// A user by identifier.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Member {
    /// The identifier.
    pub id: UserId,
}

/// Changes to a group.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct GroupEdit {
    /// New name.
    pub name: Option<String>,
    /// Users who become members, by identifier.
    pub add: Vec<UserId>,
    /// Users who are members no more, by identifier.
    pub remove: Vec<UserId>,
}

impl GroupEdit {
    /// Body of `EditGroup`.
    pub(crate) fn body(&self) -> Value {
        let mut body = json!({});
        if let Some(name) = &self.name {
            body["name"] = json!(name);
        }
        for (what, users) in [("add", &self.add), ("remove", &self.remove)] {
            if !users.is_empty() {
                body["members"][what] = json!({ "users": ids(users) });
            }
        }
        body
    }
}

fn ids(users: &[UserId]) -> Vec<Value> {
    users.iter().map(|id| json!({ "id": id })).collect()
}
