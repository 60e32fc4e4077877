//! Input of the rules: the small tables of a snapshot, in memory.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use arrow::array::{Array, AsArray, RecordBatch};
use chrono::{DateTime, Utc};
use serde::Deserialize;

use super::edges::{Texts, known, lineage, shared};
use super::evidence::Evidence;
use super::moves::Moves;
use super::outsiders::{self, Outsiders};
use super::source::Tables;
use super::spending::Spending;
use super::{Hit, Page};
use crate::derive::schedule::ScheduleRow;
use crate::derive::{COLUMN_LINEAGE, RUN_HEALTH, RUN_STATS, SQL_CELLS};
use crate::snapshot::rows;
use crate::snapshot::{Error, WorkspaceEntry};
use crate::tables::{
    CELLS, COLLECTION_SHARING, COLLECTIONS, DATA_CONNECTION_SHARING, DATA_CONNECTIONS, GROUP_MEMBERS, GROUPS,
    PROJECT_CATEGORIES, PROJECT_SCHEDULES, PROJECT_SHARING, PROJECTS, RUNS, USERS,
};

#[cfg(test)]
pub use super::edges::LineageRow;
pub use super::edges::{ColumnEdge, Lineage};

/// A row of `projects`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Project {
    pub project_id: Arc<str>,
    pub title: Arc<str>,
    pub description: Option<String>,
    #[serde(rename = "type")]
    pub kind: Arc<str>,
    pub status: Option<Arc<str>>,
    pub creator_email: Option<Arc<str>>,
    pub owner_email: Option<Arc<str>>,
    pub created_at: Option<DateTime<Utc>>,
    pub last_edited_at: Option<DateTime<Utc>>,
    pub last_published_at: Option<DateTime<Utc>>,
    pub archived_at: Option<DateTime<Utc>>,
    pub trashed_at: Option<DateTime<Utc>>,
    pub last_viewed_at: Option<DateTime<Utc>>,
    pub published_results_updated_at: Option<DateTime<Utc>>,
    pub app_views_last_7_days: Option<i64>,
    pub app_views_last_30_days: Option<i64>,
    pub app_views_all_time: Option<i64>,
}

impl Project {
    /// Whether people can still open it: it is neither archived nor in the trash.
    pub fn is_alive(&self) -> bool {
        self.archived_at.is_none() && self.trashed_at.is_none()
    }

    /// Whether it is a component, which other projects import.
    pub fn is_component(&self) -> bool {
        &*self.kind == "COMPONENT"
    }

    /// Its title on one line.
    pub fn name(&self) -> String {
        self.title.split_whitespace().collect::<Vec<_>>().join(" ")
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

impl User {
    /// Whether a person logs in with it: embedded and anonymous users are made by apps.
    pub fn is_person(&self) -> bool {
        !matches!(self.role.as_str(), "EMBEDDED_USER" | "ANONYMOUS") && !self.role.contains("SERVICE")
    }
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
    #[serde(rename = "type")]
    pub kind: String,
    pub allow_writeback_cells: Option<bool>,
    pub connect_via_ssh: Option<bool>,
    pub include_magic: Option<bool>,
    pub host: Option<String>,
    pub port: Option<i64>,
    pub account_name: Option<String>,
    pub database: Option<String>,
    pub jdbc_url: Option<String>,
}

impl Connection {
    /// Whether the token sees the short form only, which has neither settings nor grants.
    pub fn is_short(&self) -> bool {
        self.allow_writeback_cells.is_none() && self.connect_via_ssh.is_none() && self.include_magic.is_none()
    }

    /// The warehouse that it reaches, the same for two connections to the same one; `None` if its settings
    /// don't say.
    pub fn warehouse(&self) -> Option<String> {
        let kind = self.kind.to_lowercase();
        let host = |text: &String| text.trim().trim_end_matches('.').to_lowercase();
        let port = self.port.map_or(String::new(), |port| format!(":{port}"));
        match kind.as_str() {
            // Names begin with the project, which is the same wherever it is reached from.
            "bigquery" => Some(kind),
            "snowflake" => {
                self.account_name.as_ref().or(self.host.as_ref()).map(|at| format!("{kind} {}", host(at)))
            }
            "databricks" => {
                let url = self.jdbc_url.as_ref().map(host);
                let place = url
                    .as_deref()
                    .and_then(|url| url.split("//").nth(1))
                    .and_then(|rest| rest.split(['/', ';']).next());
                place.map(str::to_owned).or(self.host.as_ref().map(host)).map(|at| format!("{kind} {at}"))
            }
            _ => self.host.as_ref().map(|at| format!("{kind} {}{port}", host(at))),
        }
    }
}

/// A row of `data_connection_sharing`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct ConnectionGrant {
    pub data_connection_id: String,
    pub principal_type: String,
    pub access: String,
}

/// Whom a project is shared with: many are shared with the same few.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Deserialize)]
pub struct SharedWith {
    pub principal_type: Box<str>,
    pub principal: Option<Box<str>>,
}

/// A row of `project_sharing`.
#[derive(Debug, Clone, Deserialize)]
struct Grant {
    project_id: Arc<str>,
    #[serde(flatten)]
    with: SharedWith,
    #[serde(default)]
    access: String,
}

/// A row of `collections`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
struct Collection {
    collection_id: String,
    name: Option<String>,
}

/// A row of `collection_sharing`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
struct CollectionGrant {
    collection_id: String,
    principal_type: String,
    principal_id: Option<String>,
    access: String,
}

/// A row of `run_stats`, without what it is about.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Stats {
    pub failure_streak: i64,
    pub seen_runs: Option<i64>,
    pub late_runs: Option<i64>,
    pub missed_runs: Option<i64>,
    pub p50_seconds: Option<f64>,
}

/// A row of `run_health`, without what it is about.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Health {
    pub recent_median_seconds: Option<f64>,
    pub baseline_median_seconds: Option<f64>,
    pub is_slower: Option<bool>,
    pub recent_failure_rate: Option<f64>,
    pub baseline_failure_rate: Option<f64>,
    pub is_failing_more: Option<bool>,
    pub recent_no_kernel: i64,
    pub failing_since: Option<DateTime<Utc>>,
    pub last_success_at: Option<DateTime<Utc>>,
    pub preceded_by: Option<Box<str>>,
    pub preceded_at: Option<DateTime<Utc>>,
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
    user_id: String,
}

#[derive(Deserialize)]
struct Category {
    project_id: Arc<str>,
}

#[derive(Deserialize)]
struct StatsRow {
    project_id: Arc<str>,
    run_trigger: String,
    last_run_at: Option<DateTime<Utc>>,
    #[serde(flatten)]
    stats: Stats,
}

#[derive(Deserialize)]
struct HealthRow {
    project_id: Arc<str>,
    #[serde(flatten)]
    health: Health,
}

/// Who may open a project by a grant to many at once.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Circle {
    /// Everyone on the web.
    Web,
    /// All members of the workspace.
    Workspace,
    /// All members, through a collection that is shared with them.
    Collection(String),
    /// All members, or nearly all, through a group.
    Group(String),
}

impl Circle {
    /// In words, as the beginning of a sentence.
    pub fn words(&self) -> String {
        match self {
            Circle::Web => "Everyone on the web".into(),
            Circle::Workspace => "The whole workspace".into(),
            Circle::Collection(name) => format!("The whole workspace, through the collection {name},"),
            Circle::Group(name) => format!("Nearly everyone, through the group {name},"),
        }
    }
}

/// Input of the rules. Tables that the snapshot doesn't have are empty; `evidence` says what that means.
#[derive(Debug, Default)]
pub struct Facts {
    /// The snapshot's time.
    pub now: DateTime<Utc>,
    /// Completeness of each table.
    pub evidence: Evidence,
    /// Projects and components.
    pub projects: Vec<Project>,
    /// Users.
    pub users: Vec<User>,
    /// Users' email addresses, in lower case.
    pub emails: HashSet<String>,
    /// Groups.
    pub groups: Vec<Group>,
    /// Members of each group that has any: identifiers of users.
    pub members: HashMap<String, HashSet<String>>,
    /// Data connections.
    pub connections: Vec<Connection>,
    /// Grants on data connections.
    pub connection_grants: Vec<ConnectionGrant>,
    /// Grants on projects to the web, the workspace, groups and collections, by project.
    pub grants: HashMap<Arc<str>, Vec<Arc<SharedWith>>>,
    /// Names of collections that all members may open.
    pub open_collections: HashSet<String>,
    /// Names of groups that each collection is shared with, by the collection's name.
    pub collection_groups: HashMap<String, BTreeSet<String>>,
    /// Which project reads which table.
    pub lineage: Lineage,
    /// Columns that projects read and that are sensitive.
    pub sensitive_columns: Vec<ColumnEdge>,
    /// Connections that a cell names: a SQL cell that runs on it, or code that mentions it.
    pub connections_in_cells: HashSet<String>,
    /// Statistics of scheduled runs, by project.
    pub scheduled_stats: HashMap<Arc<str>, Stats>,
    /// People of other domains who can open a project, by project.
    pub external: HashMap<Arc<str>, Outsiders>,
    /// Changes in the health of runs, by project.
    pub health: HashMap<Arc<str>, Health>,
    /// Start of the last run, by project.
    pub last_runs: HashMap<Arc<str>, DateTime<Utc>>,
    /// Projects with a run that notified somebody.
    pub notifying: HashSet<Arc<str>>,
    /// SQL cells that could not be read.
    pub sql_cells: Vec<SqlCell>,
    /// Projects that have a category.
    pub categorised: HashSet<Arc<str>>,
    /// Projects with a schedule that runs.
    pub scheduled: HashSet<Arc<str>>,
    /// Schedules that run.
    pub schedules: Vec<ScheduleRow>,
    /// Changes of cells.
    pub moves: Moves,
    /// Cost of warehouse queries.
    pub spending: Spending,
    /// The pages of projects in Hex, without a project's identifier.
    pub pages: Option<Arc<str>>,
}

#[cfg(test)]
impl Facts {
    /// No facts, for tests.
    pub fn none(now: DateTime<Utc>) -> Self {
        Self {
            now,
            evidence: Evidence::whole(),
            pages: Some("https://app.hex.tech/org/hex".into()),
            ..Self::default()
        }
    }
}

impl Facts {
    /// Reads them.
    ///
    /// # Errors
    /// If a table can't be read.
    pub fn load(
        tables: &dyn Tables,
        now: DateTime<Utc>,
        workspace: &WorkspaceEntry,
        config: &super::Config,
    ) -> Result<Self, Error> {
        let origin = workspace.base_url.split("/api").next().filter(|url| url.starts_with("http"));
        let pages = origin.zip(workspace.org_id.as_ref()).map(|(origin, org)| format!("{origin}/{org}/hex"));
        let mut facts =
            Self { now, evidence: Evidence::load(tables)?, pages: pages.map(Into::into), ..Self::default() };
        let mut texts = Texts::default();
        facts.read_people(tables)?;
        facts.read_projects(tables, &mut texts)?;
        facts.read_sharing(tables, &mut texts)?;
        facts.read_connections(tables)?;
        facts.read_lineage(tables, config, &mut texts)?;
        facts.read_runs(tables, &mut texts)?;
        facts.external = outsiders::read(tables, &facts.users, config, &mut texts)?;
        facts.spending = Spending::load(tables)?;
        facts.moves = Moves::load(tables)?;
        Ok(facts)
    }

    fn read_people(&mut self, tables: &dyn Tables) -> Result<(), Error> {
        let open = |table| tables.open(table, &[]);
        self.users = rows::all(&open, &USERS)?;
        self.emails = self.users.iter().map(|user| user.email.to_lowercase()).collect();
        self.groups = rows::all(&open, &GROUPS)?;
        for member in rows::all::<Member>(&open, &GROUP_MEMBERS)? {
            self.members.entry(member.group_id).or_default().insert(member.user_id);
        }
        Ok(())
    }

    fn read_projects(&mut self, tables: &dyn Tables, texts: &mut Texts) -> Result<(), Error> {
        let open = |table| tables.open(table, &[]);
        self.projects = rows::all(&open, &PROJECTS)?;
        for project in &mut self.projects {
            // Titles are of one project, mostly.
            let own = [&mut project.project_id, &mut project.kind].into_iter();
            let others = [&mut project.status, &mut project.creator_email, &mut project.owner_email];
            own.chain(others.into_iter().flatten()).for_each(|text| shared(text, texts));
        }
        rows::each(&open, &PROJECT_CATEGORIES, |mut row: Category| {
            shared(&mut row.project_id, texts);
            self.categorised.insert(row.project_id);
        })?;
        self.schedules = rows::some(&open, &PROJECT_SCHEDULES, |s: &ScheduleRow| s.enabled == Some(true))?;
        self.scheduled = self.schedules.iter().map(|s| known(&s.project_id, texts)).collect();
        Ok(())
    }

    fn read_sharing(&mut self, tables: &dyn Tables, texts: &mut Texts) -> Result<(), Error> {
        let open = |table| tables.open(table, &[]);
        let is_wide = |grant: &Grant| {
            matches!(&*grant.with.principal_type, "WORKSPACE" | "PUBLIC_WEB" | "GROUP" | "COLLECTION")
                && grant.access != "NONE"
        };
        let mut principals = HashSet::new();
        rows::each(&open, &PROJECT_SHARING, |mut grant: Grant| {
            if is_wide(&grant) {
                shared(&mut grant.project_id, texts);
                let mut with = Arc::new(grant.with);
                shared(&mut with, &mut principals);
                self.grants.entry(grant.project_id).or_default().push(with);
            }
        })?;
        self.grants.values_mut().for_each(Vec::shrink_to_fit);
        let names: HashMap<String, String> = rows::all::<Collection>(&open, &COLLECTIONS)?
            .into_iter()
            .filter_map(|collection| Some((collection.collection_id, collection.name?)))
            .collect();
        let groups: HashMap<&str, &str> =
            self.groups.iter().map(|group| (group.group_id.as_str(), group.name.as_str())).collect();
        for grant in rows::some(&open, &COLLECTION_SHARING, |grant: &CollectionGrant| grant.access != "NONE")?
        {
            let Some(name) = names.get(&grant.collection_id) else { continue };
            match (grant.principal_type.as_str(), grant.principal_id.as_deref()) {
                ("WORKSPACE", _) => drop(self.open_collections.insert(name.clone())),
                ("GROUP", Some(id)) => {
                    let group = groups.get(id).copied().unwrap_or(id);
                    self.collection_groups.entry(name.clone()).or_default().insert(group.into());
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn read_connections(&mut self, tables: &dyn Tables) -> Result<(), Error> {
        let open = |table| tables.open(table, &[]);
        self.connections = rows::all(&open, &DATA_CONNECTIONS)?;
        self.connection_grants = rows::all(&open, &DATA_CONNECTION_SHARING)?;
        // Code names a connection in a call such as hextoolkit.get_data_connection("Warehouse").
        let mut named: Vec<(String, String)> = Vec::new();
        for connection in &self.connections {
            let id = &connection.data_connection_id;
            named.push((id.to_lowercase(), id.clone()));
            if !connection.name.trim().is_empty() {
                named.push((connection.name.trim().to_lowercase(), id.clone()));
            }
        }
        let columns = ["cell_type", "data_connection_id", "source"];
        for batch in tables.open(&CELLS, &columns)?.into_iter().flatten() {
            let batch = batch?;
            for row in 0..batch.num_rows() {
                if let Some(id) = text(&batch, "data_connection_id", row) {
                    if !self.connections_in_cells.contains(id) {
                        self.connections_in_cells.insert(id.to_owned());
                    }
                } else if text(&batch, "cell_type", row) != Some("MARKDOWN")
                    && let Some(source) = text(&batch, "source", row)
                {
                    // Only what isn't known to be used is still looked for.
                    named.retain(|(_, id)| !self.connections_in_cells.contains(id));
                    let source = if named.is_empty() { String::new() } else { source.to_lowercase() };
                    let found = named.iter().filter(|(name, _)| source.contains(name.as_str()));
                    self.connections_in_cells.extend(found.map(|(_, id)| id.clone()).collect::<Vec<_>>());
                }
            }
        }
        Ok(())
    }

    fn read_lineage(
        &mut self,
        tables: &dyn Tables,
        config: &super::Config,
        texts: &mut Texts,
    ) -> Result<(), Error> {
        let open = |table| tables.open(table, &[]);
        self.lineage = lineage(tables, texts)?;
        self.sql_cells = rows::some(&open, &SQL_CELLS, |cell: &SqlCell| !cell.parsed)?;
        let is_sensitive = |edge: &ColumnEdge| config.is_sensitive_column(&edge.table_key, &edge.column_name);
        self.sensitive_columns = rows::some(&open, &COLUMN_LINEAGE, is_sensitive)?;
        Ok(())
    }

    fn read_runs(&mut self, tables: &dyn Tables, texts: &mut Texts) -> Result<(), Error> {
        let open = |table| tables.open(table, &[]);
        rows::each(&open, &RUN_STATS, |mut row: StatsRow| {
            shared(&mut row.project_id, texts);
            match row.run_trigger.as_str() {
                "SCHEDULED" => drop(self.scheduled_stats.insert(row.project_id, row.stats)),
                "ALL" => self.last_runs.extend(row.last_run_at.map(|at| (row.project_id, at))),
                _ => {}
            }
        })?;
        rows::each(&open, &RUN_HEALTH, |mut row: HealthRow| {
            shared(&mut row.project_id, texts);
            self.health.insert(row.project_id, row.health);
        })?;
        for batch in tables.open(&RUNS, &["project_id", "notifications"])?.into_iter().flatten() {
            let batch = batch?;
            let Some(notifications) = batch.column_by_name("notifications") else { continue };
            if notifications.null_count() == batch.num_rows() {
                continue;
            }
            let notifications = notifications.as_list::<i32>();
            for row in 0..batch.num_rows() {
                if notifications.is_valid(row)
                    && notifications.value_length(row) > 0
                    && let Some(project) = text(&batch, "project_id", row)
                    && !self.notifying.contains(project)
                {
                    self.notifying.insert(known(project, texts));
                }
            }
        }
        Ok(())
    }

    /// The page in Hex of what was found.
    pub fn page(&self, hit: &Hit) -> Option<Page> {
        let folder = self.pages.clone().filter(|_| matches!(&*hit.entity_type, "project" | "component"))?;
        Some(Page { folder, id: hit.entity_id.clone() })
    }

    /// Whether the person is not among the users: deactivated users are not listed.
    pub fn is_gone(&self, email: &str) -> bool {
        !email.is_empty() && !self.emails.contains(&email.to_lowercase())
    }

    /// Names of groups that hold at least this share of the people of the workspace.
    pub fn groups_of_everybody(&self, share: f64) -> HashSet<&str> {
        let people: HashSet<&str> =
            self.users.iter().filter(|user| user.is_person()).map(|user| user.user_id.as_str()).collect();
        let holds = |group: &&Group| {
            let members = self.members.get(&group.group_id);
            let count = members.map_or(0, |m| m.iter().filter(|id| people.contains(id.as_str())).count());
            people.len() > 1 && count as f64 >= share * people.len() as f64
        };
        self.groups.iter().filter(holds).map(|group| group.name.as_str()).collect()
    }

    /// The circles of many that may open a project, the widest first.
    pub fn circles(&self, project_id: &str, everybody: &HashSet<&str>) -> BTreeSet<Circle> {
        let mut circles = BTreeSet::new();
        for grant in self.grants.get(project_id).into_iter().flatten() {
            let name = grant.principal.as_deref().unwrap_or("");
            match &*grant.principal_type {
                "PUBLIC_WEB" => drop(circles.insert(Circle::Web)),
                "WORKSPACE" => drop(circles.insert(Circle::Workspace)),
                "GROUP" if everybody.contains(name) => drop(circles.insert(Circle::Group(name.into()))),
                "COLLECTION" => {
                    let groups = self.collection_groups.get(name).into_iter().flatten();
                    let to_all = groups.into_iter().any(|group| everybody.contains(group.as_str()));
                    if self.open_collections.contains(name) || to_all {
                        circles.insert(Circle::Collection(name.into()));
                    }
                }
                _ => {}
            }
        }
        circles
    }
}

/// A text of a batch; `None` if it is null.
pub(super) fn text<'a>(batch: &'a RecordBatch, column: &str, row: usize) -> Option<&'a str> {
    let column = batch.column_by_name(column)?.as_string::<i32>();
    column.is_valid(row).then(|| column.value(row))
}
