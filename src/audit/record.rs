//! The findings that snapshots hold as a table: written at export, and read to tell since when a finding is there.

use std::collections::{HashMap, HashSet};

use arrow::array::RecordBatch;
use arrow::error::ArrowError;
use chrono::{DateTime, Utc};
use serde::Deserialize;

use super::source::{Committed, Tables};
use super::{Audit, Finding};
use crate::schema::{Datum, Row, Table, batch_of};
use crate::snapshot::{Error, Lake, Manifest, TableEntry, TableWriter, rows};
use crate::tables::{AUDIT_FINDINGS, AUDIT_RULES};

/// Rows of a batch.
const CHUNK: usize = 4_096;

/// Findings as one snapshot recorded them.
#[derive(Debug, Default)]
pub struct Record {
    /// Since when each finding is there; `None` if that isn't known.
    since: HashMap<String, Option<DateTime<Utc>>>,
    /// Rules that were evaluated.
    evaluated: HashSet<String>,
    /// Entities of these rules may have been left out.
    in_part: HashSet<String>,
}

#[derive(Deserialize)]
struct FindingRow {
    finding_id: String,
    #[serde(default)]
    since: Option<DateTime<Utc>>,
    rule: String,
}

#[derive(Deserialize)]
struct RuleRow {
    rule: String,
    evaluated: bool,
    #[serde(default)]
    entities_left_out: i64,
}

impl Record {
    /// Reads it; `None` if the snapshot has no findings.
    fn load(tables: &dyn Tables) -> Result<Option<Self>, Error> {
        if !tables.has(&AUDIT_FINDINGS) {
            return Ok(None);
        }
        let mut record = Self::default();
        let open = |table| tables.open(table, &[]);
        for row in rows::all::<RuleRow>(&open, &AUDIT_RULES)? {
            if row.entities_left_out > 0 {
                record.in_part.insert(row.rule.clone());
            }
            if row.evaluated {
                record.evaluated.insert(row.rule);
            }
        }
        // Older snapshots don't say which rules were evaluated: all that were built in.
        if !tables.has(&AUDIT_RULES) {
            record.evaluated = super::rules().map(|rule| rule.id.to_owned()).collect();
        }
        let columns = ["finding_id", "since", "rule"];
        for batch in tables.open(&AUDIT_FINDINGS, &columns)?.into_iter().flatten() {
            for row in rows::of_batch::<FindingRow>(&AUDIT_FINDINGS, &batch?)? {
                record.evaluated.insert(row.rule);
                record.since.insert(row.finding_id, row.since);
            }
        }
        Ok(Some(record))
    }

    /// Whether it settles since when a finding is there: it has it, or had it not although its rule ran.
    fn settles(&self, finding: &Finding) -> Option<Option<DateTime<Utc>>> {
        if let Some(since) = self.since.get(&finding.id) {
            return Some(*since);
        }
        let is_settled = self.evaluated.contains(&*finding.rule) && !self.in_part.contains(&*finding.rule);
        is_settled.then_some(finding.since)
    }

    /// Tells since when the findings of a committed snapshot are there: by its own table of findings first, then
    /// by those of earlier snapshots. Of the user's own rules that no snapshot has evaluated that isn't known.
    ///
    /// # Errors
    /// If a snapshot can't be read.
    pub fn date_committed(audit: &mut Audit, lake: &Lake, manifest: &Manifest) -> Result<(), Error> {
        let mut open = all(audit);
        if let Some(own) = Self::load(&Committed { lake, manifest })? {
            // One that it doesn't have may be in earlier ones: the settings may be others now.
            open.retain_mut(|finding| match own.since.get(&finding.id) {
                Some(since) => {
                    finding.since = *since;
                    false
                }
                None => true,
            });
        }
        let known = lake.manifests()?;
        let earlier: Vec<&Manifest> = known.before(&manifest.snapshot_id).iter().collect();
        for finding in Self::settle(open, lake, &earlier)? {
            if !earlier.is_empty() && !super::is_rule(&finding.rule) {
                finding.since = None;
            }
        }
        Ok(())
    }

    /// Tells since when the findings of a snapshot are there that isn't committed yet, and that follows `base`.
    ///
    /// # Errors
    /// If a snapshot can't be read.
    pub fn date_new(audit: &mut Audit, lake: &Lake, base: &Manifest) -> Result<(), Error> {
        let known = lake.manifests()?;
        let earlier: Vec<&Manifest> = known.before(&base.snapshot_id).iter().chain([base]).collect();
        Self::settle(all(audit), lake, &earlier)?;
        Ok(())
    }

    /// Goes back through snapshots, the newest first, until one says something about each finding's rule. Gives
    /// the findings that none says anything about.
    fn settle<'a>(
        mut open: Vec<&'a mut Finding>,
        lake: &Lake,
        snapshots: &[&Manifest],
    ) -> Result<Vec<&'a mut Finding>, Error> {
        for manifest in snapshots.iter().rev() {
            if open.is_empty() {
                break;
            }
            let Some(record) = Self::load(&Committed { lake, manifest })? else { continue };
            open.retain_mut(|finding| match record.settles(finding) {
                Some(since) => {
                    finding.since = since;
                    false
                }
                None => true,
            });
        }
        Ok(open)
    }
}

fn all(audit: &mut Audit) -> Vec<&mut Finding> {
    let excepted = audit.excepted.iter_mut().map(|e| &mut e.finding);
    audit.findings.iter_mut().chain(excepted).collect()
}

impl Audit {
    /// Writes the tables of findings and of rules, in the order of their keys.
    ///
    /// # Errors
    /// If one can't be written.
    pub fn write(
        &self,
        snapshot_at: DateTime<Utc>,
        create: impl Fn(&'static Table) -> Result<TableWriter, Error>,
    ) -> Result<[(&'static Table, TableEntry); 2], Error> {
        let open = self.findings.iter().map(|finding| (finding, None));
        let excepted =
            self.excepted.iter().map(|e| (&e.finding, Some((e.reason.as_str(), e.until.as_str()))));
        let mut all: Vec<(&Finding, Option<(&str, &str)>)> = open.chain(excepted).collect();
        all.sort_by_key(|(finding, _)| finding.id.as_str());
        all.dedup_by_key(|(finding, _)| finding.id.as_str());
        let mut findings = create(&AUDIT_FINDINGS)?;
        // A large workspace has more findings than anybody wants to hold twice.
        for chunk in all.chunks(CHUNK) {
            let rows = chunk.iter().map(|(finding, exception)| row(finding, *exception, snapshot_at));
            let batch = batch_of(&AUDIT_FINDINGS, rows.collect());
            findings.write(&batch.map_err(Error::of_table(&AUDIT_FINDINGS))?)?;
        }
        let mut rules = create(&AUDIT_RULES)?;
        rules.write(&rules_rows(self, snapshot_at).map_err(Error::of_table(&AUDIT_RULES))?)?;
        Ok([(&AUDIT_FINDINGS, findings.finish()?), (&AUDIT_RULES, rules.finish()?)])
    }
}

fn row(finding: &Finding, exception: Option<(&str, &str)>, snapshot_at: DateTime<Utc>) -> Row {
    let row = vec![
        Datum::Text(finding.id.clone()),
        Datum::Text(finding.severity.name().into()),
        Datum::Text(finding.rule.to_string()),
        Datum::Text(finding.entity_type.to_string()),
        Datum::Text(finding.entity_id.to_string()),
        Datum::Text(finding.entity.to_string()),
        Datum::text(finding.owner.as_deref()),
        Datum::Text(finding.evidence.to_string()),
        finding.since.map_or(Datum::Null, Datum::time),
        Datum::Text(finding.action.to_string()),
        finding.url.as_ref().map_or(Datum::Null, |url| Datum::Text(url.to_string())),
        Datum::Text(if exception.is_some() { "excepted" } else { "open" }.into()),
        Datum::text(exception.map(|(reason, _)| reason)),
        Datum::text(exception.map(|(_, until)| until)),
        Datum::time(snapshot_at),
        Datum::time(snapshot_at),
    ];
    debug_assert_eq!(row.len(), AUDIT_FINDINGS.all_columns().count());
    row
}

/// The rows of `audit_rules`, sorted by key.
fn rules_rows(audit: &Audit, snapshot_at: DateTime<Utc>) -> Result<RecordBatch, ArrowError> {
    let mut rules: Vec<_> = audit.rules.iter().collect();
    rules.sort_by(|a, b| a.rule.cmp(&b.rule));
    let rows = rules.into_iter().map(|rule| {
        let row = vec![
            Datum::Text(rule.rule.clone()),
            Datum::Text(rule.severity.name().into()),
            Datum::Text(rule.looks_for.clone()),
            Datum::Bool(rule.why_not.is_none()),
            Datum::text(rule.why_not.as_deref().or(rule.left_out.as_deref())),
            Datum::Int(rule.entities_left_out as i64),
            Datum::Int(rule.findings as i64),
            Datum::Int(rule.excepted as i64),
            Datum::time(snapshot_at),
            Datum::time(snapshot_at),
        ];
        debug_assert_eq!(row.len(), AUDIT_RULES.all_columns().count());
        row
    });
    batch_of(&AUDIT_RULES, rows.collect())
}
