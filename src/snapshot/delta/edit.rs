//! Changing what a Delta table holds already: files are dropped or replaced in one commit, and go from the store then.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Int64Array, RecordBatch, StringArray, StructArray};
use arrow::datatypes::{DataType, Field, Schema};
use chrono::{TimeDelta, Utc};
use delta_kernel::committer::FileSystemCommitter;
use delta_kernel::engine::arrow_conversion::TryIntoKernel;
use delta_kernel::engine::arrow_data::ArrowEngineData;
use delta_kernel::engine_data::FilteredEngineData;
use delta_kernel::expressions::Scalar;
use delta_kernel::schema::StructType;
use delta_kernel::snapshot::{Snapshot, SnapshotRef};
use delta_kernel::transaction::{CommitResult, UpdateTableOperation};
use delta_kernel::{FileMeta, KernelError, KernelResult};
use delta_kernel_default_engine::build_add_file_metadata;
use delta_kernel_default_engine::parquet::DataFileMetadata;
use parquet::file::reader::{FileReader, SerializedFileReader};
use url::Url;

use super::super::{DeltaRefusal, SnapshotId};
use super::{DELTA, Engine, PARTITION, TRIES, Threads, failed};
use crate::schema::Table;
use crate::snapshot::forget::{self, Pseudonyms};
use crate::snapshot::{Error, Lake};
use crate::store::scratch;

/// Nobody goes on writing a file for so long.
const ABANDONED: TimeDelta = TimeDelta::days(1);

/// A data file of a table.
#[derive(Debug, Clone)]
struct DataFile {
    /// Name within the table's folder.
    name: String,
    /// Its day, in tables with history.
    day: Option<i32>,
}

/// The fate of a data file in an edit.
enum Fate {
    Keep,
    Drop,
    /// Other rows, in a file of this machine, under a name that isn't taken.
    Replace(PathBuf, String),
}

/// Replaces forgotten people in a table: its rows, and what is left of earlier versions. True if anything changed.
///
/// # Errors
/// [`Error::Delta`], [`Error::Store`], [`Error::Io`].
pub fn forget(
    lake: &Lake,
    table: &str,
    people: &Pseudonyms,
    declared: Option<&Table>,
) -> Result<bool, Error> {
    let scratch = scratch()?;
    let again = |file: &str, number: usize| -> Result<Option<(PathBuf, String)>, Error> {
        let from = scratch.path().join(format!("{number}.old"));
        let to = scratch.path().join(format!("{number}.new"));
        lake.store().download(&format!("{DELTA}/{table}/{file}"), &from)?;
        let written = forget::parquet_again(&from, &to, people, declared);
        let _ = std::fs::remove_file(&from);
        Ok(written?.map(|sha256| (to, sha256)))
    };
    Threads::with(lake, |engine, root| {
        let edit = Edit::new(lake, engine, root, table)?;
        let mut numbers = 0..;
        let mut fate = |file: &DataFile| -> Result<Fate, Error> {
            let Some((path, sha256)) = again(&file.name, numbers.next().unwrap_or_default())? else {
                return Ok(Fate::Keep);
            };
            // Named like the others, by its content.
            let stem = file.name.strip_suffix(".parquet").unwrap_or(&file.name);
            let stem = stem.rsplit_once('-').map_or(stem, |(stem, _)| stem);
            Ok(Fate::Replace(path, format!("{stem}-{}.parquet", &sha256[..16])))
        };
        let Some(live) = edit.apply("forget", &mut fate)? else { return Ok(false) };
        let is_changed = live.changed;
        // Files of earlier versions, and what a killed attempt left.
        let mut old = Vec::new();
        edit.delete(&edit.unfinished(None)?)?;
        for name in edit.files()? {
            let is_log = name.starts_with("_delta_log/");
            if !is_log && !live.names.contains(&name) && again(&name, usize::MAX)?.is_some() {
                let _ = std::fs::remove_file(scratch.path().join(format!("{}.new", usize::MAX)));
                old.push(name);
            }
        }
        edit.delete(&old)?;
        let is_logged = edit.forget_log(people)?;
        Ok(is_changed || !old.is_empty() || is_logged)
    })
}

/// Removes the rows of snapshots that aren't there from a table with history. Gives how many files went. Files that
/// others wrote, which may hold rows of several snapshots, stay.
///
/// # Errors
/// [`Error::Delta`], [`Error::Store`], [`Error::Io`].
pub fn remove(
    lake: &Lake,
    table: &str,
    there: &dyn Fn() -> Result<BTreeSet<SnapshotId>, Error>,
) -> Result<usize, Error> {
    Threads::with(lake, |engine, root| {
        let edit = Edit::new(lake, engine, root, table)?;
        let mut known = None;
        let mut count = 0;
        let mut fate = |file: &DataFile| {
            // After the table was read: whatever has rows in it was committed before.
            let there = match &mut known {
                Some(there) => there,
                none => none.insert(there()?),
            };
            let goes = file.day.is_some() && snapshot_of(&file.name).is_some_and(|id| !there.contains(id));
            count += usize::from(goes);
            Ok(if goes { Fate::Drop } else { Fate::Keep })
        };
        edit.apply("prune", &mut fate)?;
        // Others' may still be written.
        edit.delete(&edit.unfinished(Some(ABANDONED))?)?;
        Ok(count)
    })
}

/// The snapshot that a data file's name gives.
fn snapshot_of(name: &str) -> Option<&str> {
    let name = name.rsplit('/').next()?;
    let id = name.get(.."2026-11-24T020000Z".len())?;
    let is_id = chrono::NaiveDateTime::parse_from_str(id, "%Y-%m-%dT%H%M%SZ").is_ok();
    (is_id && name[id.len()..].starts_with('-')).then_some(id)
}

/// The data files of a table after an edit.
struct Live {
    names: BTreeSet<String>,
    changed: bool,
}

struct Edit<'a> {
    lake: &'a Lake,
    engine: &'a Engine,
    table: &'a str,
    url: Url,
}

impl<'a> Edit<'a> {
    fn new(lake: &'a Lake, engine: &'a Engine, root: &Url, table: &'a str) -> Result<Self, Error> {
        let url = root.join(&format!("{DELTA}/{table}/")).map_err(|e| failed(table, e))?;
        Ok(Self { lake, engine, table, url })
    }

    fn within(&self, name: &str) -> String {
        format!("{DELTA}/{}/{name}", self.table)
    }

    /// Files whose writer was killed before they got their names, and that are older than that. Engines name them like
    /// the file, with `#` and a number.
    fn unfinished(&self, age: Option<TimeDelta>) -> Result<Vec<String>, Error> {
        let folder = self.within("");
        let is_unfinished = |name: &str| {
            name.rsplit_once('#').is_some_and(|(_, number)| {
                !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit())
            })
        };
        let found = self.lake.store().list(&folder)?.into_iter();
        let old = found.filter(|object| age.is_none_or(|age| Utc::now() - object.written > age));
        let names = old.filter_map(|object| object.name.strip_prefix(&folder).map(str::to_owned));
        Ok(names.filter(|name| is_unfinished(name)).collect())
    }

    /// Names of all files in the table's folder.
    fn files(&self) -> Result<Vec<String>, Error> {
        let folder = self.within("");
        let found = self.lake.store().list(&folder)?.into_iter();
        Ok(found.filter_map(|object| object.name.strip_prefix(&folder).map(str::to_owned)).collect())
    }

    fn delete(&self, names: &[String]) -> Result<(), Error> {
        let names: Vec<String> = names.iter().map(|name| self.within(name)).collect();
        Ok(self.lake.store().delete(&names)?)
    }

    fn failed(&self, error: KernelError) -> Error {
        failed(self.table, error)
    }

    /// Commits the fates of all files. `None` if there is no table.
    fn apply(
        &self,
        operation: &str,
        fate: &mut dyn FnMut(&DataFile) -> Result<Fate, Error>,
    ) -> Result<Option<Live>, Error> {
        if !self.files()?.iter().any(|name| name.starts_with("_delta_log/")) {
            return Ok(None);
        }
        let mut fates: BTreeMap<String, Fate> = BTreeMap::new();
        for _ in 0..TRIES {
            let snapshot =
                Snapshot::builder_for(self.url.as_str()).build(self.engine).map_err(|e| self.failed(e))?;
            let there = self.data_files(&snapshot).map_err(|e| self.failed(e))?;
            for file in &there {
                if !fates.contains_key(&file.name) {
                    let new = fate(file)?;
                    if let Fate::Replace(path, name) = &new {
                        self.lake.store().upload(&[(path.clone(), self.within(name))])?;
                    }
                    fates.insert(file.name.clone(), new);
                }
            }
            let goes = |name: &str| !matches!(fates.get(name), None | Some(Fate::Keep));
            let gone: Vec<String> = there.iter().map(|f| f.name.clone()).filter(|name| goes(name)).collect();
            let mut names: BTreeSet<String> = there.iter().map(|file| file.name.clone()).collect();
            if gone.is_empty() {
                return Ok(Some(Live { names, changed: false }));
            }
            if !self.commit(&snapshot, operation, &there, &fates).map_err(|e| self.failed(e))? {
                continue;
            }
            for name in &gone {
                names.remove(name);
                if let Some(Fate::Replace(_, new)) = fates.get(name) {
                    names.insert(new.clone());
                }
            }
            self.delete(&gone)?;
            return Ok(Some(Live { names, changed: true }));
        }
        Err(failed(self.table, DeltaRefusal::Contended))
    }

    /// The files that the table consists of.
    fn data_files(&self, snapshot: &SnapshotRef) -> KernelResult<Vec<DataFile>> {
        let mut found = Vec::new();
        let scan = snapshot.clone().scan_builder().build()?;
        for part in scan.scan_metadata(self.engine)? {
            let (data, selected) = part?.scan_files.into_parts();
            let rows = ArrowEngineData::try_from_engine_data(data)?;
            found.extend(files_of(rows.record_batch(), &selected).into_iter().flatten());
        }
        Ok(found)
    }

    fn commit(
        &self,
        snapshot: &SnapshotRef,
        operation: &str,
        there: &[DataFile],
        fates: &BTreeMap<String, Fate>,
    ) -> KernelResult<bool> {
        let info = format!("hexport/{}", env!("CARGO_PKG_VERSION"));
        let builder = snapshot.clone().update_table(UpdateTableOperation::Write, info, true);
        let mut transaction = builder.build(self.engine, Box::new(FileSystemCommitter::new()))?;
        let scan = snapshot.clone().scan_builder().build()?;
        for part in scan.scan_metadata(self.engine)? {
            let (data, selected) = part?.scan_files.into_parts();
            let rows = ArrowEngineData::try_from_engine_data(data)?;
            let goes: Vec<bool> = files_of(rows.record_batch(), &selected)
                .into_iter()
                .map(|file| {
                    file.is_some_and(|f| matches!(fates.get(&f.name), Some(Fate::Drop | Fate::Replace(..))))
                })
                .collect();
            if goes.contains(&true) {
                transaction.remove_files(FilteredEngineData::try_new(rows, goes)?);
            }
        }
        for file in there {
            let Some(Fate::Replace(path, name)) = fates.get(&file.name) else { continue };
            let mut context = transaction.write_state()?.write_context_builder();
            if let Some(day) = file.day {
                context =
                    context.with_partition_values(HashMap::from([(PARTITION.to_owned(), Scalar::Date(day))]));
            }
            let (bytes, rows) = extent(path)?;
            let rows: ArrayRef = Arc::new(Int64Array::from(vec![rows]));
            let stats =
                StructArray::from(vec![(Arc::new(Field::new("numRecords", DataType::Int64, true)), rows)]);
            let location = self.url.join(name).map_err(|e| KernelError::generic(e.to_string()))?;
            let last_modified = Utc::now().timestamp_millis();
            let meta = FileMeta { location, last_modified, size: bytes };
            let added = build_add_file_metadata(DataFileMetadata::new(meta, stats), &context.build()?)?;
            transaction.add_files(added);
        }
        let said: ArrayRef = Arc::new(StringArray::from(vec![operation]));
        let said = Box::new(ArrowEngineData::new(RecordBatch::try_from_iter([("userMetadata", said)])?));
        let field = Field::new("userMetadata", DataType::Utf8, true);
        let schema: StructType = (&Schema::new(vec![field])).try_into_kernel()?;
        let commit = transaction.with_commit_info(said, Arc::new(schema));
        Ok(matches!(commit.commit(self.engine)?, CommitResult::Committed(_)))
    }

    /// Replaces log files that name a forgotten person, which other writers' statistics may, by a checkpoint. True
    /// if there were some.
    fn forget_log(&self, people: &Pseudonyms) -> Result<bool, Error> {
        let scratch = scratch()?;
        let names = |name: &String| -> Result<bool, Error> {
            let whole = self.within(name);
            if name.ends_with(".parquet") {
                let (from, to) = (scratch.path().join("old"), scratch.path().join("new"));
                let _ = (std::fs::remove_file(&from), std::fs::remove_file(&to));
                self.lake.store().download(&whole, &from)?;
                return Ok(forget::parquet_again(&from, &to, people, None)?.is_some());
            }
            let text = self.lake.store().get(&whole)?.unwrap_or_default();
            Ok(people.replace_json(&String::from_utf8_lossy(&text)).is_some())
        };
        let is_log = |name: &String| name.starts_with("_delta_log/");
        let log: Vec<String> = self.files()?.into_iter().filter(is_log).collect();
        let mut named = Vec::new();
        for name in log {
            if names(&name)? {
                named.push(name);
            }
        }
        if named.is_empty() {
            return Ok(false);
        }
        let build = || -> KernelResult<u64> {
            let snapshot = Snapshot::builder_for(self.url.as_str()).build(self.engine)?;
            snapshot.checkpoint(self.engine, None)?;
            Ok(snapshot.version())
        };
        let version = build().map_err(|e| self.failed(e))?;
        // Nothing before the checkpoint is read any longer.
        let of = |name: &String| name["_delta_log/".len()..].get(..20).and_then(|v| v.parse::<u64>().ok());
        let old: Vec<String> =
            self.files()?.into_iter().filter(|n| is_log(n) && of(n).is_some_and(|v| v < version)).collect();
        self.delete(&old)?;
        Ok(true)
    }
}

/// The data files of a part of the log, a row each; `None` for a row that doesn't count.
fn files_of(rows: &RecordBatch, selected: &[bool]) -> Vec<Option<DataFile>> {
    let Some(paths) = rows.column_by_name("path").and_then(|paths| paths.as_string_opt::<i32>()) else {
        return vec![None; rows.num_rows()];
    };
    let is_selected = |i: usize| selected.get(i).copied().unwrap_or(true);
    (0..rows.num_rows())
        .map(|i| {
            let name = (is_selected(i) && paths.is_valid(i)).then(|| paths.value(i).to_owned())?;
            Some(DataFile { day: day_in(&name), name })
        })
        .collect()
}

/// The day that a file's name gives.
fn day_in(name: &str) -> Option<i32> {
    let day = name.split('/').find_map(|part| part.strip_prefix(PARTITION)?.strip_prefix('='))?;
    let day: chrono::NaiveDate = day.parse().ok()?;
    Some(day.and_hms_opt(0, 0, 0)?.and_utc().timestamp().div_euclid(86_400) as i32)
}

/// Bytes and rows of a Parquet file.
fn extent(path: &Path) -> KernelResult<(u64, i64)> {
    let wrong = |e: &dyn std::fmt::Display| KernelError::generic(format!("{}: {e}", path.display()));
    let file = std::fs::File::open(path).map_err(|e| wrong(&e))?;
    let bytes = file.metadata().map_err(|e| wrong(&e))?.len();
    let reader = SerializedFileReader::new(file).map_err(|e| wrong(&e))?;
    Ok((bytes, reader.metadata().file_metadata().num_rows()))
}
