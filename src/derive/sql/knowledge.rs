//! Schemas of warehouse tables: given by a person, or learned from what the workspace's queries read.

use std::collections::{BTreeSet, HashMap};

use super::names::TableName;
use super::{ALL_COLUMNS, Pending, Reading, Resolution};

/// What is known of a connection's tables.
#[derive(Debug, Clone, Default)]
pub struct Knowledge {
    /// Columns that queries read from a table, where the query leaves no doubt: some of the table's columns.
    learned: HashMap<TableName, BTreeSet<String>>,
    /// All columns of a table, by a person's word.
    given: HashMap<TableName, BTreeSet<String>>,
}

impl Knowledge {
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

    /// Takes a table's whole schema.
    pub fn give(&mut self, table: TableName, column: String) {
        self.given.entry(table).or_default().insert(column);
    }

    /// Resolves what the reading leaves open: stars whose schema is given, and columns that could be of more than one
    /// table. The number of columns that stay open.
    pub fn complete(&self, reading: &mut Reading) -> u32 {
        let stars: Vec<TableName> = reading
            .columns
            .keys()
            .filter(|(table, column)| column == ALL_COLUMNS && self.given.contains_key(table))
            .map(|(table, _)| table.clone())
            .collect();
        for table in stars {
            reading.columns.remove(&(table.clone(), ALL_COLUMNS.to_owned()));
            for column in &self.given[&table] {
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
        for level in &pending.levels {
            let mut unsure = Vec::new();
            for table in level {
                let given = self.given.get(table).map(|columns| columns.contains(&pending.column));
                let learned =
                    || self.learned.get(table).is_some_and(|columns| columns.contains(&pending.column));
                match given {
                    // A valid query has the column in one table alone.
                    Some(true) => return Some((table, Resolution::Schema)),
                    Some(false) => {}
                    None if learned() => return Some((table, Resolution::Learned)),
                    None => unsure.push(table),
                }
            }
            match (&*unsure, level.len()) {
                // None of them has it: it is of a query around.
                ([], _) => {}
                // All others' schemas are known, and lack it; a query around could have it only if this one lacks it too.
                ([one], count) if count > 1 && pending.levels.len() == 1 => {
                    return Some((one, Resolution::Schema));
                }
                // Whether it is of these or of a query around is open, unless one of that has it.
                _ if pending.levels.len() == 1 => return None,
                _ => {}
            }
        }
        None
    }
}
