//! Sending: pace, token, retries, and reading the answer to its end.

use std::error::Error as _;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use chrono::{DateTime, Utc};
use rand::RngExt;
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderName, LOCATION, RETRY_AFTER};
use tokio::time::Instant;

use super::config::{BaseUrl, Token};
use super::error::{ApiErrorBody, Error, TransportKind};
use super::judge::{Verdict, judge};
use super::operation::{Effect, Method, Operation};
use super::pace::{LimitHeaders, Pace, Pacer};
use super::request::ApiRequest;

/// Attempts to reach a server that has not answered like Hex yet.
const FIRST_ATTEMPTS: u32 = 4;

/// When a failed read is sent again.
#[derive(Debug, Clone, Copy)]
pub struct RetryPolicy {
    /// Attempts in all, refusals (429) not counted.
    pub attempts: u32,
    /// Refusals (429) that one request bears.
    pub refusals: u32,
    /// First wait; doubles with each attempt, and a random share of it is waited.
    pub base: Duration,
    /// Longest wait.
    pub cap: Duration,
    /// No attempt starts later than this after the first.
    pub within: Duration,
    /// Failed attempts in a row, over all requests, after which the API counts as dead.
    pub circuit: u32,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self {
            attempts: 8,
            refusals: 30,
            base: Duration::from_millis(500),
            cap: Duration::from_secs(30),
            within: Duration::from_secs(600),
            circuit: 24,
        }
    }
}

/// What a client tells its observer.
#[derive(Debug, Clone)]
pub enum ClientEvent {
    /// A request left.
    Sent {
        /// Number of the request within the client, from 1.
        id: u64,
        /// Operation.
        operation: &'static Operation,
    },
    /// An answer came, of whatever status.
    Answered {
        /// Number of the request.
        id: u64,
        /// Operation.
        operation: &'static Operation,
        /// HTTP status.
        status: u16,
        /// Time from sending to the last byte.
        took: Duration,
    },
    /// An attempt failed and will be repeated.
    Retry {
        /// Operation.
        operation: &'static Operation,
        /// What failed, in words.
        why: String,
        /// Time until the next attempt.
        wait: Duration,
        /// Hex's trace id, if the answer had one.
        trace_id: Option<String>,
    },
    /// The server refused a request (429).
    Refused {
        /// Operation.
        operation: &'static Operation,
        /// Time that nothing is sent.
        wait: Duration,
        /// Requests a minute from now on.
        per_minute: Option<f64>,
    },
}

/// Listens to a client. Must be quick: it is called between requests.
pub trait Observer: Send + Sync {
    /// Something happened.
    fn event(&self, event: ClientEvent);
}

struct Silent;

impl Observer for Silent {
    fn event(&self, _: ClientEvent) {}
}

/// A complete answer with a status of 2xx.
#[derive(Debug, Clone)]
pub struct Response {
    /// HTTP status.
    pub status: u16,
    /// The body as [judged](super::judge()): JSON that every reader accepts, a page if a list was asked for; or
    /// empty, in answer to a write.
    pub body: Bytes,
    /// When it was complete.
    pub fetched_at: DateTime<Utc>,
    /// Requests sent for it, refused ones included.
    pub attempts: u32,
    /// What the headers said about the server's limit.
    pub limit: LimitHeaders,
}

/// Everything that shapes a client.
#[derive(Clone)]
pub struct ClientConfig {
    /// Where the API is.
    pub base_url: BaseUrl,
    /// Who asks.
    pub token: Token,
    /// Pace.
    pub pace: Pace,
    /// Retries.
    pub retry: RetryPolicy,
    /// Time for one attempt, from connecting to the last byte.
    pub timeout: Duration,
    /// Who listens.
    pub observer: Option<Arc<dyn Observer>>,
}

impl ClientConfig {
    /// A configuration with Hex's pace, default retries and a minute for each attempt.
    pub fn new(base_url: BaseUrl, token: Token) -> Self {
        Self {
            base_url,
            token,
            pace: Pace::HEX,
            retry: RetryPolicy::default(),
            timeout: Duration::from_secs(60),
            observer: None,
        }
    }
}

/// A client of the Hex API. Cheap to clone; clones share pace, connections and circuit breaker.
#[derive(Clone)]
pub struct Client {
    inner: Arc<Inner>,
}

struct Inner {
    http: reqwest::Client,
    base_url: BaseUrl,
    token: Token,
    pacer: Pacer,
    retry: RetryPolicy,
    observer: Arc<dyn Observer>,
    failures_in_a_row: AtomicU32,
    /// The last of them, in words.
    last_failure: Mutex<String>,
    /// Whether the server ever answered like Hex.
    reached: AtomicBool,
    requests: AtomicU64,
}

/// How one attempt ended.
enum Attempt {
    Done(Response),
    Refused { error: Error, wait: Duration },
    Failed { error: Error, again: Again },
}

/// Whether a failed attempt may be repeated.
#[derive(Clone, Copy, PartialEq)]
enum Again {
    /// It never reached the server.
    Always,
    /// It may have been acted on.
    IfRead,
    /// The answer would be the same.
    Never,
}

impl Client {
    /// A client for `config`.
    ///
    /// # Errors
    /// [`Error::BaseUrl`] if no TLS or no HTTP client can be set up.
    pub fn new(config: ClientConfig) -> Result<Self, Error> {
        let http = plain(config.timeout)
            .map_err(|e| Error::BaseUrl(format!("no HTTP client can be set up: {}", chain(&e))))?;
        Ok(Self {
            inner: Arc::new(Inner {
                http,
                base_url: config.base_url,
                token: config.token,
                pacer: Pacer::new(config.pace),
                retry: config.retry,
                observer: config.observer.unwrap_or_else(|| Arc::new(Silent)),
                failures_in_a_row: AtomicU32::new(0),
                last_failure: Mutex::new(String::new()),
                reached: AtomicBool::new(false),
                requests: AtomicU64::new(0),
            }),
        })
    }

    /// Where this client's API is.
    pub fn base_url(&self) -> &BaseUrl {
        &self.inner.base_url
    }

    /// Requests sent so far, repeated and refused ones included.
    pub fn requests_sent(&self) -> u64 {
        self.inner.requests.load(Ordering::Relaxed)
    }

    /// Requests a minute at the current pace; `None` when nothing limits it.
    pub fn per_minute(&self) -> Option<f64> {
        self.inner.pacer.per_minute()
    }

    /// Sends a request and reads the answer to its end. Waits for the pace; repeats a failed read.
    ///
    /// # Errors
    /// Any of [`Error`]: of the last attempt, when none succeeded.
    pub async fn send(&self, request: &ApiRequest) -> Result<Response, Error> {
        let retry = self.inner.retry;
        let started = Instant::now();
        let (mut sent, mut failed, mut refused) = (0, 0, 0);
        loop {
            self.check_circuit()?;
            self.inner.pacer.turn().await;
            self.check_circuit()?;
            sent += 1;
            let error = match self.attempt(request, sent).await {
                Attempt::Done(response) => return Ok(response),
                Attempt::Refused { error, wait } => {
                    refused += 1;
                    let late = started.elapsed() + wait > retry.within.max(wait * 2);
                    if request.operation().effect == Effect::Write || refused > retry.refusals || late {
                        return Err(error);
                    }
                    continue;
                }
                Attempt::Failed { error, again } => {
                    failed += 1;
                    let may = match again {
                        Again::Always => true,
                        Again::IfRead => request.operation().effect == Effect::Read,
                        Again::Never => false,
                    };
                    // A host that never answered like Hex is more likely misnamed than down.
                    let elsewhere = matches!(
                        error,
                        Error::Malformed { .. } | Error::Transport { kind: TransportKind::Connect, .. }
                    );
                    let reached = self.inner.reached.load(Ordering::Relaxed);
                    let unknown = elsewhere && !reached && failed >= FIRST_ATTEMPTS;
                    if !may || unknown || failed >= retry.attempts || started.elapsed() > retry.within {
                        return Err(error);
                    }
                    *self.inner.last_failure.lock().unwrap_or_else(PoisonError::into_inner) =
                        error.to_string();
                    error
                }
            };
            // A busy server knows best when to come back.
            let asked = match &error {
                Error::Api { retry_after, .. } => retry_after.unwrap_or_default(),
                _ => Duration::ZERO,
            };
            let wait = backoff(&retry, failed).max(asked.min(retry.within));
            let (operation, trace_id) = (request.operation(), error.trace_id().map(str::to_owned));
            self.inner.observer.event(ClientEvent::Retry {
                operation,
                why: error.to_string(),
                wait,
                trace_id,
            });
            tokio::time::sleep(wait).await;
        }
    }

    fn check_circuit(&self) -> Result<(), Error> {
        let failures = self.inner.failures_in_a_row.load(Ordering::Relaxed);
        if failures >= self.inner.retry.circuit {
            return Err(Error::CircuitOpen { failures, last: "no answer since".into() });
        }
        Ok(())
    }

    async fn attempt(&self, request: &ApiRequest, attempts: u32) -> Attempt {
        let operation = request.operation();
        let method = match operation.method {
            Method::Get => reqwest::Method::GET,
            Method::Post => reqwest::Method::POST,
            Method::Patch => reqwest::Method::PATCH,
            Method::Delete => reqwest::Method::DELETE,
        };
        let builder = self.inner.http.request(method, self.inner.base_url.join(request.path()));
        let mut builder = self.inner.token.on(builder).header(reqwest::header::ACCEPT, "application/json");
        if !request.query_pairs().is_empty() {
            builder = builder.query(request.query_pairs());
        }
        if let Some(body) = request.json_body() {
            builder = builder.json(body);
        }
        let id = self.inner.requests.fetch_add(1, Ordering::Relaxed) + 1;
        self.inner.observer.event(ClientEvent::Sent { id, operation });
        let sent_at = Instant::now();
        let answer = match builder.send().await {
            Ok(answer) => answer,
            Err(error) => return self.broken(operation, &error, attempts),
        };
        let status = answer.status().as_u16();
        let limit = limit_headers(answer.headers());
        let retry_after = retry_after(answer.headers());
        let content_type = header_text(answer.headers(), CONTENT_TYPE);
        let location = header_text(answer.headers(), LOCATION);
        let body = match answer.bytes().await {
            Ok(body) => body,
            Err(error) => return self.broken(operation, &error, attempts),
        };
        self.inner.observer.event(ClientEvent::Answered { id, operation, status, took: sent_at.elapsed() });
        if status == 429 {
            let wait = self.inner.pacer.refused(&limit, retry_after, sent_at);
            let per_minute = self.inner.pacer.per_minute();
            self.inner.observer.event(ClientEvent::Refused { operation, wait, per_minute });
            let error = Error::Api {
                operation,
                status,
                body: Box::new(ApiErrorBody::parse(&body)),
                retry_after: Some(wait),
                attempts,
            };
            return Attempt::Refused { error, wait };
        }
        self.inner.pacer.accepted(&limit);
        if !(200..300).contains(&status) {
            let again = if status == 408 || status >= 500 { Again::IfRead } else { Again::Never };
            let failure = again == Again::IfRead;
            self.count(failure);
            let mut body = ApiErrorBody::parse(&body);
            if (300..400).contains(&status) {
                body = redirect(location.as_deref());
            }
            let error = Error::Api { operation, status, body: Box::new(body), retry_after, attempts };
            return Attempt::Failed { error, again };
        }
        let body = match judge(operation, status, content_type.as_deref(), &body) {
            Verdict::Page { body, .. } | Verdict::Single { body, .. } | Verdict::Empty { body } => body,
            Verdict::NotAPage { why } => {
                self.count(true);
                let detail = format!("{why} (status {status}, {} bytes)", body.len());
                return Attempt::Failed {
                    error: Error::Malformed { operation, detail, attempts },
                    again: Again::IfRead,
                };
            }
        };
        self.count(false);
        self.inner.reached.store(true, Ordering::Relaxed);
        Attempt::Done(Response { status, body, fetched_at: Utc::now(), attempts, limit })
    }

    fn broken(&self, operation: &'static Operation, error: &reqwest::Error, attempts: u32) -> Attempt {
        self.count(true);
        let (kind, again) = if error.is_connect() {
            (TransportKind::Connect, Again::Always)
        } else if error.is_timeout() {
            (TransportKind::Timeout, Again::IfRead)
        } else {
            (TransportKind::Interrupted, Again::IfRead)
        };
        Attempt::Failed { error: Error::Transport { operation, kind, detail: chain(error), attempts }, again }
    }

    fn count(&self, failure: bool) {
        if failure {
            self.inner.failures_in_a_row.fetch_add(1, Ordering::Relaxed);
        } else {
            self.inner.failures_in_a_row.store(0, Ordering::Relaxed);
        }
    }
}

/// Exponential with full jitter: a random share of a wait that doubles.
fn backoff(retry: &RetryPolicy, failed: u32) -> Duration {
    let longest = retry.base.saturating_mul(1 << failed.saturating_sub(1).min(16)).min(retry.cap);
    longest.mul_f64(rand::rng().random_range(0.0..=1.0))
}

/// An HTTP client that follows no redirect: it could lead a token elsewhere.
pub(crate) fn plain(timeout: Duration) -> reqwest::Result<reqwest::Client> {
    // Fails only when a provider is set already, which is as good.
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder()
        .user_agent(concat!("hexport/", env!("CARGO_PKG_VERSION")))
        .timeout(timeout)
        .connect_timeout(timeout.min(Duration::from_secs(15)))
        .redirect(reqwest::redirect::Policy::none())
        .referer(false)
        .build()
}

fn header_text(headers: &HeaderMap, name: HeaderName) -> Option<String> {
    headers.get(name).map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned())
}

/// Where a redirect points, in words. Not its query: a login page's holds codes.
fn redirect(location: Option<&str>) -> ApiErrorBody {
    let to = location.map(super::config::redact).map_or(String::new(), |place| format!(" to {place}"));
    let reason = format!("it redirects{to}, and a token is never sent where an answer points");
    ApiErrorBody { reason: Some(reason), ..ApiErrorBody::default() }
}

/// An error and its causes in one line, without the URL (a query may hold names).
pub(crate) fn chain(error: &reqwest::Error) -> String {
    let mut parts: Vec<String> = Vec::new();
    let mut cause: Option<&dyn std::error::Error> = error.source();
    while let Some(e) = cause {
        let text = e.to_string();
        if parts.last() != Some(&text) {
            parts.push(text);
        }
        cause = e.source();
    }
    if parts.is_empty() {
        parts.push(if error.is_timeout() { "no answer in time".into() } else { "request failed".into() });
    }
    parts.join(": ")
}

/// What the server asks to wait, as seconds or as a date.
pub(crate) fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse::<f64>() {
        return (seconds.is_finite() && seconds >= 0.0)
            .then(|| Duration::from_secs_f64(seconds.min(86_400.0)));
    }
    let at = httpdate::parse_http_date(text).ok()?;
    Some(at.duration_since(std::time::SystemTime::now()).unwrap_or_default())
}

/// Reads `X-RateLimit-*` and `RateLimit-*`, and the window from `RateLimit-Policy` (`60;w=60`).
fn limit_headers(headers: &HeaderMap) -> LimitHeaders {
    let number = |name: &str| -> Option<f64> {
        ["x-ratelimit-", "ratelimit-"].iter().find_map(|prefix| {
            let text = headers.get(format!("{prefix}{name}"))?.to_str().ok()?;
            // "60, 60;w=60" and "60;w=60" are seen in the wild: the first number counts.
            text.split([',', ';']).next()?.trim().parse::<f64>().ok().filter(|n| n.is_finite() && *n >= 0.0)
        })
    };
    let reset = number("reset").map(|reset| {
        // Seconds from now, or seconds since 1970, or milliseconds since 1970.
        let now = Utc::now().timestamp_millis() as f64 / 1000.0;
        let seconds = match reset {
            r if r > 1e11 => r / 1000.0 - now,
            r if r > 1e9 => r - now,
            r => r,
        };
        Duration::from_secs_f64(seconds.clamp(0.0, 86_400.0))
    });
    let window = headers
        .get("ratelimit-policy")
        .and_then(|value| value.to_str().ok())
        .and_then(|policy| {
            policy.split(';').find_map(|part| part.trim().strip_prefix("w=")?.parse::<f64>().ok())
        })
        .filter(|w| w.is_finite() && *w > 0.0)
        .map(Duration::from_secs_f64);
    LimitHeaders { limit: number("limit"), window, remaining: number("remaining"), reset }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs.iter().map(|(k, v)| (reqwest::header::HeaderName::from_static(k), v.parse().unwrap())).collect()
    }

    #[test]
    fn both_forms_of_retry_after_are_read() {
        assert_eq!(retry_after(&headers(&[("retry-after", "7")])), Some(Duration::from_secs(7)));
        let at = std::time::SystemTime::now() + Duration::from_secs(30);
        let wait = retry_after(&headers(&[("retry-after", &httpdate::fmt_http_date(at))])).unwrap();
        assert!((28..=30).contains(&wait.as_secs()), "{wait:?}");
        assert_eq!(retry_after(&headers(&[("retry-after", "soon")])), None);
        assert_eq!(retry_after(&headers(&[("retry-after", "-1")])), None);
    }

    #[test]
    fn both_families_of_limit_headers_are_read() {
        let x = limit_headers(&headers(&[
            ("x-ratelimit-limit", "60"),
            ("x-ratelimit-remaining", "0"),
            ("x-ratelimit-reset", "12"),
        ]));
        assert_eq!((x.limit, x.remaining, x.reset), (Some(60.0), Some(0.0), Some(Duration::from_secs(12))));
        let ietf =
            limit_headers(&headers(&[("ratelimit-limit", "30, 30;w=60"), ("ratelimit-policy", "30;w=30")]));
        assert_eq!(ietf.per_second(), Some(1.0));
        let epoch = (Utc::now().timestamp() + 20).to_string();
        let reset = limit_headers(&headers(&[("ratelimit-reset", &epoch)])).reset.unwrap();
        assert!((18..=20).contains(&reset.as_secs()), "{reset:?}");
    }

    #[test]
    fn backoff_grows_to_its_cap() {
        let retry = RetryPolicy::default();
        for failed in 1..40 {
            assert!(backoff(&retry, failed) <= retry.cap);
        }
        assert!(backoff(&retry, 1) <= retry.base);
    }
}
