//! Imported components: which cell imports which, and the lineage that goes through them, against the generator's
//! truth.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use hexport::sim::{Change, TableRef, World};
use serde_json::Value;

use crate::support::*;

fn texts(rows: Vec<Vec<Value>>) -> BTreeSet<Vec<String>> {
    let text = |value: Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    rows.into_iter().map(|row| row.into_iter().map(text).collect()).collect()
}

/// Project, cell, component and version of each import that the generator made.
fn true_imports(world: &World) -> BTreeSet<Vec<String>> {
    let of = |record| {
        let cells = world.cells(record).into_iter();
        cells.filter_map(|(cell, truth)| {
            let (component, version) = truth.component?;
            Some(vec![cell.project_id.into(), cell.static_id, component, version.to_string()])
        })
    };
    world.projects.iter().flat_map(of).collect()
}

/// Importer, connection, table, direction and component, where the component's own cells use the table.
fn true_uses_through(world: &World) -> BTreeSet<Vec<String>> {
    let reached = components_of(world);
    let mut used: BTreeMap<String, BTreeSet<[String; 3]>> = BTreeMap::new();
    for record in &world.projects {
        for (_, truth) in world.cells(record) {
            let connection = |at: usize| world.connections[at].id.to_string();
            let of = used.entry(record.project.id.to_string()).or_default();
            let use_of = |table: &TableRef, direction: &str| {
                [connection(table.connection), table.qualified(), direction.to_owned()]
            };
            of.extend(truth.tables.iter().map(|table| use_of(table, "read")));
            of.extend(truth.writes.iter().map(|table| use_of(table, "write")));
        }
    }
    reached
        .iter()
        .flat_map(|(project, component)| {
            let of = used.get(component).into_iter().flatten();
            of.map(move |[connection, table, direction]| {
                [project, connection, table, direction, component].map(String::clone).to_vec()
            })
        })
        .collect()
}

/// Files of projects that were asked for.
fn asked(sim: &Sim) -> usize {
    sim.server.requests().iter().filter(|request| request.target == "/projects/export").count()
}

fn found_imports(lake: &Path) -> BTreeSet<Vec<String>> {
    let sql = "SELECT project_id, static_id, component_id, component_version FROM component_imports";
    texts(ask(lake, sql))
}

fn found_uses_through(lake: &Path) -> BTreeSet<Vec<String>> {
    texts(ask(
        lake,
        "SELECT project_id, data_connection_id, table_key, direction, unnest(via_component_ids) FROM lineage",
    ))
}

#[test]
fn imports_and_the_lineage_through_them_are_those_of_the_generator() {
    let dir = tempfile::tempdir().unwrap();
    let sim = Sim::of_projects(120);
    sim.export(dir.path(), &[], 0);
    let world = sim.server.world();
    assert!(true_imports(&world).len() > 30);
    assert_eq!(found_imports(dir.path()), true_imports(&world));
    let through = true_uses_through(&world);
    assert!(through.len() > 200, "{}", through.len());
    assert_eq!(found_uses_through(dir.path()), through);
    // The evidence says so, and only there; what the project reads itself says both.
    let wrong = ask_one(
        dir.path(),
        "SELECT count(*) FROM lineage WHERE list_contains(evidence, 'component') != (via_component_ids IS NOT NULL)",
    );
    assert_eq!(wrong, 0);
    let both = "SELECT count(*) FROM lineage WHERE list_contains(evidence, 'component') AND list_contains(evidence, 'sql')";
    assert!(ask_one(dir.path(), both).as_u64().unwrap() > 0);
    // One request for each project that imports, and none for the others.
    let importers: BTreeSet<String> = true_imports(&world).into_iter().map(|row| row[0].clone()).collect();
    assert_eq!(asked(&sim), importers.len());
}

#[test]
fn the_projects_that_import_a_component_are_among_those_that_its_tables_touch() {
    let dir = tempfile::tempdir().unwrap();
    let sim = Sim::of_projects(120);
    sim.export(dir.path(), &[], 0);
    let lake = dir.path().to_str().unwrap();
    let world = sim.server.world();
    let own: BTreeSet<(String, String)> = world
        .projects
        .iter()
        .flat_map(|record| {
            let cells = world.cells(record).into_iter();
            let tables = cells.flat_map(|(_, truth)| truth.tables);
            tables.map(|table| (record.project.id.to_string(), table.qualified())).collect::<Vec<_>>()
        })
        .collect();
    let uses = true_uses_through(&world);
    let only_through =
        |row: &&Vec<String>| row[3] == "read" && !own.contains(&(row[0].clone(), row[2].clone()));
    let row = uses.iter().find(only_through).expect("a table that a project uses through a component alone");
    let (importer, table, component) = (&row[0], &row[2], &row[4]);
    let title = |id: &str| {
        let record = world.projects.iter().find(|record| record.project.id == id).unwrap();
        record.project.title.split_whitespace().collect::<Vec<_>>().join(" ")
    };

    let out = run(&mut hexport(&["lineage", lake, "--table", table, "--output", "json"]), 0);
    let edges: Vec<Value> = serde_json::from_slice(&out.stdout).unwrap();
    let edge = edges.iter().find(|edge| edge["project_id"] == **importer).expect("the importer");
    let via: Vec<&str> =
        edge["via_components"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
    assert!(via.iter().any(|name| name.split_whitespace().eq(title(component).split(' '))), "{via:?}");
    assert!(!edge["columns"].as_array().unwrap().is_empty(), "those that the component's cells read: {edge}");
    let tree = stdout(&run(&mut hexport(&["lineage", lake, "--table", table]), 0));
    assert!(tree.contains("through ") && tree.contains(&title(component)), "{tree}");

    let out = run(&mut hexport(&["impact", lake, "--table", table, "--output", "json"]), 0);
    let impact: Value = serde_json::from_slice(&out.stdout).unwrap();
    let hits = impact["hits"].as_array().unwrap();
    let hit = hits.iter().find(|hit| hit["project_id"] == **importer).expect("the importer");
    assert!(hit["via_components"].as_array().unwrap().iter().any(|name| *name == title(component)), "{hit}");
    assert!(!hit["cells"].as_array().unwrap().is_empty(), "the component's cells: {hit}");
    let text = stdout(&run(&mut hexport(&["impact", lake, "--table", table]), 0));
    assert!(text.contains("through"), "{text}");
}

#[test]
fn imports_are_reused_with_the_cells_and_asked_for_again_after_an_edit() {
    let dir = tempfile::tempdir().unwrap();
    let sim = Sim::of_projects(60);
    sim.export(dir.path(), &["--fixed-time", "2026-11-02T06:00:00Z"], 0);
    let first = asked(&sim);
    sim.export(dir.path(), &["--fixed-time", "2026-11-03T06:00:00Z"], 0);
    assert_eq!(asked(&sim), first, "nothing was edited");
    let is_importer = |world: &World, at: usize| {
        world.cells(&world.projects[at]).iter().any(|(cell, _)| cell.cell_type == "COMPONENT_IMPORT")
    };
    let edited = {
        let mut world = sim.server.world_mut();
        let at = (0..60).find(|at| is_importer(&world, *at)).unwrap();
        world.change(Change::Edit, at, "2026-11-03T12:00:00Z".parse().unwrap()).unwrap();
        is_importer(&world, at)
    };
    sim.export(dir.path(), &["--fixed-time", "2026-11-04T06:00:00Z"], 0);
    assert_eq!(asked(&sim) - first, usize::from(edited), "the edited one, if it still imports");
    assert_eq!(found_imports(dir.path()), true_imports(&sim.server.world()));
    assert_eq!(found_uses_through(dir.path()), true_uses_through(&sim.server.world()));
}

#[test]
fn a_workspace_without_the_export_lacks_the_table_and_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let sim = Sim::of_projects(60);
    // Hex enables the operation on request: to others it is refused for each project alike.
    sim.server.refuse(["ExportProject=403".parse().unwrap()]);
    sim.export(dir.path(), &[], 0);
    // Five refusals tell, and those under way beside them.
    assert!(asked(&sim) <= 5 + 8, "{}", asked(&sim));
    let manifest = verify(dir.path()).unwrap();
    assert_eq!(manifest["tables"]["component_imports"]["state"], "unreadable");
    assert_eq!(manifest["tables"]["lineage"]["state"], "read");
    assert_eq!(ask_one(dir.path(), "SELECT count(*) FROM component_imports"), 0);
}

#[test]
fn a_file_that_cannot_be_read_is_a_gap_that_keeps_what_was_known() {
    let dir = tempfile::tempdir().unwrap();
    let sim = Sim::of_projects(60);
    sim.export(dir.path(), &[], 0);
    let known = found_imports(dir.path());
    let proxy = sim.block_on(changing_answers(sim.server.url(), |target, body| {
        if target.starts_with("/api/v1/projects/export") {
            body["content"] = "cells: {".into();
        }
    }));
    let lake = dir.path().to_str().unwrap();
    let mut command = sim.hexport(&["export", lake, "--full"]);
    run(command.env("HEX_API_URL", proxy), 4);
    let manifest = verify(dir.path()).unwrap();
    assert_eq!(manifest["tables"]["component_imports"]["state"], "stale");
    assert_eq!(found_imports(dir.path()), known);
    let reason = ask_one(
        dir.path(),
        "SELECT any_value(reason) FROM crawl_coverage WHERE operation = 'ExportProject' AND state = 'failed' \
         AND reason LIKE '%YAML%'",
    );
    assert!(reason.as_str().is_some_and(|reason| reason.contains("not YAML")), "{reason}");
}
