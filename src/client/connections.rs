//! Data connections to warehouses.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::groups::NameOrCreated;
use super::operation::{GET_DATA_CONNECTION, LIST_DATA_CONNECTIONS};
use super::{ApiRequest, Call, Client, ConnectionId, GroupId, List, SortDirection};

/// A data connection. Of the short form (a token without rights to its settings) only the first four fields
/// are set.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct DataConnection {
    /// Identifier (UUID).
    pub id: ConnectionId,
    /// Name.
    pub name: String,
    /// Warehouse: `snowflake`, `bigquery`, `postgres`, ...
    #[serde(rename = "type")]
    pub kind: String,
    /// Description.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Settings, under one key that names the warehouse. No secrets.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connection_details: Option<Value>,
    /// Whether it goes through an SSH tunnel.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connect_via_ssh: Option<bool>,
    /// Whether Hex's Magic may use it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub include_magic: Option<bool>,
    /// Whether projects may write back through it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub allow_writeback_cells: Option<bool>,
    /// Schemas and tables that Hex shows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub schema_filters: Option<Value>,
    /// When Hex refreshes the schema.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub schema_refresh_schedule: Option<Value>,
    /// Who may refresh the schema: `ADMINS`, `USERS_WITH_QUERY_ACCESS`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub schema_refresh_access: Option<String>,
    /// Users allowed to use it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sharing: Option<ConnectionSharing>,
}

/// Who may use a data connection: `NONE`, `QUERY`, `VIEW_RESULTS`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ConnectionSharing {
    /// The workspace and the public.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub workspace: Option<ConnectionWorkspaceAccess>,
    /// Grants to groups.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub groups: Option<Vec<ConnectionGroupGrant>>,
}

/// Access of the workspace at large.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ConnectionWorkspaceAccess {
    /// Everyone on the web.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub public: Option<String>,
    /// Guests.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub guests: Option<String>,
    /// Members.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub members: Option<String>,
}

/// A grant of a data connection to a group.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ConnectionGroupGrant {
    /// Access level.
    pub access: String,
    /// The group.
    pub group: GroupRef,
}

/// A group by name and identifier.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct GroupRef {
    /// Name.
    pub name: String,
    /// Identifier.
    pub id: GroupId,
}

/// Parameters of `ListDataConnections`.
#[derive(Debug, Clone, Default)]
pub struct ListDataConnections {
    /// Sorted by.
    pub sort_by: Option<NameOrCreated>,
    /// Sort direction.
    pub sort_direction: Option<SortDirection>,
    /// Connections a page, 1 to 100; 100 by default.
    pub page_size: Option<u32>,
}

impl List for ListDataConnections {
    type Item = DataConnection;

    fn request(&self) -> ApiRequest {
        ApiRequest::new(&LIST_DATA_CONNECTIONS, &[])
            .query_opt("sortBy", self.sort_by)
            .query_opt("sortDirection", self.sort_direction)
            .query("limit", self.page_size.unwrap_or(100))
    }
}

impl Client {
    /// One data connection (`GetDataConnection`).
    ///
    /// ```
    /// # hexport::sim::try_out(async |client, world| {
    /// let connection = client.get_data_connection(&world.connections[0].id).await?;
    /// assert_eq!(connection.kind, "snowflake");
    /// # Ok(()) });
    /// ```
    ///
    /// # Errors
    /// Any of [`Error`](super::Error).
    pub fn get_data_connection(&self, connection_id: &ConnectionId) -> Call<DataConnection> {
        self.call(ApiRequest::new(&GET_DATA_CONNECTION, &[connection_id]))
    }
}
