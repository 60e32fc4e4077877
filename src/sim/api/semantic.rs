//! Semantic projects.

use serde_json::{Value, json};

use super::Route;
use crate::client::limits;
use crate::sim::call::Style::Older;
use crate::sim::call::{Answer, Call, Failure, uuid};
use crate::sim::server::Sim;

pub(super) const ROUTES: &[Route] = &[
    Route::own(
        "IngestSemanticProject",
        "POST",
        "/semantic-projects/{semanticProjectId}/ingest",
        &limits::INGEST_SEMANTIC_PROJECT,
        Older,
        Sim::ingest_semantic_project,
    )
    .also(&["/semantic-models/{semanticProjectId}/ingest"]),
    Route::own(
        "UpdateSemanticProject",
        "PATCH",
        "/semantic-projects/{semanticProjectId}",
        &limits::DEFAULT,
        Older,
        Sim::update_semantic_project,
    )
    .also(&["/semantic-models/{semanticProjectId}"]),
];

impl Sim {
    fn ingest_semantic_project(&self, call: &Call<'_>) -> Answer {
        let id = call.arg("semanticProjectId");
        uuid(call, id, "semanticProjectId")?;
        let world = self.world();
        let project = world.semantic_projects.iter().find(|project| project.id == id);
        // The description knows no 404 here.
        let project = project.ok_or_else(|| Failure::new(400, "Semantic project not found"))?;
        let kind = call.content_type.to_ascii_lowercase();
        if !kind.starts_with("multipart/form-data") && !kind.starts_with("application/json") {
            return Err(Failure::new(415, "Unsupported media type").details("multipart/form-data is wanted"));
        }
        if kind.starts_with("application/json") {
            call.json()?;
        } else if call.body.is_empty() {
            return Err(Failure::new(400, "A zip file is required"));
        }
        let contents: Vec<&String> = project.datasets.iter().chain(&project.views).map(|(n, _)| n).collect();
        Ok((
            201,
            Some(json!({
                "traceId": call.trace, "contents": contents, "warnings": [], "skipped": {}, "problems": [],
            })),
        ))
    }

    fn update_semantic_project(&self, call: &Call<'_>) -> Answer {
        let id = call.arg("semanticProjectId");
        uuid(call, id, "semanticProjectId")?;
        let body = Value::Object(call.json()?);
        let mut world = self.world_mut();
        let statuses = world.statuses.clone();
        let project = world.semantic_projects.iter_mut().find(|project| project.id == id);
        let project = project.ok_or_else(|| Failure::new(404, "Semantic project not found"))?;
        let updates = updates(&body, &["DATASET", "VIEW"])?;
        let mut refused = Vec::new();
        for update in &updates {
            let known = match update.kind {
                "DATASET" => &project.datasets,
                _ => &project.views,
            };
            if !known.iter().any(|(name, _)| name == update.name) {
                refused.push(update.refusal("not_found"));
            } else if update.status.is_some_and(|status| !statuses.contains(&status)) {
                refused.push(update.refusal("invalid_status"));
            }
        }
        refuse_updates(call, refused)?;
        let (mut datasets, mut views) = (Vec::new(), Vec::new());
        for update in &updates {
            let (known, changed) = match update.kind {
                "DATASET" => (&mut project.datasets, &mut datasets),
                _ => (&mut project.views, &mut views),
            };
            for (_, status) in known.iter_mut().filter(|(name, _)| name == update.name) {
                *status = update.status.map(str::to_owned);
            }
            changed.push(update.done());
        }
        Ok((200, Some(json!({"updated": {"datasets": datasets, "views": views}}))))
    }
}

/// A status that a body gives to something, or takes from it.
pub(super) struct Update<'a> {
    pub(super) kind: &'a str,
    pub(super) name: &'a str,
    pub(super) status: Option<&'a str>,
}

impl Update<'_> {
    pub(super) fn refusal(&self, reason: &str) -> Value {
        let mut refusal = json!({"name": self.name, "type": self.kind, "reason": reason});
        if let Some(status) = self.status {
            refusal["value"] = json!(status);
        }
        refusal
    }

    pub(super) fn done(&self) -> Value {
        json!({"name": self.name, "status": self.status})
    }
}

/// The updates of a body, whose types are among `kinds`.
pub(super) fn updates<'a>(body: &'a Value, kinds: &[&str]) -> Result<Vec<Update<'a>>, Failure> {
    let list = body["updates"].as_array().ok_or_else(|| Failure::new(400, "updates is required"))?;
    let update = |item: &'a Value| {
        let kind = item["type"].as_str().filter(|kind| kinds.contains(kind));
        let status = item.get("status").filter(|status| status.is_string() || status.is_null());
        match (kind, item["name"].as_str(), status) {
            (Some(kind), Some(name), Some(status)) => Ok(Update { kind, name, status: status.as_str() }),
            _ => Err(Failure::new(400, "An update has type, name and status")),
        }
    };
    list.iter().map(update).collect()
}

/// Refuses all updates if one can't be made.
pub(super) fn refuse_updates(call: &Call<'_>, refused: Vec<Value>) -> Result<(), Failure> {
    if refused.is_empty() {
        return Ok(());
    }
    let status = if refused.iter().all(|refusal| refusal["reason"] == "not_found") { 404 } else { 400 };
    let mut failure = Failure::new(status, "No update was made");
    failure.body = Some(json!({"reason": failure.reason, "traceId": call.trace, "details": refused}));
    Err(failure)
}
