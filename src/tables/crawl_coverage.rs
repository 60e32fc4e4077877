//! `crawl_coverage`: what the crawl asked for, and what came of it.

use crate::schema::columns::{int, text, time};
use crate::schema::{Origin, Table, itself};

/// One row an operation and entity: for list operations the entity is null.
pub static CRAWL_COVERAGE: Table = Table {
    name: "crawl_coverage",
    doc: "What the crawl asked for and with what result, by operation and project or group",
    origin: Origin::Crawl,
    key: &["operation", "entity_id"],
    columns: &[
        text("operation", "", "Operation of the Hex API").required(),
        text("entity_id", "", "Project or group asked about, or missing entity; null for a list of the whole workspace"),
        text(
            "state",
            "",
            "fetched, reused (unchanged since an earlier snapshot), skipped (the answer is known to be empty), deferred \
             (the budget ended first), forbidden, vanished (404, although it is listed), failed, missing (the list no \
             longer names it, which isn't believed yet), held (not asked about, since its list doesn't name it, or broke \
             off); rows of everything but the first three are those last known",
        )
        .required(),
        text("reason", "", "Reason for the state, and what to do about it"),
        int("requests", "", "Requests sent for it, including retries and refusals").required(),
        int("rows", "", "Items received").required(),
        time("last_read_at", "", "When it was last read from the API, completely or in part; null if never"),
        text("stamp", "", "Fingerprint of the project when it was last read completely; it is re-read when that changes"),
    ],
    elsewhere: &[],
    explode: itself,
};
