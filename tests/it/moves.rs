//! Changes of cells between nights: what the table says, what of it is in findings and in the report.

use std::collections::BTreeSet;
use std::path::Path;

use chrono::{DateTime, TimeDelta, Utc};
use hexport::sim::{Change, Faults, World};

use crate::support::*;

const NIGHTS: [&str; 4] =
    ["2026-11-02T06:00:00Z", "2026-11-03T06:00:00Z", "2026-11-04T06:00:00Z", "2026-11-05T06:00:00Z"];

/// Cells of all projects, with what a change of them is told by.
fn cells(world: &World) -> BTreeSet<(String, String, String)> {
    let mut all = BTreeSet::new();
    for record in &world.projects {
        for (cell, _) in world.cells(record) {
            let value = serde_json::to_value(&cell).unwrap();
            let parts = [&value["cellType"], &value["dataConnectionId"], &value["contents"]];
            all.insert((record.project.id.to_string(), cell.static_id.clone(), format!("{parts:?}")));
        }
    }
    all
}

type Changes = BTreeSet<(String, String, String)>;

/// The changes between two states of a workspace, of projects that are in both with cells.
fn truth(before: &BTreeSet<(String, String, String)>, after: &BTreeSet<(String, String, String)>) -> Changes {
    let projects = |cells: &BTreeSet<(String, String, String)>| -> BTreeSet<String> {
        cells.iter().map(|(project, ..)| project.clone()).collect()
    };
    let both: BTreeSet<String> = projects(before).intersection(&projects(after)).cloned().collect();
    let of = |cells: &BTreeSet<(String, String, String)>| -> BTreeSet<(String, String)> {
        cells.iter().map(|(project, cell, _)| (project.clone(), cell.clone())).collect()
    };
    let (old, new) = (of(before), of(after));
    let mut changes = Changes::new();
    let mut add = |(project, cell): &(String, String), change: &str| {
        if both.contains(project) {
            changes.insert((project.clone(), cell.clone(), change.to_owned()));
        }
    };
    old.difference(&new).for_each(|at| add(at, "removed"));
    new.difference(&old).for_each(|at| add(at, "added"));
    let moved = after.difference(before).map(|(project, cell, _)| (project.clone(), cell.clone()));
    moved.filter(|at| old.contains(at)).for_each(|at| add(&at, "edited"));
    changes
}

fn told(lake: &Path, night: &str) -> Changes {
    let sql = format!(
        "SELECT project_id, static_id, change FROM cell_changes \
         WHERE changed_before >= TIMESTAMPTZ '{night}' AND changed_before < TIMESTAMPTZ '{night}' + INTERVAL 1 DAY"
    );
    let text = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
    ask(lake, &sql).iter().map(|row| (text(&row[0]), text(&row[1]), text(&row[2]))).collect()
}

fn edit(sim: &Sim, at: &[usize], change: Change, night: &str) {
    let now = night.parse::<DateTime<Utc>>().unwrap() - TimeDelta::hours(2);
    let mut world = sim.server.world_mut();
    for at in at {
        world.change(change, *at, now);
    }
}

#[test]
fn cell_changes_are_the_differences_between_readings_and_are_carried_forward() {
    let dir = tempfile::tempdir().unwrap();
    let lake = dir.path();
    let sim = Sim::of_projects(30);
    let export = |night: usize, more: &[&str], code: i32| {
        sim.export(lake, &[&["--fixed-time", NIGHTS[night]], more].concat(), code);
    };
    export(0, &[], 0);
    // Nothing is known of the time before the first snapshot.
    assert_eq!(ask_one(lake, "SELECT count(*) FROM cell_changes"), 0);
    let first = cells(&sim.server.world());
    edit(&sim, &[1, 2, 3, 4, 5, 6], Change::Edit, NIGHTS[1]);
    edit(&sim, &[7], Change::Delete, NIGHTS[1]);
    edit(&sim, &[0], Change::Create, NIGHTS[1]);
    let second = cells(&sim.server.world());
    export(1, &[], 0);
    let changes = truth(&first, &second);
    assert!(!changes.is_empty());
    assert_eq!(told(lake, NIGHTS[1]), changes);
    let windows = format!(
        "SELECT count(*) FROM cell_changes WHERE changed_after >= changed_before OR (old_hash IS NULL) <> (change = 'added') \
         OR (new_hash IS NULL) <> (change = 'removed') OR old_hash = new_hash OR changed_after < TIMESTAMPTZ '{}'",
        NIGHTS[0]
    );
    assert_eq!(ask_one(lake, &windows), 0);
    // A night on which cells are refused changes nothing, and loses none.
    let mut edited: Vec<usize> = vec![2, 3, 9];
    edit(&sim, &edited, Change::Edit, NIGHTS[2]);
    sim.server.set_faults(Faults { refusals: vec!["ListCells=403".parse().unwrap()], ..Faults::default() });
    export(2, &[], 4);
    assert!(told(lake, NIGHTS[2]).is_empty());
    sim.server.set_faults(Faults::default());
    edited.push(10);
    edit(&sim, &edited[3..], Change::Edit, NIGHTS[3]);
    let fourth = cells(&sim.server.world());
    export(3, &["--freshness", "exact"], 0);
    assert_eq!(told(lake, NIGHTS[3]), truth(&second, &fourth));
    assert_eq!(told(lake, NIGHTS[1]), changes, "earlier changes are carried forward");
    assert_eq!(csv_differences(&snapshots(lake).pop().unwrap(), &[]), Vec::<String>::new());
    // The report has them in the view of each project.
    let file = lake.join("report.html");
    run(&mut hexport(&["report", lake.to_str().unwrap(), "-o", file.to_str().unwrap()]), 0);
    let page = std::fs::read_to_string(&file).unwrap();
    let data: serde_json::Value = crate::report::carried(&page);
    let count = ask_one(
        lake,
        "SELECT sum(least(n, 20))::BIGINT FROM (SELECT count(*) AS n FROM cell_changes JOIN projects USING (project_id) GROUP BY project_id)",
    );
    assert_eq!(data["changes"].as_array().unwrap().len() as u64, count.as_u64().unwrap());
    assert_eq!(data["changes_since"], true);
    let acting = data["not_covered"]["acting_as"].as_str().unwrap();
    assert!(!acting.is_empty(), "{acting}");
}
