//! `collection_sharing`: who may do what with a collection.

use serde_json::{Value, json};

use super::of_item;
use crate::client::operation::LIST_COLLECTIONS;
use crate::schema::columns::text;
use crate::schema::{Origin, Table, take_members, take_objects};

/// One row a collection and grant.
pub static COLLECTION_SHARING: Table = Table {
    name: "collection_sharing",
    doc: "Grants on collections",
    origin: Origin::Api(&LIST_COLLECTIONS),
    key: &["collection_id", "principal_type", "principal_id"],
    columns: &[
        text("collection_id", "collectionId", "Collection").required(),
        text("principal_type", "principalType", "USER, GROUP or WORKSPACE (its members)").required(),
        text("principal_id", "id", "User or group; null for the workspace"),
        text("access", "access", "Access level"),
    ],
    elsewhere: &[],
    explode: |item| of_item(item, "collectionId", take),
};

/// Takes a collection's grants out of it, each with its kind. Anything that isn't a grant stays.
pub(super) fn take(item: &mut Value) -> Vec<Value> {
    let mut rows = Vec::new();
    for (name, kind) in [("users", "USER"), ("groups", "GROUP")] {
        for mut grant in take_objects(item, &["sharing", name]) {
            grant["principalType"] = json!(kind);
            rows.push(grant);
        }
    }
    let workspace = item.get_mut("sharing").and_then(|sharing| {
        let members = take_members(sharing, "workspace", |name, _| name == "members");
        members.into_iter().next()
    });
    if let Some((_, access)) = workspace.filter(|(_, access)| !access.is_null()) {
        rows.push(json!({"principalType": "WORKSPACE", "access": access}));
    }
    take_members(item, "sharing", |_, rest| rest.is_null());
    rows
}
