//! `project_sharing`: who may do what with a project.

use serde_json::{Value, json};

use crate::client::operation::LIST_PROJECTS;
use crate::schema::columns::text;
use crate::schema::{Origin, Table, take_array};

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
        text("access", "access", "NONE, APP_ONLY, CAN_VIEW, CAN_EDIT, FULL_ACCESS"),
    ],
    elsewhere: &[],
    explode: grants,
};

fn grants(mut item: Value) -> Vec<Value> {
    let id = item["id"].clone();
    let mut rows = Vec::new();
    let mut push = |mut grant: Value, kind: &str| {
        if grant.is_object() {
            grant["projectId"] = id.clone();
            grant["principalType"] = json!(kind);
            rows.push(grant);
        }
    };
    for (name, kind) in [("users", "USER"), ("groups", "GROUP"), ("collections", "COLLECTION")] {
        for grant in take_array(&mut item, &["sharing", name]) {
            push(grant, kind);
        }
    }
    for (name, kind) in [("workspace", "WORKSPACE"), ("publicWeb", "PUBLIC_WEB"), ("support", "SUPPORT")] {
        push(item["sharing"][name].take(), kind);
    }
    // A kind of grant that this version doesn't know is still a grant.
    if let Value::Object(rest) = item["sharing"].take() {
        for (name, grant) in rest.into_iter().filter(|(_, grant)| grant.is_object()) {
            push(grant, &name);
        }
    }
    rows
}
