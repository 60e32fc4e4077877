//! The proposals' shapes: those of acryl-datahub's file sink, aspect by aspect.

use std::collections::BTreeSet;

use chrono::{DateTime, Utc};
use serde_json::{Map, Value, json};

use super::{Options, Reading, urn};
use crate::handoff::Pages;
use crate::handoff::rows::{Category, Grant, Project, Run};

/// Who DataHub says made a change that has no name: its own sources say the same.
const ACTOR: &str = "urn:li:corpuser:_ingestion";

/// A project or component with what is known of it.
pub struct Of<'a> {
    pub project: &'a Project,
    /// Tables that it reads.
    pub reads: BTreeSet<String>,
    /// Columns that it reads, with their names.
    pub fields: BTreeSet<(String, String)>,
    /// Tags' names.
    pub tags: BTreeSet<String>,
    pub last_run: Option<&'a Run>,
    pub last_success: Option<DateTime<Utc>>,
    pub cells: &'a [Reading],
}

/// Makes proposals of one snapshot.
pub struct Shaper<'a> {
    options: &'a Options,
    pages: Pages,
    at: DateTime<Utc>,
    container: String,
}

impl<'a> Shaper<'a> {
    pub fn new(options: &'a Options, pages: Pages, at: DateTime<Utc>) -> Self {
        Self { options, pages, at, container: urn::workspace(&options.workspace) }
    }

    fn proposal(&self, urn: &str, name: &str, aspect: Value) -> Value {
        // urn:li:KIND:...
        let kind = urn.split(':').nth(2).unwrap_or("");
        json!({
            "entityType": kind,
            "entityUrn": urn,
            "changeType": "UPSERT",
            "aspectName": name,
            "aspect": {"json": aspect},
        })
    }

    /// The workspace.
    pub fn workspace(&self) -> Vec<Value> {
        let properties =
            json!({"customProperties": {}, "name": self.options.workspace, "env": self.options.names.env});
        vec![
            self.proposal(&self.container, "containerProperties", properties),
            self.proposal(&self.container, "dataPlatformInstance", self.platform()),
            self.proposal(&self.container, "subTypes", json!({"typeNames": ["Workspace"]})),
            self.proposal(&self.container, "browsePathsV2", json!({"path": []})),
            self.proposal(&self.container, "status", json!({"removed": false})),
        ]
    }

    /// A tag.
    pub fn tag(&self, name: &str) -> Value {
        self.proposal(&urn::tag(name), "tagKey", json!({"name": name}))
    }

    /// Proposal that marks something as removed.
    pub fn tombstone(&self, urn: &str) -> Value {
        self.proposal(urn, "status", json!({"removed": true}))
    }

    /// Names of the tags of a project: its status, categories and collections.
    pub fn tags(&self, project: &Project, categories: &[Category], grants: &[Grant]) -> BTreeSet<String> {
        let status = project.status.iter().map(|status| format!("hex:status:{status}"));
        let categories = categories.iter().map(|category| format!("hex:category:{}", category.name));
        let collections = grants
            .iter()
            .filter(|grant| grant.principal_type == "COLLECTION")
            .filter_map(|grant| Some(format!("hex:collection:{}", grant.principal.as_ref()?)));
        status.chain(categories).chain(collections).collect()
    }

    fn platform(&self) -> Value {
        let mut platform = json!({"platform": "urn:li:dataPlatform:hex"});
        if let Some(instance) = self.options.names.platform_instance() {
            platform["instance"] = json!(instance);
        }
        platform
    }

    /// The aspects that every dashboard and chart has.
    fn common(&self, urn: &str, subtype: &str) -> Vec<Value> {
        let place = json!({"path": [{"id": self.container, "urn": self.container}]});
        vec![
            self.proposal(urn, "subTypes", json!({"typeNames": [subtype]})),
            self.proposal(urn, "dataPlatformInstance", self.platform()),
            self.proposal(urn, "container", json!({"container": self.container})),
            self.proposal(urn, "browsePathsV2", place),
            self.proposal(urn, "status", json!({"removed": false})),
        ]
    }

    /// Owners and tags.
    fn people_and_tags(&self, urn: &str, of: &Of<'_>) -> Vec<Value> {
        let emails = [&of.project.owner_email, &of.project.creator_email].into_iter().flatten();
        let owners: BTreeSet<String> =
            emails.filter(|email| !email.is_empty()).map(|email| urn::user(email)).collect();
        let owners: Vec<Value> =
            owners.into_iter().map(|owner| json!({"owner": owner, "type": "TECHNICAL_OWNER"})).collect();
        let tags: Vec<Value> = of.tags.iter().map(|tag| json!({"tag": urn::tag(tag)})).collect();
        // Empty ones too: what was taken away goes from DataHub as well.
        vec![
            self.proposal(
                urn,
                "ownership",
                json!({
                    "owners": owners,
                    "ownerTypes": {},
                    "lastModified": {"time": 0, "actor": "urn:li:corpuser:unknown"},
                }),
            ),
            self.proposal(urn, "globalTags", json!({"tags": tags})),
        ]
    }

    fn fields(&self, urn: &str, fields: &BTreeSet<(String, String)>) -> Option<Value> {
        let fields: Vec<Value> = fields
            .iter()
            .map(|(field, column)| {
                json!({
                    "schemaFieldUrn": field,
                    "schemaField": {
                        "fieldPath": column,
                        "nullable": false,
                        "type": {"type": {"com.linkedin.schema.NullType": {}}},
                        "nativeDataType": "",
                        "recursive": false,
                        "isPartOfKey": false,
                    },
                })
            })
            .collect();
        (!fields.is_empty()).then(|| self.proposal(urn, "inputFields", json!({"fields": fields})))
    }

    fn stamps(project: &Project) -> Value {
        let stamp = |at: DateTime<Utc>| json!({"time": at.timestamp_millis(), "actor": ACTOR});
        let mut stamps = Map::new();
        let times = [("created", project.created_at), ("lastModified", project.last_edited_at)];
        for (name, at) in times {
            // DataHub's stamps have a default, so that one without a time is one of 1970.
            stamps.insert(
                name.into(),
                at.map_or(json!({"time": 0, "actor": "urn:li:corpuser:unknown"}), stamp),
            );
        }
        Value::Object(stamps)
    }

    /// The app of what is published, which everybody can open, else the draft.
    fn page(&self, project: &Project) -> Option<String> {
        match project.last_published_at {
            Some(_) => self.pages.app(&project.project_id),
            None => self.pages.draft(&project.project_id),
        }
    }

    fn properties(of: &Of<'_>) -> Value {
        let mut properties = json!({"id": of.project.project_id});
        if let Some(run) = of.last_run {
            properties["last_run_status"] = json!(run.status.as_deref().unwrap_or("UNKNOWN"));
            if let Some(seconds) = run.duration_seconds {
                properties["last_run_elapsed_seconds"] = json!(format!("{}", seconds as i64));
            }
        }
        properties
    }

    /// Views over all time, and of the last seven days.
    fn usage(&self, urn: &str, aspect: &str, project: &Project) -> Vec<Value> {
        let statistics = |views: Option<i64>, window: Option<Value>| {
            let mut fields = json!({
                "timestampMillis": self.at.timestamp_millis(),
                "partitionSpec": {"partition": "FULL_TABLE_SNAPSHOT", "type": "FULL_TABLE"},
                "viewsCount": views.filter(|views| *views > 0)?,
            });
            if let Some(window) = window {
                fields["eventGranularity"] = window;
            }
            if let (Some(at), "dashboardUsageStatistics") = (project.last_viewed_at, aspect) {
                fields["lastViewedAt"] = json!(at.timestamp_millis());
            }
            Some(self.proposal(urn, aspect, fields))
        };
        let week = json!({"unit": "WEEK", "multiple": 1});
        [statistics(project.app_views_all_time, None), statistics(project.app_views_last_7_days, Some(week))]
            .into_iter()
            .flatten()
            .collect()
    }

    /// A project.
    pub fn dashboard(&self, of: &Of<'_>) -> Vec<Value> {
        let project = of.project;
        let names = &self.options.names;
        let urn = names.dashboard(&project.project_id);
        let edge = |urn: &String| json!({"destinationUrn": urn});
        let charts: Vec<Value> =
            of.cells.iter().map(|cell| edge(&names.cell(&project.project_id, &cell.static_id))).collect();
        let mut info = json!({
            "customProperties": Self::properties(of),
            "title": project.title,
            "description": project.description.as_deref().unwrap_or(""),
            "charts": [],
            "chartEdges": charts,
            "datasets": [],
            "datasetEdges": of.reads.iter().map(edge).collect::<Vec<_>>(),
            "dashboards": [],
            "lastModified": Self::stamps(project),
        });
        if let Some(page) = self.page(project) {
            info["externalUrl"] = json!(page);
        }
        if let Some(at) = of.last_success {
            info["lastRefreshed"] = json!(at.timestamp_millis());
        }
        let mut proposals = vec![self.proposal(&urn, "dashboardInfo", info)];
        proposals.extend(self.common(&urn, "Project"));
        proposals.extend(self.people_and_tags(&urn, of));
        proposals.extend(self.usage(&urn, "dashboardUsageStatistics", project));
        proposals.extend(self.fields(&urn, &of.fields));
        proposals
    }

    /// The tables that a project writes. In DataHub neither a dashboard nor a chart has outputs: a job stands for it.
    pub fn writes(&self, of: &Of<'_>, outputs: &BTreeSet<String>) -> Vec<Value> {
        let project = of.project;
        let names = &self.options.names;
        let (flow, job) = (names.flow(&project.project_id), names.job(&project.project_id));
        let mut info = json!({"customProperties": {"id": project.project_id}, "name": project.title});
        if let Some(page) = self.pages.draft(&project.project_id) {
            info["externalUrl"] = json!(page);
        }
        let edges = |urns: &BTreeSet<String>| -> Vec<Value> {
            urns.iter().map(|urn| json!({"destinationUrn": urn})).collect()
        };
        let mut proposals = vec![self.proposal(&flow, "dataFlowInfo", info.clone())];
        proposals.extend(self.common(&flow, "Project"));
        info["name"] = json!(format!("Tables written by {}", project.title));
        info["type"] = json!({"string": "HEX_PROJECT"});
        info["flowUrn"] = json!(flow);
        proposals.push(self.proposal(&job, "dataJobInfo", info));
        proposals.push(self.proposal(
            &job,
            "dataJobInputOutput",
            json!({
                "inputDatasets": [],
                "outputDatasets": [],
                "inputDatasetEdges": edges(&of.reads),
                "outputDatasetEdges": edges(outputs),
            }),
        ));
        proposals.extend(self.common(&job, "Project"));
        proposals.extend(self.people_and_tags(&job, of));
        proposals
    }

    /// A component.
    pub fn component(&self, of: &Of<'_>) -> Vec<Value> {
        let project = of.project;
        let urn = self.options.names.component(&project.project_id);
        let title = (&*project.title, project.description.as_deref().unwrap_or(""));
        let mut info = Self::chart(project, title, Self::properties(of), &of.reads);
        if let Some(page) = self.page(project) {
            info["chartUrl"] = json!(page);
        }
        if let Some(at) = of.last_success {
            info["lastRefreshed"] = json!(at.timestamp_millis());
        }
        let mut proposals = vec![self.proposal(&urn, "chartInfo", info)];
        proposals.extend(self.common(&urn, "Component"));
        proposals.extend(self.people_and_tags(&urn, of));
        proposals.extend(self.usage(&urn, "chartUsageStatistics", project));
        proposals.extend(self.fields(&urn, &of.fields));
        proposals
    }

    /// A SQL cell of a project.
    pub fn cell(&self, project: &Project, cell: &Reading) -> Vec<Value> {
        let urn = self.options.names.cell(&project.project_id, &cell.static_id);
        let label = cell.label.as_deref().map(str::trim).filter(|label| !label.is_empty());
        let properties = json!({"id": cell.static_id, "project_id": project.project_id});
        let mut info = Self::chart(project, (label.unwrap_or("SQL cell"), ""), properties, &cell.reads);
        if let Some(page) = self.pages.draft(&project.project_id) {
            info["chartUrl"] = json!(page);
        }
        let mut proposals = vec![self.proposal(&urn, "chartInfo", info)];
        proposals.extend(self.common(&urn, "SQL cell"));
        if let Some(source) = cell.source.as_deref().filter(|source| !source.trim().is_empty()) {
            proposals.push(self.proposal(&urn, "chartQuery", json!({"rawQuery": source, "type": "SQL"})));
        }
        proposals.extend(self.fields(&urn, &cell.fields));
        proposals
    }

    fn chart(
        project: &Project,
        (title, description): (&str, &str),
        properties: Value,
        reads: &BTreeSet<String>,
    ) -> Value {
        json!({
            "customProperties": properties,
            "title": title,
            "description": description,
            "lastModified": Self::stamps(project),
            "inputs": reads.iter().map(|urn| json!({"string": urn})).collect::<Vec<_>>(),
        })
    }
}
