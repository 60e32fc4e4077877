//! The report, opened in a real browser.

use std::collections::{BTreeMap, BTreeSet};

use hexport::sim::Change;
use hexport::sim::history::{Form, render};
use serde_json::{Value, json};

use crate::support::*;

const EVIL: &str = "</script><script>document.title='taken'</script><img src=x onerror=alert(1)><b>bold</b>";

fn chromium() -> String {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let names = ["chromium", "chromium-browser", "google-chrome"];
    let found = std::env::split_paths(&path)
        .flat_map(|folder| names.map(|name| folder.join(name)))
        .find(|program| program.exists());
    found.expect("the tests need Chromium: run tests/run, which installs it").display().to_string()
}

fn texts(rows: &Value, column: usize) -> BTreeSet<String> {
    rows.as_array().unwrap().iter().map(|row| row[column].as_str().unwrap().to_owned()).collect()
}

/// Pairs of what stands on a chart's axis and a series' value.
fn points(chart: &Value, series: &str) -> BTreeMap<String, f64> {
    let of = chart["series"].as_array().unwrap().iter().find(|s| s["name"] == series).unwrap();
    let axis = chart["axis"].as_array().unwrap().iter().map(|v| v.as_str().unwrap().to_owned());
    axis.zip(of["data"].as_array().unwrap().iter().map(|v| v.as_f64().unwrap_or(0.0))).collect()
}

/// Numbers of an array; those that are null are left out.
fn floats(array: &Value) -> Vec<f64> {
    array.as_array().unwrap().iter().filter_map(Value::as_f64).collect()
}

fn asked(lake: &std::path::Path, sql: &str) -> BTreeMap<String, f64> {
    let rows = ask(lake, sql);
    rows.into_iter().map(|row| (row[0].as_str().unwrap().to_owned(), row[1].as_f64().unwrap())).collect()
}

#[test]
fn a_browser_shows_what_the_lake_holds_and_runs_nothing_that_people_wrote() {
    let dir = tempfile::tempdir().unwrap();
    let lake = dir.path().join("lake");
    let sim = Sim::of_projects(120);
    {
        let mut world = sim.server.world_mut();
        world.projects[5].project.title = EVIL.into();
        world.projects[5].project.description = Some(EVIL.into());
        world.connections[0].name = EVIL.into();
        // Words longer than any column.
        world.connections[1].name = "W".repeat(150);
        world.projects[6].project.title = "x".repeat(300);
    }
    sim.export(&lake, &["--fixed-time", "2026-11-01T06:00:00Z"], 0);
    {
        let mut world = sim.server.world_mut();
        for at in 10..20 {
            world.change(Change::Edit, at, "2026-11-02T04:00:00Z".parse().unwrap());
        }
    }
    sim.export(&lake, &["--fixed-time", "2026-11-02T06:00:00Z"], 0);
    let file = dir.path().join("report.html");
    let (lake_arg, file_arg) = (lake.to_str().unwrap(), file.to_str().unwrap());
    let history = dir.path().join("history.csv");
    let queries = sim.server.world().query_history(0);
    std::fs::write(&history, render("snowflake", &queries, Form::Csv)).unwrap();
    let import = ["import", "query-history", lake_arg, history.to_str().unwrap(), "--warehouse", "snowflake"];
    run(&mut hexport(&import), 0);
    run(&mut hexport(&["report", lake_arg, "-o", file_arg]), 0);
    let page = std::fs::read_to_string(&file).unwrap();
    assert!(!page.contains("<img") && !page.contains("document.title='taken'</script>"));
    assert_no_secret(page.as_bytes(), "the report");

    let most_read = "SELECT table_key FROM table_usage ORDER BY projects DESC, table_key LIMIT 1";
    let table = ask_one(&lake, most_read).as_str().unwrap().to_owned();
    let reads = "SELECT project_title FROM lineage l JOIN (SELECT project_title FROM lineage GROUP BY ALL \
                 HAVING count(DISTINCT project_id) = 1) USING (project_title) WHERE project_title NOT LIKE '%<%' \
                 GROUP BY ALL HAVING count(*) <= 15 ORDER BY count(*) DESC, project_title LIMIT 1";
    let project = ask_one(&lake, reads).as_str().unwrap().to_owned();
    let changed = ask_one(
        &lake,
        "SELECT title FROM cell_changes JOIN projects USING (project_id) WHERE title NOT LIKE '%<%' GROUP BY title \
         HAVING count(*) <= 10 AND count(DISTINCT project_id) = 1 \
         AND title NOT IN (SELECT title FROM projects GROUP BY title HAVING count(*) > 1) ORDER BY count(*) DESC, title LIMIT 1",
    );
    let changes = ask(
        &lake,
        &format!(
            "SELECT coalesce(label, static_id), change, strftime(changed_after AT TIME ZONE 'UTC', '%Y-%m-%d %H:%M'), \
             strftime(changed_before AT TIME ZONE 'UTC', '%Y-%m-%d %H:%M') FROM cell_changes JOIN projects USING (project_id) \
             WHERE title = '{}'",
            changed.as_str().unwrap().replace('\'', "''")
        ),
    );
    let changes: BTreeSet<String> = changes.iter().map(|row| json!(row).to_string()).collect();
    assert!(!changes.is_empty());
    let shots = std::env::var_os("HEXPORT_SHOTS").map(|folder| folder.to_string_lossy().into_owned());
    let question = json!({
        "page": file, "chromium": chromium(), "table": table, "project": project, "changed": changed, "shots": shots,
    });
    let seen = script("browser.py", &question.to_string());

    let readers = format!("SELECT project_title, 1 FROM lineage WHERE table_key = '{table}'");
    let readers: BTreeSet<String> = asked(&lake, &readers).into_keys().collect();
    let quoted = project.replace('\'', "''");
    let sources = format!("SELECT table_key, 1 FROM lineage WHERE project_title = '{quoted}'");
    let sources: BTreeSet<String> = asked(&lake, &sources).into_keys().collect();
    let one = |sql: &str| ask_one(&lake, sql).as_u64().unwrap().to_string();
    for (width, seen) in seen.as_object().unwrap() {
        assert_eq!(seen["said"], json!([]), "{width}");
        assert_eq!(seen["requests"], json!([]), "{width}");
        assert_eq!((&seen["scripts"], &seen["injected"]), (&json!(3), &json!(0)), "{width}");
        assert!(seen["titles"].as_array().unwrap().contains(&json!(EVIL)));
        assert!(seen["overflow"].as_i64().unwrap() <= 0, "{width} scrolls sideways");
        assert!(seen["pushed"].as_i64().unwrap() <= 0, "a table scrolls sideways at {width}");
        assert_eq!(seen["outside"], json!([]), "{width}: sticks out, or is cut");
        // On paper, nothing to click on, every chart, and all of each line.
        let paper = &seen["paper"];
        assert_eq!((&paper["shown"], &paper["undrawn"]), (&json!(0), &json!([])), "{width}");
        assert_eq!(paper["outside"], json!([]), "{width}: sticks out of the paper");
        assert!(paper["sheets"].as_u64().unwrap() >= 3, "{width}: {paper}");
        // Sparklines start at nothing, shares end at all, and the figures say how far they go.
        let sparks = seen["sparks"].as_object().unwrap();
        assert!(sparks.len() >= 4, "{sparks:?}");
        for (id, spark) in sparks {
            assert_eq!(spark["min"], 0, "{width} {id}: {spark}");
            let data = floats(&spark["series"][0]["data"]);
            let said: Vec<&str> = spark["said"].as_str().unwrap().split(" to ").collect();
            let of = |text: &str| text.trim_end_matches('%').trim().replace(',', "").parse::<f64>().unwrap();
            let (least, most) =
                (data.iter().copied().fold(f64::MAX, f64::min), data.iter().copied().fold(0.0, f64::max));
            let unit = if said[0].contains('%') { 100.0 } else { 1.0 };
            assert_eq!(
                spark["max"],
                if unit > 1.0 { json!(1) } else { Value::Null },
                "{width} {id}: {spark}"
            );
            assert!(
                (of(said[0]) - least * unit).abs() <= 0.5 && (of(said[1]) - most * unit).abs() <= 0.5,
                "{id}: {spark}"
            );
        }
        // Changes of a project's cells.
        let shown: BTreeSet<String> =
            seen["changes"].as_array().unwrap().iter().map(Value::to_string).collect();
        assert_eq!(shown, changes, "{width}");
        let not_covered = seen["not_covered"].as_str().unwrap();
        assert!(not_covered.contains("user-inactive: evaluated without"), "{not_covered}");
        assert!(seen["facts"].as_str().unwrap().contains("Owner") && seen["rules"].as_u64().unwrap() > 5);
        assert_ne!(seen["themes"][0], seen["themes"][1]);
        // Figures and charts.
        assert_eq!(seen["figures"]["figure-projects"], one("SELECT count(*) FROM projects").as_str());
        assert_eq!(seen["figures"]["figure-tables"], one("SELECT count(*) FROM table_usage").as_str());
        let charts = &seen["charts"];
        for (series, sql) in [
            ("completed", "SELECT CAST(day AS VARCHAR), sum(completed)::BIGINT FROM run_daily GROUP BY ALL"),
            ("failed", "SELECT CAST(day AS VARCHAR), sum(failed)::BIGINT FROM run_daily GROUP BY ALL"),
        ] {
            assert_eq!(points(&charts["chart-outcomes"], series), asked(&lake, sql), "{series}");
        }
        let mean = "SELECT CAST(day AS VARCHAR), sum(total_seconds) / sum(runs) FROM run_daily GROUP BY ALL";
        let (shown, truth) = (points(&charts["chart-durations"], "mean"), asked(&lake, mean));
        assert_eq!(shown.len(), truth.len());
        assert!(truth.iter().all(|(day, seconds)| (shown[day] - seconds).abs() < 1e-6 * seconds.max(1.0)));
        let by_connection = asked(&lake, "SELECT name, projects FROM connection_usage");
        for (name, projects) in points(&charts["chart-connections"], "projects") {
            assert_eq!(by_connection[&name], projects, "{name}");
        }
        let roles = asked(&lake, "SELECT role, count(*) FROM users GROUP BY ALL");
        assert_eq!(points(&charts["chart-roles"], "people"), roles);
        // Cost, of the query history.
        let costs = ask(
            &lake,
            "SELECT title, sum(queries)::BIGINT FROM project_cost JOIN projects USING (project_id) \
             WHERE day > (SELECT max(day) FROM project_cost) - 30 GROUP BY project_id, title",
        );
        let shown = seen["cost"].as_array().unwrap();
        assert_eq!(shown.len(), costs.len().min(10), "{width}");
        for row in shown {
            let queries: f64 = row[1].as_str().unwrap().replace(',', "").parse().unwrap();
            assert!(costs.contains(&vec![row[0].clone(), json!(queries as u64)]), "{width}: {row}");
        }
        let drawn = seen["cost_chart"]["series"][0]["data"].as_array().unwrap().len();
        assert_eq!(drawn, costs.len().min(12), "{width}");
        // Lineage, by the search box.
        assert!(seen["readers_title"].as_str().unwrap().starts_with(&table), "{}", seen["readers_title"]);
        assert!(texts(&seen["readers"], 0).is_subset(&readers));
        assert_eq!(seen["readers"].as_array().unwrap().len(), readers.len().min(15));
        let links = seen["readers_graph"]["series"][0]["links"].as_array().unwrap();
        assert_eq!(links.len(), readers.len().min(30));
        assert!(seen["sources_title"].as_str().unwrap().starts_with(&project), "{}", seen["sources_title"]);
        assert_eq!(texts(&seen["sources"], 0), sources);
        // Findings, filtered.
        assert!(!seen["findings"].as_array().unwrap().is_empty());
        assert!(texts(&seen["findings"], 1).iter().all(|rule| rule.contains("owner-left")));
        let high = one("SELECT count(*) FROM audit_findings WHERE severity = 'high' AND status = 'open'");
        assert!(seen["high"].as_str().unwrap().ends_with(&format!("of {high}")), "{}", seen["high"]);
    }
    run(&mut hexport(&["report", dir.path().join("nowhere").to_str().unwrap()]), 2);
}

/// The data that a page carries.
pub fn carried(page: &str) -> Value {
    let start = page.find("<script id=\"data\"").unwrap();
    let start = start + page[start..].find('>').unwrap() + 1;
    serde_json::from_str(&page[start..start + page[start..].find("</script>").unwrap()]).unwrap()
}

#[test]
fn a_report_says_what_it_does_not_cover() {
    let dir = tempfile::tempdir().unwrap();
    let (lake, file) = (dir.path().join("lake"), dir.path().join("report.html"));
    let settings = dir.path().join("hexport.toml");
    std::fs::write(
        &settings,
        "[[audit.exceptions]]\nrule = \"missing-status\"\nreason = \"labels come in spring\"\nuntil = \"2027-03-01\"\n",
    )
    .unwrap();
    // The plan has no queried tables.
    let sim = Sim::start(hexport::sim::SimConfig {
        world: hexport::sim::WorldConfig { plan: hexport::sim::Plan::Team, ..world_of(40) },
        ..hexport::sim::SimConfig::default()
    });
    sim.export(&lake, &["--fixed-time", "2026-11-02T06:00:00Z"], 0);
    let config = settings.to_str().unwrap();
    run(
        &mut hexport(&["report", lake.to_str().unwrap(), "-o", file.to_str().unwrap(), "--config", config]),
        0,
    );
    let data = carried(&std::fs::read_to_string(&file).unwrap());
    let gaps = &data["not_covered"];
    assert!(gaps["tables"].to_string().contains("queried_tables"), "{gaps}");
    let rules = gaps["rules"].to_string();
    assert!(rules.contains("connection-unused") && rules.contains("not evaluated"), "{gaps}");
    assert!(
        gaps["excepted_count"].as_u64().unwrap() > 0
            && gaps["excepted"].to_string().contains("labels come in spring")
    );
}

#[test]
fn a_report_claims_nothing_of_tables_that_the_snapshot_lacks() {
    let dir = tempfile::tempdir().unwrap();
    let (lake, file) = (dir.path().join("lake"), dir.path().join("report.html"));
    let sim = Sim::of_projects(20);
    sim.export(&lake, &["--tables", "projects", "--fixed-time", "2026-11-02T06:00:00Z"], 0);
    run(&mut hexport(&["report", lake.to_str().unwrap(), "-o", file.to_str().unwrap()]), 0);
    let data = carried(&std::fs::read_to_string(&file).unwrap());
    let live =
        ask_one(&lake, "SELECT count(*) FROM projects WHERE archived_at IS NULL AND trashed_at IS NULL");
    assert_eq!(data["access"], json!({"Unknown: sharing was not read": live}));
    assert_eq!((&data["users_known"], &data["changes_since"]), (&json!(false), &json!(false)));
    // Of the figures, those that nothing is known of are not there as nothing.
    for figure in data["figures"].as_array().unwrap() {
        let is_known = matches!(figure["id"].as_str().unwrap(), "projects" | "live" | "high");
        assert_eq!(figure["value"].is_number(), is_known, "{figure}");
    }
}

#[test]
fn a_report_about_5000_projects_is_smaller_than_8_mb() {
    let size = |projects: usize| {
        let dir = tempfile::tempdir().unwrap();
        let (lake, file) = (dir.path().join("lake"), dir.path().join("report.html"));
        let sim = Sim::of_projects(projects);
        sim.export(&lake, &["--fixed-time", "2026-11-02T06:00:00Z"], 0);
        run(&mut hexport(&["report", lake.to_str().unwrap(), "-o", file.to_str().unwrap()]), 0);
        std::fs::metadata(&file).unwrap().len() as f64
    };
    // It grows by so much a project, and no faster: lists that could are capped.
    let (small, large) = (size(100), size(400));
    let of_5000 = large + (large - small) / 300.0 * 4600.0;
    assert!(of_5000 < 8e6, "{of_5000}");
}
