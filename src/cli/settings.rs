//! Settings: flag, then environment, then `hexport.toml`, then default.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;

use super::LogFormat;
use super::exit::{Code, Failure};
use super::nightly::ExportSettings;
use super::strict::unknown_keys;
use crate::client::{BaseUrl, Client, ClientConfig, DEFAULT_BASE_URL, Observer, Pace, Token, limits};
use crate::snapshot::Lake;
use crate::units::parse_duration;

/// Name of the settings file that is read if it is there.
pub const FILE: &str = "hexport.toml";
/// Default number of requests in flight: hides a latency of eight seconds at Hex's limit.
const CONCURRENCY: usize = 8;

/// The settings file.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct File {
    url: Option<String>,
    token_file: Option<PathBuf>,
    rate: Option<toml::Value>,
    burst: Option<u32>,
    concurrency: Option<usize>,
    request_timeout: Option<String>,
    give_up_after: Option<String>,
    /// Limits of groups of operations, by the group's name.
    #[serde(default)]
    limits: BTreeMap<String, LimitSetting>,
    /// Form of log lines.
    pub log_format: Option<LogFormat>,
    /// Defaults of `hexport export`.
    #[serde(default)]
    pub export: ExportSettings,
    /// Connections by name or identifier: what completes the names in their queries.
    #[serde(default)]
    pub connections: std::collections::BTreeMap<String, crate::derive::ConnectionNames>,
    /// Thresholds, severities and exceptions of the audit.
    #[serde(default)]
    pub audit: crate::audit::Config,
    /// Receivers of findings.
    #[serde(default)]
    pub notify: crate::notify::Config,
    /// Prices of what warehouses use.
    #[serde(default)]
    pub cost: crate::derive::prices::Config,
    /// Assumptions about access, where the API doesn't say.
    #[serde(default)]
    pub access: crate::access::Config,
}

/// Figures of a group that replace the documented ones, each a number or `"unlimited"`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct LimitSetting {
    minute: Option<toml::Value>,
    hour: Option<toml::Value>,
}

/// Settings that don't come from flags.
#[derive(Debug, Default)]
pub struct Settings {
    /// The settings file.
    pub file: File,
    /// Whether the file was found in the current folder, and not named.
    is_found: bool,
}

impl Settings {
    /// Reads the settings file.
    ///
    /// # Errors
    /// If a file that was named can't be read, or one holds something unknown or wrong.
    pub fn load(path: Option<&Path>) -> Result<Self, Failure> {
        let (path, named) = match path {
            Some(path) => (path, true),
            None => (Path::new(FILE), false),
        };
        let bad =
            |why: String| Failure::new(Code::Usage, format!("the settings file {}: {why}", path.display()));
        let text = match std::fs::read_to_string(path) {
            Ok(text) => text,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound && !named => return Ok(Self::default()),
            Err(e) => return Err(bad(format!("can't be read: {e}"))),
        };
        let unknown = unknown_keys::<File>(&text);
        if !unknown.is_empty() {
            let all: Vec<String> = unknown.iter().map(ToString::to_string).collect();
            let mut places: Vec<String> = unknown.iter().map(|key| key.alternatives()).collect();
            places.sort();
            places.dedup();
            places.push("A token never goes into this file: name its file with token_file.".into());
            return Err(bad(all.join("; ")).next(places.join(" ")));
        }
        // Only the message: toml's whole error shows the line, and someone may have put a token there.
        let file = toml::from_str(&text).map_err(|e| {
            let line = e.span().map_or(0, |span| text[..span.start].matches('\n').count() + 1);
            bad(format!("line {line}: {}", e.message()))
                .next("The README lists every setting with its values.")
        })?;
        Ok(Self { file, is_found: !named })
    }
}

/// Flags of every command that asks the API.
#[derive(Debug, Clone, Default, clap::Args)]
#[command(next_help_heading = "Hex API")]
pub struct ApiArgs {
    /// Address of the workspace [default: https://app.hex.tech]
    #[arg(long, env = "HEX_API_URL", value_name = "URL", hide_env_values = true)]
    url: Option<String>,
    /// File that holds the token; HEX_API_TOKEN wins
    #[arg(long, env = "HEX_API_TOKEN_FILE", value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// Maximum requests per minute over all limit groups; 'unlimited' lifts Hex's documented limits, too
    /// [default: only each group's limit, see hexport check]
    #[arg(long, env = "HEXPORT_RATE", value_name = "N")]
    rate: Option<Rate>,
    /// Requests that may be sent at once after a pause [default: 1]
    #[arg(long, env = "HEXPORT_BURST", value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1000))]
    burst: Option<u32>,
    /// Requests in flight at once, per limit group [default: 8]
    #[arg(long, env = "HEXPORT_CONCURRENCY", value_name = "N", value_parser = clap::value_parser!(u16).range(1..=512))]
    concurrency: Option<u16>,
    /// Timeout of one request [default: 60s]
    #[arg(long, env = "HEXPORT_REQUEST_TIMEOUT", value_name = "DURATION", value_parser = parse_duration)]
    request_timeout: Option<Duration>,
    /// Give up after this time without one accepted response; the next export resumes [default: 15m]
    #[arg(long, env = "HEXPORT_GIVE_UP_AFTER", value_name = "DURATION", value_parser = parse_duration)]
    give_up_after: Option<Duration>,
}

/// Requests that leave together when a person waits for them: half of what the lowest of Hex's common limits
/// allows in a minute.
const BRIEF_BURST: u32 = 15;

/// A rate as people write it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rate(Option<f64>);

impl FromStr for Rate {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.eq_ignore_ascii_case("unlimited") {
            return Ok(Rate(None));
        }
        let rate = text.parse::<f64>().ok().filter(|rate| rate.is_finite() && (0.01..=1e6).contains(rate));
        rate.map(|rate| Rate(Some(rate)))
            .ok_or_else(|| "a rate is a number of requests per minute, or 'unlimited'".into())
    }
}

fn rate_of(value: &toml::Value) -> Result<Rate, String> {
    match value {
        toml::Value::String(text) => text.parse(),
        other => other.to_string().parse(),
    }
}

impl File {
    /// The limits to keep: Hex's, as far as neither `[limits]` nor an unlimited rate replaces them.
    fn pace(&self, rate: Option<Rate>) -> Result<Pace, (String, String)> {
        let mut pace = match rate {
            Some(Rate(None)) => Pace::unlimited(),
            _ => Pace::hex(),
        };
        pace.total = rate.and_then(|rate| rate.0);
        for (name, setting) in &self.limits {
            let Some(group) = limits::by_name(name) else {
                let known: Vec<&str> = limits::ALL.iter().map(|group| group.name).collect();
                let why = format!("there is no such group; there are {}", known.join(", "));
                return Err((format!("limits.{name}"), why));
            };
            let figures = pace.groups.entry(group.name).or_default();
            for (window, value, figure) in
                [("minute", &setting.minute, &mut figures.minute), ("hour", &setting.hour, &mut figures.hour)]
            {
                if let Some(value) = value {
                    *figure = rate_of(value).map_err(|_| limit_error(name, window))?.0;
                }
            }
        }
        Ok(pace)
    }
}

fn limit_error(group: &str, window: &str) -> (String, String) {
    let why = format!("a limit is a number of requests per {window}, or \"unlimited\"");
    (format!("limits.{group}.{window}"), why)
}

/// Client and concurrency, with all settings combined.
pub struct Api {
    /// The client.
    pub client: Client,
    /// Requests under way at once.
    pub concurrency: usize,
}

impl ApiArgs {
    /// The same flags with another address and token file.
    pub fn at(&self, url: &str, token_file: Option<&Path>) -> Self {
        Self { url: Some(url.to_owned()), token_file: token_file.map(Path::to_path_buf), ..self.clone() }
    }

    /// The address, if one was given.
    pub fn url(&self) -> Option<&str> {
        self.url.as_deref()
    }

    /// The file of the token, if one was given.
    pub fn token_file(&self) -> Option<&Path> {
        self.token_file.as_deref()
    }

    /// A client of these settings.
    ///
    /// # Errors
    /// If there is no token, or a setting is wrong.
    pub fn connect(&self, settings: &Settings, observer: Arc<dyn Observer>) -> Result<Api, Failure> {
        self.connect_with(settings, observer, 1)
    }

    /// A client for a few requests that a person waits for: they leave together, within the limits.
    ///
    /// # Errors
    /// As [`connect`](Self::connect).
    pub fn connect_briefly(&self, settings: &Settings, observer: Arc<dyn Observer>) -> Result<Api, Failure> {
        self.connect_with(settings, observer, BRIEF_BURST)
    }

    fn connect_with(
        &self,
        settings: &Settings,
        observer: Arc<dyn Observer>,
        burst: u32,
    ) -> Result<Api, Failure> {
        let file = &settings.file;
        let wrong = |name: &str, why: String| {
            Failure::new(Code::Usage, format!("{name} in the settings file: {why}"))
        };
        let url = self.url.as_deref().or(file.url.as_deref()).unwrap_or(DEFAULT_BASE_URL);
        let base_url = BaseUrl::new(url)?;
        if self.url.is_none() && settings.is_found && base_url != BaseUrl::default() {
            // A folder that someone else prepared must not get hold of a token silently.
            eprintln!(
                "note: {FILE} in the current folder sets the address that the token is sent to: {base_url}"
            );
        }
        let rate = match (self.rate, &file.rate) {
            (Some(rate), _) => Some(rate),
            (None, Some(value)) => Some(rate_of(value).map_err(|e| wrong("rate", e))?),
            (None, None) => None,
        };
        let timeout = match (&self.request_timeout, &file.request_timeout) {
            (Some(timeout), _) => *timeout,
            (None, Some(text)) => parse_duration(text).map_err(|e| wrong("request_timeout", e))?,
            (None, None) => Duration::from_secs(60),
        };
        let burst = self.burst.or(file.burst).unwrap_or(burst);
        let concurrency = self.concurrency.map(usize::from).or(file.concurrency).unwrap_or(CONCURRENCY);
        if !(1..=512).contains(&concurrency) {
            return Err(wrong("concurrency", "it is a number from 1 to 512".into()));
        }
        let mut config = ClientConfig::new(base_url, self.token(file)?);
        config.pace = file.pace(rate).map_err(|(name, why)| wrong(&name, why))?;
        config.pace.burst = burst;
        config.timeout = timeout;
        config.retry.silence = match (&self.give_up_after, &file.give_up_after) {
            (Some(silence), _) => *silence,
            (None, Some(text)) => parse_duration(text).map_err(|e| wrong("give_up_after", e))?,
            (None, None) => config.retry.silence,
        };
        config.observer = Some(observer);
        Ok(Api { client: Client::new(config)?, concurrency })
    }

    fn token(&self, file: &File) -> Result<Token, Failure> {
        if let Some(text) = std::env::var_os("HEX_API_TOKEN").filter(|text| !text.is_empty()) {
            let text = text.into_string().map_err(|_| "the token in HEX_API_TOKEN is not text");
            let token =
                text.map_err(|why| Failure::new(Code::Authentication, why)).map(|text| Token::new(&text))?;
            return Ok(token?);
        }
        match self.token_file.as_deref().or(file.token_file.as_deref()) {
            Some(path) => Ok(Token::from_file(path)?),
            None => Err(crate::client::Error::from(crate::client::TokenFlaw::Missing).into()),
        }
    }
}

/// Settings of an object store.
#[derive(Debug, clap::Args)]
pub struct StoreArgs {
    /// Setting of DEST's object store, such as aws_endpoint=https://minio.example; the environment (AWS_...,
    /// GOOGLE_..., AZURE_...) is read, too
    #[arg(long, value_name = "KEY=VALUE", value_parser = pair)]
    option: Vec<(String, String)>,
}

fn pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err("a setting is KEY=VALUE".into()),
    }
}

impl StoreArgs {
    /// The destination of this name.
    ///
    /// # Errors
    /// If it is a URL that isn't one of a store, or a setting is wrong.
    pub fn open(&self, dest: &Path) -> Result<Lake, Failure> {
        match dest.to_str() {
            Some(name) => {
                Lake::open(name, &self.option).map_err(|e| Failure::new(Code::Usage, e.to_string()))
            }
            None => Ok(Lake::new(dest)),
        }
    }
}
