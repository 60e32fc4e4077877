//! `collections`: collections of projects.

use crate::client::operation::LIST_COLLECTIONS;
use crate::schema::columns::text;
use crate::schema::{Origin, Table, itself};

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
        text("creator_email", "creator.email", "Email address of who created it"),
        text("creator_id", "creator.id", "User who created it"),
    ],
    elsewhere: &["sharing"],
    explode: itself,
};
