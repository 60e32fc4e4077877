//! Which project reads or writes which table: the longest of the tables that the rules look at.

use std::collections::HashSet;
use std::hash::Hash;
use std::sync::Arc;

use serde::Deserialize;

use super::source::Tables;
use crate::derive::LINEAGE;
use crate::snapshot::{Error, rows};

/// A warehouse table, as one connection reaches it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Deserialize)]
#[serde(default)]
pub struct WarehouseTable {
    pub data_connection_id: Option<Arc<str>>,
    pub table_key: Arc<str>,
    pub database_name: Option<Arc<str>>,
    pub schema_name: Option<Arc<str>>,
    pub table_name: Arc<str>,
}

/// A row of `lineage`. A workspace has millions of them, of few projects, tables and kinds of evidence: they share
/// what they name.
#[derive(Debug, Clone)]
pub struct Edge {
    pub project_id: Arc<str>,
    pub table: Arc<WarehouseTable>,
    /// Whether the project reads the table; it writes it otherwise.
    pub is_read: bool,
    pub evidence: Kinds,
}

/// Kinds of evidence that a row of `lineage` rests on.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Kinds(u8);

impl Kinds {
    const NAMES: [&str; 5] = ["component", "executed", "queried", "scanned", "sql"];

    /// Whether the kind of this name is among them.
    pub fn has(self, kind: &str) -> bool {
        self.names().any(|name| name == kind)
    }

    fn names(self) -> impl Iterator<Item = &'static str> {
        Self::NAMES
            .into_iter()
            .enumerate()
            .filter(move |(at, _)| self.0 & (1 << at) != 0)
            .map(|(_, name)| name)
    }
}

impl<'a> FromIterator<&'a str> for Kinds {
    fn from_iter<I: IntoIterator<Item = &'a str>>(names: I) -> Self {
        let place = |name| Self::NAMES.iter().position(|known| *known == name);
        Self(names.into_iter().filter_map(place).fold(0, |kinds, at| kinds | 1 << at))
    }
}

impl From<&str> for Kinds {
    /// Those whose names stand here with a plus between them.
    fn from(text: &str) -> Self {
        text.split('+').collect()
    }
}

impl std::fmt::Display for Kinds {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.names().collect::<Vec<_>>().join("+"))
    }
}

/// A column of a table that a project reads.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct ColumnEdge {
    pub project_id: Arc<str>,
    pub data_connection_id: Option<Arc<str>>,
    pub table_key: Arc<str>,
    pub column_name: String,
}

/// The row as it is read.
#[derive(Default, Deserialize)]
#[serde(default)]
struct LineageRow {
    project_id: Arc<str>,
    #[serde(flatten)]
    table: WarehouseTable,
    direction: String,
    evidence: Vec<String>,
}

/// The value that is known already, or else this one.
pub(super) fn shared<T: ?Sized + Eq + Hash>(value: Arc<T>, known: &mut HashSet<Arc<T>>) -> Arc<T> {
    match known.get(&value) {
        Some(known) => known.clone(),
        None => {
            known.insert(value.clone());
            value
        }
    }
}

/// All of `lineage`.
pub(super) fn edges(tables: &dyn Tables) -> Result<Vec<Edge>, Error> {
    let columns = [
        "project_id",
        "data_connection_id",
        "table_key",
        "database_name",
        "schema_name",
        "table_name",
        "direction",
        "evidence",
    ];
    let (mut texts, mut known) = (HashSet::new(), HashSet::new());
    let mut edges = Vec::new();
    for batch in tables.open(&LINEAGE, &columns)?.into_iter().flatten() {
        let rows: Vec<LineageRow> = rows::of_batch(&LINEAGE, &batch?)?;
        edges.extend(rows.into_iter().map(|row| Edge {
            project_id: shared(row.project_id, &mut texts),
            table: shared(Arc::new(row.table), &mut known),
            is_read: row.direction != "write",
            evidence: row.evidence.iter().map(String::as_str).collect(),
        }));
    }
    Ok(edges)
}
