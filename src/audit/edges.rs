//! Which project reads or writes which table: the longest of the tables that the rules look at.

use std::collections::HashSet;
use std::sync::Arc;

use serde::{Deserialize, Deserializer};

use super::source::Tables;
use crate::derive::LINEAGE;
use crate::snapshot::{Error, rows};

/// A row of `lineage`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Edge {
    pub project_id: Arc<str>,
    pub data_connection_id: Option<Arc<str>>,
    pub table_key: Arc<str>,
    pub database_name: Option<Arc<str>>,
    pub schema_name: Option<Arc<str>>,
    pub table_name: Arc<str>,
    pub direction: Arc<str>,
    /// Kinds of evidence, with a plus between them.
    #[serde(deserialize_with = "joined")]
    pub evidence: Arc<str>,
    pub connection_name: Option<Arc<str>>,
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

fn joined<'de, D: Deserializer<'de>>(from: D) -> Result<Arc<str>, D::Error> {
    Ok(Vec::<String>::deserialize(from)?.join("+").into())
}

impl Edge {
    /// Whether the project reads the table; it writes it otherwise.
    pub fn is_read(&self) -> bool {
        &*self.direction != "write"
    }

    /// The same edge, with texts interned.
    fn sharing(self, known: &mut HashSet<Arc<str>>) -> Self {
        let mut shared = |text: Arc<str>| match known.get(&text) {
            Some(known) => known.clone(),
            None => {
                known.insert(text.clone());
                text
            }
        };
        Self {
            project_id: shared(self.project_id),
            data_connection_id: self.data_connection_id.map(&mut shared),
            table_key: shared(self.table_key),
            database_name: self.database_name.map(&mut shared),
            schema_name: self.schema_name.map(&mut shared),
            table_name: shared(self.table_name),
            direction: shared(self.direction),
            evidence: shared(self.evidence),
            connection_name: self.connection_name.map(&mut shared),
        }
    }
}

/// All of `lineage`: the longest of the tables that are held, of few different texts.
pub(super) fn edges(tables: &dyn Tables) -> Result<Vec<Edge>, Error> {
    let table = &LINEAGE;
    let columns = [
        "project_id",
        "data_connection_id",
        "table_key",
        "database_name",
        "schema_name",
        "table_name",
        "direction",
        "evidence",
        "connection_name",
    ];
    let mut known = HashSet::new();
    let mut edges = Vec::new();
    for batch in tables.open(table, &columns)?.into_iter().flatten() {
        let rows: Vec<Edge> = rows::of_batch(table, &batch?)?;
        edges.extend(rows.into_iter().map(|edge| edge.sharing(&mut known)));
    }
    Ok(edges)
}
