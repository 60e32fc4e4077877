//! `query_days`: what each project's queries took, by day.

use crate::schema::columns::{date, text};
use crate::schema::{Origin, Span, Table, itself};

use super::usage::{BYTES_SCANNED, CACHED, CREDITS, QUERIES, SECONDS, SLOT_SECONDS};

/// One row a project, cell, context, user, connection, outcome and day (UTC).
pub static QUERY_DAYS: Table = Table {
    name: "query_days",
    doc: "Warehouse queries that Hex sent, added up by day (UTC), project, cell, context, user and outcome",
    origin: Origin::History(Span::Whole),
    key: &[
        "project_id",
        "day",
        "context",
        "user_email",
        "warehouse",
        "connection_name",
        "cell_id",
        "outcome",
    ],
    columns: &[
        text("project_id", "", "Project; empty if the query's comment names none").required(),
        date("day", "", "Day (UTC) on which the queries started").required(),
        text("context", "", "What made Hex send them, by the query's comment, such as SCHEDULED_RUN"),
        text("user_email", "", "User that Hex sent them for"),
        text("warehouse", "", "Kind of warehouse, such as snowflake").required(),
        text("connection_name", "", "Data connection's name, by the query's comment or --connection"),
        text("cell_id", "", "Cell, by the query's comment"),
        text("outcome", "", "success or failed").required(),
        text("data_connection_id", "", "Data connection; null if none of that name is known"),
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
