//! `group_members`: who is in which group.

use crate::client::operation::LIST_USERS;
use crate::schema::columns::{text, time};
use crate::schema::{Origin, Table, itself};

/// One row a group and member. Comes from `ListUsers` with a `groupId`: one call a group.
pub static GROUP_MEMBERS: Table = Table {
    name: "group_members",
    doc: "Members of groups",
    origin: Origin::Api(&LIST_USERS),
    key: &["group_id", "user_id"],
    columns: &[
        text("group_id", "@entity", "Group").required(),
        text("user_id", "id", "Member").required(),
        text("email", "email", "Member's email address"),
        text("name", "name", "Member's name").name_of("email"),
        text("role", "role", "Member's role in the workspace"),
        time("last_login_at", "lastLoginDate", "Member's last login").noise(),
    ],
    elsewhere: &[],
    explode: itself,
};
