//! Findings that are accepted: by which exception, and which exceptions do nothing.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, NaiveDate, Utc};
use serde::{Deserialize, Serialize};

use super::{Config, Facts, Hit, NotEvaluated, Severity, glob};

/// A finding that is accepted, for a time. What it names narrows it; all that it names has to match.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Exception {
    /// The rule; every rule, if none is named.
    pub rule: Option<String>,
    /// Entity's identifier, title or name.
    pub entity: Option<String>,
    /// Pattern over the entity's identifier, title or name, such as `Sandbox *`.
    pub pattern: Option<String>,
    /// Owner's email address, or a pattern over it.
    pub owner: Option<String>,
    /// Identifier or name of the connection that the finding is on, or that all of its tables are read through.
    pub connection: Option<String>,
    /// Reason for accepting it.
    pub reason: String,
    /// Last day on which it is, such as `2026-12-31`.
    pub until: String,
}

/// Match between an exception and a finding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fit {
    No,
    /// Only by a title or name, which anybody who may edit it can give to anything.
    ByName,
    Yes,
}

impl Fit {
    /// Both have to fit.
    fn and(self, other: Self) -> Self {
        match (self, other) {
            (Fit::No, _) | (_, Fit::No) => Fit::No,
            (Fit::Yes, Fit::Yes) => Fit::Yes,
            _ => Fit::ByName,
        }
    }

    /// By an identifier, or else by a name.
    fn of(id: bool, name: bool) -> Self {
        match (id, name) {
            (true, _) => Fit::Yes,
            (false, true) => Fit::ByName,
            (false, false) => Fit::No,
        }
    }
}

impl Exception {
    /// The last day on which it holds; `None` if that isn't a date.
    pub fn last_day(&self) -> Option<NaiveDate> {
        self.until.parse().ok()
    }

    fn holds(&self, at: DateTime<Utc>) -> bool {
        self.last_day().is_some_and(|day| at.date_naive() <= day)
    }

    fn selectors(&self) -> [(&'static str, Option<&String>); 5] {
        [
            ("rule", self.rule.as_ref()),
            ("entity", self.entity.as_ref()),
            ("pattern", self.pattern.as_ref()),
            ("owner", self.owner.as_ref()),
            ("connection", self.connection.as_ref()),
        ]
    }

    /// The exception in one line, as people know it from the settings.
    pub fn describe(&self) -> String {
        let named =
            self.selectors().into_iter().filter_map(|(name, value)| Some(format!("{name} = \"{}\"", value?)));
        format!("[[audit.exceptions]] {}", named.collect::<Vec<_>>().join(", "))
    }

    /// Why it can't be meant, if it can't.
    pub(super) fn mistake(&self, is_rule: &dyn Fn(&String) -> bool) -> Option<String> {
        let wrong = match &self.rule {
            Some(rule) if !is_rule(rule) => format!("there is no rule '{rule}'"),
            _ if self.last_day().is_none() => format!("'{}' is not a date such as 2026-12-31", self.until),
            _ if self.selectors().iter().all(|(_, value)| value.is_none()) => {
                "it would accept every finding: name a rule, entity, pattern, owner or connection".into()
            }
            _ if self.reason.trim().is_empty() => "it gives no reason".into(),
            _ => return None,
        };
        Some(format!("{}: {wrong}", self.describe()))
    }

    fn fit(&self, rule: &str, hit: &Hit, used: &Used<'_>, facts: &Facts) -> Fit {
        if self.rule.as_ref().is_some_and(|named| named != rule) {
            return Fit::No;
        }
        let entity =
            self.entity.as_ref().map_or(Fit::Yes, |e| Fit::of(**e == *hit.entity_id, **e == *hit.entity));
        let pattern = self.pattern.as_ref().map_or(Fit::Yes, |pattern| {
            Fit::of(glob::matches(pattern, &hit.entity_id), glob::matches(pattern, &hit.entity))
        });
        let owner = self.owner.as_ref().map_or(Fit::Yes, |owner| {
            Fit::of(hit.owner.as_ref().is_some_and(|email| glob::matches(owner, email)), false)
        });
        let connection = self.connection.as_ref().map_or(Fit::Yes, |named| through(named, hit, used, facts));
        entity.and(pattern).and(owner).and(connection)
    }
}

/// Whether all connections that a finding is about are the one that is named.
fn through(named: &str, hit: &Hit, used: &Used<'_>, facts: &Facts) -> Fit {
    let mut ids: Vec<&str> = hit.connections.iter().map(|id| &**id).collect();
    if ids.is_empty() && matches!(&*hit.entity_type, "project" | "component") {
        ids.extend(used.get(&*hit.entity_id).into_iter().flatten());
    }
    if ids.is_empty() {
        return Fit::No;
    }
    let name =
        |id: &str| facts.connections.iter().find(|c| c.data_connection_id == id).map(|c| c.name.as_str());
    let fits = ids.into_iter().map(|id| Fit::of(id == named, name(id) == Some(named)));
    fits.fold(Fit::Yes, Fit::and)
}

/// Connections that each project reads or writes through; looked up only where an exception names a connection.
type Used<'a> = BTreeMap<&'a str, BTreeSet<&'a str>>;

/// Bookkeeping of exceptions: which were used, and which weren't.
#[derive(Debug, Clone, Default)]
pub(super) struct Ledger<'a> {
    used: Used<'a>,
    /// Findings that each exception matched.
    matched: Vec<u64>,
    /// Findings of high severity that each exception matched by a title or name alone.
    refused: Vec<u64>,
    /// Findings that each exception would match if it hadn't expired.
    expired: Vec<u64>,
}

impl<'a> Ledger<'a> {
    pub fn new(config: &Config, facts: &'a Facts) -> Self {
        let none = vec![0; config.exceptions.len()];
        let mut used = Used::new();
        if config.exceptions.iter().any(|exception| exception.connection.is_some()) {
            for edge in facts.lineage.iter() {
                let id = edge.table.data_connection_id.as_deref().unwrap_or("");
                used.entry(edge.project_id).or_default().insert(id);
            }
        }
        Self { used, matched: none.clone(), refused: none.clone(), expired: none }
    }

    /// The exception that a finding is accepted by, if there is one.
    pub fn accepts<'c>(
        &mut self,
        config: &'c Config,
        rule: &str,
        severity: Severity,
        hit: &Hit,
        facts: &Facts,
    ) -> Option<&'c Exception> {
        let mut accepted = None;
        for (at, exception) in config.exceptions.iter().enumerate() {
            let fit = exception.fit(rule, hit, &self.used, facts);
            match (fit, exception.holds(facts.now)) {
                (Fit::No, _) => {}
                (_, false) => self.expired[at] += 1,
                (Fit::ByName, true) if severity == Severity::High => self.refused[at] += 1,
                (_, true) => {
                    self.matched[at] += 1;
                    accepted = accepted.or(Some(exception));
                }
            }
        }
        accepted
    }

    /// Notices about exceptions that don't do what they seem to.
    pub fn notices(
        &self,
        config: &Config,
        now: DateTime<Utc>,
        not_evaluated: &[NotEvaluated],
    ) -> Vec<Notice> {
        let known = |rule: &String| super::is_rule(rule);
        let mut notices = Vec::new();
        for (at, exception) in config.exceptions.iter().enumerate() {
            let mut silent = not_evaluated.iter().filter(|n| n.entities.is_none()).map(|n| &n.rule);
            let unknowable = match &exception.rule {
                // One of the user's own rules may not have run here.
                Some(rule) => !known(rule) || silent.any(|other| other == rule),
                None => silent.next().is_some(),
            };
            let (kind, what) = if !exception.holds(now) {
                let again = match self.expired[at] {
                    0 => "it no longer matches anything: remove it".to_owned(),
                    n => format!("{n} findings that it accepted are open again"),
                };
                ("expired", format!("it ended on {}: {again}", exception.until))
            } else if self.refused[at] > 0 {
                let n = self.refused[at];
                let what = format!(
                    "{n} findings of high severity match it by title or name only, which people can edit; name identifiers to accept them"
                );
                ("by name", what)
            } else if self.matched[at] == 0 && !unknowable {
                ("unmatched", "no finding matches it: remove or correct it".to_owned())
            } else {
                continue;
            };
            notices.push(Notice { kind, exception: exception.describe(), what });
        }
        notices
    }
}

/// An exception that doesn't do what it looks like.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Notice {
    /// `expired`, `unmatched`, `by name` or `mistyped`.
    pub kind: &'static str,
    /// The exception in one line.
    pub exception: String,
    /// Problem with it.
    pub what: String,
}

#[cfg(test)]
mod tests {
    use super::super::rules::fixtures::*;
    use super::super::{Audit, find};
    use super::*;

    fn with(exceptions: Vec<Exception>) -> Audit {
        let mut facts = calm();
        // One finding of high severity, on p1, which reads through c1.
        facts.projects[0].owner_email = Some("left@x".into());
        // One of low severity, on p2.
        facts.projects[1].last_viewed_at = ago(200);
        (facts.projects[1].last_published_at, facts.projects[1].last_edited_at) = (ago(300), ago(300));
        facts.projects[1].app_views_last_30_days = Some(0);
        find(&facts, &Config { exceptions, ..Config::default() })
    }

    fn exception(change: impl Fn(&mut Exception)) -> Exception {
        let mut exception =
            Exception { reason: "known".into(), until: "2026-12-31".into(), ..Exception::default() };
        change(&mut exception);
        exception
    }

    #[test]
    fn exceptions_accept_what_all_that_they_name_matches() {
        let text = |text: &str| Some(text.to_owned());
        // Each with what it accepts, and the kind of notice it earns.
        let cases: Vec<(Exception, &[&str], Option<&str>)> = vec![
            (exception(|e| e.rule = text("owner-left")), &["owner-left"], None),
            (exception(|e| e.entity = text("p1")), &["owner-left"], None),
            (exception(|e| e.entity = text("p2")), &["project-unused"], None),
            (exception(|e| e.owner = text("LEFT@x")), &["owner-left"], None),
            (exception(|e| e.owner = text("*@x")), &["owner-left", "project-unused"], None),
            (exception(|e| e.pattern = text("p?")), &["owner-left", "project-unused"], None),
            (exception(|e| e.connection = text("c1")), &["owner-left"], None),
            // A title can be edited: it accepts the low one only.
            (exception(|e| e.pattern = text("Title of p*")), &["project-unused"], Some("by name")),
            (exception(|e| e.entity = text("Title of p1")), &[], Some("by name")),
            (exception(|e| e.connection = text("W")), &[], Some("by name")),
            (
                exception(|e| (e.entity, e.rule) = (text("p1"), text("project-unused"))),
                &[],
                Some("unmatched"),
            ),
            (exception(|e| (e.entity, e.until) = (text("p1"), "2026-11-01".into())), &[], Some("expired")),
        ];
        for (exception, accepted, notice) in cases {
            let name = exception.describe();
            let audit = with(vec![exception]);
            let mut rules: Vec<&str> = audit.excepted.iter().map(|e| &*e.finding.rule).collect();
            rules.sort();
            assert_eq!(rules, accepted, "{name}");
            assert_eq!(audit.findings.len() + rules.len(), 2, "{name}: nothing is lost");
            assert_eq!(audit.notices.first().map(|n| n.kind), notice, "{name}");
            assert!(audit.excepted.iter().all(|e| e.reason == "known"));
        }
    }

    #[test]
    fn mistyped_exceptions_are_named() {
        let is_rule = |rule: &String| rule == "owner-left";
        for (exception, said) in [
            (exception(|_| {}), "every finding"),
            (exception(|e| e.rule = Some("owner-letf".into())), "owner-letf"),
            (exception(|e| (e.rule, e.until) = (Some("owner-left".into()), "soon".into())), "soon"),
            (exception(|e| (e.rule, e.reason) = (Some("owner-left".into()), " ".into())), "reason"),
        ] {
            let mistake = exception.mistake(&is_rule).unwrap();
            assert!(mistake.contains(said), "{mistake}");
        }
    }
}
