//! Several machines at one lake in an object store: a prune on one of them, while another builds on what it would remove.

use std::path::Path;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use hexport::store::Store as _;
use serde_json::Value;

use crate::stores::{Store, store_at};
use crate::support::*;

const NIGHTS: [&str; 3] = ["2026-11-02T06:00:00Z", "2026-11-03T06:00:00Z", "2026-11-04T06:00:00Z"];
const IDS: [&str; 3] = ["2026-11-02T060000Z", "2026-11-03T060000Z", "2026-11-04T060000Z"];

fn signal(child: &Child, signal: &str) {
    let status = Command::new("kill").args([signal, &child.id().to_string()]).status().unwrap();
    assert!(status.success());
}

/// A lake in a bucket, and machines that share nothing else.
struct Bucket<'a> {
    sim: &'a Sim,
    store: &'a Store,
    dest: String,
    dir: &'a Path,
}

impl Bucket<'_> {
    fn command(&self, machine: &str, args: &[&str]) -> Command {
        self.store.command(self.sim, &self.dir.join(machine), args)
    }

    fn night(&self, machine: &str, at: usize, more: &[&str]) {
        let args = ["export", &self.dest, "--fixed-time", NIGHTS[at]];
        run(&mut self.command(machine, &[&args[..], more].concat()), 0);
    }

    /// Names of objects that begin so.
    fn names(&self, prefix: &str) -> Vec<String> {
        let store = store_at(&self.dest, &self.store.options);
        store.list(prefix).unwrap().into_iter().map(|object| object.name).collect()
    }

    fn holds(&self, id: &str) -> bool {
        self.names(&format!("snapshot={id}/")).iter().any(|name| name.ends_with("/manifest.json"))
    }

    /// Starts a command, and halts it once it has said what it builds on.
    fn halted(&self, machine: &str, args: &[&str]) -> Child {
        let mut child = spawn(&mut self.command(machine, args));
        let until = Instant::now() + Duration::from_secs(60);
        while self.names("_state/building/").is_empty() {
            assert!(
                child.try_wait().unwrap().is_none(),
                "it ended without saying what it builds on: {args:?}"
            );
            assert!(Instant::now() < until, "{args:?}");
            std::thread::sleep(Duration::from_millis(3));
        }
        signal(&child, "-STOP");
        child
    }

    /// Why a prune keeps a snapshot; none if it removes it.
    fn prune(&self, id: &str) -> Option<String> {
        let args = ["snapshots", "prune", &self.dest, "--keep-last", "1", "--output", "json"];
        let out = run(&mut self.command("third", &args), 0);
        let said: Value = serde_json::from_slice(&out.stdout).unwrap();
        let kept = said["kept"].as_array().unwrap().iter().find(|kept| kept["snapshot_id"] == id);
        kept.map(|kept| kept["reasons"].to_string())
    }

    /// Lets a halted command go on to its end.
    fn finish(&self, child: Child) {
        signal(&child, "-CONT");
        let out = child.wait_with_output().unwrap();
        assert_eq!(out.status.code(), Some(0), "{}", stderr(&out));
        assert_eq!(self.names("_state/building/"), Vec::<String>::new(), "it builds on nothing any longer");
        run(&mut self.command("third", &["snapshots", "verify", &self.dest]), 0);
    }
}

const AT_WORK: &str = "an export on another machine is at work with it";

#[test]
fn a_prune_keeps_what_an_import_on_another_machine_builds_on() {
    let dir = tempfile::tempdir().unwrap();
    let sim = Sim::of_projects(6);
    let store = Store::s3(&sim);
    let bucket = Bucket { sim: &sim, store: &store, dest: store.dest("hex"), dir: dir.path() };
    bucket.night("first", 0, &[]);
    let history = dir.path().join("history.csv");
    let queries = sim.server.world().query_history(0);
    let form = hexport::sim::history::Form::Csv;
    std::fs::write(&history, hexport::sim::history::render("snowflake", &queries, form)).unwrap();
    let import =
        ["import", "query-history", &bucket.dest, history.to_str().unwrap(), "--warehouse", "snowflake"];
    let child = bucket.halted("first", &import);
    // Meanwhile another machine exports, and a third one would keep that snapshot alone.
    bucket.night("second", 1, &[]);
    let why = bucket.prune(IDS[0]).expect("the import builds on it");
    assert!(why.contains(AT_WORK), "{why}");
    assert!(bucket.holds(IDS[0]));
    bucket.finish(child);
    // Once the import is committed, nothing keeps it.
    assert_eq!(bucket.prune(IDS[0]), None);
    assert!(!bucket.holds(IDS[0]));
    run(&mut bucket.command("third", &["snapshots", "verify", &bucket.dest]), 0);
}

#[test]
fn a_prune_keeps_what_a_rebuild_on_another_machine_builds_on() {
    let dir = tempfile::tempdir().unwrap();
    let sim = Sim::of_projects(6);
    let store = Store::s3(&sim);
    let bucket = Bucket { sim: &sim, store: &store, dest: store.dest("hex"), dir: dir.path() };
    bucket.night("first", 0, &[]);
    // A snapshot that was lost, and whose journal was kept.
    bucket.night("first", 1, &["--keep-journal"]);
    let cloud = store_at(&bucket.dest, &store.options);
    cloud.delete(&bucket.names(&format!("snapshot={}/", IDS[1]))).unwrap();
    let rebuild = ["rebuild", &bucket.dest, "--snapshot", IDS[1]];
    let child = bucket.halted("first", &rebuild);
    bucket.night("second", 2, &[]);
    let why = bucket.prune(IDS[0]).expect("the rebuild builds on it");
    assert!(why.contains(AT_WORK), "{why}");
    bucket.finish(child);
    assert!(bucket.holds(IDS[1]));
    // Its journal, which is kept in the bucket alone for this machine, may be wanted again.
    let why = bucket.prune(IDS[0]).expect("the kept journal builds on it");
    assert!(why.contains("kept journal") && !why.contains(AT_WORK), "{why}");
}

/// Queries in the newest totals of query histories, and those of all imports.
fn counted(bucket: &Bucket<'_>) -> (Value, Value) {
    let (cloud, copy) = (store_at(&bucket.dest, &bucket.store.options), tempfile::tempdir().unwrap());
    let read = |name: &str| -> Value { serde_json::from_slice(&cloud.get(name).unwrap().unwrap()).unwrap() };
    let latest = read("latest.json");
    let manifest = read(latest["manifest"].as_str().unwrap());
    let days = manifest["tables"]["history_days"]["files"][0]["path"].as_str().unwrap().to_owned();
    cloud
        .download(&format!("{}/{days}", latest["path"].as_str().unwrap()), &copy.path().join("days"))
        .unwrap();
    let imports = bucket.names("snapshot=");
    let imports = imports.iter().filter(|name| name.ends_with("/warehouse_queries.parquet")).enumerate();
    for (at, name) in imports {
        cloud.download(name, &copy.path().join(format!("{at}.parquet"))).unwrap();
    }
    let file = |name: &str| copy.path().join(name).display().to_string();
    let sql = [
        format!("SELECT sum(queries)::BIGINT FROM read_parquet('{}')", file("days")),
        format!("SELECT count(*) FROM read_parquet('{}')", file("*.parquet")),
    ];
    let found = script("duck.py", &serde_json::json!({"folder": copy.path(), "sql": sql}).to_string());
    (found[0][0][0].clone(), found[1][0][0].clone())
}

/// Starts a command, and gives it once it says that it waits for another machine.
fn waiting(mut command: Command) -> Child {
    use std::io::BufRead as _;
    let mut child = spawn(&mut command);
    let mut said = std::io::BufReader::new(child.stderr.take().unwrap()).lines();
    let waits = said.find(|line| line.as_ref().unwrap().contains("waiting for it to end"));
    assert!(waits.is_some(), "it ended without waiting: {:?}", child.wait());
    // What it says later has to go somewhere.
    std::thread::spawn(move || said.for_each(drop));
    child
}

#[test]
fn totals_of_query_histories_lose_nothing_to_another_machine() {
    let dir = tempfile::tempdir().unwrap();
    let sim = Sim::of_projects(6);
    let store = Store::s3(&sim);
    let bucket = Bucket { sim: &sim, store: &store, dest: store.dest("hex"), dir: dir.path() };
    bucket.night("first", 0, &[]);
    let queries = sim.server.world().query_history(0);
    let third = queries.len() / 3;
    let files: Vec<String> = queries
        .chunks(third + 1)
        .enumerate()
        .map(|(at, part)| {
            let file = dir.path().join(format!("{at}.csv"));
            let form = hexport::sim::history::Form::Csv;
            std::fs::write(&file, hexport::sim::history::render("snowflake", part, form)).unwrap();
            file.display().to_string()
        })
        .collect();
    let import =
        |at: usize| ["import", "query-history", &bucket.dest, &files[at], "--warehouse", "snowflake"];
    run(&mut bucket.command("first", &import(0)), 0);
    // An export that ends its crawl while another machine imports takes the totals as they are after that.
    let importing = bucket.halted("first", &import(1));
    let exporting = waiting(bucket.command("second", &["export", &bucket.dest, "--fixed-time", NIGHTS[1]]));
    assert!(!bucket.holds(IDS[1]));
    signal(&importing, "-CONT");
    assert_eq!(importing.wait_with_output().unwrap().status.code(), Some(0));
    assert_eq!(exporting.wait_with_output().unwrap().status.code(), Some(0));
    assert!(bucket.holds(IDS[1]));
    let (totals, imported) = counted(&bucket);
    assert_eq!(totals, imported);
    // Two imports of the same file: the second finds nothing new.
    let importing = bucket.halted("first", &import(2));
    let again = waiting(bucket.command("second", &import(2)));
    bucket.finish(importing);
    assert_eq!(again.wait_with_output().unwrap().status.code(), Some(0));
    let (totals, imported) = counted(&bucket);
    assert_eq!(totals, imported);
    assert!(imported.as_u64() > Some(queries.len() as u64 / 3), "of Hex are {imported} of {}", queries.len());
    assert_eq!(bucket.names("_state/counting"), Vec::<String>::new());
}
