//! `sql_cells`: what became of each SQL cell when it was read for lineage.

use crate::schema::columns::{boolean, int, text};
use crate::schema::{Column, Origin, Table, Type, itself};

/// One row a SQL cell.
pub static SQL_CELLS: Table = Table {
    name: "sql_cells",
    doc: "SQL cells as they were read for lineage: whether they could be, and why not",
    origin: Origin::Derived(&["cells", "data_connections"]),
    key: &["project_id", "static_id"],
    columns: &[
        text("project_id", "", "Project").required(),
        text("static_id", "", "Cell").required(),
        text("data_connection_id", "", "Data connection; null if it queries dataframes"),
        text("connection_type", "", "Warehouse whose dialect it was read in; duckdb for dataframes"),
        boolean("parsed", "", "Whether it could be read").required(),
        text("error", "", "Why it could not be read"),
        int("tables", "", "Warehouse tables that it reads").required(),
        int(
            "unnamed_tables",
            "",
            "Tables whose name a template fills in, or that is not one by the warehouse's rules",
        )
        .required(),
        int("unresolved_columns", "", "Columns that could be of more than one table").required(),
        Column::new("dataframes", Type::List(&Type::Utf8), "", "Dataframes of other cells that it reads"),
    ],
    elsewhere: &[],
    explode: itself,
};
