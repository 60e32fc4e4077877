//! Who owns and created what.

use super::{Rule, live, of_project};
use crate::audit::facts::Project;
use crate::audit::{Config, Facts, Found, Need, Severity};

const NEEDS: &[Need] = &[Need::Each("projects"), Need::Whole("users")];

/// Every rule of this subject.
pub const RULES: &[&Rule] = &[&OWNER_LEFT, &CREATOR_LEFT, &COMPONENT_OWNER_LEFT, &MISSING_OWNER];

static OWNER_LEFT: Rule = Rule {
    id: "owner-left",
    severity: Severity::Medium,
    looks_for: "Projects whose owner has left the workspace",
    action: "Give it a new owner, or archive it",
    needs: NEEDS,
    find: owner_left,
};

fn owner_left(facts: &Facts, _: &Config) -> Found {
    let hit = |p: &Project| {
        let owner = p.owner_email.as_ref().filter(|email| facts.is_gone(email) && !p.is_component())?;
        let mut hit = of_project(p, format!("owner {owner} has left the workspace"));
        // Others rely on what is published.
        hit.severity = p.last_published_at.map(|_| Severity::High);
        Some(hit)
    };
    facts.projects.iter().filter(|p| p.is_alive()).filter_map(hit).collect::<Vec<_>>().into()
}

static CREATOR_LEFT: Rule = Rule {
    id: "creator-left",
    severity: Severity::Info,
    looks_for: "Projects whose creator has left the workspace",
    action: "Nothing, if the owner knows the project",
    needs: NEEDS,
    find: creator_left,
};

fn creator_left(facts: &Facts, _: &Config) -> Found {
    live(facts, |p| {
        let creator = p.creator_email.as_ref().filter(|email| facts.is_gone(email))?;
        let owns = p.owner_email.as_ref().is_some_and(|owner| owner.eq_ignore_ascii_case(creator));
        (!owns).then(|| format!("creator {creator} has left the workspace"))
    })
    .into()
}

static COMPONENT_OWNER_LEFT: Rule = Rule {
    id: "component-owner-left",
    severity: Severity::Medium,
    looks_for: "Components whose owner has left the workspace",
    action: "Give it a new owner: other projects use it",
    needs: NEEDS,
    find: component_owner_left,
};

fn component_owner_left(facts: &Facts, _: &Config) -> Found {
    live(facts, |p| {
        let owner = p.owner_email.as_ref().filter(|email| facts.is_gone(email) && p.is_component())?;
        Some(format!("owner {owner} has left the workspace"))
    })
    .into()
}

static MISSING_OWNER: Rule = Rule {
    id: "missing-owner",
    severity: Severity::Medium,
    looks_for: "Projects without an owner",
    action: "Give it an owner",
    needs: &[Need::Each("projects")],
    find: missing_owner,
};

fn missing_owner(facts: &Facts, _: &Config) -> Found {
    live(facts, |p| p.owner_email.as_deref().unwrap_or("").is_empty().then(|| "has no owner".into())).into()
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::fixtures::*;
    use super::*;

    pub const CASES: &[Case] = &[
        Case {
            rule: &OWNER_LEFT,
            entity: "p1",
            case: |f| f.projects[0].owner_email = Some("left@x".into()),
            near_misses: &[
                // In capitals, but there.
                |f| f.projects[0].owner_email = Some("B@X".into()),
                |f| (f.projects[0].owner_email, f.projects[0].archived_at) = (Some("left@x".into()), ago(1)),
                // Nobody at all is another rule's.
                |f| f.projects[0].owner_email = Some("".into()),
            ],
        },
        Case {
            rule: &CREATOR_LEFT,
            entity: "p1",
            case: |f| f.projects[0].creator_email = Some("left@x".into()),
            near_misses: &[
                // The owner too, which is the other rule's.
                |f| {
                    (f.projects[0].creator_email, f.projects[0].owner_email) =
                        (Some("Left@x".into()), Some("left@X".into()))
                },
                |f| f.projects[0].creator_email = None,
            ],
        },
        Case {
            rule: &COMPONENT_OWNER_LEFT,
            entity: "p1",
            case: |f| {
                (f.projects[0].kind, f.projects[0].owner_email) = ("COMPONENT".into(), Some("left@x".into()))
            },
            near_misses: &[|f| {
                (f.projects[0].kind, f.projects[0].owner_email) = ("COMPONENT".into(), Some("left@x".into()));
                f.projects[0].archived_at = ago(1);
            }],
        },
        Case {
            rule: &MISSING_OWNER,
            entity: "p1",
            case: |f| f.projects[0].owner_email = None,
            near_misses: &[|f| (f.projects[0].owner_email, f.projects[0].archived_at) = (None, ago(1))],
        },
    ];
}
