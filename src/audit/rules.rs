//! The rules: one entry each in [`RULES`], with what it looks for and what to do about it.

use std::collections::{BTreeMap, BTreeSet};

use chrono::TimeDelta;

use super::facts::{Facts, Project};
use super::{Config, Hit, Severity};

/// A rule.
#[derive(Debug)]
pub struct Rule {
    /// Its name.
    pub id: &'static str,
    /// Severity of its findings, unless one says otherwise.
    pub severity: Severity,
    /// What it looks for.
    pub looks_for: &'static str,
    /// What to do about a finding.
    pub action: &'static str,
    /// Finds.
    pub find: fn(&Facts, &Config) -> Vec<Hit>,
}

const fn rule(
    id: &'static str,
    severity: Severity,
    looks_for: &'static str,
    action: &'static str,
    find: fn(&Facts, &Config) -> Vec<Hit>,
) -> Rule {
    Rule { id, severity, looks_for, action, find }
}

/// Every rule.
pub const RULES: &[Rule] = &[
    rule(
        "owner-left",
        Severity::Medium,
        "Projects whose owner is no user any more",
        "Give it a new owner, or archive it",
        owner_left,
    ),
    rule(
        "creator-left",
        Severity::Info,
        "Projects whose creator is no user any more",
        "Nothing, if its owner knows it",
        creator_left,
    ),
    rule(
        "component-owner-left",
        Severity::Medium,
        "Components whose owner is no user any more",
        "Give it a new owner: others build on it",
        component_owner_left,
    ),
    rule(
        "sensitive-shared-widely",
        Severity::Medium,
        "Projects that the workspace or the web may open and that read sensitive tables",
        "Narrow its sharing, or have it read something else",
        sensitive_shared,
    ),
    rule(
        "connection-shared-widely",
        Severity::Medium,
        "Connections that guests or the public may use",
        "Narrow the connection's sharing",
        connection_shared,
    ),
    rule(
        "connection-writeback",
        Severity::Medium,
        "Connections that all members may query and projects may write back through",
        "Turn writeback off, or let fewer people use it",
        connection_writeback,
    ),
    rule(
        "connection-unused",
        Severity::Low,
        "Connections that no project reads through",
        "Remove the connection and its credentials",
        connection_unused,
    ),
    rule(
        "table-through-several-connections",
        Severity::Low,
        "Tables that are read through more than one connection",
        "Agree on one connection",
        several_connections,
    ),
    rule(
        "schedule-failing",
        Severity::High,
        "Schedules whose runs fail one after the other",
        "Mend the project, or turn its schedule off",
        schedule_failing,
    ),
    rule(
        "schedule-unviewed",
        Severity::Medium,
        "Schedules of apps that nobody viewed in 30 days",
        "Turn the schedule off",
        schedule_unviewed,
    ),
    rule(
        "schedule-on-archived",
        Severity::Medium,
        "Schedules that are on, of projects in the archive or trash",
        "Turn the schedule off",
        schedule_on_archived,
    ),
    rule(
        "project-unused",
        Severity::Low,
        "Published projects that nobody has viewed for long",
        "Archive it, or ask its owner",
        project_unused,
    ),
    rule(
        "draft-stale",
        Severity::Info,
        "Drafts that were never published and that nobody has edited for long",
        "Archive it, or publish it",
        draft_stale,
    ),
    rule("missing-owner", Severity::Medium, "Projects without an owner", "Give it an owner", missing_owner),
    rule(
        "missing-description",
        Severity::Info,
        "Published projects without a description",
        "Say what it is for",
        missing_description,
    ),
    rule(
        "missing-status",
        Severity::Info,
        "Published projects without a status label",
        "Give it a status",
        missing_status,
    ),
    rule(
        "missing-category",
        Severity::Info,
        "Published projects without a category",
        "Give it a category",
        missing_category,
    ),
    rule(
        "duplicate-title",
        Severity::Low,
        "Live projects with the same title",
        "Rename or archive all but one",
        duplicate_title,
    ),
    rule("group-empty", Severity::Low, "Groups without members", "Delete the group", group_empty),
    rule(
        "too-many-admins",
        Severity::Medium,
        "More admins than a workspace should have",
        "Make some of them managers or editors",
        too_many_admins,
    ),
    rule(
        "user-inactive",
        Severity::Low,
        "Users who have not logged in for long",
        "Deactivate the user",
        user_inactive,
    ),
    rule(
        "lineage-gap",
        Severity::Low,
        "Projects whose lineage is known in part only",
        "Look at its SQL: some could not be read, or reads what Hex doesn't report",
        lineage_gap,
    ),
];

fn of_project(project: &Project, evidence: String) -> Hit {
    Hit {
        entity_type: if project.kind == "COMPONENT" { "component" } else { "project" }.into(),
        entity_id: project.project_id.clone(),
        entity: project.title.clone(),
        owner: project.owner_email.clone(),
        evidence,
        severity: None,
    }
}

/// Hits for the projects for which `evidence` gives something.
fn projects(facts: &Facts, evidence: impl Fn(&Project) -> Option<String>) -> Vec<Hit> {
    facts.projects.iter().filter_map(|p| Some(of_project(p, evidence(p)?))).collect()
}

fn live(facts: &Facts, evidence: impl Fn(&Project) -> Option<String>) -> Vec<Hit> {
    projects(facts, |p| p.is_alive().then(|| evidence(p)).flatten())
}

fn owner_left(facts: &Facts, _: &Config) -> Vec<Hit> {
    let mut hits = live(facts, |p| {
        let owner = p.owner_email.as_ref().filter(|email| facts.is_gone(email) && p.kind != "COMPONENT")?;
        Some(format!("{owner} is no user any more"))
    });
    let published: BTreeSet<&str> = facts
        .projects
        .iter()
        .filter(|p| p.last_published_at.is_some())
        .map(|p| p.project_id.as_str())
        .collect();
    for hit in &mut hits {
        // Others rely on what is published.
        hit.severity = published.contains(hit.entity_id.as_str()).then_some(Severity::High);
    }
    hits
}

fn creator_left(facts: &Facts, _: &Config) -> Vec<Hit> {
    live(facts, |p| {
        let creator = p
            .creator_email
            .as_ref()
            .filter(|email| facts.is_gone(email) && p.owner_email.as_ref() != Some(email))?;
        Some(format!("{creator}, who created it, is no user any more"))
    })
}

fn component_owner_left(facts: &Facts, _: &Config) -> Vec<Hit> {
    live(facts, |p| {
        let owner = p.owner_email.as_ref().filter(|email| facts.is_gone(email) && p.kind == "COMPONENT")?;
        Some(format!("{owner} is no user any more"))
    })
}

fn sensitive_shared(facts: &Facts, config: &Config) -> Vec<Hit> {
    let edges = facts.edges();
    let mut hits = Vec::new();
    for project in facts.projects.iter().filter(|p| p.is_alive()) {
        let Some(grants) = facts.wide_grants.get(&project.project_id) else { continue };
        let name =
            |e: &&&super::facts::Edge| format!("{}.{}", e.schema_name.as_deref().unwrap_or(""), e.table_name);
        let read = edges.get(project.project_id.as_str()).into_iter().flatten();
        let tables: BTreeSet<&str> =
            read.filter(|e| config.is_sensitive(&name(e))).map(|e| &*e.table_key).collect();
        if tables.is_empty() {
            continue;
        }
        let public = grants.iter().any(|g| g.principal_type == "PUBLIC_WEB");
        let who = if public { "Everyone on the web" } else { "The whole workspace" };
        let tables: Vec<&str> = tables.into_iter().collect();
        let mut hit = of_project(project, format!("{who} may open it, and it reads {}", tables.join(", ")));
        hit.severity = public.then_some(Severity::High);
        hits.push(hit);
    }
    hits
}

fn connections(
    facts: &Facts,
    evidence: impl Fn(&super::facts::Connection) -> Option<(String, Option<Severity>)>,
) -> Vec<Hit> {
    let hit = |c: &super::facts::Connection| {
        let (evidence, severity) = evidence(c)?;
        let (entity_id, entity) = (c.data_connection_id.clone(), c.name.clone());
        Some(Hit { entity_type: "connection".into(), entity_id, entity, owner: None, evidence, severity })
    };
    facts.connections.iter().filter_map(hit).collect()
}

/// Access of a kind of people to a connection, if they have any.
fn access<'a>(facts: &'a Facts, connection: &str, who: &str) -> Option<&'a str> {
    let grant = facts
        .connection_grants
        .iter()
        .find(|g| g.data_connection_id == connection && g.principal_type == who)?;
    Some(grant.access.as_str()).filter(|access| *access != "NONE")
}

fn connection_shared(facts: &Facts, _: &Config) -> Vec<Hit> {
    connections(facts, |c| {
        let of = |who| access(facts, &c.data_connection_id, who);
        match (of("PUBLIC"), of("GUESTS")) {
            (Some(access), _) => Some((format!("everyone on the web has {access}"), Some(Severity::High))),
            (None, Some(access)) => Some((format!("guests have {access}"), None)),
            (None, None) => None,
        }
    })
}

fn connection_writeback(facts: &Facts, _: &Config) -> Vec<Hit> {
    connections(facts, |c| {
        let open = access(facts, &c.data_connection_id, "MEMBERS") == Some("QUERY");
        (open && c.allow_writeback_cells == Some(true))
            .then(|| ("all members may query it, and writeback is on".into(), None))
    })
}

fn connection_unused(facts: &Facts, _: &Config) -> Vec<Hit> {
    let used: BTreeSet<&str> = facts.lineage.iter().filter_map(|e| e.data_connection_id.as_deref()).collect();
    connections(facts, |c| {
        (!used.contains(c.data_connection_id.as_str()))
            .then(|| ("no project reads a table through it".into(), None))
    })
}

fn several_connections(facts: &Facts, _: &Config) -> Vec<Hit> {
    let mut through: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for edge in &facts.lineage {
        let connection = edge.connection_name.as_deref().or(edge.data_connection_id.as_deref()).unwrap_or("");
        through.entry(&edge.table_key).or_default().insert(connection);
    }
    through
        .into_iter()
        .filter(|(_, connections)| connections.len() > 1)
        .map(|(table, connections)| Hit {
            entity_type: "table".into(),
            entity_id: table.into(),
            entity: table.into(),
            owner: None,
            evidence: format!("read through {}", connections.into_iter().collect::<Vec<_>>().join(", ")),
            severity: None,
        })
        .collect()
}

fn schedule_failing(facts: &Facts, config: &Config) -> Vec<Hit> {
    live(facts, |p| {
        let stats = facts.stats.get(&(p.project_id.clone(), "SCHEDULED".to_owned()))?;
        let failing = facts.scheduled.contains(&p.project_id) && stats.failure_streak >= config.failing_runs;
        failing.then(|| format!("its last {} scheduled runs all failed", stats.failure_streak))
    })
}

fn schedule_unviewed(facts: &Facts, _: &Config) -> Vec<Hit> {
    live(facts, |p| {
        let unviewed = facts.scheduled.contains(&p.project_id) && p.app_views_last_30_days == 0;
        unviewed.then(|| "it runs by schedule, and nobody viewed it in the last 30 days".into())
    })
}

fn schedule_on_archived(facts: &Facts, _: &Config) -> Vec<Hit> {
    projects(facts, |p| {
        let place = if p.trashed_at.is_some() { "trash" } else { "archive" };
        (!p.is_alive() && facts.scheduled.contains(&p.project_id))
            .then(|| format!("it is in the {place}, and its schedule is on"))
    })
}

fn project_unused(facts: &Facts, config: &Config) -> Vec<Hit> {
    let limit = facts.now - TimeDelta::days(config.unused_days);
    live(facts, |p| {
        let seen = p
            .last_viewed_at
            .or(p.last_published_at)
            .filter(|_| p.kind != "COMPONENT" && p.last_published_at.is_some())?;
        (seen < limit).then(|| format!("last viewed, or published, on {}", seen.format("%Y-%m-%d")))
    })
}

fn draft_stale(facts: &Facts, config: &Config) -> Vec<Hit> {
    let limit = facts.now - TimeDelta::days(config.stale_days);
    live(facts, |p| {
        let edited = p.last_edited_at.filter(|at| p.last_published_at.is_none() && *at < limit)?;
        Some(format!("never published, last edited on {}", edited.format("%Y-%m-%d")))
    })
}

fn missing_owner(facts: &Facts, _: &Config) -> Vec<Hit> {
    live(facts, |p| p.owner_email.as_deref().unwrap_or("").is_empty().then(|| "it has no owner".into()))
}

fn published_without(facts: &Facts, what: &str, lacks: impl Fn(&Project) -> bool) -> Vec<Hit> {
    live(facts, |p| {
        (p.last_published_at.is_some() && lacks(p)).then(|| format!("it is published without a {what}"))
    })
}

fn missing_description(facts: &Facts, _: &Config) -> Vec<Hit> {
    published_without(facts, "description", |p| p.description.as_deref().unwrap_or("").trim().is_empty())
}

fn missing_status(facts: &Facts, _: &Config) -> Vec<Hit> {
    published_without(facts, "status label", |p| p.status.is_none())
}

fn missing_category(facts: &Facts, _: &Config) -> Vec<Hit> {
    published_without(facts, "category", |p| !facts.categorised.contains(&p.project_id))
}

fn duplicate_title(facts: &Facts, _: &Config) -> Vec<Hit> {
    let mut by_title: BTreeMap<String, usize> = BTreeMap::new();
    let title = |p: &Project| p.title.trim().to_lowercase();
    for project in facts.projects.iter().filter(|p| p.is_alive()) {
        *by_title.entry(title(project)).or_default() += 1;
    }
    live(facts, |p| {
        let count = by_title[&title(p)];
        (count > 1).then(|| format!("{count} live projects have this title"))
    })
}

fn group_empty(facts: &Facts, _: &Config) -> Vec<Hit> {
    // No members at all means that they could not be listed.
    if facts.group_sizes.is_empty() {
        return Vec::new();
    }
    let empty = facts.groups.iter().filter(|g| !facts.group_sizes.contains_key(&g.group_id));
    empty
        .map(|g| Hit {
            entity_type: "group".into(),
            entity_id: g.group_id.clone(),
            entity: g.name.clone(),
            owner: None,
            evidence: "it has no members".into(),
            severity: None,
        })
        .collect()
}

fn too_many_admins(facts: &Facts, config: &Config) -> Vec<Hit> {
    let admins: Vec<&str> =
        facts.users.iter().filter(|u| u.role == "ADMIN").map(|u| u.email.as_str()).collect();
    if admins.len() <= config.most_admins {
        return Vec::new();
    }
    vec![Hit {
        entity_type: "workspace".into(),
        entity_id: "workspace".into(),
        entity: "workspace".into(),
        owner: None,
        evidence: format!(
            "{} admins, and {} would do: {}",
            admins.len(),
            config.most_admins,
            admins.join(", ")
        ),
        severity: None,
    }]
}

fn user_inactive(facts: &Facts, config: &Config) -> Vec<Hit> {
    let limit = facts.now - TimeDelta::days(config.inactive_days);
    let inactive = facts.users.iter().filter(|u| u.last_login_at.is_none_or(|at| at < limit));
    inactive
        .map(|u| Hit {
            entity_type: "user".into(),
            entity_id: u.user_id.clone(),
            entity: u.name.clone().unwrap_or_else(|| u.email.clone()),
            owner: Some(u.email.clone()),
            evidence: u
                .last_login_at
                .map_or("never logged in".into(), |at| format!("last login on {}", at.format("%Y-%m-%d"))),
            severity: None,
        })
        .collect()
}

fn lineage_gap(facts: &Facts, _: &Config) -> Vec<Hit> {
    let mut unread: BTreeMap<&str, usize> = BTreeMap::new();
    for cell in facts.sql_cells.iter().filter(|cell| !cell.parsed) {
        *unread.entry(&cell.project_id).or_default() += 1;
    }
    let mut only_queried: BTreeMap<&str, usize> = BTreeMap::new();
    for edge in facts.lineage.iter().filter(|edge| &*edge.evidence == "queried") {
        *only_queried.entry(&edge.project_id).or_default() += 1;
    }
    live(facts, |p| {
        let id = p.project_id.as_str();
        let mut gaps = Vec::new();
        gaps.extend(unread.get(id).map(|n| format!("{n} SQL cells could not be read")));
        gaps.extend(only_queried.get(id).map(|n| format!("{n} tables are queried that no SQL cell names")));
        (!gaps.is_empty()).then(|| gaps.join("; "))
    })
}

#[cfg(test)]
mod tests {
    use super::super::facts::{Connection, ConnectionGrant, Edge, Grant, Group, SqlCell, Stats, User};
    use super::*;
    use chrono::{DateTime, Utc};

    fn now() -> DateTime<Utc> {
        "2026-11-02T06:00:00Z".parse().unwrap()
    }

    fn ago(days: i64) -> Option<DateTime<Utc>> {
        Some(now() - TimeDelta::days(days))
    }

    /// A project that no rule has anything against: published, viewed, owned, described.
    fn fine(id: &str) -> Project {
        Project {
            project_id: id.into(),
            title: format!("Title of {id}"),
            description: Some("What it is for".into()),
            kind: "PROJECT".into(),
            status: Some("Approved".into()),
            creator_email: Some("a@x".into()),
            owner_email: Some("a@x".into()),
            last_edited_at: ago(5),
            last_published_at: ago(5),
            last_viewed_at: ago(1),
            app_views_last_30_days: 3,
            ..Project::default()
        }
    }

    /// Facts that no rule has anything against.
    fn calm() -> Facts {
        let mut facts = Facts::none(now());
        let user = |email: &str, role: &str| User {
            user_id: email.into(),
            email: email.into(),
            role: role.into(),
            last_login_at: ago(1),
            ..User::default()
        };
        facts.users = vec![user("a@x", "ADMIN"), user("b@x", "EDITOR")];
        facts.emails = ["a@x", "b@x"].map(String::from).into();
        facts.projects = ["p1", "p2"].map(fine).to_vec();
        facts.categorised = ["p1", "p2"].map(String::from).into();
        facts.groups = vec![Group { group_id: "g1".into(), name: "Group".into() }];
        facts.group_sizes.insert("g1".into(), 1);
        facts.connections = vec![Connection {
            data_connection_id: "c1".into(),
            name: "W".into(),
            allow_writeback_cells: Some(true),
        }];
        facts.lineage = vec![edge("p1", "c1", "db.core.orders", "both")];
        facts
    }

    fn edge(project: &str, connection: &str, table: &str, evidence: &str) -> Edge {
        let mut parts = table.rsplit('.');
        Edge {
            project_id: project.into(),
            data_connection_id: Some(connection.into()),
            table_key: table.into(),
            table_name: parts.next().unwrap().into(),
            schema_name: parts.next().map(Into::into),
            evidence: evidence.into(),
            connection_name: Some(connection.into()),
        }
    }

    fn grant(connection: &str, who: &str, access: &str) -> ConnectionGrant {
        ConnectionGrant {
            data_connection_id: connection.into(),
            principal_type: who.into(),
            access: access.into(),
        }
    }

    fn open_to(facts: &mut Facts, project: &str, who: &str) {
        let grant =
            Grant { project_id: project.into(), principal_type: who.into(), access: "CAN_VIEW".into() };
        facts.wide_grants.insert(project.into(), vec![grant]);
    }

    fn streak(facts: &mut Facts, trigger: &str, runs: i64) {
        let stats = Stats { project_id: "p1".into(), run_trigger: trigger.into(), failure_streak: runs };
        facts.stats.insert(("p1".into(), trigger.into()), stats);
    }

    type Change = fn(&mut Facts);

    /// Each rule with a case that it finds (on one entity) and a near miss that it leaves alone.
    const CASES: &[(&str, &str, Change, Change)] = &[
        (
            "owner-left",
            "p1",
            |f| f.projects[0].owner_email = Some("left@x".into()),
            // In capitals, but there.
            |f| f.projects[0].owner_email = Some("B@X".into()),
        ),
        (
            "creator-left",
            "p1",
            |f| f.projects[0].creator_email = Some("left@x".into()),
            // Its owner too: that is the other rule's.
            |f| {
                (f.projects[0].creator_email, f.projects[0].owner_email) =
                    (Some("left@x".into()), Some("left@x".into()))
            },
        ),
        (
            "component-owner-left",
            "p1",
            |f| (f.projects[0].kind, f.projects[0].owner_email) = ("COMPONENT".into(), Some("left@x".into())),
            |f| {
                (f.projects[0].kind, f.projects[0].owner_email) = ("COMPONENT".into(), Some("left@x".into()));
                f.projects[0].archived_at = ago(1);
            },
        ),
        (
            "sensitive-shared-widely",
            "p1",
            |f| {
                f.lineage.push(edge("p1", "c1", "db.hr.people", "sql"));
                open_to(f, "p1", "WORKSPACE");
            },
            // "hr" is no part of the name between dots and underscores; another project is open.
            |f| {
                f.lineage.push(edge("p1", "c1", "db.chrome.threads", "sql"));
                f.lineage.push(edge("p2", "c1", "db.hr.people", "sql"));
                open_to(f, "p1", "WORKSPACE");
            },
        ),
        (
            "connection-shared-widely",
            "c1",
            |f| f.connection_grants = vec![grant("c1", "GUESTS", "VIEW_RESULTS")],
            |f| f.connection_grants = vec![grant("c1", "GUESTS", "NONE"), grant("c1", "MEMBERS", "QUERY")],
        ),
        (
            "connection-writeback",
            "c1",
            |f| f.connection_grants = vec![grant("c1", "MEMBERS", "QUERY")],
            |f| f.connection_grants = vec![grant("c1", "MEMBERS", "VIEW_RESULTS")],
        ),
        ("connection-unused", "c1", |f| f.lineage.clear(), |f| f.lineage[0].evidence = "queried".into()),
        (
            "table-through-several-connections",
            "db.core.orders",
            |f| f.lineage.push(edge("p2", "c2", "db.core.orders", "sql")),
            // Two projects through one connection.
            |f| f.lineage.push(edge("p2", "c1", "db.core.orders", "sql")),
        ),
        (
            "schedule-failing",
            "p1",
            |f| {
                f.scheduled.insert("p1".into());
                streak(f, "SCHEDULED", 3);
            },
            |f| {
                f.scheduled.insert("p1".into());
                streak(f, "SCHEDULED", 2);
                streak(f, "API", 9);
            },
        ),
        (
            "schedule-unviewed",
            "p1",
            |f| {
                f.scheduled.insert("p1".into());
                f.projects[0].app_views_last_30_days = 0;
            },
            |f| {
                f.scheduled.insert("p1".into());
                f.projects[0].app_views_last_30_days = 1;
            },
        ),
        (
            "schedule-on-archived",
            "p1",
            |f| {
                f.scheduled.insert("p1".into());
                f.projects[0].trashed_at = ago(1);
            },
            |f| f.projects[0].archived_at = ago(1),
        ),
        (
            "project-unused",
            "p1",
            |f| f.projects[0].last_viewed_at = ago(91),
            |f| f.projects[0].last_viewed_at = ago(90),
        ),
        (
            "draft-stale",
            "p1",
            |f| (f.projects[0].last_published_at, f.projects[0].last_edited_at) = (None, ago(181)),
            |f| (f.projects[0].last_published_at, f.projects[0].last_edited_at) = (None, ago(180)),
        ),
        (
            "missing-owner",
            "p1",
            |f| f.projects[0].owner_email = None,
            |f| (f.projects[0].owner_email, f.projects[0].archived_at) = (None, ago(1)),
        ),
        (
            "missing-description",
            "p1",
            |f| f.projects[0].description = Some("  ".into()),
            |f| (f.projects[0].description, f.projects[0].last_published_at) = (None, None),
        ),
        (
            "missing-status",
            "p1",
            |f| f.projects[0].status = None,
            |f| (f.projects[0].status, f.projects[0].last_published_at) = (None, None),
        ),
        (
            "missing-category",
            "p1",
            |f| assert!(f.categorised.remove("p1")),
            |f| {
                f.categorised.remove("p1");
                f.projects[0].trashed_at = ago(1);
            },
        ),
        (
            "duplicate-title",
            "p1",
            // Case and outer spaces don't make another title.
            |f| f.projects[1].title = " title OF p1 ".into(),
            |f| (f.projects[1].title, f.projects[1].archived_at) = ("Title of p1".into(), ago(1)),
        ),
        (
            "group-empty",
            "g2",
            |f| f.groups.push(Group { group_id: "g2".into(), name: "Empty".into() }),
            // No members of any group: they could not be listed.
            |f| f.group_sizes.clear(),
        ),
        (
            "too-many-admins",
            "workspace",
            |f| {
                f.users.extend((0..5).map(|_| User {
                    role: "ADMIN".into(),
                    last_login_at: ago(1),
                    ..User::default()
                }))
            },
            |f| {
                f.users.extend((0..4).map(|_| User {
                    role: "ADMIN".into(),
                    last_login_at: ago(1),
                    ..User::default()
                }))
            },
        ),
        (
            "user-inactive",
            "b@x",
            |f| f.users[1].last_login_at = ago(91),
            |f| f.users[1].last_login_at = ago(90),
        ),
        (
            "lineage-gap",
            "p1",
            |f| f.sql_cells = vec![SqlCell { project_id: "p1".into(), parsed: false }],
            |f| f.sql_cells = vec![SqlCell { project_id: "p1".into(), parsed: true }],
        ),
    ];

    #[test]
    fn each_rule_finds_its_case_and_leaves_its_near_miss_alone() {
        let config = Config::default();
        let named: Vec<&str> = CASES.iter().map(|case| case.0).collect();
        assert_eq!(named, RULES.iter().map(|rule| rule.id).collect::<Vec<_>>());
        for (rule, (_, entity, case, near_miss)) in RULES.iter().zip(CASES) {
            assert!((rule.find)(&calm(), &config).is_empty(), "{} finds something in the calm", rule.id);
            let mut facts = calm();
            case(&mut facts);
            let found = (rule.find)(&facts, &config);
            assert!(found.iter().any(|hit| hit.entity_id == *entity), "{} misses its case", rule.id);
            let mut facts = calm();
            near_miss(&mut facts);
            let found = (rule.find)(&facts, &config);
            assert!(found.is_empty(), "{} finds its near miss: {found:?}", rule.id);
        }
    }
}
