//! Users and groups.

use chrono::TimeDelta;

use super::Rule;
use crate::audit::{Config, Facts, Found, Hit, Need, Severity};

/// Every rule of this subject.
pub const RULES: &[&Rule] = &[&GROUP_EMPTY, &TOO_MANY_ADMINS, &USER_INACTIVE];

static GROUP_EMPTY: Rule = Rule {
    id: "group-empty",
    severity: Severity::Low,
    looks_for: "Groups without members",
    action: "Delete the group",
    needs: &[Need::Each("groups"), Need::Each("group_members")],
    find: group_empty,
};

fn group_empty(facts: &Facts, _: &Config) -> Found {
    let empty = facts.groups.iter().filter(|g| !facts.members.contains_key(&g.group_id));
    empty
        .map(|g| Hit {
            entity_type: "group".into(),
            entity_id: g.group_id.as_str().into(),
            entity: g.name.as_str().into(),
            evidence: "has no members".into(),
            ..Hit::default()
        })
        .collect::<Vec<_>>()
        .into()
}

static TOO_MANY_ADMINS: Rule = Rule {
    id: "too-many-admins",
    severity: Severity::Medium,
    looks_for: "More admins than a workspace should have",
    action: "Make some of them managers or editors",
    needs: &[Need::Any(&["users"])],
    find: too_many_admins,
};

fn too_many_admins(facts: &Facts, config: &Config) -> Found {
    let admins: Vec<&str> =
        facts.users.iter().filter(|u| u.role == "ADMIN").map(|u| u.email.as_str()).collect();
    if admins.len() <= config.most_admins {
        return Found::default();
    }
    let evidence = format!(
        "{} admins, more than the {} allowed: {}",
        admins.len(),
        config.most_admins,
        admins.join(", ")
    );
    vec![Hit {
        entity_type: "workspace".into(),
        entity_id: "workspace".into(),
        entity: "workspace".into(),
        evidence,
        ..Hit::default()
    }]
    .into()
}

static USER_INACTIVE: Rule = Rule {
    id: "user-inactive",
    severity: Severity::Low,
    looks_for: "Users who have not logged in for a long time",
    action: "Deactivate the user",
    needs: &[Need::Each("users")],
    find: user_inactive,
};

fn user_inactive(facts: &Facts, config: &Config) -> Found {
    let limit = facts.now - TimeDelta::days(config.inactive_days);
    let people = || facts.users.iter().filter(|u| u.is_person() && !config.is_service_account(&u.email));
    let hits = people()
        .filter_map(|u| Some((u, u.last_login_at.filter(|at| *at < limit)?)))
        .map(|(u, at)| Hit {
            entity_type: "user".into(),
            entity_id: u.user_id.as_str().into(),
            entity: u.name.as_ref().unwrap_or(&u.email).as_str().into(),
            owner: Some(u.email.as_str().into()),
            evidence: format!("last login {}", at.format("%Y-%m-%d")),
            ..Hit::default()
        })
        .collect();
    // It may be an invitation of yesterday.
    let unknown = people().filter(|u| u.last_login_at.is_none()).count() as u64;
    Found::but_for(hits, unknown, "the API gives no last login for these users")
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::fixtures::*;
    use super::*;
    use crate::audit::facts::Group;

    pub const CASES: &[Case] = &[
        Case {
            rule: &GROUP_EMPTY,
            entity: "g2",
            case: |f| f.groups.push(Group { group_id: "g2".into(), name: "Empty".into() }),
            near_misses: &[|f| assert!(f.members.get_mut("g1").unwrap().insert("b@x".into()))],
        },
        Case {
            rule: &TOO_MANY_ADMINS,
            entity: "workspace",
            case: |f| f.users.extend((0..5).map(|_| user("c@x", "ADMIN"))),
            near_misses: &[|f| f.users.extend((0..4).map(|_| user("c@x", "ADMIN")))],
        },
        Case {
            rule: &USER_INACTIVE,
            entity: "b@x",
            case: |f| f.users[1].last_login_at = ago(91),
            near_misses: &[
                |f| f.users[1].last_login_at = ago(90),
                // Nobody logs in with these.
                |f| (f.users[1].last_login_at, f.users[1].role) = (ago(91), "EMBEDDED_USER".into()),
                |f| (f.users[1].last_login_at, f.users[1].role) = (ago(91), "ANONYMOUS".into()),
                // No login on record is not an old login.
                |f| f.users[1].last_login_at = None,
            ],
        },
    ];

    #[test]
    fn service_accounts_and_unknown_logins_are_no_inactive_people() {
        let mut facts = calm();
        (facts.users[0].last_login_at, facts.users[1].last_login_at) = (ago(500), None);
        let config = Config { service_accounts: vec!["A@*".into()], ..Config::default() };
        let found = user_inactive(&facts, &config);
        assert!(found.hits.is_empty(), "{found:?}");
        assert_eq!(found.unknown.unwrap().0, 1);
    }
}
