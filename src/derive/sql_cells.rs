//! `sql_cells`: what became of each SQL cell when it was read for lineage.

use crate::schema::columns::{boolean, int, text};
use crate::schema::{Column, Origin, Table, Type, itself};

/// One row a SQL cell.
pub static SQL_CELLS: Table = Table {
    name: "sql_cells",
    doc: "SQL cells, and whether they could be parsed for lineage",
    origin: Origin::Derived(&["cells", "data_connections"]),
    key: &["project_id", "static_id"],
    columns: &[
        text("project_id", "", "Project").required(),
        text("static_id", "", "Cell").required(),
        text("data_connection_id", "", "Data connection; null if it queries dataframes"),
        text("connection_type", "", "Warehouse whose SQL dialect was used; duckdb for dataframes"),
        boolean("parsed", "", "Whether all its statements were parsed").required(),
        boolean(
            "scanned",
            "",
            "Whether tables were found by a scan, because a statement could not be parsed; if neither, it could not be read",
        )
        .required(),
        text("error", "", "Why it could not be parsed"),
        int("tables", "", "Warehouse tables that it reads").required(),
        int("tables_written", "", "Warehouse tables that it writes").required(),
        int(
            "unnamed_tables",
            "",
            "Tables whose name a template fills in, or breaks the warehouse's naming rules",
        )
        .required(),
        int("files", "", "Files and stages that it reads or writes").required(),
        int("unresolved_columns", "", "Columns that could be of more than one table").required(),
        Column::new("dataframes", Type::List(&Type::Utf8), "", "Dataframes of other cells that it reads"),
        int("renderings", "", "Variants that its template rendered to; 1 without a template, 0 if it was not read")
            .required(),
        text("template_error", "", "Why its template could not be rendered unchanged"),
        Column::new(
            "statement_kinds",
            Type::List(&Type::Utf8),
            "",
            "Kinds of its statements, sorted: SELECT, INSERT, CREATE TABLE, ...; of those that parse",
        ),
        boolean("select_star", "", "Whether it reads all columns of a warehouse table (SELECT *)").required(),
        text(
            "sql_fingerprint",
            "",
            "The same for SQL that differs in literals, comments and layout alone; query_fingerprints has the same \
             one, where the SQL has no template",
        ),
    ],
    elsewhere: &[],
    explode: itself,
};
