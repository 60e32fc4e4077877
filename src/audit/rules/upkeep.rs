//! Projects that nobody looks after.

use std::collections::BTreeMap;

use chrono::TimeDelta;

use super::{Rule, counted, live};
use crate::audit::facts::Project;
use crate::audit::{Config, Facts, Found, Hit, Need, Severity};

const PROJECTS: &[Need] = &[Need::Each("projects")];

/// Every rule of this subject.
pub const RULES: &[&Rule] = &[
    &PROJECT_UNUSED,
    &DRAFT_STALE,
    &MISSING_DESCRIPTION,
    &MISSING_STATUS,
    &MISSING_CATEGORY,
    &DUPLICATE_TITLE,
];

static PROJECT_UNUSED: Rule = Rule {
    id: "project-unused",
    severity: Severity::Low,
    looks_for: "Published projects that nobody has viewed, published, edited or run for a long time",
    action: "Archive it, or ask its owner",
    needs: &[Need::Each("projects"), Need::Each("runs"), Need::Present("run_stats")],
    find: project_unused,
};

/// Whether the API tells how often the app was viewed.
fn tells_views(project: &Project) -> bool {
    project.last_viewed_at.is_some() || project.app_views_all_time.is_some()
}

fn project_unused(facts: &Facts, config: &Config) -> Found {
    let limit = facts.now - TimeDelta::days(config.unused_days);
    let last_use = |p: &Project| {
        let published = p.last_published_at.filter(|_| !p.is_component())?;
        let run = facts.last_runs.get(&p.project_id).copied();
        let uses = [
            (Some(published), "published"),
            (p.last_viewed_at, "viewed"),
            (p.last_edited_at, "edited"),
            (run, "run"),
        ];
        let viewed_lately = p.app_views_last_30_days.is_some_and(|views| views > 0);
        let last = uses.into_iter().filter_map(|(at, how)| Some((at?, how))).max()?;
        (last.0 < limit && !viewed_lately).then_some(last)
    };
    let hits = live(facts, |p| {
        let (at, how) = last_use(p).filter(|_| tells_views(p))?;
        Some(format!("not used since it was last {how} on {}", at.format("%Y-%m-%d")))
    });
    let unknown = facts.projects.iter().filter(|p| p.is_alive() && !tells_views(p) && last_use(p).is_some());
    let unknown = unknown.count() as u64;
    Found::but_for(hits, unknown, "the API gives no view counts for these apps")
}

static DRAFT_STALE: Rule = Rule {
    id: "draft-stale",
    severity: Severity::Info,
    looks_for: "Drafts that were never published and that nobody has edited for a long time",
    action: "Publish it, or archive it",
    needs: PROJECTS,
    find: draft_stale,
};

fn draft_stale(facts: &Facts, config: &Config) -> Found {
    let limit = facts.now - TimeDelta::days(config.stale_days);
    live(facts, |p| {
        let edited = p.last_edited_at.filter(|at| p.last_published_at.is_none() && *at < limit)?;
        Some(format!("never published, last edited {}", edited.format("%Y-%m-%d")))
    })
    .into()
}

fn published_without(facts: &Facts, what: &str, lacks: impl Fn(&Project) -> bool) -> Vec<Hit> {
    live(facts, |p| (p.last_published_at.is_some() && lacks(p)).then(|| format!("has no {what}")))
}

static MISSING_DESCRIPTION: Rule = Rule {
    id: "missing-description",
    severity: Severity::Info,
    looks_for: "Published projects without a description",
    action: "Describe what the project is for",
    needs: PROJECTS,
    find: missing_description,
};

fn missing_description(facts: &Facts, _: &Config) -> Found {
    published_without(facts, "description", |p| p.description.as_deref().unwrap_or("").trim().is_empty())
        .into()
}

static MISSING_STATUS: Rule = Rule {
    id: "missing-status",
    severity: Severity::Info,
    looks_for: "Published projects without a status label",
    action: "Give it a status",
    needs: PROJECTS,
    find: missing_status,
};

fn missing_status(facts: &Facts, _: &Config) -> Found {
    published_without(facts, "status label", |p| p.status.is_none()).into()
}

static MISSING_CATEGORY: Rule = Rule {
    id: "missing-category",
    severity: Severity::Info,
    looks_for: "Published projects without a category",
    action: "Give it a category",
    needs: &[Need::Each("projects"), Need::Present("project_categories")],
    find: missing_category,
};

fn missing_category(facts: &Facts, _: &Config) -> Found {
    published_without(facts, "category", |p| !facts.categorised.contains(&p.project_id)).into()
}

static DUPLICATE_TITLE: Rule = Rule {
    id: "duplicate-title",
    severity: Severity::Low,
    looks_for: "Live projects with the same title",
    action: "Rename or archive all but one",
    needs: PROJECTS,
    find: duplicate_title,
};

fn duplicate_title(facts: &Facts, _: &Config) -> Found {
    let mut by_title: BTreeMap<String, usize> = BTreeMap::new();
    let title = |p: &Project| p.title.trim().to_lowercase();
    for project in facts.projects.iter().filter(|p| p.is_alive()) {
        *by_title.entry(title(project)).or_default() += 1;
    }
    live(facts, |p| {
        let others = by_title[&title(p)] - 1;
        (others > 0).then(|| match others {
            1 => "another live project has the same title".to_owned(),
            n => format!("{} have the same title", counted(n, "other live project", "other live projects")),
        })
    })
    .into()
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::fixtures::*;
    use super::*;

    /// Nothing has happened to a project since.
    fn untouched(facts: &mut Facts, days: i64) {
        let project = &mut facts.projects[0];
        (project.last_viewed_at, project.last_published_at, project.last_edited_at) =
            (ago(days), ago(days), ago(days));
        project.app_views_last_30_days = Some(0);
    }

    pub const CASES: &[Case] = &[
        Case {
            rule: &PROJECT_UNUSED,
            entity: "p1",
            case: |f| untouched(f, 91),
            near_misses: &[
                |f| untouched(f, 90),
                |f| {
                    untouched(f, 91);
                    f.projects[0].last_published_at = ago(10);
                },
                |f| {
                    untouched(f, 91);
                    f.projects[0].last_edited_at = ago(10);
                },
                |f| {
                    untouched(f, 91);
                    f.last_runs.insert("p1".into(), ago(10).unwrap());
                },
                |f| {
                    untouched(f, 91);
                    f.projects[0].app_views_last_30_days = Some(1);
                },
                // Its views aren't known.
                |f| {
                    untouched(f, 91);
                    (f.projects[0].last_viewed_at, f.projects[0].app_views_all_time) = (None, None);
                },
            ],
        },
        Case {
            rule: &PROJECT_UNUSED,
            entity: "p1",
            // Never viewed at all, and known not to be.
            case: |f| {
                untouched(f, 91);
                (f.projects[0].last_viewed_at, f.projects[0].app_views_all_time) = (None, Some(0));
            },
            near_misses: &[|f| {
                untouched(f, 91);
                f.projects[0].kind = "COMPONENT".into();
            }],
        },
        Case {
            rule: &DRAFT_STALE,
            entity: "p1",
            case: |f| (f.projects[0].last_published_at, f.projects[0].last_edited_at) = (None, ago(181)),
            near_misses: &[|f| {
                (f.projects[0].last_published_at, f.projects[0].last_edited_at) = (None, ago(180))
            }],
        },
        Case {
            rule: &MISSING_DESCRIPTION,
            entity: "p1",
            case: |f| f.projects[0].description = Some("  ".into()),
            near_misses: &[|f| (f.projects[0].description, f.projects[0].last_published_at) = (None, None)],
        },
        Case {
            rule: &MISSING_STATUS,
            entity: "p1",
            case: |f| f.projects[0].status = None,
            near_misses: &[|f| (f.projects[0].status, f.projects[0].last_published_at) = (None, None)],
        },
        Case {
            rule: &MISSING_CATEGORY,
            entity: "p1",
            case: |f| assert!(f.categorised.remove("p1")),
            near_misses: &[|f| {
                f.categorised.remove("p1");
                f.projects[0].trashed_at = ago(1);
            }],
        },
        Case {
            rule: &DUPLICATE_TITLE,
            entity: "p1",
            // Neither case nor outer spaces make another title.
            case: |f| f.projects[1].title = " title OF p1 ".into(),
            near_misses: &[|f| {
                (f.projects[1].title, f.projects[1].archived_at) = ("Title of p1".into(), ago(1))
            }],
        },
    ];
}
