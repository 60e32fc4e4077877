//! Which project reads or writes which table: the longest of the tables that the rules look at.

use std::collections::HashSet;
use std::hash::Hash;
use std::sync::Arc;

use serde::{Deserialize, Deserializer};

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
    /// Kinds of evidence, with a plus between them.
    pub evidence: Arc<str>,
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
    #[serde(deserialize_with = "joined")]
    evidence: Arc<str>,
}

fn joined<'de, D: Deserializer<'de>>(from: D) -> Result<Arc<str>, D::Error> {
    Ok(Vec::<String>::deserialize(from)?.join("+").into())
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
            evidence: shared(row.evidence, &mut texts),
        }));
    }
    Ok(edges)
}
