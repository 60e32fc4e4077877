//! What people get wrong: one paragraph that says what to do, a documented exit code, nothing left behind.

use std::path::Path;

use hexport::sim::{SimConfig, SimToken};

use crate::support::*;

fn is_empty(folder: &Path) -> bool {
    std::fs::read_dir(folder).unwrap().next().is_none()
}

/// Runs an export that must fail before anything is made, and gives what it said.
fn refused(command: &mut std::process::Command, code: i32) -> String {
    let text = stderr(&run(command, code));
    let said: Vec<&str> = text.lines().filter(|line| line.starts_with("error: ")).collect();
    assert_eq!(said.len(), 1, "one paragraph: {text}");
    said[0].to_owned()
}

#[test]
fn a_token_that_is_missing_malformed_or_refused_ends_with_3() {
    let dir = tempfile::tempdir().unwrap();
    let dest = dir.path().join("lake");
    let args = ["export", dest.to_str().unwrap()];
    let token =
        |token: SimToken| Sim::start(SimConfig { world: world_of(20), token, ..SimConfig::default() });

    let sim = token(SimToken::default());
    let said = refused(sim.hexport(&args).env_remove("HEX_API_TOKEN"), 3);
    assert!(said.contains("no API token") && said.contains("HEX_API_TOKEN"), "{said}");
    let said = refused(sim.hexport(&args).env("HEX_API_TOKEN", format!("{SECRET} {SECRET}")), 3);
    assert!(said.contains("malformed"), "{said}");
    let absent = dir.path().join("no-such-file");
    let said = refused(sim.hexport(&args).env_remove("HEX_API_TOKEN").env("HEX_API_TOKEN_FILE", &absent), 3);
    assert!(said.contains("no-such-file"), "{said}");
    assert_eq!(sim.server.requests().len(), 0, "nothing was sent");

    let expired = token(SimToken { expired: true, ..SimToken::default() });
    let said = refused(&mut expired.hexport(&args), 3);
    assert!(said.contains("expired") && said.contains("Create one"), "{said}");
    assert_eq!(
        expired.server.requests().len(),
        2,
        "Me, and the list of projects that it isn't Me's scope alone"
    );

    let unknown = token(SimToken { secret: Some("hxtp_another".into()), ..SimToken::default() });
    refused(&mut unknown.hexport(&args), 3);
    let no_projects = token(SimToken { forbidden: vec!["ListProjects".into()], ..SimToken::default() });
    let said =
        refused(&mut no_projects.hexport(&["export", dest.to_str().unwrap(), "--concurrency", "1"]), 3);
    assert!(said.contains("ListProjects"), "{said}");
    let left: Vec<_> = std::fs::read_dir(dir.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
    // The last one was answered for the workspace itself, and that answer is kept.
    assert!(left.is_empty() || left == ["lake"], "{left:?}");
    assert_no_secret_below(dir.path());
}

#[test]
fn a_token_file_works_like_the_variable() {
    let dir = tempfile::tempdir().unwrap();
    let sim = Sim::start(SimConfig {
        world: world_of(20),
        token: SimToken { secret: Some(SECRET.into()), ..SimToken::default() },
        ..SimConfig::default()
    });
    let file = dir.path().join("token");
    std::fs::write(&file, format!("{SECRET}\n")).unwrap();
    let mut command = sim.hexport(&["check", "--token-file", file.to_str().unwrap()]);
    run(command.env_remove("HEX_API_TOKEN"), 0);
}

#[test]
fn a_wrong_url_is_told_before_the_token_leaves() {
    let dir = tempfile::tempdir().unwrap();
    let dest = dir.path().join("lake");
    let args = ["export", dest.to_str().unwrap()];
    let at = |url: &str| {
        let mut command = hexport(&args);
        command.env("HEX_API_URL", url).env("HEX_API_TOKEN", SECRET);
        command
    };
    for url in
        ["http://app.hex.tech", "app.hex.tech", "ftp://app.hex.tech/api", "https://user:pass@app.hex.tech"]
    {
        let said = refused(&mut at(url), 2);
        assert!(said.contains("HEX_API_URL"), "{said}");
    }
    let said = refused(&mut at(&format!("https://app.hex.tech/?token={SECRET}")), 2);
    assert!(said.contains("query"), "{said}");
    // Nobody listens there.
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let said = refused(&mut at(&format!("http://{free}")), 5);
    assert!(said.contains("could not connect"), "{said}");
    assert!(is_empty(dir.path()));
}

#[test]
fn a_destination_that_is_not_ours_is_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let sim = Sim::of_projects(20);
    std::fs::write(dir.path().join("thesis.doc"), "x").unwrap();
    let said = refused(&mut sim.hexport(&["export", dir.path().to_str().unwrap()]), 6);
    assert!(said.contains("thesis.doc"), "{said}");
    let said = refused(&mut sim.hexport(&["export", dir.path().join("thesis.doc").to_str().unwrap()]), 6);
    assert!(said.contains("can't write"), "{said}");
    let said = refused(&mut sim.hexport(&["export", "/proc/hexport"]), 6);
    assert!(said.contains("/proc/hexport"), "{said}");
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
    assert_eq!(sim.server.requests().len(), 0, "nothing was spent");
}

#[test]
fn snapshots_of_another_workspace_are_not_mixed_in() {
    let dir = tempfile::tempdir().unwrap();
    Sim::of_projects(20).export(dir.path(), &[], 0);
    let mut world = world_of(20);
    world.seed = 7;
    let other = Sim::start(SimConfig { world, ..SimConfig::default() });
    let said = refused(&mut other.hexport(&["export", dir.path().to_str().unwrap()]), 6);
    assert!(said.contains("another") || said.contains("its own DEST"), "{said}");
    assert_eq!(other.server.requests().len(), 1);
}

#[test]
fn wrong_flags_and_settings_end_with_2() {
    let dir = tempfile::tempdir().unwrap();
    let dest = dir.path().join("lake");
    let dest = dest.to_str().unwrap();
    let sim = Sim::of_projects(20);
    let said = refused(&mut sim.hexport(&["export", dest, "--tables", "users,robots"]), 2);
    assert!(said.contains("'robots'") && said.contains("group_members"), "{said}");
    for (flag, value) in [
        ("--rate", "0"),
        ("--rate", "fast"),
        ("--concurrency", "0"),
        ("--burst", "0"),
        ("--request-timeout", "soon"),
        ("--format", "xlsx"),
        ("--budget", "1 fortnight"),
        ("--max-requests", "many"),
        ("--output", "xml"),
    ] {
        let said = stderr(&run(&mut sim.hexport(&["export", dest, flag, value]), 2));
        assert!(said.contains(flag), "{said}");
    }
    // A token given as an argument is not taken, and not repeated.
    run(&mut sim.hexport(&["export", dest, &format!("--token={SECRET}")]), 2);

    let settings = dir.path().join("hexport.toml");
    let with = |text: String| {
        std::fs::write(&settings, text).unwrap();
        refused(&mut sim.hexport(&["export", dest, "--config", settings.to_str().unwrap()]), 2)
    };
    let said = with(format!("rate = 30\ntoken = \"{SECRET}\"\n"));
    assert!(said.contains("line 2") && said.contains("token"), "{said}");
    assert!(with("request_timeout = \"soon\"\n".into()).contains("timeout"));
    assert!(with("concurrency = 0\n".into()).contains("concurrency"));
    let said = refused(&mut sim.hexport(&["export", dest, "--config", "/no/such/file.toml"]), 2);
    assert!(said.contains("/no/such/file.toml"), "{said}");
    assert!(!Path::new(dest).exists());
    assert_eq!(sim.server.requests().len(), 0);
}

#[test]
fn settings_come_from_flag_then_environment_then_file() {
    let dir = tempfile::tempdir().unwrap();
    let sim = Sim::of_projects(20);
    let settings = dir.path().join("hexport.toml");
    std::fs::write(
        &settings,
        format!("url = \"{}\"\nrate = 1234\nlog_format = \"json\"\n", sim.server.url()),
    )
    .unwrap();
    let rate = |more: &[&str], env: Option<&str>| {
        let mut args = vec!["check", "--output", "json", "--config", settings.to_str().unwrap()];
        args.extend(more);
        let mut command = hexport(&args);
        command.env("HEX_API_TOKEN", SECRET);
        if let Some(env) = env {
            command.env("HEXPORT_RATE", env);
        }
        let out = run(&mut command, 0);
        let value: serde_json::Value = serde_json::from_slice(&out.stdout).unwrap();
        value["requests_per_minute"].as_f64().unwrap().round()
    };
    assert_eq!(rate(&[], None), 1234.0);
    assert_eq!(rate(&[], Some("2345")), 2345.0);
    assert_eq!(rate(&["--rate", "3456"], Some("2345")), 3456.0);
}
