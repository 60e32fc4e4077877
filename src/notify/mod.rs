//! Notifications about findings that are new or resolved since the last message, to those concerned.
//!
//! A note per address in the lake records what was sent. The first message is a summary. Addresses of webhooks
//! are secrets: they come from the environment or a file, and no output names more of them than the host.

mod email;
mod messages;
mod send;

use std::collections::BTreeMap;
use std::path::PathBuf;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::audit::{Audit, Finding, Severity, glob};
use crate::client::config::UrlFlaw;
use crate::snapshot::{self, Lake, Manifest, SnapshotId};

pub use email::{Mail, Tls};
pub use messages::Message;
pub use send::Undelivered;

/// `[notify]` of the settings.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Receivers of an export's findings, after its commit.
    pub to: Vec<To>,
    /// Minimum severity to notify about.
    pub severity: Severity,
    /// Receivers by owner and rule; the first match counts. Without a match, a finding goes to the usual address.
    pub routes: Vec<Route>,
    /// Settings of email.
    pub email: Mail,
}

impl Default for Config {
    fn default() -> Self {
        Self { to: Vec::new(), severity: Severity::Medium, routes: Vec::new(), email: Mail::default() }
    }
}

/// A kind of receiver.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum To {
    /// A Slack incoming webhook, in HEXPORT_SLACK_URL
    Slack,
    /// A Microsoft Teams workflow's webhook, in HEXPORT_TEAMS_URL
    Teams,
    /// Any HTTP endpoint, which is sent a JSON object, in HEXPORT_WEBHOOK_URL
    Webhook,
    /// Email, by [notify.email] in hexport.toml
    Email,
}

impl To {
    /// The name in settings.
    pub fn name(self) -> &'static str {
        match self {
            To::Slack => "slack",
            To::Teams => "teams",
            To::Webhook => "webhook",
            To::Email => "email",
        }
    }

    /// The variable of the environment that holds the usual address; with `_FILE` behind it, that of a file.
    pub fn variable(self) -> &'static str {
        match self {
            To::Slack => "HEXPORT_SLACK_URL",
            To::Teams => "HEXPORT_TEAMS_URL",
            To::Webhook => "HEXPORT_WEBHOOK_URL",
            To::Email => "HEXPORT_EMAIL_TO",
        }
    }
}

/// Findings that go to an address of their own.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Route {
    /// Kind of the receiver.
    pub to: To,
    /// Owner of the findings: an email address, or a pattern over it.
    pub owner: Option<String>,
    /// Rule of the findings, or a pattern over it.
    pub rule: Option<String>,
    /// Variable of the environment that holds the address.
    pub address_env: Option<String>,
    /// File that holds the address.
    pub address_file: Option<PathBuf>,
    /// Address to mail to; `owner` for the finding's owner.
    pub email: Option<String>,
}

impl Route {
    fn fits(&self, to: To, finding: &Finding) -> bool {
        let owner = self
            .owner
            .as_ref()
            .is_none_or(|pattern| finding.owner.as_ref().is_some_and(|owner| glob::matches(pattern, owner)));
        let rule = self.rule.as_ref().is_none_or(|pattern| glob::matches(pattern, &finding.rule));
        self.to == to && owner && rule
    }
}

/// Errors of sending a notification.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The lake can't be read or written.
    #[error(transparent)]
    Snapshot(#[from] snapshot::Error),
    /// An address is missing or invalid.
    #[error("{to}: {source}")]
    Address {
        /// Kind of the receiver.
        to: &'static str,
        /// The reason.
        source: NoAddress,
    },
    /// The receiver didn't accept it.
    #[error("{to}: {source}")]
    Undelivered {
        /// Kind of the receiver.
        to: &'static str,
        /// Its response.
        source: Undelivered,
    },
}

/// Reasons for having no address to send to.
#[derive(Debug, thiserror::Error)]
pub enum NoAddress {
    /// It can't be used.
    #[error("the address {0}")]
    Url(#[from] UrlFlaw),
    /// Its file can't be read.
    #[error("the address file {} can't be read: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Error of the operating system.
        source: std::io::Error,
    },
    /// The variable that holds it isn't set.
    #[error("{0} is not set")]
    Variable(String),
    /// There is no recipient.
    #[error("name a recipient: to under [notify.email] in hexport.toml")]
    Recipient,
    /// There is no webhook.
    #[error("set {0} to the webhook's address, or {0}_FILE to a file that holds it")]
    Webhook(&'static str),
    /// A route doesn't say where its address is.
    #[error("a route needs address_env or address_file")]
    Route,
    /// A route to email has no recipient.
    #[error("a route to email needs 'email'")]
    Email,
    /// A route goes to the owner of a finding that has none.
    #[error("a route sends a finding to its owner, but the finding has none")]
    Owner,
}

/// Address for one kind of message.
#[derive(Clone)]
struct Channel {
    to: To,
    /// The address; a secret, of webhooks.
    address: String,
}

impl Channel {
    /// Name of the note that records what this address was sent.
    fn note(&self) -> String {
        let digest = Sha256::digest(format!("{}\0{}", self.to.name(), self.address));
        let digest: String = digest.iter().take(8).map(|b| format!("{b:02x}")).collect();
        format!("notify-{digest}.json")
    }
}

/// Summary of a finding, as it was sent.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Brief {
    /// Severity.
    pub severity: Severity,
    /// Rule.
    pub rule: String,
    /// Title or name of its entity.
    pub entity: String,
    /// Email address of the owner.
    pub owner: Option<String>,
}

/// Findings that an address has been sent and that are still open.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Told {
    snapshot_id: SnapshotId,
    snapshot_at: DateTime<Utc>,
    open: BTreeMap<String, Brief>,
}

/// News for one address.
#[derive(Debug, Clone)]
pub struct News<'a> {
    /// The snapshot.
    pub snapshot_id: &'a SnapshotId,
    /// Whether this is the first message to the address.
    pub is_first: bool,
    /// New findings; all of them in the first message.
    pub new: Vec<&'a Finding>,
    /// Findings that are no longer there, or are accepted now.
    pub resolved: Vec<Brief>,
    /// Findings that are open, by severity.
    pub open: BTreeMap<&'static str, usize>,
    /// Rules that could not be evaluated: none of their findings counts as resolved.
    pub not_evaluated: Vec<&'a str>,
}

impl News<'_> {
    fn is_empty(&self) -> bool {
        !self.is_first && self.new.is_empty() && self.resolved.is_empty()
    }
}

/// Whether messages are sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Send them, and record what was sent.
    Send,
    /// Only prepare them.
    DryRun,
}

/// Outcome of a notification.
#[derive(Debug, Default)]
pub struct Outcome {
    /// Messages that were sent, or prepared in a dry run, each with its kind of receiver.
    pub messages: Vec<(To, Message)>,
    /// Addresses without news.
    pub quiet: usize,
    /// Failures; the other addresses were notified.
    pub failures: Vec<Error>,
}

/// Sends one kind of receiver the news of an audit. An address that fails gets them again next time.
///
/// # Errors
/// If the lake can't be read. Failures of receivers are in the outcome.
pub async fn tell(
    lake: &Lake,
    manifest: &Manifest,
    audit: &Audit,
    to: To,
    config: &Config,
    mode: Mode,
) -> Result<Outcome, Error> {
    let mut outcome = Outcome::default();
    for (channel, findings) in channels(audit, to, config, mode)? {
        let note = channel.note();
        let told: Option<Told> = lake.note(&note)?.and_then(|text| serde_json::from_slice(&text).ok());
        // A snapshot older than the last one sent has no news.
        if told.as_ref().is_some_and(|told| told.snapshot_at > manifest.snapshot_at) {
            outcome.quiet += 1;
            continue;
        }
        let news = news(manifest, audit, &findings, told.as_ref());
        if news.is_empty() {
            outcome.quiet += 1;
            continue;
        }
        let messages = messages::of(to, &news, manifest);
        let mut sent = Ok(());
        if mode == Mode::Send {
            sent = send::all(&channel, &messages, &config.email).await;
        }
        match sent {
            Err(error) => outcome.failures.push(error),
            Ok(()) => {
                if mode == Mode::Send {
                    let now = now_told(manifest, audit, &findings, told);
                    lake.set_note(&note, &serde_json::to_vec(&now).unwrap_or_default())?;
                }
                outcome.messages.extend(messages.into_iter().map(|message| (to, message)));
            }
        }
    }
    Ok(outcome)
}

/// The addresses of a kind of receiver, each with the findings that go there. The usual address is among them
/// even if nothing goes there: findings it was sent may be resolved.
fn channels<'a>(
    audit: &'a Audit,
    to: To,
    config: &Config,
    mode: Mode,
) -> Result<Vec<(Channel, Vec<&'a Finding>)>, Error> {
    let mut channels: BTreeMap<String, Vec<&Finding>> = BTreeMap::new();
    let is_told = |finding: &&Finding| finding.severity >= config.severity;
    let usual = usual_address(to, config)?;
    channels.extend(usual.iter().map(|address| (address.clone(), Vec::new())));
    for route in
        config.routes.iter().filter(|route| route.to == to && route.email.as_deref() != Some("owner"))
    {
        channels.insert(route_address(route, None)?, Vec::new());
    }
    for finding in audit.findings.iter().filter(is_told) {
        let address = match config.routes.iter().find(|route| route.fits(to, finding)) {
            Some(route) => Some(route_address(route, Some(finding))?),
            None => usual.clone(),
        };
        if let Some(address) = address {
            channels.entry(address).or_default().push(finding);
        }
    }
    if channels.is_empty() {
        let source = match to {
            To::Email => NoAddress::Recipient,
            to => NoAddress::Webhook(to.variable()),
        };
        // Whoever sets notifications up wants to see a message first.
        if mode == Mode::DryRun {
            tracing::warn!("{}: {source}. This is the first message that it would get", to.name());
            let nowhere = Channel { to, address: String::new() };
            return Ok(vec![(nowhere, audit.findings.iter().filter(is_told).collect())]);
        }
        return Err(Error::Address { to: to.name(), source });
    }
    Ok(channels.into_iter().map(|(address, findings)| (Channel { to, address }, findings)).collect())
}

/// The address of findings that no route fits.
fn usual_address(to: To, config: &Config) -> Result<Option<String>, Error> {
    if to == To::Email && !config.email.to.is_empty() {
        return Ok(Some(config.email.to.join(", ")));
    }
    let variable = to.variable();
    if let Ok(address) = std::env::var(variable)
        && !address.trim().is_empty()
    {
        return checked(to, address.trim()).map(Some);
    }
    match std::env::var_os(format!("{variable}_FILE")) {
        Some(path) => from_file(to, &PathBuf::from(path)).map(Some),
        None => Ok(None),
    }
}

fn route_address(route: &Route, finding: Option<&Finding>) -> Result<String, Error> {
    let wrong = |source| Error::Address { to: route.to.name(), source };
    if route.to == To::Email {
        let named = route.email.clone().ok_or_else(|| wrong(NoAddress::Email))?;
        let owner = finding.and_then(|finding| finding.owner.as_deref().map(str::to_owned));
        return match named.as_str() {
            "owner" => owner.ok_or_else(|| wrong(NoAddress::Owner)),
            _ => Ok(named),
        };
    }
    match (&route.address_env, &route.address_file) {
        (Some(name), _) => {
            let address = std::env::var(name).ok().filter(|address| !address.trim().is_empty());
            checked(route.to, address.ok_or_else(|| wrong(NoAddress::Variable(name.clone())))?.trim())
        }
        (None, Some(path)) => from_file(route.to, path),
        (None, None) => Err(wrong(NoAddress::Route)),
    }
}

fn from_file(to: To, path: &std::path::Path) -> Result<String, Error> {
    let text = std::fs::read_to_string(path).map_err(|source| Error::Address {
        to: to.name(),
        source: NoAddress::File { path: path.to_owned(), source },
    })?;
    checked(to, text.trim())
}

fn checked(to: To, address: &str) -> Result<String, Error> {
    if to != To::Email {
        send::check(address).map_err(|flaw| Error::Address { to: to.name(), source: flaw.into() })?;
    }
    Ok(address.to_owned())
}

fn brief(finding: &Finding) -> Brief {
    Brief {
        severity: finding.severity,
        rule: finding.rule.to_string(),
        entity: finding.entity.to_string(),
        owner: finding.owner.as_deref().map(str::to_owned),
    }
}

/// Whether a finding that was sent and isn't open now is known to be resolved: its rule was evaluated for everything.
fn is_resolved(audit: &Audit, brief: &Brief) -> bool {
    !audit.not_evaluated.iter().any(|note| note.rule == brief.rule && note.entities != Some(0))
        && audit.rules.iter().any(|rule| rule.rule == brief.rule)
}

fn news<'a>(
    manifest: &'a Manifest,
    audit: &'a Audit,
    findings: &[&'a Finding],
    told: Option<&Told>,
) -> News<'a> {
    let mut open = BTreeMap::new();
    for finding in findings {
        *open.entry(finding.severity.name()).or_default() += 1;
    }
    let is_told = |id: &String| told.is_some_and(|told| told.open.contains_key(id));
    let is_open = |id: &String| findings.iter().any(|finding| finding.id == *id);
    let resolved = told
        .iter()
        .flat_map(|told| &told.open)
        .filter(|(id, brief)| !is_open(id) && is_resolved(audit, brief))
        .map(|(_, brief)| brief.clone());
    let not_evaluated = audit.not_evaluated.iter().filter(|note| note.entities.is_none());
    News {
        snapshot_id: &manifest.snapshot_id,
        is_first: told.is_none(),
        new: findings.iter().copied().filter(|finding| !is_told(&finding.id)).collect(),
        resolved: resolved.collect(),
        open,
        not_evaluated: not_evaluated.map(|note| note.rule.as_str()).collect(),
    }
}

/// Updated record of what an address has been sent. Findings that could not be checked stay.
fn now_told(manifest: &Manifest, audit: &Audit, findings: &[&Finding], told: Option<Told>) -> Told {
    let mut open: BTreeMap<String, Brief> = told.map(|told| told.open).unwrap_or_default();
    open.retain(|_, brief| !is_resolved(audit, brief));
    open.extend(findings.iter().map(|finding| (finding.id.clone(), brief(finding))));
    Told { snapshot_id: manifest.snapshot_id.clone(), snapshot_at: manifest.snapshot_at, open }
}
