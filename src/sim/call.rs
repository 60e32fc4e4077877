//! A request taken apart, and what is answered to it.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::client::users::User;

use super::faults::{Fate, PageFault};
use super::server::SimToken;
use super::world::World;

/// The two forms of error answers.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Style {
    /// `{reason, details?, traceId?}`.
    Older,
    /// `{message, code, issues?}`.
    Newer,
}

/// The body of an answer.
pub(super) struct Content {
    pub(super) kind: &'static str,
    pub(super) text: Bytes,
}

impl Content {
    pub(super) fn json(value: &Value) -> Self {
        let text = serde_json::to_vec(value).unwrap_or_default().into();
        Self { kind: "application/json; charset=utf-8", text }
    }
}

pub(crate) struct Failure {
    pub(super) status: u16,
    pub(super) reason: String,
    pub(super) details: Option<String>,
    pub(super) body: Option<Value>,
    pub(super) plain: Option<(&'static str, &'static str)>,
}

impl Failure {
    pub(super) fn new(status: u16, reason: impl Into<String>) -> Self {
        Self { status, reason: reason.into(), details: None, body: None, plain: None }
    }

    /// 401 as Hex gives it: a bare text.
    pub(super) fn unauthorized() -> Self {
        Self { plain: Some(("text/plain; charset=utf-8", "Unauthorized")), ..Self::new(401, "Unauthorized") }
    }

    /// A page from something in between.
    pub(super) fn html() -> Self {
        let page = "<!doctype html><html><body><h1>Sign in</h1></body></html>";
        Self { plain: Some(("text/html; charset=utf-8", page)), ..Self::new(200, "Sign in") }
    }

    /// The body in the operation's form.
    pub(super) fn content(self, style: Style, trace: &str) -> Content {
        match self.plain {
            Some((kind, text)) => Content { kind, text: Bytes::from_static(text.as_bytes()) },
            None => Content::json(&failure_body(self, style, trace)),
        }
    }

    pub(super) fn details(mut self, details: impl Into<String>) -> Self {
        self.details = Some(details.into());
        self
    }
}

/// Status and body, or a refusal.
pub(crate) type Answer = Result<(u16, Option<Value>), Failure>;

/// A request taken apart.
pub(crate) struct Call<'a> {
    /// Values of the path's placeholders.
    pub(super) args: BTreeMap<&'static str, String>,
    pub(super) query: Vec<(String, String)>,
    pub(super) body: &'a [u8],
    /// Whether `stateEvents` of a single run are asked for.
    pub(super) expanded_stats: bool,
    /// Type of the body.
    pub(super) content_type: &'a str,
    /// Root of the server as the client names it.
    pub(super) base: String,
    pub(super) trace: String,
    pub(super) fate: Fate,
    /// Pagination faults.
    pub(super) paging: Option<PageFault>,
    /// Most items on a page.
    pub(super) page_cap: usize,
    pub(super) token: Arc<SimToken>,
    /// Status for parameters that don't fit: 422 where the description has it, else 400.
    pub(super) invalid: u16,
}

impl Call<'_> {
    /// Whether it asks for a page after a list's first.
    pub(super) fn is_later_page(&self) -> bool {
        self.get("after").is_some() || self.get("offset").is_some_and(|offset| offset != "0")
    }

    /// Whether it is about this entity: in its path, its query or its body.
    pub(super) fn names(&self, entity: &str) -> bool {
        let in_body = || {
            let body = self.json().unwrap_or_default();
            body.get("projectId").and_then(Value::as_str) == Some(entity)
        };
        self.args.values().any(|value| value == entity)
            || self.query.iter().any(|(_, value)| value == entity)
            || in_body()
    }

    /// The place of a project that the token sees.
    pub(super) fn project(&self, world: &World, id: &str) -> Result<usize, Failure> {
        let at = world.find_project(id).filter(|at| self.token.sees(&world.projects[*at].project.id));
        at.ok_or_else(|| Failure::new(404, "Project not found"))
    }

    /// The user whom the token acts as.
    pub(super) fn acting_user<'w>(&self, world: &'w World) -> Option<&'w User> {
        match &self.token.user {
            Some(email) => world.users.iter().find(|user| user.email == *email),
            None => world.users.first(),
        }
    }

    /// The value of a placeholder of the path.
    pub(super) fn arg(&self, name: &str) -> &str {
        self.args.get(name).map_or("", String::as_str)
    }

    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.query
            .iter()
            .find(|(n, _)| n == name)
            .map(|(_, v)| v.as_str())
            .filter(|v| !v.is_empty() && *v != "null")
    }

    /// Values of an array parameter, in the forms that clients send: repeated, `name[]`, `name[0]`.
    pub(super) fn array(&self, name: &str) -> Vec<&str> {
        let matches = |n: &str| n == name || (n.starts_with(name) && n[name.len()..].starts_with('['));
        self.query.iter().filter(|(n, v)| matches(n) && !v.is_empty()).map(|(_, v)| v.as_str()).collect()
    }

    pub(super) fn flag(&self, name: &str) -> Result<bool, Failure> {
        match self.get(name) {
            None => Ok(false),
            Some(v) if v.eq_ignore_ascii_case("true") => Ok(true),
            Some(v) if v.eq_ignore_ascii_case("false") => Ok(false),
            Some(v) => Err(self.bad(name, &format!("'{v}' is not a boolean"))),
        }
    }

    pub(super) fn number(
        &self,
        name: &str,
        default: usize,
        min: usize,
        max: usize,
    ) -> Result<usize, Failure> {
        let Some(text) = self.get(name) else {
            return Ok(default);
        };
        let fits = text.parse::<usize>().ok().filter(|n| (min..=max).contains(n));
        fits.ok_or_else(|| self.bad(name, &format!("'{text}' is not a whole number from {min} to {max}")))
    }

    pub(super) fn one_of<'v>(&self, name: &str, allowed: &[&'v str]) -> Result<Option<&'v str>, Failure> {
        let Some(text) = self.get(name) else {
            return Ok(None);
        };
        let known = allowed.iter().find(|a| **a == text).copied();
        known
            .map(Some)
            .ok_or_else(|| self.bad(name, &format!("'{text}' is not one of {}", allowed.join(", "))))
    }

    pub(super) fn bad(&self, name: &str, what: &str) -> Failure {
        Failure::new(self.invalid, "Invalid input data").details(format!("{name}: {what}"))
    }

    pub(super) fn json(&self) -> Result<Map<String, Value>, Failure> {
        if self.body.is_empty() {
            return Ok(Map::new());
        }
        match serde_json::from_slice::<Value>(self.body) {
            Ok(Value::Object(map)) => Ok(map),
            _ => Err(Failure::new(400, "The body is not a JSON object")),
        }
    }
}

fn failure_body(failure: Failure, style: Style, trace: &str) -> Value {
    let Failure { status, reason, details, body, .. } = failure;
    if let Some(body) = body {
        return body;
    }
    match style {
        Style::Older => {
            let mut value = json!({"reason": reason, "traceId": trace});
            if let Some(details) = details {
                value["details"] = json!(details);
            }
            value
        }
        Style::Newer => {
            let code = match status {
                400 => "BAD_REQUEST",
                401 => "UNAUTHORIZED",
                403 => "FORBIDDEN",
                404 => "NOT_FOUND",
                429 => "TOO_MANY_REQUESTS",
                _ => "INTERNAL_SERVER_ERROR",
            };
            let mut value = json!({"message": reason, "code": code});
            if let Some(details) = details {
                value["issues"] = json!([{"message": details}]);
            }
            value
        }
    }
}

pub(super) fn ok(value: &impl Serialize) -> Answer {
    Ok((200, Some(json!(value))))
}

pub(super) fn found(value: Option<&impl Serialize>, what: &str) -> Answer {
    match value {
        Some(value) => ok(value),
        None => Err(Failure::new(404, format!("No such {what}"))),
    }
}

pub(super) fn uuid(call: &Call<'_>, text: &str, name: &str) -> Result<(), Failure> {
    let fits = text.len() == 36
        && text
            .bytes()
            .enumerate()
            .all(|(i, b)| if [8, 13, 18, 23].contains(&i) { b == b'-' } else { b.is_ascii_hexdigit() });
    if fits { Ok(()) } else { Err(call.bad(name, "is not a UUID")) }
}
