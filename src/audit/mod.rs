//! Findings over a committed snapshot: what a governance lead would want to know of.
//!
//! ```no_run
//! # fn example() -> Result<(), hexport::snapshot::Error> {
//! use hexport::audit::{Config, audit};
//! use hexport::snapshot::Lake;
//!
//! let lake = Lake::new("/data/lake/hex");
//! if let Some(manifest) = lake.latest()? {
//!     for finding in audit(&lake, &manifest, &Config::default())? {
//!         println!("{}: {}", finding.rule, finding.evidence);
//!     }
//! }
//! # Ok(()) }
//! ```

mod config;
mod facts;
mod rules;

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::snapshot::{Error, Lake, Manifest};

pub use config::{Config, Exception};
pub use facts::Facts;
pub use rules::{RULES, Rule};

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
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Finding {
    /// The same for the same rule and entity in every snapshot.
    pub id: String,
    /// How much it matters.
    pub severity: Severity,
    /// The rule.
    pub rule: &'static str,
    /// `project`, `component`, `user`, `group`, `connection`, `table` or `workspace`.
    pub entity_type: &'static str,
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
    pub action: &'static str,
    /// Its page in Hex.
    pub url: Option<String>,
}

/// What a rule found: a finding without what all findings of the rule share.
#[derive(Debug, Clone, PartialEq)]
pub struct Hit {
    /// Kind of the entity.
    pub entity_type: &'static str,
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

/// Findings of a snapshot, the most severe first. Earlier snapshots tell since when each is there.
///
/// # Errors
/// If a snapshot can't be read.
pub fn audit(lake: &Lake, manifest: &Manifest, config: &Config) -> Result<Vec<Finding>, Error> {
    let mut findings = findings(lake, manifest, config)?;
    let earlier = lake.snapshots()?.into_iter().rev().filter(|id| *id < manifest.snapshot_id);
    // Those that every snapshot looked at so far has.
    let mut going_back: BTreeMap<String, usize> =
        findings.iter().enumerate().map(|(i, finding)| (finding.id.clone(), i)).collect();
    for id in earlier {
        if going_back.is_empty() {
            break;
        }
        let before = lake.manifest(&id)?;
        let there: BTreeMap<String, ()> =
            self::findings(lake, &before, config)?.into_iter().map(|finding| (finding.id, ())).collect();
        going_back.retain(|id, _| there.contains_key(id));
        for at in going_back.values() {
            findings[*at].since = before.snapshot_at;
        }
    }
    Ok(findings)
}

fn findings(lake: &Lake, manifest: &Manifest, config: &Config) -> Result<Vec<Finding>, Error> {
    let facts = Facts::load(lake, manifest)?;
    let mut findings = Vec::new();
    for rule in RULES {
        let usual = match config.severities.get(rule.id) {
            Some(None) => continue,
            Some(Some(severity)) => Some(*severity),
            None => None,
        };
        for hit in (rule.find)(&facts, config) {
            if config.excepted(rule.id, &hit, manifest.snapshot_at) {
                continue;
            }
            findings.push(Finding {
                id: id(rule.id, &hit),
                severity: usual.or(hit.severity).unwrap_or(rule.severity),
                rule: rule.id,
                url: facts.url(&hit),
                entity_type: hit.entity_type,
                entity_id: hit.entity_id,
                entity: hit.entity,
                owner: hit.owner,
                evidence: hit.evidence,
                since: manifest.snapshot_at,
                action: rule.action,
            });
        }
    }
    findings.sort_by(|a, b| {
        (b.severity, a.rule, &a.entity, &a.entity_id).cmp(&(a.severity, b.rule, &b.entity, &b.entity_id))
    });
    Ok(findings)
}

fn id(rule: &str, hit: &Hit) -> String {
    let digest = Sha256::digest(format!("{rule}\0{}\0{}", hit.entity_type, hit.entity_id));
    digest.iter().take(6).map(|b| format!("{b:02x}")).collect()
}
