//! Building a snapshot aside, its commit, and what points at it.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

use super::claims::claim_name;
use super::lake::{CACHE, CLAIMS, HISTORY, MANIFEST, POINTER, STAGING, VIEWS, folder_of};
use super::manifest::{FileEntry, Latest, Manifest};
use super::{Error, Lake, SnapshotId, views};
use crate::store::Folder;

/// A snapshot being written. Dropped before its commit, it leaves nothing.
#[derive(Debug)]
pub struct Staging {
    lake: Lake,
    folder: PathBuf,
    snapshot_id: SnapshotId,
}

impl Lake {
    /// Begins a snapshot: an empty folder next to the others that no reader looks at. What an interrupted
    /// export left there is removed.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn stage(&self, snapshot_id: &SnapshotId) -> Result<Staging, Error> {
        let root = self.root();
        for entry in fs::read_dir(root).map_err(Error::io("can't read", root))? {
            let path = entry.map_err(Error::io("can't read", root))?.path();
            if path.file_name().is_some_and(|n| n.to_string_lossy().starts_with(STAGING)) {
                fs::remove_dir_all(&path).map_err(Error::io("can't remove", &path))?;
            }
        }
        let folder = root.join(format!("{STAGING}{snapshot_id}"));
        fs::create_dir(&folder).map_err(Error::io("can't create", &folder))?;
        Ok(Staging { lake: self.clone(), folder, snapshot_id: snapshot_id.clone() })
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        // After a commit it is gone already.
        let _ = fs::remove_dir_all(&self.folder);
    }
}

impl Staging {
    /// Folder of the files.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Commits: the folder appears with its manifest, then the pointer and the views follow.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::Store`], [`Error::Taken`]. Before the manifest is there nothing counts; after it the
    /// snapshot is committed, and a pointer that could not be written is written by the next export.
    pub fn commit(self, manifest: &Manifest) -> Result<String, Error> {
        let to = folder_of(&self.snapshot_id);
        let place = format!("{}/{to}", self.lake.name());
        let taken = || Error::Taken { place: place.clone() };
        let path = self.folder.join(MANIFEST);
        let text = serde_json::to_vec_pretty(manifest).unwrap_or_default();
        let write = || -> std::io::Result<()> {
            let mut file = File::create(&path)?;
            file.write_all(&text)?;
            file.sync_all()
        };
        write().map_err(Error::io("can't write", &path))?;
        let store = self.lake.store();
        if store.is_shared() {
            let is_there = store.get(&format!("{to}/{MANIFEST}"))?.is_some();
            if is_there || !self.lake.claim(&self.snapshot_id)? {
                return Err(taken());
            }
            // Written again, so that nobody takes it for abandoned while the files go up.
            self.lake.renew_claim(&self.snapshot_id)?;
        }
        let entries: Vec<&FileEntry> = manifest.tables.values().flat_map(|table| &table.files).collect();
        let files: Vec<String> = entries.iter().map(|file| file.path.clone()).collect();
        let via = format!("{CLAIMS}/{}", self.snapshot_id);
        let folder = Folder { from: &self.folder, files: &files, last: MANIFEST, to: &to, via: &via };
        // The manifest becomes visible last: readers take a folder for a snapshot by it, so until then they see the
        // snapshot before. The pointer comes after it, since it must never name what could still fail.
        if !store.publish(folder)? {
            return Err(taken());
        }
        self.lake.point_at(manifest)?;
        if store.is_shared() {
            store.delete(&[claim_name(&self.snapshot_id)])?;
            self.keep_in_cache(&entries)?;
        }
        Ok(place)
    }

    /// Moves the new files into the cache: the next export compares with them, and needn't download them.
    fn keep_in_cache(&self, files: &[&FileEntry]) -> Result<(), Error> {
        let cache = self.lake.root().join(CACHE);
        let _ = fs::remove_dir_all(&cache);
        fs::create_dir_all(&cache).map_err(Error::io("can't create", &cache))?;
        for file in files {
            let (from, to) = (self.folder.join(&file.path), cache.join(&file.sha256));
            fs::rename(&from, &to).map_err(Error::io("can't keep", &from))?;
        }
        Ok(())
    }
}

impl Lake {
    /// Points `latest.json` at the newest snapshot, if an export died between its commit and that, or the snapshot
    /// that it names was removed.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::Store`].
    pub fn repair(&self) -> Result<(), Error> {
        let Some(manifest) = self.latest()? else { return Ok(()) };
        let views = self.store().get(VIEWS)?.is_some() && self.store().get(HISTORY)?.is_some();
        match self.pointer()? {
            Some(pointer) if pointer.snapshot_id == manifest.snapshot_id && views => Ok(()),
            _ => self.point_at(&manifest),
        }
    }

    /// Writes the pointer and the views again, after snapshots were removed.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::Store`].
    pub fn refresh(&self) -> Result<(), Error> {
        self.latest()?.map_or(Ok(()), |manifest| self.point_at(&manifest))
    }

    /// `latest.json`; `None` if it is missing or unreadable.
    pub(super) fn pointer(&self) -> Result<Option<Latest>, Error> {
        Ok(self.store().get(POINTER)?.and_then(|text| serde_json::from_slice(&text).ok()))
    }

    /// Points `latest.json` and the views at a snapshot, unless they point at a newer one that is there.
    fn point_at(&self, manifest: &Manifest) -> Result<(), Error> {
        let path = folder_of(&manifest.snapshot_id);
        let latest = Latest {
            snapshot_id: manifest.snapshot_id.clone(),
            sequence: manifest.sequence,
            manifest: format!("{path}/{MANIFEST}"),
            path,
            committed_at: manifest.committed_at,
        };
        let text = serde_json::to_vec_pretty(&latest).unwrap_or_default();
        // The pointer before the manifests: what it names was committed before it was written.
        let there = self.pointer()?;
        let known = self.manifests()?;
        let gone = there.as_ref().map(|there| there.snapshot_id.clone()).filter(|id| known.get(id).is_none());
        let order = |latest: &Latest| (latest.sequence.unwrap_or(0), latest.snapshot_id.clone());
        let is_newer =
            |there: &Latest| gone.as_ref() != Some(&there.snapshot_id) && order(there) > order(&latest);
        if there.is_some_and(|there| is_newer(&there)) {
            return Ok(());
        }
        let newest = known.newest_of_all().map_or_else(|| manifest.clone(), |newest| newest.manifest);
        let store = self.store();
        let (base, note) = match store.folder() {
            Some(_) => (String::new(), views::LOCAL),
            None => (format!("{}/", self.name()), views::CLOUD),
        };
        // Views before the pointer: whoever sees the new pointer finds views that know its snapshot.
        store.put(VIEWS, views::newest(&newest, &known.readable, &base, note).as_bytes())?;
        store.put(HISTORY, views::history(&known.readable, &base, note).as_bytes())?;
        // Another export may have committed a newer one in the meantime.
        store.change(POINTER, &|there| {
            let there = there.and_then(|text| serde_json::from_slice::<Latest>(text).ok());
            (!there.is_some_and(|there| is_newer(&there))).then(|| text.clone())
        })?;
        Ok(())
    }
}
