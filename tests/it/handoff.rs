//! Hand-offs, read back by the receivers' own code.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde_json::{Value, json};

use crate::clients::client;
use crate::support::*;

pub const NIGHT: [&str; 2] = ["--fixed-time", "2026-11-02T06:00:00Z"];

/// Published projects that people can open, with the tables that they read through a connection.
const READS: &str = "SELECT DISTINCT project_id, table_key FROM lineage JOIN projects USING (project_id)
    WHERE direction = 'read' AND type = 'PROJECT' AND last_published_at IS NOT NULL
      AND archived_at IS NULL AND trashed_at IS NULL AND connection_name = ";

pub fn text(value: &Value) -> String {
    value.as_str().unwrap_or("").to_owned()
}

/// A dbt project that builds each table: the first as a seed, the second as a source, the third as a source and a
/// model, the last not at all, and the others as models. Gives the table's node, by table.
fn dbt_project(folder: &Path, tables: &[String]) -> BTreeMap<String, String> {
    let write = |name: &str, text: &str| {
        let path = folder.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    };
    write(
        "dbt_project.yml",
        "name: shop\nversion: '1.0'\nprofile: shop\nconfig-version: 2\nflags: {send_anonymous_usage_stats: false}\n",
    );
    write("profiles.yml", "shop: {target: dev, outputs: {dev: {type: duckdb, path: ':memory:'}}}\n");
    write(
        "macros/names.sql",
        "{% macro generate_schema_name(name, node) -%}{{ name or target.schema }}{%- endmacro %}\n",
    );
    let mut nodes = BTreeMap::new();
    let mut sources = String::from("version: 2\nsources:\n");
    let mut seeds = String::from("version: 2\nseeds:\n");
    let last = tables.len() - 1;
    for (i, table) in tables.iter().enumerate() {
        let [database, schema, name] = table.split('.').collect::<Vec<_>>()[..] else { panic!("{table}") };
        let place = format!("database: {database}, schema: {schema}, alias: {name}");
        let node = format!("t{i}_{name}");
        if i == 1 || i == 2 {
            sources += &format!(
                "  - {{name: src{i}, database: {database}, schema: {schema}, tables: [{{name: {name}}}]}}\n"
            );
        }
        let id = match i {
            0 => {
                write(&format!("seeds/{node}.csv"), "a\n1\n");
                seeds += &format!("  - {{name: {node}, config: {{{place}}}}}\n");
                format!("seed.shop.{node}")
            }
            1 => format!("source.shop.src1.{name}"),
            _ if i == last => continue,
            _ => {
                let config = format!("database='{database}', schema='{schema}', alias='{name}'");
                write(&format!("models/{node}.sql"), &format!("{{{{ config({config}) }}}} select 1 as a\n"));
                format!("model.shop.{node}")
            }
        };
        nodes.insert(table.clone(), id);
    }
    write("models/sources.yml", &sources);
    write("seeds/seeds.yml", &seeds);
    nodes
}

#[test]
fn dbt_parses_exposures_whose_nodes_and_edges_are_those_of_the_lake() {
    let dir = tempfile::tempdir().unwrap();
    let (lake, project) = (dir.path().join("lake"), dir.path().join("shop"));
    let sim = Sim::of_projects(240);
    let odd = {
        let mut world = sim.server.world_mut();
        let is_it = |r: &&mut hexport::sim::ProjectRecord| {
            let p = &r.project;
            p.last_published_at.is_some()
                && p.archived_at.is_none()
                && p.trashed_at.is_none()
                && p.kind == "PROJECT"
        };
        let record = world.projects.iter_mut().find(is_it).unwrap();
        record.project.title = "{{ var('x') }}: \"it's\" #1 {% if %}".into();
        record.project.description = Some("a: b\n\n- {{ doc('x') }} {# no #}\n  'q' {% raw %}".into());
        record.project.id.to_string()
    };
    sim.export(&lake, &NIGHT, 0);
    let dest = lake.to_str().unwrap();
    let connections = ask(
        &lake,
        "SELECT connection_name, count(DISTINCT table_key) n FROM lineage
         WHERE connection_type = 'postgres' GROUP BY 1 ORDER BY n DESC",
    );
    let connection = text(&connections[0][0]);
    let reads: BTreeSet<(String, String)> = ask(&lake, &format!("{READS} '{connection}'"))
        .iter()
        .map(|row| (text(&row[0]), text(&row[1])))
        .collect();
    let tables: BTreeSet<String> = reads.iter().map(|(_, table)| table.clone()).collect();
    let tables: Vec<String> = tables.into_iter().collect();
    assert!(tables.len() > 8, "{tables:?}");
    let nodes = dbt_project(&project, &tables);
    let asked = json!({"project": project});
    let Some(seen) = client("dbt", &asked) else { return };
    assert_eq!(seen["exposures"], json!({}));

    let manifest = project.join("target/manifest.json");
    let file = project.join("models/hex_exposures.yml");
    let args = ["dbt", "exposures", dest, "--manifest", manifest.to_str().unwrap()];
    // No connection of the lake is DuckDB's.
    let said = stderr(&run(&mut hexport(&args), 2));
    assert!(said.contains("adapter duckdb") && said.contains("--connection"), "{said}");
    let out = run(
        hexport(&args).args([
            "--connection",
            &connection,
            "-o",
            file.to_str().unwrap(),
            "--maturity",
            "production=low",
        ]),
        0,
    );
    let said = stderr(&out);
    assert!(said.contains(&format!("unmatched: {} ({connection})", tables.last().unwrap())), "{said}");
    assert!(!said.contains("ambiguous"), "a model goes before the source of the same table: {said}");
    let seen = client("dbt", &asked).unwrap();
    assert_eq!(seen["warnings"], json!([]));

    let projects = ask(
        &lake,
        "SELECT project_id, title, status, owner_email, users.name, description FROM projects
         LEFT JOIN users ON lower(email) = lower(owner_email)
         WHERE type = 'PROJECT' AND last_published_at IS NOT NULL AND archived_at IS NULL AND trashed_at IS NULL",
    );
    let exposures = seen["exposures"].as_object().unwrap();
    assert_eq!(exposures.len(), projects.len());
    let mut edges = 0;
    for row in &projects {
        let id = text(&row[0]);
        let title = text(&row[1]).split_whitespace().collect::<Vec<_>>().join(" ");
        let exposure = &exposures[&title];
        let expected: BTreeSet<&String> = reads
            .iter()
            .filter(|(project, _)| *project == id)
            .filter_map(|(_, table)| nodes.get(table))
            .collect();
        edges += expected.len();
        assert_eq!(exposure["nodes"], json!(expected), "{title}");
        assert!(text(&exposure["name"]).ends_with(&id[..8]), "{exposure}");
        assert!(text(&exposure["url"]).ends_with(&format!("/app/{id}")), "{exposure}");
        assert_eq!(exposure["owner"]["email"], row[3]);
        assert_eq!(exposure["owner"]["name"], row[4], "{title}");
        assert_eq!(text(&exposure["description"]), text(&row[5]).trim());
        let maturity = match row[2].as_str() {
            Some("Approved") => json!("high"),
            Some("In development" | "Needs review") => json!("medium"),
            Some("Production" | "Exploratory" | "Deprecated") => json!("low"),
            _ => Value::Null,
        };
        assert_eq!(exposure["maturity"], maturity, "{row:?}");
    }
    assert!(edges > 10, "{edges}");
    assert!(said.contains(&format!("{} exposures with {edges} dependencies", projects.len())), "{said}");
    assert!(projects.iter().any(|row| row[0] == odd.as_str()));
    // The same lake gives the same file.
    let again = run(hexport(&args).args(["--connection", &connection, "--maturity", "Production=low"]), 0);
    assert_eq!(stdout(&again), std::fs::read_to_string(&file).unwrap());
    let some = run(hexport(&args).args(["--connection", &connection, "--dependent"]), 0);
    let reading: BTreeSet<&String> =
        reads.iter().filter(|(_, table)| nodes.contains_key(table)).map(|(project, _)| project).collect();
    assert_eq!(stdout(&some).matches("\n- name: ").count(), reading.len());
}

/// A manifest of one model, in Snowflake.
pub fn snowflake_manifest(relations: &[(&str, &str)]) -> Value {
    let nodes: serde_json::Map<String, Value> = relations
        .iter()
        .map(|(name, relation)| {
            let node = json!({
                "resource_type": "model", "name": name, "package_name": "shop", "relation_name": relation,
                "checksum": {"name": "sha256", "checksum": format!("of {name}")}, "columns": {},
            });
            (format!("model.shop.{name}"), node)
        })
        .collect();
    json!({
        "metadata": {
            "dbt_schema_version": "https://schemas.getdbt.com/dbt/manifest/v12.json",
            "adapter_type": "snowflake",
            "project_name": "shop",
        },
        "nodes": nodes,
        "sources": {},
    })
}

#[test]
fn a_table_of_two_warehouses_is_ambiguous_until_one_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let lake = dir.path().join("lake");
    let sim = Sim::of_projects(60);
    {
        // Another account, with the same database: its tables have the same names.
        let mut world = sim.server.world_mut();
        let snowflakes = world.connections.iter_mut().filter(|c| c.kind == "snowflake");
        let last = snowflakes.last().unwrap();
        let text = serde_json::to_string(&last).unwrap().replace("acme-eu", "acme-us");
        *last = serde_json::from_str(&text).unwrap();
    }
    sim.export(&lake, &NIGHT, 0);
    let rows = ask(
        &lake,
        "SELECT table_key, connection_name, count(*) FROM lineage JOIN projects USING (project_id)
         WHERE connection_type = 'snowflake' AND type = 'PROJECT' AND last_published_at IS NOT NULL
           AND archived_at IS NULL AND trashed_at IS NULL AND database_name IS NOT NULL
         GROUP BY ALL ORDER BY 1",
    );
    let (table, connection) = (text(&rows[0][0]), text(&rows[0][1]));
    let manifest = dir.path().join("manifest.json");
    // As dbt writes it for Snowflake: without quotes, in lower case here.
    std::fs::write(&manifest, snowflake_manifest(&[("orders", &table.to_lowercase())]).to_string()).unwrap();
    let args = ["dbt", "exposures", lake.to_str().unwrap(), "--manifest", manifest.to_str().unwrap()];
    let out = run(&mut hexport(&args), 0);
    assert_eq!(stdout(&out).matches("ref('orders')").count() as u64, rows[0][2].as_u64().unwrap());
    let out = run(hexport(&args).args(["--connection", &connection.to_uppercase()]), 0);
    assert!(stdout(&out).contains("- ref('orders')"), "{}", stdout(&out));
    let said = stderr(&run(hexport(&args).args(["--connection", "Nowhere"]), 2));
    assert!(said.contains("no connection 'Nowhere'") && said.contains(&connection), "{said}");
}

#[test]
fn files_that_are_no_manifest_are_refused_with_what_is_wrong() {
    let dir = tempfile::tempdir().unwrap();
    let lake = dir.path().join("lake");
    let sim = Sim::of_projects(3);
    sim.export(&lake, &NIGHT, 0);
    let good = snowflake_manifest(&[("orders", "a.b.c")]);
    let with = |path: &str, value: Value| {
        let mut changed = good.clone();
        *changed.pointer_mut(path).unwrap() = value;
        changed.to_string()
    };
    let schema = "/metadata/dbt_schema_version";
    let cases = [
        (None, "can't read"),
        (Some("not JSON".to_owned()), "isn't a dbt manifest.json"),
        (Some("{}".into()), "names no dbt schema"),
        (
            Some(with(schema, json!("https://schemas.getdbt.com/dbt/manifest/v3.json"))),
            "version 3; hexport reads 4 to 12",
        ),
        (
            Some(with(schema, json!("https://schemas.getdbt.com/dbt/run-results/v6.json"))),
            "not that of a manifest.json",
        ),
        (Some(with("/nodes", json!([]))), "isn't a dbt manifest.json"),
        (Some(with("/nodes/model.shop.orders/relation_name", Value::Null)), "with a relation name"),
    ];
    for (content, expected) in cases {
        let file = dir.path().join("manifest.json");
        match &content {
            Some(text) => std::fs::write(&file, text).unwrap(),
            None => assert!(!file.exists()),
        }
        let out = dir.path().join("exposures.yml");
        let (lake, file, to) = (lake.to_str().unwrap(), file.to_str().unwrap(), out.to_str().unwrap());
        let said = stderr(&run(&mut hexport(&["dbt", "exposures", lake, "--manifest", file, "-o", to]), 2));
        assert!(said.contains(expected) && said.contains("manifest.json"), "{content:?}: {said}");
        assert!(!out.exists());
        let said = stderr(&run(&mut hexport(&["impact", lake, "--manifest", file, "--against", file]), 2));
        assert!(said.contains(expected), "{said}");
    }
}
