//! The simulator's own behaviour, as any client meets it: faults by name, tokens, changes, the clock.

use std::collections::HashSet;

use hexport::sim::{Change, Faults, PageFault, Refusal, Refused, SimConfig, SimToken, WorldConfig};
use serde_json::{Value, json};

use crate::support::*;

/// What the simulator answered: status, content type, body as text.
struct Seen {
    status: u16,
    kind: Option<String>,
    text: String,
}

impl Seen {
    fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|e| panic!("{e}: {}", self.text))
    }
}

fn ask(sim: &Sim, method: &str, path: &str, body: Option<Value>) -> Seen {
    sim.block_on(async {
        let url = format!("{}/api/v1{path}", sim.server.url());
        let mut request = http().request(method.parse().unwrap(), url).bearer_auth(SECRET);
        if let Some(body) = body {
            request = request.json(&body);
        }
        let response = request.send().await.unwrap();
        let status = response.status().as_u16();
        let kind = response.headers().get("content-type").map(|v| v.to_str().unwrap().to_owned());
        Seen { status, kind, text: response.text().await.unwrap() }
    })
}

fn get(sim: &Sim, path: &str) -> Seen {
    ask(sim, "GET", path, None)
}

/// Follows `after` for at most `most` pages: identifiers page by page, and whether the list ended.
fn pages(sim: &Sim, path: &str, most: usize) -> (Vec<Vec<String>>, bool) {
    let mut seen = Vec::new();
    let mut after: Option<String> = None;
    while seen.len() < most {
        let query: String = url::form_urlencoded::Serializer::new(String::new())
            .extend_pairs(after.iter().map(|a| ("after", a)))
            .finish();
        let page = get(sim, &format!("{path}&{query}")).json();
        let ids = page["values"].as_array().unwrap().iter().map(|v| v["id"].as_str().unwrap().to_owned());
        seen.push(ids.collect());
        after = page["pagination"]["after"].as_str().map(str::to_owned);
        if after.is_none() {
            return (seen, true);
        }
    }
    (seen, false)
}

#[test]
fn refusals_strike_by_operation_entity_page_and_number_of_times() {
    let sim = Sim::of_projects(20);
    let (first, second) = {
        let world = sim.server.world();
        (world.projects[0].project.id.to_string(), world.projects[1].project.id.to_string())
    };
    let refuse = |texts: &[&str]| {
        let refusals = texts.iter().map(|text| text.parse().unwrap()).collect();
        sim.server.set_faults(Faults { refusals, ..Faults::default() });
    };
    for status in [400, 401, 403, 404, 422, 429, 500, 503] {
        refuse(&[&format!("ListGroups={status}")]);
        let seen = get(&sim, "/groups");
        assert_eq!(seen.status, status);
        assert!(seen.json()["reason"].is_string(), "in the operation's own form: {}", seen.text);
        assert_eq!(get(&sim, "/users").status, 200);
    }
    refuse(&["ListUsers=401-text", "ListThreads=html", "Me=500"]);
    let seen = get(&sim, "/users");
    assert_eq!((seen.status, seen.text.as_str()), (401, "Unauthorized"));
    assert!(seen.kind.unwrap().starts_with("text/plain"));
    let seen = get(&sim, "/threads");
    assert!(
        seen.status == 200 && seen.kind.unwrap().starts_with("text/html") && seen.text.contains("<html>")
    );
    assert_eq!(get(&sim, "/users/me").json()["code"], "INTERNAL_SERVER_ERROR");

    refuse(&[&format!("ListCells:{first}=403"), &format!("*:{second}=404")]);
    assert_eq!(get(&sim, &format!("/cells?projectId={first}")).status, 403);
    assert_eq!(get(&sim, &format!("/projects/{first}")).status, 200);
    for path in [format!("/cells?projectId={second}"), format!("/projects/{second}")] {
        assert_eq!(get(&sim, &path).status, 404, "{path}");
    }
    assert_eq!(ask(&sim, "POST", "/projects/export", Some(json!({"projectId": second}))).status, 404);

    refuse(&["ListUsers@2=403", "ListGroups=500x2"]);
    let page = get(&sim, "/users?limit=2").json();
    let after = page["pagination"]["after"].as_str().unwrap();
    assert_eq!(get(&sim, &format!("/users?limit=2&after={after}")).status, 403);
    let twice: Vec<u16> = (0..3).map(|_| get(&sim, "/groups").status).collect();
    assert_eq!(twice, [500, 500, 200]);
}

#[test]
fn pages_lead_astray_as_told_and_are_whole_otherwise() {
    let sim = Sim::of_projects(20);
    let ids: Vec<String> = sim.server.world().collections.iter().map(|c| c.id.to_string()).collect();
    sim.server.set_faults(Faults { page_cap: Some(1), ..Faults::default() });
    let (plain, ended) = pages(&sim, "/collections?limit=100", 50);
    assert!(ended && plain.iter().all(|page| page.len() == 1), "{plain:?}");
    assert_eq!(plain.concat().iter().collect::<HashSet<_>>(), ids.iter().collect());

    let fault = |fault: PageFault, cap: usize| Faults {
        paging: vec![("ListCollections".into(), fault)],
        page_cap: Some(cap),
        ..Faults::default()
    };
    let bent = |faults: Faults| {
        sim.server.set_faults(faults);
        pages(&sim, "/collections?limit=100", 12)
    };
    let (empty, ended) = bent(fault(PageFault::Empty, 1));
    assert!(ended && empty[0].is_empty() && empty.len() == 2 * plain.len(), "{empty:?}");
    assert_eq!(empty.concat(), plain.concat());
    let (repeated, ended) = bent(fault(PageFault::Repeat, 1));
    assert!(!ended && repeated[1] == repeated[2] && repeated[0] != repeated[1], "{repeated:?}");
    let (circle, ended) = bent(fault(PageFault::Circle, 1));
    assert!(!ended && circle[1] == circle[2] && circle[1] == plain[1], "{circle:?}");
    let (endless, ended) = bent(fault(PageFault::Endless, 100));
    assert!(!ended && endless[0].len() == ids.len() && endless[1..].iter().all(Vec::is_empty), "{endless:?}");
}

#[test]
fn a_token_sees_and_may_what_it_is_given() {
    let sim = Sim::of_projects(20);
    let (one, two, other) = {
        let world = sim.server.world();
        let id = |at: usize| world.projects[at].project.id.to_string();
        (id(0), id(1), world.users[3].email.clone())
    };
    let all = "/projects?limit=100&includeArchived=true&includeComponents=true&includeTrashed=true";
    let listed = || -> Vec<String> {
        let page = get(&sim, all).json();
        page["values"].as_array().unwrap().iter().map(|p| p["id"].as_str().unwrap().to_owned()).collect()
    };
    sim.server.set_token(SimToken {
        hidden: [one.clone()].into(),
        user: Some(other.clone()),
        ..SimToken::default()
    });
    assert!(listed().len() == 19 && !listed().contains(&one));
    for path in
        [format!("/projects/{one}"), format!("/cells?projectId={one}"), format!("/projects/{one}/runs")]
    {
        assert_eq!(get(&sim, &path).status, 404, "{path}");
    }
    assert_eq!(get(&sim, "/users/me").json()["email"], other.as_str());

    let scopes = vec!["ListProjects".to_owned(), "Me".to_owned()];
    let sees = Some([two.clone()].into());
    sim.server.set_token(SimToken { workspace: true, allowed: Some(scopes), sees, ..SimToken::default() });
    assert_eq!(listed(), [two]);
    assert_eq!((get(&sim, "/groups").status, get(&sim, "/users/me").json().get("email")), (403, None));
    sim.server.set_token(SimToken { expired: true, ..SimToken::default() });
    let seen = get(&sim, "/users/me");
    assert_eq!((seen.status, seen.text.as_str()), (401, "Unauthorized"));
}

#[test]
fn the_world_changes_under_the_tests_control_and_the_clock_goes_where_it_is_set() {
    let sim = Sim::of_projects(20);
    let later = sim.server.now() + chrono::TimeDelta::days(3);
    sim.server.set_now(later);
    assert_eq!(sim.server.now(), later);
    for change in Change::ALL {
        let places = 0..sim.server.world().projects.len();
        let changed = places.into_iter().find_map(|at| sim.server.change(change, at));
        assert!(changed.is_some(), "{change:?}");
    }
    let at = {
        let world = sim.server.world();
        world.projects.iter().position(|r| r.project.last_published_at.is_some()).unwrap()
    };
    let stamps = |sim: &Sim| {
        let p = &sim.server.world().projects[at].project;
        (
            p.last_published_at.clone(),
            p.analytics.published_results_updated_at.clone(),
            p.last_edited_at.clone(),
        )
    };
    let id = sim.server.world().projects[at].project.id.to_string();
    let before = stamps(&sim);
    sim.server.change(Change::RunNewTable, at);
    assert_eq!(stamps(&sim), before, "a run over the API moves no stamp");
    let runs = get(&sim, &format!("/projects/{id}/runs?limit=1")).json();
    assert!(
        runs["runs"][0]["startTime"].as_str().unwrap().starts_with(&later.format("%Y-%m-%d").to_string())
    );
    let tables = get(&sim, &format!("/projects/{id}/queriedTables?limit=100")).json();
    let named = |name: &str| tables["values"].as_array().unwrap().iter().any(|t| t["tableName"] == name);
    assert!(named("made.by_runs.t0"), "{tables}");

    let org = get(&sim, "/users/me").json()["org"]["id"].clone();
    sim.server.swap_workspace(WorldConfig { seed: 7, ..world_of(20) });
    assert_ne!(get(&sim, "/users/me").json()["org"]["id"], org);
    assert_eq!(get(&sim, &format!("/projects/{id}")).status, 404);
}

#[test]
fn the_clock_jumps_at_a_request() {
    let sim = Sim::start(SimConfig {
        world: world_of(10),
        clock_jump: Some((1, chrono::TimeDelta::hours(-5))),
        ..SimConfig::default()
    });
    let before = sim.server.now();
    get(&sim, "/users/me");
    assert_eq!(sim.server.now(), before);
    get(&sim, "/users/me");
    assert_eq!(sim.server.now(), before - chrono::TimeDelta::hours(5));
}

#[test]
fn faults_by_name_are_flags_of_simulate() {
    let flags = [
        ("--refuse", "ListUsers=403", true),
        ("--refuse", "ListFires=403", false),
        ("--refuse", "ListUsers=200", false),
        ("--paging", "ListGroups=empty", true),
        ("--paging", "ListGroups=odd", false),
        ("--scopes", "ListProjects,Me", true),
        ("--scopes", "ListEverything", false),
        ("--clock-jump", "3=-2h", true),
        ("--clock-jump", "soon", false),
        ("--now", "2026-11-02T06:00:00Z", true),
        ("--now", "yesterday", false),
    ];
    for (flag, value, good) in flags {
        // A port that can't be bound ends it: 192.0.2.1 is nobody's address.
        let args = ["simulate", "--host", "192.0.2.1", "--projects", "2", flag, value];
        let said = stderr(&run(&mut hexport(&args), 2));
        assert_eq!(said.contains("192.0.2.1"), good, "{flag} {value}: {said}");
    }
    let refusal: Refusal = "ListUsers=403".parse().unwrap();
    assert_eq!(refusal, Refusal::of("ListUsers", Refused::Status(403)));
}

/// A run, as the answer to its start gives it.
fn started(sim: &Sim, project: &str, body: Value) -> Value {
    let seen = ask(sim, "POST", &format!("/projects/{project}/runs"), Some(body));
    assert_eq!(seen.status, 201, "{}", seen.text);
    seen.json()
}

fn published(sim: &Sim) -> String {
    let world = sim.server.world();
    let record = world.projects.iter().find(|r| r.project.last_published_at.is_some()).unwrap();
    record.project.id.to_string()
}

#[test]
fn a_run_has_no_start_before_it_is_seen_to_run_and_ends_when_it_says() {
    let sim = Sim::of_projects(20);
    let id = published(&sim);
    let start = sim.server.now();
    let at = |seconds: i64| sim.server.set_now(start + chrono::TimeDelta::seconds(seconds));
    let state = |run: &str| get(&sim, &format!("/projects/{id}/runs/{run}")).json();
    let user = sim.server.world().users[1].clone();
    let sent = json!({"updatePublishedResults": "true", "useCachedSqlResults": "false", "notifications": [
        {"type": "FAILURE", "includeSuccessScreenshot": "false", "userIds": [user.id], "slackChannelIds": ["C7"]}]});
    let run = started(&sim, &id, sent);
    assert_eq!(run["notifications"][1]["recipient"]["name"], "#c7");
    let run = run["runId"].as_str().unwrap();
    assert_eq!(run.as_bytes()[14], b'7', "new identifiers are of version 7: {run}");
    let pending = state(run);
    assert_eq!((pending["status"].as_str(), &pending["startTime"]), (Some("PENDING"), &Value::Null));
    at(3);
    let running = state(run);
    assert_eq!((running["status"].as_str(), &running["endTime"]), (Some("RUNNING"), &Value::Null));
    let began: chrono::DateTime<chrono::Utc> = running["startTime"].as_str().unwrap().parse().unwrap();
    assert!(began > start && began <= sim.server.now());
    at(60);
    let done = state(run);
    assert_eq!(done["status"], "COMPLETED");
    assert_eq!(done["startTime"], running["startTime"]);
    let time = |field: &str| done[field].as_str().unwrap().parse::<chrono::DateTime<chrono::Utc>>().unwrap();
    assert_eq!(
        done["elapsedTime"].as_f64().unwrap() as i64,
        (time("endTime") - time("startTime")).num_milliseconds()
    );
    assert_eq!(done["notifications"][0]["recipient"]["id"], user.id.as_str());
    let project = get(&sim, &format!("/projects/{id}")).json();
    assert_eq!(project["analytics"]["publishedResultsUpdatedAt"], done["endTime"], "it updated the results");

    // Killed before it got a kernel: it never started.
    let run = started(&sim, &id, json!({}))["runId"].as_str().unwrap().to_owned();
    let cancelled = ask(&sim, "DELETE", &format!("/project/{id}/run/{run}"), None);
    assert_eq!((cancelled.status, cancelled.kind, cancelled.text.as_str()), (204, None, ""));
    let killed = state(&run);
    assert_eq!((killed["status"].as_str(), &killed["startTime"]), (Some("KILLED"), &Value::Null));
    assert_eq!(ask(&sim, "DELETE", &format!("/project/{id}/run/{run}"), None).status, 422);

    let dry = started(&sim, &id, json!({"dryRun": "true"}))["runId"].clone();
    let real = started(&sim, &id, json!({"dryRun": "false"}))["runId"].clone();
    assert_ne!(dry, real);
    assert_eq!(get(&sim, &format!("/projects/{id}/runs/{}", dry.as_str().unwrap())).status, 404);
    let start = |body: Value| ask(&sim, "POST", &format!("/projects/{id}/runs"), Some(body)).status;
    let inputs = json!({"lower": 1});
    assert_eq!(start(json!({"inputParams": inputs, "updatePublishedResults": true})), 422);
    assert_eq!(start(json!({"inputParams": inputs, "updatePublishedResults": false})), 201);
    assert_eq!(start(json!({"inputParams": inputs})), 201);
}

#[test]
fn an_export_names_components_and_nests_what_a_section_holds() {
    let sim = Sim::of_projects(120);
    let world = sim.server.world();
    let (mut imports, mut sections) = (0, 0);
    for record in &world.projects {
        let body = json!({"projectId": record.project.id, "version": "draft"});
        let file = ask(&sim, "POST", "/projects/export", Some(body)).json();
        let file: Value = serde_yaml_ng::from_str(file["content"].as_str().unwrap()).unwrap();
        for part in ["/meta/sourceVersionId", "/appLayout", "/sharedAssets", "/projectAssets"] {
            assert!(file.pointer(part).is_some(), "{part}");
        }
        let mut flat = Vec::new();
        let mut open: Vec<&Value> = file["cells"].as_array().unwrap().iter().rev().collect();
        while let Some(cell) = open.pop() {
            flat.push(cell["cellId"].as_str().unwrap().to_owned());
            let inner = cell["config"]["cells"].as_array();
            sections += usize::from(inner.is_some_and(|inner| !inner.is_empty()));
            open.extend(inner.into_iter().flatten().rev());
            if cell["cellType"] == "COMPONENT_IMPORT" {
                let id = cell["config"]["component"]["id"].as_str().unwrap();
                assert_eq!(world.projects[world.find_project(id).unwrap()].project.kind, "COMPONENT");
                assert!(cell["config"]["component"]["version"].as_i64() >= Some(1));
                imports += 1;
            }
        }
        let cells: Vec<String> = world.cells(record).into_iter().map(|(cell, _)| cell.static_id).collect();
        assert_eq!(flat, cells, "every cell once, in its order");
        let version = |version: Value| {
            let body = json!({"projectId": record.project.id, "version": version});
            ask(&sim, "POST", "/projects/export", Some(body)).status
        };
        let status = if record.project.last_published_at.is_some() { 200 } else { 400 };
        assert_eq!((version(json!("latest")), version(json!(1))), (status, status));
        assert_eq!((version(json!(99_999)), version(json!("banana"))), (400, 400));
    }
    assert!(imports > 3 && sections > 3, "{imports} imports, {sections} sections");
}

#[test]
fn cursors_are_base64_and_the_first_page_has_a_before() {
    use base64::Engine;
    let sim = Sim::of_projects(20);
    let page = get(&sim, "/projects?limit=2").json();
    for end in ["after", "before"] {
        let cursor = page["pagination"][end].as_str().unwrap();
        let text = base64::engine::general_purpose::STANDARD.decode(cursor).unwrap();
        assert!(text.starts_with(b"v2:["), "{end}");
    }
}

#[test]
fn cells_written_over_the_api_are_listed() {
    let sim = Sim::of_projects(20);
    let id = published(&sim);
    let body = json!({"projectId": id, "cellType": "CODE", "contents": {"codeCell": {"source": "1"}}});
    let made = ask(&sim, "POST", "/cells", Some(body)).json();
    let listed = || get(&sim, &format!("/cells?projectId={id}&limit=100")).json()["values"].clone();
    assert!(listed().as_array().unwrap().contains(&made));
    let static_id = made["staticId"].as_str().unwrap();
    let edit = json!({"contents": {"codeCell": {"source": "2"}}});
    let edited = ask(&sim, "PATCH", &format!("/cells/{static_id}"), Some(edit)).json();
    assert!(edited["id"] != made["id"] && edited["staticId"] == made["staticId"]);
    assert!(listed().as_array().unwrap().contains(&edited));
    assert_eq!(ask(&sim, "DELETE", &format!("/cells/{static_id}"), None).status, 200);
    assert!(listed().as_array().unwrap().iter().all(|cell| cell["staticId"] != static_id));
}

#[test]
fn state_events_of_a_run_want_their_header_and_hexport_asks_for_them() {
    let sim = Sim::of_projects(40);
    let (project, run_id) = {
        let world = sim.server.world();
        let found = world.projects.iter().find_map(|record| {
            let of = |spec| (world.run(record, spec).state_events.is_some(), world.run_id(record, spec));
            let run = world.runs(record).iter().map(of).find(|(has_events, _)| *has_events)?.1;
            Some((record.project.id.to_string(), run))
        });
        found.unwrap()
    };
    let path = format!("/projects/{project}/runs/{run_id}");
    assert!(get(&sim, &path).json().get("stateEvents").is_none());
    let out = run(&mut sim.hexport(&["runs", "get", &project, &run_id, "--output", "json"]), 0);
    let shown: Value = serde_json::from_slice(&out.stdout).unwrap();
    assert!(!shown["stateEvents"].as_array().unwrap().is_empty(), "{shown}");
}
