//! Settings of an audit: `[audit]` in `hexport.toml`.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Deserializer};

use super::exceptions::Exception;
use super::{OwnRule, Severity, glob};

/// Thresholds, patterns, severities and exceptions.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Words that make a database, schema or table sensitive, as a part of its name between dots and
    /// underscores, and a column as its whole name; or patterns over whole names, such as `*.users.ssn`.
    pub sensitive: Vec<String>,
    /// Days after which a published project that nobody uses is unused.
    pub unused_days: i64,
    /// Days after which a draft that nobody edits is stale.
    pub stale_days: i64,
    /// Days after which a user who doesn't log in is inactive.
    pub inactive_days: i64,
    /// Email addresses that no person logs in with, as patterns such as `svc-*@acme.example`.
    pub service_accounts: Vec<String>,
    /// Scheduled runs in a row that fail before a schedule counts as failing.
    pub failing_runs: i64,
    /// Scheduled runs of a project that are missed or late in 30 days before its schedule counts as missed.
    pub missed_runs: i64,
    /// Runs that get no kernel in 7 days before a workspace counts as starved.
    pub starved_runs: i64,
    /// Kernels that Hex gives a workspace at once.
    pub kernels: usize,
    /// Days after which the results of an app that people view are stale.
    pub stale_app_days: i64,
    /// Admins that a workspace may have.
    pub most_admins: usize,
    /// Cost in 30 days from which on a schedule nobody views is worth a finding, in the currency of `[cost]`.
    pub costly: f64,
    /// The same where nothing has a price: hours in the warehouse.
    pub costly_hours: f64,
    /// Ratio of a project's cost last week to its usual week that counts as a jump.
    pub cost_jump: f64,
    /// Projects that send the same query before it is worth a finding.
    pub shared_query_projects: usize,
    /// Times that the same query runs on a day, with the same result, before a cached one would do.
    pub repeated_queries: i64,
    /// Domains of the workspace's own people; the domain that most users have, if none is named.
    pub domains: Vec<String>,
    /// Share of the people of a workspace that makes a group one of everybody.
    pub everybody: f64,
    /// Folder of the user's own rules, one SQL file each.
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
            service_accounts: Vec::new(),
            failing_runs: 3,
            missed_runs: 3,
            starved_runs: 5,
            kernels: 25,
            stale_app_days: 90,
            most_admins: 5,
            costly: 50.0,
            costly_hours: 5.0,
            cost_jump: 2.0,
            shared_query_projects: 3,
            repeated_queries: 4,
            domains: Vec::new(),
            everybody: 0.9,
            rules: None,
            severities: BTreeMap::new(),
            exceptions: Vec::new(),
        }
    }
}

impl Config {
    /// Whether the whole name of a table is sensitive.
    pub fn is_sensitive(&self, name: &str) -> bool {
        self.sensitive.iter().any(|entry| match is_pattern(entry) {
            true => glob::matches(entry, name),
            false => name.split(['.', '_']).any(|part| entry.eq_ignore_ascii_case(part)),
        })
    }

    /// Whether a column is sensitive whatever table it is in.
    pub fn is_sensitive_column(&self, table: &str, column: &str) -> bool {
        self.sensitive.iter().any(|entry| match is_pattern(entry) {
            true => glob::matches(entry, &format!("{table}.{column}")),
            false => entry.eq_ignore_ascii_case(column),
        })
    }

    /// Whether no person logs in with an email address.
    pub fn is_service_account(&self, email: &str) -> bool {
        self.service_accounts.iter().any(|pattern| glob::matches(pattern, email))
    }

    /// Settings that can't be meant: rules that don't exist, days that aren't dates, exceptions of everything.
    pub fn mistakes(&self, own: &[OwnRule]) -> Vec<String> {
        let known = |rule: &String| super::is_rule(rule) || own.iter().any(|r| r.id() == rule);
        let unknown = self.severities.keys().filter(|rule| !known(rule));
        let unknown = unknown.map(|rule| format!("[audit.severities]: there is no rule '{rule}'"));
        let exceptions = self.exceptions.iter().filter_map(|exception| exception.mistake(&known));
        unknown.chain(exceptions).collect()
    }
}

fn is_pattern(entry: &str) -> bool {
    entry.contains(['*', '?', '.'])
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_match_parts_of_names_and_patterns_whole_names() {
        let with = |entry: &str| Config { sensitive: vec![entry.into()], ..Config::default() };
        for (entry, table, is) in [
            ("hr", "db.hr.people", true),
            ("HR", "db.hr_private.people", true),
            ("hr", "hr.core.people", true),
            ("hr", "db.chrome.threads", false),
            ("db.core.*", "DB.core.people", true),
            ("*.people", "db.core.people", true),
            ("*.people", "db.core.people_2", false),
            ("core.people", "db.core.people", false),
        ] {
            assert_eq!(with(entry).is_sensitive(table), is, "{entry} {table}");
        }
        for (entry, column, is) in [
            ("salary", "Salary", true),
            ("private", "is_private", false),
            ("*.ssn", "ssn", true),
            ("db.core.users.e?ail", "email", true),
            ("db.core.orders.*", "email", false),
        ] {
            assert_eq!(with(entry).is_sensitive_column("db.core.users", column), is, "{entry} {column}");
        }
    }
}
