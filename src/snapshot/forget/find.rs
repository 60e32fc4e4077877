//! Looking for a person's address in everything that a lake holds, without a key: every file is read.

use std::path::Path;

use super::TableOf;
use super::files::{Change, csv_columns, parquet_columns};
use super::pseudonyms::{DOMAIN, Finder};
use crate::journal::Journal;
use crate::schema::Table;
use crate::snapshot::lake::{CACHE, CLAIMS, DELTA, HISTORY, JOURNALS, POINTER, PREFIX, VIEWS};
use crate::snapshot::lake::{NOTES, STAGING};
use crate::snapshot::{Error, Lake};
use crate::store::scratch;

/// A file that names a person.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Named {
    /// Name within the destination, or a path on this machine.
    pub file: String,
    /// Where in it, or why it could not be read.
    pub what: String,
}

impl Lake {
    /// Every file of the lake that names a person, or that can't be read to tell. The files of all snapshots, Delta
    /// tables, journals and notes are read, whether or not anything refers to them. A name beside a pseudonym is one that
    /// was left: whose it is, nobody can say without the key. `table` gives the declaration of a table.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::Store`] if the destination can't be listed or its files can't be fetched.
    pub fn find_person(&self, address: &str, table: TableOf) -> Result<Vec<Named>, Error> {
        let finder = Finder::new(address);
        let mut found = Vec::new();
        for prefix in [PREFIX, STAGING, CLAIMS, DELTA, JOURNALS, NOTES, POINTER, VIEWS, HISTORY] {
            for object in self.store().list(prefix)? {
                let name = object.name;
                let declared = table_name(&name).and_then(table);
                let what = match self.store().folder() {
                    Some(folder) => look(&folder.join(&name), &finder, declared),
                    None => {
                        let scratch = scratch()?;
                        let copy = scratch.path().join(name.rsplit('/').next().unwrap_or("copy"));
                        self.store().download(&name, &copy)?;
                        look(&copy, &finder, declared)
                    }
                };
                found.extend(what.map(|what| Named { file: name, what }));
            }
        }
        if self.store().is_shared() {
            // The local state of exports from this machine.
            for folder in [CACHE, JOURNALS] {
                let Ok(entries) = std::fs::read_dir(self.root().join(folder)) else { continue };
                for path in entries.flatten().map(|entry| entry.path()) {
                    let what = look(&path, &finder, None);
                    found.extend(what.map(|what| Named { file: path.display().to_string(), what }));
                }
            }
        }
        // A list that begins alike can name a file twice.
        found.sort_by(|a, b| a.file.cmp(&b.file));
        found.dedup();
        Ok(found)
    }
}

/// The table whose rows a file of this name holds.
fn table_name(file: &str) -> Option<&str> {
    let parts: Vec<&str> = file.split('/').collect();
    match parts[..] {
        [DELTA, table, ..] => Some(table),
        [.., file] => file.split_once('.').map(|(table, _)| table),
        [] => None,
    }
}

/// Where a file names a person, or why that is unknown.
fn look(path: &Path, finder: &Finder, table: Option<&Table>) -> Option<String> {
    let is_wanted = |text: &str| finder.is_in(text);
    let marked = |text: &str| is_wanted(text).then(String::new);
    let is_pseudonym = |address: &str| address.ends_with(&format!("@{DOMAIN}"));
    let left = |address: &str| is_pseudonym(address).then(|| address.to_owned());
    let names = table.into_iter().flat_map(Table::names).collect();
    let change = Change { text: &marked, name: &left, names };
    let in_columns = |columns: Vec<String>| {
        (!columns.is_empty()).then(|| format!("names the person in {}", columns.join(", ")))
    };
    let unread = |e: &dyn std::fmt::Display| Some(format!("can't be read, so it may name the person: {e}"));
    let begins_with = |magic: &[u8]| {
        use std::io::Read;
        let mut start = vec![0; magic.len()];
        std::fs::File::open(path).and_then(|mut file| file.read_exact(&mut start)).is_ok() && start == magic
    };
    // By content where there is no ending: the cache names files by their digests.
    let ending = path.extension().and_then(|ending| ending.to_str()).unwrap_or_default();
    if ending == "parquet" || begins_with(b"PAR1") {
        match parquet_columns(path, &change) {
            Ok(columns) => in_columns(columns),
            Err(e) => unread(&e),
        }
    } else if ending == "hxj" {
        match Journal::any_text(path, &is_wanted) {
            Ok(true) => Some("names the person in a response".into()),
            Ok(false) => None,
            Err(e) => unread(&e),
        }
    } else if ending == "csv" {
        match csv_columns(path, &change) {
            Ok(columns) => in_columns(columns),
            Err(e) => unread(&e),
        }
    } else {
        match std::fs::read(path) {
            Ok(bytes) => finder.is_in(&String::from_utf8_lossy(&bytes)).then(|| "names the person".into()),
            Err(e) => unread(&e),
        }
    }
}
