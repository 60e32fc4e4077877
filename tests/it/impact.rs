//! What a change of the warehouse breaks, checked against what DuckDB finds in the lake.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use chrono::{DateTime, Timelike, Utc};
use serde_json::{Value, json};

use crate::handoff::{NIGHT, snowflake_manifest, text};
use crate::support::*;

fn lake(projects: usize) -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let lake = dir.path().join("lake");
    Sim::of_projects(projects).export(&lake, &NIGHT, 0);
    (dir, lake)
}

fn impact(lake: &Path, args: &[&str], code: i32) -> Value {
    let mut all = vec!["impact", lake.to_str().unwrap(), "--output", "json"];
    all.extend(args);
    all.extend(NIGHT);
    serde_json::from_slice(&run(&mut hexport(&all), code).stdout).unwrap()
}

fn texts(rows: &[Vec<Value>]) -> BTreeSet<Vec<String>> {
    rows.iter().map(|row| row.iter().map(text).collect()).collect()
}

fn hits(found: &Value, fields: &[&str]) -> BTreeSet<Vec<String>> {
    let hits = found["hits"].as_array().unwrap();
    hits.iter().map(|hit| fields.iter().map(|field| text(&hit[field])).collect()).collect()
}

/// The table and column that most projects read for certain.
fn busiest(lake: &Path) -> (String, String, String) {
    let rows = ask(
        lake,
        "SELECT table_key, column_name, connection_name FROM sql_columns
         JOIN (SELECT DISTINCT data_connection_id, connection_name, table_key FROM lineage WHERE database_name IS NOT NULL)
           USING (data_connection_id, table_key)
         WHERE column_name <> '*' GROUP BY ALL ORDER BY count(DISTINCT project_id) DESC, 1, 2 LIMIT 1",
    );
    (text(&rows[0][0]), text(&rows[0][1]), text(&rows[0][2]))
}

#[test]
fn who_uses_a_table_is_what_the_lake_says_with_owners_views_cells_and_the_next_run() {
    let (_dir, lake) = lake(120);
    let (table, _, _) = busiest(&lake);
    let short = table.split_once('.').unwrap().1.to_uppercase();
    let found = impact(&lake, &["--table", &short], 0);
    let rows = ask(
        &lake,
        &format!(
            "SELECT DISTINCT project_id, table_key, direction, owner_email FROM lineage
             WHERE lower(table_key) = lower('{short}') OR lower(table_key) LIKE lower('%.{short}')"
        ),
    );
    assert!(rows.len() > 2, "{rows:?}");
    assert_eq!(hits(&found, &["project_id", "table", "direction", "owner"]), texts(&rows));
    let cells = ask(
        &lake,
        "SELECT l.project_id, l.table_key, l.direction, s.static_id, label FROM (
             SELECT project_id, table_key, direction, unnest(list_append(coalesce(via_component_ids, []), project_id)) AS who
             FROM lineage) l
         JOIN sql_tables s ON s.project_id = who AND s.table_key = l.table_key AND s.direction = l.direction
         LEFT JOIN cells c ON c.project_id = who AND c.static_id = s.static_id",
    );
    let projects: BTreeMap<String, Vec<Value>> = ask(
        &lake,
        "SELECT project_id, app_views_last_30_days, last_published_at IS NOT NULL,
                archived_at IS NOT NULL OR trashed_at IS NOT NULL,
                (SELECT count(*) FROM project_schedules s WHERE s.project_id = p.project_id AND enabled),
                type = 'COMPONENT'
         FROM projects p",
    )
    .into_iter()
    .map(|row| (text(&row[0]), row))
    .collect();
    let now: DateTime<Utc> = NIGHT[1].parse().unwrap();
    let mut severities = BTreeSet::new();
    for hit in found["hits"].as_array().unwrap() {
        let of = |row: &&Vec<Value>| {
            row[0] == hit["project_id"] && row[1] == hit["table"] && row[2] == hit["direction"]
        };
        let expected: BTreeSet<Vec<String>> =
            cells.iter().filter(of).map(|row| vec![text(&row[3]), text(&row[4])]).collect();
        let named = hit["cells"].as_array().unwrap();
        assert_eq!(
            named.iter().map(|c| vec![text(&c["static_id"]), text(&c["label"])]).collect::<BTreeSet<_>>(),
            expected
        );
        let project = &projects[hit["project_id"].as_str().unwrap()];
        assert_eq!(
            (&hit["views"], &hit["published"], &hit["archived"]),
            (&project[1], &project[2], &project[3])
        );
        let is_scheduled = project[4].as_u64().unwrap() > 0 && project[3] == false;
        assert_eq!(hit["next_run"].is_string(), is_scheduled, "{hit}");
        if is_scheduled {
            assert!(hit["next_run"].as_str().unwrap().parse::<DateTime<Utc>>().unwrap() > now);
        }
        assert_eq!(hit["component"], project[5]);
        let is_used = is_scheduled || project[1].as_u64().unwrap_or(0) > 0 || project[5] == true;
        let severity = match (project[3].as_bool().unwrap(), project[2].as_bool().unwrap() && is_used) {
            (true, _) => "info",
            (false, true) => "high",
            (false, false) => "medium",
        };
        assert_eq!((hit["severity"].as_str(), hit["certainty"].as_str()), (Some(severity), Some("breaks")));
        severities.insert(severity);
    }
    assert!(severities.len() > 1, "{severities:?}");
    // The gravest come first, and decide the exit code.
    let worst = text(&found["hits"][0]["severity"]);
    impact(&lake, &["--table", &table, "--fail-on", &worst], 7);
    impact(&lake, &["--table", "no.such.table", "--fail-on", "info"], 0);
}

#[test]
fn the_next_run_is_when_the_schedule_says() {
    let (_dir, lake) = lake(120);
    let rows = ask(
        &lake,
        "SELECT any_value(table_key), any_value(minute), project_id, count(DISTINCT s.position) FROM project_schedules s
         JOIN lineage l USING (project_id) JOIN projects p USING (project_id)
         WHERE enabled AND cadence = 'DAILY' AND archived_at IS NULL AND trashed_at IS NULL
         GROUP BY project_id HAVING count(DISTINCT s.position) = 1
           AND (SELECT count(*) FROM project_schedules o WHERE o.project_id = s.project_id) = 1",
    );
    assert!(!rows.is_empty());
    for row in rows {
        let found = impact(&lake, &["--table", &text(&row[0])], 0);
        let hit = found["hits"].as_array().unwrap().iter().find(|hit| hit["project_id"] == row[2]).unwrap();
        let next: DateTime<Utc> = hit["next_run"].as_str().unwrap().parse().unwrap();
        let now: DateTime<Utc> = NIGHT[1].parse().unwrap();
        assert!(next > now && next - now <= chrono::TimeDelta::days(1), "{hit}");
        assert_eq!(u64::from(next.minute()) % 30, row[1].as_u64().unwrap() % 30, "{hit}");
    }
}

#[test]
fn a_dropped_column_breaks_who_reads_it_and_may_break_who_reads_all() {
    let (_dir, lake) = lake(120);
    let (table, column, connection) = busiest(&lake);
    let sql = format!("ALTER TABLE {table} DROP COLUMN \"{}\"", column.to_uppercase());
    let found = impact(&lake, &["--sql", &sql, "--connection", &connection], 0);
    let of = |certainty: &str| -> BTreeSet<Vec<String>> {
        let hits = found["hits"].as_array().unwrap().iter().filter(|hit| hit["certainty"] == certainty);
        hits.map(|hit| vec![text(&hit["project_id"])]).collect()
    };
    let at = format!(
        "table_key = '{table}' AND data_connection_id = (SELECT data_connection_id FROM data_connections WHERE name = '{connection}')"
    );
    // A project reads by its own cells, and by those of the components that it imports.
    let with = format!(
        "WITH uses AS (SELECT project_id, unnest(list_append(coalesce(via_component_ids, []), project_id)) AS who
             FROM lineage WHERE {at} AND direction = 'read'),
         sure AS (SELECT DISTINCT u.project_id FROM uses u JOIN column_lineage c ON c.project_id = u.who
             WHERE {at} AND column_name = '{column}')"
    );
    let sure = ask(&lake, &format!("{with} FROM sure"));
    assert_eq!(of("breaks"), texts(&sure));
    assert!(!sure.is_empty());
    // Who else reads the table and isn't known to leave the column out.
    let maybe = ask(
        &lake,
        &format!(
            "{with}, read_by AS (SELECT u.project_id, t.evidence, c.parsed, c.unresolved_columns FROM uses u
                 JOIN sql_tables t ON t.project_id = u.who JOIN sql_cells c ON c.project_id = t.project_id AND c.static_id = t.static_id
                 WHERE t.table_key = '{table}' AND t.direction = 'read'),
             named AS (SELECT u.project_id, column_name FROM uses u JOIN column_lineage c ON c.project_id = u.who
                 WHERE {at})
             SELECT DISTINCT project_id FROM uses l WHERE project_id NOT IN (FROM sure)
             AND (NOT EXISTS (FROM named c WHERE c.project_id = l.project_id)
               OR EXISTS (FROM named c WHERE c.project_id = l.project_id AND column_name = '*')
               OR EXISTS (FROM read_by c WHERE c.project_id = l.project_id
                            AND (c.evidence = 'scanned' OR NOT c.parsed OR c.unresolved_columns > 0)))"
        ),
    );
    assert_eq!(of("may"), texts(&maybe));
    let renamed =
        impact(&lake, &["--sql", &format!("ALTER TABLE {table} RENAME COLUMN {column} TO other")], 0);
    assert_eq!(renamed["changes"][0]["to"], "other");
    assert!(hits(&renamed, &["project_id"]).is_superset(&of("breaks")));
    let nothing =
        impact(&lake, &["--sql", &format!("ALTER TABLE {table} ADD COLUMN x INT"), "--fail-on", "info"], 0);
    assert_eq!(nothing["changes"], json!([]));
    let said = stderr(&run(&mut hexport(&["impact", lake.to_str().unwrap(), "--sql", "SELECT 1"]), 2));
    assert!(said.contains("is not read") && said.contains("DROP TABLE"), "{said}");
}

#[test]
fn two_manifests_and_two_catalogs_tell_what_went() {
    let (dir, lake) = lake(60);
    let rows = ask(
        &lake,
        "SELECT table_key, count(DISTINCT project_id) FROM lineage WHERE connection_type = 'snowflake'
         AND database_name IS NOT NULL GROUP BY 1 ORDER BY 2 DESC, 1 LIMIT 3",
    );
    let [gone, renamed, kept] = [0, 1, 2].map(|i| text(&rows[i][0]));
    let write = |name: &str, value: Value| {
        let path = dir.path().join(name);
        std::fs::write(&path, value.to_string()).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let old =
        write("old.json", snowflake_manifest(&[("a", &gone), ("b", &renamed.to_lowercase()), ("c", &kept)]));
    let new = write("new.json", snowflake_manifest(&[("b", "other.place.b"), ("c", &kept)]));
    let found = impact(&lake, &["--manifest", &new, "--against", &old], 0);
    let kinds: Vec<(String, String)> =
        found["changes"].as_array().unwrap().iter().map(|c| (text(&c["kind"]), text(&c["table"]))).collect();
    assert_eq!(kinds, [("drop_table".into(), gone.clone()), ("rename_table".into(), renamed.to_lowercase())]);
    let expected = ask(
        &lake,
        &format!(
            "SELECT DISTINCT project_id, table_key FROM lineage WHERE connection_type = 'snowflake'
             AND table_key IN ('{gone}', '{renamed}')"
        ),
    );
    assert_eq!(hits(&found, &["project_id", "table"]), texts(&expected));
    impact(&lake, &["--manifest", &old, "--against", &old, "--fail-on", "info"], 0);

    // A catalog names tables as the warehouse stores them.
    let columns = ask(
        &lake,
        &format!(
            "SELECT DISTINCT column_name FROM column_lineage WHERE table_key = '{kept}' AND column_name <> '*' ORDER BY 1"
        ),
    );
    let column = text(&columns[0][0]);
    let catalog = |columns: &[&str]| {
        let [database, schema, name] = kept.split('.').collect::<Vec<_>>()[..] else { panic!("{kept}") };
        let columns: serde_json::Map<String, Value> = columns
            .iter()
            .enumerate()
            .map(|(i, c)| ((*c).to_owned(), json!({"name": c, "type": "TEXT", "index": i + 1})))
            .collect();
        let metadata = json!({"type": "BASE TABLE", "database": database, "schema": schema, "name": name});
        json!({
            "metadata": {"dbt_schema_version": "https://schemas.getdbt.com/dbt/catalog/v1.json"},
            "nodes": {"model.shop.c": {"metadata": metadata, "columns": columns}},
            "sources": {},
        })
    };
    let before = write("before.json", catalog(&["FIRST", &column.to_uppercase()]));
    let after = write("after.json", catalog(&["FIRST"]));
    let found = impact(&lake, &["--catalog", &after, "--against-catalog", &before], 0);
    assert_eq!(found["changes"][0]["kind"], "drop_column");
    let sure = ask(
        &lake,
        &format!(
            "SELECT DISTINCT l.project_id FROM lineage l JOIN column_lineage c ON c.table_key = l.table_key
                 AND c.data_connection_id = l.data_connection_id
                 AND (c.project_id = l.project_id OR list_contains(l.via_component_ids, c.project_id))
             WHERE l.direction = 'read' AND c.table_key = '{kept}' AND column_name = '{column}'"
        ),
    );
    let breaks = found["hits"].as_array().unwrap().iter().filter(|hit| hit["certainty"] == "breaks");
    assert_eq!(breaks.map(|hit| vec![text(&hit["project_id"])]).collect::<BTreeSet<_>>(), texts(&sure));
    assert!(!sure.is_empty());
    // The wrong artifact, and one without its other half.
    let dest = lake.to_str().unwrap();
    let said = stderr(&run(&mut hexport(&["impact", dest, "--manifest", &before, "--against", &old]), 2));
    assert!(said.contains("not that of a manifest.json"), "{said}");
    // dbt's warehouse is one that the lineage doesn't know: that isn't "nothing breaks".
    let duck = |value: &str| std::fs::read_to_string(value).unwrap().replace("snowflake", "duckdb");
    let (old_duck, new_duck) = (dir.path().join("old_duck.json"), dir.path().join("new_duck.json"));
    std::fs::write(&old_duck, duck(&old)).unwrap();
    std::fs::write(&new_duck, duck(&new)).unwrap();
    let args =
        ["impact", dest, "--manifest", new_duck.to_str().unwrap(), "--against", old_duck.to_str().unwrap()];
    let said = stderr(&run(&mut hexport(&args), 2));
    assert!(said.contains("no connection of the kind") && said.contains("--connection"), "{said}");
    let said = stderr(&run(&mut hexport(&["impact", dest, "--table", "t", "--connection", "Nowhere"]), 2));
    assert!(said.contains("no connection 'Nowhere'"), "{said}");
    run(&mut hexport(&["impact", dest, "--manifest", &new]), 2);
    run(&mut hexport(&["impact", dest]), 2);
}

#[test]
fn markdown_for_a_pull_request_names_every_project_and_escapes_titles() {
    let dir = tempfile::tempdir().unwrap();
    let lake = dir.path().join("lake");
    let sim = Sim::of_projects(40);
    for record in &mut sim.server.world_mut().projects {
        record.project.title = format!("<b>|{}|</b>", record.project.title);
    }
    sim.export(&lake, &NIGHT, 0);
    let (table, _, _) = busiest(&lake);
    let dest = lake.to_str().unwrap();
    let out = stdout(&run(&mut hexport(&["impact", dest, "--table", &table, "--output", "markdown"]), 0));
    let found = impact(&lake, &["--table", &table], 0);
    for id in hits(&found, &["project_id"]) {
        assert!(out.contains(&format!("/hex/{})", id[0])), "{out}");
    }
    assert!(!out.contains("<b>") && out.contains("&lt;b&gt;\\|"), "{out}");
    let rows = out
        .lines()
        .filter(|line| line.starts_with("| ") && !line.starts_with("| Severity") && !line.contains(" --- "))
        .count();
    assert_eq!(rows, found["hits"].as_array().unwrap().len());
    let plain = stdout(&run(&mut hexport(&["impact", dest, "--table", &table]), 0));
    assert!(plain.contains("Next run") && plain.contains(&table), "{plain}");
}

#[test]
fn a_lake_without_lineage_is_not_taken_for_one_where_nothing_breaks() {
    let dir = tempfile::tempdir().unwrap();
    let lake = dir.path().join("lake");
    let sim = Sim::of_projects(3);
    sim.export(&lake, &["--tables", "projects"], 0);
    let dest = lake.to_str().unwrap();
    let said = stderr(&run(&mut hexport(&["impact", dest, "--table", "t", "--fail-on", "info"]), 2));
    assert!(said.contains("no snapshot holds the table lineage"), "{said}");
    let manifest = dir.path().join("manifest.json");
    std::fs::write(&manifest, snowflake_manifest(&[("a", "a.b.c")]).to_string()).unwrap();
    let said =
        stderr(&run(&mut hexport(&["dbt", "exposures", dest, "--manifest", manifest.to_str().unwrap()]), 2));
    assert!(said.contains("no snapshot holds the table lineage"), "{said}");
}

/// Runs what the GitHub Action runs, as its shell step does. Gives the exit code, the report and the outputs.
fn action(lake: &Path, inputs: &[(&str, &str)]) -> (i32, String, String) {
    let dir = tempfile::tempdir().unwrap();
    let (report, outputs) = (dir.path().join("report.md"), dir.path().join("outputs"));
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join(".github/actions/impact/impact.sh");
    let mut command = std::process::Command::new(script);
    for name in ["MANIFEST", "AGAINST", "CATALOG", "AGAINST_CATALOG", "SQL", "CONNECTION", "FAIL_ON"] {
        command.env(name, "");
    }
    command
        .env("HEXPORT", env!("CARGO_BIN_EXE_hexport"))
        .env("LAKE", lake)
        .env("REPORT", &report)
        .env("GITHUB_OUTPUT", &outputs)
        .env("GITHUB_STEP_SUMMARY", dir.path().join("summary.md"))
        .envs(inputs.iter().copied());
    let out = command.output().unwrap();
    let read = |path| std::fs::read_to_string(path).unwrap_or_default();
    (out.status.code().unwrap(), read(&report), read(&outputs))
}

#[test]
fn the_github_action_reports_before_it_fails() {
    let (_dir, lake) = lake(40);
    let (table, _, _) = busiest(&lake);
    let drop = format!("DROP TABLE {table}; DROP TABLE \"$(touch /tmp/no)\"");
    let (code, report, outputs) = action(&lake, &[("SQL", &drop), ("FAIL_ON", "info")]);
    assert_eq!(code, 0);
    assert!(report.contains("| Severity |") && outputs.contains("exit-code=7"), "{report}{outputs}");
    let (code, report, outputs) = action(&lake, &[("SQL", &drop)]);
    assert!(code == 0 && report.contains("| Severity |") && outputs.contains("exit-code=0"), "{outputs}");
    let (code, _, outputs) = action(&lake, &[("SQL", "SELECT 1")]);
    assert!(code == 2 && outputs.contains("exit-code=2"), "{outputs}");
    // The action is YAML, and gives each input to the script by the environment alone.
    let text = include_str!("../../.github/actions/impact/action.yml");
    let action: Value = serde_yaml_ng::from_str(text).unwrap();
    let steps = action["runs"]["steps"].as_array().unwrap();
    assert!(steps.iter().all(|step| step["shell"] == "bash"));
    assert!(steps.iter().all(|step| !step["run"].as_str().unwrap().contains("inputs.")));
    let given = steps[0]["env"].to_string();
    for name in
        action["inputs"].as_object().unwrap().keys().filter(|n| !["comment", "token"].contains(&n.as_str()))
    {
        assert!(given.contains(&format!("inputs.{name} ")), "{name}");
    }
}
