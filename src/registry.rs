//! The list of all tables.

use crate::derive;
use crate::schema::{Origin, Table};
use crate::tables::{AUDIT_FINDINGS, AUDIT_RULES, CRAWL_COVERAGE, ENTITIES, HISTORY};

/// Every table: those of the API, those of imported query histories, those derived from them, what the audit finds,
/// and what the crawl says of itself.
pub fn all() -> impl Iterator<Item = &'static Table> {
    ENTITIES.iter().chain(HISTORY).copied().chain(derive::tables()).chain([
        &AUDIT_FINDINGS,
        &AUDIT_RULES,
        &CRAWL_COVERAGE,
    ])
}

/// The tables that an export writes: all but those that hold the rows of one import alone.
pub fn exported() -> impl Iterator<Item = &'static Table> {
    all().filter(|table| !table.is_split())
}

/// Whether a table is there only once a query history was imported: it comes from one, or is derived from what does.
pub fn is_of_history(table: &Table) -> bool {
    match table.origin {
        Origin::History(_) => true,
        Origin::Derived([first, ..]) => by_name(first).is_some_and(is_of_history),
        _ => false,
    }
}

/// Names of the tables that a table is derived from; none, if it isn't.
pub fn inputs(table: &Table) -> &'static [&'static str] {
    match table.origin {
        Origin::Derived(from) => from,
        _ => &[],
    }
}

/// The table of this name.
pub fn by_name(name: &str) -> Option<&'static Table> {
    all().find(|table| table.name == name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn every_table_is_declared_soundly() {
        let mut names = HashSet::new();
        for table in all() {
            assert!(names.insert(table.name), "{} twice", table.name);
            assert!(!table.key.is_empty() && !table.doc.is_empty(), "{}", table.name);
            table.key_indices();
            let mut columns = HashSet::new();
            for column in table.all_columns() {
                assert!(columns.insert(column.name), "{}.{} twice", table.name, column.name);
                assert!(!column.doc.is_empty(), "{}.{} has no docs", table.name, column.name);
            }
            assert_eq!(table.schema().fields().len(), table.all_columns().count());
        }
    }
}
