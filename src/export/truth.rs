//! Honest states after a crawl: which rows stay although their list no longer names them, and the state
//! of every table.
//!
//! Rows leave a table only when the list that names their entity was read to its end and leaves them out, and
//! even then not at once if the list suddenly shrank, or another user looks at it.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;

use super::bases::Bases;
use crate::client::users::ActingAs;
use crate::crawl::{Base, Coverage, Endpoint, Report, Scope, Shrink, Standing, State, primary_table};
use crate::registry;
use crate::schema::{Origin, Table};
use crate::snapshot::{EntityCounts, SnapshotId, TableState};
use crate::tables::CRAWL_COVERAGE;

/// A list that lost more than this share of its entities,
const SHRINK_SHARE: f64 = 0.2;
/// and more than so many, isn't believed on its first night.
const SHRINK_ENTITIES: usize = 10;

/// Lists that are believed although they shrank.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Accept {
    /// None.
    #[default]
    Nothing,
    /// All.
    Everything,
    /// Those of these tables.
    Tables(BTreeSet<String>),
}

impl Accept {
    /// Whether a list of the workspace is believed however much it shrank.
    pub fn holds(&self, list: Endpoint) -> bool {
        match self {
            Accept::Nothing => false,
            Accept::Everything => true,
            Accept::Tables(names) => {
                let of = |name: &String| registry::by_name(name).and_then(Endpoint::of_table) == Some(list);
                names.iter().any(of)
            }
        }
    }
}

/// Evidence for keeping rows that are no longer listed.
pub struct Doubt<'a> {
    /// Base of the snapshot.
    pub base: &'a Base,
    /// User that the token acts as.
    pub acting_as: &'a ActingAs,
    /// Lists that are believed although they shrank.
    pub accept: &'a dyn Fn(Endpoint) -> bool,
    /// Endpoints whose loss a person accepts (`--without`).
    pub without: &'a BTreeSet<Endpoint>,
}

/// Entities of lists that are kept although the list no longer names them, and whose view of the workspace the rows
/// of each list are.
#[derive(Debug, Default)]
pub struct Kept {
    /// Who saw the rows of a list: the base's user while rows of theirs are kept.
    pub seen_by: BTreeMap<Endpoint, ActingAs>,
    /// Remarks for the person who exports.
    pub notes: Vec<String>,
}

/// Adds to the report what is kept from earlier snapshots, and why.
pub fn keep(report: &mut Report, endpoints: &BTreeSet<Endpoint>, doubt: &Doubt<'_>) -> Kept {
    let mut kept = Kept::default();
    for list in endpoints.iter().copied().filter(|e| e.scope() == Scope::Workspace) {
        keep_listed(report, list, doubt, &mut kept);
    }
    for fan_out in endpoints.iter().copied().filter(|e| e.scope() != Scope::Workspace) {
        keep_fan_out(report, fan_out, doubt);
    }
    for coverage in &mut report.coverage {
        if doubt.without.contains(&coverage.endpoint) && coverage.standing() == Standing::Stale {
            *coverage = Coverage {
                known: false,
                refused: true,
                rows: 0,
                last_read_at: None,
                stamp: None,
                ..coverage.clone()
            };
        }
    }
    kept
}

/// The entities that a list read to its end no longer names, and that are kept all the same.
fn keep_listed(report: &mut Report, list: Endpoint, doubt: &Doubt<'_>, kept: &mut Kept) {
    let then = doubt.base.seen_by(list);
    kept.seen_by.insert(list, doubt.acting_as.clone());
    let Some(known) = doubt.base.listed(list).filter(|_| !doubt.without.contains(&list)) else { return };
    if !report.is_whole(list) {
        kept.seen_by.extend(then.map(|then| (list, then.clone())));
        return;
    }
    let none = HashSet::new();
    let listed = report.listed.get(&list).unwrap_or(&none);
    let gone: BTreeSet<&Arc<str>> = known.difference(listed).collect();
    if gone.is_empty() || (doubt.accept)(list) {
        return;
    }
    let doubted = doubt.base.missing(list).unwrap_or(&none);
    let other_user = then.filter(|then| **then != ActingAs::Unknown && *then != doubt.acting_as);
    let (held, why) = match other_user {
        Some(then) => {
            kept.seen_by.insert(list, then.clone());
            (gone, format!("{} doesn't see it, but {then} did", doubt.acting_as))
        }
        None => {
            // What was missing last night too is believed now.
            let newly: BTreeSet<&Arc<str>> = gone.into_iter().filter(|id| !doubted.contains(*id)).collect();
            let before = known.len() - known.intersection(doubted).count();
            if list.spec().shrink == Shrink::Believed || !is_shrink(newly.len(), before) {
                return;
            }
            let why = format!("the list lost {} of {before} at once", newly.len());
            (newly, why)
        }
    };
    let table = primary_table(list).map_or(list.name(), |table| table.name);
    kept.notes.push(format!(
        "{table}: {} rows that the list no longer names are kept as stale: {why} (read as {}, before as {}). If that \
         is right, accept it with --accept-shrink={table}",
        held.len(),
        doubt.acting_as,
        then.unwrap_or(&ActingAs::Unknown),
    ));
    let reason = format!("no longer listed, but not believed yet: {why}");
    let last_read_at = doubt.base.known(list, None).and_then(|known| known.last_read_at);
    let missing: Vec<Coverage> = held
        .into_iter()
        .map(|id| Coverage {
            endpoint: list,
            entity: Some(id.clone()),
            state: State::Missing,
            reason: Some(reason.clone()),
            requests: 0,
            rows: 0,
            last_read_at,
            stamp: None,
            whole: false,
            known: true,
            refused: false,
        })
        .collect();
    missing.into_iter().for_each(|coverage| report.add(coverage));
}

/// Whether a list lost so much at once that it isn't believed.
fn is_shrink(lost: usize, before: usize) -> bool {
    lost > 0 && (lost == before || (lost >= SHRINK_ENTITIES && lost as f64 > SHRINK_SHARE * before as f64))
}

/// Standing of entities that weren't asked about because the list that names them left them out or broke off.
fn keep_fan_out(report: &mut Report, fan_out: Endpoint, doubt: &Doubt<'_>) {
    let Some(list) = fan_out.named_by() else { return };
    let asked: HashSet<&Arc<str>> =
        report.coverage.iter().filter(|c| c.endpoint == fan_out).filter_map(|c| c.entity.as_ref()).collect();
    let missing: HashSet<&Arc<str>> = report
        .coverage
        .iter()
        .filter(|c| c.endpoint == list && c.state == State::Missing)
        .filter_map(|c| c.entity.as_ref())
        .collect();
    let is_whole = report.is_whole(list);
    let mut held = Vec::new();
    for entity in doubt.base.entities(fan_out) {
        let Some(known) = doubt.base.known(fan_out, Some(entity)).filter(|k| k.last_read_at.is_some()) else {
            continue;
        };
        if asked.contains(entity) || (is_whole && !missing.contains(entity)) {
            continue;
        }
        let reason = match is_whole {
            true => "not listed this time, but not believed gone yet",
            false => "the list that names it couldn't be read completely",
        };
        held.push(Coverage {
            endpoint: fan_out,
            entity: Some(entity.clone()),
            state: State::Held,
            reason: Some(reason.into()),
            requests: 0,
            rows: known.rows,
            last_read_at: known.last_read_at,
            stamp: known.stamp.clone(),
            whole: false,
            known: true,
            refused: false,
        });
    }
    held.sort_by(|a, b| a.entity.cmp(&b.entity));
    held.into_iter().for_each(|coverage| report.add(coverage));
}

/// The state of a table, with the entities that it rests on.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Known {
    /// The state.
    pub state: TableState,
    /// Entities by how the snapshot stands towards them.
    pub entities: EntityCounts,
}

/// The state of every table: of those of the API by what came of their entities, of derived ones by what they are
/// derived from.
pub fn states(report: &Report, base: &Base, tables: &[&'static Table]) -> BTreeMap<&'static str, Known> {
    let mut states: BTreeMap<&'static str, Known> = BTreeMap::new();
    for table in tables {
        let known = match Endpoint::of_table(table) {
            Some(endpoint) => of_endpoint(report, base, endpoint),
            None if matches!(table.origin, Origin::History(_)) => {
                Known { state: TableState::Reused, ..Known::default() }
            }
            None => Known::default(),
        };
        states.insert(table.name, known);
    }
    // A table is derived from tables before it in the list, so one pass settles them all.
    for table in tables {
        if let Origin::Derived(from) = table.origin {
            let inputs: Vec<Known> = from.iter().filter_map(|name| states.get(name)).copied().collect();
            states.insert(table.name, of_inputs(&inputs));
        }
    }
    debug_assert!(tables.iter().all(|t| t.name != CRAWL_COVERAGE.name || states[t.name].state.is_current()));
    states
}

fn of_endpoint(report: &Report, base: &Base, endpoint: Endpoint) -> Known {
    let mut entities = EntityCounts::default();
    let of = report.coverage.iter().filter(|c| c.endpoint == endpoint);
    match endpoint.scope() {
        Scope::Workspace => {
            let listed = report.listed.get(&endpoint).map_or(0, HashSet::len) as u64;
            for coverage in of {
                match (coverage.entity.is_some(), coverage.standing()) {
                    (true, _) => entities.stale += 1,
                    (false, Standing::Read | Standing::Reused | Standing::Empty) => entities.read = listed,
                    (false, Standing::Stale) => {
                        entities.read = listed;
                        let known = base.listed(endpoint);
                        let is_old = |id: &&Arc<str>| {
                            report.listed.get(&endpoint).is_none_or(|listed| !listed.contains(*id))
                        };
                        let old = known.map_or(0, |known| known.iter().filter(is_old).count()) as u64;
                        // A list that was empty and can't be read now is as old as any other.
                        entities.stale += old.max(1);
                    }
                    (false, Standing::Partial) => (entities.read, entities.partial) = (listed, 1),
                    (false, Standing::Unreadable) => entities.unreadable = 1,
                }
            }
        }
        Scope::Group | Scope::Project => {
            for coverage in of {
                *match coverage.standing() {
                    Standing::Read => &mut entities.read,
                    Standing::Reused => &mut entities.reused,
                    Standing::Empty => &mut entities.empty,
                    Standing::Stale => &mut entities.stale,
                    Standing::Partial => &mut entities.partial,
                    Standing::Unreadable => &mut entities.unreadable,
                } += 1;
            }
            let list = endpoint.named_by().expect("a fan-out has a list that names its entities");
            if !report.is_whole(list) {
                // There are entities that nobody has heard of.
                match entities.total() {
                    0 => entities.unreadable = 1,
                    _ => entities.partial += u64::from(entities.stale == 0),
                }
            }
        }
    }
    Known { state: entities.state(), entities }
}

/// A derived table is as good as the worst of what it is derived from. What is unreadable counts only where nothing
/// else is there: lineage without Hex's own list of tables still has what the SQL says.
pub fn of_inputs(inputs: &[Known]) -> Known {
    let worst = inputs.iter().map(|known| known.state).filter(|state| *state != TableState::Unreadable).max();
    let state = match worst {
        Some(state) => state,
        None if inputs.is_empty() => TableState::Read,
        None => TableState::Unreadable,
    };
    Known { state, entities: EntityCounts::default() }
}

/// The first table whose state is worse than what is there already, in words.
pub fn worse(
    before: &BTreeMap<String, crate::snapshot::TableEntry>,
    after: &BTreeMap<&'static str, Known>,
) -> Option<String> {
    before.iter().find_map(|(name, entry)| {
        let (before, after) = (entry.state?, after.get(name.as_str())?.state);
        let is_worse = before.rank() < after.rank();
        is_worse.then(|| format!("{name} would be {}, and is {}", after.name(), before.name()))
    })
}

/// Snapshots that tables build on, by table.
pub fn base_of<'a>(bases: &'a Bases, table: &Table) -> Option<&'a SnapshotId> {
    bases.get(table.name).map(|manifest| &manifest.snapshot_id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sudden_shrink_is_more_than_a_fifth_and_ten_or_everything() {
        for (lost, before, expected) in [
            (0, 0, false),
            (0, 10, false),
            (1, 1, true),
            (3, 3, true),
            (9, 12, false),
            (10, 12, true),
            (10, 50, false),
            (11, 50, true),
            (200, 1000, false),
            (201, 1000, true),
        ] {
            assert_eq!(is_shrink(lost, before), expected, "{lost} of {before}");
        }
    }
}
