//! The simulator's answers and the client's requests, checked against Hex's published description: an
//! independent witness, since client and simulator share their types.

use std::collections::BTreeMap;
use std::path::PathBuf;

use futures::TryStreamExt;
use hexport::client::cells::ListCells;
use hexport::client::collections::{CollectionSharing, IdGrant, ListCollections, MembersAccess};
use hexport::client::connections::ListDataConnections;
use hexport::client::groups::{GroupEdit, ListGroups, NameOrCreated};
use hexport::client::projects::{Include, ListProjects, ListQueriedTables, Principal, ProjectSort, Version};
use hexport::client::runs::{ListRuns, Notification, RunRequest};
use hexport::client::users::{ListUsers, UserSort};
use hexport::client::{BaseUrl, Client, ClientConfig, List, Pace, SortDirection, Token};
use hexport::sim::{Plan, RequestRecord, SimConfig, SimToken, WorldConfig};
use serde_json::{Map, Value, json};

use crate::support::*;

/// Hex's description; `None`, and a visible message, where it is absent.
fn description() -> Option<Value> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../shared/hex-openapi.json");
    match std::fs::read(&path) {
        Ok(bytes) => Some(serde_json::from_slice(&bytes).unwrap()),
        Err(_) => {
            eprintln!(
                "SKIPPED: the contract with Hex's description is not checked, since {} is absent",
                path.display()
            );
            None
        }
    }
}

/// A schema of OpenAPI 3.0 as one of JSON Schema.
fn converted(schema: &Value) -> Value {
    match schema {
        Value::Array(items) => items.iter().map(converted).collect(),
        Value::Object(map) => {
            let mut out: Map<String, Value> = map
                .iter()
                .filter(|(key, _)| !matches!(key.as_str(), "nullable" | "example" | "discriminator"))
                .map(|(key, value)| {
                    (key.clone(), if key == "enum" { value.clone() } else { converted(value) })
                })
                .collect();
            // Siblings of $ref would be read; the description has only descriptions there.
            if map.get("nullable") == Some(&json!(true)) {
                return json!({"anyOf": [Value::Object(out), {"type": "null"}]});
            }
            if out.contains_key("$ref") {
                out.retain(|key, _| key == "$ref");
            }
            Value::Object(out)
        }
        other => other.clone(),
    }
}

struct Contract {
    raw: Value,
    components: Value,
}

impl Contract {
    fn load() -> Option<Self> {
        let raw = description()?;
        let components = converted(&raw["components"]);
        Some(Self { raw, components })
    }

    fn errors(&self, schema: &Value, instance: &Value) -> Vec<String> {
        let document = json!({"components": self.components, "allOf": [converted(schema)]});
        let validator = jsonschema::draft7::new(&document).unwrap();
        validator.iter_errors(instance).map(|e| format!("{}: {e}", e.instance_path())).collect()
    }

    /// The description of the operation that a method and path (without `/v1`) belong to, and the path's
    /// parameters by name.
    fn operation(&self, method: &str, path: &str) -> Option<(&Value, BTreeMap<String, String>)> {
        let wanted: Vec<&str> = format!("/v1{path}").leak().split('/').collect();
        let mut best: Option<(&Value, BTreeMap<String, String>)> = None;
        for (template, item) in self.raw["paths"].as_object().unwrap() {
            let parts: Vec<&str> = template.split('/').collect();
            let Some(operation) = item.get(method.to_lowercase()) else { continue };
            if parts.len() != wanted.len() {
                continue;
            }
            let mut params = BTreeMap::new();
            let fits = parts.iter().zip(&wanted).all(|(part, given)| match part.strip_prefix('{') {
                Some(name) => {
                    params.insert(name.trim_end_matches('}').to_owned(), (*given).to_owned());
                    true
                }
                None => part == given,
            });
            // `/users/me` fits `/users/{id}` too: the one with fewer parameters is meant.
            if fits && best.as_ref().is_none_or(|(_, other)| params.len() < other.len()) {
                best = Some((operation, params));
            }
        }
        best
    }

    fn check_answer(&self, method: &str, path: &str, status: u16, body: &[u8]) {
        let plain = path.split('?').next().unwrap();
        let (operation, _) =
            self.operation(method, plain).unwrap_or_else(|| panic!("{method} {plain} is not described"));
        let described = &operation["responses"][status.to_string()];
        let schema = described.pointer("/content/application~1json/schema").cloned();
        let what =
            format!("{method} {path} -> {status}: {}", String::from_utf8_lossy(&body[..body.len().min(600)]));
        if status == 401 && body == b"Unauthorized" {
            // What Hex sends, whatever the description says: two public clients saw it.
            return;
        }
        if status == 204 {
            assert!(body.is_empty(), "{what}");
            return;
        }
        let value: Value = serde_json::from_slice(body).unwrap_or_else(|e| panic!("{e}: {what}"));
        // An error that the description doesn't list for the operation has the older form, or the newer one.
        let schemas = match schema {
            Some(schema) => vec![schema],
            None if status >= 400 => vec![
                json!({"$ref": "#/components/schemas/TsoaErrorResponsePayload"}),
                json!({"type": "object", "required": ["message", "code"]}),
            ],
            None => panic!("the description has no schema for it: {what}"),
        };
        let errors: Vec<_> = schemas.iter().map(|schema| self.errors(schema, &value)).collect();
        assert!(errors.iter().any(Vec::is_empty), "{what}\n{errors:#?}");
    }

    fn check_request(&self, request: &RequestRecord) {
        let what = format!("{} {}", request.method, request.target);
        let (path, query) = request.target.split_once('?').unwrap_or((&request.target, ""));
        let (operation, in_path) =
            self.operation(&request.method, path).unwrap_or_else(|| panic!("{what} is not described"));
        let declared: Vec<&Value> =
            operation["parameters"].as_array().map_or(Vec::new(), |p| p.iter().collect());
        let find = |name: &str, place: &str| {
            declared.iter().copied().find(|p| p["name"] == name && p["in"] == place)
        };
        for (name, value) in &in_path {
            let parameter = find(name, "path").unwrap_or_else(|| panic!("{what}: {name} is not described"));
            assert!(self.fits(&parameter["schema"], value), "{what}: {name}");
        }
        let pairs: Vec<(String, String)> =
            url::form_urlencoded::parse(query.as_bytes()).into_owned().collect();
        for (name, value) in &pairs {
            let parameter = find(name, "query").unwrap_or_else(|| panic!("{what}: {name} is not described"));
            assert!(self.fits(&parameter["schema"], value), "{what}: {name}={value} is not allowed");
        }
        for parameter in declared.iter().filter(|p| p["in"] == "query" && p["required"] == true) {
            assert!(
                pairs.iter().any(|(name, _)| parameter["name"] == name.as_str()),
                "{what}: {} is required",
                parameter["name"]
            );
        }
        let body = operation.pointer("/requestBody/content/application~1json/schema");
        match body {
            Some(schema) => {
                let value: Value =
                    serde_json::from_slice(&request.body).unwrap_or_else(|e| panic!("{what}: {e}"));
                assert_eq!(self.errors(schema, &value), Vec::<String>::new(), "{what}: {value}");
            }
            None => assert!(request.body.is_empty(), "{what} has a body that is not described"),
        }
    }

    /// Whether the text of a parameter is a value that its schema allows, read as any type that it may have.
    fn fits(&self, schema: &Value, text: &str) -> bool {
        let mut readings = vec![json!(text), json!([text])];
        readings.extend(serde_json::from_str::<Value>(text).ok().filter(|v| !v.is_object()));
        readings.iter().any(|value| self.errors(schema, value).is_empty())
    }
}

fn client(url: &str) -> Client {
    let mut config = ClientConfig::new(BaseUrl::new(url).unwrap(), Token::new(SECRET).unwrap());
    config.pace = Pace::UNLIMITED;
    Client::new(config).unwrap()
}

async fn drain<L: List>(client: &Client, list: L) -> usize {
    client.list(list).try_fold(0, |n, _| async move { Ok(n + 1) }).await.unwrap()
}

/// What is asked of the simulator: method, path and query, body.
fn questions(sim: &Sim) -> Vec<(&'static str, String, Option<Value>)> {
    let world = sim.server.world();
    let published = world
        .projects
        .iter()
        .find(|r| r.project.last_published_at.is_some() && world.runs(r).len() > 2)
        .unwrap();
    let unpublished = world.projects.iter().find(|r| r.project.last_published_at.is_none()).unwrap();
    let id = &published.project.id;
    let run = world.run_id(published, &world.runs(published)[0]);
    let cell = world.projects.iter().flat_map(|r| world.cells(r)).next().unwrap().0.id;
    let nobody = "00000000-0000-4000-8000-000000000000";
    let get = |path: String| ("GET", path, None);
    let mut all = vec![
        get("/users/me".into()),
        get("/projects?limit=7&includeSharing=true&includeArchived=true&includeComponents=true&includeTrashed=true".into()),
        get("/projects?sortBy=LAST_EDITED_AT&sortDirection=ASC&statuses=Production&statuses=Approved".into()),
        get("/projects?limit=0".into()),
        get("/projects?limit=101".into()),
        get("/projects?sortBy=SIZE".into()),
        get(format!("/projects/{id}")),
        get(format!("/projects/{id}?includeSharing=true")),
        get(format!("/projects/{nobody}")),
        get(format!("/projects/{id}/queriedTables?limit=2")),
        get(format!("/projects/{nobody}/queriedTables")),
        get(format!("/projects/{id}/runs?limit=2&offset=1")),
        get(format!("/projects/{id}/runs?statusFilter=COMPLETED&runTriggerFilter=ALL")),
        get(format!("/projects/{id}/runs?limit=1000")),
        get(format!("/projects/{nobody}/runs")),
        get(format!("/projects/{id}/runs/{run}")),
        get(format!("/projects/{id}/runs/{nobody}")),
        get(format!("/cells?projectId={id}&limit=3")),
        get(format!("/cells?projectId={nobody}")),
        get("/cells".into()),
        get(format!("/cells/{cell}")),
        get(format!("/cells/{nobody}")),
        get("/users?limit=500&sortBy=EMAIL&sortDirection=DESC".into()),
        get(format!("/users?groupId={}", world.groups[0].id)),
        get("/groups?sortBy=NAME&sortDirection=DESC".into()),
        get(format!("/groups/{}", world.groups[0].id)),
        get(format!("/groups/{nobody}")),
        get("/collections?limit=2&sortBy=NAME".into()),
        get(format!("/collections/{}", world.collections[0].id)),
        get(format!("/collections/{nobody}")),
        get("/data-connections?sortBy=NAME".into()),
        get(format!("/data-connections/{nobody}")),
        get("/threads?limit=50".into()),
        get("/threads?source=SLACK&numDays=30".into()),
        get("/context/topics".into()),
        get("/guides/draft/list".into()),
        ("POST", format!("/projects/{id}/runs"), Some(json!({"dryRun": true}))),
        ("POST", format!("/projects/{id}/runs"), Some(json!({"inputParams": {"lower": 3, "selected_id": "x"}}))),
        ("POST", format!("/projects/{id}/runs"), Some(json!({"inputParams": {"lower": "three", "what": 1}}))),
        ("POST", format!("/projects/{}/runs", unpublished.project.id), Some(json!({}))),
        ("DELETE", format!("/projects/{id}/runs/{run}"), None),
        ("DELETE", format!("/projects/{id}/runs/{nobody}"), None),
        ("PATCH", format!("/projects/{id}"), Some(json!({"status": "Production"}))),
        ("PATCH", format!("/projects/{id}"), Some(json!({"status": null}))),
        ("PATCH", format!("/projects/{id}"), Some(json!({"status": "No such status"}))),
        ("POST", "/collections".into(), Some(json!({"name": "Fresh", "description": "made by a test"}))),
        ("POST", "/collections".into(), Some(json!({}))),
        ("POST", "/projects".into(), Some(json!({"title": "Fresh"}))),
        ("POST", "/projects/export".into(), Some(json!({"projectId": id, "version": "draft"}))),
        ("POST", "/projects/export".into(), Some(json!({"projectId": nobody}))),
        ("PATCH", format!("/projects/{id}/sharing/users"), Some(grants("users", "user", &world.users[2].id, "CAN_VIEW"))),
        ("PATCH", format!("/projects/{id}/sharing/users"), Some(grants("users", "user", &world.users[2].id, "OWN"))),
        ("PATCH", format!("/projects/{nobody}/sharing/groups"), Some(grants("groups", "group", &world.groups[1].id, "NONE"))),
        ("PATCH", format!("/projects/{id}/sharing/groups"), Some(grants("groups", "group", &world.groups[1].id, "NONE"))),
        ("PATCH", format!("/projects/{id}/sharing/collections"), Some(grants("collections", "collection", nobody, "CAN_VIEW"))),
        ("PATCH", format!("/projects/{id}/sharing/workspaceAndPublic"), Some(json!({"sharing": {"workspace": "CAN_EDIT"}}))),
        ("PATCH", format!("/collections/{}", world.collections[0].id), Some(json!({"name": "Renamed"}))),
        ("POST", "/groups".into(), Some(json!({"name": "New", "members": {"users": [{"id": world.users[1].id}]}}))),
        ("PATCH", format!("/groups/{}", world.groups[1].id), Some(json!({"name": "Renamed"}))),
        ("DELETE", format!("/groups/{}", world.groups[2].id), None),
        ("POST", format!("/users/{}/deactivate", world.users[4].id), None),
        ("POST", format!("/users/{nobody}/deactivate"), None),
    ];
    all.extend(world.connections.iter().map(|c| get(format!("/data-connections/{}", c.id))));
    all
}

fn grants(many: &str, one: &str, id: &str, access: &str) -> Value {
    json!({"sharing": {"upsert": {many: [{"access": access, one: {"id": id}}]}}})
}

async fn put(url: &str, (method, path, body): &(&'static str, String, Option<Value>)) -> (u16, Vec<u8>) {
    let http = http();
    let mut request =
        http.request(method.parse().unwrap(), format!("{url}/api/v1{path}")).bearer_auth(SECRET);
    if let Some(body) = body {
        request = request.json(body);
    }
    let response = request.send().await.unwrap();
    (response.status().as_u16(), response.bytes().await.unwrap().to_vec())
}

#[test]
fn every_answer_of_the_simulator_is_as_described() {
    let Some(contract) = Contract::load() else { return };
    let plans = [Plan::Enterprise, Plan::Team];
    for plan in plans {
        let world = WorldConfig { plan, ..world_of(40) };
        let sim = Sim::start(SimConfig { world, ..SimConfig::default() });
        for question in questions(&sim) {
            let (status, body) = sim.block_on(put(&sim.server.url(), &question));
            contract.check_answer(question.0, &question.1, status, &body);
        }
    }
    // What a token may not do, and what no token may.
    let forbidden =
        ["ListThreads", "GetProject", "ListCells", "GetProjectRuns", "ListUsers"].map(String::from).to_vec();
    let tokens = [
        SimToken { forbidden, workspace: true, short_connections: true, ..SimToken::default() },
        SimToken { expired: true, ..SimToken::default() },
    ];
    for token in tokens {
        let sim = Sim::start(SimConfig { world: world_of(40), token, ..SimConfig::default() });
        for question in questions(&sim) {
            let (status, body) = sim.block_on(put(&sim.server.url(), &question));
            contract.check_answer(question.0, &question.1, status, &body);
        }
    }
}

#[test]
fn every_request_of_the_client_is_one_that_the_description_allows() {
    let Some(contract) = Contract::load() else { return };
    let dir = tempfile::tempdir().unwrap();
    let sim = Sim::of_projects(230);
    sim.export(dir.path(), &[], 0);
    let client = client(&sim.server.url());
    let (project, run, connection, group, cell) = {
        let world = sim.server.world();
        let record = world.projects.iter().find(|r| world.runs(r).len() > 150).unwrap();
        let run = world.run_id(record, &world.runs(record)[0]);
        let cell = world.projects.iter().flat_map(|r| world.cells(r)).next().unwrap().0.id;
        (record.project.id.clone(), run, world.connections[0].id.clone(), world.groups[0].id.clone(), cell)
    };
    sim.block_on(async {
        let everything = ListProjects {
            statuses: vec!["Production".into(), "Needs review".into()],
            categories: vec!["Finance".into()],
            creator_email: Some("a@b.example".into()),
            owner_email: Some("a@b.example".into()),
            sort_by: Some(ProjectSort::LastPublishedAt),
            sort_direction: Some(SortDirection::Desc),
            page_size: Some(50),
            ..ListProjects::everything()
        };
        drain(&client, everything).await;
        client.get_project(&project, Include::Yes).await.unwrap();
        drain(&client, ListQueriedTables { project_id: project.clone(), page_size: Some(2) }).await;
        let runs = ListRuns {
            project_id: project.clone(),
            status: Some("COMPLETED".into()),
            trigger: Some("ALL".into()),
            page_size: Some(10),
        };
        assert!(drain(&client, runs).await > 20);
        client.get_run(&project, &run).await.unwrap();
        drain(&client, ListCells { project_id: project.clone(), page_size: Some(3) }).await;
        client.get_cell(&cell).await.unwrap();
        let users = ListUsers {
            group_id: Some(group.clone()),
            sort_by: Some(UserSort::Email),
            sort_direction: Some(SortDirection::Asc),
            page_size: Some(3),
            ..ListUsers::default()
        };
        drain(&client, users).await;
        let groups = ListGroups {
            sort_by: Some(NameOrCreated::Name),
            sort_direction: Some(SortDirection::Desc),
            page_size: Some(2),
        };
        drain(&client, groups).await;
        client.get_group(&group).await.unwrap();
        drain(&client, ListCollections { page_size: Some(2) }).await;
        let connections = ListDataConnections {
            sort_by: Some(NameOrCreated::CreatedAt),
            sort_direction: None,
            page_size: Some(1),
        };
        drain(&client, connections).await;
        client.get_data_connection(&connection).await.unwrap();
        let made = client.create_collection("Mine", Some("d")).await.unwrap();
        client.get_collection(&made.id).await.unwrap();
        client.update_project(&project, Some("Production")).await.unwrap();
        client.update_project(&project, None).await.unwrap();
        let request = RunRequest {
            input_params: Some(Map::from_iter([("lower".to_owned(), json!(1))])),
            use_cached_sql_results: Some(true),
            notifications: Some(vec![Notification {
                kind: "ALL".into(),
                user_ids: Some(vec![group.clone()]),
                ..Notification::default()
            }]),
            ..RunRequest::default()
        };
        let started = client.run_project(&project, &request).await.unwrap();
        client.cancel_run(&project, &started.run_id).await.unwrap();
        let (user, collection) = {
            let world = sim.server.world();
            (world.users[5].id.clone(), world.collections[1].id.clone())
        };
        client.create_project("Mine", None).await.unwrap();
        client.export_project(&project, Version::Number(1)).await.unwrap();
        client.share_project(&project, Principal::Users, &[(&user, "CAN_VIEW")]).await.unwrap();
        client.share_project(&project, Principal::Groups, &[(&group, "NONE")]).await.unwrap();
        client.share_project(&project, Principal::Collections, &[(&collection, "APP_ONLY")]).await.unwrap();
        client.share_project_widely(&project, Some("NONE"), Some("APP_ONLY")).await.unwrap();
        let grants = CollectionSharing {
            users: Some(vec![IdGrant { access: "MANAGER".into(), id: user.clone() }]),
            workspace: Some(MembersAccess { members: Some("MEMBER".into()) }),
            groups: None,
        };
        client.edit_collection(&collection, Some("Renamed"), Some(&grants)).await.unwrap();
        let made = client.create_group("Mine", &[&user]).await.unwrap();
        let edit =
            GroupEdit { name: Some("Ours".into()), add: vec![user.clone()], remove: vec![user.clone()] };
        client.edit_group(&made.id, &edit).await.unwrap();
        client.delete_group(&made.id).await.unwrap();
        client.deactivate_user(&user).await.unwrap();
        let dry = RunRequest {
            dry_run: Some(true),
            update_published_results: Some(false),
            ..RunRequest::default()
        };
        client.run_project(&project, &dry).await.unwrap();
    });
    let requests = sim.server.requests();
    assert!(requests.iter().all(|r| r.status < 300), "{:?}", requests.iter().find(|r| r.status >= 300));
    let mut seen = std::collections::BTreeSet::new();
    for request in &requests {
        // Thousands of requests differ in identifiers alone.
        let shape = request
            .target
            .split(['/', '?', '&', '='])
            .filter(|part| part.len() != 36)
            .collect::<Vec<_>>()
            .join("/");
        if seen.insert((request.method.clone(), shape)) {
            contract.check_request(request);
        }
    }
    for operation in hexport::client::operation::ALL {
        let described = contract.operation(operation.method.as_str(), operation.path);
        let (described, _) = described.unwrap_or_else(|| panic!("{operation} is not described"));
        assert_eq!(described["operationId"], operation.id);
    }
}

/// Limits as an operation's description states them: group (where it is named), a minute and an hour.
fn described_limits(text: &str) -> (Option<&str>, Option<u32>, Option<u32>) {
    let number_after = |phrase: &str| {
        let rest = &text[text.find(phrase)? + phrase.len()..];
        rest.split(|c: char| !c.is_ascii_digit()).find(|part| !part.is_empty())?.parse().ok()
    };
    let number_before = |phrase: &str| text[..text.find(phrase)?].trim_end().rsplit(' ').next()?.parse().ok();
    let name = text.find("- `hex-").map(|at| text[at + 3..].split('`').next().unwrap());
    let minute =
        number_after("per minute may vary (default:").or_else(|| number_before("requests per minute"));
    let hour = number_after("per hour may vary (default:").or_else(|| number_before("requests per hour"));
    (name, minute, hour)
}

#[test]
fn every_operation_is_in_the_group_that_its_description_names() {
    let Some(contract) = Contract::load() else { return };
    for op in hexport::client::operation::ALL {
        let path = op.path.replace(['{', '}'], "");
        let Some((described, _)) = contract.operation(op.method.as_str(), &path) else {
            panic!("{op} is not described");
        };
        let (name, minute, hour) = described_limits(described["description"].as_str().unwrap_or_default());
        if let Some(name) = name {
            assert_eq!(op.group.name, name, "{op}");
        }
        if let Some(minute) = minute {
            assert_eq!((op.group.per_minute, op.group.per_hour), (minute, hour), "{op}");
        }
        if name.is_none() && minute.is_none() {
            assert_eq!(op.group.name, "default", "{op}");
        }
    }
}
