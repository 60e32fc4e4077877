//! The comment that Hex appends to each query that it sends to a warehouse.
//!
//! It is the query's last line, or the first of queries that older versions of Hex sent:
//!
//! ```sql
//! SELECT 1
//! -- Hex query metadata: {"project_id": "...", "context": "SCHEDULED_RUN", "trace_id": "...", ...}
//! ```
//!
//! Any field may be missing. Histories cut queries off, join their lines, and escape their quotes, so what is left of
//! the comment is read field by field.

use std::borrow::Cow;

use serde_json::{Map, Value};

/// First word of Hex's comment, after the characters that open it.
const MARKER: &str = "Hex query metadata:";
/// White space as Redshift writes it to its history: `sys_query_text` has no control characters.
const ESCAPED: [(&str, &str); 3] = [("\\n", "\n"), ("\\r", "\r"), ("\\t", "\t")];

/// Whether the comment's JSON is sound.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum State {
    /// It is.
    #[default]
    Whole,
    /// It is damaged or cut off: the fields that are left were read.
    Repaired,
}

impl State {
    /// The name that tables use.
    pub fn name(self) -> &'static str {
        match self {
            State::Whole => "whole",
            State::Repaired => "repaired",
        }
    }
}

/// The fields of Hex's comment on a query.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Comment {
    /// Project.
    pub project_id: Option<String>,
    /// Cell.
    pub cell_id: Option<String>,
    /// Cell's type.
    pub cell_type: Option<String>,
    /// Data connection's name.
    pub connection: Option<String>,
    /// Trigger of the query, such as `SCHEDULED_RUN`.
    pub context: Option<String>,
    /// Trace.
    pub trace_id: Option<String>,
    /// User that Hex sent it for.
    pub user_email: Option<String>,
    /// Workspace, as the project's URL names it.
    pub workspace: Option<String>,
    /// Whether it is sound.
    pub state: State,
}

impl Comment {
    /// Whether it has nothing to attribute a query by.
    fn is_empty(&self) -> bool {
        self.project_id.is_none() && self.trace_id.is_none() && self.connection.is_none()
    }
}

/// A query without its comment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parted<'a> {
    /// The comment.
    pub comment: Comment,
    /// The query.
    pub sql: &'a str,
}

/// Parts a query from Hex's comment at its end, or else at its beginning; `None` if neither has one. A text that
/// mentions the comment elsewhere, such as in a literal, has none.
pub fn read(query: &str) -> Option<Parted<'_>> {
    let last = query.rfind(MARKER)?;
    let found = at(query, last).filter(|found| is_blank(&query[found.end..]));
    if let Some(found) = found {
        return Some(Parted { comment: found.comment, sql: query[..found.start].trim_end() });
    }
    let first = query.find(MARKER)?;
    let found = at(query, first).filter(|found| is_blank(&query[..found.start]))?;
    Some(Parted { comment: found.comment, sql: query[found.end..].trim_start() })
}

/// Whether a query has the comment in its middle, where Hex doesn't put it: something wrapped or joined queries, and
/// nobody can tell which part of the text is Hex's.
pub fn is_within(query: &str) -> bool {
    query
        .match_indices(MARKER)
        .any(|(marker, _)| at(query, marker).is_some_and(|found| !found.comment.is_empty()))
}

/// The query of a history that has its line ends escaped, with real ones. One that has real ones is left alone: what
/// is escaped in it is its own.
pub fn unescaped(sql: &str) -> Cow<'_, str> {
    if sql.contains('\n') || !ESCAPED.iter().any(|(sign, _)| sql.contains(sign)) {
        return sql.into();
    }
    ESCAPED.iter().fold(sql.to_owned(), |sql, (sign, meant)| sql.replace(sign, meant)).into()
}

/// A comment and its place in the query.
struct Found {
    comment: Comment,
    start: usize,
    end: usize,
}

fn at(query: &str, marker: usize) -> Option<Found> {
    let before = query[..marker].trim_end_matches([' ', '\t']);
    let (opened, is_block) = match (before.strip_suffix("--"), before.strip_suffix("/*")) {
        (Some(opened), _) => (opened, false),
        (None, Some(opened)) => (opened, true),
        (None, None) => return None,
    };
    let from = marker + MARKER.len();
    let text = &query[from..];
    let (fields, length, state) = fields(text);
    let mut end = from + length;
    if is_block && let Some(closed) = query[end..].trim_start().strip_prefix("*/") {
        end = query.len() - closed.len();
    }
    Some(Found { comment: comment(&fields, state), start: opened.len(), end })
}

/// The JSON object that a text begins with, its length, and whether it is sound.
fn fields(text: &str) -> (Map<String, Value>, usize, State) {
    let mut objects = serde_json::Deserializer::from_str(text).into_iter::<Map<String, Value>>();
    if let Some(Ok(fields)) = objects.next() {
        return (fields, objects.byte_offset(), State::Whole);
    }
    let line = text.find(['\n', '\r']).unwrap_or(text.len());
    let escaped = text[..line].replace("\\\"", "\"");
    let mut objects = serde_json::Deserializer::from_str(&escaped).into_iter::<Map<String, Value>>();
    if let Some(Ok(fields)) = objects.next() {
        return (fields, line, State::Repaired);
    }
    let mut left = Map::new();
    for name in FIELDS {
        let value = [&text[..line], &escaped].into_iter().find_map(|text| field(text, name));
        left.extend(value.map(|value| (name.to_owned(), Value::String(value))));
    }
    (left, line, State::Repaired)
}

const FIELDS: [&str; 7] =
    ["project_id", "cell_type", "connection", "context", "trace_id", "user_email", "project_url"];

/// A field of an object that doesn't parse, if the field itself is whole.
fn field(text: &str, name: &str) -> Option<String> {
    let quoted = format!("\"{name}\"");
    let value = text[text.find(&quoted)? + quoted.len()..].trim_start().strip_prefix(':')?;
    serde_json::Deserializer::from_str(value).into_iter::<String>().next()?.ok()
}

fn comment(fields: &Map<String, Value>, state: State) -> Comment {
    let text = |name: &str| match fields.get(name)? {
        Value::String(text) if !text.trim().is_empty() => Some(text.trim().to_owned()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    };
    let url = text("project_url").and_then(|url| url::Url::parse(&url).ok());
    let parts: Vec<&str> = url.as_ref().and_then(url::Url::path_segments).into_iter().flatten().collect();
    // https://HOST/WORKSPACE/hex/PROJECT/draft/logic?selectedCellId=CELL; titles may come before identifiers.
    let place = parts.iter().position(|part| matches!(*part, "hex" | "app")).filter(|at| *at > 0);
    let of_url = place.and_then(|at| parts.get(at + 1)).and_then(|part| identifier(part));
    let cell = url.as_ref().and_then(|url| {
        let mut pairs = url.query_pairs();
        pairs
            .find(|(name, value)| name == "selectedCellId" && !value.is_empty())
            .map(|(_, cell)| cell.into_owned())
    });
    Comment {
        project_id: text("project_id").map(|id| identifier(&id).unwrap_or(id)).or(of_url),
        cell_id: text("cell_id").or(cell).map(|id| id.to_lowercase()),
        cell_type: text("cell_type"),
        connection: text("connection"),
        context: text("context"),
        trace_id: text("trace_id").map(|id| id.to_lowercase()),
        // One person, however the address is written.
        user_email: text("user_email").map(|email| email.to_lowercase()),
        workspace: place.map(|at| parts[at - 1].to_owned()),
        state,
    }
}

/// The UUID that a text is or ends with, in lower case.
fn identifier(text: &str) -> Option<String> {
    let tail = text.len().checked_sub(36).and_then(|at| text.get(at..))?;
    uuid::Uuid::try_parse(tail).ok().map(|id| id.to_string())
}

/// Whether a part of a query says nothing: white space, semicolons and comments.
fn is_blank(mut text: &str) -> bool {
    loop {
        text = text.trim_start_matches(|c: char| c.is_whitespace() || c == ';' || c == '\u{feff}');
        text = if let Some(rest) = ESCAPED.iter().find_map(|(sign, _)| text.strip_prefix(sign)) {
            rest
        } else if let Some(rest) = text.strip_prefix("--") {
            rest.split_once('\n').map_or("", |(_, rest)| rest)
        } else if let Some(rest) = text.strip_prefix("/*") {
            rest.split_once("*/").map_or("", |(_, rest)| rest)
        } else {
            return text.is_empty();
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PROJECT: &str = "01890a5d-ac96-774b-bcce-b302099a8057";
    const JSON: &str = r#"{"categories": ["a"], "cell_type": "SQL", "connection": "Prod", "context": "SCHEDULED_RUN", "project_id": "01890A5D-AC96-774B-BCCE-B302099A8057", "project_name": "R} -- x", "project_url": "https://app.hex.tech/org-1/hex/01890a5d-ac96-774b-bcce-b302099a8057/draft/logic?selectedCellId=c0FFEE", "status": "x", "trace_id": "ABC1", "user_email": "a@x"}"#;

    fn whole() -> Comment {
        Comment {
            project_id: Some(PROJECT.into()),
            cell_id: Some("c0ffee".into()),
            cell_type: Some("SQL".into()),
            connection: Some("Prod".into()),
            context: Some("SCHEDULED_RUN".into()),
            trace_id: Some("abc1".into()),
            user_email: Some("a@x".into()),
            workspace: Some("org-1".into()),
            state: State::Whole,
        }
    }

    #[test]
    fn the_comment_is_read_at_either_end() {
        let select = "SELECT '--' FROM t";
        for query in [
            format!("{select}\n-- Hex query metadata: {JSON}"),
            format!("{select}\n-- Hex query metadata: {JSON}\n;\n"),
            format!("{select}\n-- Hex query metadata: {JSON}\n/* dbt */ -- more"),
            format!("-- Hex query metadata: {JSON}\n{select}"),
            format!("\u{feff}/* proxy */\n-- Hex query metadata: {JSON}\n{select}"),
            // A history that joins lines.
            format!("-- Hex query metadata: {JSON} {select}"),
            format!("{select} /* Hex query metadata: {JSON} */"),
            format!("/* Hex query metadata: {JSON} */ {select}"),
            // An old proxy's comment before, today's after: today's counts.
            format!("-- Hex query metadata: {{}}\n{select}\n--Hex query metadata:{JSON}"),
        ] {
            let parted = read(&query).unwrap_or_else(|| panic!("{query}"));
            assert_eq!(parted.comment, whole(), "{query}");
            assert!(parted.sql.ends_with(select), "{query}: {}", parted.sql);
        }
    }

    #[test]
    fn queries_of_others_have_none() {
        for query in [
            "",
            "SELECT 1",
            "SELECT 'Hex query metadata: {}'",
            "SELECT '-- Hex query metadata: {}' FROM t",
            "SELECT 1\n-- Hex query metadata: {\"project_id\": \"x\"}\nUNION SELECT 2",
            "SELECT 1\n-- Hex query metada",
        ] {
            assert_eq!(read(query), None, "{query}");
        }
    }

    #[test]
    fn a_comment_in_the_midst_is_told_from_a_text_that_mentions_it() {
        let comment = format!("-- Hex query metadata: {JSON}");
        for query in [
            format!("SELECT * FROM (\nSELECT 1\n{comment}\n) LIMIT 10"),
            format!("SELECT 1\n{comment}\nUNION SELECT 2"),
            format!("SELECT 1; {comment}\n; SELECT 2"),
        ] {
            assert!(read(&query).is_none() && is_within(&query), "{query}");
        }
        for query in [
            "SELECT 1",
            "SELECT * FROM log WHERE query LIKE '%Hex query metadata:%'",
            "SELECT '-- Hex query metadata: {}' FROM t",
        ] {
            assert!(!is_within(query), "{query}");
        }
    }

    #[test]
    fn escaped_line_ends_hide_neither_the_comment_nor_the_query() {
        for query in [
            format!(r"SELECT a\nFROM t\n-- Hex query metadata: {JSON}"),
            format!(r"SELECT a\nFROM t\n-- Hex query metadata: {JSON}\n"),
            format!(r"SELECT a\nFROM t\n-- Hex query metadata: {JSON}\n;\n-- more\n"),
            format!(r"-- Hex query metadata: {JSON}\nSELECT a\nFROM t"),
        ] {
            let parted = read(&query).unwrap_or_else(|| panic!("{query}"));
            assert_eq!(parted.comment, whole(), "{query}");
            assert_eq!(unescaped(parted.sql).trim(), "SELECT a\nFROM t", "{query}");
        }
        let own = "SELECT 'a\\nb'\nFROM t";
        assert_eq!(unescaped(own), own);
    }

    #[test]
    fn damaged_comments_keep_what_is_left() {
        let cut = format!(
            "SELECT 1\n-- Hex query metadata: {}",
            &JSON[..JSON.find("\"trace_id\": \"AB").unwrap() + 14]
        );
        let escaped = format!("SELECT 1\n-- Hex query metadata: {}", JSON.replace('"', "\\\""));
        let broken = format!("-- Hex query metadata: {}\nSELECT 1", JSON.replacen("[\"a\"]", "[", 1));
        let repaired = Comment { state: State::Repaired, ..whole() };
        let without_tail = Comment { trace_id: None, user_email: None, ..repaired.clone() };
        for (query, expected) in [(cut, &without_tail), (escaped, &repaired), (broken, &repaired)] {
            let parted = read(&query).unwrap();
            assert_eq!((&parted.comment, parted.sql), (expected, "SELECT 1"), "{query}");
        }
    }

    #[test]
    fn missing_fields_are_missing_and_the_project_is_read_from_the_url() {
        let of = |json: &str| read(&format!("SELECT 1\n-- Hex query metadata: {json}")).unwrap().comment;
        assert_eq!(of("{}"), Comment::default());
        assert_eq!(
            of(r#"{"context": null, "connection": " ", "user_email": 3, "trace_id": []}"#)
                .user_email
                .as_deref(),
            Some("3")
        );
        for url in [
            format!("https://acme.hex.tech/org-1/hex/{PROJECT}/draft/logic"),
            format!("https://acme.hex.tech/org-1/app/A-title-{PROJECT}/latest"),
        ] {
            let comment = of(&format!(r#"{{"project_url": "{url}"}}"#));
            assert_eq!(
                (comment.project_id.as_deref(), comment.workspace.as_deref()),
                (Some(PROJECT), Some("org-1"))
            );
            assert_eq!(comment.cell_id, None);
        }
        assert_eq!(of(r#"{"project_id": "not-a-uuid"}"#).project_id.as_deref(), Some("not-a-uuid"));
    }
}
