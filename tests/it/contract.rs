//! The simulator's answers and the client's requests, checked against Hex's published description: an
//! independent witness, since client and simulator share their types.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use futures::TryStreamExt;
use hexport::client::cells::ListCells;
use hexport::client::collections::{
    CollectionEdit, CollectionSharing, IdGrant, ListCollections, MembersAccess, SharingEdit,
};
use hexport::client::connections::ListDataConnections;
use hexport::client::groups::{GroupEdit, ListGroups, NameOrCreated};
use hexport::client::projects::{Include, ListProjects, ListQueriedTables, Principal, ProjectSort, Version};
use hexport::client::runs::{ListRuns, Notification, RunRequest};
use hexport::client::users::{ListUsers, UserSort};
use hexport::client::{BaseUrl, Client, ClientConfig, List, Pace, SortDirection, Token};
use hexport::sim::{
    Faults, Plan, ProjectRecord, Refusal, Refused, RequestRecord, RunSpec, SimConfig, SimToken, World,
    WorldConfig, routes,
};
use serde_json::{Map, Value, json};

use crate::support::*;

/// Hex's description without its prose, as it is kept here.
const REDUCED: &str = include_str!("../schemas/hex-openapi-reduced.json");

/// A description without its prose: what the answers and requests are checked against, and no more.
/// `names` says that the keys are names of somebody's choosing.
fn reduced(value: &Value, names: bool) -> Value {
    const PROSE: [&str; 6] = ["description", "example", "examples", "title", "summary", "tags"];
    match value {
        Value::Array(items) => items.iter().map(|item| reduced(item, false)).collect(),
        Value::Object(map) => {
            let kept = map.iter().filter(|(key, _)| names || !PROSE.contains(&key.as_str()));
            let mut kept: Map<String, Value> = kept
                .map(|(key, value)| (key.clone(), reduced(value, !names && key == "properties")))
                .collect();
            if map.contains_key("operationId") {
                kept.extend(described_limits(map).map(|limits| ("x-limits".to_owned(), limits)));
            }
            Value::Object(kept)
        }
        other => other.clone(),
    }
}

/// Limits as an operation's prose states them: group (where it is named), requests a minute and an hour.
fn described_limits(operation: &Map<String, Value>) -> Option<Value> {
    let text = operation.get("description")?.as_str()?;
    let number_after = |phrase: &str| -> Option<u32> {
        let rest = &text[text.find(phrase)? + phrase.len()..];
        rest.split(|c: char| !c.is_ascii_digit()).find(|part| !part.is_empty())?.parse().ok()
    };
    let number_before = |phrase: &str| text[..text.find(phrase)?].trim_end().rsplit(' ').next()?.parse().ok();
    let name = text.find("- `hex-").map(|at| text[at + 3..].split('`').next().unwrap());
    let minute =
        number_after("per minute may vary (default:").or_else(|| number_before("requests per minute"));
    let hour = number_after("per hour may vary (default:").or_else(|| number_before("requests per hour"));
    (name.is_some() || minute.is_some()).then(|| json!({"group": name, "minute": minute, "hour": hour}))
}

#[test]
fn the_description_kept_here_is_the_published_one_without_its_prose() {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../shared/hex-openapi.json");
    let Ok(bytes) = std::fs::read(&path) else {
        eprintln!("SKIPPED: {} is absent; only the reduced description is checked against", path.display());
        return;
    };
    let published: Value = serde_json::from_slice(&bytes).unwrap();
    let kept: Value = serde_json::from_str(REDUCED).unwrap();
    for part in ["openapi", "paths", "components"] {
        assert!(reduced(&published[part], false) == kept[part], "{part} differs");
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
    fn load() -> Self {
        let raw: Value = serde_json::from_str(REDUCED).unwrap();
        let components = converted(&raw["components"]);
        Self { raw, components }
    }

    /// Every operation: method, path (below `/v1`, the first of its alternatives), description.
    fn operations(&self) -> Vec<(String, String, &Value)> {
        let paths = self.raw["paths"].as_object().unwrap().iter();
        paths
            .flat_map(|(path, item)| {
                let path = path.strip_prefix("/v1").unwrap().replace("(projects|models)", "projects");
                let methods = item.as_object().unwrap().iter();
                methods.map(move |(method, operation)| (method.to_uppercase(), path.clone(), operation))
            })
            .collect()
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
            let template = template.replace("(projects|models)", "projects");
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
        if status == 403 && operation["operationId"] == "GetQueriedTables" {
            // The plan's refusal has the newer form without its code, as DataHub recorded it.
            let value: Value = serde_json::from_slice(body).unwrap();
            if value.as_object().unwrap().keys().eq(["message"]) {
                return;
            }
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
    config.pace = Pace::unlimited();
    Client::new(config).unwrap()
}

async fn drain<L: List>(client: &Client, list: L) -> usize {
    client.list(list).try_fold(0, |n, _| async move { Ok(n + 1) }).await.unwrap()
}

/// Body of a question.
enum Body {
    None,
    Json(Value),
    Raw(&'static str, &'static str),
}

/// What is asked of the simulator: method, path and query, body.
type Question = (&'static str, String, Body);

const NOBODY: &str = "00000000-0000-4000-8000-000000000000";

fn get(path: impl Into<String>) -> Question {
    ("GET", path.into(), Body::None)
}

fn send(method: &'static str, path: impl Into<String>, body: Value) -> Question {
    (method, path.into(), Body::Json(body))
}

/// Questions about every operation, good and bad ones; a good one of each first.
fn questions(sim: &Sim) -> Vec<Question> {
    [reads(sim), runs(sim), writes(sim), cells(sim), authoring(sim)].into_iter().flatten().collect()
}

/// A published project with runs, and one that was never published.
fn two_projects(world: &World) -> (&ProjectRecord, &ProjectRecord) {
    let published = world.projects.iter().find(|r| {
        let ended = world.runs(r).first().is_some_and(|run| run.status == "COMPLETED");
        ended
            && world.runs(r).len() > 2
            && world.published_cells(r).iter().any(|(c, _)| c.cell_type == "CHART")
    });
    let unpublished = world.projects.iter().find(|r| r.project.last_published_at.is_none());
    (published.unwrap(), unpublished.unwrap())
}

fn reads(sim: &Sim) -> Vec<Question> {
    let world = sim.server.world();
    let id = &two_projects(&world).0.project.id;
    let mut all = vec![
        get("/users/me"),
        get(
            "/projects?limit=7&includeSharing=true&includeArchived=true&includeComponents=true&includeTrashed=true",
        ),
        get("/projects?sortBy=LAST_EDITED_AT&sortDirection=ASC&statuses=Production&statuses=Approved"),
        get("/projects?limit=0"),
        get("/projects?limit=101"),
        get("/projects?sortBy=SIZE"),
        get(format!("/projects/{id}")),
        get(format!("/projects/{id}?includeSharing=true")),
        get(format!("/projects/{NOBODY}")),
        get(format!("/projects/{id}/queriedTables?limit=2")),
        get(format!("/projects/{NOBODY}/queriedTables")),
        get("/users?limit=500&sortBy=EMAIL&sortDirection=DESC"),
        get(format!("/users?groupId={}", world.groups[0].id)),
        get(format!("/users?groupId={NOBODY}")),
        get("/groups?sortBy=NAME&sortDirection=DESC"),
        get(format!("/groups/{}", world.groups[0].id)),
        get(format!("/groups/{NOBODY}")),
        get("/collections?limit=2&sortBy=NAME"),
        get(format!("/collections/{}", world.collections[0].id)),
        get(format!("/collections/{NOBODY}")),
        get("/data-connections?sortBy=NAME"),
        get(format!("/data-connections/{NOBODY}")),
        get("/threads?limit=50"),
        get("/threads?source=SLACK&numDays=30"),
        get(format!("/threads/{}", world.threads[0].id)),
        get(format!("/threads/{NOBODY}")),
        get(format!("/threads/{}/messages?limit=1", world.threads[0].id)),
        get(format!("/threads/{NOBODY}/messages")),
        get("/context/topics"),
        get("/guides/draft/list"),
        send("POST", "/projects/export", json!({"projectId": id, "version": "draft"})),
        send("POST", "/projects/export", json!({"projectId": id, "version": "latest"})),
        send("POST", "/projects/export", json!({"projectId": id, "version": 1})),
        send("POST", "/projects/export", json!({"projectId": id, "version": 99_999})),
        send("POST", "/projects/export", json!({"projectId": id, "version": "banana"})),
        send("POST", "/projects/export", json!({"projectId": NOBODY})),
    ];
    all.extend(world.connections.iter().map(|c| get(format!("/data-connections/{}", c.id))));
    all
}

fn runs(sim: &Sim) -> Vec<Question> {
    let world = sim.server.world();
    let (published, unpublished) = two_projects(&world);
    let id = &published.project.id;
    let run = world.run_id(published, &world.runs(published)[0]);
    let start = |body: Value| send("POST", format!("/projects/{id}/runs"), body);
    vec![
        get(format!("/projects/{id}/runs?limit=2&offset=1")),
        get(format!("/projects/{id}/runs?statusFilter=COMPLETED&runTriggerFilter=ALL")),
        get(format!("/projects/{id}/runs?limit=1000")),
        get(format!("/projects/{NOBODY}/runs")),
        get(format!("/projects/{id}/runs/{run}")),
        get(format!("/projects/{id}/runs/{NOBODY}")),
        start(json!({"dryRun": true})),
        start(json!({"inputParams": {"lower": 3, "selected_id": "x"}})),
        start(json!({"inputParams": {"lower": 3}, "updatePublishedResults": true})),
        start(json!({"inputParams": {"lower": "three", "what": 1}})),
        start(json!({"useCachedSqlResults": "false", "notifications": [
            {"type": "ALL", "includeSuccessScreenshot": "true", "screenshotFormat": "png", "slackChannelIds": ["C0"],
             "userIds": [world.users[1].id], "groupIds": [world.groups[1].id]}]})),
        send("POST", format!("/projects/{}/runs", unpublished.project.id), json!({})),
        ("DELETE", format!("/projects/{id}/runs/{run}"), Body::None),
        ("DELETE", format!("/projects/{id}/runs/{NOBODY}"), Body::None),
    ]
}

fn writes(sim: &Sim) -> Vec<Question> {
    let world = sim.server.world();
    let id = &two_projects(&world).0.project.id;
    let share = |with: &str, body: Value| send("PATCH", format!("/projects/{id}/sharing/{with}"), body);
    vec![
        send("PATCH", format!("/projects/{id}"), json!({"status": "Production"})),
        send("PATCH", format!("/projects/{id}"), json!({"status": null})),
        send("PATCH", format!("/projects/{id}"), json!({"status": "No such status"})),
        send("POST", "/collections", json!({"name": "Fresh", "description": "made by a test"})),
        send("POST", "/collections", json!({})),
        send("POST", "/projects", json!({"title": "Fresh"})),
        share("users", grants("users", "user", &world.users[2].id, "CAN_VIEW")),
        share("users", grants("users", "user", &world.users[2].id, "OWN")),
        send(
            "PATCH",
            format!("/projects/{NOBODY}/sharing/groups"),
            grants("groups", "group", &world.groups[1].id, "NONE"),
        ),
        share("groups", grants("groups", "group", &world.groups[1].id, "NONE")),
        share("collections", grants("collections", "collection", NOBODY, "CAN_VIEW")),
        share("workspaceAndPublic", json!({"sharing": {"workspace": "CAN_EDIT"}})),
        send(
            "PATCH",
            format!("/collections/{}", world.collections[0].id),
            json!({"name": "A", "description": "b"}),
        ),
        send("POST", "/groups", json!({"name": "New", "members": {"users": [{"id": world.users[1].id}]}})),
        send("PATCH", format!("/groups/{}", world.groups[1].id), json!({"name": "Renamed"})),
        ("DELETE", format!("/groups/{}", world.groups[2].id), Body::None),
        ("POST", format!("/users/{}/deactivate", world.users[4].id), Body::None),
        ("POST", format!("/users/{NOBODY}/deactivate"), Body::None),
    ]
}

fn cells(sim: &Sim) -> Vec<Question> {
    let world = sim.server.world();
    let record = two_projects(&world).0;
    let id = &record.project.id;
    let run = world.run_id(record, &world.runs(record)[0]);
    let of = |kind: &str| {
        let all = world.projects.iter().flat_map(|r| world.cells(r)).map(|(cell, _)| cell);
        all.into_iter().find(|cell| cell.cell_type == kind).unwrap()
    };
    let (sql, code, chart) = (of("SQL"), of("CODE"), of("CHART"));
    let charts = world.published_cells(record);
    let shown = &charts.iter().find(|(cell, _)| cell.cell_type == "CHART").unwrap().0;
    let new = |body: Value| send("POST", "/cells", body);
    let edit = |cell: &str, body: Value| send("PATCH", format!("/cells/{cell}"), body);
    let source = json!({"source": "select 1"});
    vec![
        get(format!("/cells?projectId={id}&limit=3")),
        get(format!("/cells?projectId={NOBODY}")),
        get("/cells"),
        get(format!("/cells/{}", sql.id)),
        get(format!("/cells/{NOBODY}")),
        get(format!("/cells/{}/output", sql.id)),
        get(format!("/cells/{}/output", code.id)),
        get(format!("/cells/{}/image?width=300&height=200&includeTitle=true", chart.id)),
        get(format!("/cells/{}/image", code.id)),
        get(format!("/cells/{}/image?width=9", chart.id)),
        get(format!("/projects/{id}/runs/{run}/cells/{}/image", shown.static_id)),
        get(format!("/projects/{id}/runs/{run}/cells/{NOBODY}/image")),
        new(json!({"projectId": id, "cellType": "SQL", "label": "New", "contents": {"sqlCell": source},
                   "location": {"insertAfterCellId": sql.id}})),
        new(json!({"projectId": id, "cellType": "CODE", "contents": {"codeCell": source}})),
        new(json!({"projectId": id, "cellType": "CHART", "contents": {}})),
        new(json!({"projectId": NOBODY, "cellType": "SQL", "contents": {"sqlCell": source}})),
        edit(
            &sql.static_id,
            json!({"contents": {"sqlCell": source}, "dataConnectionId": world.connections[0].id}),
        ),
        edit(&code.id, json!({"contents": {"sqlCell": source}})),
        edit(NOBODY, json!({})),
        ("DELETE", format!("/cells/{}", code.static_id), Body::None),
        ("DELETE", format!("/cells/{NOBODY}"), Body::None),
    ]
}

fn authoring(sim: &Sim) -> Vec<Question> {
    let world = sim.server.world();
    let (published, unpublished) = two_projects(&world);
    let embed = |id: &str| format!("/embedding/createPresignedUrl/{id}");
    let semantic = format!("/semantic-projects/{}", world.semantic_projects[0].id);
    let update = |kind: &str, name: &str, status: Value| json!({"updates": [{"type": kind, "name": name, "status": status}]});
    let connection = format!("/data-connections/{}", world.connections[0].id);
    let table = world.catalogs[0].tables[0].name.qualified();
    let details = json!({"postgres": {"username": "hex", "password": "p", "database": "d", "port": 5432, "hostname": "h"}});
    let group = json!({"access": "QUERY", "group": {"id": world.groups[0].id}});
    let file = json!({"filePath": "guides/new.md", "contents": "# New"});
    let (guide, other) = (&world.guides[0].id, &world.guides[1].id);
    let thread = &world.threads[0].id;
    vec![
        send("POST", embed(&published.project.id), json!({"scope": ["EXPORT_PDF"], "expiresIn": 15_000})),
        send("POST", embed(&unpublished.project.id), json!({})),
        send("POST", embed(NOBODY), json!({})),
        send("POST", format!("{semantic}/ingest"), json!({"dryRun": true})),
        ("POST", format!("{semantic}/ingest"), Body::Raw("multipart/form-data; boundary=x", "--x--")),
        ("POST", format!("{semantic}/ingest"), Body::Raw("text/plain", "zip")),
        send("POST", format!("/semantic-projects/{NOBODY}/ingest"), json!({})),
        send("PATCH", semantic.clone(), update("DATASET", "orders", json!("Production"))),
        send("PATCH", semantic.clone(), update("VIEW", "revenue", Value::Null)),
        send("PATCH", semantic.clone(), update("VIEW", "nothing", Value::Null)),
        send("PATCH", semantic, update("VIEW", "revenue", json!("No such status"))),
        send(
            "POST",
            "/data-connections",
            json!({"name": "New", "type": "postgres", "connectionDetails": details, "description": "d",
                   "sharing": {"groups": [group], "workspace": {"members": "QUERY"}}}),
        ),
        send(
            "POST",
            "/data-connections",
            json!({"name": "New", "type": "postgres", "connectionDetails": {}}),
        ),
        send("POST", "/data-connections", json!({"name": "New", "type": "floppy", "connectionDetails": {}})),
        send(
            "PATCH",
            connection.clone(),
            json!({"name": "Renamed", "sharing": {"groups": {"upsert": [group]}}}),
        ),
        send("PATCH", connection.clone(), json!({"connectionDetails": {"floppy": {}}})),
        send("PATCH", format!("/data-connections/{NOBODY}"), json!({})),
        send("PATCH", format!("{connection}/schema"), update("TABLE", &table, json!("Approved"))),
        send("PATCH", format!("{connection}/schema"), update("TABLE", "no.such.table", json!("Approved"))),
        send("PATCH", format!("{connection}/schema"), update("TABLE", &table, json!("No such status"))),
        send("PUT", "/guides/draft", json!({"files": [file]})),
        send("PUT", "/guides/draft", json!({"files": [{"filePath": "x"}]})),
        send("POST", "/guides/publish", json!({"orgGuideFileIds": [guide]})),
        send("POST", "/guides/publish", json!({})),
        ("DELETE", format!("/guides/draft/{other}"), Body::None),
        ("DELETE", format!("/guides/draft/{NOBODY}"), Body::None),
        send("POST", "/threads", json!({"prompt": "Why?", "projectId": published.project.id})),
        send("POST", "/threads", json!({})),
        send("POST", format!("/threads/{thread}/followup"), json!({"prompt": "And then?"})),
        send("POST", format!("/threads/{NOBODY}/followup"), json!({"prompt": "And then?"})),
    ]
}

fn grants(many: &str, one: &str, id: &str, access: &str) -> Value {
    json!({"sharing": {"upsert": {many: [{"access": access, one: {"id": id}}]}}})
}

async fn put(url: &str, (method, path, body): &Question) -> reqwest::Response {
    let http = http();
    let request = http.request(method.parse().unwrap(), format!("{url}/api/v1{path}")).bearer_auth(SECRET);
    let request = match body {
        Body::None => request,
        Body::Json(body) => request.json(body),
        Body::Raw(kind, text) => request.header("content-type", *kind).body(*text),
    };
    request.send().await.unwrap()
}

/// Puts a question, checks the answer, and gives the operation and the status.
fn checked(contract: &Contract, sim: &Sim, question: &Question) -> (String, u16) {
    let (status, body) = sim.block_on(async {
        let response = put(&sim.server.url(), question).await;
        (response.status().as_u16(), response.bytes().await.unwrap())
    });
    contract.check_answer(question.0, &question.1, status, &body);
    let plain = question.1.split('?').next().unwrap();
    let (operation, _) = contract.operation(question.0, plain).unwrap();
    (operation["operationId"].as_str().unwrap().to_owned(), status)
}

#[test]
fn the_simulator_has_a_route_for_every_operation_and_no_other() {
    let contract = Contract::load();
    let described: BTreeSet<(String, String, String)> = contract
        .operations()
        .into_iter()
        .map(|(method, path, operation)| {
            (operation["operationId"].as_str().unwrap().to_owned(), method, path)
        })
        .collect();
    let routed: BTreeSet<(String, String, String)> = routes()
        .map(|route| (route.operation.to_owned(), route.method.to_owned(), route.path.to_owned()))
        .collect();
    assert_eq!(routed, described);
    assert_eq!(routed.len(), 52);
}

/// Every operation, each with every status that the description has for it: the good ones and most refusals by
/// asking, the others because the simulator is told to refuse.
#[test]
fn every_answer_of_the_simulator_is_as_described() {
    let contract = Contract::load();
    let sim = Sim::start(SimConfig { world: world_of(40), ..SimConfig::default() });
    let all = questions(&sim);
    let mut first: BTreeMap<String, usize> = BTreeMap::new();
    let mut seen = BTreeSet::new();
    for (at, question) in all.iter().enumerate() {
        let (operation, status) = checked(&contract, &sim, question);
        first.entry(operation.clone()).or_insert(at);
        seen.insert((operation, status));
    }
    // Of the runs that the questions started, one is still waiting.
    let waiting = {
        let world = sim.server.world();
        let mut runs = world.projects.iter().flat_map(|r| world.runs(r).iter().map(move |run| (r, run)));
        let waits = |run: &RunSpec| run.status == "PENDING" && run.api.is_some();
        let (record, run) = runs.find(|(_, run)| waits(run)).unwrap();
        format!("/projects/{}/runs/{}", record.project.id, world.run_id(record, run))
    };
    seen.insert(checked(&contract, &sim, &("DELETE", waiting, Body::None)));
    let mut missing = Vec::new();
    for (_, _, operation) in contract.operations() {
        let id = operation["operationId"].as_str().unwrap();
        for status in operation["responses"].as_object().unwrap().keys() {
            let status: u16 = status.parse().unwrap();
            if seen.contains(&(id.to_owned(), status)) {
                continue;
            }
            let Some(at) = first.get(id).filter(|_| status >= 400) else {
                missing.push((id, status));
                continue;
            };
            let refusals = vec![Refusal::of(id, Refused::Status(status))];
            sim.server.set_faults(Faults { refusals, ..Faults::default() });
            assert_eq!(checked(&contract, &sim, &all[*at]), (id.to_owned(), status));
        }
    }
    assert!(missing.is_empty(), "not seen: {missing:?}");
}

#[test]
fn other_plans_and_tokens_are_answered_as_described() {
    let contract = Contract::load();
    let forbidden = routes().map(|route| route.operation.to_owned()).step_by(2).collect();
    let cases = [
        (Plan::Team, SimToken::default()),
        (Plan::Enterprise, SimToken { workspace: true, short_connections: true, ..SimToken::default() }),
        (Plan::Enterprise, SimToken { forbidden, ..SimToken::default() }),
        (Plan::Enterprise, SimToken { expired: true, ..SimToken::default() }),
    ];
    for (plan, token) in cases {
        let world = WorldConfig { plan, ..world_of(40) };
        let sim = Sim::start(SimConfig { world, token, ..SimConfig::default() });
        for question in questions(&sim) {
            checked(&contract, &sim, &question);
        }
    }
}

#[test]
fn older_paths_are_answered_alike_and_a_head_like_a_get_without_its_body() {
    let sim = Sim::start(SimConfig { world: world_of(40), ..SimConfig::default() });
    let asked = |question: &Question| {
        sim.block_on(async {
            let response = put(&sim.server.url(), question).await;
            let kind = response.headers().get("content-type").cloned();
            (response.status().as_u16(), kind, response.text().await.unwrap())
        })
    };
    let mut compared = 0;
    for (method, path, _) in questions(&sim).iter().filter(|(method, ..)| *method == "GET") {
        let (status, kind, text) = asked(&(method, path.clone(), Body::None));
        let head = asked(&("HEAD", path.clone(), Body::None));
        assert_eq!((head.0, &head.1, head.2.as_str()), (status, &kind, ""), "{path}");
        if path.starts_with("/projects/") && path.contains("/runs") && !path.contains("/cells/") {
            let older = path.replacen("/projects/", "/project/", 1);
            // One run stands below `run`, their list below `runs`.
            let older = if older.contains("/runs/") { older.replacen("/runs/", "/run/", 1) } else { older };
            let (older_status, _, older_text) = asked(&("GET", older, Body::None));
            let plain = |text: &str| text.split("\"traceId\":").next().unwrap().to_owned();
            assert_eq!((older_status, plain(&older_text)), (status, plain(&text)), "{path}");
            compared += 1;
        }
    }
    assert!(compared >= 4, "{compared}");
}

#[test]
fn every_request_of_the_client_is_one_that_the_description_allows() {
    let contract = Contract::load();
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
        client.get_run(&project, &run.as_str().into()).await.unwrap();
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
        drain(&client, ListCollections { page_size: Some(2), ..ListCollections::default() }).await;
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
                user_ids: Some(vec![group.as_str().into()]),
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
        let upsert = CollectionSharing {
            users: Some(vec![IdGrant { access: "MANAGER".into(), id: user.to_string() }]),
            workspace: Some(MembersAccess { members: Some("MEMBER".into()) }),
            groups: None,
        };
        let edit = CollectionEdit {
            name: Some("Renamed".into()),
            description: None,
            sharing: Some(SharingEdit { upsert }),
        };
        client.edit_collection(&collection, &edit).await.unwrap();
        let made = client.create_group("Mine", std::slice::from_ref(&user)).await.unwrap();
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

#[test]
fn every_operation_is_in_the_group_that_its_description_names() {
    let contract = Contract::load();
    for route in routes() {
        let path = route.path.replace(['{', '}'], "");
        let described = &contract.operation(route.method, &path).unwrap().0["x-limits"];
        let (group, operation) = (route.group, route.operation);
        if let Some(name) = described["group"].as_str() {
            assert_eq!(group.name, name, "{operation}");
        }
        if let Some(minute) = described["minute"].as_u64() {
            let hour = described["hour"].as_u64().map(|n| n as u32);
            assert_eq!((group.per_minute, group.per_hour), (minute as u32, hour), "{operation}");
        }
        if described.is_null() {
            assert_eq!(group.name, "default", "{operation}");
        }
    }
}
