//! What is written, read back by engines that aren't ours: DuckDB, PyArrow, polars, pandas, delta-rs.

use std::path::Path;

use serde_json::json;

use crate::clients::client;
use crate::support::*;

/// Texts that engines have stumbled over.
fn awkward(sim: &Sim) {
    let mut world = sim.server.world_mut();
    let megabyte = "Zeilenumbruch\n\"quoted\", 絵文字 🦀 \u{202e}rtl\u{0} ".repeat(25_000);
    world.projects[0].project.description = Some(megabyte);
    world.projects[1].project.description = None;
    world.projects[2].project.title = "'; DROP TABLE projects; -- \t\u{1F468}\u{200D}\u{1F469}".into();
    world.projects[3].project.categories.clear();
}

fn compared(lake: &Path, before: &str, after: &str, version: u64) -> u64 {
    let folder = |id: &str| lake.join(format!("snapshot={id}"));
    let asked = json!({"snapshot": folder(after), "before": folder(before), "delta": lake.join("delta"), "version": version});
    let said = script("readback.py", &asked.to_string());
    assert_eq!(said["differences"], json!([]));
    said["compared"].as_u64().unwrap()
}

#[test]
fn every_engine_reads_the_same_values_at_the_latest_and_at_an_earlier_version() {
    for mode in ["history", "current"] {
        let dir = tempfile::tempdir().unwrap();
        let sim = Sim::of_projects(25);
        awkward(&sim);
        let export = |night: &str| {
            let more = ["--format", "delta", "--delta-mode", mode, "--fixed-time", night];
            sim.export(dir.path(), &more, 0);
        };
        export("2026-11-02T06:00:00Z");
        sim.server.world_mut().projects[4].project.title = "Renamed".into();
        export("2026-11-03T06:00:00Z");
        let compared = compared(dir.path(), "2026-11-02T060000Z", "2026-11-03T060000Z", 0);
        assert!(compared > 50_000, "{compared}");
    }
}

#[test]
fn a_snapshot_makes_one_version_and_what_was_missed_is_made_up_for() {
    let dir = tempfile::tempdir().unwrap();
    let sim = Sim::of_projects(8);
    let night = |n: u32, format: &str| {
        sim.export(
            dir.path(),
            &["--format", format, "--fixed-time", &format!("2026-11-{n:02}T06:00:00Z")],
            0,
        );
    };
    let versions = |table: &str| {
        let log = std::fs::read_dir(dir.path().join("delta").join(table).join("_delta_log")).unwrap();
        log.filter(|entry| entry.as_ref().unwrap().path().extension().is_some_and(|e| e == "json")).count()
    };
    night(1, "delta");
    assert_eq!(versions("runs"), 1);
    // A night without Delta, as if the export had been killed between its commit and the tables.
    night(2, "parquet");
    night(3, "parquet");
    night(4, "delta");
    assert_eq!(versions("runs"), 4, "nights 2 and 3 were made up for");
    // Enough for a checkpoint, from which readers go on.
    for n in 5..=12 {
        night(n, "delta");
    }
    assert!(dir.path().join("delta/runs/_delta_log/_last_checkpoint").exists());
    compared(dir.path(), "2026-11-11T060000Z", "2026-11-12T060000Z", 10);
    // The other mode would be another table. The snapshot is committed all the same.
    let lake = dir.path().to_str().unwrap();
    let more = ["--format", "delta", "--delta-mode", "current", "--fixed-time", "2026-11-13T06:00:00Z"];
    let out = run(&mut sim.hexport(&[&["export", lake], &more[..]].concat()), 4);
    assert!(stdout(&out).contains("--delta-mode history"), "{}", stdout(&out));
}

#[test]
fn definitions_for_engines_are_sql_that_they_read() {
    let dir = tempfile::tempdir().unwrap();
    let sim = Sim::of_projects(5);
    sim.export(dir.path(), &["--fixed-time", "2026-11-02T06:00:00Z"], 0);
    let ddl = |engine: &str, location: &str| {
        let args = ["schema", "--format", &format!("ddl-{engine}"), "--location", location];
        stdout(&run(&mut hexport(&args), 0))
    };
    let all: serde_json::Map<String, serde_json::Value> =
        ["athena", "bigquery", "clickhouse", "databricks", "duckdb", "snowflake", "trino"]
            .into_iter()
            .map(|engine| (engine.to_owned(), json!(ddl(engine, "s3://lake/it's hex"))))
            .collect();
    let statements = script("ddl.py", &json!(all).to_string());
    for (engine, count) in statements.as_object().unwrap() {
        let each = if engine == "duckdb" { 2 } else { 1 };
        let tables = hexport::registry::all().filter(|table| !hexport::registry::is_of_history(table));
        assert_eq!(*count, tables.count() * each, "{engine}");
    }
    // In real DuckDB, over the real files.
    std::fs::write(dir.path().join("ddl.sql"), ddl("duckdb", dir.path().to_str().unwrap())).unwrap();
    let asked = json!({"folder": dir.path(), "views": "ddl.sql", "sql": ["SELECT count(*), min(snapshot) FROM projects"]});
    let rows = script("duck.py", &asked.to_string());
    assert_eq!(rows[0][0][0], 5);
    // In real ClickHouse.
    let asked = json!({"sql": ddl("clickhouse", dir.path().to_str().unwrap())});
    let Some(said) = client("clickhouse", &asked) else { return };
    for (table, rows) in rows_of_tables(dir.path()) {
        assert_eq!(said[&table], json!([rows, "2026-11-02T060000Z"]), "{table}");
    }
}

#[test]
fn a_first_version_that_a_crash_cut_short_is_taken_over() {
    let dir = tempfile::tempdir().unwrap();
    let sim = Sim::of_projects(2);
    let night = |n: u32| {
        let at = format!("2026-11-{n:02}T06:00:00Z");
        sim.export(dir.path(), &["--tables", "users,groups", "--format", "delta", "--fixed-time", &at], 0);
    };
    let rows = |table: &str| {
        let asked = json!({"table": dir.path().join("delta").join(table)});
        script("delta_rows.py", &asked.to_string())["rows"].as_u64().unwrap()
    };
    night(1);
    let (users, groups) = (rows("users"), rows("groups"));
    let log = |table: &str| dir.path().join(format!("delta/{table}/_delta_log"));
    let first = log("users").join("00000000000000000000.json");
    let text = std::fs::read(&first).unwrap();
    std::fs::write(&first, &text[..text.len() / 2]).unwrap();
    // An upload that was killed before its name was there.
    std::fs::rename(log("groups").join("00000000000000000000.json"), log("groups").join("0.json#1")).unwrap();
    night(2);
    assert_eq!((rows("users"), rows("groups")), (users, groups));
    night(3);
    assert_eq!((rows("users"), rows("groups")), (2 * users, 2 * groups));
}

#[test]
fn a_rebuilt_snapshot_makes_delta_tables() {
    let dir = tempfile::tempdir().unwrap();
    let sim = Sim::of_projects(2);
    let more = ["--tables", "users", "--keep-journal", "--fixed-time", "2026-11-01T06:00:00Z"];
    sim.export(dir.path(), &more, 0);
    assert!(!dir.path().join("delta").exists());
    for _ in 0..2 {
        let args = ["rebuild", dir.path().to_str().unwrap(), "--tables", "users", "--format", "delta"];
        run(&mut hexport(&args), 0);
        let asked = json!({"table": dir.path().join("delta/users")});
        let rows = script("delta_rows.py", &asked.to_string())["rows"].as_u64().unwrap();
        assert_eq!(rows as usize, sim.server.world().users.len());
    }
}

#[test]
fn spark_reads_all_nights_as_the_docs_show() {
    let dir = tempfile::tempdir().unwrap();
    let sim = Sim::of_projects(12);
    for night in ["2026-11-02T06:00:00Z", "2026-11-03T06:00:00Z", "2026-11-04T06:00:00Z"] {
        sim.export(dir.path(), &["--fixed-time", night], 0);
    }
    let table = ask_one(
        dir.path(),
        "SELECT table_key FROM lineage WHERE direction = 'read' GROUP BY ALL ORDER BY count(*) DESC, 1 LIMIT 1",
    );
    let tables = ["runs", "cells", "project_sharing", "lineage", "sql_cells"];
    let asked = json!({"lake": dir.path(), "table": table, "tables": tables});
    let Some(said) = client("spark", &asked) else { return };
    let expected = ask(
        dir.path(),
        &format!(
            "SELECT project_id, min(snapshot), max(snapshot), count(DISTINCT snapshot) FROM lineage_history WHERE table_key = {} \
             AND direction = 'read' GROUP BY ALL ORDER BY ALL",
            format_args!("'{}'", table.as_str().unwrap())
        ),
    );
    assert!(!expected.is_empty());
    assert_eq!(said["rows"], json!(expected));
    for name in tables {
        let rows = ask_one(dir.path(), &format!("SELECT count(*) FROM {name}_history"));
        let nights = ["2026-11-02T060000Z", "2026-11-03T060000Z", "2026-11-04T060000Z"];
        assert_eq!(said["counts"][name], json!([rows, nights]), "{name}");
    }
}
