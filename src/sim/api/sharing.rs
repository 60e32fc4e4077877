//! Who may see a project.

use serde_json::{Value, json};

use super::Route;
use super::projects::shown;
use crate::client::operation as op;
use crate::client::projects::{CollectionGrant, GroupGrant, Named, Person, UserGrant};
use crate::sim::call::Style::Older;
use crate::sim::call::{Answer, Call, Failure, uuid};
use crate::sim::server::Sim;

pub(super) const ROUTES: &[Route] = &[
    Route::of(&op::SHARE_WITH_USERS, Older, |sim, call| sim.share(call, "users", "user")),
    Route::of(&op::SHARE_WITH_GROUPS, Older, |sim, call| sim.share(call, "groups", "group")),
    Route::of(&op::SHARE_WITH_COLLECTIONS, Older, |sim, call| sim.share(call, "collections", "collection")),
    Route::of(&op::SHARE_WITH_WORKSPACE, Older, Sim::share_widely),
];

impl Sim {
    /// Grants of `many` (each naming `one`) are added to a project's sharing, or replace those there are.
    fn share(&self, call: &Call<'_>, many: &str, one: &str) -> Answer {
        let id = call.arg("projectId");
        uuid(call, id, "projectId")?;
        let body = Value::Object(call.json()?);
        let grants = body.pointer(&format!("/sharing/upsert/{many}")).and_then(Value::as_array);
        let grants = grants.ok_or_else(|| Failure::new(400, format!("sharing.upsert.{many} is required")))?;
        if grants.len() > 25 {
            return Err(Failure::new(400, "Too many grants").details("at most 25"));
        }
        let mut world = self.world_mut();
        let at = call.project(&world, id)?;
        let mut granted = Vec::new();
        let mut unknown = Vec::new();
        for grant in grants {
            let (access, who) = (access_level(&grant["access"])?, grant[one]["id"].as_str().unwrap_or(""));
            let name = match many {
                "users" => world.users.iter().find(|u| u.id == who).map(|u| u.email.clone()),
                "groups" => world.groups.iter().find(|g| g.id == who).map(|g| g.name.clone()),
                _ => world.collections.iter().find(|c| c.id == who).map(|c| c.name.clone()),
            };
            match name {
                Some(name) => granted.push((name, access)),
                None => unknown.push(who.to_owned()),
            }
        }
        let sharing = world.projects[at].project.sharing.get_or_insert_default();
        for (name, access) in granted {
            match many {
                "users" => {
                    sharing.users.retain(|g| g.user.email != name);
                    sharing.users.push(UserGrant { access, user: Person { email: name } });
                }
                "groups" => {
                    sharing.groups.retain(|g| g.group.name != name);
                    sharing.groups.push(GroupGrant { access, group: Named { name } });
                }
                _ => {
                    sharing.collections.retain(|g| g.collection.name != name);
                    sharing.collections.push(CollectionGrant { access, collection: Named { name } });
                }
            }
        }
        let mut answer = json!({"project": shown(&world.projects[at], true)});
        if !unknown.is_empty() {
            answer["errors"] =
                json!([{(format!("{one}Ids")): unknown, "reason": format!("There is no such {one}")}]);
        }
        Ok((200, Some(answer)))
    }

    fn share_widely(&self, call: &Call<'_>) -> Answer {
        let id = call.arg("projectId");
        uuid(call, id, "projectId")?;
        let body = Value::Object(call.json()?);
        let level = |name: &str| body["sharing"].get(name).map(access_level).transpose();
        let (workspace, public) = (level("workspace")?, level("publicWeb")?);
        let mut world = self.world_mut();
        let at = call.project(&world, id)?;
        let sharing = world.projects[at].project.sharing.get_or_insert_default();
        if let Some(access) = workspace {
            sharing.workspace.access = access;
        }
        if let Some(access) = public {
            sharing.public_web.access = access;
        }
        Ok((200, Some(json!({"project": shown(&world.projects[at], true)}))))
    }
}

fn access_level(value: &Value) -> Result<String, Failure> {
    let levels = ["NONE", "APP_ONLY", "CAN_VIEW", "CAN_EDIT", "FULL_ACCESS"];
    let level = value.as_str().filter(|level| levels.contains(level));
    level
        .map(str::to_owned)
        .ok_or_else(|| Failure::new(400, format!("access is not one of {}", levels.join(", "))))
}
