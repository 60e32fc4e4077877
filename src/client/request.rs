//! One request to the API, before it is bound to a server and a token.

use serde_json::Value;

use super::operation::{Effect, Operation, Paging};

/// A request: operation, path parameters filled in, query and body.
///
/// Two requests with the same [`key`](ApiRequest::key) ask the same thing; the journal relies on that to
/// know what has been answered already.
#[derive(Debug, Clone)]
pub struct ApiRequest {
    op: &'static Operation,
    path: String,
    query: Vec<(&'static str, String)>,
    body: Option<Value>,
    attempts: Option<u32>,
}

impl ApiRequest {
    /// A request for `op`; `params` fill the path's placeholders in order.
    ///
    /// # Panics
    /// If the number of `params` is not the number of placeholders: that is a fault of the caller's code.
    pub fn new(op: &'static Operation, params: &[&str]) -> Self {
        let mut path = String::with_capacity(op.path.len() + 36 * params.len());
        let mut rest = op.path;
        let mut params = params.iter();
        while let Some(open) = rest.find('{') {
            let close = rest[open..].find('}').expect("operation paths close their braces") + open;
            path.push_str(&rest[..open]);
            let value =
                params.next().unwrap_or_else(|| panic!("{op} needs a value for {}", &rest[open..=close]));
            path.push_str(&encode_segment(value));
            rest = &rest[close + 1..];
        }
        path.push_str(rest);
        assert!(params.next().is_none(), "{op} takes fewer path parameters");
        Self { op, path, query: Vec::new(), body: None, attempts: None }
    }

    /// Adds a query parameter.
    pub fn query(mut self, name: &'static str, value: impl ToString) -> Self {
        self.query.push((name, value.to_string()));
        self
    }

    /// Adds a query parameter if there is a value.
    pub fn query_opt(self, name: &'static str, value: Option<impl ToString>) -> Self {
        match value {
            Some(value) => self.query(name, value),
            None => self,
        }
    }

    /// Sets a query parameter, replacing its value.
    pub fn with_query(mut self, name: &'static str, value: impl ToString) -> Self {
        self.query.retain(|(n, _)| *n != name);
        self.query(name, value)
    }

    /// Sets the JSON body.
    pub fn body(mut self, body: Value) -> Self {
        self.body = Some(body);
        self
    }

    /// Limits the attempts of a request whose answer is worth no long wait.
    pub fn at_most(mut self, attempts: u32) -> Self {
        self.attempts = Some(attempts);
        self
    }

    /// Attempts that the request is limited to.
    pub fn attempts(&self) -> Option<u32> {
        self.attempts
    }

    /// The operation asked for.
    pub fn operation(&self) -> &'static Operation {
        self.op
    }

    /// Path below the API root, parameters filled in.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Query parameters in the order given.
    pub fn query_pairs(&self) -> &[(&'static str, String)] {
        &self.query
    }

    /// JSON body, if any.
    pub fn json_body(&self) -> Option<&Value> {
        self.body.as_ref()
    }

    /// Method, path, query and, of a read, body in one string: equal for requests that ask the same.
    pub fn key(&self) -> String {
        let mut key = format!("{} {}", self.op.method.as_str(), self.path);
        for (i, (name, value)) in self.query.iter().enumerate() {
            key.push(if i == 0 { '?' } else { '&' });
            key.push_str(name);
            key.push('=');
            key.push_str(value);
        }
        // A read by POST asks by its body.
        if let (Effect::Read, Some(body)) = (self.op.effect, &self.body) {
            key.push(' ');
            key.push_str(&body.to_string());
        }
        key
    }

    /// Request that follows `page`. A missing, null or empty cursor ends a list; an empty page with a cursor does not
    /// (hex-api.md: a page may be empty and still have an `after`); a cursor that points at the page just read leads
    /// nowhere, as with a server that ignores `after`.
    pub fn next(&self, page: &PageEnd) -> Next {
        let Some(listing) = self.op.listing else { return Next::End };
        let (name, value) = match listing.paging {
            Paging::Cursor => match page.after.as_ref().filter(|after| !after.is_empty()) {
                Some(after) => ("after", after.clone()),
                None => return Next::End,
            },
            Paging::Offset => {
                let Some(next) = page.next_page.as_deref().filter(|n| !n.is_empty()) else {
                    return Next::End;
                };
                let here: u64 = self.offset();
                // The host of the URL is not followed: behind a proxy it is not ours, and a token is never
                // sent to a host that an answer names.
                let offset = offset_of(next).filter(|o| *o > here).unwrap_or(here + page.items as u64);
                ("offset", offset.to_string())
            }
        };
        if self.param(name) == Some(value.as_str()) || (name == "offset" && value == "0") {
            return Next::Repeats;
        }
        Next::Page(self.clone().with_query(name, value))
    }

    /// Where in a list the page begins, of a list that is paged by offset.
    pub fn offset(&self) -> u64 {
        self.param("offset").and_then(|offset| offset.parse().ok()).unwrap_or(0)
    }

    fn param(&self, name: &str) -> Option<&str> {
        self.query.iter().find(|(n, _)| *n == name).map(|(_, v)| v.as_str())
    }
}

/// The step after a page.
#[derive(Debug, Clone)]
pub enum Next {
    /// Nothing: the list is at its end.
    End,
    /// Another page.
    Page(ApiRequest),
    /// The page that was just read, again: the list can't be read to its end.
    Repeats,
}

/// The end of a page: the cursor of the next one, if there is one.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PageEnd {
    /// Items on the page.
    pub items: usize,
    /// `pagination.after`.
    pub after: Option<String>,
    /// `nextPage`.
    pub next_page: Option<String>,
    /// Reason for not knowing whether there is a next page: the list then counts as incomplete.
    pub unreadable: Option<String>,
}

fn offset_of(next_page: &str) -> Option<u64> {
    let query = next_page.split_once('?')?.1;
    url::form_urlencoded::parse(query.as_bytes())
        .find(|(name, _)| name == "offset")
        .and_then(|(_, value)| value.parse().ok())
}

/// Percent-encodes a path segment, so that an identifier can't leave its place in the path.
fn encode_segment(value: &str) -> String {
    let mut out = String::with_capacity(value.len());
    for byte in value.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'~' => out.push(byte as char),
            b'.' if value != "." && value != ".." => out.push('.'),
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::operation::*;

    fn end(items: usize, after: Option<&str>, next_page: Option<&str>) -> PageEnd {
        PageEnd {
            items,
            after: after.map(Into::into),
            next_page: next_page.map(Into::into),
            unreadable: None,
        }
    }

    #[test]
    fn an_identifier_cannot_leave_its_path_segment() {
        let request = ApiRequest::new(&GET_PROJECT, &["../users/me?x=1"]);
        assert_eq!(request.path(), "/projects/..%2Fusers%2Fme%3Fx%3D1");
        assert_eq!(ApiRequest::new(&GET_PROJECT, &[".."]).path(), "/projects/%2E%2E");
    }

    #[test]
    fn a_cursor_is_followed_until_it_is_null_or_empty() {
        let first = ApiRequest::new(&LIST_USERS, &[]).query("limit", 500);
        let Next::Page(second) = first.next(&end(500, Some("c1"), None)) else {
            panic!("there is a next page")
        };
        assert_eq!(second.key(), "GET /users?limit=500&after=c1");
        assert!(matches!(second.next(&end(500, Some("c1"), None)), Next::Repeats));
        assert!(matches!(second.next(&end(500, Some(""), None)), Next::End));
        assert!(matches!(second.next(&end(500, None, None)), Next::End));
        assert!(
            matches!(second.next(&end(0, Some("c2"), None)), Next::Page(_)),
            "an empty page is not the end"
        );
    }

    #[test]
    fn a_next_page_url_gives_its_offset_and_never_its_host() {
        let first = ApiRequest::new(&GET_PROJECT_RUNS, &["p"]).query("limit", 100).query("offset", 0);
        let page = |next| match next {
            Next::Page(request) => request,
            other => panic!("there is a next page, not {other:?}"),
        };
        let next = page(first.next(&end(100, None, Some("https://evil.example/runs?limit=100&offset=100"))));
        assert_eq!(next.key(), "GET /projects/p/runs?limit=100&offset=100");
        let odd = page(next.next(&end(100, None, Some("/next"))));
        assert_eq!(odd.key(), "GET /projects/p/runs?limit=100&offset=200");
        assert!(matches!(next.next(&end(100, None, None)), Next::End));
        assert!(matches!(next.next(&end(0, None, Some("?offset=100"))), Next::Repeats));
    }
}
