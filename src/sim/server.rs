//! The simulated workspace's HTTP server.

use std::collections::HashSet;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Instant;

use axum::body::Body;
use axum::http::request::Parts;
use axum::http::{HeaderMap, Request, Response, StatusCode, header};
use bytes::Bytes;
use chrono::{DateTime, TimeDelta, Utc};
use hyper_util::rt::{TokioIo, TokioTimer};
use rand::RngExt;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use url::form_urlencoded;

use super::api::{self, Route};
use super::call::{Call, Content, Failure, Style};
use super::changes::Change;
use super::clock::Clock;
use super::faults::{About, Fate, Fault, Faults, Refusal, Refused};
use super::limits::{Counters, Limits};
use super::live::Live;
use super::rng;
use super::world::{World, WorldConfig};
use crate::client::limits::{self, LimitGroup};
use crate::client::operation;

/// Tokens that the simulated server accepts, and what they see.
#[derive(Debug, Clone, Default)]
pub struct SimToken {
    /// The only token accepted; any is, if none is set.
    pub secret: Option<String>,
    /// A workspace token: `Me` names no user.
    pub workspace: bool,
    /// The user whom it acts as, by email; the workspace's first, if none is named.
    pub user: Option<String>,
    /// An expired token: every answer is 401.
    pub expired: bool,
    /// Operations that the token may use; all, if not set. Others are answered with 403.
    pub allowed: Option<Vec<String>>,
    /// Operations that the token may not use: 403.
    pub forbidden: Vec<String>,
    /// Projects that the token sees; all, if not set. Others are to it as if they weren't there.
    pub sees: Option<HashSet<String>>,
    /// Projects that it has lost sight of.
    pub hidden: HashSet<String>,
    /// Whether data connections come in the short form.
    pub short_connections: bool,
}

impl SimToken {
    /// Whether the token may use an operation.
    pub(super) fn may(&self, operation: &str) -> bool {
        let named = |list: &[String]| list.iter().any(|name| name == operation);
        self.allowed.as_deref().is_none_or(named) && !named(&self.forbidden)
    }

    /// Whether the token sees a project.
    pub(super) fn sees(&self, project: &str) -> bool {
        self.sees.as_ref().is_none_or(|sees| sees.contains(project)) && !self.hidden.contains(project)
    }
}

/// Configuration of the simulated server.
#[derive(Debug, Clone)]
pub struct SimConfig {
    /// The workspace.
    pub world: WorldConfig,
    /// Request limits; none if not set.
    pub limit: Option<Limits>,
    /// Faults.
    pub faults: Faults,
    /// Accepted tokens.
    pub token: SimToken,
    /// Simulated seconds a second; 0 stands still.
    pub clock_scale: f64,
    /// A jump of the clock: before which request (from 0), and by how much.
    pub clock_jump: Option<(u64, TimeDelta)>,
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
            clock_jump: None,
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
    /// Body.
    pub body: Bytes,
}

impl RequestRecord {
    /// The operation that was asked for; `None` if there is no such route.
    pub fn operation(&self) -> Option<&'static str> {
        let method = self.method.parse().ok()?;
        let path = self.target.split('?').next().unwrap_or_default();
        api::find(&method, &segments(path)).map(|(route, _)| route.operation)
    }
}

/// The decoded segments of a path below `/api/v1`.
fn segments(path: &str) -> Vec<String> {
    let decoded = |segment: &str| {
        form_urlencoded::parse(format!("x={}", segment.replace('+', "%2B")).as_bytes())
            .next()
            .map_or_else(String::new, |(_, value)| value.into_owned())
    };
    path.split('/').filter(|segment| !segment.is_empty()).map(decoded).collect()
}

/// A running simulated server; stops when dropped.
pub struct SimServer {
    addr: SocketAddr,
    pub(super) sim: Arc<Sim>,
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
        let mut server = Self::unbound(config);
        server.addr = addr;
        server.tasks.spawn(accept(listener, server.sim.clone()));
        Ok(server)
    }

    /// Generates the workspace, to be asked without a network; see [`InProcess`](super::InProcess).
    pub fn unbound(config: SimConfig) -> Self {
        let world = World::generate(config.world.clone());
        let sim = Arc::new(Sim {
            clock: Mutex::new(Clock::new(config.world.epoch, config.clock_scale)),
            faults: RwLock::new(Arc::new(config.faults.clone())),
            token: RwLock::new(Arc::new(config.token.clone())),
            counters: Mutex::default(),
            live: Mutex::new(Live::default()),
            served: AtomicU64::new(0),
            log: Mutex::new(Vec::new()),
            touched: Mutex::new(HashSet::new()),
            world: RwLock::new(world),
            config,
        });
        Self { addr: ([127, 0, 0, 1], 0).into(), sim, tasks: JoinSet::new() }
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

    /// Other faults from the next request on.
    pub fn set_faults(&self, faults: Faults) {
        *write(&self.sim.faults) = Arc::new(faults);
    }

    /// Refuses more requests from the next one on.
    pub fn refuse(&self, refusals: impl IntoIterator<Item = Refusal>) {
        Arc::make_mut(&mut write(&self.sim.faults)).refusals.extend(refusals);
    }

    /// Another token (another user, other scopes) from the next request on.
    pub fn set_token(&self, token: SimToken) {
        *write(&self.sim.token) = Arc::new(token);
    }

    /// Simulated time.
    pub fn now(&self) -> DateTime<Utc> {
        self.sim.now()
    }

    /// Sets the clock, forwards or back; it goes on at its pace from there.
    pub fn set_now(&self, now: DateTime<Utc>) {
        lock(&self.sim.clock).set(now);
    }

    /// Puts another workspace behind the same address, as if the address had been given to another
    /// organisation: other identifiers throughout. Runs started so far are forgotten.
    pub fn swap_workspace(&self, config: WorldConfig) {
        *self.world_mut() = World::generate(config);
        *lock(&self.sim.live) = Live::default();
    }

    /// Makes a change now; see [`World::change`].
    pub fn change(&self, change: Change, at: usize) -> Option<String> {
        let now = self.now();
        self.world_mut().change(change, at, now)
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

/// An answer before it is put on a connection.
pub(super) struct Reply {
    pub status: u16,
    pub headers: HeaderMap,
    pub text: Bytes,
    /// Fault to apply to the body.
    pub fault: Fault,
}

/// The simulated workspace and everything that its handlers need.
pub(crate) struct Sim {
    pub(super) config: SimConfig,
    clock: Mutex<Clock>,
    faults: RwLock<Arc<Faults>>,
    token: RwLock<Arc<SimToken>>,
    pub(super) world: RwLock<World>,
    pub(super) counters: Mutex<Counters>,
    pub(super) live: Mutex<Live>,
    pub(super) served: AtomicU64,
    pub(super) log: Mutex<Vec<RequestRecord>>,
    pub(super) touched: Mutex<HashSet<String>>,
}

impl Sim {
    pub(super) fn world(&self) -> RwLockReadGuard<'_, World> {
        read(&self.world)
    }

    pub(super) fn world_mut(&self) -> RwLockWriteGuard<'_, World> {
        write(&self.world)
    }

    pub(super) fn now(&self) -> DateTime<Utc> {
        lock(&self.clock).now()
    }

    /// The clock jumps that are due at a request, whatever the machine's speed.
    fn jump(&self, request: u64) {
        if let Some((_, by)) = self.config.clock_jump.filter(|(at, _)| *at == request) {
            let mut clock = lock(&self.clock);
            let now = clock.now();
            clock.set(now + by);
        }
    }

    /// Makes the changes that are due at a request, whatever the machine's speed.
    fn churn(&self, request: u64) {
        let due = |requests: u64| (requests as f64 * self.config.churn) as u64;
        for change in due(request)..due(request + 1) {
            let now = self.now();
            let changed = self.world_mut().churn(&mut rng::of(self.config.world.seed, "churn", change), now);
            lock(&self.touched).extend(changed);
        }
    }

    async fn answer(self: Arc<Self>, request: Request<hyper::body::Incoming>) -> io::Result<Response<Body>> {
        let (parts, body) = request.into_parts();
        let body = axum::body::to_bytes(Body::new(body), 16 << 20).await.map_err(io::Error::other)?;
        let Reply { status, mut headers, text, fault } = self.exchange(&parts, body).await?;
        let body = match fault {
            Fault::Truncate if text.len() > 1 => {
                headers.insert(header::CONTENT_LENGTH, text.len().into());
                let half = text.slice(..text.len() / 2);
                // Ending the stream with an error before its declared length closes the connection.
                let parts = futures::stream::iter([Ok(half), Err(io::Error::other("fault: truncated"))]);
                Body::from_stream(parts)
            }
            _ => Body::from(text),
        };
        let mut response = Response::new(body);
        *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        *response.headers_mut() = headers;
        Ok(response)
    }

    /// Handles a request, whatever the transport. An error is a connection that breaks.
    pub(super) async fn exchange(&self, parts: &Parts, body: Bytes) -> io::Result<Reply> {
        let number = self.served.fetch_add(1, Ordering::Relaxed);
        let at = Instant::now();
        let faults = read(&self.faults).clone();
        let fate = faults.fate(number);
        self.churn(number);
        self.jump(number);
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
            tokio::time::sleep(faults.hang).await;
            return Err(io::Error::other("fault: no answer"));
        }
        let (status, headers, mut text) = self.respond(parts, &body, fate, number, &faults);
        if fate.fault == Fault::Reset || status == LOST {
            record(0, body);
            return Err(io::Error::other("fault: connection closed"));
        }
        record(status, body);
        if fate.fault == Fault::Malformed && text.len() > 1 {
            text = text.slice(..text.len() - 1);
        }
        Ok(Reply { status, headers, text, fault: fate.fault })
    }

    /// Everything that needs no waiting.
    fn respond(
        &self,
        parts: &Parts,
        body: &[u8],
        fate: Fate,
        number: u64,
        faults: &Faults,
    ) -> (u16, HeaderMap, Bytes) {
        let trace = format!("{:032x}", rng::of(self.config.world.seed, "trace", number).random::<u128>());
        let mut headers = HeaderMap::new();
        let path = parts.uri.path();
        let query = parts.uri.query().unwrap_or("");
        let host = parts.headers.get(header::HOST).and_then(|h| h.to_str().ok()).unwrap_or("localhost");
        let segments = segments(path.strip_prefix("/api/v1/").unwrap_or(""));
        let (route, args) = api::find(&parts.method, &segments).unzip();
        let call = Call {
            args: args.unwrap_or_default(),
            query: form_urlencoded::parse(query.as_bytes()).into_owned().collect(),
            body,
            expanded_stats: parts.headers.contains_key(operation::EXPANDED_STATS),
            content_type: parts
                .headers
                .get(header::CONTENT_TYPE)
                .and_then(|kind| kind.to_str().ok())
                .unwrap_or(""),
            base: format!("http://{host}"),
            trace: trace.clone(),
            fate,
            paging: route.and_then(|route| faults.paging(route.operation)),
            page_cap: faults.page_cap.unwrap_or(usize::MAX),
            token: read(&self.token).clone(),
            invalid: route.map_or(400, |route| route.invalid),
        };
        let style = route.map_or(Style::Newer, |route| route.style);
        let group =
            route.and_then(|route| operation::by_id(route.operation)).map_or(&limits::DEFAULT, |op| op.group);
        let answer = self.admit(&parts.headers, group, fate, &call.token, &mut headers).and_then(|()| {
            let Some(route) = route else {
                return Err(Failure::new(404, format!("There is no {} {path}", parts.method)));
            };
            let refused = self.refused(route, &call, faults);
            if let Some(failure) = refused.and_then(refusal) {
                return Err(failure);
            }
            if !call.token.may(route.operation) {
                return Err(Failure::new(403, format!("This token has no access to {}", route.operation)));
            }
            self.settle();
            let answer = (route.handler)(self, &call);
            if refused == Some(Refused::Lost) { Ok((LOST, None)) } else { answer }
        });
        let (status, content) = match answer {
            Ok((status, value)) => (status, value.map(|value| Content::json(&value))),
            Err(failure) => (failure.status, Some(failure.content(style, &trace))),
        };
        // An answer without content has no type either.
        let text = content.map_or_else(Bytes::new, |Content { kind, text }| {
            headers.insert(header::CONTENT_TYPE, header::HeaderValue::from_static(kind));
            text
        });
        (status, headers, text)
    }

    /// Brings the runs started over the API to this moment.
    fn settle(&self) {
        if lock(&self.live).runs.is_empty() {
            return;
        }
        let now = self.now();
        let mut world = self.world_mut();
        lock(&self.live).settle(&mut world, now);
    }

    /// The refusal that stands for a request, if one does; it counts as used.
    fn refused(&self, route: &Route, call: &Call<'_>, faults: &Faults) -> Option<Refused> {
        let about = About {
            operation: route.operation,
            later_page: call.is_later_page(),
            names: &|entity| call.names(entity),
        };
        let (at, refusal) = faults.refusal(&about)?;
        let answer = refusal.answer;
        if refusal.times.is_some() {
            let mut faults = write(&self.faults);
            let left = Arc::make_mut(&mut faults).refusals.get_mut(at).and_then(|r| r.times.as_mut());
            if let Some(left) = left {
                *left = left.saturating_sub(1);
            }
        }
        Some(answer)
    }

    /// Token, limit and the faults that stand for a busy server.
    fn admit(
        &self,
        request: &HeaderMap,
        group: &LimitGroup,
        fate: Fate,
        token: &SimToken,
        headers: &mut HeaderMap,
    ) -> Result<(), Failure> {
        let bearer = request
            .get(header::AUTHORIZATION)
            .and_then(|value| value.to_str().ok())
            .and_then(|value| {
                value.split_once(' ').filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
            })
            .map(|(_, token)| token.trim())
            .filter(|token| !token.is_empty())
            .ok_or_else(Failure::unauthorized)?;
        if token.expired || token.secret.as_deref().is_some_and(|secret| secret != bearer) {
            return Err(Failure::unauthorized());
        }
        if let Some(limits) = &self.config.limit {
            let (allowed, said) = lock(&self.counters).take(limits, bearer, group);
            for (name, value) in said {
                headers.insert(name, value.parse().expect("numbers and names are header values"));
            }
            if !allowed {
                return Err(Failure::new(429, "Too many requests"));
            }
        }
        match fate.fault {
            Fault::TooMany => {
                let wait = read(&self.faults).retry_after.as_secs_f64().ceil().to_string();
                headers.insert(header::RETRY_AFTER, wait.parse().expect("a number is a header value"));
                Err(Failure::new(429, "Too many requests"))
            }
            Fault::Error(status) => Err(Failure::new(status, "Something went wrong")),
            _ => Ok(()),
        }
    }
}

/// Stands for a status where the answer is lost.
const LOST: u16 = 0;

/// Answer to a refused request; `None` where only the answer is lost.
fn refusal(refused: Refused) -> Option<Failure> {
    match refused {
        Refused::Status(status) => Some(Failure::new(status, "Refused by a fault of the simulator")),
        Refused::BareUnauthorized => Some(Failure::unauthorized()),
        Refused::Html => Some(Failure::html()),
        Refused::Lost => None,
    }
}

fn read<T>(lock: &RwLock<T>) -> RwLockReadGuard<'_, T> {
    lock.read().unwrap_or_else(PoisonError::into_inner)
}

fn write<T>(lock: &RwLock<T>) -> RwLockWriteGuard<'_, T> {
    lock.write().unwrap_or_else(PoisonError::into_inner)
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
