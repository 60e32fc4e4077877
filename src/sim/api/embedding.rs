//! Embedded apps.

use serde_json::{Value, json};

use super::Route;
use crate::client::limits;
use crate::sim::call::Style::Older;
use crate::sim::call::{Answer, Call, Failure, uuid};
use crate::sim::server::Sim;

pub(super) const ROUTES: &[Route] = &[Route::own(
    "CreatePresignedUrl",
    "POST",
    "/embedding/createPresignedUrl/{projectId}",
    &limits::DEFAULT,
    Older,
    Sim::presigned_url,
)
.invalid(422)];

impl Sim {
    fn presigned_url(&self, call: &Call<'_>) -> Answer {
        let id = call.arg("projectId");
        uuid(call, id, "projectId")?;
        let body = Value::Object(call.json()?);
        if body.get("expiresIn").is_some_and(|ms| !ms.is_number()) {
            return Err(call.bad("expiresIn", "is not a number"));
        }
        let world = self.world();
        let record = &world.projects[call.project(&world, id)?];
        if record.project.last_published_at.is_none() {
            return Err(Failure::new(422, "The project has no published version"));
        }
        let url =
            format!("https://app.hex.tech/{}/embed/{}?token={}", world.org_id, record.project.id, call.trace);
        Ok((200, Some(json!({ "url": url }))))
    }
}
