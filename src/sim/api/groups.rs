//! Groups.

use serde_json::{Value, json};

use super::Route;
use crate::client::groups::Group;
use crate::client::operation as op;
use crate::sim::call::Style::Older;
use crate::sim::call::{Answer, Call, Failure, found, uuid};
use crate::sim::page::sorted_page;
use crate::sim::server::Sim;
use crate::sim::world::World;

pub(super) const ROUTES: &[Route] = &[
    Route::of(&op::LIST_GROUPS, Older, Sim::list_groups),
    Route::of(&op::GET_GROUP, Older, Sim::get_group),
    Route::of(&op::CREATE_GROUP, Older, Sim::create_group),
    Route::of(&op::EDIT_GROUP, Older, Sim::edit_group),
    Route::of(&op::DELETE_GROUP, Older, Sim::delete_group),
];

impl Sim {
    fn list_groups(&self, call: &Call<'_>) -> Answer {
        let by_name = call.one_of("sortBy", &["CREATED_AT", "NAME"])? == Some("NAME");
        let descending = call.one_of("sortDirection", &["DESC", "ASC"])? == Some("DESC");
        let world = self.world();
        let key = |g: &Group| (if by_name { g.name.clone() } else { g.created_at.clone() }, g.id.to_string());
        sorted_page(call, world.groups.iter().map(|g| (key(g), g)).collect(), descending, 500)
    }

    fn get_group(&self, call: &Call<'_>) -> Answer {
        let id = call.arg("groupId");
        uuid(call, id, "groupId")?;
        found(self.world().groups.iter().find(|g| g.id == id), "group")
    }

    fn create_group(&self, call: &Call<'_>) -> Answer {
        let body = Value::Object(call.json()?);
        let name = body["name"].as_str().filter(|n| !n.is_empty());
        let name = name.ok_or_else(|| Failure::new(400, "name is required"))?.to_owned();
        let mut world = self.world_mut();
        let members = places_of(&world, body.pointer("/members/users"))?;
        let users: Vec<Value> = members.iter().map(|at| json!({"id": world.users[*at].id})).collect();
        let at = world.create_group(self.now(), name, members);
        let group = &world.groups[at];
        let answer = json!({"id": group.id, "name": group.name, "members": {"users": users}});
        Ok((201, Some(answer)))
    }

    fn edit_group(&self, call: &Call<'_>) -> Answer {
        let id = call.arg("groupId");
        uuid(call, id, "groupId")?;
        let body = Value::Object(call.json()?);
        let mut world = self.world_mut();
        let at = world
            .groups
            .iter()
            .position(|g| g.id == id)
            .ok_or_else(|| Failure::new(404, "Group not found"))?;
        let add = places_of(&world, body.pointer("/members/add/users"))?;
        let remove = places_of(&world, body.pointer("/members/remove/users"))?;
        world.members[at].retain(|member| !remove.contains(member) && !add.contains(member));
        world.members[at].extend(add);
        if let Some(name) = body["name"].as_str().filter(|n| !n.is_empty()) {
            world.rename_group(at, name);
        }
        Ok((200, Some(json!(world.groups[at]))))
    }

    fn delete_group(&self, call: &Call<'_>) -> Answer {
        let id = call.arg("groupId");
        uuid(call, id, "groupId")?;
        let mut world = self.world_mut();
        let at = world
            .groups
            .iter()
            .position(|g| g.id == id)
            .ok_or_else(|| Failure::new(404, "Group not found"))?;
        world.remove_group(at);
        Ok((204, None))
    }
}

/// Places of users that a body names by identifier.
fn places_of(world: &World, users: Option<&Value>) -> Result<Vec<usize>, Failure> {
    let place = |user: &Value| {
        let id = user["id"].as_str().unwrap_or("");
        let at = world.users.iter().position(|u| u.id == id);
        at.ok_or_else(|| Failure::new(400, "Unknown user").details(id.to_owned()))
    };
    users.and_then(Value::as_array).map_or(Ok(Vec::new()), |users| users.iter().map(place).collect())
}
