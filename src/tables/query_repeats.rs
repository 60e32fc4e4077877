//! `query_repeats`: queries that ran again on the same day, unchanged, with a result of the same size.

use crate::schema::columns::{date, float, int, text, time};
use crate::schema::{Origin, Span, Table, itself};

/// One row a query's text, project, day and size of the result, of those that ran more than once.
pub static QUERY_REPEATS: Table = Table {
    name: "query_repeats",
    doc: "Queries of scheduled, API and app runs that ran again on a day (UTC), with the same text, rows and bytes: a cached result would have done",
    origin: Origin::History(Span::Whole),
    key: &[
        "project_id",
        "day",
        "warehouse",
        "connection_name",
        "fingerprint",
        "text_hash",
        "rows_each",
        "bytes_each",
    ],
    columns: &[
        text("project_id", "", "Project").required(),
        date("day", "", "Day (UTC) on which the queries started; of the last 30 days that are known")
            .required(),
        text("warehouse", "", "Kind of warehouse, such as snowflake").required(),
        text("connection_name", "", "Data connection's name, by the query's comment or --connection"),
        text("fingerprint", "", "The query without literals and layout").required(),
        text("text_hash", "", "The query's whole text").required(),
        int("rows_each", "", "Rows of each result; null if the history doesn't tell"),
        int("bytes_each", "", "Bytes that each query scanned; null if the history doesn't tell"),
        time("first_at", "", "Start of the first of them").required(),
        time("last_at", "", "Start of the last of them").required(),
        int("queries", "", "How often it ran, 2 at least").required(),
        float("seconds", "", "Their time in the warehouse, in seconds"),
    ],
    elsewhere: &[],
    explode: itself,
};
