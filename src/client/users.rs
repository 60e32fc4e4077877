//! Users, and who the token acts as.

use serde::{Deserialize, Serialize};

use super::operation::{DEACTIVATE_USER, LIST_USERS, ME};
use super::{ApiRequest, Call, Client, GroupId, List, SortDirection, UserId};

/// A user of the workspace.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct User {
    /// Identifier (UUID).
    pub id: UserId,
    /// Name.
    pub name: Option<String>,
    /// Email address.
    pub email: String,
    /// `ADMIN`, `MANAGER`, `EDITOR`, `EXPLORER`, `MEMBER`, `GUEST`, `EMBEDDED_USER`, `ANONYMOUS`.
    pub role: String,
    /// Last login (ISO 8601).
    pub last_login_date: Option<String>,
}

/// Who the token acts as. A workspace token names the organisation only.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Me {
    /// User's identifier.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<UserId>,
    /// User's name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// User's email address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub email: Option<String>,
    /// User's role.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub role: Option<String>,
    /// User's last login (ISO 8601).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_login_date: Option<String>,
    /// The organisation.
    pub org: Org,
    /// The token.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token: Option<TokenInfo>,
}

/// An organisation.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Org {
    /// Identifier (UUID).
    pub id: String,
}

/// A token's user, organisation and expiry.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct TokenInfo {
    /// Expiry, in seconds since 1970; `None` if it doesn't expire.
    pub exp: Option<f64>,
}

/// Who a token acts as: what it can see depends on that, so a snapshot records it.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum ActingAs {
    /// A person: the token is a personal one.
    User {
        /// Identifier of the user.
        id: Option<String>,
        /// Email address.
        email: Option<String>,
    },
    /// A workspace token: `Me` leaves the user out.
    WorkspaceToken,
    /// `Me` could not be read.
    #[default]
    Unknown,
}

impl ActingAs {
    /// Whether both are known and are the same.
    pub fn is(&self, other: &Self) -> bool {
        *self != ActingAs::Unknown && self == other
    }
}

/// A user is who has the identifier: addresses change, and may be pseudonyms in a lake.
impl PartialEq for ActingAs {
    fn eq(&self, other: &Self) -> bool {
        use ActingAs::{Unknown, User, WorkspaceToken};
        match (self, other) {
            (User { id: Some(a), .. }, User { id: Some(b), .. }) => a == b,
            (User { id: None, email: a }, User { id: None, email: b }) => a == b,
            (WorkspaceToken, WorkspaceToken) | (Unknown, Unknown) => true,
            _ => false,
        }
    }
}

impl Eq for ActingAs {}

impl std::fmt::Display for ActingAs {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            ActingAs::User { email: Some(email), .. } => f.write_str(email),
            ActingAs::User { id: Some(id), .. } => write!(f, "user {id}"),
            ActingAs::User { .. } | ActingAs::Unknown => f.write_str("an unknown user"),
            ActingAs::WorkspaceToken => f.write_str("a workspace token"),
        }
    }
}

/// Sort keys of a list of users.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UserSort {
    /// Name.
    Name,
    /// Email address.
    Email,
}

impl std::fmt::Display for UserSort {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            UserSort::Name => "NAME",
            UserSort::Email => "EMAIL",
        })
    }
}

/// Parameters of `ListUsers`.
#[derive(Debug, Clone, Default)]
pub struct ListUsers {
    /// Only members of this group.
    pub group_id: Option<GroupId>,
    /// Only these users.
    pub user_ids: Vec<UserId>,
    /// Sorted by; name by default.
    pub sort_by: Option<UserSort>,
    /// Sort direction; ascending by default.
    pub sort_direction: Option<SortDirection>,
    /// Users a page, 1 to 500; 500 by default.
    pub page_size: Option<u32>,
}

impl List for ListUsers {
    type Item = User;

    fn request(&self) -> ApiRequest {
        ApiRequest::new(&LIST_USERS, &[])
            .query_opt("groupId", self.group_id.as_ref())
            .query_opt("userIds", (!self.user_ids.is_empty()).then(|| self.user_ids.join(",")))
            .query_opt("sortBy", self.sort_by)
            .query_opt("sortDirection", self.sort_direction)
            .query("limit", self.page_size.unwrap_or(500))
    }
}

impl Client {
    /// Who the token acts as (`Me`).
    ///
    /// ```
    /// # hexport::sim::try_out(async |client, world| {
    /// let me = client.me().await?;
    /// println!("{:?} of {}", me.email, me.org.id);
    /// # Ok(()) });
    /// ```
    ///
    /// # Errors
    /// [`Error::Api`](super::Error::Api) with 401 for a token that is unknown or expired; any other of [`Error`](super::Error).
    pub fn me(&self) -> Call<Me> {
        self.call(ApiRequest::new(&ME, &[]))
    }

    /// Deactivates a user (`DeactivateUser`). Sent once.
    ///
    /// ```
    /// # hexport::sim::try_out(async |client, world| {
    /// client.deactivate_user(&world.users[3].id).await?;
    /// # Ok(()) });
    /// ```
    ///
    /// # Errors
    /// [`Error::Api`](super::Error::Api) with 403 for a token that isn't an admin's; any other of [`Error`](super::Error).
    pub fn deactivate_user(&self, user_id: &UserId) -> Call<serde_json::Value> {
        self.call(ApiRequest::new(&DEACTIVATE_USER, &[user_id]))
    }
}
