//! Query histories of warehouses: the third source of evidence for what projects read, and the only one for what they
//! cost.
//!
//! Hex adds a comment to each query that it sends, naming the project, cell and run. An import reads a warehouse's
//! history, keeps the queries that have the comment, and commits a snapshot of them and of their totals, those of
//! earlier imports included.
//!
//! ```no_run
//! # fn example() -> Result<(), hexport::history::Error> {
//! use hexport::history::{Kind, Options, import};
//! use hexport::snapshot::Lake;
//!
//! let lake = Lake::new("/data/lake/hex");
//! let outcome = import(&lake, &["history.parquet".into()], &Options::new(Kind::Snowflake))?;
//! println!("{} of {} queries are Hex's and new", outcome.used, outcome.rows);
//! # Ok(()) }
//! ```

mod clock;
mod comment;
mod commit;
mod error;
mod extraction;
mod json;
mod kind;
mod query;
mod read;
mod sort;
mod totals;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::path::{Path, PathBuf};

use arrow::array::{Array, AsArray};
use arrow::datatypes::{Date32Type, Int64Type, TimestampMicrosecondType};
use chrono::{DateTime, Utc};
use chrono_tz::Tz;

use crate::audit;
use crate::derive::{self, Given};
use crate::export;
use crate::schema::{Datum, Row};
use crate::snapshot::{Counting, DeltaMode, Lake, Manifest, Manifests, SnapshotId, TableReader};
use crate::tables::{DATA_CONNECTIONS, HISTORY_DAYS, WAREHOUSE_QUERIES};

use query::{Connection, Connections, Mapper, Outcome as Mapped};
use read::Reader;
use sort::{Keys, Sorter};

pub use comment::{Comment, Parted, State as CommentState, read as read_comment};
pub use error::Error;
pub use extraction::{Extraction, extractions, template};
pub use kind::{Field, Kind};
pub use query::{Left, Remarks, Sql};

/// Settings of an import.
#[derive(Debug, Clone)]
pub struct Options {
    /// Kind of warehouse.
    pub kind: Kind,
    /// The connection that the history belongs to, instead of the one in each query's comment.
    pub connection: Option<String>,
    /// Columns that the user maps to fields.
    pub map: BTreeMap<Field, String>,
    /// Time zone of times that don't name one.
    pub zone: Tz,
    /// Whether queries' SQL is kept.
    pub sql: Sql,
    /// Settings of the warehouses from `hexport.toml`.
    pub given: Given,
    /// Settings of the audit.
    pub audit: audit::Config,
    /// Mode of the lake's Delta tables, if it has any.
    pub delta: DeltaMode,
    /// A fixed time for the snapshot, so that the same files give the same snapshot.
    pub fixed_time: Option<DateTime<Utc>>,
}

impl Options {
    /// The defaults for a kind of warehouse.
    pub fn new(kind: Kind) -> Self {
        Self {
            kind,
            connection: None,
            map: BTreeMap::new(),
            zone: Tz::UTC,
            sql: Sql::Dropped,
            given: Given::default(),
            audit: audit::Config::default(),
            delta: DeltaMode::History,
            fixed_time: None,
        }
    }
}

/// Result of an import.
#[derive(Debug, Default)]
pub struct Outcome {
    /// The snapshot and its place; none if the files have nothing new.
    pub committed: Option<(Manifest, String)>,
    /// Rows of the files.
    pub rows: u64,
    /// Of these, queries that were imported.
    pub used: u64,
    /// Rows that were not used, by the reason.
    pub left: BTreeMap<Left, u64>,
    /// Counts of unreadable rows, by the reason.
    pub unreadable: BTreeMap<&'static str, u64>,
    /// Remarks about rows that were imported.
    pub remarks: Remarks,
    /// Side formats that could not be written: the snapshot is committed all the same.
    pub side_failures: Vec<String>,
    /// Imported queries by connection, with the start of the last one that is known: the watermark.
    pub connections: BTreeMap<String, (u64, DateTime<Utc>)>,
}

impl Outcome {
    /// Rows that carry Hex's comment where it can be read, whether used or not.
    pub fn with_comment(&self) -> u64 {
        let of = |why: &Left| !matches!(why, Left::Foreign | Left::CutOff | Left::Wrapped | Left::Unreadable);
        self.used + self.left.iter().filter(|(why, _)| of(why)).map(|(_, n)| n).sum::<u64>()
    }

    fn leave(&mut self, why: Left, n: u64) {
        if n > 0 {
            *self.left.entry(why).or_default() += n;
        }
    }
}

/// Imports files of a warehouse's query history, and commits a snapshot on the newest of each table.
///
/// # Errors
/// Any of [`Error`]. Nothing is committed then.
pub fn import(lake: &Lake, files: &[PathBuf], options: &Options) -> Result<Outcome, Error> {
    lake.check()?;
    let lock = lake.lock()?;
    // Before the totals are looked at, and until they are committed.
    let counting = lake.counting()?;
    let mut result = import_locked(lake, &counting, files, options);
    drop(counting);
    if let Ok(outcome) = &mut result
        && let Some((manifest, _)) = &outcome.committed
        && let Err(why) = export::follow_with_delta(lake, manifest, options.delta)
    {
        outcome.side_failures.push(format!("Delta tables: {why}"));
    }
    lake.tidy(lock);
    result
}

fn import_locked(
    lake: &Lake,
    counting: &Counting,
    files: &[PathBuf],
    options: &Options,
) -> Result<Outcome, Error> {
    let manifests = lake.manifests()?;
    let newest = manifests.newest_of_all().ok_or_else(|| Error::NoSnapshot { place: lake.name() })?.manifest;
    lake.repair()?;
    let at = free_time(&manifests, options.fixed_time.unwrap_or_else(Utc::now));
    let bases = bases(&manifests, &newest);
    lake.building(&SnapshotId::at(at), &bases, || {
        import_on(lake, (&manifests, &newest), at, counting, files, options)
    })
}

/// The snapshots that an import reads: the newest of each table, and those of earlier imports.
fn bases(manifests: &Manifests, newest: &Manifest) -> BTreeSet<SnapshotId> {
    let files = newest.tables.values().flat_map(|table| &table.files);
    let homes = files.map(|file| file.snapshot.clone().unwrap_or_else(|| newest.snapshot_id.clone()));
    let holds = |manifest: &&Manifest| manifest.tables.contains_key(WAREHOUSE_QUERIES.name);
    let imports = manifests.readable.iter().filter(holds).map(|manifest| manifest.snapshot_id.clone());
    homes.chain(imports).collect()
}

fn import_on(
    lake: &Lake,
    (manifests, newest): (&Manifests, &Manifest),
    at: DateTime<Utc>,
    counting: &Counting,
    files: &[PathBuf],
    options: &Options,
) -> Result<Outcome, Error> {
    let work = commit::Work::new(
        lake,
        newest,
        &options.given,
        &options.audit,
        at,
        options.fixed_time.map_or_else(Utc::now, |_| at),
    )?;
    let connections = connections(&work)?;
    let connection = match &options.connection {
        None => None,
        Some(name) => Some(
            connections
                .named(name)
                .ok_or_else(|| Error::Connection { name: name.clone(), known: connections.names() })?,
        ),
    };
    let now = at.timestamp_micros();
    let mut mapper = Mapper::new(options.kind, options.sql, &connections, now);
    mapper.connection = connection;
    mapper.workspace = newest.workspace.org_id.as_deref();
    let reader = Reader { kind: options.kind, map: options.map.clone(), zone: options.zone };
    let mut outcome = Outcome::default();
    let mut sorter = Sorter::new(&WAREHOUSE_QUERIES, work.folder());
    for file in files {
        read_file(file, &reader, &mut mapper, &mut sorter, now, &mut outcome)?;
    }
    outcome.remarks = std::mem::take(&mut mapper.remarks);
    let removed = removed_days(lake, manifests, newest, options.kind)?;
    let known = known_keys(lake, manifests)?;
    let mut writing = work.begin()?;
    let mut left: BTreeMap<Left, u64> = BTreeMap::new();
    let repeated = sorter.distinct(known, |row, is_known| {
        let why = match (is_known, removed.contains(&connection_day(&row))) {
            (true, _) => Left::Known,
            (false, true) => Left::Removed,
            (false, false) => return writing.add(row, &mapper.tables),
        };
        *left.entry(why).or_default() += 1;
        Ok(())
    })?;
    left.into_iter().for_each(|(why, n)| outcome.leave(why, n));
    outcome.leave(Left::Repeated, repeated);
    outcome.used = writing.rows();
    if outcome.used > 0 {
        let used = writing.used().clone();
        outcome.committed = Some(writing.commit(counting)?);
        outcome.connections = used;
    }
    Ok(outcome)
}

/// Reads a file's queries of Hex into the sorter.
fn read_file(
    file: &Path,
    reader: &Reader,
    mapper: &mut Mapper<'_>,
    sorter: &mut Sorter,
    now: i64,
    outcome: &mut Outcome,
) -> Result<(), Error> {
    let mut is_checked = false;
    reader.each(file, &mut |raw| {
        outcome.rows += 1;
        let raw = match raw {
            Ok(raw) => raw,
            Err(why) => {
                *outcome.unreadable.entry(why).or_default() += 1;
                outcome.leave(Left::Unreadable, 1);
                return Ok(());
            }
        };
        if !std::mem::replace(&mut is_checked, true)
            && let Some(theirs) = raw.text(Field::Warehouse)
            && !theirs.eq_ignore_ascii_case(reader.kind.name())
            && Kind::ALL.iter().any(|kind| kind.name().eq_ignore_ascii_case(theirs))
        {
            let (path, theirs) = (file.to_owned(), theirs.to_owned());
            return Err(Error::OtherKind { path, theirs, ours: reader.kind });
        }
        match mapper.map(&raw) {
            Mapped::Query(mut row) => {
                row.extend([Datum::Time(now), Datum::Time(now)]);
                sorter.push(row)
            }
            Mapped::Left(why, detail) => {
                if why == Left::Unreadable {
                    *outcome.unreadable.entry(detail).or_default() += 1;
                }
                outcome.leave(why, 1);
                Ok(())
            }
        }
    })
}

/// A time whose snapshot isn't there yet: identifiers have a resolution of a second.
fn free_time(manifests: &Manifests, mut at: DateTime<Utc>) -> DateTime<Utc> {
    let taken: HashSet<&SnapshotId> = manifests
        .readable
        .iter()
        .map(|manifest| &manifest.snapshot_id)
        .chain(manifests.damaged.iter().map(|damaged| &damaged.snapshot_id))
        .collect();
    while taken.contains(&SnapshotId::at(at)) {
        at += chrono::TimeDelta::seconds(1);
    }
    at
}

/// The workspace's connections, with what completes names in their queries.
fn connections(work: &commit::Work<'_>) -> Result<Connections, Error> {
    let inputs = work.inputs();
    if !inputs.has(DATA_CONNECTIONS.name) {
        return Ok(Connections::default());
    }
    let mut namings = derive::namings(&inputs)?;
    let mut all = Vec::new();
    for batch in inputs.read(&DATA_CONNECTIONS)? {
        let batch = batch?;
        let text = |name: &str, row: usize| {
            let texts = batch.column_by_name(name).expect("a column of the table").as_string::<i32>();
            texts.is_valid(row).then(|| texts.value(row).to_owned())
        };
        for row in 0..batch.num_rows() {
            let Some(id) = text("data_connection_id", row) else { continue };
            let name = text("name", row).unwrap_or_else(|| id.clone());
            let defaults = namings.remove(&id).map(|naming| naming.defaults).unwrap_or_default();
            all.push(Connection { id, name, defaults });
        }
    }
    Ok(Connections::new(all))
}

/// Keys of the queries that earlier imports have.
fn known_keys(lake: &Lake, manifests: &Manifests) -> Result<Vec<Keys>, Error> {
    let table = &WAREHOUSE_QUERIES;
    let mut keys = Vec::new();
    for manifest in &manifests.readable {
        if let Some(reader) = TableReader::open_columns(lake, manifest, table, table.key)? {
            keys.push(Keys::of(table, reader));
        }
    }
    Ok(keys)
}

type ConnectionDay = (Option<String>, i32);

fn connection_day(row: &Row) -> ConnectionDay {
    let column = |name: &str| &row[WAREHOUSE_QUERIES.index_of(name).expect("a column of the table")];
    let connection = match column("connection_name") {
        Datum::Text(name) => Some(name.clone()),
        _ => None,
    };
    let day = match column("started_at") {
        Datum::Time(at) => totals::day_of(*at),
        _ => 0,
    };
    (connection, day)
}

/// Days of which more queries were imported than the snapshots that are left hold: those of others were pruned, and
/// which ones they were isn't known any longer.
fn removed_days(
    lake: &Lake,
    manifests: &Manifests,
    newest: &Manifest,
    kind: Kind,
) -> Result<HashSet<ConnectionDay>, Error> {
    let mut counted: HashMap<ConnectionDay, i64> = HashMap::new();
    for batch in TableReader::open(lake, newest, &HISTORY_DAYS)?.into_iter().flatten() {
        let batch = batch?;
        let column = |name: &str| batch.column_by_name(name).expect("a column of the table");
        let (kinds, names) =
            (column("warehouse").as_string::<i32>(), column("connection_name").as_string::<i32>());
        let days = column("day").as_primitive::<Date32Type>();
        let queries = column("queries").as_primitive::<Int64Type>();
        for row in (0..batch.num_rows()).filter(|row| kinds.value(*row) == kind.name()) {
            let name = names.is_valid(row).then(|| names.value(row).to_owned());
            *counted.entry((name, days.value(row))).or_default() += queries.value(row);
        }
    }
    if counted.is_empty() {
        return Ok(HashSet::new());
    }
    for manifest in &manifests.readable {
        let columns = ["warehouse", "connection_name", "started_at"];
        for batch in
            TableReader::open_columns(lake, manifest, &WAREHOUSE_QUERIES, &columns)?.into_iter().flatten()
        {
            let batch = batch?;
            let column = |name: &str| batch.column_by_name(name).expect("a column of the table");
            let (kinds, names) =
                (column("warehouse").as_string::<i32>(), column("connection_name").as_string::<i32>());
            let starts = column("started_at").as_primitive::<TimestampMicrosecondType>();
            for row in (0..batch.num_rows()).filter(|row| kinds.value(*row) == kind.name()) {
                let name = names.is_valid(row).then(|| names.value(row).to_owned());
                if let Some(left) = counted.get_mut(&(name, totals::day_of(starts.value(row)))) {
                    *left -= 1;
                }
            }
        }
    }
    Ok(counted.into_iter().filter(|(_, left)| *left > 0).map(|(day, _)| day).collect())
}
