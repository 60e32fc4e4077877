//! Collections of projects.

use serde::{Deserialize, Serialize};
use serde_json::json;

use super::operation::{CREATE_COLLECTION, EDIT_COLLECTION, GET_COLLECTION, LIST_COLLECTIONS};
use super::{ApiRequest, Call, Client, CollectionId, List, UserId};

/// A collection.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Collection {
    /// Identifier (UUID).
    pub id: CollectionId,
    /// Name.
    pub name: String,
    /// Description.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Creator.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub creator: Option<Creator>,
    /// Sharing.
    pub sharing: CollectionSharing,
}

/// Creator of a collection.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Creator {
    /// Email address.
    pub email: String,
    /// User's identifier.
    pub id: UserId,
}

/// Sharing of a collection.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct CollectionSharing {
    /// Grants to users.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub users: Option<Vec<IdGrant>>,
    /// Grants to groups.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub groups: Option<Vec<IdGrant>>,
    /// Everyone in the workspace.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub workspace: Option<MembersAccess>,
}

/// A grant to a user or group named by identifier.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct IdGrant {
    /// Access level.
    pub access: String,
    /// Identifier.
    pub id: String,
}

/// Access of the workspace's members.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct MembersAccess {
    /// Access level.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub members: Option<String>,
}

/// Parameters of `ListCollections`.
#[derive(Debug, Clone, Default)]
pub struct ListCollections {
    /// Whether they are sorted by name; by the API's own order by default.
    pub by_name: bool,
    /// Collections a page, 1 to 100; 100 by default.
    pub page_size: Option<u32>,
}

impl List for ListCollections {
    type Item = Collection;

    fn request(&self) -> ApiRequest {
        ApiRequest::new(&LIST_COLLECTIONS, &[])
            .query_opt("sortBy", self.by_name.then_some("NAME"))
            .query("limit", self.page_size.unwrap_or(100))
    }
}

impl Client {
    /// One collection (`GetCollection`).
    ///
    /// ```
    /// # hexport::sim::try_out(async |client, world| {
    /// let collection = client.get_collection(&world.collections[0].id).await?;
    /// assert_eq!(collection.name, world.collections[0].name);
    /// # Ok(()) });
    /// ```
    ///
    /// # Errors
    /// Any of [`Error`](super::Error).
    pub fn get_collection(&self, collection_id: &CollectionId) -> Call<Collection> {
        self.call(ApiRequest::new(&GET_COLLECTION, &[collection_id]))
    }

    /// Creates a collection (`CreateCollection`). Sent once, whatever happens.
    ///
    /// ```
    /// # hexport::sim::try_out(async |client, world| {
    /// let made = client.create_collection("Board decks", Some("Quarterly")).await?;
    /// assert_eq!(client.get_collection(&made.id).await?.name, "Board decks");
    /// # Ok(()) });
    /// ```
    ///
    /// # Errors
    /// Any of [`Error`](super::Error).
    pub fn create_collection(&self, name: &str, description: Option<&str>) -> Call<Collection> {
        let mut body = json!({ "name": name });
        if let Some(description) = description {
            body["description"] = json!(description);
        }
        self.call(ApiRequest::new(&CREATE_COLLECTION, &[]).body(body))
    }

    /// Changes a collection, or who may use it (`EditCollection`). Sent once.
    ///
    /// ```
    /// # hexport::sim::try_out(async |client, world| {
    /// use hexport::client::collections::CollectionEdit;
    ///
    /// let edit = CollectionEdit { name: Some("Finance, tidied".into()), ..CollectionEdit::default() };
    /// let renamed = client.edit_collection(&world.collections[0].id, &edit).await?;
    /// assert_eq!(renamed.name, "Finance, tidied");
    /// # Ok(()) });
    /// ```
    ///
    /// # Errors
    /// Any of [`Error`](super::Error).
    pub fn edit_collection(&self, collection_id: &CollectionId, edit: &CollectionEdit) -> Call<Collection> {
        let body = serde_json::to_value(edit).expect("an edit is JSON");
        self.call(ApiRequest::new(&EDIT_COLLECTION, &[collection_id]).body(body))
    }
}

/// Changes to a collection; `None` leaves a field as it is.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct CollectionEdit {
    /// New name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// New description.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Grants to add, or to change.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sharing: Option<SharingEdit>,
}

/// Grants of an edit.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct SharingEdit {
    /// Grants to add, or to change.
    pub upsert: CollectionSharing,
}
