//! Findings over a committed snapshot: what a governance lead would want to know of.
//!
//! ```no_run
//! # fn example() -> Result<(), hexport::audit::Error> {
//! use hexport::audit::{Config, audit};
//! use hexport::snapshot::Lake;
//!
//! let lake = Lake::new("/data/lake/hex");
//! if let Some(manifest) = lake.latest()? {
//!     for finding in audit(&lake, &manifest, &Config::default(), &[])? {
//!         println!("{}: {}", finding.rule, finding.evidence);
//!     }
//! }
//! # Ok(()) }
//! ```

mod config;
mod facts;
pub mod forms;
mod own;
mod rules;

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::schema::{Datum, Row};
use crate::snapshot::{self, Lake, Manifest};
use crate::tables::AUDIT_FINDINGS;

pub use config::{Config, Exception};
pub use facts::Facts;
pub use own::OwnRule;
pub use rules::{RULES, Rule};

/// Why there is no audit.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A snapshot can't be read.
    #[error(transparent)]
    Snapshot(#[from] snapshot::Error),
    /// A rule of one's own can't be read or run.
    #[error("rule {rule}: {why}")]
    OwnRule {
        /// The rule.
        rule: String,
        /// What is wrong.
        why: String,
    },
    /// There is no DuckDB to run rules of one's own with.
    #[error("rules of your own are run with the duckdb command, and it is not installed")]
    NoDuckDb,
}

/// How much a finding matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Tidiness.
    Info,
    /// Worth a look when there is time.
    Low,
    /// Should be dealt with.
    Medium,
    /// Should be dealt with now.
    High,
}

impl Severity {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Severity::Info => "info",
            Severity::Low => "low",
            Severity::Medium => "medium",
            Severity::High => "high",
        }
    }
}

/// A finding.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Finding {
    /// The same for the same rule and entity in every snapshot.
    pub id: String,
    /// How much it matters.
    pub severity: Severity,
    /// The rule.
    pub rule: String,
    /// `project`, `component`, `user`, `group`, `connection`, `table` or `workspace`; rules of one's own may
    /// say something else.
    pub entity_type: String,
    /// Its identifier.
    pub entity_id: String,
    /// Its title or name.
    pub entity: String,
    /// Who owns it.
    pub owner: Option<String>,
    /// What was found.
    pub evidence: String,
    /// First of the snapshots in a row, up to this one, that have it.
    pub since: DateTime<Utc>,
    /// What to do about it.
    pub action: String,
    /// Its page in Hex.
    pub url: Option<String>,
}

/// What a rule found: a finding without what all findings of the rule share.
#[derive(Debug, Clone, PartialEq)]
pub struct Hit {
    /// Kind of the entity.
    pub entity_type: Cow<'static, str>,
    /// Its identifier.
    pub entity_id: String,
    /// Its title or name.
    pub entity: String,
    /// Who owns it.
    pub owner: Option<String>,
    /// What was found.
    pub evidence: String,
    /// Severity, where it isn't the rule's.
    pub severity: Option<Severity>,
}

impl Finding {
    /// The row of `audit_findings`.
    pub fn row(&self, snapshot_at: DateTime<Utc>) -> Row {
        let row = vec![
            Datum::Text(self.id.clone()),
            Datum::Text(self.severity.name().into()),
            Datum::Text(self.rule.clone()),
            Datum::Text(self.entity_type.clone()),
            Datum::Text(self.entity_id.clone()),
            Datum::Text(self.entity.clone()),
            Datum::text(self.owner.as_deref()),
            Datum::Text(self.evidence.clone()),
            Datum::time(self.since),
            Datum::Text(self.action.clone()),
            Datum::text(self.url.as_deref()),
            Datum::time(snapshot_at),
            Datum::time(snapshot_at),
        ];
        debug_assert_eq!(row.len(), AUDIT_FINDINGS.all_columns().count());
        row
    }
}

/// Findings of a committed snapshot, the most severe first. Earlier snapshots tell since when each is there.
///
/// # Errors
/// If a snapshot can't be read, or a rule of one's own can't be run.
pub fn audit(
    lake: &Lake,
    manifest: &Manifest,
    config: &Config,
    own: &[OwnRule],
) -> Result<Vec<Finding>, Error> {
    let mut findings = of_snapshot(lake, manifest, config, own)?;
    let known = lake.manifests()?;
    let earlier = known.before(&manifest.snapshot_id).iter().rev();
    // Those that every snapshot looked at so far has.
    let mut going_back: BTreeMap<String, usize> =
        findings.iter().enumerate().map(|(i, finding)| (finding.id.clone(), i)).collect();
    for before in earlier {
        if going_back.is_empty() {
            break;
        }
        let there: BTreeSet<String> =
            of_snapshot(lake, before, config, own)?.into_iter().map(|finding| finding.id).collect();
        going_back.retain(|id, _| there.contains(id));
        for at in going_back.values() {
            findings[*at].since = before.snapshot_at;
        }
    }
    Ok(findings)
}

fn of_snapshot(
    lake: &Lake,
    manifest: &Manifest,
    config: &Config,
    own: &[OwnRule],
) -> Result<Vec<Finding>, Error> {
    let facts = Facts::load(lake, manifest)?;
    let mut found = find(&facts, config);
    for rule in own {
        let hits = rule.find(lake, manifest)?;
        found.extend(judged(&facts, config, rule.shape(), hits));
    }
    sort(&mut found);
    Ok(found)
}

/// Findings of the built-in rules, the most severe first. Each is there since the facts' own time.
pub fn find(facts: &Facts, config: &Config) -> Vec<Finding> {
    let mut found = Vec::new();
    for rule in RULES.iter().filter(|rule| config.severities.get(rule.id) != Some(&None)) {
        let shape = Shape { id: rule.id, severity: rule.severity, action: rule.action };
        found.extend(judged(facts, config, shape, (rule.find)(facts, config)));
    }
    sort(&mut found);
    found
}

/// What all findings of a rule share.
#[derive(Debug, Clone, Copy)]
struct Shape<'a> {
    id: &'a str,
    severity: Severity,
    action: &'a str,
}

/// Findings of what a rule found, but for what is accepted.
fn judged(facts: &Facts, config: &Config, rule: Shape<'_>, hits: Vec<Hit>) -> Vec<Finding> {
    let usual = match config.severities.get(rule.id) {
        Some(None) => return Vec::new(),
        Some(Some(severity)) => Some(*severity),
        None => None,
    };
    let hits = hits.into_iter().filter(|hit| !config.excepted(rule.id, hit, facts.now));
    hits.map(|hit| Finding {
        id: id(rule.id, &hit),
        severity: usual.or(hit.severity).unwrap_or(rule.severity),
        rule: rule.id.into(),
        url: facts.url(&hit),
        entity_type: hit.entity_type.into_owned(),
        entity_id: hit.entity_id,
        entity: hit.entity,
        owner: hit.owner,
        evidence: hit.evidence,
        since: facts.now,
        action: rule.action.into(),
    })
    .collect()
}

fn sort(findings: &mut [Finding]) {
    findings.sort_by(|a, b| {
        (b.severity, &a.rule, &a.entity, &a.entity_id).cmp(&(a.severity, &b.rule, &b.entity, &b.entity_id))
    });
}

fn id(rule: &str, hit: &Hit) -> String {
    let digest = Sha256::digest(format!("{rule}\0{}\0{}", hit.entity_type, hit.entity_id));
    digest.iter().take(6).map(|b| format!("{b:02x}")).collect()
}
