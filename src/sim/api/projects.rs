//! Projects and components.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::Route;
use crate::client::cells::Cell;
use crate::client::operation as op;
use crate::client::projects::Status;
use crate::sim::ProjectRecord;
use crate::sim::call::Style::{Newer, Older};
use crate::sim::call::{Answer, Call, Failure, uuid};
use crate::sim::page::cut;
use crate::sim::rng;
use crate::sim::server::Sim;
use crate::sim::sql::CellTruth;
use crate::sim::world::Plan;

pub(super) const ROUTES: &[Route] = &[
    Route::of(&op::LIST_PROJECTS, Older, Sim::list_projects),
    Route::of(&op::CREATE_PROJECT, Older, Sim::create_project),
    Route::of(&op::EXPORT_PROJECT, Newer, Sim::export_project),
    Route::of(&op::GET_PROJECT, Newer, Sim::get_project),
    Route::of(&op::UPDATE_PROJECT, Older, Sim::update_project),
    Route::of(&op::GET_QUERIED_TABLES, Older, Sim::queried_tables).invalid(422),
];

impl Sim {
    fn list_projects(&self, call: &Call<'_>) -> Answer {
        let (archived, components) = (call.flag("includeArchived")?, call.flag("includeComponents")?);
        let (trashed, sharing) = (call.flag("includeTrashed")?, call.flag("includeSharing")?);
        let (statuses, categories) = (call.array("statuses"), call.array("categories"));
        let (creator, owner) = (call.get("creatorEmail"), call.get("ownerEmail"));
        let sort = call
            .one_of("sortBy", &["CREATED_AT", "LAST_EDITED_AT", "LAST_PUBLISHED_AT"])?
            .unwrap_or("CREATED_AT");
        let ascending = call.one_of("sortDirection", &["ASC", "DESC"])? == Some("ASC");
        let world = self.world();
        let collection = match call.get("collectionId") {
            None => None,
            Some(id) => {
                let at = world.collections.iter().position(|c| c.id == id);
                Some(at.ok_or_else(|| Failure::new(400, "Unknown collection").details(id.to_owned()))?)
            }
        };
        let mut items = Vec::new();
        for record in &world.projects {
            let p = &record.project;
            let wanted = call.token.sees(&p.id)
                && (archived || p.archived_at.is_none())
                && (trashed || p.trashed_at.is_none())
                && (components || p.kind != "COMPONENT")
                && (statuses.is_empty()
                    || p.status.as_ref().is_some_and(|s| statuses.contains(&s.name.as_str())))
                && (categories.is_empty()
                    || p.categories.iter().any(|c| categories.contains(&c.name.as_str())))
                && creator.is_none_or(|email| p.creator.email == email)
                && owner.is_none_or(|email| p.owner.email == email)
                && collection.is_none_or(|c| record.collections.contains(&c));
            if wanted {
                let key = match sort {
                    "LAST_EDITED_AT" => p.last_edited_at.clone(),
                    // Never published sorts behind everything when the latest come first.
                    "LAST_PUBLISHED_AT" => p.last_published_at.clone().unwrap_or_default(),
                    _ => p.created_at.clone(),
                };
                items.push(((key, p.id.to_string()), record));
            }
        }
        if ascending {
            items.sort_by(|a, b| a.0.cmp(&b.0));
        } else if sort != "CREATED_AT" {
            items.sort_by(|a, b| b.0.cmp(&a.0));
        }
        let page = cut(call, items, 25, 100)?;
        let values = page.items.iter().map(|record| shown(record, sharing)).collect();
        Ok((200, Some(page.envelope("values", values))))
    }

    fn create_project(&self, call: &Call<'_>) -> Answer {
        let body = call.json()?;
        let title = body.get("title").and_then(Value::as_str).filter(|t| !t.is_empty());
        let title = title.ok_or_else(|| Failure::new(400, "title is required"))?.to_owned();
        let description = body.get("description").and_then(Value::as_str).map(str::to_owned);
        let mut world = self.world_mut();
        let at = world.create_project(self.now(), title, description);
        Ok((201, Some(shown(&world.projects[at], false))))
    }

    fn get_project(&self, call: &Call<'_>) -> Answer {
        let id = call.arg("projectId");
        let sharing = call.flag("includeSharing")?;
        let world = self.world();
        let at = call.project(&world, id)?;
        Ok((200, Some(shown(&world.projects[at], sharing))))
    }

    fn update_project(&self, call: &Call<'_>) -> Answer {
        let id = call.arg("projectId");
        uuid(call, id, "projectId")?;
        let body = call.json()?;
        let mut world = self.world_mut();
        let at = call.project(&world, id)?;
        match body.get("status") {
            None => {}
            Some(Value::Null) => world.projects[at].project.status = None,
            Some(Value::String(name)) => {
                let known = world.statuses.iter().find(|s| *s == name).map(|s| (*s).to_owned());
                let name = known.ok_or_else(|| Failure::new(400, format!("There is no status '{name}'")))?;
                world.projects[at].project.status = Some(Status { name });
            }
            Some(_) => return Err(Failure::new(400, "status is neither a string nor null")),
        }
        Ok((200, Some(shown(&world.projects[at], false))))
    }

    fn queried_tables(&self, call: &Call<'_>) -> Answer {
        let id = call.arg("projectId");
        uuid(call, id, "projectId")?;
        if self.world().config.plan != Plan::Enterprise {
            // In the form of the newer operations, as DataHub's recorded answer has it.
            let message = "This feature requires a plan of at least ENTERPRISE tier.";
            let mut refused = Failure::new(403, message);
            refused.body = Some(json!({ "message": message }));
            return Err(refused);
        }
        let world = self.world();
        let at = call.project(&world, id)?;
        let tables = world.queried_tables(&world.projects[at]);
        let items: Vec<_> = tables
            .iter()
            .map(|t| ((format!("{}.{}", t.data_connection_id, t.table_name), String::new()), t))
            .collect();
        let page = cut(call, items, 25, 100)?;
        let values = page.items.iter().map(|t| json!(t)).collect();
        let mut envelope = page.envelope("values", values);
        envelope["traceId"] = json!(call.trace);
        Ok((200, Some(envelope)))
    }

    /// The project as a file.
    fn export_project(&self, call: &Call<'_>) -> Answer {
        let body = call.json()?;
        let id = body
            .get("projectId")
            .and_then(Value::as_str)
            .ok_or_else(|| Failure::new(400, "projectId is required"))?;
        let world = self.world();
        let at = call.project(&world, id).map_err(|_| Failure::new(400, "Project not found"))?;
        let record = &world.projects[at];
        let published = record.project.last_published_at.is_some();
        let no_such =
            |version: &dyn std::fmt::Display| Failure::new(400, format!("Version {version} not found"));
        let (cells, version) = match body.get("version") {
            None => (world.cells(record), "draft".to_owned()),
            Some(Value::String(version)) if version == "draft" => (world.cells(record), version.clone()),
            Some(Value::String(version)) if version == "latest" => {
                let version = published.then_some(record.version).ok_or_else(|| no_such(&"latest"))?;
                (world.published_cells(record), version.to_string())
            }
            Some(Value::Number(number)) => {
                let known = number.as_i64().filter(|n| published && (1..=record.version).contains(n));
                (world.published_cells(record), known.ok_or_else(|| no_such(number))?.to_string())
            }
            Some(_) => {
                return Err(Failure::new(400, "Invalid input").details("version: draft, latest or a number"));
            }
        };
        let project = &record.project;
        let file = json!({
            "schemaVersion": 3,
            "hexType": project.kind,
            "meta": {
                "sourceVersionId": rng::uuid(world.config.seed, &format!("version {version}"), record.index),
                "projectId": project.id,
                "title": project.title,
                "description": project.description,
                "timezone": null,
            },
            "projectAssets": {"dataConnections": connections_of(&cells), "envVars": [], "secrets": []},
            "sharedAssets": {"secrets": [], "vcsPackages": [], "dataConnections": [], "externalFileIntegrations": []},
            "cells": nested(&mut cells.into_iter()),
            "appLayout": {"visibleMetadataFields": ["NAME", "DESCRIPTION"], "fullWidth": true, "tabs": []},
        });
        let content = serde_yaml_ng::to_string(&file)
            .map_err(|e| Failure::new(500, "The file can't be written").details(e.to_string()))?;
        Ok((200, Some(json!({"filename": format!("{}.yaml", project.id), "content": content}))))
    }
}

fn connections_of(cells: &[(Cell, CellTruth)]) -> Vec<Value> {
    let used: BTreeSet<&str> =
        cells.iter().filter_map(|(cell, _)| cell.data_connection_id.as_deref()).collect();
    used.into_iter().map(|id| json!({"dataConnectionId": id})).collect()
}

/// Cells as the file has them: those that a COLLAPSIBLE holds stand in it.
fn nested(cells: &mut dyn Iterator<Item = (Cell, CellTruth)>) -> Vec<Value> {
    let mut out = Vec::new();
    while let Some((cell, truth)) = cells.next() {
        let mut config = json!({});
        if let Some(sql) = cell.contents.sql_cell {
            config = json!({
                "source": sql.source,
                "dataConnectionId": cell.data_connection_id,
                "resultVariableName": sql.output_dataframe,
            });
        } else if let Some(source) = cell.contents.code_cell.or(cell.contents.markdown_cell) {
            config = json!({"source": source.source});
        } else if let Some((id, version)) = truth.component {
            config = json!({"component": {"id": id, "version": version}});
        } else if truth.holds > 0 {
            config = json!({"cells": nested(&mut (&mut *cells).take(truth.holds))});
        }
        out.push(json!({
            "cellType": cell.cell_type,
            "cellId": cell.static_id,
            "cellLabel": cell.label,
            "config": config,
        }));
    }
    out
}

pub(in crate::sim) fn shown(record: &ProjectRecord, sharing: bool) -> Value {
    let mut value = json!(record.project);
    if !sharing && let Some(object) = value.as_object_mut() {
        object.remove("sharing");
    }
    value
}
