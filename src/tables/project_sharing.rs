//! `project_sharing`: who may do what with a project.

use serde_json::{Value, json};

use super::of_item;
use crate::client::operation::LIST_PROJECTS;
use crate::schema::columns::text;
use crate::schema::{Origin, Table, take_members, take_objects};

/// One row a project and grant. The API names users by email, groups and collections by name.
pub static PROJECT_SHARING: Table = Table {
    name: "project_sharing",
    doc: "Grants on projects: to users, groups, collections, the workspace, the public web and Hex's support",
    origin: Origin::Api(&LIST_PROJECTS),
    key: &["project_id", "principal_type", "principal"],
    columns: &[
        text("project_id", "projectId", "Project").required(),
        text("principal_type", "principalType", "USER, GROUP, COLLECTION, WORKSPACE, PUBLIC_WEB, SUPPORT")
            .required(),
        text(
            "principal",
            "user.email|group.name|collection.name",
            "User's email, group's or collection's name; else null",
        ),
        text(
            "principal_id",
            "user.id|group.id|collection.id",
            "User, group or collection; null for others, and where nobody knows which one it is",
        )
        .noise(),
        text(
            "principal_id_from",
            "",
            "api if the API says principal_id; name if one alone is listed under that name; ambiguous if several are; \
             unknown if none is, or the list could not be read to its end; null for grants without a principal",
        )
        .noise(),
        text("access", "access", "NONE, APP_ONLY, CAN_VIEW, CAN_EDIT, FULL_ACCESS"),
    ],
    elsewhere: &[],
    explode: |item| of_item(item, "projectId", take),
};

/// Takes a project's grants out of it, each with its kind. Anything that isn't a grant stays.
pub(super) fn take(item: &mut Value) -> Vec<Value> {
    let mut rows = Vec::new();
    let mut push = |mut grant: Value, kind: &str| {
        grant["principalType"] = json!(kind);
        rows.push(grant);
    };
    const LISTS: [(&str, &str); 3] = [("users", "USER"), ("groups", "GROUP"), ("collections", "COLLECTION")];
    for (name, kind) in LISTS {
        take_objects(item, &["sharing", name]).into_iter().for_each(|grant| push(grant, kind));
    }
    for (name, grant) in take_members(item, "sharing", |name, grant| {
        grant.is_object() && !LISTS.iter().any(|(list, _)| *list == name)
    }) {
        match name.as_str() {
            "workspace" => push(grant, "WORKSPACE"),
            "publicWeb" => push(grant, "PUBLIC_WEB"),
            "support" => push(grant, "SUPPORT"),
            // A kind of grant that this version doesn't know is still a grant.
            _ => push(grant, &name),
        }
    }
    take_members(item, "sharing", |_, rest| rest.is_null());
    rows
}
