//! Guides.

use serde_json::{Value, json};

use super::Route;
use crate::client::guides::DraftGuide;
use crate::client::limits;
use crate::client::operation as op;
use crate::sim::call::Style::{Newer, Older};
use crate::sim::call::{Answer, Call, Failure, uuid};
use crate::sim::page::cursor_page;
use crate::sim::server::Sim;

pub(super) const ROUTES: &[Route] = &[
    Route::of(&op::LIST_DRAFT_GUIDES, Newer, Sim::list_guides),
    Route::own("UpsertGuideDraft", "PUT", "/guides/draft", &limits::DEFAULT, Older, Sim::upsert_guides),
    Route::own("PublishGuideDrafts", "POST", "/guides/publish", &limits::DEFAULT, Older, Sim::publish_guides),
    Route::own(
        "DeleteGuideDraft",
        "DELETE",
        "/guides/draft/{orgGuideFileId}",
        &limits::DEFAULT,
        Older,
        Sim::delete_guide,
    ),
];

impl Sim {
    fn list_guides(&self, call: &Call<'_>) -> Answer {
        let world = self.world();
        let items = world.guides.iter().map(|g| ((g.file_path.clone(), g.id.clone()), g)).collect();
        cursor_page(call, items, "values", 100, 100)
    }

    fn upsert_guides(&self, call: &Call<'_>) -> Answer {
        let body = Value::Object(call.json()?);
        let files = body["files"].as_array().ok_or_else(|| Failure::new(400, "files is required"))?;
        let now = self.now();
        let mut paths = Vec::new();
        for file in files {
            match (file["filePath"].as_str(), file["contents"].as_str()) {
                (Some(path), Some(_)) if !path.is_empty() => paths.push(path),
                _ => return Err(Failure::new(400, "A file has filePath and contents")),
            }
        }
        let mut world = self.world_mut();
        let mut written = Vec::new();
        for path in paths {
            let known = world.guides.iter().find(|guide| guide.file_path == path).cloned();
            written.push(match known {
                Some(guide) => guide,
                None => {
                    let guide = DraftGuide { id: world.new_id("guide", now), file_path: path.to_owned() };
                    world.guides.push(guide.clone());
                    world.guides.sort_by(|a, b| a.file_path.cmp(&b.file_path));
                    guide
                }
            });
        }
        Ok((200, Some(json!({"files": written, "warnings": [], "traceId": call.trace}))))
    }

    fn publish_guides(&self, call: &Call<'_>) -> Answer {
        let body = Value::Object(call.json()?);
        let ids: Option<Vec<&str>> =
            body["orgGuideFileIds"].as_array().map(|ids| ids.iter().filter_map(Value::as_str).collect());
        if ids.is_none() && body["publishAllDraftGuides"] != true {
            return Err(Failure::new(400, "orgGuideFileIds or publishAllDraftGuides is required"));
        }
        let mut world = self.world_mut();
        let wanted = |guide: &DraftGuide| ids.as_ref().is_none_or(|ids| ids.contains(&guide.id.as_str()));
        let (published, drafts) =
            std::mem::take(&mut world.guides).into_iter().partition::<Vec<_>, _>(wanted);
        world.guides = drafts;
        let message = format!("{} guides published", published.len());
        Ok((200, Some(json!({"message": message, "publishedGuides": published, "traceId": call.trace}))))
    }

    fn delete_guide(&self, call: &Call<'_>) -> Answer {
        let id = call.arg("orgGuideFileId");
        uuid(call, id, "orgGuideFileId")?;
        let mut world = self.world_mut();
        let at = world.guides.iter().position(|guide| guide.id == id);
        // The description knows no 404 here.
        world.guides.remove(at.ok_or_else(|| Failure::new(400, "Guide not found"))?);
        Ok((204, None))
    }
}
