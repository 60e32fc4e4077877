//! Changes in who can open what, between two snapshots, for an auditor to sign.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::{Access, Config, Directory, Expand, Failure, Walk, Ways, evidence, expanded, not_known, rank};
use crate::audit::Evidence;
use crate::snapshot::{Lake, Manifest, SnapshotId};
use crate::tables::{
    COLLECTION_SHARING, COLLECTIONS, GROUP_MEMBERS, GROUPS, PROJECT_SHARING, PROJECTS, USERS,
};

/// Kind of a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Had no access, has it now.
    Gained,
    /// Has a higher level than before.
    Raised,
    /// Has a lower level than before.
    Lowered,
    /// Had access, has none now.
    Lost,
}

impl Kind {
    /// The kind as outputs name it.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Gained => "gained",
            Kind::Raised => "raised",
            Kind::Lowered => "lowered",
            Kind::Lost => "lost",
        }
    }
}

/// A change of what a principal can do with a project.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Change {
    /// Kind.
    pub kind: Kind,
    /// Level before; null if there was none.
    pub before: Option<String>,
    /// Whether both snapshots know enough to say so. Where one couldn't read who is in groups and collections, people
    /// seem to come and go with that.
    pub sure: bool,
    /// Access that the principal has now; for a loss, the access that it had before.
    #[serde(flatten)]
    pub access: Access,
}

/// All changes between two snapshots.
#[derive(Debug, Clone, Serialize)]
pub struct Review {
    /// Snapshot before.
    pub before: SnapshotId,
    /// Snapshot after.
    pub after: SnapshotId,
    /// Assumptions.
    pub assumptions: Vec<String>,
    /// Gaps in either snapshot: a change may be no change, or a change may be missing.
    pub not_known: Vec<String>,
    /// Changes, by principal.
    pub changes: Vec<Change>,
}

/// Compares who can open what in two snapshots. Both are read side by side, project by project.
///
/// # Errors
/// If one can't be read, or lacks the table.
pub fn review(
    lake: &Lake,
    before: &Manifest,
    after: &Manifest,
    expand: Expand,
    config: &Config,
) -> Result<Review, Failure> {
    let (then, now) = (Directory::load(lake, before, config)?, Directory::load(lake, after, config)?);
    let known = [evidence(lake, before)?, evidence(lake, after)?];
    let (mut old, mut new) = (Walk::open(lake, before)?, Walk::open(lake, after)?);
    let (mut left, mut right) = (old.next(config)?, new.next(config)?);
    let mut changes = Vec::new();
    loop {
        let project = match (&left, &right) {
            (None, None) => break,
            (Some((a, _)), Some((b, _))) => a.min(b).clone(),
            (Some((a, _)), None) => a.clone(),
            (None, Some((b, _))) => b.clone(),
        };
        let mut was = Ways::new();
        if left.as_ref().is_some_and(|(of, _)| *of == project) {
            was = left.take().map(|(_, ways)| ways).unwrap_or_default();
            left = old.next(config)?;
        }
        let mut is = Ways::new();
        if right.as_ref().is_some_and(|(of, _)| *of == project) {
            is = right.take().map(|(_, ways)| ways).unwrap_or_default();
            right = new.next(config)?;
        }
        if expand == Expand::Yes {
            expanded(&mut was, &then, config);
            expanded(&mut is, &now, config);
        }
        compare(&project, was, is, (&then, &now), &mut changes);
    }
    for change in &mut changes {
        change.sure = known.iter().all(|evidence| knows(evidence, &change.access));
    }
    changes.sort_by(|a: &Change, b| {
        let key = |c: &Change| {
            (
                c.access.principal_type.clone(),
                c.access.principal.to_lowercase(),
                c.kind,
                c.access.project_id.clone(),
            )
        };
        key(a).cmp(&key(b))
    });
    let mut unknown: BTreeSet<String> = BTreeSet::new();
    for (manifest, evidence) in [before, after].into_iter().zip(&known) {
        let whys = not_known(evidence).into_iter();
        unknown.extend(whys.map(|why| format!("{}: {why}", manifest.snapshot_id)));
    }
    Ok(Review {
        before: before.snapshot_id.clone(),
        after: after.snapshot_id.clone(),
        assumptions: config.assumptions(&now.domains),
        not_known: unknown.into_iter().collect(),
        changes,
    })
}

/// Whether a snapshot knows all that the ways of an access go through.
fn knows(evidence: &Evidence, access: &Access) -> bool {
    let is_read = |table: &str| evidence.gap(table).is_none();
    let of_project = |table| evidence.gap_of(table, &access.project_id).is_none();
    let goes = |is: fn(&super::Path) -> bool| access.paths.iter().any(is);
    let members = [&GROUPS, &GROUP_MEMBERS, &COLLECTIONS, &COLLECTION_SHARING];
    of_project(&PROJECTS)
        && of_project(&PROJECT_SHARING)
        && (!goes(|path| path.via_group.is_some() || path.via_collection.is_some())
            || members.iter().all(|table| is_read(table.name)))
        && (access.principal_type != "person"
            || !goes(|path| matches!(path.path.as_str(), "workspace" | "role"))
            || is_read(USERS.name))
}

fn compare(
    project: &str,
    was: Ways,
    is: Ways,
    (then, now): (&Directory, &Directory),
    changes: &mut Vec<Change>,
) {
    // The same person may be written in another case.
    let folded = |ways: Ways| -> BTreeMap<(String, String), _> {
        ways.into_iter().map(|((kind, name), paths)| ((kind, name.to_lowercase()), (name, paths))).collect()
    };
    let (mut was, is) = (folded(was), folded(is));
    for ((kind, key), (name, paths)) in is {
        let after = now.access(kind.clone(), name, project, paths);
        let before =
            was.remove(&(kind.clone(), key)).map(|(name, paths)| then.access(kind, name, project, paths));
        let level = before.map(|before| before.access);
        let kind = match level.as_deref().map(rank) {
            None => Kind::Gained,
            Some(before) if before < rank(&after.access) => Kind::Raised,
            Some(before) if before > rank(&after.access) => Kind::Lowered,
            Some(_) => continue,
        };
        changes.push(Change { kind, before: level, sure: true, access: after });
    }
    for ((kind, _), (name, paths)) in was {
        let before = then.access(kind, name, project, paths);
        let level = Some(before.access.clone());
        changes.push(Change { kind: Kind::Lost, before: level, sure: true, access: before });
    }
}
