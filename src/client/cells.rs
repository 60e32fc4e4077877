//! Cells of a project's draft.

use serde::{Deserialize, Serialize};

use super::operation::{GET_CELL, LIST_CELLS};
use super::{ApiRequest, Call, CellId, Client, ConnectionId, List, ProjectId};

/// A cell. Sources are given for SQL, code and markdown cells alone.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Cell {
    /// Identifier within a version; changes with each edit.
    pub id: CellId,
    /// Durable identifier.
    pub static_id: String,
    /// `SQL`, `CODE`, `MARKDOWN`, `INPUT`, `CHART`, `COMPONENT_IMPORT`, ...
    pub cell_type: String,
    /// Label.
    pub label: Option<String>,
    /// Connection of a SQL cell; `None` when it queries dataframes.
    pub data_connection_id: Option<ConnectionId>,
    /// Source.
    pub contents: CellContents,
    /// The project.
    pub project_id: ProjectId,
}

/// Source of a cell; at most one is set.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct CellContents {
    /// Of a code cell.
    pub code_cell: Option<Source>,
    /// Of a SQL cell.
    pub sql_cell: Option<SqlSource>,
    /// Of a markdown cell.
    pub markdown_cell: Option<Source>,
}

/// Source text.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Source {
    /// The text.
    pub source: String,
}

/// Source of a SQL cell.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SqlSource {
    /// The query.
    pub source: String,
    /// Dataframe that holds the result.
    pub output_dataframe: String,
}

/// Parameters of `ListCells`.
#[derive(Debug, Clone, Default)]
pub struct ListCells {
    /// The project.
    pub project_id: ProjectId,
    /// Cells a page, 1 to 100; 100 by default.
    pub page_size: Option<u32>,
}

impl List for ListCells {
    type Item = Cell;

    fn request(&self) -> ApiRequest {
        ApiRequest::new(&LIST_CELLS, &[])
            .query("projectId", &self.project_id)
            .query("limit", self.page_size.unwrap_or(100))
    }
}

impl Client {
    /// One cell (`GetCell`).
    ///
    /// ```
    /// # hexport::sim::try_out(async |client, world| {
    /// let cell = world.projects.iter().flat_map(|p| world.cells(p)).next().unwrap().0;
    /// assert_eq!(client.get_cell(&cell.id).await?.static_id, cell.static_id);
    /// # Ok(()) });
    /// ```
    ///
    /// # Errors
    /// Any of [`Error`](super::Error).
    pub fn get_cell(&self, cell_id: &CellId) -> Call<Cell> {
        self.call(ApiRequest::new(&GET_CELL, &[cell_id]))
    }
}
