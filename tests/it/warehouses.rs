//! Extractions of query histories, run by the warehouses themselves, and what an import makes of their results.

use std::collections::BTreeMap;
use std::path::Path;

use chrono::{DateTime, Utc};
use hexport::history::{Kind, template};
use hexport::sim::{TableRef, World};
use serde_json::{Value, json};

use crate::clients::client_script;
use crate::support::*;

fn import(lake: &Path, file: &Path, kind: &str) -> Value {
    let (lake, file) = (lake.to_str().unwrap(), file.to_str().unwrap());
    let args = ["import", "query-history", lake, file, "--warehouse", kind, "--output", "json"];
    serde_json::from_slice(&run(&mut hexport(&args), 0).stdout).unwrap()
}

/// A row of ClickHouse's `system.query_log`.
fn logged(kind: &str, id: &str, query: &str, at: DateTime<Utc>, milliseconds: i64) -> Value {
    json!({
        "type": kind,
        "event_date": at.format("%Y-%m-%d").to_string(),
        "event_time": at.timestamp(),
        "event_time_microseconds": at.timestamp_micros() as f64 / 1e6 + milliseconds as f64 / 1e3,
        "query_start_time": at.timestamp(),
        "query_start_time_microseconds": at.timestamp_micros() as f64 / 1e6,
        "query_duration_ms": milliseconds,
        "query_id": id,
        "query": query,
        "query_kind": "Select",
        "is_initial_query": 1,
        "user": "hex",
        "current_database": "default",
        "query_cache_usage": "None",
    })
}

#[test]
fn the_extraction_of_clickhouse_runs_in_clickhouse_and_is_imported_whole() {
    let dir = tempfile::tempdir().unwrap();
    let lake = dir.path().join("lake");
    let sim = Sim::of_projects(30);
    sim.export(&lake, &[], 0);
    let world = World::generate(world_of(30));
    let queries = world.query_history(0);
    let mut rows = Vec::new();
    for (at, query) in queries.iter().enumerate() {
        let kind = if query.failed { "ExceptionWhileProcessing" } else { "QueryFinish" };
        let mut row = logged(kind, &query.id, &query.text, query.started, query.milliseconds);
        row["read_bytes"] = json!(query.bytes);
        row["exception_code"] = json!(if query.failed { 60 } else { 0 });
        row["query_cache_usage"] = json!(if query.cached { "Read" } else { "None" });
        // ClickHouse has databases and no schemas.
        let name = |table: &TableRef| {
            table
                .qualified()
                .rsplit('.')
                .take(2)
                .collect::<Vec<_>>()
                .into_iter()
                .rev()
                .collect::<Vec<_>>()
                .join(".")
        };
        row["tables"] = json!(query.tables.iter().map(name).collect::<Vec<_>>());
        rows.push(row);
        // Each query is logged when it starts, too, and what other servers of a cluster do for it.
        rows.push(logged("QueryStart", &query.id, &query.text, query.started, 0));
        if at % 5 == 0 {
            let mut part =
                logged("QueryFinish", &format!("{}-part", query.id), &query.text, query.started, 1);
            part["is_initial_query"] = json!(0);
            rows.push(part);
        }
    }
    let out = dir.path().join("hex.parquet");
    let asked = json!({"sql": template(Kind::ClickHouse), "rows": rows, "out": out});
    let Some(said) = client_script("clickhouse", "clickhouse_history", &asked) else { return };
    println!("ClickHouse {}", said["version"]);
    let said = import(&lake, &out, "clickhouse");
    let ours: Vec<_> = queries.iter().filter(|query| query.is_attributable()).collect();
    assert!(ours.len() > 50, "{}", ours.len());
    assert_eq!(said["imported"], ours.len(), "{said}");
    let one = |sql: &str| ask_one(&lake, sql).as_f64().unwrap();
    let near = |a: f64, b: f64| assert!((a - b).abs() <= 1e-6 * b.max(1.0), "{a} {b}");
    near(
        one("SELECT sum(bytes_scanned)::DOUBLE FROM warehouse_queries"),
        ours.iter().map(|query| query.bytes as f64).sum(),
    );
    near(
        one("SELECT sum(duration_seconds) FROM warehouse_queries"),
        ours.iter().map(|query| query.milliseconds as f64 / 1e3).sum(),
    );
    let count = |sql: &str| one(&format!("SELECT count(*) FROM warehouse_queries WHERE {sql}")) as usize;
    assert_eq!(count("outcome = 'failed'"), ours.iter().filter(|query| query.failed).count());
    assert_eq!(count("is_cached"), ours.iter().filter(|query| query.cached).count());
    assert_eq!(count("tables_by = 'referenced'"), ours.iter().filter(|q| !q.tables.is_empty()).count());
    let starts = ask(&lake, "SELECT query_id, epoch_us(started_at) FROM warehouse_queries");
    let starts: BTreeMap<&str, i64> =
        starts.iter().map(|row| (row[0].as_str().unwrap(), row[1].as_i64().unwrap())).collect();
    for query in ours {
        let off = starts[query.id.as_str()] - query.started.timestamp_micros();
        assert!(off.abs() <= 1, "{}: {off}", query.id);
    }
}

#[test]
fn the_extraction_of_postgres_runs_over_its_own_log_and_is_imported() {
    let dir = tempfile::tempdir().unwrap();
    let lake = dir.path().join("lake");
    let sim = Sim::of_projects(20);
    sim.export(&lake, &[], 0);
    let project = ask_one(&lake, "SELECT project_id FROM projects ORDER BY 1 LIMIT 1");
    let comment = |trace: &str| {
        let fields = json!({"context": "SCHEDULED_RUN", "project_id": project, "trace_id": trace, "user_email": "a@x"});
        format!("-- Hex query metadata: {fields}")
    };
    let statements = [
        format!("SELECT count(*)\nFROM core.orders WHERE note <> 'it''s, \"quoted\"'\n{}", comment("t1")),
        format!("SELECT pg_sleep(0.2), count(*) FROM core.orders\n{}", comment("t2")),
        format!("SELECT nothing FROM core.orders\n{}", comment("t3")),
        "SELECT count(*) FROM core.orders -- somebody else's".to_owned(),
        format!("SELECT max(id) FROM core.orders\n{}", comment("t4")),
    ];
    let out = dir.path().join("hex.csv");
    let asked = json!({
        "setup": "CREATE SCHEMA core; CREATE TABLE core.orders (id integer, note text)",
        "statements": statements,
        "sql": template(Kind::Postgres),
        "out": out,
    });
    let said = script("postgres.py", &asked.to_string());
    assert_eq!(said["failed"], 1);
    let said = import(&lake, &out, "postgres");
    assert_eq!(said["imported"], 4, "{said} {}", std::fs::read_to_string(&out).unwrap());
    let rows = ask(
        &lake,
        "SELECT trace_id, outcome, error_code, duration_seconds >= 0.2, array_to_string(tables_read, ' ') \
         FROM warehouse_queries ORDER BY trace_id",
    );
    let row = |trace: &str, outcome: &str, code: Option<&str>, slow: Option<bool>| {
        [json!(trace), json!(outcome), json!(code), json!(slow)]
    };
    let expected = [
        row("t1", "success", None, Some(false)),
        row("t2", "success", None, Some(true)),
        row("t3", "failed", Some("42703"), None),
        row("t4", "success", None, Some(false)),
    ];
    assert_eq!(rows.len(), expected.len());
    for (row, expected) in rows.iter().zip(expected) {
        assert_eq!(row[..3], expected[..3], "{rows:?}");
        assert!(row[3] == expected[3] || expected[3].is_null(), "{rows:?}");
        assert!(row[4].as_str().unwrap().contains("core.orders"), "{rows:?}");
    }
    assert_eq!(
        ask_one(
            &lake,
            &format!(
                "SELECT count(*) FROM warehouse_queries WHERE project_id <> {}",
                project.to_string().replace('"', "'")
            )
        ),
        0
    );
}

/// A history of Snowflake's in which one query runs so often an hour apart on a day, and some more each once.
fn repeated(project: &str, context: &str, times: u32, rows: impl Fn(u32) -> u32) -> String {
    let mut text = "QUERY_ID,QUERY_TEXT,START_TIME,END_TIME,TOTAL_ELAPSED_TIME,EXECUTION_STATUS,BYTES_SCANNED,ROWS_PRODUCED\n".to_owned();
    for n in 0..times {
        let comment = json!({"context": context, "project_id": project, "trace_id": format!("t{n}")});
        let sql =
            format!("SELECT * FROM core.orders WHERE region = 'emea'\n-- Hex query metadata: {comment}");
        let sql = sql.replace('"', "\"\"");
        text += &format!(
            "{project}-{context}-{n},\"{sql}\",2026-10-30 {n:02}:00:00 +0000,2026-10-30 {n:02}:20:00 +0000,1200000,SUCCESS,4096,{}\n",
            rows(n)
        );
    }
    text
}

#[test]
fn the_audit_of_an_import_finds_what_its_queries_show_and_a_lake_of_delta_tables_gets_them() {
    let dir = tempfile::tempdir().unwrap();
    let lake = dir.path().join("lake");
    let sim = Sim::of_projects(20);
    sim.export(&lake, &["--format", "parquet,delta", "--fixed-time", "2026-10-31T06:00:00Z"], 0);
    let ids = ask(
        &lake,
        "SELECT project_id FROM projects WHERE archived_at IS NULL AND trashed_at IS NULL ORDER BY 1 LIMIT 4",
    );
    let id = |at: usize| ids[at][0].as_str().unwrap();
    let evaluated = |rule: &str| {
        ask_one(&lake, &format!("SELECT evaluated FROM audit_rules WHERE rule = '{rule}'")) == json!(true)
    };
    // Nothing is known of queries yet.
    assert!(!evaluated("cached-results-unused") && evaluated("missing-owner"));
    let before =
        ask(&lake, "SELECT finding_id, since FROM audit_findings WHERE rule = 'missing-description'");
    // The case; its near misses: a draft that a person works on, results that change, and too few.
    let histories = [
        repeated(id(0), "SCHEDULED_RUN", 6, |_| 7),
        repeated(id(1), "LOGIC", 6, |_| 7),
        repeated(id(2), "SCHEDULED_RUN", 6, |n| n),
        repeated(id(3), "SCHEDULED_RUN", 3, |_| 7),
    ];
    let mut files = Vec::new();
    for (at, history) in histories.iter().enumerate() {
        let file = dir.path().join(format!("{at}.csv"));
        std::fs::write(&file, history).unwrap();
        files.push(file);
    }
    let mut args = vec!["import", "query-history", lake.to_str().unwrap()];
    args.extend(files.iter().map(|file| file.to_str().unwrap()));
    args.extend(["--warehouse", "snowflake", "--output", "json", "--fixed-time", "2026-11-01T06:00:00Z"]);
    let said: Value = serde_json::from_slice(&run(&mut hexport(&args), 0).stdout).unwrap();
    assert_eq!(said["imported"], 21, "{said}");
    assert_eq!(
        ask(&lake, "SELECT project_id, queries, rows_each FROM query_repeats ORDER BY queries DESC"),
        [vec![json!(id(0)), json!(6), json!(7)], vec![json!(id(3)), json!(3), json!(7)]]
    );
    // The snapshot of the import has findings, and says since when they are there.
    assert!(evaluated("cached-results-unused") && evaluated("missing-owner"));
    let found =
        ask(&lake, "SELECT entity_id, evidence FROM audit_findings WHERE rule = 'cached-results-unused'");
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!(found[0][0], id(0));
    assert!(found[0][1].as_str().unwrap().contains("1 query up to 6 times a day"), "{found:?}");
    let after = ask(&lake, "SELECT finding_id, since FROM audit_findings WHERE rule = 'missing-description'");
    assert_eq!(after, before, "an import changes nothing of what it doesn't touch");
    let manifest = verify(&lake).unwrap();
    assert_eq!(manifest["tables"]["audit_findings"]["state"], "reused");
    // Delta tables, by delta-rs: those of the import are there, with its rows.
    let delta = |table: &str| {
        let path = lake.join("delta").join(table);
        ask_one(&lake, &format!("SELECT count(*) FROM read_parquet('{}/**/*.parquet')", path.display()))
    };
    for (table, rows) in [("warehouse_queries", 21), ("query_repeats", 2)] {
        assert_eq!(delta(table), rows, "{table}");
        assert!(lake.join("delta").join(table).join("_delta_log").exists());
    }
    // The next export carries the repeats forward, and the rule with them.
    sim.export(&lake, &["--fixed-time", "2026-11-02T06:00:00Z"], 0);
    assert_eq!(ask_one(&lake, "SELECT count(*) FROM audit_findings WHERE rule = 'cached-results-unused'"), 1);
}
