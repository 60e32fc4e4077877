//! Personal data, and answers without it.

use serde_json::Value;

use crate::handoff::rows::User;
use crate::schema::{Column, Table, Type};
use crate::snapshot::{self, Lake, Manifest, TableReader, rows};
use crate::tables::USERS;

/// Whether answers name people.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Personal {
    /// Names and email addresses are left out.
    Hidden,
    /// They are shown.
    Shown,
}

/// Placeholder for an email address.
const HIDDEN: &str = "[hidden]";
/// An email address in any text, as a regular expression of DuckDB.
const ADDRESS: &str = "[[:alnum:]._%+''-]+@[[:alnum:].-]+";

/// Columns of a finding that say who it is on, if it is on a person.
const SAYS_WHO: [&str; 4] = ["entity", "entity_id", "evidence", "url"];

/// Whether a column names people, or may in a form that no rule can read.
pub fn is_personal(column: &Column) -> bool {
    // What names a person in some rows alone is hidden there: see `SAYS_WHO`.
    let is_of_person = column.name_of.is_some_and(|name| name.only_where.is_none());
    let is_opaque = match column.ty {
        Type::Json | Type::Struct(_) => true,
        Type::List(inner) => matches!(inner, Type::Json | Type::Struct(_) | Type::List(_)),
        _ => false,
    };
    is_of_person
        || is_opaque
        || column.name.ends_with("email")
        || column.name.ends_with("emails")
        || matches!(column.name, "username" | "user_id" | "principal" | "principal_id")
}

/// The `SELECT` list that shows a table without personal data.
pub fn select(table: &Table) -> String {
    let quoted = |name: &str| format!("\"{}\"", name.replace('"', "\"\""));
    let columns = table.all_columns().filter(|column| !is_personal(column)).map(|column| {
        let name = quoted(column.name);
        match column.ty {
            // A finding on a person names them, in its evidence too.
            Type::Utf8 if table.name == "audit_findings" && SAYS_WHO.contains(&column.name) => format!(
                "CASE entity_type WHEN 'user' THEN '{HIDDEN}' ELSE regexp_replace({name}, '{ADDRESS}', '{HIDDEN}', 'g') END AS {name}"
            ),
            Type::Utf8 => format!("regexp_replace({name}, '{ADDRESS}', '{HIDDEN}', 'g') AS {name}"),
            Type::List(Type::Utf8) => {
                format!("list_transform({name}, lambda x: regexp_replace(x, '{ADDRESS}', '{HIDDEN}', 'g')) AS {name}")
            }
            _ => name,
        }
    });
    columns.collect::<Vec<_>>().join(", ")
}

/// Names of the workspace's people, to be taken out of any text.
#[derive(Debug, Clone, Default)]
pub struct People(Vec<String>);

impl People {
    /// The users of a snapshot, of those who have a whole name: a first name alone may be any word.
    ///
    /// # Errors
    /// If the snapshot can't be read.
    pub fn load(lake: &Lake, manifest: &Manifest) -> Result<Self, snapshot::Error> {
        let open = |table| TableReader::open(lake, manifest, table);
        let names = rows::all::<User>(&open, &USERS)?.into_iter().filter_map(|user| user.name);
        Ok(Self(names.filter(|name| name.trim().contains(' ')).collect()))
    }
}

/// Takes people out of an answer: fields that name them go, and so do names and email addresses in any text.
pub fn without_people(value: &mut Value, people: &People) {
    match value {
        Value::String(text) => {
            *text = without_addresses(text);
            for name in people.0.iter() {
                if text.contains(name.as_str()) {
                    *text = text.replace(name.as_str(), HIDDEN);
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| without_people(item, people)),
        Value::Object(fields) => {
            fields.retain(|name, _| {
                !matches!(name.as_str(), "owner" | "owner_email" | "creator_email" | "email" | "assumptions")
            });
            fields.values_mut().for_each(|field| without_people(field, people));
        }
        _ => {}
    }
}

/// A text without email addresses.
fn without_addresses(text: &str) -> String {
    let is_local = |c: char| c.is_alphanumeric() || "._%+'-".contains(c);
    let is_domain = |c: char| c.is_alphanumeric() || ".-".contains(c);
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('@') {
        let local = rest[..at].char_indices().rev().take_while(|(_, c)| is_local(*c)).last().map(|(i, _)| i);
        let end = rest[at + 1..].find(|c| !is_domain(c)).map_or(rest.len(), |n| at + 1 + n);
        match local {
            Some(start) if end > at + 1 => {
                out.push_str(&rest[..start]);
                out.push_str(HIDDEN);
            }
            _ => out.push_str(&rest[..end]),
        }
        rest = &rest[end..];
    }
    out + rest
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry;

    #[test]
    fn addresses_leave_a_text_and_the_rest_stays() {
        for (text, expected) in [
            ("ask ada.l+x@acme.example, or @ada", "ask [hidden], or @ada"),
            ("a@b c@d.e", "[hidden] [hidden]"),
            ("é@ü.example", "[hidden]"),
            ("@ @@ a@", "@ @@ a@"),
            ("", ""),
        ] {
            assert_eq!(without_addresses(text), expected);
        }
    }

    #[test]
    fn every_column_that_its_docs_say_is_of_a_person_is_personal() {
        let says_so = |column: &Column| {
            let doc = column.doc.to_lowercase();
            // A domain is no person.
            !doc.starts_with("domain of")
                && ["email address", "user's email", "person's name"].iter().any(|word| doc.contains(word))
        };
        let mut found = 0;
        for table in registry::all() {
            for column in table.all_columns().filter(|column| says_so(column)) {
                assert!(is_personal(column), "{}.{}", table.name, column.name);
                found += 1;
            }
            assert!(!select(table).is_empty(), "{}", table.name);
        }
        assert!(found > 5, "{found}");
    }
}
