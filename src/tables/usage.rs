//! Columns that every table of totals has: how many queries are added up, and what they used.

use crate::schema::columns::{Column, float, int, time};

/// Start of the first.
pub const FIRST_AT: Column = time("first_at", "", "Start of the first query").required();
/// Start of the last.
pub const LAST_AT: Column = time("last_at", "", "Start of the last query").required();
/// Number of queries.
pub const QUERIES: Column = int("queries", "", "Queries").required();
/// Queries answered from the result cache, which cost nothing.
pub const CACHED: Column =
    int("cached", "", "Of these, answered from the warehouse's result cache").required();
/// Time; unknown where the warehouse doesn't say.
pub const SECONDS: Column = float("seconds", "", "Their time in the warehouse, in seconds");
/// Bytes; unknown where the warehouse doesn't say.
pub const BYTES_SCANNED: Column = int("bytes_scanned", "", "Bytes that they scanned");
/// Credits; unknown where the warehouse doesn't say.
pub const CREDITS: Column =
    float("credits", "", "Credits (Snowflake) or DBUs (Databricks) that the warehouse attributes to them");
/// Slot or CPU time; unknown where the warehouse doesn't say.
pub const SLOT_SECONDS: Column =
    float("slot_seconds", "", "Slot time (BigQuery) or CPU time (Trino), in seconds");
