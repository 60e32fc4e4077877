//! A destination: opening it, its files, its notes. What a snapshot is does not depend on where it is kept.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use sha2::{Digest, Sha256};

use super::lock::LOCK;
use super::manifest::{FileEntry, Manifest};
use super::writer::digest;
use super::{Error, Flaw, SnapshotId};
use crate::store::{self, Cloud, Local, Place, Store, place};

/// Folder of journals.
pub(super) const JOURNALS: &str = "_journal";
/// Beginning of the names of folders that are being built or removed.
pub(super) const STAGING: &str = "_staging-";
/// Beginning of the names of snapshots' folders.
pub(super) const PREFIX: &str = "snapshot=";
/// Folder of claims, and of what is on its way into an object store.
pub(super) const CLAIMS: &str = "_staging";
/// Folder of Delta tables.
pub(super) const DELTA: &str = "delta";
/// The file that makes a folder a snapshot.
pub(super) const MANIFEST: &str = "manifest.json";
/// The pointer to the newest snapshot.
pub(super) const POINTER: &str = "latest.json";
/// Views of the newest of each table.
pub(super) const VIEWS: &str = "views.sql";
/// Views over all snapshots.
pub(super) const HISTORY: &str = "history.sql";
/// Folder of what has to be known the next time.
pub(super) const NOTES: &str = "_state";
/// Folder of what was fetched from an object store.
pub(super) const CACHE: &str = "cache";

/// A destination.
#[derive(Debug, Clone)]
pub struct Lake {
    store: Arc<dyn Store>,
    /// The destination's folder; of one in an object store, the folder on this machine that holds its journals,
    /// what is being built, and the cache.
    work: PathBuf,
}

impl Lake {
    /// A destination on a local path. Nothing is read or made yet.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        let work = root.into();
        Self { store: Arc::new(Local::new(&work)), work }
    }

    /// A destination by its name: a local path, or a URL of an object store (`s3://bucket/prefix`, `gs://...`,
    /// `az://...`, `abfss://...`) with settings for it. Nothing is read or made yet.
    ///
    /// # Errors
    /// [`Error::Store`] for a URL or a setting that isn't one.
    pub fn open(name: &str, options: &[(String, String)]) -> Result<Self, Error> {
        match place(name)? {
            Place::Folder(path) => Ok(Self::new(path)),
            Place::Cloud(url) => {
                let store = Cloud::connect(&url, options)?;
                let work = state_folder(&store.name())?;
                Ok(Self::in_store(Arc::new(store), work))
            }
        }
    }

    /// A destination in a store, with a folder on this machine for what exports have to remember.
    pub fn in_store(store: Arc<dyn Store>, work: impl Into<PathBuf>) -> Self {
        Self { store, work: work.into() }
    }

    /// The destination's folder; of one in an object store, the folder on this machine beside it.
    pub fn root(&self) -> &Path {
        &self.work
    }

    /// The destination as people name it.
    pub fn name(&self) -> String {
        self.store.name()
    }

    /// The store behind it.
    pub fn store(&self) -> &Arc<dyn Store> {
        &self.store
    }

    /// The object store, if it is in one.
    pub fn remote(&self) -> Option<&Arc<dyn Store>> {
        self.store.is_shared().then_some(&self.store)
    }

    /// Checks that the destination could be written to, and makes nothing.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::Store`]; [`Error::Foreign`] if it holds something that isn't hexport's.
    pub fn check(&self) -> Result<(), Error> {
        if self.store.folder().is_none_or(|folder| folder.is_dir()) {
            let names = self.store.top()?;
            let stranger = names.iter().find(|name| !is_noise(name));
            if let Some(found) = stranger.filter(|_| !names.iter().any(|name| is_ours(name))) {
                return Err(Error::Foreign { path: self.name().into(), found: found.clone() });
            }
        }
        Ok(self.store.probe()?)
    }

    /// Path of a snapshot's file on this machine; from an object store it is fetched first, unless it was.
    ///
    /// # Errors
    /// [`Error::Store`], [`Error::Io`], [`Error::Damaged`].
    pub fn file(&self, manifest: &Manifest, file: &FileEntry) -> Result<PathBuf, Error> {
        let name = file_name(manifest, file);
        match self.store.folder() {
            Some(folder) => Ok(folder.join(name)),
            None => self.cached(&name, &file.sha256),
        }
    }

    /// Fetches a file into the cache, unless it is there. It is kept by its SHA-256, so that no file is fetched
    /// twice and none that changed is taken for another.
    fn cached(&self, name: &str, sha256: &str) -> Result<PathBuf, Error> {
        let cache = self.work.join(CACHE);
        let path = cache.join(sha256);
        if path.exists() {
            return Ok(path);
        }
        fs::create_dir_all(&cache).map_err(Error::io("can't create", &cache))?;
        let beside = tempfile::NamedTempFile::new_in(&cache).map_err(Error::io("can't write", &cache))?;
        self.store.download(name, beside.path())?;
        let mut file = File::open(beside.path()).map_err(Error::io("can't read", beside.path()))?;
        let (_, found) = digest(&mut file).map_err(Error::io("can't read", beside.path()))?;
        if found != sha256 {
            return Err(Flaw::Checksum.of(format!("{}/{name}", self.name())));
        }
        beside.persist(&path).map_err(|e| Error::io("can't write", &path)(e.error))?;
        Ok(path)
    }

    /// A note for the next run, kept next to the snapshots. `None` if there is none of this name.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::Store`].
    pub fn note(&self, name: &str) -> Result<Option<Vec<u8>>, Error> {
        Ok(self.store.get(&format!("{NOTES}/{name}"))?)
    }

    /// Keeps a note instead of the one of this name.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::Store`].
    pub fn set_note(&self, name: &str, text: &[u8]) -> Result<(), Error> {
        Ok(self.store.put(&format!("{NOTES}/{name}"), text)?)
    }
}

impl Lake {
    /// Names of the Delta tables that are there.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::Store`].
    pub fn delta_tables(&self) -> Result<Vec<String>, Error> {
        let files = self.store.list(&format!("{DELTA}/"))?;
        let mut names: Vec<String> =
            files.iter().filter_map(|file| file.name.split('/').nth(1)).map(str::to_owned).collect();
        names.sort();
        names.dedup();
        Ok(names)
    }
}

/// Name of a snapshot's folder.
pub(super) fn folder_of(snapshot_id: &SnapshotId) -> String {
    format!("{PREFIX}{snapshot_id}")
}

/// Name of a file within the destination.
pub(super) fn file_name(manifest: &Manifest, file: &FileEntry) -> String {
    let snapshot = file.snapshot.as_ref().unwrap_or(&manifest.snapshot_id);
    format!("{}/{}", folder_of(snapshot), file.path)
}

/// Whether something at the top of a destination is hexport's.
pub(super) fn is_ours(name: &str) -> bool {
    [POINTER, VIEWS, HISTORY, LOCK, JOURNALS, NOTES, CLAIMS, DELTA].contains(&name)
        || name.starts_with(PREFIX)
        || name.starts_with(STAGING)
}

/// Whether something is what file systems, desktops and editors leave anywhere: it says nothing about whose a
/// folder is.
pub(super) fn is_noise(name: &str) -> bool {
    const LEFT: [&str; 7] = [
        "lost+found",
        "Thumbs.db",
        "desktop.ini",
        "@eaDir",
        "#recycle",
        "$RECYCLE.BIN",
        "System Volume Information",
    ];
    name.starts_with('.') || LEFT.contains(&name)
}

/// Folder of what a destination's exports have to remember on this machine: journals, the cache, the lock.
fn state_folder(url: &str) -> Result<PathBuf, Error> {
    let set = |name: &str| std::env::var_os(name).filter(|v| !v.is_empty()).map(PathBuf::from);
    let base = set("HEXPORT_STATE_DIR")
        .or_else(|| set("XDG_STATE_HOME").map(|folder| folder.join("hexport")))
        .or_else(|| set("HOME").map(|home| home.join(".local/state/hexport")));
    let base = base.ok_or_else(|| store::Error::Name {
        place: url.to_owned(),
        source: store::NameFlaw::NoStateFolder,
    })?;
    let digest: String = Sha256::digest(url).iter().take(4).map(|b| format!("{b:02x}")).collect();
    let fits = |c: char| if c.is_ascii_alphanumeric() || matches!(c, '.' | '-') { c } else { '_' };
    Ok(base.join(format!("{}-{digest}", url.chars().map(fits).take(80).collect::<String>())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_foreign_folder_is_refused_and_nothing_is_made() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("thesis.doc"), "x").unwrap();
        assert!(matches!(Lake::new(dir.path()).check(), Err(Error::Foreign { .. })));
        let new = dir.path().join("a/b/c");
        Lake::new(&new).check().unwrap();
        assert!(!dir.path().join("a").exists());
        assert!(Lake::new(dir.path().join("thesis.doc")).check().is_err());
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn what_file_systems_and_desktops_leave_is_not_foreign() {
        for name in ["lost+found", ".DS_Store", ".snapshot", ".nfs0001", ".gitkeep", ".Trash-1000"] {
            let dir = tempfile::tempdir().unwrap();
            std::fs::create_dir(dir.path().join(name)).unwrap();
            Lake::new(dir.path()).check().unwrap();
            std::fs::write(dir.path().join("data.csv"), "x").unwrap();
            let error = Lake::new(dir.path()).check().unwrap_err().to_string();
            assert!(error.contains("data.csv"), "{name}: {error}");
        }
    }
}
