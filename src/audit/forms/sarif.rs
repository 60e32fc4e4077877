//! SARIF 2.1.0, as GitHub's code scanning accepts it.

use chrono::{DateTime, SecondsFormat, Utc};
use serde_json::{Value, json};

use super::super::{Audit, Excepted, Finding, NotEvaluated, RuleOutcome, Severity};
use super::not_evaluated;

fn level(severity: Severity) -> &'static str {
    match severity {
        Severity::High => "error",
        Severity::Medium => "warning",
        Severity::Low | Severity::Info => "note",
    }
}

/// Severity for code scanners that show SARIF, from 0 to 10.
fn security_severity(severity: Severity) -> &'static str {
    match severity {
        Severity::High => "8.0",
        Severity::Medium => "5.0",
        Severity::Low => "3.0",
        Severity::Info => "1.0",
    }
}

fn time(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::Secs, true)
}

/// The audit as a SARIF log of one run. A result keeps its fingerprint over snapshots, and says since when it is
/// there; an accepted finding is a suppressed result; a rule that could not be evaluated is a notification.
pub fn sarif(audit: &Audit, snapshot_at: DateTime<Utc>) -> Value {
    let index = |rule: &str| audit.rules.iter().position(|r| r.rule == rule);
    let mut results: Vec<Value> =
        audit.findings.iter().map(|f| result(f, index(&f.rule), snapshot_at)).collect();
    results.extend(audit.excepted.iter().map(|e| suppressed(e, index(&e.finding.rule), snapshot_at)));
    let notifications: Vec<Value> =
        audit.not_evaluated.iter().map(|n| notification(n, index(&n.rule))).collect();
    let exceptions = audit.notices.iter().map(|notice| {
        json!({"level": "warning", "message": {"text": format!("{}: {}.", notice.exception, notice.what)}})
    });
    let mut run = json!({
        "tool": {"driver": {
            "name": "hexport",
            "semanticVersion": env!("CARGO_PKG_VERSION"),
            "rules": audit.rules.iter().map(descriptor).collect::<Vec<_>>(),
        }},
        "automationDetails": {"id": format!("hexport/{}", time(snapshot_at))},
        "invocations": [{
            "executionSuccessful": true,
            "endTimeUtc": time(snapshot_at),
            "toolExecutionNotifications": notifications,
            "toolConfigurationNotifications": exceptions.collect::<Vec<_>>(),
        }],
        "columnKind": "unicodeCodePoints",
    });
    run["results"] = results.into();
    json!({
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [run],
    })
}

fn descriptor(rule: &RuleOutcome) -> Value {
    json!({
        "id": rule.rule,
        "name": rule.rule,
        "shortDescription": {"text": rule.looks_for},
        "fullDescription": {"text": format!("{}. What to do: {}.", rule.looks_for, rule.action)},
        "help": {
            "text": format!("{}. What to do: {}.", rule.looks_for, rule.action),
            "markdown": format!("**{}**\n\n{}.\n\n**What to do:** {}.", rule.rule, rule.looks_for, rule.action),
        },
        "defaultConfiguration": {"level": level(rule.severity)},
        "properties": {
            "tags": ["governance"],
            "precision": "high",
            "security-severity": security_severity(rule.severity),
        },
    })
}

fn result(finding: &Finding, rule: Option<usize>, snapshot_at: DateTime<Utc>) -> Value {
    let place = format!("{}/{}", finding.entity_type, finding.entity_id);
    let mut result = json!({
        "ruleId": finding.rule,
        "level": level(finding.severity),
        "message": {"text": format!("{}: {}. {}.", finding.entity, finding.evidence, finding.action)},
        // GitHub knows a result again by the first; the second is for others.
        "partialFingerprints": {"primaryLocationLineHash": format!("{}:1", finding.id), "hexport/v1": finding.id},
        "baselineState": if finding.since == Some(snapshot_at) { "new" } else { "unchanged" },
        "locations": [{
            // GitHub takes locations in files alone: a path relative to the repository, and a line. The page in
            // Hex is the result's viewer.
            "physicalLocation": {
                "artifactLocation": {"uri": format!("hex/{}", encoded(&place))},
                "region": {"startLine": 1, "startColumn": 1, "endLine": 1, "endColumn": 1},
            },
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
    if let Some(since) = finding.since {
        result["provenance"] = json!({"firstDetectionTimeUtc": time(since)});
    }
    if let Some(index) = rule {
        result["ruleIndex"] = json!(index);
    }
    if let Some(url) = &finding.url {
        result["hostedViewerUri"] = json!(url);
    }
    result
}

fn suppressed(excepted: &Excepted, rule: Option<usize>, snapshot_at: DateTime<Utc>) -> Value {
    let mut result = result(&excepted.finding, rule, snapshot_at);
    result["suppressions"] = json!([{
        "kind": "external",
        "status": "accepted",
        "justification": format!("{} (until {})", excepted.reason, excepted.until),
    }]);
    result
}

fn notification(note: &NotEvaluated, rule: Option<usize>) -> Value {
    let mut associated = json!({"id": note.rule});
    if let Some(index) = rule {
        associated["index"] = json!(index);
    }
    json!({
        "level": if note.entities.is_none() { "warning" } else { "note" },
        "message": {"text": format!("{}: {}.", note.rule, not_evaluated(note))},
        "associatedRule": associated,
    })
}

/// A text as a part of a URI's path: no part of it is `.` or `..` or empty.
fn encoded(text: &str) -> String {
    let part = |part: &str| match part {
        "" => "_".to_owned(),
        "." | ".." => part.replace('.', "%2E"),
        part => part.bytes().map(encoded_byte).collect(),
    };
    text.split('/').map(part).collect::<Vec<_>>().join("/")
}

fn encoded_byte(byte: u8) -> String {
    match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => char::from(byte).to_string(),
        _ => format!("%{byte:02X}"),
    }
}
