//! Completeness of a snapshot: which tables were read to their end, and what they lack.
//!
//! A rule declares its [`Need`]s. Where one isn't met the rule isn't evaluated, since what wasn't read is no
//! evidence that it isn't there.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, HashSet};

use serde::{Deserialize, Serialize};

use super::source::Tables;
use crate::crawl::Endpoint;
use crate::registry;
use crate::schema::{Origin, Table};
use crate::snapshot::{Error, SnapshotId, TableState, rows};
use crate::tables::CRAWL_COVERAGE;

/// Why rules about cost aren't evaluated in a lake without query histories: nothing is missing that ought to be there.
pub const NOT_IMPORTED: &str = "no query history was imported";

/// Something that a rule can't do without.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Need {
    /// The snapshot has the table.
    Present(&'static str),
    /// The list that the table comes from was read to its end. Of a table that is read entity by entity,
    /// the rule doesn't judge the entities that were not read.
    Each(&'static str),
    /// All of the table was read, of every entity: the rule rests on what is not in it.
    Whole(&'static str),
    /// One of the tables was read, at least in part: the rule rests on what is in them, and may find less than
    /// there is.
    Any(&'static [&'static str]),
}

impl Need {
    /// The tables that it names.
    pub fn tables(&self) -> &[&'static str] {
        match self {
            Need::Present(table) | Need::Each(table) | Need::Whole(table) => std::slice::from_ref(table),
            Need::Any(tables) => tables,
        }
    }
}

/// A rule, or some entities of it, that could not be judged.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NotEvaluated {
    /// The rule.
    pub rule: String,
    /// Reason that it could not be.
    pub why: String,
    /// Entities that were left out; `None` if the rule was not evaluated at all.
    pub entities: Option<u64>,
}

/// State of a table's input.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Standing {
    Whole,
    /// The list no longer names these entities, which isn't believed yet: their rows are still there, but may no
    /// longer hold. What isn't in the table is still known not to be.
    Doubts(HashSet<String>, String),
    /// Not of these entities.
    Lacks(HashSet<String>, String),
    Unusable(String),
}

/// Completeness of each table of a snapshot.
#[derive(Debug, Clone, Default)]
pub struct Evidence {
    tables: BTreeMap<&'static str, Standing>,
}

/// Limits to a rule's verdict, given what it needs.
#[derive(Debug, Default)]
pub struct Left {
    /// Entities whose evidence is missing: the rule says nothing about them.
    pub out: HashSet<String>,
    /// Notes on the missing evidence, with the number of entities.
    pub notes: Vec<(String, u64)>,
}

#[derive(Deserialize)]
struct Row {
    operation: String,
    entity_id: Option<String>,
    state: String,
    reason: Option<String>,
}

/// Outcome of an operation, over all entities that it was asked about.
#[derive(Default)]
struct Asked {
    list: Option<(String, Option<String>)>,
    held: HashSet<String>,
    lacking: HashSet<String>,
    read: u64,
    reason: Option<String>,
}

/// A snapshot's own account of what it read.
#[derive(Default)]
struct Said {
    /// Lists of the workspace, by operation.
    lists: BTreeMap<String, Asked>,
    /// Lists of each project or group, by operation.
    each: BTreeMap<String, Asked>,
}

impl Said {
    /// Loads the account of the snapshot named; `None` if it has none.
    fn load(tables: &dyn Tables, home: Option<&SnapshotId>) -> Result<Option<Self>, Error> {
        let columns = ["operation", "entity_id", "state", "reason"];
        let Some(reader) = tables.coverage(home, &columns)? else { return Ok(None) };
        let mut said = Self::default();
        for batch in reader {
            for row in rows::of_batch::<Row>(&CRAWL_COVERAGE, &batch?)? {
                said.add(row);
            }
        }
        Ok(Some(said))
    }

    fn add(&mut self, row: Row) {
        let lists = self.lists.entry(row.operation.clone()).or_default();
        let each = self.each.entry(row.operation).or_default();
        match row.entity_id {
            None => lists.list = Some((row.state, row.reason)),
            // What wasn't asked, since the answer is known to be empty, shows nothing about the others.
            Some(_) if is_whole(&row.state) => each.read += u64::from(row.state != "skipped"),
            // Its list no longer names it, which isn't believed yet: its row is still there.
            Some(entity) if row.state == "missing" => drop(lists.held.insert(entity)),
            Some(entity) => {
                each.lacking.insert(entity);
                each.reason = each.reason.take().or(row.reason).or(Some(row.state));
            }
        }
    }
}

impl Evidence {
    /// Reads it from the table `crawl_coverage` of the snapshot that each table is from.
    ///
    /// # Errors
    /// If that can't be read.
    pub fn load(tables: &dyn Tables) -> Result<Self, Error> {
        let mut said = BTreeMap::new();
        for table in registry::all() {
            let home = tables.home(table);
            if let Entry::Vacant(place) = said.entry(home) {
                place.insert(Said::load(tables, home)?);
            }
        }
        let standing = |table: &'static Table| {
            if !tables.has(table) && registry::is_of_history(table) {
                return Standing::Unusable(NOT_IMPORTED.into());
            }
            if !tables.has(table) {
                return Standing::Unusable(format!("the snapshot has no table {}", table.name));
            }
            let state = tables.state(table);
            let Some(operation) = table.operation() else { return of_derived(table, state) };
            let Some(said) = &said[&tables.home(table)] else {
                return Standing::Unusable("the snapshot doesn't say what was read".into());
            };
            let by_coverage = match Endpoint::of_table(table).and_then(Endpoint::named_by) {
                None => of_list(table, said.lists.get(operation.id)),
                Some(names) => {
                    let of_names = said.lists.get(names.operation().id);
                    of_entities(table, said.each.get(operation.id), of_names)
                }
            };
            at_worst(table, by_coverage, state)
        };
        Ok(Self { tables: registry::all().map(|table| (table.name, standing(table))).collect() })
    }

    /// Limits to the verdict of a rule with these needs.
    ///
    /// # Errors
    /// The reason that the rule can't be evaluated.
    pub fn check(&self, needs: &[Need]) -> Result<Left, String> {
        let mut left = Left::default();
        for need in needs {
            match need {
                Need::Present(table) => match self.standing(table) {
                    Standing::Unusable(why) => return Err(why.clone()),
                    Standing::Whole | Standing::Doubts(..) | Standing::Lacks(..) => {}
                },
                Need::Each(table) => match self.standing(table) {
                    Standing::Unusable(why) => return Err(why.clone()),
                    Standing::Doubts(entities, why) | Standing::Lacks(entities, why) => {
                        left.notes.push((why.clone(), entities.len() as u64));
                        left.out.extend(entities.iter().cloned());
                    }
                    Standing::Whole => {}
                },
                Need::Whole(table) => match self.standing(table) {
                    Standing::Unusable(why) | Standing::Lacks(_, why) => return Err(why.clone()),
                    Standing::Whole | Standing::Doubts(..) => {}
                },
                Need::Any(tables) => {
                    let mut unusable = Vec::new();
                    for table in *tables {
                        match self.standing(table) {
                            Standing::Whole => {}
                            Standing::Doubts(entities, why) | Standing::Lacks(entities, why) => {
                                left.notes.push((why.clone(), entities.len() as u64));
                            }
                            Standing::Unusable(why) => unusable.push(why.clone()),
                        }
                    }
                    if unusable.len() == tables.len() {
                        return Err(unusable.join("; "));
                    }
                    left.notes.extend(unusable.into_iter().map(|why| (why, 0)));
                }
            }
        }
        Ok(left)
    }

    fn standing(&self, table: &str) -> &Standing {
        static UNKNOWN: std::sync::LazyLock<Standing> =
            std::sync::LazyLock::new(|| Standing::Unusable("nothing is known of the table".into()));
        self.tables.get(table).unwrap_or(&UNKNOWN)
    }

    /// Why the rows of an entity in a table can't be relied on, if they can't: it, or what it is derived from,
    /// was not read.
    pub fn gap_of(&self, table: &'static Table, entity: &str) -> Option<&str> {
        let gap = |table: &str| match self.standing(table) {
            Standing::Unusable(why) => Some(why.as_str()),
            Standing::Doubts(entities, why) | Standing::Lacks(entities, why) => {
                entities.contains(entity).then_some(why.as_str())
            }
            Standing::Whole => None,
        };
        gap(table.name).or_else(|| bases(table).into_iter().find_map(gap))
    }

    /// Whether a table has what there is, if not of every entity.
    pub fn is_usable(&self, table: &str) -> bool {
        !matches!(self.standing(table), Standing::Unusable(_))
    }

    /// Why a table can't be relied on, if it can't: what to tell people who read the rest.
    pub fn gap(&self, table: &str) -> Option<&str> {
        match self.standing(table) {
            Standing::Whole => None,
            Standing::Doubts(_, why) | Standing::Lacks(_, why) | Standing::Unusable(why) => Some(why),
        }
    }
}

#[cfg(test)]
impl Evidence {
    /// Everything was read, for tests.
    pub fn whole() -> Self {
        Self { tables: registry::all().map(|table| (table.name, Standing::Whole)).collect() }
    }

    /// A table could not be read, for tests.
    pub fn without(mut self, table: &'static str) -> Self {
        self.tables.insert(table, Standing::Unusable(format!("{table} could not be read")));
        self
    }

    /// A table could not be read of one entity, for tests.
    pub fn lacking(mut self, table: &'static str, entity: &str) -> Self {
        self.tables.insert(table, Standing::Lacks([entity.to_owned()].into(), format!("{table} of one")));
        self
    }
}

/// The tables of the API that a table's rows come from.
fn bases(table: &'static Table) -> Vec<&'static str> {
    match (table.name, table.origin) {
        // Of its other origins come only what it says about the project and the connection.
        ("lineage", _) => vec!["queried_tables", "cells"],
        (_, Origin::Derived(from)) => {
            from.iter().filter_map(|name| registry::by_name(name)).flat_map(bases).collect()
        }
        (name, Origin::Api(_)) => vec![name],
        (_, Origin::Crawl | Origin::History(_)) => Vec::new(),
    }
}

/// Whether a state of `crawl_coverage` says that everything was read.
fn is_whole(state: &str) -> bool {
    matches!(state, "fetched" | "reused" | "skipped")
}

fn of_list(table: &Table, asked: Option<&Asked>) -> Standing {
    let Some((state, reason)) = asked.and_then(|asked| asked.list.as_ref()) else {
        return Standing::Unusable(format!("{} was not asked for", table.name));
    };
    if !is_whole(state) {
        return Standing::Unusable(with_reason(format!("{} was not read ({state})", table.name), reason));
    }
    match asked.map(|asked| &asked.held).filter(|held| !held.is_empty()) {
        Some(held) => {
            let why = format!(
                "{} rows of {} are kept although the list no longer names them",
                held.len(),
                table.name
            );
            Standing::Doubts(held.clone(), why)
        }
        None => Standing::Whole,
    }
}

/// A table that is not of the API. Where something that it rests on is old or in part, that table says of which
/// entities.
fn of_derived(table: &Table, state: Option<TableState>) -> Standing {
    match state {
        Some(TableState::Unreadable) => {
            Standing::Unusable(format!("{}: nothing that it rests on could be read", table.name))
        }
        _ => Standing::Whole,
    }
}

/// The worse of the crawl's verdict on a table and the manifest's.
fn at_worst(table: &Table, by_coverage: Standing, state: Option<TableState>) -> Standing {
    match (by_coverage, state) {
        (Standing::Unusable(why), _) => Standing::Unusable(why),
        (_, Some(TableState::Unreadable)) => {
            Standing::Unusable(format!("{} is unreadable: the API never gave it", table.name))
        }
        (Standing::Whole, Some(TableState::Partial)) => {
            Standing::Unusable(format!("{} was read only in part", table.name))
        }
        (Standing::Whole, Some(TableState::Stale)) => {
            Standing::Unusable(format!("{} is stale: its rows may no longer hold", table.name))
        }
        (by_coverage, _) => by_coverage,
    }
}

fn of_entities(table: &Table, asked: Option<&Asked>, names: Option<&Asked>) -> Standing {
    let Some(asked) = asked.filter(|asked| !asked.lacking.is_empty()) else {
        // Entities that the list of them doesn't name were not asked about.
        return match names.and_then(|names| names.list.as_ref()) {
            Some((state, _)) if !is_whole(state) => Standing::Unusable(format!(
                "{} was read only in part: its list was not read ({state})",
                table.name
            )),
            _ => Standing::Whole,
        };
    };
    let what = if table.key[0] == "group_id" { "groups" } else { "projects" };
    if asked.read == 0 {
        let why = format!("{} could not be read of any of the {what}", table.name);
        return Standing::Unusable(with_reason(why, &asked.reason));
    }
    let why = format!("{} was not read of {} {what}", table.name, asked.lacking.len());
    Standing::Lacks(asked.lacking.clone(), with_reason(why, &asked.reason))
}

fn with_reason(what: String, reason: &Option<String>) -> String {
    match reason {
        Some(reason) => format!("{what}: {reason}"),
        None => what,
    }
}
