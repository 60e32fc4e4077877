//! `component_imports`: which component each COMPONENT_IMPORT cell imports.

use serde_json::Value;

use crate::client::operation::EXPORT_PROJECT;
use crate::client::project_file::imports;
use crate::schema::columns::text;
use crate::schema::{Origin, Table};

/// One row a cell that imports a component. The list of cells doesn't say which; the project's file does.
pub static COMPONENT_IMPORTS: Table = Table {
    name: "component_imports",
    doc: "Components that the drafts of projects import, by the projects' exported files",
    origin: Origin::Api(&EXPORT_PROJECT),
    key: &["project_id", "static_id", "component_id"],
    columns: &[
        text("project_id", "@entity", "Project that imports").required(),
        text("static_id", "cellId", "Stable identifier of the cell that imports").required(),
        text("component_id", "config.component.id", "Component; null if the file doesn't say which"),
        text("component_version", "config.component.version", "Version of the component that is imported"),
        text("label", "cellLabel", "Label of the cell"),
    ],
    elsewhere: &[],
    explode: cells,
};

/// The cells that import. The rest of the file is in `cells` and `projects` already; a file that can't be read is a
/// gap of the crawl, see `crawl_coverage`.
fn cells(answer: Value) -> Vec<Value> {
    imports(&answer).unwrap_or_default()
}
