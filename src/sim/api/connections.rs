//! Data connections.

use serde_json::{Value, json};

use super::Route;
use super::semantic::{refuse_updates, updates};
use crate::client::connections::{
    ConnectionGroupGrant, ConnectionSharing, ConnectionWorkspaceAccess, DataConnection, GroupRef,
};
use crate::client::limits;
use crate::client::operation as op;
use crate::sim::call::Style::Older;
use crate::sim::call::{Answer, Call, Failure, found, uuid};
use crate::sim::page::cut;
use crate::sim::server::Sim;
use crate::sim::sql;
use crate::sim::world::World;

pub(super) const ROUTES: &[Route] = &[
    Route::of(&op::LIST_DATA_CONNECTIONS, Older, Sim::list_connections),
    Route::of(&op::GET_DATA_CONNECTION, Older, Sim::get_connection),
    Route::own(
        "CreateDataConnection",
        "POST",
        "/data-connections",
        &limits::DEFAULT,
        Older,
        Sim::create_connection,
    ),
    Route::own(
        "EditDataConnection",
        "PATCH",
        "/data-connections/{dataConnectionId}",
        &limits::DEFAULT,
        Older,
        Sim::edit_connection,
    ),
    Route::own(
        "UpdateDataConnectionSchema",
        "PATCH",
        "/data-connections/{dataConnectionId}/schema",
        &limits::DEFAULT,
        Older,
        Sim::update_schema,
    ),
];

/// Keys of connection details that the API takes and never gives.
const SECRETS: [&str; 9] = [
    "secretAccessKey",
    "serviceAccountJsonConfig",
    "password",
    "privateKey",
    "privateKeyPassphrase",
    "accessToken",
    "clientSecret",
    "token",
    "jdbcPassword",
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
            .map(|(i, c)| ((if by_name { c.name.clone() } else { format!("{i:06}") }, c.id.to_string()), c))
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

    fn create_connection(&self, call: &Call<'_>) -> Answer {
        let body = Value::Object(call.json()?);
        let text = |name: &str| body[name].as_str().filter(|text| !text.is_empty());
        let name = text("name").ok_or_else(|| Failure::new(400, "name is required"))?.to_owned();
        let kind = text("type").filter(|kind| sql::KINDS.contains(kind));
        let kind = kind.ok_or_else(|| Failure::new(400, "type is not one that Hex connects to"))?.to_owned();
        if !body["connectionDetails"][&kind].is_object() {
            return Err(Failure::new(422, "connectionDetails don't fit the type").details(kind));
        }
        let mut world = self.world_mut();
        let mut connection = DataConnection {
            name,
            kind,
            connect_via_ssh: Some(false),
            include_magic: Some(true),
            allow_writeback_cells: Some(false),
            schema_refresh_access: Some("ADMINS".to_owned()),
            sharing: Some(ConnectionSharing {
                workspace: Some(ConnectionWorkspaceAccess {
                    public: Some("NONE".to_owned()),
                    guests: Some("NONE".to_owned()),
                    members: Some("NONE".to_owned()),
                }),
                groups: Some(Vec::new()),
            }),
            ..DataConnection::default()
        };
        write_connection(&world, &mut connection, &body)?;
        connection.id = world.new_id("connection", self.now()).into();
        world.connections.push(connection.clone());
        Ok((201, Some(json!(connection))))
    }

    fn edit_connection(&self, call: &Call<'_>) -> Answer {
        let body = Value::Object(call.json()?);
        let mut world = self.world_mut();
        let at = connection_at(call, &world)?;
        let mut connection = world.connections[at].clone();
        if body.get("connectionDetails").is_some() && !body["connectionDetails"][&connection.kind].is_object()
        {
            return Err(Failure::new(422, "connectionDetails don't fit the type").details(connection.kind));
        }
        if let Some(name) = body["name"].as_str().filter(|name| !name.is_empty()) {
            connection.name = name.to_owned();
        }
        write_connection(&world, &mut connection, &body)?;
        world.connections[at] = connection.clone();
        // 201, although nothing is made: so the description has it.
        Ok((201, Some(json!(connection))))
    }

    fn update_schema(&self, call: &Call<'_>) -> Answer {
        let body = Value::Object(call.json()?);
        let world = self.world();
        let at = connection_at(call, &world)?;
        let updates = updates(&body, &["DATABASE", "SCHEMA", "TABLE"])?;
        let tables = world.catalogs.get(at).map_or(&[][..], |catalog| &catalog.tables);
        let mut refused = Vec::new();
        for update in &updates {
            let known = tables.iter().any(|table| {
                let (database, schema) = (table.name.database.as_deref(), table.name.schema.as_str());
                match update.kind {
                    "DATABASE" => database == Some(update.name),
                    "SCHEMA" => update.name.rsplit('.').next() == Some(schema),
                    _ => table.name.qualified() == update.name,
                }
            });
            if !known {
                refused.push(update.refusal("not_found"));
            } else if update.status.is_some_and(|status| !world.statuses.contains(&status)) {
                refused.push(update.refusal("invalid_status"));
            }
        }
        refuse_updates(call, refused)?;
        let done = |kind: &str| -> Vec<Value> {
            updates.iter().filter(|update| update.kind == kind).map(|update| update.done()).collect()
        };
        let updated =
            json!({"databases": done("DATABASE"), "schemas": done("SCHEMA"), "tables": done("TABLE")});
        Ok((200, Some(json!({ "updated": updated }))))
    }
}

fn connection_at(call: &Call<'_>, world: &World) -> Result<usize, Failure> {
    let id = call.arg("dataConnectionId");
    uuid(call, id, "dataConnectionId")?;
    let at = world.connections.iter().position(|connection| connection.id == id);
    at.ok_or_else(|| Failure::new(404, "Data connection not found"))
}

/// Writes what a body says of a connection. Secrets are taken and not kept.
fn write_connection(world: &World, connection: &mut DataConnection, body: &Value) -> Result<(), Failure> {
    if let Some(details) = body["connectionDetails"][&connection.kind].as_object() {
        let mut kept =
            connection.connection_details.take().unwrap_or_else(|| json!({ &connection.kind: {} }));
        for (key, value) in details.iter().filter(|(key, _)| !SECRETS.contains(&key.as_str())) {
            kept[&connection.kind][key] = value.clone();
        }
        connection.connection_details = Some(kept);
    }
    if let Some(description) = body["description"].as_str() {
        connection.description = Some(description.to_owned());
    }
    for (name, flag) in [
        ("connectViaSsh", &mut connection.connect_via_ssh),
        ("includeMagic", &mut connection.include_magic),
        ("allowWritebackCells", &mut connection.allow_writeback_cells),
    ] {
        *flag = body[name].as_bool().or(*flag);
    }
    for (name, value) in [
        ("schemaFilters", &mut connection.schema_filters),
        ("schemaRefreshSchedule", &mut connection.schema_refresh_schedule),
    ] {
        match body.get(name) {
            Some(Value::Null) => *value = None,
            Some(given) => *value = Some(given.clone()),
            None => {}
        }
    }
    if let Some(access) = body["schemaRefreshAccess"].as_str() {
        connection.schema_refresh_access = Some(access.to_owned());
    }
    let sharing = connection.sharing.get_or_insert_default();
    let workspace = sharing.workspace.get_or_insert_default();
    let given = &body["sharing"]["workspace"];
    for (name, access) in [
        ("public", &mut workspace.public),
        ("guests", &mut workspace.guests),
        ("members", &mut workspace.members),
    ] {
        if let Some(level) = given[name].as_str() {
            *access = Some(level.to_owned());
        }
    }
    let groups = &body["sharing"]["groups"];
    let grants = groups.as_array().or_else(|| groups["upsert"].as_array());
    for grant in grants.into_iter().flatten() {
        let id = grant["group"]["id"].as_str().unwrap_or("");
        let group = world.groups.iter().find(|group| group.id == id);
        let group = group.ok_or_else(|| Failure::new(400, "Group not found").details(id.to_owned()))?;
        let access =
            grant["access"].as_str().filter(|level| ["NONE", "QUERY", "VIEW_RESULTS"].contains(level));
        let access =
            access.ok_or_else(|| Failure::new(400, "access is not one of NONE, QUERY, VIEW_RESULTS"))?;
        let known = sharing.groups.get_or_insert_default();
        known.retain(|grant| grant.group.id != id);
        let group = GroupRef { name: group.name.clone(), id: group.id.clone() };
        known.push(ConnectionGroupGrant { access: access.to_owned(), group });
    }
    Ok(())
}
