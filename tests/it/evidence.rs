//! The state of a table, and what every output makes of it: a rule that lacks evidence is not evaluated, and says so.

use std::path::Path;

use hexport::sim::history::{Form, render};
use serde_json::Value;

use crate::audit::refusing;
use crate::support::*;

const NIGHTS: [&str; 2] = ["2026-11-02T06:00:00Z", "2026-11-03T06:00:00Z"];

/// A table that was not read as it should be, and a rule that then has nothing to rest on.
struct Case {
    state: &'static str,
    table: &'static str,
    rule: &'static str,
    /// Requests that are refused, on the last night.
    refuse: fn(&str) -> bool,
    /// Nights before on which nothing was.
    before: usize,
}

const CASES: [Case; 4] = [
    Case {
        state: "unreadable",
        table: "users",
        rule: "owner-left",
        refuse: |target| target.starts_with("/api/v1/users?") && !target.contains("groupId"),
        before: 0,
    },
    Case {
        state: "stale",
        table: "users",
        rule: "owner-left",
        refuse: |target| target.starts_with("/api/v1/users?") && !target.contains("groupId"),
        before: 1,
    },
    Case {
        state: "partial",
        table: "cells",
        rule: "connection-unused",
        refuse: |target| {
            let project = target.split("projectId=").nth(1).filter(|_| target.starts_with("/api/v1/cells"));
            project.is_some_and(|id| id.starts_with(['0', '1', '2', '3']))
        },
        before: 0,
    },
    Case {
        state: "stale",
        table: "data_connections",
        rule: "connection-writeback",
        refuse: |target| target.starts_with("/api/v1/data-connections"),
        before: 1,
    },
];

fn text(lake: &Path, form: &str) -> String {
    stdout(&run(&mut hexport(&["audit", lake.to_str().unwrap(), "--output", form]), 0))
}

/// Asserts that every output says why a rule is not evaluated, and none has a finding of it.
fn assert_not_evaluated(lake: &Path, rule: &str) {
    let said = "not evaluated: ";
    let found: Value = serde_json::from_str(&text(lake, "json")).unwrap();
    let of_rule = |list: &str| -> Vec<Value> {
        found[list].as_array().unwrap().iter().filter(|one| one["rule"] == rule).cloned().collect()
    };
    let notes = of_rule("not_evaluated");
    assert!(notes.len() == 1 && notes[0]["entities"].is_null(), "{notes:?}");
    let why = notes[0]["why"].as_str().unwrap();
    assert!(!why.is_empty() && of_rule("findings").is_empty());
    assert_eq!(of_rule("rules")[0]["why_not"], why);

    for (form, start) in [("table", ""), ("markdown", "- ")] {
        let text = text(lake, form);
        assert!(
            text.lines().any(|line| line.starts_with(&format!("{start}{rule}: {said}"))),
            "{form}: {text}"
        );
        assert!(text.contains("rules not evaluated"), "{form}: {text}");
        assert!(
            !text.lines().any(|line| line.starts_with('|') && line.contains(&format!(" {rule} "))),
            "{text}"
        );
    }
    let csv = text(lake, "csv");
    let rows: Vec<csv::StringRecord> = csv::Reader::from_reader(csv.as_bytes())
        .records()
        .map(Result::unwrap)
        .filter(|r| &r[2] == rule)
        .collect();
    assert!(rows.len() == 1 && &rows[0][11] == "not evaluated" && &rows[0][12] == why, "{rows:?}");

    let github = text(lake, "github");
    let lines: Vec<&str> = github.lines().filter(|line| line.contains(&format!(" title={rule}"))).collect();
    assert!(
        lines.len() == 1 && lines[0].starts_with(&format!("::warning title={rule}::{said}")),
        "{lines:?}"
    );

    let log: Value = serde_json::from_str(&text(lake, "sarif")).unwrap();
    let run_of = &log["runs"][0];
    let notifications = run_of["invocations"][0]["toolExecutionNotifications"].as_array().unwrap();
    let of: Vec<&Value> = notifications.iter().filter(|n| n["associatedRule"]["id"] == rule).collect();
    assert!(of.len() == 1 && of[0]["level"] == "warning", "{of:?}");
    assert!(of[0]["message"]["text"].as_str().unwrap().contains(why), "{of:?}");
    assert!(run_of["results"].as_array().unwrap().iter().all(|result| result["ruleId"] != rule));

    let junit = script("junit.py", &text(lake, "junit"));
    let skipped = junit["skipped"][rule].as_array().unwrap();
    assert!(skipped.len() == 1 && skipped[0].as_str().unwrap().starts_with(said), "{skipped:?}");
    assert_eq!(junit["suites"][rule], 0);

    let data = report(lake);
    let gaps = data["not_covered"]["rules"].as_array().unwrap();
    let of: Vec<&Value> = gaps.iter().filter(|gap| gap[0] == rule).collect();
    assert!(of.len() == 1 && of[0][1].as_str().unwrap().starts_with(said), "{of:?}");

    let mut notify = hexport(&["notify", lake.to_str().unwrap(), "--to", "webhook", "--dry-run"]);
    let sent = stdout(&run(notify.env("HEXPORT_WEBHOOK_URL", "http://127.0.0.1:9"), 0));
    let message: Value = serde_json::from_str(sent.split_once('\n').unwrap().1).unwrap();
    assert!(message["not_evaluated"].as_array().unwrap().contains(&rule.into()), "{message}");
    assert!(message["new"].as_array().unwrap().iter().all(|finding| finding["rule"] != rule), "{message}");

    let rows = ask(lake, &format!("SELECT evaluated, why FROM audit_rules WHERE rule = '{rule}'"));
    assert_eq!(rows, [[Value::Bool(false), why.into()]], "as it was at export");
    assert_eq!(ask_one(lake, &format!("SELECT count(*) FROM audit_findings WHERE rule = '{rule}'")), 0);
}

/// The data of the report.
fn report(lake: &Path) -> Value {
    let file = lake.with_extension("html");
    run(&mut hexport(&["report", lake.to_str().unwrap(), "-o", file.to_str().unwrap()]), 0);
    crate::report::carried(&std::fs::read_to_string(file).unwrap())
}

/// Rows of a query of the library.
fn library(lake: &Path, name: &str) -> Vec<Vec<Value>> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("queries/{name}.sql"));
    ask(lake, std::fs::read_to_string(file).unwrap().trim_end().trim_end_matches(';'))
}

#[test]
fn a_table_that_is_unreadable_stale_or_partial_leaves_its_rules_out_of_every_output() {
    let sim = Sim::of_projects(40);
    for Case { state, table, rule, refuse, before } in CASES {
        println!("{table} {state}: {rule}");
        let dir = tempfile::tempdir().unwrap();
        let lake = dir.path().join("lake");
        for night in &NIGHTS[..before] {
            sim.export(&lake, &["--fixed-time", night], 0);
            let evaluated = format!("SELECT evaluated FROM audit_rules WHERE rule = '{rule}'");
            assert_eq!(ask_one(&lake, &evaluated), true, "{rule} has what it needs otherwise");
        }
        let proxy = sim.block_on(refusing(sim.server.url(), refuse));
        let args = ["export", lake.to_str().unwrap(), "--fixed-time", NIGHTS[before]];
        let code = if state == "unreadable" { 0 } else { 4 };
        run(sim.hexport(&args).env("HEX_API_URL", proxy), code);
        assert_eq!(verify(&lake).unwrap()["tables"][table]["state"], state, "{table}");
        assert_not_evaluated(&lake, rule);
        // An import builds on the same tables, and knows no more of them.
        let file = dir.path().join("history.csv");
        std::fs::write(&file, render("snowflake", &sim.server.world().query_history(0), Form::Csv)).unwrap();
        let import = ["import", "query-history", lake.to_str().unwrap(), file.to_str().unwrap()];
        let code = if state == "unreadable" { 0 } else { 4 };
        run(&mut hexport(&[&import[..], &["--warehouse", "snowflake"]].concat()), code);
        assert_not_evaluated(&lake, rule);
    }
}

#[test]
fn nobody_has_left_where_users_were_not_read() {
    let sim = Sim::of_projects(40);
    let active: std::collections::BTreeSet<String> =
        sim.server.world().users.iter().map(|user| user.email.to_lowercase()).collect();
    for (state, before) in [("read", 0), ("unreadable", 0), ("stale", 1)] {
        let dir = tempfile::tempdir().unwrap();
        let lake = dir.path().join("lake");
        for night in &NIGHTS[..before] {
            sim.export(&lake, &["--fixed-time", night], 0);
        }
        let proxy = sim.block_on(refusing(sim.server.url(), CASES[0].refuse));
        let mut export = sim.hexport(&["export", lake.to_str().unwrap(), "--fixed-time", NIGHTS[before]]);
        if state != "read" {
            export.env("HEX_API_URL", proxy);
        }
        run(&mut export, if state == "stale" { 4 } else { 0 });
        assert_eq!(verify(&lake).unwrap()["tables"]["users"]["state"], state);
        let is_known = state == "read";
        assert_eq!(report(&lake)["users_known"], is_known, "{state}");
        // Columns 3 and 4: the owner, and whether the owner is there.
        let readers = library(&lake, "who_reads_table");
        assert!(readers.len() > 20, "{state}: {}", readers.len());
        for row in &readers {
            let owner = row[3].as_str().map(str::to_lowercase);
            let expected = match owner.filter(|owner| is_known && !owner.is_empty()) {
                Some(owner) => Value::Bool(active.contains(&owner)),
                None => Value::Null,
            };
            assert_eq!(row[4], expected, "{state}: {row:?}");
        }
        let left = library(&lake, "owners_who_left");
        assert_eq!(left.is_empty(), !is_known, "{state}: {left:?}");
    }
}
