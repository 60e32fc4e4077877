//! Schemas of warehouse tables: given by a person, or learned from what the workspace's queries read.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use super::names::TableName;
use super::{ALL_COLUMNS, Pending, Reading, Resolution};

/// A table's columns as they are given, by their names in lower case.
pub type GivenColumns = BTreeMap<String, String>;

/// A table's columns, with the database that it is in, in lower case, if that was given.
type OfDatabase = (Option<String>, GivenColumns);

/// Whole schemas of tables, by a person's word. Names are compared without case.
#[derive(Debug, Clone, Default)]
pub struct Schemas {
    /// By schema and table, in lower case: one for each database.
    tables: HashMap<(String, String), Vec<OfDatabase>>,
}

impl Schemas {
    /// Adds a column. Without a schema, table or name it says nothing.
    pub fn add(
        &mut self,
        database: Option<&str>,
        schema: Option<&str>,
        table: Option<&str>,
        column: Option<&str>,
    ) {
        let (Some(schema), Some(table), Some(column)) = (schema, table, column) else { return };
        let database = database.filter(|name| !name.is_empty()).map(str::to_lowercase);
        let tables = self.tables.entry((schema.to_lowercase(), table.to_lowercase())).or_default();
        let at = tables.iter().position(|(known, _)| *known == database).unwrap_or_else(|| {
            tables.push((database, GivenColumns::new()));
            tables.len() - 1
        });
        tables[at].1.insert(column.to_lowercase(), column.to_owned());
    }

    /// Whether nothing was given.
    pub fn is_empty(&self) -> bool {
        self.tables.is_empty()
    }

    /// The columns of a table. `None` if they weren't given, or for tables of several databases that may be it.
    pub fn of(&self, table: &TableName) -> Option<&GivenColumns> {
        if self.tables.is_empty() {
            return None;
        }
        let schema = table.schema.as_ref()?.to_lowercase();
        let known = self.tables.get(&(schema, table.table.to_lowercase()))?;
        let database = table.database.as_ref().map(|name| name.to_lowercase());
        let fits = |given: &Option<String>| match (&database, given) {
            (Some(own), Some(given)) => own == given,
            _ => true,
        };
        let mut fitting = known.iter().filter(|(given, _)| fits(given));
        let (_, columns) = fitting.next()?;
        fitting.next().is_none().then_some(columns)
    }
}

/// Known tables of a connection.
#[derive(Debug, Clone, Default)]
pub struct Knowledge {
    /// Columns that queries read from a table, where the query leaves no doubt: some of the table's columns.
    learned: HashMap<TableName, BTreeSet<String>>,
    /// Whole schemas.
    given: Arc<Schemas>,
}

impl Knowledge {
    /// Nothing learned yet.
    pub fn new(given: Arc<Schemas>) -> Self {
        Self { learned: HashMap::new(), given }
    }

    /// Learns from what a query reads.
    pub fn learn(&mut self, reading: &Reading) {
        for ((table, column), how) in &reading.columns {
            if column != ALL_COLUMNS && *how <= Resolution::OnlyTable {
                match self.learned.get_mut(table) {
                    Some(columns) if columns.contains(column) => {}
                    Some(columns) => drop(columns.insert(column.clone())),
                    None => drop(self.learned.insert(table.clone(), BTreeSet::from([column.clone()]))),
                }
            }
        }
    }

    /// Resolves what the reading leaves open: stars whose schema is given, and columns that could be of more than one
    /// table. The number of columns that stay open.
    pub fn complete(&self, reading: &mut Reading) -> u32 {
        let stars: Vec<TableName> = reading
            .columns
            .keys()
            .filter(|(table, column)| column == ALL_COLUMNS && self.given.of(table).is_some())
            .map(|(table, _)| table.clone())
            .collect();
        for table in stars {
            reading.columns.remove(&(table.clone(), ALL_COLUMNS.to_owned()));
            for column in self.given.of(&table).into_iter().flat_map(BTreeMap::values) {
                reading.columns.entry((table.clone(), column.clone())).or_insert(Resolution::Schema);
            }
        }
        let mut open = 0;
        for pending in &reading.pending {
            match self.owner(pending) {
                Some((table, how)) => {
                    let known = reading.columns.entry((table.clone(), pending.column.clone())).or_insert(how);
                    *known = how.min(*known);
                }
                None => open += 1,
            }
        }
        open
    }

    /// The table that a column is of, and how that is known.
    fn owner<'p>(&self, pending: &'p Pending) -> Option<(&'p TableName, Resolution)> {
        let lower = pending.column.to_lowercase();
        let last = pending.levels.len().saturating_sub(1);
        for (depth, level) in pending.levels.iter().enumerate() {
            let mut unsure = Vec::new();
            for table in level {
                let learned =
                    || self.learned.get(table).is_some_and(|columns| columns.contains(&pending.column));
                match self.given.of(table).map(|columns| columns.contains_key(&lower)) {
                    // A valid query has the column in one table alone.
                    Some(true) => return Some((table, Resolution::Schema)),
                    Some(false) => {}
                    None if learned() => return Some((table, Resolution::Learned)),
                    None => unsure.push(table),
                }
            }
            // All others' schemas are given and lack it, and there is no query around that could have it.
            if let ([one], true, true) = (&*unsure, depth == last, level.len() > 1) {
                return pending.is_closed.then_some((*one, Resolution::Schema));
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(name: &str) -> TableName {
        TableName { database: None, schema: Some("s".into()), table: name.into() }
    }

    fn pending(column: &str, levels: &[&[&str]], is_closed: bool) -> Reading {
        let levels = levels.iter().map(|level| level.iter().map(|name| table(name)).collect()).collect();
        let pending = BTreeSet::from([Pending { column: column.into(), levels, is_closed }]);
        Reading { pending, ..Reading::default() }
    }

    #[test]
    fn columns_are_resolved_by_what_is_given_then_by_what_is_learned() {
        let mut schemas = Schemas::default();
        for (name, column) in [("a", "X"), ("a", "y"), ("b", "z")] {
            schemas.add(None, Some("S"), Some(name), Some(column));
        }
        let mut knowledge = Knowledge::new(Arc::new(schemas));
        let mut seen = Reading::default();
        seen.columns.insert((table("c"), "w".into()), Resolution::OnlyTable);
        seen.columns.insert((table("d"), "v".into()), Resolution::Star);
        knowledge.learn(&seen);
        for (column, levels, is_closed, expected) in [
            ("x", &[&["a", "b"] as &[&str]] as &[&[&str]], true, Some(("a", Resolution::Schema))),
            ("w", &[&["a", "c"]], true, Some(("c", Resolution::Learned))),
            // What is left when all others lack it.
            ("q", &[&["a", "c"]], true, Some(("c", Resolution::Schema))),
            ("q", &[&["a", "c"]], false, None),
            ("q", &[&["c", "d"]], true, None),
            // Of a query around, as the inner table lacks it.
            ("z", &[&["a"], &["b"]], true, Some(("b", Resolution::Schema))),
            // A column that was guessed teaches nothing.
            ("v", &[&["d", "e"]], true, None),
        ] {
            let mut reading = pending(column, levels, is_closed);
            let open = knowledge.complete(&mut reading);
            let found = reading.columns.iter().next().map(|((table, _), how)| (table.table.clone(), *how));
            assert_eq!(found, expected.map(|(name, how)| (name.to_owned(), how)), "{column} {levels:?}");
            assert_eq!(open, u32::from(expected.is_none()));
        }
        let mut stars = Reading::default();
        stars.columns.insert((table("a"), ALL_COLUMNS.into()), Resolution::Qualified);
        stars.columns.insert((table("c"), ALL_COLUMNS.into()), Resolution::Qualified);
        knowledge.complete(&mut stars);
        let names: Vec<&str> = stars.columns.keys().map(|(_, column)| column.as_str()).collect();
        assert_eq!(names, ["X", "y", ALL_COLUMNS]);
    }
}
