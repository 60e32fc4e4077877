//! A snapshot says exactly what it knows: nothing is lost without a word, and nothing is believed too early.

use std::path::{Path, PathBuf};

use chrono::TimeDelta;
use hexport::client::operation;
use hexport::journal::{Journal, NewEntry};
use hexport::sim::{Change, Faults, PageFault, Refusal, Refused, SimToken, WorldConfig};
use serde_json::{Value, json};

use crate::support::*;

fn refuse(sim: &Sim, refusals: &[&str]) {
    let refusals: Vec<Refusal> = refusals.iter().map(|text| text.parse().unwrap()).collect();
    sim.server.set_faults(Faults { refusals, ..Faults::default() });
}

/// The newest manifest of a lake.
fn manifest(lake: &Path) -> Value {
    verify(lake).expect("a snapshot")
}

fn state(lake: &Path, table: &str) -> String {
    manifest(lake)["tables"][table]["state"].as_str().unwrap_or_default().to_owned()
}

fn rows(lake: &Path, table: &str) -> u64 {
    manifest(lake)["tables"][table]["rows"].as_u64().unwrap()
}

fn journals(lake: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(lake.join("_journal")) else { return Vec::new() };
    let mut paths: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths
}

/// What an export says on stderr.
fn said(sim: &Sim, lake: &Path, more: &[&str], code: i32) -> String {
    let mut args = vec!["export", lake.to_str().unwrap()];
    args.extend(more);
    stderr(&run(&mut sim.hexport(&args), code))
}

/// A project that has cells, runs and queried tables.
fn busy_project(sim: &Sim) -> String {
    let world = sim.server.world();
    let is_busy = |r: &&hexport::sim::ProjectRecord| {
        !world.runs(r).is_empty() && !world.queried_tables(r).is_empty() && !world.cells(r).is_empty()
    };
    world.projects.iter().find(is_busy).unwrap().project.id.to_string()
}

#[test]
fn a_kept_journal_whose_snapshot_is_gone_is_not_committed_again() {
    let (dir, sim) = (tempfile::tempdir().unwrap(), Sim::of_projects(12));
    sim.export(dir.path(), &["--keep-journal"], 0);
    let first = manifest(dir.path())["snapshot_id"].as_str().unwrap().to_owned();
    // Gone without prune's help: prune would take the journal along.
    std::fs::remove_dir_all(dir.path().join(format!("snapshot={first}"))).unwrap();
    sim.server.change(Change::Create, 0);
    let summary = sim.export(dir.path(), &[], 0);
    assert_eq!(summary["resumed_answers"], 0);
    assert_eq!(rows(dir.path(), "projects"), 13);
}

#[test]
fn a_refusal_is_not_remembered_once_the_scope_is_granted() {
    for answer in ["401", "403", "404", "400", "422"] {
        let (dir, sim) = (tempfile::tempdir().unwrap(), Sim::of_projects(6));
        refuse(&sim, &[&format!("ListProjects={answer}")]);
        let code = if ["401", "403"].contains(&answer) { 3 } else { 5 };
        said(&sim, dir.path(), &[], code);
        refuse(&sim, &[]);
        sim.export(dir.path(), &[], 0);
        assert_eq!(rows(dir.path(), "projects"), 6, "{answer}");
    }
}

#[test]
fn a_crawl_of_other_tables_is_left_alone_and_named() {
    let (dir, sim) = (tempfile::tempdir().unwrap(), Sim::of_projects(120));
    let full = |code| sim.export(dir.path(), &[], code);
    refuse(&sim, &["ListProjects@2=404"]);
    full(5);
    let journal = journals(dir.path());
    assert_eq!(journal.len(), 1);
    refuse(&sim, &[]);
    let told = said(&sim, dir.path(), &["--tables", "users"], 0);
    assert!(told.contains("of other tables") && told.contains("left alone"), "{told}");
    assert!(journals(dir.path()).contains(&journal[0]));
    assert!(full(0)["resumed_answers"].as_u64().unwrap() > 5);

    // The other way round: what some tables' crawl left doesn't end the history of all.
    refuse(&sim, &["ListProjects@2=404"]);
    sim.export(dir.path(), &["--tables", "projects"], 5);
    refuse(&sim, &[]);
    sim.server.clear_requests();
    full(0);
    let asked = sim.server.requests().len() as u64;
    assert!(asked < least_requests(&sim.server.world()) * 2 / 3, "{asked}: what is known is not read again");
}

#[test]
fn fresh_discards_this_crawl_alone() {
    let (dir, sim) = (tempfile::tempdir().unwrap(), Sim::of_projects(120));
    sim.export(dir.path(), &["--keep-journal", "--tables", "users"], 0);
    refuse(&sim, &["ListProjects@2=404"]);
    sim.export(dir.path(), &[], 5);
    sim.export(dir.path(), &["--tables", "projects"], 5);
    assert_eq!(journals(dir.path()).len(), 3);
    refuse(&sim, &[]);
    let summary = sim.export(dir.path(), &["--fresh"], 0);
    assert_eq!(summary["resumed_answers"], 0);
    let left = journals(dir.path());
    assert_eq!(left.len(), 2, "{left:?}");
}

#[test]
fn a_crawl_never_continues_in_another_workspace() {
    let other = || WorldConfig { seed: 7, ..world_of(120) };
    let (dir, sim) = (tempfile::tempdir().unwrap(), Sim::of_projects(120));
    refuse(&sim, &["ListCells=404", "ListProjects@2=404"]);
    sim.export(dir.path(), &[], 5);
    let ours: Vec<String> = sim.server.world().projects.iter().map(|r| r.project.id.to_string()).collect();
    refuse(&sim, &[]);
    sim.server.swap_workspace(other());
    sim.server.clear_requests();
    let summary = sim.export(dir.path(), &[], 0);
    assert_eq!(summary["resumed_answers"], 0);
    let asked = sim.server.requests();
    assert!(!asked.iter().any(|r| ours.iter().any(|id| r.target.contains(id))), "theirs was asked for ours");

    // Committed snapshots of one, a token of the other.
    sim.server.swap_workspace(world_of(120));
    let told = said(&sim, dir.path(), &[], 6);
    assert!(told.contains("of the workspace"), "{told}");
    // The same where Me doesn't tell: by the projects.
    refuse(&sim, &["Me=404"]);
    let told = said(&sim, dir.path(), &[], 6);
    assert!(told.contains("--workspace-id"), "{told}");
    sim.server.swap_workspace(other());
    refuse(&sim, &["Me=404"]);
    sim.export(dir.path(), &[], 0);
}

#[test]
fn what_cannot_be_read_any_longer_keeps_its_rows_and_says_so() {
    for answer in ["401", "403", "404", "422"] {
        let (dir, sim) = (tempfile::tempdir().unwrap(), Sim::of_projects(20));
        sim.server.set_faults(Faults { page_cap: Some(10), ..Faults::default() });
        sim.export(dir.path(), &[], 0);
        let before = rows_of_entities(dir.path());
        let project = busy_project(&sim);
        let refusals = [
            format!("ListCells:{project}={answer}"),
            format!("GetProjectRuns:{project}={answer}"),
            format!("ListUsers@2={answer}"),
            format!("ListCollections={answer}"),
        ];
        let refusals = refusals.iter().map(|text| text.parse().unwrap()).collect();
        sim.server.set_faults(Faults { page_cap: Some(10), refusals, ..Faults::default() });
        let edited = sim.server.world().projects.iter().position(|r| r.project.id == project).unwrap();
        sim.server.change(Change::Edit, edited);
        let summary = sim.export(dir.path(), &[], 4);
        assert_eq!(summary["complete"], false);
        for table in ["cells", "runs", "users", "collections", "collection_sharing"] {
            assert_eq!(state(dir.path(), table), "stale", "{table} after {answer}");
        }
        assert_eq!(state(dir.path(), "projects"), "read");
        assert_eq!(rows_of_entities(dir.path()), before, "{answer}");
        let old = "SELECT count(*) FROM cells c JOIN projects p USING (project_id) WHERE c.fetched_at < p.fetched_at";
        assert!(ask_one(dir.path(), old).as_u64().unwrap() > 0, "old rows say how old they are");
        let why = format!(
            "SELECT state, reason FROM crawl_coverage WHERE entity_id = '{project}' AND operation = 'ListCells'"
        );
        assert!(ask(dir.path(), &why)[0][1].as_str().unwrap().contains(answer));

        // Granted again: fresh, and complete.
        sim.server.set_faults(Faults { page_cap: Some(10), ..Faults::default() });
        sim.export(dir.path(), &[], 0);
        assert_eq!(rows_of_entities(dir.path()), true_rows(&sim.server.world()));
    }
}

#[test]
fn what_was_never_readable_is_unreadable_and_counts_with_strict_alone() {
    let lists =
        ["ListUsers", "ListGroups", "ListCollections", "ListDataConnections", "ListThreads", "ListTopics"];
    for answer in ["401-text", "403", "404", "422"] {
        let (dir, sim) = (tempfile::tempdir().unwrap(), Sim::of_projects(8));
        let mut refusals: Vec<String> = lists.iter().map(|list| format!("{list}={answer}")).collect();
        refusals.extend(["ListDraftGuides", "Me", "ListCells"].map(|name| format!("{name}={answer}")));
        refuse(&sim, &refusals.iter().map(String::as_str).collect::<Vec<_>>());
        let summary = sim.export(dir.path(), &[], 0);
        assert_eq!(summary["complete"], true, "{answer}");
        for table in ["users", "groups", "group_members", "threads", "draft_guides", "cells", "sql_cells"] {
            assert_eq!(state(dir.path(), table), "unreadable", "{table} after {answer}");
        }
        assert_eq!(state(dir.path(), "runs"), "read");
        sim.export(dir.path(), &["--strict"], 4);
    }
}

#[test]
fn one_refused_project_among_many_leaves_a_table_partial() {
    let (dir, sim) = (tempfile::tempdir().unwrap(), Sim::of_projects(12));
    let project = busy_project(&sim);
    refuse(&sim, &[&format!("ListCells:{project}=403")]);
    let summary = sim.export(dir.path(), &[], 4);
    assert_eq!(summary["tables"]["cells"]["state"], "partial");
    assert_eq!(summary["tables"]["cells"]["entities"]["unreadable"], 1);
    let listed = stdout(&run(&mut hexport(&["snapshots", "list", dir.path().to_str().unwrap()]), 0));
    assert!(listed.contains(" no "), "{listed}");
}

#[test]
fn a_lost_table_can_be_given_up() {
    let (dir, sim) = (tempfile::tempdir().unwrap(), Sim::of_projects(8));
    sim.export(dir.path(), &[], 0);
    refuse(&sim, &["ListUsers=403"]);
    sim.export(dir.path(), &[], 4);
    assert!(rows(dir.path(), "users") > 0);
    sim.export(dir.path(), &["--without", "users,group_members"], 0);
    assert_eq!((rows(dir.path(), "users"), state(dir.path(), "users").as_str()), (0, "unreadable"));
}

#[test]
fn a_token_that_ends_during_the_crawl_is_told_from_an_operation_out_of_scope() {
    let (dir, sim) = (tempfile::tempdir().unwrap(), Sim::of_projects(8));
    refuse(&sim, &["ListCells=401-text", "ListProjects=401-text"]);
    said(&sim, dir.path(), &[], 3);
    refuse(&sim, &["ListCells=401-text"]);
    sim.export(dir.path(), &[], 0);
    assert_eq!(state(dir.path(), "cells"), "unreadable");
}

#[test]
fn tables_that_api_runs_query_are_found() {
    let (dir, sim) = (tempfile::tempdir().unwrap(), Sim::of_projects(20));
    sim.export(dir.path(), &[], 0);
    let before = rows(dir.path(), "queried_tables");
    let project = busy_project(&sim);
    let at = sim.server.world().find_project(&project).unwrap();
    sim.server.change(Change::RunNewTable, at).expect("a run that queries a table");
    sim.export(dir.path(), &[], 0);
    assert_eq!(rows(dir.path(), "queried_tables"), before + 1);
}

#[test]
fn pages_lead_to_an_end_or_the_list_is_incomplete() {
    for (fault, code) in
        [(PageFault::Empty, 0), (PageFault::Repeat, 5), (PageFault::Circle, 5), (PageFault::Endless, 5)]
    {
        let (dir, sim) = (tempfile::tempdir().unwrap(), Sim::of_projects(30));
        let paging = vec![("ListProjects".to_owned(), fault)];
        sim.server.set_faults(Faults { paging, page_cap: Some(7), ..Faults::default() });
        sim.export(dir.path(), &[], code);
        match code {
            0 => assert_eq!(rows(dir.path(), "projects"), 30),
            _ => assert!(verify(dir.path()).is_none()),
        }
    }
    for fault in [PageFault::Repeat, PageFault::Circle, PageFault::Endless] {
        let (dir, sim) = (tempfile::tempdir().unwrap(), Sim::of_projects(6));
        let paging = vec![("ListUsers".to_owned(), fault)];
        sim.server.set_faults(Faults { paging, page_cap: Some(7), ..Faults::default() });
        sim.export(dir.path(), &["--tables", "projects,users"], 4);
        assert_eq!(state(dir.path(), "users"), "partial", "{fault}");
        assert!(sim.server.requests().len() < 60, "{fault} is not followed for ever");
    }
}

#[test]
fn an_hourly_export_of_some_tables_and_prune_end_no_history() {
    let (dir, sim) = (tempfile::tempdir().unwrap(), Sim::of_projects(12));
    sim.export(dir.path(), &[], 0);
    let lost = {
        let mut world = sim.server.world_mut();
        let config = world.config.clone();
        let record = world.projects.iter_mut().find(|r| r.project.last_published_at.is_some()).unwrap();
        hexport::sim::World::runs_mut(&config, record).drain(..3).count() as u64
    };
    sim.export(dir.path(), &["--full"], 0);
    for _ in 0..4 {
        sim.export(dir.path(), &["--tables", "users"], 0);
        run(&mut hexport(&["snapshots", "prune", dir.path().to_str().unwrap(), "--keep-last", "2"]), 0);
    }
    sim.server.clear_requests();
    sim.export(dir.path(), &[], 0);
    assert_eq!(ask_one(dir.path(), "SELECT count(*) FROM runs WHERE no_longer_listed"), json!(lost));
    let asked = sim.server.requests().len() as u64;
    assert!(asked < least_requests(&sim.server.world()), "{asked}: the whole snapshot was built on");
}

#[test]
fn a_damaged_journal_never_replaces_what_is_there() {
    let (dir, sim) = (tempfile::tempdir().unwrap(), Sim::of_projects(12));
    sim.export(dir.path(), &["--keep-journal"], 0);
    let before = manifest(dir.path());
    let path = journals(dir.path()).remove(0);
    let mut bytes = std::fs::read(&path).unwrap();
    let of_cells = br#""record":"response","operation":"ListCells""#;
    let cells = bytes.windows(of_cells.len()).rposition(|w| w == of_cells).unwrap();
    bytes[cells + 60] ^= 1;
    std::fs::write(&path, &bytes).unwrap();
    let out = run(&mut hexport(&["rebuild", dir.path().to_str().unwrap()]), 6);
    let told = stderr(&out);
    assert!(told.contains("can't be read") && told.contains("would know less"), "{told}");
    assert_eq!(manifest(dir.path()), before);
    // Elsewhere it says what it knows, and what not.
    let other = tempfile::tempdir().unwrap();
    std::fs::create_dir(other.path().join("_journal")).unwrap();
    std::fs::copy(&path, other.path().join("_journal").join(path.file_name().unwrap())).unwrap();
    run(&mut hexport(&["rebuild", other.path().to_str().unwrap()]), 4);
    assert_eq!(state(other.path(), "cells"), "partial");
    assert_eq!(rows(other.path(), "projects"), 12);
}

#[test]
fn a_fresh_row_beats_an_old_one_whatever_the_clock_said() {
    let (dir, sim) = (tempfile::tempdir().unwrap(), Sim::of_projects(6));
    sim.export(dir.path(), &["--fixed-time", "2031-01-01T00:00:00Z"], 0);
    sim.server.change(Change::EditUser, 1).unwrap();
    let project = busy_project(&sim);
    let at = sim.server.world().find_project(&project).unwrap();
    sim.server.change(Change::Edit, at);
    let told = said(&sim, dir.path(), &[], 0);
    assert!(told.contains("check the clock"), "{told}");
    let manifest = manifest(dir.path());
    assert_eq!(manifest["sequence"], 2);
    assert!(!manifest["snapshot_id"].as_str().unwrap().starts_with("2031"), "the pointer moves on");
    let user = sim.server.world().users[1].clone();
    let role = ask_one(dir.path(), &format!("SELECT role FROM users WHERE user_id = '{}'", user.id));
    assert_eq!(role, json!(user.role));
    assert_eq!(rows_of_entities(dir.path()), true_rows(&sim.server.world()));
}

#[test]
fn a_queried_table_without_a_connection_is_a_row_like_any_other() {
    let (dir, sim) = (tempfile::tempdir().unwrap(), Sim::of_projects(8));
    let bare = |target: &str, body: &mut Value| {
        if target.contains("/queriedTables") {
            for table in body["values"].as_array_mut().unwrap() {
                table.as_object_mut().unwrap().remove("dataConnectionId");
            }
        }
    };
    let url = sim.block_on(changing_answers(sim.server.url(), bare));
    let url = url.as_str();
    let export = || run(sim.hexport(&["export", dir.path().to_str().unwrap()]).env("HEX_API_URL", url), 0);
    export();
    let tables = rows(dir.path(), "queried_tables");
    assert!(tables > 0 && rows(dir.path(), "table_usage") > 0);
    let first_seen = "SELECT min(first_seen_at)::VARCHAR, max(first_seen_at)::VARCHAR FROM lineage";
    let before = ask(dir.path(), first_seen);
    export();
    assert_eq!(ask(dir.path(), first_seen), before);
}

#[test]
fn a_sudden_shrink_is_believed_on_its_second_night() {
    let (dir, sim) = (tempfile::tempdir().unwrap(), Sim::of_projects(60));
    sim.export(dir.path(), &[], 0);
    let cells = rows(dir.path(), "cells");
    let gone: std::collections::HashSet<String> =
        sim.server.world().projects.iter().take(20).map(|r| r.project.id.to_string()).collect();
    sim.server.set_token(SimToken { hidden: gone.clone(), ..SimToken::default() });
    let summary = sim.export(dir.path(), &[], 4);
    assert_eq!(summary["tables"]["projects"]["state"], "stale");
    assert_eq!((rows(dir.path(), "projects"), rows(dir.path(), "cells")), (60, cells));
    let held = "SELECT count(*) FROM crawl_coverage WHERE state = 'missing'";
    assert_eq!(ask_one(dir.path(), held), json!(20));
    // The next night says the same.
    sim.export(dir.path(), &[], 0);
    assert_eq!(rows(dir.path(), "projects"), 40);
    // A person can say it at once.
    let more: Vec<String> =
        sim.server.world().projects.iter().skip(20).take(15).map(|r| r.project.id.to_string()).collect();
    let hidden = gone.iter().cloned().chain(more).collect();
    sim.server.set_token(SimToken { hidden, ..SimToken::default() });
    sim.export(dir.path(), &["--accept-shrink=projects"], 0);
    assert_eq!(rows(dir.path(), "projects"), 25);
    // None at all is no night's business.
    let all = sim.server.world().projects.iter().map(|r| r.project.id.to_string()).collect();
    sim.server.set_token(SimToken { hidden: all, ..SimToken::default() });
    let told = said(&sim, dir.path(), &[], 5);
    assert!(told.contains("--accept-shrink=projects"), "{told}");
    assert_eq!(rows(dir.path(), "projects"), 25);
}

#[test]
fn another_user_sees_less_and_nothing_is_deleted_for_it() {
    let (dir, sim) = (tempfile::tempdir().unwrap(), Sim::of_projects(60));
    sim.export(dir.path(), &[], 0);
    let user = sim.server.world().users[3].email.clone();
    let hidden = sim.server.world().projects.iter().take(2).map(|r| r.project.id.to_string()).collect();
    let less = SimToken { hidden, user: Some(user.clone()), ..SimToken::default() };
    sim.server.set_token(less);
    for _ in 0..2 {
        let told = said(&sim, dir.path(), &[], 4);
        assert!(told.contains(&user) && told.contains("--accept-shrink"), "{told}");
        assert_eq!(rows(dir.path(), "projects"), 60);
        assert_eq!(manifest(dir.path())["acting_as"]["email"], json!(user));
    }
    sim.export(dir.path(), &["--accept-shrink"], 0);
    assert_eq!(rows(dir.path(), "projects"), 58);
}

#[test]
fn a_project_deleted_during_the_crawl_is_gone_and_no_gap() {
    let (dir, sim) = (tempfile::tempdir().unwrap(), Sim::of_projects(20));
    sim.export(dir.path(), &[], 0);
    let project = busy_project(&sim);
    // Listed once more, then not: as if it went away between the list and the calls about it.
    let late = |target: &str, body: &mut Value| {
        static LISTED: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
        if target.contains("/projects?") && LISTED.fetch_add(1, std::sync::atomic::Ordering::SeqCst) > 0 {
            body["values"].as_array_mut().unwrap().remove(0);
        }
    };
    let first = sim.server.world().projects[0].project.id.to_string();
    refuse(&sim, &[&format!("*:{first}=404")]);
    let url = sim.block_on(changing_answers(sim.server.url(), late));
    run(sim.hexport(&["export", dir.path().to_str().unwrap()]).env("HEX_API_URL", url), 0);
    assert_eq!(rows(dir.path(), "projects"), 19);
    let of = |table: &str, id: &str| {
        ask_one(dir.path(), &format!("SELECT count(*) FROM {table} WHERE project_id = '{id}'"))
            .as_u64()
            .unwrap()
    };
    assert_eq!(of("cells", &first), 0);
    assert!(first == project || of("cells", &project) > 0);
}

#[test]
fn lists_that_an_interrupted_crawl_left_are_read_again_after_a_day() {
    let (dir, sim) = (tempfile::tempdir().unwrap(), Sim::of_projects(120));
    refuse(&sim, &["ListProjects@2=404"]);
    sim.export(dir.path(), &[], 5);
    refuse(&sim, &[]);
    let path = journals(dir.path()).remove(0);
    // The same journal, two days older.
    let old = Journal::open(&path).unwrap();
    let aged = path.with_extension("aged");
    let new = Journal::create(&aged, old.header().clone()).unwrap();
    for entry in old.entries().iter().filter(|entry| entry.accepted) {
        let body = old.body(entry).unwrap();
        let request = match entry.operation.id {
            "ListUsers" if entry.entity.is_none() => "GET /users?limit=500".to_owned(),
            _ => continue,
        };
        let fetched_at = entry.fetched_at - TimeDelta::days(2);
        new.append(NewEntry {
            operation: &operation::LIST_USERS,
            entity: None,
            request: &request,
            status: 200,
            accepted: true,
            attempts: 1,
            fetched_at,
            body: &body,
        })
        .unwrap();
    }
    assert_eq!(new.len(), 1, "the list of users is there");
    std::fs::rename(&aged, &path).unwrap();
    sim.server.change(Change::CreateUser, 0).unwrap();
    let summary = sim.export(dir.path(), &["--keep-journal"], 0);
    assert_eq!(summary["resumed_answers"], 1);
    assert_eq!(rows(dir.path(), "users"), sim.server.world().users.len() as u64);
    // A rebuild uses the newer pages alone.
    run(&mut hexport(&["rebuild", dir.path().to_str().unwrap()]), 0);
    assert_eq!(rows(dir.path(), "users"), sim.server.world().users.len() as u64);
}

#[test]
fn refusals_that_look_like_pages_are_none() {
    let (dir, sim) = (tempfile::tempdir().unwrap(), Sim::of_projects(6));
    sim.export(dir.path(), &["--tables", "projects,users,topics"], 0);
    let refusals = vec![Refusal::of("ListTopics", Refused::Html)];
    sim.server.set_faults(Faults { refusals, ..Faults::default() });
    let topics = rows(dir.path(), "topics");
    sim.export(dir.path(), &["--tables", "projects,users,topics", "--request-timeout", "5s"], 4);
    assert_eq!((rows(dir.path(), "topics"), state(dir.path(), "topics").as_str()), (topics, "stale"));
}

#[test]
fn check_tells_what_is_refused_and_by_whom() {
    let sim = Sim::of_projects(8);
    {
        let mut world = sim.server.world_mut();
        world.projects.iter_mut().for_each(|record| record.project.last_published_at = None);
    }
    let check = |code| {
        let out = run(&mut sim.hexport(&["check", "--output", "json"]), code);
        serde_json::from_slice::<Value>(&out.stdout).unwrap_or_default()
    };
    let answer = |checked: &Value, name: &str| {
        let all = checked["endpoints"].as_array().unwrap();
        all.iter().find(|e| e["endpoint"] == name).map(|e| e["answer"].as_str().unwrap().to_owned())
    };
    for (refusals, endpoint, expected) in [
        (&[][..], "GetQueriedTables", "ok"),
        (&["Me=404"][..], "Me", "absent"),
        (&["Me=403"][..], "Me", "forbidden"),
        (&["ListUsers=401-text"][..], "ListUsers", "forbidden"),
        (&["GetQueriedTables=422"][..], "GetQueriedTables", "ok"),
        (&["GetQueriedTables=403"][..], "GetQueriedTables", "forbidden"),
    ] {
        refuse(&sim, refusals);
        let checked = check(0);
        assert_eq!(answer(&checked, endpoint).as_deref(), Some(expected), "{refusals:?}: {checked}");
        assert_eq!(answer(&checked, "ListProjects").as_deref(), Some("ok"));
    }
    refuse(&sim, &["ListProjects=401-text"]);
    check(3);
}

#[test]
fn a_gap_may_end_with_0_where_it_is_asked_for() {
    let (dir, sim) = (tempfile::tempdir().unwrap(), Sim::of_projects(6));
    sim.export(dir.path(), &[], 0);
    refuse(&sim, &["ListUsers=403"]);
    let summary = sim.export(dir.path(), &["--ok-incomplete"], 0);
    assert_eq!((&summary["complete"], &summary["exit_code"]), (&json!(false), &json!(4)));
}

#[test]
fn a_rebuild_takes_the_last_committed_journal_and_never_an_open_one() {
    let (dir, sim) = (tempfile::tempdir().unwrap(), Sim::of_projects(120));
    let rebuild = |code: i32| run(&mut hexport(&["rebuild", dir.path().to_str().unwrap()]), code);
    // A crawl that broke off is the next export's to resume, and no snapshot of half a workspace.
    refuse(&sim, &["ListProjects@2=404"]);
    sim.export(dir.path(), &[], 5);
    let told = stderr(&rebuild(2));
    assert!(told.contains("unfinished") && told.contains("--snapshot"), "{told}");
    refuse(&sim, &[]);
    sim.export(dir.path(), &["--keep-journal"], 0);
    let committed = manifest(dir.path())["snapshot_id"].clone();
    refuse(&sim, &["ListProjects@2=404"]);
    sim.export(dir.path(), &["--tables", "projects"], 5);
    assert_eq!(journals(dir.path()).len(), 2);
    rebuild(0);
    assert_eq!(manifest(dir.path())["snapshot_id"], committed);
}
