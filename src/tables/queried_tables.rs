//! `queried_tables`: warehouse tables that projects' published runs have queried, as Hex reports them.

use crate::client::operation::GET_QUERIED_TABLES;
use crate::schema::columns::text;
use crate::schema::{Origin, Table, itself};

/// One row a project, connection and table. Enterprise plan only; empty for projects never published.
pub static QUERIED_TABLES: Table = Table {
    name: "queried_tables",
    doc: "Warehouse tables that a project's published runs have queried (Enterprise plan)",
    origin: Origin::Api(&GET_QUERIED_TABLES),
    key: &["project_id", "data_connection_id", "table_name"],
    columns: &[
        text("project_id", "@entity", "Project").required(),
        text("data_connection_id", "dataConnectionId", "Data connection"),
        text("data_connection_name", "dataConnectionName", "Data connection's name"),
        text("table_name", "tableName", "Table as the warehouse names it, usually database.schema.table"),
    ],
    elsewhere: &[],
    explode: itself,
};
