//! `collections`: collections of projects.

use serde_json::Value;

use super::collection_sharing;
use crate::client::operation::LIST_COLLECTIONS;
use crate::schema::columns::text;
use crate::schema::{Origin, Table};

/// One row a collection.
pub static COLLECTIONS: Table = Table {
    name: "collections",
    doc: "Collections of projects",
    origin: Origin::Api(&LIST_COLLECTIONS),
    key: &["collection_id"],
    columns: &[
        text("collection_id", "id", "Identifier (UUID)").required(),
        text("name", "name", "Name"),
        text("description", "description", "Description"),
        text("creator_email", "creator.email", "Email address of the creator"),
        text("creator_id", "creator.id", "User who created it"),
    ],
    elsewhere: &[],
    explode: without_parts,
};

/// Drops the grants: they have a table of their own.
fn without_parts(mut item: Value) -> Vec<Value> {
    collection_sharing::take(&mut item);
    vec![item]
}
