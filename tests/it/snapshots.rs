//! Snapshots are listed, verified and pruned.

use std::path::Path;

use serde_json::Value;

use crate::support::*;

/// A lake with a snapshot of each of these times.
fn lake_of(sim: &Sim, lake: &Path, times: &[&str]) {
    for time in times {
        sim.export(lake, &["--fixed-time", time], 0);
    }
}

fn snapshots(command: &str, lake: &Path, more: &[&str], code: i32) -> Value {
    let mut args = vec!["snapshots", command, lake.to_str().unwrap()];
    args.extend(more);
    serde_json::from_slice(&run(&mut hexport(&args), code).stdout).unwrap_or(Value::Null)
}

fn ids(list: &Value) -> Vec<String> {
    let id = |item: &Value| item.as_str().or(item["snapshot_id"].as_str()).unwrap()[..10].to_owned();
    list.as_array().unwrap().iter().map(id).collect()
}

#[test]
fn snapshots_are_listed_and_shown() {
    let dir = tempfile::tempdir().unwrap();
    lake_of(&Sim::of_projects(20), dir.path(), &["2026-11-01T02:00:00Z", "2026-11-02T02:00:00Z"]);
    let list = snapshots("list", dir.path(), &["--output", "json"], 0);
    assert_eq!(ids(&list), ["2026-11-01", "2026-11-02"]);
    assert!(list[0]["complete"] == true && list[0]["rows"].as_u64().unwrap() > 500);
    let shown = snapshots("show", dir.path(), &[], 0);
    assert_eq!(shown["snapshot_id"], "2026-11-02T020000Z");
    let first = snapshots("show", dir.path(), &["2026-11-01T020000Z"], 0);
    assert_eq!(first["tables"]["projects"]["rows"], 20);
    let said = stderr(&run(
        &mut hexport(&["snapshots", "show", dir.path().to_str().unwrap(), "1999-01-01T000000Z"]),
        2,
    ));
    assert!(said.contains("2026-11-01T020000Z"), "{said}");
    snapshots("list", &dir.path().join("nowhere"), &[], 2);
}

#[test]
fn damage_of_any_kind_is_found() {
    let dir = tempfile::tempdir().unwrap();
    lake_of(&Sim::of_projects(20), dir.path(), &["2026-11-01T02:00:00Z"]);
    snapshots("verify", dir.path(), &[], 0);
    let folder = dir.path().join("snapshot=2026-11-01T020000Z");
    let damages = || {
        let found = snapshots("verify", dir.path(), &["--output", "json"], 6);
        found["damages"]
            .as_array()
            .unwrap()
            .iter()
            .map(|d| d["file"].as_str().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    // One bit, at the same length.
    let runs = folder.join("runs.parquet");
    let whole = std::fs::read(&runs).unwrap();
    let mut flipped = whole.clone();
    flipped[whole.len() / 2] ^= 1;
    std::fs::write(&runs, &flipped).unwrap();
    assert_eq!(damages(), ["runs.parquet"]);
    std::fs::write(&runs, &whole[..whole.len() - 1]).unwrap();
    std::fs::remove_file(folder.join("users.parquet")).unwrap();
    assert_eq!(damages(), ["runs.parquet", "users.parquet"]);
}

#[test]
fn a_policy_prunes_and_the_latest_stays() {
    let dir = tempfile::tempdir().unwrap();
    let sim = Sim::of_projects(20);
    let times = [
        "2026-09-15T02:00:00Z",
        "2026-10-20T02:00:00Z",
        "2026-10-21T02:00:00Z",
        "2026-11-01T02:00:00Z",
        "2026-11-02T02:00:00Z",
    ];
    lake_of(&sim, dir.path(), &times);
    snapshots("prune", dir.path(), &[], 2);
    let policy = ["--keep-last", "1", "--keep-monthly", "2", "--output", "json"];
    let planned = snapshots("prune", dir.path(), &[&policy[..], &["--dry-run"]].concat(), 0);
    assert_eq!(ids(&planned["removed"]), ["2026-09-15", "2026-10-20", "2026-11-01"]);
    assert_eq!(ids(&snapshots("list", dir.path(), &["--output", "json"], 0)).len(), 5);
    let done = snapshots("prune", dir.path(), &policy, 0);
    assert_eq!((&done["removed"], &done["kept"]), (&planned["removed"], &planned["kept"]));
    assert_eq!(ids(&snapshots("list", dir.path(), &["--output", "json"], 0)), ["2026-10-21", "2026-11-02"]);
    snapshots("verify", dir.path(), &[], 0);
    assert_eq!(verify(dir.path()).unwrap()["snapshot_id"], "2026-11-02T020000Z");
    // The next export builds on what is left.
    sim.server.clear_requests();
    lake_of(&sim, dir.path(), &["2026-11-03T02:00:00Z"]);
    assert!(sim.server.requests().iter().all(|r| !r.target.contains("/cells")));
    let histories = ask_one(dir.path(), "SELECT count(DISTINCT snapshot) FROM projects_history");
    assert_eq!(histories, 3);
}

#[test]
fn what_an_unfinished_crawl_builds_on_is_not_pruned() {
    let dir = tempfile::tempdir().unwrap();
    let sim = Sim::of_projects(20);
    lake_of(&sim, dir.path(), &["2026-11-01T02:00:00Z"]);
    // An export dies; then one of other tables makes a later snapshot.
    let mut dying = sim.hexport(&["export", dir.path().to_str().unwrap(), "--full", "--rate", "600"]);
    let mut child = spawn(&mut dying);
    let before = sim.server.served();
    while sim.server.served() < before + 5 {
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    let plan = snapshots("prune", dir.path(), &["--keep-last", "1", "--output", "json"], 0);
    assert!(
        plan["kept"][0]["reasons"]
            .as_array()
            .unwrap()
            .iter()
            .any(|why| why.as_str().unwrap().contains("unfinished")),
        "{plan}"
    );
}

/// Edits a snapshot's manifest as JSON.
fn edit_manifest(lake: &Path, id: &str, edit: impl FnOnce(&mut Value)) {
    let path = lake.join(format!("snapshot={id}/manifest.json"));
    let mut manifest: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    edit(&mut manifest);
    std::fs::write(path, manifest.to_string()).unwrap();
}

#[test]
fn snapshots_are_in_the_order_of_their_commits_whatever_the_clock_says() {
    let dir = tempfile::tempdir().unwrap();
    let sim = Sim::of_projects(5);
    // The clock was a year ahead, then it was set right.
    lake_of(&sim, dir.path(), &["2027-11-01T02:00:00Z", "2026-11-02T02:00:00Z", "2026-11-03T02:00:00Z"]);
    let list = snapshots("list", dir.path(), &["--output", "json"], 0);
    assert_eq!(ids(&list), ["2027-11-01", "2026-11-02", "2026-11-03"]);
    assert_eq!(list[2]["sequence"], 3);
    let pointer: Value =
        serde_json::from_slice(&std::fs::read(dir.path().join("latest.json")).unwrap()).unwrap();
    assert_eq!((&pointer["snapshot_id"], &pointer["sequence"]), (&"2026-11-03T020000Z".into(), &3.into()));
    assert_eq!(snapshots("show", dir.path(), &[], 0)["snapshot_id"], "2026-11-03T020000Z");
    let views = std::fs::read_to_string(dir.path().join("views.sql")).unwrap();
    assert!(views.contains("snapshot=2026-11-03T020000Z/") && !views.contains("snapshot=2027"), "{views}");
    // Those of earlier versions come first, in the order of their names.
    for id in ["2027-11-01T020000Z", "2026-11-02T020000Z"] {
        edit_manifest(dir.path(), id, |m| drop(m.as_object_mut().unwrap().remove("sequence")));
    }
    let list = snapshots("list", dir.path(), &["--output", "json"], 0);
    assert_eq!(ids(&list), ["2026-11-02", "2027-11-01", "2026-11-03"]);
    let plan = snapshots("prune", dir.path(), &["--keep-last", "2", "--output", "json"], 0);
    assert_eq!(ids(&plan["removed"]), ["2026-11-02"]);
}

#[test]
fn a_damaged_snapshot_is_skipped_named_and_removed() {
    let dir = tempfile::tempdir().unwrap();
    let lake = dir.path().join("lake");
    let sim = Sim::of_projects(5);
    lake_of(&sim, &lake, &["2026-11-01T02:00:00Z", "2026-11-02T02:00:00Z", "2026-11-03T02:00:00Z"]);
    let manifest = |id: &str| lake.join(format!("snapshot={id}/manifest.json"));
    let text = std::fs::read(manifest("2026-11-02T020000Z")).unwrap();
    for damage in [&text[..text.len() / 2], b"", b"[]", b"\xff\xfe"] {
        std::fs::write(manifest("2026-11-02T020000Z"), damage).unwrap();
        let dest = lake.to_str().unwrap();
        let list = snapshots("list", &lake, &["--output", "json"], 0);
        assert!(list[2]["damage"].as_str().unwrap().contains("manifest"), "{list}");
        run(&mut hexport(&["diff", dest, "2026-11-01T020000Z", "2026-11-03T020000Z"]), 0);
        let connection = sim.server.world().connections[0].name.clone();
        for args in [vec!["audit", dest], vec!["lineage", dest, "--connection", &connection]] {
            run(&mut hexport(&args), 0);
        }
        let found = snapshots("verify", &lake, &["--output", "json"], 6);
        assert_eq!(found["damages"][0]["file"], "manifest.json");
        let said = stderr(&run(&mut hexport(&["snapshots", "show", dest, "2026-11-02T020000Z"]), 6));
        assert!(said.contains("manifest"), "{said}");
        snapshots("prune", &lake, &["--keep-last", "9"], 0);
    }
    // The newest one: the next export builds on the one before.
    std::fs::write(manifest("2026-11-03T020000Z"), "{").unwrap();
    let said = stderr(&run(&mut hexport(&["snapshots", "show", lake.to_str().unwrap()]), 0));
    assert!(said.contains("2026-11-02T020000Z is damaged"), "{said}");
    let summary = sim.export(&lake, &["--fixed-time", "2026-11-04T02:00:00Z"], 0);
    assert_eq!(summary["base_snapshot"], "2026-11-01T020000Z");
    assert_eq!(ids(&snapshots("list", &lake, &["--output", "json"], 0))[..2], ["2026-11-01", "2026-11-04"]);
    // A file that is damaged counts too.
    std::fs::remove_file(lake.join("snapshot=2026-11-01T020000Z/users.parquet")).unwrap();
    let dry = snapshots("prune", &lake, &["--damaged", "--dry-run", "--output", "json"], 0);
    assert_eq!(ids(&dry["removed"]), ["2026-11-01", "2026-11-02", "2026-11-03"]);
    snapshots("prune", &lake, &["--damaged"], 0);
    snapshots("verify", &lake, &[], 0);
    assert_eq!(verify(&lake).unwrap()["sequence"], 4);
}

#[test]
fn prune_keeps_the_newest_holder_of_each_table_and_prunes_journals() {
    let dir = tempfile::tempdir().unwrap();
    let lake = dir.path().join("lake");
    let sim = Sim::of_projects(5);
    sim.export(&lake, &["--keep-journal", "--fixed-time", "2026-11-01T02:00:00Z"], 0);
    sim.export(&lake, &["--keep-journal", "--fixed-time", "2026-11-02T02:00:00Z"], 0);
    for hour in 3..6 {
        let time = format!("2026-11-02T{hour:02}:00:00Z");
        sim.export(&lake, &["--tables", "users", "--fixed-time", &time], 0);
    }
    let journal = |day: u32| lake.join(format!("_journal/2026-11-{day:02}T020000Z.hxj"));
    assert!(journal(1).exists() && journal(2).exists());
    let pruned = snapshots("prune", &lake, &["--keep-last", "1", "--output", "json"], 0);
    // The second is the newest that holds all but users, and its kept journal builds on the first.
    let reasons = |i: usize| pruned["kept"][i]["reasons"].to_string();
    assert!(reasons(0).contains("kept journal"), "{pruned}");
    assert!(reasons(1).contains("newest that holds"), "{pruned}");
    assert_eq!(pruned["removed"].as_array().unwrap().len(), 2);
    std::fs::remove_file(journal(2)).unwrap();
    let pruned = snapshots("prune", &lake, &["--keep-last", "1", "--output", "json"], 0);
    assert_eq!(ids(&pruned["removed"]), ["2026-11-01"]);
    assert!(!journal(1).exists(), "the journal went with its snapshot");
    run(&mut hexport(&["audit", lake.to_str().unwrap(), "--snapshot", "2026-11-02T020000Z"]), 0);
}

#[test]
fn old_runs_are_left_out_of_new_snapshots_if_that_is_wanted() {
    let dir = tempfile::tempdir().unwrap();
    let (whole, cut) = (dir.path().join("whole"), dir.path().join("cut"));
    let sim = Sim::of_projects(30);
    let nights = ["2026-11-02T06:00:00Z", "2026-11-03T06:00:00Z"];
    let requests: Vec<u64> = [(&whole, &[][..]), (&cut, &["--runs-keep", "20d"][..])]
        .into_iter()
        .map(|(lake, keep)| {
            let night = |at: &str| sim.export(lake, &[&["--fixed-time", at][..], keep].concat(), 0);
            night(nights[0]);
            night(nights[1])["requests_sent"].as_u64().unwrap()
        })
        .collect();
    assert_eq!(requests[0], requests[1], "what was left out isn't asked for again");
    let runs = |lake: &Path, which: &str| {
        let ranked = "SELECT project_id, run_id, ordered_at, rank() OVER (PARTITION BY project_id ORDER BY ordered_at DESC) \
                      AS n, snapshot_at FROM runs";
        ask(lake, &format!("SELECT project_id, run_id FROM ({ranked}) WHERE {which} ORDER BY ALL"))
    };
    let recent = "ordered_at IS NULL OR ordered_at >= snapshot_at - INTERVAL 20 DAY OR n <= 16";
    let kept = runs(&cut, "true");
    let expected = runs(&whole, recent);
    let differ = |a: &[Vec<Value>], b: &[Vec<Value>]| {
        a.iter().filter(|run| !b.contains(run)).cloned().collect::<Vec<_>>()
    };
    assert_eq!((differ(&kept, &expected), differ(&expected, &kept)), (vec![], vec![]));
    assert!(kept.len() < runs(&whole, "true").len());
    assert!(
        runs(&cut, "ordered_at < snapshot_at - INTERVAL 20 DAY").len() > 10,
        "the newest of each project stay"
    );
    let manifest = verify(&cut).unwrap();
    assert_eq!(manifest["tables"]["runs"]["kept_since"], "2026-10-14T06:00:00Z");
    assert!(manifest["tables"]["users"].get("kept_since").is_none());
    assert_eq!(manifest["complete"], true);
    run(&mut hexport(&["export", cut.to_str().unwrap(), "--runs-keep", "1h"]), 2);
}
