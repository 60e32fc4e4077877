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
        (world.projects[0].project.id.clone(), world.projects[1].project.id.clone())
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
    let ids: Vec<String> = sim.server.world().collections.iter().map(|c| c.id.clone()).collect();
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
        let id = |at: usize| world.projects[at].project.id.clone();
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
    let id = sim.server.world().projects[at].project.id.clone();
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
