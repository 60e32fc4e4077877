//! From the journal to a snapshot's files: rows stream through, one chunk of whole projects at a time.

use std::collections::{HashMap, HashSet, VecDeque};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, RecordBatch, StringArray, TimestampMicrosecondArray,
};
use arrow::compute::{concat_batches, filter_record_batch, take_record_batch};
use arrow::datatypes::TimestampMicrosecondType;
use arrow::error::ArrowError;
use chrono::{DateTime, Utc};
use serde_json::Value;

use super::bases::Bases;
use super::principals::Directory;
use super::{Error, recent};
use crate::audit;
use crate::client::operation::GET_RUN_STATUS;
use crate::client::runs::is_terminal;
use crate::client::split_page;
use crate::crawl::{Base, Coverage, Endpoint, Report, Scope, Standing, is_given_up};
use crate::derive;
use crate::journal::{Entry, Journal};
use crate::schema::{
    Context, Drift, GONE, Origin, Row, RowMapper, Table, batch_of, order_unique, sort_unique,
};
use crate::snapshot::{
    self, Format, Lake, Pseudonyms, SnapshotId, TableEntry, TableReader, TableWriter, WorkspaceEntry,
};
use crate::tables::PROJECT_SHARING;

/// A chunk is written when it has so many rows,
const CHUNK_ROWS: usize = 8_192;
/// or was made from so many bytes.
const CHUNK_BYTES: usize = 6 << 20;

/// Inputs of a snapshot.
pub struct Sources<'a> {
    /// The crawl's answers.
    pub journal: &'a Journal,
    /// Outcome of the crawl.
    pub report: &'a Report,
    /// The destination.
    pub lake: &'a Lake,
    /// Knowledge of earlier crawls.
    pub base: &'a Base,
    /// Snapshots that rows are carried over from.
    pub bases: &'a Bases,
}

impl Sources<'_> {
    /// The rows of a table in the snapshot that it builds on.
    fn old(&self, table: &'static Table) -> Result<Option<TableReader>, snapshot::Error> {
        match self.bases.get(table.name) {
            Some(manifest) => TableReader::open(self.lake, manifest, table),
            None => Ok(None),
        }
    }
}

/// Target of a snapshot, and how to write it.
pub struct Target<'a> {
    /// Folder of the files.
    pub folder: &'a Path,
    /// The snapshot.
    pub snapshot_id: &'a SnapshotId,
    /// The snapshot's time.
    pub snapshot_at: DateTime<Utc>,
    /// Formats of the files.
    pub formats: &'a [Format],
    /// Workspace.
    pub workspace: &'a WorkspaceEntry,
    /// Settings of the audit.
    pub audit: &'a audit::Config,
    /// Knowledge about the warehouses that the API doesn't have.
    pub given: &'a derive::Given,
    /// Runs that happened before are left out.
    pub runs_since: Option<DateTime<Utc>>,
    /// People whose addresses may not be in the snapshot.
    pub pseudonyms: &'a Arc<Pseudonyms>,
}

/// A table that was written.
#[derive(Debug)]
pub struct Built {
    /// The table.
    pub table: &'static Table,
    /// Files.
    pub entry: TableEntry,
    /// Fields that no column maps.
    pub drift: Drift,
    /// Time it took.
    pub took: Duration,
}

/// Writes `tables`, several at a time.
///
/// # Errors
/// The first that any table met.
pub fn build(
    sources: &Sources<'_>,
    target: &Target<'_>,
    tables: &[&'static Table],
) -> Result<Vec<Built>, Error> {
    let index = Index::new(sources);
    let (sharing, others): (Vec<_>, Vec<_>) =
        tables.iter().copied().partition(|table| table.name == PROJECT_SHARING.name);
    let job = |table| Job { sources, target, index: &index, table, principals: None };
    let mut built = at_once(&others, job)?;
    if !sharing.is_empty() {
        // Whom a grant names, the others tell.
        let principals = Directory::read(target.folder, sources.report)?;
        built.extend(at_once(&sharing, |table| Job { principals: Some(&principals), ..job(table) })?);
    }
    Ok(built)
}

/// Writes tables, several at a time.
fn at_once<'a>(
    tables: &[&'static Table],
    job: impl Fn(&'static Table) -> Job<'a> + Sync,
) -> Result<Vec<Built>, Error> {
    let queue: Mutex<VecDeque<&'static Table>> = Mutex::new(tables.iter().copied().collect());
    let next = || queue.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
    let workers = std::thread::available_parallelism().map_or(1, |n| n.get()).min(4);
    let work = || -> Result<Vec<Built>, Error> {
        let mut built = Vec::new();
        while let Some(table) = next() {
            let started = Instant::now();
            let (entry, drift) = job(table).run()?;
            built.push(Built { table, entry, drift, took: started.elapsed() });
        }
        Ok(built)
    };
    let results: Vec<_> = std::thread::scope(|scope| {
        let handles: Vec<_> = (0..workers).map(|_| scope.spawn(work)).collect();
        handles.into_iter().map(|handle| handle.join().expect("a table's writer doesn't panic")).collect()
    });
    let mut built = Vec::new();
    for result in results {
        built.extend(result?);
    }
    Ok(built)
}

/// The journal's answers and the crawl's coverage, by what was asked.
struct Index<'a> {
    /// Those of an entity stand together, in the order in which they came; entities, in that of their names.
    entries: HashMap<Endpoint, Vec<Entry>>,
    coverage: HashMap<(Endpoint, Option<Arc<str>>), &'a Coverage>,
}

impl<'a> Index<'a> {
    fn new(sources: &Sources<'a>) -> Self {
        let mut entries: HashMap<Endpoint, Vec<Entry>> = HashMap::new();
        for entry in sources.journal.entries() {
            let endpoint = match entry.operation == &GET_RUN_STATUS {
                true => Some(Endpoint::RUNS),
                false => Endpoint::of(entry.operation.id, entry.entity.is_some()),
            };
            if let Some(endpoint) = endpoint.filter(|_| entry.accepted) {
                entries.entry(endpoint).or_default().push(entry);
            }
        }
        entries.values_mut().for_each(|of_endpoint| of_endpoint.sort_by(|a, b| a.entity.cmp(&b.entity)));
        let coverage = sources.report.coverage.iter().map(|c| ((c.endpoint, c.entity.clone()), c)).collect();
        Self { entries, coverage }
    }
}

/// One table.
struct Job<'a> {
    sources: &'a Sources<'a>,
    target: &'a Target<'a>,
    index: &'a Index<'a>,
    table: &'static Table,
    /// Whom grants name, of the table of grants.
    principals: Option<&'a Directory>,
}

/// Rows of whole entities that are not written yet.
#[derive(Default)]
struct Chunk {
    /// Rows of a list that are batches already, which take less memory.
    made: Vec<RecordBatch>,
    rows: Vec<Row>,
    old: Vec<RecordBatch>,
    old_rows: usize,
    bytes: usize,
}

impl Job<'_> {
    fn run(&self) -> Result<(TableEntry, Drift), Error> {
        let Target { folder, snapshot_id, formats, .. } = *self.target;
        let mut writer =
            TableWriter::create(self.table, formats, folder, snapshot_id)?.with(self.target.pseudonyms);
        let mut mapper = RowMapper::new(self.table);
        match Endpoint::of_table(self.table) {
            None => match self.table.origin {
                Origin::Crawl => self.coverage(&mut writer)?,
                Origin::History(_) => self.carry(&mut writer)?,
                Origin::Api(_) | Origin::Derived(_) => {}
            },
            Some(endpoint) if endpoint.scope() == Scope::Workspace => {
                let mut chunk = Chunk::default();
                for entry in self.index.entries.get(&endpoint).into_iter().flatten() {
                    self.read(entry, &mut mapper, &mut chunk)?;
                    if chunk.rows.len() >= CHUNK_ROWS {
                        let rows = std::mem::take(&mut chunk.rows);
                        chunk.made.push(self.made(rows).map_err(|e| self.failed(e))?);
                    }
                }
                self.keep_listed(endpoint, &mut chunk)?;
                self.flush_list(chunk, &mut writer)?;
            }
            Some(endpoint) => self.fan_out(endpoint, &mut mapper, &mut writer)?,
        }
        Ok((writer.finish()?, mapper.drift))
    }

    /// Writes how much is known of each entity. There are four rows a project: they are made as they are written.
    fn coverage(&self, writer: &mut TableWriter) -> Result<(), Error> {
        let key = |c: &&Coverage| (c.endpoint.operation().id, c.entity.clone());
        let mut all: Vec<&Coverage> = self.sources.report.coverage.iter().collect();
        all.sort_by_key(key);
        // Of equal keys the one given last counts.
        let last = all.chunk_by(|a, b| key(a) == key(b)).filter_map(|same| same.last().copied());
        let last: Vec<&Coverage> = last.collect();
        for part in last.chunks(CHUNK_ROWS) {
            let rows = part.iter().map(|c| c.row(self.target.snapshot_at)).collect();
            self.flush(Chunk { rows, ..Chunk::default() }, None, writer)?;
        }
        Ok(())
    }

    /// Writes the rows of the last snapshot again.
    fn carry(&self, writer: &mut TableWriter) -> Result<(), Error> {
        for batch in self.sources.old(self.table)?.into_iter().flatten() {
            writer.write(&self.taken_over(&batch?).map_err(|e| self.failed(e))?)?;
        }
        Ok(())
    }

    /// Adds the old rows of what a list of the workspace doesn't name, as far as they are kept.
    fn keep_listed(&self, list: Endpoint, chunk: &mut Chunk) -> Result<(), Error> {
        let of_list = self.index.coverage.get(&(list, None)).map(|c| c.standing());
        let is_kept: Box<dyn Fn(&str) -> bool> = match of_list {
            Some(Standing::Stale) => {
                let listed = self.sources.report.listed.get(&list);
                Box::new(move |id| listed.is_none_or(|listed| !listed.contains(id)))
            }
            _ => Box::new(|id| self.index.coverage.contains_key(&(list, Some(Arc::from(id))))),
        };
        let Some(reader) = self.sources.old(self.table)? else { return Ok(()) };
        for batch in reader {
            let batch = batch?;
            let ids = batch.column(self.table.key_indices()[0]).as_string::<i32>();
            let mask: BooleanArray = ids.iter().map(|id| Some(id.is_some_and(&is_kept))).collect();
            let kept = filter_record_batch(&batch, &mask).map_err(|e| self.failed(e))?;
            chunk.old_rows += kept.num_rows();
            chunk.old.push(kept);
        }
        Ok(())
    }

    /// Walks over groups or projects in the order of their identifiers, which is the files' order too, here
    /// and in the last snapshot.
    fn fan_out(
        &self,
        endpoint: Endpoint,
        mapper: &mut RowMapper,
        writer: &mut TableWriter,
    ) -> Result<(), Error> {
        let answers = self.index.entries.get(&endpoint).map_or(&[][..], Vec::as_slice);
        let mut old = Groups::new(self.sources.old(self.table)?);
        let mut chunk = Chunk::default();
        let mut new = answers.chunk_by(|a, b| a.entity == b.entity).peekable();
        loop {
            let of_new = new.peek().and_then(|entries| entries[0].entity.as_deref());
            let of_old = old.entity()?;
            let turn = match (of_new, of_old) {
                (None, None) => break,
                (Some(a), Some(b)) => a.cmp(b),
                (Some(_), None) => std::cmp::Ordering::Less,
                (None, Some(_)) => std::cmp::Ordering::Greater,
            };
            if turn.is_ge() {
                let (id, batches) = old.take()?;
                if self.keeps(endpoint, &id) {
                    chunk.old_rows += batches.iter().map(RecordBatch::num_rows).sum::<usize>();
                    chunk.old.extend(batches);
                }
            }
            if turn.is_le() {
                // What has no coverage was deleted while the crawl ran.
                let is_covered =
                    |entity: &Option<Arc<str>>| self.index.coverage.contains_key(&(endpoint, entity.clone()));
                let next = new.next().filter(|entries| is_covered(&entries[0].entity));
                for entry in next.into_iter().flatten() {
                    self.read(entry, mapper, &mut chunk)?;
                }
            }
            if chunk.rows.len() + chunk.old_rows >= CHUNK_ROWS || chunk.bytes >= CHUNK_BYTES {
                self.flush(std::mem::take(&mut chunk), Some(endpoint), writer)?;
            }
        }
        self.flush(chunk, Some(endpoint), writer)
    }

    /// Whether an entity's old rows are carried over.
    fn keeps(&self, endpoint: Endpoint, entity: &Arc<str>) -> bool {
        let coverage = self.index.coverage.get(&(endpoint, Some(entity.clone())));
        let standing = coverage.map(|coverage| coverage.standing());
        matches!(standing, Some(Standing::Reused | Standing::Stale)) || self.table.accumulates()
    }

    /// Adds the rows of one answer.
    fn read(&self, entry: &Entry, mapper: &mut RowMapper, chunk: &mut Chunk) -> Result<(), Error> {
        let body = self.sources.journal.body(entry)?;
        chunk.bytes += body.len();
        let (fetched_at, snapshot_at) = (entry.fetched_at, self.target.snapshot_at);
        let context = Context { entity: entry.entity.as_deref(), fetched_at, snapshot_at };
        // What the client accepted can be read; an older version's journal may hold what this one would repair.
        let mut item = |raw: &str| {
            let value = serde_json::from_str(raw).unwrap_or_else(|_| Value::from(raw));
            mapper.map(value, &context, &mut chunk.rows);
        };
        let Some(listing) = &entry.operation.listing else {
            item(&String::from_utf8_lossy(&body));
            return Ok(());
        };
        match split_page(listing, &body) {
            Ok(page) => {
                page.items.into_iter().for_each(|raw| item(raw.get()));
                mapper.repaired(&page.repaired);
            }
            Err(why) => mapper.unreadable(&why),
        }
        Ok(())
    }

    fn flush(&self, chunk: Chunk, endpoint: Option<Endpoint>, writer: &mut TableWriter) -> Result<(), Error> {
        if chunk.rows.is_empty() && chunk.old.is_empty() {
            return Ok(());
        }
        let batch = self.assemble(chunk, endpoint).map_err(|e| self.failed(e))?;
        writer.write(&batch)?;
        Ok(())
    }

    /// Writes a whole list: its rows are held once, and put in order as they are written.
    fn flush_list(&self, chunk: Chunk, writer: &mut TableWriter) -> Result<(), Error> {
        let failed = |e| self.failed(e);
        let mut batches = Vec::with_capacity(chunk.old.len() + chunk.made.len() + 1);
        for old in &chunk.old {
            batches.push(self.taken_over(old).map_err(failed)?);
        }
        batches.extend(chunk.made);
        batches.push(self.made(chunk.rows).map_err(failed)?);
        let all = concat_batches(&self.table.schema(), &batches).map_err(failed)?;
        drop((batches, chunk.old));
        let order = order_unique(self.table, &all).map_err(failed)?;
        for start in (0..order.len()).step_by(CHUNK_ROWS) {
            let rows = order.slice(start, CHUNK_ROWS.min(order.len() - start));
            let batch = take_record_batch(&all, &rows).map_err(failed)?;
            let batch = match self.principals {
                Some(principals) => principals.resolve(&batch).map_err(failed)?,
                None => batch,
            };
            writer.write(&batch)?;
        }
        Ok(())
    }

    /// One batch, sorted, unique by key: old rows give way to new ones.
    fn assemble(&self, chunk: Chunk, endpoint: Option<Endpoint>) -> Result<RecordBatch, ArrowError> {
        let new = self.made(chunk.rows)?;
        let fresh = self.table.accumulates().then(|| keys(self.table, &new));
        let mut batches = Vec::with_capacity(chunk.old.len() + 1);
        for old in &chunk.old {
            batches.push(self.taken_over(old)?);
        }
        batches.push(new);
        let merged = sort_unique(self.table, &self.table.schema(), &batches)?;
        match (fresh, endpoint) {
            (Some(fresh), Some(endpoint)) => {
                let merged = self.mark_gone(&merged, &fresh, endpoint)?;
                let merged = self.mark_open(&merged, &chunk.old)?;
                match self.target.runs_since {
                    Some(since) => recent::runs_since(&merged, since),
                    None => Ok(merged),
                }
            }
            _ => Ok(merged),
        }
    }

    /// New rows as a batch. Forgotten people are replaced before rows are sorted and compared with old ones: keys may hold
    /// addresses.
    fn made(&self, rows: Vec<Row>) -> Result<RecordBatch, ArrowError> {
        let new = batch_of(self.table, rows)?;
        Ok(self.target.pseudonyms.batch(self.table, &new)?.unwrap_or(new))
    }

    /// Rows of the last snapshot as rows of this one.
    fn taken_over(&self, old: &RecordBatch) -> Result<RecordBatch, ArrowError> {
        let at = self.table.index_of("snapshot_at").expect("a common column");
        let mut columns: Vec<ArrayRef> = old.columns().to_vec();
        let now =
            TimestampMicrosecondArray::from_value(self.target.snapshot_at.timestamp_micros(), old.num_rows());
        columns[at] = Arc::new(now.with_timezone("UTC"));
        RecordBatch::try_new(self.table.schema(), columns)
    }

    fn mark_gone(
        &self,
        merged: &RecordBatch,
        fresh: &HashSet<(String, String)>,
        endpoint: Endpoint,
    ) -> Result<RecordBatch, ArrowError> {
        let at = self.table.index_of(GONE).expect("a table that accumulates");
        let key = self.table.key_indices();
        let (entity, id) =
            (merged.column(key[0]).as_string::<i32>(), merged.column(key[1]).as_string::<i32>());
        let was: &BooleanArray = merged.column(at).as_boolean();
        let mut of_entity: (&str, bool) = ("", false);
        let gone: BooleanArray = (0..merged.num_rows())
            .map(|i| {
                if of_entity.0 != entity.value(i) {
                    of_entity = (entity.value(i), self.all_known(endpoint, entity.value(i)));
                }
                let is_fresh = fresh.contains(&(entity.value(i).to_owned(), id.value(i).to_owned()));
                Some(!is_fresh && (of_entity.1 || (was.is_valid(i) && was.value(i))))
            })
            .collect();
        let mut columns = merged.columns().to_vec();
        columns[at] = Arc::new(gone);
        RecordBatch::try_new(merged.schema(), columns)
    }

    /// Notes when each run was first seen, and which ones have been open for so long that they are given up.
    fn mark_open(&self, merged: &RecordBatch, old: &[RecordBatch]) -> Result<RecordBatch, ArrowError> {
        let place = |name| self.table.index_of(name).expect("a column of a table that accumulates");
        let (at_seen, at_up) = (place("first_seen_at"), place("given_up"));
        let key = self.table.key_indices();
        let times = |batch: &RecordBatch, name| {
            batch.column(place(name)).as_primitive::<TimestampMicrosecondType>().clone()
        };
        let mut seen_before: HashMap<(&str, &str), i64> = HashMap::new();
        for batch in old {
            let (first, fetched) = (times(batch, "first_seen_at"), times(batch, "fetched_at"));
            let (entity, id) =
                (batch.column(key[0]).as_string::<i32>(), batch.column(key[1]).as_string::<i32>());
            for i in 0..batch.num_rows() {
                // Snapshots of earlier versions don't have it: when the row was read stands in.
                let at = if first.is_valid(i) { first.value(i) } else { fetched.value(i) };
                seen_before.insert((entity.value(i), id.value(i)), at);
            }
        }
        let (entity, id) =
            (merged.column(key[0]).as_string::<i32>(), merged.column(key[1]).as_string::<i32>());
        let (fetched, start) = (times(merged, "fetched_at"), times(merged, "start_time"));
        let status = merged.column(place("status")).as_string::<i32>();
        let seen: TimestampMicrosecondArray = (0..merged.num_rows())
            .map(|i| seen_before.get(&(entity.value(i), id.value(i))).copied().unwrap_or(fetched.value(i)))
            .collect::<Vec<i64>>()
            .into();
        let clock = self.sources.base.run_clock(self.target.snapshot_at);
        let given_up: BooleanArray = (0..merged.num_rows())
            .map(|i| {
                let begun = if start.is_valid(i) { start.value(i) } else { seen.value(i) };
                let is_open = status.is_valid(i) && !is_terminal(status.value(i));
                Some(is_open && is_given_up(Some(begun), clock))
            })
            .collect();
        let mut columns = merged.columns().to_vec();
        columns[at_seen] = Arc::new(seen.with_timezone("UTC"));
        columns[at_up] = Arc::new(given_up);
        RecordBatch::try_new(merged.schema(), columns)
    }

    /// Whether the crawl knows everything that the API still has of an entity: what it doesn't know is gone.
    fn all_known(&self, endpoint: Endpoint, entity: &str) -> bool {
        match self.index.coverage.get(&(endpoint, Some(Arc::from(entity)))) {
            // Neither listed nor kept.
            None => true,
            Some(coverage) => coverage.whole,
        }
    }

    fn failed(&self, error: ArrowError) -> Error {
        Error::Snapshot(snapshot::Error::of_table(self.table)(error))
    }
}

fn keys(table: &Table, batch: &RecordBatch) -> HashSet<(String, String)> {
    let key = table.key_indices();
    let column = |i: usize| -> &StringArray { batch.column(key[i]).as_string::<i32>() };
    let (entity, id) = (column(0), column(1));
    (0..batch.num_rows()).map(|i| (entity.value(i).to_owned(), id.value(i).to_owned())).collect()
}

/// A table of the last snapshot, cut into the rows of each group or project.
struct Groups {
    reader: Option<TableReader>,
    batch: Option<RecordBatch>,
}

impl Groups {
    fn new(reader: Option<TableReader>) -> Self {
        Self { reader, batch: None }
    }

    fn fill(&mut self) -> Result<(), Error> {
        while self.batch.as_ref().is_none_or(|batch| batch.num_rows() == 0) {
            let Some(next) = self.reader.as_mut().and_then(Iterator::next) else {
                self.batch = None;
                return Ok(());
            };
            self.batch = Some(next?);
        }
        Ok(())
    }

    /// The entity whose rows come next.
    fn entity(&mut self) -> Result<Option<&str>, Error> {
        self.fill()?;
        Ok(self.batch.as_ref().map(|batch| batch.column(0).as_string::<i32>().value(0)))
    }

    /// The rows of the entity that comes next.
    fn take(&mut self) -> Result<(Arc<str>, Vec<RecordBatch>), Error> {
        let entity: Arc<str> = Arc::from(self.entity()?.unwrap_or_default());
        let mut parts = Vec::new();
        while self.entity()? == Some(&*entity) {
            let batch = self.batch.take().expect("filled above");
            let ids = batch.column(0).as_string::<i32>();
            let count = (0..batch.num_rows()).take_while(|i| ids.value(*i) == &*entity).count();
            parts.push(batch.slice(0, count));
            self.batch = Some(batch.slice(count, batch.num_rows() - count));
        }
        Ok((entity, parts))
    }
}

/// Removes the Parquet files that were written only for tables to be derived from.
///
/// # Errors
/// If one can't be removed.
pub fn strip(built: &mut [Built], folder: &Path, formats: &[Format]) -> Result<(), Error> {
    built.iter_mut().try_for_each(|table| strip_files(&mut table.entry, folder, formats))?;
    Ok(())
}

/// Removes a table's files of other formats.
///
/// # Errors
/// If one can't be removed.
pub fn strip_files(entry: &mut TableEntry, folder: &Path, formats: &[Format]) -> Result<(), snapshot::Error> {
    let unwanted = |format: &str| !formats.iter().any(|f| f.name() == format);
    for file in entry.files.iter().filter(|f| unwanted(&f.format)) {
        let path = folder.join(&file.path);
        std::fs::remove_file(&path).map_err(|source| snapshot::Error::Io {
            what: "can't remove",
            path,
            source,
        })?;
    }
    entry.files.retain(|f| !unwanted(&f.format));
    Ok(())
}
