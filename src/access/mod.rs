//! Who can reach what: answers from the table `effective_access` and the lineage of a committed snapshot.
//!
//! The API lists grants. What it doesn't say (the rights of a role without any grant, what a collection's members
//! may do) is assumed, and each answer names these assumptions.

mod review;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use arrow::array::{Array, AsArray, RecordBatch};
use serde::{Deserialize, Serialize};

use crate::audit;
use crate::derive::{COLUMN_LINEAGE, EFFECTIVE_ACCESS, LINEAGE};
use crate::lineage;
use crate::registry;
use crate::snapshot::{Error, Lake, Manifest, SnapshotId, TableReader, rows};
use crate::tables::{PROJECTS, USERS};

pub use review::{Change, Kind, Review, review};

/// `[access]` of the settings: assumptions about what the API doesn't say.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Access that an owner has without a grant.
    pub owner: String,
    /// Access that a role has to every project without a grant, such as `ADMIN = "FULL_ACCESS"`.
    pub roles: BTreeMap<String, String>,
    /// Roles that a grant to the workspace reaches.
    pub workspace_roles: Vec<String>,
    /// Domains of the workspace's own people; by default, the domain that most users have.
    pub domains: Vec<String>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            owner: "FULL_ACCESS".into(),
            roles: BTreeMap::new(),
            workspace_roles: ["ADMIN", "MANAGER", "EDITOR", "EXPLORER", "MEMBER"].map(String::from).to_vec(),
            domains: Vec::new(),
        }
    }
}

/// Access levels, lowest first.
pub const LEVELS: [&str; 5] = ["NONE", "APP_ONLY", "CAN_VIEW", "CAN_EDIT", "FULL_ACCESS"];

/// Position of a level; an unknown one counts as the highest that it may be.
fn rank(access: &str) -> usize {
    LEVELS.iter().position(|level| *level == access).unwrap_or(LEVELS.len())
}

impl Config {
    /// Mistakes in the settings.
    pub fn mistakes(&self) -> Vec<String> {
        let levels = self.roles.values().chain([&self.owner]);
        let unknown = levels.filter(|level| !LEVELS.contains(&level.as_str()));
        unknown
            .map(|level| {
                format!("[access]: '{level}' isn't an access level; use one of {}", LEVELS.join(", "))
            })
            .collect()
    }

    /// The assumptions, in sentences.
    pub fn assumptions(&self, domains: &[String]) -> Vec<String> {
        let roles = match self.roles.is_empty() {
            true => "no role has access to a project without a grant".to_owned(),
            false => {
                let each: Vec<String> =
                    self.roles.iter().map(|(role, access)| format!("{role} has {access}")).collect();
                format!("without a grant, {}, on every project", each.join(", "))
            }
        };
        vec![
            format!("owners have {} on what they own, with or without a grant", self.owner),
            roles,
            format!("a grant to the workspace reaches the roles {}", self.workspace_roles.join(", ")),
            "members of a collection have the access that the project grants to the collection".into(),
            "collections or groups with the same name count as one: projects refer to them by name".into(),
            format!("people of {} belong to the workspace, others are external", domains.join(", ")),
        ]
    }
}

/// One path by which a principal gets access to a project.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Path {
    /// `owner`, `user`, `group`, `collection`, `workspace`, `public` or `role`.
    pub path: String,
    /// Collection that it goes through.
    pub via_collection: Option<String>,
    /// Group that it goes through.
    pub via_group: Option<String>,
    /// Level of access.
    pub access: String,
}

impl Path {
    /// In words.
    pub fn words(&self) -> String {
        let mut words = match self.path.as_str() {
            "owner" => "as owner".to_owned(),
            "user" => "by a direct grant".to_owned(),
            "workspace" => "as everyone in the workspace".to_owned(),
            "public" => "by the public link".to_owned(),
            "role" => "by their role".to_owned(),
            "group" | "collection" => String::new(),
            other => format!("as {other}"),
        };
        if let Some(collection) = &self.via_collection {
            words = format!("{words} through the collection {collection}").trim().to_owned();
        }
        if let Some(group) = &self.via_group {
            words = format!("{words} through the group {group}").trim().to_owned();
        }
        format!("{} {words}", self.access)
    }
}

/// Access of a principal to a project.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Access {
    /// `person`, `workspace`, `public`, `group` or `collection`.
    pub principal_type: String,
    /// Email address or name.
    pub principal: String,
    /// Role, of a person who is a user.
    pub role: Option<String>,
    /// Whether the person's domain isn't one of the workspace's own.
    pub external: bool,
    /// Project.
    pub project_id: String,
    /// Title of the project.
    pub project: String,
    /// Highest level of all paths.
    pub access: String,
    /// All paths, highest level first.
    pub paths: Vec<Path>,
}

/// A table that a project reads.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Reach {
    /// Connection that it is read through.
    pub connection: String,
    /// Whole name of the table.
    pub table: String,
    /// Whether its name is sensitive.
    pub sensitive: bool,
    /// Columns of it that are sensitive and that the project reads.
    pub sensitive_columns: Vec<String>,
}

/// Question about access.
#[derive(Debug, Clone)]
pub enum Question {
    /// A person, for what they can reach: an email address, in any case.
    Person(String),
    /// A project, for who can open it: its identifier or title.
    Project(String),
    /// A table, for who can reach it through projects: its whole name or the end of it, in any case.
    Table(String),
}

/// Whether grants to the workspace are shown as what they are, or as the people that they reach.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expand {
    /// As the workspace.
    No,
    /// As people.
    Yes,
}

/// An answer.
#[derive(Debug, Clone, Serialize)]
pub struct Answer {
    /// The snapshot.
    pub snapshot_id: SnapshotId,
    /// Assumptions.
    pub assumptions: Vec<String>,
    /// Gaps in the snapshot that may make the answer incomplete.
    pub not_known: Vec<String>,
    /// Who can do what, by project and principal.
    pub access: Vec<Access>,
    /// Tables that the projects read, by project.
    pub reads: BTreeMap<String, Vec<Reach>>,
}

/// Errors of a question about access.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The snapshot can't be read.
    #[error(transparent)]
    Snapshot(#[from] Error),
    /// The snapshot lacks the table that answers come from.
    #[error("the snapshot {0} doesn't hold the table effective_access as Parquet")]
    NoTable(SnapshotId),
    /// Nothing has this name.
    #[error("no {kind} '{name}' in the snapshot{near}")]
    Unknown {
        /// `person`, `project` or `table`.
        kind: &'static str,
        /// Name asked for.
        name: String,
        /// Similar names, as the end of the sentence.
        near: String,
    },
}

#[derive(Debug, Clone, Deserialize)]
struct User {
    email: String,
    #[serde(default)]
    role: String,
}

#[derive(Debug, Clone, Deserialize)]
struct Project {
    project_id: String,
    #[serde(default)]
    title: String,
}

/// People and projects of a snapshot, to name what is found.
struct Directory {
    users: BTreeMap<String, User>,
    titles: HashMap<String, String>,
    domains: Vec<String>,
}

impl Directory {
    fn load(lake: &Lake, manifest: &Manifest, config: &Config) -> Result<Self, Error> {
        let open = |table| TableReader::open(lake, manifest, table);
        let users: Vec<User> = rows::all(&open, &USERS)?;
        let users: BTreeMap<String, User> =
            users.into_iter().map(|user| (user.email.to_lowercase(), user)).collect();
        let titles =
            rows::all::<Project>(&open, &PROJECTS)?.into_iter().map(|p| (p.project_id, p.title)).collect();
        let mut domains: Vec<String> = config.domains.iter().map(|domain| domain.to_lowercase()).collect();
        if domains.is_empty() {
            let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
            for email in users.keys() {
                *counts.entry(domain(email)).or_default() += 1;
            }
            domains.extend(counts.into_iter().max_by_key(|(_, n)| *n).map(|(domain, _)| domain.to_owned()));
        }
        Ok(Self { users, titles, domains })
    }

    fn is_external(&self, email: &str) -> bool {
        !self.domains.iter().any(|own| own == domain(&email.to_lowercase()))
    }
}

fn domain(email: &str) -> &str {
    email.rsplit_once('@').map_or("", |(_, domain)| domain)
}

/// A row of `effective_access`, as it stands in a batch.
struct Row<'a> {
    batch: &'a RecordBatch,
    row: usize,
}

impl Row<'_> {
    fn text(&self, column: &str) -> Option<&str> {
        let column = self.batch.column_by_name(column)?.as_string::<i32>();
        column.is_valid(self.row).then(|| column.value(self.row))
    }

    /// A person who is known not to be a user can't log in.
    fn is_effective(&self) -> bool {
        let active = self.batch.column_by_name("is_active_user").map(|column| column.as_boolean());
        active.is_none_or(|active| active.is_null(self.row) || active.value(self.row))
    }

    /// The path; `None` if an owner is assumed to have no access by owning.
    fn path(&self, config: &Config) -> Option<Path> {
        let owned = |name| self.text(name).map(str::to_owned);
        let path = owned("path").unwrap_or_default();
        let access = match path.as_str() {
            "owner" => config.owner.clone(),
            _ => owned("access").unwrap_or_else(|| "UNKNOWN".into()),
        };
        (access != "NONE").then(|| Path {
            path,
            via_collection: owned("via_collection"),
            via_group: owned("via_group"),
            access,
        })
    }
}

/// Everybody's ways into one project, by kind and name of the principal.
type Ways = BTreeMap<(String, String), BTreeSet<Path>>;

/// Walks over the table project by project.
struct Walk {
    reader: TableReader,
    batch: Option<(RecordBatch, usize)>,
}

impl Walk {
    fn open(lake: &Lake, manifest: &Manifest) -> Result<Self, Failure> {
        let reader = TableReader::open(lake, manifest, &EFFECTIVE_ACCESS)?;
        let reader = reader.ok_or_else(|| Failure::NoTable(manifest.snapshot_id.clone()))?;
        Ok(Self { reader, batch: None })
    }

    /// The next project and the ways into it.
    fn next(&mut self, config: &Config) -> Result<Option<(String, Ways)>, Error> {
        let mut found: Option<(String, Ways)> = None;
        loop {
            let Some((batch, row)) = self.batch.as_mut().filter(|(batch, row)| *row < batch.num_rows())
            else {
                let Some(next) = self.reader.next() else { return Ok(found) };
                self.batch = Some((next?, 0));
                continue;
            };
            let at = Row { batch, row: *row };
            let project = at.text("project_id").unwrap_or("");
            let (of, ways) = found.get_or_insert_with(|| (project.to_owned(), Ways::new()));
            if of != project {
                return Ok(found);
            }
            if at.is_effective()
                && let Some(path) = at.path(config)
            {
                let name = |column| at.text(column).unwrap_or("").to_owned();
                ways.entry((name("principal_type"), name("principal"))).or_default().insert(path);
            }
            *row += 1;
        }
    }
}

/// Answers a question.
///
/// # Errors
/// If the snapshot can't be read, or has nothing of this name.
pub fn ask(
    lake: &Lake,
    manifest: &Manifest,
    question: &Question,
    expand: Expand,
    config: &Config,
    audit: &audit::Config,
) -> Result<Answer, Failure> {
    let directory = Directory::load(lake, manifest, config)?;
    let projects = wanted(lake, manifest, question, &directory)?;
    let person = match question {
        Question::Person(email) => Some(email.to_lowercase()),
        _ => None,
    };
    let mut walk = Walk::open(lake, manifest)?;
    let mut found = Vec::new();
    let mut is_known = person.as_ref().is_none_or(|email| directory.users.contains_key(email));
    while let Some((project, mut ways)) = walk.next(config)? {
        if projects.as_ref().is_some_and(|wanted| !wanted.contains(&project)) {
            continue;
        }
        if expand == Expand::Yes || person.is_some() {
            expanded(&mut ways, &directory, config);
        }
        for ((kind, principal), paths) in ways {
            if let Some(email) = &person {
                let is_theirs = kind == "person" && principal.to_lowercase() == *email;
                is_known |= is_theirs;
                if !is_theirs && kind != "public" {
                    continue;
                }
            }
            found.push(directory.access(kind, principal, &project, paths));
        }
    }
    if let (false, Some(email)) = (is_known, &person) {
        let near = near(email, directory.users.keys().map(String::as_str));
        return Err(Failure::Unknown { kind: "person", name: email.clone(), near });
    }
    let of: HashSet<&str> = found.iter().map(|access| access.project_id.as_str()).collect();
    let mut reads = reads(lake, manifest, &of, audit)?;
    if let Question::Table(name) = question {
        for tables in reads.values_mut() {
            tables.retain(|reach| is_named(&reach.table, name));
        }
    }
    Ok(Answer {
        snapshot_id: manifest.snapshot_id.clone(),
        assumptions: config.assumptions(&directory.domains),
        not_known: not_known(&evidence(lake, manifest)?),
        access: found,
        reads,
    })
}

/// Adds the people whom the workspace's grants and the roles' rights reach; the workspace itself goes.
fn expanded(ways: &mut Ways, directory: &Directory, config: &Config) {
    let workspace = ways.remove(&("workspace".to_owned(), "workspace".to_owned())).unwrap_or_default();
    for user in directory.users.values() {
        let mut paths = BTreeSet::new();
        if config.workspace_roles.contains(&user.role) {
            paths.extend(workspace.iter().cloned());
        }
        if let Some(access) = config.roles.get(&user.role).filter(|access| *access != "NONE") {
            paths.insert(Path {
                path: "role".into(),
                via_collection: None,
                via_group: None,
                access: access.clone(),
            });
        }
        if !paths.is_empty() {
            ways.entry(("person".into(), user.email.clone())).or_default().extend(paths);
        }
    }
}

impl Directory {
    fn access(
        &self,
        principal_type: String,
        principal: String,
        project: &str,
        paths: BTreeSet<Path>,
    ) -> Access {
        let mut paths: Vec<Path> = paths.into_iter().collect();
        paths.sort_by_key(|path| std::cmp::Reverse(rank(&path.access)));
        let user = self.users.get(&principal.to_lowercase());
        Access {
            role: user.map(|user| user.role.clone()).filter(|role| !role.is_empty()),
            external: principal_type == "person" && self.is_external(&principal),
            project_id: project.to_owned(),
            project: self.titles.get(project).cloned().unwrap_or_default(),
            access: paths.first().map(|path| path.access.clone()).unwrap_or_default(),
            principal_type,
            principal,
            paths,
        }
    }
}

/// The projects that a question is about; `None` for all.
fn wanted(
    lake: &Lake,
    manifest: &Manifest,
    question: &Question,
    directory: &Directory,
) -> Result<Option<HashSet<String>>, Failure> {
    let (kind, name, found) = match question {
        Question::Person(_) => return Ok(None),
        Question::Project(name) => {
            let is_it = |(id, title): &(&String, &String)| *id == name || title.trim() == name.trim();
            let found: HashSet<String> =
                directory.titles.iter().filter(is_it).map(|(id, _)| id.clone()).collect();
            ("project", name, found)
        }
        Question::Table(name) => {
            let edges = lineage::find(lake, manifest, &lineage::Question::Table(name.clone()), None)?;
            let found = edges.into_iter().flatten().filter(|e| e.is_read()).map(|e| e.project_id).collect();
            ("table", name, found)
        }
    };
    if found.is_empty() {
        let near = match question {
            Question::Project(_) => near(name, directory.titles.values().map(String::as_str)),
            _ => String::new(),
        };
        return Err(Failure::Unknown { kind, name: name.clone(), near });
    }
    Ok(Some(found))
}

/// Names that contain what was asked for, or that it contains, as the end of a sentence.
fn near<'a>(name: &str, names: impl Iterator<Item = &'a str>) -> String {
    let folded = name.to_lowercase();
    let first = folded.split(['@', ' ', '.']).next().unwrap_or("").to_owned();
    let is_near = |other: &&str| {
        let other = other.to_lowercase();
        other.contains(&folded) || (first.len() > 2 && other.contains(&first))
    };
    let found: BTreeSet<&str> = names.filter(is_near).take(5).collect();
    match found.is_empty() {
        true => String::new(),
        false => format!("; similar: {}", found.into_iter().collect::<Vec<_>>().join(", ")),
    }
}

fn is_named(table: &str, name: &str) -> bool {
    let (table, name) = (table.to_lowercase(), name.to_lowercase());
    table == name || table.strip_suffix(&name).is_some_and(|rest| rest.ends_with('.'))
}

#[derive(Deserialize)]
struct Edge {
    project_id: String,
    direction: String,
    table_key: String,
    #[serde(default)]
    data_connection_id: Option<String>,
    #[serde(default)]
    connection_name: Option<String>,
}

#[derive(Deserialize)]
struct Column {
    project_id: String,
    table_key: String,
    #[serde(default)]
    data_connection_id: Option<String>,
    column_name: String,
}

/// Tables that projects read.
fn reads(
    lake: &Lake,
    manifest: &Manifest,
    projects: &HashSet<&str>,
    audit: &audit::Config,
) -> Result<BTreeMap<String, Vec<Reach>>, Error> {
    let open = |table| TableReader::open(lake, manifest, table);
    let is_sensitive = |c: &Column| {
        projects.contains(c.project_id.as_str()) && audit.is_sensitive_column(&c.table_key, &c.column_name)
    };
    let mut columns: HashMap<(String, Option<String>, String), Vec<String>> = HashMap::new();
    for c in rows::some(&open, &COLUMN_LINEAGE, is_sensitive)? {
        columns.entry((c.project_id, c.data_connection_id, c.table_key)).or_default().push(c.column_name);
    }
    let mut reads: BTreeMap<String, Vec<Reach>> = BTreeMap::new();
    for edge in rows::some(&open, &LINEAGE, |edge: &Edge| {
        edge.direction != "write" && projects.contains(edge.project_id.as_str())
    })? {
        let connection = edge.connection_name.clone().or(edge.data_connection_id.clone()).unwrap_or_default();
        let key = (edge.project_id, edge.data_connection_id, edge.table_key);
        let sensitive_columns = columns.remove(&key).unwrap_or_default();
        let reach =
            Reach { connection, sensitive: audit.is_sensitive(&key.2), table: key.2, sensitive_columns };
        reads.entry(key.0).or_default().push(reach);
    }
    reads.values_mut().for_each(|tables| tables.sort());
    Ok(reads)
}

/// Gaps in the tables that access comes from.
fn not_known(evidence: &audit::Evidence) -> Vec<String> {
    // What the projects read comes from the last two.
    let tables = registry::inputs(&EFFECTIVE_ACCESS).iter().copied().chain(["queried_tables", "cells"]);
    let gaps: BTreeSet<String> = tables.filter_map(|table| evidence.gap(table)).map(str::to_owned).collect();
    gaps.into_iter().collect()
}

/// Completeness of a snapshot.
fn evidence(lake: &Lake, manifest: &Manifest) -> Result<audit::Evidence, Error> {
    audit::Evidence::load(&audit::Committed { lake, manifest })
}
