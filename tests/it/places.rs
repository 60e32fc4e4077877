//! Destinations of any name and on any disk: paths that look like columns, patterns or escapes, damage, full and
//! read-only disks.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::support::*;

/// The name of a connection of the workspace.
fn a_connection(sim: &Sim) -> String {
    sim.server.world().connections[0].name.clone()
}

/// The name of a table that a project of the workspace has queried.
fn a_table(sim: &Sim) -> String {
    let world = sim.server.world();
    let tables = world.projects.iter().flat_map(|record| world.queried_tables(record));
    tables.map(|table| table.table_name.rsplit('.').next().unwrap().to_owned()).min().unwrap()
}

/// Names that readers are known to stumble over.
const AWKWARD: [&str; 4] = [
    "status=prod/type=raw/title=a/snapshot=x/lake",
    "[brackets]/l*ke?{a,b}",
    "100%20 %zz#hash\\back",
    "it's \"quoted\" $HOME `x`/ünïcode 🦀/~tilde/-dash/..dots..",
];

fn with_duckdb(args: &[&str]) -> Command {
    let mut command = hexport(args);
    command.env("PATH", path_with_venv());
    command
}

/// Standard output without what names the lake.
fn answer(args: &[&str]) -> String {
    stdout(&run(&mut with_duckdb(args), 0))
}

#[test]
fn no_character_of_a_path_means_anything() {
    let dir = tempfile::tempdir().unwrap();
    let sim = Sim::of_projects(8);
    let nights = ["2026-11-02T06:00:00Z", "2026-11-03T06:00:00Z"];
    let mut plain: Option<Vec<String>> = None;
    for name in ["plain"].iter().chain(&AWKWARD) {
        let lake = dir.path().join(name);
        let dest = lake.to_str().unwrap();
        for night in nights {
            sim.export(&lake, &["--format", "delta,csv", "--fixed-time", night], 0);
        }
        run(&mut hexport(&["snapshots", "verify", dest]), 0);
        let history = "SELECT snapshot, count(*) FROM runs_history GROUP BY ALL ORDER BY ALL";
        let answers = vec![
            answer(&["lineage", dest, "--connection", &a_connection(&sim), "--output", "json"]),
            answer(&["audit", dest, "--output", "json"]),
            answer(&["diff", dest, "--output", "json"]),
            answer(&["query", dest, "SELECT * EXCLUDE (extra) FROM projects ORDER BY 1", "--output", "json"]),
            answer(&["query", dest, history, "--output", "json"]),
        ];
        match &plain {
            None => plain = Some(answers),
            Some(plain) => assert!(*plain == answers, "{name}: {answers:?}\n{plain:?}"),
        }
        let log = std::fs::read_dir(lake.join("delta/runs/_delta_log")).unwrap();
        let versions = log.filter(|e| e.as_ref().unwrap().path().extension().is_some_and(|e| e == "json"));
        assert_eq!(versions.count(), 2, "{name}");
    }
}

#[test]
fn typing_errors_are_refused_before_anything_is_made() {
    let dir = tempfile::tempdir().unwrap();
    let sim = Sim::of_projects(3);
    for (dest, said) in [
        ("s3:/bucket/hex", "s3://bucket/hex"),
        ("gs:/bucket", "gs://bucket"),
        ("ss3:/bucket", "two slashes"),
        ("ftp://host/hex", "s3://"),
        ("~nobody/hex", "whole path"),
    ] {
        let out = run(sim.hexport(&["export", dest]).current_dir(dir.path()), 2);
        assert!(stderr(&out).contains(said), "{dest}: {}", stderr(&out));
    }
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    let mut home = sim.hexport(&["export", "~/lake"]);
    run(home.env("HOME", dir.path()).current_dir("/"), 0);
    assert!(verify(&dir.path().join("lake")).is_some());
    let url = format!("file://{}/a%20b", dir.path().display());
    run(&mut sim.hexport(&["export", &url]), 0);
    assert!(verify(&dir.path().join("a b")).is_some());
}

#[test]
fn a_damaged_file_breaks_its_own_view_only() {
    let dir = tempfile::tempdir().unwrap();
    let lake = dir.path().join("lake");
    let dest = lake.to_str().unwrap();
    let sim = Sim::of_projects(6);
    sim.export(&lake, &["--fixed-time", "2026-11-02T06:00:00Z"], 0);
    let first = lake.join("snapshot=2026-11-02T060000Z");
    let footer = std::fs::read(first.join("users.parquet")).unwrap();
    let mut broken = footer.clone();
    let end = broken.len() - 12;
    broken[end..].fill(0);
    for damage in [None, Some(&broken[..]), Some(&footer[..footer.len() / 2])] {
        match damage {
            None => std::fs::remove_file(first.join("users.parquet")).unwrap(),
            Some(bytes) => std::fs::write(first.join("users.parquet"), bytes).unwrap(),
        }
        let out = run(
            &mut with_duckdb(&["query", dest, "SELECT count(*) AS n FROM projects", "--output", "json"]),
            0,
        );
        assert!(stdout(&out).contains("6") && stderr(&out).contains("users"), "{}", stderr(&out));
        // Whoever needs it doesn't take it for empty.
        run(&mut hexport(&["audit", dest]), 6);
        run(&mut hexport(&["lineage", dest, "--table", &a_table(&sim)]), 0);
    }
    // The next snapshot is whole; a hole in it is filled from the one before.
    std::fs::write(first.join("users.parquet"), &footer).unwrap();
    sim.export(&lake, &["--fixed-time", "2026-11-03T06:00:00Z"], 0);
    std::fs::remove_file(lake.join("snapshot=2026-11-03T060000Z/users.parquet")).unwrap();
    let out = run(&mut hexport(&["audit", dest]), 0);
    assert!(stderr(&out).contains("2026-11-02T060000Z"), "{}", stderr(&out));
    // And exports go on, from what is there.
    sim.export(&lake, &["--fixed-time", "2026-11-04T06:00:00Z"], 0);
    assert!(ask_one(&lake, "SELECT count(*) FROM users").as_u64().unwrap() > 0);
}

#[test]
fn an_export_of_some_tables_is_not_the_newest_of_the_others() {
    let dir = tempfile::tempdir().unwrap();
    let lake = dir.path().join("lake");
    let dest = lake.to_str().unwrap();
    let sim = Sim::of_projects(20);
    sim.export(&lake, &["--fixed-time", "2026-11-02T06:00:00Z"], 0);
    let json = |args: &[&str]| -> (Value, String) {
        let out = run(&mut with_duckdb(args), 0);
        (serde_json::from_slice(&out.stdout).unwrap(), stderr(&out))
    };
    let commands: [&[&str]; 3] = [
        &["audit", dest, "--output", "json"],
        &["lineage", dest, "--table", &a_table(&sim), "--output", "json"],
        &["query", dest, "SELECT count(*) AS runs FROM runs", "--output", "json"],
    ];
    let before: Vec<Value> = commands.iter().map(|args| json(args).0).collect();
    let events = |file: &str| {
        let file = dir.path().join(file);
        run(&mut hexport(&["openlineage", dest, "--since-last", "n", "-o", file.to_str().unwrap()]), 0);
        std::fs::read_to_string(file).unwrap().lines().count()
    };
    assert!(events("first") > 100);
    sim.export(&lake, &["--tables", "users", "--fixed-time", "2026-11-03T06:00:00Z"], 0);
    for (args, before) in commands.iter().zip(before) {
        let (after, said) = json(args);
        let found = |answer: &Value| match answer["findings"].as_array() {
            Some(findings) => findings.iter().map(|finding| finding["id"].clone()).collect(),
            None => answer.clone(),
        };
        assert_eq!(found(&after), found(&before), "{args:?}");
        assert!(said.contains("read from 2026-11-02T060000Z"), "{args:?}: {said}");
    }
    assert_eq!(events("second"), 0, "nothing new is told");
    assert_eq!(ask_one(&lake, "SELECT count(*) FROM projects"), 20, "views.sql has the newest of each");
    let diff = json(&["diff", dest, "--output", "json"]).0;
    assert_eq!(diff["tables"].as_array().unwrap().len(), 0, "nothing was removed: {diff}");
}

#[test]
fn a_lake_of_csv_is_read_like_one_of_parquet() {
    let dir = tempfile::tempdir().unwrap();
    let sim = Sim::of_projects(25);
    let answers = |format: &str| {
        let lake = dir.path().join(format);
        let dest = lake.to_str().unwrap().to_owned();
        sim.export(&lake, &["--format", format, "--fixed-time", "2026-11-02T06:00:00Z"], 0);
        let page = dir.path().join(format!("{format}.html"));
        run(&mut hexport(&["report", &dest, "-o", page.to_str().unwrap()]), 0);
        let types = "SELECT view_name, column_name, data_type FROM duckdb_columns() c JOIN duckdb_views() v \
                     ON v.view_name = c.table_name WHERE data_type NOT LIKE '%[]' AND data_type NOT LIKE 'STRUCT%' \
                     AND view_name = 'runs' AND column_name NOT IN ('notifications', 'state_events') ORDER BY ALL";
        vec![
            answer(&["audit", &dest, "--output", "json"]),
            answer(&["lineage", &dest, "--connection", &a_connection(&sim), "--output", "json"]),
            answer(&["openlineage", &dest]),
            answer(&["query", &dest, types, "--output", "json"]),
            answer(&["query", &dest, "SELECT status, count(*) FROM runs GROUP BY ALL ORDER BY ALL"]),
            std::fs::read_to_string(page).unwrap(),
        ]
    };
    for (parquet, csv) in answers("parquet").iter().zip(answers("csv")) {
        assert!(*parquet == csv, "{}\n{}", &parquet[..parquet.len().min(3000)], &csv[..csv.len().min(3000)]);
    }
}

#[test]
fn a_table_that_is_nowhere_is_not_taken_for_empty() {
    let dir = tempfile::tempdir().unwrap();
    let lake = dir.path().join("lake");
    let dest = lake.to_str().unwrap();
    let sim = Sim::of_projects(6);
    sim.export(&lake, &["--tables", "users,groups"], 0);
    for args in [vec!["audit", dest], vec!["openlineage", dest], vec!["report", dest]] {
        let said = stderr(&run(&mut hexport(&args), 2));
        assert!(said.contains("no snapshot holds the table projects"), "{args:?}: {said}");
    }
    sim.export(&lake, &["--tables", "projects"], 0);
    let said = stdout(&run(&mut hexport(&["audit", dest, "--output", "json"]), 0));
    let said: Value = serde_json::from_str(&said).unwrap();
    assert!(said["not_evaluated"].to_string().contains("lineage"), "{said}");
}

#[test]
fn temporary_files_find_a_place_and_a_read_only_lake_is_read() {
    let dir = tempfile::tempdir().unwrap();
    let lake = dir.path().join("lake");
    let dest = lake.to_str().unwrap();
    let sim = Sim::of_projects(6);
    sim.export(&lake, &[], 0);
    let nowhere = dir.path().join("nowhere");
    for args in [&["query", dest, "SELECT 1"][..], &["audit", dest], &["snapshots", "verify", dest]] {
        run(with_duckdb(args).env("TMPDIR", &nowhere), 0);
    }
    let make = |mode: u32| {
        for path in [lake.clone(), lake.join("_state")] {
            if path.exists() {
                std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
            }
        }
    };
    make(0o555);
    for args in [
        &["query", dest, "SELECT 1"][..],
        &["audit", dest],
        &["lineage", dest, "--table", &a_table(&sim)],
        &["snapshots", "list", dest],
        &["snapshots", "verify", dest],
        &["openlineage", dest],
    ] {
        run(&mut with_duckdb(args), 0);
    }
    make(0o755);
}

/// A small file system, for tests that run as root; `None` where none can be mounted.
fn small_disk(at: &Path, options: &str) -> Option<Mounted> {
    std::fs::create_dir_all(at).unwrap();
    let mount = Command::new("mount").args(["-t", "tmpfs", "-o", options, "tmpfs"]).arg(at).output();
    mount.is_ok_and(|out| out.status.success()).then(|| Mounted(at.to_owned()))
}

struct Mounted(std::path::PathBuf);

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(&self.0).status();
    }
}

#[test]
fn a_full_disk_is_named_and_leaves_no_staging() {
    let dir = tempfile::tempdir().unwrap();
    let sim = Sim::of_projects(30);
    let Some(disk) = small_disk(&dir.path().join("disk"), "size=300k") else {
        eprintln!("no file system can be mounted here: not tested");
        return;
    };
    let lake = disk.0.join("lake");
    let out = sim.hexport(&["export", lake.to_str().unwrap()]).output().unwrap();
    let said = stderr(&out);
    assert_eq!(out.status.code(), Some(6), "{said}");
    assert!(said.to_lowercase().contains("no space left"), "{said}");
    assert!(!said.contains("fault of hexport"), "{said}");
    let left: Vec<String> = std::fs::read_dir(&lake)
        .unwrap()
        .map(|e| e.unwrap().file_name().to_string_lossy().into_owned())
        .filter(|name| name.starts_with("_staging"))
        .collect();
    assert_eq!(left, Vec::<String>::new());
}
