//! What a first day with hexport meets: setting up, settings, mistyped names, logs, the closing summary.

use std::path::Path;
use std::process::Command;

use hexport::sim::{Faults, SimConfig, SimToken};
use serde_json::{Value, json};

use crate::support::*;

fn path(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// A simulator that takes one token alone.
fn guarded() -> Sim {
    let token = SimToken { secret: Some(SECRET.into()), ..SimToken::default() };
    Sim::start(SimConfig { world: world_of(20), token, ..SimConfig::default() })
}

/// The command without a token or address in its environment.
fn bare(args: &[&str]) -> Command {
    let mut command = hexport(args);
    command.env("HEXPORT_RATE", "unlimited");
    command
}

/// Runs on a pseudo-terminal and types lines: exit code and what was shown.
fn on_terminal(args: &[&str], columns: u16, lines: &[&str]) -> (i64, String) {
    on_terminal_at("unlimited", args, columns, lines)
}

/// The same at a pace.
fn on_terminal_at(rate: &str, args: &[&str], columns: u16, lines: &[&str]) -> (i64, String) {
    let mut command = vec![env!("CARGO_BIN_EXE_hexport")];
    command.extend(args);
    let env = json!({"PATH": std::env::var("PATH").unwrap(), "HEXPORT_RATE": rate, "TERM": "xterm"});
    let asked = json!({"command": command, "env": env, "columns": columns, "lines": lines});
    let shown = script("terminal.py", &asked.to_string());
    (shown["code"].as_i64().unwrap(), shown["text"].as_str().unwrap().to_owned())
}

/// A lake with a snapshot of each of these times.
fn lake_of(sim: &Sim, lake: &Path, times: &[&str]) {
    for time in times {
        sim.export(lake, &["--fixed-time", time], 0);
    }
}

fn refuse(sim: &Sim, refusals: &[&str]) {
    let refusals = refusals.iter().map(|text| text.parse().unwrap()).collect();
    sim.server.set_faults(Faults { refusals, ..Faults::default() });
}

fn json_lines(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}"))).collect()
}

#[test]
fn init_checks_writes_settings_and_shows_a_schedule_and_the_plan() {
    let dir = tempfile::tempdir().unwrap();
    let sim = guarded();
    let (lake, token, file) =
        (dir.path().join("my lake"), dir.path().join("token"), dir.path().join("hexport.toml"));
    std::fs::write(&token, format!("{SECRET}\n")).unwrap();
    let url = sim.server.url();
    let init = |more: &[&str]| {
        let mut args = vec!["init", path(&lake), "--url", &url, "--file", path(&file)];
        args.extend(more);
        bare(&args)
    };
    let wrong = dir.path().join("wrong");
    std::fs::write(&wrong, "another").unwrap();
    run(&mut init(&["--token-file", path(&wrong)]), 3);
    assert!(!file.exists(), "nothing is written before the token is known to work");

    let token_file = ["--token-file", path(&token), "--schedule", "cron", "--at", "04:30"];
    let said = stdout(&run(&mut init(&token_file), 0));
    let cron = format!("30 4 * * * {} --config {}", env!("CARGO_BIN_EXE_hexport"), path(&file));
    for part in ["answers", "ListProjects", &cron, &format!("export '{}'", path(&lake)), "sends at least"] {
        assert!(said.contains(part), "{part}: {said}");
    }
    assert!(!lake.exists(), "a plan writes nothing");

    let again = stderr(&run(&mut init(&token_file), 2));
    assert!(again.contains("exists already") && again.contains("--force"), "{again}");
    let systemd = ["--token-file", path(&token), "--schedule", "systemd", "--force"];
    let said = stdout(&run(&mut init(&systemd), 0));
    assert!(said.contains("OnCalendar=02:00") && said.contains("SuccessExitStatus=4"), "{said}");

    // What init says at its end works, with nothing in the environment.
    run(&mut bare(&["--config", path(&file), "export", path(&lake)]), 0);
    verify(&lake).unwrap();
    assert_no_secret(&std::fs::read(&file).unwrap(), "hexport.toml");
}

#[test]
fn init_asks_on_a_terminal_and_names_flags_where_there_is_none() {
    let dir = tempfile::tempdir().unwrap();
    let sim = guarded();
    let (lake, token, file) =
        (dir.path().join("lake"), dir.path().join("token"), dir.path().join("hexport.toml"));
    std::fs::write(&token, SECRET).unwrap();
    let url = sim.server.url();
    let (code, shown) =
        on_terminal(&["init", "--file", path(&file)], 100, &[&url, path(&token), path(&lake)]);
    assert_eq!(code, 0, "{shown}");
    assert!(shown.contains("Address of your Hex workspace [https://app.hex.tech]:"), "{shown}");
    let settings: toml::Table = toml::from_str(&std::fs::read_to_string(&file).unwrap()).unwrap();
    assert_eq!(settings["token_file"].as_str(), token.to_str());
    assert_eq!(settings["url"].as_str().unwrap().trim_end_matches("/api/v1"), url);

    let other = dir.path().join("other.toml");
    let said = stderr(&run(&mut bare(&["init", "--file", path(&other)]), 2));
    assert!(said.contains("--url is missing") && said.contains("--token-file"), "{said}");
    assert!(!other.exists());
}

#[test]
fn settings_of_an_export_may_stand_in_the_file_and_a_flag_wins() {
    let dir = tempfile::tempdir().unwrap();
    let sim = Sim::of_projects(20);
    let (lake, file, metrics) =
        (dir.path().join("lake"), dir.path().join("s.toml"), dir.path().join("hexport.prom"));
    std::fs::write(
        &file,
        format!(
            "give_up_after = \"1m\"\n[export]\ntables = [\"users\"]\nformat = [\"csv\"]\nkeep_journal = true\n\
             freshness = \"7d\"\nrevalidate = \"never\"\nbudget = \"10m\"\nmax_requests = 500\nstrict = true\n\
             without = [\"threads\"]\nok_incomplete = true\nmetrics_file = {:?}\n",
            path(&metrics)
        ),
    )
    .unwrap();
    let config = ["--config", path(&file)];
    let found = sim.export(&lake, &config, 0);
    let snapshot = Path::new(found["path"].as_str().unwrap());
    assert!(snapshot.join("users.csv").exists() && !snapshot.join("users.parquet").exists());
    assert!(!snapshot.join("projects.csv").exists() && found["journal"].is_string(), "{found}");
    assert!(std::fs::read_to_string(&metrics).unwrap().contains("hexport_export_success 1\n"));

    let found = sim.export(
        &lake,
        &["--config", path(&file), "--format", "parquet", "--keep-journal=false", "--tables", "groups"],
        0,
    );
    let snapshot = Path::new(found["path"].as_str().unwrap());
    assert!(snapshot.join("groups.parquet").exists() && !snapshot.join("users.parquet").exists());
    assert!(found["journal"].is_null(), "{found}");

    // A gap: 0 by the file, 4 by the flag.
    refuse(&sim, &["ListUsers=400"]);
    let gap = ["--config", path(&file), "--full"];
    assert_eq!(sim.export(&lake, &gap, 0)["complete"], false);
    sim.export(&lake, &[&gap[..], &["--ok-incomplete=false"]].concat(), 4);
}

#[test]
fn unknown_settings_are_all_named_and_stop_only_commands_that_read_the_file() {
    let dir = tempfile::tempdir().unwrap();
    let sim = Sim::of_projects(20);
    let (lake, file) = (dir.path().join("lake"), dir.path().join("s.toml"));
    lake_of(&sim, &lake, &["2026-11-01T02:00:00Z"]);
    std::fs::write(&file, "ulr = \"https://x\"\n[export]\nbudgt = \"1h\"\nformat = [\"csv\"]\n[nonsense]\n")
        .unwrap();
    let said = stderr(&run(&mut sim.hexport(&["export", path(&lake), "--config", path(&file)]), 2));
    for part in [
        "line 1: unknown key 'ulr' (did you mean url?)",
        "'export.budgt' (did you mean budget?)",
        "'nonsense'",
    ] {
        assert!(said.contains(part), "{part}: {said}");
    }
    std::fs::write(&file, "[export]\nformat = [\"csv\", \"xlsx\"]\n").unwrap();
    let said = stderr(&run(&mut sim.hexport(&["export", path(&lake), "--config", path(&file)]), 2));
    assert!(said.contains("line 2") && said.contains("'xlsx' is none of parquet, csv, delta"), "{said}");
    let out = run(&mut hexport(&["snapshots", "list", path(&lake), "--config", path(&file)]), 0);
    assert!(stdout(&out).contains("2026-11-01T020000Z") && stderr(&out).starts_with("warning: "), "{out:?}");
    run(&mut hexport(&["completions", "bash", "--config", "/no/such/file.toml"]), 0);
}

#[test]
fn a_json_log_is_json_to_its_end() {
    let dir = tempfile::tempdir().unwrap();
    let sim = Sim::of_projects(20);
    let lake = dir.path().join("lake");
    let log = |args: &[&str], code: i32| {
        let out = run(&mut sim.hexport(args), code);
        let lines = json_lines(&stderr(&out));
        let last = lines.last().unwrap().clone();
        assert_eq!(
            (last["message"].as_str(), last["exit_code"].as_i64()),
            (Some("ended"), Some(code.into()))
        );
        (lines, last)
    };
    let json = ["--log-format", "json"];
    let (_, last) = log(&[&["export", path(&lake)], &json[..]].concat(), 0);
    assert_eq!(
        (&last["committed"], &last["complete"], &last["level"]),
        (&true.into(), &true.into(), &"INFO".into())
    );
    assert_eq!(last["command"], "export");
    assert!(Path::new(last["committed_to"].as_str().unwrap()).join("manifest.json").exists());

    refuse(&sim, &["ListCells=400"]);
    let (_, last) = log(&[&["export", path(&lake), "--full"], &json[..]].concat(), 4);
    assert_eq!((&last["complete"], &last["level"]), (&false.into(), &"WARN".into()));
    assert!(last["incomplete_tables"].as_array().unwrap().contains(&"cells".into()), "{last}");
    assert!(last["gaps"][0].as_str().unwrap().starts_with("ListCells "), "{last}");

    // Errors of every kind: the API's, of names, of the command line itself.
    refuse(&sim, &["*=401"]);
    let (lines, last) = log(&[&["export", path(&lake)], &json[..]].concat(), 3);
    let error = &lines[lines.len() - 2];
    assert_eq!((error["level"].as_str(), error["exit_code"].as_i64()), (Some("ERROR"), Some(3)));
    assert!(error["next"].as_str().unwrap().contains("API keys"), "{error}");
    assert_eq!((&last["committed"], &last["error"]), (&false.into(), &error["message"]));
    log(&[&["diff", "/no/such/lake"], &json[..]].concat(), 2);
    log(&["export", "--log-format=json", "--bugdet", "1h"], 2);
    let mut command = hexport(&["nonsense"]);
    command.env("HEXPORT_LOG_FORMAT", "json");
    assert_eq!(json_lines(&stderr(&run(&mut command, 2))).len(), 2);
}

#[test]
fn repeated_warnings_are_folded_to_one_with_their_number() {
    let dir = tempfile::tempdir().unwrap();
    let sim = Sim::of_projects(60);
    refuse(&sim, &["ListCells=403"]);
    let out = run(&mut sim.hexport(&["export", path(dir.path()), "-v"]), 0);
    let said = stderr(&out);
    let about: Vec<&str> =
        said.lines().filter(|line| line.contains("ListCells") && line.contains("is forbidden")).collect();
    assert!(!about.is_empty() && about.len() <= 2, "{said}");
    refuse(&sim, &["GetProjectRuns=404"]);
    let said = stderr(&run(&mut sim.hexport(&["export", path(dir.path()), "--full", "-v"]), 4));
    let about: Vec<&str> = said.lines().filter(|line| line.contains("vanished")).collect();
    assert!(about.len() == 2 && about[1].contains("repeated "), "{said}");
}

#[test]
fn the_closing_summary_fits_a_screen() {
    let dir = tempfile::tempdir().unwrap();
    let sim = Sim::of_projects(120);
    let lake = dir.path().join("lake");
    let summary = |more: &[&str], code| {
        let mut args = vec!["export", path(&lake)];
        args.extend(more);
        let said = stdout(&run(&mut sim.hexport(&args), code));
        assert!(said.lines().count() <= 24, "{said}");
        assert!(said.lines().all(|line| line.chars().count() <= 160), "{said}");
        said
    };
    let first = summary(&[], 0);
    for part in ["First snapshot", "projects", "120", "Findings", "high", "Gaps      none", "hexport report"]
    {
        assert!(first.contains(part), "{part}: {first}");
    }
    refuse(&sim, &["ListCells=400", "ListThreads=403"]);
    let second = summary(&["--full"], 4);
    for part in ["Since 20", "cells", "ListCells", "failed", "hexport why", "hexport diff", "; 0 new"] {
        assert!(second.contains(part), "{part}: {second}");
    }
    // More tables than were asked for, and why.
    refuse(&sim, &[]);
    let some = summary(&["--tables", "run_stats,users"], 0);
    assert!(some.contains("written for the 2 asked for") && some.contains("runs"), "{some}");
    let table = stdout(&run(&mut sim.hexport(&["export", path(&lake), "--output", "table"]), 0));
    assert!(table.contains("Endpoint") && table.contains("GetProjectRuns"), "{table}");
}

#[test]
fn why_answers_from_the_states_and_the_coverage() {
    let dir = tempfile::tempdir().unwrap();
    let sim = Sim::of_projects(20);
    let lake = path(dir.path());
    sim.export(dir.path(), &["--fixed-time", "2026-11-01T02:00:00Z"], 0);
    let why = |more: &[&str]| stdout(&run(&mut hexport(&[&["why", lake], more].concat()), 0));
    assert!(why(&[]).starts_with("2026-11-01T020000Z is complete."), "{}", why(&[]));
    refuse(&sim, &["ListCells=400"]);
    sim.export(dir.path(), &["--fixed-time", "2026-11-02T02:00:00Z", "--full"], 4);
    let said = why(&[]);
    assert!(said.contains("is incomplete") && said.contains("stale"), "{said}");
    let title = ask_one(
        dir.path(),
        "SELECT title FROM projects JOIN crawl_coverage ON entity_id = project_id \
                                     WHERE state = 'failed' ORDER BY operation, entity_id LIMIT 1",
    );
    let title = title.as_str().unwrap().split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(said.contains("ListCells: ") && said.contains(&title), "{title}: {said}");
    assert!(why(&["2026-11-01"]).contains("is complete"));
    let json: Value = serde_json::from_str(&why(&["--output", "json"])).unwrap();
    assert_eq!((&json["complete"], &json["reasons"][0]["state"]), (&false.into(), &"failed".into()));
    assert_eq!(json["tables"]["cells"], "stale");
    // A night that committed nothing.
    refuse(&sim, &["ListProjects=500"]);
    sim.export(dir.path(), &["--give-up-after", "1s"], 5);
    assert!(why(&[]).contains("was interrupted and has committed nothing"), "{}", why(&[]));
}

#[test]
fn snapshots_are_named_by_date_and_age_everywhere() {
    let dir = tempfile::tempdir().unwrap();
    let sim = Sim::of_projects(20);
    let lake = path(dir.path());
    lake_of(&sim, dir.path(), &["2025-11-01T02:00:00Z", "2025-11-02T02:00:00Z", "2025-11-03T02:00:00Z"]);
    sim.export(dir.path(), &[], 0);
    let said = |args: &[&str]| stdout(&run(&mut hexport(args), 0));
    assert!(
        said(&["diff", lake, "2025-11-01", "2025-11-02"])
            .starts_with("2025-11-01T020000Z → 2025-11-02T020000Z")
    );
    assert!(said(&["diff", lake, "7d"]).starts_with("2025-11-03T020000Z → "));
    assert!(said(&["snapshots", "show", lake, "2025-11-02"]).contains("2025-11-02T020000Z"));
    assert!(said(&["snapshots", "verify", lake, "7d"]).contains("1 snapshot verified, no problems found"));
    let id = |args: &[&str]| -> Value { serde_json::from_str(&said(args)).unwrap() };
    assert_eq!(
        id(&["audit", lake, "--snapshot", "30d", "--output", "json"])["snapshot_id"],
        "2025-11-03T020000Z"
    );
    said(&["access", "review", lake, "--since", "2025-11-01"]);
    said(&["report", lake, "--snapshot", "2025-11-02", "-o", path(&dir.path().join("report.html"))]);
    let said = stderr(&run(&mut hexport(&["diff", lake, "2024-01-01"]), 2));
    assert!(
        said.contains("no snapshot is as old as 2024-01-01") && said.contains("2025-11-01T020000Z"),
        "{said}"
    );
    let said = stderr(&run(&mut hexport(&["diff", lake, "2025-11-01T020001Z"]), 2));
    assert!(said.contains("there is no snapshot 2025-11-01T020001Z"), "{said}");
}

#[test]
fn an_unknown_name_is_not_the_same_as_no_lineage() {
    let dir = tempfile::tempdir().unwrap();
    Sim::of_projects(60).export(dir.path(), &[], 0);
    let lake = path(dir.path());
    let table = ask_one(dir.path(), "SELECT min(table_key) FROM lineage");
    let table = table.as_str().unwrap();
    let mistyped = format!("{}X", &table[..table.len() - 1]);
    let lineage =
        |args: &[&str], code| stderr(&run(&mut hexport(&[&["lineage", lake], args].concat()), code));
    let said = lineage(&["--table", &mistyped], 2);
    assert!(said.contains(&format!("no table '{mistyped}'")) && said.contains(table), "{said}");
    assert!(lineage(&["--table", "zzz.qqq", "--output", "json"], 2).contains("tables known"));
    assert!(lineage(&["--connection", "Nowhere"], 2).contains("no connection 'Nowhere'"));
    assert!(lineage(&["--project", "No such project at all"], 2).contains("no project"));
    lineage(&["--table", table], 0);
    // A project without SQL is known, and has none.
    let quiet = ask_one(
        dir.path(),
        "SELECT min(project_id) FROM projects WHERE project_id NOT IN (SELECT project_id FROM lineage)",
    );
    assert_eq!(lineage(&["--project", quiet.as_str().unwrap()], 0), "");
}

#[test]
fn mistyped_tables_and_moved_commands_are_pointed_out() {
    let said = stderr(&run(&mut hexport(&["verify", "/tmp/x"]), 2));
    assert!(said.contains("hexport snapshots verify"), "{said}");
    let sim = Sim::of_projects(5);
    let said = stderr(&run(&mut sim.hexport(&["export", "/tmp/never", "--tables", "project"]), 2));
    assert!(said.contains("Did you mean projects"), "{said}");
    assert!(!Path::new("/tmp/never").exists());
}

#[test]
fn damage_points_to_the_journal_where_one_is_kept() {
    let dir = tempfile::tempdir().unwrap();
    let sim = Sim::of_projects(20);
    let lake = path(dir.path());
    sim.export(dir.path(), &["--fixed-time", "2026-11-01T02:00:00Z", "--keep-journal"], 0);
    sim.export(dir.path(), &["--fixed-time", "2026-11-02T02:00:00Z"], 0);
    let verify = |code| run(&mut hexport(&["snapshots", "verify", lake]), code);
    assert!(stdout(&verify(0)).contains("2 snapshots verified, no problems found"));
    for day in ["01", "02"] {
        let file = dir.path().join(format!("snapshot=2026-11-{day}T020000Z/users.parquet"));
        std::fs::write(file, "x").unwrap();
    }
    let out = verify(6);
    let said = stderr(&out);
    assert!(stdout(&out).contains("2 problems found"), "{out:?}");
    let rebuild = format!("hexport rebuild {lake} --snapshot 2026-11-01T020000Z");
    assert!(said.contains(&rebuild) && said.contains("Restore 2026-11-02T020000Z from a backup"), "{said}");
    // The advice works.
    run(&mut hexport(&["rebuild", lake, "--snapshot", "2026-11-01"]), 0);
    assert!(!stderr(&verify(6)).contains("hexport rebuild"));
}

#[test]
fn tables_wrap_to_the_terminal_and_have_no_trailing_blanks() {
    let dir = tempfile::tempdir().unwrap();
    Sim::of_projects(60).export(dir.path(), &[], 0);
    let lake = path(dir.path());
    for columns in [80, 120] {
        let (_, shown) = on_terminal(&["audit", lake], columns, &[]);
        let table = shown.split("\n\n").next().unwrap();
        assert!(table.lines().all(|line| line.chars().count() <= usize::from(columns)), "{shown}");
        assert!(table.lines().count() > 10 && table.contains(" missing-description "), "{shown}");
    }
    let piped = stdout(&run(&mut hexport(&["audit", lake]), 0));
    assert!(piped.lines().all(|line| line == line.trim_end()), "{piped}");
    let mut narrow = hexport(&["audit", lake]);
    let said = stdout(&run(narrow.env("COLUMNS", "100"), 0));
    let table = said.split("\n\n").next().unwrap();
    assert!(table.lines().all(|line| line.chars().count() <= 100), "{table}");
}

#[test]
fn a_diff_names_titles_beside_identifiers() {
    let dir = tempfile::tempdir().unwrap();
    let sim = Sim::of_projects(20);
    let lake = path(dir.path());
    sim.export(dir.path(), &[], 0);
    let id = ask_one(dir.path(), "SELECT min(project_id) FROM project_schedules");
    let id = id.as_str().unwrap();
    let title = ask_one(dir.path(), &format!("SELECT title FROM projects WHERE project_id = '{id}'"));
    let title = title.as_str().unwrap().split_whitespace().collect::<Vec<_>>().join(" ");
    {
        let mut world = sim.server.world_mut();
        let record = world.projects.iter_mut().find(|record| *record.project.id == *id).unwrap();
        record.project.schedules.clear();
    }
    sim.export(dir.path(), &["--full"], 0);
    let said = stdout(&run(&mut hexport(&["diff", lake, "--tables", "project_schedules"]), 0));
    let line = said.lines().find(|line| line.starts_with("  - ")).unwrap();
    assert!(line.contains(&title) && line.contains(id), "{said}");
}

#[test]
fn a_person_who_watches_sees_one_calm_bar_and_a_summary_that_fits_a_screen() {
    let dir = tempfile::tempdir().unwrap();
    let sim = Sim::of_projects(20);
    let (lake, token, url) = (dir.path().join("lake"), dir.path().join("token"), sim.server.url());
    std::fs::write(&token, SECRET).unwrap();
    let args = ["export", path(&lake), "--url", &url, "--token-file", path(&token)];
    let began = std::time::Instant::now();
    let (code, shown) = on_terminal_at("1200", &args, 100, &[]);
    assert_eq!(code, 0, "{shown}");
    assert!(!shown.contains("\u{1b}[1A"), "the bar is one line, and nothing above it is drawn again");
    let frames: Vec<&str> = shown.split(['\r', '\n']).filter(|line| line.contains(" read  ")).collect();
    // What, how many, and how long the rest takes: the estimate shrinks.
    let part = |frame: &str, before: &str, after: &str| -> Option<u64> {
        frame.split_once(before)?.1.split_once(after)?.0.trim().parse().ok()
    };
    let left: Vec<u64> = frames.iter().filter_map(|frame| part(frame, ", about ", " s left")).collect();
    let done: Vec<u64> = frames.iter().filter_map(|frame| part(frame, "]", " of ")).collect();
    assert!(frames.iter().any(|frame| frame.contains("GetProjectRuns")), "{frames:?}");
    assert!(done.is_sorted() && done.last() > done.first(), "{done:?}");
    assert!(left.len() > 3 && left.last() < left.first(), "{left:?}");
    // Four times a second, and a few at once when something begins.
    let most = 4 * began.elapsed().as_secs() as usize + 40;
    assert!(frames.len() < most, "{} frames in {:?} are not calm", frames.len(), began.elapsed());
    let summary = &shown[shown.find("committed ").expect("a summary")..];
    assert!(summary.lines().count() <= 40, "{summary}");
    for part in ["First snapshot", "Findings", "Gaps", "Next", "hexport audit"] {
        assert!(summary.contains(part), "{part}: {summary}");
    }
}
