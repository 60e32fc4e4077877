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
