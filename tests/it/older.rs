//! Lakes that older versions wrote: whoever updates hexport goes on with them.

use std::path::Path;

use serde_json::{Value, json};

use crate::support::*;

const NIGHTS: [&str; 2] = ["2026-11-02T06:00:00Z", "2026-11-03T06:00:00Z"];
const ID: &str = "2026-11-02T060000Z";

/// Makes a lake with a snapshot without the columns that came later.
/// Gives a table, a project and a person that it names.
fn older(sim: &Sim, lake: &Path, format: &str) -> [String; 3] {
    sim.export(lake, &["--fixed-time", NIGHTS[0], "--format", format], 0);
    let names = [("table_key", "lineage"), ("project_id", "lineage"), ("email", "users")];
    let names = names.map(|(column, table)| {
        let sql = format!("SELECT {column} FROM {table} ORDER BY 1 LIMIT 1");
        ask_one(lake, &sql).as_str().unwrap().to_owned()
    });
    script("older.py", &json!({"folder": lake}).to_string());
    verify(lake).unwrap();
    names
}

#[test]
fn every_command_reads_what_an_older_version_wrote() {
    let dir = tempfile::tempdir().unwrap();
    let sim = Sim::of_projects(12);
    for format in ["parquet", "csv"] {
        every_command(&sim, &dir.path().join(format), format);
    }
}

fn every_command(sim: &Sim, lake: &Path, format: &str) {
    let [table, project, person] = &older(sim, lake, format);
    let dir = tempfile::tempdir().unwrap();
    let page = dir.path().join("page.html");
    let (dest, page) = (lake.to_str().unwrap(), page.to_str().unwrap());
    let commands: &[&[&str]] = &[
        &["audit", dest],
        &["report", dest, "-o", page],
        &["why", dest],
        &["lineage", dest, "--table", table],
        &["lineage", dest, "--project", project],
        &["impact", dest, "--table", table],
        &["access", dest, "--project", project],
        &["access", dest, "--person", person],
        &["openlineage", dest],
        &["datahub", dest],
        &["openmetadata", dest],
        &["snapshots", "list", dest],
        &["snapshots", "show", dest],
        &["snapshots", "verify", dest],
    ];
    for args in commands {
        let done = hexport(args).output().unwrap();
        assert_eq!(done.status.code(), Some(0), "{args:?}: {}", stderr(&done));
    }
    // A table that the lake doesn't have is named beside DuckDB's own words; no reason is made up for what it has.
    for (query, why) in [
        ("SELECT no_column FROM runs", "Its message is above."),
        ("cost_by_project", "project_cost comes with a query history"),
    ] {
        let said = stderr(&run(hexport(&["query", dest, query]).env("PATH", path_with_venv()), 2));
        assert!(said.contains(why), "{said}");
    }
    let page = std::fs::read_to_string(page).unwrap();
    assert!(page.contains("it isn't known when their runs were due"));
    // What its files don't tell isn't judged.
    let found = stdout(&run(&mut hexport(&["audit", dest, "--output", "json"]), 0));
    let found: Value = serde_json::from_str(&found).unwrap();
    let notes = found["not_evaluated"].as_array().unwrap();
    let missed = notes.iter().find(|note| note["rule"] == "schedule-missed").expect("it is told");
    assert!(missed["entities"].as_u64() > Some(0), "{missed}");
}

#[test]
fn exports_and_imports_build_on_what_an_older_version_wrote() {
    let dir = tempfile::tempdir().unwrap();
    let sim = Sim::of_projects(12);
    for format in ["parquet", "csv"] {
        exports_and_imports(&sim, &dir.path().join(format), format);
    }
}

fn exports_and_imports(sim: &Sim, lake: &Path, format: &str) {
    older(sim, lake, format);
    let dir = tempfile::tempdir().unwrap();
    let fresh = dir.path().join("fresh");
    let dest = lake.to_str().unwrap();
    let history = dir.path().join("history.csv");
    let queries = sim.server.world().query_history(0);
    let form = hexport::sim::history::Form::Csv;
    std::fs::write(&history, hexport::sim::history::render("snowflake", &queries, form)).unwrap();
    let import = ["import", "query-history", dest, history.to_str().unwrap(), "--warehouse", "snowflake"];
    run(&mut hexport(&import), 0);
    run(&mut hexport(&["cost", dest]), 0);
    run(&mut hexport(&["audit", dest]), 0);
    let formats = format!("{format},delta");
    sim.export(lake, &["--fixed-time", NIGHTS[1], "--format", &formats], 0);
    run(&mut hexport(&["diff", dest]), 0);
    run(&mut hexport(&["snapshots", "verify", dest]), 0);
    // The same as one that builds on a snapshot of today's version, but for what is only known by having seen it.
    sim.export(&fresh, &["--fixed-time", NIGHTS[0]], 0);
    let import = ["import", "query-history", fresh.to_str().unwrap(), history.to_str().unwrap()];
    run(&mut hexport(&[&import[..], &["--warehouse", "snowflake"]].concat()), 0);
    sim.export(&fresh, &["--fixed-time", NIGHTS[1]], 0);
    let (old, new) = (rows_of_tables(lake), rows_of_tables(&fresh));
    let differing: Vec<_> = new.iter().filter(|(name, rows)| old.get(*name) != Some(*rows)).collect();
    assert!(differing.is_empty(), "{differing:?}: {old:?}");
    assert!(lake.join(format!("snapshot={ID}")).exists());
    // Views over all snapshots have the rows and columns of all of them, whatever their form.
    let of_each =
        "SELECT count(*), count(direction) FROM lineage_history GROUP BY snapshot ORDER BY snapshot";
    let counts = |sql: &str| -> Vec<Vec<u64>> {
        let rows = ask(lake, sql).into_iter();
        rows.map(|row| row.iter().map(|value| value.as_u64().unwrap()).collect()).collect()
    };
    let found = counts(of_each);
    assert_eq!(found.len(), 3, "{format}: an export, an import and an export: {found:?}");
    assert!(found[0][0] > 0 && found[0][1] == 0, "{format}: {found:?}");
    assert!(found[1..].iter().all(|row| row[0] > 0 && row[0] == row[1]), "{format}: {found:?}");
    let asked = hexport(&["query", dest, of_each, "--output", "json"])
        .env("PATH", path_with_venv())
        .output()
        .unwrap();
    assert_eq!(asked.status.code(), Some(0), "{}", stderr(&asked));
    let asked: Value = serde_json::from_slice(&asked.stdout).unwrap();
    assert_eq!(asked.as_array().unwrap().len(), 3, "{format}: {asked}");
}
