//! Journals in a destination: those of crawls that go on, and those that were kept.

use std::collections::BTreeMap;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use super::lake::JOURNALS;
use super::{Error, Lake, SnapshotId};
use crate::journal::EXTENSION;
use crate::journal::rewrite::UNFINISHED;

impl Lake {
    /// Folder of journals.
    pub fn journal_folder(&self) -> PathBuf {
        self.root().join(JOURNALS)
    }

    /// Path of a snapshot's journal.
    pub fn journal_path(&self, snapshot_id: &SnapshotId) -> PathBuf {
        self.journal_folder().join(format!("{snapshot_id}.{EXTENSION}"))
    }

    /// Removes what is left of journals that were being rewritten when the process was killed. The lock is held by
    /// the caller.
    pub(super) fn remove_unfinished_journals(&self) -> Result<(), Error> {
        let Ok(entries) = fs::read_dir(self.journal_folder()) else { return Ok(()) };
        for path in entries.flatten().map(|entry| entry.path()) {
            if path.extension().is_some_and(|e| e == UNFINISHED) {
                fs::remove_file(&path).map_err(Error::io("can't remove", path))?;
            }
        }
        Ok(())
    }

    /// Journals in the destination, the oldest first, with the snapshots they belong to.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn journals(&self) -> Result<Vec<(SnapshotId, PathBuf)>, Error> {
        let folder = self.journal_folder();
        let mut found = Vec::new();
        let entries = match fs::read_dir(&folder) {
            Ok(entries) => entries,
            Err(e) if e.kind() == ErrorKind::NotFound => return Ok(found),
            Err(e) => return Err(Error::io("can't read", folder)(e)),
        };
        for entry in entries {
            let path = entry.map_err(Error::io("can't read", &folder))?.path();
            let id = path.file_stem().and_then(|stem| stem.to_str()?.parse().ok());
            if path.extension().is_some_and(|e| e == EXTENSION)
                && let Some(id) = id
            {
                found.push((id, path));
            }
        }
        found.sort();
        Ok(found)
    }

    /// All journals of the destination by the snapshots they belong to: those on this machine with their paths, and
    /// those that are kept in the object store alone.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::Store`].
    pub(super) fn kept_journals(&self) -> Result<BTreeMap<SnapshotId, Option<PathBuf>>, Error> {
        let mut all: BTreeMap<_, _> =
            self.journals()?.into_iter().map(|(id, path)| (id, Some(path))).collect();
        if self.store().is_shared() {
            for object in self.store().list(&format!("{JOURNALS}/"))? {
                let id = Path::new(&object.name).file_stem().and_then(|stem| stem.to_str()?.parse().ok());
                if let Some(id) = id {
                    all.entry(id).or_insert(None);
                }
            }
        }
        Ok(all)
    }

    /// Copies a journal into the object store, beside the snapshots; on a local path it is there already. Gives
    /// where it is.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub fn keep_journal(&self, path: &Path) -> Result<String, Error> {
        if !self.store().is_shared() {
            return Ok(path.display().to_string());
        }
        let file = path.file_name().unwrap_or_default().to_string_lossy();
        let name = format!("{JOURNALS}/{file}");
        self.store().upload(&[(path.to_owned(), name.clone())])?;
        Ok(format!("{}/{name}", self.name()))
    }

    /// Fetches the journals that were kept in the object store and are not on this machine.
    ///
    /// # Errors
    /// [`Error::Store`], [`Error::Io`].
    pub fn fetch_journals(&self) -> Result<(), Error> {
        if !self.store().is_shared() {
            return Ok(());
        }
        let folder = self.journal_folder();
        fs::create_dir_all(&folder).map_err(Error::io("can't create", &folder))?;
        for object in self.store().list(&format!("{JOURNALS}/"))? {
            let path = folder.join(object.name.rsplit('/').next().unwrap_or_default());
            if !path.exists() {
                let beside = path.with_extension("part");
                self.store().download(&object.name, &beside)?;
                fs::rename(&beside, &path).map_err(Error::io("can't write", &path))?;
            }
        }
        Ok(())
    }

    /// Removes a snapshot's journal, wherever it is kept.
    pub(super) fn remove_journal(&self, snapshot_id: &SnapshotId) -> Result<(), Error> {
        let path = self.journal_path(snapshot_id);
        match fs::remove_file(&path) {
            Err(e) if e.kind() != ErrorKind::NotFound => return Err(Error::io("can't remove", path)(e)),
            _ => {}
        }
        Ok(self.store().delete(&[format!("{JOURNALS}/{snapshot_id}.{EXTENSION}")])?)
    }
}
