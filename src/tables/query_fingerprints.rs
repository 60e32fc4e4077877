//! `query_fingerprints`: how often the same query runs, and in which projects.

use crate::schema::columns::text;
use crate::schema::{Origin, Span, Table, itself};

use super::usage::{BYTES_SCANNED, CACHED, CREDITS, FIRST_AT, LAST_AT, QUERIES, SECONDS, SLOT_SECONDS};

/// One row a query without its literals and a project that sends it.
pub static QUERY_FINGERPRINTS: Table = Table {
    name: "query_fingerprints",
    doc: "Warehouse queries that Hex sent, added up by fingerprint (the query without literals and layout) and project",
    origin: Origin::History(Span::Whole),
    key: &["warehouse", "fingerprint", "project_id", "connection_name"],
    columns: &[
        text("warehouse", "", "Kind of warehouse, such as snowflake").required(),
        text("fingerprint", "", "The same for queries that differ in literals, comments and layout alone")
            .required(),
        text("project_id", "", "Project; empty if the query's comment names none").required(),
        text("connection_name", "", "Data connection's name, by the query's comment or --connection"),
        text("data_connection_id", "", "Data connection; null if none of that name is known"),
        FIRST_AT,
        LAST_AT,
        QUERIES,
        CACHED,
        SECONDS,
        BYTES_SCANNED,
        CREDITS,
        SLOT_SECONDS,
    ],
    elsewhere: &[],
    explode: itself,
};
