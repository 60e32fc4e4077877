//! A simulator, the binary, DuckDB, and the truth.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use hexport::client::projects::Project;
use hexport::sim::{ProjectRecord, SimConfig, SimServer, World, WorldConfig};
use serde_json::{Value, json};
use sha2::Digest;

/// The token of every test; no output and no file may hold it.
pub const SECRET: &str = "hxtp_5ecretNeverShown7f3a";

/// A simulator with a runtime of its own.
pub struct Sim {
    pub server: SimServer,
    runtime: tokio::runtime::Runtime,
}

impl Sim {
    pub fn start(config: SimConfig) -> Self {
        Self::start_at(config, ([127, 0, 0, 1], 0).into())
    }

    pub fn start_at(config: SimConfig, address: SocketAddr) -> Self {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let server = runtime.block_on(SimServer::start(config, address)).unwrap();
        Self { server, runtime }
    }

    pub fn of_projects(projects: usize) -> Self {
        Self::start(SimConfig { world: world_of(projects), ..SimConfig::default() })
    }

    pub fn block_on<T>(&self, future: impl Future<Output = T>) -> T {
        self.runtime.block_on(future)
    }

    /// The binary, pointed at this simulator, at no limit of its own.
    pub fn hexport(&self, args: &[&str]) -> Command {
        let mut command = hexport(args);
        command
            .env("HEX_API_URL", self.server.url())
            .env("HEX_API_TOKEN", SECRET)
            .env("HEXPORT_RATE", "unlimited");
        command
    }

    /// Exports, expects an exit code, and gives the summary (of a committed snapshot).
    pub fn export(&self, dest: &Path, more: &[&str], code: i32) -> Value {
        let mut args = vec!["export", dest.to_str().unwrap(), "--output", "json"];
        args.extend(more);
        let out = run(&mut self.hexport(&args), code);
        serde_json::from_slice(&out.stdout).unwrap_or(Value::Null)
    }
}

pub fn world_of(projects: usize) -> WorldConfig {
    WorldConfig { projects, ..WorldConfig::default() }
}

/// A server before the simulator that changes its answers: `change` is given the path with its query, and the
/// body. Gives its address.
pub async fn changing_answers(upstream: String, change: fn(&str, &mut Value)) -> String {
    use axum::body::Body;
    use axum::extract::Request;
    let http = http();
    let handler = move |request: Request| {
        let (http, upstream) = (http.clone(), upstream.clone());
        async move {
            let target = request.uri().path_and_query().unwrap().to_string();
            let asked = http.request(request.method().clone(), format!("{upstream}{target}"));
            let kind = request.headers().get("content-type").cloned();
            let sent = axum::body::to_bytes(request.into_body(), 1 << 20).await.unwrap();
            let asked = match kind {
                Some(kind) => asked.header("content-type", kind).body(sent),
                None => asked,
            };
            let answer = asked.bearer_auth(SECRET).send().await.unwrap();
            let status = answer.status().as_u16();
            let mut body: Value = answer.json().await.unwrap();
            change(&target, &mut body);
            axum::http::Response::builder().status(status).body(Body::from(body.to_string())).unwrap()
        }
    };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, axum::Router::new().fallback(handler)).await.unwrap() });
    url
}

/// An HTTP client that isn't ours.
pub fn http() -> reqwest::Client {
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::new()
}

/// The binary, in an empty environment and folder.
pub fn hexport(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_hexport"));
    let keep =
        ["PATH", "HOME", "TMPDIR"].into_iter().filter_map(|name| Some((name, std::env::var_os(name)?)));
    let kept: Vec<_> = keep.collect();
    command.env_clear().envs(kept).current_dir(std::env::temp_dir()).args(args);
    command
}

/// Runs to the end and expects an exit code.
pub fn run(command: &mut Command, code: i32) -> Output {
    let out = command.stdin(Stdio::null()).output().unwrap();
    assert_no_secret(&out.stdout, "stdout");
    assert_no_secret(&out.stderr, "stderr");
    assert_eq!(
        out.status.code(),
        Some(code),
        "{command:?}\n{}{}",
        String::from_utf8_lossy(&out.stdout),
        String::from_utf8_lossy(&out.stderr)
    );
    out
}

pub fn stderr(out: &Output) -> String {
    String::from_utf8(out.stderr.clone()).unwrap()
}

pub fn stdout(out: &Output) -> String {
    String::from_utf8(out.stdout.clone()).unwrap()
}

pub fn spawn(command: &mut Command) -> Child {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

pub fn assert_no_secret(bytes: &[u8], place: &str) {
    let found = bytes.windows(SECRET.len()).any(|window| window == SECRET.as_bytes());
    assert!(!found, "the token is in {place}: {}", String::from_utf8_lossy(bytes));
}

/// No file below `folder` holds the token, also none that is compressed in the journal.
pub fn assert_no_secret_below(folder: &Path) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            assert_no_secret_below(&path);
            continue;
        }
        assert_no_secret(&std::fs::read(&path).unwrap(), &path.display().to_string());
        if path.extension().is_some_and(|e| e == "hxj") {
            let journal = hexport::journal::Journal::open(&path).unwrap();
            for entry in journal.entries() {
                assert_no_secret(&journal.body(&entry).unwrap(), "a journalled answer");
            }
        }
    }
}

/// Checks that what a reader sees of a lake is whole: each snapshot's files are those of its manifest, and the
/// pointer points at one. Gives the manifest that it points at, if there is a pointer.
pub fn verify(lake: &Path) -> Option<Value> {
    let read = |path: &Path| -> Value { serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap() };
    for entry in std::fs::read_dir(lake).ok()? {
        let folder = entry.unwrap().path();
        if !folder.file_name().unwrap().to_str().unwrap().starts_with("snapshot=") {
            continue;
        }
        let manifest = read(&folder.join("manifest.json"));
        let mut named = vec!["manifest.json".to_owned()];
        for file in
            manifest["tables"].as_object().unwrap().values().flat_map(|t| t["files"].as_array().unwrap())
        {
            let name = file["path"].as_str().unwrap();
            let bytes = std::fs::read(folder.join(name)).unwrap();
            assert_eq!(bytes.len() as u64, file["bytes"].as_u64().unwrap(), "{name}");
            let digest: String = sha2::Sha256::digest(&bytes).iter().map(|b| format!("{b:02x}")).collect();
            assert_eq!(digest, file["sha256"].as_str().unwrap(), "{name}");
            named.push(name.to_owned());
        }
        named.sort();
        let files =
            std::fs::read_dir(&folder).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap());
        let mut there: Vec<String> = files.collect();
        there.sort();
        assert_eq!(there, named);
    }
    let pointer = lake.join("latest.json");
    let latest = pointer.exists().then(|| read(&pointer))?;
    Some(read(&lake.join(latest["manifest"].as_str().unwrap())))
}

/// Folders of a lake's snapshots, in the order of their names.
pub fn snapshots(lake: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(lake).unwrap().map(|entry| entry.unwrap().path());
    let is_snapshot = |path: &PathBuf| path.file_name().unwrap().to_str().unwrap().starts_with("snapshot=");
    let mut folders: Vec<PathBuf> = entries.filter(is_snapshot).collect();
    folders.sort();
    folders
}

fn python() -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let python = root.join(".venv/bin/python");
    assert!(python.exists(), "the tests need DuckDB in .venv: run tests/run, which installs it");
    python
}

/// Runs a script of tests/ in .venv on an input; what it wrote, as JSON.
pub fn script(name: &str, input: &str) -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests").join(name);
    let mut command = Command::new(python());
    command.arg(path).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    // Written beside the reading: a script that ends early says why.
    let mut stdin = child.stdin.take().unwrap();
    let text = input.to_owned();
    let writing = std::thread::spawn(move || drop(stdin.write_all(text.as_bytes())));
    let out = child.wait_with_output().unwrap();
    writing.join().unwrap();
    assert!(out.status.success(), "{name}: {}", String::from_utf8_lossy(&out.stderr));
    serde_json::from_slice(&out.stdout).unwrap()
}

fn duck(asked: &Value) -> Value {
    script("duck.py", &asked.to_string())
}

/// The folder of .venv's commands before those that are there.
pub fn path_with_venv() -> std::ffi::OsString {
    let bin = python().parent().unwrap().to_owned();
    let there = std::env::var_os("PATH").unwrap_or_default();
    std::env::join_paths(std::iter::once(bin).chain(std::env::split_paths(&there))).unwrap()
}

/// The rows of a query over a lake's views.
pub fn ask(lake: &Path, sql: &str) -> Vec<Vec<Value>> {
    let views: &[&str] =
        if sql.contains("_history") { &["views.sql", "history.sql"] } else { &["views.sql"] };
    let asked = json!({"folder": lake, "views": views, "sql": [sql]});
    serde_json::from_value(duck(&asked)[0].clone()).unwrap()
}

/// The one value that a query over a lake's views gives.
pub fn ask_one(lake: &Path, sql: &str) -> Value {
    ask(lake, sql)[0][0].clone()
}

/// Differences between the Parquet and the CSV files of a snapshot.
pub fn csv_differences(snapshot: &Path, tables: &[&str]) -> Vec<String> {
    serde_json::from_value(duck(&json!({"folder": snapshot, "same": tables}))).unwrap()
}

/// Rows of every table of a lake's latest snapshot, counted by DuckDB. Tables of query histories are there once one
/// was imported.
pub fn rows_of_tables(lake: &Path) -> BTreeMap<String, u64> {
    let views = std::fs::read_to_string(lake.join("views.sql")).unwrap();
    let is_there = |name: &&str| views.contains(&format!("VIEW {name} AS"));
    let is_sure = |table: &&hexport::schema::Table| !hexport::registry::is_of_history(table);
    let tables = hexport::registry::all().filter(|table| is_sure(table) || is_there(&table.name));
    let names: Vec<&str> = tables.map(|table| table.name).collect();
    let counts: Vec<String> = names.iter().map(|n| format!("SELECT '{n}', count(*) FROM {n}")).collect();
    let rows = ask(lake, &counts.join(" UNION ALL "));
    rows.into_iter().map(|row| (row[0].as_str().unwrap().to_owned(), row[1].as_u64().unwrap())).collect()
}

/// Rows of the tables that come from the API.
pub fn rows_of_entities(lake: &Path) -> BTreeMap<String, u64> {
    let mut rows = rows_of_tables(lake);
    rows.retain(|name, _| hexport::tables::ENTITIES.iter().any(|table| table.name == name));
    rows
}

/// Rows that a whole export of `world` has, by table of the API.
pub fn true_rows(world: &World) -> BTreeMap<String, u64> {
    let projects = || world.projects.iter().map(|record| &record.project);
    let of_projects = |count: fn(&Project) -> usize| projects().map(count).sum::<usize>();
    let of_records = |count: &dyn Fn(&hexport::sim::ProjectRecord) -> usize| {
        world.projects.iter().map(count).sum::<usize>()
    };
    let sharing = |p: &Project| {
        let s = p.sharing.as_ref().unwrap();
        s.users.len() + s.groups.len() + s.collections.len() + 3
    };
    let collection_grants = |c: &hexport::client::collections::Collection| {
        let s = &c.sharing;
        let workspace = s.workspace.iter().filter(|w| w.members.is_some()).count();
        s.users.as_ref().map_or(0, Vec::len) + s.groups.as_ref().map_or(0, Vec::len) + workspace
    };
    let connection_grants = |c: &hexport::client::connections::DataConnection| {
        let s = c.sharing.as_ref().unwrap();
        let w = s.workspace.as_ref().unwrap();
        let workspace = [&w.public, &w.guests, &w.members].into_iter().filter(|a| a.is_some()).count();
        s.groups.as_ref().map_or(0, Vec::len) + workspace
    };
    let members = (0..world.groups.len()).map(|g| world.group_members(g).len()).sum::<usize>();
    [
        ("projects", world.projects.len()),
        ("project_categories", of_projects(|p| p.categories.len())),
        ("project_schedules", of_projects(|p| p.schedules.len())),
        ("project_sharing", of_projects(sharing)),
        ("users", world.users.len()),
        ("groups", world.groups.len()),
        ("group_members", members),
        ("collections", world.collections.len()),
        ("collection_sharing", world.collections.iter().map(collection_grants).sum()),
        ("data_connections", world.connections.len()),
        ("data_connection_sharing", world.connections.iter().map(connection_grants).sum()),
        ("queried_tables", of_records(&|record| world.queried_tables(record).len())),
        ("runs", of_records(&|record| world.runs(record).len())),
        ("cells", of_records(&|record| world.cells(record).len())),
        ("component_imports", of_records(&|record| imports(world, record))),
        ("threads", world.threads.len()),
        ("topics", world.topics.len()),
        ("draft_guides", world.guides.len()),
    ]
    .into_iter()
    .map(|(name, rows)| (name.to_owned(), rows as u64))
    .collect()
}

/// Cells of a project that import a component.
pub fn imports(world: &World, record: &ProjectRecord) -> usize {
    world.cells(record).iter().filter(|(cell, _)| cell.cell_type == "COMPONENT_IMPORT").count()
}

/// Projects with the components that they import, directly or through others: by walking over the generator's
/// imports again and again until nothing new is reached.
pub fn components_of(world: &World) -> BTreeSet<(String, String)> {
    let of = |record: &ProjectRecord| {
        let imported = world.cells(record).into_iter().filter_map(|(_, truth)| truth.component);
        imported.map(|(component, _)| (record.project.id.to_string(), component)).collect::<Vec<_>>()
    };
    let mut reached: BTreeSet<(String, String)> = world.projects.iter().flat_map(of).collect();
    loop {
        let further: Vec<(String, String)> = reached
            .iter()
            .flat_map(|(project, component)| {
                let imported = reached.iter().filter(move |(importer, _)| importer == component);
                imported.map(|(_, next)| (project.clone(), next.clone()))
            })
            .collect();
        let before = reached.len();
        reached.extend(further);
        if reached.len() == before {
            reached.retain(|(project, component)| project != component);
            return reached;
        }
    }
}

/// Pages of a project's queried tables; none where it is known that there are none: it never ran.
pub fn pages_of_tables(world: &World, record: &ProjectRecord) -> u64 {
    let was_refreshed = record.project.analytics.published_results_updated_at.is_some();
    match world.runs(record).is_empty() && !was_refreshed {
        true => 0,
        false => world.queried_tables(record).len().div_ceil(100).max(1) as u64,
    }
}

/// The least number of requests that a whole export of `world` can do with.
pub fn least_requests(world: &World) -> u64 {
    let pages = |rows: usize, page: usize| rows.div_ceil(page).max(1) as u64;
    let lists = 1
        + pages(world.projects.len(), 100)
        + pages(world.users.len(), 500)
        + pages(world.groups.len(), 500)
        + pages(world.collections.len(), 100)
        + pages(world.connections.len(), 100)
        + pages(world.threads.len(), 100)
        + pages(world.topics.len(), 100)
        + pages(world.guides.len(), 100);
    let members: u64 = (0..world.groups.len()).map(|g| pages(world.group_members(g).len(), 500)).sum();
    let projects: u64 = world
        .projects
        .iter()
        .map(|record| {
            let published = record.project.last_published_at.is_some();
            let of_published = pages(world.runs(record).len(), 100) + pages_of_tables(world, record);
            let of_file = u64::from(imports(world, record) > 0);
            pages(world.cells(record).len(), 100) + of_file + if published { of_published } else { 0 }
        })
        .sum();
    lists + members + projects
}
