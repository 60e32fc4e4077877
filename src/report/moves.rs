//! Changes of projects' cells, as the page has them.

use super::{Places, Texts};
use crate::audit::Facts;

/// Changes of one project that are on the page.
const PER_PROJECT: usize = 20;

/// Place of the project, cell, place of the change, minute after which, minute before which.
pub(super) type Change = (usize, String, usize, String, String);

/// The newest changes of each project.
pub(super) fn changes(facts: &Facts, places: &Places, texts: &mut Texts) -> Vec<Change> {
    let mut lines = Vec::new();
    for project in &facts.projects {
        let Some(place) = places.get(&project.project_id) else { continue };
        let mut changes: Vec<_> = facts.moves.of_project(&project.project_id).iter().collect();
        changes.sort_by_key(|change| std::cmp::Reverse(change.changed_before));
        lines.extend(changes.into_iter().take(PER_PROJECT).map(|change| {
            let at = |time: chrono::DateTime<chrono::Utc>| time.format("%Y-%m-%d %H:%M").to_string();
            let cell = change.label.clone().unwrap_or_else(|| change.static_id.clone());
            (*place, cell, texts.place(&change.change), at(change.changed_after), at(change.changed_before))
        }));
    }
    lines
}
