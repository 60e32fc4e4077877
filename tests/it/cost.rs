//! Query histories and cost, against the truth of the simulator.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use hexport::history::{Kind, template};
use hexport::sim::World;
use hexport::sim::history::{Form, HistoryQuery, render};
use serde_json::{Value, json};

use crate::support::*;

/// A lake with a snapshot of a workspace, and the histories of its warehouses.
struct Fixture {
    _dir: tempfile::TempDir,
    lake: PathBuf,
    world: World,
    sim: Sim,
    histories: Vec<(String, PathBuf, Vec<HistoryQuery>)>,
}

fn fixture(projects: usize) -> Fixture {
    let dir = tempfile::tempdir().unwrap();
    let lake = dir.path().join("lake");
    let sim = Sim::of_projects(projects);
    sim.export(&lake, &[], 0);
    let world = World::generate(world_of(projects));
    let mut histories = Vec::new();
    for (at, connection) in world.connections.iter().enumerate() {
        let queries = world.query_history(at);
        let form = match connection.kind.as_str() {
            "snowflake" | "redshift" | "postgres" => Form::Csv,
            _ => Form::JsonLines,
        };
        let file = dir.path().join(format!("{at}.history"));
        std::fs::write(&file, render(&connection.kind, &queries, form)).unwrap();
        histories.push((connection.kind.clone(), file, queries));
    }
    Fixture { _dir: dir, lake, world, sim, histories }
}

fn import(lake: &Path, file: &Path, kind: &str, more: &[&str], code: i32) -> Value {
    let mut args = vec!["import", "query-history", lake.to_str().unwrap(), file.to_str().unwrap()];
    args.extend(["--warehouse", kind, "--output", "json"]);
    args.extend(more);
    let out = run(&mut hexport(&args), code);
    serde_json::from_slice(&out.stdout).unwrap_or(Value::Null)
}

impl Fixture {
    fn import_all(&self) {
        for (kind, file, _) in &self.histories {
            import(&self.lake, file, kind, &[], 0);
        }
    }

    /// The queries that an import can attribute.
    fn truth(&self) -> impl Iterator<Item = (&str, &HistoryQuery)> {
        self.histories
            .iter()
            .flat_map(|(kind, _, queries)| queries.iter().map(move |query| (kind.as_str(), query)))
            .filter(|(_, query)| query.is_attributable())
    }
}

/// What a kind's history tells of a query: bytes, credits and slot time, where it has them.
fn figures(kind: &str, query: &HistoryQuery) -> [f64; 3] {
    let bytes = if matches!(kind, "redshift" | "postgres") { 0 } else { query.bytes };
    let credits = if matches!(kind, "snowflake" | "databricks") { query.credits() } else { 0.0 };
    let slots = if matches!(kind, "bigquery" | "trino") { query.slot_ms() as f64 / 1e3 } else { 0.0 };
    [bytes as f64, credits, slots]
}

fn close(a: f64, b: f64) -> bool {
    (a - b).abs() <= 1e-6 * a.abs().max(b.abs()).max(1.0)
}

fn floats(row: &[Value]) -> Vec<f64> {
    row.iter().map(|value| value.as_f64().unwrap_or(0.0)).collect()
}

fn assert_same(found: &BTreeMap<Vec<String>, Vec<f64>>, truth: &BTreeMap<Vec<String>, Vec<f64>>) {
    assert_eq!(found.keys().collect::<Vec<_>>(), truth.keys().collect::<Vec<_>>());
    for (key, figures) in truth {
        let same = figures.iter().zip(&found[key]).all(|(a, b)| close(*a, *b));
        assert!(same, "{key:?}: {figures:?} {:?}", found[key]);
    }
}

fn keyed(rows: Vec<Vec<Value>>, keys: usize) -> BTreeMap<Vec<String>, Vec<f64>> {
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    rows.into_iter().map(|row| (row[..keys].iter().map(text).collect(), floats(&row[keys..]))).collect()
}

const USAGE: &str =
    "sum(queries), sum(failures), sum(seconds), sum(bytes_scanned), sum(credits), sum(slot_seconds)";

/// Adds a query's figures, in the order of [`USAGE`].
fn add(truth: &mut BTreeMap<Vec<String>, Vec<f64>>, key: Vec<String>, kind: &str, query: &HistoryQuery) {
    let sums = truth.entry(key).or_insert_with(|| vec![0.0; 6]);
    let [bytes, credits, slots] = figures(kind, query);
    let of_query = [1.0, f64::from(query.failed), query.milliseconds as f64 / 1e3, bytes, credits, slots];
    sums.iter_mut().zip(of_query).for_each(|(sum, n)| *sum += n);
}

#[test]
fn cost_runs_cells_and_executed_lineage_are_the_truth_and_outlive_the_next_export() {
    let fixture = fixture(40);
    let mut imported = 0;
    for (kind, file, queries) in &fixture.histories {
        let said = import(&fixture.lake, file, kind, &[], 0);
        let used = queries.iter().filter(|query| query.is_attributable()).count();
        let repeated =
            queries.iter().enumerate().filter(|(at, q)| at % 10 == 3 && q.is_attributable()).count();
        let foreign = queries
            .iter()
            .enumerate()
            .map(|(at, q)| usize::from(!q.is_attributable()) * (1 + usize::from(at % 10 == 3)));
        assert_eq!(said["imported"], used, "{kind} {said}");
        assert_eq!(said["not_used"]["repeated"].as_u64().unwrap_or(0), repeated as u64, "{kind} {said}");
        assert_eq!(
            said["not_used"]["foreign"].as_u64().unwrap_or(0),
            foreign.sum::<usize>() as u64,
            "{kind} {said}"
        );
        let cut = queries
            .iter()
            .enumerate()
            .filter(|(_, q)| q.is_attributable() && q.cut != hexport::sim::history::Text::Whole);
        let cut: usize = cut.map(|(at, _)| 1 + usize::from(at % 10 == 3)).sum();
        assert_eq!(said["remarks"]["repaired_comments"], cut, "{kind}");
        imported += used;
    }
    assert!(imported > 500, "{imported}");
    let lake = &fixture.lake;
    check_totals(&fixture);
    // The next export carries everything forward, without the histories.
    fixture.sim.export(lake, &[], 0);
    check_totals(&fixture);
    assert_eq!(ask_one(lake, "SELECT count(*) FROM warehouse_queries"), imported);
    assert_eq!(
        ask_one(lake, "SELECT count(DISTINCT (warehouse, query_id)) FROM warehouse_queries"),
        imported
    );
    let latest = verify(lake).unwrap();
    assert!(latest["tables"]["warehouse_queries"].is_null());
    assert_eq!(latest["tables"]["query_days"]["state"], "reused");
    assert_eq!(latest["complete"], true);
    // No SQL and no literal is kept.
    assert_eq!(ask_one(lake, "SELECT count(query_text) FROM warehouse_queries"), 0);
}

fn check_totals(fixture: &Fixture) {
    let lake = &fixture.lake;
    let mut by_project = BTreeMap::new();
    let (mut by_cell, mut by_run) = (BTreeMap::new(), BTreeMap::new());
    let (mut edges, mut spans) = (BTreeSet::new(), BTreeMap::new());
    for (kind, query) in fixture.truth() {
        let day = query.started.date_naive().to_string();
        let user = query.user.clone().unwrap_or("null".into());
        let key = vec![query.project_id.to_string(), day, query.context.to_owned(), user];
        add(&mut by_project, key, kind, query);
        add(&mut by_cell, vec![query.project_id.to_string(), query.cell_id.clone()], kind, query);
        if let Some(run) = query.run_id.as_ref().filter(|_| query.has_trace) {
            add(&mut by_run, vec![query.project_id.to_string(), run.clone()], kind, query);
        }
        let connection = &fixture.world.connections[query.connection].id;
        for table in &query.tables {
            let edge = (query.project_id.to_string(), connection.clone(), table.qualified());
            let at = query.started.timestamp_millis();
            let (n, first, last) = spans.entry(edge.clone()).or_insert((0u64, at, at));
            (*n, *first, *last) = (*n + 1, at.min(*first), at.max(*last));
            edges.insert(edge);
        }
    }
    let sql = format!(
        "SELECT project_id, day::VARCHAR, context, user_email, {USAGE} FROM project_cost GROUP BY ALL"
    );
    assert_same(&keyed(ask(lake, &sql), 4), &by_project);
    let sql = format!("SELECT project_id, cell_id, {USAGE} FROM cell_cost GROUP BY ALL");
    assert_same(&keyed(ask(lake, &sql), 2), &by_cell);
    let sql =
        format!("SELECT project_id, run_id, {USAGE} FROM run_cost WHERE joined_by = 'trace' GROUP BY ALL");
    assert_same(&keyed(ask(lake, &sql), 2), &by_run);
    let rows = ask(
        lake,
        "SELECT project_id, data_connection_id, table_key, executions, epoch_ms(first_executed_at), \
         epoch_ms(last_executed_at) FROM lineage WHERE list_contains(evidence, 'executed') AND direction = 'read'",
    );
    let found: BTreeMap<_, _> = rows
        .into_iter()
        .map(|row| {
            let text = |at: usize| row[at].as_str().unwrap().to_owned();
            let n = |at: usize| row[at].as_i64().unwrap();
            ((text(0), text(1).into(), text(2)), (n(3) as u64, n(4), n(5)))
        })
        .collect();
    assert_eq!(found, spans);
    // What Python reads is in no other evidence.
    let python = "SELECT count(*) FROM lineage WHERE evidence_text = 'executed'";
    assert!(ask_one(lake, python).as_u64().unwrap() > 0);
    assert_eq!(ask_one(lake, "SELECT count(*) FROM lineage WHERE direction = 'write' AND executions > 0"), 0);
    check_joins_by_time(fixture);
}

/// Queries without a trace belong to the only run of their project that was under way.
fn check_joins_by_time(fixture: &Fixture) {
    let right: BTreeMap<(String, String), String> = fixture
        .truth()
        .filter(|(_, query)| !query.has_trace)
        .filter_map(|(_, query)| {
            let minute = query.started.format("%Y-%m-%dT%H:%MZ").to_string();
            Some(((query.project_id.to_string(), minute), query.run_id.clone()?))
        })
        .collect();
    let rows = ask(
        &fixture.lake,
        "SELECT project_id, group_id, run_id, first_at = last_at FROM run_cost WHERE joined_by = 'time'",
    );
    assert!(rows.len() > 10, "{}", rows.len());
    let wrong = rows.iter().filter(|row| {
        let text = |at: usize| row[at].as_str().unwrap().to_owned();
        right.get(&(text(0), text(1))).is_none_or(|run| *run != text(2))
    });
    // A person's query may fall into the time of a run: few do.
    let wrong = wrong.count();
    assert!(wrong * 20 <= rows.len(), "{wrong} of {}", rows.len());
}

/// Cost by project as DuckDB finds it in the files of the histories, and as it stands in the lake: no line of hexport's
/// has a part in the former.
#[test]
fn cost_is_what_duckdb_finds_in_the_histories_themselves() {
    let fixture = fixture(30);
    // The file as a relation of: identifier, text, milliseconds, whether it failed, bytes.
    let forms: [(&str, &str, &str); 2] = [
        (
            "snowflake",
            "QUERY_ID, QUERY_TEXT, TOTAL_ELAPSED_TIME::DOUBLE, EXECUTION_STATUS <> 'SUCCESS', BYTES_SCANNED::DOUBLE",
            "read_csv('FILE', header = true, all_varchar = true, quote = '\"', escape = '\"')",
        ),
        (
            "bigquery",
            "job_id, query, date_diff('millisecond', replace(start_time, ' UTC', '')::TIMESTAMP, \
             replace(end_time, ' UTC', '')::TIMESTAMP), error_result IS NOT NULL, total_bytes_billed::DOUBLE",
            "read_json('FILE', format = 'newline_delimited', columns = {job_id: 'VARCHAR', query: 'VARCHAR', \
             start_time: 'VARCHAR', end_time: 'VARCHAR', error_result: 'VARCHAR', total_bytes_billed: 'VARCHAR'})",
        ),
    ];
    for (kind, columns, reader) in forms {
        let (_, file, _) = fixture.histories.iter().find(|(of, ..)| *of == kind).unwrap();
        import(&fixture.lake, file, kind, &[], 0);
        let reader = reader.replace("FILE", file.to_str().unwrap());
        let in_file = format!(
            "WITH q(id, text, ms, failed, bytes) AS (SELECT {columns} FROM {reader}), \
             hex AS (SELECT DISTINCT ON (id) *, regexp_extract(text, \
             'Hex query metadata: .*\"project_id\": *\"([0-9a-f-]{{36}})\"', 1) AS project FROM q ORDER BY id) \
             SELECT project, count(*), count(*) FILTER (failed), sum(ms) / 1e3, sum(bytes) FROM hex \
             WHERE project <> '' GROUP BY project"
        );
        let in_lake = format!(
            "SELECT project_id, sum(queries), coalesce(sum(queries) FILTER (outcome = 'failed'), 0), \
             sum(seconds), sum(bytes_scanned) FROM query_days \
             WHERE warehouse = '{kind}' GROUP BY project_id"
        );
        let (expected, found) =
            (keyed(ask(&fixture.lake, &in_file), 1), keyed(ask(&fixture.lake, &in_lake), 1));
        assert!(expected.len() > 3, "{kind}: {expected:?}");
        assert_same(&found, &expected);
    }
}

#[test]
fn nothing_counts_twice_however_often_and_in_whatever_parts_it_is_imported() {
    let fixture = fixture(12);
    let (kind, file, _) = &fixture.histories[0];
    let text = std::fs::read_to_string(file).unwrap();
    let sums = format!("SELECT {USAGE} FROM project_cost");
    // In two parts that overlap, the later one first.
    let queries = &fixture.histories[0].2;
    let part = |range: std::ops::Range<usize>, name: &str| {
        let path = fixture.lake.with_file_name(name);
        std::fs::write(&path, render(kind, &queries[range], Form::JsonLines)).unwrap();
        path
    };
    let half = queries.len() / 2;
    let second = import(&fixture.lake, &part(half - 20..queries.len(), "b.jsonl"), kind, &[], 0);
    let first = import(&fixture.lake, &part(0..half + 20, "a.jsonl"), kind, &[], 0);
    assert!(first["not_used"]["known"].as_u64().unwrap() >= 30, "{first}");
    let used = queries.iter().filter(|query| query.is_attributable()).count();
    assert_eq!(first["imported"].as_u64().unwrap() + second["imported"].as_u64().unwrap(), used as u64);
    let before = floats(&ask(&fixture.lake, &sums)[0]);
    let snapshots = verify(&fixture.lake).unwrap()["sequence"].clone();
    let again = import(&fixture.lake, file, kind, &[], 0);
    assert_eq!((&again["imported"], &again["snapshot_id"]), (&json!(0), &Value::Null), "{again}");
    assert_eq!(again["not_used"]["known"], used, "{again}");
    assert_eq!(verify(&fixture.lake).unwrap()["sequence"], snapshots);
    assert_eq!(floats(&ask(&fixture.lake, &sums)[0]), before);
    // The same in one go.
    let other = fixture.lake.with_file_name("other");
    fixture.sim.export(&other, &[], 0);
    import(&other, file, kind, &[], 0);
    let whole = floats(&ask(&other, &sums)[0]);
    assert!(whole.iter().zip(&before).all(|(a, b)| close(*a, *b)), "{whole:?} {before:?}");
    assert!(text.len() > 1000);
    // Once the queries are pruned, their days are closed: what they held can't be told any longer.
    let manifests = std::fs::read_dir(&other).unwrap().map(|entry| entry.unwrap().path());
    let holder = manifests.filter(|path| path.join("warehouse_queries.parquet").exists()).last().unwrap();
    let totals: Vec<PathBuf> =
        ["query_days", "query_runs"].iter().map(|name| holder.join(format!("{name}.parquet"))).collect();
    assert!(totals.iter().all(|path| path.exists()));
    fixture.sim.export(&other, &[], 0);
    std::fs::remove_dir_all(holder).unwrap();
    fixture.sim.export(&other, &[], 0);
    let late = import(&other, file, kind, &[], 0);
    assert_eq!((&late["imported"], &late["not_used"]["removed"]), (&json!(0), &json!(used)), "{late}");
    let kept = floats(&ask(&other, &sums)[0]);
    assert!(whole.iter().zip(&kept).all(|(a, b)| close(*a, *b)));
}

#[test]
fn bad_files_are_refused_or_counted_and_say_why() {
    let fixture = fixture(8);
    let lake = &fixture.lake;
    let folder = lake.parent().unwrap();
    let write = |name: &str, text: &[u8]| {
        let path = folder.join(name);
        std::fs::write(&path, text).unwrap();
        path
    };
    let (kind, file, queries) = &fixture.histories[0];
    let snapshots = verify(lake).unwrap()["sequence"].clone();
    let refused = |path: &Path, kind: &str, code: i32, words: &str| {
        let args =
            ["import", "query-history", lake.to_str().unwrap(), path.to_str().unwrap(), "--warehouse", kind];
        let said = stderr(&run(&mut hexport(&args), code));
        assert!(said.contains(words), "{said}");
        assert_eq!(verify(lake).unwrap()["sequence"], snapshots, "{words}");
    };
    refused(file, "bigquery", 2, "is a history of snowflake (by its columns), and not of bigquery");
    refused(
        &write("y.csv", b"query_id,query_text\n"),
        kind,
        2,
        "has no column for started_at (looked for started_at, start_time)",
    );
    refused(&write("x.csv", b"a,b\n1,2\n"), kind, 2, "it has a, b");
    refused(&write("x.parquet", b"PAR1\x00\x00"), kind, 2, "isn't a readable Parquet file");
    refused(&write("x.gz", b"\x1f\x8b\x08\x00"), kind, 2, "decompress it first");
    refused(&write("x.json", b"[{\"query_id\": "), kind, 2, "isn't a readable JSON file");
    refused(&folder.join("none.csv"), kind, 2, "can't read");
    let plain = b"query_id,query_text,started_at,warehouse\n1,SELECT 1,2026-11-01T00:00:00Z,trino\n";
    refused(&write("trino.csv", plain), kind, 2, "is a history of trino, and not of snowflake");
    refused(&write("plain.csv", plain), "trino", 5, "no row carries Hex's comment");
    let mapped = ["--map", "query_text=sql"];
    let args =
        ["import", "query-history", lake.to_str().unwrap(), file.to_str().unwrap(), "--warehouse", kind];
    let said = stderr(&run(&mut hexport(&[&args[..], &mapped[..]].concat()), 2));
    assert!(said.contains("has no column sql, which is mapped to query_text"), "{said}");
    let said = stderr(&run(&mut hexport(&[&args[..], &["--connection", "nowhere"]].concat()), 2));
    assert!(said.contains("there is no connection 'nowhere'"), "{said}");
    // Half written: what came before is used, and the exit code says that it isn't all.
    let lines = render(kind, queries, Form::JsonLines);
    let torn = write("torn.jsonl", &lines.as_bytes()[..lines.len() / 2]);
    let said = import(lake, &torn, kind, &[], 4);
    assert_eq!(said["not_used"]["unreadable"], 1, "{said}");
    assert!(said["imported"].as_u64().unwrap() > 10, "{said}");
    let whole = format!("[{}]", lines.trim_end().replace('\n', ","));
    let torn = write("torn.json", &whole.as_bytes()[..whole.len() * 2 / 3]);
    let said = import(lake, &torn, kind, &[], 4);
    assert_eq!(said["unreadable"]["the file ends, or is damaged, in the middle of it"], 1, "{said}");
    let said = import(lake, &write("whole.json", whole.as_bytes()), kind, &[], 0);
    let used = queries.iter().filter(|query| query.is_attributable()).count() as u64;
    assert_eq!(ask_one(lake, "SELECT count(*) FROM warehouse_queries"), used, "{said}");
}

#[test]
fn an_import_and_an_export_on_one_machine_never_write_at_the_same_time() {
    let fixture = fixture(4);
    let lake = fixture.lake.to_str().unwrap();
    let (kind, file, _) = &fixture.histories[0];
    let args = ["import", "query-history", lake, file.to_str().unwrap(), "--warehouse", kind];
    // Whoever writes holds the lake's lock.
    let lock = hexport::snapshot::Lake::new(&fixture.lake).lock().unwrap();
    let before = verify(&fixture.lake).unwrap()["sequence"].clone();
    let said = stderr(&run(&mut hexport(&args), 6));
    assert!(said.contains("another export") && said.contains(&std::process::id().to_string()), "{said}");
    run(&mut fixture.sim.hexport(&["export", lake]), 6);
    assert_eq!(verify(&fixture.lake).unwrap()["sequence"], before);
    drop(lock);
    run(&mut hexport(&args), 0);
    run(&mut fixture.sim.hexport(&["export", lake]), 0);
    let queries = fixture.histories[0].2.iter().filter(|query| query.is_attributable()).count();
    assert_eq!(ask_one(&fixture.lake, "SELECT sum(queries)::BIGINT FROM query_days"), queries);
}

#[test]
fn times_without_a_zone_are_read_in_the_zone_that_is_named() {
    let fixture = fixture(4);
    let lake = &fixture.lake;
    let comment = |n: u32| format!("SELECT {n}\n-- Hex query metadata: {{\"\"project_id\"\": \"\"p{n}\"\"}}");
    let file = lake.with_file_name("zones.csv");
    let rows = format!(
        "query_id,sql,started_at,status\n1,\"{}\",2026-10-30 03:30:00,FINISHED\n2,\"{}\",2026-10-30 03:30:00 UTC,FINISHED\n3,\"{}\",soon,FINISHED\n4,\"{}\",2026-10-30 03:30:00,RUNNING\n5,x\n",
        comment(1),
        comment(2),
        comment(3),
        comment(4)
    );
    std::fs::write(&file, rows).unwrap();
    let more = [
        "--map",
        "query_text=sql",
        "--timezone",
        "Europe/Berlin",
        "--keep-sql",
        "--connection",
        "Warehouse 1",
    ];
    let name = &fixture.world.connections[0].name;
    let more: Vec<&str> =
        more.into_iter().map(|arg| if arg == "Warehouse 1" { name.as_str() } else { arg }).collect();
    let said = import(lake, &file, "trino", &more, 4);
    assert_eq!(said["imported"], 2, "{said}");
    assert_eq!(
        (&said["not_used"]["open"], &said["not_used"]["unreadable"]),
        (&json!(1), &json!(2)),
        "{said}"
    );
    assert_eq!(said["remarks"]["times_without_zone"], 1, "{said}");
    let rows = ask(
        lake,
        "SELECT query_id, epoch(started_at)::BIGINT, query_text, connection_name FROM warehouse_queries ORDER BY 1",
    );
    let at = |text: &str| text.parse::<chrono::DateTime<chrono::Utc>>().unwrap().timestamp();
    assert_eq!(rows[0], [json!("1"), json!(at("2026-10-30T02:30:00Z")), json!("SELECT 1"), json!(name)]);
    assert_eq!(rows[1][1], json!(at("2026-10-30T03:30:00Z")));
}

#[test]
fn extractions_are_sql_of_their_warehouses_and_begin_at_the_watermark() {
    let asked: serde_json::Map<String, Value> =
        Kind::ALL.iter().map(|kind| (kind.name().to_owned(), json!(template(*kind)))).collect();
    let read = script("ddl.py", &Value::Object(asked).to_string());
    for kind in Kind::ALL {
        assert_eq!(read[kind.name()], 1, "{kind}");
    }
    let fixture = fixture(8);
    let (kind, file, queries) = &fixture.histories[0];
    let sql = |dest: Option<&Path>| {
        let mut args = vec!["import", "query-history", "--sql", kind.as_str()];
        args.extend(dest.map(|dest| dest.to_str().unwrap()));
        stdout(&run(&mut hexport(&args), 0))
    };
    assert!(sql(None).contains("nothing was imported yet"));
    assert!(sql(Some(&fixture.lake)).contains("nothing was imported yet"));
    import(&fixture.lake, file, kind, &[], 0);
    let last =
        queries.iter().filter(|query| query.is_attributable()).map(|query| query.started).max().unwrap();
    let since = (last - chrono::TimeDelta::days(1)).format("%Y-%m-%d %H:%M:%S").to_string();
    let text = sql(Some(&fixture.lake));
    assert!(
        text.contains(&format!("-- Connection {}, since {since}", fixture.world.connections[0].name)),
        "{text}"
    );
    assert!(text.contains(&format!("TO_TIMESTAMP_TZ('{since} +00:00')")), "{text}");
}

#[test]
fn the_library_answers_about_cost_as_the_generator_knows() {
    let fixture = fixture(30);
    fixture.import_all();
    let library = |name: &str| {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("queries/{name}.sql"));
        ask(&fixture.lake, std::fs::read_to_string(file).unwrap().trim_end().trim_end_matches(';'))
    };
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let last = fixture.truth().map(|(_, query)| query.started.date_naive()).max().unwrap();
    let is_recent = |query: &&HistoryQuery| query.started.date_naive() > last - chrono::TimeDelta::days(30);
    let mut queries: BTreeMap<String, u64> = BTreeMap::new();
    for (_, query) in fixture.truth().filter(|(_, query)| is_recent(query)) {
        *queries.entry(query.project_id.to_string()).or_default() += 1;
    }
    let found: BTreeMap<String, u64> =
        library("cost_by_project").iter().map(|row| (text(&row[8]), row[5].as_u64().unwrap())).collect();
    assert_eq!(found, queries);
    let unviewed: BTreeSet<String> = fixture
        .world
        .projects
        .iter()
        .filter(|record| record.project.analytics.app_views.last_thirty_days == 0)
        .filter(|record| record.index % 9 != 4)
        .map(|record| record.project.id.to_string())
        .collect();
    let scheduled = fixture.truth().filter(|(_, query)| is_recent(query) && query.context == "SCHEDULED_RUN");
    let expected: BTreeSet<String> =
        scheduled.map(|(_, query)| query.project_id.to_string()).filter(|id| unviewed.contains(id)).collect();
    let found: BTreeSet<String> =
        library("costly_unviewed_schedules").iter().map(|row| text(&row[9])).collect();
    assert!(found.len() == expected.len().min(10) && found.is_subset(&expected), "{found:?} {expected:?}");
    // Tables of code alone.
    let sql: BTreeSet<(String, String)> = fixture
        .world
        .projects
        .iter()
        .flat_map(|record| {
            let cells = fixture.world.cells(record).into_iter().flat_map(|(_, truth)| truth.tables);
            cells.map(|table| (record.project.id.to_string(), table.qualified())).collect::<Vec<_>>()
        })
        .collect();
    let executed = fixture.truth().flat_map(|(_, query)| {
        query.tables.iter().map(|table| (query.project_id.to_string(), table.qualified())).collect::<Vec<_>>()
    });
    let expected: BTreeSet<_> = executed.filter(|edge| !sql.contains(edge)).collect();
    let rows = library("executed_beyond_sql");
    let found: BTreeSet<_> = rows.iter().map(|row| (text(&row[6]), text(&row[2]))).collect();
    assert!(!expected.is_empty());
    assert_eq!(found, expected);
    assert!(library("same_query_in_many_projects").iter().all(|row| row[2].as_u64().unwrap() >= 2));
}

#[test]
fn cost_is_shown_by_everything_with_the_prices_of_the_settings() {
    let fixture = fixture(20);
    let lake = fixture.lake.to_str().unwrap();
    let said = stderr(&run(&mut hexport(&["cost", lake]), 2));
    assert!(said.contains("no query history was imported"), "{said}");
    fixture.import_all();
    let toml = fixture.lake.with_file_name("hexport.toml");
    let snowflake = &fixture.world.connections[0].name;
    std::fs::write(
        &toml,
        format!("[cost]\ncurrency = \"EUR\"\n[cost.warehouses]\nsnowflake = {{ credit = 3.0 }}\nbigquery = {{ tib = 6.25 }}\n[cost.connections.\"{snowflake}\"]\ncredit = 2.0\n"),
    )
    .unwrap();
    let price = |kind: &str, query: &HistoryQuery| {
        let [bytes, credits, _] = figures(kind, query);
        let credit = if fixture.world.connections[query.connection].name == *snowflake { 2.0 } else { 3.0 };
        match kind {
            "snowflake" => credit * credits,
            "bigquery" => 6.25 * bytes / (1u64 << 40) as f64,
            _ => 0.0,
        }
    };
    let ask_cost = |more: &[&str]| -> Value {
        let mut args = vec!["cost", lake, "--output", "json", "--config", toml.to_str().unwrap()];
        args.extend(more);
        serde_json::from_slice(&run(&mut hexport(&args), 0).stdout).unwrap()
    };
    let sum = |answer: &Value, name: &str| -> f64 {
        answer["lines"].as_array().unwrap().iter().map(|line| line[name].as_f64().unwrap_or(0.0)).sum()
    };
    let all: f64 = fixture.truth().map(|(kind, query)| price(kind, query)).sum();
    let queries = fixture.truth().count() as f64;
    for by in ["project", "owner", "cell", "user", "run"] {
        let answer = ask_cost(&["--by", by]);
        assert!(close(sum(&answer, "cost"), all), "{by}: {} {all}", sum(&answer, "cost"));
        assert!(close(sum(&answer, "queries"), queries), "{by}");
        assert_eq!(answer["currency"], "EUR");
        let costs: Vec<f64> =
            answer["lines"].as_array().unwrap().iter().map(|l| l["cost"].as_f64().unwrap_or(0.0)).collect();
        assert!(costs.is_sorted_by(|a, b| a >= b), "{by}: {costs:?}");
    }
    let scheduled = || fixture.truth().filter(|(_, query)| query.context == "SCHEDULED_RUN");
    let answer = ask_cost(&["--by", "schedule"]);
    assert!(close(sum(&answer, "cost"), scheduled().map(|(kind, query)| price(kind, query)).sum()));
    let traced = fixture.truth().filter(|(_, query)| query.has_trace).count();
    assert_eq!(answer["queries_joined_to_runs"]["by_trace"], traced);
    // Each table of a query counts for the whole query.
    let by_table: f64 = fixture
        .truth()
        .map(|(kind, query)| price(kind, query) * query.tables.iter().collect::<BTreeSet<_>>().len() as f64)
        .sum();
    assert!(close(sum(&ask_cost(&["--by", "table"]), "cost"), by_table));
    let since: chrono::NaiveDate = "2026-10-25".parse().unwrap();
    let recent = || fixture.truth().filter(|(_, query)| query.started.date_naive() >= since);
    let answer = ask_cost(&["--since", "2026-10-25"]);
    assert!(close(sum(&answer, "queries"), recent().count() as f64));
    assert!(close(sum(&answer, "cost"), recent().map(|(kind, query)| price(kind, query)).sum()));
    // For people, and as CSV.
    let args = ["cost", lake, "--by", "schedule", "--limit", "3", "--config", toml.to_str().unwrap()];
    let text = stdout(&run(&mut hexport(&args), 0));
    assert!(text.contains("cost EUR") && text.contains("belong to a known run by its trace"), "{text}");
    let text = stdout(&run(&mut hexport(&["cost", lake, "--output", "csv"]), 0));
    assert!(text.starts_with("project,owner,views,project_id,queries,failures"), "{text}");
    let text = stdout(&run(&mut hexport(&["cost", lake]), 0));
    assert!(text.contains("No prices are set"), "{text}");
}
