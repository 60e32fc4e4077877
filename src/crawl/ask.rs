//! One request: answered from the journal if it was answered before, else by the API.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use serde_json::json;

use super::Error;
use crate::client::operation::LIST_PROJECTS;
use crate::client::projects::ListProjects;
use crate::client::{self, ApiErrorBody, ApiRequest, Client, List};
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
    /// Whether it is one that the operation promises: asking again could not change it.
    pub accepted: bool,
    /// The body; of an error, Hex's words in its own form.
    pub body: Vec<u8>,
    pub attempts: u32,
    pub fetched_at: DateTime<Utc>,
    /// Whether the journal had it.
    pub replayed: bool,
}

impl Answer {
    /// Whether the server itself refused, in contrast to an answer that never came or made no sense.
    pub fn is_refusal(&self) -> bool {
        (300..500).contains(&self.status) && !matches!(self.status, 408 | 429)
    }

    /// Reason that the API gave.
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

/// The journal's answer to a request, which need not be sent again. Only an accepted answer is final: after a
/// refusal the admin may have granted the scope, after a failure the server may be well again.
pub(super) fn journalled(
    journal: &Journal,
    source: &Source,
    request: &ApiRequest,
    entity: Option<&Arc<str>>,
) -> Option<Entry> {
    let entry = journal.find(request.operation(), entity, &request.key())?;
    (entry.accepted || matches!(source, Source::JournalOnly)).then_some(entry)
}

/// Gets an answer, and journals it if it is new.
pub(super) async fn ask(
    source: &Source,
    journal: &Journal,
    request: &ApiRequest,
    entity: Option<&Arc<str>>,
) -> Result<Answer, Error> {
    if let Some(entry) = journalled(journal, source, request, entity) {
        let body = journal.body(&entry)?;
        let Entry { status, accepted, attempts, fetched_at, .. } = entry;
        return Ok(Answer { status, accepted, body, attempts, fetched_at, replayed: true });
    }
    let Source::Api(client) = source else {
        let body = words("the journal has no answer to it");
        let fetched_at = journal.header().snapshot_at;
        return Ok(Answer { status: 0, accepted: false, body, attempts: 0, fetched_at, replayed: true });
    };
    let (status, accepted, body, attempts, at) = match client.send_through_outages(request).await {
        // The client has judged it: what it hands on can be read.
        Ok(response) => {
            (response.status, true, response.body.to_vec(), response.attempts, response.fetched_at)
        }
        Err(error) => failure(client, request, error).await?,
    };
    let fetched_at = journal.header().fixed_time.unwrap_or(at);
    let (operation, key) = (request.operation(), request.key());
    let new =
        NewEntry { operation, entity, request: &key, status, accepted, attempts, fetched_at, body: &body };
    journal.append(new)?;
    Ok(Answer { status, accepted, body, attempts, fetched_at, replayed: false })
}

fn words(reason: &str) -> Vec<u8> {
    json!({"reason": reason}).to_string().into_bytes()
}

type Failed = (u16, bool, Vec<u8>, u32, DateTime<Utc>);

/// An error that is an answer of its own, to be journalled; or one that ends the crawl.
async fn failure(client: &Client, request: &ApiRequest, error: client::Error) -> Result<Failed, Error> {
    let now = Utc::now();
    match error {
        client::Error::Api { status: 401, .. } if !is_token_good(client, request).await? => {
            Err(Error::Refused(error))
        }
        client::Error::Api { status, body, attempts, .. } => {
            let body = json!({
                "reason": body.reason.or(body.code), "details": body.details, "traceId": body.trace_id,
            });
            Ok((status, false, body.to_string().into_bytes(), attempts, now))
        }
        client::Error::Transport { attempts, .. } | client::Error::Malformed { attempts, .. } => {
            Ok((0, false, words(&error.to_string()), attempts, now))
        }
        other => Err(Error::Api(other)),
    }
}

/// After a 401: whether it is of the operation's scope (the token may still list projects) and not of the token.
pub(super) async fn is_token_good(client: &Client, refused: &ApiRequest) -> Result<bool, Error> {
    if refused.operation().id == LIST_PROJECTS.id {
        return Ok(false);
    }
    let probe = ListProjects { page_size: Some(1), ..ListProjects::default() }.request();
    match client.send(&probe).await {
        Ok(_) => Ok(true),
        Err(client::Error::Api { status: 401, .. }) => Ok(false),
        Err(client::Error::Api { .. }) => Ok(true),
        Err(other) => Err(Error::Api(other)),
    }
}
