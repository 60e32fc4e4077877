//! OpenLineage events of a committed snapshot: what runs, who owns it, which tables it reads.
//!
//! A project is a job. Its published app stands as the dataset that the job writes, so that catalogs show what
//! lies between a table and who looks at it. Each run gives a `START` event and one of `COMPLETE`, `FAIL` or
//! `ABORT`. Everything is sent once: what was sent for an earlier snapshot is left out.

mod events;
mod naming;
mod send;

use std::collections::{BTreeMap, HashMap};

use chrono::{DateTime, Utc};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::derive::schedule::Schedule;
use crate::registry;
use crate::schema::Table;
use crate::snapshot::{Error, Lake, Manifest, TableReader, rows};

use events::Shaper;
pub use naming::Connection;
pub use send::{Endpoint, SendError};

/// Record of what was sent so far, kept in the destination next to the snapshots.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Told {
    /// The snapshot whose runs were told last.
    pub snapshot_id: String,
    /// A digest of each job and dataset as it was last sent.
    pub digests: BTreeMap<String, String>,
}

impl Told {
    /// Name of the note that holds it.
    fn note(target: &str) -> String {
        format!("openlineage-{}.json", digest(target))
    }

    /// What was sent to a target so far, if anything.
    ///
    /// # Errors
    /// If the destination can't be read. A damaged note counts as none: everything is sent again.
    pub fn load(lake: &Lake, target: &str) -> Result<Option<Self>, Error> {
        let text = lake.note(&Self::note(target))?;
        Ok(text.and_then(|text| serde_json::from_slice(&text).ok()))
    }

    /// Keeps it.
    ///
    /// # Errors
    /// If the destination can't be written.
    pub fn save(&self, lake: &Lake, target: &str) -> Result<(), Error> {
        lake.set_note(&Self::note(target), &serde_json::to_vec(self).unwrap_or_default())
    }
}

fn digest(text: &str) -> String {
    Sha256::digest(text).iter().take(8).map(|b| format!("{b:02x}")).collect()
}

/// Events to produce.
#[derive(Debug, Clone, Default)]
pub struct Scope {
    /// What was sent before, and isn't sent again.
    pub told: Option<Told>,
    /// Runs that started before this are left out.
    pub runs_since: Option<DateTime<Utc>>,
}

/// Number of events.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// Of datasets.
    pub datasets: u64,
    /// Of jobs.
    pub jobs: u64,
    /// Of runs, starts and ends each counted.
    pub runs: u64,
}

/// Events that belong together: those of one run, in order, or a single one of a job or dataset.
pub type Batch = Vec<Value>;

/// A row of `projects`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
struct Project {
    project_id: String,
    title: String,
    description: Option<String>,
    #[serde(rename = "type")]
    kind: String,
    status: Option<String>,
    creator_email: Option<String>,
    owner_email: Option<String>,
    archived_at: Option<DateTime<Utc>>,
    trashed_at: Option<DateTime<Utc>>,
}

/// A row of `lineage`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
struct Edge {
    project_id: String,
    data_connection_id: Option<String>,
    table_key: String,
    direction: String,
    connection_name: Option<String>,
    connection_type: Option<String>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
struct Category {
    project_id: String,
    name: String,
}

/// A row of `project_schedules`.
#[derive(Debug, Clone, Default, Deserialize, Serialize)]
#[serde(default)]
struct ScheduleRow {
    #[serde(skip_serializing)]
    project_id: String,
    cadence: Option<String>,
    enabled: Option<bool>,
    timezone: Option<String>,
    minute: Option<i64>,
    hour: Option<i64>,
    day_of_week: Option<String>,
    day: Option<i64>,
    cron: Option<String>,
}

impl ScheduleRow {
    fn schedule(&self) -> Schedule<'_> {
        Schedule {
            cadence: self.cadence.as_deref().unwrap_or(""),
            timezone: self.timezone.as_deref(),
            minute: self.minute.unwrap_or(0),
            hour: self.hour.unwrap_or(0),
            day_of_week: self.day_of_week.as_deref(),
            day: self.day.unwrap_or(0),
            cron: self.cron.as_deref(),
        }
    }
}

/// A row of `runs`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
struct Run {
    project_id: String,
    run_id: String,
    status: Option<String>,
    run_trigger: Option<String>,
    start_time: Option<DateTime<Utc>>,
    end_time: Option<DateTime<Utc>>,
    duration_seconds: Option<f64>,
    run_url: Option<String>,
}

/// A row of `cells`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
struct Cell {
    project_id: String,
    cell_type: Option<String>,
    label: Option<String>,
    source: Option<String>,
}

/// A row of `column_lineage`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
struct ColumnEdge {
    project_id: String,
    data_connection_id: String,
    table_key: String,
    column_name: String,
}

/// Rows that belong to a project.
trait OfProject {
    fn project(&self) -> &str;
}

macro_rules! of_project {
    ($($row:ty),*) => {$(
        impl OfProject for $row {
            fn project(&self) -> &str {
                &self.project_id
            }
        }
    )*};
}
of_project!(Edge, Category, ScheduleRow, Run, Cell, ColumnEdge);

/// A table's rows project by project, in the order of the file: one batch is held at a time.
struct ByProject<T> {
    table: &'static Table,
    reader: Option<TableReader>,
    rows: std::vec::IntoIter<T>,
    next: Option<T>,
}

impl<T: DeserializeOwned + OfProject> ByProject<T> {
    fn open(lake: &Lake, manifest: &Manifest, name: &str, columns: &[&str]) -> Result<Self, Error> {
        let table = registry::by_name(name).expect("a table of the registry");
        let reader = TableReader::open_columns(lake, manifest, table, columns)?;
        Ok(Self { table, reader, rows: Vec::new().into_iter(), next: None })
    }

    fn fill(&mut self) -> Result<bool, Error> {
        while self.next.is_none() {
            self.next = self.rows.next();
            if self.next.is_none() {
                let Some(batch) = self.reader.as_mut().and_then(Iterator::next) else { return Ok(false) };
                self.rows = rows::of_batch(self.table, &batch?)?.into_iter();
            }
        }
        Ok(true)
    }

    /// The rows of a project. Those of projects before it are passed over: projects are asked for in order.
    fn take(&mut self, project: &str) -> Result<Vec<T>, Error> {
        let mut found = Vec::new();
        while self.fill()? {
            match self.next.as_ref().map_or("", OfProject::project).cmp(project) {
                std::cmp::Ordering::Greater => break,
                std::cmp::Ordering::Less => self.next = None,
                std::cmp::Ordering::Equal => found.extend(self.next.take()),
            }
        }
        Ok(found)
    }
}

/// A run as its project's earlier runs know it, with whether it had ended.
type Known = HashMap<String, bool>;

/// Makes the events of a snapshot and hands each batch to `emit`: datasets, then jobs, then runs project by
/// project. Returns what has been sent once all are delivered.
///
/// # Errors
/// If a snapshot can't be read; what `emit` gives.
pub fn events<E: From<Error>>(
    lake: &Lake,
    manifest: &Manifest,
    scope: &Scope,
    mut emit: impl FnMut(Batch) -> Result<(), E>,
) -> Result<(Counts, Told), E> {
    let open = |table| TableReader::open(lake, manifest, table);
    let read = Reading { lake, manifest };
    let connections: Vec<Connection> = rows::all(&open, "data_connections")?;
    let projects: Vec<Project> = rows::all(&open, "projects")?;
    let shaper = Shaper::new(manifest, connections);
    let mut counts = Counts::default();
    let mut told = Told { snapshot_id: manifest.snapshot_id.clone(), digests: BTreeMap::new() };
    let before = scope.told.as_ref().map(|told| &told.digests);
    // Whether an event says something that was not told before.
    let is_new = |told: &mut Told, key: String, event: &Value| {
        let mut lasting = event.clone();
        lasting["eventTime"] = Value::Null;
        let digest = digest(&lasting.to_string());
        let is_new = before.and_then(|before| before.get(&key)) != Some(&digest);
        told.digests.insert(key, digest);
        is_new
    };
    for (key, event) in shaper.datasets(&rows::all::<Edge>(&open, "lineage")?) {
        if is_new(&mut told, key, &event) {
            counts.datasets += 1;
            emit(vec![event])?;
        }
    }
    let mut categories = read.by_project::<Category>("project_categories", &["project_id", "name"])?;
    let mut schedules = read.schedules()?;
    let mut edges = read.edges()?;
    let mut columns = read.by_project::<ColumnEdge>(
        "column_lineage",
        &["project_id", "data_connection_id", "table_key", "column_name"],
    )?;
    let mut cells = read.by_project::<Cell>("cells", &["project_id", "cell_type", "label", "source"])?;
    for project in &projects {
        let id = project.project_id.as_str();
        let event = shaper.job(
            project,
            &edges.take(id)?,
            &columns.take(id)?,
            &cells.take(id)?,
            &categories.take(id)?,
            &schedules.take(id)?,
        );
        if is_new(&mut told, format!("job {id}"), &event) {
            counts.jobs += 1;
            emit(vec![event])?;
        }
    }
    let (mut edges, mut schedules) = (read.edges()?, read.schedules()?);
    let mut runs = read.runs()?;
    let mut earlier = match &scope.told {
        Some(told) => last_told(lake, &told.snapshot_id)?
            .map(|manifest| Reading { lake, manifest: &manifest }.runs())
            .transpose()?,
        None => None,
    };
    for project in &projects {
        let id = project.project_id.as_str();
        let (edges, schedules) = (edges.take(id)?, schedules.take(id)?);
        let known: Known = match &mut earlier {
            Some(earlier) => {
                earlier.take(id)?.into_iter().map(|run| (run.run_id.clone(), run.has_ended())).collect()
            }
            None => Known::new(),
        };
        for run in runs.take(id)? {
            let is_old = run.start_time.zip(scope.runs_since).is_some_and(|(start, since)| start < since);
            if is_old || known.get(&run.run_id).is_some_and(|ended| *ended || !run.has_ended()) {
                continue;
            }
            let batch = shaper.run(project, &run, &edges, &schedules, known.contains_key(&run.run_id));
            counts.runs += batch.len() as u64;
            if !batch.is_empty() {
                emit(batch)?;
            }
        }
    }
    Ok((counts, told))
}

/// The snapshot that was sent last, or the one before it that still exists: better sent twice than never.
fn last_told(lake: &Lake, snapshot_id: &str) -> Result<Option<Manifest>, Error> {
    let known = lake.manifests()?;
    let told = known.get(snapshot_id).or(known.before(snapshot_id).last());
    Ok(told.and_then(|told| known.as_of(&told.snapshot_id)).map(|newest| newest.manifest))
}

struct Reading<'a> {
    lake: &'a Lake,
    manifest: &'a Manifest,
}

impl Reading<'_> {
    fn by_project<T: DeserializeOwned + OfProject>(
        &self,
        table: &str,
        columns: &[&str],
    ) -> Result<ByProject<T>, Error> {
        ByProject::open(self.lake, self.manifest, table, columns)
    }

    fn edges(&self) -> Result<ByProject<Edge>, Error> {
        let columns = [
            "project_id",
            "data_connection_id",
            "table_key",
            "direction",
            "connection_name",
            "connection_type",
        ];
        self.by_project("lineage", &columns)
    }

    fn schedules(&self) -> Result<ByProject<ScheduleRow>, Error> {
        let columns =
            ["project_id", "cadence", "enabled", "timezone", "minute", "hour", "day_of_week", "day", "cron"];
        self.by_project("project_schedules", &columns)
    }

    fn runs(&self) -> Result<ByProject<Run>, Error> {
        let columns = [
            "project_id",
            "run_id",
            "status",
            "run_trigger",
            "start_time",
            "end_time",
            "duration_seconds",
            "run_url",
        ];
        self.by_project("runs", &columns)
    }
}
