//! What the rules look at: the small tables of a snapshot, in memory.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use arrow::error::ArrowError;
use chrono::{DateTime, Utc};
use serde::Deserialize;

use super::Hit;
use crate::registry;
use crate::snapshot::rows::{self, Open};
use crate::snapshot::{Error, Lake, Manifest, TableReader, WorkspaceEntry};

/// A row of `projects`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Project {
    pub project_id: String,
    pub title: String,
    pub description: Option<String>,
    #[serde(rename = "type")]
    pub kind: String,
    pub status: Option<String>,
    pub creator_email: Option<String>,
    pub owner_email: Option<String>,
    pub last_edited_at: Option<DateTime<Utc>>,
    pub last_published_at: Option<DateTime<Utc>>,
    pub archived_at: Option<DateTime<Utc>>,
    pub trashed_at: Option<DateTime<Utc>>,
    pub last_viewed_at: Option<DateTime<Utc>>,
    pub app_views_last_30_days: i64,
}

impl Project {
    /// Neither archived nor in the trash.
    pub fn is_alive(&self) -> bool {
        self.archived_at.is_none() && self.trashed_at.is_none()
    }
}

/// A row of `users`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct User {
    pub user_id: String,
    pub email: String,
    pub name: Option<String>,
    pub role: String,
    pub last_login_at: Option<DateTime<Utc>>,
}

/// A row of `groups`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Group {
    pub group_id: String,
    pub name: String,
}

/// A row of `data_connections`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Connection {
    pub data_connection_id: String,
    pub name: String,
    pub allow_writeback_cells: Option<bool>,
}

/// A row of `data_connection_sharing`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct ConnectionGrant {
    pub data_connection_id: String,
    pub principal_type: String,
    pub access: String,
}

/// A row of `project_sharing`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Grant {
    pub project_id: String,
    pub principal_type: String,
    pub access: String,
}

/// A row of `lineage`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Edge {
    pub project_id: Arc<str>,
    pub data_connection_id: Option<Arc<str>>,
    pub table_key: Arc<str>,
    pub schema_name: Option<Arc<str>>,
    pub table_name: Arc<str>,
    pub evidence: Arc<str>,
    pub connection_name: Option<Arc<str>>,
}

impl Edge {
    /// The same edge, with texts that are there already in place of its own.
    fn sharing(self, known: &mut HashSet<Arc<str>>) -> Self {
        let mut shared = |text: Arc<str>| match known.get(&text) {
            Some(known) => known.clone(),
            None => {
                known.insert(text.clone());
                text
            }
        };
        Self {
            project_id: shared(self.project_id),
            data_connection_id: self.data_connection_id.map(&mut shared),
            table_key: shared(self.table_key),
            schema_name: self.schema_name.map(&mut shared),
            table_name: shared(self.table_name),
            evidence: shared(self.evidence),
            connection_name: self.connection_name.map(&mut shared),
        }
    }
}

/// All of `lineage`: the longest of the tables that are held, of few different texts.
fn edges(open: &Open<'_>) -> Result<Vec<Edge>, Error> {
    let table = registry::by_name("lineage").expect("a table of the registry");
    let names = [
        "project_id",
        "data_connection_id",
        "table_key",
        "schema_name",
        "table_name",
        "evidence",
        "connection_name",
    ];
    let columns = names.map(|name| table.index_of(name).expect("a column of the table"));
    let failed = |e: ArrowError| Error::Table { table: table.name, why: e.to_string() };
    let mut known = HashSet::new();
    let mut edges = Vec::new();
    for batch in open(table)?.into_iter().flatten() {
        let batch = batch?.project(&columns).map_err(failed)?;
        let rows: Vec<Edge> = rows::of_batch(table, &batch)?;
        edges.extend(rows.into_iter().map(|edge| edge.sharing(&mut known)));
    }
    Ok(edges)
}

/// A row of `run_stats`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Stats {
    pub project_id: String,
    pub run_trigger: String,
    pub failure_streak: i64,
}

/// A row of `sql_cells`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct SqlCell {
    pub project_id: String,
    pub parsed: bool,
}

#[derive(Deserialize)]
struct Member {
    group_id: String,
}

#[derive(Deserialize)]
struct Category {
    project_id: String,
}

#[derive(Deserialize)]
struct Schedule {
    project_id: String,
    #[serde(default)]
    enabled: Option<bool>,
}

/// What the rules look at. Tables that the snapshot doesn't have are empty.
#[derive(Debug)]
pub struct Facts {
    /// The snapshot's time.
    pub now: DateTime<Utc>,
    /// Projects and components.
    pub projects: Vec<Project>,
    /// Users.
    pub users: Vec<User>,
    /// Users' email addresses, in lower case.
    pub emails: HashSet<String>,
    /// Groups.
    pub groups: Vec<Group>,
    /// Members of each group that has any.
    pub group_sizes: HashMap<String, usize>,
    /// Data connections.
    pub connections: Vec<Connection>,
    /// Grants on data connections.
    pub connection_grants: Vec<ConnectionGrant>,
    /// Access of the workspace and of the web, by project.
    pub wide_grants: HashMap<String, Vec<Grant>>,
    /// Which project reads which table.
    pub lineage: Vec<Edge>,
    /// How scheduled runs go, by project and trigger.
    pub stats: HashMap<(String, String), Stats>,
    /// SQL cells that could not be read.
    pub sql_cells: Vec<SqlCell>,
    /// Projects that have a category.
    pub categorised: HashSet<String>,
    /// Projects with a schedule that runs.
    pub scheduled: HashSet<String>,
    origin: Option<String>,
    org_id: Option<String>,
}

#[cfg(test)]
impl Facts {
    /// No facts, for tests.
    pub fn none(now: DateTime<Utc>) -> Self {
        let workspace =
            WorkspaceEntry { base_url: "https://app.hex.tech/api/v1".into(), org_id: Some("org".into()) };
        Self::of(now, &workspace, &|_| Ok(None)).expect("nothing is read")
    }
}

impl Facts {
    /// Reads them.
    ///
    /// # Errors
    /// If the snapshot can't be read.
    pub fn load(lake: &Lake, manifest: &Manifest) -> Result<Self, Error> {
        let open = |table| TableReader::open(lake, manifest, table);
        Self::of(manifest.snapshot_at, &manifest.workspace, &open)
    }

    /// Reads them from tables wherever they are.
    ///
    /// # Errors
    /// If one can't be read.
    pub fn of(now: DateTime<Utc>, workspace: &WorkspaceEntry, open: &Open<'_>) -> Result<Self, Error> {
        let users: Vec<User> = rows::all(open, "users")?;
        let mut group_sizes = HashMap::new();
        for member in rows::all::<Member>(open, "group_members")? {
            *group_sizes.entry(member.group_id).or_default() += 1;
        }
        let mut wide_grants: HashMap<String, Vec<Grant>> = HashMap::new();
        let is_wide = |grant: &Grant| {
            matches!(grant.principal_type.as_str(), "WORKSPACE" | "PUBLIC_WEB") && grant.access != "NONE"
        };
        for grant in rows::some(open, "project_sharing", is_wide)? {
            wide_grants.entry(grant.project_id.clone()).or_default().push(grant);
        }
        let stats = rows::some(open, "run_stats", |stats: &Stats| stats.run_trigger == "SCHEDULED")?;
        let schedules = rows::all::<Schedule>(open, "project_schedules")?;
        let url = workspace.base_url.split("/api").next().filter(|url| url.starts_with("http"));
        Ok(Self {
            now,
            projects: rows::all(open, "projects")?,
            emails: users.iter().map(|user| user.email.to_lowercase()).collect(),
            users,
            groups: rows::all(open, "groups")?,
            group_sizes,
            connections: rows::all(open, "data_connections")?,
            connection_grants: rows::all(open, "data_connection_sharing")?,
            wide_grants,
            lineage: edges(open)?,
            stats: stats.into_iter().map(|s| ((s.project_id.clone(), s.run_trigger.clone()), s)).collect(),
            sql_cells: rows::some(open, "sql_cells", |cell: &SqlCell| !cell.parsed)?,
            categorised: rows::all::<Category>(open, "project_categories")?
                .into_iter()
                .map(|c| c.project_id)
                .collect(),
            scheduled: schedules
                .into_iter()
                .filter(|s| s.enabled == Some(true))
                .map(|s| s.project_id)
                .collect(),
            origin: url.map(str::to_owned),
            org_id: workspace.org_id.clone(),
        })
    }

    /// The page in Hex of what was found.
    pub fn url(&self, hit: &Hit) -> Option<String> {
        matches!(&*hit.entity_type, "project" | "component")
            .then(|| self.project_url(&hit.entity_id))
            .flatten()
    }

    /// The page in Hex of a project.
    pub fn project_url(&self, project_id: &str) -> Option<String> {
        let (origin, org) = (self.origin.as_ref()?, self.org_id.as_ref()?);
        Some(format!("{origin}/{org}/hex/{project_id}"))
    }

    /// Whether the person is one of the users; a deactivated user is listed no more. Nobody is gone if no users
    /// could be listed.
    pub fn is_gone(&self, email: &str) -> bool {
        !self.emails.is_empty() && !self.emails.contains(&email.to_lowercase())
    }

    /// Lineage by project.
    pub fn edges(&self) -> BTreeMap<&str, Vec<&Edge>> {
        let mut edges: BTreeMap<&str, Vec<&Edge>> = BTreeMap::new();
        for edge in &self.lineage {
            edges.entry(&edge.project_id).or_default().push(edge);
        }
        edges
    }
}
