//! `groups`: groups of users.

use super::columns::{text, time};
use super::{Origin, Table, itself};
use crate::client::operation::LIST_GROUPS;

/// One row a group.
pub static GROUPS: Table = Table {
    name: "groups",
    doc: "Groups of users",
    origin: Origin::Api(&LIST_GROUPS),
    key: &["group_id"],
    columns: &[
        text("group_id", "id", "Identifier (UUID)").required(),
        text("name", "name", "Name"),
        time("created_at", "createdAt", "Creation"),
    ],
    elsewhere: &[],
    explode: itself,
};
