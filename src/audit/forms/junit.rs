//! JUnit XML, for CI servers.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use quick_junit::{NonSuccessKind, Report, TestCase, TestCaseStatus, TestSuite};

use super::super::{Audit, Finding};
use super::not_evaluated;

/// The audit as JUnit XML: a suite a rule, a failure a finding. A rule that found nothing passed; one that could
/// not be evaluated is skipped, and so are a finding that an exception accepts, and an exception to review.
///
/// # Errors
/// If it can't be put as XML.
pub fn junit(audit: &Audit, snapshot_at: DateTime<Utc>) -> Result<String, quick_junit::SerializeError> {
    let mut cases: BTreeMap<&str, Vec<TestCase>> = BTreeMap::new();
    for finding in &audit.findings {
        let mut status = TestCaseStatus::non_success(NonSuccessKind::Failure);
        let owner = finding.owner.as_deref().unwrap_or("nobody");
        let since = finding.since.map_or("unknown".into(), |at| at.format("%Y-%m-%d").to_string());
        let url = finding.url.as_ref().map(ToString::to_string).unwrap_or_default();
        status.set_type(finding.severity.name()).set_message(&*finding.evidence).set_description(format!(
            "{}\nOwner: {owner}\nSince: {since}\n{}\n{url}",
            finding.evidence, finding.action
        ));
        cases.entry(&finding.rule).or_default().push(TestCase::new(name(finding), status));
    }
    for excepted in &audit.excepted {
        let why = format!("accepted until {}: {}", excepted.until, excepted.reason);
        cases.entry(&excepted.finding.rule).or_default().push(skipped(name(&excepted.finding), why));
    }
    for note in &audit.not_evaluated {
        let rule = audit.rules.iter().find(|rule| rule.rule == note.rule);
        let looks_for = rule.map_or(note.rule.clone(), |rule| rule.looks_for.clone());
        cases.entry(&note.rule).or_default().push(skipped(looks_for, not_evaluated(note)));
    }
    let mut report = Report::new("hexport audit");
    report.set_timestamp(snapshot_at.fixed_offset());
    for rule in &audit.rules {
        let mut suite = TestSuite::new(rule.rule.as_str());
        let mut of_rule = cases.remove(rule.rule.as_str()).unwrap_or_default();
        if rule.findings == 0 && rule.why_not.is_none() {
            of_rule.push(TestCase::new(rule.looks_for.as_str(), TestCaseStatus::success()));
        }
        for mut case in of_rule {
            case.set_classname(rule.rule.as_str());
            suite.add_test_case(case);
        }
        report.add_test_suite(suite);
    }
    if !audit.notices.is_empty() {
        let mut suite = TestSuite::new("exceptions");
        for notice in &audit.notices {
            let mut case =
                skipped(format!("{} exception: {}", notice.kind, notice.exception), notice.what.clone());
            case.set_classname("exceptions");
            suite.add_test_case(case);
        }
        report.add_test_suite(suite);
    }
    report.to_string()
}

fn name(finding: &Finding) -> String {
    format!("{} ({} {})", finding.entity, finding.entity_type, finding.entity_id)
}

fn skipped(name: String, why: String) -> TestCase {
    let mut status = TestCaseStatus::skipped();
    status.set_message(why);
    TestCase::new(name, status)
}
