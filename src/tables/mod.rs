//! The tables whose rows come from the API, from the crawl and from the audit: one file each.
//!
//! To add one of the API's, write its file and name it in [`ENTITIES`].

mod audit_findings;
mod audit_rules;
mod cells;
mod collection_sharing;
mod collections;
mod crawl_coverage;
mod data_connection_sharing;
mod data_connections;
mod draft_guides;
mod group_members;
mod groups;
mod project_categories;
mod project_schedules;
mod project_sharing;
mod projects;
mod queried_tables;
mod runs;
mod threads;
mod topics;
mod users;

use crate::schema::Table;

pub use audit_findings::AUDIT_FINDINGS;
pub use audit_rules::AUDIT_RULES;
pub use cells::CELLS;
pub use collection_sharing::COLLECTION_SHARING;
pub use collections::COLLECTIONS;
pub use crawl_coverage::CRAWL_COVERAGE;
pub use data_connection_sharing::DATA_CONNECTION_SHARING;
pub use data_connections::DATA_CONNECTIONS;
pub use draft_guides::DRAFT_GUIDES;
pub use group_members::GROUP_MEMBERS;
pub use groups::GROUPS;
pub use project_categories::PROJECT_CATEGORIES;
pub use project_schedules::PROJECT_SCHEDULES;
pub use project_sharing::PROJECT_SHARING;
pub use projects::PROJECTS;
pub use queried_tables::QUERIED_TABLES;
pub use runs::RUNS;
pub use threads::THREADS;
pub use topics::TOPICS;
pub use users::USERS;

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
    &THREADS,
    &TOPICS,
    &DRAFT_GUIDES,
];
