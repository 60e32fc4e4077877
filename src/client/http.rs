//! Sending: pace, token, retries, and reading the answer to its end.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use chrono::{DateTime, Utc};
use rand::RngExt;
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderName, LOCATION};
use tokio::time::Instant;

use super::announced::LimitHeaders;
pub(crate) use super::announced::retry_after;
use super::config::{BaseUrl, Token, UrlFlaw};
use super::error::{ApiErrorBody, Error, TransportKind};
use super::gauge::LONGEST_PAUSE;
use super::judge::{Verdict, judge};
use super::operation::{Effect, Operation};
use super::pace::{Counter, GroupPace, Pace, PaceChange, Pacer};
use super::request::ApiRequest;
use super::transport::{Http, Transport, WireAnswer, WireFailure};
use super::vitals::Vitals;

/// Attempts to reach a server that has not answered like Hex yet.
const FIRST_ATTEMPTS: u32 = 4;

/// When a failed read is sent again.
#[derive(Debug, Clone, Copy)]
pub struct RetryPolicy {
    /// Attempts in all, refusals (429) not counted.
    pub attempts: u32,
    /// 429s tolerated per request.
    pub refusals: u32,
    /// First wait; doubles with each attempt, with full jitter.
    pub base: Duration,
    /// Longest wait.
    pub cap: Duration,
    /// No attempt starts later than this after the first, not counting the time in which the pace or the
    /// server made the request wait.
    pub within: Duration,
    /// Time without one accepted answer, over all requests, after which the API counts as dead.
    pub silence: Duration,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self {
            attempts: 8,
            refusals: 30,
            base: Duration::from_millis(500),
            cap: Duration::from_secs(30),
            within: Duration::from_secs(600),
            silence: Duration::from_secs(15 * 60),
        }
    }
}

/// Events that a client reports to its observer.
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
        /// The failure, in words.
        why: String,
        /// Time until the next attempt.
        wait: Duration,
        /// Hex's trace id, if the answer had one.
        trace_id: Option<String>,
    },
    /// The pace changed: a pause or a lower limit, and its cause.
    Pace(PaceChange),
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
    /// Limit headers.
    pub limit: LimitHeaders,
}

/// Everything that shapes a client.
#[derive(Clone)]
pub struct ClientConfig {
    /// Base URL of the API.
    pub base_url: BaseUrl,
    /// Identity of the token.
    pub token: Token,
    /// Pace.
    pub pace: Pace,
    /// Retries.
    pub retry: RetryPolicy,
    /// Time for one attempt, from connecting to the last byte.
    pub timeout: Duration,
    /// Observer of events.
    pub observer: Option<Arc<dyn Observer>>,
    /// Transport; HTTP if not set.
    pub transport: Option<Arc<dyn Transport>>,
}

impl ClientConfig {
    /// A configuration with Hex's pace, default retries and a minute for each attempt.
    pub fn new(base_url: BaseUrl, token: Token) -> Self {
        Self {
            base_url,
            token,
            pace: Pace::hex(),
            retry: RetryPolicy::default(),
            timeout: Duration::from_secs(60),
            observer: None,
            transport: None,
        }
    }
}

/// A client of the Hex API. Cheap to clone; clones share pace and connections.
#[derive(Clone)]
pub struct Client {
    inner: Arc<Inner>,
}

struct Inner {
    transport: Arc<dyn Transport>,
    base_url: BaseUrl,
    pacer: Pacer,
    retry: RetryPolicy,
    observer: Arc<dyn Observer>,
    vitals: Vitals,
    /// Whether the server ever answered like Hex.
    reached: AtomicBool,
    requests: AtomicU64,
}

/// Outcome of one attempt.
enum Attempt {
    Done(Response),
    Refused(Error),
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
        let transport = match config.transport {
            Some(transport) => transport,
            None => {
                let http = Http::new(config.base_url.clone(), config.token, config.timeout);
                let url = config.base_url.to_string();
                Arc::new(http.map_err(|e| Error::BaseUrl { url, source: UrlFlaw::Client(e.into()) })?)
            }
        };
        Ok(Self {
            inner: Arc::new(Inner {
                transport,
                base_url: config.base_url,
                pacer: Pacer::new(&config.pace),
                retry: config.retry,
                observer: config.observer.unwrap_or_else(|| Arc::new(Silent)),
                vitals: Vitals::default(),
                reached: AtomicBool::new(false),
                requests: AtomicU64::new(0),
            }),
        })
    }

    /// Base URL of the API.
    pub fn base_url(&self) -> &BaseUrl {
        &self.inner.base_url
    }

    /// Requests sent so far, repeated and refused ones included.
    pub fn requests_sent(&self) -> u64 {
        self.inner.requests.load(Ordering::Relaxed)
    }

    /// Answers accepted so far: of whatever status, as long as asking again would not change them.
    pub fn answers_accepted(&self) -> u64 {
        self.inner.vitals.accepted()
    }

    /// Every group of operations with its limits as they are now.
    pub fn limits(&self) -> Vec<GroupPace> {
        self.inner.pacer.groups()
    }

    /// Requests a minute that all groups together are capped at; `None` without a cap.
    pub fn total_limit(&self) -> Option<f64> {
        self.inner.pacer.total()
    }

    /// The group that the server counts an operation in, as far as is known now.
    pub fn group_of(&self, operation: &Operation) -> Counter {
        self.inner.pacer.group_of(operation)
    }

    /// Time until a request of the group could leave if it were the next; announced pauses included.
    pub fn ready_in(&self, group: Counter) -> Duration {
        self.inner.pacer.ready_in(group)
    }

    /// The error that ends a crawl: too long without one accepted answer. Announced pauses don't count.
    ///
    /// # Errors
    /// [`Error::Silent`].
    pub fn check_alive(&self) -> Result<(), Error> {
        let silence = self.inner.vitals.silence();
        match silence > self.inner.retry.silence {
            true => Err(Error::Silent { silence, last: self.inner.vitals.last_failure() }),
            false => Ok(()),
        }
    }

    /// Sends a request and reads the answer to its end. Waits for the pace; repeats a failed read. May be
    /// dropped at any time: nothing of the pace is lost.
    ///
    /// # Errors
    /// Any of [`Error`]: of the last attempt, when none succeeded.
    pub async fn send(&self, request: &ApiRequest) -> Result<Response, Error> {
        self.send_counting(request).await.map_err(|(error, _)| error)
    }

    /// As [`send`](Self::send); an error comes with the number of answers that had been accepted, of whatever
    /// request, when the last attempt left.
    pub(super) async fn send_counting(&self, request: &ApiRequest) -> Result<Response, (Error, u64)> {
        let mut accepted = self.answers_accepted();
        self.send_noting(request, &mut accepted).await.map_err(|error| (error, accepted))
    }

    async fn send_noting(&self, request: &ApiRequest, accepted: &mut u64) -> Result<Response, Error> {
        let mut retry = self.inner.retry;
        retry.attempts = request.attempts().unwrap_or(retry.attempts);
        let operation = request.operation();
        // Time that went by in attempts and in waits of our own: pauses of the server and of the pace don't
        // use up a request's chances.
        let mut active = Duration::ZERO;
        let (mut sent, mut failed, mut refused) = (0, 0, 0);
        loop {
            self.check_alive()?;
            self.inner.pacer.turn(operation).await;
            self.check_alive()?;
            sent += 1;
            *accepted = self.answers_accepted();
            let began = Instant::now();
            let attempt = self.attempt(request, sent).await;
            active += began.elapsed();
            let error = match attempt {
                Attempt::Done(response) => return Ok(response),
                Attempt::Refused(error) => {
                    refused += 1;
                    if operation.effect == Effect::Write || refused > retry.refusals {
                        return Err(error);
                    }
                    continue;
                }
                Attempt::Failed { error, again } => {
                    failed += 1;
                    let may = match again {
                        Again::Always => true,
                        Again::IfRead => operation.effect == Effect::Read,
                        Again::Never => false,
                    };
                    // A host that never answered like Hex is more likely misnamed than down.
                    let elsewhere = matches!(
                        error,
                        Error::Malformed { .. } | Error::Transport { kind: TransportKind::Connect, .. }
                    );
                    let reached = self.inner.reached.load(Ordering::Relaxed);
                    let unknown = elsewhere && !reached && failed >= FIRST_ATTEMPTS;
                    if !may || unknown || failed >= retry.attempts || active > retry.within {
                        return Err(error);
                    }
                    error
                }
            };
            let own = backoff(&retry, failed);
            active += own;
            self.wait_to_retry(operation, &error, own).await;
        }
    }

    /// Sends a request once, at the pace.
    pub(super) async fn send_once(&self, request: &ApiRequest) -> Result<Response, Error> {
        self.inner.pacer.turn(request.operation()).await;
        match self.attempt(request, 1).await {
            Attempt::Done(response) => Ok(response),
            Attempt::Refused(error) | Attempt::Failed { error, .. } => Err(error),
        }
    }

    /// Whether the server ever answered like Hex.
    pub(super) fn was_reached(&self) -> bool {
        self.inner.reached.load(Ordering::Relaxed)
    }

    pub(super) fn retry_policy(&self) -> &RetryPolicy {
        &self.inner.retry
    }

    async fn wait_to_retry(&self, operation: &'static Operation, error: &Error, own: Duration) {
        // A busy server knows best when to come back.
        let asked = match error {
            Error::Api { retry_after, .. } => retry_after.unwrap_or_default().min(LONGEST_PAUSE),
            _ => Duration::ZERO,
        };
        self.inner.vitals.announced_pause(asked);
        let (wait, trace_id) = (own.max(asked), error.trace_id().map(str::to_owned));
        let why = error.to_string();
        self.inner.observer.event(ClientEvent::Retry { operation, why, wait, trace_id });
        tokio::time::sleep(wait).await;
    }

    async fn attempt(&self, request: &ApiRequest, attempts: u32) -> Attempt {
        let operation = request.operation();
        let id = self.inner.requests.fetch_add(1, Ordering::Relaxed) + 1;
        self.inner.observer.event(ClientEvent::Sent { id, operation });
        self.inner.vitals.ask();
        let sent_at = Instant::now();
        let WireAnswer { status, headers, body } = match self.inner.transport.exchange(request).await {
            Ok(answer) => answer,
            Err(failure) => {
                let again = match failure.kind {
                    TransportKind::Connect => Again::Always,
                    TransportKind::Timeout | TransportKind::Interrupted => Again::IfRead,
                };
                let WireFailure { kind, source } = failure;
                return self.failed(Error::Transport { operation, kind, source, attempts }, again);
            }
        };
        self.inner.observer.event(ClientEvent::Answered { id, operation, status, took: sent_at.elapsed() });
        let limit = LimitHeaders::read(&headers);
        let retry_after = retry_after(&headers);
        if status == 429 {
            return self.refused(operation, &limit, retry_after, sent_at, &body, attempts);
        }
        self.inner.pacer.accepted(operation, &limit, sent_at);
        self.report_pace();
        if !(200..300).contains(&status) {
            let again = if status == 408 || status >= 500 { Again::IfRead } else { Again::Never };
            let mut body = ApiErrorBody::parse(&body);
            if (300..400).contains(&status) {
                body = redirect(header_text(&headers, LOCATION).as_deref());
            }
            let error = Error::Api { operation, status, body: Box::new(body), retry_after, attempts };
            return self.failed(error, again);
        }
        let content_type = header_text(&headers, CONTENT_TYPE);
        let body = match judge(operation, status, content_type.as_deref(), &body) {
            Verdict::Page { body, .. } | Verdict::Single { body, .. } | Verdict::Empty { body } => body,
            Verdict::NotAPage { why } => {
                let source = format!("{why} (status {status}, {} bytes)", body.len()).into();
                return self.failed(Error::Malformed { operation, source, attempts }, Again::IfRead);
            }
        };
        self.inner.vitals.accept();
        self.inner.reached.store(true, Ordering::Relaxed);
        Attempt::Done(Response { status, body, fetched_at: Utc::now(), attempts, limit })
    }

    fn refused(
        &self,
        operation: &'static Operation,
        limit: &LimitHeaders,
        retry_after: Option<Duration>,
        sent_at: Instant,
        body: &Bytes,
        attempts: u32,
    ) -> Attempt {
        let wait = self.inner.pacer.refused(operation, limit, retry_after, sent_at);
        self.report_pace();
        if retry_after.or(limit.reset).is_some() {
            self.inner.vitals.announced_pause(wait);
        }
        let body = Box::new(ApiErrorBody::parse(body));
        let error = Error::Api { operation, status: 429, body, retry_after: Some(wait), attempts };
        self.inner.vitals.fail(&error);
        Attempt::Refused(error)
    }

    fn failed(&self, error: Error, again: Again) -> Attempt {
        match again {
            // An answer all the same: the API is there.
            Again::Never => self.inner.vitals.accept(),
            Again::Always | Again::IfRead => self.inner.vitals.fail(&error),
        }
        Attempt::Failed { error, again }
    }

    fn report_pace(&self) {
        for change in self.inner.pacer.changes() {
            self.inner.observer.event(ClientEvent::Pace(change));
        }
    }
}

/// Exponential with full jitter: a random share of a wait that doubles.
fn backoff(retry: &RetryPolicy, failed: u32) -> Duration {
    let longest = retry.base.saturating_mul(1 << failed.saturating_sub(1).min(16)).min(retry.cap);
    longest.mul_f64(rand::rng().random_range(0.0..=1.0))
}

fn header_text(headers: &HeaderMap, name: HeaderName) -> Option<String> {
    headers.get(name).map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned())
}

/// Where a redirect points, in words. Not its query: a login page's holds codes.
fn redirect(location: Option<&str>) -> ApiErrorBody {
    let to = location.map(super::config::redact).map_or(String::new(), |place| format!(" to {place}"));
    let reason = format!("it redirects{to}, and the token is never sent to where a response points");
    ApiErrorBody { reason: Some(reason), ..ApiErrorBody::default() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn backoff_grows_to_its_cap() {
        let retry = RetryPolicy::default();
        for failed in 1..40 {
            assert!(backoff(&retry, failed) <= retry.cap);
        }
        assert!(backoff(&retry, 1) <= retry.base);
    }
}

#[cfg(test)]
#[path = "http_tests.rs"]
mod against_servers;
