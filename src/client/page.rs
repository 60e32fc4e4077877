//! Pagination: both schemes as one seamless stream.

use std::collections::{BTreeMap, HashMap, HashSet};

use bytes::Bytes;
use futures::stream::{self, Stream, StreamExt, TryStreamExt};
use serde::de::DeserializeOwned;
use serde_json::Value;
use serde_json::value::RawValue;

use super::error::Error;
use super::http::{Client, Response};
use super::judge::{REPAIRED, kind_of, not_a_list};
use super::operation::{Listing, Operation, Paging};
use super::request::{ApiRequest, Next, PageEnd};

/// Pages without an item, in a row, that a list may have.
const EMPTY_PAGES: usize = 20;

/// A list operation with its parameters.
pub trait List {
    /// Type of an item.
    type Item: DeserializeOwned + Send + 'static;

    /// The request for the first page.
    fn request(&self) -> ApiRequest;
}

/// One page as the server sent it.
#[derive(Debug, Clone)]
pub struct Page {
    /// The request that it answers.
    pub request: ApiRequest,
    /// The answer.
    pub response: Response,
    /// End of the page: the cursor of the next one, if there is one.
    pub end: PageEnd,
}

/// The items of a page, each as its own JSON text, and what the page says about the next one.
#[derive(Debug)]
pub struct PageItems<'a> {
    /// Items in the server's order.
    pub items: Vec<&'a RawValue>,
    /// End of the page: the cursor of the next one, if there is one.
    pub end: PageEnd,
    /// Counts of [repairs](super::judge::REPAIRED) made when the page arrived, by kind.
    pub repaired: BTreeMap<String, u64>,
}

/// Takes a page apart without decoding its items. One that was accepted by [`judge`](super::judge()) can be.
///
/// # Errors
/// Says what is missing when `body` is not a page of the operation.
pub fn split_page<'a>(listing: &Listing, body: &'a [u8]) -> Result<PageItems<'a>, String> {
    match kind_of(body) {
        "an object" => {}
        "an array" => return Err("no page: a bare array".into()),
        kind => return Err(format!("no page: {kind}")),
    }
    let members: HashMap<String, &'a RawValue> = serde_json::from_slice(body).map_err(|e| e.to_string())?;
    let list = |name: &str| {
        let raw = members.get(name).filter(|raw| raw.get().starts_with('['))?;
        serde_json::from_str::<Vec<&'a RawValue>>(raw.get()).ok()
    };
    let items = list(listing.items)
        .or_else(|| list("values"))
        .ok_or_else(|| not_a_list(listing, members.get(listing.items).copied(), body))?;
    let (name, cursor) = match listing.paging {
        Paging::Cursor => ("after", after(members.get("pagination").copied())),
        Paging::Offset => ("nextPage", cursor(members.get("nextPage").copied())),
    };
    let (next, unreadable) = match cursor {
        Ok(next) => (next, None),
        Err(kind) => (None, Some(format!("the page's '{name}' is {kind}, and can't be followed"))),
    };
    let (after, next_page) = match listing.paging {
        Paging::Cursor => (next, None),
        Paging::Offset => (None, next),
    };
    let repaired =
        members.get(REPAIRED).and_then(|raw| serde_json::from_str(raw.get()).ok()).unwrap_or_default();
    let end = PageEnd { items: items.len(), after, next_page, unreadable };
    Ok(PageItems { items, end, repaired })
}

/// A cursor: text, number or none; of another kind, its name.
fn cursor(raw: Option<&RawValue>) -> Result<Option<String>, &'static str> {
    match raw.map(|raw| serde_json::from_str(raw.get())) {
        None | Some(Ok(Value::Null)) => Ok(None),
        Some(Ok(Value::String(text))) => Ok(Some(text).filter(|text| !text.is_empty())),
        Some(Ok(Value::Number(number))) => Ok(Some(number.to_string())),
        Some(_) => Err(raw.map_or("absent", |raw| kind_of(raw.get().as_bytes()))),
    }
}

/// `pagination.after`, as a cursor.
fn after(pagination: Option<&RawValue>) -> Result<Option<String>, &'static str> {
    let Some(raw) = pagination.filter(|raw| raw.get() != "null") else { return Ok(None) };
    let members: HashMap<String, &RawValue> =
        serde_json::from_str(raw.get()).map_err(|_| kind_of(raw.get().as_bytes()))?;
    cursor(members.get("after").copied())
}

impl Client {
    /// The pages of a list, one request each, from the first to the last. A list that doesn't end, or whose end
    /// isn't known, ends with an error.
    pub fn pages(&self, first: ApiRequest) -> impl Stream<Item = Result<Page, Error>> + use<> {
        let client = self.clone();
        let walk = Walk { next: Some(first), asked: HashSet::new(), empty: 0, stuck: None };
        stream::try_unfold(walk, move |mut walk| {
            let client = client.clone();
            async move {
                let Some(request) = walk.next.take() else {
                    return walk.stuck.map_or(Ok(None), Err);
                };
                let response = client.send(&request).await?;
                let end = page_end(request.operation(), &response.body)?;
                walk.step(&request, &end);
                Ok(Some((Page { request, response, end }, walk)))
            }
        })
    }

    /// The items of a list, over as many pages as it has.
    ///
    /// ```
    /// # hexport::sim::try_out(async |client, world| {
    /// use futures::TryStreamExt;
    /// use hexport::client::projects::ListProjects;
    ///
    /// let mut projects = std::pin::pin!(client.list(ListProjects::default()));
    /// while let Some(project) = projects.try_next().await? {
    ///     println!("{} {}", project.id, project.title);
    /// }
    /// # Ok(()) });
    /// ```
    pub fn list<L: List>(&self, list: L) -> impl Stream<Item = Result<L::Item, Error>> + use<L> {
        let request = list.request();
        let operation = request.operation();
        self.pages(request)
            .and_then(move |page| async move { decode_items::<L::Item>(operation, &page.response.body) })
            .map_ok(|items| stream::iter(items.into_iter().map(Ok)))
            .try_flatten()
            .boxed()
    }

    /// The items of a list as the server sent them, whatever they hold.
    pub fn list_json(&self, first: ApiRequest) -> impl Stream<Item = Result<Value, Error>> + use<> {
        let operation = first.operation();
        self.pages(first)
            .and_then(move |page| async move { decode_items::<Value>(operation, &page.response.body) })
            .map_ok(|items| stream::iter(items.into_iter().map(Ok)))
            .try_flatten()
            .boxed()
    }

    /// Sends a request and gives its answer as the server sent it; null where it sent none.
    ///
    /// # Errors
    /// Any of [`Error`].
    pub async fn send_json(&self, request: &ApiRequest) -> Result<Value, Error> {
        let response = self.send(request).await?;
        if response.body.is_empty() {
            return Ok(Value::Null);
        }
        let mut value: Value = decode(request.operation(), &response)?;
        if let Value::Object(members) = &mut value {
            members.remove(REPAIRED);
        }
        Ok(value)
    }
}

/// Where a list that is read page by page is.
struct Walk {
    next: Option<ApiRequest>,
    /// Keys of the requests sent.
    asked: HashSet<String>,
    /// Pages without an item since the last one that had some.
    empty: usize,
    /// Reason that the list can't be read to its end.
    stuck: Option<Error>,
}

impl Walk {
    fn step(&mut self, request: &ApiRequest, end: &PageEnd) {
        self.asked.insert(request.key());
        self.empty = if end.items == 0 { self.empty + 1 } else { 0 };
        let circle = || Some("the pages go in a circle".to_owned());
        let (next, stuck) = match request.next(end) {
            Next::End => (None, end.unreadable.clone()),
            Next::Repeats => (None, circle()),
            Next::Page(next) if self.asked.contains(&next.key()) => (None, circle()),
            Next::Page(_) if self.empty >= EMPTY_PAGES => {
                (None, Some(format!("{EMPTY_PAGES} empty pages in a row")))
            }
            Next::Page(next) => (Some(next), None),
        };
        self.stuck =
            stuck.map(|detail| malformed(request.operation(), format!("a list without an end: {detail}")));
        self.next = next;
    }
}

fn page_end(operation: &'static Operation, body: &Bytes) -> Result<PageEnd, Error> {
    let listing = listing_of(operation);
    split_page(&listing, body).map(|page| page.end).map_err(|detail| malformed(operation, detail))
}

fn decode_items<T: DeserializeOwned>(operation: &'static Operation, body: &Bytes) -> Result<Vec<T>, Error> {
    let page = split_page(&listing_of(operation), body).map_err(|detail| malformed(operation, detail))?;
    let decode = |raw: &&RawValue| serde_json::from_str(raw.get());
    page.items.iter().map(decode).collect::<Result<_, _>>().map_err(|e| malformed(operation, e))
}

fn listing_of(operation: &'static Operation) -> Listing {
    operation.listing.unwrap_or_else(|| panic!("{operation} is not a list"))
}

fn malformed(
    operation: &'static Operation,
    source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
) -> Error {
    Error::Malformed { operation, source: source.into(), attempts: 1 }
}

pub(super) fn decode<T: DeserializeOwned>(
    operation: &'static Operation,
    response: &Response,
) -> Result<T, Error> {
    serde_json::from_slice(&response.body).map_err(|e| malformed(operation, e))
}
