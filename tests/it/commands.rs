//! The smaller commands.

use hexport::sim::{LimitKind, Plan, RateLimit, SimConfig, SimToken, WorldConfig};
use serde_json::Value;

use crate::support::*;

#[test]
fn check_says_who_what_is_reached_and_the_limit() {
    let limit = RateLimit {
        kind: LimitKind::FixedWindow,
        requests: 6000,
        window: std::time::Duration::from_secs(60),
    };
    let sim = Sim::start(SimConfig {
        world: WorldConfig { plan: Plan::Team, ..world_of(40) },
        limit: Some(limit.into()),
        token: SimToken { forbidden: vec!["ListThreads".into()], ..SimToken::default() },
        ..SimConfig::default()
    });
    let text = stdout(&run(&mut sim.hexport(&["check"]), 0));
    for expected in
        ["Robin Admin", "expires", "6000 requests", "Enterprise", "manager's or admin's", "GetProjectRuns"]
    {
        assert!(text.contains(expected), "{expected}: {text}");
    }
    let out = run(&mut sim.hexport(&["check", "--output", "json"]), 0);
    let value: Value = serde_json::from_slice(&out.stdout).unwrap();
    assert_eq!(value["org_id"].as_str(), Some(sim.server.world().org_id.as_str()));
    assert_eq!(value["limit"]["requests"], 6000.0);
    let answers: std::collections::BTreeMap<&str, &str> = value["endpoints"]
        .as_array()
        .unwrap()
        .iter()
        .map(|e| (e["endpoint"].as_str().unwrap(), e["answer"].as_str().unwrap()))
        .collect();
    assert_eq!(answers["GetQueriedTables"], "forbidden");
    assert_eq!(answers["ListThreads"], "forbidden");
    assert_eq!(answers.values().filter(|a| **a == "ok").count(), 11);
}

#[test]
fn schema_shows_every_table_in_three_forms() {
    let all: Value =
        serde_json::from_slice(&run(&mut hexport(&["schema", "--format", "json"]), 0).stdout).unwrap();
    let names: Vec<&str> = all.as_array().unwrap().iter().map(|t| t["table"].as_str().unwrap()).collect();
    let expected: Vec<&str> = hexport::registry::all().map(|t| t.name).collect();
    assert_eq!(names, expected);
    let markdown = stdout(&run(&mut hexport(&["schema", "runs", "--format", "markdown"]), 0));
    assert!(
        markdown.contains("| start_time | timestamp[us, UTC] | null | startTime | Start |"),
        "{markdown}"
    );
    let text = stdout(&run(&mut hexport(&["schema", "queried_tables"]), 0));
    assert!(text.contains("dataConnectionId") && text.contains("fetched_at"), "{text}");
    assert!(stderr(&run(&mut hexport(&["schema", "robots"]), 2)).contains("'robots'"));
}

#[test]
fn log_lines_are_text_or_json_and_hold_no_token() {
    let dir = tempfile::tempdir().unwrap();
    let sim = Sim::start(SimConfig {
        world: world_of(20),
        faults: "500=0.2,seed=3".parse().unwrap(),
        ..SimConfig::default()
    });
    let dest = dir.path().to_str().unwrap();
    let text = stderr(&run(&mut sim.hexport(&["export", dest, "--full", "-vv"]), 0));
    assert!(text.contains("endpoint=\"ListProjects\"") && text.contains("retrying"), "{text}");
    assert!(text.contains("request=1 ") && text.contains("status=200"), "{text}");
    let out = run(&mut sim.hexport(&["export", dest, "--full", "--log-format", "json"]), 0);
    let lines: Vec<Value> = stderr(&out).lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let retry =
        lines.iter().find(|line| line["message"] == "retrying").expect("a fifth of the answers are 500");
    assert!(!retry["trace_id"].as_str().unwrap().is_empty() || retry["why"].as_str().unwrap().contains("50"));
    let quiet = run(&mut sim.hexport(&["export", dest, "--quiet"]), 0);
    assert_eq!(stderr(&quiet), "");
    assert_no_secret_below(dir.path());
}

#[test]
fn a_metrics_file_is_what_prometheus_reads() {
    let dir = tempfile::tempdir().unwrap();
    let sim = Sim::of_projects(20);
    let file = dir.path().join("hexport.prom");
    let lake = dir.path().join("lake");
    sim.export(&lake, &["--metrics-file", file.to_str().unwrap()], 0);
    let text = std::fs::read_to_string(&file).unwrap();
    assert!(
        text.contains("hexport_export_success 1\n")
            && text.contains("hexport_table_rows{table=\"projects\"} 20\n"),
        "{text}"
    );
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let (name, value) = line.rsplit_once(' ').unwrap();
        assert!(name.starts_with("hexport_") && value.parse::<f64>().is_ok(), "{line}");
    }
}

#[test]
fn the_simulator_serves_as_a_process_of_its_own() {
    use std::io::BufRead;
    let mut child = spawn(&mut hexport(&["simulate", "--port", "0", "--projects", "25"]));
    let mut line = String::new();
    std::io::BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
    let mut command = hexport(&["check"]);
    command.env("HEX_API_URL", line.trim()).env("HEX_API_TOKEN", SECRET).env("HEXPORT_RATE", "unlimited");
    let out = run(&mut command, 0);
    assert!(stdout(&out).contains("ListProjects"));
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(stderr(&run(&mut hexport(&["simulate", "--faults", "fire=1"]), 2)).contains("unknown fault"));
}
