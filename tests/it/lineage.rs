//! Lineage and statistics, checked against the generator's truth and against what DuckDB computes.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use hexport::sim::{CellTruth, Change, Plan, ProjectRecord, SimConfig, TableRef, World, WorldConfig};
use serde_json::{Value, json};

use crate::support::*;

/// In the simulated workspace it is always this moment.
const NOW: [&str; 2] = ["--fixed-time", "2026-11-02T06:00:00Z"];

fn texts(rows: Vec<Vec<Value>>) -> BTreeSet<Vec<String>> {
    rows.into_iter()
        .map(|row| row.into_iter().map(|v| v.as_str().unwrap_or("").to_owned()).collect())
        .collect()
}

/// Project, connection and table of what the cells' SQL reads and writes, and which of the two.
fn true_tables(world: &World) -> BTreeSet<Vec<String>> {
    let of = |record: &ProjectRecord| -> Vec<Vec<String>> {
        let id = record.project.id.to_string();
        let cells = world.cells(record);
        let reads = cells.iter().flat_map(|(_, truth)| &truth.tables).map(|table| (table, "read"));
        let writes = cells.iter().flat_map(|(_, truth)| &truth.writes).map(|table| (table, "write"));
        let row = |(t, direction): (&TableRef, &str)| {
            let connection = world.connections[t.connection].id.to_string();
            vec![id.to_string(), connection, t.qualified(), direction.to_owned()]
        };
        reads.chain(writes).map(row).collect()
    };
    world.projects.iter().flat_map(of).collect()
}

/// The same, and what the components use that a project imports, as rows of the project.
fn true_uses(world: &World) -> BTreeSet<Vec<String>> {
    let own = true_tables(world);
    let through: Vec<Vec<String>> = components_of(world)
        .into_iter()
        .flat_map(|(project, component)| {
            let of = own.iter().filter(move |row| row[0] == component);
            of.map(move |row| [std::slice::from_ref(&project), &row[1..]].concat())
        })
        .collect();
    own.into_iter().chain(through).collect()
}

fn true_columns(world: &World) -> BTreeSet<Vec<String>> {
    columns(world, |truth| &truth.columns)
}

/// Project, connection, table and column of some of the columns that cells read.
fn columns(world: &World, of_cell: fn(&CellTruth) -> &Vec<(TableRef, String)>) -> BTreeSet<Vec<String>> {
    let of = |record: &ProjectRecord| -> Vec<Vec<String>> {
        let id = record.project.id.to_string();
        let cells = world.cells(record);
        let columns = cells.iter().flat_map(|(_, truth)| of_cell(truth));
        columns
            .map(|(t, c)| {
                vec![id.to_string(), world.connections[t.connection].id.to_string(), t.qualified(), c.clone()]
            })
            .collect()
    };
    world.projects.iter().flat_map(of).collect()
}

/// Precision and recall of `found` against `truth`.
fn quality(found: &BTreeSet<Vec<String>>, truth: &BTreeSet<Vec<String>>) -> (f64, f64) {
    let right = found.intersection(truth).count() as f64;
    (right / found.len() as f64, right / truth.len() as f64)
}

#[test]
fn lineage_is_exact_from_queried_tables_and_nearly_so_from_sql() {
    let dir = tempfile::tempdir().unwrap();
    let sim = Sim::of_projects(400);
    sim.export(dir.path(), &NOW, 0);
    let world = sim.server.world();
    let key = "project_id, data_connection_id, table_key";
    let queried = texts(ask(
        dir.path(),
        &format!("SELECT {key} FROM lineage WHERE list_contains(evidence, 'queried')"),
    ));
    let truth: BTreeSet<Vec<String>> = world
        .projects
        .iter()
        .flat_map(|r| {
            world
                .queried_tables(r)
                .into_iter()
                .map(|t| vec![r.project.id.to_string(), t.data_connection_id.into(), t.table_name])
        })
        .collect();
    assert!(truth.len() > 500);
    assert_eq!(queried, truth);

    let sql = texts(ask(dir.path(), &format!("SELECT DISTINCT {key}, direction FROM sql_tables")));
    let (precision, recall) = quality(&sql, &true_tables(&world));
    println!("tables from SQL: precision {precision:.4}, recall {recall:.4}, {} found", sql.len());
    assert_eq!((precision, recall), (1.0, 1.0), "with loops, macros and writes in the SQL");
    let found = texts(ask(dir.path(), &format!("SELECT {key}, column_name FROM column_lineage")));
    let (precision, recall) = quality(&found, &true_columns(&world));
    println!("columns from SQL: precision {precision:.4}, recall {recall:.4}, {} found", found.len());
    assert!(precision == 1.0 && recall >= 0.98);
    // Columns of joins that name them without their table: what other queries show of the tables tells whose they are.
    let open = columns(&world, |truth| &truth.unqualified);
    let (_, recall) = quality(&found, &open);
    println!("columns without their table: recall {recall:.4} of {}", open.len());
    assert!(open.len() > 200 && recall >= 0.8);
    // Of those that a query of the workspace shows with their table.
    let shown: BTreeSet<Vec<String>> =
        columns(&world, |truth| &truth.shown).into_iter().map(|row| row[1..].to_vec()).collect();
    let learned: BTreeSet<Vec<String>> = open.into_iter().filter(|row| shown.contains(&row[1..])).collect();
    let (_, recall) = quality(&found, &learned);
    println!("of these, learned: recall {recall:.4} of {}", learned.len());
    assert!(learned.len() > 200 && recall >= 0.9);
    let kinds = ask(dir.path(), "SELECT DISTINCT connection_type FROM sql_cells WHERE parsed");
    assert_eq!(kinds.len(), 9, "all kinds of the description, and dataframes: {kinds:?}");
    let frames =
        ask_one(dir.path(), "SELECT count(*) FROM sql_cells WHERE len(dataframes) > 0 AND tables = 0");
    assert!(frames.as_u64().unwrap() > 50);
}

#[test]
fn without_queried_tables_there_is_lineage_from_sql() {
    let dir = tempfile::tempdir().unwrap();
    let world = WorldConfig { plan: Plan::Team, ..world_of(60) };
    let sim = Sim::start(SimConfig { world, ..SimConfig::default() });
    sim.export(dir.path(), &[], 0);
    let evidence = ask(dir.path(), "SELECT DISTINCT evidence FROM lineage ORDER BY evidence");
    assert_eq!(json!(evidence), json!([[["component"]], [["component", "sql"]], [["sql"]]]));
    let own = "SELECT project_id, data_connection_id, table_key, direction FROM lineage WHERE list_contains(evidence, 'sql')";
    let found = texts(ask(dir.path(), own));
    assert_eq!(quality(&found, &true_tables(&sim.server.world())), (1.0, 1.0));
}

#[test]
fn first_seen_is_carried_on_and_last_seen_is_when_it_was_read() {
    let dir = tempfile::tempdir().unwrap();
    let sim = Sim::of_projects(60);
    sim.export(dir.path(), &["--fixed-time", "2026-11-02T06:00:00Z"], 0);
    let (edited, before) = {
        let mut world = sim.server.world_mut();
        let at = (0..60).find(|at| world.cells(&world.projects[*at]).len() > 30).unwrap();
        let before = true_uses(&world);
        (world.change(Change::Edit, at, "2026-11-03T00:00:00Z".parse().unwrap()).unwrap(), before)
    };
    sim.export(dir.path(), &["--fixed-time", "2026-11-03T06:00:00Z"], 0);
    let times = |of: &str| {
        let sql =
            format!("SELECT project_id, data_connection_id, table_key, direction FROM lineage WHERE {of}");
        texts(ask(dir.path(), &sql))
    };
    let new = times("first_seen_at = TIMESTAMPTZ '2026-11-03 06:00:00+00'");
    let expected: BTreeSet<_> = true_uses(&sim.server.world()).difference(&before).cloned().collect();
    assert!(!expected.is_empty());
    assert_eq!(new, expected);
    let reread = times("last_seen_at = TIMESTAMPTZ '2026-11-03 06:00:00+00'");
    let importers = components_of(&sim.server.world());
    let is_moved = |id: &String| *id == edited || importers.contains(&(id.to_string(), edited.clone()));
    assert!(reread.iter().all(|row| is_moved(&row[0])) && reread.len() > new.len() / 2);
}

#[test]
fn every_statistic_is_what_duckdb_computes_from_the_runs() {
    let dir = tempfile::tempdir().unwrap();
    let sim = Sim::of_projects(150);
    sim.export(dir.path(), &NOW, 0);
    let recomputed = "
        WITH doubled AS (SELECT *, 'ALL' AS t FROM runs UNION ALL SELECT *, run_trigger AS t FROM runs),
        ended AS (SELECT *, status IN ('COMPLETED', 'ERRORED', 'KILLED', 'UNABLE_TO_ALLOCATE_KERNEL') AS e FROM doubled),
        success AS (SELECT project_id, t, max(start_time) AS ok FROM ended WHERE status = 'COMPLETED' GROUP BY ALL)
        SELECT project_id, t, count(*), count(*) FILTER (status = 'COMPLETED'), count(*) FILTER (status = 'ERRORED'),
            count(*) FILTER (status = 'KILLED'), count(*) FILTER (status = 'UNABLE_TO_ALLOCATE_KERNEL'), count(*) FILTER (NOT e),
            count(*) FILTER (status = 'COMPLETED') / nullif(count(*) FILTER (e), 0),
            min(duration_seconds) FILTER (e), avg(duration_seconds) FILTER (e),
            quantile_cont(duration_seconds, 0.5) FILTER (e), quantile_cont(duration_seconds, 0.9) FILTER (e),
            quantile_cont(duration_seconds, 0.95) FILTER (e), quantile_cont(duration_seconds, 0.99) FILTER (e),
            max(duration_seconds) FILTER (e), count(*) FILTER (NOT duration_agrees),
            epoch_us(min(start_time)), epoch_us(max(start_time)), epoch_us(ok), (epoch_us(any_value(snapshot_at)) - epoch_us(ok)) / 1e6,
            count(*) FILTER (status IN ('ERRORED', 'UNABLE_TO_ALLOCATE_KERNEL') AND (ok IS NULL OR ordered_at > ok))
        FROM ended LEFT JOIN success USING (project_id, t) GROUP BY project_id, t, ok ORDER BY project_id, t";
    let derived = "
        SELECT project_id, run_trigger, runs, completed, errored, killed, no_kernel, unfinished, success_rate, min_seconds,
            mean_seconds, p50_seconds, p90_seconds, p95_seconds, p99_seconds, max_seconds, durations_disagree,
            epoch_us(first_run_at), epoch_us(last_run_at), epoch_us(last_success_at), seconds_since_success, failure_streak
        FROM run_stats WHERE runs > 0 ORDER BY project_id, run_trigger";
    assert_close(&ask(dir.path(), derived), &ask(dir.path(), recomputed), 200);
    let recomputed = "
        SELECT project_id, start_time::DATE, run_trigger, count(*), count(*) FILTER (status = 'COMPLETED'),
            count(*) FILTER (status IN ('ERRORED', 'KILLED', 'UNABLE_TO_ALLOCATE_KERNEL')),
            coalesce(sum(duration_seconds), 0), avg(duration_seconds), max(duration_seconds),
            quantile_cont(duration_seconds, 0.5), quantile_cont(duration_seconds, 0.95), avg(queue_seconds)
        FROM runs WHERE start_time IS NOT NULL GROUP BY ALL ORDER BY ALL";
    let derived = "SELECT project_id, day, run_trigger, runs, completed, failed, total_seconds, mean_seconds, max_seconds,
        p50_seconds, p95_seconds, mean_queue_seconds FROM run_daily ORDER BY ALL";
    assert_close(&ask(dir.path(), derived), &ask(dir.path(), recomputed), 1000);
    // How long runs waited and held a kernel, by their changes of status.
    let recomputed = "
        WITH events AS (SELECT run_id, unnest(state_events) AS e FROM runs),
            times AS (SELECT run_id, min(e.timestamp) AS first, min(e.timestamp) FILTER (e.value = 'RUNNING') AS running,
                max(e.timestamp) AS last FROM events GROUP BY ALL)
        SELECT run_id, epoch(running - first), epoch(last - running) FROM times WHERE last > running ORDER BY ALL";
    let derived = "SELECT run_id, queue_seconds, kernel_seconds FROM runs WHERE kernel_seconds IS NOT NULL ORDER BY ALL";
    assert_close(&ask(dir.path(), derived), &ask(dir.path(), recomputed), 100);
    // Seen scheduled runs, in the window that the docs state.
    let recomputed = "
        SELECT project_id, count(run_id) FROM projects p
        JOIN (SELECT DISTINCT project_id FROM project_schedules WHERE enabled) USING (project_id)
        LEFT JOIN runs r ON r.project_id = p.project_id AND run_trigger = 'SCHEDULED'
            AND start_time > greatest(p.snapshot_at - INTERVAL 30 DAY, last_published_at)
            AND start_time <= least(p.snapshot_at, coalesce(archived_at, p.snapshot_at), coalesce(trashed_at, p.snapshot_at))
        WHERE last_published_at IS NOT NULL GROUP BY ALL ORDER BY ALL"
        .replace("SELECT project_id, count", "SELECT p.project_id, count");
    let derived = "SELECT project_id, seen_runs FROM run_stats WHERE seen_runs IS NOT NULL ORDER BY ALL";
    assert_close(&ask(dir.path(), derived), &ask(dir.path(), &recomputed), 20);
    let most = ask_one(dir.path(), "SELECT max(adherence) FROM run_stats").as_f64().unwrap();
    assert!(most > 0.9 && most <= 1.0, "{most}");
}

/// The same rows, up to the rounding of sums.
fn assert_close(found: &[Vec<Value>], expected: &[Vec<Value>], at_least: usize) {
    assert!(expected.len() >= at_least, "{}", expected.len());
    assert_eq!(found.len(), expected.len());
    for (a, b) in found.iter().zip(expected) {
        let close = a.len() == b.len()
            && a.iter().zip(b).all(|(x, y)| match (x.as_f64(), y.as_f64()) {
                (Some(x), Some(y)) => (x - y).abs() <= 1e-9 * x.abs().max(y.abs()).max(1.0),
                _ => x == y,
            });
        assert!(close, "\n{a:?}\n{b:?}");
    }
}

#[test]
fn usage_tables_agree_with_the_tables_that_they_come_from() {
    let dir = tempfile::tempdir().unwrap();
    let sim = Sim::of_projects(120);
    sim.export(dir.path(), &NOW, 0);
    let differences =
        |sql: &str| ask_one(dir.path(), &format!("SELECT count(*) FROM ({sql})")).as_u64().unwrap();
    for (a, b) in [
        (
            "SELECT data_connection_id, table_key, projects, writing_projects, live_projects, published_projects, archived_projects, owners FROM table_usage",
            "SELECT data_connection_id, table_key, count(*) FILTER (direction = 'read'), count(*) FILTER (direction = 'write'), \
             count(*) FILTER (direction = 'read' AND is_published AND NOT is_archived), count(*) FILTER (direction = 'read' AND \
             is_published), count(*) FILTER (direction = 'read' AND is_archived), count(DISTINCT owner_email) FILTER \
             (direction = 'read') FROM lineage GROUP BY ALL",
        ),
        (
            "SELECT data_connection_id, tables, sql_cells FROM connection_usage",
            "SELECT data_connection_id, (SELECT count(DISTINCT table_key) FROM lineage l WHERE l.data_connection_id = \
             c.data_connection_id), (SELECT count(*) FROM cells x WHERE x.data_connection_id = c.data_connection_id AND cell_type \
             = 'SQL') FROM data_connections c",
        ),
        (
            "SELECT email, is_active_user, projects_owned, projects_created, groups FROM user_activity",
            "SELECT email, email IN (SELECT email FROM users), (SELECT count(*) FROM projects WHERE owner_email = email), (SELECT \
             count(*) FROM projects WHERE creator_email = email), (SELECT count(*) FROM group_members g WHERE g.email = e.email) \
             FROM (SELECT email FROM users UNION SELECT owner_email FROM projects UNION SELECT creator_email FROM projects) e",
        ),
        (
            "SELECT email, runs_last_30_days FROM user_activity WHERE projects_owned > 0",
            "SELECT owner_email, count(run_id) FROM projects p LEFT JOIN runs r ON r.project_id = p.project_id AND \
             r.start_time::DATE > (p.snapshot_at - INTERVAL 30 DAY)::DATE GROUP BY ALL",
        ),
    ] {
        assert_eq!(differences(&format!("({a}) EXCEPT ALL ({b})")), 0, "{a}");
        assert_eq!(differences(&format!("({b}) EXCEPT ALL ({a})")), 0, "{a}");
    }
}

#[test]
fn cells_that_are_not_sql_say_so_and_stop_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let sim = Sim::of_projects(40);
    let proxy = sim.block_on(changing_answers(sim.server.url(), |target, body| {
        if !target.starts_with("/api/v1/cells") {
            return;
        }
        let bad = [
            "this is not sql".to_owned(),
            "select \u{0}\u{1}\u{fffd} from".to_owned(),
            format!("select '{}' as big from t", "é".repeat(500_000)),
            format!("{}select 1{}", "select * from (".repeat(2_000), ")".repeat(2_000)),
        ];
        for (i, cell) in
            body["values"].as_array_mut().into_iter().flatten().filter(|c| c["cellType"] == "SQL").enumerate()
        {
            if i % 5 != 4 {
                cell["contents"]["sqlCell"]["source"] = json!(bad[i % 5]);
                cell["dataConnectionId"] = json!("an-unknown-connection");
            }
        }
    }));
    let mut command = sim.hexport(&["export", dir.path().to_str().unwrap()]);
    run(command.env("HEX_API_URL", proxy), 0);
    let states = ask(
        dir.path(),
        "SELECT parsed, error IS NOT NULL, count(*) FROM sql_cells GROUP BY ALL ORDER BY ALL",
    );
    assert_eq!(states.len(), 2, "{states:?}");
    assert!(
        states.iter().all(|row| row[0].as_bool() != row[1].as_bool() && row[2].as_u64().unwrap() > 10),
        "{states:?}"
    );
    let big = ask(
        dir.path(),
        "SELECT s.parsed, s.connection_type FROM sql_cells s JOIN cells USING (project_id, static_id) WHERE length(source) > 400000",
    );
    assert!(!big.is_empty() && big.iter().all(|row| row[0] == true && row[1] == "other"), "{big:?}");
}

/// The rows of a query of the library.
fn library(lake: &Path, name: &str, set: &str) -> Vec<Vec<Value>> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("queries/{name}.sql"));
    let sql = std::fs::read_to_string(file).unwrap();
    // The columns are those that the header names.
    let header: String =
        sql.lines().take_while(|l| l.starts_with("--")).map(|l| l[2..].trim().to_owned() + " ").collect();
    let named = header.split("Columns: ").nth(1).unwrap().split('(').next().unwrap();
    let named: Vec<&str> = named.split(',').map(str::trim).collect();
    let described = ask(lake, &format!("{set} DESCRIBE {sql}"));
    let columns: Vec<&str> = described.iter().map(|row| row[0].as_str().unwrap()).collect();
    assert_eq!(columns, named, "{name}");
    ask(lake, &format!("{set} {sql}"))
}

fn column(rows: &[Vec<Value>], at: usize) -> BTreeSet<String> {
    rows.iter().map(|row| row[at].as_str().unwrap().to_owned()).collect()
}

#[test]
fn the_query_library_answers_as_the_generator_knows() {
    let dir = tempfile::tempdir().unwrap();
    let sim = Sim::of_projects(300);
    sim.export(dir.path(), &NOW, 0);
    let world = sim.server.world();
    let lake = dir.path();
    let epoch = world.config.epoch;
    let at =
        |text: &Option<String>| text.as_deref().map(|t| t.parse::<chrono::DateTime<chrono::Utc>>().unwrap());
    let ids = |keep: &dyn Fn(&ProjectRecord) -> bool| -> BTreeSet<String> {
        world.projects.iter().filter(|r| keep(r)).map(|r| r.project.id.to_string()).collect()
    };
    let alive = |r: &ProjectRecord| r.project.archived_at.is_none() && r.project.trashed_at.is_none();
    let truth = true_uses(&world);

    let table = &truth.iter().nth(100).unwrap()[2];
    let suffix = table.split_once('.').unwrap().1.to_lowercase();
    let readers = library(lake, "who_reads_table", &format!("SET VARIABLE table_name = '{suffix}';"));
    let expected: BTreeSet<String> = truth
        .iter()
        .filter(|t| t[3] == "read" && t[2].to_lowercase().ends_with(&format!(".{suffix}")))
        .map(|t| t[0].clone())
        .collect();
    assert_eq!(column(&readers, 11), expected);
    assert_eq!(library(lake, "who_reads_table", "").len(), truth.iter().filter(|t| t[3] == "read").count());

    let connection = &world.connections[1];
    let breaking = library(
        lake,
        "what_breaks_without_connection",
        &format!("SET VARIABLE connection = '{}';", connection.name),
    );
    let users = ids(&|r| alive(r) && truth.iter().any(|t| t[0] == r.project.id && t[1] == connection.id));
    assert!(!users.is_empty());
    assert_eq!(column(&breaking, 8), users);

    let emails: BTreeSet<&str> = world.users.iter().map(|u| u.email.as_str()).collect();
    let orphans = ids(&|r| alive(r) && !emails.contains(r.project.owner.email.as_str()));
    assert!(orphans.len() > 3);
    assert_eq!(column(&library(lake, "owners_who_left", ""), 7), orphans);

    let long_ago = epoch - chrono::TimeDelta::days(5);
    let unused = ids(&|r| {
        let published = at(&r.project.last_published_at);
        let runs = world.runs(r).iter().filter(|run| run.status != "PENDING").map(|run| run.triggered);
        let uses = [
            published,
            at(&r.project.analytics.last_viewed_at),
            at(&Some(r.project.last_edited_at.clone())),
            runs.max(),
        ];
        r.project.kind == "PROJECT"
            && alive(r)
            && published.is_some()
            && r.project.analytics.app_views.last_thirty_days == 0
            && uses.into_iter().flatten().max().is_some_and(|last| last < long_ago)
    });
    assert!(!unused.is_empty());
    assert_eq!(column(&library(lake, "unused_published_projects", "SET VARIABLE days = 5;"), 8), unused);

    let sensitive = |t: &str| {
        let name = if t.matches('.').count() == 2 { t.split_once('.').unwrap().1 } else { t };
        let words = ["hr", "payroll", "salaries", "salary", "finance", "private", "pii"];
        name.to_lowercase().split(['.', '_']).any(|part| words.contains(&part))
    };
    let public = ids(&|r| r.project.sharing.as_ref().unwrap().public_web.access != "NONE");
    let exposed: BTreeSet<String> =
        truth.iter().filter(|t| public.contains(&t[0]) && sensitive(&t[2])).map(|t| t[0].clone()).collect();
    assert!(!exposed.is_empty());
    assert_eq!(column(&library(lake, "public_projects_reading_sensitive_schemas", ""), 7), exposed);

    // Medians and success rates, over the runs that the generator made.
    let ended = |r: &ProjectRecord| -> Vec<(f64, bool)> {
        let runs = world
            .runs(r)
            .iter()
            .filter_map(|run| Some((f64::from(run.elapsed_ms?) / 1000.0, run.status == "COMPLETED")));
        runs.collect()
    };
    let enough = ids(&|r| ended(r).len() >= 5);
    let slowest = library(lake, "slowest_projects", "");
    assert_eq!(column(&slowest, 7), enough);
    let of = |id: &Value| &world.projects[world.find_project(id.as_str().unwrap()).unwrap()];
    for row in slowest.iter().take(5) {
        let mut seconds: Vec<f64> = ended(of(&row[7])).into_iter().map(|(s, _)| s).collect();
        seconds.sort_by(f64::total_cmp);
        let n = seconds.len();
        let median = (seconds[(n - 1) / 2] + seconds[n / 2]) / 2.0;
        assert!((median - row[3].as_f64().unwrap()).abs() <= 0.06, "{row:?} {median}");
    }
    assert!(slowest.windows(2).all(|w| w[0][3].as_f64() >= w[1][3].as_f64()));
    let flaky = library(lake, "flakiest_projects", "");
    assert_eq!(column(&flaky, 8), ids(&|r| ended(r).len() >= 5 && ended(r).iter().any(|(_, ok)| !ok)));
    for row in flaky.iter().take(5) {
        let runs = ended(of(&row[8]));
        let rate = runs.iter().filter(|(_, ok)| *ok).count() as f64 / runs.len() as f64;
        assert!((rate - row[4].as_f64().unwrap()).abs() < 0.001);
    }

    let recent = |r: &ProjectRecord| {
        let month = epoch - chrono::TimeDelta::days(30);
        world.runs(r).iter().filter(|run| run.trigger == "SCHEDULED" && run.triggered > month).count()
    };
    let notifies =
        |r: &ProjectRecord| r.index % 9 == 4 && world.runs(r).iter().any(|run| run.trigger == "SCHEDULED");
    let burning =
        ids(&|r| r.project.analytics.app_views.last_thirty_days == 0 && recent(r) > 0 && !notifies(r));
    assert!(!burning.is_empty());
    assert_eq!(column(&library(lake, "unviewed_schedules", ""), 7), burning);

    let edges = library(lake, "lineage_edges", "");
    assert_eq!(edges.len(), truth.len());
    let trend = library(lake, "run_time_trend", "");
    // Without a kernel there is no start.
    let unstarted = ["PENDING", "UNABLE_TO_ALLOCATE_KERNEL"];
    let started: usize = world
        .projects
        .iter()
        .map(|r| world.runs(r).iter().filter(|run| !unstarted.contains(&run.status)).count())
        .sum();
    assert_eq!(trend.iter().map(|row| row[2].as_u64().unwrap()).sum::<u64>(), started as u64);
    for row in trend.iter().filter(|row| row[7] == true) {
        assert!(row[6].as_f64().unwrap() >= 2.0 && row[2].as_u64().unwrap() >= 3);
    }
    assert!(library(lake, "changes_since_last_snapshot", "").is_empty(), "there is no snapshot before");
}

#[test]
fn what_changed_since_the_last_snapshot_is_what_was_changed() {
    let dir = tempfile::tempdir().unwrap();
    let sim = Sim::of_projects(60);
    sim.export(dir.path(), &["--fixed-time", "2026-11-02T06:00:00Z"], 0);
    let now = "2026-11-02T20:00:00Z".parse().unwrap();
    let changed: BTreeMap<&str, String> = {
        let mut world = sim.server.world_mut();
        let mut change = |what, at| world.change(what, at, now).unwrap();
        [
            ("deleted", change(Change::Delete, 30)),
            ("archived", change(Change::Archive, 20)),
            ("made", change(Change::Create, 0)),
        ]
        .into()
    };
    sim.export(dir.path(), &["--fixed-time", "2026-11-03T06:00:00Z"], 0);
    let rows = library(dir.path(), "changes_since_last_snapshot", "");
    let projects: Vec<(&str, &str, &str)> = rows
        .iter()
        .filter(|row| row[1] == "project")
        .map(|row| (row[0].as_str().unwrap(), row[3].as_str().unwrap(), row[4].as_str().unwrap()))
        .collect();
    assert_eq!(projects.len(), 3, "{projects:?}");
    assert!(projects.iter().any(|p| p.0 == "added" && p.2 == changed["made"]));
    assert!(projects.contains(&("changed", "archived", &changed["archived"])));
    assert!(projects.iter().any(|p| p.0 == "removed" && p.2 == changed["deleted"]));
}

#[test]
fn the_lineage_command_answers_in_four_forms() {
    let dir = tempfile::tempdir().unwrap();
    let lake = dir.path().to_str().unwrap();
    let sim = Sim::of_projects(60);
    sim.export(dir.path(), &NOW, 0);
    let world = sim.server.world();
    let truth = true_uses(&world);
    let table = &truth.iter().next().unwrap()[2];
    let answer = |args: &[&str]| {
        let mut all = vec!["lineage", lake];
        all.extend(args);
        stdout(&run(&mut hexport(&all), 0))
    };
    let json: Value = serde_json::from_str(&answer(&["--table", table, "--output", "json"])).unwrap();
    let found: BTreeSet<&str> =
        json.as_array().unwrap().iter().map(|e| e["project_id"].as_str().unwrap()).collect();
    let expected: BTreeSet<&str> = truth.iter().filter(|t| t[2] == *table).map(|t| t[0].as_str()).collect();
    assert_eq!(found, expected);
    let by_end = answer(&[
        "--table",
        &table.to_lowercase().split('.').skip(1).collect::<Vec<_>>().join("."),
        "--output",
        "json",
    ]);
    assert!(serde_json::from_str::<Value>(&by_end).unwrap().as_array().unwrap().len() >= expected.len());

    let (project, column) = {
        let row = true_columns(&world).into_iter().find(|row| row[2] == *table).unwrap();
        (row[0].clone(), row[3].clone())
    };
    let tree = answer(&["--project", &project, "--column", &column]);
    assert!(
        tree.contains(table) && tree.contains("└─") && tree.to_lowercase().contains(&column.to_lowercase()),
        "{tree}"
    );
    let csv = answer(&["--connection", &world.connections[0].name, "--output", "csv"]);
    let mut reader = csv::Reader::from_reader(csv.as_bytes());
    let rows = reader.records().map(Result::unwrap).count();
    assert_eq!(rows, truth.iter().filter(|t| t[1] == world.connections[0].id).count());
    let chart = answer(&["--table", table, "--output", "mermaid"]);
    assert!(
        chart.starts_with("flowchart LR\n") && chart.matches(" -->|").count() == expected.len(),
        "{chart}"
    );
    run(&mut hexport(&["lineage", lake, "--table", "no.such.table"]), 2);
    run(&mut hexport(&["lineage", lake]), 2);
    let nowhere = dir.path().join("nowhere");
    assert!(
        stderr(&run(&mut hexport(&["lineage", nowhere.to_str().unwrap(), "--table", "x"]), 2))
            .contains("holds no snapshot")
    );
}

#[test]
fn the_query_command_runs_duckdb_or_says_how() {
    let dir = tempfile::tempdir().unwrap();
    let lake = dir.path().to_str().unwrap();
    let sim = Sim::of_projects(20);
    sim.export(dir.path(), &NOW, 0);
    let with_duckdb = |args: &[&str]| {
        let mut command = hexport(args);
        command.env("PATH", path_with_venv());
        command
    };
    let out =
        run(&mut with_duckdb(&["query", lake, "SELECT count(*) AS n FROM projects", "--output", "json"]), 0);
    assert_eq!(serde_json::from_slice::<Value>(&out.stdout).unwrap(), json!([{"n": 20}]));
    let set = "table_name=it's not there";
    let out = run(&mut with_duckdb(&["query", lake, "who_reads_table", "--set", set, "--output", "csv"]), 0);
    assert!(stdout(&out).lines().count() <= 1, "{}", stdout(&out));
    run(&mut with_duckdb(&["query", lake, "SELECT no_such_column FROM projects"]), 2);
    let mut without = hexport(&["query", lake, "owners_who_left"]);
    let out = run(without.env("PATH", "/nonexistent"), 2);
    assert!(stdout(&out).contains("FROM projects p") && stderr(&out).contains("Install DuckDB"));
    assert!(stderr(&run(&mut hexport(&["query", lake, "no_such_query"]), 2)).contains("who_reads_table"));
    assert!(stdout(&run(&mut hexport(&["query"]), 0)).contains("Who reads a table"));
}

#[test]
fn tables_that_are_derived_in_parts_are_those_of_the_whole() {
    use hexport::derive::{DERIVATIONS, Inputs, PART_ROWS, Split, to_batch};
    use hexport::snapshot::{KeyRange, Lake};
    let dir = tempfile::tempdir().unwrap();
    let sim = Sim::of_projects(60);
    sim.export(dir.path(), &NOW, 0);
    let manifest = Lake::new(dir.path()).latest().unwrap().unwrap();
    let folder = dir.path().join(format!("snapshot={}", manifest.snapshot_id));
    let given = hexport::derive::Given::default();
    let inputs = |part_rows: u64| Inputs {
        folder: &folder,
        elsewhere: Default::default(),
        snapshot_at: manifest.snapshot_at,
        last_lineage: Some(folder.join("lineage.parquet")),
        given: &given,
        projects: KeyRange::default(),
        part_rows,
        components: Default::default(),
    };
    let whole = inputs(PART_ROWS);
    let parts = inputs(40).parts(&[&hexport::tables::RUNS, &hexport::tables::CELLS], 0).unwrap();
    assert!(parts.len() > 20, "{}", parts.len());
    // Nobody imported a query history.
    for derivation in DERIVATIONS.iter().filter(|d| manifest.tables.contains_key(d.table.name)) {
        let batch = |inputs: &Inputs<'_>| {
            to_batch(derivation.table, &(derivation.derive)(inputs).unwrap(), inputs.snapshot_at).unwrap()
        };
        let expected = batch(&whole);
        let found = match derivation.split {
            Split::ByProject | Split::Growing(_) => parts.iter().map(batch).collect::<Vec<_>>(),
            // Not computed in parts, but from parts.
            Split::Whole => vec![batch(&inputs(40))],
        };
        // What comes together of the inputs makes for more and smaller parts.
        if let Split::Growing(count) = derivation.split {
            let rows = count(&whole).unwrap();
            assert!(rows > 100, "{rows}");
            assert!(inputs(rows / 10).parts(&[], rows).unwrap().len() >= 9);
        }
        let found = arrow::compute::concat_batches(&derivation.table.schema(), &found).unwrap();
        assert_eq!(found, expected, "{}", derivation.table.name);
    }
}

#[test]
fn writes_scans_and_columns_that_others_teach_reach_the_tables() {
    let dir = tempfile::tempdir().unwrap();
    let sim = Sim::of_projects(30);
    const SOURCES: [&str; 6] = [
        "insert into mart.daily select o.day, u.name from raw.orders o join raw.users u on u.id = o.uid",
        "select amount from raw.orders",
        "select name from raw.users",
        "select amount, name from raw.orders o join raw.users u on u.id = o.uid",
        "select * from raw.orders directed join raw.users on weird ~~ syntax here",
        "select * from raw.items",
    ];
    let proxy = sim.block_on(changing_answers(sim.server.url(), |target, body| {
        if !target.starts_with("/api/v1/cells") {
            return;
        }
        let cells = body["values"].as_array_mut().into_iter().flatten();
        let on_warehouses = cells.filter(|c| c["cellType"] == "SQL" && c["dataConnectionId"].is_string());
        for (i, cell) in on_warehouses.enumerate() {
            cell["contents"]["sqlCell"]["source"] = json!(SOURCES[i % SOURCES.len()]);
        }
    }));
    let schemas = dir.path().join("columns.csv");
    std::fs::write(&schemas, "table_schema,table_name,column_name\nraw,items,sku\nraw,items,price\n")
        .unwrap();
    let lake = dir.path().join("lake");
    let [to, schemas] = [&lake, &schemas].map(|path| path.to_str().unwrap());
    let mut command = sim.hexport(&["export", to, "--schemas", schemas]);
    run(command.env("HEX_API_URL", proxy), 0);
    let count = |sql: &str| ask_one(&lake, &format!("SELECT count(*) FROM {sql}")).as_u64().unwrap();
    let daily = "lower(table_key) LIKE '%mart.daily'";
    assert!(count(&format!("lineage WHERE {daily} AND direction = 'write' AND evidence = ['sql']")) > 0);
    assert_eq!(count(&format!("lineage WHERE {daily} AND direction = 'read'")), 0);
    assert!(count("sql_cells WHERE NOT parsed AND scanned AND tables = 2 AND error IS NOT NULL") > 0);
    assert!(count("lineage WHERE evidence_text = 'scanned+sql'") > 0);
    let resolved = |column: &str, how: &str| {
        count(&format!("sql_columns WHERE lower(column_name) = '{column}' AND resolved_by = '{how}'"))
    };
    assert!(resolved("amount", "learned") > 0 && resolved("name", "learned") > 0);
    assert!(resolved("amount", "only_table") > 0 && resolved("day", "qualified") > 0);
    assert!(resolved("sku", "schema") > 0 && resolved("price", "schema") > 0);
    assert_eq!(count("sql_columns WHERE column_name = '*' AND lower(table_key) LIKE '%raw.items'"), 0);
    let edges = "cell_lineage e JOIN cells f ON f.project_id = e.project_id AND f.static_id = e.from_static_id \
                 JOIN cells t ON t.project_id = e.project_id AND t.static_id = e.to_static_id";
    assert!(
        count(&format!("{edges} WHERE f.output_dataframe = e.dataframe AND t.static_id <> f.static_id")) > 3
    );
    let tree = stdout(&run(&mut hexport(&["lineage", to, "--table", "mart.daily"]), 0));
    assert!(tree.contains("[writes: sql"), "{tree}");
    let bad = ["export", to, "--connection", "W.warehouse=x"];
    assert!(stderr(&run(&mut sim.hexport(&bad), 2)).contains("database, schema, type or platform_instance"));
    let bad = ["export", to, "--schemas", "no-such-file.csv"];
    assert!(stderr(&run(&mut sim.hexport(&bad), 2)).contains("can't read no-such-file.csv"));
}
