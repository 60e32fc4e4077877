//! What of an audit can be set, in `hexport.toml` under `[audit]`.

use std::collections::BTreeMap;
use std::path::PathBuf;

use chrono::{DateTime, NaiveDate, Utc};
use serde::{Deserialize, Deserializer};

use super::{Hit, OwnRule, Severity};

/// Thresholds, patterns, severities and exceptions.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Words that make a schema or table sensitive, as a part of its name between dots and underscores.
    pub sensitive: Vec<String>,
    /// Days after which a published project that nobody views is unused.
    pub unused_days: i64,
    /// Days after which a draft that nobody edits is stale.
    pub stale_days: i64,
    /// Days after which a user who doesn't log in is inactive.
    pub inactive_days: i64,
    /// Scheduled runs in a row that fail before a schedule counts as failing.
    pub failing_runs: i64,
    /// Admins that a workspace may have.
    pub most_admins: usize,
    /// Folder of rules of one's own, one SQL file each.
    pub rules: Option<PathBuf>,
    /// Severity of a rule's findings, or `off`.
    #[serde(deserialize_with = "severities")]
    pub severities: BTreeMap<String, Option<Severity>>,
    /// Findings that are accepted.
    pub exceptions: Vec<Exception>,
}

impl Default for Config {
    fn default() -> Self {
        let sensitive = ["hr", "payroll", "salaries", "salary", "finance", "private", "pii"];
        Self {
            sensitive: sensitive.map(String::from).to_vec(),
            unused_days: 90,
            stale_days: 180,
            inactive_days: 90,
            failing_runs: 3,
            most_admins: 5,
            rules: None,
            severities: BTreeMap::new(),
            exceptions: Vec::new(),
        }
    }
}

/// A finding that is accepted, for a time.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Exception {
    /// The rule.
    pub rule: String,
    /// Entity's identifier, title or name; all of the rule's, if none is named.
    pub entity: Option<String>,
    /// Why it is accepted.
    pub reason: String,
    /// Last day on which it is, as `2026-12-31`.
    pub until: String,
}

impl Exception {
    /// The last day on which it holds; `None` if that isn't a date.
    pub fn last_day(&self) -> Option<NaiveDate> {
        self.until.parse().ok()
    }
}

impl Config {
    /// Whether a finding is accepted at a time.
    pub fn excepted(&self, rule: &str, hit: &Hit, at: DateTime<Utc>) -> bool {
        self.exceptions.iter().any(|exception| {
            exception.rule == rule
                && exception.last_day().is_some_and(|day| at.date_naive() <= day)
                && exception
                    .entity
                    .as_ref()
                    .is_none_or(|entity| *entity == hit.entity_id || *entity == hit.entity)
        })
    }

    /// Whether a name of a schema or table is sensitive.
    pub fn is_sensitive(&self, name: &str) -> bool {
        let mut parts = name.split(['.', '_']);
        parts.any(|part| self.sensitive.iter().any(|word| word.eq_ignore_ascii_case(part)))
    }

    /// What in it can't be meant: rules that there aren't, dates that aren't any.
    pub fn mistakes(&self, own: &[OwnRule]) -> Vec<String> {
        let known =
            |rule: &String| super::RULES.iter().any(|r| r.id == rule) || own.iter().any(|r| r.id() == rule);
        let rules = self.severities.keys().chain(self.exceptions.iter().map(|e| &e.rule));
        let unknown = rules.filter(|rule| !known(rule)).map(|rule| format!("there is no rule '{rule}'"));
        let dates = self.exceptions.iter().filter(|e| e.last_day().is_none());
        unknown.chain(dates.map(|e| format!("'{}' is not a date such as 2026-12-31", e.until))).collect()
    }
}

fn severities<'de, D: Deserializer<'de>>(from: D) -> Result<BTreeMap<String, Option<Severity>>, D::Error> {
    #[derive(Deserialize)]
    #[serde(rename_all = "lowercase")]
    enum Wire {
        Off,
        #[serde(untagged)]
        On(Severity),
    }
    let wire = BTreeMap::<String, Wire>::deserialize(from)?;
    let severity = |wire| match wire {
        Wire::Off => None,
        Wire::On(severity) => Some(severity),
    };
    Ok(wire.into_iter().map(|(rule, wire)| (rule, severity(wire))).collect())
}
