//! What the last snapshot knows: the ground that an incremental crawl stands on.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use arrow::array::{Array, AsArray, BooleanArray, RecordBatch, StringArray, TimestampMicrosecondArray};
use arrow::datatypes::{Int64Type, TimestampMicrosecondType};
use chrono::{DateTime, Utc};

use super::Endpoint;
use crate::client::runs::is_terminal;
use crate::schema::GONE;
use crate::snapshot::{self, Lake, Manifest, TableReader};
use crate::tables::{self, CRAWL_COVERAGE};

/// Latest known final runs that are kept of each project: a page that has one of them has reached what is
/// known. More than one, since a run may be deleted.
const LANDMARKS: usize = 16;

/// What the last snapshot knows of an endpoint and entity.
#[derive(Debug, Clone)]
pub struct Known {
    /// When it was last read.
    pub last_read_at: Option<DateTime<Utc>>,
    /// State of the project when it was last read to its end.
    pub stamp: Option<String>,
    /// Items then.
    pub rows: u64,
}

/// What the last snapshot knows of a project's runs.
#[derive(Debug, Default)]
pub struct KnownRuns {
    landmarks: Vec<(i64, u64)>,
    /// Runs that had not ended.
    pub open: Vec<String>,
}

impl KnownRuns {
    /// Whether the run is known and final, and so is everything older than it, but for [`open`](Self::open).
    pub fn is_landmark(&self, run_id: &str) -> bool {
        let hash = hash(run_id);
        self.landmarks.iter().any(|(_, known)| *known == hash)
    }
}

/// What the last snapshot knows.
#[derive(Debug)]
pub struct Base {
    /// The snapshot.
    pub manifest: Manifest,
    known: HashMap<(Endpoint, Option<Arc<str>>), Known>,
    runs: HashMap<Arc<str>, Arc<KnownRuns>>,
    readable: HashSet<Endpoint>,
}

impl Base {
    /// Reads what an incremental crawl needs of a snapshot; `None` if the snapshot has no Parquet files.
    ///
    /// # Errors
    /// [`snapshot::Error`].
    pub fn load(lake: &Lake, manifest: Manifest) -> Result<Option<Self>, snapshot::Error> {
        let Some(coverage) = TableReader::open(lake, &manifest, &CRAWL_COVERAGE)? else {
            return Ok(None);
        };
        let mut known = HashMap::new();
        for batch in coverage {
            read_coverage(&batch?, &mut known);
        }
        let in_parquet = |name: &str| {
            manifest.tables.get(name).is_some_and(|t| t.files.iter().any(|f| f.format == "parquet"))
        };
        let mut by_endpoint: BTreeMap<Endpoint, Vec<&str>> = BTreeMap::new();
        for table in tables::ENTITIES {
            if let Some(endpoint) = Endpoint::of_table(table) {
                by_endpoint.entry(endpoint).or_default().push(table.name);
            }
        }
        let readable = by_endpoint
            .into_iter()
            .filter(|(_, names)| names.iter().all(|n| in_parquet(n)))
            .map(|(e, _)| e)
            .collect();
        let mut runs = HashMap::new();
        let table = &crate::tables::RUNS;
        let columns = ["project_id", "run_id", "status", "start_time", GONE];
        if let Some(reader) = TableReader::open_columns(lake, &manifest, table, &columns)? {
            for batch in reader {
                read_runs(&batch?, &mut runs);
            }
        }
        let runs = runs.into_iter().map(|(id, known)| (id, Arc::new(known))).collect();
        Ok(Some(Self { manifest, known, runs, readable }))
    }

    /// What is known of an endpoint and entity. Nothing, if the snapshot doesn't have the endpoint's rows.
    pub fn known(&self, endpoint: Endpoint, entity: Option<&Arc<str>>) -> Option<&Known> {
        if !self.readable.contains(&endpoint) {
            return None;
        }
        self.known.get(&(endpoint, entity.cloned()))
    }

    /// What is known of a project's runs.
    pub fn runs(&self, project: &str) -> Option<&Arc<KnownRuns>> {
        self.runs.get(project)
    }

    /// Rows of a table then.
    pub fn rows(&self, table: &str) -> Option<u64> {
        self.manifest.tables.get(table).map(|t| t.rows)
    }
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

fn read_coverage(batch: &RecordBatch, known: &mut HashMap<(Endpoint, Option<Arc<str>>), Known>) {
    let (operation, entity, stamp) =
        (texts(batch, "operation"), texts(batch, "entity_id"), texts(batch, "stamp"));
    let read = times(batch, "last_read_at");
    let rows = batch.column_by_name("rows").expect("a column that was asked for").as_primitive::<Int64Type>();
    for i in 0..batch.num_rows() {
        let has_entity = entity.is_valid(i);
        let Some(endpoint) = Endpoint::of(operation.value(i), has_entity) else {
            continue;
        };
        let entry = Known {
            last_read_at: read.is_valid(i).then(|| DateTime::from_timestamp_micros(read.value(i))).flatten(),
            stamp: stamp.is_valid(i).then(|| stamp.value(i).to_owned()),
            rows: rows.value(i).max(0) as u64,
        };
        known.insert((endpoint, has_entity.then(|| Arc::from(entity.value(i)))), entry);
    }
}

fn read_runs(batch: &RecordBatch, runs: &mut HashMap<Arc<str>, KnownRuns>) {
    let (project, run, status) = (texts(batch, "project_id"), texts(batch, "run_id"), texts(batch, "status"));
    let start = times(batch, "start_time");
    let gone: &BooleanArray = batch.column_by_name(GONE).expect("a column that was asked for").as_boolean();
    for i in 0..batch.num_rows() {
        if gone.is_valid(i) && gone.value(i) {
            continue;
        }
        let known = match runs.get_mut(project.value(i)) {
            Some(known) => known,
            None => runs.entry(Arc::from(project.value(i))).or_default(),
        };
        if !is_terminal(status.value(i)) {
            known.open.push(run.value(i).to_owned());
        } else if start.is_valid(i) {
            let landmark = (start.value(i), hash(run.value(i)));
            let at = known.landmarks.partition_point(|other| *other > landmark);
            if at < LANDMARKS {
                known.landmarks.insert(at, landmark);
                known.landmarks.truncate(LANDMARKS);
            }
        }
    }
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
        let manifest = Manifest::empty("2026-01-01T000000Z");
        Self {
            manifest,
            known: HashMap::from([((endpoint, Some(Arc::from(entity))), known)]),
            runs: HashMap::from([(Arc::from(entity), Arc::default())]),
            readable: HashSet::from([endpoint]),
        }
    }
}
