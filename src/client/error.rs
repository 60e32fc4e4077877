//! Errors of the client.

use std::time::Duration;

use serde::Deserialize;

use super::config::{TokenFlaw, UrlFlaw};
use super::operation::Operation;

/// An error of the client. Never contains the token.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No token, or one that can't be one.
    #[error(transparent)]
    Token(#[from] TokenFlaw),
    /// A base URL that can't be used.
    #[error("the base URL {url} {source}")]
    BaseUrl {
        /// The URL, without what could be a secret.
        url: String,
        /// The flaw.
        source: UrlFlaw,
    },
    /// The server answered with an error status.
    #[error("{} answered {status}{}", .operation.id, .body)]
    Api {
        /// Operation asked for.
        operation: &'static Operation,
        /// HTTP status.
        status: u16,
        /// Body of the answer.
        body: Box<ApiErrorBody>,
        /// `Retry-After`, if the answer had one.
        retry_after: Option<Duration>,
        /// Requests sent, the last one included.
        attempts: u32,
    },
    /// No complete answer came.
    #[error("{} got no response: {kind} ({source}), after {attempts} attempt(s)", .operation.id)]
    Transport {
        /// Operation asked for.
        operation: &'static Operation,
        /// Kind of failure.
        kind: TransportKind,
        /// The transport's error.
        source: Box<dyn std::error::Error + Send + Sync>,
        /// Requests sent, the last one included.
        attempts: u32,
    },
    /// The answer is not what the API describes.
    #[error("{} returned something other than Hex's JSON: {source}", .operation.id)]
    Malformed {
        /// Operation asked for.
        operation: &'static Operation,
        /// The decoder's error, or a description of what came instead.
        source: Box<dyn std::error::Error + Send + Sync>,
        /// Requests sent, the last one included.
        attempts: u32,
    },
    /// The API gave no answer that counts for too long.
    #[error("no accepted response for {}; last failure: {last}", minutes(*silence))]
    Silent {
        /// Time since the last accepted answer, without the pauses that the server announced.
        silence: Duration,
        /// The last failure, in words.
        last: String,
    },
}

fn minutes(time: Duration) -> String {
    match time.as_secs() {
        seconds @ 0..120 => format!("{seconds} seconds"),
        seconds => format!("{} minutes", seconds / 60),
    }
}

impl Error {
    /// HTTP status, where the server answered with one.
    pub fn status(&self) -> Option<u16> {
        match self {
            Error::Api { status, .. } => Some(*status),
            _ => None,
        }
    }

    /// Hex's trace id, where the answer had one.
    pub fn trace_id(&self) -> Option<&str> {
        match self {
            Error::Api { body, .. } => body.trace_id.as_deref(),
            _ => None,
        }
    }
}

/// The way in which no complete answer came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TransportKind {
    /// No connection: refused, no such host, TLS failure.
    Connect,
    /// Nothing within the time allowed.
    Timeout,
    /// The connection broke, or the body ended early.
    Interrupted,
}

impl std::fmt::Display for TransportKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            TransportKind::Connect => "could not connect",
            TransportKind::Timeout => "timed out",
            TransportKind::Interrupted => "the connection broke",
        })
    }
}

/// An error answer: Hex's older form (`reason`, `details`, `traceId`) and its newer one (`message`, `code`,
/// `issues`) in one.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ApiErrorBody {
    /// `reason`, or `message` of the newer form.
    pub reason: Option<String>,
    /// `details`; the messages of `issues`; invalid and unknown input parameters of a run.
    pub details: Option<String>,
    /// `code` of the newer form, such as `FORBIDDEN`.
    pub code: Option<String>,
    /// `traceId`, which Hex's support asks for.
    pub trace_id: Option<String>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct WireError {
    reason: Option<String>,
    message: Option<String>,
    code: Option<String>,
    details: Option<serde_json::Value>,
    trace_id: Option<String>,
    issues: Vec<WireIssue>,
    invalid: Vec<serde_json::Value>,
    not_found: Vec<String>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct WireIssue {
    message: String,
}

impl ApiErrorBody {
    /// Reads an error answer; anything that is not Hex's JSON gives its first words as the reason.
    pub fn parse(body: &[u8]) -> Self {
        let Ok(wire) = serde_json::from_slice::<WireError>(body) else {
            let text = String::from_utf8_lossy(&body[..body.len().min(200)]);
            let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
            return Self { reason: (!text.is_empty()).then_some(text), ..Self::default() };
        };
        let mut details: Vec<String> = Vec::new();
        match wire.details {
            None | Some(serde_json::Value::Null) => {}
            Some(serde_json::Value::String(text)) => details.push(text),
            Some(other) => details.push(other.to_string()),
        }
        details.extend(wire.issues.into_iter().map(|issue| issue.message));
        details.extend(wire.invalid.iter().map(|param| format!("invalid parameter {param}")));
        if !wire.not_found.is_empty() {
            details.push(format!("unknown parameters: {}", wire.not_found.join(", ")));
        }
        Self {
            reason: wire.reason.or(wire.message),
            details: (!details.is_empty()).then(|| details.join("; ")),
            code: wire.code,
            trace_id: wire.trace_id,
        }
    }
}

impl std::fmt::Display for ApiErrorBody {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if let Some(reason) = &self.reason {
            write!(f, ": {reason}")?;
        }
        if let Some(details) = &self.details {
            write!(f, " ({details})")?;
        }
        if let Some(trace_id) = &self.trace_id {
            write!(f, " [traceId {trace_id}]")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_generations_of_error_answers_are_read() {
        let old = ApiErrorBody::parse(br#"{"reason":"No such project","details":"x","traceId":"t1"}"#);
        assert_eq!(old.to_string(), ": No such project (x) [traceId t1]");
        let new = ApiErrorBody::parse(
            br#"{"message":"Nope","code":"FORBIDDEN","issues":[{"message":"a"},{"message":"b"}]}"#,
        );
        assert_eq!(new.code.as_deref(), Some("FORBIDDEN"));
        assert_eq!(new.to_string(), ": Nope (a; b)");
        let params = ApiErrorBody::parse(br#"{"traceId":"t","invalid":[],"notFound":["day"]}"#);
        assert_eq!(params.details.as_deref(), Some("unknown parameters: day"));
        assert_eq!(
            ApiErrorBody::parse(b"<html>\n Bad  Gateway").reason.as_deref(),
            Some("<html> Bad Gateway")
        );
    }
}
