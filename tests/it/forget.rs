//! A person is forgotten: her address is in no file of a lake, whatever its form, and doesn't come back.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::*;

const KEY: (&str, &str) = ("HEXPORT_PSEUDONYM_KEY", "a key of tests, and no secret");
const NIGHTS: [&str; 3] = ["2026-11-01T02:00:00Z", "2026-11-02T02:00:00Z", "2026-11-03T02:00:00Z"];

fn files_below(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
        match entry.is_dir() {
            true => found.extend(files_below(&entry)),
            false => found.push(entry),
        }
    }
    found.sort();
    found
}

/// Files that name an address: Parquet as DuckDB reads it, journals uncompressed, all others byte by byte.
fn naming(lake: &Path, address: &str) -> Vec<String> {
    let address = address.to_lowercase();
    let files = files_below(lake);
    let is_parquet = |path: &&PathBuf| path.extension().is_some_and(|e| e == "parquet");
    let columns = "hive_partitioning = false";
    let sql: Vec<String> = files
        .iter()
        .filter(is_parquet)
        .map(|path| {
            let path = path.display();
            format!(
                "SELECT '{path}' FROM (SELECT count(*) AS n FROM read_parquet('{path}', {columns}) AS t \
                 WHERE contains(lower(t::VARCHAR), '{address}')) WHERE n > 0"
            )
        })
        .collect();
    let rows = script("duck.py", &json!({"folder": lake, "sql": sql}).to_string());
    let mut found: Vec<String> = rows
        .as_array()
        .unwrap()
        .iter()
        .flat_map(|rows| rows.as_array().unwrap())
        .map(|row| row[0].as_str().unwrap().to_owned())
        .collect();
    let holds = |bytes: &[u8]| String::from_utf8_lossy(bytes).to_lowercase().contains(&address);
    for path in files {
        let mut is_named = holds(&std::fs::read(&path).unwrap());
        if path.extension().is_some_and(|e| e == "hxj") {
            let journal = hexport::journal::Journal::open_read(&path).unwrap();
            is_named |= journal.entries().iter().any(|entry| holds(&journal.body(entry).unwrap()));
        }
        if is_named {
            found.push(path.display().to_string());
        }
    }
    found.sort();
    found.dedup();
    found.into_iter().map(|path| path.trim_start_matches(lake.to_str().unwrap()).to_owned()).collect()
}

fn keyed(mut command: Command) -> Command {
    command.env(KEY.0, KEY.1);
    command
}

fn forget(lake: &Path, address: &str) -> Value {
    let args = ["forget", lake.to_str().unwrap(), address, "--output", "json"];
    serde_json::from_slice(&run(&mut keyed(hexport(&args)), 0).stdout).unwrap()
}

fn verify_forgotten(lake: &Path, address: &str, code: i32) -> Vec<String> {
    let args = ["snapshots", "verify", lake.to_str().unwrap(), "--forgotten", address, "--output", "json"];
    let said: Value = serde_json::from_slice(&run(&mut hexport(&args), code).stdout).unwrap();
    said["found"].as_array().unwrap().iter().map(|f| format!("/{}", f["file"].as_str().unwrap())).collect()
}

/// The address of somebody who owns a project, and is in many tables for that.
fn an_owner(sim: &Sim) -> String {
    let world = sim.server.world();
    world.projects[0].project.owner.email.clone()
}

#[test]
fn a_forgotten_person_is_in_no_file_and_stays_out() {
    let dir = tempfile::tempdir().unwrap();
    let lake = dir.path().join("lake");
    let dest = lake.to_str().unwrap();
    let sim = Sim::of_projects(8);
    let address = an_owner(&sim);
    let formats = ["--format", "parquet,csv,delta", "--keep-journal", "--fixed-time"];
    for night in &NIGHTS[..2] {
        sim.export(&lake, &[&formats[..], &[night]].concat(), 0);
    }
    let before = naming(&lake, &address);
    for kind in ["/projects.parquet", "/projects.csv", "/delta/projects/", ".hxj"] {
        assert!(before.iter().any(|file| file.contains(kind)), "{kind}: {before:?}");
    }
    let mut found = verify_forgotten(&lake, &address, 6);
    found.sort();
    assert_eq!(found, before, "what verify finds is what is there");
    let count = |of: &str| {
        ask_one(&lake, &format!("SELECT count(*) FROM projects WHERE lower(owner_email) = lower('{of}')"))
    };
    let projects = count(&address);
    assert_ne!(projects, 0);
    let rows = rows_of_tables(&lake);

    // Without a key nothing happens; a short one is no key.
    let said = stderr(&run(&mut hexport(&["forget", dest, &address]), 2));
    assert!(said.contains(KEY.0), "{said}");
    run(hexport(&["forget", dest, &address]).env(KEY.0, "short"), 2);
    run(&mut keyed(hexport(&["forget", dest, "nobody"])), 2);
    assert_eq!(naming(&lake, &address), before);

    let name = {
        let world = sim.server.world();
        let person = world.users.iter().find(|user| user.email.eq_ignore_ascii_case(&address)).unwrap();
        assert_eq!(
            world.users.iter().filter(|user| user.name == person.name).count(),
            1,
            "a name of one person"
        );
        person.name.clone().unwrap()
    };
    for table in ["/users.parquet", "/user_activity.csv", "/group_members.parquet", "/delta/users/", ".hxj"] {
        assert!(naming(&lake, &name).iter().any(|file| file.contains(table)), "{table}");
    }
    let done = forget(&lake, &address.to_uppercase());
    assert_eq!(naming(&lake, &name), Vec::<String>::new(), "the name stood beside the address");
    let pseudonym = done["pseudonym"].as_str().unwrap();
    assert_eq!(done["left"], json!([]), "{done}");
    assert_eq!(naming(&lake, &address), Vec::<String>::new());
    verify_forgotten(&lake, &address, 0);
    run(&mut hexport(&["snapshots", "verify", dest]), 0);
    let manifest = verify(&lake).unwrap();
    let entry = &manifest["forgotten"][0];
    assert_eq!(entry["pseudonym"], pseudonym);
    assert!(entry["tables"].to_string().contains("\"projects\""), "{manifest}");
    assert_eq!(count(pseudonym), projects, "the person is one person still");
    assert_eq!(rows_of_tables(&lake), rows);
    let read = script("delta_rows.py", &json!({"table": lake.join("delta/projects")}).to_string());
    let emails: Vec<&str> =
        read["owner_email"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
    assert!(emails.contains(&pseudonym) && !emails.iter().any(|e| e.eq_ignore_ascii_case(&address)));
    assert_eq!(read["rows"].as_u64().unwrap(), 2 * rows["projects"]);

    // Nothing is written without the key, or with another one.
    let export = |key: Option<&str>, code| {
        let mut command =
            sim.hexport(&["export", dest, "--format", "parquet,csv,delta", "--keep-journal", "--full"]);
        command.args(["--fixed-time", NIGHTS[2]]);
        key.map(|key| command.env(KEY.0, key));
        stderr(&run(&mut command, code))
    };
    assert!(export(None, 2).contains(KEY.0));
    assert!(export(Some("another key, and a wrong one"), 2).contains("isn't the key"));
    export(Some(KEY.1), 0);
    let left = naming(&lake, &address);
    // What was answered is kept as it was; forgetting again rewrites it.
    assert!(left.iter().all(|file| file.ends_with(".hxj")), "{left:?}");
    assert_eq!(count(pseudonym), projects);
    assert_eq!(rows_of_tables(&lake), rows);
    forget(&lake, &address);
    assert_eq!(naming(&lake, &address), Vec::<String>::new());
    assert_eq!(naming(&lake, &name), Vec::<String>::new());
    // A journal without the address gives the same snapshot again.
    run(keyed(hexport(&["rebuild", dest])).args(["--format", "parquet,csv"]), 0);
    assert_eq!(count(pseudonym), projects);
    assert_eq!(naming(&lake, &address), Vec::<String>::new());
    assert_eq!(naming(&lake, &name), Vec::<String>::new());
    // Planted, it is found.
    std::fs::write(lake.join("_state/planted"), format!("to {address}")).unwrap();
    assert_eq!(verify_forgotten(&lake, &address, 6), ["/_state/planted"]);
}

#[test]
fn forgetting_goes_on_after_a_kill_at_any_moment() {
    let dir = tempfile::tempdir().unwrap();
    let sim = Sim::of_projects(3);
    let address = an_owner(&sim);
    let tables = "projects,users,project_sharing,user_activity,effective_access";
    let first = dir.path().join("first");
    for night in &NIGHTS[..2] {
        let more = ["--format", "delta,csv", "--tables", tables, "--keep-journal", "--fixed-time", night];
        sim.export(&first, &more, 0);
    }
    let rows = rows_of_some(&first);
    let mut halves = 0;
    // Killed at once, and so long after it began.
    for delay in [None, Some(0), Some(10), Some(20), Some(40), Some(80), Some(120), Some(200), Some(400)] {
        let delay: Option<u64> = delay;
        let lake = dir.path().join(format!("lake-{}", delay.unwrap_or(9999)));
        let begun = lake.join("_state/forgetting.json");
        run(Command::new("cp").arg("-r").arg(&first).arg(&lake), 0);
        let mut child = spawn(&mut keyed(hexport(&["forget", lake.to_str().unwrap(), &address])));
        if let Some(delay) = delay {
            while !begun.exists() && child.try_wait().unwrap().is_none() {
                std::thread::sleep(Duration::from_millis(1));
            }
            std::thread::sleep(Duration::from_millis(delay));
        }
        let _ = child.kill();
        child.wait().unwrap();
        halves += usize::from(begun.exists());
        // Who reads meanwhile reads all rows; who takes the lock next finishes what was begun.
        assert_eq!(rows_of_some(&lake), rows, "after {delay:?} ms");
        let done = forget(&lake, &address);
        assert_eq!(done["left"], json!([]), "after {delay:?} ms: {done}");
        assert_eq!(naming(&lake, &address), Vec::<String>::new(), "after {delay:?} ms");
        verify(&lake).unwrap();
        run(&mut hexport(&["snapshots", "verify", lake.to_str().unwrap()]), 0);
        assert_eq!(rows_of_some(&lake), rows, "after {delay:?} ms");
        std::fs::remove_dir_all(&lake).unwrap();
    }
    assert!(halves > 0, "one was killed in the middle");
}

fn rows_of_some(lake: &Path) -> Vec<Vec<Value>> {
    let count = |name: &str| format!("SELECT '{name}', count(*) FROM {name}_history");
    ask(lake, &["projects", "users", "project_sharing"].map(count).join(" UNION ALL "))
}

/// A folder whose `lake` has one night of two tables, its workspace, and the address of somebody in it.
fn small_lake() -> (tempfile::TempDir, Sim, String) {
    let dir = tempfile::tempdir().unwrap();
    let sim = Sim::of_projects(3);
    let address = an_owner(&sim);
    sim.export(&dir.path().join("lake"), &["--tables", "projects,users", "--fixed-time", NIGHTS[0]], 0);
    (dir, sim, address)
}

#[test]
fn forgetting_fails_where_a_column_cannot_be_rewritten() {
    use arrow::array::{ArrayRef, AsArray, BinaryArray, RecordBatch};
    use parquet::arrow::ArrowWriter;
    use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
    let (dir, _sim, address) = small_lake();
    let lake = dir.path().join("lake");
    // Somebody has added a column of bytes to the file, which holds the addresses once more.
    let folder = lake.join("snapshot=2026-11-01T020000Z");
    let file = folder.join("users.parquet");
    let plain = std::fs::read(&file).unwrap();
    let reader = ParquetRecordBatchReaderBuilder::try_new(bytes::Bytes::from(plain.clone())).unwrap();
    let batch: RecordBatch = reader.build().unwrap().next().unwrap().unwrap();
    let emails = batch.column_by_name("email").unwrap().as_string::<i32>();
    let blobs: BinaryArray = emails.iter().map(|email| email.map(str::as_bytes)).collect();
    let schema = batch.schema();
    let columns =
        schema.fields().iter().map(|field| field.name().as_str()).zip(batch.columns().iter().cloned());
    let columns = columns.chain([("blob", std::sync::Arc::new(blobs) as ArrayRef)]);
    let wider = RecordBatch::try_from_iter(columns).unwrap();
    let mut planted = Vec::new();
    let mut writer = ArrowWriter::try_new(&mut planted, wider.schema(), None).unwrap();
    writer.write(&wider).unwrap();
    writer.close().unwrap();
    std::fs::write(&file, planted).unwrap();
    let args = ["forget", lake.to_str().unwrap(), &address];
    let out = run(&mut keyed(hexport(&args)), 6);
    let said = stdout(&out) + &stderr(&out);
    assert!(said.contains("users.parquet") && said.contains("column blob"), "{said}");
    assert!(said.contains("can't be rewritten"), "{said}");
    assert!(lake.join("_state/forgetting.json").exists(), "what isn't ended says so");
    let left = verify_forgotten(&lake, &address, 6);
    assert_eq!(left, ["/snapshot=2026-11-01T020000Z/users.parquet"], "the other tables are done");
    // Without the column it goes to its end.
    std::fs::write(&file, plain).unwrap();
    assert_eq!(forget(&lake, &address)["left"], json!([]));
    verify_forgotten(&lake, &address, 0);
    run(&mut hexport(&["snapshots", "verify", lake.to_str().unwrap()]), 0);
}

#[test]
fn an_import_after_forgetting_names_the_pseudonym() {
    use hexport::sim::history::{Form, render};
    let dir = tempfile::tempdir().unwrap();
    let lake = dir.path().join("lake");
    let dest = lake.to_str().unwrap();
    let sim = Sim::of_projects(12);
    sim.export(&lake, &["--fixed-time", NIGHTS[0]], 0);
    let queries = sim.server.world().query_history(0);
    let sent = |address: &str| {
        let is_theirs = |query: &&hexport::sim::history::HistoryQuery| {
            query.is_attributable() && query.user.as_deref() == Some(address)
        };
        queries.iter().filter(is_theirs).count()
    };
    let addresses = queries.iter().filter_map(|query| query.user.clone());
    let address = addresses.max_by_key(|address| sent(address)).unwrap();
    assert!(sent(&address) > 3);
    let done = forget(&lake, &address);
    let pseudonym = done["pseudonym"].as_str().unwrap();
    let file = dir.path().join("history.csv");
    std::fs::write(&file, render("snowflake", &queries, Form::Csv)).unwrap();
    assert!(std::fs::read_to_string(&file).unwrap().contains(&address));
    let import =
        ["import", "query-history", dest, file.to_str().unwrap(), "--warehouse", "snowflake", "--keep-sql"];
    // Not without the key, nor with another one.
    assert!(stderr(&run(&mut hexport(&import), 2)).contains(KEY.0));
    run(hexport(&import).env(KEY.0, "another key, and a wrong one"), 2);
    run(&mut keyed(hexport(&import)), 0);
    assert_eq!(naming(&lake, &address), Vec::<String>::new());
    let count = |of: &str| {
        let sql = format!("SELECT count(DISTINCT query_id) FROM warehouse_queries WHERE user_email = '{of}'");
        ask_one(&lake, &sql)
    };
    let whole = queries.iter().filter(|query| query.cut == hexport::sim::history::Text::Whole);
    let ids: std::collections::BTreeSet<&str> =
        whole.filter(|query| query.user.as_ref() == Some(&address)).map(|query| query.id.as_str()).collect();
    assert!(
        count(pseudonym).as_u64().unwrap() >= ids.len() as u64 && !ids.is_empty(),
        "{}",
        count(pseudonym)
    );
    verify_forgotten(&lake, &address, 0);
}

#[test]
fn an_interrupted_swap_of_files_is_ended_by_the_next_export() {
    let (dir, sim, address) = small_lake();
    let lake = dir.path().join("lake");
    let folder = lake.join("snapshot=2026-11-01T020000Z");
    let old = std::fs::read(folder.join("manifest.json")).unwrap();
    forget(&lake, &address);
    // As it is when the first file is in its place, and the manifest isn't.
    let new = lake.join("_state/forget/2026-11-01T020000Z");
    std::fs::create_dir_all(&new).unwrap();
    for name in ["projects.parquet", "users.parquet", "manifest.json"] {
        std::fs::copy(folder.join(name), new.join(name)).unwrap();
    }
    std::fs::write(folder.join("manifest.json"), old).unwrap();
    std::fs::write(lake.join("_state/forgetting.json"), "{}").unwrap();
    let args = ["export", lake.to_str().unwrap(), "--tables", "projects,users", "--fixed-time", NIGHTS[1]];
    let said = stderr(&run(&mut keyed(sim.hexport(&args)), 0));
    assert!(said.contains("interrupted"), "{said}");
    assert!(!new.exists());
    let found = run(&mut hexport(&["snapshots", "verify", lake.to_str().unwrap(), "--output", "json"]), 6);
    let found: Value = serde_json::from_slice(&found.stdout).unwrap();
    assert_eq!(found["damages"].as_array().unwrap().len(), 1, "{found}");
    assert_eq!(found["damages"][0]["file"], "_state/forgetting.json");
    forget(&lake, &address);
    run(&mut hexport(&["snapshots", "verify", lake.to_str().unwrap()]), 0);
    assert_eq!(naming(&lake, &address), Vec::<String>::new());
}

#[test]
fn what_killed_writes_left_names_nobody_afterwards() {
    let dir = tempfile::tempdir().unwrap();
    let sim = Sim::of_projects(3);
    let address = an_owner(&sim);
    let lake = dir.path().join("lake");
    let more =
        ["--format", "delta", "--tables", "projects,users", "--keep-journal", "--fixed-time", NIGHTS[0]];
    sim.export(&lake, &more, 0);
    let whole = std::fs::read(lake.join("snapshot=2026-11-01T020000Z/users.parquet")).unwrap();
    // Each of them is written by somebody, here or in an engine, under a name like this before it gets its own.
    let text = address.as_bytes();
    let left = [
        ("_staging-writing/4711-0", text),
        ("_staging-2026-11-02T020000Z/users.parquet", &whole),
        ("_journal/2026-10-31T020000Z.tmp", text),
        ("delta/users/snapshot_date=2026-11-02/a.parquet#1", &whole),
        ("delta/users/snapshot_date=2026-11-02/b.parquet#1", &whole[..whole.len() / 2]),
        ("delta/users/_delta_log/00000000000000000001.json#1", text),
    ];
    for (name, bytes) in left {
        let path = lake.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
    }
    assert!(naming(&lake, &address).len() > left.len() - 1);
    assert_eq!(forget(&lake, &address)["left"], json!([]));
    assert_eq!(naming(&lake, &address), Vec::<String>::new());
    for (name, _) in left {
        assert!(!lake.join(name).exists(), "{name}");
    }
    verify(&lake).unwrap();
    run(&mut hexport(&["snapshots", "verify", lake.to_str().unwrap()]), 0);
}

#[test]
fn prune_removes_the_rows_of_what_is_gone_from_delta_tables() {
    let dir = tempfile::tempdir().unwrap();
    let sim = Sim::of_projects(3);
    let rows = |lake: &Path| {
        script("delta_rows.py", &json!({"table": lake.join("delta/users")}).to_string())["rows"]
            .as_u64()
            .unwrap()
    };
    let users = sim.server.world().users.len() as u64;
    for (mode, left) in [("history", [3, 1, 2]), ("current", [1, 1, 1])] {
        let lake = dir.path().join(mode);
        let night = |at: &str| {
            let more = ["--tables", "users", "--format", "delta", "--delta-mode", mode, "--fixed-time", at];
            sim.export(&lake, &more, 0);
        };
        NIGHTS.iter().for_each(|at| night(at));
        assert_eq!(rows(&lake), left[0] * users);
        let prune = |more: &[&str]| -> Value {
            let args = ["snapshots", "prune", lake.to_str().unwrap(), "--keep-last", "1", "--output", "json"];
            serde_json::from_slice(&run(hexport(&args).args(more), 0).stdout).unwrap()
        };
        assert_eq!(prune(&["--dry-run"])["delta_files_removed"], json!({}));
        assert_eq!(rows(&lake), left[0] * users);
        let said = prune(&[]);
        assert_eq!(said["delta_files_removed"]["users"].as_u64(), (mode == "history").then_some(2), "{said}");
        assert_eq!(rows(&lake), left[1] * users);
        let parquet = files_below(&lake.join("delta/users"));
        let is_old = |path: &&PathBuf| path.to_str().unwrap().contains("2026-11-01T020000Z-");
        assert_eq!(parquet.iter().filter(is_old).count() == 0, mode == "history");
        night("2026-11-04T02:00:00Z");
        assert_eq!(rows(&lake), left[2] * users, "what was pruned is not told again");
    }
}
