//! Knowledge of earlier snapshots, which an incremental crawl builds on.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use arrow::array::{Array, AsArray, BooleanArray, RecordBatch, StringArray, TimestampMicrosecondArray};
use arrow::datatypes::{Int64Type, TimestampMicrosecondType};
use chrono::{DateTime, TimeDelta, Utc};

use super::{Endpoint, Scope, State};
use crate::client::project_file::COMPONENT_IMPORT;
use crate::client::runs::is_terminal;
use crate::client::users::ActingAs;
use crate::schema::{GONE, Table};
use crate::snapshot::{self, Lake, Manifest, TableReader};
use crate::tables::{CELLS, CRAWL_COVERAGE, ENTITIES, RUNS};

/// Latest known final runs that are kept of each project: a page that has one of them has reached what is
/// known. More than one, since a run may be deleted.
const LANDMARKS: usize = 16;
/// A run that is still open after this long is given up: it is not asked about again.
pub const GIVEN_UP_AFTER: TimeDelta = TimeDelta::days(7);

/// An earlier snapshot's knowledge of an endpoint and entity.
#[derive(Debug, Clone)]
pub struct Known {
    /// When it was last read.
    pub last_read_at: Option<DateTime<Utc>>,
    /// State of the project when it was last read to its end.
    pub stamp: Option<String>,
    /// Items then.
    pub rows: u64,
}

/// An earlier snapshot's knowledge of a project's runs.
#[derive(Debug, Default)]
pub struct KnownRuns {
    landmarks: Vec<(i64, u64)>,
    /// Runs that had not ended, and are not given up.
    pub open: Vec<String>,
    /// Runs that had not ended, with the time since which they are known to be open.
    undecided: Vec<(String, Option<i64>)>,
    /// Start of the latest API run, in microseconds since 1970.
    pub latest_api_run: Option<i64>,
    /// Runs.
    pub runs: u64,
}

impl KnownRuns {
    /// Whether the run is known and final, and so is everything older than it, but for [`open`](Self::open).
    pub fn is_landmark(&self, run_id: &str) -> bool {
        let hash = hash(run_id);
        self.landmarks.iter().any(|(_, known)| *known == hash)
    }
}

/// Knowledge of earlier snapshots: for each table, of the newest snapshot that has it.
#[derive(Debug, Default)]
pub struct Base {
    manifests: BTreeMap<String, Arc<Manifest>>,
    known: HashMap<(Endpoint, Option<Arc<str>>), Known>,
    missing: HashMap<Endpoint, HashSet<Arc<str>>>,
    listed: HashMap<Endpoint, HashSet<Arc<str>>>,
    latest_run: Option<i64>,
    runs: HashMap<Arc<str>, Arc<KnownRuns>>,
    /// Projects that have a cell which imports a component.
    importers: HashSet<Arc<str>>,
}

impl Base {
    /// Reads what an incremental crawl needs of the snapshots that each table builds on.
    ///
    /// # Errors
    /// [`snapshot::Error`].
    pub fn load(
        lake: &Lake,
        manifests: BTreeMap<String, Arc<Manifest>>,
        now: DateTime<Utc>,
    ) -> Result<Self, snapshot::Error> {
        let mut base = Self { manifests, ..Self::default() };
        let mut by_snapshot: BTreeMap<&str, (&Arc<Manifest>, HashSet<Endpoint>)> = BTreeMap::new();
        for endpoint in Endpoint::ALL {
            if let Some(manifest) = base.manifest_of(endpoint) {
                let of = by_snapshot.entry(&manifest.snapshot_id);
                of.or_insert_with(|| (manifest, HashSet::new())).1.insert(endpoint);
            }
        }
        let mut coverage = Vec::new();
        for (manifest, endpoints) in by_snapshot.into_values() {
            if let Some(reader) = TableReader::open(lake, manifest, &CRAWL_COVERAGE)? {
                coverage.push((reader, endpoints));
            }
        }
        for (reader, endpoints) in coverage {
            for batch in reader {
                base.read_coverage(&batch?, &endpoints);
            }
        }
        for endpoint in Endpoint::ALL.into_iter().filter(|e| e.scope() == Scope::Workspace) {
            base.read_listed(lake, endpoint)?;
        }
        base.read_importers(lake)?;
        let columns = ["project_id", "run_id", "status", "run_trigger", "start_time", "first_seen_at", GONE];
        if let Some(manifest) = base.manifests.get(RUNS.name)
            && let Some(reader) = TableReader::open_columns(lake, manifest, &RUNS, &columns)?
        {
            let mut runs: HashMap<Arc<str>, KnownRuns> = HashMap::new();
            for batch in reader {
                base.latest_run = base.latest_run.max(read_runs(&batch?, &mut runs));
            }
            let clock = base.run_clock(now);
            for known in runs.values_mut() {
                let undecided = std::mem::take(&mut known.undecided).into_iter();
                known.open =
                    undecided.filter(|(_, since)| !is_given_up(*since, clock)).map(|(id, _)| id).collect();
            }
            base.runs = runs.into_iter().map(|(id, known)| (id, Arc::new(known))).collect();
        }
        Ok(base)
    }

    /// The snapshot that a table builds on.
    pub fn manifest(&self, table: &Table) -> Option<&Arc<Manifest>> {
        self.manifests.get(table.name)
    }

    /// Whether there is nothing to build on.
    pub fn is_empty(&self) -> bool {
        self.manifests.is_empty()
    }

    /// The snapshot that an endpoint's first table builds on.
    fn manifest_of(&self, endpoint: Endpoint) -> Option<&Arc<Manifest>> {
        self.manifest(primary_table(endpoint)?)
    }

    /// Knowledge of an endpoint and entity.
    pub fn known(&self, endpoint: Endpoint, entity: Option<&Arc<str>>) -> Option<&Known> {
        self.known.get(&(endpoint, entity.cloned()))
    }

    /// Entities that an endpoint was asked about, or (of a list) that it named and then no longer did.
    pub fn entities(&self, endpoint: Endpoint) -> impl Iterator<Item = &Arc<str>> {
        self.known.keys().filter(move |(of, _)| *of == endpoint).filter_map(|(_, entity)| entity.as_ref())
    }

    /// Entities that a list no longer named in the last snapshot, and whose rows were kept all the same.
    pub fn missing(&self, endpoint: Endpoint) -> Option<&HashSet<Arc<str>>> {
        self.missing.get(&endpoint)
    }

    /// The moment against which open runs are old: that of the latest run, so that two clocks that differ, or a
    /// workspace at rest, give up nothing too early.
    pub fn run_clock(&self, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
        let latest = DateTime::from_timestamp_micros(self.latest_run?)?;
        Some(latest.min(now))
    }

    /// Knowledge of a project's runs.
    pub fn runs(&self, project: &str) -> Option<&Arc<KnownRuns>> {
        self.runs.get(project)
    }

    /// Entities that a list of the workspace named, as far as their rows are kept; `None` if it is not known.
    pub fn listed(&self, list: Endpoint) -> Option<&HashSet<Arc<str>>> {
        self.listed.get(&list)
    }

    /// Who saw the rows of an endpoint; `None` if the snapshot doesn't say.
    pub fn seen_by(&self, endpoint: Endpoint) -> Option<&ActingAs> {
        let manifest = self.manifest_of(endpoint)?;
        let of_table = manifest.tables.get(primary_table(endpoint)?.name)?.seen_by.as_ref();
        of_table.or(manifest.acting_as.as_ref())
    }

    fn read_listed(&mut self, lake: &Lake, list: Endpoint) -> Result<(), snapshot::Error> {
        let Some(table) = primary_table(list) else { return Ok(()) };
        let Some(manifest) = self.manifests.get(table.name) else { return Ok(()) };
        let Some(reader) = TableReader::open_columns(lake, manifest, table, &table.key[..1])? else {
            return Ok(());
        };
        let mut ids = HashSet::new();
        for batch in reader {
            let batch = batch?;
            ids.extend(texts(&batch, table.key[0]).iter().flatten().map(Arc::from));
        }
        self.listed.insert(list, ids);
        Ok(())
    }

    /// Which projects have a cell that imports a component.
    fn read_importers(&mut self, lake: &Lake) -> Result<(), snapshot::Error> {
        let Some(manifest) = self.manifests.get(CELLS.name) else { return Ok(()) };
        let Some(reader) = TableReader::open_columns(lake, manifest, &CELLS, &["project_id", "cell_type"])?
        else {
            return Ok(());
        };
        for batch in reader {
            let batch = batch?;
            let (project, kind) = (texts(&batch, "project_id"), texts(&batch, "cell_type"));
            for i in (0..batch.num_rows()).filter(|i| kind.value(*i) == COMPONENT_IMPORT) {
                if !self.importers.contains(project.value(i)) {
                    self.importers.insert(Arc::from(project.value(i)));
                }
            }
        }
        Ok(())
    }

    /// Whether a cell of a project imports a component; `None` if its cells aren't known.
    pub fn imports_components(&self, project: &Arc<str>) -> Option<bool> {
        let cells = self.known(Endpoint::CELLS, Some(project)).filter(|known| known.last_read_at.is_some());
        cells.map(|_| self.importers.contains(project))
    }

    fn read_coverage(&mut self, batch: &RecordBatch, endpoints: &HashSet<Endpoint>) {
        let column = |name| texts(batch, name);
        let (operation, entity, stamp, state) =
            (column("operation"), column("entity_id"), column("stamp"), column("state"));
        let read = times(batch, "last_read_at");
        let rows =
            batch.column_by_name("rows").expect("a column that was asked for").as_primitive::<Int64Type>();
        for i in 0..batch.num_rows() {
            let id = entity.is_valid(i).then(|| Arc::<str>::from(entity.value(i)));
            let is_missing = state.value(i) == State::Missing.name();
            let endpoint = Endpoint::of(operation.value(i), id.is_some() && !is_missing);
            let Some(endpoint) = endpoint.filter(|e| endpoints.contains(e)) else { continue };
            if let (true, Some(id)) = (is_missing, &id) {
                self.missing.entry(endpoint).or_default().insert(id.clone());
                continue;
            }
            let entry = Known {
                last_read_at: read
                    .is_valid(i)
                    .then(|| DateTime::from_timestamp_micros(read.value(i)))
                    .flatten(),
                stamp: stamp.is_valid(i).then(|| stamp.value(i).to_owned()),
                rows: rows.value(i).max(0) as u64,
            };
            self.known.insert((endpoint, id), entry);
        }
    }
}

/// The table whose rows are an endpoint's items.
pub fn primary_table(endpoint: Endpoint) -> Option<&'static Table> {
    ENTITIES.iter().copied().find(|table| Endpoint::of_table(table) == Some(endpoint))
}

fn texts<'a>(batch: &'a RecordBatch, column: &str) -> &'a StringArray {
    batch.column_by_name(column).expect("a column that was asked for").as_string::<i32>()
}

fn times<'a>(batch: &'a RecordBatch, column: &str) -> &'a TimestampMicrosecondArray {
    batch
        .column_by_name(column)
        .expect("a column that was asked for")
        .as_primitive::<TimestampMicrosecondType>()
}

/// Takes in a batch of runs; gives the start of the latest one.
fn read_runs(batch: &RecordBatch, runs: &mut HashMap<Arc<str>, KnownRuns>) -> Option<i64> {
    let mut latest = None;
    let (project, run, status) = (texts(batch, "project_id"), texts(batch, "run_id"), texts(batch, "status"));
    let (start, first_seen) = (times(batch, "start_time"), times(batch, "first_seen_at"));
    let trigger = texts(batch, "run_trigger");
    let gone: &BooleanArray = batch.column_by_name(GONE).expect("a column that was asked for").as_boolean();
    for i in 0..batch.num_rows() {
        if gone.is_valid(i) && gone.value(i) {
            continue;
        }
        let known = match runs.get_mut(project.value(i)) {
            Some(known) => known,
            None => runs.entry(Arc::from(project.value(i))).or_default(),
        };
        known.runs += 1;
        let start = start.is_valid(i).then(|| start.value(i));
        latest = latest.max(start);
        if trigger.is_valid(i) && trigger.value(i) == "API" {
            known.latest_api_run = known.latest_api_run.max(start);
        }
        let begun = start.or_else(|| first_seen.is_valid(i).then(|| first_seen.value(i)));
        if !is_terminal(status.value(i)) {
            known.undecided.push((run.value(i).to_owned(), begun));
        } else if let Some(start) = start {
            let landmark = (start, hash(run.value(i)));
            let at = known.landmarks.partition_point(|other| *other > landmark);
            if at < LANDMARKS {
                known.landmarks.insert(at, landmark);
                known.landmarks.truncate(LANDMARKS);
            }
        }
    }
    latest
}

/// Whether a run that has not ended, and began or was first seen then, is given up.
pub fn is_given_up(begun: Option<i64>, clock: Option<DateTime<Utc>>) -> bool {
    begun.zip(clock).is_some_and(|(begun, clock)| begun < (clock - GIVEN_UP_AFTER).timestamp_micros())
}

fn hash(run_id: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    run_id.hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
impl Base {
    /// A base that knows of one endpoint and entity, for tests of what is decided from it.
    pub(super) fn with(endpoint: Endpoint, entity: &str, known: Known) -> Self {
        Self {
            known: HashMap::from([((endpoint, Some(Arc::from(entity))), known)]),
            runs: HashMap::from([(Arc::from(entity), Arc::default())]),
            ..Self::default()
        }
    }

    /// The same, knowing when the latest API run began.
    pub(super) fn with_api_run(mut self, entity: &str, at: i64) -> Self {
        let known = KnownRuns { latest_api_run: Some(at), ..KnownRuns::default() };
        self.runs.insert(Arc::from(entity), Arc::new(known));
        self
    }
}
