//! Use of connections.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use super::{Rule, connections_with};
use crate::audit::{Config, Facts, Found, Hit, Need, Severity};

/// Every rule of this subject.
pub const RULES: &[&Rule] = &[&CONNECTION_UNUSED, &TABLE_THROUGH_SEVERAL_CONNECTIONS];

static CONNECTION_UNUSED: Rule = Rule {
    id: "connection-unused",
    severity: Severity::Low,
    looks_for: "Connections that no project uses",
    action: "Remove the connection and its credentials",
    // A published version may use what its draft doesn't, so the cells alone are not enough.
    needs: &[
        Need::Each("data_connections"),
        Need::Whole("projects"),
        Need::Whole("cells"),
        Need::Whole("queried_tables"),
        Need::Present("lineage"),
    ],
    find: connection_unused,
};

fn connection_unused(facts: &Facts, _: &Config) -> Found {
    let read: BTreeSet<&str> =
        facts.lineage.iter().filter_map(|e| e.table.data_connection_id.as_deref()).collect();
    connections_with(facts, |c| {
        let id = c.data_connection_id.as_str();
        let is_used = read.contains(id) || facts.connections_in_cells.contains(id);
        (!is_used).then(|| ("no project reads a table through it, and no cell names it".into(), None))
    })
    .into()
}

static TABLE_THROUGH_SEVERAL_CONNECTIONS: Rule = Rule {
    id: "table-through-several-connections",
    severity: Severity::Low,
    looks_for: "Tables of one warehouse that are read through more than one connection",
    action: "Agree on one connection",
    needs: &[
        Need::Each("data_connections"),
        Need::Any(&["queried_tables", "cells"]),
        Need::Present("lineage"),
    ],
    find: several_connections,
};

fn several_connections(facts: &Facts, _: &Config) -> Found {
    let known: HashMap<&str, (&str, Option<String>)> = facts
        .connections
        .iter()
        .map(|c| {
            let warehouse = c.warehouse();
            (c.data_connection_id.as_str(), (c.name.as_str(), warehouse))
        })
        .collect();
    // The same name in two warehouses is two tables.
    let mut through: BTreeMap<(&str, &str), BTreeSet<&Arc<str>>> = BTreeMap::new();
    let mut unplaced: BTreeMap<&str, BTreeSet<&Arc<str>>> = BTreeMap::new();
    for edge in facts.lineage.iter().filter(|edge| edge.is_read) {
        let Some(id) = &edge.table.data_connection_id else { continue };
        let warehouse = known.get(&**id).and_then(|(_, warehouse)| warehouse.as_deref());
        if let Some(warehouse) = warehouse {
            through.entry((&edge.table.table_key, warehouse)).or_default().insert(id);
        } else {
            unplaced.entry(&edge.table.table_key).or_default().insert(id);
        }
    }
    let name =
        |id: &Arc<str>| known.get(&**id).map_or_else(|| id.to_string(), |(name, _)| (*name).to_owned());
    let hits = through
        .iter()
        .filter(|(_, connections)| connections.len() > 1)
        .map(|((table, warehouse), connections)| {
            let names: BTreeSet<String> = connections.iter().map(|id| name(id)).collect();
            let names: Vec<String> = names.into_iter().collect();
            Hit {
                entity_type: "table".into(),
                entity_id: (*table).into(),
                entity: (*table).into(),
                evidence: format!(
                    "read through {} connections to {warehouse}: {}",
                    connections.len(),
                    names.join(", ")
                ),
                connections: connections.iter().map(|id| (*id).clone()).collect(),
                ..Hit::default()
            }
        })
        .collect::<Vec<_>>();
    let is_elsewhere = |table: &str| through.keys().any(|(other, _)| *other == table);
    let doubtful = unplaced.iter().filter(|(table, ids)| ids.len() > 1 || is_elsewhere(table)).count() as u64;
    let unknown = (doubtful > 0).then(|| {
        (doubtful, "the settings of these tables' connections don't say which warehouse they reach".into())
    });
    Found { hits: one_per_table(hits), unknown }
}

/// A table of the same name may be found in two warehouses: findings are told apart by the table alone.
fn one_per_table(hits: Vec<Hit>) -> Vec<Hit> {
    let mut merged: Vec<Hit> = Vec::new();
    for hit in hits {
        match merged.last_mut().filter(|last| last.entity_id == hit.entity_id) {
            Some(last) => {
                last.evidence = format!("{}; {}", last.evidence, hit.evidence);
                last.connections.extend(hit.connections);
            }
            None => merged.push(hit),
        }
    }
    merged
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::fixtures::*;
    use super::*;
    use crate::audit::facts::Lineage;

    pub const CASES: &[Case] = &[
        Case {
            rule: &CONNECTION_UNUSED,
            entity: "c1",
            case: |f| f.lineage = Lineage::default(),
            near_misses: &[
                |f| f.lineage = [edge("p1", "c1", "db.core.orders", "queried")].into_iter().collect(),
                // A cell on it whose SQL could not be read, or code that names it.
                |f| {
                    f.lineage = Lineage::default();
                    f.connections_in_cells.insert("c1".into());
                },
            ],
        },
        Case {
            rule: &TABLE_THROUGH_SEVERAL_CONNECTIONS,
            entity: "db.core.orders",
            case: |f| {
                second_connection(f);
                f.lineage.push(edge("p2", "c2", "db.core.orders", "sql"));
            },
            near_misses: &[
                // Two projects through one connection.
                |f| f.lineage.push(edge("p2", "c1", "db.core.orders", "sql")),
                // The same name on another server, and on another port of this one.
                |f| {
                    second_connection(f).host = Some("db2.x".into());
                    f.lineage.push(edge("p2", "c2", "db.core.orders", "sql"));
                },
                |f| {
                    second_connection(f).port = Some(6432);
                    f.lineage.push(edge("p2", "c2", "db.core.orders", "sql"));
                },
                |f| {
                    second_connection(f).kind = "redshift".into();
                    f.lineage.push(edge("p2", "c2", "db.core.orders", "sql"));
                },
            ],
        },
    ];

    #[test]
    fn a_connection_whose_warehouse_is_unknown_is_not_judged() {
        let mut facts = calm();
        second_connection(&mut facts).host = None;
        facts.lineage.push(edge("p2", "c2", "db.core.orders", "sql"));
        let found = several_connections(&facts, &Config::default());
        assert!(found.hits.is_empty() && found.unknown.unwrap().0 == 1);
    }
}
