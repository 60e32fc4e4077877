//! `query_fingerprints`: how often the same query runs, and in which projects.

use crate::schema::columns::{float, int, text, time};
use crate::schema::{Origin, Span, Table, itself};

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
        time("first_at", "", "Start of the first query").required(),
        time("last_at", "", "Start of the last query").required(),
        int("queries", "", "Queries").required(),
        int("cached", "", "Of these, answered from the warehouse's result cache").required(),
        float("seconds", "", "Their time in the warehouse, in seconds"),
        int("bytes_scanned", "", "Bytes that they scanned"),
        float(
            "credits",
            "",
            "Credits (Snowflake) or DBUs (Databricks) that the warehouse attributes to them",
        ),
        float("slot_seconds", "", "Slot time (BigQuery) or CPU time (Trino), in seconds"),
    ],
    elsewhere: &[],
    explode: itself,
};
