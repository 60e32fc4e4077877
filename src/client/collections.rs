//! Collections of projects.

use serde::{Deserialize, Serialize};
use serde_json::json;

use super::operation::{CREATE_COLLECTION, EDIT_COLLECTION, GET_COLLECTION, LIST_COLLECTIONS};
use super::{ApiRequest, Client, Error, List};

/// A collection.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Collection {
    /// Identifier (UUID).
    pub id: String,
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
    pub id: String,
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

/// What members of the workspace may do.
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
    /// Collections a page, 1 to 100; 100 by default.
    pub page_size: Option<u32>,
}

impl List for ListCollections {
    type Item = Collection;

    fn request(&self) -> ApiRequest {
        ApiRequest::new(&LIST_COLLECTIONS, &[]).query("limit", self.page_size.unwrap_or(100))
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
    /// Any of [`Error`].
    pub async fn get_collection(&self, collection_id: &str) -> Result<Collection, Error> {
        self.fetch(ApiRequest::new(&GET_COLLECTION, &[collection_id])).await
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
    /// Any of [`Error`].
    pub async fn create_collection(
        &self,
        name: &str,
        description: Option<&str>,
    ) -> Result<Collection, Error> {
        let mut body = json!({ "name": name });
        if let Some(description) = description {
            body["description"] = json!(description);
        }
        self.fetch(ApiRequest::new(&CREATE_COLLECTION, &[]).body(body)).await
    }

    /// Renames a collection (`EditCollection`), or changes who may use it. Sent once.
    ///
    /// ```
    /// # hexport::sim::try_out(async |client, world| {
    /// let renamed = client.edit_collection(&world.collections[0].id, Some("Finance, tidied"), None).await?;
    /// assert_eq!(renamed.name, "Finance, tidied");
    /// # Ok(()) });
    /// ```
    ///
    /// # Errors
    /// Any of [`Error`].
    pub async fn edit_collection(
        &self,
        collection_id: &str,
        name: Option<&str>,
        grants: Option<&CollectionSharing>,
    ) -> Result<Collection, Error> {
        let mut body = json!({});
        if let Some(name) = name {
            body["name"] = json!(name);
        }
        if let Some(grants) = grants {
            body["sharing"] = json!({ "upsert": grants });
        }
        self.fetch(ApiRequest::new(&EDIT_COLLECTION, &[collection_id]).body(body)).await
    }
}
