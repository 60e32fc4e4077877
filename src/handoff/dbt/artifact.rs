//! dbt's artifacts: `manifest.json`, which names what a project builds, and `catalog.json`, which names the columns
//! that the warehouse has.
//!
//! <https://docs.getdbt.com/reference/artifacts/manifest-json>, <https://schemas.getdbt.com>

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::derive::names::Warehouse;
use crate::handoff::Relation;

/// Versions of `manifest.json` that are read: those since dbt 1.0.
const MANIFESTS: std::ops::RangeInclusive<u32> = 4..=12;
/// Versions of `catalog.json` that are read.
const CATALOGS: std::ops::RangeInclusive<u32> = 1..=1;

/// Which artifact a file should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Artifact {
    /// `manifest.json`.
    Manifest,
    /// `catalog.json`.
    Catalog,
}

impl Artifact {
    fn name(self) -> &'static str {
        match self {
            Artifact::Manifest => "manifest",
            Artifact::Catalog => "catalog",
        }
    }

    fn versions(self) -> std::ops::RangeInclusive<u32> {
        match self {
            Artifact::Manifest => MANIFESTS,
            Artifact::Catalog => CATALOGS,
        }
    }
}

/// Errors of reading an artifact.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It can't be opened or read.
    #[error("can't read {}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// It isn't JSON of this shape.
    #[error("{} isn't a dbt {}.json", path.display(), artifact.name())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Artifact that it should be.
        artifact: Artifact,
        /// Why.
        source: serde_json::Error,
    },
    /// It is an artifact, and not the one that was asked for or not in a version that is read.
    #[error("{} {refused}", path.display())]
    Refused {
        /// The file.
        path: PathBuf,
        /// Why.
        refused: Refused,
    },
}

/// Reasons for not using an artifact.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// It doesn't name its schema, so it isn't dbt's.
    #[error("names no dbt schema (metadata.dbt_schema_version)")]
    NoSchema,
    /// It is of another kind.
    #[error("has the schema {found}, and not that of a {wanted}.json")]
    Kind {
        /// Its schema.
        found: String,
        /// The kind that was wanted.
        wanted: &'static str,
    },
    /// It is of another version.
    #[error("is a {kind}.json of version {found}; hexport reads {from} to {to}")]
    Version {
        /// Its kind.
        kind: &'static str,
        /// Its version.
        found: u32,
        /// First version that is read.
        from: u32,
        /// Last version that is read.
        to: u32,
    },
    /// No node has a name in the warehouse.
    #[error(
        "has no model, source, seed or snapshot with a relation name; dbt parse, compile or build writes them"
    )]
    NoRelations,
}

/// Models and sources of a dbt project.
#[derive(Debug, Clone)]
pub struct Manifest {
    /// The project's name: references to its own models need no package.
    pub project: String,
    /// The warehouse's kind, by the adapter.
    pub warehouse: Warehouse,
    /// The adapter, such as `snowflake`.
    pub adapter: String,
    /// Models, sources, seeds and snapshots, by their unique identifiers.
    pub nodes: BTreeMap<String, Node>,
}

/// Kind of a node that exposures can depend on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// A model.
    Model,
    /// A snapshot.
    Snapshot,
    /// A seed.
    Seed,
    /// A source: a table that others make.
    Source,
}

/// A model, source, seed or snapshot.
#[derive(Debug, Clone)]
pub struct Node {
    /// Kind.
    pub kind: Kind,
    /// Name.
    pub name: String,
    /// Package that it is of.
    pub package: String,
    /// Source that the table is of, of sources.
    pub source: Option<String>,
    /// Version, of versioned models, as a literal in Jinja.
    pub version: Option<String>,
    /// Whether nothing outside its group may refer to it.
    pub is_private: bool,
    /// Its name in the warehouse; ephemeral models have none.
    pub relation: Option<Relation>,
    /// Digest of its source text, if the manifest has one.
    pub checksum: Option<String>,
    /// Documented columns.
    pub columns: Vec<String>,
}

impl Node {
    /// Expression with which an exposure refers to it, as seen from a project.
    pub fn reference(&self, project: &str) -> String {
        let text = |text: &str| format!("'{}'", text.replace('\\', "\\\\").replace('\'', "\\'"));
        if let Some(source) = &self.source {
            return format!("source({}, {})", text(source), text(&self.name));
        }
        let mut arguments = vec![text(&self.name)];
        if self.package != project {
            arguments.insert(0, text(&self.package));
        }
        arguments.extend(self.version.as_ref().map(|version| format!("v={version}")));
        format!("ref({})", arguments.join(", "))
    }
}

/// A column of a catalogue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Column {
    /// Name.
    pub name: String,
    /// Type, as the warehouse says it.
    pub kind: String,
    /// Place in the table.
    pub place: i64,
}

/// The tables and columns that a warehouse has, by the unique identifiers of their nodes.
#[derive(Debug, Clone, Default)]
pub struct Catalog {
    /// Tables with their columns.
    pub tables: BTreeMap<String, (Relation, Vec<Column>)>,
}

#[derive(Deserialize)]
struct Head {
    metadata: Option<Metadata>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Metadata {
    dbt_schema_version: Option<String>,
    project_name: Option<String>,
    adapter_type: Option<String>,
}

#[derive(Deserialize)]
struct RawManifest {
    metadata: Metadata,
    nodes: BTreeMap<String, RawNode>,
    #[serde(default)]
    sources: BTreeMap<String, RawNode>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct RawNode {
    resource_type: String,
    name: String,
    package_name: String,
    source_name: Option<String>,
    version: Option<serde_json::Value>,
    access: Option<String>,
    relation_name: Option<String>,
    checksum: Option<Checksum>,
    columns: BTreeMap<String, serde_json::Value>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Checksum {
    checksum: String,
}

#[derive(Deserialize)]
struct RawCatalog {
    nodes: BTreeMap<String, RawTable>,
    #[serde(default)]
    sources: BTreeMap<String, RawTable>,
}

#[derive(Deserialize)]
struct RawTable {
    metadata: RawPlace,
    columns: BTreeMap<String, RawColumn>,
}

#[derive(Deserialize)]
struct RawPlace {
    database: Option<String>,
    schema: String,
    name: String,
}

#[derive(Deserialize)]
struct RawColumn {
    name: String,
    #[serde(rename = "type")]
    kind: String,
    index: i64,
}

/// Reads `manifest.json`.
///
/// # Errors
/// If it can't be read, isn't a manifest of a version that is known, or none of its nodes has a relation name.
pub fn load_manifest(path: &Path) -> Result<Manifest, Error> {
    let raw: RawManifest = load(path, Artifact::Manifest)?;
    let mut nodes = BTreeMap::new();
    for (id, raw) in raw.nodes.into_iter().chain(raw.sources) {
        let kind = match raw.resource_type.as_str() {
            "model" => Kind::Model,
            "snapshot" => Kind::Snapshot,
            "seed" => Kind::Seed,
            "source" => Kind::Source,
            _ => continue,
        };
        let node = Node {
            kind,
            name: raw.name,
            package: raw.package_name,
            source: raw.source_name.filter(|_| kind == Kind::Source),
            version: raw.version.filter(|version| !version.is_null()).map(|version| match version {
                serde_json::Value::String(text) => format!("'{}'", text.replace('\'', "\\'")),
                number => number.to_string(),
            }),
            is_private: raw.access.as_deref() == Some("private"),
            relation: raw.relation_name.filter(|name| !name.is_empty()).map(Relation::new),
            checksum: raw.checksum.map(|checksum| checksum.checksum).filter(|checksum| !checksum.is_empty()),
            columns: raw.columns.into_keys().collect(),
        };
        nodes.insert(id, node);
    }
    if nodes.values().all(|node| node.relation.is_none()) {
        return Err(Error::Refused { path: path.into(), refused: Refused::NoRelations });
    }
    let adapter = raw.metadata.adapter_type.unwrap_or_default();
    Ok(Manifest {
        project: raw.metadata.project_name.unwrap_or_default(),
        warehouse: Warehouse::of_type(&adapter),
        adapter,
        nodes,
    })
}

/// Reads `catalog.json`.
///
/// # Errors
/// If it can't be read, or isn't a catalogue of a version that is known.
pub fn load_catalog(path: &Path) -> Result<Catalog, Error> {
    let raw: RawCatalog = load(path, Artifact::Catalog)?;
    let tables = raw.nodes.into_iter().chain(raw.sources).map(|(id, table)| {
        let RawPlace { database, schema, name } = &table.metadata;
        let parts = database.iter().map(String::as_str).chain([schema.as_str(), name.as_str()]);
        let relation = Relation::stored(parts.filter(|part| !part.is_empty()));
        let mut columns: Vec<Column> = table
            .columns
            .into_values()
            .map(|column| Column { name: column.name, kind: column.kind, place: column.index })
            .collect();
        columns.sort_by_key(|column| column.place);
        (id, (relation, columns))
    });
    Ok(Catalog { tables: tables.collect() })
}

fn load<T: DeserializeOwned>(path: &Path, artifact: Artifact) -> Result<T, Error> {
    let text = std::fs::read(path).map_err(|source| Error::Io { path: path.into(), source })?;
    let damaged = |source| Error::Damaged { path: path.into(), artifact, source };
    let head: Head = serde_json::from_slice(&text).map_err(damaged)?;
    let schema = head.metadata.and_then(|metadata| metadata.dbt_schema_version);
    check(schema.as_deref(), artifact).map_err(|refused| Error::Refused { path: path.into(), refused })?;
    serde_json::from_slice(&text).map_err(damaged)
}

/// Checks a schema such as `https://schemas.getdbt.com/dbt/manifest/v12.json`.
fn check(schema: Option<&str>, artifact: Artifact) -> Result<(), Refused> {
    let schema = schema.ok_or(Refused::NoSchema)?;
    let wanted = artifact.name();
    let version =
        schema.rsplit_once(&format!("/dbt/{wanted}/v")).and_then(|(_, rest)| rest.strip_suffix(".json"));
    let Some(found) = version.and_then(|version| version.parse::<u32>().ok()) else {
        return Err(Refused::Kind { found: schema.to_owned(), wanted });
    };
    let versions = artifact.versions();
    match versions.contains(&found) {
        true => Ok(()),
        false => Err(Refused::Version { kind: wanted, found, from: *versions.start(), to: *versions.end() }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_kinds_and_versions_are_refused_by_name() {
        let schema =
            |kind: &str, version: &str| format!("https://schemas.getdbt.com/dbt/{kind}/{version}.json");
        let manifest = |schema: &str| check(Some(schema), Artifact::Manifest);
        assert_eq!(manifest(&schema("manifest", "v12")), Ok(()));
        let version = |found| Refused::Version { kind: "manifest", found, from: 4, to: 12 };
        assert_eq!(manifest(&schema("manifest", "v3")), Err(version(3)));
        assert_eq!(manifest(&schema("manifest", "v20")), Err(version(20)));
        let found = schema("catalog", "v1");
        assert_eq!(manifest(&found), Err(Refused::Kind { found: found.clone(), wanted: "manifest" }));
        assert_eq!(check(Some(&found), Artifact::Catalog), Ok(()));
        assert_eq!(check(None, Artifact::Catalog), Err(Refused::NoSchema));
    }

    #[test]
    fn references_name_packages_versions_and_sources() {
        let node = Node {
            kind: Kind::Model,
            name: "it's".into(),
            package: "shop".into(),
            source: None,
            version: None,
            is_private: false,
            relation: None,
            checksum: None,
            columns: Vec::new(),
        };
        assert_eq!(node.reference("shop"), r"ref('it\'s')");
        assert_eq!(node.reference("other"), r"ref('shop', 'it\'s')");
        let versioned = Node { version: Some("2".into()), ..node.clone() };
        assert_eq!(versioned.reference("shop"), r"ref('it\'s', v=2)");
        let source = Node { source: Some("raw".into()), name: "orders".into(), ..node };
        assert_eq!(source.reference("other"), "source('raw', 'orders')");
    }
}
