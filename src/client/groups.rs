//! Groups of users.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::operation::{CREATE_GROUP, DELETE_GROUP, EDIT_GROUP, GET_GROUP, LIST_GROUPS};
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
    /// ```
    /// # hexport::sim::try_out(async |client, world| {
    /// let group = client.get_group(&world.groups[0].id).await?;
    /// assert_eq!(group.name, world.groups[0].name);
    /// # Ok(()) });
    /// ```
    ///
    /// # Errors
    /// Any of [`Error`].
    pub async fn get_group(&self, group_id: &str) -> Result<Group, Error> {
        self.fetch(ApiRequest::new(&GET_GROUP, &[group_id])).await
    }

    /// Creates a group with these users (`CreateGroup`). Sent once, whatever happens.
    ///
    /// ```
    /// # hexport::sim::try_out(async |client, world| {
    /// let group = client.create_group("Auditors", &[&world.users[1].id]).await?;
    /// assert_eq!(group.members.users.len(), 1);
    /// # Ok(()) });
    /// ```
    ///
    /// # Errors
    /// Any of [`Error`].
    pub async fn create_group(&self, name: &str, users: &[&str]) -> Result<CreatedGroup, Error> {
        let mut body = json!({ "name": name });
        if !users.is_empty() {
            body["members"] = json!({ "users": ids(users) });
        }
        self.fetch(ApiRequest::new(&CREATE_GROUP, &[]).body(body)).await
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
    /// Any of [`Error`].
    pub async fn edit_group(&self, group_id: &str, edit: &GroupEdit) -> Result<Group, Error> {
        self.fetch(ApiRequest::new(&EDIT_GROUP, &[group_id]).body(edit.body())).await
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
    /// Any of [`Error`].
    pub async fn delete_group(&self, group_id: &str) -> Result<(), Error> {
        self.send(&ApiRequest::new(&DELETE_GROUP, &[group_id])).await.map(|_| ())
    }
}

/// A group that was just created. The API doesn't give its creation time here.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct CreatedGroup {
    /// Identifier (UUID).
    pub id: String,
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
    pub users: Vec<UserId>,
}

/// A user's identifier.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct UserId {
    /// The identifier.
    pub id: String,
}

/// What changes about a group.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct GroupEdit {
    /// New name.
    pub name: Option<String>,
    /// Users who become members, by identifier.
    pub add: Vec<String>,
    /// Users who are members no more, by identifier.
    pub remove: Vec<String>,
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
                let users: Vec<&str> = users.iter().map(String::as_str).collect();
                body["members"][what] = json!({ "users": ids(&users) });
            }
        }
        body
    }
}

fn ids(users: &[&str]) -> Vec<Value> {
    users.iter().map(|id| json!({ "id": id })).collect()
}
