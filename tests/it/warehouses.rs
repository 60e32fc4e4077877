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
    // Delta tables hold the same rows, as delta-rs reads them.
    for (table, columns, times) in [
        (
            "warehouse_queries",
            &["query_id", "project_id", "trace_id", "duration_seconds", "bytes_scanned", "fingerprint"][..],
            &["started_at", "ended_at"][..],
        ),
        ("query_repeats", &["project_id", "queries", "rows_each", "fingerprint"], &["first_at", "last_at"]),
        ("project_cost", &["project_id", "context", "queries", "seconds", "bytes_scanned"], &[]),
        ("history_days", &["connection_name", "queries"], &["first_at", "last_at"]),
    ] {
        let names: Vec<&str> = columns.iter().chain(times).copied().collect();
        let asked = json!({"table": lake.join("delta").join(table), "columns": names});
        let mut said: Vec<Vec<Value>> =
            serde_json::from_value(script("delta_rows.py", &asked.to_string())["values"].take()).unwrap();
        let times = times.iter().map(|name| format!("epoch_us({name})"));
        let sql: Vec<String> = columns.iter().map(|name| (*name).to_owned()).chain(times).collect();
        let mut truth = ask(&lake, &format!("SELECT {} FROM {table}", sql.join(", ")));
        assert!(!truth.is_empty(), "{table}");
        said.sort_by_key(|row| json!(row).to_string());
        truth.sort_by_key(|row| json!(row).to_string());
        assert_eq!(said, truth, "{table}");
    }
    // The next export carries the repeats forward, and the rule with them.
    sim.export(&lake, &["--fixed-time", "2026-11-02T06:00:00Z"], 0);
    assert_eq!(ask_one(&lake, "SELECT count(*) FROM audit_findings WHERE rule = 'cached-results-unused'"), 1);
}

/// A query of Hex as a warehouse keeps it: the SQL with Hex's comment after it.
fn sent(sql: &str) -> String {
    format!(
        "{sql}\n-- Hex query metadata: {}",
        json!({"context": "SCHEDULED_RUN", "project_id": "p1", "trace_id": "T1"})
    )
}

/// A value in CSV.
fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('"', "\"\""))
}

/// A query that is expected of a file: identifier, start, seconds, bytes, outcome, tables that it reads.
type Expected = (&'static str, &'static str, Option<f64>, Option<u64>, &'static str, &'static str);

/// A file as a warehouse's own tools write it.
struct File {
    kind: &'static str,
    text: Vec<u8>,
    expected: &'static [Expected],
    /// Rows that are not used, by the reason.
    left: Value,
}

/// Files in the forms that the warehouses' documentation shows, none by our extraction.
fn files() -> Vec<File> {
    let sql = sent("SELECT * FROM core.orders");
    let csv = quoted(&sql);
    let snowflake = "QUERY_ID,QUERY_TEXT,DATABASE_NAME,SCHEMA_NAME,EXECUTION_STATUS,START_TIME,TOTAL_ELAPSED_TIME,BYTES_SCANNED";
    let row = |id: &str, text: &str, status: &str, start: &str, took: &str, bytes: &str| {
        format!("{id},{},DB,CORE,{status},{start},{took},{bytes}\r\n", quoted(text))
    };
    let at = "2026-10-30 03:00:00.000 -0700";
    let of = |text: &str| row("x", text, "SUCCESS", at, "1200", "12");
    let rows = [
        row("s1", &sql, "SUCCESS", at, "1200", "12"),
        row("s2", &sql, "FAIL", "2026-10-30T10:00:00+05:30", "1200", "12"),
        // Of two comments the last counts; a comment may have more than is known.
        row(
            "s3",
            &format!("{}\n{}", sql.replace("p1", "p0"), sql.lines().last().unwrap()),
            "SUCCESS",
            at,
            "1",
            "1",
        ),
        row(
            "s4",
            &sql.replace("{\"context\"", "{\"new\": {\"a\": [1]}, \"context\""),
            "SUCCESS",
            at,
            "1",
            "1",
        ),
        // Amounts that can't be.
        row("s5", &sql, "SUCCESS", at, "-5", "18446744073709551615"),
        row("s6", &sql, "SUCCESS", at, "NaN", "-3"),
        // In its midst, where Hex doesn't put it.
        of(&format!("SELECT * FROM (\n{sql}\n) LIMIT 10")),
        of(&format!("{sql}\n;\nSELECT 2")),
        of("SELECT 'no comment of Hex query metadata: here'"),
        row("s7", &sql, "RUNNING", at, "", ""),
        row("s8", &sql, "SUCCESS", "30/10/2026 10:00", "1", "1"),
        row("", &sql, "SUCCESS", at, "1", "1"),
    ];
    let snowflake = format!("\u{feff}\"{}\"\r\n{}", snowflake.replace(',', "\",\""), rows.concat());
    let bigquery = json!([
        {"job_id": "b1", "query": sql, "creation_time": "2026-10-30 03:00:00.123", "start_time": "2026-10-30 03:00:01",
         "end_time": "2026-10-30 03:00:05", "total_slot_ms": "4000", "total_bytes_billed": "10485760", "cache_hit": "false",
         "state": "DONE", "error_result": null, "referenced_tables": [{"project_id": "p", "dataset_id": "d", "table_id": "t"}]},
        // One that never started has when it was made.
        {"job_id": "b2", "query": sql, "creation_time": "2026-10-30T03:00:00.123Z", "start_time": null, "end_time": null,
         "total_bytes_billed": null, "total_bytes_processed": "77", "state": "DONE", "error_result": {"reason": "accessDenied"}},
        {"job_id": "b3", "query": sql, "start_time": "1.7933016E9", "end_time": "1793301605.5", "total_bytes_billed": "9007199254740000",
         "state": "DONE", "cache_hit": "true"},
    ]);
    let clickhouse = json!({
        "type": "QueryFinish", "query_id": "c1", "query": sql, "query_start_time": "2026-10-30 03:00:00",
        "query_start_time_microseconds": "2026-10-30 03:00:00.123456", "query_duration_ms": "1000", "read_bytes": "4503599627370496",
        "exception_code": 0, "tables": ["core.orders"], "current_database": "core",
    });
    let databricks = format!(
        "statement_id,execution_status,compute,statement_text,total_duration_ms,read_bytes,start_time,end_time\n\
         d1,FINISHED,\"{{\"\"type\"\": \"\"WAREHOUSE\"\"}}\",{csv},1000,12,2026-10-30T03:00:00.000+00:00,\n\
         d2,CANCELED,,{csv},,,2026-10-30T03:00:00.000Z,2026-10-30T03:00:02.000Z\n"
    );
    // As the AWS CLI prints them: a document for each fifty, and one without any.
    let execution = |id: &str, at: Value| {
        json!({
            "QueryExecutionId": id, "Query": sql, "StatementType": "DML",
            "QueryExecutionContext": {"Database": "core", "Catalog": "awsdatacatalog"},
            "Status": {"State": "SUCCEEDED", "SubmissionDateTime": at},
            "Statistics": {"TotalExecutionTimeInMillis": 9000, "DataScannedInBytes": 1234},
        })
    };
    let document = |all: Value| {
        let document = json!({"QueryExecutions": all, "UnprocessedQueryExecutionIds": []});
        serde_json::to_string_pretty(&document).unwrap()
    };
    let athena = [
        document(json!([])),
        document(json!([execution("a1", json!("2026-10-30T05:00:00.123000+02:00"))])),
        document(json!([execution("a2", json!(1793329200.5))])),
    ];
    // Redshift escapes line ends in its texts.
    let escaped = |sql: &str| quoted(&sent(sql).replace('\n', "\\n"));
    let redshift = format!(
        "query_id,query_text,status,start_time,elapsed_time,database_name\n\
         1,{},success,2026-10-30 03:00:00.123,1500000,dev\n2,{},failed    ,2026-10-30 03:00:00.123,1500000,dev\n",
        escaped("SELECT a\nFROM core.orders\nWHERE\tx = 1"),
        escaped("SELECT a\nFROM core.orders").replace("}\"", "}\\n\""),
    );
    let trino = format!(
        "query_id,query,create_time,wall_time_millis,query_state,physical_input_bytes,catalog,schema,inputs_json,error_code\n\
         t1,{csv},2026-10-30 03:00:00.123,1000,FINISHED,12,hive,web,{},\\N\n",
        quoted(&json!([{"catalogName": "hive", "schema": "web", "table": "clicks"}]).to_string())
    );
    let lines = |values: Vec<Value>| values.iter().map(|v| format!("{v}\r\n")).collect::<String>();
    let mut marked = b"\xef\xbb\xbf".to_vec();
    marked.extend(serde_json::to_vec_pretty(&bigquery).unwrap());
    let file = |kind, text: String, expected, left| File { kind, text: text.into_bytes(), expected, left };
    vec![
        file(
            "snowflake",
            snowflake,
            &[
                ("s1", "2026-10-30T10:00:00Z", Some(1.2), Some(12), "success", "DB.CORE.ORDERS"),
                ("s2", "2026-10-30T04:30:00Z", Some(1.2), Some(12), "failed", "DB.CORE.ORDERS"),
                ("s3", "2026-10-30T10:00:00Z", Some(0.001), Some(1), "success", "DB.CORE.ORDERS"),
                ("s4", "2026-10-30T10:00:00Z", Some(0.001), Some(1), "success", "DB.CORE.ORDERS"),
                ("s5", "2026-10-30T10:00:00Z", None, None, "success", "DB.CORE.ORDERS"),
                ("s6", "2026-10-30T10:00:00Z", None, None, "success", "DB.CORE.ORDERS"),
            ],
            json!({"wrapped": 2, "foreign": 1, "open": 1, "unreadable": 2}),
        ),
        File {
            kind: "bigquery",
            text: marked,
            expected: &[
                ("b1", "2026-10-30T03:00:01Z", Some(4.0), Some(10_485_760), "success", "p.d.t"),
                ("b2", "2026-10-30T03:00:00.123Z", None, None, "failed", "core.orders"),
                (
                    "b3",
                    "2026-10-29T19:20:00Z",
                    Some(5.5),
                    Some(9_007_199_254_740_000),
                    "success",
                    "core.orders",
                ),
            ],
            left: json!({}),
        },
        file(
            "clickhouse",
            lines(vec![clickhouse]),
            &[("c1", "2026-10-30T03:00:00.123456Z", Some(1.0), Some(1 << 52), "success", "core.orders")],
            json!({}),
        ),
        file(
            "databricks",
            databricks,
            &[
                ("d1", "2026-10-30T03:00:00Z", Some(1.0), Some(12), "success", "core.orders"),
                ("d2", "2026-10-30T03:00:00Z", Some(2.0), None, "failed", "core.orders"),
            ],
            json!({}),
        ),
        file(
            "athena",
            athena.join("\n"),
            &[
                (
                    "a1",
                    "2026-10-30T03:00:00.123Z",
                    Some(9.0),
                    Some(1234),
                    "success",
                    "awsdatacatalog.core.orders",
                ),
                (
                    "a2",
                    "2026-10-30T03:00:00.5Z",
                    Some(9.0),
                    Some(1234),
                    "success",
                    "awsdatacatalog.core.orders",
                ),
            ],
            json!({}),
        ),
        file(
            "redshift",
            redshift,
            &[
                ("1", "2026-10-30T03:00:00.123Z", Some(1.5), None, "success", "dev.core.orders"),
                ("2", "2026-10-30T03:00:00.123Z", Some(1.5), None, "failed", "dev.core.orders"),
            ],
            json!({}),
        ),
        file(
            "trino",
            trino,
            &[("t1", "2026-10-30T03:00:00.123Z", Some(1.0), Some(12), "success", "hive.web.clicks")],
            json!({}),
        ),
        file(
            "postgres",
            format!("query_id;sql_text;started_at\nx1;{csv};2026-10-30 03:00:00+00\n")
                .replace("sql_text", "query_text"),
            &[("x1", "2026-10-30T03:00:00Z", None, None, "success", "core.orders")],
            json!({}),
        ),
    ]
}

#[test]
fn histories_in_the_warehouses_own_forms_are_read_to_the_value() {
    let dir = tempfile::tempdir().unwrap();
    let lake = dir.path().join("lake");
    Sim::of_projects(2).export(&lake, &["--tables", "projects"], 0);
    for File { kind, text, expected, left } in files() {
        let path = dir.path().join(kind);
        std::fs::write(&path, text).unwrap();
        let (lake_arg, path) = (lake.to_str().unwrap(), path.to_str().unwrap());
        let args = ["import", "query-history", lake_arg, path, "--warehouse", kind, "--output", "json"];
        let code = if left["unreadable"].is_null() { 0 } else { 4 };
        let said: Value = serde_json::from_slice(&run(&mut hexport(&args), code).stdout).unwrap();
        assert_eq!((&said["imported"], &said["not_used"]), (&json!(expected.len()), &left), "{kind} {said}");
        let rows = ask(
            &lake,
            &format!(
                "SELECT query_id, epoch_us(started_at), duration_seconds, bytes_scanned, outcome, array_to_string(tables_read, ' ') \
                 FROM warehouse_queries WHERE warehouse = '{kind}' AND project_id = 'p1' AND trace_id = 't1' ORDER BY query_id"
            ),
        );
        let at = |text: &str| text.parse::<DateTime<Utc>>().unwrap().timestamp_micros();
        let expected: Vec<Vec<Value>> = expected
            .iter()
            .map(|(id, start, seconds, bytes, outcome, tables)| {
                vec![json!(id), json!(at(start)), json!(seconds), json!(bytes), json!(outcome), json!(tables)]
            })
            .collect();
        assert_eq!(rows, expected, "{kind}");
        if kind == "snowflake" {
            assert_eq!(said["remarks"]["values_unread"], json!({"bytes_scanned": 2, "duration_seconds": 2}));
        }
    }
    // What nothing can be made of is refused, and says what to do, without the queries that are in it.
    let csv = quoted(&sent("SELECT 'a secret' FROM core.orders"));
    let log = format!("2026-10-30 03:00:00.123 UTC,hex,db,123,LOG,00000,{csv}\n");
    let utf16: Vec<u8> = "\u{feff}query_id,query_text".encode_utf16().flat_map(u16::to_le_bytes).collect();
    let refused: [(&str, &[u8], &str); 7] = [
        ("empty", b"", "it is empty"),
        ("blank", b" \n\n", "it is empty"),
        ("utf16", &utf16, "convert it to UTF-8"),
        ("zip", b"PK\x03\x04\x14\x00", "decompress it first"),
        ("gzip", b"\x1f\x8b\x08\x00", "decompress it first"),
        ("csvlog", log.as_bytes(), "unload it with a header"),
        ("other", format!("what,{csv}\n1,2\n").leak().as_bytes(), "has no column for query_id"),
    ];
    let before = verify(&lake).unwrap()["sequence"].clone();
    for (name, bytes, words) in refused {
        let path = dir.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        let args = [
            "import",
            "query-history",
            lake.to_str().unwrap(),
            path.to_str().unwrap(),
            "--warehouse",
            "postgres",
        ];
        let said = stderr(&run(&mut hexport(&args), 2));
        assert!(said.contains(words) && !said.contains("a secret' FROM core"), "{name}: {said}");
        assert_eq!(verify(&lake).unwrap()["sequence"], before, "{name}");
    }
}
