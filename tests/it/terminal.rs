//! Terminals, pipes, proxies and settings: what surrounds a command can't break it.

use std::fs::File;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use crate::support::*;

/// What a command does beside printing.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Kind {
    /// Nothing: an output that can't be written is a failure.
    Prints,
    /// It commits a snapshot, which stays a success.
    Commits,
    /// It prints nothing.
    Silent,
}

/// Commands, with DEST for a lake that has two snapshots.
const COMMANDS: &[(&[&str], Kind)] = &[
    (&["--help"], Kind::Prints),
    (&["--version"], Kind::Prints),
    (&["export", "--help"], Kind::Prints),
    (&["demo", "NEW", "--projects", "5"], Kind::Commits),
    (&["export", "NEW", "--tables", "users"], Kind::Commits),
    (&["plan", "DEST"], Kind::Prints),
    (&["audit", "DEST"], Kind::Prints),
    (&["audit", "DEST", "--output", "csv"], Kind::Prints),
    (&["audit", "DEST", "--output", "json"], Kind::Prints),
    (&["diff", "DEST"], Kind::Prints),
    (&["snapshots", "list", "DEST"], Kind::Prints),
    (&["snapshots", "show", "DEST"], Kind::Prints),
    (&["snapshots", "verify", "DEST"], Kind::Prints),
    (&["snapshots", "verify", "DEST", "--forgotten", "nobody@example.com"], Kind::Prints),
    (&["snapshots", "prune", "DEST", "--keep-last", "5", "--dry-run"], Kind::Prints),
    (&["lineage", "DEST", "--table", "staging.stg_features"], Kind::Prints),
    (&["lineage", "DEST", "--table", "staging.stg_features", "--output", "csv"], Kind::Prints),
    (&["openlineage", "DEST", "--all"], Kind::Prints),
    (&["datahub", "DEST"], Kind::Prints),
    (&["openmetadata", "DEST"], Kind::Prints),
    (&["impact", "DEST", "--table", "staging.stg_features"], Kind::Prints),
    (&["impact", "DEST", "--table", "staging.stg_features", "--output", "json"], Kind::Prints),
    (&["why", "DEST"], Kind::Prints),
    (&["import", "query-history", "--sql", "snowflake"], Kind::Prints),
    (&["query"], Kind::Prints),
    (&["schema"], Kind::Prints),
    (&["schema", "--format", "ddl-duckdb"], Kind::Prints),
    (&["completions", "bash"], Kind::Prints),
    (&["man", "NEW"], Kind::Silent),
    (&["check"], Kind::Prints),
    (&["projects", "list"], Kind::Prints),
    (&["projects", "list", "--output", "csv"], Kind::Prints),
    (&["users", "list", "--output", "json"], Kind::Prints),
    (&["users", "me"], Kind::Prints),
];

/// Runs one of the commands with these outputs.
fn with_output(sim: &Sim, lake: &Path, args: &[&str], stdout: Stdio, stderr: Stdio) -> Output {
    let fresh = tempfile::tempdir().unwrap();
    let new = fresh.path().join("new");
    let args: Vec<&str> = args
        .iter()
        .map(|arg| match *arg {
            "DEST" => lake.to_str().unwrap(),
            "NEW" => new.to_str().unwrap(),
            arg => arg,
        })
        .collect();
    sim.hexport(&args).stdin(Stdio::null()).stdout(stdout).stderr(stderr).output().unwrap()
}

fn closed() -> Stdio {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    writer.into()
}

fn full() -> Stdio {
    File::options().write(true).open("/dev/full").unwrap().into()
}

#[test]
fn no_command_minds_a_closed_pipe_and_all_say_that_a_disk_is_full() {
    let dir = tempfile::tempdir().unwrap();
    let sim = Sim::of_projects(20);
    sim.export(dir.path(), &[], 0);
    sim.export(dir.path(), &["--full"], 0);
    let failed: Vec<String> = COMMANDS
        .iter()
        .filter_map(|(args, kind)| {
            let usual = with_output(&sim, dir.path(), args, Stdio::piped(), Stdio::piped());
            let code = usual.status.code();
            let said = |out: &Output| format!("{args:?} ended with {:?}: {}", out.status, stderr(out));
            if !matches!(code, Some(0)) {
                return Some(said(&usual));
            }
            if usual.stdout.is_empty() != (*kind == Kind::Silent) {
                return Some(format!("{args:?} printed {} bytes", usual.stdout.len()));
            }
            let piped = with_output(&sim, dir.path(), args, closed(), Stdio::piped());
            if piped.status.code() != code
                || stderr(&piped).contains("error")
                || stderr(&piped).contains("panic")
            {
                return Some(format!("closed: {}", said(&piped)));
            }
            let on_full = with_output(&sim, dir.path(), args, full(), Stdio::piped());
            let text = stderr(&on_full);
            let is_told = text.contains("standard output can't be written") && text.contains("No space left");
            let expected = match kind {
                Kind::Prints => (Some(6), true),
                Kind::Commits => (code, true),
                Kind::Silent => (code, false),
            };
            if (on_full.status.code(), is_told) != expected || text.contains("panic") {
                return Some(format!("full: {}", said(&on_full)));
            }
            let deaf = with_output(&sim, dir.path(), args, Stdio::null(), full());
            (deaf.status.code() != code).then(|| format!("stderr full: {}", said(&deaf)))
        })
        .collect();
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}

#[test]
fn a_title_controls_no_terminal_and_stays_as_it_is_in_files() {
    const NASTY: &str = "T\u{1b}[31m\u{7}\0\u{9b}2J\u{202e}\nforged line";
    let sim = Sim::of_projects(20);
    let upstream = sim.server.url();
    let url = sim.block_on(changing_answers(upstream, |target, body| {
        if target.contains("/projects?") {
            for project in body["values"].as_array_mut().unwrap() {
                project["title"] = NASTY.into();
            }
        }
    }));
    let dir = tempfile::tempdir().unwrap();
    let lake = dir.path().to_str().unwrap();
    let commands: &[&[&str]] = &[
        &["export", lake, "--log-format", "text", "-vv"],
        &["audit", lake],
        &["audit", lake, "--output", "markdown"],
        &["lineage", lake, "--table", "staging.stg_features"],
        &["snapshots", "show", lake],
        &["check"],
        &["projects", "list"],
        &["projects", "list", "--output", "json"],
    ];
    for args in commands {
        let out = sim.hexport(args).env("HEX_API_URL", &url).output().unwrap();
        for text in [stdout(&out), stderr(&out)] {
            let bad = text.chars().find(|c| {
                (c.is_control() && !matches!(c, '\n' | '\t')) || matches!(c, '\u{202a}'..='\u{202e}')
            });
            let raw_json = args.contains(&"json") && bad.is_some_and(|c| u32::from(c) > 0x7f);
            assert!(bad.is_none() || raw_json, "{args:?}: {bad:?} in {text}");
            assert!(!text.lines().any(|line| line.starts_with("forged line")), "{args:?}: {text}");
        }
    }
    let title = ask_one(dir.path(), "SELECT any_value(title) FROM projects");
    assert_eq!(title.as_str().unwrap(), NASTY, "unchanged in files");
}

/// Listens, keeps the beginning of what each connection sends, and answers all alike.
fn listener(answer: &'static [u8]) -> (String, mpsc::Receiver<Vec<u8>>) {
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap().to_string();
    let (sender, heard) = mpsc::channel();
    std::thread::spawn(move || {
        for connection in socket.incoming() {
            let mut connection = connection.unwrap();
            connection.set_read_timeout(Some(Duration::from_millis(500))).unwrap();
            let mut bytes = vec![0; 4096];
            let n = connection.read(&mut bytes).unwrap_or(0);
            bytes.truncate(n);
            let _ = sender.send(bytes);
            let _ = connection.write_all(answer);
        }
    });
    (address, heard)
}

/// Runs a check and kills it after a while: how it ends is not the matter.
fn try_check(mut command: Command) {
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).stdin(Stdio::null()).spawn().unwrap();
    for _ in 0..80 {
        if child.try_wait().unwrap().is_some() {
            return;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn no_proxy_ever_sees_a_token() {
    let sim = Sim::of_projects(5);
    let (proxy, heard) = listener(b"HTTP/1.1 502 Bad Gateway\r\ncontent-length: 0\r\n\r\n");
    let through = |variables: &[&str], mut command: Command| {
        for name in variables {
            command.env(name, format!("http://{proxy}"));
        }
        command
    };
    // What stays on this machine goes through none.
    for name in ["HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"] {
        run(&mut through(&[name], sim.hexport(&["check"])), 0);
        let localhost = sim.server.url().replace("127.0.0.1", "localhost");
        let mut command = through(&[name], sim.hexport(&["check"]));
        run(command.env("HEX_API_URL", localhost), 0);
    }
    assert!(heard.try_recv().is_err(), "the proxy was asked");
    // What leaves it goes through one in a tunnel, which the token is inside of.
    let mut command = through(&["HTTPS_PROXY", "HTTP_PROXY"], sim.hexport(&["check"]));
    command.env("HEX_API_URL", "https://hex.invalid");
    try_check(command);
    let mut tunnels = 0;
    while let Ok(bytes) = heard.try_recv() {
        assert!(bytes.starts_with(b"CONNECT hex.invalid:443 "), "{}", String::from_utf8_lossy(&bytes));
        assert_no_secret(&bytes, "what the proxy hears");
        tunnels += 1;
    }
    assert!(tunnels > 0, "HTTPS_PROXY is obeyed");
    let mut command = through(&["HTTPS_PROXY", "HTTP_PROXY"], sim.hexport(&["check"]));
    command.env("HEX_API_URL", "https://hex.invalid").env("NO_PROXY", "hex.invalid");
    try_check(command);
    assert!(heard.try_recv().is_err(), "NO_PROXY is obeyed");
}

#[test]
fn a_server_that_is_not_hex_is_named_for_what_it_is() {
    let dir = tempfile::tempdir().unwrap();
    for (code, answer, said) in [
        (
            3,
            &b"HTTP/1.1 403 Forbidden\r\ncontent-length: 42\r\nconnection: close\r\n\r\n{\"reason\": \"no \\u001b[31m\\nerror: forged\"}"[..],
            "no \\u001b[31m\\nerror: forged",
        ),
        (
            5,
            &b"HTTP/1.1 302 Found\r\nlocation: https://sso.example/login?code=hxtp_code\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"[..],
            "redirects to 'https://sso.example/login'",
        ),
        (
            5,
            b"HTTP/1.1 200 OK\r\ncontent-type: text/html\r\ncontent-length: 36\r\nconnection: close\r\n\r\n<html><title>Sign in</title></html>\r\n",
            "an HTML login page, titled \"Sign in\"",
        ),
    ] {
        let (address, _heard) = listener(answer);
        let dest = dir.path().join(&address);
        let mut command = hexport(&["export", dest.to_str().unwrap()]);
        command.env("HEX_API_URL", format!("http://{address}")).env("HEX_API_TOKEN", SECRET);
        let text = stderr(&run(command.env("HEXPORT_RATE", "unlimited"), code));
        assert!(text.contains(said) && !text.contains("hxtp_code"), "{text}");
    }
}

#[test]
fn variables_that_are_set_and_empty_count_as_not_set() {
    let sim = Sim::of_projects(5);
    let mut command = sim.hexport(&["check"]);
    for name in [
        "HEXPORT_CONFIG",
        "HEXPORT_BURST",
        "HEXPORT_CONCURRENCY",
        "HEXPORT_REQUEST_TIMEOUT",
        "HEXPORT_LOG_FORMAT",
        "HEXPORT_LOG",
        "HEX_API_TOKEN_FILE",
        "NO_PROXY",
        "HTTP_PROXY",
    ] {
        command.env(name, "");
    }
    run(&mut command, 0);
    let text = stderr(&run(sim.hexport(&["check"]).env("HEX_API_TOKEN", ""), 3));
    assert!(text.contains("HEX_API_TOKEN"), "{text}");
}

#[test]
fn a_settings_file_that_is_only_found_announces_where_the_token_goes() {
    let sim = Sim::of_projects(5);
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("hexport.toml"), format!("url = \"{}\"\n", sim.server.url())).unwrap();
    let mut command = sim.hexport(&["check"]);
    command.current_dir(dir.path()).env_remove("HEX_API_URL");
    let text = stderr(&run(&mut command, 0));
    assert!(
        text.contains("hexport.toml in the current folder") && text.contains(&sim.server.url()),
        "{text}"
    );
    let named = dir.path().join("hexport.toml");
    let mut command = sim.hexport(&["check", "--config", named.to_str().unwrap()]);
    let text = stderr(&run(command.env_remove("HEX_API_URL"), 0));
    assert!(!text.contains("current folder"), "{text}");
}

#[test]
fn a_failed_export_updates_the_metrics_and_keeps_those_of_the_last_success() {
    let dir = tempfile::tempdir().unwrap();
    let (lake, file) = (dir.path().join("lake"), dir.path().join("hexport.prom"));
    let args = ["export", lake.to_str().unwrap(), "--metrics-file", file.to_str().unwrap()];
    let sim = Sim::of_projects(5);
    let figures = || {
        let text = std::fs::read_to_string(&file).unwrap();
        let line = |line: &str| {
            let (name, value) = line.rsplit_once(' ').unwrap();
            (name.to_owned(), value.parse::<f64>().unwrap())
        };
        let samples: Vec<_> = text.lines().filter(|l| !l.starts_with('#')).map(line).collect();
        let by_name: std::collections::BTreeMap<String, f64> = samples.iter().cloned().collect();
        assert_eq!(by_name.len(), samples.len(), "each sample once: {text}");
        by_name
    };
    run(sim.hexport(&args).env_remove("HEX_API_TOKEN"), 3);
    let first = figures();
    assert_eq!((first["hexport_export_exit_code"], first["hexport_export_success"]), (3.0, 0.0));
    assert!(!first.contains_key("hexport_last_success_time_seconds"));
    run(&mut sim.hexport(&args), 0);
    let good = figures();
    assert_eq!((good["hexport_export_exit_code"], good["hexport_export_success"]), (0.0, 1.0));
    assert_eq!(good["hexport_table_rows{table=\"projects\"}"], 5.0);
    for (code, more, change) in [
        (3, &[][..], "HEX_API_TOKEN"),
        (2, &["--tables", "robots"], ""),
        (2, &["--config", "/no/such/file.toml"], ""),
    ] {
        let mut command = sim.hexport(&[&args[..], more].concat());
        if !change.is_empty() {
            command.env_remove(change);
        }
        run(&mut command, code);
        let now = figures();
        assert_eq!((now["hexport_export_exit_code"], now["hexport_export_success"]), (f64::from(code), 0.0));
        for kept in ["hexport_last_success_time_seconds", "hexport_table_rows{table=\"projects\"}"] {
            assert_eq!(now[kept], good[kept], "{kept}");
        }
    }
    let text = stderr(&run(
        &mut sim.hexport(&["export", lake.to_str().unwrap(), "--metrics-file", "/no/such/folder/x.prom"]),
        0,
    ));
    assert!(text.contains("warning: the metrics file"), "{text}");
}
