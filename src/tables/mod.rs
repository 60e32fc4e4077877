//! The tables whose rows come from the API, from the crawl and from the audit: one file each.
//!
//! To add one of the API's, write its file and name it in [`ENTITIES`].

mod audit_findings;
mod audit_rules;
mod cells;
mod collection_sharing;
mod collections;
mod component_imports;
mod crawl_coverage;
mod data_connection_sharing;
mod data_connections;
mod draft_guides;
mod executed_tables;
mod group_members;
mod groups;
mod history_days;
mod project_categories;
mod project_schedules;
mod project_sharing;
mod projects;
mod queried_tables;
mod query_days;
mod query_fingerprints;
mod query_repeats;
mod query_runs;
mod runs;
mod threads;
mod topics;
pub(crate) mod usage;
mod users;
mod warehouse_queries;

use serde_json::Value;

use crate::schema::Table;

pub use audit_findings::AUDIT_FINDINGS;
pub use audit_rules::AUDIT_RULES;
pub use cells::CELLS;
pub use collection_sharing::COLLECTION_SHARING;
pub use collections::COLLECTIONS;
pub use component_imports::COMPONENT_IMPORTS;
pub use crawl_coverage::CRAWL_COVERAGE;
pub use data_connection_sharing::DATA_CONNECTION_SHARING;
pub use data_connections::DATA_CONNECTIONS;
pub use draft_guides::DRAFT_GUIDES;
pub use executed_tables::EXECUTED_TABLES;
pub use group_members::GROUP_MEMBERS;
pub use groups::GROUPS;
pub use history_days::HISTORY_DAYS;
pub use project_categories::PROJECT_CATEGORIES;
pub use project_schedules::PROJECT_SCHEDULES;
pub use project_sharing::PROJECT_SHARING;
pub use projects::PROJECTS;
pub use queried_tables::QUERIED_TABLES;
pub use query_days::QUERY_DAYS;
pub use query_fingerprints::QUERY_FINGERPRINTS;
pub use query_repeats::QUERY_REPEATS;
pub use query_runs::QUERY_RUNS;
pub use runs::RUNS;
pub use threads::THREADS;
pub use topics::TOPICS;
pub use users::USERS;
pub use warehouse_queries::WAREHOUSE_QUERIES;

/// Tables whose rows come from the API, in the order in which they are written.
pub const ENTITIES: &[&Table] = &[
    &PROJECTS,
    &PROJECT_CATEGORIES,
    &PROJECT_SCHEDULES,
    &PROJECT_SHARING,
    &USERS,
    &GROUPS,
    &GROUP_MEMBERS,
    &COLLECTIONS,
    &COLLECTION_SHARING,
    &DATA_CONNECTIONS,
    &DATA_CONNECTION_SHARING,
    &QUERIED_TABLES,
    &RUNS,
    &CELLS,
    &COMPONENT_IMPORTS,
    &THREADS,
    &TOPICS,
    &DRAFT_GUIDES,
];

/// Tables of imported query histories.
pub const HISTORY: &[&Table] = &[
    &WAREHOUSE_QUERIES,
    &QUERY_DAYS,
    &QUERY_RUNS,
    &QUERY_FINGERPRINTS,
    &QUERY_REPEATS,
    &EXECUTED_TABLES,
    &HISTORY_DAYS,
];

/// The rows that `take` gets out of an item of the API, each with the item's identifier under the name `id`.
fn of_item(mut item: Value, id: &str, take: impl Fn(&mut Value) -> Vec<Value>) -> Vec<Value> {
    let of = item["id"].clone();
    let mut rows = take(&mut item);
    for row in &mut rows {
        row[id] = of.clone();
    }
    rows
}

/// Whether the rows of the table of this name are split over the snapshots of imports.
pub fn is_split(name: &str) -> bool {
    HISTORY.iter().any(|table| table.name == name && table.is_split())
}
