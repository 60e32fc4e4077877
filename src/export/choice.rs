//! Which tables a snapshot has.

use std::collections::BTreeSet;

use super::bases::Bases;
use crate::registry;
use crate::schema::{Origin, Table};
use crate::tables;

/// The tables that are written when `names` are asked for: those, what they are derived from, and what is
/// known of how they were read.
///
/// # Errors
/// The first name that isn't a table's, or is that of one that only an import writes.
pub fn choose(names: &[String]) -> Result<Vec<&'static Table>, String> {
    if names.is_empty() {
        return Ok(registry::exported().collect());
    }
    let mut chosen = BTreeSet::from([tables::CRAWL_COVERAGE.name]);
    let mut wanted = Vec::new();
    for name in names {
        let table = registry::by_name(name).filter(|table| !table.is_split());
        wanted.push(table.ok_or_else(|| name.clone())?);
    }
    while let Some(table) = wanted.pop() {
        chosen.insert(table.name);
        if let Origin::Derived(from) = table.origin {
            wanted.extend(from.iter().filter_map(|name| registry::by_name(name)));
        }
    }
    Ok(registry::all().filter(|table| chosen.contains(table.name)).collect())
}

/// Of some tables those that can be written: without those of query histories, and what is derived from them alone,
/// where nobody has imported one. No table of nothing is written: it would say that nothing ran.
pub fn writable(tables: &[&'static Table], bases: &Bases) -> Vec<&'static Table> {
    let is_there = |table: &&'static Table| match table.origin {
        Origin::Derived([first, ..]) if registry::is_of_history(table) => bases.contains_key(*first),
        _ => bases.contains_key(table.name) || !registry::is_of_history(table),
    };
    tables.iter().copied().filter(is_there).collect()
}
