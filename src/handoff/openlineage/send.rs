//! Sending events to an OpenLineage HTTP endpoint.

use std::time::Duration;

use reqwest::StatusCode;
use reqwest::header::CONTENT_TYPE;
use serde_json::Value;

use crate::client::Token;
use crate::client::config::{UrlFlaw, encrypted, no_credentials, server_url};
use crate::client::http::retry_after;
use crate::client::transport::{HttpError, plain};

/// Times that an event is sent before it is given up.
const TRIES: u32 = 6;

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
        let mut wait = Duration::from_millis(250);
        for attempt in 1..=TRIES {
            let mut request = self.http.post(&self.url).header(CONTENT_TYPE, "application/json");
            if let Some(key) = &self.key {
                request = key.on(request);
            }
            let pause = match request.body(event.to_string()).send().await {
                Ok(answer) if answer.status().is_success() => return Ok(()),
                Ok(answer) => {
                    let status = answer.status();
                    let after = retry_after(answer.headers());
                    let is_busy = status.is_server_error() || matches!(status.as_u16(), 408 | 425 | 429);
                    if !is_busy || attempt == TRIES {
                        let said = answer.text().await.unwrap_or_default().chars().take(300).collect();
                        return Err(SendError::Refused { url: self.url.clone(), status, said });
                    }
                    after.unwrap_or(wait)
                }
                Err(e) if attempt == TRIES => {
                    return Err(SendError::Unreachable { url: self.url.clone(), source: e.into() });
                }
                Err(_) => wait,
            };
            tokio::time::sleep(pause.min(Duration::from_secs(120))).await;
            wait *= 2;
        }
        unreachable!("the last try returns")
    }
}
