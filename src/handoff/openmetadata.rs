//! OpenMetadata: a snapshot as the requests that its API takes, a JSON object a line, in the order in which they build on
//! each other.
//!
//! A project or component is a dashboard of a Hex service, under the identifier that OpenMetadata's own Hex connector
//! gives it; a SQL cell that reads a warehouse is a chart. Lineage and owners refer to things by identifiers that only
//! the server knows: such a line names them, under `resolve`, and whoever sends it looks them up first.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::Pages;
use super::rows::{ByProject, Category, Cell, Edge, Project, SqlTable, TableKey};
use crate::derive::Given;
use crate::snapshot::{Error, Lake, Manifest, TableReader, rows};
use crate::tables::PROJECTS;

/// Tables that requests are made of, the one that they can't do without first.
pub const TABLES: [&str; 5] = ["projects", "lineage", "sql_tables", "cells", "project_categories"];

/// The classification of Hex's status and categories, as OpenMetadata's own connector names it.
const CLASSIFICATION: &str = "HexCategories";

/// Settings of the requests.
#[derive(Debug, Clone)]
pub struct Options {
    /// Name of the Hex service in OpenMetadata.
    pub service: String,
    /// Settings of connections: `platform_instance` is the service of its tables.
    pub given: Given,
}

/// Counts of what was written.
#[derive(Debug, Clone, Default)]
pub struct Made {
    /// Projects and components.
    pub dashboards: u64,
    /// Cells.
    pub charts: u64,
    /// Edges between tables and dashboards or charts.
    pub edges: u64,
    /// Tables whose name in OpenMetadata isn't known: connection, table.
    pub unnamed: BTreeSet<(String, String)>,
}

/// Makes the requests of a snapshot and hands each to `emit`. The snapshot must hold the first of [`TABLES`].
///
/// # Errors
/// If the snapshot can't be read; what `emit` gives.
pub fn requests<E: From<Error>>(
    lake: &Lake,
    manifest: &Manifest,
    options: &Options,
    mut emit: impl FnMut(&Value) -> Result<(), E>,
) -> Result<Made, E> {
    let open = |table| TableReader::open(lake, manifest, table);
    let projects: Vec<Project> = rows::all(&open, &PROJECTS)?;
    let pages = Pages::new(manifest);
    let mut made = Made::default();
    emit(&request(
        "services/dashboardServices",
        "api.services.createDashboardService.CreateDashboardServiceRequest",
        json!({"name": options.service, "serviceType": "Hex"}),
    ))?;
    let mut tags = tags(lake, manifest)?;
    let names = tags.values().flatten().map(String::as_str);
    let of_projects = projects.iter().filter_map(|p| p.status.as_deref());
    let names: BTreeSet<String> = names.chain(of_projects).map(str::to_owned).collect();
    if !names.is_empty() {
        emit(&request(
            "classifications",
            "api.classification.createClassification.CreateClassificationRequest",
            json!({"name": CLASSIFICATION, "description": "Tags associated with Hex projects"}),
        ))?;
    }
    for name in &names {
        emit(&request(
            "tags",
            "api.classification.createTag.CreateTagRequest",
            json!({"name": entity_name(name), "displayName": name, "classification": CLASSIFICATION, "description": "Hex Tag"}),
        ))?;
    }
    let ids = ["project_id", "data_connection_id", "table_key", "direction"];
    let more = ["database_name", "schema_name", "table_name", "parsed", "connection_name", "connection_type"];
    let mut edges: ByProject<Edge> = ByProject::open(lake, manifest, "lineage", &[&ids[..], &more].concat())?;
    let mut tables: ByProject<SqlTable> =
        ByProject::open(lake, manifest, "sql_tables", &[&ids[..], &["static_id"]].concat())?;
    let mut cells: ByProject<Cell> =
        ByProject::open(lake, manifest, "cells", &["project_id", "static_id", "label"])?;
    for project in &projects {
        let id = &*project.project_id;
        let (edges, tables, cells) = (edges.take(id)?, tables.take(id)?, cells.take(id)?);
        if !project.is_alive() {
            continue;
        }
        let known = fully_qualified(&edges, options, &mut made.unnamed);
        let mut charts: BTreeMap<&str, BTreeSet<&String>> = BTreeMap::new();
        for row in tables.iter().filter(|row| row.direction == "read") {
            if let Some(name) = known.get(&(row.data_connection_id.clone(), row.table_key.clone())) {
                charts.entry(&row.static_id).or_default().insert(name);
            }
        }
        let service = quoted(&options.service);
        let of_chart = |cell: &str| format!("{service}.{}", quoted(&format!("{id}_{cell}")));
        for cell in charts.keys() {
            let label = cells.iter().find(|c| c.static_id == *cell).and_then(|c| c.label.clone());
            let mut body = json!({
                "name": format!("{id}_{cell}"),
                "displayName": label.filter(|l| !l.trim().is_empty()).unwrap_or_else(|| "SQL cell".into()),
                "chartType": "Other",
                "service": service,
            });
            set(&mut body, "sourceUrl", pages.draft(id));
            emit(&request("charts", "api.data.createChart.CreateChartRequest", body))?;
            made.charts += 1;
        }
        let mut own = tags.remove(id).unwrap_or_default();
        own.extend(project.status.as_deref().map(str::to_owned));
        let labels: Vec<Value> = own.iter().map(|tag| label(tag)).collect();
        let mut body = json!({
            "name": id,
            "displayName": project.title,
            "service": service,
            "charts": charts.keys().map(|cell| of_chart(cell)).collect::<Vec<_>>(),
            "tags": labels,
        });
        set(&mut body, "description", project.description.clone().filter(|text| !text.trim().is_empty()));
        let page = if project.last_published_at.is_some() { pages.app(id) } else { pages.draft(id) };
        set(&mut body, "sourceUrl", page);
        let mut line = request("dashboards", "api.data.createDashboard.CreateDashboardRequest", body);
        let emails = [&project.owner_email, &project.creator_email].into_iter().flatten();
        if let Some(owner) = emails.into_iter().find(|email| !email.is_empty()) {
            line["resolve"] = json!({"owners": [{"type": "user", "email": owner}]});
        }
        emit(&line)?;
        made.dashboards += 1;
        let dashboard =
            json!({"type": "dashboard", "fullyQualifiedName": format!("{service}.{}", quoted(id))});
        for edge in &edges {
            let Some(name) = known.get(&edge.table()) else { continue };
            let table = json!({"type": "table", "fullyQualifiedName": name});
            emit(&match edge.is_read() {
                true => lineage(&table, &dashboard),
                false => lineage(&dashboard, &table),
            })?;
            made.edges += 1;
        }
        for (cell, reads) in &charts {
            let chart = json!({"type": "chart", "fullyQualifiedName": of_chart(cell)});
            for name in reads {
                emit(&lineage(&json!({"type": "table", "fullyQualifiedName": name}), &chart))?;
                made.edges += 1;
            }
        }
    }
    Ok(made)
}

/// Categories of each project.
fn tags(lake: &Lake, manifest: &Manifest) -> Result<BTreeMap<String, BTreeSet<String>>, Error> {
    let open = |table| TableReader::open(lake, manifest, table);
    let mut tags: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for category in rows::all::<Category>(&open, &crate::tables::PROJECT_CATEGORIES)? {
        tags.entry(category.project_id).or_default().insert(category.name);
    }
    Ok(tags)
}

/// A request: where it goes, the model that its body is of, and the body.
fn request(path: &str, model: &str, body: Value) -> Value {
    json!({"method": "PUT", "path": format!("/v1/{path}"), "model": format!("metadata.generated.schema.{model}"), "body": body})
}

fn lineage(from: &Value, to: &Value) -> Value {
    let body = json!({"edge": {"lineageDetails": {"source": "DashboardLineage"}}});
    let mut line = request("lineage", "api.lineage.addLineage.AddLineageRequest", body);
    line["resolve"] = json!({"edge.fromEntity": from, "edge.toEntity": to});
    line
}

fn label(tag: &str) -> Value {
    let name = format!("{CLASSIFICATION}.{}", quoted(&entity_name(tag)));
    json!({"tagFQN": name, "source": "Classification", "labelType": "Automated", "state": "Suggested"})
}

fn set(body: &mut Value, name: &str, value: Option<String>) {
    if let Some(value) = value {
        body[name] = json!(value);
    }
}

/// A name as entities may have one: two colons separate their parts elsewhere.
fn entity_name(text: &str) -> String {
    text.replace("::", ": :")
}

/// A part of a fully qualified name: quoted if it has a dot or a quote.
fn quoted(part: &str) -> String {
    match part.contains(['.', '"']) {
        true => format!("\"{}\"", part.replace('"', "\"\"")),
        false => part.to_owned(),
    }
}

/// OpenMetadata's names of tables: service, database, schema, table. What the warehouse has no databases for is in one
/// named `default`.
fn fully_qualified(
    edges: &[Edge],
    options: &Options,
    unnamed: &mut BTreeSet<TableKey>,
) -> BTreeMap<TableKey, String> {
    let mut found = BTreeMap::new();
    for edge in edges {
        let id = edge.data_connection_id.as_deref().unwrap_or("");
        let told = options.given.connection(id, edge.connection_name.as_deref());
        let service =
            told.and_then(|told| told.platform_instance.as_deref()).or(edge.connection_name.as_deref());
        match (service, edge.schema_name.as_deref()) {
            (Some(service), Some(schema)) if edge.parsed => {
                let database = edge.database_name.as_deref().unwrap_or("default");
                let parts = [service, database, schema, &edge.table_name].map(quoted);
                found.insert(edge.table(), parts.join("."));
            }
            _ => drop(unnamed.insert((edge.connection().to_owned(), edge.table_key.clone()))),
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_of_names_are_quoted_where_they_must_be() {
        assert_eq!(quoted("orders"), "orders");
        assert_eq!(quoted("a.b"), "\"a.b\"");
        assert_eq!(quoted("a\"b"), "\"a\"\"b\"");
        assert_eq!(entity_name("a::b"), "a: :b");
    }
}
