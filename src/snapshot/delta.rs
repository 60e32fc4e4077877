//! Delta Lake tables next to the snapshots: one per table, one version per snapshot.
//!
//! A table's data files are the snapshot's own Parquet files, copied. The snapshot's sequence is noted in the
//! table as a transaction of the application `hexport`, so that a snapshot makes one version however often its commit
//! is tried.

mod edit;

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, StringArray, StructArray};
use arrow::datatypes::{DataType, Field, FieldRef, Fields, Schema};
use arrow::record_batch::RecordBatch;
use delta_kernel::committer::FileSystemCommitter;
use delta_kernel::engine::arrow_conversion::TryIntoKernel;
use delta_kernel::engine::arrow_data::ArrowEngineData;
use delta_kernel::expressions::{ColumnName, Scalar};
use delta_kernel::schema::{DataType as KernelType, StructField, StructType};
use delta_kernel::snapshot::{Snapshot, SnapshotRef};
use delta_kernel::transaction::create_table::create_table;
use delta_kernel::transaction::data_layout::DataLayout;
use delta_kernel::transaction::{CommitResult, Transaction, UpdateTableOperation};
use delta_kernel::{FileMeta, KernelResult};
use delta_kernel_default_engine::executor::tokio::TokioMultiThreadExecutor;
use delta_kernel_default_engine::parquet::DataFileMetadata;
use delta_kernel_default_engine::{DefaultEngine, DefaultEngineBuilder, build_add_file_metadata};
use url::Url;

use super::lake::DELTA;
use super::manifest::{FileEntry, Manifest};
use super::{DeltaMode, DeltaRefusal, Error, Lake};
use crate::schema;
use crate::schema::Table;
pub use edit::{forget, remove};

/// Column that tables with history are partitioned by: the snapshot's day, UTC.
const PARTITION: &str = "snapshot_date";
/// Whose transaction numbers are snapshots' sequences.
const APPLICATION: &str = "hexport.sequence";
/// Whose transaction numbers are snapshots' times, in tables that earlier versions wrote.
const BY_TIME: &str = "hexport";
/// Versions between checkpoints: readers read the log from the last one on.
const CHECKPOINT: u64 = 10;
/// Times that a commit is tried while others commit too.
const TRIES: usize = 10;

type Engine = DefaultEngine<TokioMultiThreadExecutor>;

/// Tables that get a version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Which {
    /// All of the snapshot's.
    All,
    /// Those that are there already: an interrupted export may have left some behind.
    Existing,
}

/// Makes a version of each of `tables` that a snapshot has, unless it has one.
///
/// # Errors
/// [`Error::Delta`] for a table that can't be written; those before it are. [`Error::Store`], [`Error::Io`].
pub fn write(
    lake: &Lake,
    manifest: &Manifest,
    tables: impl Iterator<Item = &'static Table>,
    mode: DeltaMode,
    which: Which,
) -> Result<(), Error> {
    Threads::with(lake, |engine, root| write_with(engine, root, lake, manifest, tables, mode, which))
}

fn write_with(
    engine: &Engine,
    root: &Url,
    lake: &Lake,
    manifest: &Manifest,
    tables: impl Iterator<Item = &'static Table>,
    mode: DeltaMode,
    which: Which,
) -> Result<(), Error> {
    let known = lake.manifests()?;
    let snapshots: Vec<&Manifest> = known
        .before(&manifest.snapshot_id)
        .iter()
        .chain([known.get(&manifest.snapshot_id).unwrap_or(manifest)])
        .collect();
    let mut first = Ok(());
    for table in tables.filter(|table| manifest.tables.contains_key(table.name)) {
        let url = root.join(&format!("{DELTA}/{}/", table.name)).map_err(|e| failed(table.name, e));
        // Each snapshot has another part of such a table: the last one alone would not be the table.
        let mode = if table.is_split() { DeltaMode::History } else { mode };
        let done = url.and_then(|url| {
            let of = |manifest| Of::new(lake, manifest, mode, engine, table, url.clone());
            walk(&snapshots.iter().copied().filter_map(of).collect::<Vec<_>>(), which)
        });
        // A damaged table holds no other up.
        first = first.and(done);
    }
    first
}

/// The engine, with threads of its own.
struct Threads;

impl Threads {
    /// Runs `work` with an engine for the lake's store, and the lake's place in it.
    fn with<T>(lake: &Lake, work: impl FnOnce(&Engine, &Url) -> Result<T, Error>) -> Result<T, Error> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .thread_name("hexport-delta")
            .enable_all()
            .build()
            .map_err(Error::io("can't start threads for", lake.root()))?;
        let (store, root) = lake.store().engine()?;
        let executor = Arc::new(TokioMultiThreadExecutor::new(runtime.handle().clone()));
        let engine = DefaultEngineBuilder::new(store).with_task_executor(executor).build();
        let done = work(&engine, &root);
        drop(engine);
        runtime.shutdown_background();
        done
    }
}

/// Makes a version for each snapshot that a table has missed; of a table that isn't there, for the last one.
fn walk(snapshots: &[Of<'_>], which: Which) -> Result<(), Error> {
    let Some(last) = snapshots.last() else { return Ok(()) };
    match last.snapshot()? {
        None if which == Which::Existing => Ok(()),
        None => last.write(which),
        Some(there) => {
            // Looked up once: each lookup reads the table's log.
            let told = last.told(&there)?;
            snapshots.iter().filter(|of| !told.covers(of.manifest)).try_for_each(|of| of.write(which))
        }
    }
}

fn failed(table: &str, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Error {
    Error::Delta { table: table.to_owned(), source: source.into() }
}

/// The newest snapshot that a table has a version for: its sequence, or in tables of earlier versions its time.
enum Told {
    Sequence(i64),
    Time(Option<i64>),
}

impl Told {
    /// Whether the table has a version for the snapshot, or for a newer one.
    fn covers(&self, manifest: &Manifest) -> bool {
        match self {
            Told::Sequence(sequence) => *sequence >= transaction(manifest),
            Told::Time(time) => time.is_some_and(|at| at >= manifest.snapshot_at.timestamp()),
        }
    }
}

/// Number of a snapshot among the application's transactions.
fn transaction(manifest: &Manifest) -> i64 {
    manifest.sequence.unwrap_or(0) as i64
}

/// One table.
struct Of<'a> {
    lake: &'a Lake,
    manifest: &'a Manifest,
    mode: DeltaMode,
    engine: &'a Engine,
    table: &'static schema::Table,
    file: &'a FileEntry,
    url: Url,
    rows: u64,
}

impl<'a> Of<'a> {
    /// A table of a snapshot; `None` if the snapshot doesn't hold it as Parquet.
    fn new(
        lake: &'a Lake,
        manifest: &'a Manifest,
        mode: DeltaMode,
        engine: &'a Engine,
        table: &'static schema::Table,
        url: Url,
    ) -> Option<Self> {
        let entry = manifest.tables.get(table.name)?;
        let file = entry.files.iter().find(|file| file.format == "parquet")?;
        Some(Self { lake, manifest, mode, engine, table, file, url, rows: entry.rows })
    }
}

impl Of<'_> {
    /// The newest snapshot that the table has a version for.
    fn told(&self, there: &SnapshotRef) -> Result<Told, Error> {
        let version = |application| {
            let found = there.get_app_id_version(application, self.engine);
            found.map_err(|e| failed(self.table.name, e))
        };
        Ok(match version(APPLICATION)? {
            Some(sequence) => Told::Sequence(sequence),
            None => Told::Time(version(BY_TIME)?),
        })
    }

    fn is_told(&self, there: &SnapshotRef) -> Result<bool, Error> {
        Ok(self.told(there)?.covers(self.manifest))
    }

    fn write(&self, which: Which) -> Result<(), Error> {
        let failed = |e: delta_kernel::KernelError| failed(self.table.name, e);
        let mut is_copied = false;
        for _ in 0..TRIES {
            let snapshot = self.snapshot()?;
            if let Some(snapshot) = &snapshot {
                self.check_mode(snapshot)?;
                if self.is_told(snapshot)? {
                    return Ok(());
                }
            }
            if snapshot.is_none() && which == Which::Existing {
                return Ok(());
            }
            if !is_copied {
                self.copy()?;
                is_copied = true;
            }
            let committed = match &snapshot {
                Some(snapshot) => self.append(snapshot).map_err(failed)?,
                None => self.create().map_err(failed)?,
            };
            if committed {
                return Ok(());
            }
        }
        Err(self::failed(self.table.name, DeltaRefusal::Contended))
    }

    /// The table as it is now; `None` if there is none.
    fn snapshot(&self) -> Result<Option<SnapshotRef>, Error> {
        if !self.is_made()? {
            return Ok(None);
        }
        let snapshot = Snapshot::builder_for(self.url.as_str()).build(self.engine);
        snapshot.map(Some).map_err(|e| failed(self.table.name, e))
    }

    /// Whether the table is there. A first version that a crash cut short is no table, and goes: nothing can have
    /// been built on it.
    fn is_made(&self) -> Result<bool, Error> {
        let store = self.lake.store();
        let log = format!("{DELTA}/{}/_delta_log/", self.table.name);
        let names: Vec<String> = store.list(&log)?.into_iter().map(|object| object.name).collect();
        let is_version = |name: &&String| {
            let own = &name[log.len()..];
            let digits = own.chars().take_while(char::is_ascii_digit).count();
            digits == 20 && (own[digits..] == *".json" || own[digits..].starts_with(".checkpoint"))
        };
        let versions: Vec<&String> = names.iter().filter(is_version).collect();
        match versions[..] {
            [] => Ok(false),
            [only] if only.ends_with("/00000000000000000000.json") => {
                let text = store.get(only)?.unwrap_or_default();
                if is_whole_version(&text) {
                    return Ok(true);
                }
                store.delete(std::slice::from_ref(only))?;
                Ok(false)
            }
            _ => Ok(true),
        }
    }

    fn check_mode(&self, snapshot: &SnapshotRef) -> Result<(), Error> {
        let has_history = snapshot.schema().field(PARTITION).is_some();
        if has_history == (self.mode == DeltaMode::History) {
            return Ok(());
        }
        let other = if has_history { "history" } else { "current" };
        Err(failed(self.table.name, DeltaRefusal::OtherMode(other)))
    }

    /// Number of the snapshot among the application's transactions.
    fn transaction(&self) -> i64 {
        transaction(self.manifest)
    }

    fn day(&self) -> i32 {
        self.manifest.snapshot_at.timestamp().div_euclid(86_400) as i32
    }

    /// Name of the data file within the table's folder.
    fn data_file(&self) -> String {
        let name = format!("{}-{}.parquet", self.manifest.snapshot_id, &self.file.sha256[..16]);
        match self.mode {
            DeltaMode::History => {
                format!("{PARTITION}={}/{name}", self.manifest.snapshot_at.format("%Y-%m-%d"))
            }
            DeltaMode::Current => name,
        }
    }

    /// Copies the snapshot's file into the table's folder. Nobody sees it there before the commit.
    fn copy(&self) -> Result<(), Error> {
        let from = self.lake.file(self.manifest, self.file)?;
        let name = format!("{DELTA}/{}/{}", self.table.name, self.data_file());
        Ok(self.lake.store().upload(&[(from, name)])?)
    }

    /// The table's schema: all columns may be null, so that later ones can be added.
    fn schema(&self) -> KernelResult<StructType> {
        let mut fields: Vec<FieldRef> = self.table.schema().fields().iter().map(nullable).collect();
        if self.mode == DeltaMode::History {
            fields.push(Arc::new(Field::new(PARTITION, DataType::Date32, true)));
        }
        Ok((&Schema::new(fields)).try_into_kernel()?)
    }

    fn create(&self) -> KernelResult<bool> {
        let mut builder = create_table(self.url.as_str(), Arc::new(self.schema()?), self.engine_info(), true)
            .with_transaction_id(APPLICATION, self.transaction());
        if self.mode == DeltaMode::History {
            builder = builder.with_data_layout(DataLayout::partitioned([PARTITION]));
        }
        let mut transaction = builder.build(self.engine, Box::new(FileSystemCommitter::new()))?;
        self.add(&mut transaction)?;
        let commit = transaction.with_commit_info(self.commit_info()?, self.commit_info_schema()?);
        Ok(matches!(commit.commit(self.engine)?, CommitResult::Committed(_)))
    }

    fn append(&self, snapshot: &SnapshotRef) -> KernelResult<bool> {
        let mut builder = snapshot
            .clone()
            .update_table(UpdateTableOperation::Write, self.engine_info(), true)
            .with_transaction_id(APPLICATION, self.transaction());
        let there = snapshot.schema();
        for (parent, field) in new_fields(&there, &self.schema()?) {
            builder = match parent.is_empty() {
                true => builder.add_column(field),
                false => builder.add_column_at(ColumnName::new(parent), field),
            };
        }
        let mut transaction = builder.build(self.engine, Box::new(FileSystemCommitter::new()))?;
        if self.mode == DeltaMode::Current {
            let scan = snapshot.clone().scan_builder().build()?;
            for files in scan.scan_metadata(self.engine)? {
                transaction.remove_files(files?.scan_files);
            }
        }
        self.add(&mut transaction)?;
        let commit = transaction.with_commit_info(self.commit_info()?, self.commit_info_schema()?);
        let CommitResult::Committed(done) = commit.commit(self.engine)? else { return Ok(false) };
        if done.commit_version() % CHECKPOINT == 0
            && let Some(after) = done.post_commit_snapshot()
        {
            // A checkpoint only saves readers time: the commit stands without it.
            if let Err(e) = after.checkpoint(self.engine, None) {
                tracing::warn!(table = self.table.name, "no checkpoint of the Delta table: {e}");
            }
        }
        Ok(true)
    }

    fn add<T>(&self, transaction: &mut Transaction<T>) -> KernelResult<()> {
        let mut context = transaction.write_state()?.write_context_builder();
        if self.mode == DeltaMode::History {
            let day = HashMap::from([(PARTITION.to_owned(), Scalar::Date(self.day()))]);
            context = context.with_partition_values(day);
        }
        let rows: ArrayRef = Arc::new(Int64Array::from(vec![self.rows as i64]));
        let stats =
            StructArray::from(vec![(Arc::new(Field::new("numRecords", DataType::Int64, true)), rows)]);
        let location = self
            .url
            .join(&self.data_file())
            .map_err(|e| delta_kernel::KernelError::generic(e.to_string()))?;
        let last_modified = self.manifest.committed_at.timestamp_millis();
        let file = FileMeta { location, last_modified, size: self.file.bytes };
        transaction
            .add_files(build_add_file_metadata(DataFileMetadata::new(file, stats), &context.build()?)?);
        Ok(())
    }

    fn engine_info(&self) -> String {
        format!("hexport/{}", env!("CARGO_PKG_VERSION"))
    }

    /// The snapshot, as each commit names it: `userMetadata` is what table histories show.
    fn commit_info(&self) -> KernelResult<Box<ArrowEngineData>> {
        let id: ArrayRef = Arc::new(StringArray::from(vec![self.manifest.snapshot_id.as_str()]));
        Ok(Box::new(ArrowEngineData::new(RecordBatch::try_from_iter([("userMetadata", id)])?)))
    }

    fn commit_info_schema(&self) -> KernelResult<Arc<StructType>> {
        let field = Field::new("userMetadata", DataType::Utf8, true);
        Ok(Arc::new((&Schema::new(vec![field])).try_into_kernel()?))
    }
}

/// Fields that a table's schema lacks, each with the path of what it is in: also within objects and lists of them.
fn new_fields(there: &StructType, wanted: &StructType) -> Vec<(Vec<String>, StructField)> {
    fn look(
        path: &[String],
        there: &StructType,
        wanted: &StructType,
        to: &mut Vec<(Vec<String>, StructField)>,
    ) {
        for field in wanted.fields() {
            let within = [path, &[field.name().clone()]].concat();
            match there.field(field.name()) {
                None => to.push((path.to_vec(), field.clone())),
                Some(old) => look_in(&within, old.data_type(), field.data_type(), to),
            }
        }
    }
    fn look_in(
        path: &[String],
        old: &KernelType,
        new: &KernelType,
        to: &mut Vec<(Vec<String>, StructField)>,
    ) {
        match (old, new) {
            (KernelType::Struct(old), KernelType::Struct(new)) => look(path, old, new, to),
            (KernelType::Array(old), KernelType::Array(new)) => {
                // How Delta names the elements of a list.
                let within = [path, &["element".to_owned()]].concat();
                look_in(&within, old.element_type(), new.element_type(), to);
            }
            _ => {}
        }
    }
    let mut found = Vec::new();
    look(&[], there, wanted, &mut found);
    found
}

/// Whether a first version of a log is all there: lines of JSON, with the table's protocol and schema among them.
fn is_whole_version(text: &[u8]) -> bool {
    let lines = text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    let actions: Result<Vec<serde_json::Value>, _> = lines.map(serde_json::from_slice).collect();
    let has = |name: &str| {
        actions.as_ref().is_ok_and(|actions| actions.iter().any(|action| action.get(name).is_some()))
    };
    has("protocol") && has("metaData")
}

/// The same field, and all fields within it, nullable.
fn nullable(field: &FieldRef) -> FieldRef {
    let kind = match field.data_type() {
        DataType::List(item) => DataType::List(nullable(item)),
        DataType::Struct(fields) => DataType::Struct(fields.iter().map(nullable).collect::<Fields>()),
        other => other.clone(),
    };
    Arc::new(Field::new(field.name(), kind, true).with_metadata(field.metadata().clone()))
}

#[cfg(test)]
mod tests;
