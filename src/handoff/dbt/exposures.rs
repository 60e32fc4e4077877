//! Exposures: the published projects that read what dbt builds, as dbt's YAML has them.
//!
//! <https://docs.getdbt.com/docs/build/exposures>

use std::collections::{BTreeMap, BTreeSet, HashMap};

use serde::Serialize;

use super::artifact::{Manifest as Dbt, Node};
use crate::derive::LINEAGE;
use crate::handoff::Pages;
use crate::handoff::openlineage::Connection;
use crate::handoff::relation::ends;
use crate::handoff::rows::{Edge, Project, User};
use crate::snapshot::{self, Lake, Manifest, TableReader, rows};
use crate::tables::{DATA_CONNECTIONS, PROJECTS, USERS};

/// Settings of the exposures.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Connections to the warehouse that dbt builds in, by name or identifier; those of the adapter's kind, if none
    /// is named.
    pub connections: Vec<String>,
    /// Maturity by status, which goes before the usual one.
    pub maturity: BTreeMap<String, Maturity>,
    /// Which projects become exposures.
    pub scope: Scope,
}

/// Which projects become exposures.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Scope {
    /// All that are published.
    #[default]
    Published,
    /// Those of them that read something of the dbt project.
    Dependent,
}

/// Reliability of an exposure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Maturity {
    /// Production.
    High,
    /// In review or development.
    Medium,
    /// Exploratory, or deprecated.
    Low,
}

impl Maturity {
    /// The maturity of one of Hex's own statuses.
    fn of_status(status: &str) -> Option<Self> {
        Some(match status.to_lowercase().as_str() {
            "production" | "approved" => Maturity::High,
            "needs review" | "in development" => Maturity::Medium,
            "exploratory" | "deprecated" => Maturity::Low,
            _ => return None,
        })
    }
}

/// An exposure. The order of the fields is that of the file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Exposure {
    /// Letters, digits and underscores; no two are the same.
    pub name: String,
    /// The project's title.
    pub label: String,
    /// Always `dashboard`.
    #[serde(rename = "type")]
    pub kind: &'static str,
    /// Maturity, by the project's status.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub maturity: Option<Maturity>,
    /// The app's page.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// The project's description.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Inputs: `ref(...)` and `source(...)`, sorted.
    pub depends_on: Vec<String>,
    /// The project's owner.
    pub owner: Owner,
}

/// Owner of an exposure: dbt wants a name or an address.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Owner {
    /// Name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Email address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub email: Option<String>,
}

/// A table, or a node of dbt, that no edge was made for or that needs a look, and why.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Left {
    /// Connection's name.
    pub connection: String,
    /// The table's whole name.
    pub table: String,
    /// Problem with it.
    pub why: Why,
}

/// Reason that a table needs attention.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Why {
    /// dbt neither builds nor declares it.
    Unmatched,
    /// Its name isn't whole, and is the end of several.
    ManyNames(Vec<String>),
    /// Connections to different warehouses have a table of this name: dbt's is one of them.
    ManyWarehouses(Vec<String>),
    /// Several nodes are this table: all of them are taken.
    ManyNodes(Vec<String>),
    /// The model is private to its group, so that dbt refuses references to it.
    Private(String),
}

/// Exposures, and what was left out of them.
#[derive(Debug, Clone, Default)]
pub struct Exposures {
    /// Exposures, in the order of the projects' identifiers.
    pub exposures: Vec<Exposure>,
    /// Tables that need a look, in order.
    pub left: BTreeSet<Left>,
}

impl Exposures {
    /// Dependencies of all exposures.
    pub fn edges(&self) -> usize {
        self.exposures.iter().map(|exposure| exposure.depends_on.len()).sum()
    }

    /// The file that dbt takes.
    pub fn to_yaml(&self) -> String {
        #[derive(Serialize)]
        struct File<'a> {
            version: u8,
            exposures: &'a [Exposure],
        }
        let file = File { version: 2, exposures: &self.exposures };
        let yaml = serde_yaml_ng::to_string(&file).expect("exposures are texts and lists");
        format!("# Written by hexport dbt exposures: the next run replaces it.\n{yaml}")
    }
}

/// Errors of making exposures.
#[derive(Debug, thiserror::Error)]
pub enum ExposuresError {
    /// The snapshot can't be read.
    #[error(transparent)]
    Snapshot(#[from] snapshot::Error),
    /// No connection has this name.
    #[error("the lineage has no connection '{name}'; it has {}", known.join(", "))]
    Connection {
        /// The name.
        name: String,
        /// Connections that there are.
        known: Vec<String>,
    },
    /// No connection is of the adapter's kind.
    #[error("the lineage has no connection of dbt's adapter {adapter}; it has {}", known.join(", "))]
    Adapter {
        /// The adapter.
        adapter: String,
        /// Connections that there are.
        known: Vec<String>,
    },
}

/// Makes exposures of the published projects of a snapshot, which must hold `projects` and `lineage`.
///
/// # Errors
/// [`ExposuresError`].
pub fn exposures(
    lake: &Lake,
    manifest: &Manifest,
    dbt: &Dbt,
    options: &Options,
) -> Result<Exposures, ExposuresError> {
    let open = |table| TableReader::open(lake, manifest, table);
    let projects: Vec<Project> = rows::all(&open, &PROJECTS)?;
    let edges: Vec<Edge> = rows::some(&open, &LINEAGE, Edge::is_read)?;
    let connections: Vec<Connection> = rows::all(&open, &DATA_CONNECTIONS)?;
    let users: Vec<User> = rows::all(&open, &USERS)?;
    let published = |project: &&Project| {
        project.is_alive() && !project.is_component() && project.last_published_at.is_some()
    };
    let published: BTreeMap<&str, &Project> =
        projects.iter().filter(published).map(|project| (&*project.project_id, project)).collect();
    let edges: Vec<&Edge> = chosen(&edges, dbt, options)?
        .into_iter()
        .filter(|e| published.contains_key(&*e.project_id))
        .collect();
    let mut left = BTreeSet::new();
    let found = Matcher::new(dbt, &connections).matches(&edges, &mut left, options);
    let names: HashMap<String, String> = users
        .into_iter()
        .filter_map(|user| {
            Some((user.email?.to_lowercase(), user.name.filter(|name| !name.trim().is_empty())?))
        })
        .collect();
    let pages = Pages::new(manifest);
    let mut exposures = Vec::new();
    for (id, project) in published {
        let nodes = found.get(id);
        if nodes.is_none() && options.scope == Scope::Dependent {
            continue;
        }
        let depends_on: BTreeSet<String> =
            nodes.into_iter().flatten().map(|(_, node)| node.reference(&dbt.project)).collect();
        exposures.push(exposure(project, depends_on, &names, &pages, options));
    }
    Ok(Exposures { exposures, left })
}

/// The edges through the connections that are meant.
fn chosen<'e>(edges: &'e [Edge], dbt: &Dbt, options: &Options) -> Result<Vec<&'e Edge>, ExposuresError> {
    let known = || -> Vec<String> {
        let all = edges
            .iter()
            .map(|e| format!("{} ({})", e.connection(), e.connection_type.as_deref().unwrap_or("?")));
        all.collect::<BTreeSet<_>>().into_iter().collect()
    };
    if options.connections.is_empty() {
        let found: Vec<&Edge> = edges.iter().filter(|edge| edge.warehouse() == dbt.warehouse).collect();
        return match found.is_empty() && !edges.is_empty() {
            true => Err(ExposuresError::Adapter { adapter: dbt.adapter.clone(), known: known() }),
            false => Ok(found),
        };
    }
    for name in &options.connections {
        if !edges.iter().any(|edge| edge.is_through(name)) {
            return Err(ExposuresError::Connection { name: name.clone(), known: known() });
        }
    }
    Ok(edges.iter().filter(|edge| options.connections.iter().any(|name| edge.is_through(name))).collect())
}

/// Finds the nodes that tables are.
struct Matcher<'a> {
    dbt: &'a Dbt,
    /// Warehouses' addresses by connection.
    warehouses: HashMap<&'a str, String>,
}

impl<'a> Matcher<'a> {
    fn new(dbt: &'a Dbt, connections: &'a [Connection]) -> Self {
        let warehouses = connections.iter().map(|c| (c.data_connection_id.as_str(), c.namespace())).collect();
        Self { dbt, warehouses }
    }

    /// The nodes that each project reads.
    fn matches(
        &self,
        edges: &[&'a Edge],
        left: &mut BTreeSet<Left>,
        options: &Options,
    ) -> HashMap<&'a str, BTreeMap<&'a str, &'a Node>> {
        let mut indices = HashMap::new();
        // Where each node was found: more than one warehouse is one too many, unless they were named.
        let mut found: BTreeMap<&str, Vec<(&Edge, String)>> = BTreeMap::new();
        let mut note = |edge: &Edge, why: Why| {
            let (connection, table) = (edge.connection().to_owned(), edge.table_key.clone());
            left.insert(Left { connection, table, why });
        };
        for edge in edges {
            let index =
                indices.entry(edge.warehouse()).or_insert_with(|| Index::new(self.dbt, edge.warehouse()));
            let names = index.names(edge);
            let nodes = match names.as_slice() {
                [] => {
                    note(edge, Why::Unmatched);
                    continue;
                }
                [name] => &index.nodes[*name],
                many => {
                    note(edge, Why::ManyNames(many.iter().map(|name| (*name).to_owned()).collect()));
                    continue;
                }
            };
            // What dbt builds goes before what it declares as a source.
            let best = nodes.iter().filter(|(_, node)| node.source.is_none()).copied().collect::<Vec<_>>();
            let nodes = if best.is_empty() { nodes.clone() } else { best };
            if nodes.len() > 1 {
                note(edge, Why::ManyNodes(nodes.iter().map(|(id, _)| (*id).to_owned()).collect()));
            }
            for (id, node) in nodes {
                if node.is_private {
                    note(edge, Why::Private(id.to_owned()));
                    continue;
                }
                let at = edge.data_connection_id.as_deref().unwrap_or("");
                let at = self.warehouses.get(at).cloned().unwrap_or_else(|| at.to_owned());
                found.entry(id).or_default().push((edge, at));
            }
        }
        let mut by_project: HashMap<&str, BTreeMap<&str, &Node>> = HashMap::new();
        for (id, places) in found {
            let warehouses: BTreeSet<&String> = places.iter().map(|(_, at)| at).collect();
            if warehouses.len() > 1 && options.connections.is_empty() {
                let all: Vec<String> = warehouses.into_iter().cloned().collect();
                places.iter().for_each(|(edge, _)| note(edge, Why::ManyWarehouses(all.clone())));
                continue;
            }
            for (edge, _) in places {
                by_project.entry(&edge.project_id).or_default().insert(id, &self.dbt.nodes[id]);
            }
        }
        by_project
    }
}

/// dbt's nodes by the names that one kind of warehouse gives them.
struct Index<'a> {
    nodes: HashMap<String, Vec<(&'a str, &'a Node)>>,
    /// Whole names by their ends, for tables whose own name isn't whole.
    by_end: HashMap<String, BTreeSet<String>>,
}

impl<'a> Index<'a> {
    fn new(dbt: &'a Dbt, warehouse: crate::derive::names::Warehouse) -> Self {
        let mut nodes: HashMap<String, Vec<(&str, &Node)>> = HashMap::new();
        let mut by_end: HashMap<String, BTreeSet<String>> = HashMap::new();
        for (id, node) in &dbt.nodes {
            let Some(key) = node.relation.as_ref().and_then(|relation| relation.key(warehouse)) else {
                continue;
            };
            for end in ends(&key).skip(1) {
                by_end.entry(end.to_owned()).or_default().insert(key.clone());
            }
            nodes.entry(key).or_default().push((id, node));
        }
        Self { nodes, by_end }
    }

    /// The whole names that a table may have.
    fn names(&self, edge: &Edge) -> Vec<&str> {
        if let Some((key, _)) = self.nodes.get_key_value(&edge.table_key) {
            return vec![key];
        }
        match edge.database_name {
            Some(_) => Vec::new(),
            None => self.by_end.get(&edge.table_key).into_iter().flatten().map(String::as_str).collect(),
        }
    }
}

fn exposure(
    project: &Project,
    depends_on: BTreeSet<String>,
    names: &HashMap<String, String>,
    pages: &Pages,
    options: &Options,
) -> Exposure {
    let status = project.status.as_deref();
    let own = |status: &str| options.maturity.get(&status.to_lowercase()).copied();
    let email = project.owner_email.clone().filter(|email| !email.trim().is_empty());
    let name = email.as_ref().and_then(|email| names.get(&email.to_lowercase()).cloned());
    let owner = match email {
        Some(email) => Owner { name: name.map(|name| literal(&name)), email: Some(literal(&email)) },
        None => Owner { name: Some("No owner".into()), email: None },
    };
    let description = project.description.as_deref().map(str::trim).filter(|text| !text.is_empty());
    let title = project.name();
    Exposure {
        name: name_of(project),
        label: literal(if title.is_empty() { "Untitled" } else { &title }),
        kind: "dashboard",
        maturity: status.and_then(|status| own(status).or_else(|| Maturity::of_status(status))),
        url: pages.app(&project.project_id),
        description: description.map(literal),
        depends_on: depends_on.into_iter().collect(),
        owner,
    }
}

/// A name that dbt takes. The beginning of the identifier keeps it apart from others of the same title.
fn name_of(project: &Project) -> String {
    let mut slug = String::from("hex");
    let mut gap = true;
    for c in project.title.chars().take(60) {
        match c.is_ascii_alphanumeric() {
            true => {
                if std::mem::take(&mut gap) {
                    slug.push('_');
                }
                slug.push(c.to_ascii_lowercase());
            }
            false => gap = true,
        }
    }
    let id = project.project_id.chars().filter(char::is_ascii_alphanumeric).take(8);
    format!("{slug}_{}", id.collect::<String>().to_lowercase())
}

/// Text as Jinja gives it back: dbt renders what its files say.
fn literal(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('{') {
        out.push_str(&rest[..at]);
        let mark = match rest.as_bytes().get(at + 1) {
            Some(b'{' | b'%' | b'#') => &rest[at..at + 2],
            _ => "{",
        };
        match mark.len() {
            2 => out.push_str(&format!("{{{{ '{mark}' }}}}")),
            _ => out.push('{'),
        }
        rest = &rest[at + mark.len()..];
    }
    out + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_that_looks_like_a_template_stays_what_it_is() {
        assert_eq!(literal("plain {text}"), "plain {text}");
        assert_eq!(literal("{{ var('x') }}"), "{{ '{{' }} var('x') }}");
        assert_eq!(literal("a {% raw %} {# b"), "a {{ '{%' }} raw %} {{ '{#' }} b");
        assert_eq!(literal("é{"), "é{");
    }

    #[test]
    fn names_are_those_that_dbt_takes_and_no_two_are_the_same() {
        let named = |title: &str, id: &str| {
            name_of(&Project { title: title.into(), project_id: id.into(), ..Project::default() })
        };
        assert_eq!(named("Weekly Orders: EU/US", "0a1b2c3d-4e5f"), "hex_weekly_orders_eu_us_0a1b2c3d");
        assert_eq!(named("Größe", "0a1b2c3d-4e5f"), "hex_gr_e_0a1b2c3d");
        assert_eq!(named("📈", "0A1B2C3D-4e5f"), "hex_0a1b2c3d");
    }
}
