//! Collections.

use serde_json::{Value, json};

use super::Route;
use crate::client::collections::{CollectionSharing, Creator};
use crate::client::operation as op;
use crate::sim::call::Style::Older;
use crate::sim::call::{Answer, Call, Failure, found, uuid};
use crate::sim::page::sorted_page;
use crate::sim::server::Sim;

pub(super) const ROUTES: &[Route] = &[
    Route::of(&op::LIST_COLLECTIONS, Older, Sim::list_collections),
    Route::of(&op::GET_COLLECTION, Older, Sim::get_collection),
    Route::of(&op::CREATE_COLLECTION, Older, Sim::create_collection),
    Route::of(&op::EDIT_COLLECTION, Older, Sim::edit_collection),
];

impl Sim {
    fn list_collections(&self, call: &Call<'_>) -> Answer {
        call.one_of("sortBy", &["NAME"])?;
        let world = self.world();
        let items = world.collections.iter().map(|c| ((c.name.clone(), c.id.to_string()), c)).collect();
        sorted_page(call, items, false, 100)
    }

    fn get_collection(&self, call: &Call<'_>) -> Answer {
        let id = call.arg("collectionId");
        uuid(call, id, "collectionId")?;
        found(self.world().collections.iter().find(|c| c.id == id), "collection")
    }

    fn create_collection(&self, call: &Call<'_>) -> Answer {
        let body = call.json()?;
        let name = body.get("name").and_then(Value::as_str).filter(|n| !n.is_empty());
        let name = name.ok_or_else(|| Failure::new(400, "name is required"))?.to_owned();
        let description = body.get("description").and_then(Value::as_str).map(str::to_owned);
        let sharing: CollectionSharing = match body.get("sharing") {
            None => CollectionSharing::default(),
            Some(sharing) => serde_json::from_value(sharing.clone())
                .map_err(|e| Failure::new(400, "sharing is malformed").details(e.to_string()))?,
        };
        let mut world = self.world_mut();
        let at = world.create_collection(self.now(), name);
        let creator = call.acting_user(&world).filter(|_| !call.token.workspace);
        let creator = creator.map(|me| Creator { email: me.email.clone(), id: me.id.clone() });
        let collection = &mut world.collections[at];
        (collection.description, collection.creator, collection.sharing) = (description, creator, sharing);
        Ok((201, Some(json!(collection))))
    }

    fn edit_collection(&self, call: &Call<'_>) -> Answer {
        let id = call.arg("collectionId");
        uuid(call, id, "collectionId")?;
        let body = Value::Object(call.json()?);
        let mut world = self.world_mut();
        let collection = world.collections.iter_mut().find(|c| c.id == id);
        let collection = collection.ok_or_else(|| Failure::new(404, "Collection not found"))?;
        if let Some(name) = body["name"].as_str().filter(|n| !n.is_empty()) {
            collection.name = name.to_owned();
        }
        if let Some(description) = body["description"].as_str() {
            collection.description = Some(description.to_owned());
        }
        if let Some(upsert) = body.pointer("/sharing/upsert") {
            let new: CollectionSharing = serde_json::from_value(upsert.clone())
                .map_err(|e| Failure::new(400, "sharing is malformed").details(e.to_string()))?;
            for (have, given) in
                [(&mut collection.sharing.users, new.users), (&mut collection.sharing.groups, new.groups)]
            {
                for grant in given.unwrap_or_default() {
                    let have = have.get_or_insert_default();
                    have.retain(|g| g.id != grant.id);
                    have.push(grant);
                }
            }
            if new.workspace.is_some() {
                collection.sharing.workspace = new.workspace;
            }
        }
        Ok((200, Some(json!(collection))))
    }
}
