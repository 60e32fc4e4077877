//! Forgetting a person: a pseudonym replaces their address in everything that a lake holds, for good. It replaces their
//! name as well where a row or an object has both, and a column is declared to hold the name of the person with the
//! address: a name on its own may be anybody's.
//!
//! The list of forgotten people comes first, so that whatever is written from then on has pseudonyms. A snapshot's
//! new files are written under `_state/forget/ID/`, and its new manifest after them: from then on the change happens,
//! whoever is killed. They are copied over the old ones, the manifest last. Whoever takes the lock of the lake
//! next finishes what was begun; what was not begun, the next `hexport forget` does.

mod files;
mod find;
mod pseudonyms;

use std::collections::BTreeMap;
use std::fs;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::error::ArrowError;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::lake::{CACHE, JOURNALS, MANIFEST, NOTES, file_name, folder_of};
use super::manifest::{FileEntry, Manifest};
use super::{Error, Flaw, Lake, SnapshotId};
use crate::journal::{EXTENSION, Journal};
use crate::schema::Table;
use crate::store::scratch;

use files::Change;
pub use find::Named;
use pseudonyms::List;
pub use pseudonyms::{DOMAIN, KEY, Key, KeyFlaw, Pseudonyms};

/// Gives the declaration of the table of a name.
pub type TableOf = fn(&str) -> Option<&'static Table>;

/// The list of forgotten people.
const LIST: &str = "_state/forgotten.json";
/// Note that exists only while people are being forgotten.
const GOING_ON: &str = "_state/forgetting.json";
/// New files of snapshots.
const NEW: &str = "_state/forget";

/// Entry in a snapshot's manifest for a person who was forgotten after its commit.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ForgottenEntry {
    /// When.
    pub at: DateTime<Utc>,
    /// Pseudonym that stands for the person's address.
    pub pseudonym: String,
    /// Tables in which the address was.
    pub tables: Vec<String>,
}

/// Result of forgetting a person.
#[derive(Debug, Default)]
pub struct Forgotten {
    /// The person's pseudonym.
    pub pseudonym: String,
    /// Rewritten tables, by snapshot.
    pub snapshots: BTreeMap<SnapshotId, Vec<String>>,
    /// Rewritten Delta tables.
    pub delta: Vec<String>,
    /// Rewritten journals.
    pub journals: Vec<String>,
    /// Rewritten notes.
    pub notes: Vec<String>,
    /// Files that could not be read, and so may still name the person.
    pub left: Vec<String>,
}

impl Pseudonyms {
    /// A batch of a table with pseudonyms; `None` if nobody forgotten is in it.
    ///
    /// # Errors
    /// If the columns don't fit the schema, which would be a bug.
    pub fn batch(&self, table: &Table, batch: &RecordBatch) -> Result<Option<RecordBatch>, ArrowError> {
        if self.is_empty() {
            return Ok(None);
        }
        self.change(Some(table), |change| Ok(files::batch(batch, change)?.map(|(batch, _)| batch)))
    }

    /// Uses what becomes of the texts of a table, if it is one that this version knows.
    fn change<T>(&self, table: Option<&Table>, using: impl FnOnce(&Change<'_>) -> T) -> T {
        let names = table.into_iter().flat_map(Table::names).collect();
        let (text, name) = (|text: &str| self.replace_text(text), |address: &str| self.name_beside(address));
        using(&Change { text: &text, name: &name, names })
    }

    /// A manifest with pseudonyms: it names who the token acted as.
    pub fn manifest(&self, manifest: Manifest) -> Manifest {
        let text = serde_json::to_string(&manifest).expect("a manifest is JSON");
        let new = self.replace_json(&text).and_then(|text| serde_json::from_str(&text).ok());
        match new {
            // Where a file is taken from isn't in the text.
            Some(new) => Manifest { tables: manifest.tables, ..new },
            None => manifest,
        }
    }
}

impl Lake {
    /// The people that the lake must not name.
    ///
    /// # Errors
    /// [`Error::Pseudonyms`] if there are some, and the key isn't in the environment or is another one.
    pub fn pseudonyms(&self) -> Result<Arc<Pseudonyms>, Error> {
        let Some(list) = self.list()?.filter(|list| !list.addresses.is_empty()) else {
            return Ok(Arc::default());
        };
        let key = std::env::var(KEY).ok().filter(|key| !key.is_empty());
        let key = key.ok_or_else(|| KeyFlaw::Missing {
            people: list.addresses.len(),
            lake: self.name().to_string(),
        })?;
        let key = Key::new(&key)?;
        self.check_key(&list, &key)?;
        Ok(Arc::new(Pseudonyms::new(key, list)))
    }

    fn check_key(&self, list: &List, key: &Key) -> Result<(), Error> {
        if list.is_of(key) {
            return Ok(());
        }
        Err(KeyFlaw::Other { lake: self.name().to_string() }.into())
    }

    fn list(&self) -> Result<Option<List>, Error> {
        let Some(text) = self.store().get(LIST)? else { return Ok(None) };
        let damaged = |source| Flaw::Note { what: "a list of forgotten people", source }.of(LIST);
        serde_json::from_slice(&text).map(Some).map_err(damaged)
    }

    /// Whether a forget was started and not finished.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::Store`].
    pub fn is_forgetting(&self) -> Result<bool, Error> {
        Ok(self.store().get(GOING_ON)?.is_some())
    }

    /// Replaces a person's address by a pseudonym in all snapshots, Delta tables, journals and notes, and the name where it
    /// stands beside the address, and notes that they must not come back. `table` gives the declaration of a table.
    /// The lock is held by the caller.
    ///
    /// # Errors
    /// [`Error::Pseudonyms`] for a wrong key; [`Error::Io`], [`Error::Store`]. What was done by then stays done, and
    /// the same call does the rest.
    pub fn forget(
        &self,
        address: &str,
        key: &Key,
        at: DateTime<Utc>,
        table: TableOf,
    ) -> Result<Forgotten, Error> {
        let mut list = self.list()?.unwrap_or_else(|| List::new(key));
        self.check_key(&list, key)?;
        list.add(key, address, at);
        self.store().put(GOING_ON, b"{}")?;
        self.store().put(LIST, &serde_json::to_vec_pretty(&list).expect("a list is JSON"))?;
        let people = Arc::new(Pseudonyms::new(key.clone(), list));
        let pseudonym = people.of(address).unwrap_or_default();
        let mut done = Forgotten { pseudonym, ..Forgotten::default() };
        self.clean(None)?;
        let manifests = self.manifests()?;
        for damaged in &manifests.damaged {
            done.left.push(format!("{}: {}", folder_of(&damaged.snapshot_id), damaged.error));
        }
        for manifest in &manifests.readable {
            let tables = self.forget_in(manifest, &people, (at, table), &mut done)?;
            if !tables.is_empty() {
                done.snapshots.insert(manifest.snapshot_id.clone(), tables);
            }
        }
        self.forget_in_delta(&people, table, &mut done)?;
        self.forget_in_journals(&people, &mut done)?;
        for object in self.store().list(&format!("{NOTES}/"))? {
            if [LIST, GOING_ON].contains(&object.name.as_str()) {
                continue;
            }
            let text = self.store().get(&object.name)?.unwrap_or_default();
            if let Some(new) = people.replace_json(&String::from_utf8_lossy(&text)) {
                self.store().put(&object.name, new.as_bytes())?;
                done.notes.push(object.name);
            }
        }
        if self.store().is_shared() {
            let _ = fs::remove_dir_all(self.root().join(CACHE));
        }
        if done.left.is_empty() {
            self.store().delete(&[GOING_ON.to_owned()])?;
        }
        Ok(done)
    }

    /// Forgets in one snapshot. Returns the rewritten tables.
    fn forget_in(
        &self,
        manifest: &Manifest,
        people: &Arc<Pseudonyms>,
        (at, table_of): (DateTime<Utc>, TableOf),
        done: &mut Forgotten,
    ) -> Result<Vec<String>, Error> {
        let id = &manifest.snapshot_id;
        let staging = self.stage(id)?;
        // Manifests of earlier versions have no sequence, and get none here.
        let mut new = self.manifest(id)?;
        let (mut uploads, mut tables) = (Vec::new(), Vec::new());
        for (name, table) in &mut new.tables {
            let mut is_changed = false;
            for file in &mut table.files {
                let to = staging.folder().join(&file.path);
                let written = match self.local_copy(manifest, file) {
                    Ok(from) => people.change(table_of(name), |change| match file.format.as_str() {
                        "parquet" => files::parquet(from.path(), &to, change),
                        _ => files::csv(from.path(), &to, change),
                    }),
                    Err(e) => Err(e),
                };
                match written {
                    Ok(None) => {}
                    Ok(Some(written)) => {
                        (file.bytes, file.sha256) = (written.bytes, written.sha256);
                        uploads.push((to, format!("{NEW}/{id}/{}", file.path)));
                        is_changed = true;
                    }
                    Err(error @ (Error::Damaged { .. } | Error::Io { .. })) if !is_full(&error) => {
                        done.left.push(error.to_string());
                    }
                    Err(error) => return Err(error),
                }
            }
            if is_changed {
                tables.push(name.clone());
            }
        }
        let text = serde_json::to_string(&new).expect("a manifest is JSON");
        let replaced = people.replace_json(&text);
        if uploads.is_empty() && replaced.is_none() {
            return Ok(tables);
        }
        if let Some(text) = replaced {
            new = serde_json::from_str(&text).expect("a manifest with another address is a manifest");
        }
        new.forgotten.push(ForgottenEntry { at, pseudonym: done.pseudonym.clone(), tables: tables.clone() });
        self.store().upload(&uploads)?;
        let text = serde_json::to_vec_pretty(&new).expect("a manifest is JSON");
        self.store().put(&format!("{NEW}/{id}/{MANIFEST}"), &text)?;
        self.finish_forgetting()?;
        Ok(tables)
    }

    /// A snapshot's file on this machine, as the destination has it now.
    fn local_copy(&self, manifest: &Manifest, file: &FileEntry) -> Result<Copied, Error> {
        let name = file_name(manifest, file);
        match self.store().folder() {
            Some(folder) => Ok(Copied::There(folder.join(name))),
            None => {
                let scratch = scratch()?;
                self.store().download(&name, &scratch.path().join("copy"))?;
                Ok(Copied::Fetched(scratch.path().join("copy"), scratch))
            }
        }
    }

    /// Puts new files of snapshots in their places, where they are all there. The lock is held by the caller.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::Store`].
    pub(super) fn finish_forgetting(&self) -> Result<(), Error> {
        let mut snapshots: BTreeMap<SnapshotId, Vec<String>> = BTreeMap::new();
        for object in self.store().list(&format!("{NEW}/"))? {
            let parts: Vec<&str> = object.name.split('/').collect();
            if let [_, _, id, file] = parts[..]
                && let Ok(id) = id.parse()
            {
                snapshots.entry(id).or_default().push(file.to_owned());
            }
        }
        for (id, files) in snapshots {
            let new = |file: &str| format!("{NEW}/{id}/{file}");
            let manifest = format!("{}/{MANIFEST}", folder_of(&id));
            // Without a manifest, not all files are there; without the snapshot, it was removed.
            let is_whole = files.iter().any(|file| file == MANIFEST);
            if is_whole && self.store().get(&manifest)?.is_some() {
                let scratch = scratch()?;
                let mut uploads = Vec::new();
                for file in files.iter().filter(|file| *file != MANIFEST) {
                    let copy = scratch.path().join(file);
                    self.store().download(&new(file), &copy)?;
                    uploads.push((copy, format!("{}/{file}", folder_of(&id))));
                }
                self.store().upload(&uploads)?;
                // One that has gone meanwhile must not empty the snapshot's.
                if let Some(text) = self.store().get(&new(MANIFEST))? {
                    self.store().put(&manifest, &text)?;
                }
            }
            // The manifest last: what a second kill leaves is found again.
            let mut names: Vec<String> = files.iter().map(|file| new(file)).collect();
            names.sort_by_key(|name| name.ends_with(MANIFEST));
            self.store().delete(&names)?;
            if let Some(folder) = self.store().folder() {
                let _ = fs::remove_dir(folder.join(format!("{NEW}/{id}")));
                let _ = fs::remove_dir(folder.join(NEW));
            }
        }
        Ok(())
    }

    fn forget_in_journals(&self, people: &Pseudonyms, done: &mut Forgotten) -> Result<(), Error> {
        self.fetch_journals()?;
        let kept: Vec<String> =
            self.store().list(&format!("{JOURNALS}/"))?.into_iter().map(|object| object.name).collect();
        for (id, path) in self.journals()? {
            match Journal::rewrite(&path, &|text| people.replace_json(text)) {
                Ok(false) => {}
                Ok(true) => {
                    let name = format!("{JOURNALS}/{id}.{EXTENSION}");
                    if self.store().is_shared() && kept.contains(&name) {
                        self.store().upload(&[(path, name)])?;
                    }
                    done.journals.push(id.into());
                }
                Err(error) => done.left.push(error.to_string()),
            }
        }
        Ok(())
    }

    #[cfg(feature = "delta")]
    fn forget_in_delta(
        &self,
        people: &Arc<Pseudonyms>,
        table_of: TableOf,
        done: &mut Forgotten,
    ) -> Result<(), Error> {
        for table in self.delta_tables()? {
            match super::delta::forget(self, &table, people, table_of(&table)) {
                Ok(true) => done.delta.push(table),
                Ok(false) => {}
                Err(error @ (Error::Delta { .. } | Error::Damaged { .. })) => {
                    done.left.push(error.to_string())
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    #[cfg(not(feature = "delta"))]
    fn forget_in_delta(
        &self,
        _people: &Arc<Pseudonyms>,
        _table_of: TableOf,
        done: &mut Forgotten,
    ) -> Result<(), Error> {
        let tables = self.delta_tables()?.into_iter();
        done.left.extend(tables.map(|table| {
            format!("Delta table {table}: this hexport was built without Delta Lake and can't rewrite it")
        }));
        Ok(())
    }
}

/// A file on this machine; one that was fetched goes with its folder.
enum Copied {
    There(std::path::PathBuf),
    Fetched(std::path::PathBuf, #[allow(dead_code)] tempfile::TempDir),
}

impl Copied {
    fn path(&self) -> &std::path::Path {
        match self {
            Copied::There(path) | Copied::Fetched(path, _) => path,
        }
    }
}

/// Whether the disk is at fault, and not the file.
fn is_full(error: &Error) -> bool {
    let Error::Io { source, .. } = error else { return false };
    use std::io::ErrorKind as K;
    matches!(source.kind(), K::StorageFull | K::QuotaExceeded | K::ReadOnlyFilesystem)
}

/// Rewrites a Parquet file that is somewhere else than in a snapshot.
#[cfg(feature = "delta")]
pub(super) fn parquet_again(
    from: &std::path::Path,
    to: &std::path::Path,
    people: &Pseudonyms,
    table: Option<&Table>,
) -> Result<Option<String>, Error> {
    let written = people.change(table, |change| files::parquet(from, to, change))?;
    Ok(written.map(|written| written.sha256))
}
