//! The snapshots of a lake in the order of their commits, and the newest that holds a table.

use std::path::PathBuf;

use super::manifest::Manifest;
use super::{Error, Lake, MANIFEST_VERSION};
use crate::schema::Table;

/// A snapshot whose manifest can't be read.
#[derive(Debug)]
pub struct Unreadable {
    /// The snapshot.
    pub snapshot_id: String,
    /// What is wrong with its manifest.
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
        Self { readable, damaged }
    }

    /// The newest snapshot.
    pub fn latest(&self) -> Option<&Manifest> {
        self.readable.last()
    }

    /// The snapshot of this identifier, if it can be read.
    pub fn get(&self, snapshot_id: &str) -> Option<&Manifest> {
        self.readable.iter().find(|m| m.snapshot_id == snapshot_id)
    }

    /// The snapshots before one, the oldest first. Where it is gone, those whose identifiers are smaller.
    pub fn before(&self, snapshot_id: &str) -> &[Manifest] {
        let at = match self.readable.iter().position(|m| m.snapshot_id == snapshot_id) {
            Some(at) => at,
            None => self.readable.iter().rposition(|m| *m.snapshot_id < *snapshot_id).map_or(0, |at| at + 1),
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

impl Lake {
    /// The committed snapshots in the order of their commits; damaged ones apart.
    ///
    /// # Errors
    /// [`Error::Io`] or [`Error::Store`] if the destination itself can't be read.
    pub fn manifests(&self) -> Result<Manifests, Error> {
        let (mut readable, mut damaged) = (Vec::new(), Vec::new());
        for snapshot_id in self.snapshots()? {
            match self.manifest(&snapshot_id).and_then(|manifest| self.checked(&snapshot_id, manifest)) {
                Ok(manifest) => readable.push(manifest),
                Err(error @ Error::Store { .. }) => return Err(error),
                Err(error) => damaged.push(Unreadable { snapshot_id, error }),
            }
        }
        Ok(Manifests::new(readable, damaged))
    }

    /// A manifest, if it is of this snapshot and of a form that this version knows.
    fn checked(&self, snapshot_id: &str, manifest: Manifest) -> Result<Manifest, Error> {
        let why = if manifest.snapshot_id != snapshot_id {
            format!("it is the manifest of {}", manifest.snapshot_id)
        } else if manifest.manifest_version > MANIFEST_VERSION {
            format!("a later version of hexport wrote it (manifest version {})", manifest.manifest_version)
        } else {
            return Ok(manifest);
        };
        let path = PathBuf::from(format!("{}/snapshot={snapshot_id}/manifest.json", self.name()));
        Err(Error::Damaged { path, why })
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
    pub fn sequence_for(&self, snapshot_id: &str) -> Result<u64, Error> {
        match self.manifests()?.get(snapshot_id).and_then(|m| m.sequence) {
            Some(sequence) => Ok(sequence),
            None => self.next_sequence(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::manifest::{FileEntry, TableEntry};
    use super::*;

    fn manifest(id: &str, sequence: Option<u64>, tables: &[&str]) -> Manifest {
        let file = |name: &str| FileEntry {
            path: format!("{name}.parquet"),
            format: "parquet".into(),
            bytes: 1,
            sha256: String::new(),
        };
        let tables =
            tables.iter().map(|name| ((*name).to_owned(), TableEntry { rows: 1, files: vec![file(name)] }));
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
        assert_eq!(lake.sequence_for("2099-01-01T000000Z").unwrap(), 3);
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
}
