//! `sql_tables`: the tables that each SQL cell reads and writes, by its SQL alone.

use crate::schema::columns::text;
use crate::schema::{Origin, Table, itself};

/// One row a SQL cell and table: one of the two kinds of evidence that `lineage` joins.
pub static SQL_TABLES: Table = Table {
    name: "sql_tables",
    doc: "Warehouse tables that SQL cells read and write, according to their SQL",
    origin: Origin::Derived(&["cells", "data_connections"]),
    key: &["project_id", "static_id", "data_connection_id", "table_key", "direction"],
    columns: &[
        text("project_id", "", "Project").required(),
        text("static_id", "", "Cell").required(),
        text("data_connection_id", "", "Data connection").required(),
        text("table_key", "", "Full name of the table; the same for all uses of a table on one connection").required(),
        text("direction", "", "read or write").required(),
        text(
            "evidence",
            "",
            "sql (the statement was parsed), or scanned (it was not: the name follows a keyword such as FROM)",
        )
        .required(),
        text("database_name", "", "Database, catalog or project"),
        text("schema_name", "", "Schema or dataset"),
        text("table_name", "", "Table").required(),
    ],
    elsewhere: &[],
    explode: itself,
};
