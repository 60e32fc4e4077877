//! `executed_tables`: the tables that executed queries read and wrote.

use crate::schema::columns::{date, text};
use crate::schema::{Origin, Span, Table, itself};

use super::usage::{BYTES_SCANNED, CACHED, CREDITS, FIRST_AT, LAST_AT, QUERIES, SECONDS, SLOT_SECONDS};

/// One row a project, connection, table, direction and day (UTC).
pub static EXECUTED_TABLES: Table = Table {
    name: "executed_tables",
    doc: "Warehouse tables that executed queries read and wrote, by day (UTC); a query counts for each of its tables",
    origin: Origin::History(Span::Whole),
    key: &["project_id", "data_connection_id", "connection_name", "table_key", "direction", "day"],
    columns: &[
        text("project_id", "", "Project").required(),
        text("data_connection_id", "", "Data connection; null if none of that name is known"),
        text("connection_name", "", "Data connection's name, by the query's comment or --connection"),
        text("table_key", "", "Table's whole name: the same for the same table of a connection").required(),
        text("direction", "", "read or write").required(),
        date("day", "", "Day (UTC) on which the queries started").required(),
        text("warehouse", "", "Kind of warehouse, such as snowflake").required(),
        text(
            "tables_by",
            "",
            "referenced (the warehouse says so), sql (the query was parsed) or scanned (it could not be)",
        )
        .required(),
        text("database_name", "", "Database, catalog or project"),
        text("schema_name", "", "Schema or dataset"),
        text("table_name", "", "Table").required(),
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
