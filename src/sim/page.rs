//! Pages of lists.

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::Serialize;
use serde_json::{Value, json};

use super::call::{Answer, Call, Failure};
use super::faults::PageFault;

/// Sort key of a list: unique to each item.
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

/// A place in a list: an item, and whether the empty page before the next page has been given.
struct Place {
    key: Option<Key>,
    skipped: bool,
    /// Empty pages given behind the end of the list.
    beyond: u64,
}

impl Place {
    fn cursor(&self) -> String {
        let (a, b) = self.key.clone().unwrap_or_default();
        let parts = match (self.skipped, self.beyond) {
            (false, 0) => json!([a, b]),
            (skipped, beyond) => json!([a, b, self.key.is_some(), skipped, beyond]),
        };
        BASE64.encode(format!("v2:{parts}"))
    }

    fn of(text: &str) -> Option<Self> {
        let text = String::from_utf8(BASE64.decode(text).ok()?).ok()?;
        let parts: Vec<Value> = serde_json::from_str(text.strip_prefix("v2:")?).ok()?;
        let text = |at: usize| parts.get(at).and_then(Value::as_str).map(str::to_owned);
        let flag = |at: usize, default: bool| parts.get(at).map_or(default, |v| *v == true);
        let key = (text(0)?, text(1)?);
        let beyond = parts.get(4).and_then(Value::as_u64).unwrap_or(0);
        Some(Self { key: flag(2, true).then_some(key), skipped: flag(3, false), beyond })
    }
}

fn at<T>((key, _): &(Key, &T)) -> Place {
    Place { key: Some(key.clone()), skipped: false, beyond: 0 }
}

/// Where a key is among `items`, or where it would be if its item is gone or has moved.
fn position<T>(items: &[(Key, &T)], key: &Key) -> Result<usize, usize> {
    if let Some(at) = items.iter().position(|(k, _)| k == key) {
        return Ok(at);
    }
    let descending = items.len() > 1 && items[0].0 > items[items.len() - 1].0;
    let passed = |k: &Key| if descending { k > key } else { k < key };
    Err(items.iter().take_while(|(k, _)| passed(k)).count())
}

/// Cuts the page that the call asks for out of `items`, which are in order and have unique keys.
pub(super) fn cut<'a, T>(
    call: &Call<'_>,
    items: Vec<(Key, &'a T)>,
    default: usize,
    max: usize,
) -> Result<Cut<'a, T>, Failure> {
    let limit = call.number("limit", default, 1, max)?.min(call.page_cap);
    let (after, before) = (call.get("after"), call.get("before"));
    if after.is_some() && before.is_some() {
        return Err(call.bad("after", "goes without before"));
    }
    let place =
        |cursor: &str| Place::of(cursor).ok_or_else(|| call.bad("cursor", "is not one that this API gave"));
    let after = after.map(place).transpose()?;
    if let Some(empty) = empty_page(call, after.as_ref(), items.is_empty()) {
        return Ok(empty);
    }
    let (from, to) = match (after.as_ref().and_then(|place| place.key.as_ref()), before) {
        (Some(key), _) => {
            let from =
                position(&items, key).map_or_else(|at| at, |at| at + usize::from(!call.fate.duplicate));
            (from, (from + limit).min(items.len()))
        }
        (_, Some(cursor)) => {
            let key = place(cursor)?.key.unwrap_or_default();
            let to = position(&items, &key).unwrap_or_else(|at| at);
            (to.saturating_sub(limit), to)
        }
        _ => (0, limit.min(items.len())),
    };
    let mut next = (to < items.len() && to > from).then(|| at(&items[to - 1]).cursor());
    match call.paging {
        Some(PageFault::Repeat) if after.is_some() => next = call.get("after").map(str::to_owned),
        Some(PageFault::Circle) if after.is_some() => {
            next = items.get(limit.min(items.len()) - 1).map(|item| at(item).cursor());
        }
        Some(PageFault::Endless) if next.is_none() => {
            let key = items.last().map(|(key, _)| key.clone());
            next = Some(Place { key, skipped: false, beyond: 1 }.cursor());
        }
        _ => {}
    }
    Ok(Cut {
        after: next,
        // Set on the first page too, as in recorded answers.
        before: (to > from).then(|| at(&items[from]).cursor()),
        items: items[from..to].iter().map(|(_, item)| *item).collect(),
    })
}

/// The empty page that a fault puts before the next page, or behind the end.
fn empty_page<'a, T>(call: &Call<'_>, after: Option<&Place>, nothing: bool) -> Option<Cut<'a, T>> {
    let key = after.and_then(|place| place.key.clone());
    let next = match call.paging? {
        PageFault::Empty if !nothing && !after.is_some_and(|place| place.skipped) => {
            Place { key, skipped: true, beyond: 0 }
        }
        PageFault::Endless => {
            let beyond = after.filter(|place| place.beyond > 0)?.beyond;
            Place { key, skipped: false, beyond: beyond + 1 }
        }
        _ => return None,
    };
    Some(Cut { items: Vec::new(), after: Some(next.cursor()), before: None })
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
