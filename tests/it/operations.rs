//! The product's sixteen operations, to the letter: every parameter as it is sent, every field as it comes back.

use std::collections::BTreeSet;

use hexport::sim::{ProjectRecord, SimConfig, SimToken};
use serde_json::{Value, json};

use crate::support::*;

/// One operation, as it is called.
struct Case {
    operation: &'static str,
    args: Vec<String>,
    /// The last request: method, path, and the parameters of its query.
    sent: (&'static str, String, &'static [&'static str]),
    body: Option<Value>,
    /// Name of the list in the envelope; none for one answer.
    many: Option<&'static str>,
    fields: &'static [&'static str],
}

const PROJECT: &[&str] = &[
    "id",
    "title",
    "description",
    "status",
    "type",
    "creator.email",
    "owner.email",
    "categories",
    "lastEditedAt",
    "lastPublishedAt",
    "createdAt",
    "archivedAt",
    "trashedAt",
];
const RUN: &[&str] = &[
    "projectId",
    "runId",
    "runUrl",
    "status",
    "startTime",
    "endTime",
    "elapsedTime",
    "elapsedSeconds",
    "traceId",
    "projectVersion",
];
const STARTED: &[&str] = &["projectId", "runId", "runUrl", "runStatusUrl", "traceId", "projectVersion"];
const COLLECTION: &[&str] = &["id", "name", "description", "creator"];
const CONNECTION: &[&str] =
    &["id", "name", "type", "description", "connectViaSsh", "includeMagic", "allowWritebackCells"];
const GROUP: &[&str] = &["id", "name", "createdAt"];
const USER: &[&str] = &["id", "name", "email", "role"];
const TABLE: &[&str] = &["dataConnectionId", "dataConnectionName", "tableName"];

fn words(text: &str) -> Vec<String> {
    text.split(' ').map(str::to_owned).collect()
}

fn read(operation: &'static str, args: &str, path: String, query: &'static [&'static str]) -> Case {
    Case { operation, args: words(args), sent: ("GET", path, query), body: None, many: None, fields: &[] }
}

fn write(operation: &'static str, args: &str, method: &'static str, path: String, body: Value) -> Case {
    let sent = (method, path, &[][..]);
    Case { operation, args: words(args), sent, body: Some(body), many: None, fields: &[] }
}

impl Case {
    fn gives(self, fields: &'static [&'static str]) -> Self {
        Self { fields, ..self }
    }

    fn lists(self, many: &'static str, fields: &'static [&'static str]) -> Self {
        Self { many: Some(many), fields, ..self }
    }
}

/// A project with runs and queried tables.
fn busy(sim: &Sim) -> String {
    let world = sim.server.world();
    let wanted = |r: &&ProjectRecord| world.runs(r).len() > 12 && world.queried_tables(r).len() > 2;
    world.projects.iter().find(wanted).unwrap().project.id.to_string()
}

fn reads(sim: &Sim) -> Vec<Case> {
    let id = busy(sim);
    let world = sim.server.world();
    let record = &world.projects[world.find_project(&id).unwrap()];
    let run = world.run_id(record, &world.runs(record)[0]);
    let (collection, connection, group) =
        (&world.collections[0].id, &world.connections[0].id, &world.groups[0].id);
    vec![
        read("GetProject", &format!("projects get {id}"), format!("/projects/{id}"), &[]).gives(PROJECT),
        read("GetRunStatus", &format!("runs get {id} {run}"), format!("/projects/{id}/runs/{run}"), &[])
            .gives(RUN),
        read(
            "GetCollection",
            &format!("collections get {collection}"),
            format!("/collections/{collection}"),
            &[],
        )
        .gives(COLLECTION),
        read(
            "GetDataConnection",
            &format!("connections get {connection}"),
            format!("/data-connections/{connection}"),
            &[],
        )
        .gives(CONNECTION),
        read("GetGroup", &format!("groups get {group}"), format!("/groups/{group}"), &[]).gives(GROUP),
        read(
            "GetProjectRuns",
            &format!("runs list {id} --limit 3 --offset 2 --status completed"),
            format!("/projects/{id}/runs"),
            &["limit=3", "offset=2", "statusFilter=COMPLETED"],
        )
        .lists("runs", RUN),
        read(
            "GetQueriedTables",
            &format!("tables {id} --limit 2"),
            format!("/projects/{id}/queriedTables"),
            &["limit=2"],
        )
        .lists("tables", TABLE),
        read(
            "ListCollections",
            "collections list --limit 2 --sort name",
            "/collections".into(),
            &["limit=2", "sortBy=NAME"],
        )
        .lists("collections", COLLECTION),
        read(
            "ListDataConnections",
            "connections list --limit 2 --sort created --direction desc",
            "/data-connections".into(),
            &["limit=2", "sortBy=CREATED_AT", "sortDirection=DESC"],
        )
        .lists("connections", CONNECTION),
        read(
            "ListGroups",
            "groups list --limit 2 --sort name --direction asc",
            "/groups".into(),
            &["limit=2", "sortBy=NAME", "sortDirection=ASC"],
        )
        .lists("groups", GROUP),
        read(
            "ListProjects",
            "projects list --limit 2 --archived --status Production",
            "/projects".into(),
            &["limit=2", "includeArchived=true", "statuses=Production"],
        )
        .lists("projects", PROJECT),
        read(
            "ListUsers",
            &format!("users list --limit 2 --sort email --direction desc --group {group}"),
            "/users".into(),
            &["limit=2", "sortBy=EMAIL", "sortDirection=DESC", "groupId="],
        )
        .lists("users", USER),
    ]
}

fn writes(sim: &Sim) -> Vec<Case> {
    let id = busy(sim);
    let start = |flags: &str, body: Value| {
        let args = format!("runs start {id} {flags}");
        write("RunProject", args.trim_end(), "POST", format!("/projects/{id}/runs"), body).gives(STARTED)
    };
    let status = |flags: &str, body: Value| {
        let args = format!("projects update {id} {flags}");
        write("UpdateProject", &args, "PATCH", format!("/projects/{id}"), body).gives(PROJECT)
    };
    vec![
        write(
            "CreateCollection",
            "collections create --name One",
            "POST",
            "/collections".into(),
            json!({"name": "One"}),
        )
        .gives(COLLECTION),
        write(
            "CreateCollection",
            "collections create --name Two --description d",
            "POST",
            "/collections".into(),
            json!({"name": "Two", "description": "d"}),
        )
        .gives(COLLECTION),
        status("--status Production", json!({"status": "Production"})),
        status("--clear-status", json!({"status": null})),
        start("", json!({})),
        start(
            "--input lower=3 --input selected_id=x",
            json!({"inputParams": {"lower": 3, "selected_id": "x"}}),
        ),
        start("--validate", json!({"dryRun": true})),
        start("--validate false", json!({"dryRun": false})),
        start("--update-cache", json!({"updateCache": true})),
        start("--update-cache=false", json!({"updateCache": false})),
        start("--update-published-results true", json!({"updatePublishedResults": true})),
        start("--update-published-results=false", json!({"updatePublishedResults": false})),
        start("--use-cached-sql-results true", json!({"useCachedSqlResults": true})),
        start("--use-cached-sql-results false", json!({"useCachedSqlResults": false})),
        start("--no-cached-sql", json!({"useCachedSqlResults": false})),
        start(
            "--input lower=3 --update-published-results false",
            json!({"inputParams": {"lower": 3}, "updatePublishedResults": false}),
        ),
    ]
}

fn has(item: &Value, field: &str) -> bool {
    item.pointer(&format!("/{}", field.replace('.', "/"))).is_some()
}

fn check(sim: &Sim, case: &Case) {
    sim.server.clear_requests();
    let mut args: Vec<&str> = case.args.iter().map(String::as_str).collect();
    args.extend(["--output", "json"]);
    if case.many.is_some() {
        args.push("--envelope");
    }
    let what = args.join(" ");
    let answer: Value = serde_json::from_slice(&run(&mut sim.hexport(&args), 0).stdout).unwrap();
    let requests = sim.server.requests();
    let request = requests.last().unwrap();
    let (path, query) = request.target.split_once('?').unwrap_or((&request.target, ""));
    assert_eq!((request.method.as_str(), path), (case.sent.0, case.sent.1.as_str()), "{what}");
    for part in case.sent.2 {
        assert!(query.split('&').any(|pair| pair.starts_with(part)), "{what}: {part} in {query}");
    }
    if let Some(body) = &case.body {
        assert_eq!(serde_json::from_slice::<Value>(&request.body).unwrap(), *body, "{what}");
    }
    let items = match case.many {
        None => vec![answer],
        Some(many) => {
            let keys: BTreeSet<&str> = answer.as_object().unwrap().keys().map(String::as_str).collect();
            assert_eq!(keys, [many, "total", "traceId"].into(), "{what}");
            let items = answer[many].as_array().unwrap().clone();
            assert!(!items.is_empty() && answer["total"] == items.len(), "{what}: {answer}");
            let traced = ["runs", "tables"].contains(&many);
            assert_eq!(answer["traceId"].is_string(), traced, "{what}");
            items
        }
    };
    for item in items {
        let missing: Vec<&&str> = case.fields.iter().filter(|field| !has(&item, field)).collect();
        assert!(missing.is_empty(), "{what}: {missing:?} missing in {item}");
    }
}

#[test]
fn every_parameter_is_sent_and_every_field_comes_back() {
    let sim = Sim::start(SimConfig { world: world_of(60), clock_scale: 40.0, ..SimConfig::default() });
    let (reads, writes) = (reads(&sim), writes(&sim));
    let mut seen: BTreeSet<&str> = ["CancelRun"].into();
    for case in reads.iter().chain(&writes) {
        check(&sim, case);
        seen.insert(case.operation);
    }
    assert_eq!(seen.len(), 16, "{seen:?}");
    // A workspace token makes collections that nobody created, and sees connections in short.
    let token = SimToken { workspace: true, short_connections: true, ..SimToken::default() };
    let sim = Sim::start(SimConfig { world: world_of(60), token, ..SimConfig::default() });
    for case in self::reads(&sim).iter().chain(&self::writes(&sim)[..2]) {
        check(&sim, case);
    }
}

#[test]
fn a_run_is_cancelled_only_if_it_goes_on() {
    let sim = Sim::start(SimConfig { world: world_of(40), ..SimConfig::default() });
    let id = busy(&sim);
    let start = run(&mut sim.hexport(&["runs", "start", &id, "--output", "json"]), 0);
    let started: Value = serde_json::from_slice(&start.stdout).unwrap();
    let run_id = started["runId"].as_str().unwrap();
    let cancel = |code: i32| -> (Value, Vec<String>) {
        sim.server.clear_requests();
        let out = run(&mut sim.hexport(&["runs", "cancel", &id, run_id, "--output", "json"]), code);
        let methods = sim.server.requests().iter().map(|r| r.method.clone()).collect();
        (serde_json::from_slice(&out.stdout).unwrap(), methods)
    };
    let (answer, methods) = cancel(0);
    assert_eq!(answer, json!({"success": true, "projectId": id, "runId": run_id}));
    assert_eq!(methods, ["GET", "DELETE"]);
    let (answer, methods) = cancel(24);
    assert_eq!(answer, json!({"success": false, "projectId": id, "runId": run_id, "status": "KILLED"}));
    assert_eq!(methods, ["GET"], "nothing is sent for a run that has ended");
}

#[test]
fn words_for_published_state_give_way_to_labels_of_the_workspace() {
    let sim = Sim::of_projects(60);
    let listed = |words: &[&str]| -> Vec<String> {
        let mut args = vec!["projects", "list", "--output", "json"];
        words.iter().for_each(|word| args.extend(["--status", word]));
        let answer: Value = serde_json::from_slice(&run(&mut sim.hexport(&args), 0).stdout).unwrap();
        answer.as_array().unwrap().iter().map(|p| p["id"].as_str().unwrap().to_owned()).collect()
    };
    let truth = |wanted: &dyn Fn(&ProjectRecord) -> bool| -> Vec<String> {
        let world = sim.server.world();
        let plain = |r: &&ProjectRecord| {
            let p = &r.project;
            p.archived_at.is_none() && p.trashed_at.is_none() && p.kind == "PROJECT"
        };
        world.projects.iter().filter(plain).filter(|r| wanted(r)).map(|r| r.project.id.to_string()).collect()
    };
    let label = |r: &ProjectRecord| r.project.status.as_ref().map_or(String::new(), |s| s.name.clone());
    let is_published = |r: &ProjectRecord| r.project.last_published_at.is_some();
    assert_eq!(listed(&["PUBLISHED"]), truth(&is_published));
    assert_eq!(listed(&["draft"]), truth(&|r| !is_published(r)));
    assert_eq!(listed(&["All"]), truth(&|_| true));
    assert_eq!(listed(&["DRAFT", "Production"]), truth(&|r| !is_published(r) || label(r) == "Production"));
    assert_eq!(listed(&["Production"]), truth(&|r| label(r) == "Production"));
    let limited = run(&mut sim.hexport(&["projects", "list", "--status", "PUBLISHED", "--limit", "2"]), 0);
    assert!(stdout(&limited).lines().count() >= 3);

    // A label of that name wins, written as the label is.
    let labelled = truth(&|_| true)[0].clone();
    {
        let mut world = sim.server.world_mut();
        let at = world.find_project(&labelled).unwrap();
        world.projects[at].project.status =
            Some(hexport::client::projects::Status { name: "PUBLISHED".into() });
    }
    assert_eq!(listed(&["PUBLISHED"]), [labelled]);

    let none = run(&mut sim.hexport(&["projects", "list", "--status", "Prodution"]), 0);
    assert!(stderr(&none).contains("no project has the status label 'Prodution'"), "{}", stderr(&none));
    assert!(stderr(&none).contains("Production"));
    let id = truth(&|_| true)[1].clone();
    let said = stderr(&run(&mut sim.hexport(&["projects", "update", &id, "--status", "Prodution"]), 2));
    assert!(said.contains("Labels in use") && said.contains("Production"), "{said}");
}

#[test]
fn an_envelope_needs_a_document() {
    let sim = Sim::of_projects(10);
    for form in ["table", "csv", "ndjson"] {
        let said = stderr(&run(&mut sim.hexport(&["groups", "list", "--envelope", "--output", form]), 2));
        assert!(said.contains("--envelope goes with"), "{said}");
    }
    let yaml = stdout(&run(&mut sim.hexport(&["groups", "list", "--envelope", "--output", "yaml"]), 0));
    assert!(yaml.contains("total:") && yaml.contains("traceId: null"), "{yaml}");
}

#[test]
fn a_project_is_found_by_the_address_that_hex_shows() {
    let sim = Sim::of_projects(20);
    let id = busy(&sim);
    const DIGITS: &[u8] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    let mut bits = uuid::Uuid::parse_str(&id).unwrap().as_u128();
    let mut digits = [b'0'; 22];
    for digit in digits.iter_mut().rev() {
        *digit = DIGITS[(bits % 62) as usize];
        bits /= 62;
    }
    let org = sim.server.world().org_id.clone();
    let page =
        format!("https://app.hex.tech/{org}/hex/My-title-{}/draft/logic", str::from_utf8(&digits).unwrap());
    let out = run(&mut sim.hexport(&["projects", "get", &page, "--output", "json"]), 0);
    assert_eq!(serde_json::from_slice::<Value>(&out.stdout).unwrap()["id"], id.as_str());
}

#[test]
fn a_key_starts_one_run_and_waiting_by_it_goes_on_after_a_restart() {
    let sim = Sim::start(SimConfig { world: world_of(40), ..SimConfig::default() });
    let id = busy(&sim);
    let state = tempfile::tempdir().unwrap();
    let hexport = |args: &[&str], code: i32| {
        let mut all = args.to_vec();
        all.extend(["--output", "json"]);
        run(sim.hexport(&all).env("HEXPORT_STATE_DIR", state.path()), code)
    };
    let run_of = |out: &std::process::Output| -> String {
        serde_json::from_slice::<Value>(&out.stdout).unwrap()["runId"].as_str().unwrap().to_owned()
    };
    let posts = || sim.server.requests().iter().filter(|r| r.method == "POST").count();
    let start = ["runs", "start", &id, "--once", "night-7"];
    let first = run_of(&hexport(&start, 0));
    let again = hexport(&start, 0);
    assert_eq!((run_of(&again), posts()), (first.clone(), 1));
    assert!(stderr(&again).contains("nothing was started"));
    let other = stderr(&hexport(&[&start[..], &["--input", "lower=3"]].concat(), 2));
    assert!(other.contains("with other inputs or flags"), "{other}");
    let another = run_of(&hexport(&["runs", "start", &id, "--once", "night-8"], 0));
    assert_ne!(another, first);

    let wait = ["runs", "wait", &id, "--once", "night-7", "--poll", "20ms"];
    assert_eq!(run_of(&hexport(&[&wait[..], &["--timeout", "100ms"]].concat(), 23)), first);
    sim.server.set_now(sim.server.now() + chrono::TimeDelta::minutes(5));
    assert_eq!(run_of(&hexport(&wait, 0)), first);
    let unknown = stderr(&hexport(&["runs", "wait", &id, "--once", "night-9"], 2));
    assert!(unknown.contains("no run of this project was started with the key"), "{unknown}");
    hexport(&["runs", "wait", &id], 2);

    // A refused start leaves the key free.
    sim.server.refuse(["RunProject=422x1".parse().unwrap()]);
    let start = ["runs", "start", &id, "--once", "night-10"];
    hexport(&start, 2);
    hexport(&start, 0);
}

#[test]
fn a_start_whose_answer_was_lost_is_found_and_not_repeated() {
    let sim = Sim::start(SimConfig { world: world_of(40), ..SimConfig::default() });
    let id = busy(&sim);
    let state = tempfile::tempdir().unwrap();
    let start = |code: i32| {
        let args = ["runs", "start", &id, "--once", "k", "--output", "json"];
        run(sim.hexport(&args).env("HEXPORT_STATE_DIR", state.path()), code)
    };
    let runs = || {
        let world = sim.server.world();
        world.runs(&world.projects[world.find_project(&id).unwrap()]).len()
    };
    let before = runs();
    // The server starts the run, and the connection closes before the answer.
    sim.server.refuse(["RunProject=lostx1".parse().unwrap()]);
    start(5);
    assert_eq!(runs(), before + 1);
    let out = start(0);
    assert_eq!(runs(), before + 1, "the run of the first attempt is found");
    assert!(stderr(&out).contains("an earlier attempt"), "{}", stderr(&out));
    let found: Value = serde_json::from_slice(&out.stdout).unwrap();
    let newest = {
        let world = sim.server.world();
        let record = &world.projects[world.find_project(&id).unwrap()];
        world.run_id(record, &world.runs(record)[0])
    };
    assert_eq!(found["runId"], newest.as_str());
    start(0);
    assert_eq!(runs(), before + 1);
}

#[test]
fn a_watch_ends_with_the_next_run_that_completes() {
    let sim = Sim::start(SimConfig { world: world_of(40), ..SimConfig::default() });
    let id = busy(&sim);
    let at = sim.server.world().find_project(&id).unwrap();
    let newest = |n: usize| {
        let world = sim.server.world();
        let record = &world.projects[world.find_project(&id).unwrap()];
        world.run_id(record, &world.runs(record)[n])
    };
    let watch = |more: &[&str]| {
        let mut args = vec!["runs", "watch", id.as_str(), "--poll", "30ms", "--output", "json"];
        args.extend(more);
        sim.hexport(&args)
    };
    let known = newest(0);
    run(&mut watch(&["--timeout", "200ms"]), 23);
    sim.server.clear_requests();
    let child = spawn(&mut watch(&["--timeout", "60s"]));
    while sim.server.requests().len() < 2 {
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    sim.server.change(hexport::sim::Change::Run, at);
    let out = child.wait_with_output().unwrap();
    assert_eq!(out.status.code(), Some(0), "{}", String::from_utf8_lossy(&out.stderr));
    let seen: Value = serde_json::from_slice(&out.stdout).unwrap();
    assert_eq!(seen["runId"], newest(0).as_str());
    // What was missed between two watches counts, if it is said what was seen last.
    let out = run(&mut watch(&["--after", &known]), 0);
    assert_eq!(serde_json::from_slice::<Value>(&out.stdout).unwrap()["runId"], newest(0).as_str());
    let said = stderr(&run(&mut watch(&["--after", "00000000-0000-4000-8000-000000000000"]), 2));
    assert!(said.contains("not among the newest"), "{said}");
}
