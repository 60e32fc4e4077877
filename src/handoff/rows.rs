//! Rows of a snapshot's tables, as far as the hand-offs read them, and reading them project by project.

use chrono::{DateTime, Utc};
use serde::Deserialize;
use serde::de::DeserializeOwned;

pub(crate) use crate::audit::Project;
use crate::derive::names::Warehouse;
pub use crate::derive::schedule::ScheduleRow;
use crate::registry;
use crate::schema::Table;
use crate::snapshot::{Error, Lake, Manifest, TableReader, rows};

/// A row of `lineage`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Edge {
    pub project_id: String,
    pub data_connection_id: Option<String>,
    pub table_key: String,
    pub direction: String,
    pub database_name: Option<String>,
    pub schema_name: Option<String>,
    pub table_name: String,
    pub parsed: bool,
    pub evidence: Vec<String>,
    pub via_component_ids: Option<Vec<String>>,
    pub connection_name: Option<String>,
    pub connection_type: Option<String>,
}

impl Edge {
    /// Whether the project reads the table; it writes it otherwise.
    pub fn is_read(&self) -> bool {
        self.direction != "write"
    }

    /// The components that it goes through.
    pub fn via(&self) -> &[String] {
        self.via_component_ids.as_deref().unwrap_or_default()
    }

    /// Kind of the warehouse that it is in.
    pub fn warehouse(&self) -> Warehouse {
        Warehouse::of_type(self.connection_type.as_deref().unwrap_or(""))
    }

    /// Whether it goes through the connection of this name or identifier, in any case.
    pub fn is_through(&self, name: &str) -> bool {
        let names = [&self.connection_name, &self.data_connection_id];
        names.into_iter().flatten().any(|own| own.to_lowercase() == name.to_lowercase())
    }

    /// Key of its table: the connection's identifier, empty if it isn't known, and the whole name.
    pub fn table(&self) -> TableKey {
        (self.data_connection_id.clone().unwrap_or_default(), self.table_key.clone())
    }

    /// Connection's name, or its identifier if it isn't listed.
    pub fn connection(&self) -> &str {
        self.connection_name.as_deref().or(self.data_connection_id.as_deref()).unwrap_or("")
    }
}

/// A table in hand-offs: its connection and its whole name.
pub type TableKey = (String, String);

/// A row of `project_categories`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Category {
    pub project_id: String,
    pub name: String,
}

/// A row of `users`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct User {
    pub email: Option<String>,
    pub name: Option<String>,
}

/// A row of `runs`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Run {
    pub project_id: String,
    pub run_id: String,
    pub status: Option<String>,
    pub run_trigger: Option<String>,
    pub start_time: Option<DateTime<Utc>>,
    pub end_time: Option<DateTime<Utc>>,
    pub duration_seconds: Option<f64>,
    pub run_url: Option<String>,
}

/// A row of `cells`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Cell {
    pub project_id: String,
    pub static_id: String,
    pub cell_type: Option<String>,
    pub label: Option<String>,
    pub source: Option<String>,
}

/// A row of `column_lineage`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct ColumnEdge {
    pub project_id: String,
    pub data_connection_id: String,
    pub table_key: String,
    pub column_name: String,
}

/// A row of `sql_tables`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct SqlTable {
    pub project_id: String,
    pub static_id: String,
    pub data_connection_id: String,
    pub table_key: String,
    pub direction: String,
}

/// A row of `sql_columns`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct SqlColumn {
    pub project_id: String,
    pub static_id: String,
    pub data_connection_id: String,
    pub table_key: String,
    pub column_name: String,
}

/// A row of `project_sharing`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Grant {
    pub project_id: String,
    pub principal_type: String,
    pub principal: Option<String>,
}

/// Rows that belong to a project.
pub trait OfProject {
    /// The project.
    fn project(&self) -> &str;
}

macro_rules! of_project {
    ($($row:ty),*) => {$(
        impl OfProject for $row {
            fn project(&self) -> &str {
                &self.project_id
            }
        }
    )*};
}
of_project!(Edge, Category, ScheduleRow, Run, Cell, ColumnEdge, SqlTable, SqlColumn, Grant);

/// A table's rows project by project, in the order of the file: one batch is held at a time.
pub struct ByProject<T> {
    table: &'static Table,
    reader: Option<TableReader>,
    rows: std::vec::IntoIter<T>,
    next: Option<T>,
}

impl<T: DeserializeOwned + OfProject> ByProject<T> {
    /// Opens some columns of a table.
    pub fn open(lake: &Lake, manifest: &Manifest, name: &str, columns: &[&str]) -> Result<Self, Error> {
        let table = registry::by_name(name).expect("a table of the registry");
        let reader = TableReader::open_columns(lake, manifest, table, columns)?;
        Ok(Self { table, reader, rows: Vec::new().into_iter(), next: None })
    }

    fn fill(&mut self) -> Result<bool, Error> {
        while self.next.is_none() {
            self.next = self.rows.next();
            if self.next.is_none() {
                let Some(batch) = self.reader.as_mut().and_then(Iterator::next) else { return Ok(false) };
                self.rows = rows::of_batch(self.table, &batch?)?.into_iter();
            }
        }
        Ok(true)
    }

    /// The rows of a project. Those of projects before it are passed over: projects are asked for in order.
    pub fn take(&mut self, project: &str) -> Result<Vec<T>, Error> {
        let mut found = Vec::new();
        while self.fill()? {
            match self.next.as_ref().map_or("", OfProject::project).cmp(project) {
                std::cmp::Ordering::Greater => break,
                std::cmp::Ordering::Less => self.next = None,
                std::cmp::Ordering::Equal => found.extend(self.next.take()),
            }
        }
        Ok(found)
    }
}
