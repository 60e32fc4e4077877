//! Findings in the forms that other tools take: SARIF 2.1.0 and JUnit.

use std::collections::BTreeMap;

use chrono::{DateTime, SecondsFormat, Utc};
use quick_junit::{NonSuccessKind, Report, TestCase, TestCaseStatus, TestSuite};
use serde_json::{Value, json};

use super::{Finding, OwnRule, RULES, Severity};

/// A rule as these forms name it.
struct About<'a> {
    id: &'a str,
    severity: Severity,
    looks_for: &'a str,
    action: &'a str,
}

fn rules(own: &[OwnRule]) -> Vec<About<'_>> {
    let built_in = RULES.iter().map(|r| About {
        id: r.id,
        severity: r.severity,
        looks_for: r.looks_for,
        action: r.action,
    });
    let own = own.iter().map(|r| About {
        id: r.id(),
        severity: r.severity(),
        looks_for: if r.looks_for().is_empty() { r.id() } else { r.looks_for() },
        action: r.action(),
    });
    built_in.chain(own).collect()
}

fn level(severity: Severity) -> &'static str {
    match severity {
        Severity::High => "error",
        Severity::Medium => "warning",
        Severity::Low | Severity::Info => "note",
    }
}

/// How grave it is to code scanners that show SARIF, from 0 to 10.
fn security_severity(severity: Severity) -> &'static str {
    match severity {
        Severity::High => "8.0",
        Severity::Medium => "5.0",
        Severity::Low => "3.0",
        Severity::Info => "1.0",
    }
}

/// The findings as a SARIF 2.1.0 log of one run. Each result is known again by its finding's id, and says
/// since when it is there.
pub fn sarif(findings: &[Finding], own: &[OwnRule], snapshot_at: DateTime<Utc>) -> Value {
    let rules = rules(own);
    let time = |at: DateTime<Utc>| at.to_rfc3339_opts(SecondsFormat::Secs, true);
    let descriptors: Vec<Value> = rules
        .iter()
        .map(|rule| {
            json!({
                "id": rule.id,
                "shortDescription": {"text": rule.looks_for},
                "help": {"text": rule.action},
                "defaultConfiguration": {"level": level(rule.severity)},
                "properties": {"tags": ["governance"], "security-severity": security_severity(rule.severity)},
            })
        })
        .collect();
    let results: Vec<Value> = findings
        .iter()
        .map(|finding| {
            let place = format!("{}/{}", finding.entity_type, finding.entity_id);
            // A location is a URI: the page in Hex, or a name in place of one.
            let uri = finding.url.clone().unwrap_or_else(|| format!("hex:{}", encoded(&place)));
            let mut result = json!({
                "ruleId": finding.rule,
                "level": level(finding.severity),
                "message": {"text": format!("{}: {}. {}.", finding.entity, finding.evidence, finding.action)},
                "partialFingerprints": {"hexport/v1": finding.id},
                "provenance": {"firstDetectionTimeUtc": time(finding.since)},
                "baselineState": if finding.since == snapshot_at { "new" } else { "unchanged" },
                "locations": [{
                    "physicalLocation": {"artifactLocation": {"uri": uri}},
                    "logicalLocations": [{
                        "name": finding.entity,
                        "fullyQualifiedName": place,
                        "kind": finding.entity_type,
                    }],
                }],
                "properties": {
                    "severity": finding.severity.name(),
                    "owner": finding.owner,
                    "evidence": finding.evidence,
                },
            });
            if let Some(index) = rules.iter().position(|rule| rule.id == finding.rule) {
                result["ruleIndex"] = json!(index);
            }
            if let Some(url) = &finding.url {
                result["hostedViewerUri"] = json!(url);
            }
            result
        })
        .collect();
    json!({
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [{
            "tool": {"driver": {
                "name": "hexport",
                "semanticVersion": env!("CARGO_PKG_VERSION"),
                "rules": descriptors,
            }},
            "automationDetails": {"id": format!("hexport/{}", time(snapshot_at))},
            "invocations": [{"executionSuccessful": true, "endTimeUtc": time(snapshot_at)}],
            "columnKind": "unicodeCodePoints",
            "results": results,
        }],
    })
}

/// A text as a part of a URI's path.
fn encoded(text: &str) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'/' => {
                out.push(byte.into())
            }
            _ => out += &format!("%{byte:02X}"),
        }
    }
    out
}

/// The findings as JUnit XML: a suite a rule, a failure a finding; a rule that found nothing passed.
///
/// # Errors
/// If it can't be put as XML.
pub fn junit(
    findings: &[Finding],
    own: &[OwnRule],
    snapshot_at: DateTime<Utc>,
) -> Result<String, quick_junit::SerializeError> {
    let mut by_rule: BTreeMap<&str, Vec<&Finding>> = BTreeMap::new();
    for finding in findings {
        by_rule.entry(&finding.rule).or_default().push(finding);
    }
    let mut report = Report::new("hexport audit");
    report.set_timestamp(snapshot_at.fixed_offset());
    for rule in rules(own) {
        let mut suite = TestSuite::new(rule.id);
        let found = by_rule.remove(rule.id).unwrap_or_default();
        if found.is_empty() {
            let mut case = TestCase::new(rule.looks_for, TestCaseStatus::success());
            case.set_classname(rule.id);
            suite.add_test_case(case);
        }
        for finding in found {
            let mut status = TestCaseStatus::non_success(NonSuccessKind::Failure);
            let owner = finding.owner.as_deref().unwrap_or("nobody");
            let url = finding.url.as_deref().unwrap_or("");
            status.set_type(finding.severity.name()).set_message(finding.evidence.as_str()).set_description(
                format!(
                    "{}\nOwner: {owner}\nSince: {}\n{}\n{url}",
                    finding.evidence,
                    finding.since.format("%Y-%m-%d"),
                    finding.action
                ),
            );
            let name = format!("{} ({} {})", finding.entity, finding.entity_type, finding.entity_id);
            let mut case = TestCase::new(name, status);
            case.set_classname(rule.id);
            suite.add_test_case(case);
        }
        report.add_test_suite(suite);
    }
    report.to_string()
}
