//! The snapshot of an import: its queries, the totals of all imports, and what is derived from them.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use chrono::{DateTime, Utc};

use super::error::Error;
use super::totals::AllTotals;
use crate::audit;
use crate::derive::names::TableName;
use crate::derive::{DERIVATIONS, Derivation, Given, Inputs, LINEAGE, PART_ROWS};
use crate::export::{self, Known};
use crate::registry;
use crate::schema::{Datum, Row, SCHEMA_VERSION, Table, batch_of};
use crate::snapshot::{
    self, Counting, Format, KeyRange, Lake, MANIFEST_VERSION, Manifest, Pseudonyms, SnapshotId, Staging,
    TableEntry, TableReader, TableState, TableWriter, ToolEntry,
};
use crate::store::scratch;
use crate::tables::{AUDIT_FINDINGS, AUDIT_RULES, DATA_CONNECTIONS, HISTORY, WAREHOUSE_QUERIES};

/// Rows that are written at a time.
const CHUNK_ROWS: usize = 8192;

/// An import in progress, with the snapshots that it builds on.
pub struct Work<'a> {
    lake: &'a Lake,
    newest: &'a Manifest,
    given: &'a Given,
    audit: &'a audit::Config,
    at: DateTime<Utc>,
    committed_at: DateTime<Utc>,
    derivations: Vec<&'static Derivation>,
    elsewhere: HashMap<&'static str, PathBuf>,
    scratch: tempfile::TempDir,
    pseudonyms: Arc<Pseudonyms>,
}

impl<'a> Work<'a> {
    /// Finds the tables that derived ones are computed from; those of an object store are fetched.
    pub fn new(
        lake: &'a Lake,
        newest: &'a Manifest,
        given: &'a Given,
        audit: &'a audit::Config,
        at: DateTime<Utc>,
        committed_at: DateTime<Utc>,
    ) -> Result<Self, Error> {
        let scratch = scratch().map_err(snapshot::Error::from)?;
        let (derivations, elsewhere) = (Vec::new(), HashMap::new());
        let pseudonyms = lake.pseudonyms()?;
        let mut work = Self {
            lake,
            newest,
            given,
            audit,
            at,
            committed_at,
            derivations,
            elsewhere,
            scratch,
            pseudonyms,
        };
        let holds = |name: &str| newest.tables.get(name).is_some_and(|table| !table.files.is_empty());
        let mut fresh: BTreeSet<&str> = HISTORY.iter().map(|table| table.name).collect();
        let mut wanted = BTreeSet::from([DATA_CONNECTIONS.name]);
        for derivation in DERIVATIONS {
            let from = derivation.input_names();
            let is_moved = from.iter().any(|name| fresh.contains(name));
            if is_moved && from.iter().all(|name| fresh.contains(name) || holds(name)) {
                wanted.extend(from.iter().filter(|name| !fresh.contains(**name)));
                fresh.insert(derivation.table.name);
                work.derivations.push(derivation);
            }
        }
        for name in wanted.into_iter().filter(|name| holds(name)) {
            work.find(registry::by_name(name).expect("a table of the registry"))?;
        }
        Ok(work)
    }

    /// Finds a table's Parquet file, or writes one.
    fn find(&mut self, table: &'static Table) -> Result<(), Error> {
        let entry = &self.newest.tables[table.name];
        let file = entry.files.iter().find(|file| file.format == Format::Parquet.name());
        if let Some(file) = file {
            self.elsewhere.insert(table.name, self.lake.file(self.newest, file)?);
            return Ok(());
        }
        let Some(reader) = TableReader::open(self.lake, self.newest, table)? else { return Ok(()) };
        let path = self.scratch.path().join(format!("{}.parquet", table.name));
        reader.write_parquet(&path)?;
        self.elsewhere.insert(table.name, path);
        Ok(())
    }

    /// A folder for temporary files.
    pub fn folder(&self) -> &Path {
        self.scratch.path()
    }

    /// The tables of earlier snapshots that derived ones are computed from.
    pub fn inputs(&self) -> Inputs<'_> {
        self.inputs_in(self.scratch.path())
    }

    fn inputs_in<'b>(&'b self, folder: &'b Path) -> Inputs<'b> {
        Inputs {
            folder,
            elsewhere: self.elsewhere.clone(),
            snapshot_at: self.at,
            last_lineage: None,
            given: self.given,
            projects: KeyRange::default(),
            part_rows: PART_ROWS,
            components: Arc::default(),
        }
    }

    /// Begins the snapshot.
    pub fn begin(self) -> Result<Writing<'a>, Error> {
        let id = SnapshotId::at(self.at);
        let staging = self.lake.stage(&id)?;
        // In the formats of the lake's newest snapshot; tables are derived from Parquet.
        let wants = |format: Format| {
            let mut files = self.newest.tables.values().flat_map(|table| &table.files);
            files.any(|file| file.format == format.name())
        };
        let formats: Vec<Format> = [Format::Parquet, Format::Csv].into_iter().filter(|f| wants(*f)).collect();
        let mut written = formats.clone();
        if !written.contains(&Format::Parquet) {
            written.push(Format::Parquet);
        }
        let queries =
            TableWriter::create(&WAREHOUSE_QUERIES, &written, staging.folder(), &id)?.with(&self.pseudonyms);
        let totals = AllTotals::new(self.scratch.path(), self.at.timestamp_micros());
        Ok(Writing {
            work: self,
            staging,
            id,
            formats,
            written,
            queries,
            chunk: Vec::new(),
            rows: 0,
            totals,
            used: BTreeMap::new(),
        })
    }
}

/// A snapshot of an import that is being written.
pub struct Writing<'a> {
    work: Work<'a>,
    staging: Staging,
    id: SnapshotId,
    formats: Vec<Format>,
    written: Vec<Format>,
    queries: TableWriter,
    chunk: Vec<Row>,
    rows: u64,
    totals: AllTotals,
    used: BTreeMap<String, (u64, DateTime<Utc>)>,
}

impl Writing<'_> {
    /// Adds a query: a row of `warehouse_queries`, in the order of the key.
    pub fn add(&mut self, row: Row, names: &HashMap<String, TableName>) -> Result<(), Error> {
        self.totals.add(&row, names)?;
        let column = |name: &str| &row[WAREHOUSE_QUERIES.index_of(name).expect("a column of the table")];
        let name = match column("connection_name") {
            Datum::Text(name) => name.clone(),
            _ => String::new(),
        };
        if let Datum::Time(at) = column("started_at") {
            let at = DateTime::from_timestamp_micros(*at).unwrap_or_default();
            let (queries, last) = self.used.entry(name).or_insert((0, at));
            (*queries, *last) = (*queries + 1, at.max(*last));
        }
        self.rows += 1;
        self.chunk.push(row);
        if self.chunk.len() >= CHUNK_ROWS { self.flush() } else { Ok(()) }
    }

    /// Queries that were added.
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// Queries that were added, and the start of the last one, by connection.
    pub fn used(&self) -> &BTreeMap<String, (u64, DateTime<Utc>)> {
        &self.used
    }

    fn flush(&mut self) -> Result<(), Error> {
        let rows = std::mem::take(&mut self.chunk);
        Ok(self.queries.write(&batch(&WAREHOUSE_QUERIES, rows)?)?)
    }

    /// Writes everything and commits.
    pub fn commit(mut self, counting: &Counting) -> Result<(Manifest, String), Error> {
        self.flush()?;
        let Self { work, staging, id, formats, written, queries, totals, .. } = self;
        let mut tables = BTreeMap::from([(WAREHOUSE_QUERIES.name, queries.finish()?)]);
        let folder = staging.folder();
        let create = |table: &'static Table| {
            Ok(TableWriter::create(table, &written, folder, &id)?.with(&work.pseudonyms))
        };
        let mut sinks: HashMap<&str, (TableWriter, Vec<Row>)> = HashMap::new();
        for table in HISTORY.iter().filter(|table| !table.is_split()) {
            sinks.insert(table.name, (create(table)?, Vec::new()));
        }
        let now = Datum::Time(work.at.timestamp_micros());
        let earlier = |table: &'static Table| Ok(TableReader::open(work.lake, work.newest, table)?);
        totals.finish(earlier, |table, mut row| {
            if let Some(last) = row.last_mut() {
                *last = now.clone();
            }
            let (writer, rows) = sinks.get_mut(table.name).expect("a sink for each table of totals");
            rows.push(row);
            if rows.len() >= CHUNK_ROWS {
                writer.write(&batch(table, std::mem::take(rows))?)?;
            }
            Ok(())
        })?;
        for (name, (mut writer, rows)) in sinks {
            let table = registry::by_name(name).expect("a table of the registry");
            writer.write(&batch(table, rows)?)?;
            tables.insert(table.name, writer.finish()?);
        }
        let last_lineage = match work.newest.tables.get(LINEAGE.name) {
            Some(entry) => {
                let file = entry.files.iter().find(|file| file.format == Format::Parquet.name());
                file.map(|file| work.lake.file(work.newest, file)).transpose()?
            }
            None => None,
        };
        let inputs = Inputs { last_lineage, ..work.inputs_in(folder) };
        for derivation in &work.derivations {
            tables.insert(derivation.table.name, derivation.write(&inputs, create)?);
        }
        drop(inputs);
        if work.newest.tables.get(AUDIT_FINDINGS.name).is_some_and(|table| !table.files.is_empty()) {
            tables.extend(work.audited(folder, create)?);
        }
        let manifest = work.manifest(&id, states(&work, tables), &formats, folder)?;
        counting.check()?;
        let place = staging.commit(&manifest)?;
        Ok((manifest, place))
    }
}

fn batch(table: &'static Table, rows: Vec<Row>) -> Result<arrow::array::RecordBatch, Error> {
    Ok(batch_of(table, rows).map_err(snapshot::Error::of_table(table))?)
}

/// The tables with their states: those of an import are read, derived ones are only as good as their inputs.
fn states(work: &Work<'_>, tables: BTreeMap<&'static str, TableEntry>) -> BTreeMap<String, TableEntry> {
    let mut known: HashMap<&str, Known> = HashMap::new();
    for (name, entry) in &work.newest.tables {
        // What was read for that snapshot is carried over into this one.
        let state = match entry.state.unwrap_or_default() {
            TableState::Read => TableState::Reused,
            state => state,
        };
        known.insert(name, Known { state, ..Known::default() });
    }
    known.extend(HISTORY.iter().map(|table| (table.name, Known::default())));
    for derivation in &work.derivations {
        let inputs: Vec<Known> =
            derivation.input_names().iter().filter_map(|name| known.get(name)).copied().collect();
        known.insert(derivation.table.name, export::of_inputs(&inputs));
    }
    for table in [&AUDIT_FINDINGS, &AUDIT_RULES] {
        let from = registry::inputs(table);
        let inputs: Vec<Known> = from.iter().filter_map(|name| known.get(name)).copied().collect();
        known.insert(table.name, export::of_inputs(&inputs));
    }
    let base = |name: &str| {
        let file = work.newest.tables.get(name)?.files.first()?;
        Some(file.snapshot.clone().unwrap_or_else(|| work.newest.snapshot_id.clone()))
    };
    let entry = |(name, entry): (&'static str, TableEntry)| {
        let (state, base) = (known.get(name).copied().unwrap_or_default().state, base(name));
        let base = base.filter(|_| name != WAREHOUSE_QUERIES.name);
        (name.to_owned(), TableEntry { state: Some(state), base, ..entry })
    };
    tables.into_iter().map(entry).collect()
}

impl Work<'_> {
    /// Audits again, this time with the imported queries.
    fn audited(
        &self,
        folder: &Path,
        create: impl Fn(&'static Table) -> Result<TableWriter, snapshot::Error>,
    ) -> Result<[(&'static str, TableEntry); 2], Error> {
        let below = audit::Committed { lake: self.lake, manifest: self.newest };
        let tables = audit::Overlay { folder: audit::Folder(folder), below };
        let mut found = audit::audit_folder(&tables, self.at, &self.newest.workspace, self.audit)?;
        audit::Record::date_new(&mut found, self.lake, self.newest)?;
        Ok(found.write(self.at, create)?.map(|(table, entry)| (table.name, entry)))
    }

    fn manifest(
        &self,
        id: &SnapshotId,
        mut tables: BTreeMap<String, TableEntry>,
        formats: &[Format],
        folder: &Path,
    ) -> Result<Manifest, Error> {
        for entry in tables.values_mut() {
            export::strip_files(entry, folder, formats)?;
        }
        Ok(self.pseudonyms.manifest(Manifest {
            manifest_version: MANIFEST_VERSION,
            snapshot_id: id.clone(),
            sequence: Some(self.lake.sequence_for(id)?),
            snapshot_at: self.at,
            committed_at: self.committed_at,
            tool: ToolEntry { name: "hexport".into(), version: env!("CARGO_PKG_VERSION").into() },
            workspace: self.newest.workspace.clone(),
            acting_as: self.newest.acting_as.clone(),
            complete: !tables.values().any(|entry| entry.state.is_some_and(TableState::is_gap)),
            schema_version: SCHEMA_VERSION,
            tables,
            endpoints: BTreeMap::new(),
            schema_drift: BTreeMap::new(),
            forgotten: Vec::new(),
        }))
    }
}
