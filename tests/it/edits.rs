//! Edits and publications of projects over nights, and the projects that have failed since one.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use chrono::{DateTime, TimeDelta, Utc};
use hexport::sim::{Change, World};
use serde_json::Value;

use crate::support::*;

const NIGHTS: [&str; 6] = [
    "2026-11-02T06:00:00Z",
    "2026-11-03T06:00:00Z",
    "2026-11-04T06:00:00Z",
    "2026-11-05T06:00:00Z",
    "2026-11-06T06:00:00Z",
    "2026-11-07T06:00:00Z",
];

fn time(text: &str) -> DateTime<Utc> {
    text.parse().unwrap()
}

fn id_of(night: &str) -> String {
    night.replace(':', "")
}

/// Changes the project at a place, so many hours before a night. Gives its identifier.
fn change(sim: &Sim, change: Change, at: usize, night: &str, hours: i64) -> String {
    let now = time(night) - TimeDelta::hours(hours);
    sim.server.world_mut().change(change, at, now).unwrap()
}

/// Places of published projects that are neither archived nor in the trash.
fn live(sim: &Sim) -> Vec<usize> {
    let world = sim.server.world();
    let is_live = |at: &usize| {
        let project = &world.projects[*at].project;
        project.last_published_at.is_some() && project.archived_at.is_none() && project.trashed_at.is_none()
    };
    (0..world.projects.len()).filter(is_live).collect()
}

/// A project and a kind of change.
type Of = (String, &'static str);
/// When, the one before, the snapshot that saw it, when it was read, and when the project was read without it.
type Told = (i64, Option<i64>, String, i64, Option<i64>);

/// What the workspace says itself of the last changes of its projects.
fn stamps(world: &World) -> BTreeMap<Of, i64> {
    let mut all = BTreeMap::new();
    for record in &world.projects {
        let said = serde_json::to_value(&record.project).unwrap();
        for (change, member) in [("edited", "lastEditedAt"), ("published", "lastPublishedAt")] {
            if let Some(at) = said[member].as_str() {
                all.insert((record.project.id.to_string(), change), time(at).timestamp_micros());
            }
        }
    }
    all
}

/// Keeps the workspace's history, as a clerk would who looks at it on some nights.
#[derive(Default)]
struct Clerk {
    seen: Option<(String, BTreeMap<Of, i64>, BTreeSet<String>)>,
    rows: BTreeSet<(Of, Told)>,
}

impl Clerk {
    fn look(&mut self, world: &World, night: &str) {
        let now = stamps(world);
        let there: BTreeSet<String> = world.projects.iter().map(|r| r.project.id.to_string()).collect();
        let read_at = time(night).timestamp_micros();
        for (of, at) in &now {
            let (mut previous, mut unseen) = (None, None);
            if let Some((before, stamps, projects)) = &self.seen {
                previous = stamps.get(of).copied();
                if previous == Some(*at) {
                    continue;
                }
                unseen = projects.contains(&of.0).then(|| time(before).timestamp_micros());
            }
            self.rows.insert((of.clone(), (*at, previous, id_of(night), read_at, unseen)));
        }
        let first = (time(night) - TimeDelta::days(400)).timestamp_micros();
        self.rows.retain(|(of, told)| told.0 >= first || now.get(of) == Some(&told.0));
        self.seen = Some((night.to_owned(), now, there));
    }
}

fn told(lake: &Path) -> BTreeSet<(Of, Told)> {
    let sql = "SELECT project_id, change, epoch_us(changed_at), epoch_us(previous_at), observed_in, epoch_us(observed_at), \
               epoch_us(unseen_until) FROM project_edits";
    let row = |row: Vec<Value>| {
        let change = if row[1] == "edited" { "edited" } else { "published" };
        let text = |at: usize| row[at].as_str().unwrap().to_owned();
        let told =
            (row[2].as_i64().unwrap(), row[3].as_i64(), text(4), row[5].as_i64().unwrap(), row[6].as_i64());
        ((text(0), change), told)
    };
    ask(lake, sql).into_iter().map(row).collect()
}

#[test]
fn project_edits_are_what_each_look_at_the_workspace_adds() {
    let dir = tempfile::tempdir().unwrap();
    let lake = dir.path();
    let dest = lake.to_str().unwrap();
    let sim = Sim::of_projects(30);
    let mut clerk = Clerk::default();
    let night = |clerk: &mut Clerk, at: usize| {
        sim.export(lake, &["--fixed-time", NIGHTS[at], "--keep-journal"], 0);
        clerk.look(&sim.server.world(), NIGHTS[at]);
        assert_eq!(told(lake), clerk.rows, "night {at}");
    };
    night(&mut clerk, 0);
    let first = clerk.rows.len();
    assert!(first > 30, "every project's last edit is known from the first night on: {first}");
    // Once, twice, and published between two edits; a new project, and one less.
    for at in [1, 2, 3] {
        change(&sim, Change::Edit, at, NIGHTS[1], 9);
    }
    change(&sim, Change::Publish, 3, NIGHTS[1], 8);
    for at in [2, 3] {
        change(&sim, Change::Edit, at, NIGHTS[1], 2);
    }
    change(&sim, Change::Delete, 7, NIGHTS[1], 2);
    change(&sim, Change::Create, 0, NIGHTS[1], 1);
    night(&mut clerk, 1);
    assert!(clerk.rows.len() >= first + 5, "{}", clerk.rows.len());
    // A snapshot of other tables sees none of it: the next whole one does.
    change(&sim, Change::Edit, 4, NIGHTS[2], 3);
    sim.export(lake, &["--tables", "users", "--fixed-time", NIGHTS[2]], 0);
    assert_eq!(told(lake), clerk.rows);
    change(&sim, Change::Publish, 5, NIGHTS[3], 3);
    night(&mut clerk, 3);
    // What earlier snapshots saw stays, when they are gone and when somebody is forgotten.
    run(&mut hexport(&["snapshots", "prune", dest, "--keep-last", "1"]), 0);
    let owner = sim.server.world().projects[1].project.owner.email.clone();
    let key = ("HEXPORT_PSEUDONYM_KEY", "a key of tests, and no secret");
    run(hexport(&["forget", dest, &owner]).env(key.0, key.1), 0);
    assert_eq!(told(lake), clerk.rows);
    change(&sim, Change::Edit, 1, NIGHTS[4], 3);
    let args = ["export", dest, "--fixed-time", NIGHTS[4], "--keep-journal", "--format", "parquet,csv"];
    run(sim.hexport(&args).env(key.0, key.1), 0);
    clerk.look(&sim.server.world(), NIGHTS[4]);
    assert_eq!(told(lake), clerk.rows);
    assert_eq!(csv_differences(&snapshots(lake).pop().unwrap(), &["project_edits"]), Vec::<String>::new());
    // Built again from its journal, a snapshot tells the same.
    run(hexport(&["rebuild", dest]).env(key.0, key.1), 0);
    assert_eq!(told(lake), clerk.rows);
}

/// Lets the project at a place run, so many hours before a night.
fn run_at(sim: &Sim, at: usize, night: &str, hours: i64, status: &'static str) {
    change(sim, Change::Run, at, night, hours);
    let mut world = sim.server.world_mut();
    let config = world.config.clone();
    World::runs_mut(&config, &mut world.projects[at])[0].status = status;
}

#[test]
fn the_library_names_the_projects_that_have_failed_since_an_edit() {
    let dir = tempfile::tempdir().unwrap();
    let lake = dir.path();
    let sim = Sim::of_projects(40);
    let night = |at: usize| sim.export(lake, &["--fixed-time", NIGHTS[at]], 0);
    night(0);
    let places = live(&sim);
    let id = |at: usize| sim.server.world().projects[places[at]].project.id.to_string();
    let (change, run_at) = (
        |kind, at: usize, night: usize, hours| change(&sim, kind, places[at], NIGHTS[night], hours),
        |at: usize, night: usize, hours, status| run_at(&sim, places[at], NIGHTS[night], hours, status),
    );
    // All have succeeded the evening before.
    for at in 0..8 {
        run_at(at, 1, 12, "COMPLETED");
    }
    night(1);
    // 0: published, then fails twice; a cancelled run says nothing.
    change(Change::Edit, 0, 2, 10);
    change(Change::Publish, 0, 2, 9);
    run_at(0, 2, 8, "ERRORED");
    run_at(0, 2, 7, "KILLED");
    run_at(0, 2, 6, "UNABLE_TO_ALLOCATE_KERNEL");
    // 1: fails without an edit.
    run_at(1, 2, 8, "ERRORED");
    // 2: edited, failed, and edited again before anybody looked.
    change(Change::Edit, 2, 2, 10);
    run_at(2, 2, 8, "ERRORED");
    change(Change::Edit, 2, 2, 6);
    // 3: edited, failed, and works again.
    change(Change::Publish, 3, 2, 10);
    run_at(3, 2, 8, "ERRORED");
    run_at(3, 2, 6, "COMPLETED");
    // 4: edited, and works.
    change(Change::Publish, 4, 2, 10);
    run_at(4, 2, 8, "COMPLETED");
    // 5: fails; edited the day after. 6: the same, but in the trash.
    run_at(5, 2, 8, "ERRORED");
    change(Change::Publish, 6, 2, 10);
    run_at(6, 2, 8, "ERRORED");
    change(Change::Trash, 6, 2, 7);
    // 7: edited and cancelled.
    change(Change::Publish, 7, 2, 10);
    run_at(7, 2, 8, "KILLED");
    night(2);
    change(Change::Edit, 5, 3, 4);
    night(3);
    let args = ["query", lake.to_str().unwrap(), "failing_since_edit", "--output", "json"];
    let out = run(hexport(&args).env("PATH", path_with_venv()), 0);
    let rows: Vec<Value> = serde_json::from_slice(&out.stdout).unwrap();
    let ours: BTreeSet<String> = (0..8).map(id).collect();
    let found: BTreeSet<(String, String, bool, u64)> = rows
        .iter()
        .filter(|row| ours.contains(row["project_id"].as_str().unwrap()))
        .map(|row| {
            let text = |name: &str| row[name].as_str().unwrap().to_owned();
            assert_eq!(text("observed_in"), id_of(NIGHTS[2]), "{row}");
            (
                text("project_id"),
                text("change"),
                row["certain"].as_bool().unwrap(),
                row["failures"].as_u64().unwrap(),
            )
        })
        .collect();
    let expected = [(0, "edited", true, 2), (0, "published", true, 2), (2, "edited", false, 1)];
    let expected = expected.map(|(at, change, certain, n)| (id(at), change.to_owned(), certain, n));
    assert_eq!(found, BTreeSet::from(expected));
    let published =
        rows.iter().find(|row| row["change"] == "published" && row["project_id"] == id(0)).unwrap();
    assert_eq!(
        published["failing_version"].as_i64().unwrap(),
        published["worked_version"].as_i64().unwrap() + 1,
        "{published}"
    );
}
