//! The events' shapes, by the OpenLineage specification 2-0-2.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::{
    Batch, Case, Category, Cell, ColumnEdge, Connection, Edge, JobNames, Project, Run, ScheduleRow, Style,
};
use crate::client::runs::TERMINAL_STATUSES;
use crate::handoff::Pages;
use crate::snapshot::Manifest;

const SPEC: &str = "https://openlineage.io/spec/2-0-2/OpenLineage.json#/$defs/";
/// Maximum delay between the time that a scheduled run was due and its start.
const LATE: TimeDelta = TimeDelta::hours(6);

impl Run {
    /// Whether its status is final.
    pub(super) fn has_ended(&self) -> bool {
        self.status.as_deref().is_some_and(|status| TERMINAL_STATUSES.contains(&status))
    }
}

fn producer() -> String {
    format!("urn:hexport:{}", env!("CARGO_PKG_VERSION"))
}

fn time(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::Millis, true)
}

/// A facet of the specification: its name there is its schema's.
fn facet(schema: &str, version: &str, mut fields: Value) -> Value {
    fields["_producer"] = json!(producer());
    fields["_schemaURL"] =
        json!(format!("https://openlineage.io/spec/facets/{version}/{schema}.json#/$defs/{schema}"));
    fields
}

/// A facet of our own: its name begins with `hex_`.
fn own_facet(kind: &str, mut fields: Value) -> Value {
    fields["_producer"] = json!(producer());
    fields["_schemaURL"] = json!(format!("{SPEC}{kind}"));
    fields
}

/// Makes events of one snapshot.
pub struct Shaper {
    at: DateTime<Utc>,
    /// Namespace of jobs and of the apps that they write.
    namespace: String,
    pages: Pages,
    style: Style,
    connections: HashMap<String, Connection>,
}

impl Shaper {
    /// A shaper.
    pub fn new(manifest: &Manifest, connections: Vec<Connection>, style: Style) -> Self {
        let pages = Pages::new(manifest);
        Self {
            at: manifest.snapshot_at,
            namespace: format!("hex://{}", pages.workspace()),
            pages,
            style,
            connections: connections
                .into_iter()
                .map(|connection| (connection.data_connection_id.clone(), connection))
                .collect(),
        }
    }

    fn event(&self, kind: &str, at: DateTime<Utc>, mut fields: Value) -> Value {
        fields["eventTime"] = json!(time(at));
        fields["producer"] = json!(producer());
        fields["schemaURL"] = json!(format!("{SPEC}{kind}"));
        fields
    }

    /// Namespace and name of a table.
    fn table(&self, connection: Option<&str>, kind: Option<&str>, key: &str) -> (String, String) {
        let id = connection.unwrap_or("unknown");
        let (namespace, name) = match self.connections.get(id) {
            Some(connection) => (connection.namespace(), connection.dataset(key)),
            None => (format!("{}://{id}", kind.unwrap_or("unknown")), key),
        };
        (namespace, self.cased(name))
    }

    /// A name of a table or column in the case that was asked for.
    fn cased(&self, name: &str) -> String {
        match self.style.case {
            Case::Kept => name.to_owned(),
            Case::Lower => name.to_lowercase(),
        }
    }

    /// An event for each table that any project reads, with the key that it is known again by.
    pub fn datasets(&self, edges: &[Edge]) -> BTreeMap<String, Value> {
        let mut events = BTreeMap::new();
        for edge in edges {
            let kind = edge.connection_type.as_deref();
            let (namespace, name) = self.table(edge.data_connection_id.as_deref(), kind, &edge.table_key);
            let mut source = json!({"name": edge.connection_name.as_deref().unwrap_or(&namespace)});
            // BigQuery's namespace is a word and not a URI.
            if namespace.contains("://") {
                source["uri"] = json!(namespace);
            }
            let facets = json!({"dataSource": facet("DatasourceDatasetFacet", "1-0-1", source)});
            let dataset = json!({"namespace": namespace, "name": name, "facets": facets});
            let key = format!("dataset {namespace} {name}");
            events
                .entry(key)
                .or_insert_with(|| self.event("DatasetEvent", self.at, json!({"dataset": dataset})));
        }
        events
    }

    fn inputs(&self, edges: &[Edge]) -> Vec<Value> {
        self.tables(edges.iter().filter(|edge| edge.direction != "write"))
    }

    /// An app's own dataset, and the tables that its project writes.
    fn outputs(&self, own: Value, edges: &[Edge]) -> Vec<Value> {
        let mut outputs = self.tables(edges.iter().filter(|edge| edge.direction == "write"));
        outputs.insert(0, own);
        outputs
    }

    fn tables<'e>(&self, edges: impl Iterator<Item = &'e Edge>) -> Vec<Value> {
        let names: BTreeSet<(String, String)> = edges
            .map(|edge| {
                let kind = edge.connection_type.as_deref();
                self.table(edge.data_connection_id.as_deref(), kind, &edge.table_key)
            })
            .collect();
        names.into_iter().map(|(namespace, name)| json!({"namespace": namespace, "name": name})).collect()
    }

    /// Description of a project's job, the same in every event: a catalog may keep only what the last event said.
    fn job_of(&self, project: &Project, more: Map<String, Value>) -> Value {
        let kind = json!({"processingType": "BATCH", "integration": "HEX", "jobType": project.kind});
        let own = json!({"id": project.project_id, "title": project.name(), "type": project.kind});
        let mut facets = Map::from_iter([
            ("jobType".to_owned(), facet("JobTypeJobFacet", "2-0-4", kind)),
            (
                "documentation".to_owned(),
                facet("DocumentationJobFacet", "1-1-0", Self::documentation(project)),
            ),
            ("hex_project".to_owned(), own_facet("JobFacet", own)),
        ]);
        if let Some(page) = self.pages.draft(&project.project_id) {
            let place = json!({"type": "hex", "url": page});
            facets.insert("sourceCodeLocation".into(), facet("SourceCodeLocationJobFacet", "1-1-0", place));
        }
        facets.extend(more);
        json!({"namespace": self.namespace, "name": self.job_name(project), "facets": facets})
    }

    fn job_name(&self, project: &Project) -> String {
        let id = &project.project_id;
        match (self.style.job_names, project.name()) {
            (JobNames::Title, title) if !title.is_empty() => format!("{title} ({id})"),
            _ => id.to_string(),
        }
    }

    /// The event of a project that is gone: so is its app.
    pub fn gone(&self, project_id: &str) -> Value {
        let drop = json!({"lifecycleStateChange": "DROP"});
        let facets =
            json!({"lifecycleStateChange": facet("LifecycleStateChangeDatasetFacet", "1-0-1", drop)});
        let dataset = json!({"namespace": self.namespace, "name": project_id, "facets": facets});
        self.event("DatasetEvent", self.at, json!({"dataset": dataset}))
    }

    fn documentation(project: &Project) -> Value {
        let description = project.description.as_deref().unwrap_or("").trim();
        let text = [&*project.title, description].join("\n\n");
        json!({"description": text.trim(), "contentType": "text/markdown"})
    }

    /// The event of a project.
    pub fn job(
        &self,
        project: &Project,
        edges: &[Edge],
        columns: &[ColumnEdge],
        cells: &[Cell],
        categories: &[Category],
        schedules: &[ScheduleRow],
    ) -> Value {
        let mut more = Map::new();
        let mut add = |name: &str, value: Value| more.insert(name.to_owned(), value);
        let people = [("OWNER", &project.owner_email), ("CREATOR", &project.creator_email)];
        let owners: Vec<Value> = people
            .into_iter()
            .filter_map(|(role, email)| Some((role, email.as_deref().filter(|email| !email.is_empty())?)))
            .map(|(role, email)| json!({"name": format!("user:{email}"), "type": role}))
            .collect();
        if !owners.is_empty() {
            add("ownership", facet("OwnershipJobFacet", "1-0-1", json!({"owners": owners})));
        }
        let sql: Vec<String> = cells
            .iter()
            .filter(|cell| cell.cell_type.as_deref() == Some("SQL"))
            .filter_map(|cell| {
                let source = cell.source.as_deref().map(|s| s.trim().trim_end_matches(';'))?;
                let label = cell.label.as_deref().unwrap_or("").replace(['\n', '\r'], " ");
                (!source.is_empty()).then(|| match label.trim() {
                    "" => format!("{source};"),
                    label => format!("-- {label}\n{source};"),
                })
            })
            .collect();
        if !sql.is_empty() {
            let kinds: BTreeSet<&str> =
                edges.iter().filter_map(|edge| edge.connection_type.as_deref()).collect();
            let mut fields = json!({"query": sql.join("\n\n")});
            // The facet has one dialect; a project that reads several warehouses has more.
            if let (1, Some(kind)) = (kinds.len(), kinds.first()) {
                fields["dialect"] = json!(kind);
            }
            add("sql", facet("SQLJobFacet", "1-1-0", fields));
        }
        let tag = |key: &str, value: &str| json!({"key": key, "value": value, "source": "HEX"});
        let mut tags: Vec<Value> = project.status.iter().map(|status| tag("status", status)).collect();
        tags.extend(categories.iter().map(|category| tag("category", &category.name)));
        tags.extend(project.archived_at.map(|_| tag("archived", "true")));
        tags.extend(project.trashed_at.map(|_| tag("trashed", "true")));
        if !tags.is_empty() {
            add("tags", facet("TagsJobFacet", "1-0-0", json!({"tags": tags})));
        }
        if !schedules.is_empty() {
            add("hex_schedules", own_facet("JobFacet", json!({"schedules": schedules})));
        }
        let read: Vec<Value> = columns
            .iter()
            .filter(|column| column.column_name != "*")
            .map(|column| {
                let (namespace, name) = self.table(Some(&column.data_connection_id), None, &column.table_key);
                json!({"namespace": namespace, "name": name, "field": self.cased(&column.column_name)})
            })
            .collect();
        let mut facets = json!({
            "documentation": facet("DocumentationDatasetFacet", "1-1-0", Self::documentation(project)),
        });
        if !read.is_empty() {
            // An app has no columns of its own: these are what the whole of it depends on.
            let fields = json!({"fields": {}, "dataset": read});
            facets["columnLineage"] = facet("ColumnLineageDatasetFacet", "1-2-0", fields);
        }
        let output = json!({"namespace": self.namespace, "name": project.project_id, "facets": facets});
        let event = json!({
            "job": self.job_of(project, more),
            "inputs": self.inputs(edges),
            "outputs": self.outputs(output, edges),
        });
        self.event("JobEvent", self.at, event)
    }

    /// The events of a run: its start, unless that was sent before, and its end, if it has one.
    pub fn run(
        &self,
        project: &Project,
        run: &Run,
        edges: &[Edge],
        schedules: &[ScheduleRow],
        start_is_told: bool,
    ) -> Batch {
        let Some(start) = run.start_time else { return Vec::new() };
        // Hex's run ids are UUIDs; should one not be, it still gets one that is always the same.
        let id = run.run_id.parse().unwrap_or_else(|_| {
            Uuid::new_v5(&Uuid::NAMESPACE_URL, format!("{}/{}", self.namespace, run.run_id).as_bytes())
        });
        let event = |kind: &str, at: DateTime<Utc>, failure: Option<String>| {
            // DataHub refuses runs of a producer that it doesn't know unless they name their engine.
            let engine = json!({
                "version": "unknown",
                "name": "Hex",
                "openlineageAdapterVersion": env!("CARGO_PKG_VERSION"),
            });
            let engine = facet("ProcessingEngineRunFacet", "1-1-1", engine);
            let mut facets = Map::from_iter([("processing_engine".to_owned(), engine)]);
            if let Some(due) = self.due(run, schedules, start) {
                let nominal = json!({"nominalStartTime": time(due)});
                facets.insert("nominalTime".into(), facet("NominalTimeRunFacet", "1-0-1", nominal));
            }
            if let Some(trigger) = &run.run_trigger {
                let tags = json!({"tags": [{"key": "trigger", "value": trigger, "source": "HEX"}]});
                facets.insert("tags".into(), facet("TagsRunFacet", "1-0-0", tags));
            }
            if let Some(message) = failure {
                let error = json!({"message": message, "programmingLanguage": "PYTHON"});
                facets.insert("errorMessage".into(), facet("ErrorMessageRunFacet", "1-0-1", error));
            }
            let output = json!({"namespace": self.namespace, "name": project.project_id});
            let fields = json!({
                "eventType": kind,
                "run": {"runId": id.to_string(), "facets": facets},
                "job": self.job_of(project, Map::new()),
                "inputs": self.inputs(edges),
                "outputs": self.outputs(output.clone(), edges),
            });
            self.event("RunEvent", at, fields)
        };
        let mut batch = Vec::new();
        if !start_is_told {
            batch.push(event("START", start, None));
        }
        if run.has_ended() {
            let status = run.status.as_deref().unwrap_or("");
            let took = run.duration_seconds.map(|s| TimeDelta::milliseconds((s * 1000.0).round() as i64));
            let end = run.end_time.or(took.map(|took| start + took)).unwrap_or(start);
            let (kind, said) = match status {
                "COMPLETED" => ("COMPLETE", None),
                "KILLED" => ("ABORT", None),
                "UNABLE_TO_ALLOCATE_KERNEL" => ("FAIL", Some("Hex had no kernel for the run")),
                _ => ("FAIL", Some("The run failed")),
            };
            let message = said.map(|said| match &run.run_url {
                Some(url) => format!("{said} ({status}): {url}"),
                None => format!("{said} ({status})"),
            });
            batch.push(event(kind, end, message));
        }
        batch
    }

    /// When a scheduled run was due: the last time before its start.
    fn due(&self, run: &Run, schedules: &[ScheduleRow], start: DateTime<Utc>) -> Option<DateTime<Utc>> {
        if run.run_trigger.as_deref() != Some("SCHEDULED") {
            return None;
        }
        let enabled = schedules.iter().filter(|row| row.enabled != Some(false));
        enabled.filter_map(|row| row.timetable.schedule().due(start - LATE, start)?.last().copied()).max()
    }
}
