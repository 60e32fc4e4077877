//! `sql_columns`: the columns that each SQL cell reads.

use crate::schema::columns::text;
use crate::schema::{Origin, Table, itself};

/// One row a SQL cell, table and column.
pub static SQL_COLUMNS: Table = Table {
    name: "sql_columns",
    doc: "Columns of warehouse tables that SQL cells read, and how each was attributed to its table",
    origin: Origin::Derived(&["cells", "data_connections"]),
    key: &["project_id", "static_id", "data_connection_id", "table_key", "column_name"],
    columns: &[
        text("project_id", "", "Project").required(),
        text("static_id", "", "Cell").required(),
        text("data_connection_id", "", "Data connection").required(),
        text("table_key", "", "Full name of the table").required(),
        text(
            "column_name",
            "",
            "Column; * where a query reads all columns and the table's schema isn't known",
        )
        .required(),
        text("resolved_by", "", RESOLVED_BY).required(),
    ],
    elsewhere: &[],
    explode: itself,
};

/// Documentation of `resolved_by`: the evidence that a column belongs to its table.
pub const RESOLVED_BY: &str = "How it was attributed to the table: qualified (the query names the table), only_table (the query reads no other), star (through a subquery's *), schema (a given schema has it), learned (other queries of \
    the workspace read it from this table)";
