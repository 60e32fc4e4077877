//! Who the token acts as, and which workspace it reads.

use serde_json::Value;

use super::ask::is_token_good;
use super::{Error, Source};
use crate::client::operation::ME;
use crate::client::projects::ListProjects;
use crate::client::users::ActingAs;
use crate::client::{self, ApiRequest, Client, List};

/// Attempts at `Me`: it was seen to answer 500 to workspace tokens for good (hex-api.md), and nothing depends on
/// it alone.
const ATTEMPTS: u32 = 3;

/// Who the token acts as, and which workspace it reads, as far as `Me` says so.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Identity {
    /// Organisation.
    pub org_id: Option<String>,
    /// User that the token acts as.
    pub acting_as: ActingAs,
    /// Requests spent on it.
    pub requests: u64,
    /// Reason that it is unknown.
    pub failure: Option<String>,
}

/// Asks `Me`, always live: an answer of another night may be about another token.
///
/// # Errors
/// [`Error::Refused`] if the API doesn't take the token. An unreadable `Me` isn't an error.
pub async fn identify(source: &Source) -> Result<Identity, Error> {
    let Source::Api(client) = source else { return Ok(Identity::default()) };
    let before = client.requests_sent();
    let request = ApiRequest::new(&ME, &[]).at_most(ATTEMPTS);
    let result = client.send(&request).await;
    let mut identity = match result {
        Ok(response) => read(&response.body),
        Err(error @ client::Error::Api { status: 401, .. }) => match is_token_good(client, &request).await? {
            true => Identity { failure: Some(error.to_string()), ..Identity::default() },
            false => return Err(Error::Refused(error)),
        },
        // The list of projects tells a host that isn't Hex from one whose Me fails.
        Err(error @ (client::Error::Transport { .. } | client::Error::Malformed { .. })) => {
            if !answers(client).await {
                return Err(Error::Api(error));
            }
            Identity { failure: Some(error.to_string()), ..Identity::default() }
        }
        Err(error @ client::Error::Api { .. }) => {
            Identity { failure: Some(error.to_string()), ..Identity::default() }
        }
        Err(error) => return Err(Error::Api(error)),
    };
    identity.requests = client.requests_sent() - before;
    Ok(identity)
}

/// Whether the server says anything to the list of projects that Hex could say.
async fn answers(client: &Client) -> bool {
    let probe = ListProjects { page_size: Some(1), ..ListProjects::default() }.request().at_most(1);
    matches!(client.send(&probe).await, Ok(_) | Err(client::Error::Api { .. }))
}

/// Reads an answer of `Me` leniently. Without any user it is a workspace token's.
fn read(body: &[u8]) -> Identity {
    let me: Value = serde_json::from_slice(body).unwrap_or_default();
    let text = |path: &str| match me.pointer(path) {
        Some(Value::String(text)) if !text.is_empty() => Some(text.clone()),
        Some(Value::Number(number)) => Some(number.to_string()),
        _ => None,
    };
    let org_id = text("/org/id");
    let acting_as = match (text("/id"), text("/email")) {
        (None, None) if org_id.is_none() => ActingAs::Unknown,
        (None, None) => ActingAs::WorkspaceToken,
        (id, email) => ActingAs::User { id, email },
    };
    let failure = org_id.is_none().then(|| "Me names no organisation".to_owned());
    Identity { org_id, acting_as, requests: 0, failure }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn me_is_read_leniently() {
        let user = |id: Option<&str>, email: Option<&str>| ActingAs::User {
            id: id.map(Into::into),
            email: email.map(Into::into),
        };
        for (body, org, acting_as) in [
            (r#"{"id":"u","email":"a@b","org":{"id":"o"}}"#, Some("o"), user(Some("u"), Some("a@b"))),
            (r#"{"org":{"id":"o"},"token":{}}"#, Some("o"), ActingAs::WorkspaceToken),
            (r#"{"id":null,"org":{"id":7}}"#, Some("7"), ActingAs::WorkspaceToken),
            (r#"{"email":"a@b","org":null}"#, None, user(None, Some("a@b"))),
            (r#"[]"#, None, ActingAs::Unknown),
            (r#"{"org":"x"}"#, None, ActingAs::Unknown),
            ("", None, ActingAs::Unknown),
        ] {
            let identity = read(body.as_bytes());
            assert_eq!((identity.org_id.as_deref(), &identity.acting_as), (org, &acting_as), "{body}");
            assert_eq!(identity.failure.is_some(), org.is_none(), "{body}");
        }
    }
}
