//! `history_days`: how far the imported query histories reach.

use crate::schema::columns::{date, int, text, time};
use crate::schema::{Origin, Span, Table, itself};

/// One row a connection and day (UTC) of which queries were imported.
pub static HISTORY_DAYS: Table = Table {
    name: "history_days",
    doc: "Days (UTC) of which query histories were imported, by connection: the watermark of the next extraction",
    origin: Origin::History(Span::Whole),
    key: &["warehouse", "connection_name", "day"],
    columns: &[
        text("warehouse", "", "Kind of warehouse, such as snowflake").required(),
        text("connection_name", "", "Data connection's name, by the query's comment or --connection"),
        date("day", "", "Day (UTC) on which the queries started").required(),
        int("queries", "", "Queries of Hex that were imported").required(),
        time("first_at", "", "Start of the first query").required(),
        time("last_at", "", "Start of the last query").required(),
    ],
    elsewhere: &[],
    explode: itself,
};
