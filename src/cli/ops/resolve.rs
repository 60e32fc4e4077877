//! Names as well as identifiers: a thing can be named by its identifier, by a unique name, or by its page.

use futures::TryStreamExt;
use serde_json::Value;
use url::Url;

use super::super::exit::{Code, Failure};
use crate::client::collections::ListCollections;
use crate::client::connections::ListDataConnections;
use crate::client::groups::ListGroups;
use crate::client::projects::ListProjects;
use crate::client::users::ListUsers;
use crate::client::{ApiRequest, Client, CollectionId, ConnectionId, GroupId, List, ProjectId, UserId};

/// Things that can be named.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// By title.
    Project,
    /// By name.
    Collection,
    /// By name.
    Group,
    /// By name.
    Connection,
    /// By email address, or name.
    User,
}

impl Kind {
    fn word(self) -> &'static str {
        match self {
            Kind::Project => "project",
            Kind::Collection => "collection",
            Kind::Group => "group",
            Kind::Connection => "data connection",
            Kind::User => "user",
        }
    }

    fn everything(self) -> ApiRequest {
        match self {
            Kind::Project => {
                ListProjects { sharing: Default::default(), ..ListProjects::everything() }.request()
            }
            Kind::Collection => ListCollections::default().request(),
            Kind::Group => ListGroups::default().request(),
            Kind::Connection => ListDataConnections::default().request(),
            Kind::User => ListUsers::default().request(),
        }
    }

    /// Fields that name it, the first of them for candidates.
    fn names(self) -> &'static [&'static str] {
        match self {
            Kind::Project => &["title"],
            Kind::User => &["email", "name"],
            _ => &["name"],
        }
    }
}

/// An identifier of something that can be named.
pub trait Named: From<String> {
    /// Kind of thing that it identifies.
    const KIND: Kind;
}

impl Named for ProjectId {
    const KIND: Kind = Kind::Project;
}

impl Named for CollectionId {
    const KIND: Kind = Kind::Collection;
}

impl Named for GroupId {
    const KIND: Kind = Kind::Group;
}

impl Named for ConnectionId {
    const KIND: Kind = Kind::Connection;
}

impl Named for UserId {
    const KIND: Kind = Kind::User;
}

/// The identifier of what `text` names.
///
/// # Errors
/// If nothing has the name, or more than one thing; then the candidates are listed.
pub async fn resolve<I: Named>(client: &Client, text: &str) -> Result<I, Failure> {
    resolve_kind(client, I::KIND, text).await.map(I::from)
}

async fn resolve_kind(client: &Client, kind: Kind, text: &str) -> Result<String, Failure> {
    let text = text.trim();
    if let Some(id) = uuid_in(text) {
        return Ok(id);
    }
    let items: Vec<Value> = client.list_json(kind.everything()).try_collect().await?;
    let has_name = |item: &&Value| {
        kind.names()
            .iter()
            .any(|field| item[field].as_str().is_some_and(|n| n.to_lowercase() == text.to_lowercase()))
    };
    let mut found: Vec<&Value> = items.iter().filter(has_name).collect();
    // The same in another case is a candidate only if nothing is the same to the letter.
    let exact = |item: &&&Value| kind.names().iter().any(|field| item[field] == text);
    if found.iter().filter(exact).count() == 1 {
        found.retain(|item| exact(&item));
    }
    match found.as_slice() {
        [one] => Ok(one["id"].as_str().unwrap_or_default().to_owned()),
        [] => Err(Failure::new(Code::Usage, format!("there is no {} named '{text}'", kind.word()))
            .next("Name it by identifier, by its whole name, or by the address of its page in Hex.")),
        several => {
            let candidates: Vec<String> = several.iter().map(|item| candidate(kind, item)).collect();
            Err(Failure::new(Code::Usage, format!("'{text}' names {} {}s", several.len(), kind.word()))
                .next(format!("Name one by its identifier: {}.", candidates.join("; "))))
        }
    }
}

fn candidate(kind: Kind, item: &Value) -> String {
    let id = item["id"].as_str().unwrap_or("");
    let more = match kind {
        Kind::Project => item["owner"]["email"].as_str(),
        Kind::User => item["email"].as_str(),
        Kind::Connection => item["type"].as_str(),
        _ => None,
    };
    more.map_or(id.to_owned(), |more| format!("{id} ({more})"))
}

/// An identifier, as it stands or at the end of a segment of a page's address.
fn uuid_in(text: &str) -> Option<String> {
    let is_uuid = |part: &str| uuid::Uuid::try_parse(part).is_ok() && part.len() == 36;
    if is_uuid(text) {
        return Some(text.to_lowercase());
    }
    let url = Url::parse(text).ok().filter(|url| matches!(url.scheme(), "http" | "https"))?;
    let segments: Vec<&str> = url.path_segments()?.collect();
    // `/ORG/hex/ID/...` and `/ORG/app/ID/...`: the organisation's identifier is one, too.
    let after = segments
        .iter()
        .position(|s| matches!(*s, "hex" | "app" | "collections" | "groups" | "data-connections" | "users"));
    let segment = segments.get(after? + 1)?;
    let tail = |length: usize| segment.get(segment.len().checked_sub(length)?..);
    let uuid = tail(36).filter(|tail| is_uuid(tail)).map(str::to_lowercase);
    uuid.or_else(|| {
        // The title stands before it, and a dash between them.
        let before = &segment[..segment.len().checked_sub(BASE62_LENGTH)?];
        (before.is_empty() || before.ends_with('-')).then(|| uuid_of_base62(tail(BASE62_LENGTH)?)).flatten()
    })
}

/// Length of an identifier in base62.
const BASE62_LENGTH: usize = 22;

/// The identifier whose 128 bits these are, in the base62 that Hex shows in the addresses of pages.
fn uuid_of_base62(text: &str) -> Option<String> {
    const DIGITS: &[u8] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    let bits = text.bytes().try_fold(0u128, |bits, byte| {
        let digit = DIGITS.iter().position(|digit| *digit == byte)?;
        bits.checked_mul(62)?.checked_add(digit as u128)
    })?;
    let id = uuid::Uuid::from_u128(bits);
    // Twenty-two letters of a title are hardly ever a well-formed identifier.
    let well_formed = id.get_variant() == uuid::Variant::RFC4122 && (1..=8).contains(&id.get_version_num());
    well_formed.then(|| id.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identifier_is_found_as_it_is_or_in_a_page_s_address() {
        let id = "0c9f822b-9b5c-4540-a8ae-8f93ce36bc17";
        let org = "11111111-2222-4333-8444-555555555555";
        for text in [
            id.to_owned(),
            id.to_uppercase(),
            format!("https://app.hex.tech/{org}/hex/{id}/draft/logic"),
            format!("https://acme.hex.tech/{org}/app/Churn-by-plan-{id}/latest?tab=1"),
        ] {
            assert_eq!(uuid_in(&text).as_deref(), Some(id), "{text}");
        }
        for text in [
            "https://app.hex.tech/ORG/hex/Title-032qH20mWsahimTong8CdU/draft/logic",
            "https://app.hex.tech/ORG/app/032qH20mWsahimTong8CdU/latest",
            "https://app.hex.tech/ORG/hex/A-B-032qH20mWsahimTong8CdU?x=1",
        ] {
            assert_eq!(uuid_in(text).as_deref(), Some("019d38eb-c383-799d-ba9e-4ca2a41c6800"), "{text}");
        }
        for text in [
            "https://app.hex.tech/ORG/hex/Title-zzzzzzzzzzzzzzzzzzzzzz",
            "https://app.hex.tech/ORG/hex/Title032qH20mWsahimTong8CdU",
            "https://app.hex.tech/ORG/hex/Title-032qH20mWsahimTong8Cd",
            "https://app.hex.tech/ORG/hex/Überblick-032qH20mWsahimTong8C_U",
        ] {
            assert_eq!(uuid_in(text), None, "{text}");
        }
        for text in
            ["Churn", "https://app.hex.tech/", &format!("https://app.hex.tech/{org}/home"), "0c9f822b"]
        {
            assert_eq!(uuid_in(text), None, "{text}");
        }
    }
}
