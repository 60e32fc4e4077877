//! Pages of lists.

use serde::Serialize;
use serde_json::{Value, json};

use super::call::{Answer, Call, Failure};

/// What a list is sorted by: unique to each item.
pub(super) type Key = (String, String);

pub(super) struct Cut<'a, T> {
    pub(super) items: Vec<&'a T>,
    pub(super) after: Option<String>,
    pub(super) before: Option<String>,
}

impl<T> Cut<'_, T> {
    pub(super) fn envelope(&self, name: &str, values: Vec<Value>) -> Value {
        json!({name: values, "pagination": {"after": self.after, "before": self.before}})
    }
}

/// Cuts the page that the call asks for out of `items`, which are in order and have unique keys.
pub(super) fn cut<'a, T>(
    call: &Call<'_>,
    items: Vec<(Key, &'a T)>,
    default: usize,
    max: usize,
) -> Result<Cut<'a, T>, Failure> {
    let limit = call.number("limit", default, 1, max)?;
    let (after, before) = (call.get("after"), call.get("before"));
    if after.is_some() && before.is_some() {
        return Err(call.bad("after", "goes without before"));
    }
    let position = |cursor: &str| -> Result<usize, Failure> {
        let key = decode_cursor(cursor).ok_or_else(|| call.bad("cursor", "is not one that this API gave"))?;
        if let Some(at) = items.iter().position(|(k, _)| *k == key) {
            return Ok(at);
        }
        // The item is gone or has moved: its place in the order still tells where the page starts.
        let descending = items.len() > 1 && items[0].0 > items[items.len() - 1].0;
        let passed = |k: &Key| if descending { *k > key } else { *k < key };
        Ok(items.iter().take_while(|(k, _)| passed(k)).count().saturating_sub(1))
    };
    let (from, to) = match (after, before) {
        (Some(cursor), _) => {
            let at = position(cursor)? + 1;
            let at = if call.fate.duplicate { at - 1 } else { at };
            (at, (at + limit).min(items.len()))
        }
        (_, Some(cursor)) => {
            let at = position(cursor)?;
            (at.saturating_sub(limit), at)
        }
        _ => (0, limit.min(items.len())),
    };
    let cursor = |(key, _): &(Key, &T)| encode_cursor(key);
    Ok(Cut {
        after: (to < items.len() && to > from).then(|| cursor(&items[to - 1])),
        before: (from > 0 && to > from).then(|| cursor(&items[from])),
        items: items[from..to].iter().map(|(_, item)| *item).collect(),
    })
}

pub(super) fn cursor_page<T: Serialize>(
    call: &Call<'_>,
    items: Vec<(Key, &T)>,
    name: &str,
    default: usize,
    max: usize,
) -> Answer {
    let page = cut(call, items, default, max)?;
    let values = page.items.iter().map(|item| json!(item)).collect();
    Ok((200, Some(page.envelope(name, values))))
}

pub(super) fn sorted_page<T: Serialize>(
    call: &Call<'_>,
    mut items: Vec<(Key, &T)>,
    descending: bool,
    max: usize,
) -> Answer {
    items.sort_by(|a, b| if descending { b.0.cmp(&a.0) } else { a.0.cmp(&b.0) });
    cursor_page(call, items, "values", 25, max)
}

fn encode_cursor(key: &Key) -> String {
    format!("{}\u{0}{}", key.0, key.1).bytes().map(|b| format!("{b:02x}")).collect()
}

fn decode_cursor(text: &str) -> Option<Key> {
    let bytes: Option<Vec<u8>> = (0..text.len())
        .step_by(2)
        .map(|i| text.get(i..i + 2).and_then(|h| u8::from_str_radix(h, 16).ok()))
        .collect();
    let text = String::from_utf8(bytes?).ok()?;
    let (a, b) = text.split_once('\u{0}')?;
    Some((a.to_owned(), b.to_owned()))
}
