//! GitHub's workflow commands: annotations of a workflow's run.

use super::super::{Audit, Severity};
use super::not_evaluated;

/// The audit as workflow commands, a line each, the most severe first: GitHub shows the first ten errors, warnings
/// and notices of a step.
pub fn github(audit: &Audit) -> String {
    let mut out = String::new();
    for finding in &audit.findings {
        let command = match finding.severity {
            Severity::High => "error",
            Severity::Medium => "warning",
            Severity::Low | Severity::Info => "notice",
        };
        let title = property(&format!("{}: {}", finding.rule, finding.entity));
        let owner = finding.owner.as_ref().map_or(String::new(), |owner| format!(" Owner: {owner}."));
        let url = finding.url.as_ref().map_or(String::new(), |url| format!(" {url}"));
        let text = data(&format!("{}. {}.{owner}{url}", finding.evidence, finding.action));
        out += &format!("::{command} title={title}::{text}\n");
    }
    for note in &audit.not_evaluated {
        let command = if note.entities.is_none() { "warning" } else { "notice" };
        out += &format!("::{command} title={}::{}\n", property(&note.rule), data(&not_evaluated(note)));
    }
    for notice in &audit.notices {
        out += &format!(
            "::warning title=exception::{}\n",
            data(&format!("{}: {}", notice.exception, notice.what))
        );
    }
    if !audit.excepted.is_empty() {
        let reasons: Vec<String> =
            audit.excepted_by_reason().into_iter().map(|(reason, n)| format!("{reason} ({n})")).collect();
        let text = format!("{} findings are accepted: {}", audit.excepted.len(), reasons.join("; "));
        out += &format!("::notice title=accepted::{}\n", data(&text));
    }
    out
}

/// A message as the runner reads it back.
fn data(text: &str) -> String {
    text.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A")
}

/// A property's value as the runner reads it back.
fn property(text: &str) -> String {
    data(text).replace(':', "%3A").replace(',', "%2C")
}

#[cfg(test)]
mod tests {
    use super::super::super::rules::fixtures::*;
    use super::super::super::{Config, find};
    use super::*;

    #[test]
    fn what_people_wrote_starts_no_command_of_its_own() {
        let mut facts = calm();
        facts.projects[0].title = "50%, a: b\n::error::no\r".into();
        facts.projects[0].owner_email = Some("left@x".into());
        facts.projects[1].owner_email = None;
        let text = github(&find(&facts, &Config::default()));
        let lines: Vec<&str> = text.lines().collect();
        assert!(
            lines.iter().all(|l| l.starts_with("::error title=") || l.starts_with("::warning title=")),
            "{text}"
        );
        assert!(
            lines[0].starts_with(
                "::error title=owner-left%3A 50%25%2C a%3A b%0A%3A%3Aerror%3A%3Ano%0D::owner left@x has left"
            ),
            "{text}"
        );
    }
}
