//! The main job, checked against the generator's truth.

use std::collections::{BTreeMap, BTreeSet};

use hexport::sim::{Plan, RequestRecord, SimConfig, SimToken, World, WorldConfig};
use serde_json::json;

use crate::support::*;

#[test]
fn the_demo_exports_exactly_what_the_generator_made() {
    let dir = tempfile::tempdir().unwrap();
    let lake = dir.path().join("lake");
    let out = run(&mut hexport(&["demo", lake.to_str().unwrap(), "--format", "csv,parquet"]), 0);
    let world = World::generate(WorldConfig::default());
    assert!(rows_of_tables(&lake)["crawl_coverage"] > 100);
    assert_eq!(rows_of_entities(&lake), true_rows(&world));

    // The export, and the import of a query history on it.
    let mut folders = Vec::new();
    for folder in snapshots(&lake) {
        let manifest: serde_json::Value =
            serde_json::from_slice(&std::fs::read(folder.join("manifest.json")).unwrap()).unwrap();
        let names: Vec<&str> = manifest["tables"].as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!(csv_differences(&folder, &names), Vec::<String>::new());
        folders.push(names.len());
    }
    assert_eq!(folders.len(), 2);
    assert_eq!(ask_one(&lake, "SELECT count(*) > 100 FROM warehouse_queries"), json!(true));
    assert_eq!(ask_one(&lake, "SELECT sum(credits) > 0 FROM project_cost"), json!(true));

    let text = stdout(&out);
    assert!(text.contains("Try next") && text.contains("queried_tables"), "{text}");
}

#[test]
fn every_value_of_a_project_arrives_as_the_api_gave_it() {
    let dir = tempfile::tempdir().unwrap();
    let sim = Sim::of_projects(60);
    sim.export(dir.path(), &[], 0);
    let world = sim.server.world();
    let sql = "SELECT project_id, title, owner_email, status, app_views_all_time, epoch_ms(created_at), epoch_ms(last_published_at), \
               extra FROM projects ORDER BY project_id";
    let found = ask(dir.path(), sql);
    let ms = |text: &str| text.parse::<chrono::DateTime<chrono::Utc>>().unwrap().timestamp_millis();
    let mut expected: Vec<_> = world
        .projects
        .iter()
        .map(|record| {
            let p = &record.project;
            let status = p.status.as_ref().map(|s| s.name.clone());
            let (created, published) = (ms(&p.created_at), p.last_published_at.as_deref().map(ms));
            let views = p.analytics.app_views.all_time;
            json!([p.id, p.title, p.owner.email, status, views, created, published, null])
        })
        .collect();
    expected.sort_by_key(|row| row[0].as_str().unwrap().to_owned());
    assert_eq!(json!(found), json!(expected));

    let runs = ask(
        dir.path(),
        "SELECT run_id, status, elapsed_time, duration_seconds, no_longer_listed FROM runs ORDER BY run_id",
    );
    let mut expected: Vec<_> = world
        .projects
        .iter()
        .flat_map(|record| world.runs(record).iter().map(move |spec| (record, spec)))
        .map(|(record, spec)| {
            let ms = spec.elapsed_ms.map(f64::from);
            json!([world.run_id(record, spec), spec.status, ms, ms.map(|ms| ms / 1000.0), false])
        })
        .collect();
    expected.sort_by_key(|row| row[0].as_str().unwrap().to_owned());
    assert_eq!(json!(runs), json!(expected));
}

#[test]
fn an_export_of_2000_projects_sends_the_least_number_of_requests() {
    let dir = tempfile::tempdir().unwrap();
    let sim = Sim::of_projects(2000);
    let summary = sim.export(dir.path(), &["--concurrency", "16"], 0);
    let least = least_requests(&sim.server.world());
    assert_eq!(sim.server.requests().len() as u64, least);
    assert_eq!(summary["requests_sent"].as_u64(), Some(least));
    assert_eq!(rows_of_entities(dir.path()), true_rows(&sim.server.world()));
}

#[test]
fn reading_uses_get_alone_but_for_the_files_of_projects() {
    let dir = tempfile::tempdir().unwrap();
    let sim = Sim::of_projects(20);
    sim.export(dir.path(), &[], 0);
    run(&mut sim.hexport(&["plan", dir.path().to_str().unwrap()]), 0);
    run(&mut sim.hexport(&["check"]), 0);
    let requests = sim.server.requests();
    assert!(requests.len() > 50);
    // The export of a project is a read by POST (hex-api.md).
    let is_read =
        |r: &RequestRecord| r.method == "GET" || (r.method == "POST" && r.target == "/projects/export");
    assert!(requests.iter().all(is_read), "{requests:?}");
}

#[test]
fn a_plan_without_queried_tables_is_learnt_once_and_told() {
    let dir = tempfile::tempdir().unwrap();
    let world = WorldConfig { plan: Plan::Team, ..world_of(60) };
    let sim = Sim::start(SimConfig { world, ..SimConfig::default() });
    let summary = sim.export(dir.path(), &[], 0);
    let asked = sim.server.requests().iter().filter(|r| r.target.contains("queriedTables")).count();
    assert_eq!(asked, 1, "the first refusal is enough");
    assert_eq!(summary["complete"], true);
    assert_eq!(summary["forbidden"].as_array().unwrap().len(), 1);
    let states = ask(
        dir.path(),
        "SELECT state, count(*) FROM crawl_coverage WHERE operation = 'GetQueriedTables' GROUP BY ALL ORDER BY ALL",
    );
    assert_eq!(
        states.iter().map(|row| row[0].as_str().unwrap()).collect::<Vec<_>>(),
        ["forbidden", "skipped"]
    );
    let reason =
        ask_one(dir.path(), "SELECT any_value(reason) FROM crawl_coverage WHERE state = 'forbidden'");
    assert!(reason.as_str().unwrap().contains("ENTERPRISE"), "{reason}");
    sim.export(dir.path(), &["--strict"], 4);
}

#[test]
fn what_a_token_may_not_see_is_told_and_the_rest_is_exported() {
    let dir = tempfile::tempdir().unwrap();
    let token = SimToken {
        forbidden: vec!["ListThreads".into(), "GetProjectRuns".into()],
        short_connections: true,
        workspace: true,
        ..SimToken::default()
    };
    let sim = Sim::start(SimConfig { world: world_of(80), token, ..SimConfig::default() });
    sim.export(dir.path(), &["--concurrency", "1"], 0);
    let asked = sim.server.requests().iter().filter(|r| r.target.contains("/runs")).count();
    assert_eq!(asked, 5, "an operation that is refused five times in a row is given up");
    let rows = rows_of_tables(dir.path());
    assert_eq!((rows["threads"], rows["runs"], rows["data_connection_sharing"]), (0, 0, 0));
    assert_eq!(rows["cells"], true_rows(&sim.server.world())["cells"]);
    let short =
        ask_one(dir.path(), "SELECT count(*) FROM data_connections WHERE name IS NOT NULL AND host IS NULL");
    assert_eq!(short.as_u64(), Some(sim.server.world().connections.len() as u64));
}

#[test]
fn chosen_tables_cost_only_their_own_requests() {
    let dir = tempfile::tempdir().unwrap();
    let sim = Sim::of_projects(60);
    let summary = sim.export(dir.path(), &["--tables", "users,group_members"], 0);
    let groups = sim.server.world().groups.len() as u64;
    assert_eq!(
        summary["requests_sent"].as_u64(),
        Some(3 + groups),
        "me, users, groups, and each group's members"
    );
    let tables: Vec<&String> = summary["tables"].as_object().unwrap().keys().collect();
    assert_eq!(tables, ["crawl_coverage", "group_members", "users"]);
}

#[test]
fn fields_that_no_column_maps_are_kept_and_named() {
    let dir = tempfile::tempdir().unwrap();
    let sim = Sim::of_projects(20);
    // A newer server says more than the description does.
    let proxy = sim.block_on(changing_answers(sim.server.url(), |target, body| {
        if target.starts_with("/api/v1/projects?") {
            for project in body["values"].as_array_mut().unwrap() {
                project["somethingNew"] = json!({"deep": ["a", "b"]});
            }
        }
    }));
    let mut command = sim.hexport(&["export", dir.path().to_str().unwrap(), "--output", "json"]);
    let out = run(command.env("HEX_API_URL", proxy), 0);
    let summary: serde_json::Value = serde_json::from_slice(&out.stdout).unwrap();
    assert_eq!(summary["schema_drift"]["projects"]["somethingNew.deep"].as_u64(), Some(20));
    let extra = ask_one(
        dir.path(),
        "SELECT count(*) FROM projects WHERE json_extract_string(extra, '$.somethingNew.deep[1]') = 'b'",
    );
    assert_eq!(extra.as_u64(), Some(20));
}

#[test]
fn a_reader_that_follows_the_pointer_finds_a_whole_snapshot() {
    let dir = tempfile::tempdir().unwrap();
    let sim = Sim::of_projects(30);
    sim.export(dir.path(), &["--format", "csv,parquet"], 0);
    let manifest = verify(dir.path()).unwrap();
    let latest = format!("snapshot={}", manifest["snapshot_id"].as_str().unwrap());
    let mut top: Vec<String> = std::fs::read_dir(dir.path())
        .unwrap()
        .map(|e| e.unwrap().file_name().into_string().unwrap())
        .collect();
    top.sort();
    assert_eq!(
        top,
        ["history.sql", "latest.json", latest.as_str(), "views.sql"],
        "no lock, journal or staging is left"
    );
    // All of it as Hive partitions, too.
    let hive = ask_one(dir.path(), "SELECT any_value(snapshot) FROM projects_history");
    assert_eq!(hive, manifest["snapshot_id"]);
}

#[test]
fn grants_identify_those_whom_they_name() {
    let dir = tempfile::tempdir().unwrap();
    let sim = Sim::of_projects(40);
    {
        // Two groups of one name, one of which a project is shared with.
        let mut world = sim.server.world_mut();
        let name = world.groups[0].name.clone();
        world.rename_group(1, &name);
    }
    let lake = dir.path().join("all");
    sim.export(&lake, &["--tables", "project_sharing,users,groups,collections", "--format", "csv"], 0);
    let world = sim.server.world();
    let mut ids: BTreeMap<(&str, String), BTreeSet<String>> = BTreeMap::new();
    let mut add = |kind, name: String, id: String| {
        ids.entry((kind, name)).or_default().insert(id);
    };
    world.users.iter().for_each(|user| add("USER", user.email.to_lowercase(), user.id.to_string()));
    world.groups.iter().for_each(|group| add("GROUP", group.name.clone(), group.id.to_string()));
    world.collections.iter().for_each(|c| add("COLLECTION", c.name.clone(), c.id.to_string()));
    drop(world);
    let rows =
        ask(&lake, "SELECT principal_type, principal, principal_id, principal_id_from FROM project_sharing");
    let mut seen: BTreeMap<String, u64> = BTreeMap::new();
    for row in &rows {
        let text = |at: usize| row[at].as_str().unwrap_or("").to_owned();
        let kind = text(0);
        let name = if kind == "USER" { text(1).to_lowercase() } else { text(1) };
        let known = ids.get(&(kind.as_str(), name.clone())).map(|ids| ids.iter().collect::<Vec<_>>());
        let expected = match known.as_deref() {
            _ if name.is_empty() => (String::new(), ""),
            Some([id]) => ((*id).clone(), "name"),
            Some(_) => (String::new(), "ambiguous"),
            None => (String::new(), "unknown"),
        };
        assert_eq!((text(2), text(3).as_str()), expected, "{row:?}");
        *seen.entry(format!("{kind} {}", text(3))).or_default() += 1;
    }
    for case in
        ["USER name", "USER unknown", "GROUP name", "GROUP ambiguous", "COLLECTION name", "WORKSPACE "]
    {
        assert!(seen.contains_key(case), "{case}: {seen:?}");
    }
    // A list that isn't read names nobody.
    let lake = dir.path().join("without");
    sim.export(&lake, &["--tables", "project_sharing,groups"], 0);
    let sql = "SELECT count(*) FROM project_sharing WHERE principal_type IN ('USER', 'COLLECTION') \
               AND (principal_id IS NOT NULL OR principal_id_from <> 'unknown')";
    assert_eq!(ask_one(&lake, sql), 0);
}
