//! Requests are the currency: nothing is wasted, nothing that was answered is lost.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use hexport::sim::{Change, SimConfig, World, WorldConfig};
use rand::{RngExt, SeedableRng};
use serde_json::Value;

use crate::support::*;

const FIXED: [&str; 2] = ["--fixed-time", "2026-11-24T02:00:00Z"];

/// Checksums of the latest snapshot's files, without the table that tells how the crawl went.
fn checksums(lake: &Path) -> BTreeMap<String, String> {
    let manifest = verify(lake).expect("a snapshot");
    let tables = manifest["tables"].as_object().unwrap();
    let sha = |table: &Value| table["files"][0]["sha256"].as_str().unwrap().to_owned();
    tables
        .iter()
        .filter(|(name, _)| *name != "crawl_coverage")
        .map(|(name, table)| (name.clone(), sha(table)))
        .collect()
}

/// Requests that were sent more than once.
fn repeated(sim: &Sim) -> usize {
    let requests = sim.server.requests();
    let distinct: BTreeSet<_> = requests.iter().map(|r| (&r.target, &r.body)).collect();
    requests.len() - distinct.len()
}

fn signal(child: &std::process::Child, name: &str) {
    let status = Command::new("kill").args([format!("-{name}"), child.id().to_string()]).status().unwrap();
    assert!(status.success());
}

fn journal_size(lake: &Path) -> u64 {
    let Ok(entries) = std::fs::read_dir(lake.join("_journal")) else { return 0 };
    entries.map(|e| e.unwrap().metadata().unwrap().len()).max().unwrap_or(0)
}

#[test]
fn killed_a_hundred_times_at_any_point_the_result_is_the_same() {
    const KILLS: usize = 100;
    const CONCURRENCY: usize = 8;
    let sim = Sim::of_projects(40);
    let dir = tempfile::tempdir().unwrap();
    let calm = dir.path().join("calm");
    sim.export(&calm, &FIXED, 0);
    let expected = checksums(&calm);
    let least = sim.server.requests().len();
    let mut random = rand_chacha::ChaCha8Rng::seed_from_u64(20_261_124);
    let (mut kills, mut inside_writes, mut lake_number) = (0, 0, 0);
    while kills < KILLS {
        lake_number += 1;
        let lake = dir.path().join(format!("lake{lake_number}"));
        sim.server.clear_requests();
        let mut kills_here = 0;
        loop {
            let mut args = vec!["export", lake.to_str().unwrap()];
            args.extend(FIXED);
            let command = sim.hexport(&args);
            let ended = if kills.is_multiple_of(2) {
                // Death at a random moment.
                let mut command = command;
                let mut child = spawn(&mut command);
                std::thread::sleep(Duration::from_millis(random.random_range(5..400)));
                let _ = child.kill();
                child.wait_with_output().unwrap().status
            } else {
                // Death inside a write: the file may not grow beyond a random size.
                let blocks = journal_size(&lake) / 1024 + random.random_range(1..25);
                let mut limited = Command::new("bash");
                limited.args(["-c", &format!("ulimit -c 0; ulimit -f {blocks}; exec \"$0\" \"$@\"")]);
                limited.arg(command.get_program()).args(command.get_args()).env_clear();
                limited.envs(command.get_envs().filter_map(|(k, v)| Some((k, v?))));
                let mut child = spawn(&mut limited);
                let ended = child.wait().unwrap();
                inside_writes += usize::from(ended.signal().is_some());
                ended
            };
            let is_committed = verify(&lake).is_some();
            if ended.code() == Some(0) {
                break;
            }
            assert!(ended.signal().is_some(), "{ended:?}");
            (kills, kills_here) = (kills + 1, kills_here + 1);
            if is_committed {
                // Death after the commit: what comes next is another crawl.
                break;
            }
        }
        assert_eq!(checksums(&lake), expected, "after {kills_here} kills");
        let again = repeated(&sim);
        // What was under way in each of the two limit groups, and who the token acts as: every start asks that.
        assert!(
            again <= kills_here * (2 * CONCURRENCY + 1),
            "{again} requests repeated after {kills_here} kills"
        );
        assert_eq!(sim.server.requests().len() - again, least);
    }
    println!("{kills} kills, {inside_writes} of them inside a write, {lake_number} lakes");
    assert!(inside_writes > KILLS / 5, "{inside_writes}");
}

#[test]
fn a_storm_of_faults_changes_nothing_but_the_time() {
    let dir = tempfile::tempdir().unwrap();
    let (calm, storm) = (dir.path().join("calm"), dir.path().join("storm"));
    // At the same address: findings hold links.
    let address = {
        let sim = Sim::of_projects(40);
        sim.export(&calm, &FIXED, 0);
        sim.server.address()
    };
    let faults = "429=0.05,500=0.05,reset=0.05,timeout=0.05,truncate=0.05,malformed=0.05,seed=5";
    let config = SimConfig { world: world_of(40), faults: faults.parse().unwrap(), ..SimConfig::default() };
    let sim = Sim::start_at(config, address);
    let mut args = vec!["--request-timeout", "700ms"];
    args.extend(FIXED);
    let summary = sim.export(&storm, &args, 0);
    assert_eq!(checksums(&storm), checksums(&calm));
    let retries: u64 =
        summary["endpoints"].as_object().unwrap().values().map(|e| e["retries"].as_u64().unwrap()).sum();
    assert!(retries > 20, "{retries}");
}

#[test]
fn pages_that_repeat_and_shift_give_each_row_once() {
    let dir = tempfile::tempdir().unwrap();
    let config = |faults: &str| SimConfig {
        world: WorldConfig { runs_per_project: 150.0, cells_per_project: 120.0, ..world_of(230) },
        faults: faults.parse().unwrap(),
        ..SimConfig::default()
    };
    let (calm, moving) = (dir.path().join("calm"), dir.path().join("moving"));
    let address = {
        let sim = Sim::start(config(""));
        sim.export(&calm, &FIXED, 0);
        sim.server.address()
    };
    Sim::start_at(config("duplicate=0.5,shift=0.5"), address).export(&moving, &FIXED, 0);
    // The runs that came while pages were read are newer than what was read already: the next night has them.
    assert_eq!(checksums(&moving), checksums(&calm));
}

#[test]
fn a_workspace_that_moves_is_exported_without_loss() {
    let dir = tempfile::tempdir().unwrap();
    let sim =
        Sim::start(SimConfig { world: world_of(300), churn: 0.1, clock_scale: 1.0, ..SimConfig::default() });
    let before = World::generate(world_of(300));
    for night in 0..2 {
        sim.export(dir.path(), &[], 0);
        let keys: Vec<String> = hexport::registry::all()
            .filter(|table| !hexport::registry::is_of_history(table))
            .map(|t| {
                format!("SELECT '{0}', count(*) - count(DISTINCT ({1})) FROM {0}", t.name, t.key.join(", "))
            })
            .collect();
        for row in ask(dir.path(), &keys.join(" UNION ALL ")) {
            assert_eq!(row[1].as_u64(), Some(0), "night {night}: keys of {} are not unique", row[0]);
        }
    }
    let touched = sim.server.touched();
    assert!(touched.len() > 30, "{}", touched.len());
    let count = |sql: &str| -> HashMap<String, u64> {
        ask(dir.path(), sql)
            .into_iter()
            .map(|r| (r[0].as_str().unwrap().to_owned(), r[1].as_u64().unwrap()))
            .collect()
    };
    let runs = count(
        "SELECT p.project_id, count(run_id) FROM projects p LEFT JOIN runs USING (project_id) GROUP BY ALL",
    );
    let cells = count(
        "SELECT p.project_id, count(static_id) FROM projects p LEFT JOIN cells USING (project_id) GROUP BY ALL",
    );
    let mut stable = 0;
    for record in before.projects.iter().filter(|r| !touched.contains(&*r.project.id)) {
        stable += 1;
        assert_eq!(
            runs.get(&*record.project.id),
            Some(&(before.runs(record).len() as u64)),
            "{}",
            record.project.id
        );
        assert_eq!(cells.get(&*record.project.id), Some(&(before.cells(record).len() as u64)));
    }
    assert!(stable > 50, "{stable}");
}

/// Makes `share` of the projects different, each in one way, and gives the changes.
fn a_day_passes(sim: &Sim, share: usize) -> Vec<(String, Change)> {
    let now = sim.server.world().config.epoch + chrono::TimeDelta::days(1);
    let changes = [
        Change::Edit,
        Change::Publish,
        Change::Run,
        Change::Refresh,
        Change::Archive,
        Change::Delete,
        Change::Create,
    ];
    let mut made = Vec::new();
    let mut world = sim.server.world_mut();
    for (n, at) in (5..world.projects.len()).step_by(share).enumerate().collect::<Vec<_>>().into_iter().rev()
    {
        let change = changes[n % changes.len()];
        if let Some(id) = world.change(change, at, now) {
            made.push((id, change));
        }
    }
    made
}

/// The least number of requests that a second night can do with: lists, members, one page of runs of each
/// published project, and what was edited, published or refreshed.
fn least_second_night(world: &World, changes: &[(String, Change)]) -> u64 {
    let pages = |rows: usize, page: usize| rows.div_ceil(page).max(1) as u64;
    let lists: u64 =
        least_requests(&World::generate(WorldConfig { projects: 0, ..world.config.clone() })).min(9);
    let projects = pages(world.projects.len(), 100) - 1;
    let threads = pages(world.threads.len(), 100) - 1;
    let collections = pages(world.collections.len(), 100) - 1;
    let published = world.projects.iter().filter(|r| r.project.last_published_at.is_some()).count() as u64;
    let of = |id: &str| world.find_project(id).map(|at| &world.projects[at]);
    let changed: u64 = changes
        .iter()
        .filter_map(|(id, change)| Some((of(id)?, change)))
        .map(|(record, change)| {
            // With the cells comes the file that says what they import.
            let cells = pages(world.cells(record).len(), 100) + u64::from(imports(world, record) > 0);
            let tables = pages_of_tables(world, record);
            match change {
                Change::Edit | Change::Create => cells,
                Change::Publish => cells + tables,
                // An API run moves no stamp of its project, and may have queried other tables.
                Change::Refresh | Change::Run => tables,
                _ => 0,
            }
        })
        .sum();
    // A project published for the first time has no known history: its one page is among the published.
    lists + projects + threads + collections + world.groups.len() as u64 + published + changed
}

/// Columns of `runs` that depend on when the lake first saw a run, and so differ from lake to lake.
const OF_THE_LAKE: [&str; 3] = ["no_longer_listed", "first_seen_at", "given_up"];

#[test]
fn the_second_night_asks_for_nothing_but_what_may_have_changed() {
    let dir = tempfile::tempdir().unwrap();
    let lake = dir.path().join("lake");
    let sim = Sim::of_projects(400);
    sim.export(&lake, &[], 0);
    let first = sim.server.requests().len();
    let mut changes = a_day_passes(&sim, 20);
    assert!(changes.len() > 12, "{changes:?}");
    {
        let mut world = sim.server.world_mut();
        let with_history =
            (0..world.projects.len()).find(|at| world.runs(&world.projects[*at]).len() > 20).unwrap();
        let now = world.config.epoch;
        let id = world.change(Change::Delete, with_history, now).unwrap();
        changes.retain(|(changed, _)| *changed != id);
        changes.push((id, Change::Delete));
    }
    sim.server.clear_requests();
    sim.export(&lake, &[], 0);
    let second = sim.server.requests().len() as u64;
    assert_eq!(second, least_second_night(&sim.server.world(), &changes));
    println!("second night: {second} of {first} requests");

    // What was reused and read together is what a full export reads.
    let full = dir.path().join("full");
    sim.export(&full, &[], 0);
    for table in hexport::tables::ENTITIES {
        let columns: Vec<&str> =
            table.columns.iter().map(|c| c.name).filter(|n| !OF_THE_LAKE.contains(n)).collect();
        let listed = if table.accumulates() { "WHERE NOT no_longer_listed" } else { "" };
        let sql =
            format!("SELECT count(*), bit_xor(hash({})) FROM {} {listed}", columns.join(", "), table.name);
        assert_eq!(ask(&lake, &sql), ask(&full, &sql), "{}", table.name);
    }
    // Deleted projects are gone from the projects, and their history is kept and marked.
    let deleted =
        changes.iter().filter(|(_, change)| *change == Change::Delete).map(|(id, _)| format!("'{id}'"));
    let deleted = deleted.collect::<Vec<_>>().join(",");
    let one = |sql: &str| ask_one(&lake, &sql.replace("DELETED", &deleted)).as_u64().unwrap();
    assert_eq!(one("SELECT count(*) FROM projects WHERE project_id IN (DELETED)"), 0);
    let kept = one("SELECT count(*) FROM runs WHERE project_id IN (DELETED) AND no_longer_listed");
    assert_eq!(kept, one("SELECT count(DISTINCT run_id) FROM runs_history WHERE project_id IN (DELETED)"));
    assert!(kept > 0);
    // Reused rows keep the time at which they were really read.
    let old = one("SELECT count(*) FROM cells WHERE fetched_at < snapshot_at");
    assert!(old > 1000 && old < one("SELECT count(*) FROM cells"), "{old}");
    let reused =
        one("SELECT count(*) FROM crawl_coverage WHERE operation = 'ListCells' AND state = 'reused'");
    assert!(reused > 300, "{reused}");
    // And --full reads everything.
    sim.server.clear_requests();
    sim.export(&lake, &["--full"], 0);
    assert_eq!(sim.server.requests().len() as u64, least_requests(&sim.server.world()));
}

#[test]
fn runs_that_had_not_ended_are_read_again_until_they_have() {
    let dir = tempfile::tempdir().unwrap();
    let sim = Sim::start(SimConfig {
        world: WorldConfig { runs_per_project: 150.0, ..world_of(40) },
        ..SimConfig::default()
    });
    let (project, open) = {
        let world = sim.server.world();
        let record = world.projects.iter().find(|r| world.runs(r).len() > 150).unwrap();
        (record.project.id.to_string(), world.run_id(record, &world.runs(record)[120]))
    };
    // Far down the history, on the second page, one run hangs.
    let hang = |status: &'static str, elapsed_ms: Option<u32>| {
        let mut world = sim.server.world_mut();
        let config = world.config.clone();
        let at = world.find_project(&project).unwrap();
        let spec = &mut World::runs_mut(&config, &mut world.projects[at])[120];
        (spec.status, spec.elapsed_ms) = (status, elapsed_ms);
    };
    let status = || ask_one(dir.path(), &format!("SELECT status FROM runs WHERE run_id = '{open}'"));
    hang("RUNNING", None);
    sim.export(dir.path(), &[], 0);
    assert_eq!(status(), "RUNNING");
    sim.server.clear_requests();
    sim.export(dir.path(), &[], 0);
    assert_eq!(status(), "RUNNING");
    let asked = |id: &str| sim.server.requests().iter().filter(|r| r.target.contains(id)).count();
    assert_eq!(asked(&open), 1, "it is asked for alone, not with all pages down to it");
    hang("COMPLETED", Some(5_000));
    sim.export(dir.path(), &[], 0);
    assert_eq!(status(), "COMPLETED");
    sim.server.clear_requests();
    sim.export(dir.path(), &[], 0);
    assert_eq!(asked(&open), 0, "it is final");
}

#[test]
fn runs_that_hang_for_more_than_a_week_are_given_up_and_not_asked_for_one_by_one() {
    let dir = tempfile::tempdir().unwrap();
    let world = WorldConfig { runs_per_project: 400.0, ..world_of(40) };
    let sim = Sim::start(SimConfig { world, ..SimConfig::default() });
    // The oldest runs of a long history have a status that nobody knows, and never leave it.
    let old: Vec<String> = {
        let mut world = sim.server.world_mut();
        let config = world.config.clone();
        let at = (0..world.projects.len())
            .find(|at| {
                let runs = world.runs(&world.projects[*at]);
                let days = |from: usize| (runs[0].triggered - runs[from].triggered).num_days();
                runs.len() > 150 && days(runs.len() - 20) > 8
            })
            .unwrap();
        let runs = World::runs_mut(&config, &mut world.projects[at]);
        let first = runs.len() - 20;
        for spec in &mut runs[first..] {
            (spec.status, spec.elapsed_ms) = ("AWAITING_REVIEW", None);
        }
        let record = &world.projects[at];
        world.runs(record)[first..].iter().map(|spec| world.run_id(record, spec)).collect()
    };
    sim.export(dir.path(), &[], 0);
    sim.server.clear_requests();
    sim.export(dir.path(), &[], 0);
    let asked = sim.server.requests().iter().filter(|r| old.iter().any(|id| r.target.contains(id))).count();
    assert_eq!(asked, 0);
    let given_up =
        ask_one(dir.path(), "SELECT count(*) FROM runs WHERE given_up AND status = 'AWAITING_REVIEW'");
    assert_eq!(given_up.as_u64(), Some(20));
}

#[test]
fn history_that_hex_no_longer_returns_stays_in_the_lake() {
    let dir = tempfile::tempdir().unwrap();
    let sim = Sim::of_projects(40);
    sim.export(dir.path(), &[], 0);
    let all = rows_of_tables(dir.path())["runs"];
    let lost: u64 = {
        let mut world = sim.server.world_mut();
        let config = world.config.clone();
        world
            .projects
            .iter_mut()
            .map(|record| {
                let runs = World::runs_mut(&config, record);
                let keep = runs.len().min(10);
                (runs.drain(keep..).count()) as u64
            })
            .sum()
    };
    assert!(lost > 100);
    sim.export(dir.path(), &["--full"], 0);
    let marked = |sql: &str| ask_one(dir.path(), sql).as_u64().unwrap();
    assert_eq!(rows_of_tables(dir.path())["runs"], all);
    assert_eq!(marked("SELECT count(*) FROM runs WHERE no_longer_listed"), lost);
    sim.export(dir.path(), &[], 0);
    assert_eq!(
        marked("SELECT count(*) FROM runs WHERE no_longer_listed"),
        lost,
        "also when it is not read to its end"
    );
}

#[test]
fn three_nights_with_a_third_of_the_budget_cover_everything() {
    let dir = tempfile::tempdir().unwrap();
    let sim = Sim::of_projects(120);
    let full = least_requests(&sim.server.world());
    // Each night's lists are read anew.
    let lists = 9 + 1 + sim.server.world().groups.len() as u64;
    let budget = (full - lists).div_ceil(3) + lists;
    let unread = "SELECT count(*) FROM crawl_coverage WHERE last_read_at IS NULL AND state <> 'skipped'";
    let mut left = Vec::new();
    for night in 0..3 {
        sim.server.clear_requests();
        let code = if night < 2 { 4 } else { 0 };
        let mut command =
            sim.hexport(&["export", dir.path().to_str().unwrap(), "--max-requests", &budget.to_string()]);
        let out = command.output().unwrap();
        let sent = sim.server.requests().len() as u64;
        assert!(sent <= budget, "night {night}: {sent} of {budget}");
        left.push(ask_one(dir.path(), unread).as_u64().unwrap());
        // Runs that were read before are asked for again only if something is left of the budget.
        assert!(out.status.code() == Some(code) || night == 2, "night {night}: {:?}", out.status);
        let manifest = verify(dir.path()).unwrap();
        let deferred = ask_one(dir.path(), "SELECT count(*) FROM crawl_coverage WHERE state = 'deferred'")
            .as_u64()
            .unwrap();
        assert_eq!(manifest["complete"].as_bool().unwrap(), deferred == 0);
    }
    assert!(left[0] > left[1] && left[2] == 0, "{left:?}");
    assert_eq!(rows_of_entities(dir.path()), true_rows(&sim.server.world()));
}

#[test]
fn a_run_history_longer_than_the_budget_is_continued_where_it_ended() {
    let dir = tempfile::tempdir().unwrap();
    let worlds = (1..).map(|seed| WorldConfig { seed, runs_per_project: 1_500.0, ..world_of(2) });
    let is_long = |config: &WorldConfig| {
        let world = World::generate(config.clone());
        world.runs(&world.projects[0]).len() > 2_500 && world.projects[0].project.last_published_at.is_some()
    };
    let world = worlds.take(500).find(is_long).unwrap();
    let sim = Sim::start(SimConfig { world, ..SimConfig::default() });
    let lists = 9 + sim.server.world().groups.len() as u64;
    let id = sim.server.world().projects[0].project.id.to_string();
    let of_runs = |target: &str| target.starts_with(&format!("/projects/{id}/runs?"));
    let (mut asked, mut nights) = (0, 0);
    loop {
        nights += 1;
        sim.server.clear_requests();
        let most = (lists + 9).to_string();
        let tables = "projects,users,groups,group_members,collections,data_connections,runs";
        let args = ["export", dir.path().to_str().unwrap(), "--tables", tables, "--max-requests", &most];
        let out = sim.hexport(&args).output().unwrap();
        asked += sim.server.requests().iter().filter(|request| of_runs(&request.target)).count();
        let state = format!("SELECT state, stamp FROM crawl_coverage WHERE entity_id = '{id}'");
        match out.status.code() {
            Some(0) => break,
            Some(4) => assert!(nights < 12, "{}\n{:?}", stderr(&out), ask(dir.path(), &state)),
            code => panic!("{code:?} {}", stderr(&out)),
        }
        // The history moves on meanwhile: what was read is further back than it was.
        for _ in 0..3 {
            sim.server.change(Change::Run, 0);
        }
    }
    let world = sim.server.world();
    let runs = world.runs(&world.projects[0]).len();
    let pages = runs.div_ceil(100);
    assert!(nights > 2, "{nights} nights, {asked} requests for {pages} pages");
    assert!(asked <= pages + 3 * nights, "{asked} requests for {pages} pages in {nights} nights");
    let found = ask_one(dir.path(), &format!("SELECT count(*) FROM runs WHERE project_id = '{id}'"));
    assert_eq!(found.as_u64().unwrap() as usize, runs);
    let gone = ask_one(dir.path(), "SELECT count(*) FROM runs WHERE no_longer_listed");
    assert_eq!(gone.as_u64(), Some(0));
}

#[test]
fn coverage_has_a_word_on_every_project_whatever_the_budget() {
    let sim = Sim::of_projects(6);
    let first = tempfile::tempdir().unwrap();
    sim.export(first.path(), &[], 0);
    // A project that was never read, beside others that are read again.
    for change in [Change::Create, Change::Edit] {
        sim.server.change(change, 0);
    }
    let lists = 9 + sim.server.world().groups.len();
    for most in (0..lists + 40).step_by(3) {
        let lake = tempfile::tempdir().unwrap();
        run(Command::new("cp").arg("-r").arg(first.path().join(".")).arg(lake.path()), 0);
        let args = ["export", lake.path().to_str().unwrap(), "--max-requests", &most.to_string()];
        let out = sim.hexport(&args).output().unwrap();
        assert!(matches!(out.status.code(), Some(0 | 4)), "{most}: {}", stderr(&out));
        let silent = "SELECT count(*) FROM projects CROSS JOIN (SELECT DISTINCT operation FROM crawl_coverage WHERE \
                      entity_id IN (SELECT project_id FROM projects)) AS asked WHERE NOT EXISTS (SELECT 1 FROM \
                      crawl_coverage WHERE entity_id = project_id AND operation = asked.operation)";
        assert_eq!(ask_one(lake.path(), silent).as_u64(), Some(0), "{most} requests");
    }
}

#[test]
fn a_budget_of_time_reads_the_lists_and_commits() {
    let dir = tempfile::tempdir().unwrap();
    let sim = Sim::of_projects(40);
    let summary = sim.export(dir.path(), &["--budget", "1ms"], 4);
    assert_eq!(summary["requests_sent"], 9, "me and the lists");
    assert_eq!(rows_of_tables(dir.path())["projects"], 40);
    let reason = ask_one(dir.path(), "SELECT any_value(reason) FROM crawl_coverage WHERE state = 'deferred'");
    assert!(reason.as_str().unwrap().contains("the next export reads it"), "{reason}");
    sim.export(dir.path(), &["--budget", "1h"], 0);
    assert_eq!(rows_of_entities(dir.path()), true_rows(&sim.server.world()));
}

#[test]
fn an_export_of_some_tables_does_not_end_the_history_of_the_others() {
    let dir = tempfile::tempdir().unwrap();
    let sim = Sim::of_projects(60);
    sim.export(dir.path(), &[], 0);
    sim.export(dir.path(), &["--tables", "users"], 0);
    sim.server.clear_requests();
    sim.export(dir.path(), &[], 0);
    assert_eq!(sim.server.requests().len() as u64, least_second_night(&sim.server.world(), &[]));
    assert_eq!(rows_of_entities(dir.path()), true_rows(&sim.server.world()));
}

#[test]
fn a_budget_reads_what_is_viewed_most_first() {
    let dir = tempfile::tempdir().unwrap();
    let sim = Sim::of_projects(100);
    let lists = 10 + sim.server.world().groups.len();
    let budget = (lists + 30).to_string();
    sim.export(
        dir.path(),
        &["--max-requests", &budget, "--tables", "projects,cells,groups,group_members"],
        4,
    );
    let views = |state: &str| {
        let sql = format!(
            "SELECT min(app_views_last_30_days), max(app_views_last_30_days) FROM projects JOIN crawl_coverage ON \
             entity_id = project_id WHERE operation = 'ListCells' AND state = '{state}'"
        );
        ask(dir.path(), &sql)[0].iter().map(|v| v.as_i64().unwrap()).collect::<Vec<_>>()
    };
    assert!(views("fetched")[0] >= views("deferred")[1], "{:?} {:?}", views("fetched"), views("deferred"));
}

#[test]
fn a_plan_tells_what_an_export_then_sends() {
    let dir = tempfile::tempdir().unwrap();
    let sim = Sim::of_projects(150);
    let plan = || -> Value {
        let out = run(
            &mut sim.hexport(&["plan", dir.path().join("lake").to_str().unwrap(), "--output", "json"]),
            0,
        );
        serde_json::from_slice(&out.stdout).unwrap()
    };
    let first = plan();
    assert!(!dir.path().join("lake").exists(), "a plan leaves nothing behind");
    assert_eq!(first["requests_spent_on_planning"], 3, "two pages of projects, and groups");
    let sent = sim.export(&dir.path().join("lake"), &[], 0)["requests_sent"].as_u64().unwrap();
    // Before the first crawl nothing is known of second pages.
    let planned = first["requests"].as_u64().unwrap();
    assert!(planned <= sent && planned * 10 > sent * 9, "{planned} {sent}");
    a_day_passes(&sim, 15);
    let second = plan();
    let sent = sim.export(&dir.path().join("lake"), &[], 0)["requests_sent"].as_u64().unwrap();
    let planned = second["requests"].as_u64().unwrap();
    assert!(planned.abs_diff(sent) <= 2, "{planned} {sent}");
    let cells =
        second["endpoints"].as_array().unwrap().iter().find(|e| e["endpoint"] == "ListCells").unwrap();
    assert!(cells["reused"].as_u64().unwrap() > 100, "{cells}");
}

#[test]
fn interrupted_it_says_how_to_go_on_and_does() {
    for name in ["INT", "TERM"] {
        let dir = tempfile::tempdir().unwrap();
        let sim = Sim::start(SimConfig {
            world: world_of(40),
            faults: "latency=30ms".parse().unwrap(),
            ..SimConfig::default()
        });
        let least = least_requests(&sim.server.world()) as usize;
        let child = spawn(&mut sim.hexport(&["export", dir.path().to_str().unwrap()]));
        while sim.server.served() < 30 {
            std::thread::sleep(Duration::from_millis(5));
        }
        signal(&child, name);
        let out = child.wait_with_output().unwrap();
        assert_eq!(out.status.code(), Some(130));
        let said = stderr(&out);
        assert!(said.contains("interrupted") && said.contains("same command"), "{said}");
        assert!(verify(dir.path()).is_none(), "nothing was committed");
        let summary = sim.export(dir.path(), &[], 0);
        assert!(summary["resumed_answers"].as_u64().unwrap() >= 20, "{summary}");
        assert_eq!(sim.server.requests().len() - repeated(&sim), least);
        // Requests under way were answered and journalled. Who the token acts as is always asked live.
        assert_eq!(repeated(&sim), 1, "{name}");
    }
}

#[test]
fn a_second_export_into_the_same_place_ends_at_once_and_a_dead_ones_lock_is_taken_over() {
    let dir = tempfile::tempdir().unwrap();
    let sim = Sim::start(SimConfig {
        world: world_of(40),
        faults: "latency=100ms".parse().unwrap(),
        ..SimConfig::default()
    });
    let mut first = spawn(&mut sim.hexport(&["export", dir.path().to_str().unwrap()]));
    while sim.server.served() < 20 {
        std::thread::sleep(Duration::from_millis(5));
    }
    let said = stderr(&run(&mut sim.hexport(&["export", dir.path().to_str().unwrap()]), 6));
    assert!(said.contains(&format!("process {}", first.id())), "{said}");
    first.kill().unwrap();
    first.wait().unwrap();
    assert!(dir.path().join(".hexport.lock").exists());
    sim.export(dir.path(), &[], 0);
}

#[test]
fn a_dead_api_ends_the_crawl_early_and_the_crawl_goes_on_later() {
    let dir = tempfile::tempdir().unwrap();
    let config =
        || SimConfig { world: world_of(40), faults: "latency=20ms".parse().unwrap(), ..SimConfig::default() };
    let sim = Sim::start(config());
    let (url, address) = (sim.server.url(), sim.server.address());
    let export = |url: &str| {
        let mut command = hexport(&[
            "export",
            dir.path().to_str().unwrap(),
            "--output",
            "json",
            "--request-timeout",
            "500ms",
            "--give-up-after",
            "2s",
        ]);
        command.env("HEX_API_URL", url).env("HEX_API_TOKEN", SECRET).env("HEXPORT_RATE", "unlimited");
        command
    };
    let child = spawn(&mut export(&url));
    while sim.server.served() < 40 {
        std::thread::sleep(Duration::from_millis(5));
    }
    drop(sim);
    let out = child.wait_with_output().unwrap();
    assert_eq!(out.status.code(), Some(5), "{}", stderr(&out));
    assert!(
        stderr(&out).contains("no accepted response for") && stderr(&out).contains("same command"),
        "{}",
        stderr(&out)
    );
    let sim = Sim::start_at(config(), address);
    let out = run(&mut export(&url), 0);
    let summary: Value = serde_json::from_slice(&out.stdout).unwrap();
    let (resumed, sent) =
        (summary["resumed_answers"].as_u64().unwrap(), summary["requests_sent"].as_u64().unwrap());
    assert!(resumed >= 25, "{resumed}");
    assert_eq!(resumed + sent, least_requests(&sim.server.world()));
}

#[test]
fn a_kept_journal_gives_the_same_snapshot_without_the_api() {
    let dir = tempfile::tempdir().unwrap();
    let sim = Sim::of_projects(40);
    let mut args = vec!["--keep-journal"];
    args.extend(FIXED);
    sim.export(dir.path(), &args, 0);
    let expected = checksums(dir.path());
    sim.server.clear_requests();
    drop(sim);
    let out = run(&mut hexport(&["rebuild", dir.path().to_str().unwrap(), "--output", "json"]), 0);
    let summary: Value = serde_json::from_slice(&out.stdout).unwrap();
    assert_eq!((summary["requests_sent"].as_u64(), summary["complete"].as_bool()), (Some(0), Some(true)));
    assert_eq!(checksums(dir.path()), expected);
    assert_no_secret_below(dir.path());
    let said = stderr(&run(
        &mut hexport(&["rebuild", dir.path().to_str().unwrap(), "--snapshot", "1999-01-01T000000Z"]),
        2,
    ));
    assert!(said.contains("2026-11-24T020000Z"), "{said}");
}

#[test]
fn a_journal_holds_no_token_and_only_its_owner_reads_it() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().unwrap();
    let sim = Sim::of_projects(20);
    sim.export(dir.path(), &["--keep-journal"], 0);
    let journal = std::fs::read_dir(dir.path().join("_journal")).unwrap().next().unwrap().unwrap();
    assert_eq!(journal.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    assert_no_secret_below(dir.path());
}

#[test]
fn a_write_is_never_sent_twice() {
    use hexport::client::{BaseUrl, Client, ClientConfig, Token};
    for faults in ["reset=1", "500=1", "truncate=1", "malformed=1", "429=1"] {
        let sim = Sim::start(SimConfig {
            world: world_of(20),
            faults: faults.parse().unwrap(),
            ..SimConfig::default()
        });
        let config = ClientConfig::new(BaseUrl::new(&sim.server.url()).unwrap(), Token::new(SECRET).unwrap());
        let client = Client::new(config).unwrap();
        let made = sim.block_on(client.create_collection("Once", None).into_future());
        assert!(made.is_err(), "{faults}");
        assert_eq!(sim.server.requests().len(), 1, "{faults}");
    }
}
