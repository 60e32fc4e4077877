//! `query_runs`: what each run's queries took.

use crate::schema::columns::{int, text};
use crate::schema::{Origin, Span, Table, itself};

use super::usage::{BYTES_SCANNED, CACHED, CREDITS, FIRST_AT, LAST_AT, QUERIES, SECONDS, SLOT_SECONDS};

/// One row a project, trace and connection; queries without a trace are one row a minute.
pub static QUERY_RUNS: Table = Table {
    name: "query_runs",
    doc: "Warehouse queries that Hex sent, added up by the trace that they belong to",
    origin: Origin::History(Span::Whole),
    key: &["project_id", "group_id", "warehouse", "connection_name"],
    columns: &[
        text("project_id", "", "Project").required(),
        text("group_id", "", "Trace id, or the minute (UTC) of queries whose comment has none").required(),
        text("warehouse", "", "Kind of warehouse, such as snowflake").required(),
        text("connection_name", "", "Data connection's name, by the query's comment or --connection"),
        text("trace_id", "", "Trace id, by the query's comment"),
        text("context", "", "What made Hex send them, by the query's comment"),
        text("data_connection_id", "", "Data connection; null if none of that name is known"),
        FIRST_AT,
        LAST_AT,
        int("failures", "", "Queries that failed").required(),
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
