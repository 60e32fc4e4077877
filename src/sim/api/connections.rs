//! Data connections.

use serde_json::json;

use super::Route;
use crate::client::operation as op;
use crate::sim::call::Style::Older;
use crate::sim::call::{Answer, Call, found, uuid};
use crate::sim::page::cut;
use crate::sim::server::Sim;

pub(super) const ROUTES: &[Route] = &[
    Route::of(&op::LIST_DATA_CONNECTIONS, Older, Sim::list_connections),
    Route::of(&op::GET_DATA_CONNECTION, Older, Sim::get_connection),
];

impl Sim {
    fn list_connections(&self, call: &Call<'_>) -> Answer {
        let by_name = call.one_of("sortBy", &["CREATED_AT", "NAME"])? == Some("NAME");
        let descending = call.one_of("sortDirection", &["DESC", "ASC"])? == Some("DESC");
        let world = self.world();
        // The API gives no creation time; the order of the generator stands for it.
        let mut items: Vec<_> = world
            .connections
            .iter()
            .enumerate()
            .map(|(i, c)| ((if by_name { c.name.clone() } else { format!("{i:06}") }, c.id.clone()), c))
            .collect();
        items.sort_by(|a, b| if descending { b.0.cmp(&a.0) } else { a.0.cmp(&b.0) });
        let page = cut(call, items, 25, 100)?;
        let short = call.token.short_connections;
        let values = page
            .items
            .iter()
            .map(|c| {
                let mut value = json!(c);
                if short && let Some(object) = value.as_object_mut() {
                    object.retain(|k, _| matches!(k.as_str(), "id" | "name" | "type" | "description"));
                }
                value
            })
            .collect();
        Ok((200, Some(page.envelope("values", values))))
    }

    fn get_connection(&self, call: &Call<'_>) -> Answer {
        let id = call.arg("dataConnectionId");
        uuid(call, id, "dataConnectionId")?;
        found(self.world().connections.iter().find(|c| c.id == id), "data connection")
    }
}
