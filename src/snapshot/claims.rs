//! Claims: how exports on several machines keep out of each other's way in an object store, and how what a killed
//! one left is found.

use std::collections::BTreeSet;
use std::fs;

use chrono::{TimeDelta, Utc};

use super::lake::{CLAIMS, MANIFEST, PREFIX, folder_of};
use super::{Error, Lake};

/// A claim that has not been touched for so long is of an export that will not go on.
const ABANDONED: TimeDelta = TimeDelta::days(7);

/// Name of a snapshot's claim.
pub(super) fn claim_name(snapshot_id: &str) -> String {
    format!("{CLAIMS}/{snapshot_id}.json")
}

/// What a killed upload or a killed prune left of a snapshot that doesn't count.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leftover {
    /// The snapshot.
    pub snapshot_id: String,
    /// Files.
    pub files: Vec<String>,
}

impl Lake {
    /// Takes a snapshot's name for this machine: false if another one is building a snapshot of this name. On a
    /// local path the lock sees to that.
    ///
    /// # Errors
    /// [`Error::Store`], [`Error::Io`].
    pub fn claim(&self, snapshot_id: &str) -> Result<bool, Error> {
        if !self.store().is_shared() {
            return Ok(true);
        }
        Ok(self.store().put_if_absent(&claim_name(snapshot_id), self.holder()?.as_bytes())?)
    }

    /// Writes this machine's claim again, with the time of now.
    pub(super) fn renew_claim(&self, snapshot_id: &str) -> Result<(), Error> {
        Ok(self.store().put(&claim_name(snapshot_id), self.holder()?.as_bytes())?)
    }

    /// Who this machine's folder is, in claims.
    fn holder(&self) -> Result<String, Error> {
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

    /// What killed uploads and killed prunes left in the store: files of snapshots without a manifest, and files on
    /// their way. What somebody may still be working on is not among them: what another machine has claimed, until
    /// nobody has touched the claim for days.
    ///
    /// # Errors
    /// [`Error::Store`], [`Error::Io`].
    pub fn leftovers(&self, going_on: Option<&str>) -> Result<Vec<Leftover>, Error> {
        if !self.store().is_shared() {
            return Ok(Vec::new());
        }
        // Files before claims before manifests: whoever writes does it in the other order.
        let files = self.store().list(PREFIX)?;
        let staged = self.store().list(&format!("{CLAIMS}/"))?;
        let id_of = |name: &str, prefix: &str| {
            let rest = name.strip_prefix(prefix)?;
            let id = rest.split('/').next()?;
            Some(id.strip_suffix(".json").unwrap_or(id).to_owned())
        };
        let ids: BTreeSet<String> = files
            .iter()
            .filter_map(|o| id_of(&o.name, PREFIX))
            .chain(staged.iter().filter_map(|o| id_of(&o.name, &format!("{CLAIMS}/"))))
            .filter(|id| Some(id.as_str()) != going_on)
            .collect();
        let committed = |id: &String| files.iter().any(|o| o.name == format!("{}/{MANIFEST}", folder_of(id)));
        let suspects: Vec<String> = ids
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

    /// Removes what interrupted exports and prunes left in the object store, but for the snapshot that goes on.
    ///
    /// # Errors
    /// [`Error::Store`], [`Error::Io`].
    pub fn clean(&self, going_on: Option<&str>) -> Result<(), Error> {
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
    pub fn build_on(&self, snapshot_id: &str, bases: &BTreeSet<String>) -> Result<(), Error> {
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
        let gone: BTreeSet<String> = serde_json::from_slice(&text).unwrap_or_default();
        match bases.intersection(&gone).next() {
            None => Ok(()),
            Some(id) => {
                self.built(snapshot_id)?;
                Err(Error::Busy(format!("a prune on another machine is removing {id}")))
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
        snapshot_id: &str,
        bases: &BTreeSet<String>,
        work: impl FnOnce() -> Result<T, E>,
    ) -> Result<T, E> {
        self.build_on(snapshot_id, bases)?;
        let done = work();
        self.ended(snapshot_id);
        done
    }

    /// The same as [`Self::built`], for what may have failed. If it can't be said, prunes keep too much for some days: no
    /// reason to call what is committed a failure.
    pub fn ended(&self, snapshot_id: &str) {
        if let Err(error) = self.built(snapshot_id) {
            tracing::warn!("the note on what {snapshot_id} builds on can't be removed: {error}");
        }
    }

    /// The export of a snapshot builds on nothing any longer: it is committed.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub fn built(&self, snapshot_id: &str) -> Result<(), Error> {
        match self.store().is_shared() {
            true => Ok(self.store().delete(&[format!("{BUILDING}/{snapshot_id}.json")])?),
            false => Ok(()),
        }
    }

    /// Snapshots that exports of any machine build on.
    pub(super) fn built_on(&self) -> Result<BTreeSet<String>, Error> {
        let mut bases = BTreeSet::new();
        if self.store().is_shared() {
            for note in self.store().list(&format!("{BUILDING}/"))? {
                if Utc::now() - note.written < ABANDONED {
                    let text = self.store().get(&note.name)?.unwrap_or_default();
                    bases.extend(serde_json::from_slice::<BTreeSet<String>>(&text).unwrap_or_default());
                }
            }
        }
        Ok(bases)
    }

    /// Removes snapshots while no export builds on one of them.
    pub(super) fn while_pruning(
        &self,
        gone: &BTreeSet<String>,
        remove: impl FnOnce() -> Result<(), Error>,
    ) -> Result<(), Error> {
        if !self.store().is_shared() || gone.is_empty() {
            return remove();
        }
        self.store().put(PRUNING, &serde_json::to_vec(gone).unwrap_or_default())?;
        let done = match self.built_on()?.intersection(gone).next() {
            None => remove(),
            Some(id) => Err(Error::Busy(format!("an export on another machine builds on {id}"))),
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
        let set = |ids: &[&str]| ids.iter().map(|id| (*id).to_owned()).collect::<BTreeSet<String>>();
        exporting.build_on("3", &set(&["1"])).unwrap();
        let refused = pruning.while_pruning(&set(&["0", "1"]), || panic!("1 is built on"));
        assert!(refused.unwrap_err().to_string().contains("builds on 1"));
        pruning.while_pruning(&set(&["0"]), || Ok(())).unwrap();
        exporting.built("3").unwrap();
        // What fails builds on nothing either.
        let failed: Result<(), Error> = exporting.building("5", &set(&["1"]), || {
            pruning.while_pruning(&set(&["1"]), || panic!("1 is built on")).unwrap_err();
            Err(Error::Busy("the work".into()))
        });
        assert_eq!(failed.unwrap_err().to_string(), "the work");
        assert!(pruning.built_on().unwrap().is_empty());
        let mut is_removed = false;
        let removing = pruning.while_pruning(&set(&["1"]), || {
            // An export that begins meanwhile.
            let refused = exporting.build_on("4", &set(&["1", "2"]));
            assert!(refused.unwrap_err().to_string().contains("removing 1"));
            assert!(pruning.built_on().unwrap().is_empty(), "what is refused builds on nothing");
            exporting.build_on("4", &set(&["2"])).unwrap();
            is_removed = true;
            Ok(())
        });
        removing.unwrap();
        assert!(is_removed);
        assert_eq!(pruning.built_on().unwrap(), set(&["2"]));
    }
}
