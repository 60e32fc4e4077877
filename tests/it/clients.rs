//! Clients of Hex that others wrote, unchanged, from PyPI, against the simulator.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use hexport::sim::{SimConfig, SimToken, World, WorldConfig};
use serde_json::{Value, json};

use crate::support::*;

/// Runs the script of an environment's own name; see [`client_script`].
pub fn client(name: &str, asked: &Value) -> Option<Value> {
    client_script(name, name, asked)
}

/// Runs a script of tests/clients in an environment; nothing, where heavy ones are left out.
pub fn client_script(name: &str, script: &str, asked: &Value) -> Option<Value> {
    client_with(name, script, asked, &[])
}

/// The same, with more in the script's environment.
pub fn client_with(name: &str, script: &str, asked: &Value, more: &[(&str, &str)]) -> Option<Value> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let python = root.join(".venv/clients").join(name).join("bin/python");
    if !python.exists()
        && !["light", "mcp"].contains(&name)
        && std::env::var_os("HEXPORT_SKIP_HEAVY").is_some()
    {
        eprintln!("SKIPPED: {name}, since HEXPORT_SKIP_HEAVY is set");
        return None;
    }
    assert!(python.exists(), "the tests need {}: run tests/run, which makes it", python.display());
    let mut child = Command::new(python)
        .arg(root.join("tests/clients").join(format!("{script}.py")))
        .env("DATAHUB_TELEMETRY_ENABLED", "false")
        .env("DAGSTER_DISABLE_TELEMETRY", "yes")
        .envs(more.iter().copied())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(asked.to_string().as_bytes()).unwrap();
    let out = child.wait_with_output().unwrap();
    assert!(out.status.success(), "{script}: {}", String::from_utf8_lossy(&out.stderr));
    let text = String::from_utf8(out.stdout).unwrap();
    Some(serde_json::from_str(text.lines().last().unwrap()).unwrap())
}

/// A workspace whose runs take a fraction of a second.
fn workspace(world: WorldConfig) -> (Sim, Value) {
    let token = SimToken { secret: Some(SECRET.into()), ..SimToken::default() };
    let sim = Sim::start(SimConfig { world, token, clock_scale: 60.0, ..SimConfig::default() });
    let asked = {
        let world = sim.server.world();
        let published = |wanted: bool| {
            let fits = |r: &&hexport::sim::ProjectRecord| r.project.last_published_at.is_some() == wanted;
            world
                .projects
                .iter()
                .filter(fits)
                .max_by_key(|r| world.runs(r).len())
                .unwrap()
                .project
                .id
                .to_string()
        };
        json!({
            "url": sim.server.url(),
            "token": SECRET,
            "published": published(true),
            "unpublished": published(false),
            "semantic": world.semantic_projects[0].id,
        })
    };
    (sim, asked)
}

fn title(sim: &Sim, asked: &Value) -> String {
    let world = sim.server.world();
    world.projects[world.find_project(asked["published"].as_str().unwrap()).unwrap()].project.title.clone()
}

#[test]
fn hex_toolkit_hex_api_and_airflows_hook_work() {
    let (sim, asked) = workspace(world_of(20));
    let seen = client("light", &asked).unwrap();
    let all: BTreeSet<String> =
        sim.server.world().projects.iter().map(|r| r.project.id.to_string()).collect();
    let listed = |client: &str| -> BTreeSet<String> {
        serde_json::from_value(seen[client]["projects"].clone()).unwrap()
    };
    let toolkit = &seen["hex_toolkit"];
    assert_eq!((listed("hex_toolkit"), listed("hex_api")), (all.clone(), all));
    assert_eq!(toolkit["title"], title(&sim, &asked).as_str());
    assert!(["PENDING", "RUNNING"].contains(&toolkit["status"].as_str().unwrap()), "{toolkit}");
    assert_eq!((toolkit["killed"].as_str(), toolkit["runs"].as_u64()), (Some("KILLED"), Some(2)));
    assert!(toolkit["url"].as_str().unwrap().contains("/embed/"));
    let refused: BTreeMap<String, String> = serde_json::from_value(toolkit["refused"].clone()).unwrap();
    assert_eq!(
        refused.keys().collect::<Vec<_>>(),
        ["inputs", "token", "unknown", "unpublished"],
        "{refused:?}"
    );
    let api = &seen["hex_api"];
    assert_eq!((api["dry"].as_bool(), api["status"].as_str()), (Some(true), Some("KILLED")));
    assert!(api["cancelled"].is_null() && api["refused"].is_string() && api["runs"] == 3, "{api}");
    let hook = &seen["airflow"];
    assert_eq!((hook["done"].as_str(), hook["status"].as_str()), (Some("COMPLETED"), Some("KILLED")));
    assert!(hook["cancelled"] == true && hook["failed"].as_str().unwrap().contains("ERRORED"), "{hook}");
}

#[test]
fn dagsters_resource_works_but_for_its_own_loop_at_a_cancellation() {
    let (sim, asked) = workspace(world_of(20));
    let Some(seen) = client("dagster", &asked) else { return };
    assert_eq!(seen["title"], title(&sim, &asked).as_str());
    assert_eq!((seen["done"].as_str(), seen["status"].as_str()), (Some("COMPLETED"), Some("KILLED")));
    assert!(seen["failed"].as_str().unwrap().contains("ERRORED"), "{seen}");
    assert!(seen["refused"].as_str().unwrap().ends_with("401 status from Hex: Unauthorized"), "{seen}");
    // It sends the cancellation again and again until an answer is JSON; a 204 has no content.
    assert!(seen["cancelled"].as_str().unwrap().contains("422"), "{seen}");
    let deletes = sim.server.requests().iter().filter(|r| r.method == "DELETE").count();
    assert_eq!(deletes, 2);
}

/// Components that a listed project's draft imports.
fn imports(world: &World) -> BTreeMap<String, BTreeSet<String>> {
    let listed = |id: &str| {
        let p = &world.projects[world.find_project(id).unwrap()].project;
        p.archived_at.is_none() && p.trashed_at.is_none()
    };
    let mut all = BTreeMap::new();
    for record in world.projects.iter().filter(|r| listed(&r.project.id) && r.project.kind == "PROJECT") {
        let imported = world.cells(record).into_iter().filter_map(|(_, truth)| Some(truth.component?.0));
        all.insert(record.project.id.to_string(), imported.filter(|id| listed(id)).collect());
    }
    all
}

#[test]
fn datahubs_source_ingests_the_workspace_with_the_lineage_of_components() {
    // DataHub keeps to 57 requests a minute: a small workspace is read without a pause.
    let (sim, mut asked) = workspace(WorldConfig { seed: 5, ..world_of(14) });
    let dir = tempfile::tempdir().unwrap();
    asked["file"] = json!(dir.path().join("events.json"));
    let Some(seen) = client("datahub", &asked) else { return };
    assert_eq!((&seen["failures"], &seen["warnings"]), (&json!([]), &json!([])));
    let truth = imports(&sim.server.world());
    let id = |urn: &str| urn.rsplit_once(',').unwrap().1.trim_end_matches(')').to_owned();
    let dashboards = seen["dashboards"].as_object().unwrap();
    let found: BTreeMap<String, BTreeSet<String>> = dashboards
        .iter()
        .map(|(urn, info)| {
            let charts = info["charts"].as_array().unwrap().iter().map(|c| id(c.as_str().unwrap()));
            (id(urn), charts.collect())
        })
        .collect();
    assert_eq!(found, truth);
    assert!(truth.values().any(|imported| !imported.is_empty()), "some project imports a component");
    let datasets: usize = dashboards.values().map(|info| info["datasets"].as_array().unwrap().len()).sum();
    assert!(datasets > 10, "{datasets}");
}
