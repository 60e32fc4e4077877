//! `cells`: cells of projects' drafts.

use crate::client::operation::LIST_CELLS;
use crate::schema::columns::text;
use crate::schema::{Origin, Table, itself};

/// One row a cell. Sources are given for SQL, code and markdown cells alone.
pub static CELLS: Table = Table {
    name: "cells",
    doc: "Cells of projects' drafts, with the source of SQL, code and markdown cells",
    origin: Origin::Api(&LIST_CELLS),
    key: &["project_id", "static_id"],
    columns: &[
        text("project_id", "@entity", "Project").required(),
        text("static_id", "staticId", "Stable identifier; the cell's id, where the server has none")
            .required(),
        text("cell_id", "id", "Identifier within a version; changes with each edit").noise(),
        text("cell_type", "cellType", "SQL, CODE, MARKDOWN, INPUT, CHART, COMPONENT_IMPORT, ..."),
        text("label", "label", "Label"),
        text(
            "data_connection_id",
            "dataConnectionId",
            "Data connection of a SQL cell; null if it queries dataframes",
        ),
        text(
            "source",
            "contents.sqlCell.source|contents.codeCell.source|contents.markdownCell.source",
            "Source text",
        ),
        text(
            "output_dataframe",
            "contents.sqlCell.outputDataframe",
            "Dataframe that holds a SQL cell's result",
        ),
    ],
    elsewhere: &["projectId"],
    explode: itself,
};
