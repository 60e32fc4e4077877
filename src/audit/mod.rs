//! Findings over a committed snapshot: governance problems, each with what it rests on.
//!
//! A rule that lacks evidence isn't evaluated, and says so: what wasn't read is no evidence that it isn't there.
//!
//! ```no_run
//! # fn example() -> Result<(), hexport::audit::Error> {
//! use hexport::audit::{Config, audit};
//! use hexport::snapshot::Lake;
//!
//! let lake = Lake::new("/data/lake/hex");
//! if let Some(manifest) = lake.latest()? {
//!     let audit = audit(&lake, &manifest, &Config::default(), &[])?;
//!     for finding in &audit.findings {
//!         println!("{}: {}", finding.rule, finding.evidence);
//!     }
//!     for rule in &audit.not_evaluated {
//!         println!("{}: not evaluated: {}", rule.rule, rule.why);
//!     }
//! }
//! # Ok(()) }
//! ```

mod config;
mod edges;
mod evidence;
mod exceptions;
mod facts;
pub mod forms;
pub mod glob;
mod moves;
mod outsiders;
mod own;
mod record;
mod rules;
mod source;
mod spending;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize, Serializer};
use sha2::{Digest, Sha256};

use crate::snapshot::{self, Lake, Manifest};

pub use config::Config;
pub use evidence::{Evidence, Need, NotEvaluated};
pub use exceptions::{Exception, Notice};
pub(crate) use facts::Project;
pub use facts::{Circle, Facts};
pub use moves::{CellChange, Moves};
pub use own::{OwnRule, RuleFlaw};
pub use record::Record;
pub use rules::{Rule, all as rules, is_rule};
pub use source::{Committed, Folder, Overlay, Tables};
pub use spending::Spending;

/// Errors of an audit.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A snapshot can't be read.
    #[error(transparent)]
    Snapshot(#[from] snapshot::Error),
    /// One of the user's own rules can't be read or run.
    #[error("rule {rule}: {source}")]
    OwnRule {
        /// The rule.
        rule: String,
        /// The flaw.
        source: RuleFlaw,
    },
    /// There is no DuckDB to run the user's own rules with.
    #[error("your own rules need the duckdb command, which is not installed")]
    NoDuckDb,
}

/// Stands for a title or name that is empty or blank.
const UNTITLED: &str = "(untitled)";

/// Severity of a finding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
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
    /// The severity as settings and tables name it.
    pub fn name(self) -> &'static str {
        match self {
            Severity::Info => "info",
            Severity::Low => "low",
            Severity::Medium => "medium",
            Severity::High => "high",
        }
    }

    /// The severity of a name, in any case.
    pub fn named(name: &str) -> Option<Self> {
        let all = [Severity::Info, Severity::Low, Severity::Medium, Severity::High];
        all.into_iter().find(|severity| severity.name().eq_ignore_ascii_case(name))
    }
}

/// A finding.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Finding {
    /// The same for the same rule and entity in every snapshot.
    pub id: String,
    /// Severity.
    pub severity: Severity,
    /// The rule.
    pub rule: Arc<str>,
    /// `project`, `component`, `user`, `group`, `connection`, `table`, `query` or `workspace`; the user's own rules
    /// may say something else.
    pub entity_type: Cow<'static, str>,
    /// Identifier of what it was found on.
    pub entity_id: Arc<str>,
    /// Title or name of what it was found on.
    pub entity: Arc<str>,
    /// Email address of the owner.
    pub owner: Option<Arc<str>>,
    /// Evidence.
    pub evidence: Box<str>,
    /// First of the snapshots in a row, up to this one, that have it; `None` if no earlier snapshot says
    /// anything about the rule.
    pub since: Option<DateTime<Utc>>,
    /// Recommended action.
    pub action: Arc<str>,
    /// Page in Hex.
    pub url: Option<Page>,
}

/// The page of a project in Hex. There are as many as findings, and all but the project is the same: they share it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    folder: Arc<str>,
    id: Arc<str>,
}

impl fmt::Display for Page {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.folder, self.id)
    }
}

impl Serialize for Page {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// A finding that an exception accepts.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Excepted {
    /// The finding.
    #[serde(flatten)]
    pub finding: Finding,
    /// Reason for accepting it.
    pub reason: String,
    /// Last day on which it is.
    pub until: String,
    /// The exception in one line.
    pub exception: String,
}

/// One result of a rule: a finding without what all findings of the rule share.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Hit {
    /// Kind of the entity.
    pub entity_type: Cow<'static, str>,
    /// Identifier of the entity.
    pub entity_id: Arc<str>,
    /// Title or name of the entity.
    pub entity: Arc<str>,
    /// Email address of the owner.
    pub owner: Option<Arc<str>>,
    /// Evidence.
    pub evidence: String,
    /// Severity, where it isn't the rule's.
    pub severity: Option<Severity>,
    /// Identifiers of the connections that it is about; none if it is about all that the entity uses.
    pub connections: Vec<Arc<str>>,
}

/// The outcome of a rule: what it found, and what it couldn't judge.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Found {
    /// Hits.
    pub hits: Vec<Hit>,
    /// Entities that could not be judged, and why.
    pub unknown: Option<(u64, String)>,
}

impl Found {
    /// Hits, and how many entities could not be judged, and why.
    pub fn but_for(hits: Vec<Hit>, unknown: u64, why: &str) -> Self {
        Self { hits, unknown: (unknown > 0).then(|| (unknown, why.to_owned())) }
    }
}

impl From<Vec<Hit>> for Found {
    fn from(hits: Vec<Hit>) -> Self {
        Self { hits, unknown: None }
    }
}

/// The outcome of an audit.
#[derive(Debug, Clone, Default)]
pub struct Audit {
    /// Findings, the most severe first.
    pub findings: Vec<Finding>,
    /// Findings that exceptions accept, the most severe first.
    pub excepted: Vec<Excepted>,
    /// Entities that couldn't be judged: how many, and why.
    pub not_evaluated: Vec<NotEvaluated>,
    /// Exceptions that don't do what they look like.
    pub notices: Vec<Notice>,
    /// Rules that ran, and how.
    pub rules: Vec<RuleOutcome>,
}

/// Outcome of a rule.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RuleOutcome {
    /// The rule.
    pub rule: String,
    /// Severity of its findings, unless one says otherwise.
    pub severity: Severity,
    /// Problem that it looks for.
    pub looks_for: String,
    /// Recommended action.
    pub action: String,
    /// Reason that it was not evaluated, if it wasn't.
    pub why_not: Option<String>,
    /// Reason for leaving out some entities.
    pub left_out: Option<String>,
    /// Number of entities left out.
    pub entities_left_out: u64,
    /// Findings that are open.
    pub findings: u64,
    /// Findings that exceptions accept.
    pub excepted: u64,
}

/// Findings of a committed snapshot, the most severe first. The findings tables of this and of earlier snapshots
/// say since when each is there.
///
/// # Errors
/// If a snapshot can't be read, or one of the user's own rules can't be run.
pub fn audit(lake: &Lake, manifest: &Manifest, config: &Config, own: &[OwnRule]) -> Result<Audit, Error> {
    let tables = Committed { lake, manifest };
    let facts = Facts::load(&tables, manifest.snapshot_at, &manifest.workspace, config)?;
    let mut work = Work::new(&facts, config);
    work.built_in();
    for rule in own {
        let hits = rule.find(&tables)?;
        work.judge(rule.shape(), Ok(hits.into()));
    }
    let mut audit = work.end();
    Record::date_committed(&mut audit, lake, manifest)?;
    Ok(audit)
}

/// Findings in the files of a snapshot that is being written, by the built-in rules and the user's own: the
/// latter are not evaluated where they can't be run.
///
/// # Errors
/// If a table can't be read.
pub fn audit_folder(
    folder: &dyn Tables,
    now: DateTime<Utc>,
    workspace: &snapshot::WorkspaceEntry,
    config: &Config,
) -> Result<Audit, snapshot::Error> {
    let facts = Facts::load(folder, now, workspace, config)?;
    let mut work = Work::new(&facts, config);
    work.built_in();
    let own = config.rules.as_deref().map_or(Ok(Vec::new()), OwnRule::in_folder);
    match own {
        Ok(own) => {
            for rule in &own {
                let hits = rule.find(folder).map(Found::from).map_err(|e| e.to_string());
                work.judge(rule.shape(), hits);
            }
            let mistakes = config.mistakes(&own).into_iter();
            work.mistyped.extend(mistakes);
        }
        Err(error) => work.mistyped.push(error.to_string()),
    }
    Ok(work.end())
}

/// Findings of the built-in rules, the most severe first. Each is there since the facts' own time.
pub fn find(facts: &Facts, config: &Config) -> Audit {
    let mut work = Work::new(facts, config);
    work.built_in();
    work.end()
}

/// The part that all findings of a rule share.
#[derive(Debug, Clone, Copy)]
struct Shape<'a> {
    id: &'a str,
    severity: Severity,
    looks_for: &'a str,
    action: &'a str,
}

/// An audit that is under way.
struct Work<'a> {
    facts: &'a Facts,
    config: &'a Config,
    ledger: exceptions::Ledger<'a>,
    audit: Audit,
    mistyped: Vec<String>,
}

impl<'a> Work<'a> {
    fn new(facts: &'a Facts, config: &'a Config) -> Self {
        let ledger = exceptions::Ledger::new(config, facts);
        Self { facts, config, ledger, audit: Audit::default(), mistyped: Vec::new() }
    }

    fn built_in(&mut self) {
        for rule in rules() {
            let shape = Shape {
                id: rule.id,
                severity: rule.severity,
                looks_for: rule.looks_for,
                action: rule.action,
            };
            if self.config.severities.get(rule.id) == Some(&None) {
                continue;
            }
            let found = self.facts.evidence.check(rule.needs).map(|left| {
                let mut found = (rule.find)(self.facts, self.config);
                found.hits.retain(|hit| !left.out.contains(&*hit.entity_id));
                for (why, entities) in left.notes {
                    let (count, so_far) = found.unknown.take().unwrap_or_default();
                    let whys = [so_far, why].into_iter().filter(|why| !why.is_empty()).collect::<Vec<_>>();
                    found.unknown = Some((count + entities, whys.join("; ")));
                }
                found
            });
            self.judge(shape, found);
        }
    }

    /// Takes in what a rule found, or why it could not be evaluated.
    fn judge(&mut self, rule: Shape<'_>, found: Result<Found, String>) {
        let usual = match self.config.severities.get(rule.id) {
            Some(None) => return,
            Some(Some(severity)) => Some(*severity),
            None => None,
        };
        let mut outcome = RuleOutcome {
            rule: rule.id.into(),
            severity: usual.unwrap_or(rule.severity),
            looks_for: rule.looks_for.into(),
            action: rule.action.into(),
            why_not: None,
            left_out: None,
            entities_left_out: 0,
            findings: 0,
            excepted: 0,
        };
        let note = |why: &str, entities| NotEvaluated { rule: rule.id.into(), why: why.into(), entities };
        match found {
            Err(why) => {
                self.audit.not_evaluated.push(note(&why, None));
                outcome.why_not = Some(why);
            }
            Ok(found) => {
                if let Some((entities, why)) = found.unknown {
                    self.audit.not_evaluated.push(note(&why, Some(entities)));
                    (outcome.entities_left_out, outcome.left_out) = (entities, Some(why));
                }
                let shared = (rule.id.into(), rule.action.into());
                for hit in found.hits {
                    self.take(rule, &shared, usual, hit, &mut outcome);
                }
            }
        }
        self.audit.rules.push(outcome);
    }

    fn take(
        &mut self,
        rule: Shape<'_>,
        (id_of_rule, action): &(Arc<str>, Arc<str>),
        usual: Option<Severity>,
        hit: Hit,
        outcome: &mut RuleOutcome,
    ) {
        let severity = usual.or(hit.severity).unwrap_or(rule.severity);
        let accepted = self.ledger.accepts(self.config, rule.id, severity, &hit, self.facts);
        let finding = Finding {
            id: id(rule.id, &hit),
            severity,
            rule: id_of_rule.clone(),
            url: self.facts.page(&hit),
            entity_type: hit.entity_type,
            entity_id: hit.entity_id,
            // A title of nothing is nothing to point at, or to click on.
            entity: if hit.entity.trim().is_empty() { UNTITLED.into() } else { hit.entity },
            owner: hit.owner,
            evidence: hit.evidence.into(),
            since: Some(self.facts.now),
            action: action.clone(),
        };
        match accepted {
            None => {
                outcome.findings += 1;
                self.audit.findings.push(finding);
            }
            Some(exception) => {
                outcome.excepted += 1;
                self.audit.excepted.push(Excepted {
                    finding,
                    reason: exception.reason.clone(),
                    until: exception.until.clone(),
                    exception: exception.describe(),
                });
            }
        }
    }

    fn end(self) -> Audit {
        let Self { facts, config, ledger, mut audit, mistyped } = self;
        // Exceptions needn't match what rules would find in histories that nobody imported.
        let is_open = |note: &&NotEvaluated| note.why != evidence::NOT_IMPORTED;
        let open: Vec<NotEvaluated> = audit.not_evaluated.iter().filter(is_open).cloned().collect();
        audit.notices = ledger.notices(config, facts.now, &open);
        audit.notices.extend(mistyped.into_iter().map(|what| Notice {
            kind: "mistyped",
            exception: "[audit]".into(),
            what,
        }));
        audit.findings.sort_unstable_by(order);
        audit.excepted.sort_unstable_by(|a, b| order(&a.finding, &b.finding));
        audit
    }
}

fn order(a: &Finding, b: &Finding) -> std::cmp::Ordering {
    (b.severity, &a.rule, &a.entity, &a.entity_id).cmp(&(a.severity, &b.rule, &b.entity, &b.entity_id))
}

impl Audit {
    /// Accepted findings by the reason that is given for them.
    pub fn excepted_by_reason(&self) -> BTreeMap<&str, usize> {
        let mut reasons = BTreeMap::new();
        for excepted in &self.excepted {
            *reasons.entry(excepted.reason.as_str()).or_default() += 1;
        }
        reasons
    }

    /// Leaves what is about these rules and at least this severe; all rules, if none is named.
    pub fn only(&mut self, rules: &[String], least: Severity) {
        let is_wanted = |rule: &str| rules.is_empty() || rules.iter().any(|wanted| wanted == rule);
        self.findings.retain(|f| f.severity >= least && is_wanted(&f.rule));
        self.excepted.retain(|e| e.finding.severity >= least && is_wanted(&e.finding.rule));
        self.not_evaluated.retain(|n| is_wanted(&n.rule));
        self.rules.retain(|r| is_wanted(&r.rule));
    }
}

fn id(rule: &str, hit: &Hit) -> String {
    let digest = Sha256::digest(format!("{rule}\0{}\0{}", hit.entity_type, hit.entity_id));
    digest.iter().take(6).map(|b| format!("{b:02x}")).collect()
}
