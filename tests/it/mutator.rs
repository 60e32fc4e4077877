//! The response mutator: every field of every answer, made wrong in every way of a table, one at a time. Whatever a
//! server says, nothing panics, everything else is committed, and what was touched is kept or named.
//!
//! A fraction of the cases runs by default; `HEXPORT_MUTATIONS=all` runs all, each with all tables.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::Response;
use chrono::{DateTime, Utc};
use futures::FutureExt;
use hexport::client::operation::{self, Operation};
use hexport::client::{BaseUrl, Client, ClientConfig, Pace, RetryPolicy, Token};
use hexport::crawl::{Quiet, Source, Stop};
use hexport::export::{self, Options, Outcome, choose, export};
use hexport::schema::{Context, RowMapper, Table, batch_of};
use hexport::sim::{ProjectRecord, SimConfig, World, WorldConfig};
use hexport::snapshot::{Lake, Manifest, TableReader};
use hexport::tables::ENTITIES;
use serde_json::Value;

use crate::support::*;

/// Stands for the wrong thing in a text until it is put in.
const HERE: &str = "@@HERE@@";

/// What takes a field's place: a name, and JSON or what a server sends for it.
const WRONG: &[(&str, &str)] = &[
    ("absent", ""),
    ("null", "null"),
    ("true", "true"),
    ("zero", "0"),
    ("negative", "-1"),
    ("fraction", "12.5"),
    ("whole fraction", "12.0"),
    ("beyond 2^53", "9007199254740993"),
    ("beyond 2^64", "18446744073709551616"),
    ("forty digits", "-1234567890123456789012345678901234567890"),
    ("beyond floating point", "1e999"),
    ("NaN", "NaN"),
    ("minus infinity", "-Infinity"),
    ("empty text", "\"\""),
    ("text", "\"wrong thing\""),
    ("number as text", "\"12\""),
    ("lone surrogate", "\"Revenue \\ud83d\""),
    ("control characters", "\"a\\u0000\\u001b[31m\\u202eb\""),
    ("raw control characters", "\"a\u{1}\tb\nc\""),
    ("unknown escape", "\"\\x41\""),
    ("year 1", "\"0001-01-01T00:00:00Z\""),
    ("year 0", "\"0000-01-01T00:00:00Z\""),
    ("year 9999", "\"9999-12-31T23:59:59.999Z\""),
    ("nanoseconds", "\"2026-11-01T02:03:04.123456789Z\""),
    ("nanoseconds since 1970", "1767323045500000000"),
    ("a time long ago", "\"1999-01-01\""),
    ("empty object", "{}"),
    ("object", "{\"a\": {\"b\": [1, null]}}"),
    ("empty array", "[]"),
    ("array of nulls", "[null, null]"),
    ("array of arrays", "[[\"x\"], {\"id\": 5}, 7]"),
    ("duplicate", "1, \"@@KEY@@\": {\"twice\": true}"),
    ("deep", "@@DEEP@@"),
    ("huge", "@@HUGE@@"),
    ("bytes that are no UTF-8", "\"a@@BYTES@@b\""),
];

/// What takes a whole answer's place.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Whole {
    /// Status, content type, body.
    Is(u16, &'static str, &'static str),
    /// The first half of the answer.
    Truncated,
    /// The answer after a byte-order mark: nothing is wrong with it.
    Marked,
    /// The answer in UTF-16.
    Wide,
    /// The answer and more.
    Trailing,
    /// The items alone.
    Bare,
}

const JSON: &str = "application/json";
const WHOLE: &[(&str, Whole)] = &[
    ("no content", Whole::Is(204, "", "")),
    ("empty", Whole::Is(200, JSON, "")),
    (
        "login page",
        Whole::Is(200, "text/html", "<html><title>Sign in</title><input type=\"password\"></html>"),
    ),
    ("text", Whole::Is(200, "text/plain", "Service starting")),
    ("null", Whole::Is(200, JSON, "null")),
    ("number", Whole::Is(200, JSON, "17")),
    ("empty object", Whole::Is(200, JSON, "{}")),
    ("error", Whole::Is(200, JSON, r#"{"message": "Slow down", "code": "BUSY"}"#)),
    ("redirect", Whole::Is(302, "", "https://sso.example/login?code=1")),
    ("bad request", Whole::Is(400, JSON, r#"{"reason": "Invalid", "traceId": 5}"#)),
    ("forbidden", Whole::Is(403, JSON, r#"{"message": {"a": 1}}"#)),
    ("not found", Whole::Is(404, JSON, "[]")),
    ("unprocessable", Whole::Is(422, "text/plain", "\u{1b}[31mno")),
    ("server error", Whole::Is(500, "text/html", "<h1>oops</h1>")),
    ("truncated", Whole::Truncated),
    ("byte-order mark", Whole::Marked),
    ("UTF-16", Whole::Wide),
    ("something after it", Whole::Trailing),
    ("bare array", Whole::Bare),
];

/// One answer and what is wrong with it.
#[derive(Debug, Clone)]
struct Case {
    /// Method and path with query of the answer, as recorded.
    target: String,
    operation: &'static Operation,
    wrong: Wrong,
}

#[derive(Debug, Clone)]
enum Wrong {
    Field { path: Vec<String>, name: &'static str, json: &'static str },
    Whole { name: &'static str, whole: Whole },
}

impl Case {
    fn name(&self) -> String {
        match &self.wrong {
            Wrong::Field { path, name, .. } => format!("{}: {} is {name}", self.target, path.join(".")),
            Wrong::Whole { name, .. } => format!("{}: {name}", self.target),
        }
    }
}

/// The answers of a small workspace, as they should be.
struct Recorded {
    answers: BTreeMap<String, (&'static Operation, Vec<u8>)>,
    at: DateTime<Utc>,
}

fn recorded() -> &'static Recorded {
    static RECORDED: OnceLock<Recorded> = OnceLock::new();
    RECORDED.get_or_init(|| {
        let sim = Sim::start(SimConfig { world: small_world(), ..SimConfig::default() });
        let dir = tempfile::tempdir().unwrap();
        sim.export(dir.path(), &[], 0);
        let http = http();
        let get = async |target: &str| {
            let url = format!("{}/api/v1{target}", sim.server.url());
            let answer = http.get(url).bearer_auth(SECRET).send().await.unwrap();
            assert_eq!(answer.status().as_u16(), 200, "{target}");
            answer.bytes().await.unwrap().to_vec()
        };
        let requests = sim.server.requests();
        let answers = requests.iter().filter(|request| request.status == 200).map(|request| {
            let body = sim.block_on(get(&request.target));
            (request.target.clone(), (operation_of(&request.target), body))
        });
        Recorded { answers: answers.collect(), at: "2026-11-24T02:00:00Z".parse().unwrap() }
    })
}

/// A workspace of three projects, of which at least one has runs, queried tables and cells.
fn small_world() -> WorldConfig {
    let worlds = (1..).map(|seed| WorldConfig { seed, ..world_of(3) });
    let is_rich = |config: &WorldConfig| {
        let world = World::generate(config.clone());
        let has = |record: &ProjectRecord| {
            world.runs(record).len().min(world.queried_tables(record).len()).min(world.cells(record).len())
                > 1
        };
        world.projects.iter().any(has)
    };
    worlds.take(1_000).find(is_rich).unwrap()
}

/// The read operation that a path is of.
fn operation_of(target: &str) -> &'static Operation {
    let path: Vec<&str> = target.split('?').next().unwrap().split('/').collect();
    let fits = |operation: &&&'static Operation| {
        let pattern: Vec<&str> = operation.path.split('/').collect();
        operation.method.as_str() == "GET"
            && pattern.len() == path.len()
            && pattern.iter().zip(&path).all(|(a, b)| a.starts_with('{') || a == b)
    };
    let found = operation::ALL.iter().filter(fits).min_by_key(|o| o.path.matches('{').count());
    found.unwrap_or_else(|| panic!("no operation has {target}"))
}

/// Paths of all values below one, arrays by their first element.
fn paths(value: &Value, at: &[String], out: &mut Vec<Vec<String>>) {
    let mut visit = |name: &str, inner: &Value| {
        let path = [at, &[name.to_owned()]].concat();
        out.push(path.clone());
        paths(inner, &path, out);
    };
    match value {
        Value::Object(members) => members.iter().for_each(|(name, inner)| visit(name, inner)),
        Value::Array(items) => items.first().into_iter().for_each(|first| visit("0", first)),
        _ => {}
    }
}

fn cases() -> Vec<Case> {
    let mut all = Vec::new();
    let mut seen = BTreeSet::new();
    for (target, (operation, body)) in &recorded().answers {
        let value: Value = serde_json::from_slice(body).unwrap();
        let is_empty =
            operation.listing.is_some_and(|list| value[list.items].as_array().is_none_or(Vec::is_empty));
        let kind = (operation.id, target.contains("groupId="));
        if is_empty || !seen.insert(kind) {
            continue;
        }
        let case = |wrong| Case { target: target.clone(), operation, wrong };
        all.extend(WHOLE.iter().map(|(name, whole)| case(Wrong::Whole { name, whole: *whole })));
        let mut found = Vec::new();
        paths(&value, &[], &mut found);
        for path in found {
            let of = |(name, json): &(&'static str, &'static str)| {
                case(Wrong::Field { path: path.clone(), name, json })
            };
            all.extend(WRONG.iter().map(of));
        }
    }
    all
}

/// The answer of a case.
fn answer(case: &Case, body: &[u8]) -> (u16, &'static str, Vec<u8>) {
    let text = || String::from_utf8(body.to_vec()).unwrap();
    let json = |body: Vec<u8>| (200, JSON, body);
    match &case.wrong {
        Wrong::Whole { whole, .. } => match whole {
            Whole::Is(status, kind, body) => (*status, *kind, body.as_bytes().to_vec()),
            Whole::Truncated => json(body[..body.len() / 2].to_vec()),
            Whole::Marked => json([b"\xef\xbb\xbf", body].concat()),
            Whole::Wide => {
                let units = "\u{feff}".encode_utf16().chain(text().encode_utf16().collect::<Vec<_>>());
                json(units.flat_map(u16::to_le_bytes).collect())
            }
            Whole::Trailing => json([body, b" }"].concat()),
            Whole::Bare => {
                let value: Value = serde_json::from_slice(body).unwrap();
                let items = case.operation.listing.map(|list| value[list.items].clone());
                json(items.unwrap_or_else(|| Value::Array(vec![value])).to_string().into())
            }
        },
        Wrong::Field { path, json: wrong, .. } => {
            let mut value: Value = serde_json::from_slice(body).unwrap();
            let (last, parents) = path.split_last().unwrap();
            let parent = parents.iter().fold(&mut value, |value, name| match value {
                Value::Array(items) => &mut items[name.parse::<usize>().unwrap()],
                value => &mut value[name],
            });
            match (parent, wrong.is_empty()) {
                (Value::Object(members), true) => drop(members.remove(last)),
                (Value::Array(items), true) => drop(items.remove(0)),
                (Value::Object(members), false) => drop(members.insert(last.clone(), HERE.into())),
                (Value::Array(items), false) => items[0] = HERE.into(),
                _ => unreachable!("a path into something without members"),
            }
            let in_array = last.parse::<usize>().is_ok();
            let wrong = wrong
                .replace("@@KEY@@", last)
                .replace("@@DEEP@@", &format!("{}1{}", "[".repeat(200), "]".repeat(200)))
                .replace("@@HUGE@@", &format!("\"{}\"", "huge ".repeat(50_000)));
            let wrong =
                if in_array && wrong.starts_with("1, \"") { "{\"a\": 1, \"a\": 2}".into() } else { wrong };
            let text = value.to_string().replace(&format!("\"{HERE}\""), &wrong);
            let bytes: Vec<u8> = match text.split_once("@@BYTES@@") {
                Some((before, after)) => [before.as_bytes(), b"\xff\xfe", after.as_bytes()].concat(),
                None => text.into_bytes(),
            };
            json(bytes)
        }
    }
}

/// Serves the recorded answers, each case below a path of its own: /N/api/v1. Without a case (N is too high) all
/// answers are as they should be.
async fn serve(cases: Arc<Vec<Case>>) -> String {
    let handler = move |request: axum::extract::Request| {
        let cases = cases.clone();
        async move {
            let target = request.uri().path_and_query().unwrap().as_str();
            let (number, target) = target[1..].split_once("/api/v1").unwrap();
            let case = cases.get(number.parse::<usize>().unwrap()).filter(|case| case.target == target);
            let (status, kind, body) = match (recorded().answers.get(target), case) {
                (None, _) if target.contains("after=") || target.contains("offset=") => {
                    (400, JSON, br#"{"reason": "Unknown cursor"}"#.to_vec())
                }
                (None, _) => (404, JSON, br#"{"reason": "Unknown"}"#.to_vec()),
                (Some((_, body)), None) => (200, JSON, body.clone()),
                (Some((_, body)), Some(case)) => answer(case, body),
            };
            let mut response = Response::builder().status(status);
            if !kind.is_empty() {
                response = response.header("content-type", kind);
            }
            if status == 302 {
                response = response.header("location", String::from_utf8_lossy(&body).into_owned());
            }
            response.body(Body::from(Bytes::from(body))).unwrap()
        }
    };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, axum::Router::new().fallback(handler)).await.unwrap() });
    url
}

fn client(url: &str, number: usize) -> Client {
    let url = BaseUrl::new(&format!("{url}/{number}/api/v1")).unwrap();
    let mut config = ClientConfig::new(url, Token::new(SECRET).unwrap());
    config.pace = Pace::unlimited();
    config.retry = RetryPolicy {
        attempts: 2,
        base: Duration::from_millis(1),
        cap: Duration::from_millis(2),
        // A list of projects that is never answered is an outage, which ends a crawl by its silence.
        silence: Duration::from_secs(2),
        ..RetryPolicy::default()
    };
    Client::new(config).unwrap()
}

async fn run_case(
    url: &str,
    number: usize,
    lake: &Lake,
    tables: &[&'static Table],
) -> Result<Outcome, export::Error> {
    let options = Options { tables: tables.to_vec(), fixed_time: Some(recorded().at), ..Options::default() };
    export(Source::Api(client(url, number)), lake, options, Arc::new(Quiet), Stop::default()).await
}

/// The rows of record batches, each as a line of JSON.
fn lines(batches: &[arrow::record_batch::RecordBatch]) -> Vec<String> {
    let mut writer = arrow::json::LineDelimitedWriter::new(Vec::new());
    batches.iter().for_each(|batch| writer.write(batch).unwrap());
    writer.finish().unwrap();
    let text = String::from_utf8(writer.into_inner()).unwrap();
    // When a run was first seen, whether it is still listed, and whether it was given up, is for the build to say,
    // and not for its item.
    let seen = format!(r#","first_seen_at":"{}""#, recorded().at.format("%Y-%m-%dT%H:%M:%SZ"));
    let by_build = [seen.as_str(), r#","no_longer_listed":false"#, r#","given_up":false"#];
    text.lines()
        .map(|line| by_build.iter().fold(line.to_owned(), |line, said| line.replace(said, "")))
        .map(|line| without_resolved(&line).unwrap_or(line))
        .collect()
}

/// A grant without the identifier that the build has found for a name; `None` for another row.
fn without_resolved(line: &str) -> Option<String> {
    if !line.contains(r#""principal_type":"#) {
        return None;
    }
    let mut row: serde_json::Map<String, Value> = serde_json::from_str(line).ok()?;
    if row.remove("principal_id_from").is_some_and(|from| from != "api") {
        row.remove("principal_id");
    }
    Some(Value::from(row).to_string())
}

/// The rows of each table of the API in a snapshot.
fn rows(lake: &Lake, manifest: &Manifest) -> BTreeMap<&'static str, BTreeSet<String>> {
    let table = |table: &&'static Table| {
        let reader = TableReader::open(lake, manifest, table).ok()??;
        let batches: Vec<_> = reader.map(Result::unwrap).collect();
        Some((table.name, lines(&batches).into_iter().collect()))
    };
    ENTITIES.iter().filter_map(table).collect()
}

/// The rows that an item of a page makes, as they should be, by table.
fn rows_of_item(case: &Case, item: &Value) -> BTreeMap<&'static str, BTreeSet<String>> {
    let entity = entity_of(case);
    let at = recorded().at;
    let context = Context { entity: entity.as_deref(), fetched_at: at, snapshot_at: at };
    let of_table = |table: &&'static Table| {
        let mut rows = Vec::new();
        RowMapper::new(table).map(item.clone(), &context, &mut rows);
        (table.name, lines(&[batch_of(table, rows).unwrap()]).into_iter().collect())
    };
    tables_of(case).iter().map(of_table).collect()
}

/// The project or group that was asked about.
fn entity_of(case: &Case) -> Option<String> {
    let after = |mark: &str| Some(case.target.split_once(mark)?.1.split(['&', '/']).next()?.to_owned());
    match case.operation.id {
        "ListCells" => after("projectId="),
        "ListUsers" => after("groupId="),
        "GetQueriedTables" | "GetProjectRuns" => after("/projects/"),
        _ => None,
    }
}

fn tables_of(case: &Case) -> Vec<&'static Table> {
    let of_entity = |table: &Table| table.columns.iter().any(|column| column.from == "@entity");
    let has_entity = entity_of(case).is_some();
    let fits = |table: &&&'static Table| {
        table.operation() == Some(case.operation) && (of_entity(table) == has_entity)
    };
    ENTITIES.iter().filter(fits).copied().collect()
}

struct Bench {
    url: String,
    cases: Arc<Vec<Case>>,
    /// Rows of a run in which nothing is wrong.
    right: BTreeMap<&'static str, BTreeSet<String>>,
    all: Vec<&'static Table>,
    runtime: tokio::runtime::Runtime,
}

impl Bench {
    fn new() -> Self {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let cases = Arc::new(cases());
        let url = runtime.block_on(serve(cases.clone()));
        let all: Vec<_> = hexport::registry::all().collect();
        let dir = tempfile::tempdir().unwrap();
        let lake = Lake::new(dir.path());
        let outcome = runtime.block_on(run_case(&url, usize::MAX, &lake, &all)).unwrap();
        assert_eq!(outcome.gaps().count(), 0);
        let right = rows(&lake, &outcome.manifest);
        Self { url, cases, right, all, runtime }
    }

    /// What is wrong with how a case ended; nothing, if it ended as it should.
    fn judge(&self, number: usize, with_all_tables: bool) -> Result<(), String> {
        let case = &self.cases[number];
        let own: Vec<String> = tables_of(case).iter().map(|table| table.name.to_owned()).collect();
        let tables = match with_all_tables || own.is_empty() {
            true => self.all.clone(),
            false => choose(&own).unwrap(),
        };
        let dir = tempfile::tempdir().unwrap();
        let lake = Lake::new(dir.path());
        let run = std::panic::AssertUnwindSafe(run_case(&self.url, number, &lake, &tables)).catch_unwind();
        let result = self.runtime.block_on(run).map_err(|_| "it panicked".to_owned())?;
        let is_list_of_projects = case.operation.id == "ListProjects";
        let outcome = match result {
            Ok(outcome) => outcome,
            Err(error) if is_list_of_projects => return self.is_unusable(case, dir.path(), &error),
            Err(error) => return Err(format!("nothing was committed: {error}")),
        };
        self.compare(case, &outcome, &rows(&lake, &outcome.manifest))
    }

    /// Only a list of projects that can't be used commits nothing, and says why.
    fn is_unusable(&self, case: &Case, dest: &Path, error: &export::Error) -> Result<(), String> {
        let is_unusable = match &case.wrong {
            Wrong::Whole { whole, .. } => !matches!(whole, Whole::Marked | Whole::Wide),
            Wrong::Field { path, .. } => {
                matches!(path[0].as_str(), "values" | "pagination") && path.len() < 3
            }
        };
        let committed = std::fs::read_dir(dest).is_ok_and(|mut entries| {
            entries.any(|entry| entry.unwrap().file_name().to_string_lossy().starts_with("snapshot="))
        });
        match is_unusable && !committed && !error.to_string().is_empty() {
            true => Ok(()),
            false => Err(format!("nothing was committed, although projects can be read: {error}")),
        }
    }

    fn compare(
        &self,
        case: &Case,
        outcome: &Outcome,
        got: &BTreeMap<&'static str, BTreeSet<String>>,
    ) -> Result<(), String> {
        let touched = match &case.wrong {
            Wrong::Field { path, .. } if path.len() > 1 && path[1] == "0" => {
                let (_, body) = &recorded().answers[&case.target];
                let value: Value = serde_json::from_slice(body).unwrap();
                Some(rows_of_item(case, &value[&path[0]][0]))
            }
            Wrong::Field { path, .. } if path.len() == 1 => {
                // The list itself: what takes its place may be a list too, of other things.
                let (_, body) = &recorded().answers[&case.target];
                let value: Value = serde_json::from_slice(body).unwrap();
                let items = value[&path[0]].as_array().cloned().unwrap_or_default();
                let mut all: BTreeMap<&'static str, BTreeSet<String>> = BTreeMap::new();
                for (table, rows) in items.iter().flat_map(|item| rows_of_item(case, item)) {
                    all.entry(table).or_default().extend(rows);
                }
                Some(all)
            }
            _ => None,
        };
        let entity = entity_of(case);
        let said: Vec<_> = outcome.not_read.iter().collect();
        let own = tables_of(case);
        // No content says that there is nothing.
        let is_said_empty = matches!(case.wrong, Wrong::Whole { whole: Whole::Is(204, ..), .. });
        let is_named = |table: &str, row: &str| {
            is_said_empty
                && own.iter().any(|t| t.name == table)
                && entity.as_ref().is_none_or(|id| row.contains(id.as_str()))
                || said.iter().any(|c| match &c.entity {
                    Some(id) => row.contains(&**id),
                    None => own.iter().any(|t| t.name == table) && c.endpoint.operation() == case.operation,
                })
        };
        // A project that was renamed is not asked about under its old name.
        let old_names: Vec<String> = match (&case.wrong, case.operation.id) {
            (Wrong::Field { path, .. }, "ListProjects" | "ListGroups")
                if path[0] == "values" && path.len() <= 3 =>
            {
                let (_, body) = &recorded().answers[&case.target];
                let value: Value = serde_json::from_slice(body).unwrap();
                value["values"]
                    .as_array()
                    .unwrap()
                    .iter()
                    .map(|v| v["id"].as_str().unwrap().to_owned())
                    .collect()
            }
            _ => Vec::new(),
        };
        for (table, right) in &self.right {
            let Some(got) = got.get(table) else { continue };
            for row in right.difference(got) {
                let is_touched =
                    touched.as_ref().is_some_and(|t| t.get(table).is_some_and(|rows| rows.contains(row)));
                let is_of_touched = is_touched
                    || old_names.iter().any(|id| row.contains(id.as_str()))
                    || touched.is_none()
                        && entity.as_ref().is_some_and(|id| row.contains(id.as_str()))
                        && is_named(table, row)
                    || is_named(table, row);
                if !is_of_touched {
                    return Err(format!("a row of {table} is lost: {row}\ncoverage: {said:?}"));
                }
            }
        }
        // The item that was touched is still a row, or something says why not.
        let main = own.iter().find(|table| table.holds_items());
        let is_item = matches!(&case.wrong, Wrong::Field { path, .. } if path.len() > 1);
        if let (Some(main), Some(_), true) = (main, &touched, is_item) {
            let (before, after) = (self.right[main.name].len(), got.get(main.name).map_or(0, BTreeSet::len));
            let is_removed =
                matches!(&case.wrong, Wrong::Field { path, name: "absent", .. } if path.len() == 2);
            let is_cut_short = said.iter().any(|c| c.endpoint.operation() == case.operation);
            if after + usize::from(is_removed) < before && !is_cut_short {
                return Err(format!("{} has {after} rows of {before}", main.name));
            }
        }
        let is_gap = outcome.gaps().next().is_some();
        if is_gap == outcome.manifest.complete {
            return Err("the manifest says otherwise than the coverage".into());
        }
        Ok(())
    }
}

/// Runs numbers on a few threads, some of which wait for the disk; what failed, by case.
fn all_of(
    numbers: &[usize],
    run: impl Fn(usize) -> Result<(), String> + Sync,
    cases: &[Case],
) -> Vec<String> {
    let (next, failed) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                while let Some(number) = numbers.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let began = std::time::Instant::now();
                    let name = || cases[*number].name();
                    if let Err(why) = run(*number) {
                        failed.lock().unwrap().push(format!("{}\n    {why}", name()));
                    }
                    if began.elapsed() > Duration::from_secs(10) {
                        eprintln!("{:?} for {}", began.elapsed(), name());
                    }
                }
            });
        }
    });
    failed.into_inner().unwrap()
}

fn is_all() -> bool {
    std::env::var("HEXPORT_MUTATIONS").is_ok_and(|value| value == "all")
}

#[test]
fn whatever_one_value_of_an_answer_is_the_rest_is_committed() {
    let bench = Bench::new();
    let numbers: Vec<usize> = match is_all() {
        true => (0..bench.cases.len()).collect(),
        // A prime step meets every field and every wrong thing, though not every pair of them.
        false => {
            let step = (bench.cases.len() / 2_050).max(1);
            (0..bench.cases.len()).step_by(step).collect()
        }
    };
    assert!(numbers.len() >= 2_000 || is_all(), "{} of {} cases", numbers.len(), bench.cases.len());
    let began = std::time::Instant::now();
    let every = if is_all() { 1 } else { 25 };
    let run = |number: usize| bench.judge(number, number.is_multiple_of(every));
    let failed = all_of(&numbers, run, &bench.cases);
    eprintln!("{} of {} cases in {:?}", numbers.len(), bench.cases.len(), began.elapsed());
    assert!(failed.is_empty(), "{} failed:\n{}", failed.len(), failed.join("\n"));
}

#[test]
fn the_binary_survives_what_the_library_does_and_blames_nobody_else() {
    let bench = Bench::new();
    // Answers that are asked for again and again take the retries' time, so there are few of them.
    let is_quick = |number: &usize| match &bench.cases[*number].wrong {
        Wrong::Field { path, .. } => path.len() > 2,
        Wrong::Whole { whole, .. } => {
            matches!(whole, Whole::Marked | Whole::Wide | Whole::Is(204 | 403 | 404, ..))
        }
    };
    let quick: Vec<usize> = (0..bench.cases.len()).filter(is_quick).collect();
    let wanted = if is_all() { 500 } else { 50 };
    let numbers: Vec<usize> =
        quick.iter().copied().step_by((quick.len() / wanted).max(1)).take(wanted).collect();
    assert_eq!(numbers.len(), wanted);
    let run = |number: usize| {
        let dir = tempfile::tempdir().unwrap();
        let dest = dir.path().join("lake");
        let mut command = hexport(&["export", dest.to_str().unwrap(), "--log-format", "text"]);
        command
            .env("HEX_API_URL", format!("{}/{number}/api/v1", bench.url))
            .env("HEX_API_TOKEN", SECRET)
            .env("HEXPORT_RATE", "unlimited");
        let out = command.output().unwrap();
        let said = String::from_utf8_lossy(&out.stderr).into_owned() + &String::from_utf8_lossy(&out.stdout);
        let unusable = bench.cases[number].operation.id == "ListProjects";
        match out.status.code() {
            Some(0 | 4) => {}
            Some(3 | 5) if unusable => {}
            code => return Err(format!("exit code {code:?}: {said}")),
        }
        for word in ["panicked", "fault of hexport", "RUST_BACKTRACE", "\u{1b}"] {
            if said.contains(word) {
                return Err(format!("it says {word:?}: {said}"));
            }
        }
        Ok(())
    };
    let failed = all_of(&numbers, run, &bench.cases);
    assert!(failed.is_empty(), "{} failed:\n{}", failed.len(), failed.join("\n"));
}

/// Every file of a folder, by name.
fn files(folder: &Path) -> HashMap<std::path::PathBuf, Vec<u8>> {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.filter(|path| path.is_file()).map(|path| (path.clone(), std::fs::read(&path).unwrap())).collect()
}

#[test]
fn an_answer_that_names_another_workspace_ends_with_6() {
    let bench = Bench::new();
    let names_another = |case: &Case| match &case.wrong {
        Wrong::Field { path, json, .. } => {
            let is_name = serde_json::from_str(json).is_ok_and(|value: Value| {
                value.is_number() || value.as_str().is_some_and(|text| !text.is_empty())
            });
            case.operation.id == "Me" && path.join(".") == "org.id" && is_name
        }
        Wrong::Whole { .. } => false,
    };
    let dir = tempfile::tempdir().unwrap();
    let dest = dir.path().join("lake");
    let export = |number: usize| {
        let mut command = hexport(&["export", dest.to_str().unwrap(), "--tables", "users,collections"]);
        let url = format!("{}/{number}/api/v1", bench.url);
        command.env("HEX_API_URL", url).env("HEX_API_TOKEN", SECRET).env("HEXPORT_RATE", "unlimited");
        command.output().unwrap()
    };
    let first = export(usize::MAX);
    assert_eq!(first.status.code(), Some(0), "{}", String::from_utf8_lossy(&first.stderr));
    let before = files(&dest);
    let numbers: Vec<usize> = (0..bench.cases.len()).filter(|n| names_another(&bench.cases[*n])).collect();
    assert!(numbers.len() > 10, "{} cases", numbers.len());
    for number in numbers {
        let out = export(number);
        let said = String::from_utf8_lossy(&out.stderr).into_owned();
        let case = bench.cases[number].name();
        assert_eq!(out.status.code(), Some(6), "{case}: {said}");
        assert!(said.contains("another workspace") || said.contains("of the workspace"), "{case}: {said}");
        assert!(before == files(&dest), "{case}");
    }
}

#[test]
fn an_unusable_list_of_projects_leaves_the_last_snapshot_as_it_is() {
    let bench = Bench::new();
    let tables = choose(&["projects".to_owned()]).unwrap();
    for (number, case) in bench.cases.iter().enumerate().filter(|(_, case)| {
        let Wrong::Whole { whole, .. } = case.wrong else { return false };
        case.operation.id == "ListProjects"
            && !matches!(whole, Whole::Marked | Whole::Wide | Whole::Is(204, ..))
    }) {
        let dir = tempfile::tempdir().unwrap();
        let lake = Lake::new(dir.path());
        let first = bench.runtime.block_on(run_case(&bench.url, usize::MAX, &lake, &tables)).unwrap();
        let before = (files(dir.path()), files(Path::new(&first.place)));
        let options = Options { tables: tables.clone(), base_url: "same".into(), ..Options::default() };
        let second =
            export(Source::Api(client(&bench.url, number)), &lake, options, Arc::new(Quiet), Stop::default());
        let result = bench.runtime.block_on(second);
        assert!(result.is_err(), "{}", case.name());
        assert!(before == (files(dir.path()), files(Path::new(&first.place))), "{}", case.name());
    }
}
