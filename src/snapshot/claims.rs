//! Claims: how exports on several machines keep out of each other's way in an object store, and how what a killed
//! one left is found.

use std::collections::BTreeSet;
use std::fs;

use chrono::{TimeDelta, Utc};

use super::lake::{CLAIMS, MANIFEST, PREFIX, folder_of};
use super::{Busy, Error, Lake, SnapshotId};

/// A claim that has not been touched for so long is of an export that will not go on.
const ABANDONED: TimeDelta = TimeDelta::days(7);

/// Name of a snapshot's claim.
pub(super) fn claim_name(snapshot_id: &SnapshotId) -> String {
    format!("{CLAIMS}/{snapshot_id}.json")
}

/// Files of a snapshot that doesn't count, left by a killed upload or prune.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leftover {
    /// The snapshot.
    pub snapshot_id: SnapshotId,
    /// Files.
    pub files: Vec<String>,
}

impl Lake {
    /// Takes a snapshot's name for this machine: false if another one is building a snapshot of this name. On a
    /// local path the lock sees to that.
    ///
    /// # Errors
    /// [`Error::Store`], [`Error::Io`].
    pub fn claim(&self, snapshot_id: &SnapshotId) -> Result<bool, Error> {
        if !self.store().is_shared() {
            return Ok(true);
        }
        Ok(self.store().put_if_absent(&claim_name(snapshot_id), self.holder()?.as_bytes())?)
    }

    /// Writes this machine's claim again, with the time of now.
    pub(super) fn renew_claim(&self, snapshot_id: &SnapshotId) -> Result<(), Error> {
        Ok(self.store().put(&claim_name(snapshot_id), self.holder()?.as_bytes())?)
    }

    /// Who this machine's folder is, in claims.
    pub(super) fn holder(&self) -> Result<String, Error> {
        let path = self.root().join("holder");
        match fs::read_to_string(&path) {
            Ok(text) if !text.is_empty() => Ok(text),
            _ => {
                let text = uuid::Uuid::new_v4().to_string();
                fs::write(&path, &text).map_err(Error::io("can't write", &path))?;
                Ok(text)
            }
        }
    }

    /// Leftovers of killed uploads and prunes in the store: files of snapshots without a manifest, and files on
    /// their way. What somebody may still be working on is not among them: what another machine has claimed, until
    /// nobody has touched the claim for days.
    ///
    /// # Errors
    /// [`Error::Store`], [`Error::Io`].
    pub fn leftovers(&self, going_on: Option<&SnapshotId>) -> Result<Vec<Leftover>, Error> {
        if !self.store().is_shared() {
            return Ok(Vec::new());
        }
        // Files before claims before manifests: whoever writes does it in the other order.
        let files = self.store().list(PREFIX)?;
        let staged = self.store().list(&format!("{CLAIMS}/"))?;
        let id_of = |name: &str, prefix: &str| {
            let rest = name.strip_prefix(prefix)?;
            let id = rest.split('/').next()?;
            id.strip_suffix(".json").unwrap_or(id).parse::<SnapshotId>().ok()
        };
        let ids: BTreeSet<SnapshotId> = files
            .iter()
            .filter_map(|o| id_of(&o.name, PREFIX))
            .chain(staged.iter().filter_map(|o| id_of(&o.name, &format!("{CLAIMS}/"))))
            .filter(|id| Some(id) != going_on)
            .collect();
        let committed =
            |id: &SnapshotId| files.iter().any(|o| o.name == format!("{}/{MANIFEST}", folder_of(id)));
        let suspects: Vec<SnapshotId> = ids
            .into_iter()
            .filter(|id| {
                !committed(id)
                    || staged.iter().any(|o| id_of(&o.name, &format!("{CLAIMS}/")).as_ref() == Some(id))
            })
            .collect();
        let mut found = Vec::new();
        for snapshot_id in suspects {
            let claim = self.store().list(&claim_name(&snapshot_id))?.into_iter().next();
            if let Some(claim) = claim {
                let holder = self.store().get(&claim.name)?.unwrap_or_default();
                let is_ours = String::from_utf8_lossy(&holder).contains(&self.holder()?);
                if !is_ours && Utc::now() - claim.written < ABANDONED {
                    continue;
                }
            }
            let mut names: Vec<String> = staged
                .iter()
                .filter(|o| id_of(&o.name, &format!("{CLAIMS}/")).as_ref() == Some(&snapshot_id))
                .map(|o| o.name.clone())
                .collect();
            let folder = format!("{}/", folder_of(&snapshot_id));
            if self.store().get(&format!("{folder}{MANIFEST}"))?.is_none() {
                names.extend(files.iter().filter(|o| o.name.starts_with(&folder)).map(|o| o.name.clone()));
            }
            // The claim last: what a second kill leaves is found by it.
            names.sort_by_key(|name| name == &claim_name(&snapshot_id));
            if !names.is_empty() {
                found.push(Leftover { snapshot_id, files: names });
            }
        }
        Ok(found)
    }

    /// Removes what interrupted exports and prunes left in the object store, except for the snapshot that is being written.
    ///
    /// # Errors
    /// [`Error::Store`], [`Error::Io`].
    pub fn clean(&self, going_on: Option<&SnapshotId>) -> Result<(), Error> {
        for leftover in self.leftovers(going_on)? {
            let claim = claim_name(&leftover.snapshot_id);
            let files: Vec<String> = leftover.files.into_iter().filter(|name| *name != claim).collect();
            self.store().delete(&files)?;
            self.store().delete(&[claim])?;
        }
        Ok(())
    }
}

/// Notes of exports on what they build on.
const BUILDING: &str = "_state/building";
/// Note of a prune on what it removes.
const PRUNING: &str = "_state/pruning.json";
/// A prune that began so long ago isn't going on.
const PRUNE_ENDED: TimeDelta = TimeDelta::hours(1);

/// Where several machines write, the lock of one doesn't keep a prune on another from removing what an export builds
/// on. Both say first what they are about to do and look then for the other: of two that begin at once, at least one
/// sees the other.
impl Lake {
    /// Says which snapshots an export builds on.
    ///
    /// # Errors
    /// [`Error::Busy`] if a prune is removing one of them; [`Error::Store`].
    pub fn build_on(&self, snapshot_id: &SnapshotId, bases: &BTreeSet<SnapshotId>) -> Result<(), Error> {
        if !self.store().is_shared() || bases.is_empty() {
            return Ok(());
        }
        let text = serde_json::to_vec(bases).unwrap_or_default();
        self.store().put(&format!("{BUILDING}/{snapshot_id}.json"), &text)?;
        let pruning = self.store().list(PRUNING)?.pop();
        let goes_on = |written| Utc::now() - written < PRUNE_ENDED;
        if pruning.is_none_or(|note| !goes_on(note.written)) {
            return Ok(());
        }
        let text = self.store().get(PRUNING)?.unwrap_or_default();
        let gone: BTreeSet<SnapshotId> = serde_json::from_slice(&text).unwrap_or_default();
        match bases.intersection(&gone).next() {
            None => Ok(()),
            Some(id) => {
                self.built(snapshot_id)?;
                Err(Error::Busy(Busy::Pruning(id.clone())))
            }
        }
    }

    /// Does something that builds on snapshots, while no prune on another machine removes them. Unlike an export, it
    /// doesn't go on later where it ended: whatever comes of it, it builds on nothing afterwards.
    ///
    /// # Errors
    /// As [`Self::build_on`], and what the work met.
    pub fn building<T, E: From<Error>>(
        &self,
        snapshot_id: &SnapshotId,
        bases: &BTreeSet<SnapshotId>,
        work: impl FnOnce() -> Result<T, E>,
    ) -> Result<T, E> {
        self.build_on(snapshot_id, bases)?;
        let done = work();
        self.ended(snapshot_id);
        done
    }

    /// The same as [`Self::built`], for what may have failed. If it can't be said, prunes keep too much for some days: no
    /// reason to call what is committed a failure.
    pub fn ended(&self, snapshot_id: &SnapshotId) {
        if let Err(error) = self.built(snapshot_id) {
            tracing::warn!("the note on what {snapshot_id} builds on can't be removed: {error}");
        }
    }

    /// Withdraws the note of [`Lake::build_on`]: the snapshot is committed.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub fn built(&self, snapshot_id: &SnapshotId) -> Result<(), Error> {
        match self.store().is_shared() {
            true => Ok(self.store().delete(&[format!("{BUILDING}/{snapshot_id}.json")])?),
            false => Ok(()),
        }
    }

    /// Snapshots that exports of any machine build on.
    pub(super) fn built_on(&self) -> Result<BTreeSet<SnapshotId>, Error> {
        let mut bases = BTreeSet::new();
        if self.store().is_shared() {
            for note in self.store().list(&format!("{BUILDING}/"))? {
                if Utc::now() - note.written < ABANDONED {
                    let text = self.store().get(&note.name)?.unwrap_or_default();
                    bases.extend(serde_json::from_slice::<BTreeSet<SnapshotId>>(&text).unwrap_or_default());
                }
            }
        }
        Ok(bases)
    }

    /// Removes snapshots while no export builds on one of them.
    pub(super) fn while_pruning(
        &self,
        gone: &BTreeSet<SnapshotId>,
        remove: impl FnOnce() -> Result<(), Error>,
    ) -> Result<(), Error> {
        if !self.store().is_shared() || gone.is_empty() {
            return remove();
        }
        self.store().put(PRUNING, &serde_json::to_vec(gone).unwrap_or_default())?;
        let done = match self.built_on()?.intersection(gone).next() {
            None => remove(),
            Some(id) => Err(Error::Busy(Busy::Exporting(id.clone()))),
        };
        self.store().delete(&[PRUNING.to_owned()])?;
        done
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::store::Cloud;

    #[test]
    fn a_prune_and_an_export_on_two_machines_exclude_each_other() {
        let dir = tempfile::tempdir().unwrap();
        let store: Arc<dyn crate::store::Store> = Arc::new(Cloud::in_memory().unwrap());
        let machine = |name: &str| Lake::in_store(store.clone(), dir.path().join(name));
        let (exporting, pruning) = (machine("a"), machine("b"));
        let id = |id: &str| id.parse::<SnapshotId>().unwrap();
        let set = |ids: &[&str]| ids.iter().map(|id| id.parse().unwrap()).collect::<BTreeSet<SnapshotId>>();
        exporting.build_on(&id("3"), &set(&["1"])).unwrap();
        let refused = pruning.while_pruning(&set(&["0", "1"]), || panic!("1 is built on"));
        assert!(refused.unwrap_err().to_string().contains("builds on 1"));
        pruning.while_pruning(&set(&["0"]), || Ok(())).unwrap();
        exporting.built(&id("3")).unwrap();
        // What fails builds on nothing either.
        let failed: Result<(), Error> = exporting.building(&id("5"), &set(&["1"]), || {
            pruning.while_pruning(&set(&["1"]), || panic!("1 is built on")).unwrap_err();
            Err(Error::Busy(Busy::Pruning(id("9"))))
        });
        assert!(failed.unwrap_err().to_string().contains("removing 9"));
        assert!(pruning.built_on().unwrap().is_empty());
        let mut is_removed = false;
        let removing = pruning.while_pruning(&set(&["1"]), || {
            // An export that begins meanwhile.
            let refused = exporting.build_on(&id("4"), &set(&["1", "2"]));
            assert!(refused.unwrap_err().to_string().contains("removing 1"));
            assert!(pruning.built_on().unwrap().is_empty(), "what is refused builds on nothing");
            exporting.build_on(&id("4"), &set(&["2"])).unwrap();
            is_removed = true;
            Ok(())
        });
        removing.unwrap();
        assert!(is_removed);
        assert_eq!(pruning.built_on().unwrap(), set(&["2"]));
    }
}
