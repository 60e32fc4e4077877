//! Transport of requests to the server and of its answers back: over HTTP, or by a stand-in.

use std::error::Error as _;
use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use reqwest::header::HeaderMap;
use url::Url;

use super::config::{BaseUrl, Token, is_loopback};
use super::error::TransportKind;
use super::operation::Method;
use super::request::ApiRequest;

/// A whole answer.
#[derive(Debug, Clone)]
pub struct WireAnswer {
    /// HTTP status.
    pub status: u16,
    /// Headers.
    pub headers: HeaderMap,
    /// Body, decompressed.
    pub body: Bytes,
}

/// Failure to get a whole answer.
#[derive(Debug)]
pub struct WireFailure {
    /// In which way.
    pub kind: TransportKind,
    /// The transport's error.
    pub source: Box<dyn std::error::Error + Send + Sync>,
}

impl WireFailure {
    /// A failure of this kind.
    pub fn new(kind: TransportKind, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self { kind, source: source.into() }
    }
}

/// An error of the HTTP client: all its causes in one line, without the URL, whose query may hold names and whose
/// path may be a secret.
#[derive(Debug)]
pub struct HttpError(reqwest::Error);

impl From<reqwest::Error> for HttpError {
    fn from(error: reqwest::Error) -> Self {
        Self(error.without_url())
    }
}

impl fmt::Display for HttpError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&chain(&self.0))
    }
}

impl std::error::Error for HttpError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.0.source()
    }
}

/// Carries one request to the server and its answer back. No retries, no pace.
///
/// A client speaks HTTP; simulations and tests put something here that answers without a network, so that
/// hours of a crawl pass in moments.
pub trait Transport: Send + Sync {
    /// Sends the request and reads the answer to its end.
    fn exchange<'a>(&'a self, request: &'a ApiRequest) -> BoxFuture<'a, Result<WireAnswer, WireFailure>>;
}

/// The API over HTTP.
pub(super) struct Http {
    http: reqwest::Client,
    base_url: BaseUrl,
    token: Token,
}

impl Http {
    pub fn new(base_url: BaseUrl, token: Token, timeout: Duration) -> reqwest::Result<Self> {
        Ok(Self { http: plain(base_url.url(), timeout)?, base_url, token })
    }
}

impl Transport for Http {
    fn exchange<'a>(&'a self, request: &'a ApiRequest) -> BoxFuture<'a, Result<WireAnswer, WireFailure>> {
        let method = match request.operation().method {
            Method::Get => reqwest::Method::GET,
            Method::Post => reqwest::Method::POST,
            Method::Patch => reqwest::Method::PATCH,
            Method::Delete => reqwest::Method::DELETE,
        };
        let builder = self.http.request(method, self.base_url.join(request.path()));
        let mut builder = self.token.on(builder).header(reqwest::header::ACCEPT, "application/json");
        for (name, value) in request.operation().headers {
            builder = builder.header(*name, *value);
        }
        if !request.query_pairs().is_empty() {
            builder = builder.query(request.query_pairs());
        }
        if let Some(body) = request.json_body() {
            builder = builder.json(body);
        }
        Box::pin(async move {
            let answer = builder.send().await.map_err(failure)?;
            let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
            let body = answer.bytes().await.map_err(failure)?;
            Ok(WireAnswer { status, headers, body })
        })
    }
}

fn failure(error: reqwest::Error) -> WireFailure {
    let kind = if error.is_connect() {
        TransportKind::Connect
    } else if error.is_timeout() {
        TransportKind::Timeout
    } else {
        TransportKind::Interrupted
    };
    WireFailure::new(kind, HttpError::from(error))
}

/// An HTTP client for `url` that follows no redirect: it could lead a token elsewhere. What stays on this machine
/// goes through no proxy, which would see a token that travels without TLS.
pub(crate) fn plain(url: &Url, timeout: Duration) -> reqwest::Result<reqwest::Client> {
    // Fails only when a provider is set already, which is as good.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let builder = match is_loopback(url) {
        // Without TLS nothing is verified: the system's certificates need not be read.
        true if url.scheme() == "http" => reqwest::Client::builder().no_proxy().tls_certs_only([]),
        true => reqwest::Client::builder().no_proxy(),
        false => reqwest::Client::builder(),
    };
    builder
        .user_agent(concat!("hexport/", env!("CARGO_PKG_VERSION")))
        .timeout(timeout)
        .connect_timeout(timeout.min(Duration::from_secs(15)))
        .redirect(reqwest::redirect::Policy::none())
        .referer(false)
        .build()
}

/// An error's causes in one line, without what only says that a request failed.
fn chain(error: &reqwest::Error) -> String {
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
