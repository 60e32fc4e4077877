//! Every operation through the binary, with its error cases.

use std::collections::BTreeSet;

use hexport::sim::{Plan, ProjectRecord, SimConfig, SimToken, WorldConfig};
use serde_json::{Value, json};

use crate::support::*;

const NOBODY: &str = "00000000-0000-4000-8000-000000000000";

/// The answer of a command, as JSON.
fn answer(sim: &Sim, args: &[&str]) -> Value {
    let mut all = args.to_vec();
    all.extend(["--output", "json"]);
    serde_json::from_slice(&run(&mut sim.hexport(&all), 0).stdout).unwrap()
}

/// What a command that fails says.
fn refusal(sim: &Sim, args: &[&str], code: i32) -> String {
    stderr(&run(&mut sim.hexport(args), code))
}

fn strings(list: &Value, field: &str) -> Vec<String> {
    list.as_array().unwrap().iter().map(|item| item[field].as_str().unwrap_or("").to_owned()).collect()
}

/// A project that the generator made, by what is wanted of it.
fn pick(sim: &Sim, wanted: impl Fn(&ProjectRecord) -> bool) -> String {
    let world = sim.server.world();
    world.projects.iter().find(|record| wanted(record)).unwrap().project.id.to_string()
}

fn published(sim: &Sim) -> String {
    pick(sim, |r| r.project.last_published_at.is_some() && sim.server.world().runs(r).len() > 5)
}

/// A simulator whose runs take seconds and whose clock is fast.
fn quick() -> Sim {
    Sim::start(SimConfig { world: world_of(40), clock_scale: 40.0, ..SimConfig::default() })
}

#[test]
fn projects_are_listed_filtered_sorted_and_limited() {
    let sim = Sim::of_projects(230);
    let world = sim.server.world();
    let all = answer(&sim, &["projects", "list", "--archived", "--components", "--trashed"]);
    assert_eq!(all.as_array().unwrap().len(), 230);
    let plain = answer(&sim, &["projects", "list"]);
    let expected = world.projects.iter().filter(|r| {
        let p = &r.project;
        p.archived_at.is_none() && p.trashed_at.is_none() && p.kind == "PROJECT"
    });
    let expected: Vec<String> = expected.map(|r| r.project.id.to_string()).collect();
    assert_eq!(strings(&plain, "id"), expected);
    assert_eq!(plain[0], {
        let mut p = json!(world.projects[world.find_project(&expected[0]).unwrap()].project);
        p.as_object_mut().unwrap().remove("sharing");
        p
    });

    let owner = &world.projects[0].project.owner.email;
    let owned = answer(
        &sim,
        &["projects", "list", "--archived", "--components", "--trashed", "--owner", owner, "--sharing"],
    );
    assert!(
        owned
            .as_array()
            .unwrap()
            .iter()
            .all(|p| p["owner"]["email"] == owner.as_str() && p["sharing"].is_object())
    );
    let status = answer(&sim, &["projects", "list", "--status", "Production", "--status", "Approved"]);
    let labels: BTreeSet<String> =
        status.as_array().unwrap().iter().map(|p| p["status"]["name"].as_str().unwrap().to_owned()).collect();
    assert_eq!(labels, ["Approved", "Production"].map(String::from).into());
    let edited = strings(
        &answer(&sim, &["projects", "list", "--sort", "edited", "--direction", "asc"]),
        "lastEditedAt",
    );
    assert!(edited.is_sorted());
    let in_collection = answer(&sim, &["projects", "list", "--collection", &world.collections[0].name]);
    assert!(in_collection.as_array().unwrap().len() < expected.len());

    sim.server.clear_requests();
    assert_eq!(answer(&sim, &["projects", "list", "--limit", "3"]).as_array().unwrap().len(), 3);
    let asked: Vec<String> = sim.server.requests().into_iter().map(|r| r.target).collect();
    assert!(asked.len() == 1 && asked[0].contains("limit=3"), "{asked:?}");
    let none = answer(&sim, &["projects", "list", "--creator", "nobody@acme.example"]);
    assert_eq!(none, json!([]));
    assert!(refusal(&sim, &["projects", "list", "--sort", "size"], 2).contains("--sort"));
    assert!(refusal(&sim, &["projects", "list", "--limit", "0"], 2).contains("--limit"));
}

#[test]
fn a_project_is_named_by_identifier_title_or_page() {
    let sim = Sim::of_projects(60);
    let (id, title, org, twins) = {
        let mut world = sim.server.world_mut();
        let twin = "Twin Überblick".to_owned();
        world.projects[1].project.title = twin.clone();
        world.projects[2].project.title = twin.to_uppercase();
        world.projects[3].project.title = twin.to_uppercase();
        world.projects[0].project.title = "Only One".into();
        (world.projects[0].project.id.to_string(), "only one", world.org_id.clone(), twin)
    };
    let page = format!("https://app.hex.tech/{org}/hex/{id}/draft/logic");
    for name in [id.as_str(), title, &page] {
        assert_eq!(answer(&sim, &["projects", "get", name])["id"], id.as_str(), "{name}");
    }
    // One that is the same to the letter is meant; else the candidates are listed.
    let exact = sim.server.world().projects[1].project.id.to_string();
    assert_eq!(answer(&sim, &["projects", "get", &twins])["id"], exact.as_str());
    let said = refusal(&sim, &["projects", "get", &twins.to_lowercase()], 2);
    assert!(said.contains("names 3 projects") && said.contains(&exact), "{said}");
    assert!(refusal(&sim, &["projects", "get", "No such title"], 2).contains("there is no project named"));
    assert!(refusal(&sim, &["projects", "get", NOBODY], 2).contains("404"));
    let sharing = answer(&sim, &["projects", "get", &id, "--sharing"]);
    assert!(sharing["sharing"]["users"].is_array());
}

#[test]
fn a_status_is_set_and_cleared_and_an_unknown_one_refused() {
    let sim = Sim::of_projects(30);
    let id = pick(&sim, |_| true);
    assert_eq!(
        answer(&sim, &["projects", "update", &id, "--status", "Production"])["status"]["name"],
        "Production"
    );
    assert_eq!(answer(&sim, &["projects", "get", &id])["status"]["name"], "Production");
    assert_eq!(answer(&sim, &["projects", "update", &id, "--clear-status"])["status"], Value::Null);
    let said = refusal(&sim, &["projects", "update", &id, "--status", "Nonsense"], 2);
    assert!(said.contains("There is no status 'Nonsense'") && said.contains("traceId"), "{said}");
    refusal(&sim, &["projects", "update", &id], 2);
    sim.server.clear_requests();
    let shown = answer(&sim, &["projects", "update", &id, "--status", "Production", "--dry-run"]);
    assert_eq!((shown["method"].as_str(), &shown["body"]), (Some("PATCH"), &json!({"status": "Production"})));
    assert_eq!(sim.server.requests().len(), 0);
}

#[test]
fn projects_are_created_shared_and_fetched_as_files() {
    let sim = Sim::of_projects(30);
    let made = answer(&sim, &["projects", "create", "--title", "Brand new", "--description", "by a test"]);
    let id = made["id"].as_str().unwrap();
    assert_eq!(answer(&sim, &["projects", "get", "Brand new"])["id"], id);
    let (user, group, collection) = {
        let world = sim.server.world();
        (world.users[3].email.clone(), world.groups[0].name.clone(), world.collections[0].name.clone())
    };
    let grants = [format!("{user}=can-view"), format!("{group}=CAN_EDIT"), format!("{collection}=app-only")];
    let args = [
        "projects",
        "share",
        id,
        "--user",
        &grants[0],
        "--group",
        &grants[1],
        "--collection",
        &grants[2],
        "--workspace",
        "can-view",
    ];
    run(&mut sim.hexport(&args), 0);
    let sharing = &answer(&sim, &["projects", "get", id, "--sharing"])["sharing"];
    assert!(
        sharing["users"]
            .as_array()
            .unwrap()
            .contains(&json!({"access": "CAN_VIEW", "user": {"email": user}}))
    );
    assert!(
        sharing["groups"]
            .as_array()
            .unwrap()
            .contains(&json!({"access": "CAN_EDIT", "group": {"name": group}}))
    );
    assert_eq!(sharing["workspace"]["access"], "CAN_VIEW");
    let nobody = format!("{NOBODY}=can-view");
    assert!(
        refusal(&sim, &["projects", "share", id, "--user", &nobody], 2).contains("There is no such user")
    );
    // Opening a project to the web must be meant.
    let said = refusal(&sim, &["projects", "share", id, "--public-web", "app-only"], 2);
    assert!(said.contains("--yes"), "{said}");
    run(&mut sim.hexport(&["projects", "share", id, "--public-web", "app-only", "--yes"]), 0);
    assert_eq!(
        answer(&sim, &["projects", "get", id, "--sharing"])["sharing"]["publicWeb"]["access"],
        "APP_ONLY"
    );
    assert!(refusal(&sim, &["projects", "share", id], 2).contains("nobody to share with"));
    assert!(
        refusal(&sim, &["projects", "share", id, "--workspace", "everything"], 2)
            .contains("access is not one of")
    );

    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("project.yaml");
    run(&mut sim.hexport(&["projects", "export", id, "--version", "draft", "-o", file.to_str().unwrap()]), 0);
    assert!(std::fs::read_to_string(&file).unwrap().contains("Brand new"));
    assert!(stdout(&run(&mut sim.hexport(&["projects", "export", id]), 0)).contains("Brand new"));
    refusal(&sim, &["projects", "export", id, "--version", "newest"], 2);
    let said = refusal(&sim, &["projects", "export", id, "--version", "latest"], 2);
    assert!(said.contains("Version latest not found"), "{said}");
}

#[test]
fn runs_are_listed_and_shown_as_the_api_has_them() {
    let sim = Sim::start(SimConfig {
        world: WorldConfig { runs_per_project: 200.0, ..world_of(40) },
        ..SimConfig::default()
    });
    let id = pick(&sim, |r| sim.server.world().runs(r).len() > 250);
    let world = sim.server.world();
    let record = &world.projects[world.find_project(&id).unwrap()];
    let expected: Vec<String> = world.runs(record).iter().map(|spec| world.run_id(record, spec)).collect();
    let all = answer(&sim, &["runs", "list", &id]);
    assert_eq!(strings(&all, "runId"), expected);
    let failed = answer(&sim, &["runs", "list", &id, "--status", "errored", "--trigger", "scheduled"]);
    assert!(
        failed.as_array().unwrap().iter().all(|r| r["status"] == "ERRORED" && r["runTrigger"] == "SCHEDULED")
    );
    assert_eq!(answer(&sim, &["runs", "list", &id, "--limit", "7"]).as_array().unwrap().len(), 7);
    assert_eq!(answer(&sim, &["runs", "get", &id, &expected[3]]), all[3]);
    assert!(refusal(&sim, &["runs", "get", &id, NOBODY], 2).contains("Run not found"));
    assert!(refusal(&sim, &["runs", "list", NOBODY], 2).contains("Project not found"));
    assert!(refusal(&sim, &["runs", "get", &id, "not-a-run"], 2).contains("runId"));
    assert!(refusal(&sim, &["runs", "list", &id, "--status", "lost"], 2).contains("--status"));
}

#[test]
fn a_run_is_started_with_inputs_and_its_outcome_is_the_exit_code() {
    let sim = quick();
    let id = published(&sim);
    let wait = ["--wait", "--poll", "20ms", "--output", "json"];
    let start = |more: &[&str], code: i32| -> Value {
        let mut args = vec!["runs", "start", id.as_str()];
        args.extend(more);
        serde_json::from_slice(&run(&mut sim.hexport(&args), code).stdout).unwrap_or(Value::Null)
    };
    let with = |more: &[&'static str]| [more, &wait].concat();
    let done = start(&with(&["--input", "lower=3", "--input", "selected_id=\"7\""]), 0);
    assert_eq!((done["status"].as_str(), done["runTrigger"].as_str()), (Some("COMPLETED"), Some("API")));
    let sent = sim.server.requests().into_iter().find(|r| r.method == "POST").unwrap();
    assert_eq!(
        serde_json::from_slice::<Value>(&sent.body).unwrap(),
        json!({"inputParams": {"lower": 3, "selected_id": "7"}})
    );
    // The simulator fails runs that get -1.
    assert_eq!(start(&with(&["--input", "lower=-1"]), 20)["status"], "ERRORED");

    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("inputs.json");
    std::fs::write(&file, r#"{"lower": 5, "selected_id": "a b"}"#).unwrap();
    start(
        &[
            "--input-json",
            file.to_str().unwrap(),
            "--input",
            "lower=6",
            "--no-cached-sql",
            "--output",
            "json",
        ],
        0,
    );
    let sent = sim.server.requests().into_iter().rfind(|r| r.method == "POST").unwrap();
    let expected = json!({"inputParams": {"lower": 6, "selected_id": "a b"}, "useCachedSqlResults": false});
    assert_eq!(serde_json::from_slice::<Value>(&sent.body).unwrap(), expected);
    std::fs::write(&file, "[1]").unwrap();
    assert!(
        refusal(&sim, &["runs", "start", &id, "--input-json", file.to_str().unwrap()], 2)
            .contains("not an object")
    );

    let user = sim.server.world().users[1].email.clone();
    let told = start(
        &[
            "--notify-user",
            &user,
            "--notify-on",
            "failure",
            "--update-published-results",
            "--dry-run",
            "--output",
            "json",
        ],
        0,
    );
    assert_eq!(told["body"]["notifications"][0]["userIds"].as_array().unwrap().len(), 1);
    assert_eq!(told["body"]["updatePublishedResults"], true);
    let checked = start(&["--validate", "--output", "json"], 0);
    assert!(
        refusal(&sim, &["runs", "get", &id, checked["runId"].as_str().unwrap()], 2).contains("not found"),
        "nothing was started"
    );

    let said = refusal(&sim, &["runs", "start", &id, "--input", "lower=three", "--input", "what=1"], 2);
    assert!(said.contains("invalid parameter") && said.contains("unknown parameters: what"), "{said}");
    let unpublished = pick(&sim, |r| r.project.last_published_at.is_none());
    assert!(refusal(&sim, &["runs", "start", &unpublished], 2).contains("no published version"));
    assert!(refusal(&sim, &["runs", "start", NOBODY], 2).contains("Project not found"));
    refusal(&sim, &["runs", "start", &id, "--input", "nonsense"], 2);
}

#[test]
fn a_run_is_cancelled_once_and_waited_for_no_longer_than_told() {
    let sim =
        Sim::start(SimConfig { world: world_of(40), clock_scale: 0.0, kernels: 2, ..SimConfig::default() });
    let id = published(&sim);
    let started = answer(&sim, &["runs", "start", &id]);
    let run_id = started["runId"].as_str().unwrap();
    let out = run(
        &mut sim.hexport(&[
            "runs",
            "wait",
            &id,
            run_id,
            "--timeout",
            "300ms",
            "--poll",
            "50ms",
            "--output",
            "json",
        ]),
        23,
    );
    assert_eq!(serde_json::from_slice::<Value>(&out.stdout).unwrap()["status"], "PENDING");
    answer(&sim, &["runs", "start", &id]);
    let said = refusal(&sim, &["runs", "start", &id], 5);
    assert!(said.contains("503") && said.contains("No kernel is free"), "{said}");
    let posts = sim.server.requests().into_iter().filter(|r| r.method == "POST").count();
    assert_eq!(posts, 3, "a refused start is not sent again");
    assert_eq!(
        answer(&sim, &["runs", "cancel", &id, run_id]),
        json!({"success": true, "projectId": id, "runId": run_id})
    );
    assert_eq!(run(&mut sim.hexport(&["runs", "wait", &id, run_id]), 21).status.code(), Some(21));
    assert!(refusal(&sim, &["runs", "cancel", &id, run_id], 24).contains("had ended before"));
    assert!(refusal(&sim, &["runs", "cancel", &id, NOBODY], 2).contains("Run not found"));
    let shown = answer(&sim, &["runs", "cancel", &id, run_id, "--dry-run"]);
    assert_eq!(shown["method"], "DELETE");
}

#[test]
fn an_interrupted_wait_leaves_the_run_and_says_how_to_go_on() {
    let sim = Sim::start(SimConfig { world: world_of(40), clock_scale: 0.0, ..SimConfig::default() });
    let id = published(&sim);
    let child = spawn(&mut sim.hexport(&["runs", "start", &id, "--wait", "--poll", "50ms"]));
    while sim.server.requests().iter().filter(|r| r.target.contains("/runs/")).count() < 2 {
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    std::process::Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    let out = child.wait_with_output().unwrap();
    assert_eq!(out.status.code(), Some(130));
    assert!(stderr(&out).contains("hexport runs cancel"), "{}", stderr(&out));
    assert!(sim.server.requests().iter().all(|r| r.method != "DELETE"));
}

#[test]
fn collections_are_listed_created_and_edited() {
    let sim = Sim::of_projects(60);
    let names = strings(&answer(&sim, &["collections", "list"]), "name");
    assert!(names.is_sorted() && names.len() == sim.server.world().collections.len());
    let made = answer(&sim, &["collections", "create", "--name", "Fresh", "--description", "d"]);
    assert_eq!(answer(&sim, &["collections", "get", "fresh"]), made);
    assert!(made["creator"]["email"].is_string());
    let user = sim.server.world().users[2].email.clone();
    let edited = answer(
        &sim,
        &[
            "collections",
            "edit",
            "Fresh",
            "--name",
            "Stale",
            "--user",
            &format!("{user}=manager"),
            "--workspace",
            "member",
        ],
    );
    assert_eq!(
        (edited["name"].as_str(), edited["sharing"]["users"][0]["access"].as_str()),
        (Some("Stale"), Some("MANAGER"))
    );
    assert!(refusal(&sim, &["collections", "get", NOBODY], 2).contains("No such collection"));
    assert!(refusal(&sim, &["collections", "edit", "Stale"], 2).contains("nothing to change"));
    assert!(refusal(&sim, &["collections", "create", "--name", ""], 2).contains("name is required"));
}

#[test]
fn connections_groups_users_tables_and_cells_are_shown() {
    let sim = Sim::of_projects(60);
    let world = sim.server.world();
    let connections = answer(&sim, &["connections", "list", "--sort", "name", "--direction", "desc"]);
    assert!(strings(&connections, "name").iter().rev().is_sorted());
    let one = answer(&sim, &["connections", "get", &world.connections[0].name]);
    assert_eq!(one, json!(world.connections[0]));
    assert!(refusal(&sim, &["connections", "get", NOBODY], 2).contains("404"));

    assert_eq!(answer(&sim, &["groups", "list"]).as_array().unwrap().len(), world.groups.len());
    assert_eq!(answer(&sim, &["groups", "get", &world.groups[0].name]), json!(world.groups[0]));
    let members = answer(&sim, &["users", "list", "--group", &world.groups[0].name, "--sort", "email"]);
    assert_eq!(members.as_array().unwrap().len(), world.group_members(0).len());
    assert!(strings(&members, "email").is_sorted());
    let some = answer(&sim, &["users", "list", "--id", &world.users[1].id, "--id", &world.users[2].id]);
    assert_eq!(some.as_array().unwrap().len(), 2);
    assert_eq!(answer(&sim, &["users", "me"])["name"], "Robin Admin");

    let record = world.projects.iter().find(|r| world.queried_tables(r).len() > 3).unwrap();
    let id = record.project.id.as_str();
    assert_eq!(answer(&sim, &["tables", id]).as_array().unwrap().len(), world.queried_tables(record).len());
    assert_eq!(answer(&sim, &["tables", id, "--limit", "2"]).as_array().unwrap().len(), 2);
    let cells = answer(&sim, &["cells", "list", id]);
    assert_eq!(cells.as_array().unwrap().len(), world.cells(record).len());
    assert_eq!(answer(&sim, &["cells", "get", cells[0]["id"].as_str().unwrap()]), cells[0]);
    assert!(refusal(&sim, &["cells", "get", NOBODY], 2).contains("404"));
}

#[test]
fn groups_and_users_are_changed_only_when_it_is_meant() {
    let sim = Sim::of_projects(30);
    let emails: Vec<String> = sim.server.world().users.iter().map(|u| u.email.clone()).collect();
    let members = |group: &str| {
        strings(&answer(&sim, &["users", "list", "--group", group]), "email")
            .into_iter()
            .collect::<BTreeSet<_>>()
    };
    answer(&sim, &["groups", "create", "--name", "Auditors", "--user", &emails[1], "--user", &emails[2]]);
    assert_eq!(members("Auditors"), [emails[1].clone(), emails[2].clone()].into());
    answer(
        &sim,
        &["groups", "edit", "Auditors", "--add", &emails[3], "--remove", &emails[1], "--name", "Reviewers"],
    );
    assert_eq!(members("Reviewers"), [emails[2].clone(), emails[3].clone()].into());
    assert!(refusal(&sim, &["groups", "delete", "Reviewers"], 2).contains("--yes"));
    run(&mut sim.hexport(&["groups", "delete", "Reviewers", "--yes"]), 0);
    assert!(refusal(&sim, &["groups", "get", "Reviewers"], 2).contains("there is no group"));
    assert!(refusal(&sim, &["users", "deactivate", &emails[4]], 2).contains("--yes"));
    answer(&sim, &["users", "deactivate", &emails[4], "--yes"]);
    assert!(refusal(&sim, &["users", "deactivate", &emails[4], "--yes"], 2).contains("there is no user"));
}

#[test]
fn what_is_forbidden_says_so() {
    let forbidden = ["ListUsers", "RunProject", "CreateCollection"].map(String::from).to_vec();
    let world = WorldConfig { plan: Plan::Team, ..world_of(30) };
    let token = SimToken { forbidden, ..SimToken::default() };
    let sim = Sim::start(SimConfig { world, token, ..SimConfig::default() });
    let id = published(&sim);
    for args in [
        vec!["users", "list"],
        vec!["runs", "start", &id],
        vec!["collections", "create", "--name", "x"],
        vec!["tables", &id],
    ] {
        let said = refusal(&sim, &args, 3);
        assert!(said.contains("403") && said.contains("admin"), "{said}");
    }
}

#[test]
fn answers_come_in_five_forms_with_the_fields_that_are_wanted() {
    let sim = Sim::of_projects(30);
    let out = |form: &str, more: &[&str]| {
        let mut args = vec!["projects", "list", "--limit", "4", "--output", form];
        args.extend(more);
        stdout(&run(&mut sim.hexport(&args), 0))
    };
    let json: Value = serde_json::from_str(&out("json", &["--fields", "id,owner.email"])).unwrap();
    assert_eq!(json[0].as_object().unwrap().len(), 2);
    assert!(json[0]["owner.email"].as_str().unwrap().contains('@'));
    let lines: Vec<Value> =
        out("ndjson", &[]).lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 4);
    let csv = out("csv", &["--fields", "title,owner"]);
    let mut reader = csv::Reader::from_reader(csv.as_bytes());
    let rows: Vec<_> = reader.records().map(Result::unwrap).collect();
    assert!(rows.len() == 4 && serde_json::from_str::<Value>(&rows[0][1]).unwrap()["email"].is_string());
    let yaml: Vec<Value> = serde_yaml_ng::from_str(&out("yaml", &[])).unwrap();
    assert_eq!(yaml, lines);
    let table = out("table", &[]);
    assert!(
        table.lines().count() >= 5 && table.contains("owner.email") && !table.contains('\u{1b}'),
        "{table}"
    );
    let one = stdout(&run(&mut sim.hexport(&["users", "me"]), 0));
    assert!(one.lines().any(|line| line.starts_with("org.id")), "{one}");
}

#[test]
fn completions_and_man_pages_are_made() {
    for shell in ["bash", "zsh", "fish"] {
        assert!(stdout(&run(&mut hexport(&["completions", shell]), 0)).contains("deactivate"), "{shell}");
    }
    let dir = tempfile::tempdir().unwrap();
    run(&mut hexport(&["man", dir.path().to_str().unwrap()]), 0);
    let page = std::fs::read_to_string(dir.path().join("hexport-runs-start.1")).unwrap();
    assert!(page.contains("input\\-json"), "{page}");
}

#[test]
fn the_scripts_of_the_docs_start_wait_and_export() {
    let readme =
        std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/.github/docs/operations.md")).unwrap();
    let section = readme.split("## Run, wait, export").nth(1).unwrap();
    let scripts: Vec<&str> =
        section.split("```sh\n").skip(1).map(|rest| rest.split("```").next().unwrap()).collect();
    assert_eq!(scripts.len(), 2);
    let sim = quick();
    let id = published(&sim);
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("script.sh");
    let binary = std::path::Path::new(env!("CARGO_BIN_EXE_hexport"));
    let path = format!("{}:{}", binary.parent().unwrap().display(), std::env::var("PATH").unwrap());
    let like = sim.hexport(&[]);
    // The last one twice: a job that is retried starts its run once.
    for script in [scripts[0], scripts[1], scripts[1]] {
        std::fs::write(&file, script).unwrap();
        let mut command = std::process::Command::new("bash");
        command
            .arg(&file)
            .arg(&id)
            .current_dir(dir.path())
            .envs(like.get_envs().filter_map(|(k, v)| Some((k, v?))))
            .env("HEXPORT_STATE_DIR", dir.path().join("state"))
            .env("PATH", &path);
        run(&mut command, 0);
    }
    let started = sim.server.requests().iter().filter(|r| r.method == "POST" && r.status == 201).count();
    assert_eq!(started, 2, "one of each script");
    let history = std::fs::read_to_string(dir.path().join("history.csv")).unwrap();
    let mut lines = history.lines();
    assert_eq!(lines.next(), Some("runId,status,startTime,endTime,elapsedTime"));
    assert!(lines.next().unwrap().contains(",COMPLETED,"), "{history}");
}
