//! Every answer is judged once, when it arrives: is it what the operation answers, and can all of it be read?
//!
//! An answer that [`judge`] accepts is handed on, and journalled, in a form in which no later reader can fail.
//! The rules, first match wins:
//!
//! | answer | verdict |
//! | --- | --- |
//! | 429 | asked again when the server says; paces everything else |
//! | 408, 5xx, no answer, an answer that breaks off | asked again; after the last attempt a gap |
//! | 3xx | a gap; the message says where it points; a redirect is never followed |
//! | 401, 403, 404, other 4xx | a refusal; what it means depends on the operation |
//! | 204 or 205 to a list | accepted: an empty page, and the last one |
//! | 204, 205 or an empty body to a write | accepted |
//! | an empty body to a read | asked again, then a gap: absence of evidence is not evidence |
//! | HTML, text that isn't JSON, JSON that ends early | asked again, then a gap |
//! | a list whose array is absent, null or of another type; a bare array; an error instead of a page | asked again, then a gap |
//! | a cursor (`after`, `nextPage`) that is absent, null or empty | accepted; the list ends here |
//! | a cursor that is neither text nor a number | accepted; the list ends here, incomplete |
//! | a byte-order mark, bytes that aren't UTF-8, half a surrogate pair, a raw control character, an unknown escape, a number beyond 64 bits, `NaN`, nesting beyond 64 levels, a duplicate key | accepted, [repaired](Repair) and counted |
//! | an item that isn't an object, or has no identifier | accepted; the row is kept as it is and counted as drift |
//! | a field that is absent, null or of another type | accepted; the value is kept in `extra` and counted as drift |

use bytes::Bytes;
use serde_json::value::RawValue;

use super::error::ApiErrorBody;
use super::json::{self, Flaw, Repairs};
use super::operation::{Effect, Listing, Operation};
use super::page::split_page;
use super::request::PageEnd;

/// Member of a repaired answer that says what was repaired, so that whoever reads the journal can count it.
pub const REPAIRED: &str = "@repaired";

/// Verdict on an answer with a status of 2xx.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// A page of a list.
    Page {
        /// The page, repaired.
        body: Bytes,
        /// End of the page: the cursor of the next one, if there is one.
        end: PageEnd,
        /// Repair.
        repairs: Repairs,
    },
    /// One object, or whatever JSON a write is answered with.
    Single {
        /// The answer, repaired.
        body: Bytes,
        /// Repair.
        repairs: Repairs,
    },
    /// No content, where that is an answer.
    Empty {
        /// An empty page, in answer to a list; else nothing.
        body: Bytes,
    },
    /// Nothing that can be used.
    NotAPage {
        /// Description, in words.
        why: String,
    },
}

/// Judges an answer with a status of 2xx.
///
/// ```
/// use bytes::Bytes;
/// use hexport::client::{Verdict, judge, operation::LIST_USERS};
///
/// let cut_emoji = Bytes::from(r#"{"values": [{"id": "u1", "name": "Ada \ud83d"}], "pagination": {"after": null}}"#);
/// let Verdict::Page { repairs, .. } = judge(&LIST_USERS, 200, None, &cut_emoji) else { panic!() };
/// assert_eq!(repairs.iter().count(), 1);
/// let login = Bytes::from("<html><title>Sign in</title>");
/// assert!(matches!(judge(&LIST_USERS, 200, None, &login), Verdict::NotAPage { .. }));
/// ```
pub fn judge(operation: &Operation, status: u16, content_type: Option<&str>, body: &Bytes) -> Verdict {
    if body.is_empty() || matches!(status, 204 | 205) {
        return nothing(operation, status);
    }
    let (body, repairs) = match json::repair(body) {
        Ok(repaired) => repaired,
        Err(flaw) => return Verdict::NotAPage { why: describe(content_type, body, &flaw) },
    };
    let Some(listing) = &operation.listing else {
        return match (operation.effect, body.trim_ascii_start().first()) {
            (Effect::Write, _) | (_, Some(b'{')) => Verdict::Single { body: marked(body, &repairs), repairs },
            _ => Verdict::NotAPage { why: format!("{} where an object was expected", kind_of(&body)) },
        };
    };
    match split_page(listing, &body) {
        Ok(page) => {
            let end = page.end;
            Verdict::Page { end, body: marked(body, &repairs), repairs }
        }
        Err(why) => Verdict::NotAPage { why },
    }
}

/// The identifier of an item of a list, as text; `None` for an item without one, and for operations whose items
/// have none.
pub fn identifier(listing: &Listing, item: &str) -> Option<String> {
    let fields: std::collections::HashMap<std::borrow::Cow<'_, str>, &RawValue> =
        serde_json::from_str(item).ok()?;
    listing.ids.iter().find_map(|name| match serde_json::from_str(fields.get(*name)?.get()).ok()? {
        serde_json::Value::String(text) if !text.trim().is_empty() => Some(text),
        serde_json::Value::Number(number) => Some(number.to_string()),
        _ => None,
    })
}

/// No body, or a status that has none.
fn nothing(operation: &Operation, status: u16) -> Verdict {
    match (&operation.listing, operation.effect) {
        (Some(listing), _) if matches!(status, 204 | 205) => {
            Verdict::Empty { body: format!(r#"{{"{}":[]}}"#, listing.items).into() }
        }
        (None, Effect::Write) => Verdict::Empty { body: Bytes::new() },
        _ => Verdict::NotAPage { why: "an empty answer".into() },
    }
}

/// A repaired answer with a note of its repairs.
fn marked(body: Bytes, repairs: &Repairs) -> Bytes {
    let text = body.trim_ascii();
    let Some(inner) = text.strip_suffix(b"}").filter(|_| !repairs.is_empty()) else { return body };
    let counts: serde_json::Map<String, serde_json::Value> =
        repairs.iter().map(|(repair, n)| (repair.name().to_owned(), n.into())).collect();
    let comma = if inner.trim_ascii_end().ends_with(b"{") { "" } else { "," };
    let mark = format!(r#"{comma}"{REPAIRED}":{}}}"#, serde_json::Value::from(counts));
    [inner, mark.as_bytes()].concat().into()
}

/// Describes an answer that isn't JSON.
fn describe(content_type: Option<&str>, body: &[u8], flaw: &Flaw) -> String {
    let text = String::from_utf8_lossy(&body[..body.len().min(64 << 10)]);
    let text = text.trim_start_matches('\u{feff}').trim();
    let is_html = content_type.is_some_and(|t| t.to_ascii_lowercase().contains("html"))
        || text.starts_with('<') && !text.starts_with("<?xml");
    if is_html {
        return html(text);
    }
    let words = || {
        let words = text.split_whitespace().take(20).collect::<Vec<_>>().join(" ");
        words.chars().take(100).collect::<String>()
    };
    match (flaw, text.starts_with(['{', '['])) {
        (Flaw::EndsEarly, true) => format!("JSON that ends early, after {} bytes", body.len()),
        (Flaw::Unexpected { at, found }, true) => {
            format!("not JSON: it has {found:?} at byte {at}, where none can be")
        }
        (Flaw::Trailing { at }, true) => format!("JSON with something else after it, at byte {at}"),
        (Flaw::Absurd, _) => "JSON that is nested absurdly deep".into(),
        (_, false) if text.is_empty() => "only white space".into(),
        (_, false) => format!("not JSON but the text {:?}", words()),
    }
}

fn html(text: &str) -> String {
    let lower = text.to_ascii_lowercase();
    let title = lower.find("<title").and_then(|tag| {
        let from = tag + lower[tag..].find('>')? + 1;
        let to = from + lower[from..].find("</title")?;
        Some(text[from..to].split_whitespace().collect::<Vec<_>>().join(" "))
    });
    let title = title.filter(|title| !title.is_empty());
    let named = title.as_deref().unwrap_or_default().to_ascii_lowercase();
    let is_login =
        ["type=\"password\"", "type='password'", "type=password"].iter().any(|field| lower.contains(field))
            || ["sign in", "log in", "login", "single sign-on"].iter().any(|words| named.contains(words));
    let what = if is_login { "an HTML login page" } else { "an HTML page" };
    match title {
        Some(title) => format!("{what}, titled {:?}", title.chars().take(100).collect::<String>()),
        None => what.into(),
    }
}

/// The kind of a JSON value, in words.
pub(super) fn kind_of(text: &[u8]) -> &'static str {
    match text.trim_ascii_start().first() {
        Some(b'{') => "an object",
        Some(b'[') => "an array",
        Some(b'"') => "a text",
        Some(b't' | b'f') => "true or false",
        Some(b'n') => "null",
        _ => "a number",
    }
}

/// Describes what came instead of a page: an error, if the object reads like one of Hex's.
pub(super) fn not_a_list(listing: &Listing, member: Option<&RawValue>, body: &[u8]) -> String {
    let name = listing.items;
    if let Some(raw) = member {
        return format!("no page: '{name}' is {} and not an array", kind_of(raw.get().as_bytes()));
    }
    let error = ApiErrorBody::parse(body);
    match (&error.code, &error.reason) {
        (None, None) => format!("no page: it has no array '{name}'"),
        (code, _) => {
            format!("no page but an error{}{error}", code.as_ref().map_or(String::new(), |c| format!(" {c}")))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::json::Repair;
    use crate::client::operation::*;

    fn of(operation: &Operation, status: u16, body: &str) -> Verdict {
        judge(operation, status, None, &Bytes::copy_from_slice(body.as_bytes()))
    }

    fn why(operation: &Operation, content_type: &str, body: &str) -> String {
        match judge(operation, 200, Some(content_type), &Bytes::copy_from_slice(body.as_bytes())) {
            Verdict::NotAPage { why } => why,
            other => panic!("accepted {body}: {other:?}"),
        }
    }

    #[test]
    fn nothing_is_an_answer_to_a_write_and_as_204_to_a_list() {
        for (operation, status, accepted) in [
            (&GET_QUERIED_TABLES, 204, true),
            (&LIST_USERS, 205, true),
            (&LIST_USERS, 200, false),
            (&ME, 204, false),
            (&GET_RUN_STATUS, 200, false),
            (&CANCEL_RUN, 204, true),
            (&UPDATE_PROJECT, 200, true),
        ] {
            let verdict = of(operation, status, "");
            assert_eq!(matches!(verdict, Verdict::Empty { .. }), accepted, "{operation} {status}");
            if let (Verdict::Empty { body }, Some(listing)) = (verdict, operation.listing) {
                assert!(split_page(&listing, &body).unwrap().items.is_empty());
            }
        }
    }

    #[test]
    fn what_is_no_page_is_described() {
        let json = "application/json";
        for (operation, kind, body, said) in [
            (
                &LIST_USERS,
                "text/html; charset=utf-8",
                "<!doctype html><TITLE>\n Sign  in </TITLE>",
                "an HTML login page, titled \"Sign in\"",
            ),
            (&LIST_USERS, json, "\u{feff}<html><body>Bad Gateway", "an HTML page"),
            (&LIST_USERS, "text/plain", "Service starting", "not JSON but the text \"Service starting\""),
            (&LIST_USERS, json, "{\"values\": [{\"id\": \"u", "JSON that ends early, after 21 bytes"),
            (&LIST_USERS, json, "{\"values\": [,]}", "not JSON: it has ',' at byte 12, where none can be"),
            (&LIST_USERS, json, "{\"values\": []} x", "JSON with something else after it, at byte 15"),
            (&LIST_USERS, json, "[{\"id\": \"u\"}]", "no page: a bare array"),
            (&LIST_USERS, json, "null", "no page: null"),
            (&LIST_USERS, json, "{}", "no page: it has no array 'values'"),
            (&LIST_USERS, json, "{\"values\": null}", "no page: 'values' is null and not an array"),
            (
                &LIST_USERS,
                json,
                "{\"values\": {\"id\": 1}}",
                "no page: 'values' is an object and not an array",
            ),
            (&GET_PROJECT_RUNS, json, "{\"runs\": \"x\"}", "no page: 'runs' is a text and not an array"),
            (
                &LIST_USERS,
                json,
                r#"{"message": "Slow down", "code": "BUSY"}"#,
                "no page but an error BUSY: Slow down",
            ),
            (&ME, json, "[]", "an array where an object was expected"),
            (&LIST_USERS, json, "  ", "only white space"),
        ] {
            assert_eq!(why(operation, kind, body), said, "{body}");
        }
    }

    #[test]
    fn a_cursor_ends_a_list_by_rule() {
        let end = |pagination: &str| match of(&LIST_USERS, 200, &format!(r#"{{"values": [], {pagination}}}"#))
        {
            Verdict::Page { end, .. } => end,
            other => panic!("{other:?}"),
        };
        for ends in [
            r#""x": 1"#,
            r#""pagination": null"#,
            r#""pagination": {}"#,
            r#""pagination": {"after": null}"#,
            r#""pagination": {"after": ""}"#,
        ] {
            assert_eq!(end(ends), PageEnd::default(), "{ends}");
        }
        assert_eq!(
            end(r#""pagination": {"after": 12345678901234567890123}"#).after.as_deref(),
            Some("12345678901234567890123")
        );
        for unusable in
            [r#""pagination": {"after": {}}"#, r#""pagination": "c""#, r#""pagination": {"after": true}"#]
        {
            let end = end(unusable);
            assert!(end.unreadable.is_some() && end.after.is_none(), "{unusable}");
        }
    }

    #[test]
    fn what_is_accepted_can_be_read_by_anything() {
        let deep = format!("{}{}", "[".repeat(300), "]".repeat(300));
        let items = [
            r#"{"id": "p1", "title": "Revenue \ud83d"}"#.to_owned(),
            r#"{"id": "p2", "id": "p3", "views": 1e999, "n": 123456789012345678901234567890}"#.to_owned(),
            format!(r#"{{"id": 4, "deep": {deep}, "nan": NaN, "raw": "a{}b"}}"#, '\u{1}'),
            r#"{"title": "no identifier"}"#.to_owned(),
            r#""not an object""#.to_owned(),
        ];
        let body =
            format!(r#"{{"values": [{}], "values2": 1, "pagination": {{"after": "c"}}}}"#, items.join(","));
        let Verdict::Page { body, end, repairs } = of(&LIST_PROJECTS, 200, &body) else { panic!("no page") };
        assert_eq!(end.after.as_deref(), Some("c"));
        let listing = LIST_PROJECTS.listing.unwrap();
        let page = split_page(&listing, &body).unwrap();
        let ids: Vec<_> = page.items.iter().map(|item| identifier(&listing, item.get())).collect();
        assert_eq!(ids, [Some("p1".into()), Some("p3".into()), Some("4".into()), None, None]);
        for item in &page.items {
            serde_json::from_str::<serde_json::Value>(item.get()).unwrap();
        }
        let kinds: Vec<Repair> = repairs.iter().map(|(repair, _)| repair).collect();
        assert_eq!(
            kinds,
            [Repair::Surrogate, Repair::Control, Repair::Number, Repair::Deep, Repair::DuplicateKey]
        );
        assert_eq!(page.repaired["number kept as text"], 3);
        // What was judged once is not repaired again.
        assert_eq!(
            judge(&LIST_PROJECTS, 200, None, &body),
            Verdict::Page { body: body.clone(), end, repairs: Repairs::default() }
        );
    }
}
