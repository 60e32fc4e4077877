//! Pagination: both schemes as one stream that callers never see the seams of.

use bytes::Bytes;
use futures::stream::{self, Stream, StreamExt, TryStreamExt};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use serde_json::value::RawValue;

use super::error::Error;
use super::http::{Client, Response};
use super::operation::{Listing, Operation};
use super::request::{ApiRequest, PageEnd};

/// A list operation with its parameters.
pub trait List {
    /// What the list holds.
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
    /// What it says about the next page.
    pub end: PageEnd,
}

/// The items of a page, each as its own JSON text, and what the page says about the next one.
#[derive(Debug)]
pub struct PageItems<'a> {
    /// Items in the server's order.
    pub items: Vec<&'a RawValue>,
    /// What the page says about the next one.
    pub end: PageEnd,
}

#[derive(Deserialize)]
struct Envelope<'a> {
    #[serde(borrow, default)]
    values: Option<Vec<&'a RawValue>>,
    #[serde(borrow, default)]
    runs: Option<Vec<&'a RawValue>>,
    #[serde(borrow, default)]
    threads: Option<Vec<&'a RawValue>>,
    #[serde(borrow, default)]
    topics: Option<Vec<&'a RawValue>>,
    #[serde(default)]
    pagination: Option<Cursors>,
    #[serde(rename = "nextPage", default)]
    next_page: Option<String>,
}

#[derive(Deserialize)]
struct Cursors {
    #[serde(default)]
    after: Option<String>,
}

/// Takes a page apart without decoding its items.
///
/// # Errors
/// Says what is missing when `body` is not a page of the operation.
pub fn split_page<'a>(listing: &Listing, body: &'a [u8]) -> Result<PageItems<'a>, String> {
    let envelope: Envelope<'a> = serde_json::from_slice(body).map_err(|e| e.to_string())?;
    let Envelope { values, runs, threads, topics, pagination, next_page } = envelope;
    let (named, others) = match listing.items {
        "runs" => (runs, values),
        "threads" => (threads, values),
        "topics" => (topics, values),
        _ => (values, None),
    };
    let items = named.or(others).ok_or_else(|| format!("the page has no array '{}'", listing.items))?;
    let end = PageEnd { items: items.len(), after: pagination.and_then(|p| p.after), next_page };
    Ok(PageItems { items, end })
}

impl Client {
    /// The pages of a list, one request each, from the first to the last.
    pub fn pages(&self, first: ApiRequest) -> impl Stream<Item = Result<Page, Error>> + use<> {
        let client = self.clone();
        stream::try_unfold(Some(first), move |request| {
            let client = client.clone();
            async move {
                let Some(request) = request else { return Ok(None) };
                let response = client.send(&request).await?;
                let end = page_end(request.operation(), &response.body)?;
                let next = request.next(&end);
                Ok(Some((Page { request, response, end }, next)))
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
        match response.body.is_empty() {
            true => Ok(Value::Null),
            false => decode(request.operation(), &response),
        }
    }

    /// Sends a request and decodes its answer.
    pub(super) async fn fetch<T: DeserializeOwned>(&self, request: ApiRequest) -> Result<T, Error> {
        let response = self.send(&request).await?;
        decode(request.operation(), &response)
    }
}

fn page_end(operation: &'static Operation, body: &Bytes) -> Result<PageEnd, Error> {
    let listing = listing_of(operation);
    split_page(&listing, body).map(|page| page.end).map_err(|detail| malformed(operation, detail))
}

fn decode_items<T: DeserializeOwned>(operation: &'static Operation, body: &Bytes) -> Result<Vec<T>, Error> {
    let page = split_page(&listing_of(operation), body).map_err(|detail| malformed(operation, detail))?;
    let decode = |raw: &&RawValue| serde_json::from_str(raw.get());
    page.items.iter().map(decode).collect::<Result<_, _>>().map_err(|e| malformed(operation, e.to_string()))
}

fn listing_of(operation: &'static Operation) -> Listing {
    operation.listing.unwrap_or_else(|| panic!("{operation} is not a list"))
}

fn malformed(operation: &'static Operation, detail: String) -> Error {
    Error::Malformed { operation, detail, attempts: 1 }
}

fn decode<T: DeserializeOwned>(operation: &'static Operation, response: &Response) -> Result<T, Error> {
    serde_json::from_slice(&response.body).map_err(|e| malformed(operation, e.to_string()))
}
