//! `topics`: topics of agent threads.

use crate::client::operation::LIST_TOPICS;
use crate::schema::columns::text;
use crate::schema::{Origin, Table, itself};

/// One row a topic.
pub static TOPICS: Table = Table {
    name: "topics",
    doc: "Topics of agent threads",
    origin: Origin::Api(&LIST_TOPICS),
    key: &["topic_id"],
    columns: &[text("topic_id", "id", "Identifier").required(), text("name", "name", "Name")],
    elsewhere: &[],
    explode: itself,
};
