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

use crate::derive::LINEAGE;
use crate::handoff::rows::{
    ByProject, Category, Cell, ColumnEdge, Edge, OfProject, Project, Run, ScheduleRow,
};
use crate::snapshot::{Error, Lake, Manifest, SnapshotId, TableReader, rows};

use crate::tables::{DATA_CONNECTIONS, PROJECTS};
use events::Shaper;
pub use naming::Connection;
pub use send::{Endpoint, SendError};

/// Record of what was sent so far, kept in the destination next to the snapshots.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Told {
    /// Snapshot whose runs were sent last.
    pub snapshot_id: SnapshotId,
    /// A digest of each job and dataset as it was last sent.
    pub digests: BTreeMap<String, String>,
}

impl Told {
    /// Name of the note that holds it.
    fn note(target: &str) -> String {
        format!("openlineage-{}.json", digest(target))
    }

    /// Record of what was sent to a target, if anything.
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
    /// Record of what was sent before, and isn't sent again.
    pub told: Option<Told>,
    /// Runs that started before this are left out.
    pub runs_since: Option<DateTime<Utc>>,
    /// Style of the events.
    pub style: Style,
}

/// Style of events that the receiver expects.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Style {
    /// Which kinds there are.
    pub kinds: Kinds,
    /// Case of names of tables and columns.
    pub case: Case,
    /// Names of jobs.
    pub job_names: JobNames,
}

/// Kinds of events.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Kinds {
    /// Of datasets, jobs and runs.
    #[default]
    All,
    /// Of runs alone, for receivers that take no others.
    Runs,
}

/// Case of names of tables and columns.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Case {
    /// As the warehouse has it.
    #[default]
    Kept,
    /// Lower case, as some catalogs write them.
    Lower,
}

/// Names of jobs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum JobNames {
    /// The project's identifier, which never changes.
    #[default]
    Id,
    /// The project's title with its identifier: people read it, and a project that gets another title is another job.
    Title,
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

/// Events of a run that were already sent.
#[derive(Debug, Clone, Copy)]
struct Known {
    started: bool,
    ended: bool,
}

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
    let connections: Vec<Connection> = rows::all(&open, &DATA_CONNECTIONS)?;
    let projects: Vec<Project> = rows::all(&open, &PROJECTS)?;
    let shaper = Shaper::new(manifest, connections, scope.style);
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
    let is_told = scope.style.kinds == Kinds::All;
    for (key, event) in shaper.datasets(&rows::all::<Edge>(&open, &LINEAGE)?) {
        if is_told && is_new(&mut told, key, &event) {
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
    for project in projects.iter().filter(|_| is_told) {
        let id = &*project.project_id;
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
    let gone = before.into_iter().flatten().filter_map(|(key, _)| key.strip_prefix("job "));
    for id in gone.filter(|id| is_told && !told.digests.contains_key(&format!("job {id}"))) {
        counts.datasets += 1;
        emit(vec![shaper.gone(id)])?;
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
        let id = &*project.project_id;
        let (edges, schedules) = (edges.take(id)?, schedules.take(id)?);
        let known: HashMap<String, Known> = match &mut earlier {
            Some(earlier) => earlier
                .take(id)?
                .into_iter()
                .map(|run| {
                    let known = Known { started: run.start_time.is_some(), ended: run.has_ended() };
                    (run.run_id, known)
                })
                .collect(),
            None => HashMap::new(),
        };
        for run in runs.take(id)? {
            let is_old = run.start_time.zip(scope.runs_since).is_some_and(|(start, since)| start < since);
            let before = known.get(&run.run_id).copied();
            // A run that waited when it was last seen hasn't been told yet.
            let is_told = before.is_some_and(|known| known.ended || known.started && !run.has_ended());
            if is_old || is_told {
                continue;
            }
            let batch =
                shaper.run(project, &run, &edges, &schedules, before.is_some_and(|known| known.started));
            counts.runs += batch.len() as u64;
            if !batch.is_empty() {
                emit(batch)?;
            }
        }
    }
    Ok((counts, told))
}

/// The snapshot that was sent last, or the one before it that still exists: better sent twice than never.
fn last_told(lake: &Lake, snapshot_id: &SnapshotId) -> Result<Option<Manifest>, Error> {
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
