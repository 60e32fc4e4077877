//! `query_runs`: what each run's queries took.

use crate::schema::columns::{float, int, text, time};
use crate::schema::{Origin, Span, Table, itself};

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
        time("first_at", "", "Start of the first query").required(),
        time("last_at", "", "Start of the last query").required(),
        int("failures", "", "Queries that failed").required(),
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
