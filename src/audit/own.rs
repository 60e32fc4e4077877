//! The user's own rules: SQL files, run with the `duckdb` command over a snapshot's views.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde::Deserialize;

use super::{Error, Hit, Severity, Shape, Tables};
use crate::store::scratch;

/// One of the user's own rules: a file with one `SELECT`, which the rule is named after.
///
/// The query's columns are `entity_type`, `entity_id`, `entity` and `evidence`, and optionally `owner` and
/// `severity`. Comment lines at its top say the rest:
///
/// ```sql
/// -- looks for: Projects that read the orders table
/// -- severity: high
/// -- action: Ask the orders team first
/// SELECT 'project' AS entity_type, project_id AS entity_id, project_title AS entity,
///        'it reads ' || table_key AS evidence, owner_email AS owner
/// FROM lineage WHERE table_name = 'orders'
/// ```
#[derive(Debug, Clone)]
pub struct OwnRule {
    id: String,
    severity: Severity,
    looks_for: String,
    action: String,
    sql: String,
}

/// Flaw in one of the user's own rules.
#[derive(Debug, thiserror::Error)]
pub enum RuleFlaw {
    /// Its file, or the folder of all, can't be read.
    #[error("can't be read: {0}")]
    File(#[source] std::io::Error),
    /// Its name is taken.
    #[error("it has the name of a built-in rule")]
    BuiltIn,
    /// Its header names a severity that isn't one.
    #[error("'{0}' is no severity; there are info, low, medium, high")]
    Severity(String),
    /// Its query can't be handed to DuckDB.
    #[error("its query can't be written to a temporary file: {0}")]
    Scratch(#[source] std::io::Error),
    /// DuckDB can't be started.
    #[error("duckdb can't be started: {0}")]
    Start(#[source] std::io::Error),
    /// DuckDB refuses the query, in its own words.
    #[error("{0}")]
    DuckDb(String),
    /// The rows can't be read as findings.
    #[error("its columns are not those of a finding: {0}")]
    Columns(#[source] serde_json::Error),
}

/// A row of a rule's query.
#[derive(Deserialize)]
struct Found {
    entity_type: String,
    entity_id: String,
    entity: Option<String>,
    evidence: Option<String>,
    owner: Option<String>,
    severity: Option<Severity>,
}

impl OwnRule {
    /// The rules of a folder: its files that end in `.sql`, by name.
    ///
    /// # Errors
    /// [`Error::OwnRule`] if the folder or a file can't be read, or a header makes no sense.
    pub fn in_folder(folder: &Path) -> Result<Vec<Self>, Error> {
        let failed = |path: &Path, e: std::io::Error| Error::OwnRule {
            rule: path.display().to_string(),
            source: RuleFlaw::File(e),
        };
        let mut paths: Vec<PathBuf> = Vec::new();
        for entry in std::fs::read_dir(folder).map_err(|e| failed(folder, e))? {
            let path = entry.map_err(|e| failed(folder, e))?.path();
            if path.extension().is_some_and(|e| e == "sql") {
                paths.push(path);
            }
        }
        paths.sort();
        let read = |path: &PathBuf| {
            let id = path.file_stem().unwrap_or_default().to_string_lossy();
            Self::parse(&id, &std::fs::read_to_string(path).map_err(|e| failed(path, e))?)
        };
        paths.iter().map(read).collect()
    }

    fn parse(id: &str, text: &str) -> Result<Self, Error> {
        let wrong = |source| Error::OwnRule { rule: id.to_owned(), source };
        let mut rule = Self {
            id: id.to_owned(),
            severity: Severity::Medium,
            looks_for: String::new(),
            action: "See the rule".into(),
            sql: text.to_owned(),
        };
        if super::is_rule(id) {
            return Err(wrong(RuleFlaw::BuiltIn));
        }
        for line in text.lines().take_while(|line| line.starts_with("--") || line.trim().is_empty()) {
            match line.trim_start_matches('-').trim().split_once(':').map(|(k, v)| (k.trim(), v.trim())) {
                Some(("looks for", value)) => rule.looks_for = value.to_owned(),
                Some(("action", value)) => rule.action = value.to_owned(),
                Some(("severity", value)) => {
                    let severity = serde_json::from_value(value.into());
                    rule.severity = severity.map_err(|_| wrong(RuleFlaw::Severity(value.to_owned())))?;
                }
                _ => {}
            }
        }
        Ok(rule)
    }

    /// Name.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Severity of its findings, unless a row says otherwise.
    pub fn severity(&self) -> Severity {
        self.severity
    }

    /// Problem that it looks for, from its header.
    pub fn looks_for(&self) -> &str {
        &self.looks_for
    }

    /// Recommended action, from its header.
    pub fn action(&self) -> &str {
        &self.action
    }

    pub(super) fn shape(&self) -> Shape<'_> {
        let looks_for = if self.looks_for.is_empty() { &self.id } else { &self.looks_for };
        Shape { id: &self.id, severity: self.severity, looks_for, action: &self.action }
    }

    /// Runs it over a snapshot.
    pub(super) fn find(&self, tables: &dyn Tables) -> Result<Vec<Hit>, Error> {
        let wrong = |source| Error::OwnRule { rule: self.id.clone(), source };
        let views = tables.views(&self.sql)?;
        // Results must not depend on the time zone of the machine that audits.
        let script = format!("SET TimeZone = 'UTC';\n{}\n.mode json\n{}\n;\n", views.sql, self.sql);
        let scratch = scratch().map_err(crate::snapshot::Error::from)?;
        let file = scratch.path().join("rule.sql");
        std::fs::write(&file, script).map_err(|e| wrong(RuleFlaw::Scratch(e)))?;
        let out = Command::new("duckdb")
            .current_dir(&views.folder)
            .args(["-no-init", "-bail", "-f"])
            .arg(&file)
            .stdin(Stdio::null())
            .output();
        let out = match out {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Err(Error::NoDuckDb),
            Err(e) => return Err(wrong(RuleFlaw::Start(e))),
            Ok(out) => out,
        };
        let said = String::from_utf8_lossy(&out.stderr);
        if !out.status.success() || !said.trim().is_empty() {
            return Err(wrong(RuleFlaw::DuckDb(said.trim().to_owned())));
        }
        if out.stdout.iter().all(u8::is_ascii_whitespace) {
            return Ok(Vec::new());
        }
        let rows: Vec<Found> =
            serde_json::from_slice(&out.stdout).map_err(|e| wrong(RuleFlaw::Columns(e)))?;
        Ok(rows
            .into_iter()
            .map(|row| Hit {
                entity: row.entity.as_ref().unwrap_or(&row.entity_id).as_str().into(),
                entity_type: row.entity_type.into(),
                entity_id: row.entity_id.into(),
                owner: row.owner.map(Into::into),
                evidence: row.evidence.unwrap_or_default(),
                severity: row.severity,
                connections: Vec::new(),
            })
            .collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_header_says_what_the_query_does_not() {
        let text = "-- looks for: drafts: all of them\n-- severity: low\n-- action: Tidy\n\nSELECT 1;\n";
        let rule = OwnRule::parse("drafts", text).unwrap();
        assert_eq!(
            (rule.severity(), rule.looks_for(), rule.action()),
            (Severity::Low, "drafts: all of them", "Tidy")
        );
        let error = OwnRule::parse("drafts", "-- severity: awful\nSELECT 1").unwrap_err().to_string();
        assert!(error.contains("awful") && error.contains("medium"), "{error}");
        assert!(OwnRule::parse("owner-left", "SELECT 1").is_err());
    }
}
