//! `collection_sharing`: who may do what with a collection.

use serde_json::{Value, json};

use crate::client::operation::LIST_COLLECTIONS;
use crate::schema::columns::text;
use crate::schema::{Origin, Table, take_array};

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
    explode: grants,
};

fn grants(mut item: Value) -> Vec<Value> {
    let id = item["id"].clone();
    let mut rows = Vec::new();
    for (name, kind) in [("users", "USER"), ("groups", "GROUP")] {
        for mut grant in take_array(&mut item, &["sharing", name]) {
            grant["collectionId"] = id.clone();
            grant["principalType"] = json!(kind);
            rows.push(grant);
        }
    }
    if let Some(access) = item.pointer("/sharing/workspace/members").filter(|a| !a.is_null()) {
        rows.push(json!({"collectionId": id, "principalType": "WORKSPACE", "access": access}));
    }
    rows
}
