//! The snapshots of a lake in the order of their commits, and the newest that holds a table.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::PathBuf;

use super::lake::{MANIFEST, PREFIX, file_name, folder_of};
use super::manifest::{FileEntry, Manifest, TableEntry};
use super::{Error, Flaw, Lake, MANIFEST_VERSION, SnapshotId};
use crate::schema::Table;
use crate::tables::{self, CRAWL_COVERAGE};

/// A snapshot whose manifest can't be read.
#[derive(Debug)]
pub struct Unreadable {
    /// The snapshot.
    pub snapshot_id: SnapshotId,
    /// Reason that its manifest can't be read.
    pub error: Error,
}

/// The committed snapshots of a lake, as they were when it was looked at.
#[derive(Debug, Default)]
pub struct Manifests {
    /// Those that can be read, the oldest first. Each has a sequence.
    pub readable: Vec<Manifest>,
    /// Those that can't, by their identifiers. Nothing builds on them; `snapshots verify` names them, and
    /// `snapshots prune --damaged` removes them.
    pub damaged: Vec<Unreadable>,
    /// Sizes of the files that are there, by name.
    sizes: HashMap<String, u64>,
}

/// The newest of each table: what reading commands read.
#[derive(Debug, Clone)]
pub struct Newest {
    /// The manifest of the newest snapshot, with all tables that any snapshot holds whole: files of other snapshots
    /// name theirs.
    pub manifest: Manifest,
    /// Where it differs from the newest snapshot, and why, in words.
    pub notes: Vec<String>,
}

impl Manifests {
    /// Orders manifests by their sequence. Those of versions that gave none are numbered from 1 in the order of
    /// their identifiers, and come before the others.
    fn new(mut readable: Vec<Manifest>, damaged: Vec<Unreadable>) -> Self {
        readable.sort_by(|a, b| {
            let order = |m: &Manifest| (m.sequence.is_some(), m.sequence);
            order(a).cmp(&order(b)).then_with(|| a.snapshot_id.cmp(&b.snapshot_id))
        });
        for (number, manifest) in (1..).zip(readable.iter_mut().take_while(|m| m.sequence.is_none())) {
            manifest.sequence = Some(number);
        }
        Self { readable, damaged, sizes: HashMap::new() }
    }

    /// Whether a file is there, in its size.
    fn is_there(&self, manifest: &Manifest, file: &FileEntry) -> bool {
        self.sizes.get(&file_name(manifest, file)) == Some(&file.bytes)
    }

    /// The files of a table that are there; those of other snapshots than `home` name theirs.
    fn sound(&self, manifest: &Manifest, table: &TableEntry, home: &SnapshotId) -> Vec<FileEntry> {
        let own = (manifest.snapshot_id != *home).then(|| manifest.snapshot_id.clone());
        let files = table.files.iter().filter(|file| self.is_there(manifest, file));
        files.map(|file| FileEntry { snapshot: own.clone(), ..file.clone() }).collect()
    }

    /// The newest of each table; `None` if no snapshot can be read.
    pub fn newest_of_all(&self) -> Option<Newest> {
        self.compose(&self.readable)
    }

    /// The newest of each table as it was when a snapshot was committed; `None` if there is no such snapshot.
    pub fn as_of(&self, snapshot_id: &SnapshotId) -> Option<Newest> {
        let at = self.readable.iter().position(|m| m.snapshot_id == *snapshot_id)?;
        self.compose(&self.readable[..=at])
    }

    fn compose(&self, snapshots: &[Manifest]) -> Option<Newest> {
        let newest = snapshots.last()?;
        // An import holds few tables, by design: what is older than the last crawl is worth a word.
        let is_crawl = |manifest: &&Manifest| manifest.tables.contains_key(CRAWL_COVERAGE.name);
        let crawl = snapshots.iter().rev().find(is_crawl).unwrap_or(newest);
        let is_older = |manifest: &Manifest| manifest.order() < crawl.order();
        let names: BTreeSet<&String> = snapshots.iter().flat_map(|m| m.tables.keys()).collect();
        let mut tables = BTreeMap::new();
        let mut elsewhere: BTreeMap<&SnapshotId, Vec<&str>> = BTreeMap::new();
        let mut notes = Vec::new();
        for name in names {
            // Where no snapshot holds it whole, the newest rows are better than none.
            let whole = snapshots.iter().rev().filter(|m| m.holds_whole(name));
            let any = snapshots.iter().rev().filter(|m| !m.holds_whole(name));
            for manifest in whole.chain(any) {
                let Some(entry) = manifest.tables.get(name) else { continue };
                let files = self.sound(manifest, entry, &newest.snapshot_id);
                if files.is_empty() {
                    if !entry.files.is_empty() {
                        notes.push(format!("{name} of {} is damaged or missing", manifest.snapshot_id));
                    }
                    continue;
                }
                let is_split = tables::is_split(name);
                if is_older(manifest) && !is_split {
                    elsewhere.entry(&manifest.snapshot_id).or_default().push(name);
                }
                tables.insert(name.clone(), TableEntry { files, ..entry.clone() });
                break;
            }
            // Nothing of it is left: whoever needs it fails with the name of the file, and doesn't find it empty.
            if let Some(entry) = newest.tables.get(name) {
                tables.entry(name.clone()).or_insert_with(|| entry.clone());
            }
        }
        for (snapshot, names) in elsewhere.iter().rev() {
            notes.push(format!(
                "{} doesn't hold {} whole: read from {snapshot}",
                crawl.snapshot_id,
                in_words(names)
            ));
        }
        Some(Newest { manifest: Manifest { tables, ..newest.clone() }, notes })
    }

    /// The newest snapshot.
    pub fn latest(&self) -> Option<&Manifest> {
        self.readable.last()
    }

    /// The snapshot of this identifier, if it can be read.
    pub fn get(&self, snapshot_id: &SnapshotId) -> Option<&Manifest> {
        self.readable.iter().find(|m| m.snapshot_id == *snapshot_id)
    }

    /// The snapshots before one, the oldest first. Where it is gone, those whose identifiers are smaller.
    pub fn before(&self, snapshot_id: &SnapshotId) -> &[Manifest] {
        let at = match self.readable.iter().position(|m| m.snapshot_id == *snapshot_id) {
            Some(at) => at,
            None => self.readable.iter().rposition(|m| m.snapshot_id < *snapshot_id).map_or(0, |at| at + 1),
        };
        &self.readable[..at]
    }

    /// The newest snapshot that holds a table whole.
    pub fn newest_for(&self, table: &str) -> Option<&Manifest> {
        self.readable.iter().rev().find(|m| m.holds_whole(table))
    }

    /// For each table the newest snapshot that holds it whole.
    pub fn newest<'a>(
        &'a self,
        tables: &'a [&'static Table],
    ) -> impl Iterator<Item = (&'static Table, Option<&'a Manifest>)> {
        tables.iter().map(|table| (*table, self.newest_for(table.name)))
    }

    /// The damaged snapshots in words, for a warning; `None` if there are none.
    pub fn warning(&self) -> Option<String> {
        let first = self.damaged.first()?;
        let more = match self.damaged.len() - 1 {
            0 => String::new(),
            more => format!(", and {more} more"),
        };
        Some(format!(
            "the snapshot {} is damaged and left out ({}){more}; hexport snapshots prune --damaged removes it",
            first.snapshot_id, first.error
        ))
    }
}

/// A few names, and how many more there are.
fn in_words(names: &[&str]) -> String {
    match names {
        [] => String::new(),
        [one] => (*one).to_owned(),
        [first @ .., last] if names.len() <= 4 => format!("{} and {last}", first.join(", ")),
        _ => format!("{} and {} more tables", names[..3].join(", "), names.len() - 3),
    }
}

impl Lake {
    /// Committed snapshots, in the order of their names.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::Store`].
    pub fn snapshots(&self) -> Result<Vec<SnapshotId>, Error> {
        Ok(ids(&self.sizes()?))
    }

    /// The manifest of a snapshot.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::Store`], [`Error::Damaged`].
    pub fn manifest(&self, snapshot_id: &SnapshotId) -> Result<Manifest, Error> {
        let text = self.store().get(&format!("{}/{MANIFEST}", folder_of(snapshot_id)))?;
        self.parsed(snapshot_id, text)
    }

    fn parsed(&self, snapshot_id: &SnapshotId, text: Option<Vec<u8>>) -> Result<Manifest, Error> {
        let path = PathBuf::from(format!("{}/{}/{MANIFEST}", self.name(), folder_of(snapshot_id)));
        let Some(text) = text else {
            return Err(Flaw::Missing.of(path));
        };
        let manifest = match serde_json::from_slice::<Manifest>(&text) {
            Ok(manifest) => manifest,
            Err(e) => return Err(Flaw::Manifest(e).of(path)),
        };
        if manifest.snapshot_id != *snapshot_id {
            return Err(Flaw::OfAnother(manifest.snapshot_id).of(path));
        }
        match manifest.manifest_version {
            ..=MANIFEST_VERSION => Ok(manifest),
            later => Err(Flaw::Later(later).of(path)),
        }
    }

    /// The committed snapshots in the order of their commits; damaged ones apart.
    ///
    /// # Errors
    /// [`Error::Io`] or [`Error::Store`] if the destination itself can't be read.
    pub fn manifests(&self) -> Result<Manifests, Error> {
        let sizes = self.sizes()?;
        let ids = ids(&sizes);
        let names: Vec<String> = ids.iter().map(|id| format!("{}/{MANIFEST}", folder_of(id))).collect();
        // A store that can't be reached is no reason to take snapshots for damaged; a file that can't be read is.
        let texts: Vec<Result<Option<Vec<u8>>, Error>> = match self.store().is_shared() {
            true => self.store().get_all(&names)?.into_iter().map(Ok).collect(),
            false => names.iter().map(|name| self.store().get(name).map_err(Error::from)).collect(),
        };
        let (mut readable, mut damaged) = (Vec::new(), Vec::new());
        for (snapshot_id, text) in ids.into_iter().zip(texts) {
            match text.and_then(|text| self.parsed(&snapshot_id, text)) {
                Ok(manifest) => readable.push(manifest),
                Err(error) => damaged.push(Unreadable { snapshot_id, error }),
            }
        }
        Ok(Manifests { sizes, ..Manifests::new(readable, damaged) })
    }

    /// The newest snapshot that can be read, if there is one.
    ///
    /// # Errors
    /// Those of [`Lake::manifests`].
    pub fn latest(&self) -> Result<Option<Manifest>, Error> {
        Ok(self.manifests()?.readable.pop())
    }

    /// The newest snapshot that holds a table whole.
    ///
    /// # Errors
    /// Those of [`Lake::manifests`].
    pub fn newest_for(&self, table: &Table) -> Result<Option<Manifest>, Error> {
        Ok(self.manifests()?.newest_for(table.name).cloned())
    }

    /// The sequence of the next snapshot: one more than the highest committed. Damaged snapshots had one too.
    ///
    /// # Errors
    /// Those of [`Lake::manifests`].
    pub fn next_sequence(&self) -> Result<u64, Error> {
        let manifests = self.manifests()?;
        let highest = manifests.latest().and_then(|m| m.sequence).unwrap_or(0);
        let pointed = self.pointer()?.and_then(|pointer| pointer.sequence).unwrap_or(0);
        let count = (manifests.readable.len() + manifests.damaged.len()) as u64;
        Ok(highest.max(pointed).max(count) + 1)
    }

    /// The sequence of a snapshot that is about to be committed: its own if it is built again, else the next.
    ///
    /// # Errors
    /// Those of [`Lake::manifests`].
    pub fn sequence_for(&self, snapshot_id: &SnapshotId) -> Result<u64, Error> {
        match self.manifests()?.get(snapshot_id).and_then(|m| m.sequence) {
            Some(sequence) => Ok(sequence),
            None => self.next_sequence(),
        }
    }
}

/// Snapshots that have a manifest.
fn ids(sizes: &HashMap<String, u64>) -> Vec<SnapshotId> {
    let id = |name: &String| {
        let folder = name.strip_suffix(MANIFEST)?.strip_suffix('/')?;
        folder.strip_prefix(PREFIX)?.parse().ok()
    };
    let mut ids: Vec<SnapshotId> = sizes.keys().filter_map(id).collect();
    ids.sort();
    ids
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest(id: &str, sequence: Option<u64>, tables: &[&str]) -> Manifest {
        let file = |name: &str| FileEntry {
            path: format!("{name}.parquet"),
            format: "parquet".into(),
            bytes: 1,
            sha256: String::new(),
            snapshot: None,
        };
        let tables = tables.iter().map(|name| {
            ((*name).to_owned(), TableEntry { rows: 1, files: vec![file(name)], ..TableEntry::default() })
        });
        Manifest { sequence, tables: tables.collect(), ..Manifest::empty(id) }
    }

    fn lake_of(manifests: &[Manifest]) -> (tempfile::TempDir, Lake) {
        let dir = tempfile::tempdir().unwrap();
        for manifest in manifests {
            let folder = dir.path().join(format!("snapshot={}", manifest.snapshot_id));
            std::fs::create_dir(&folder).unwrap();
            std::fs::write(folder.join("manifest.json"), serde_json::to_vec(manifest).unwrap()).unwrap();
        }
        let lake = Lake::new(dir.path());
        (dir, lake)
    }

    #[test]
    fn order_is_that_of_commits_and_not_of_clocks() {
        let (_dir, lake) = lake_of(&[
            manifest("2099-01-01T000000Z", Some(3), &["users"]),
            manifest("2026-01-02T000000Z", Some(4), &["projects"]),
            manifest("2026-01-09T000000Z", None, &["users", "projects"]),
            manifest("2026-01-08T000000Z", None, &[]),
        ]);
        let found = lake.manifests().unwrap();
        let ids: Vec<_> =
            found.readable.iter().map(|m| (&m.snapshot_id[..10], m.sequence.unwrap())).collect();
        assert_eq!(ids, [("2026-01-08", 1), ("2026-01-09", 2), ("2099-01-01", 3), ("2026-01-02", 4)]);
        assert_eq!(lake.latest().unwrap().unwrap().snapshot_id, "2026-01-02T000000Z");
        assert_eq!(lake.next_sequence().unwrap(), 5);
        assert_eq!(lake.sequence_for(&"2099-01-01T000000Z".parse().unwrap()).unwrap(), 3);
        assert_eq!(found.newest_for("users").unwrap().snapshot_id, "2099-01-01T000000Z");
        assert_eq!(found.newest_for("projects").unwrap().snapshot_id, "2026-01-02T000000Z");
        assert!(found.newest_for("runs").is_none());
    }

    #[test]
    fn damaged_snapshots_are_left_out_and_named() {
        let later = Manifest { manifest_version: MANIFEST_VERSION + 1, ..manifest("b", Some(8), &[]) };
        let (dir, lake) = lake_of(&[manifest("a", Some(1), &["users"]), later, manifest("c", Some(9), &[])]);
        let torn = dir.path().join("snapshot=c/manifest.json");
        let text = std::fs::read(&torn).unwrap();
        std::fs::write(&torn, &text[..text.len() / 2]).unwrap();
        let found = lake.manifests().unwrap();
        assert_eq!(found.latest().unwrap().snapshot_id, "a");
        let damaged: Vec<_> = found.damaged.iter().map(|d| d.snapshot_id.as_str()).collect();
        assert_eq!(damaged, ["b", "c"]);
        assert!(found.warning().unwrap().contains("later version"), "{:?}", found.warning());
    }
    #[test]
    fn a_folder_whose_name_is_no_identifier_is_no_snapshot_and_verify_says_so() {
        let (dir, lake) = lake_of(&[manifest("a", Some(1), &[])]);
        let odd = dir.path().join("snapshot=a copy");
        std::fs::create_dir(&odd).unwrap();
        std::fs::copy(dir.path().join("snapshot=a/manifest.json"), odd.join("manifest.json")).unwrap();
        let found = lake.manifests().unwrap();
        assert_eq!((found.readable.len(), found.damaged.len()), (1, 0));
        let damages = lake.verify_rest(&found).unwrap();
        let said = damages.iter().find(|damage| damage.file == "snapshot=a copy").expect("a problem");
        assert!(said.what.contains("'a copy' can't name a snapshot"), "{said:?}");
    }
}
