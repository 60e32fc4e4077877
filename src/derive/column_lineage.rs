//! `column_lineage`: the columns of warehouse tables that projects read, by their cells' SQL.

use super::sql_columns::RESOLVED_BY;
use crate::schema::columns::{int, text};
use crate::schema::{Origin, Table, itself};

/// One row a project, table and column.
pub static COLUMN_LINEAGE: Table = Table {
    name: "column_lineage",
    doc: "Columns of warehouse tables that projects' SQL cells read",
    origin: Origin::Derived(&["cells", "data_connections"]),
    key: &["project_id", "data_connection_id", "table_key", "column_name"],
    columns: &[
        text("project_id", "", "Project").required(),
        text("data_connection_id", "", "Data connection").required(),
        text("table_key", "", "Full name of the table").required(),
        text(
            "column_name",
            "",
            "Column; * where a query reads all columns and the table's schema isn't known",
        )
        .required(),
        text("database_name", "", "Database, catalog or project"),
        text("schema_name", "", "Schema or dataset"),
        text("table_name", "", "Table").required(),
        text("resolved_by", "", RESOLVED_BY).required(),
        int("cells", "", "SQL cells that read it").required(),
    ],
    elsewhere: &[],
    explode: itself,
};
