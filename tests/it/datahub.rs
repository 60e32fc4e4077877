//! DataHub's own code reads what is handed to it, and names the same things.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use hexport::sim::{SimConfig, WorldConfig};
use serde_json::{Value, json};

use crate::clients::client_script;
use crate::handoff::{NIGHT, text};
use crate::support::*;

/// Writes the hand-off and has DataHub read it; nothing, where heavy environments are left out.
fn read_back(lake: &Path, args: &[&str], instance: Option<&str>) -> Option<(Value, String)> {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("mces.json");
    let mut all =
        vec!["datahub", lake.to_str().unwrap(), "-o", file.to_str().unwrap(), "--workspace-name", "acme é"];
    all.extend(args);
    let said = stderr(&run(&mut hexport(&all), 0));
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1, "no partial file stays");
    let asked = json!({"file": file, "workspace": "acme é", "instance": instance});
    let seen = client_script("datahub", "datahub_file", &asked)?;
    assert_eq!(
        (&seen["failures"], &seen["warnings"], &seen["invalid"]),
        (&json!([]), &json!([]), &json!([]))
    );
    assert_eq!((&seen["read"], &seen["written"]), (&seen["items"], &seen["items"]));
    Some((seen, said))
}

fn aspects(seen: &Value) -> BTreeMap<String, Value> {
    serde_json::from_value(seen["aspects"].clone()).unwrap()
}

fn id(urn: &str) -> String {
    urn.rsplit_once(',').unwrap().1.trim_end_matches(')').to_owned()
}

fn urns(edges: &Value) -> BTreeSet<String> {
    edges.as_array().into_iter().flatten().map(|e| text(&e["destinationUrn"])).collect()
}

#[test]
fn datahub_reads_dashboards_charts_and_edges_as_many_as_the_lake_has() {
    let dir = tempfile::tempdir().unwrap();
    let sim = Sim::of_projects(80);
    {
        let mut world = sim.server.world_mut();
        world.projects[0].project.title = "Odd \"title\", (with) é 📈".into();
        world.projects[0].project.description = Some("a\nb\u{7}".into());
    }
    sim.export(dir.path(), &NIGHT, 0);
    let Some((seen, said)) = read_back(dir.path(), &[], None) else { return };
    let aspects = aspects(&seen);
    let live = "archived_at IS NULL AND trashed_at IS NULL";
    let projects = ask(
        dir.path(),
        &format!(
            "SELECT project_id, title, coalesce(description, ''), owner_email, creator_email, status,
                    app_views_all_time, app_views_last_7_days, last_published_at IS NOT NULL
             FROM projects WHERE type = 'PROJECT' AND {live}"
        ),
    );
    let dashboards = aspects.iter().filter(|(_, of)| of["dashboardInfo"].is_object()).count();
    assert_eq!(dashboards, projects.len());
    let edges = ask(
        dir.path(),
        &format!(
            "SELECT project_id, lower(concat_ws('.', database_name, schema_name, table_name)), connection_type
             FROM lineage JOIN projects USING (project_id) WHERE direction = 'read' AND parsed AND {live}"
        ),
    );
    let mut counted = 0;
    for row in &projects {
        let of = &aspects[&format!("urn:li:dashboard:(hex,{})", text(&row[0]))];
        let info = &of["dashboardInfo"];
        assert_eq!((text(&info["title"]), text(&info["description"])), (text(&row[1]), text(&row[2])));
        let kind = if row[8] == true { "app" } else { "hex" };
        assert!(text(&info["externalUrl"]).ends_with(&format!("/{kind}/{}", text(&row[0]))), "{info}");
        let found: BTreeSet<String> = urns(&info["datasetEdges"])
            .iter()
            .map(|urn| {
                let parts: Vec<&str> = urn.split(',').collect();
                assert!(
                    parts[0].starts_with("urn:li:dataset:(urn:li:dataPlatform:") && parts[2] == "PROD)",
                    "{urn}"
                );
                if !urn.contains("bigquery") {
                    assert_eq!(parts[1], parts[1].to_lowercase());
                }
                parts[1].to_lowercase()
            })
            .collect();
        let expected: BTreeSet<String> = edges
            .iter()
            .filter(|edge| edge[0] == row[0])
            .map(|edge| text(&edge[1]).trim_start_matches("awsdatacatalog.").to_owned())
            .collect();
        assert_eq!(found, expected, "{info}");
        counted += found.len();
        let owners: BTreeSet<String> =
            of["ownership"]["owners"].as_array().unwrap().iter().map(|o| text(&o["owner"])).collect();
        let people: BTreeSet<String> =
            [&row[3], &row[4]].map(|email| format!("urn:li:corpuser:{}", text(email))).into();
        assert_eq!(owners, people);
        let tags = of["globalTags"]["tags"].to_string();
        assert_eq!(tags.contains("hex:status:"), row[5].is_string(), "{tags}");
        let is_viewed = |views: &Value| views.as_u64().unwrap_or(0) > 0;
        assert_eq!(of["dashboardUsageStatistics"].is_object(), is_viewed(&row[6]) || is_viewed(&row[7]));
        assert_eq!(of["container"]["container"], seen["names"]["workspace"]);
    }
    assert!(counted > 80, "{counted}");
    // A chart for each cell that reads a table, with its columns; they belong to their project.
    let cells = ask(
        dir.path(),
        &format!(
            "SELECT project_id || '.' || static_id, count(DISTINCT (data_connection_id, table_key)) FROM sql_tables
             JOIN projects USING (project_id) WHERE direction = 'read' AND type = 'PROJECT' AND {live} GROUP BY ALL"
        ),
    );
    let charts: BTreeMap<String, &Value> = aspects
        .iter()
        .filter(|(_, of)| of["subTypes"]["typeNames"][0] == "SQL cell")
        .map(|(urn, of)| (id(urn), of))
        .collect();
    assert_eq!(charts.len(), cells.len());
    for row in &cells {
        let inputs = charts[&text(&row[0])]["chartInfo"]["inputs"].as_array().unwrap().len();
        assert_eq!(inputs as u64, row[1].as_u64().unwrap(), "{row:?}");
    }
    let of_dashboards: BTreeSet<String> =
        aspects.values().flat_map(|of| urns(&of["dashboardInfo"]["chartEdges"])).collect();
    assert_eq!(
        of_dashboards.iter().map(|urn| id(urn)).collect::<BTreeSet<_>>(),
        charts.keys().cloned().collect()
    );
    let columns = ask_one(
        dir.path(),
        &format!(
            "SELECT count(*) FROM column_lineage JOIN projects USING (project_id)
             WHERE column_name <> '*' AND type = 'PROJECT' AND {live}"
        ),
    );
    let fields: usize = aspects
        .iter()
        .filter(|(urn, _)| urn.contains(":dashboard:"))
        .map(|(_, of)| of["inputFields"]["fields"].as_array().map_or(0, Vec::len))
        .sum();
    assert_eq!(fields as u64, columns.as_u64().unwrap());
    let refreshed = ask(
        dir.path(),
        "SELECT project_id, epoch_ms(max(start_time)) FROM runs WHERE status = 'COMPLETED' GROUP BY 1",
    );
    let mut some = 0;
    for row in refreshed {
        let Some(of) = aspects.get(&format!("urn:li:dashboard:(hex,{})", text(&row[0]))) else { continue };
        assert_eq!(of["dashboardInfo"]["lastRefreshed"], row[1]);
        some += 1;
    }
    assert!(some > 5);
    assert!(said.contains(&format!("{dashboards} dashboards")), "{said}");
}

#[test]
fn names_are_those_of_datahubs_own_hex_source() {
    let token = hexport::sim::SimToken { secret: Some(SECRET.into()), ..Default::default() };
    let world = WorldConfig { seed: 5, ..world_of(14) };
    let sim = Sim::start(SimConfig { world, token, ..SimConfig::default() });
    let dir = tempfile::tempdir().unwrap();
    sim.export(dir.path(), &[], 0);
    let events = dir.path().join("events.json");
    let asked = json!({"url": sim.server.url(), "token": SECRET, "file": events});
    let Some(own) = client_script("datahub", "datahub", &asked) else { return };
    let (seen, _) = read_back(dir.path(), &[], None).unwrap();
    let aspects = aspects(&seen);
    assert!(aspects.contains_key(seen["names"]["workspace"].as_str().unwrap()));
    let own_items: Vec<Value> = serde_json::from_slice(&std::fs::read(&events).unwrap()).unwrap();
    let of_kind = |kind: &str| -> BTreeSet<String> {
        own_items.iter().filter(|i| i["entityType"] == kind).map(|i| text(&i["entityUrn"])).collect()
    };
    let ours = |is_it: &dyn Fn(&str, &Value) -> bool| -> BTreeSet<String> {
        aspects.iter().filter(|(urn, of)| is_it(urn, of)).map(|(urn, _)| urn.clone()).collect()
    };
    assert_eq!(ours(&|urn, _| urn.contains(":dashboard:")), of_kind("dashboard"));
    assert_eq!(ours(&|_, of| of["subTypes"]["typeNames"][0] == "Component"), of_kind("chart"));
    assert_eq!(ours(&|urn, _| urn.contains(":tag:")), of_kind("tag"));
    // Its tables are among ours, by the same names: ours rest on the cells' SQL as well.
    let mut tables = 0;
    for (urn, info) in own["dashboards"].as_object().unwrap() {
        let theirs: BTreeSet<String> = info["datasets"]
            .as_array()
            .unwrap()
            .iter()
            .map(text)
            .filter(|urn| !urn.contains(":athena,"))
            .collect();
        let found = urns(&aspects[urn]["dashboardInfo"]["datasetEdges"]);
        assert!(found.is_superset(&theirs), "{urn}\n{:?}", theirs.difference(&found).collect::<Vec<_>>());
        tables += theirs.len();
    }
    assert!(tables > 10, "{tables}");
    // Owners and usage too.
    for item in own_items.iter().filter(|i| i["aspectName"] == "ownership") {
        let owners = |of: &Value| -> BTreeSet<String> {
            of["owners"].as_array().unwrap().iter().map(|o| text(&o["owner"])).collect()
        };
        let urn = text(&item["entityUrn"]);
        assert_eq!(owners(&item["aspect"]["json"]), owners(&aspects[&urn]["ownership"]));
    }
    // With an instance, and without one for the warehouse.
    let args = ["--platform-instance", "eu", "--connection", "Warehouse 1.platform_instance=wh"];
    let (seen, _) = read_back(dir.path(), &args, Some("eu")).unwrap();
    let names = &seen["names"];
    let known: Vec<String> = seen["aspects"].as_object().unwrap().keys().cloned().collect();
    for (kind, name) in [("dashboard", "(hex,eu.x)"), ("chart", "(hex,eu.x)")] {
        assert!(text(&names[kind]).ends_with(name), "{names}");
        assert!(known.iter().any(|urn| urn.starts_with(text(&names[kind]).trim_end_matches("x)"))), "{kind}");
    }
    assert!(known.contains(&text(&names["workspace"])));
    let first = known.iter().find(|urn| urn.contains(":dashboard:")).unwrap();
    assert_eq!(seen["aspects"][first]["dataPlatformInstance"]["instance"], names["instance"]);
    assert!(seen["aspects"].to_string().contains(",wh."));
}

#[test]
fn what_went_gets_a_tombstone_in_every_later_hand_off_until_it_is_back() {
    let dir = tempfile::tempdir().unwrap();
    let lake = dir.path().to_str().unwrap();
    let sim = Sim::of_projects(30);
    sim.export(dir.path(), &NIGHT, 0);
    let removed = |args: &[&str]| -> BTreeSet<String> {
        let mut all = vec!["datahub", lake];
        all.extend(args);
        let items: Vec<Value> = serde_json::from_slice(&run(&mut hexport(&all), 0).stdout).unwrap();
        let gone =
            items.iter().filter(|i| i["aspectName"] == "status" && i["aspect"]["json"]["removed"] == true);
        gone.map(|i| text(&i["entityUrn"])).collect()
    };
    let nightly = ["--since-last", "nightly"];
    assert!(removed(&nightly).is_empty());
    let row = ask(
        dir.path(),
        "SELECT project_id, count(DISTINCT static_id) FROM sql_tables JOIN projects USING (project_id)
         WHERE type = 'PROJECT' AND archived_at IS NULL AND trashed_at IS NULL AND direction = 'read'
         GROUP BY 1 ORDER BY 2 DESC LIMIT 1",
    )
    .remove(0);
    let project = text(&row[0]);
    let set = |at: Option<String>| {
        let mut world = sim.server.world_mut();
        let place = world.find_project(&project).unwrap();
        world.projects[place].project.archived_at = at;
    };
    set(Some("2026-11-02T07:00:00.000Z".into()));
    sim.export(dir.path(), &["--fixed-time", "2026-11-03T06:00:00Z"], 0);
    // Nothing is remembered without a name, and nothing under another one.
    assert!(removed(&[]).is_empty() && removed(&["--since-last", "other"]).is_empty());
    // A file that can't be written leaves what was told as it was.
    run(&mut hexport(&["datahub", lake, "-o", "/nowhere/mces.json", "--since-last", "nightly"]), 6);
    let gone = removed(&nightly);
    let is_job = |urn: &&String| urn.starts_with("urn:li:dataFlow:") || urn.starts_with("urn:li:dataJob:");
    let writes = ask_one(
        dir.path(),
        &format!("SELECT count(*) FROM lineage WHERE project_id = '{project}' AND direction = 'write'"),
    );
    // A project that writes has a job in a flow.
    assert_eq!(
        gone.iter().filter(is_job).count(),
        if writes.as_u64() == Some(0) { 0 } else { 2 },
        "{gone:?}"
    );
    let rest = gone.iter().filter(|urn| !is_job(urn)).count();
    assert_eq!(rest as u64, 1 + row[1].as_u64().unwrap(), "{gone:?}");
    assert!(gone.contains(&format!("urn:li:dashboard:(hex,{project})")));
    assert_eq!(removed(&nightly), gone, "it is told again");
    set(None);
    sim.export(dir.path(), &["--fixed-time", "2026-11-04T06:00:00Z"], 0);
    assert!(removed(&nightly).is_empty());
}

#[test]
fn what_a_project_writes_is_the_output_of_a_job() {
    let dir = tempfile::tempdir().unwrap();
    let sim = Sim::of_projects(20);
    // Every SQL cell writes; and no cell of the next night does.
    let night = |change: fn(&str, &mut Value), at: &str| {
        let proxy = sim.block_on(changing_answers(sim.server.url(), change));
        let mut command =
            sim.hexport(&["export", dir.path().to_str().unwrap(), "--full", "--fixed-time", at]);
        run(command.env("HEX_API_URL", proxy), 0);
    };
    let writing = |target: &str, body: &mut Value| {
        if target.starts_with("/api/v1/cells") {
            let cells = body["values"].as_array_mut().into_iter().flatten();
            for cell in cells.filter(|c| c["cellType"] == "SQL" && c["dataConnectionId"].is_string()) {
                cell["contents"]["sqlCell"]["source"] =
                    json!("insert into mart.daily select day from raw.orders");
            }
        }
    };
    night(writing, "2026-11-02T06:00:00Z");
    let Some((seen, said)) = read_back(dir.path(), &[], None) else { return };
    let expected = ask(
        dir.path(),
        "SELECT project_id, count(*) FROM lineage JOIN projects USING (project_id) WHERE direction = 'write' AND parsed \
         AND archived_at IS NULL AND trashed_at IS NULL GROUP BY ALL",
    );
    assert!(expected.len() > 3, "{expected:?}");
    let aspects = aspects(&seen);
    let jobs = aspects.iter().filter(|(_, of)| of["dataJobInputOutput"].is_object()).count();
    assert_eq!(jobs, expected.len());
    let mut outputs = 0;
    for row in &expected {
        let flow = format!("urn:li:dataFlow:(hex,{},PROD)", text(&row[0]));
        let job = &aspects[&format!("urn:li:dataJob:({flow},writes)")];
        let written = urns(&job["dataJobInputOutput"]["outputDatasetEdges"]);
        assert!(!written.is_empty() && written.len() as u64 <= row[1].as_u64().unwrap());
        assert!(written.iter().all(|urn| urn.to_lowercase().contains("mart.daily")), "{written:?}");
        let read = urns(&job["dataJobInputOutput"]["inputDatasetEdges"]);
        // A component is a chart.
        if let Some(dashboard) = aspects.get(&format!("urn:li:dashboard:(hex,{})", text(&row[0]))) {
            assert_eq!(read, urns(&dashboard["dashboardInfo"]["datasetEdges"]));
        }
        assert!(aspects[&flow]["dataFlowInfo"]["name"].is_string());
        outputs += written.len();
    }
    assert!(said.contains(&format!("{outputs} tables written")), "{said}");
}
