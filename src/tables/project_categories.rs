//! `project_categories`: categories of projects.

use serde_json::Value;

use crate::client::operation::LIST_PROJECTS;
use crate::schema::columns::text;
use crate::schema::{Origin, Table, take_array};

/// One row a project and category.
pub static PROJECT_CATEGORIES: Table = Table {
    name: "project_categories",
    doc: "Categories of projects",
    origin: Origin::Api(&LIST_PROJECTS),
    key: &["project_id", "name"],
    columns: &[
        text("project_id", "projectId", "Project").required(),
        text("name", "name", "Category"),
        text("description", "description", "The category's description"),
    ],
    elsewhere: &[],
    explode: categories,
};

fn categories(mut item: Value) -> Vec<Value> {
    let id = item["id"].clone();
    let mut rows = take_array(&mut item, &["categories"]);
    for row in rows.iter_mut().filter(|row| row.is_object()) {
        row["projectId"] = id.clone();
    }
    rows.retain(Value::is_object);
    rows
}
