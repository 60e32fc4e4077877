//! `groups`: groups of users.

use crate::client::operation::LIST_GROUPS;
use crate::schema::columns::{text, time};
use crate::schema::{Origin, Table, itself};

/// One row a group.
pub static GROUPS: Table = Table {
    name: "groups",
    doc: "Groups of users",
    origin: Origin::Api(&LIST_GROUPS),
    key: &["group_id"],
    columns: &[
        text("group_id", "id", "Identifier (UUID)").required(),
        text("name", "name", "Name"),
        time("created_at", "createdAt", "When it was created"),
    ],
    elsewhere: &[],
    explode: itself,
};
