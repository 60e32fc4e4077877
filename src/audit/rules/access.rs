//! Access that nobody may be aware of.

use std::collections::BTreeSet;

use super::{Rule, counted, live};
use crate::audit::{Config, Facts, Found, Need, Severity};

/// Every rule of this subject.
pub const RULES: &[&Rule] = &[&ACCESS_THROUGH_FORMER_GROUP, &ACCESS_EXTERNAL];

static ACCESS_THROUGH_FORMER_GROUP: Rule = Rule {
    id: "access-through-former-group",
    severity: Severity::Low,
    looks_for: "Projects that are shared with a group that no longer exists",
    action: "Remove the grant, or share the project with the group that replaced it",
    needs: &[Need::Each("projects"), Need::Each("groups"), Need::Present("project_sharing")],
    find: former_group,
};

fn former_group(facts: &Facts, _: &Config) -> Found {
    let groups: BTreeSet<&str> = facts.groups.iter().map(|group| group.name.as_str()).collect();
    live(facts, |p| {
        let grants = facts.grants.get(&p.project_id)?;
        let gone: BTreeSet<&str> = grants
            .iter()
            .filter(|grant| &*grant.principal_type == "GROUP")
            .filter_map(|grant| grant.principal.as_deref())
            .filter(|name| !groups.contains(name))
            .collect();
        let gone: Vec<&str> = gone.into_iter().collect();
        (!gone.is_empty()).then(|| format!("shared with {}, which no longer exists", gone.join(", ")))
    })
    .into()
}

static ACCESS_EXTERNAL: Rule = Rule {
    id: "access-external",
    severity: Severity::Medium,
    looks_for: "Projects that people of other domains can open",
    action: "Check that each of them should have access; list your own domains under [audit] in hexport.toml",
    needs: &[
        Need::Each("projects"),
        Need::Each("users"),
        Need::Present("effective_access"),
        Need::Any(&["group_members"]),
        Need::Any(&["collection_sharing"]),
    ],
    find: external,
};

fn external(facts: &Facts, _: &Config) -> Found {
    live(facts, |p| {
        let outsiders = facts.external.get(&p.project_id)?;
        let mut named: Vec<&str> = outsiders.named.iter().map(|who| &**who).collect();
        let more = format!("and {} more", outsiders.people - named.len());
        if outsiders.people > named.len() {
            named.push(&more);
        }
        let who = counted(outsiders.people, "person of another domain", "people of other domains");
        Some(format!("{who} can open it: {}", named.join(", ")))
    })
    .into()
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::fixtures::*;
    use super::*;

    pub const CASES: &[Case] = &[
        Case {
            rule: &ACCESS_THROUGH_FORMER_GROUP,
            entity: "p1",
            case: |f| open_to(f, "p1", "GROUP", "Disbanded"),
            near_misses: &[
                |f| open_to(f, "p1", "GROUP", "Group"),
                // A collection of that name is no group.
                |f| open_to(f, "p1", "COLLECTION", "Disbanded"),
                |f| {
                    open_to(f, "p1", "GROUP", "Disbanded");
                    f.projects[0].archived_at = ago(1);
                },
            ],
        },
        Case {
            rule: &ACCESS_EXTERNAL,
            entity: "p1",
            case: |f| f.external.entry("p1".into()).or_default().add("eve@elsewhere.example"),
            near_misses: &[|f| {
                f.external.entry("p1".into()).or_default().add("eve@elsewhere.example");
                f.projects[0].trashed_at = ago(1);
            }],
        },
    ];
}
