//! `users`: people of the workspace.

use crate::client::operation::LIST_USERS;
use crate::schema::columns::{text, time};
use crate::schema::{Origin, Table, itself};

/// One row a user. Deactivated users are not listed by the API: an email elsewhere that is not here is the sign.
pub static USERS: Table = Table {
    name: "users",
    doc: "Users of the workspace, except deactivated ones",
    origin: Origin::Api(&LIST_USERS),
    key: &["user_id"],
    columns: &[
        text("user_id", "id", "Identifier (UUID)").required(),
        text("email", "email", "Email address"),
        text("name", "name", "Name").name_of("email"),
        text("role", "role", "ADMIN, MANAGER, EDITOR, EXPLORER, MEMBER, GUEST, EMBEDDED_USER, ANONYMOUS"),
        time("last_login_at", "lastLoginDate", "Last login").noise(),
    ],
    elsewhere: &[],
    explode: itself,
};
