//! Reading snapshots again, to compare them with their manifests.

use std::collections::HashMap;
use std::fs::File;
use std::path::Path;

use parquet::file::reader::{FileReader, SerializedFileReader};

use super::lake::{JOURNALS, MANIFEST, PREFIX, STAGING, file_name, folder_of, is_noise, is_ours};
use super::manifest::{FileEntry, Manifest};
use super::writer::digest;
use super::{Error, Lake, Manifests, SnapshotId};
use crate::journal::EXTENSION;
use crate::store::scratch;

/// Something in a destination that is not what it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Damage {
    /// Name of the file: of a snapshot's, within its folder.
    pub file: String,
    /// Reason.
    pub what: String,
}

impl Lake {
    /// Reads a snapshot again and compares it with its manifest. Files that the manifest doesn't name are damage too.
    ///
    /// # Errors
    /// [`Error::Io`] if there is no room for a copy of what a store holds; [`Error::Store`].
    pub fn verify(&self, manifest: &Manifest) -> Result<Vec<Damage>, Error> {
        let mut damages = Vec::new();
        for table in manifest.tables.values() {
            for file in &table.files {
                if let Err(what) = self.verify_one(manifest, file, table.rows)? {
                    damages.push(Damage { file: file.path.clone(), what });
                }
            }
        }
        let folder = format!("{}/", folder_of(&manifest.snapshot_id));
        let named = |name: &str| {
            name == MANIFEST || manifest.tables.values().flat_map(|t| &t.files).any(|f| f.path == name)
        };
        for object in self.store().list(&folder)? {
            let name = object.name.trim_start_matches(&folder);
            if !named(name) && !is_noise(name) {
                let what = "isn't in the manifest, but readers that list files would read it".into();
                damages.push(Damage { file: name.to_owned(), what });
            }
        }
        Ok(damages)
    }

    fn verify_one(
        &self,
        manifest: &Manifest,
        file: &FileEntry,
        rows: u64,
    ) -> Result<Result<(), String>, Error> {
        let name = file_name(manifest, file);
        if let Some(folder) = self.store().folder() {
            return Ok(verify_file(&folder.join(name), file, rows));
        }
        // Not from the cache: what the store holds is asked about.
        let scratch = scratch()?;
        let copy = scratch.path().join("copy");
        Ok(match self.store().download(&name, &copy) {
            Ok(()) => verify_file(&copy, file, rows),
            Err(e) => Err(format!("can't be read: {e}")),
        })
    }

    /// Damage outside the snapshots: the pointer, the views, leftovers, journals, foreign files.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::Store`] if it can't be listed.
    pub fn verify_rest(&self, manifests: &Manifests) -> Result<Vec<Damage>, Error> {
        let mut damages = Vec::new();
        let mut add = |file: &str, what: String| damages.push(Damage { file: file.to_owned(), what });
        if let Some(latest) = manifests.latest() {
            match self.pointer()? {
                Some(pointer) if pointer.snapshot_id == latest.snapshot_id => {}
                Some(pointer) => add(
                    "latest.json",
                    format!(
                        "names {}, but the newest snapshot is {}",
                        pointer.snapshot_id, latest.snapshot_id
                    ),
                ),
                None => {
                    add("latest.json", "is missing or can't be understood; the next export writes it".into())
                }
            }
            for name in ["views.sql", "history.sql"] {
                match self.store().get(name)? {
                    None => add(name, "is missing; the next export writes it".into()),
                    Some(text) => {
                        for gone in snapshots_in(&String::from_utf8_lossy(&text), manifests) {
                            add(name, format!("names the snapshot {gone}, which isn't there"));
                        }
                    }
                }
            }
        }
        for leftover in self.leftovers(None)? {
            let what = format!("{} files left over from a killed upload or removal", leftover.files.len());
            add(&folder_of(&leftover.snapshot_id), format!("{what}; the next export removes them"));
        }
        for name in self.store().top()? {
            if name.starts_with(STAGING) {
                add(
                    &name,
                    "is left over from an interrupted export or removal; the next export removes it".into(),
                );
            } else if let Some(Err(why)) = name.strip_prefix(PREFIX).map(str::parse::<SnapshotId>) {
                add(&name, format!("is not a snapshot: {why}"));
            } else if !is_ours(&name) && !is_noise(&name) {
                add(&name, "is not hexport's".into());
            }
        }
        if self.is_forgetting()? {
            add(
                "_state/forgetting.json",
                "forgetting a person was interrupted: run the same hexport forget again".into(),
            );
        }
        for (name, why) in self.damaged_journals()? {
            add(&name, why);
        }
        Ok(damages)
    }

    fn damaged_journals(&self) -> Result<Vec<(String, String)>, Error> {
        let mut found = Vec::new();
        for (id, path) in self.journals()? {
            if let Err(e) = crate::journal::Journal::open(&path) {
                found.push((format!("{JOURNALS}/{id}.{EXTENSION}"), e.to_string()));
            }
        }
        Ok(found)
    }

    /// Sizes of all files of snapshots, by name: what is there, found out by one list.
    pub(super) fn sizes(&self) -> Result<HashMap<String, u64>, Error> {
        let found = self.store().list(PREFIX)?;
        Ok(found.into_iter().map(|object| (object.name, object.bytes)).collect())
    }
}

/// Snapshots that views name and that aren't there.
fn snapshots_in(text: &str, manifests: &Manifests) -> Vec<SnapshotId> {
    let mut gone: Vec<SnapshotId> = text
        .split(PREFIX)
        .skip(1)
        // What can't name a snapshot is a pattern.
        .filter_map(|rest| rest.split('/').next()?.parse().ok())
        .filter(|id| manifests.get(id).is_none())
        .collect();
    gone.sort();
    gone.dedup();
    gone
}

/// Reads a file to its end and compares it with what the manifest says.
fn verify_file(path: &Path, entry: &FileEntry, rows: u64) -> Result<(), String> {
    let unreadable = |e: std::io::Error| format!("can't be read: {e}");
    let mut file = File::open(path).map_err(unreadable)?;
    let (bytes, sha256) = digest(&mut file).map_err(unreadable)?;
    if bytes != entry.bytes {
        return Err(format!("has {bytes} bytes instead of {}", entry.bytes));
    }
    if sha256 != entry.sha256 {
        return Err("doesn't have the SHA-256 of the manifest".into());
    }
    let found = match entry.format.as_str() {
        "parquet" => {
            let reader = SerializedFileReader::new(file).map_err(|e| format!("is not Parquet: {e}"))?;
            reader.metadata().file_metadata().num_rows() as u64
        }
        "csv" => {
            let input = File::open(path).map_err(unreadable)?;
            let mut reader = csv::Reader::from_reader(std::io::BufReader::new(input));
            let mut record = csv::ByteRecord::new();
            let mut count = 0;
            while reader.read_byte_record(&mut record).map_err(|e| format!("is not CSV: {e}"))? {
                count += 1;
            }
            count
        }
        _ => return Ok(()),
    };
    if found != rows {
        return Err(format!("has {found} rows instead of {rows}"));
    }
    Ok(())
}
