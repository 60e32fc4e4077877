//! `project_categories`: categories of projects.

use serde_json::Value;

use super::of_item;
use crate::client::operation::LIST_PROJECTS;
use crate::schema::columns::text;
use crate::schema::{Origin, Table, take_objects};

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
    explode: |item| of_item(item, "projectId", take),
};

/// Takes a project's categories out of it. Anything that isn't a category stays.
pub(super) fn take(item: &mut Value) -> Vec<Value> {
    take_objects(item, &["categories"])
}
