//! The rules, by subject. Each file has its rules whole: what a rule looks for, what it needs to know, how it
//! finds, and in the tests a case that it finds and near misses that it leaves alone.
//!
//! A rule touches one file, that of its subject: its static, named in the file's `RULES`, its function, and its case
//! in the tests' `CASES`.

mod access;
mod caching;
mod connections;
mod cost;
mod drift;
mod kernels;
mod lineage;
mod ownership;
mod people;
mod schedules;
mod sharing;
mod upkeep;

use super::facts::{Connection, Facts, Project};
use super::{Config, Found, Hit, Need, Severity};

/// A rule.
#[derive(Debug)]
pub struct Rule {
    /// Name.
    pub id: &'static str,
    /// Severity of its findings, unless one says otherwise.
    pub severity: Severity,
    /// Problem that it looks for.
    pub looks_for: &'static str,
    /// Recommended action.
    pub action: &'static str,
    /// Tables that it needs to be evaluated.
    pub needs: &'static [Need],
    /// Finds.
    pub find: fn(&Facts, &Config) -> Found,
}

/// The rules of each subject, in the order in which they are listed.
const SUBJECTS: &[&[&Rule]] = &[
    ownership::RULES,
    sharing::RULES,
    access::RULES,
    connections::RULES,
    schedules::RULES,
    cost::RULES,
    caching::RULES,
    drift::RULES,
    kernels::RULES,
    upkeep::RULES,
    people::RULES,
    lineage::RULES,
];

/// Every rule.
pub fn all() -> impl Iterator<Item = &'static Rule> {
    SUBJECTS.iter().copied().flatten().copied()
}

/// Whether there is a rule of this name.
pub fn is_rule(id: &str) -> bool {
    all().any(|rule| rule.id == id)
}

fn of_project(project: &Project, evidence: String) -> Hit {
    Hit {
        entity_type: if project.is_component() { "component" } else { "project" }.into(),
        entity_id: project.project_id.clone(),
        entity: project.title.clone(),
        owner: project.owner_email.clone(),
        evidence,
        ..Hit::default()
    }
}

/// Hits for the projects for which `evidence` gives something.
fn projects(facts: &Facts, evidence: impl Fn(&Project) -> Option<String>) -> Vec<Hit> {
    facts.projects.iter().filter_map(|p| Some(of_project(p, evidence(p)?))).collect()
}

/// Hits for the projects that are neither archived nor in the trash.
fn live(facts: &Facts, evidence: impl Fn(&Project) -> Option<String>) -> Vec<Hit> {
    projects(facts, |p| p.is_alive().then(|| evidence(p)).flatten())
}

/// Hits for the connections for which `evidence` gives something.
fn connections_with(
    facts: &Facts,
    evidence: impl Fn(&Connection) -> Option<(String, Option<Severity>)>,
) -> Vec<Hit> {
    let hit = |c: &Connection| {
        let (evidence, severity) = evidence(c)?;
        Some(Hit {
            entity_type: "connection".into(),
            entity_id: c.data_connection_id.as_str().into(),
            entity: c.name.as_str().into(),
            evidence,
            severity,
            connections: vec![c.data_connection_id.as_str().into()],
            owner: None,
        })
    };
    facts.connections.iter().filter_map(hit).collect()
}

/// A count with its noun.
fn counted(n: usize, one: &str, many: &str) -> String {
    format!("{n} {}", if n == 1 { one } else { many })
}

#[cfg(test)]
pub(in crate::audit) mod fixtures {
    //! Facts that no rule has anything against, to change in one place.

    use super::super::facts::{
        Connection, ConnectionGrant, Facts, Group, LineageRow, Project, SharedWith, Stats, User,
    };
    use chrono::{DateTime, TimeDelta, Utc};

    pub fn now() -> DateTime<Utc> {
        "2026-11-02T06:00:00Z".parse().unwrap()
    }

    pub fn ago(days: i64) -> Option<DateTime<Utc>> {
        Some(now() - TimeDelta::days(days))
    }

    /// A project that no rule has anything against: published, viewed, owned, described.
    pub fn fine(id: &str) -> Project {
        Project {
            project_id: id.into(),
            title: format!("Title of {id}").into(),
            description: Some("What it is for".into()),
            kind: "PROJECT".into(),
            status: Some("Approved".into()),
            creator_email: Some("a@x".into()),
            owner_email: Some("a@x".into()),
            last_edited_at: ago(5),
            last_published_at: ago(5),
            last_viewed_at: ago(1),
            app_views_last_30_days: Some(3),
            app_views_all_time: Some(9),
            ..Project::default()
        }
    }

    pub fn user(email: &str, role: &str) -> User {
        User {
            user_id: email.into(),
            email: email.into(),
            role: role.into(),
            last_login_at: ago(1),
            ..User::default()
        }
    }

    /// Facts that no rule has anything against.
    pub fn calm() -> Facts {
        let mut facts = Facts::none(now());
        facts.users = vec![user("a@x", "ADMIN"), user("b@x", "EDITOR")];
        facts.emails = ["a@x", "b@x"].map(String::from).into();
        facts.projects = ["p1", "p2"].map(fine).to_vec();
        facts.categorised = ["p1", "p2"].map(Into::into).into();
        facts.groups = vec![Group { group_id: "g1".into(), name: "Group".into() }];
        facts.members.insert("g1".into(), ["a@x".to_owned()].into());
        facts.connections = vec![Connection {
            data_connection_id: "c1".into(),
            name: "W".into(),
            kind: "postgres".into(),
            allow_writeback_cells: Some(true),
            host: Some("db.x".into()),
            port: Some(5432),
            ..Connection::default()
        }];
        facts.lineage.push(edge("p1", "c1", "db.core.orders", "queried+sql"));
        facts
    }

    /// Another connection, to the same server.
    pub fn second_connection(facts: &mut Facts) -> &mut Connection {
        let second = Connection { data_connection_id: "c2".into(), ..facts.connections[0].clone() };
        facts.connections.push(second);
        facts.connections_in_cells.insert("c2".into());
        facts.connections.last_mut().unwrap()
    }

    pub fn edge(project: &str, connection: &str, table: &str, evidence: &str) -> LineageRow {
        let mut parts = table.rsplit('.');
        let table = crate::audit::edges::WarehouseTable {
            data_connection_id: Some(connection.into()),
            table_key: table.into(),
            table_name: parts.next().unwrap().into(),
            schema_name: parts.next().map(Into::into),
            database_name: parts.next().map(Into::into),
        };
        LineageRow { project_id: project.into(), table, is_read: true, evidence: evidence.into() }
    }

    pub fn grant(connection: &str, who: &str, access: &str) -> ConnectionGrant {
        ConnectionGrant {
            data_connection_id: connection.into(),
            principal_type: who.into(),
            access: access.into(),
        }
    }

    pub fn open_to(facts: &mut Facts, project: &str, who: &str, name: &str) {
        let principal = Some(name).filter(|name| !name.is_empty()).map(Into::into);
        let grant = SharedWith { principal_type: who.into(), principal };
        facts.grants.entry(project.into()).or_default().push(grant.into());
    }

    pub fn streak(facts: &mut Facts, runs: i64) {
        facts.scheduled.insert("p1".into());
        let stats = Stats { failure_streak: runs, ..Stats::default() };
        facts.scheduled_stats.insert("p1".into(), stats);
    }

    pub type Change = fn(&mut Facts);

    /// A rule with a case that it finds (on one entity) and near misses that it leaves alone.
    pub struct Case {
        pub rule: &'static super::Rule,
        pub entity: &'static str,
        pub case: Change,
        pub near_misses: &'static [Change],
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Evidence, find};
    use super::fixtures::*;
    use super::*;
    use std::collections::BTreeSet;

    fn cases() -> Vec<&'static Case> {
        let all = [
            ownership::tests::CASES,
            sharing::tests::CASES,
            access::tests::CASES,
            connections::tests::CASES,
            schedules::tests::CASES,
            cost::tests::CASES,
            caching::tests::CASES,
            drift::tests::CASES,
            kernels::tests::CASES,
            upkeep::tests::CASES,
            people::tests::CASES,
            lineage::tests::CASES,
        ];
        all.into_iter().flatten().collect()
    }

    #[test]
    fn each_rule_finds_its_case_and_leaves_its_near_misses_alone() {
        let config = Config::default();
        let with_case: BTreeSet<&str> = cases().iter().map(|case| case.rule.id).collect();
        assert_eq!(with_case, all().map(|rule| rule.id).collect());
        for Case { rule, entity, case, near_misses } in cases() {
            let calm = (rule.find)(&calm(), &config);
            assert!(calm == Found::default(), "{} finds something in the calm: {calm:?}", rule.id);
            let mut facts = super::fixtures::calm();
            case(&mut facts);
            let found = (rule.find)(&facts, &config);
            assert!(found.hits.iter().any(|hit| *hit.entity_id == **entity), "{} misses its case", rule.id);
            assert!(!near_misses.is_empty(), "{} has no near miss", rule.id);
            for (at, near_miss) in near_misses.iter().enumerate() {
                let mut facts = super::fixtures::calm();
                near_miss(&mut facts);
                let found = (rule.find)(&facts, &config).hits;
                assert!(found.is_empty(), "{} finds its near miss {at}: {found:?}", rule.id);
            }
        }
    }

    #[test]
    fn each_rule_is_not_evaluated_without_what_it_needs() {
        for Case { rule, case, .. } in cases() {
            assert!(!rule.needs.is_empty(), "{} needs nothing", rule.id);
            for need in rule.needs {
                let mut facts = calm();
                case(&mut facts);
                let without = need.tables().iter().fold(Evidence::whole(), |e, table| e.without(table));
                facts.evidence = without;
                let audit = find(&facts, &Config::default());
                let why = audit.not_evaluated.iter().find(|n| n.rule == rule.id && n.entities.is_none());
                assert!(why.is_some_and(|n| n.why.contains("could not be read")), "{} {need:?}", rule.id);
                assert!(audit.findings.iter().all(|f| *f.rule != *rule.id), "{} {need:?}", rule.id);
                let outcome = audit.rules.iter().find(|r| r.rule == rule.id).unwrap();
                assert!(outcome.why_not.is_some() && outcome.findings == 0);
            }
        }
    }

    #[test]
    fn what_was_not_read_of_an_entity_leaves_it_out_or_the_rule() {
        for Case { rule, entity, case, .. } in cases() {
            for need in rule.needs {
                let mut facts = calm();
                case(&mut facts);
                let Some(table) = need.tables().first() else { continue };
                facts.evidence = Evidence::whole().lacking(table, entity);
                let audit = find(&facts, &Config::default());
                let said = audit.not_evaluated.iter().find(|n| n.rule == rule.id);
                let is_found = audit.findings.iter().any(|f| *f.rule == *rule.id && *f.entity_id == **entity);
                match need {
                    Need::Present(_) => assert!(is_found, "{} {need:?}", rule.id),
                    Need::Any(_) => assert!(is_found && said.is_some(), "{} {need:?}", rule.id),
                    Need::Each(_) => {
                        assert!(!is_found && said.unwrap().entities == Some(1), "{} {need:?}", rule.id)
                    }
                    Need::Whole(_) => {
                        assert!(!is_found && said.unwrap().entities.is_none(), "{} {need:?}", rule.id)
                    }
                }
            }
        }
    }

    #[test]
    fn every_need_names_a_table() {
        for rule in all() {
            for table in rule.needs.iter().flat_map(|need| need.tables()) {
                assert!(crate::registry::by_name(table).is_some(), "{}: {table}", rule.id);
            }
        }
    }
}
