//! Gaps in what a report covers, for readers who have nothing but the page.

use serde::Serialize;

use crate::audit::{Audit, Facts, Notice, forms};
use crate::client::users::ActingAs;
use crate::registry;
use crate::schema::Origin;
use crate::snapshot::Manifest;

/// Maximum number of accepted findings to list.
const NAMED: usize = 300;

/// Everything that a reader could mistake for covered.
#[derive(Serialize)]
pub struct NotCovered {
    /// Whether the snapshot has no gaps.
    complete: bool,
    /// Whose view of the workspace it is.
    acting_as: String,
    /// Tables that somebody else saw: their rows are older than the token.
    seen_by: Vec<(String, String)>,
    /// Tables of the API that were not read, or not whole, and why.
    tables: Vec<(&'static str, String)>,
    /// Operations with gaps, and their outcomes.
    operations: Vec<(String, String)>,
    /// Rules that were not evaluated, or not for everything.
    rules: Vec<(String, String)>,
    /// Findings that are accepted: severity, rule, what, why, until when.
    excepted: Vec<(&'static str, String, String, String, String)>,
    /// Number of all accepted findings.
    excepted_count: usize,
    /// Exceptions that don't do what they seem to do.
    notices: Vec<Notice>,
    /// Omissions of the page itself.
    left_out: Vec<String>,
}

impl NotCovered {
    /// Collects it.
    pub fn of(manifest: &Manifest, facts: &Facts, audit: &Audit, left_out: Vec<String>) -> Self {
        let tables = registry::all().filter(|table| matches!(table.origin, Origin::Api(_)));
        let is_read = |state: &str| matches!(state, "fetched" | "reused" | "skipped");
        let operations = manifest.endpoints.iter().filter_map(|(name, summary)| {
            let gaps: Vec<String> = summary
                .states
                .iter()
                .filter(|(state, _)| !is_read(state))
                .map(|(state, n)| format!("{n} {state}"))
                .collect();
            (!gaps.is_empty()).then(|| (name.clone(), gaps.join(", ")))
        });
        let excepted = audit.excepted.iter().take(NAMED).map(|e| {
            let finding = &e.finding;
            let (rule, what) = (finding.rule.to_string(), finding.entity.to_string());
            (finding.severity.name(), rule, what, e.reason.clone(), e.until.clone())
        });
        Self {
            complete: manifest.complete,
            acting_as: match &manifest.acting_as {
                None | Some(ActingAs::Unknown) => "the API doesn't say whose token read this".into(),
                Some(acting_as) => acting_as.to_string(),
            },
            seen_by: manifest
                .tables
                .iter()
                .filter_map(|(name, table)| Some((name.clone(), table.seen_by.as_ref()?.to_string())))
                .collect(),
            tables: tables
                .filter_map(|table| Some((table.name, facts.evidence.gap(table.name)?.to_owned())))
                .collect(),
            operations: operations.collect(),
            rules: audit.not_evaluated.iter().map(|n| (n.rule.clone(), forms::not_evaluated(n))).collect(),
            excepted: excepted.collect(),
            excepted_count: audit.excepted.len(),
            notices: audit.notices.clone(),
            left_out,
        }
    }
}
