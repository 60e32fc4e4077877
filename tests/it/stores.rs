//! Object stores: real servers of S3, Google Cloud Storage and Azure on loopback, and a proxy before S3 that
//! breaks things.

use std::collections::{BTreeMap, BTreeSet};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::Request;
use axum::response::Response;
use serde_json::{Value, json};
use sha2::Digest;

use crate::support::*;

const FIXED: [&str; 2] = ["--fixed-time", "2026-11-02T06:00:00Z"];

/// Azurite's account, which is the same everywhere.
const ACCOUNT: &str = "devstoreaccount1";
const ACCOUNT_KEY: &str =
    "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==";

/// The server looks at who asks, and not at signatures.
const SIGNED: &str =
    "AWS4-HMAC-SHA256 Credential=test/20261102/us-east-1/s3/aws4_request, SignedHeaders=host, Signature=0";

/// A server of an object store, with a bucket named `lake`.
pub struct Store {
    server: Child,
    /// Address of the server.
    at: String,
    scheme: &'static str,
    pub options: Vec<String>,
}

impl Drop for Store {
    fn drop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

fn venv() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(".venv")
}

fn serve(program: &Path, args: &[&str], port: u16) -> Child {
    assert!(program.exists(), "the tests need {}: run tests/run, which installs it", program.display());
    let mut command = Command::new(program);
    command.args(args).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let mut server = command.spawn().unwrap();
    for _ in 0..600 {
        if std::net::TcpStream::connect(("127.0.0.1", port)).is_ok() {
            return server;
        }
        assert!(server.try_wait().unwrap().is_none(), "{} ended", program.display());
        std::thread::sleep(Duration::from_millis(50));
    }
    panic!("{} does not answer", program.display());
}

impl Store {
    pub fn s3(sim: &Sim) -> Self {
        let port = free_port();
        let text = port.to_string();
        let server = serve(&venv().join("bin/moto_server"), &["-H", "127.0.0.1", "-p", &text], port);
        let at = format!("http://127.0.0.1:{port}");
        sim.block_on(async { http().put(format!("{at}/lake")).send().await.unwrap() });
        let store = Self { server, at: at.clone(), scheme: "s3", options: Vec::new() };
        store.reached_at(&at)
    }

    /// The same S3 server, reached at another address.
    fn reached_at(mut self, at: &str) -> Self {
        self.options = s3_options(at);
        self
    }

    fn azure(sim: &Sim) -> Self {
        let port = free_port();
        let text = port.to_string();
        let args = ["--silent", "--inMemoryPersistence", "--skipApiVersionCheck", "--disableTelemetry"];
        let args = [&args[..], &["--blobHost", "127.0.0.1", "--blobPort", &text]].concat();
        let server = serve(&venv().join("node/node_modules/.bin/azurite-blob"), &args, port);
        let at = format!("http://127.0.0.1:{port}/{ACCOUNT}");
        // Making a container takes a signed request.
        let made = script(
            "azure_container.py",
            &json!({"url": at, "account": ACCOUNT, "key": ACCOUNT_KEY}).to_string(),
        );
        assert_eq!(made, json!(201));
        let _ = sim;
        let options = [
            format!("azure_storage_account_name={ACCOUNT}"),
            format!("azure_storage_account_key={ACCOUNT_KEY}"),
            format!("azure_endpoint={at}"),
            "azure_allow_http=true".into(),
        ];
        Self { server, at, scheme: "az", options: options.to_vec() }
    }

    /// The server speaks Google's JSON API, and its XML API in part: what it lacks is put into JSON calls.
    fn gcs(sim: &Sim) -> Self {
        let port = free_port();
        let text = port.to_string();
        let found = Command::new("find")
            .arg("-L")
            .arg(venv())
            .args(["-name", "fake-gcs-server-linux-*"])
            .output()
            .unwrap();
        let program = PathBuf::from(
            String::from_utf8(found.stdout).unwrap().lines().next().unwrap_or("fake-gcs-server"),
        );
        let args = ["-backend", "memory", "-scheme", "http", "-host", "127.0.0.1", "-port", &text];
        let public = format!("127.0.0.1:{port}");
        let args = [&args[..], &["-public-host", &public]].concat();
        let server = serve(&program, &args, port);
        let at = format!("http://127.0.0.1:{port}");
        let bucket = format!("{at}/storage/v1/b?project=p");
        sim.block_on(async { http().post(bucket).json(&json!({"name": "lake"})).send().await.unwrap() });
        let base = sim.block_on(xml_as_json(at.clone()));
        let key = json!({"gcs_base_url": base, "disable_oauth": true, "client_email": "", "private_key": "",
                         "private_key_id": ""});
        let options = [format!("google_service_account_key={key}"), "allow_http=true".into()];
        Self { server, at, scheme: "gs", options: options.to_vec() }
    }

    pub fn dest(&self, folder: &str) -> String {
        format!("{}://lake/{folder}", self.scheme)
    }

    /// A command on a destination in the store.
    pub fn command(&self, sim: &Sim, state: &Path, args: &[&str]) -> Command {
        let mut command = sim.hexport(args);
        command.env("HEXPORT_STATE_DIR", state);
        command
            .env("AWS_ACCESS_KEY_ID", "test")
            .env("AWS_SECRET_ACCESS_KEY", "test")
            .env("AWS_REGION", "us-east-1");
        for option in &self.options {
            command.args(["--option", option]);
        }
        command
    }

    pub fn run(&self, sim: &Sim, state: &Path, args: &[&str], code: i32) -> std::process::Output {
        run(&mut self.command(sim, state, args), code)
    }

    pub fn json(&self, sim: &Sim, state: &Path, args: &[&str]) -> Value {
        serde_json::from_slice(&self.run(sim, state, args, 0).stdout).unwrap()
    }
}

fn s3_options(at: &str) -> Vec<String> {
    vec![format!("aws_endpoint={at}"), "aws_allow_http=true".into()]
}

/// Puts the parts of Google's XML API that the server lacks into calls of its JSON API.
async fn xml_as_json(upstream: String) -> String {
    let client = http();
    let handler = move |request: Request| {
        let (client, upstream) = (client.clone(), upstream.clone());
        async move {
            let (parts, body) = request.into_parts();
            let body = axum::body::to_bytes(body, usize::MAX).await.unwrap();
            let path = parts.uri.path().trim_start_matches("/lake/").to_owned();
            // The path is encoded; in the JSON API its slashes are too.
            let object = path.replace('/', "%2F");
            let matches =
                parts.headers.get("x-goog-if-generation-match").map(|v| v.to_str().unwrap().to_owned());
            let condition = matches.map(|g| format!("&ifGenerationMatch={g}")).unwrap_or_default();
            let source = parts.headers.get("x-goog-copy-source").map(|v| v.to_str().unwrap().to_owned());
            let call = match parts.method.as_str() {
                "PUT" if source.is_some() => {
                    let from = source.unwrap();
                    let from = from.trim_start_matches("lake/").replace('/', "%2F");
                    client.post(format!("{upstream}/storage/v1/b/lake/o/{from}/copyTo/b/lake/o/{object}"))
                }
                "PUT" => client.post(format!(
                    "{upstream}/upload/storage/v1/b/lake/o?uploadType=media&name={object}{condition}"
                )),
                "DELETE" => client.delete(format!("{upstream}/storage/v1/b/lake/o/{object}")),
                _ => client.get(format!("{upstream}{}", parts.uri)),
            };
            let answer = call.body(body).send().await.unwrap();
            let mut response = Response::builder().status(answer.status().as_u16());
            for name in ["etag", "last-modified", "content-type", "x-goog-generation"] {
                if let Some(value) = answer.headers().get(name) {
                    response = response.header(name, value.as_bytes());
                }
            }
            let body = answer.bytes().await.unwrap();
            if parts.method == "PUT"
                && let Ok(told) = serde_json::from_slice::<Value>(&body)
            {
                if let Some(generation) = told["generation"].as_str() {
                    response = response.header("x-goog-generation", generation);
                }
                response = response.header("etag", told["etag"].as_str().unwrap_or("x"));
            }
            response.body(Body::from(body)).unwrap()
        }
    };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, axum::Router::new().fallback(handler)).await.unwrap() });
    url
}

/// What the proxy does with a request.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Act {
    Pass,
    /// An error of the server, which does nothing.
    Refuse,
    /// The connection breaks before the server hears of it.
    Reset,
    /// The server does it, and nobody hears of that.
    LoseAnswer,
    Slow,
    /// The export is killed, and the server does not hear of the request.
    KillBefore,
    /// The export is killed when the server has done it.
    KillAfter,
}

type Plan = dyn Fn(usize, &str, &str) -> Act + Send + Sync;

/// A proxy before an S3 server.
struct Proxy {
    url: String,
    seen: Arc<AtomicUsize>,
    plan: Arc<Mutex<Arc<Plan>>>,
    /// The process that may be killed.
    victim: Arc<AtomicU32>,
}

impl Proxy {
    async fn start(upstream: String) -> Self {
        let pass: Arc<Plan> = Arc::new(|_, _, _| Act::Pass);
        let (seen, plan, victim) =
            (Arc::new(AtomicUsize::new(0)), Arc::new(Mutex::new(pass)), Arc::new(AtomicU32::new(0)));
        let client = http();
        let state = (seen.clone(), plan.clone(), victim.clone());
        let handler = move |request: Request| {
            let ((seen, plan, victim), client, upstream) = (state.clone(), client.clone(), upstream.clone());
            async move {
                let (parts, body) = request.into_parts();
                let number = seen.fetch_add(1, Ordering::SeqCst);
                let plan = plan.lock().unwrap().clone();
                let act = plan(number, parts.method.as_str(), parts.uri.path());
                let body = axum::body::to_bytes(body, usize::MAX).await.unwrap();
                let kill = || {
                    let pid = victim.load(Ordering::SeqCst);
                    assert_ne!(pid, 0);
                    Command::new("kill").args(["-9", &pid.to_string()]).status().unwrap();
                };
                // A connection whose task ends by unwinding is closed without an answer.
                let hang_up = || -> Response { std::panic::resume_unwind(Box::new(())) };
                match act {
                    Act::Refuse => {
                        return Response::builder().status(503).body(Body::from("<Error/>")).unwrap();
                    }
                    Act::Reset => return hang_up(),
                    Act::KillBefore => {
                        kill();
                        return hang_up();
                    }
                    Act::Slow => tokio::time::sleep(Duration::from_millis(300)).await,
                    Act::Pass | Act::LoseAnswer | Act::KillAfter => {}
                }
                let answer = forward(&client, &upstream, &parts, body).await;
                match act {
                    Act::LoseAnswer => hang_up(),
                    Act::KillAfter => {
                        kill();
                        hang_up()
                    }
                    _ => answer,
                }
            }
        };
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(
            async move { axum::serve(listener, axum::Router::new().fallback(handler)).await.unwrap() },
        );
        Self { url, seen, plan, victim }
    }

    fn plan(&self, plan: impl Fn(usize, &str, &str) -> Act + Send + Sync + 'static) {
        *self.plan.lock().unwrap() = Arc::new(plan);
        self.seen.store(0, Ordering::SeqCst);
    }
}

async fn forward(
    client: &reqwest::Client,
    upstream: &str,
    parts: &axum::http::request::Parts,
    body: Bytes,
) -> Response {
    let method = reqwest::Method::from_bytes(parts.method.as_str().as_bytes()).unwrap();
    let mut call = client.request(method, format!("{upstream}{}", parts.uri)).body(body);
    for (name, value) in
        parts.headers.iter().filter(|(name, _)| !["host", "content-length"].contains(&name.as_str()))
    {
        call = call.header(name.as_str(), value.as_bytes());
    }
    let answer = call.send().await.unwrap();
    let mut response = Response::builder().status(answer.status().as_u16());
    for (name, value) in answer.headers() {
        if !["transfer-encoding", "connection", "date", "server"].contains(&name.as_str()) {
            response = response.header(name.as_str(), value.as_bytes());
        }
    }
    response.body(Body::from(answer.bytes().await.unwrap())).unwrap()
}

/// What a reader of a bucket sees.
fn objects(sim: &Sim, at: &str, folder: &str) -> BTreeMap<String, Vec<u8>> {
    sim.block_on(async {
        let client = http();
        let list = client.get(format!("{at}/lake?list-type=2&prefix={folder}/")).send().await.unwrap();
        let list = list.text().await.unwrap();
        let mut found = BTreeMap::new();
        for key in list.split("<Key>").skip(1).map(|rest| rest.split("</Key>").next().unwrap()) {
            let body = client
                .get(format!("{at}/lake/{key}"))
                .header("authorization", SIGNED)
                .send()
                .await
                .unwrap()
                .bytes()
                .await
                .unwrap();
            found.insert(key[folder.len() + 1..].to_owned(), body.to_vec());
        }
        found
    })
}

/// Checks that whoever follows the pointer or the manifests sees whole snapshots; gives them.
fn whole_snapshots(objects: &BTreeMap<String, Vec<u8>>) -> BTreeSet<String> {
    let mut snapshots = BTreeSet::new();
    for (name, text) in objects.iter().filter(|(name, _)| name.ends_with("/manifest.json")) {
        let manifest: Value = serde_json::from_slice(text).unwrap();
        let folder = name.strip_suffix("/manifest.json").unwrap();
        for file in
            manifest["tables"].as_object().unwrap().values().flat_map(|t| t["files"].as_array().unwrap())
        {
            let name = format!("{folder}/{}", file["path"].as_str().unwrap());
            let bytes = objects.get(&name).unwrap_or_else(|| panic!("{name} is missing"));
            let digest: String = sha2::Sha256::digest(bytes).iter().map(|b| format!("{b:02x}")).collect();
            assert_eq!(digest, file["sha256"].as_str().unwrap(), "{name}");
        }
        snapshots.insert(folder.strip_prefix("snapshot=").unwrap().to_owned());
    }
    if let Some(pointer) = objects.get("latest.json") {
        let pointer: Value = serde_json::from_slice(pointer).unwrap();
        assert!(snapshots.contains(pointer["snapshot_id"].as_str().unwrap()), "{pointer}");
    }
    snapshots
}

/// Nothing is left of an upload that did not end.
fn assert_tidy(objects: &BTreeMap<String, Vec<u8>>) {
    let snapshots = whole_snapshots(objects);
    for name in objects.keys() {
        assert!(!name.starts_with("_staging"), "{name} is left");
        if let Some(rest) = name.strip_prefix("snapshot=") {
            assert!(snapshots.contains(rest.split('/').next().unwrap()), "{name} is left");
        }
    }
}

#[test]
fn every_store_holds_what_a_local_lake_holds() {
    let dir = tempfile::tempdir().unwrap();
    let sim = Sim::of_projects(30);
    let local = dir.path().join("local");
    sim.export(&local, &FIXED, 0);
    let expected = verify(&local).unwrap();
    let local_arg = local.to_str().unwrap();
    let audit = |out: Vec<u8>| -> Value { serde_json::from_slice(&out).unwrap() };
    let findings = audit(run(&mut hexport(&["audit", local_arg, "--output", "json"]), 0).stdout);
    for store in [Store::s3(&sim), Store::azure(&sim), Store::gcs(&sim)] {
        let (dest, state) = (store.dest("hex/night"), dir.path().join(format!("state-{}", store.scheme)));
        let run = |args: &[&str], code: i32| store.run(&sim, &state, args, code);
        let json = |args: &[&str]| store.json(&sim, &state, args);
        let first = json(&["export", &dest, "--output", "json", FIXED[0], FIXED[1]]);
        assert!(first["path"].as_str().unwrap().starts_with(&dest), "{first}");
        let manifest = json(&["snapshots", "show", &dest]);
        assert_eq!(manifest["tables"], expected["tables"], "{}", store.scheme);
        assert_eq!(audit(run(&["audit", &dest, "--output", "json"], 0).stdout), findings);
        assert!(
            stdout(&run(&["report", &dest, "-o", dir.path().join("r.html").to_str().unwrap()], 0))
                .contains("r.html")
        );
        // The next night compares with what the store has, also on a machine that knows nothing of it.
        let elsewhere = dir.path().join(format!("elsewhere-{}", store.scheme));
        let args =
            ["export", &dest, "--output", "json", "--keep-journal", "--fixed-time", "2026-11-03T06:00:00Z"];
        let second = store.json(&sim, &elsewhere, &args);
        assert_eq!(second["base_snapshot"], "2026-11-02T060000Z");
        assert!(second["requests_sent"].as_u64() < first["requests_sent"].as_u64());
        assert!(second["journal"].as_str().unwrap().starts_with(&dest));
        assert_eq!(json(&["snapshots", "list", &dest, "--output", "json"]).as_array().unwrap().len(), 2);
        run(&["snapshots", "verify", &dest], 0);
        assert!(json(&["diff", &dest, "--output", "json"]).is_object());
        // A machine that has nothing of the journal keeps what it builds on.
        let bare = dir.path().join(format!("bare-{}", store.scheme));
        let prune = ["snapshots", "prune", &dest, "--keep-last", "1", "--output", "json"];
        let kept = store.json(&sim, &bare, &prune);
        assert!(kept["kept"][0]["reasons"].to_string().contains("kept journal"), "{kept}");
        // The journal is there for every machine; what is committed is not replaced.
        let rebuilt = stderr(&run(&["rebuild", &dest], 6));
        assert!(rebuilt.contains("never replaced"), "{rebuilt}");
        // The kept journal builds on the first night; pruned with its snapshot, it keeps nothing.
        let kept = json(&["snapshots", "prune", &dest, "--keep-last", "1", "--output", "json"]);
        assert!(kept["kept"][0]["reasons"].to_string().contains("kept journal"), "{kept}");
        json(&["export", &dest, "--output", "json", "--fixed-time", "2026-11-04T06:00:00Z"]);
        run(&["snapshots", "prune", &dest, "--keep-last", "1"], 0);
        let left = json(&["snapshots", "list", &dest, "--output", "json"]);
        assert_eq!(left[0]["snapshot_id"], "2026-11-04T060000Z");
        assert_eq!(left.as_array().unwrap().len(), 1);
        // Nothing of the token, and nothing of the keys, is kept.
        assert_no_secret_below(&state);
    }
}

#[test]
fn an_import_into_a_store_is_what_an_import_into_a_folder_is() {
    let dir = tempfile::tempdir().unwrap();
    let sim = Sim::of_projects(20);
    let local = dir.path().join("local");
    sim.export(&local, &FIXED, 0);
    let history = dir.path().join("history.csv");
    let queries = sim.server.world().query_history(0);
    let form = hexport::sim::history::Form::Csv;
    std::fs::write(&history, hexport::sim::history::render("snowflake", &queries, form)).unwrap();
    let later = ["--warehouse", "snowflake", "--output", "json", "--fixed-time", "2026-11-02T07:00:00Z"];
    let import = |dest: &str| {
        let mut args =
            vec!["import".to_owned(), "query-history".into(), dest.into(), history.display().to_string()];
        args.extend(later.map(String::from));
        args
    };
    let args = import(local.to_str().unwrap());
    run(&mut hexport(&args.iter().map(String::as_str).collect::<Vec<_>>()), 0);
    let expected = verify(&local).unwrap();
    let (store, state) = (Store::s3(&sim), dir.path().join("state"));
    let dest = store.dest("hex/import");
    store.run(&sim, &state, &["export", &dest, FIXED[0], FIXED[1]], 0);
    let args = import(&dest);
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let said = store.json(&sim, &state, &args);
    assert!(said["imported"].as_u64() > Some(20), "{said}");
    let manifest = store.json(&sim, &state, &["snapshots", "show", &dest]);
    assert_eq!(manifest["tables"], expected["tables"]);
    // What is imported again is there already, also for a machine that knows nothing of it.
    let again = store.json(&sim, &dir.path().join("elsewhere"), &args);
    assert_eq!((&again["imported"], &again["snapshot_id"]), (&json!(0), &Value::Null), "{again}");
    let cost = |out: std::process::Output| -> Value { serde_json::from_slice(&out.stdout).unwrap() };
    let here = cost(run(&mut hexport(&["cost", local.to_str().unwrap(), "--output", "json"]), 0));
    let there = cost(store.run(&sim, &state, &["cost", &dest, "--output", "json"], 0));
    assert_eq!(here, there);
    store.run(&sim, &state, &["snapshots", "verify", &dest], 0);
    assert_no_secret_below(&state);
}

/// The store of a destination, as a program that uses the library has it.
pub fn store_at(url: &str, options: &[String]) -> hexport::store::Cloud {
    let mut options: Vec<(String, String)> = options
        .iter()
        .map(|option| option.split_once('=').unwrap())
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect();
    if url.starts_with("s3:") {
        let keys =
            [("aws_access_key_id", "test"), ("aws_secret_access_key", "test"), ("aws_region", "us-east-1")];
        options.extend(keys.map(|(name, value)| (name.to_owned(), value.to_owned())));
    }
    hexport::store::Cloud::connect(url, &options).unwrap()
}

#[test]
fn real_servers_pass_the_suite_that_every_store_passes() {
    let sim = Sim::of_projects(1);
    for store in [Store::s3(&sim), Store::azure(&sim), Store::gcs(&sim)] {
        // No character of a place that a person chose means anything.
        for folder in ["suite", "a b/status=prod/100%20#x"] {
            if store.scheme == "gs" && folder.contains('%') {
                continue; // The converter before this server decodes names.
            }
            let connected = store_at(&store.dest(folder), &store.options);
            match store.scheme {
                // This server knows no uploads in parts.
                "gs" => hexport::store::suite::conforms_in_one_piece(&connected),
                _ => hexport::store::suite::conforms(&connected),
            }
            // The server of Google's API takes conditions and ignores them, which is found out and said.
            let remarks = hexport::store::Store::remarks(&connected);
            assert_eq!(remarks.is_empty(), store.scheme != "gs", "{}: {remarks:?}", store.scheme);
        }
    }
}

#[test]
fn damage_and_strangers_are_noticed() {
    let dir = tempfile::tempdir().unwrap();
    let sim = Sim::of_projects(5);
    let store = Store::s3(&sim);
    let (dest, state) = (store.dest("hex"), dir.path().join("state"));
    store.run(&sim, &state, &["export", &dest, FIXED[0], FIXED[1]], 0);
    let put = |name: &str, body: &str| {
        let call = http()
            .put(format!("{}/lake/{name}", store.at))
            .header("authorization", SIGNED)
            .body(body.to_owned());
        sim.block_on(async { assert!(call.send().await.unwrap().status().is_success()) });
    };
    put("hex/snapshot=2026-11-02T060000Z/users.parquet", "no parquet");
    let out = store.run(&sim, &state, &["snapshots", "verify", &dest], 6);
    assert!(stdout(&out).contains("users.parquet: has"), "{}", stdout(&out));
    // Where it is not in the cache, what is read is compared too.
    let out = store.run(&sim, &dir.path().join("other"), &["audit", &dest], 6);
    assert!(stderr(&out).contains("SHA-256"), "{}", stderr(&out));
    put("thesis/chapter1.doc", "x");
    let out = store.run(&sim, &state, &["export", &store.dest("thesis")], 6);
    assert!(stderr(&out).contains("chapter1.doc"), "{}", stderr(&out));
    for (args, said) in [
        (vec!["export", "s3://nowhere/hex"], "nowhere"),
        (vec!["export", "ftp://lake/hex"], "can't use"),
        (vec!["export", "s3://lake/hex", "--option", "colour=red"], "colour"),
        (vec!["export", "s3://lake/hex", "--option", "aws_region"], "KEY=VALUE"),
    ] {
        let out = store.command(&sim, &state, &args).stdin(Stdio::null()).output().unwrap();
        assert!([Some(2), Some(6)].contains(&out.status.code()), "{args:?}: {}", stderr(&out));
        assert!(stderr(&out).contains(said), "{args:?}: {}", stderr(&out));
    }
}

#[test]
fn a_store_that_fails_resets_dawdles_and_forgets_to_answer_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let sim = Sim::of_projects(10);
    let calm = Store::s3(&sim);
    let proxy = sim.block_on(Proxy::start(calm.at.clone()));
    let at = calm.at.clone();
    let store = calm.reached_at(&proxy.url);
    let dest = store.dest("hex");
    proxy.plan(|number, _, _| match number % 7 {
        1 => Act::Refuse,
        3 => Act::Reset,
        4 => Act::LoseAnswer,
        5 => Act::Slow,
        _ => Act::Pass,
    });
    let state = dir.path().join("state");
    let summary = store.json(&sim, &state, &["export", &dest, "--output", "json", FIXED[0], FIXED[1]]);
    assert_eq!(summary["complete"], true);
    // Above all where it counts: at the manifest.
    proxy.plan(|_, method, path| match method == "PUT" && path.ends_with("manifest.json") {
        true => Act::LoseAnswer,
        false => Act::Pass,
    });
    let lost = Arc::new(AtomicUsize::new(0));
    let count = lost.clone();
    proxy.plan(move |_, method, path| {
        let is_manifest = method == "PUT" && path.ends_with("manifest.json");
        if is_manifest && count.fetch_add(1, Ordering::SeqCst) < 20 { Act::LoseAnswer } else { Act::Pass }
    });
    let args = ["export", &dest, "--output", "json", "--fixed-time", "2026-11-03T06:00:00Z"];
    store.json(&sim, &state, &args);
    assert!(lost.load(Ordering::SeqCst) > 0);
    let objects = objects(&sim, &at, "hex");
    assert_tidy(&objects);
    assert_eq!(whole_snapshots(&objects).len(), 2);
    let pointer: Value = serde_json::from_slice(&objects["latest.json"]).unwrap();
    assert_eq!(pointer["snapshot_id"], "2026-11-03T060000Z");
}

#[test]
fn an_export_killed_at_any_request_to_the_store_leaves_whole_snapshots_and_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let sim = Sim::of_projects(3);
    let calm = Store::s3(&sim);
    let proxy = sim.block_on(Proxy::start(calm.at.clone()));
    let at = calm.at.clone();
    let store = calm.reached_at(&proxy.url);
    let export = |folder: &str, state: &Path| {
        store.command(
            &sim,
            state,
            &["export", &store.dest(folder), "--tables", "users,topics", FIXED[0], FIXED[1]],
        )
    };
    proxy.plan(|_, _, _| Act::Pass);
    run(&mut export("calm", &dir.path().join("calm")), 0);
    let requests = proxy.seen.load(Ordering::SeqCst);
    assert!(requests > 12, "{requests}");
    for target in 0..requests {
        for act in [Act::KillBefore, Act::KillAfter] {
            let folder = format!("{act:?}-{target}");
            let state = dir.path().join(&folder);
            proxy.plan(move |number, _, _| if number == target { act } else { Act::Pass });
            proxy.victim.store(0, Ordering::SeqCst);
            let mut child = spawn(&mut export(&folder, &state));
            proxy.victim.store(child.id(), Ordering::SeqCst);
            let ended = child.wait().unwrap();
            assert!(
                ended.code().is_none(),
                "request {target} came, and the export was not killed: {ended:?}"
            );
            let before = whole_snapshots(&objects(&sim, &at, &folder));
            proxy.plan(|_, _, _| Act::Pass);
            sim.server.clear_requests();
            run(&mut export(&folder, &state), 0);
            let objects = objects(&sim, &at, &folder);
            assert_tidy(&objects);
            let after = whole_snapshots(&objects);
            assert!(after.is_superset(&before) && !after.is_empty());
            assert!(objects.contains_key("latest.json") && objects.contains_key("views.sql"));
        }
    }
}

#[test]
fn racing_exports_never_write_to_the_same_snapshot() {
    let dir = tempfile::tempdir().unwrap();
    let sim = Sim::of_projects(8);
    let calm = Store::s3(&sim);
    let at = calm.at.clone();
    let proxy = sim.block_on(Proxy::start(at.clone()));
    // Slow where they write, so that they are at it together.
    proxy.plan(|_, method, _| if method == "PUT" { Act::Slow } else { Act::Pass });
    let store = calm.reached_at(&proxy.url);
    let dest = store.dest("hex");
    let export = |state: &str| {
        store.command(
            &sim,
            &dir.path().join(state),
            &["export", &dest, "--tables", "users,topics", FIXED[0], FIXED[1]],
        )
    };
    let racers: Vec<Child> = ["a", "b", "c"].iter().map(|state| spawn(&mut export(state))).collect();
    for racer in racers {
        let out = racer.wait_with_output().unwrap();
        assert_eq!(out.status.code(), Some(0), "{}", stderr(&out));
    }
    let found = objects(&sim, &at, "hex");
    assert_tidy(&found);
    let snapshots = whole_snapshots(&found);
    assert_eq!(snapshots.len(), 3, "{snapshots:?}");
    let pointer: Value = serde_json::from_slice(&found["latest.json"]).unwrap();
    assert_eq!(pointer["snapshot_id"].as_str(), snapshots.last().map(String::as_str));
    // On one machine the second is told.
    let mut first = spawn(&mut export("same"));
    let folder = dir.path().join("same");
    let is_locked = || {
        let entries = std::fs::read_dir(&folder).into_iter().flatten();
        entries.flatten().any(|lake| lake.path().join(".hexport.lock").exists())
    };
    while !is_locked() {
        std::thread::sleep(Duration::from_millis(5));
    }
    let out = run(&mut export("same"), 6);
    assert!(stderr(&out).contains("another export"), "{}", stderr(&out));
    assert!(first.wait().unwrap().success());
}

#[test]
fn a_person_is_forgotten_in_a_bucket() {
    let dir = tempfile::tempdir().unwrap();
    let sim = Sim::of_projects(2);
    let store = Store::s3(&sim);
    let (dest, state) = (store.dest("hex"), dir.path().join("state"));
    let address = sim.server.world().projects[0].project.owner.email.clone();
    let keyed = |args: &[&str], code: i32| {
        let mut command = store.command(&sim, &state, args);
        run(command.env("HEXPORT_PSEUDONYM_KEY", "a key of tests, and no secret"), code)
    };
    let export = ["export", &dest, "--tables", "projects,users", "--format", "delta", "--keep-journal"];
    let night = |at: &str, code| keyed(&[&export[..], &["--fixed-time", at]].concat(), code);
    let verify = |code| stdout(&keyed(&["snapshots", "verify", &dest, "--forgotten", &address], code));
    night("2026-11-02T06:00:00Z", 0);
    let found = verify(6);
    for part in ["snapshot=", "delta/projects", "_journal/", "/cache/"] {
        assert!(found.contains(part), "{part}: {found}");
    }
    let said = keyed(&["forget", &dest, &address, "--output", "json"], 0);
    let said: Value = serde_json::from_slice(&said.stdout).unwrap();
    assert_eq!(said["left"], json!([]), "{said}");
    verify(0);
    store.run(&sim, &state, &["snapshots", "verify", &dest], 0);
    // Killed after the new files were all there: the next export puts them in their places.
    let cloud = store_at(&dest, &store.options);
    use hexport::store::Store as _;
    let folder = "snapshot=2026-11-02T060000Z";
    for name in ["projects.parquet", "users.parquet", "manifest.json"] {
        let bytes = cloud.get(&format!("{folder}/{name}")).unwrap().unwrap();
        cloud.put(&format!("_state/forget/2026-11-02T060000Z/{name}"), &bytes).unwrap();
    }
    cloud.put(&format!("{folder}/projects.parquet"), b"half").unwrap();
    let elsewhere = dir.path().join("elsewhere");
    let mut command =
        store.command(&sim, &elsewhere, &[&export[..6], &["--fixed-time", "2026-11-03T06:00:00Z"]].concat());
    run(command.env("HEXPORT_PSEUDONYM_KEY", "a key of tests, and no secret"), 0);
    store.run(&sim, &state, &["snapshots", "verify", &dest], 0);
    verify(0);
    let entries = store.json(&sim, &state, &["snapshots", "show", &dest, "2026-11-02T060000Z"]);
    assert_eq!(entries["forgotten"].as_array().unwrap().len(), 1, "{entries}");
}
