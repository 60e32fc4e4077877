//! Who may open sensitive things.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::{Rule, connections_with, of_project};
use crate::audit::edges::WarehouseTable;
use crate::audit::{Circle, Config, Facts, Found, Need, Severity};

/// Every rule of this subject.
pub const RULES: &[&Rule] = &[&SENSITIVE_SHARED_WIDELY, &CONNECTION_SHARED_WIDELY, &CONNECTION_WRITEBACK];

static SENSITIVE_SHARED_WIDELY: Rule = Rule {
    id: "sensitive-shared-widely",
    severity: Severity::Medium,
    looks_for: "Projects that everyone in the workspace or on the web can open and that read sensitive tables or columns",
    action: "Restrict its sharing, or stop it reading the sensitive data",
    needs: &[
        Need::Each("projects"),
        Need::Present("project_sharing"),
        Need::Present("lineage"),
        Need::Present("column_lineage"),
        Need::Any(&["queried_tables", "cells"]),
        Need::Any(&["collection_sharing"]),
        Need::Any(&["group_members"]),
        Need::Any(&["data_connections"]),
    ],
    find: sensitive_shared,
};

/// Name of a table or column, and the connection that it is read through.
type Read = (String, Option<Arc<str>>);

/// A table's whole name, as far as it is known.
fn whole_name(table: &WarehouseTable) -> String {
    let parts = [table.database_name.as_deref(), table.schema_name.as_deref(), Some(&*table.table_name)];
    parts.into_iter().flatten().collect::<Vec<_>>().join(".")
}

fn sensitive_shared(facts: &Facts, config: &Config) -> Found {
    let everybody = facts.groups_of_everybody(config.everybody);
    let mut columns: BTreeMap<&str, Vec<Read>> = BTreeMap::new();
    for column in &facts.sensitive_columns {
        let name = format!("{}.{}", column.table_key, column.column_name);
        columns.entry(&column.project_id).or_default().push((name, column.data_connection_id.clone()));
    }
    let mut hits = Vec::new();
    for project in facts.projects.iter().filter(|p| p.is_alive()) {
        let circles = facts.circles(&project.project_id, &everybody);
        let Some(circle) = circles.first() else { continue };
        let read = facts.lineage.of(&project.project_id);
        let tables = read.filter(|e| config.is_sensitive(&whole_name(e.table)));
        let mut sensitive: Vec<Read> =
            tables.map(|e| (e.table.table_key.to_string(), e.table.data_connection_id.clone())).collect();
        sensitive.extend(columns.remove(&*project.project_id).unwrap_or_default());
        if sensitive.is_empty() {
            continue;
        }
        let names: BTreeSet<&str> = sensitive.iter().map(|(name, _)| name.as_str()).collect();
        let names: Vec<&str> = names.into_iter().collect();
        let mut hit =
            of_project(project, format!("{} can open it, and it reads {}", circle.words(), names.join(", ")));
        hit.severity = (*circle == Circle::Web).then_some(Severity::High);
        let through: BTreeSet<Arc<str>> =
            sensitive.into_iter().filter_map(|(_, connection)| connection).collect();
        hit.connections = through.into_iter().collect();
        hits.push(hit);
    }
    hits.into()
}

/// Access of a kind of people to a connection, if they have any.
fn access<'a>(facts: &'a Facts, connection: &str, who: &str) -> Option<&'a str> {
    let grant = facts
        .connection_grants
        .iter()
        .find(|g| g.data_connection_id == connection && g.principal_type == who)?;
    Some(grant.access.as_str()).filter(|access| *access != "NONE")
}

/// Connections whose settings and grants the token can't see.
fn unseen(facts: &Facts) -> Option<(u64, String)> {
    let short = facts.connections.iter().filter(|c| c.is_short()).count() as u64;
    (short > 0).then(|| (short, "the token may not see the settings and grants of these connections".into()))
}

const OF_CONNECTIONS: &[Need] = &[Need::Each("data_connections"), Need::Present("data_connection_sharing")];

static CONNECTION_SHARED_WIDELY: Rule = Rule {
    id: "connection-shared-widely",
    severity: Severity::Medium,
    looks_for: "Connections that guests or the public can use",
    action: "Restrict the connection's sharing",
    needs: OF_CONNECTIONS,
    find: connection_shared,
};

fn connection_shared(facts: &Facts, _: &Config) -> Found {
    let hits = connections_with(facts, |c| {
        let of = |who| access(facts, &c.data_connection_id, who);
        match (of("PUBLIC"), of("GUESTS")) {
            (Some(access), _) => Some((format!("everyone on the web has {access}"), Some(Severity::High))),
            (None, Some(access)) => Some((format!("guests have {access}"), None)),
            (None, None) => None,
        }
    });
    Found { hits, unknown: unseen(facts) }
}

static CONNECTION_WRITEBACK: Rule = Rule {
    id: "connection-writeback",
    severity: Severity::Medium,
    looks_for: "Connections with writeback that all members can query",
    action: "Turn writeback off, or restrict the connection's sharing",
    needs: OF_CONNECTIONS,
    find: connection_writeback,
};

fn connection_writeback(facts: &Facts, _: &Config) -> Found {
    let hits = connections_with(facts, |c| {
        let open = access(facts, &c.data_connection_id, "MEMBERS") == Some("QUERY");
        (open && c.allow_writeback_cells == Some(true))
            .then(|| ("all members can query it, and writeback is on".into(), None))
    });
    Found { hits, unknown: unseen(facts) }
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::fixtures::*;
    use super::*;
    use crate::audit::facts::{ColumnEdge, Group};

    fn everybody(facts: &mut Facts) {
        facts.groups.push(Group { group_id: "all".into(), name: "All".into() });
        facts.members.insert("all".into(), ["a@x", "b@x"].map(String::from).into());
    }

    pub const CASES: &[Case] = &[
        Case {
            rule: &SENSITIVE_SHARED_WIDELY,
            entity: "p1",
            case: |f| {
                f.lineage.push(edge("p1", "c1", "db.hr.people", "sql"));
                open_to(f, "p1", "WORKSPACE", "");
            },
            near_misses: &[
                // "hr" is no part of the name between dots and underscores; another project is open.
                |f| {
                    f.lineage.push(edge("p1", "c1", "db.chrome.threads", "sql"));
                    f.lineage.push(edge("p2", "c1", "db.hr.people", "sql"));
                    open_to(f, "p1", "WORKSPACE", "");
                },
                // A group of one, and a collection that nobody else may open.
                |f| {
                    f.lineage.push(edge("p1", "c1", "db.hr.people", "sql"));
                    open_to(f, "p1", "GROUP", "Group");
                    open_to(f, "p1", "COLLECTION", "Closed");
                },
            ],
        },
        Case {
            rule: &SENSITIVE_SHARED_WIDELY,
            entity: "p1",
            // By its database, and through a collection.
            case: |f| {
                f.lineage.push(edge("p1", "c1", "hr.core.people", "queried"));
                f.open_collections.insert("Open".into());
                open_to(f, "p1", "COLLECTION", "Open");
            },
            near_misses: &[|f| {
                f.lineage.push(edge("p1", "c1", "hr.core.people", "queried"));
                f.open_collections.insert("Other".into());
                open_to(f, "p1", "COLLECTION", "Open");
            }],
        },
        Case {
            rule: &SENSITIVE_SHARED_WIDELY,
            entity: "p1",
            // By a column, and through a group of everybody.
            case: |f| {
                everybody(f);
                f.sensitive_columns = vec![ColumnEdge {
                    project_id: "p1".into(),
                    data_connection_id: Some("c1".into()),
                    table_key: "db.core.people".into(),
                    column_name: "salary".into(),
                }];
                open_to(f, "p1", "GROUP", "All");
            },
            near_misses: &[|f| {
                everybody(f);
                open_to(f, "p1", "GROUP", "All");
            }],
        },
        Case {
            rule: &CONNECTION_SHARED_WIDELY,
            entity: "c1",
            case: |f| f.connection_grants = vec![grant("c1", "GUESTS", "VIEW_RESULTS")],
            near_misses: &[|f| {
                f.connection_grants = vec![grant("c1", "GUESTS", "NONE"), grant("c1", "MEMBERS", "QUERY")]
            }],
        },
        Case {
            rule: &CONNECTION_WRITEBACK,
            entity: "c1",
            case: |f| f.connection_grants = vec![grant("c1", "MEMBERS", "QUERY")],
            near_misses: &[|f| f.connection_grants = vec![grant("c1", "MEMBERS", "VIEW_RESULTS")]],
        },
    ];

    #[test]
    fn a_connection_of_the_short_form_is_not_judged() {
        let mut facts = calm();
        facts.connections[0].allow_writeback_cells = None;
        for rule in [&CONNECTION_SHARED_WIDELY, &CONNECTION_WRITEBACK] {
            let found = (rule.find)(&facts, &Config::default());
            assert!(found.hits.is_empty() && found.unknown.unwrap().0 == 1, "{}", rule.id);
        }
    }

    #[test]
    fn the_web_makes_it_severe() {
        let mut facts = calm();
        facts.lineage.push(edge("p1", "c1", "db.hr.people", "sql"));
        open_to(&mut facts, "p1", "WORKSPACE", "");
        open_to(&mut facts, "p1", "PUBLIC_WEB", "");
        let hits = sensitive_shared(&facts, &Config::default()).hits;
        assert_eq!(hits[0].severity, Some(Severity::High));
        assert!(hits[0].evidence.starts_with("Everyone on the web"), "{}", hits[0].evidence);
    }
}
