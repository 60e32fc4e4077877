//! `warehouse_queries`: queries that Hex sent to warehouses, from their query histories.

use crate::schema::columns::{boolean, float, int, text, time};
use crate::schema::{Column, Origin, Span, Table, Type, itself};

/// One row a query. A snapshot holds the rows of one import; views unite them.
pub static WAREHOUSE_QUERIES: Table = Table {
    name: "warehouse_queries",
    doc: "Queries that Hex sent to warehouses, from their query histories; a snapshot holds those of one import",
    origin: Origin::History(Span::OneImport),
    key: &["warehouse", "query_id"],
    columns: &[
        text("warehouse", "", "Kind of warehouse, such as snowflake").required(),
        text("query_id", "", "Identifier in the warehouse").required(),
        text("project_id", "", "Project, by the query's comment"),
        text("connection_name", "", "Data connection's name, by the query's comment or --connection"),
        text("data_connection_id", "", "Data connection; null if none of that name is known"),
        text("cell_id", "", "Cell, by the query's comment"),
        text("cell_type", "", "Cell's type, by the query's comment"),
        text("context", "", "What made Hex send it, by the query's comment, such as SCHEDULED_RUN"),
        text("trace_id", "", "Trace id, by the query's comment"),
        text("user_email", "", "User that Hex sent it for, by the query's comment, in lower case"),
        text("warehouse_user", "", "User of the warehouse that ran it"),
        time("started_at", "", "Start").required(),
        time("ended_at", "", "End"),
        float("duration_seconds", "", "Time in the warehouse, in seconds"),
        text("outcome", "", "success or failed").required(),
        text("error_code", "", "The warehouse's code of the error"),
        text("statement_type", "", "Kind of statement, as the warehouse names it"),
        boolean("is_cached", "", "Whether it was answered from the warehouse's result cache"),
        int("bytes_scanned", "", "Bytes scanned"),
        int("rows_produced", "", "Rows of the result"),
        float("credits", "", "Credits (Snowflake) or DBUs (Databricks) that the warehouse attributes to it"),
        float("slot_seconds", "", "Slot time (BigQuery) or CPU time (Trino), in seconds"),
        text("fingerprint", "", "The same for queries that differ in literals, comments and layout alone")
            .required(),
        Column::new("tables_read", Type::List(&Type::Utf8), "", "Tables that it reads, by their whole names"),
        Column::new(
            "tables_written",
            Type::List(&Type::Utf8),
            "",
            "Tables that it writes, by their whole names",
        ),
        text(
            "tables_by",
            "",
            "How they are known: referenced (the warehouse says so), sql (the query was parsed), scanned (it could not be)",
        ),
        text("comment", "", "State of the query's comment: whole, or repaired if its JSON is damaged")
            .required(),
        text("query_text", "", "SQL, with --keep-sql alone"),
        text(
            "text_hash",
            "",
            "The same for queries with the same text, literals included, but for Hex's comment; null if it is cut off",
        ),
    ],
    elsewhere: &[],
    explode: itself,
};
