//! `data_connection_sharing`: who may use a data connection.

use serde_json::{Value, json};

use super::of_item;
use crate::client::operation::LIST_DATA_CONNECTIONS;
use crate::schema::columns::text;
use crate::schema::{Origin, Table, take_members, take_objects};

/// One row a connection and grant. Empty where the token sees only the short form of connections.
pub static DATA_CONNECTION_SHARING: Table = Table {
    name: "data_connection_sharing",
    doc: "Grants on data connections",
    origin: Origin::Api(&LIST_DATA_CONNECTIONS),
    key: &["data_connection_id", "principal_type", "group_id"],
    columns: &[
        text("data_connection_id", "dataConnectionId", "Data connection").required(),
        text("principal_type", "principalType", "GROUP, MEMBERS, GUESTS, PUBLIC").required(),
        text("group_id", "group.id", "Group; null for other principals"),
        text("group_name", "group.name", "Group's name"),
        text("access", "access", "NONE, QUERY, VIEW_RESULTS"),
    ],
    elsewhere: &[],
    explode: |item| of_item(item, "dataConnectionId", take),
};

/// Takes a connection's grants out of it, each with its kind. Anything that isn't a grant stays.
pub(super) fn take(item: &mut Value) -> Vec<Value> {
    let mut rows = take_objects(item, &["sharing", "groups"]);
    for row in &mut rows {
        row["principalType"] = json!("GROUP");
    }
    let workspace = item.get_mut("sharing").map(|sharing| take_members(sharing, "workspace", |_, _| true));
    for (name, access) in workspace.into_iter().flatten().filter(|(_, access)| !access.is_null()) {
        rows.push(json!({"principalType": name.to_uppercase(), "access": access}));
    }
    take_members(item, "sharing", |_, rest| rest.is_null());
    rows
}
