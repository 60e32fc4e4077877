//! OpenLineage events, checked against the specification and the generator's truth.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::{Arc, Mutex};

use axum::body::Bytes;
use axum::http::{HeaderMap, StatusCode};
use hexport::sim::World;
use serde_json::Value;

use crate::support::*;

const NIGHT: [&str; 2] = ["--fixed-time", "2026-11-02T06:00:00Z"];

fn parsed(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn emitted(lake: &Path, more: &[&str]) -> Vec<Value> {
    let mut args = vec!["openlineage", lake.to_str().unwrap()];
    args.extend(more);
    parsed(&stdout(&run(&mut hexport(&args), 0)))
}

fn of_kind<'a>(events: &'a [Value], kind: &str) -> Vec<&'a Value> {
    let is = |event: &&Value| event["schemaURL"].as_str().unwrap().ends_with(&format!("/{kind}"));
    events.iter().filter(is).collect()
}

fn datasets(of: &Value) -> BTreeSet<String> {
    of.as_array().unwrap().iter().map(|d| format!("{} {}", d["namespace"], d["name"])).collect()
}

#[test]
fn events_are_those_of_the_specification_and_say_what_the_generator_made() {
    let dir = tempfile::tempdir().unwrap();
    let sim = Sim::of_projects(60);
    sim.export(dir.path(), &NIGHT, 0);
    let out = stdout(&run(&mut hexport(&["openlineage", dir.path().to_str().unwrap()]), 0));
    let events = parsed(&out);
    // By the schemas, and by the types of the specification's own client.
    let schema = include_str!("../schemas/openlineage-2-0-2.json");
    let validator = jsonschema::options()
        .should_validate_formats(true)
        .build(&serde_json::from_str(schema).unwrap())
        .unwrap();
    for event in &events {
        let faults: Vec<String> = validator.iter_errors(event).map(|e| e.to_string()).collect();
        assert!(faults.is_empty(), "{event}\n{faults:?}");
    }
    assert_eq!(script("openlineage_types.py", &out), Value::from(events.len()));

    let world = sim.server.world();
    let jobs: BTreeMap<&str, &Value> = of_kind(&events, "JobEvent")
        .into_iter()
        .map(|event| (event["job"]["name"].as_str().unwrap(), event))
        .collect();
    assert_eq!(jobs.len(), world.projects.len());
    let mut tables = BTreeSet::new();
    let mut facets = BTreeMap::<&str, usize>::new();
    for record in &world.projects {
        let (project, event) = (&record.project, jobs[record.project.id.as_str()]);
        let truth: BTreeSet<_> =
            world.cells(record).into_iter().flat_map(|(_, truth)| truth.tables).collect();
        let queried = world.queried_tables(record).len();
        let inputs = datasets(&event["inputs"]);
        assert!(inputs.len() >= truth.len().max(queried), "{event}");
        assert!(inputs.is_superset(&datasets(&event["inputs"])));
        tables.extend(inputs);
        // The first output is the project itself; the others are what it writes.
        tables.extend(datasets(&event["outputs"].as_array().unwrap()[1..].into()));
        let job = &event["job"]["facets"];
        assert!(job["documentation"]["description"].as_str().unwrap().starts_with(project.title.trim()));
        let owner = format!("user:{}", project.owner.email);
        assert_eq!(job["ownership"]["owners"][0]["name"], owner.as_str());
        for (cell, _) in world.cells(record) {
            let source = cell.contents.sql_cell.as_ref().map(|c| c.source.as_str());
            if let Some(source) = source.filter(|s| !s.trim().is_empty()) {
                let sql = job["sql"]["query"].as_str().unwrap();
                assert!(sql.contains(source.trim().trim_end_matches(';')), "{sql}");
            }
        }
        assert_eq!(job["hex_schedules"].is_object(), !project.schedules.is_empty());
        let columns = &event["outputs"][0]["facets"]["columnLineage"];
        for name in ["sql", "tags", "sourceCodeLocation"] {
            *facets.entry(name).or_default() += usize::from(job[name].is_object());
        }
        *facets.entry("columnLineage").or_default() += usize::from(columns.is_object());
    }
    assert!(facets.values().all(|count| *count > 5), "{facets:?}");
    let stated: BTreeSet<String> = of_kind(&events, "DatasetEvent")
        .into_iter()
        .map(|event| format!("{} {}", event["dataset"]["namespace"], event["dataset"]["name"]))
        .collect();
    assert_eq!(stated, tables);

    let runs = of_kind(&events, "RunEvent");
    let mut expected = BTreeMap::<(String, &str), String>::new();
    for record in &world.projects {
        for run in world.runs(record).iter().map(|spec| world.run(record, spec)) {
            let Some(start) = &run.start_time else { continue };
            expected.insert((run.run_id.to_string(), "START"), start.clone());
            let end = match run.status.as_str() {
                "COMPLETED" => "COMPLETE",
                "KILLED" => "ABORT",
                "ERRORED" | "UNABLE_TO_ALLOCATE_KERNEL" => "FAIL",
                _ => continue,
            };
            expected.insert((run.run_id.to_string(), end), run.end_time.clone().unwrap_or_default());
        }
    }
    let mut found = BTreeMap::new();
    for event in &runs {
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let kind = ["START", "COMPLETE", "ABORT", "FAIL"].into_iter().find(|k| event["eventType"] == *k);
        found.insert((text(&event["run"]["runId"]), kind.unwrap()), text(&event["eventTime"]));
        let of_job = &jobs[event["job"]["name"].as_str().unwrap()]["inputs"];
        assert_eq!(datasets(&event["inputs"]), datasets(of_job));
        assert_eq!(event["run"]["facets"]["errorMessage"].is_object(), event["eventType"] == "FAIL");
        assert_eq!(event["run"]["facets"]["processing_engine"]["name"], "Hex");
        // A catalog that keeps the last event alone loses nothing of the job's own.
        for facet in ["documentation", "sourceCodeLocation", "hex_project"] {
            assert_eq!(
                event["job"]["facets"][facet],
                jobs[event["job"]["name"].as_str().unwrap()]["job"]["facets"][facet]
            );
        }
    }
    assert_eq!(runs.len(), expected.len());
    assert_eq!(found.keys().collect::<Vec<_>>(), expected.keys().collect::<Vec<_>>());
    let moment = |text: &str| text.parse::<chrono::DateTime<chrono::Utc>>().unwrap().timestamp_millis();
    for (key, at) in expected.iter().filter(|(_, at)| !at.is_empty()) {
        assert!((moment(&found[key]) - moment(at)).abs() <= 1, "{key:?}");
    }
    let nominal: Vec<&&Value> =
        runs.iter().filter(|event| event["run"]["facets"]["nominalTime"].is_object()).collect();
    assert!(nominal.len() > 20);
    for event in nominal {
        let due = event["run"]["facets"]["nominalTime"]["nominalStartTime"].as_str().unwrap();
        let start = &found[&(event["run"]["runId"].as_str().unwrap().to_owned(), "START")];
        assert!(moment(due) <= moment(start), "due {due}, started {start}");
    }
}

#[test]
fn what_was_told_is_not_told_again() {
    let dir = tempfile::tempdir().unwrap();
    let sim = Sim::of_projects(40);
    sim.export(dir.path(), &NIGHT, 0);
    let nightly = ["--since-last", "nightly"];
    let first = emitted(dir.path(), &nightly);
    assert!(emitted(dir.path(), &nightly).is_empty(), "nothing is new");
    assert_eq!(emitted(dir.path(), &["--all"]).len(), first.len());
    // Nothing is remembered without a name, and nothing under another one.
    assert_eq!(emitted(dir.path(), &[]).len(), first.len());
    assert_eq!(emitted(dir.path(), &["--since-last", "other"]).len(), first.len());
    let renamed = {
        let mut world = sim.server.world_mut();
        let project = &mut world.projects[3].project;
        project.title = "A new name".into();
        project.last_edited_at = "2026-11-02T07:00:00.000Z".into();
        let id = project.id.to_string();
        let config = world.config.clone();
        for record in &mut world.projects {
            for spec in World::runs_mut(&config, record).iter_mut().filter(|spec| spec.elapsed_ms.is_none()) {
                (spec.elapsed_ms, spec.status) = (Some(61_000), "COMPLETED");
            }
        }
        id
    };
    sim.export(dir.path(), &["--fixed-time", "2026-11-03T06:00:00Z"], 0);
    let second = emitted(dir.path(), &nightly);
    let jobs = of_kind(&second, "JobEvent");
    assert_eq!(jobs.len(), 1, "{jobs:?}");
    assert_eq!(jobs[0]["job"]["name"], renamed.as_str());
    // A run that was under way is told to have ended, and not told again to have begun.
    let told: BTreeSet<(String, String)> = of_kind(&first, "RunEvent")
        .iter()
        .map(|e| (e["run"]["runId"].to_string(), e["eventType"].to_string()))
        .collect();
    let runs = of_kind(&second, "RunEvent");
    assert!(!runs.is_empty(), "no run ended in the meantime");
    for event in runs {
        let key = (event["run"]["runId"].to_string(), event["eventType"].to_string());
        assert!(!told.contains(&key), "{event}");
    }
    let recent = emitted(dir.path(), &["--all", "--runs-since", "2026-11-01T00:00:00Z"]);
    let recent = of_kind(&recent, "RunEvent");
    assert!(!recent.is_empty() && recent.len() < of_kind(&first, "RunEvent").len());
    let file = dir.path().join("events.ndjson");
    run(
        &mut hexport(&[
            "openlineage",
            dir.path().to_str().unwrap(),
            "--all",
            "--file",
            file.to_str().unwrap(),
        ]),
        0,
    );
    assert!(parsed(&std::fs::read_to_string(file).unwrap()).len() >= first.len());
}

/// An OpenLineage server that is busy at times, and keeps what it takes.
#[derive(Clone, Default)]
struct Catalog {
    taken: Arc<Mutex<Vec<Value>>>,
    asked: Arc<Mutex<usize>>,
    broken: Arc<Mutex<bool>>,
}

impl Catalog {
    async fn start(&self) -> String {
        let catalog = self.clone();
        let take = move |headers: HeaderMap, body: Bytes| async move {
            assert_eq!(headers["authorization"], format!("Bearer {SECRET}").as_str());
            assert_eq!(headers["content-type"], "application/json");
            let mut asked = catalog.asked.lock().unwrap();
            *asked += 1;
            if *catalog.broken.lock().unwrap() && *asked > 300 {
                return StatusCode::BAD_REQUEST;
            }
            if *asked % 50 == 7 {
                return StatusCode::SERVICE_UNAVAILABLE;
            }
            catalog.taken.lock().unwrap().push(serde_json::from_slice(&body).unwrap());
            StatusCode::CREATED
        };
        let router = axum::Router::new().route("/api/v1/lineage", axum::routing::post(take));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        url
    }

    fn taken(&self) -> BTreeSet<String> {
        self.taken.lock().unwrap().iter().map(Value::to_string).collect()
    }
}

#[test]
fn a_server_gets_every_event_though_it_is_busy_at_times() {
    let dir = tempfile::tempdir().unwrap();
    let sim = Sim::of_projects(12);
    sim.export(dir.path(), &NIGHT, 0);
    let catalog = Catalog::default();
    let url = sim.block_on(catalog.start());
    let tell = |code: i32| {
        let mut command = hexport(&["openlineage", dir.path().to_str().unwrap(), "--url", &url]);
        stderr(&run(command.env("OPENLINEAGE_API_KEY", SECRET), code))
    };
    // It refuses one: nothing counts as told, and all is told again.
    *catalog.broken.lock().unwrap() = true;
    let said = tell(6);
    assert!(said.contains("400") && said.contains("sends what wasn't delivered"), "{said}");
    *catalog.broken.lock().unwrap() = false;
    tell(0);
    let everything: BTreeSet<String> = emitted(dir.path(), &["--all"]).iter().map(Value::to_string).collect();
    assert_eq!(catalog.taken(), everything);
    // No run ends before it starts, however many events are under way.
    let mut begun = BTreeSet::new();
    for event in catalog.taken.lock().unwrap().iter().filter(|e| e["run"].is_object()) {
        match event["eventType"] == "START" {
            true => drop(begun.insert(event["run"]["runId"].to_string())),
            false => assert!(begun.contains(&event["run"]["runId"].to_string()), "{event}"),
        }
    }
    let count = catalog.taken.lock().unwrap().len();
    tell(0);
    assert_eq!(catalog.taken.lock().unwrap().len(), count, "nothing was new");
    assert_no_secret_below(dir.path());
}

#[test]
fn a_key_is_sent_to_no_other_machine_in_the_open() {
    let dir = tempfile::tempdir().unwrap();
    let sim = Sim::of_projects(3);
    sim.export(dir.path(), &NIGHT, 0);
    let lake = dir.path().to_str().unwrap();
    let mut command = hexport(&["openlineage", lake, "--url", "http://catalog.example"]);
    let said = stderr(&run(command.env("OPENLINEAGE_API_KEY", SECRET), 2));
    assert!(said.contains("unencrypted"), "{said}");
    run(&mut hexport(&["openlineage", lake, "--url", "catalog"]), 2);
    run(&mut hexport(&["openlineage", dir.path().join("nowhere").to_str().unwrap()]), 2);
}

#[test]
fn events_come_in_the_form_that_their_receiver_wants() {
    let dir = tempfile::tempdir().unwrap();
    let sim = Sim::of_projects(40);
    sim.server.world_mut().projects[2].project.title = " A title\n with  spaces ".into();
    sim.export(dir.path(), &NIGHT, 0);
    let all = emitted(dir.path(), &[]);
    let runs = emitted(dir.path(), &["--events", "runs"]);
    assert_eq!(runs, of_kind(&all, "RunEvent").into_iter().cloned().collect::<Vec<_>>());
    assert!(!runs.is_empty());
    let lower = emitted(dir.path(), &["--lowercase-names"]);
    let names = |events: &[Value]| -> BTreeSet<String> {
        of_kind(events, "DatasetEvent")
            .iter()
            .map(|e| e["dataset"]["name"].as_str().unwrap().to_owned())
            .collect()
    };
    assert_eq!(names(&lower), names(&all).iter().map(|name| name.to_lowercase()).collect());
    assert_ne!(names(&lower), names(&all));
    let titled = emitted(dir.path(), &["--job-names", "title"]);
    let world = sim.server.world();
    let expected: BTreeSet<String> = world
        .projects
        .iter()
        .map(|r| {
            let title = r.project.title.split_whitespace().collect::<Vec<_>>().join(" ");
            format!("{title} ({})", r.project.id)
        })
        .collect();
    let found: BTreeSet<String> =
        of_kind(&titled, "JobEvent").iter().map(|e| e["job"]["name"].as_str().unwrap().to_owned()).collect();
    assert_eq!(found, expected);
    assert!(found.iter().any(|name| name.starts_with("A title with spaces (")));
    let lines: Vec<String> = titled.iter().chain(&lower).map(Value::to_string).collect();
    assert_eq!(script("openlineage_types.py", &(lines.join("\n") + "\n")), Value::from(lines.len()));
}

#[test]
fn a_run_that_waited_gets_its_start_later_and_a_project_that_went_gets_a_tombstone() {
    let dir = tempfile::tempdir().unwrap();
    let sim = Sim::of_projects(40);
    let config = sim.server.world().config.clone();
    let pending: BTreeSet<String> = {
        let mut world = sim.server.world_mut();
        let mut pending = BTreeSet::new();
        for place in 0..world.projects.len() {
            let record = &mut world.projects[place];
            if let Some(spec) =
                World::runs_mut(&config, record).iter_mut().find(|spec| spec.elapsed_ms.is_some())
            {
                (spec.elapsed_ms, spec.status) = (None, "PENDING");
            }
        }
        for record in &world.projects {
            let runs = world.runs(record);
            let waiting =
                runs.iter().map(|spec| world.run(record, spec)).filter(|run| run.start_time.is_none());
            pending.extend(waiting.filter(|run| run.status == "PENDING").map(|run| run.run_id.to_string()));
        }
        pending
    };
    assert!(!pending.is_empty());
    sim.export(dir.path(), &NIGHT, 0);
    let nightly = ["--since-last", "nightly"];
    let starts = |events: &[Value]| -> BTreeSet<String> {
        let of = of_kind(events, "RunEvent").into_iter().filter(|e| e["eventType"] == "START");
        of.map(|e| e["run"]["runId"].as_str().unwrap().to_owned()).collect()
    };
    let first = emitted(dir.path(), &nightly);
    assert!(starts(&first).is_disjoint(&pending), "what waits hasn't begun");
    let gone = {
        let mut world = sim.server.world_mut();
        for record in &mut world.projects {
            for spec in World::runs_mut(&config, record).iter_mut().filter(|spec| spec.status == "PENDING") {
                (spec.elapsed_ms, spec.status) = (Some(61_000), "COMPLETED");
            }
        }
        let unrun = world.projects.iter().position(|r| world.runs(r).is_empty()).unwrap();
        world.projects.remove(unrun).project.id
    };
    sim.export(dir.path(), &["--fixed-time", "2026-11-03T06:00:00Z"], 0);
    let second = emitted(dir.path(), &nightly);
    // Those whose project the second crawl asked for its runs.
    let began = ask(dir.path(), "SELECT run_id FROM runs WHERE start_time IS NOT NULL");
    let began: BTreeSet<String> = began.iter().map(|row| row[0].as_str().unwrap().to_owned()).collect();
    let expected: BTreeSet<String> = began.intersection(&pending).cloned().collect();
    assert!(!expected.is_empty());
    assert_eq!(starts(&second).intersection(&pending).cloned().collect::<BTreeSet<_>>(), expected);
    let dropped: Vec<String> = of_kind(&second, "DatasetEvent")
        .iter()
        .filter(|e| e["dataset"]["facets"]["lifecycleStateChange"]["lifecycleStateChange"] == "DROP")
        .map(|e| e["dataset"]["name"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(dropped, [gone]);
    let lines: Vec<String> = second.iter().map(Value::to_string).collect();
    assert_eq!(script("openlineage_types.py", &(lines.join("\n") + "\n")), Value::from(lines.len()));
}

#[test]
fn what_a_server_does_not_accept_is_not_remembered_as_told() {
    let dir = tempfile::tempdir().unwrap();
    let sim = Sim::of_projects(3);
    sim.export(dir.path(), &NIGHT, 0);
    let answer = Arc::new(Mutex::new(StatusCode::OK));
    let taken = Arc::new(Mutex::new(0_usize));
    let url = sim.block_on({
        let (answer, taken) = (answer.clone(), taken.clone());
        async move {
            let take = move || async move {
                let status = *answer.lock().unwrap();
                *taken.lock().unwrap() += usize::from(status == StatusCode::OK);
                (status, [("retry-after", "0")], "said why")
            };
            let router = axum::Router::new().route("/api/v1/lineage", axum::routing::post(take));
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
            let url = format!("http://{}", listener.local_addr().unwrap());
            tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
            url
        }
    });
    let lake = dir.path().to_str().unwrap();
    let tell = |url: &str, code: i32| stderr(&run(&mut hexport(&["openlineage", lake, "--url", url]), code));
    for (status, code) in [(400, 6), (413, 6), (429, 6), (500, 6), (401, 3)] {
        *answer.lock().unwrap() = StatusCode::from_u16(status).unwrap();
        let said = tell(&url, code);
        assert!(said.contains(&status.to_string()) && said.contains("said why"), "{said}");
        assert!(said.contains("sends what wasn't delivered"), "{said}");
    }
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    assert!(tell(&format!("http://{nobody}"), 6).contains("can't be reached"));
    *answer.lock().unwrap() = StatusCode::OK;
    tell(&url, 0);
    let everything = emitted(dir.path(), &[]).len();
    assert_eq!(*taken.lock().unwrap(), everything);
    tell(&url, 0);
    assert_eq!(*taken.lock().unwrap(), everything, "nothing was new");
}
