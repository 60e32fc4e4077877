//! A destination: finding snapshots, locking, staging, and the commit. On a local path, or in an object store
//! with a folder on this machine beside it.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{Read, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};
use parquet::file::reader::{FileReader, SerializedFileReader};
use serde::{Deserialize, Serialize};

use super::manifest::{FileEntry, Latest, Manifest};
use super::remote::{self, Object, Remote};
use super::retention::{LATEST, Policy};
use super::writer::digest;
use super::{Error, views};
use crate::journal::{self, Journal};
use crate::schema::Table;

const LOCK: &str = ".hexport.lock";
const JOURNALS: &str = "_journal";
const STAGING: &str = "_staging-";
const PREFIX: &str = "snapshot=";
const NOTES: &str = "_state";
const CLAIMS: &str = "_staging";
const CACHE: &str = "cache";
/// Folder of Delta tables.
pub(super) const DELTA: &str = "delta";
/// A claim that has not been touched for so long is of an export that will not go on.
const ABANDONED: TimeDelta = TimeDelta::days(7);

/// The identifier of a snapshot whose crawl began at `at`: UTC, sortable, fit for paths.
pub fn snapshot_id(at: DateTime<Utc>) -> String {
    at.format("%Y-%m-%dT%H%M%SZ").to_string()
}

/// A destination.
#[derive(Debug, Clone)]
pub struct Lake {
    /// The destination's folder; of one in an object store, the folder on this machine that holds its journals,
    /// what is being built, and the cache.
    root: PathBuf,
    remote: Option<Arc<Remote>>,
}

/// Who holds the lock.
#[derive(Serialize, Deserialize)]
struct Holder {
    pid: u32,
    started: DateTime<Utc>,
}

/// The lock of a destination; free again when dropped, or when the process dies.
#[derive(Debug)]
pub struct LakeLock {
    file: File,
    path: PathBuf,
}

/// A snapshot being written.
#[derive(Debug)]
pub struct Staging {
    lake: Lake,
    folder: PathBuf,
    snapshot_id: String,
}

impl Lake {
    /// A destination on a local path. Nothing is read or made yet.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into(), remote: None }
    }

    /// A destination by its name: a local path, or a URL of an object store (`s3://bucket/prefix`, `gs://...`,
    /// `az://...`, `abfss://...`) with settings for it. Nothing is read or made yet.
    ///
    /// # Errors
    /// [`Error::Store`] for a URL or a setting that isn't one.
    pub fn open(name: &str, options: &[(String, String)]) -> Result<Self, Error> {
        if let Some(path) = name.strip_prefix("file://") {
            return Ok(Self::new(path));
        }
        if !name.contains("://") {
            return Ok(Self::new(name));
        }
        let remote = Remote::connect(name, options)?;
        Ok(Self { root: remote::state_folder(remote.url())?, remote: Some(Arc::new(remote)) })
    }

    /// The destination's folder; of one in an object store, the folder on this machine beside it.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The destination as people name it.
    pub fn name(&self) -> String {
        match &self.remote {
            Some(remote) => remote.url().to_owned(),
            None => self.root.display().to_string(),
        }
    }

    /// The object store, if it is in one.
    pub fn remote(&self) -> Option<&Arc<Remote>> {
        self.remote.as_ref()
    }

    /// Checks that the destination could be written to, and makes nothing.
    ///
    /// # Errors
    /// [`Error::Io`]; [`Error::Foreign`] if it holds something that isn't hexport's.
    pub fn check(&self) -> Result<(), Error> {
        if let Some(remote) = &self.remote {
            let objects = remote.list("")?;
            let is_ours = |object: &Object| is_ours(object.name.split('/').next().unwrap_or(""));
            return match objects.first() {
                Some(found) if !objects.iter().any(is_ours) => {
                    Err(Error::Foreign { path: remote.url().into(), found: found.name.clone() })
                }
                _ => Ok(()),
            };
        }
        match fs::metadata(&self.root) {
            Ok(meta) if !meta.is_dir() => {
                let source = std::io::Error::from(std::io::ErrorKind::NotADirectory);
                return Err(Error::Io { what: "can't write to", path: self.root.clone(), source });
            }
            Ok(_) => {}
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
                let parent = self.root.ancestors().skip(1).find(|p| p.as_os_str().is_empty() || p.exists());
                let parent = parent.filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
                return probe(parent).map_err(Error::io("can't create", &self.root));
            }
            Err(e) => {
                return Err(Error::Io { what: "can't open", path: self.root.clone(), source: e });
            }
        }
        let mut found = None;
        for entry in fs::read_dir(&self.root).map_err(Error::io("can't read", &self.root))? {
            let name = entry
                .map_err(Error::io("can't read", &self.root))?
                .file_name()
                .to_string_lossy()
                .into_owned();
            if is_ours(&name) {
                return probe(&self.root).map_err(Error::io("can't write to", &self.root));
            }
            found = Some(name);
        }
        match found {
            Some(found) => Err(Error::Foreign { path: self.root.clone(), found }),
            None => probe(&self.root).map_err(Error::io("can't write to", &self.root)),
        }
    }

    /// Makes the destination and takes its lock.
    ///
    /// # Errors
    /// [`Error::Locked`], naming the export that holds it; [`Error::Io`].
    pub fn lock(&self) -> Result<LakeLock, Error> {
        fs::create_dir_all(&self.root).map_err(Error::io("can't create", &self.root))?;
        let path = self.root.join(LOCK);
        let open = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path);
        let mut file = open.map_err(Error::io("can't open", &path))?;
        match file.try_lock() {
            // Whoever held it may have removed the file between our opening and locking it.
            Ok(()) if !is_same_file(&file, &path) => return self.lock(),
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut text = String::new();
                let _ = file.read_to_string(&mut text);
                let holder = match serde_json::from_str::<Holder>(&text) {
                    Ok(h) => format!(
                        "process {}, running since {}",
                        h.pid,
                        h.started.format("%Y-%m-%d %H:%M:%S UTC")
                    ),
                    Err(_) => "it has not said who it is".into(),
                };
                return Err(Error::Locked { path: self.root.clone(), holder });
            }
            Err(TryLockError::Error(e)) => {
                return Err(Error::Io { what: "can't lock", path, source: e });
            }
        }
        let holder = Holder { pid: std::process::id(), started: Utc::now() };
        let text = serde_json::to_string(&holder).unwrap_or_default();
        let written = file.set_len(0).and_then(|()| file.write_all(text.as_bytes()));
        written.map_err(Error::io("can't write", &path))?;
        Ok(LakeLock { file, path })
    }

    /// Gives the lock back, and removes what an export leaves behind that says nothing: an empty folder of
    /// journals, and the destination itself if nothing is in it.
    pub fn tidy(&self, lock: LakeLock) {
        let _ = fs::remove_dir(self.journal_folder());
        drop(lock);
        let _ = fs::remove_dir(&self.root);
    }

    /// Folder of journals.
    pub fn journal_folder(&self) -> PathBuf {
        self.root.join(JOURNALS)
    }

    /// Path of a snapshot's journal.
    pub fn journal_path(&self, snapshot_id: &str) -> PathBuf {
        self.journal_folder().join(format!("{snapshot_id}.{}", journal::EXTENSION))
    }

    /// Journals in the destination, the oldest first, with the snapshots they belong to.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn journals(&self) -> Result<Vec<(String, PathBuf)>, Error> {
        let folder = self.journal_folder();
        let mut found = Vec::new();
        let entries = match fs::read_dir(&folder) {
            Ok(entries) => entries,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(found),
            Err(e) => {
                return Err(Error::Io { what: "can't read", path: folder, source: e });
            }
        };
        for entry in entries {
            let path = entry.map_err(Error::io("can't read", &folder))?.path();
            let id = path.file_stem().map(|s| s.to_string_lossy().into_owned());
            if path.extension().is_some_and(|e| e == journal::EXTENSION)
                && let Some(id) = id
            {
                found.push((id, path));
            }
        }
        found.sort();
        Ok(found)
    }

    /// Copies a journal into the object store, beside the snapshots; on a local path it is there already. Gives
    /// where it is.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub fn keep_journal(&self, path: &Path) -> Result<String, Error> {
        let Some(remote) = &self.remote else { return Ok(path.display().to_string()) };
        let file = path.file_name().unwrap_or_default().to_string_lossy();
        let name = format!("{JOURNALS}/{file}");
        remote.upload(vec![(path.to_owned(), name.clone())])?;
        Ok(format!("{}/{name}", remote.url()))
    }

    /// Fetches the journals that were kept in the object store and are not on this machine.
    ///
    /// # Errors
    /// [`Error::Store`], [`Error::Io`].
    pub fn fetch_journals(&self) -> Result<(), Error> {
        let Some(remote) = &self.remote else { return Ok(()) };
        let folder = self.journal_folder();
        fs::create_dir_all(&folder).map_err(Error::io("can't create", &folder))?;
        for object in remote.list(JOURNALS)? {
            let path = folder.join(object.name.rsplit('/').next().unwrap_or_default());
            if !path.exists() {
                let beside = path.with_extension("part");
                remote.download(&object.name, &beside)?;
                fs::rename(&beside, &path).map_err(Error::io("can't write", &path))?;
            }
        }
        Ok(())
    }

    /// Folder of a snapshot, on a local path.
    fn snapshot_folder(&self, snapshot_id: &str) -> PathBuf {
        self.root.join(format!("{PREFIX}{snapshot_id}"))
    }

    /// Committed snapshots, the oldest first.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn snapshots(&self) -> Result<Vec<String>, Error> {
        let mut found = Vec::new();
        if let Some(remote) = &self.remote {
            let id = |object: Object| {
                let folder = object.name.strip_suffix("/manifest.json")?;
                folder.strip_prefix(PREFIX).filter(|id| !id.contains('/')).map(str::to_owned)
            };
            found.extend(remote.list("")?.into_iter().filter_map(id));
            found.sort();
            return Ok(found);
        }
        let entries = match fs::read_dir(&self.root) {
            Ok(entries) => entries,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(found),
            Err(e) => {
                return Err(Error::Io { what: "can't read", path: self.root.clone(), source: e });
            }
        };
        for entry in entries {
            let name = entry.map_err(Error::io("can't read", &self.root))?.file_name();
            if let Some(id) = name.to_string_lossy().strip_prefix(PREFIX)
                && self.snapshot_folder(id).join("manifest.json").exists()
            {
                found.push(id.to_owned());
            }
        }
        found.sort();
        Ok(found)
    }

    /// The manifest of a snapshot.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::Damaged`].
    pub fn manifest(&self, snapshot_id: &str) -> Result<Manifest, Error> {
        let name = format!("{PREFIX}{snapshot_id}/manifest.json");
        let (path, text) = match &self.remote {
            Some(remote) => {
                let path = PathBuf::from(format!("{}/{name}", remote.url()));
                let gone = || Error::Damaged { path: path.clone(), why: "is not there".into() };
                (path.clone(), remote.get(&name)?.ok_or_else(gone)?.to_vec())
            }
            None => {
                let path = self.root.join(name);
                let text = fs::read(&path).map_err(Error::io("can't read", &path))?;
                (path, text)
            }
        };
        serde_json::from_slice(&text)
            .map_err(|e| Error::Damaged { path, why: format!("not a manifest: {e}") })
    }

    /// Path of a snapshot's file on this machine; from an object store it is fetched first, unless it was.
    ///
    /// # Errors
    /// [`Error::Store`], [`Error::Io`], [`Error::Damaged`].
    pub fn file(&self, manifest: &Manifest, file: &FileEntry) -> Result<PathBuf, Error> {
        match &self.remote {
            Some(remote) => {
                let name = format!("{PREFIX}{}/{}", manifest.snapshot_id, file.path);
                remote::cached(remote, &self.root.join(CACHE), &name, &file.sha256)
            }
            None => Ok(self.snapshot_folder(&manifest.snapshot_id).join(&file.path)),
        }
    }

    /// DuckDB views over a snapshot, to be run in the folder that [`Lake::root`] names; over all snapshots too, if
    /// they are on this machine.
    ///
    /// # Errors
    /// Those of [`Lake::file`].
    pub fn views(&self, manifest: &Manifest) -> Result<String, Error> {
        if self.remote.is_none() {
            return Ok(views::sql(manifest, ""));
        }
        let mut paths = BTreeMap::new();
        for (name, table) in &manifest.tables {
            if let Some(file) = views::preferred(table) {
                paths.insert(name.as_str(), (self.file(manifest, file)?, file.format.as_str()));
            }
        }
        Ok(views::of_files(&paths))
    }

    /// Reads a snapshot again and compares it with its manifest.
    ///
    /// # Errors
    /// [`Error::Io`] if there is no room for a copy of what a store holds.
    pub fn verify(&self, manifest: &Manifest) -> Result<Vec<Damage>, Error> {
        let snapshot_id = &manifest.snapshot_id;
        let folder = self.snapshot_folder(snapshot_id);
        let mut damages = Vec::new();
        for table in manifest.tables.values() {
            for file in &table.files {
                let checked = match &self.remote {
                    None => verify_file(&folder.join(&file.path), file, table.rows),
                    Some(remote) => {
                        // Not from the cache: what the store holds is asked about.
                        let copy =
                            tempfile::NamedTempFile::new().map_err(Error::io("can't write", "a file"))?;
                        let fetched =
                            remote.download(&format!("{PREFIX}{snapshot_id}/{}", file.path), copy.path());
                        match fetched {
                            Ok(()) => verify_file(copy.path(), file, table.rows),
                            Err(e) => Err(format!("can't be read: {e}")),
                        }
                    }
                };
                if let Err(what) = checked {
                    damages.push(Damage { file: file.path.clone(), what });
                }
            }
        }
        Ok(damages)
    }

    /// For each readable snapshot why it is kept; nothing for one that may go. The newest that holds a table whole
    /// stays, and so does what a journal builds on: an unfinished crawl's, or one that was kept beside a snapshot
    /// that stays.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::Store`].
    pub fn prune_plan(
        &self,
        policy: &Policy,
        tables: impl IntoIterator<Item = &'static Table>,
    ) -> Result<BTreeMap<String, Vec<String>>, Error> {
        let manifests = self.manifests()?;
        let mut plan = policy.reasons(&manifests.readable);
        let mut held: BTreeMap<String, Vec<&str>> = BTreeMap::new();
        for table in tables {
            if let Some(manifest) = manifests.newest_for(table.name) {
                held.entry(manifest.snapshot_id.clone()).or_default().push(table.name);
            }
        }
        for (id, names) in held {
            let reasons = plan.entry(id).or_default();
            if !reasons.iter().any(|why| why == LATEST) {
                reasons.push(match names.as_slice() {
                    [a] => format!("newest that holds {a}"),
                    [a, b] => format!("newest that holds {a} and {b}"),
                    _ => format!("newest that holds {} and {} more tables", names[0], names.len() - 1),
                });
            }
        }
        for (id, path) in self.journals()? {
            let is_gone = plan.get(&id).is_some_and(Vec::is_empty);
            let base = Journal::open(&path).ok().and_then(|journal| journal.header().base_snapshot.clone());
            if let Some(reasons) = base.filter(|_| !is_gone).and_then(|base| plan.get_mut(&base)) {
                reasons.push(match manifests.get(&id) {
                    Some(_) => format!("the kept journal of {id} builds on it"),
                    None => "an unfinished crawl builds on it".into(),
                });
            }
        }
        Ok(plan)
    }

    /// Removes a snapshot and its journal: it disappears in one step, then its files go.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::Store`].
    pub fn remove(&self, snapshot_id: &str) -> Result<(), Error> {
        // Before the snapshot: a journal without its snapshot is taken for an unfinished crawl.
        let journal = self.journal_path(snapshot_id);
        match fs::remove_file(&journal) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
                return Err(Error::Io { what: "can't remove", path: journal, source: e });
            }
            _ => {}
        }
        if let Some(remote) = &self.remote {
            remote.delete(&[format!("{JOURNALS}/{snapshot_id}.{}", journal::EXTENSION)])?;
        }
        if let Some(remote) = &self.remote {
            // Without its manifest it is no snapshot any more.
            remote.delete(&[format!("{PREFIX}{snapshot_id}/manifest.json")])?;
            return self.remove_objects(remote, snapshot_id);
        }
        let (folder, aside) =
            (self.snapshot_folder(snapshot_id), self.root.join(format!("{STAGING}removed-{snapshot_id}")));
        fs::rename(&folder, &aside).map_err(Error::io("can't remove", &folder))?;
        sync_folder(&self.root)?;
        fs::remove_dir_all(&aside).map_err(Error::io("can't remove", &aside))
    }

    fn remove_objects(&self, remote: &Remote, snapshot_id: &str) -> Result<(), Error> {
        let objects = remote.list(&format!("{PREFIX}{snapshot_id}"))?;
        remote.delete(&objects.into_iter().map(|object| object.name).collect::<Vec<_>>())
    }

    /// Takes a snapshot's name for this machine: false if another one is building a snapshot of this name. On a
    /// local path the lock sees to that.
    ///
    /// # Errors
    /// [`Error::Store`], [`Error::Io`].
    pub fn claim(&self, snapshot_id: &str) -> Result<bool, Error> {
        let Some(remote) = &self.remote else { return Ok(true) };
        remote.create(&claim_name(snapshot_id), self.holder()?.as_bytes())
    }

    /// Who this machine's folder is, in claims.
    fn holder(&self) -> Result<String, Error> {
        let path = self.root.join("holder");
        match fs::read_to_string(&path) {
            Ok(text) if !text.is_empty() => Ok(text),
            _ => {
                let text = uuid::Uuid::new_v4().to_string();
                write_durably(&path, text.as_bytes())?;
                Ok(text)
            }
        }
    }

    /// Removes what interrupted exports left in the object store: those of this machine, but for the snapshot
    /// that goes on, and those of others that nobody has touched for days.
    ///
    /// # Errors
    /// [`Error::Store`], [`Error::Io`].
    pub fn clean(&self, going_on: Option<&str>) -> Result<(), Error> {
        let Some(remote) = &self.remote else { return Ok(()) };
        let holder = self.holder()?;
        let committed = self.snapshots()?;
        for claim in remote.list(CLAIMS)? {
            let Some(id) = claim.name.rsplit('/').next().and_then(|name| name.strip_suffix(".json")) else {
                continue;
            };
            let is_ours = || -> Result<bool, Error> {
                Ok(remote.get(&claim.name)?.is_some_and(|text| text == holder.as_bytes()))
            };
            let is_old = Utc::now() - claim.written > ABANDONED;
            if going_on == Some(id) || !(is_old || is_ours()?) {
                continue;
            }
            if !committed.iter().any(|of| of == id) {
                self.remove_objects(remote, id)?;
            }
            remote.delete(std::slice::from_ref(&claim.name))?;
        }
        Ok(())
    }

    /// Begins a snapshot: an empty folder beside the others that no reader looks at. What an interrupted
    /// export left there is removed.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn stage(&self, snapshot_id: &str) -> Result<Staging, Error> {
        for entry in fs::read_dir(&self.root).map_err(Error::io("can't read", &self.root))? {
            let path = entry.map_err(Error::io("can't read", &self.root))?.path();
            if path.file_name().is_some_and(|n| n.to_string_lossy().starts_with(STAGING)) {
                fs::remove_dir_all(&path).map_err(Error::io("can't remove", &path))?;
            }
        }
        let folder = self.root.join(format!("{STAGING}{snapshot_id}"));
        fs::create_dir(&folder).map_err(Error::io("can't create", &folder))?;
        Ok(Staging { lake: self.clone(), folder, snapshot_id: snapshot_id.to_owned() })
    }
}

/// A file of a snapshot that is not what the manifest says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Damage {
    /// Name within the snapshot's folder.
    pub file: String,
    /// What is wrong.
    pub what: String,
}

/// Whether something at the top of a destination is hexport's.
fn is_ours(name: &str) -> bool {
    ["latest.json", "views.sql", LOCK, JOURNALS, NOTES, CLAIMS, DELTA].contains(&name)
        || name.starts_with(PREFIX)
        || name.starts_with(STAGING)
}

fn claim_name(snapshot_id: &str) -> String {
    format!("{CLAIMS}/{snapshot_id}.json")
}

/// Reads a file to its end and compares it with what the manifest says.
fn verify_file(path: &Path, entry: &FileEntry, rows: u64) -> Result<(), String> {
    let mut file = File::open(path).map_err(|e| format!("can't be read: {e}"))?;
    let (bytes, sha256) = digest(&mut file).map_err(|e| format!("can't be read: {e}"))?;
    if bytes != entry.bytes {
        return Err(format!("has {bytes} bytes, and should have {}", entry.bytes));
    }
    if sha256 != entry.sha256 {
        return Err("has another SHA-256 than the manifest says".into());
    }
    if entry.format == "parquet" {
        let reader = SerializedFileReader::new(file).map_err(|e| format!("is not Parquet: {e}"))?;
        let found = reader.metadata().file_metadata().num_rows();
        if found != rows as i64 {
            return Err(format!("has {found} rows, and should have {rows}"));
        }
    }
    Ok(())
}

impl Drop for LakeLock {
    fn drop(&mut self) {
        // Removed while it is still held: who opened it meanwhile finds that the path is not its file's.
        let _ = fs::remove_file(&self.path);
        let _ = self.file.unlock();
    }
}

impl Staging {
    /// Where the files go.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Commits: the folder gets its name in one step, then the pointer and the views follow.
    ///
    /// # Errors
    /// [`Error::Io`]. Before the rename nothing is visible; after it the snapshot is committed, and a pointer
    /// that could not be written is written by the next export.
    pub fn commit(self, manifest: &Manifest) -> Result<String, Error> {
        let text = serde_json::to_vec_pretty(manifest).unwrap_or_default();
        if let Some(remote) = &self.lake.remote {
            return self.commit_to(remote, manifest, &text);
        }
        write_durably(&self.folder.join("manifest.json"), &text)?;
        sync_folder(&self.folder)?;
        let target = self.lake.snapshot_folder(&self.snapshot_id);
        if target.exists() {
            // A snapshot that is built again: the two change places, so that one of them is always there.
            let exchange = rustix::fs::RenameFlags::EXCHANGE;
            let (from, to) = (&self.folder, &target);
            rustix::fs::renameat_with(rustix::fs::CWD, from, rustix::fs::CWD, to, exchange)
                .map_err(|e| Error::Io { what: "can't replace", path: target.clone(), source: e.into() })?;
            fs::remove_dir_all(&self.folder).map_err(Error::io("can't remove", &self.folder))?;
        } else {
            fs::rename(&self.folder, &target).map_err(Error::io("can't commit", &target))?;
        }
        sync_folder(&self.lake.root)?;
        self.lake.point_at(manifest)?;
        Ok(target.display().to_string())
    }

    /// Commits to an object store: the files, then the manifest if there is none yet, then the pointer.
    fn commit_to(&self, remote: &Remote, manifest: &Manifest, text: &[u8]) -> Result<String, Error> {
        let folder = format!("{PREFIX}{}", self.snapshot_id);
        let name = format!("{folder}/manifest.json");
        let place = format!("{}/{folder}", remote.url());
        let taken = || Error::Taken { place: place.clone() };
        if remote.get(&name)?.is_some() || !self.lake.claim(&self.snapshot_id)? {
            return Err(taken());
        }
        // Written again, so that nobody takes it for abandoned while the files go up.
        remote.put(&claim_name(&self.snapshot_id), self.lake.holder()?.into_bytes())?;
        let files: Vec<&FileEntry> = manifest.tables.values().flat_map(|table| &table.files).collect();
        let pairs = files.iter().map(|f| (self.folder.join(&f.path), format!("{folder}/{}", f.path)));
        remote.upload(pairs.collect())?;
        if !remote.create(&name, text)? {
            return Err(taken());
        }
        self.lake.point_at(manifest)?;
        remote.delete(&[claim_name(&self.snapshot_id)])?;
        // What the next export compares with is here already.
        let cache = self.lake.root.join(CACHE);
        let _ = fs::remove_dir_all(&cache);
        fs::create_dir_all(&cache).map_err(Error::io("can't create", &cache))?;
        for file in files {
            let (from, to) = (self.folder.join(&file.path), cache.join(&file.sha256));
            fs::rename(&from, &to).map_err(Error::io("can't keep", &from))?;
        }
        fs::remove_dir_all(&self.folder).map_err(Error::io("can't remove", &self.folder))?;
        Ok(place)
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
        let has_views = self.remote.is_some() || self.root.join("views.sql").exists();
        match self.pointer()? {
            Some(pointer) if pointer.snapshot_id == manifest.snapshot_id && has_views => Ok(()),
            _ => self.point_at(&manifest),
        }
    }

    /// What `latest.json` says; `None` if it isn't there or can't be understood.
    pub(super) fn pointer(&self) -> Result<Option<Latest>, Error> {
        let text = match &self.remote {
            Some(remote) => remote.get("latest.json")?.map(|text| text.to_vec()),
            None => fs::read(self.root.join("latest.json")).ok(),
        };
        Ok(text.and_then(|text| serde_json::from_slice(&text).ok()))
    }

    /// Points `latest.json` and `views.sql` at a snapshot, unless they point at a newer one that is there.
    fn point_at(&self, manifest: &Manifest) -> Result<(), Error> {
        let path = format!("{PREFIX}{}", manifest.snapshot_id);
        let latest = Latest {
            snapshot_id: manifest.snapshot_id.clone(),
            sequence: manifest.sequence,
            manifest: format!("{path}/manifest.json"),
            path,
            committed_at: manifest.committed_at,
        };
        let text = serde_json::to_vec_pretty(&latest).unwrap_or_default();
        // The pointer before the manifests: what it names was committed before it was written.
        let there = self.pointer()?;
        let known = self.manifests()?;
        let gone = there.as_ref().map(|there| there.snapshot_id.clone()).filter(|id| known.get(id).is_none());
        let ours = (latest.sequence.unwrap_or(0), latest.snapshot_id.clone());
        let is_newer = move |there: &Latest| {
            let order = |id: &String| (there.sequence.unwrap_or(0), id.clone());
            gone.as_ref() != Some(&there.snapshot_id) && order(&there.snapshot_id) > ours
        };
        if there.is_some_and(|there| is_newer(&there)) {
            return Ok(());
        }
        if let Some(remote) = &self.remote {
            remote.put("views.sql", views::sql(manifest, &format!("{}/", remote.url())).into_bytes())?;
            // Another export may have committed a newer one in the meantime.
            return remote.change("latest.json", move |there| {
                let there = there.and_then(|text| serde_json::from_slice::<Latest>(text).ok());
                (!there.is_some_and(|there| is_newer(&there))).then(|| text.clone())
            });
        }
        replace_durably(&self.root.join("views.sql"), views::sql(manifest, "").as_bytes())?;
        replace_durably(&self.root.join("latest.json"), &text)?;
        sync_folder(&self.root)
    }
}

/// Notes beside the snapshots: what has to be known the next time.
impl Lake {
    /// A note; `None` if there is none of this name.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn note(&self, name: &str) -> Result<Option<Vec<u8>>, Error> {
        if let Some(remote) = &self.remote {
            return Ok(remote.get(&format!("{NOTES}/{name}"))?.map(|text| text.to_vec()));
        }
        let path = self.root.join(NOTES).join(name);
        match fs::read(&path) {
            Ok(text) => Ok(Some(text)),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(Error::Io { what: "can't read", path, source }),
        }
    }

    /// Keeps a note, in place of the one of this name.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn set_note(&self, name: &str, text: &[u8]) -> Result<(), Error> {
        if let Some(remote) = &self.remote {
            return remote.put(&format!("{NOTES}/{name}"), text.to_vec());
        }
        let folder = self.root.join(NOTES);
        fs::create_dir_all(&folder).map_err(Error::io("can't create", &folder))?;
        replace_durably(&folder.join(name), text)
    }
}

fn write_durably(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    let write = || -> std::io::Result<()> {
        let mut file = File::create(path)?;
        file.write_all(bytes)?;
        file.sync_all()
    };
    write().map_err(Error::io("can't write", path))
}

fn replace_durably(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    let beside = path.with_extension("tmp");
    write_durably(&beside, bytes)?;
    fs::rename(&beside, path).map_err(Error::io("can't replace", path))
}

fn sync_folder(path: &Path) -> Result<(), Error> {
    File::open(path).and_then(|f| f.sync_all()).map_err(Error::io("can't sync", path))
}

fn is_same_file(file: &File, path: &Path) -> bool {
    let ids = |meta: fs::Metadata| (meta.dev(), meta.ino());
    file.metadata().map(ids).ok() == fs::metadata(path).map(ids).ok()
}

/// Whether a folder can be written to, found out by making a file in it that has no name afterwards.
fn probe(folder: &Path) -> std::io::Result<()> {
    tempfile::tempfile_in(folder).map(|_| ())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_lock_names_the_first_and_a_dropped_one_is_free() {
        let dir = tempfile::tempdir().unwrap();
        let lake = Lake::new(dir.path().join("lake"));
        let first = lake.lock().unwrap();
        let error = lake.lock().unwrap_err().to_string();
        assert!(error.contains(&std::process::id().to_string()), "{error}");
        drop(first);
        lake.lock().unwrap();
    }

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
    fn snapshot_ids_sort_by_time_and_fit_paths() {
        let at = "2026-11-24T02:00:09.5Z".parse().unwrap();
        assert_eq!(snapshot_id(at), "2026-11-24T020009Z");
    }
}
