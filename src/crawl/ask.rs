//! Asking one question: from the journal if it was answered before, else from the API.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use serde_json::json;

use super::{Endpoint, Error};
use crate::client::{self, ApiErrorBody, ApiRequest, Client};
use crate::journal::{Entry, Journal, NewEntry};

/// Where answers come from that are not in the journal.
#[derive(Clone)]
pub enum Source {
    /// The API.
    Api(Client),
    /// Nowhere: a snapshot is rebuilt from a journal alone.
    JournalOnly,
}

/// An answer, or the lack of one.
#[derive(Debug)]
pub(super) struct Answer {
    /// HTTP status; 0 if no whole answer came.
    pub status: u16,
    /// The body; of an error, Hex's words in its own form.
    pub body: Vec<u8>,
    pub attempts: u32,
    pub fetched_at: DateTime<Utc>,
    /// Whether the journal had it.
    pub replayed: bool,
}

impl Answer {
    pub fn is_ok(&self) -> bool {
        (200..300).contains(&self.status)
    }

    /// What the API said was wrong.
    pub fn reason(&self) -> String {
        let body = ApiErrorBody::parse(&self.body);
        let said = match (body.reason, body.details) {
            (Some(reason), Some(details)) => format!("{reason} ({details})"),
            (Some(one), None) | (None, Some(one)) => one,
            (None, None) => "no reason given".into(),
        };
        match (self.status, body.trace_id) {
            (0, _) => said,
            (status, Some(trace)) => format!("{said} [status {status}, traceId {trace}]"),
            (status, None) => format!("{said} [status {status}]"),
        }
    }
}

/// Whether asking again could give something else.
fn is_final(status: u16) -> bool {
    (200..500).contains(&status) && !matches!(status, 401 | 408 | 429)
}

/// What the journal has for a request that need not be sent again.
pub(super) fn journalled(journal: &Journal, source: &Source, key: &str) -> Option<Entry> {
    journal.find(key).filter(|entry| is_final(entry.status) || matches!(source, Source::JournalOnly))
}

/// Gets an answer, and journals it if it is new.
pub(super) async fn ask(
    source: &Source,
    journal: &Journal,
    request: &ApiRequest,
    entity: Option<&Arc<str>>,
) -> Result<Answer, Error> {
    let key = request.key();
    if let Some(entry) = journalled(journal, source, &key) {
        let body = journal.body(&entry)?;
        let (status, attempts, fetched_at) = (entry.status, entry.attempts, entry.fetched_at);
        return Ok(Answer { status, body, attempts, fetched_at, replayed: true });
    }
    let Source::Api(client) = source else {
        let body = json!({"reason": "the journal has no answer to it"}).to_string().into_bytes();
        return Ok(Answer { status: 0, body, attempts: 0, fetched_at: Utc::now(), replayed: true });
    };
    let (status, body, attempts, at) = match client.send_through_outages(request).await {
        Ok(response) => (response.status, Vec::from(response.body), response.attempts, response.fetched_at),
        Err(error) => failure(error)?,
    };
    let fetched_at = journal.header().fixed_time.unwrap_or(at);
    let operation = request.operation();
    if !is_final(status) && entity.is_none() {
        // A list that can't be read ends the crawl; only gaps in a fan-out are told by a rebuilt snapshot.
        return Ok(Answer { status, body, attempts, fetched_at, replayed: false });
    }
    journal.append(NewEntry {
        operation,
        entity,
        request: &key,
        status,
        attempts,
        fetched_at,
        body: &body,
    })?;
    Ok(Answer { status, body, attempts, fetched_at, replayed: false })
}

/// The organisation that the token belongs to, if the API tells it.
///
/// # Errors
/// As [`crawl`](super::crawl).
pub async fn org_id(source: &Source, journal: &Journal) -> Result<Option<String>, Error> {
    let answer = ask(source, journal, &Endpoint::Me.first_request(None), None).await?;
    if !is_final(answer.status) && matches!(source, Source::Api(_)) {
        return Err(Error::List { operation: Endpoint::Me.operation().id, reason: answer.reason() });
    }
    Ok(answer.is_ok().then(|| read_org_id(&answer.body)).flatten())
}

pub(super) fn read_org_id(body: &[u8]) -> Option<String> {
    let me: client::users::Me = serde_json::from_slice(body).ok()?;
    Some(me.org.id).filter(|id| !id.is_empty())
}

/// An error that is an answer of its own, to be journalled; or one that ends the crawl.
fn failure(error: client::Error) -> Result<(u16, Vec<u8>, u32, DateTime<Utc>), Error> {
    let now = Utc::now();
    let words = |reason: Option<String>, details: Option<String>, trace: Option<String>| {
        json!({"reason": reason, "details": details, "traceId": trace}).to_string().into_bytes()
    };
    match error {
        client::Error::Api { status: 401, .. } => Err(Error::Refused(error)),
        client::Error::Api { status, body, attempts, .. } => {
            Ok((status, words(body.reason.or(body.code), body.details, body.trace_id), attempts, now))
        }
        client::Error::Transport { attempts, .. } | client::Error::Malformed { attempts, .. } => {
            Ok((0, words(Some(error.to_string()), None, None), attempts, now))
        }
        other => Err(Error::Api(other)),
    }
}
