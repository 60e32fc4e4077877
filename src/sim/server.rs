//! The simulated workspace's HTTP server.

use std::collections::{HashMap, HashSet, VecDeque};
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::http::{HeaderMap, Request, Response, StatusCode, header};
use bytes::Bytes;
use chrono::{DateTime, TimeDelta, Utc};
use hyper_util::rt::{TokioIo, TokioTimer};
use rand::RngExt;
use serde::Serialize;
use serde_json::{Map, Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use url::form_urlencoded;

use crate::client::collections::{Collection, CollectionSharing, Creator};
use crate::client::groups::Group;
use crate::client::projects::{CollectionGrant, GroupGrant, Named, Person, Status, UserGrant};
use crate::client::runs::{RunRequest, StartedRun};
use crate::client::users::{Me, Org, TokenInfo};

use super::changes::Change;
use super::clock::Clock;
use super::faults::{Fate, Fault, Faults};
use super::limits::{Counter, RateLimit};
use super::rng;
use super::world::{Plan, RunSpec, World, WorldConfig, iso};

/// Runs that may be started in a minute, and in an hour.
const RUN_LIMITS: [(usize, TimeDelta); 2] = [(20, TimeDelta::minutes(1)), (60, TimeDelta::hours(1))];
/// Time that a started run waits for its kernel.
const KERNEL_START: TimeDelta = TimeDelta::seconds(2);

/// Who may ask the simulated server, and what they see.
#[derive(Debug, Clone, Default)]
pub struct SimToken {
    /// The only token accepted; any is, if none is set.
    pub secret: Option<String>,
    /// A workspace token: `Me` names no user.
    pub workspace: bool,
    /// An expired token: every answer is 401.
    pub expired: bool,
    /// Operations that the token may not use: 403.
    pub forbidden: Vec<String>,
    /// Whether data connections come in the short form.
    pub short_connections: bool,
}

/// What the simulated server is made of.
#[derive(Debug, Clone)]
pub struct SimConfig {
    /// The workspace.
    pub world: WorldConfig,
    /// Request limit; none if not set.
    pub limit: Option<RateLimit>,
    /// Faults.
    pub faults: Faults,
    /// Who may ask.
    pub token: SimToken,
    /// Simulated seconds a second; 0 stands still.
    pub clock_scale: f64,
    /// Most kernels that run at once; Hex documents 25.
    pub kernels: usize,
    /// Random changes of the workspace for each request, such as 0.1.
    pub churn: f64,
    /// Whether every request is kept for [`SimServer::requests`].
    pub record: bool,
}

impl Default for SimConfig {
    fn default() -> Self {
        Self {
            world: WorldConfig::default(),
            limit: None,
            faults: Faults::default(),
            token: SimToken::default(),
            clock_scale: 0.0,
            kernels: 25,
            churn: 0.0,
            record: true,
        }
    }
}

/// A request that the simulated server has answered.
#[derive(Debug, Clone)]
pub struct RequestRecord {
    /// Method.
    pub method: String,
    /// Path below `/api/v1`, with the query.
    pub target: String,
    /// Status answered; 0 where the connection was closed or left hanging.
    pub status: u16,
    /// When it came.
    pub at: Instant,
    /// Its body.
    pub body: Bytes,
}

/// A running simulated server; stops when dropped.
pub struct SimServer {
    addr: SocketAddr,
    sim: Arc<Sim>,
    tasks: JoinSet<()>,
}

impl SimServer {
    /// Generates the workspace and serves it at `addr` (port 0: any free port).
    ///
    /// # Errors
    /// If the address can't be bound.
    pub async fn start(config: SimConfig, addr: SocketAddr) -> io::Result<Self> {
        let listener = TcpListener::bind(addr).await?;
        let addr = listener.local_addr()?;
        let world = World::generate(config.world.clone());
        let sim = Arc::new(Sim {
            clock: Clock::new(config.world.epoch, config.clock_scale),
            counters: Mutex::new(HashMap::new()),
            live: Mutex::new(Live::default()),
            served: AtomicU64::new(0),
            log: Mutex::new(Vec::new()),
            touched: Mutex::new(HashSet::new()),
            world: RwLock::new(world),
            config,
        });
        let mut tasks = JoinSet::new();
        tasks.spawn(accept(listener, sim.clone()));
        Ok(Self { addr, sim, tasks })
    }

    /// The server's root, such as `http://127.0.0.1:4000`.
    pub fn url(&self) -> String {
        format!("http://{}", self.addr)
    }

    /// The address that it listens at.
    pub fn address(&self) -> SocketAddr {
        self.addr
    }

    /// Requests answered so far, in order; empty unless they are recorded.
    pub fn requests(&self) -> Vec<RequestRecord> {
        lock(&self.sim.log).clone()
    }

    /// Forgets the requests recorded so far.
    pub fn clear_requests(&self) {
        lock(&self.sim.log).clear();
    }

    /// Number of requests that came in so far.
    pub fn served(&self) -> u64 {
        self.sim.served.load(Ordering::Relaxed)
    }

    /// Projects that were changed by [`SimConfig::churn`].
    pub fn touched(&self) -> HashSet<String> {
        lock(&self.sim.touched).clone()
    }

    /// The workspace as it is now.
    pub fn world(&self) -> RwLockReadGuard<'_, World> {
        self.sim.world()
    }

    /// The workspace, to change.
    pub fn world_mut(&self) -> RwLockWriteGuard<'_, World> {
        self.sim.world_mut()
    }

    /// Serves until the process ends.
    pub async fn forever(mut self) {
        self.tasks.join_next().await;
    }
}

async fn accept(listener: TcpListener, sim: Arc<Sim>) {
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            continue;
        };
        let _ = stream.set_nodelay(true);
        let sim = sim.clone();
        tokio::spawn(async move {
            let service = hyper::service::service_fn(move |request| {
                let sim = sim.clone();
                async move { sim.answer(request).await }
            });
            // An error is a client that went away, or a fault that we were told to have.
            let _ = hyper::server::conn::http1::Builder::new()
                .timer(TokioTimer::new())
                .serve_connection(TokioIo::new(stream), service)
                .await;
        });
    }
}

struct Sim {
    config: SimConfig,
    clock: Clock,
    world: RwLock<World>,
    counters: Mutex<HashMap<String, Counter>>,
    live: Mutex<Live>,
    served: AtomicU64,
    log: Mutex<Vec<RequestRecord>>,
    touched: Mutex<HashSet<String>>,
}

/// Runs started over the API.
#[derive(Default)]
struct Live {
    started: VecDeque<DateTime<Utc>>,
    runs: Vec<LiveRun>,
}

struct LiveRun {
    project: String,
    run: String,
    started: DateTime<Utc>,
    elapsed: TimeDelta,
    fails: bool,
    killed: Option<DateTime<Utc>>,
}

impl LiveRun {
    fn state(&self, now: DateTime<Utc>) -> (&'static str, Option<TimeDelta>) {
        let kernel = self.started + KERNEL_START;
        match self.killed {
            Some(at) => ("KILLED", Some((at - kernel).max(TimeDelta::zero()))),
            None if now < kernel => ("PENDING", None),
            None if now < kernel + self.elapsed => ("RUNNING", None),
            None if self.fails => ("ERRORED", Some(self.elapsed)),
            None => ("COMPLETED", Some(self.elapsed)),
        }
    }
}

/// The two forms of error answers.
#[derive(Clone, Copy, PartialEq)]
enum Style {
    /// `{reason, details?, traceId?}`.
    Older,
    /// `{message, code, issues?}`.
    Newer,
}

struct Failure {
    status: u16,
    reason: String,
    details: Option<String>,
    body: Option<Value>,
}

impl Failure {
    fn new(status: u16, reason: impl Into<String>) -> Self {
        Self { status, reason: reason.into(), details: None, body: None }
    }

    fn details(mut self, details: impl Into<String>) -> Self {
        self.details = Some(details.into());
        self
    }
}

type Answer = Result<(u16, Option<Value>), Failure>;

/// A request taken apart.
struct Call<'a> {
    method: &'a str,
    segments: Vec<String>,
    query: Vec<(String, String)>,
    body: &'a [u8],
    /// Root of the server as the client names it.
    base: String,
    trace: String,
    fate: Fate,
    /// Status for parameters that don't fit: 422 where the description has it, else 400.
    invalid: u16,
}

impl Call<'_> {
    fn get(&self, name: &str) -> Option<&str> {
        self.query
            .iter()
            .find(|(n, _)| n == name)
            .map(|(_, v)| v.as_str())
            .filter(|v| !v.is_empty() && *v != "null")
    }

    /// Values of an array parameter, in the forms that clients send: repeated, `name[]`, `name[0]`.
    fn array(&self, name: &str) -> Vec<&str> {
        let matches = |n: &str| n == name || (n.starts_with(name) && n[name.len()..].starts_with('['));
        self.query.iter().filter(|(n, v)| matches(n) && !v.is_empty()).map(|(_, v)| v.as_str()).collect()
    }

    fn flag(&self, name: &str) -> Result<bool, Failure> {
        match self.get(name) {
            None => Ok(false),
            Some(v) if v.eq_ignore_ascii_case("true") => Ok(true),
            Some(v) if v.eq_ignore_ascii_case("false") => Ok(false),
            Some(v) => Err(self.bad(name, &format!("'{v}' is not a boolean"))),
        }
    }

    fn number(&self, name: &str, default: usize, min: usize, max: usize) -> Result<usize, Failure> {
        let Some(text) = self.get(name) else {
            return Ok(default);
        };
        let fits = text.parse::<usize>().ok().filter(|n| (min..=max).contains(n));
        fits.ok_or_else(|| self.bad(name, &format!("'{text}' is not a whole number from {min} to {max}")))
    }

    fn one_of<'v>(&self, name: &str, allowed: &[&'v str]) -> Result<Option<&'v str>, Failure> {
        let Some(text) = self.get(name) else {
            return Ok(None);
        };
        let known = allowed.iter().find(|a| **a == text).copied();
        known
            .map(Some)
            .ok_or_else(|| self.bad(name, &format!("'{text}' is not one of {}", allowed.join(", "))))
    }

    fn bad(&self, name: &str, what: &str) -> Failure {
        Failure::new(self.invalid, "Invalid input data").details(format!("{name}: {what}"))
    }

    fn json(&self) -> Result<Map<String, Value>, Failure> {
        if self.body.is_empty() {
            return Ok(Map::new());
        }
        match serde_json::from_slice::<Value>(self.body) {
            Ok(Value::Object(map)) => Ok(map),
            _ => Err(Failure::new(400, "The body is not a JSON object")),
        }
    }
}

impl Sim {
    fn world(&self) -> RwLockReadGuard<'_, World> {
        self.world.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn world_mut(&self) -> RwLockWriteGuard<'_, World> {
        self.world.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes the changes that are due at a request, whatever the machine's speed.
    fn churn(&self, request: u64) {
        let due = |requests: u64| (requests as f64 * self.config.churn) as u64;
        for change in due(request)..due(request + 1) {
            let now = self.clock.now();
            let changed = self.world_mut().churn(&mut rng::of(self.config.world.seed, "churn", change), now);
            lock(&self.touched).extend(changed);
        }
    }

    async fn answer(self: Arc<Self>, request: Request<hyper::body::Incoming>) -> io::Result<Response<Body>> {
        let number = self.served.fetch_add(1, Ordering::Relaxed);
        let at = Instant::now();
        let fate = self.config.faults.fate(number);
        self.churn(number);
        let (parts, body) = request.into_parts();
        let target = parts.uri.path_and_query().map_or("/", |p| p.as_str()).to_owned();
        let record = |status: u16, body: Bytes| {
            if self.config.record {
                let target = target.strip_prefix("/api/v1").unwrap_or(&target).to_owned();
                let entry = RequestRecord { method: parts.method.to_string(), target, status, at, body };
                lock(&self.log).push(entry);
            }
        };
        if !fate.latency.is_zero() {
            tokio::time::sleep(fate.latency).await;
        }
        if fate.fault == Fault::Timeout {
            record(0, Bytes::new());
            tokio::time::sleep(self.config.faults.hang).await;
            return Err(io::Error::other("fault: no answer"));
        }
        let body = axum::body::to_bytes(Body::new(body), 16 << 20).await.map_err(io::Error::other)?;
        let (status, mut headers, text) = self.respond(&parts, &body, fate, number);
        if fate.fault == Fault::Reset {
            record(0, body);
            return Err(io::Error::other("fault: connection closed"));
        }
        record(status, body);
        headers.insert(
            header::CONTENT_TYPE,
            header::HeaderValue::from_static("application/json; charset=utf-8"),
        );
        let body = match fate.fault {
            Fault::Truncate if text.len() > 1 => {
                headers.insert(header::CONTENT_LENGTH, text.len().into());
                let half = text.slice(..text.len() / 2);
                // Ending the stream with an error before its declared length closes the connection.
                let parts = futures::stream::iter([Ok(half), Err(io::Error::other("fault: truncated"))]);
                Body::from_stream(parts)
            }
            Fault::Malformed if text.len() > 1 => Body::from(text.slice(..text.len() - 1)),
            _ => Body::from(text),
        };
        let mut response = Response::new(body);
        *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        *response.headers_mut() = headers;
        Ok(response)
    }

    /// Everything that needs no waiting.
    fn respond(
        &self,
        parts: &axum::http::request::Parts,
        body: &[u8],
        fate: Fate,
        number: u64,
    ) -> (u16, HeaderMap, Bytes) {
        let trace = format!("{:032x}", rng::of(self.config.world.seed, "trace", number).random::<u128>());
        let mut headers = HeaderMap::new();
        let path = parts.uri.path();
        let query = parts.uri.query().unwrap_or("");
        let host = parts.headers.get(header::HOST).and_then(|h| h.to_str().ok()).unwrap_or("localhost");
        let segments: Vec<String> = path
            .strip_prefix("/api/v1/")
            .unwrap_or("")
            .split('/')
            .filter(|s| !s.is_empty())
            .map(|s| {
                form_urlencoded::parse(format!("x={}", s.replace('+', "%2B")).as_bytes())
                    .next()
                    .map_or_else(String::new, |(_, v)| v.into_owned())
            })
            .collect();
        let mut call = Call {
            method: parts.method.as_str(),
            segments,
            query: form_urlencoded::parse(query.as_bytes()).into_owned().collect(),
            body,
            base: format!("http://{host}"),
            trace: trace.clone(),
            fate,
            invalid: 400,
        };
        let operation = operation_of(&call);
        let style = operation.map_or(Style::Newer, |(_, style, _)| style);
        call.invalid = operation.map_or(400, |(_, _, invalid)| invalid);
        let answer = self.admit(&parts.headers, fate, &mut headers).and_then(|()| match operation {
            None => Err(Failure::new(404, format!("There is no {} {path}", parts.method))),
            Some((id, _, _)) if self.config.token.forbidden.iter().any(|f| f == id) => {
                Err(Failure::new(403, format!("This token has no access to {id}")))
            }
            Some((id, _, _)) => self.dispatch(id, &call),
        });
        let (status, value) = match answer {
            Ok((status, value)) => (status, value),
            Err(failure) => {
                let status = failure.status;
                (status, Some(failure_body(failure, style, &trace)))
            }
        };
        let text = value.map_or_else(Bytes::new, |v| Bytes::from(serde_json::to_vec(&v).unwrap_or_default()));
        (status, headers, text)
    }

    /// Token, limit and the faults that stand for a busy server.
    fn admit(&self, request: &HeaderMap, fate: Fate, headers: &mut HeaderMap) -> Result<(), Failure> {
        let bearer = request
            .get(header::AUTHORIZATION)
            .and_then(|value| value.to_str().ok())
            .and_then(|value| {
                value.split_once(' ').filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
            })
            .map(|(_, token)| token.trim())
            .filter(|token| !token.is_empty())
            .ok_or_else(|| Failure::new(401, "Authorization not provided"))?;
        let token = &self.config.token;
        if token.secret.as_deref().is_some_and(|secret| secret != bearer) {
            return Err(Failure::new(401, "The token is not valid"));
        }
        if token.expired {
            return Err(Failure::new(401, "The token has expired"));
        }
        if let Some(limit) = self.config.limit {
            let standing = {
                let mut counters = lock(&self.counters);
                counters.entry(bearer.to_owned()).or_insert_with(|| Counter::new(limit)).take(Instant::now())
            };
            // A window of a real server is counted in whole seconds; a scaled one would lose its meaning.
            let seconds = |d: Duration| match limit.window.as_secs_f64() {
                w if w < 10.0 => format!("{:.3}", d.as_secs_f64() + 0.0005),
                _ => d.as_secs_f64().ceil().to_string(),
            };
            let window = match limit.window.as_secs_f64() {
                w if w < 10.0 => format!("{w:.3}"),
                w => w.ceil().to_string(),
            };
            let mut set = |name: &'static str, value: String| {
                if let Ok(value) = value.parse() {
                    headers.insert(name, value);
                }
            };
            for (limit_name, remaining, reset) in [
                ("x-ratelimit-limit", "x-ratelimit-remaining", "x-ratelimit-reset"),
                ("ratelimit-limit", "ratelimit-remaining", "ratelimit-reset"),
            ] {
                set(limit_name, limit.requests.to_string());
                set(remaining, standing.remaining.to_string());
                set(reset, seconds(standing.reset));
            }
            set("ratelimit-policy", format!("{};w={window}", limit.requests));
            if !standing.allowed {
                set("retry-after", seconds(standing.reset));
                return Err(Failure::new(429, "Too many requests"));
            }
        }
        match fate.fault {
            Fault::TooMany => {
                let wait = self.config.faults.retry_after.as_secs_f64().ceil().to_string();
                headers.insert(header::RETRY_AFTER, wait.parse().expect("a number is a header value"));
                Err(Failure::new(429, "Too many requests"))
            }
            Fault::Error(status) => Err(Failure::new(status, "Something went wrong")),
            _ => Ok(()),
        }
    }

    fn dispatch(&self, id: &str, call: &Call<'_>) -> Answer {
        let arg = |i: usize| call.segments.get(i).map_or("", String::as_str);
        match id {
            "Me" => self.me(),
            "ListProjects" => self.list_projects(call),
            "CreateProject" => self.create_project(call),
            "GetProject" => self.get_project(call, arg(1)),
            "UpdateProject" => self.update_project(call, arg(1)),
            "GetQueriedTables" => self.queried_tables(call, arg(1)),
            "GetProjectRuns" => self.list_runs(call, arg(1)),
            "RunProject" => self.start_run(call, arg(1)),
            "GetRunStatus" => self.get_run(call, arg(1), arg(3)),
            "CancelRun" => self.cancel_run(call, arg(1), arg(3)),
            "ListCells" => self.list_cells(call),
            "GetCell" => self.get_cell(arg(1)),
            "ExportProject" => self.export_project(call),
            "ListUsers" => self.list_users(call),
            "ListGroups" => self.list_groups(call),
            "GetGroup" => {
                uuid(call, arg(1), "groupId")?;
                let world = self.world();
                found(world.groups.iter().find(|g| g.id == arg(1)), "group")
            }
            "ListCollections" => self.list_collections(call),
            "CreateCollection" => self.create_collection(call),
            "GetCollection" => {
                uuid(call, arg(1), "collectionId")?;
                let world = self.world();
                found(world.collections.iter().find(|c| c.id == arg(1)), "collection")
            }
            "ListDataConnections" => self.list_connections(call),
            "GetDataConnection" => {
                uuid(call, arg(1), "dataConnectionId")?;
                let world = self.world();
                found(world.connections.iter().find(|c| c.id == arg(1)), "data connection")
            }
            "EditProjectSharingUsers" => self.share(call, arg(1), "users", "user"),
            "EditProjectSharingGroups" => self.share(call, arg(1), "groups", "group"),
            "EditProjectSharingCollections" => self.share(call, arg(1), "collections", "collection"),
            "EditProjectSharingOrgAndPublic" => self.share_widely(call, arg(1)),
            "CreateGroup" => self.create_group(call),
            "EditGroup" => self.edit_group(call, arg(1)),
            "DeleteGroup" => self.delete_group(call, arg(1)),
            "EditCollection" => self.edit_collection(call, arg(1)),
            "DeactivateUser" => self.deactivate_user(arg(1)),
            "ListThreads" => self.list_threads(call),
            "ListTopics" => {
                let world = self.world();
                let items: Vec<_> =
                    world.topics.iter().map(|t| ((t.name.clone(), t.id.clone()), t)).collect();
                cursor_page(call, items, "topics", 25, 100)
            }
            "ListDraftGuides" => {
                let world = self.world();
                let items: Vec<_> =
                    world.guides.iter().map(|g| ((g.file_path.clone(), g.id.clone()), g)).collect();
                cursor_page(call, items, "values", 100, 100)
            }
            _ => Err(Failure::new(404, "Not found")),
        }
    }

    fn me(&self) -> Answer {
        let world = self.world();
        let exp = (world.config.epoch + TimeDelta::days(90)).timestamp() as f64;
        let org = Org { id: world.org_id.clone() };
        let me = if self.config.token.workspace {
            Me { org, token: Some(TokenInfo { exp: None }), ..Me::default() }
        } else {
            let user = &world.users[0];
            Me {
                id: Some(user.id.clone()),
                name: user.name.clone(),
                email: Some(user.email.clone()),
                role: Some(user.role.clone()),
                last_login_date: user.last_login_date.clone(),
                org,
                token: Some(TokenInfo { exp: Some(exp) }),
            }
        };
        ok(&me)
    }

    fn list_projects(&self, call: &Call<'_>) -> Answer {
        let (archived, components) = (call.flag("includeArchived")?, call.flag("includeComponents")?);
        let (trashed, sharing) = (call.flag("includeTrashed")?, call.flag("includeSharing")?);
        let (statuses, categories) = (call.array("statuses"), call.array("categories"));
        let (creator, owner) = (call.get("creatorEmail"), call.get("ownerEmail"));
        let sort = call
            .one_of("sortBy", &["CREATED_AT", "LAST_EDITED_AT", "LAST_PUBLISHED_AT"])?
            .unwrap_or("CREATED_AT");
        let ascending = call.one_of("sortDirection", &["ASC", "DESC"])? == Some("ASC");
        let world = self.world();
        let collection = match call.get("collectionId") {
            None => None,
            Some(id) => {
                let at = world.collections.iter().position(|c| c.id == id);
                Some(at.ok_or_else(|| Failure::new(400, "Unknown collection").details(id.to_owned()))?)
            }
        };
        let mut items = Vec::new();
        for record in &world.projects {
            let p = &record.project;
            let wanted = (archived || p.archived_at.is_none())
                && (trashed || p.trashed_at.is_none())
                && (components || p.kind != "COMPONENT")
                && (statuses.is_empty()
                    || p.status.as_ref().is_some_and(|s| statuses.contains(&s.name.as_str())))
                && (categories.is_empty()
                    || p.categories.iter().any(|c| categories.contains(&c.name.as_str())))
                && creator.is_none_or(|email| p.creator.email == email)
                && owner.is_none_or(|email| p.owner.email == email)
                && collection.is_none_or(|c| record.collections.contains(&c));
            if wanted {
                let key = match sort {
                    "LAST_EDITED_AT" => p.last_edited_at.clone(),
                    // Never published sorts behind everything when the latest come first.
                    "LAST_PUBLISHED_AT" => p.last_published_at.clone().unwrap_or_default(),
                    _ => p.created_at.clone(),
                };
                items.push(((key, p.id.clone()), record));
            }
        }
        if ascending {
            items.sort_by(|a, b| a.0.cmp(&b.0));
        } else if sort != "CREATED_AT" {
            items.sort_by(|a, b| b.0.cmp(&a.0));
        }
        let page = cut(call, items, 25, 100)?;
        let values = page.items.iter().map(|record| shown(record, sharing)).collect();
        Ok((200, Some(page.envelope("values", values))))
    }

    fn create_project(&self, call: &Call<'_>) -> Answer {
        let body = call.json()?;
        let title = body.get("title").and_then(Value::as_str).filter(|t| !t.is_empty());
        let title = title.ok_or_else(|| Failure::new(400, "title is required"))?.to_owned();
        let description = body.get("description").and_then(Value::as_str).map(str::to_owned);
        let mut world = self.world_mut();
        let at = world.create_project(self.clock.now(), title, description);
        Ok((201, Some(shown(&world.projects[at], false))))
    }

    fn get_project(&self, call: &Call<'_>, id: &str) -> Answer {
        let sharing = call.flag("includeSharing")?;
        let world = self.world();
        let at = world.find_project(id).ok_or_else(|| Failure::new(404, "Project not found"))?;
        Ok((200, Some(shown(&world.projects[at], sharing))))
    }

    fn update_project(&self, call: &Call<'_>, id: &str) -> Answer {
        uuid(call, id, "projectId")?;
        let body = call.json()?;
        let mut world = self.world_mut();
        let at = world.find_project(id).ok_or_else(|| Failure::new(404, "Project not found"))?;
        match body.get("status") {
            None => {}
            Some(Value::Null) => world.projects[at].project.status = None,
            Some(Value::String(name)) => {
                let known = world.statuses.iter().find(|s| *s == name).map(|s| (*s).to_owned());
                let name = known.ok_or_else(|| Failure::new(400, format!("There is no status '{name}'")))?;
                world.projects[at].project.status = Some(Status { name });
            }
            Some(_) => return Err(Failure::new(400, "status is neither a string nor null")),
        }
        Ok((200, Some(shown(&world.projects[at], false))))
    }

    fn queried_tables(&self, call: &Call<'_>, id: &str) -> Answer {
        uuid(call, id, "projectId")?;
        if self.config.world.plan != Plan::Enterprise {
            return Err(Failure::new(403, "Queried tables are available on the Enterprise plan only"));
        }
        let world = self.world();
        let at = world.find_project(id).ok_or_else(|| Failure::new(404, "Project not found"))?;
        let tables = world.queried_tables(&world.projects[at]);
        let items: Vec<_> = tables
            .iter()
            .map(|t| ((format!("{}.{}", t.data_connection_id, t.table_name), String::new()), t))
            .collect();
        let page = cut(call, items, 25, 100)?;
        let values = page.items.iter().map(|t| json!(t)).collect();
        let mut envelope = page.envelope("values", values);
        envelope["traceId"] = json!(call.trace);
        Ok((200, Some(envelope)))
    }

    fn list_runs(&self, call: &Call<'_>, id: &str) -> Answer {
        uuid(call, id, "projectId")?;
        let limit = call.number("limit", 25, 1, 100)?;
        let offset = call.number("offset", 0, 0, i32::MAX as usize)?;
        let statuses = ["PENDING", "RUNNING", "ERRORED", "COMPLETED", "KILLED", "UNABLE_TO_ALLOCATE_KERNEL"];
        let status = call.one_of("statusFilter", &statuses)?;
        let trigger = call
            .one_of("runTriggerFilter", &["API", "SCHEDULED", "APP_REFRESH", "ALL"])?
            .filter(|t| *t != "ALL");
        if call.fate.shift && offset > 0 {
            let now = self.clock.now();
            let mut world = self.world_mut();
            if let Some(at) = world.find_project(id) {
                world.change(Change::Run, at, now);
            }
        }
        let world = self.world();
        let at = world.find_project(id).ok_or_else(|| Failure::new(404, "Project not found"))?;
        let record = &world.projects[at];
        let live = self.live_runs(&record.project.id);
        let wanted = |run: &RunSpec| {
            let status_now = live
                .iter()
                .find(|(id, _)| run.id.as_ref() == Some(id))
                .map_or(run.status, |(_, state)| state.0);
            status.is_none_or(|s| s == status_now) && trigger.is_none_or(|t| t == run.trigger)
        };
        let mut matching = world.runs(record).iter().filter(|run| wanted(run)).skip(offset);
        let runs: Vec<Value> =
            matching.by_ref().take(limit).map(|spec| self.run_json(&world, record, spec)).collect();
        let more = matching.next().is_some();
        let url = |offset: usize| {
            let mut query = form_urlencoded::Serializer::new(String::new());
            query.append_pair("limit", &limit.to_string()).append_pair("offset", &offset.to_string());
            for name in ["statusFilter", "runTriggerFilter"] {
                if let Some(value) = call.get(name) {
                    query.append_pair(name, value);
                }
            }
            format!("{}/api/v1/projects/{id}/runs?{}", call.base, query.finish())
        };
        let next = more.then(|| url(offset + limit));
        let previous = (offset > 0).then(|| url(offset.saturating_sub(limit)));
        Ok((
            200,
            Some(json!({"runs": runs, "nextPage": next, "previousPage": previous, "traceId": call.trace})),
        ))
    }

    /// State of the runs of a project that were started over the API: id, status and elapsed time.
    fn live_runs(&self, project: &str) -> Vec<(String, (&'static str, Option<TimeDelta>))> {
        let now = self.clock.now();
        lock(&self.live)
            .runs
            .iter()
            .filter(|r| r.project == project)
            .map(|r| (r.run.clone(), r.state(now)))
            .collect()
    }

    fn run_json(&self, world: &World, record: &super::ProjectRecord, spec: &RunSpec) -> Value {
        let mut spec = spec.clone();
        if let Some(id) = &spec.id {
            let now = self.clock.now();
            if let Some(live) = lock(&self.live).runs.iter().find(|r| r.run == *id) {
                let (status, elapsed) = live.state(now);
                spec.status = status;
                spec.elapsed_ms = elapsed.map(|e| e.num_milliseconds().clamp(0, i64::from(u32::MAX)) as u32);
            }
        }
        json!(world.run(record, &spec))
    }

    fn get_run(&self, call: &Call<'_>, id: &str, run: &str) -> Answer {
        uuid(call, id, "projectId")?;
        uuid(call, run, "runId")?;
        let world = self.world();
        let at = world.find_project(id).ok_or_else(|| Failure::new(404, "Project not found"))?;
        let record = &world.projects[at];
        let spec = world.runs(record).iter().find(|spec| world.run_id(record, spec) == run);
        let spec = spec.ok_or_else(|| Failure::new(404, "Run not found"))?;
        Ok((200, Some(self.run_json(&world, record, spec))))
    }

    fn start_run(&self, call: &Call<'_>, id: &str) -> Answer {
        uuid(call, id, "projectId")?;
        let body = call.json()?;
        let run: RunRequest = serde_json::from_value(Value::Object(body))
            .map_err(|e| Failure::new(400, "The body is not a run request").details(e.to_string()))?;
        let now = self.clock.now();
        let mut world = self.world_mut();
        let at = world.find_project(id).ok_or_else(|| Failure::new(404, "Project not found"))?;
        let record = &world.projects[at];
        if record.project.last_published_at.is_none() {
            return Err(
                Failure::new(422, "The project has no published version").details("Publish it, then run it.")
            );
        }
        let params = run.input_params.clone().unwrap_or_default();
        if !params.is_empty() && run.view_id.is_some() {
            return Err(Failure::new(400, "viewId and inputParams exclude each other"));
        }
        if !params.is_empty() && run.update_published_results == Some(true) {
            return Err(Failure::new(400, "updatePublishedResults can't go with inputParams"));
        }
        check_inputs(&record.inputs, &params, &call.trace)?;
        let dry = run.dry_run == Some(true);
        let seed = world.config.seed;
        let number = world.runs(record).len() as u32;
        let serial = {
            let mut live = lock(&self.live);
            if !dry {
                admit_run(&mut live, self.config.kernels, now)?;
            }
            live.runs.len() as u64
        };
        let run_id = rng::uuid(seed, "live-run", record.index.wrapping_mul(1 << 20) + serial);
        let project_id = record.project.id.clone();
        let started = StartedRun {
            run_url: world.run_url(&project_id, &run_id),
            run_status_url: format!("{}/api/v1/projects/{project_id}/runs/{run_id}", call.base),
            trace_id: call.trace.clone(),
            project_version: record.version,
            notifications: None,
            project_id,
            run_id,
        };
        if !dry {
            let r = &mut rng::of(seed, "live-run-fate", serial);
            lock(&self.live).runs.push(LiveRun {
                project: started.project_id.clone(),
                run: started.run_id.clone(),
                started: now,
                elapsed: TimeDelta::milliseconds(r.random_range(2_000..9_000)),
                fails: params.get("lower").is_some_and(|v| v.as_f64() == Some(-1.0)),
                killed: None,
            });
            let config = world.config.clone();
            let id = Some(started.run_id.clone());
            let spec =
                RunSpec { number, triggered: now, elapsed_ms: None, status: "PENDING", trigger: "API", id };
            World::runs_mut(&config, &mut world.projects[at]).insert(0, spec);
        }
        Ok((201, Some(json!(started))))
    }

    fn cancel_run(&self, call: &Call<'_>, id: &str, run: &str) -> Answer {
        uuid(call, id, "projectId")?;
        uuid(call, run, "runId")?;
        let world = self.world();
        let at = world.find_project(id).ok_or_else(|| Failure::new(404, "Project not found"))?;
        let record = &world.projects[at];
        let known = world.runs(record).iter().any(|spec| world.run_id(record, spec) == run);
        let now = self.clock.now();
        let mut live = lock(&self.live);
        match live.runs.iter_mut().find(|r| r.run == run) {
            Some(live) if matches!(live.state(now).0, "PENDING" | "RUNNING") => {
                live.killed = Some(now);
                Ok((204, None))
            }
            Some(_) => Err(Failure::new(422, "The run has already finished")),
            None if known => Err(Failure::new(422, "The run has already finished")),
            None => Err(Failure::new(404, "Run not found")),
        }
    }

    fn list_cells(&self, call: &Call<'_>) -> Answer {
        let id = call.get("projectId").ok_or_else(|| call.bad("projectId", "is required"))?;
        let world = self.world();
        let at = world.find_project(id).ok_or_else(|| Failure::new(404, "Project not found"))?;
        let cells = world.cells(&world.projects[at]);
        let items: Vec<_> = cells
            .iter()
            .enumerate()
            .map(|(i, (cell, _))| ((format!("{i:08}"), cell.static_id.clone()), cell))
            .collect();
        cursor_page(call, items, "values", 25, 100)
    }

    fn get_cell(&self, id: &str) -> Answer {
        let world = self.world();
        let cell = world.projects.iter().find_map(|record| {
            world.cells(record).into_iter().map(|(cell, _)| cell).find(|c| c.id == id || c.static_id == id)
        });
        found(cell.as_ref(), "cell")
    }

    /// The project as a file. JSON is YAML, and it is what YAML writers and readers agree on.
    fn export_project(&self, call: &Call<'_>) -> Answer {
        let body = call.json()?;
        let id = body
            .get("projectId")
            .and_then(Value::as_str)
            .ok_or_else(|| Failure::new(400, "projectId is required"))?;
        let world = self.world();
        let at = world.find_project(id).ok_or_else(|| Failure::new(400, "Project not found"))?;
        let record = &world.projects[at];
        let cells: Vec<Value> = world
            .cells(record)
            .into_iter()
            .map(|(cell, _)| {
                let mut config = json!({});
                if let Some(sql) = cell.contents.sql_cell {
                    config = json!({"source": sql.source, "dataConnectionId": cell.data_connection_id, "resultVariableName": sql.output_dataframe});
                } else if let Some(source) = cell.contents.code_cell.or(cell.contents.markdown_cell) {
                    config = json!({"source": source.source});
                }
                json!({"cellType": cell.cell_type, "cellId": cell.static_id, "cellLabel": cell.label, "config": config})
            })
            .collect();
        let file = json!({
            "schemaVersion": 3,
            "meta": {"projectId": record.project.id, "title": record.project.title, "description": record.project.description},
            "cells": cells,
        });
        let content = serde_json::to_string_pretty(&file).unwrap_or_default();
        Ok((200, Some(json!({"filename": format!("{}.yaml", record.project.id), "content": content}))))
    }

    fn list_users(&self, call: &Call<'_>) -> Answer {
        let by_email = call.one_of("sortBy", &["NAME", "EMAIL"])? == Some("EMAIL");
        let descending = call.one_of("sortDirection", &["ASC", "DESC"])? == Some("DESC");
        let only: Option<Vec<&str>> = call.get("userIds").map(|ids| ids.split(',').map(str::trim).collect());
        let world = self.world();
        let users: Vec<&crate::client::users::User> = match call.get("groupId") {
            None => world.users.iter().collect(),
            Some(id) => {
                let group = world.groups.iter().position(|g| g.id == id);
                world.group_members(group.ok_or_else(|| Failure::new(404, "Group not found"))?)
            }
        };
        let key = |u: &crate::client::users::User| {
            let key = if by_email { u.email.clone() } else { u.name.clone().unwrap_or_default() };
            (key, u.id.clone())
        };
        let items =
            users.into_iter().filter(|u| only.as_ref().is_none_or(|ids| ids.contains(&u.id.as_str())));
        sorted_page(call, items.map(|u| (key(u), u)).collect(), descending, 500)
    }

    fn list_groups(&self, call: &Call<'_>) -> Answer {
        let by_name = call.one_of("sortBy", &["CREATED_AT", "NAME"])? == Some("NAME");
        let descending = call.one_of("sortDirection", &["DESC", "ASC"])? == Some("DESC");
        let world = self.world();
        let key = |g: &crate::client::groups::Group| {
            (if by_name { g.name.clone() } else { g.created_at.clone() }, g.id.clone())
        };
        sorted_page(call, world.groups.iter().map(|g| (key(g), g)).collect(), descending, 500)
    }

    fn list_collections(&self, call: &Call<'_>) -> Answer {
        call.one_of("sortBy", &["NAME"])?;
        let world = self.world();
        let items = world.collections.iter().map(|c| ((c.name.clone(), c.id.clone()), c)).collect();
        sorted_page(call, items, false, 100)
    }

    fn create_collection(&self, call: &Call<'_>) -> Answer {
        let body = call.json()?;
        let name = body.get("name").and_then(Value::as_str).filter(|n| !n.is_empty());
        let name = name.ok_or_else(|| Failure::new(400, "name is required"))?.to_owned();
        let description = body.get("description").and_then(Value::as_str).map(str::to_owned);
        let sharing: CollectionSharing = match body.get("sharing") {
            None => CollectionSharing::default(),
            Some(sharing) => serde_json::from_value(sharing.clone())
                .map_err(|e| Failure::new(400, "sharing is malformed").details(e.to_string()))?,
        };
        let mut world = self.world_mut();
        let serial = 1_000_000 + world.collections.len() as u64;
        let me = &world.users[0];
        let collection = Collection {
            id: rng::uuid(world.config.seed, "collection", serial),
            name,
            description,
            creator: (!self.config.token.workspace)
                .then(|| Creator { email: me.email.clone(), id: me.id.clone() }),
            sharing,
        };
        world.collections.push(collection.clone());
        Ok((201, Some(json!(collection))))
    }

    /// Grants of `many` (each naming `one`) are added to a project's sharing, or replace those there are.
    fn share(&self, call: &Call<'_>, id: &str, many: &str, one: &str) -> Answer {
        uuid(call, id, "projectId")?;
        let body = Value::Object(call.json()?);
        let grants = body.pointer(&format!("/sharing/upsert/{many}")).and_then(Value::as_array);
        let grants = grants.ok_or_else(|| Failure::new(400, format!("sharing.upsert.{many} is required")))?;
        if grants.len() > 25 {
            return Err(Failure::new(400, "Too many grants").details("at most 25"));
        }
        let mut world = self.world_mut();
        let at = world.find_project(id).ok_or_else(|| Failure::new(404, "Project not found"))?;
        let mut granted = Vec::new();
        let mut unknown = Vec::new();
        for grant in grants {
            let (access, who) = (access_level(&grant["access"])?, grant[one]["id"].as_str().unwrap_or(""));
            let name = match many {
                "users" => world.users.iter().find(|u| u.id == who).map(|u| u.email.clone()),
                "groups" => world.groups.iter().find(|g| g.id == who).map(|g| g.name.clone()),
                _ => world.collections.iter().find(|c| c.id == who).map(|c| c.name.clone()),
            };
            match name {
                Some(name) => granted.push((name, access)),
                None => unknown.push(who.to_owned()),
            }
        }
        let sharing = world.projects[at].project.sharing.get_or_insert_default();
        for (name, access) in granted {
            match many {
                "users" => {
                    sharing.users.retain(|g| g.user.email != name);
                    sharing.users.push(UserGrant { access, user: Person { email: name } });
                }
                "groups" => {
                    sharing.groups.retain(|g| g.group.name != name);
                    sharing.groups.push(GroupGrant { access, group: Named { name } });
                }
                _ => {
                    sharing.collections.retain(|g| g.collection.name != name);
                    sharing.collections.push(CollectionGrant { access, collection: Named { name } });
                }
            }
        }
        let mut answer = json!({"project": shown(&world.projects[at], true)});
        if !unknown.is_empty() {
            answer["errors"] =
                json!([{(format!("{one}Ids")): unknown, "reason": format!("There is no such {one}")}]);
        }
        Ok((200, Some(answer)))
    }

    fn share_widely(&self, call: &Call<'_>, id: &str) -> Answer {
        uuid(call, id, "projectId")?;
        let body = Value::Object(call.json()?);
        let level = |name: &str| body["sharing"].get(name).map(access_level).transpose();
        let (workspace, public) = (level("workspace")?, level("publicWeb")?);
        let mut world = self.world_mut();
        let at = world.find_project(id).ok_or_else(|| Failure::new(404, "Project not found"))?;
        let sharing = world.projects[at].project.sharing.get_or_insert_default();
        if let Some(access) = workspace {
            sharing.workspace.access = access;
        }
        if let Some(access) = public {
            sharing.public_web.access = access;
        }
        Ok((200, Some(json!({"project": shown(&world.projects[at], true)}))))
    }

    fn create_group(&self, call: &Call<'_>) -> Answer {
        let body = Value::Object(call.json()?);
        let name = body["name"].as_str().filter(|n| !n.is_empty());
        let name = name.ok_or_else(|| Failure::new(400, "name is required"))?.to_owned();
        let mut world = self.world_mut();
        let members = places_of(&world, body.pointer("/members/users"))?;
        let serial = 1_000_000 + world.groups.len() as u64;
        let group = Group {
            id: rng::uuid(world.config.seed, "group", serial),
            name,
            created_at: iso(self.clock.now()),
        };
        let users: Vec<Value> = members.iter().map(|at| json!({"id": world.users[*at].id})).collect();
        let answer = json!({"id": group.id, "name": group.name, "members": {"users": users}});
        world.groups.push(group);
        world.members.push(members);
        Ok((201, Some(answer)))
    }

    fn edit_group(&self, call: &Call<'_>, id: &str) -> Answer {
        uuid(call, id, "groupId")?;
        let body = Value::Object(call.json()?);
        let mut world = self.world_mut();
        let at = world
            .groups
            .iter()
            .position(|g| g.id == id)
            .ok_or_else(|| Failure::new(404, "Group not found"))?;
        let add = places_of(&world, body.pointer("/members/add/users"))?;
        let remove = places_of(&world, body.pointer("/members/remove/users"))?;
        world.members[at].retain(|member| !remove.contains(member) && !add.contains(member));
        world.members[at].extend(add);
        if let Some(name) = body["name"].as_str().filter(|n| !n.is_empty()) {
            world.groups[at].name = name.to_owned();
        }
        Ok((200, Some(json!(world.groups[at]))))
    }

    fn delete_group(&self, call: &Call<'_>, id: &str) -> Answer {
        uuid(call, id, "groupId")?;
        let mut world = self.world_mut();
        let at = world
            .groups
            .iter()
            .position(|g| g.id == id)
            .ok_or_else(|| Failure::new(404, "Group not found"))?;
        world.groups.remove(at);
        world.members.remove(at);
        Ok((204, None))
    }

    fn edit_collection(&self, call: &Call<'_>, id: &str) -> Answer {
        uuid(call, id, "collectionId")?;
        let body = Value::Object(call.json()?);
        let mut world = self.world_mut();
        let collection = world.collections.iter_mut().find(|c| c.id == id);
        let collection = collection.ok_or_else(|| Failure::new(404, "Collection not found"))?;
        if let Some(name) = body["name"].as_str().filter(|n| !n.is_empty()) {
            collection.name = name.to_owned();
        }
        if let Some(upsert) = body.pointer("/sharing/upsert") {
            let new: CollectionSharing = serde_json::from_value(upsert.clone())
                .map_err(|e| Failure::new(400, "sharing is malformed").details(e.to_string()))?;
            for (have, given) in
                [(&mut collection.sharing.users, new.users), (&mut collection.sharing.groups, new.groups)]
            {
                for grant in given.unwrap_or_default() {
                    let have = have.get_or_insert_default();
                    have.retain(|g| g.id != grant.id);
                    have.push(grant);
                }
            }
            if new.workspace.is_some() {
                collection.sharing.workspace = new.workspace;
            }
        }
        Ok((200, Some(json!(collection))))
    }

    /// A deactivated user is listed no more, and what the user owns stays.
    fn deactivate_user(&self, id: &str) -> Answer {
        let mut world = self.world_mut();
        let at =
            world.users.iter().position(|u| u.id == id).ok_or_else(|| Failure::new(400, "User not found"))?;
        let user = world.users.remove(at);
        for members in &mut world.members {
            members.retain(|member| *member != at);
            members.iter_mut().filter(|member| **member > at).for_each(|member| *member -= 1);
        }
        Ok((200, Some(json!({ "user": user }))))
    }

    fn list_connections(&self, call: &Call<'_>) -> Answer {
        let by_name = call.one_of("sortBy", &["CREATED_AT", "NAME"])? == Some("NAME");
        let descending = call.one_of("sortDirection", &["DESC", "ASC"])? == Some("DESC");
        let world = self.world();
        // The API gives no creation time; the order of the generator stands for it.
        let mut items: Vec<_> = world
            .connections
            .iter()
            .enumerate()
            .map(|(i, c)| ((if by_name { c.name.clone() } else { format!("{i:06}") }, c.id.clone()), c))
            .collect();
        items.sort_by(|a, b| if descending { b.0.cmp(&a.0) } else { a.0.cmp(&b.0) });
        let page = cut(call, items, 25, 100)?;
        let short = self.config.token.short_connections;
        let values = page
            .items
            .iter()
            .map(|c| {
                let mut value = json!(c);
                if short && let Some(object) = value.as_object_mut() {
                    object.retain(|k, _| matches!(k.as_str(), "id" | "name" | "type" | "description"));
                }
                value
            })
            .collect();
        Ok((200, Some(page.envelope("values", values))))
    }

    fn list_threads(&self, call: &Call<'_>) -> Answer {
        let source = call.one_of("source", &["HEX", "SLACK", "MCP", "PUBLIC_API"])?;
        let kind = call.one_of("type", &["THREADS", "NOTEBOOK", "MODELING"])?;
        let days = call.number("numDays", usize::MAX, 1, 36_500)?;
        let user = call.get("userId");
        let feedback = call.get("hasFeedback").map(|_| call.flag("hasFeedback")).transpose()?;
        let topics: Option<Vec<&str>> = call.get("topicIds").map(|ids| ids.split(',').collect());
        let warnings: Option<Vec<&str>> = call.get("warnings").map(|types| types.split(',').collect());
        let roles: Option<Vec<&str>> = call.get("roles").map(|roles| roles.split(',').collect());
        let world = self.world();
        let since = (days < 36_501).then(|| iso(self.clock.now() - TimeDelta::days(days as i64)));
        let role_of = |id: &str| world.users.iter().find(|u| u.id == id).map(|u| u.role.as_str());
        let items = world
            .threads
            .iter()
            .filter(|t| {
                source.is_none_or(|s| t.source == s)
                    && kind.is_none_or(|k| t.kind == k)
                    && user.is_none_or(|u| t.user_id.as_deref() == Some(u))
                    && since.as_ref().is_none_or(|since| t.created_at >= *since)
                    && feedback.is_none_or(|wanted| t.feedback.is_empty() != wanted)
                    && topics
                        .as_ref()
                        .is_none_or(|ids| t.topics.iter().any(|topic| ids.contains(&topic.id.as_str())))
                    && warnings.as_ref().is_none_or(|types| {
                        t.warnings.iter().any(|w| w["type"].as_str().is_some_and(|w| types.contains(&w)))
                    })
                    && roles.as_ref().is_none_or(|roles| {
                        t.user_id.as_deref().and_then(role_of).is_some_and(|r| roles.contains(&r))
                    })
            })
            .map(|t| ((t.created_at.clone(), t.id.clone()), t))
            .collect();
        cursor_page(call, items, "threads", 25, 100)
    }
}

/// Operation, form of its errors, and status for parameters that don't fit.
fn operation_of(call: &Call<'_>) -> Option<(&'static str, Style, u16)> {
    use Style::{Newer, Older};
    let path: Vec<&str> = call.segments.iter().map(String::as_str).collect();
    Some(match (call.method, path.as_slice()) {
        ("GET", ["users", "me"]) => ("Me", Newer, 400),
        ("GET", ["users"]) => ("ListUsers", Newer, 400),
        ("GET", ["projects"]) => ("ListProjects", Older, 400),
        ("POST", ["projects"]) => ("CreateProject", Older, 400),
        ("POST", ["projects", "export"]) => ("ExportProject", Newer, 400),
        ("GET", ["projects", _]) => ("GetProject", Newer, 400),
        ("PATCH", ["projects", _]) => ("UpdateProject", Older, 400),
        ("GET", ["projects", _, "queriedTables"]) => ("GetQueriedTables", Older, 422),
        ("GET", ["projects", _, "runs"]) => ("GetProjectRuns", Older, 422),
        ("POST", ["projects", _, "runs"]) => ("RunProject", Older, 422),
        ("GET", ["projects", _, "runs", _]) => ("GetRunStatus", Older, 422),
        ("DELETE", ["projects", _, "runs", _]) => ("CancelRun", Older, 422),
        ("GET", ["cells"]) => ("ListCells", Newer, 400),
        ("GET", ["cells", _]) => ("GetCell", Newer, 400),
        ("PATCH", ["projects", _, "sharing", "users"]) => ("EditProjectSharingUsers", Older, 400),
        ("PATCH", ["projects", _, "sharing", "groups"]) => ("EditProjectSharingGroups", Older, 400),
        ("PATCH", ["projects", _, "sharing", "collections"]) => ("EditProjectSharingCollections", Older, 400),
        ("PATCH", ["projects", _, "sharing", "workspaceAndPublic"]) => {
            ("EditProjectSharingOrgAndPublic", Older, 400)
        }
        ("POST", ["groups"]) => ("CreateGroup", Older, 400),
        ("PATCH", ["groups", _]) => ("EditGroup", Older, 400),
        ("DELETE", ["groups", _]) => ("DeleteGroup", Older, 400),
        ("PATCH", ["collections", _]) => ("EditCollection", Older, 400),
        ("POST", ["users", _, "deactivate"]) => ("DeactivateUser", Newer, 400),
        ("GET", ["groups"]) => ("ListGroups", Older, 400),
        ("GET", ["groups", _]) => ("GetGroup", Older, 400),
        ("GET", ["collections"]) => ("ListCollections", Older, 400),
        ("POST", ["collections"]) => ("CreateCollection", Older, 400),
        ("GET", ["collections", _]) => ("GetCollection", Older, 400),
        ("GET", ["data-connections"]) => ("ListDataConnections", Older, 400),
        ("GET", ["data-connections", _]) => ("GetDataConnection", Older, 400),
        ("GET", ["threads"]) => ("ListThreads", Newer, 400),
        ("GET", ["context", "topics"]) => ("ListTopics", Newer, 400),
        ("GET", ["guides", "draft", "list"]) => ("ListDraftGuides", Newer, 400),
        _ => return None,
    })
}

fn failure_body(failure: Failure, style: Style, trace: &str) -> Value {
    let Failure { status, reason, details, body } = failure;
    if let Some(body) = body {
        return body;
    }
    match style {
        Style::Older => {
            let mut value = json!({"reason": reason, "traceId": trace});
            if let Some(details) = details {
                value["details"] = json!(details);
            }
            value
        }
        Style::Newer => {
            let code = match status {
                400 => "BAD_REQUEST",
                401 => "UNAUTHORIZED",
                403 => "FORBIDDEN",
                404 => "NOT_FOUND",
                429 => "TOO_MANY_REQUESTS",
                _ => "INTERNAL_SERVER_ERROR",
            };
            let mut value = json!({"message": reason, "code": code});
            if let Some(details) = details {
                value["issues"] = json!([{"message": details}]);
            }
            value
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn ok(value: &impl Serialize) -> Answer {
    Ok((200, Some(json!(value))))
}

fn found(value: Option<&impl Serialize>, what: &str) -> Answer {
    match value {
        Some(value) => ok(value),
        None => Err(Failure::new(404, format!("No such {what}"))),
    }
}

fn uuid(call: &Call<'_>, text: &str, name: &str) -> Result<(), Failure> {
    let fits = text.len() == 36
        && text
            .bytes()
            .enumerate()
            .all(|(i, b)| if [8, 13, 18, 23].contains(&i) { b == b'-' } else { b.is_ascii_hexdigit() });
    if fits { Ok(()) } else { Err(call.bad(name, "is not a UUID")) }
}

fn shown(record: &super::ProjectRecord, sharing: bool) -> Value {
    let mut value = json!(record.project);
    if !sharing && let Some(object) = value.as_object_mut() {
        object.remove("sharing");
    }
    value
}

fn access_level(value: &Value) -> Result<String, Failure> {
    let levels = ["NONE", "APP_ONLY", "CAN_VIEW", "CAN_EDIT", "FULL_ACCESS"];
    let level = value.as_str().filter(|level| levels.contains(level));
    level
        .map(str::to_owned)
        .ok_or_else(|| Failure::new(400, format!("access is not one of {}", levels.join(", "))))
}

/// Places of users that a body names by identifier.
fn places_of(world: &World, users: Option<&Value>) -> Result<Vec<usize>, Failure> {
    let place = |user: &Value| {
        let id = user["id"].as_str().unwrap_or("");
        let at = world.users.iter().position(|u| u.id == id);
        at.ok_or_else(|| Failure::new(400, "Unknown user").details(id.to_owned()))
    };
    users.and_then(Value::as_array).map_or(Ok(Vec::new()), |users| users.iter().map(place).collect())
}

fn check_inputs(
    inputs: &[(String, &'static str)],
    params: &Map<String, Value>,
    trace: &str,
) -> Result<(), Failure> {
    let mut invalid = Vec::new();
    let mut not_found = Vec::new();
    for (name, value) in params {
        match inputs.iter().find(|(known, _)| known == name) {
            None => not_found.push(name.clone()),
            Some((_, "number")) if !value.is_number() => {
                invalid.push(json!({"dataType": "NUMBER", "inputCellType": "NUMBER", "paramValue": value.to_string(), "paramName": name}));
            }
            Some((_, "string")) if !value.is_string() => {
                invalid.push(json!({"dataType": "STRING", "inputCellType": "TEXT_INPUT", "paramValue": value.to_string(), "paramName": name}));
            }
            Some(_) => {}
        }
    }
    if invalid.is_empty() && not_found.is_empty() {
        return Ok(());
    }
    let mut failure = Failure::new(422, "Invalid input parameters");
    failure.body = Some(json!({"traceId": trace, "invalid": invalid, "notFound": not_found}));
    Err(failure)
}

fn admit_run(live: &mut Live, kernels: usize, now: DateTime<Utc>) -> Result<(), Failure> {
    for (most, period) in RUN_LIMITS {
        if live.started.iter().filter(|at| now - **at < period).count() >= most {
            return Err(Failure::new(429, "Too many runs were started")
                .details(format!("at most {most} in {} s", period.num_seconds())));
        }
    }
    let busy = live.runs.iter().filter(|run| matches!(run.state(now).0, "PENDING" | "RUNNING")).count();
    if busy >= kernels {
        return Err(Failure::new(503, "No kernel is free").details(format!("{kernels} are running")));
    }
    live.started.push_back(now);
    while live.started.front().is_some_and(|at| now - *at > RUN_LIMITS[1].1) {
        live.started.pop_front();
    }
    Ok(())
}

type Key = (String, String);

struct Cut<'a, T> {
    items: Vec<&'a T>,
    after: Option<String>,
    before: Option<String>,
}

impl<T> Cut<'_, T> {
    fn envelope(&self, name: &str, values: Vec<Value>) -> Value {
        json!({name: values, "pagination": {"after": self.after, "before": self.before}})
    }
}

/// Cuts the page that the call asks for out of `items`, which are in order and have unique keys.
fn cut<'a, T>(
    call: &Call<'_>,
    items: Vec<(Key, &'a T)>,
    default: usize,
    max: usize,
) -> Result<Cut<'a, T>, Failure> {
    let limit = call.number("limit", default, 1, max)?;
    let (after, before) = (call.get("after"), call.get("before"));
    if after.is_some() && before.is_some() {
        return Err(call.bad("after", "goes without before"));
    }
    let position = |cursor: &str| -> Result<usize, Failure> {
        let key = decode_cursor(cursor).ok_or_else(|| call.bad("cursor", "is not one that this API gave"))?;
        if let Some(at) = items.iter().position(|(k, _)| *k == key) {
            return Ok(at);
        }
        // The item is gone or has moved: its place in the order still tells where the page starts.
        let descending = items.len() > 1 && items[0].0 > items[items.len() - 1].0;
        let passed = |k: &Key| if descending { *k > key } else { *k < key };
        Ok(items.iter().take_while(|(k, _)| passed(k)).count().saturating_sub(1))
    };
    let (from, to) = match (after, before) {
        (Some(cursor), _) => {
            let at = position(cursor)? + 1;
            let at = if call.fate.duplicate { at - 1 } else { at };
            (at, (at + limit).min(items.len()))
        }
        (_, Some(cursor)) => {
            let at = position(cursor)?;
            (at.saturating_sub(limit), at)
        }
        _ => (0, limit.min(items.len())),
    };
    let cursor = |(key, _): &(Key, &T)| encode_cursor(key);
    Ok(Cut {
        after: (to < items.len() && to > from).then(|| cursor(&items[to - 1])),
        before: (from > 0 && to > from).then(|| cursor(&items[from])),
        items: items[from..to].iter().map(|(_, item)| *item).collect(),
    })
}

fn cursor_page<T: Serialize>(
    call: &Call<'_>,
    items: Vec<(Key, &T)>,
    name: &str,
    default: usize,
    max: usize,
) -> Answer {
    let page = cut(call, items, default, max)?;
    let values = page.items.iter().map(|item| json!(item)).collect();
    Ok((200, Some(page.envelope(name, values))))
}

fn sorted_page<T: Serialize>(
    call: &Call<'_>,
    mut items: Vec<(Key, &T)>,
    descending: bool,
    max: usize,
) -> Answer {
    items.sort_by(|a, b| if descending { b.0.cmp(&a.0) } else { a.0.cmp(&b.0) });
    cursor_page(call, items, "values", 25, max)
}

fn encode_cursor(key: &Key) -> String {
    format!("{}\u{0}{}", key.0, key.1).bytes().map(|b| format!("{b:02x}")).collect()
}

fn decode_cursor(text: &str) -> Option<Key> {
    let bytes: Option<Vec<u8>> = (0..text.len())
        .step_by(2)
        .map(|i| text.get(i..i + 2).and_then(|h| u8::from_str_radix(h, 16).ok()))
        .collect();
    let text = String::from_utf8(bytes?).ok()?;
    let (a, b) = text.split_once('\u{0}')?;
    Some((a.to_owned(), b.to_owned()))
}
