//! Sending events to an OpenLineage HTTP endpoint.

use std::time::Duration;

use reqwest::StatusCode;
use reqwest::header::CONTENT_TYPE;
use serde_json::Value;

use crate::client::Token;
use crate::client::config::{UrlFlaw, encrypted, no_credentials, server_url};
use crate::client::deliver::{Patience, Undelivered, deliver};
use crate::client::transport::{HttpError, plain};

/// Receivers are given so much time to take an event.
const PATIENCE: Patience = Patience {
    tries: 6,
    first_wait: Duration::from_millis(250),
    longest_wait: Duration::from_secs(120),
    said: 300,
};

/// Target of events.
#[derive(Debug, Clone)]
pub struct Endpoint {
    url: String,
    key: Option<Token>,
    http: reqwest::Client,
}

/// Errors of delivering an event.
#[derive(Debug, thiserror::Error)]
pub enum SendError {
    /// The URL is no good.
    #[error("the OpenLineage URL {0}")]
    Url(#[from] UrlFlaw),
    /// The endpoint refuses it.
    #[error("{url} answered {status}: {said}")]
    Refused {
        /// The endpoint.
        url: String,
        /// HTTP status.
        status: StatusCode,
        /// The beginning of its answer.
        said: String,
    },
    /// No answer came.
    #[error("{url} can't be reached: {source}")]
    Unreachable {
        /// The endpoint.
        url: String,
        /// The HTTP client's error.
        source: HttpError,
    },
}

impl Endpoint {
    /// An endpoint: its base URL, the path below it (`api/v1/lineage` by the specification's client), and the
    /// key that is sent as a bearer token.
    ///
    /// # Errors
    /// [`SendError::Url`] for what is not an http(s) URL, or holds credentials; with a key, for plain http to
    /// another machine.
    pub fn new(url: &str, path: &str, key: Option<Token>) -> Result<Self, SendError> {
        let url = server_url(url)?;
        no_credentials(&url, "the key in OPENLINEAGE_API_KEY")?;
        if key.is_some() {
            encrypted(&url, "the key")?;
        }
        let http = plain(&url, Duration::from_secs(30)).map_err(|e| UrlFlaw::Client(e.into()))?;
        let base = url.as_str().trim_end_matches('/');
        Ok(Self { url: format!("{base}/{}", path.trim_start_matches('/')), key, http })
    }

    /// URL that events are posted to.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Delivers an event. Busy servers and broken connections are tried again, later and later; a server's
    /// `Retry-After` is obeyed.
    ///
    /// # Errors
    /// [`SendError::Refused`], [`SendError::Unreachable`].
    pub async fn send(&self, event: &Value) -> Result<(), SendError> {
        let request = || {
            let request = self.http.post(&self.url).header(CONTENT_TYPE, "application/json");
            let request = match &self.key {
                Some(key) => key.on(request),
                None => request,
            };
            request.body(event.to_string())
        };
        let url = || self.url.clone();
        deliver(request, PATIENCE).await.map_err(|failure| match failure {
            Undelivered::Refused(status, said) => SendError::Refused { url: url(), status, said },
            Undelivered::Unreachable(source) => SendError::Unreachable { url: url(), source },
        })
    }
}
