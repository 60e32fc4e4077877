//! Which project reads or writes which table: the longest of the tables that the rules look at.

use std::collections::{BTreeMap, HashMap, HashSet};
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

/// A row of `lineage`, as it is read.
#[derive(Debug, Clone)]
pub struct LineageRow {
    pub project_id: Arc<str>,
    pub table: WarehouseTable,
    /// Whether the project reads the table; it writes it otherwise.
    pub is_read: bool,
    pub evidence: Kinds,
}

/// A row of `lineage`, as it is looked at.
#[derive(Debug, Clone, Copy)]
pub struct Edge<'a> {
    pub project_id: &'a str,
    pub table: &'a WarehouseTable,
    /// Whether the project reads the table; it writes it otherwise.
    pub is_read: bool,
    pub evidence: Kinds,
}

/// All of `lineage`. A workspace has millions of rows, of few projects, tables and kinds of evidence: a row is held in
/// eight bytes.
#[derive(Debug, Default)]
pub struct Lineage {
    tables: Vec<Arc<WarehouseTable>>,
    /// Places of the tables.
    known: HashMap<Arc<WarehouseTable>, u32>,
    projects: BTreeMap<Arc<str>, Vec<Use>>,
}

/// A table that a project reads or writes.
#[derive(Debug)]
struct Use {
    table: u32,
    is_read: bool,
    evidence: Kinds,
}

impl Lineage {
    /// Adds a row.
    pub fn push(&mut self, row: LineageRow) {
        let table = match self.known.get(&row.table) {
            Some(place) => *place,
            None => {
                let (place, table) = (self.tables.len() as u32, Arc::new(row.table));
                self.tables.push(table.clone());
                self.known.insert(table, place);
                place
            }
        };
        let uses = self.projects.entry(row.project_id).or_default();
        uses.push(Use { table, is_read: row.is_read, evidence: row.evidence });
    }

    /// All rows, by project.
    pub fn iter(&self) -> impl Iterator<Item = Edge<'_>> {
        self.projects.iter().flat_map(|(project, uses)| uses.iter().map(|of| self.edge(project, of)))
    }

    /// The rows of a project.
    pub fn of(&self, project: &str) -> impl Iterator<Item = Edge<'_>> {
        let found = self.projects.get_key_value(project);
        found.into_iter().flat_map(|(project, uses)| uses.iter().map(|of| self.edge(project, of)))
    }

    fn edge<'a>(&'a self, project_id: &'a str, of: &Use) -> Edge<'a> {
        let table = &self.tables[of.table as usize];
        Edge { project_id, table, is_read: of.is_read, evidence: of.evidence }
    }
}

impl FromIterator<LineageRow> for Lineage {
    fn from_iter<I: IntoIterator<Item = LineageRow>>(rows: I) -> Self {
        let mut lineage = Self::default();
        rows.into_iter().for_each(|row| lineage.push(row));
        lineage
    }
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

/// The row as it stands in the table.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Stored {
    project_id: Arc<str>,
    #[serde(flatten)]
    table: WarehouseTable,
    direction: String,
    evidence: Vec<String>,
}

/// Texts that are held once each: identifiers and addresses stand in many tables.
pub(super) type Texts = HashSet<Arc<str>>;

/// Puts the value that is known already in the place of its like, or else gets to know it.
pub(super) fn shared<T: ?Sized + Eq + Hash>(value: &mut Arc<T>, known: &mut HashSet<Arc<T>>) {
    match known.get(value) {
        Some(known) => *value = known.clone(),
        None => drop(known.insert(value.clone())),
    }
}

/// The text as it is known.
pub(super) fn known(text: &str, texts: &mut Texts) -> Arc<str> {
    match texts.get(text) {
        Some(known) => known.clone(),
        None => {
            let text: Arc<str> = text.into();
            texts.insert(text.clone());
            text
        }
    }
}

/// Reads all of `lineage`.
pub(super) fn lineage(tables: &dyn Tables, texts: &mut Texts) -> Result<Lineage, Error> {
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
    let mut lineage = Lineage::default();
    for batch in tables.open(&LINEAGE, &columns)?.into_iter().flatten() {
        for mut row in rows::of_batch::<Stored>(&LINEAGE, &batch?)? {
            shared(&mut row.project_id, texts);
            lineage.push(LineageRow {
                project_id: row.project_id,
                table: row.table,
                is_read: row.direction != "write",
                evidence: row.evidence.iter().map(String::as_str).collect(),
            });
        }
    }
    lineage.projects.values_mut().for_each(Vec::shrink_to_fit);
    Ok(lineage)
}
