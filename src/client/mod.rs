//! A typed client of the Hex API.
//!
//! One module per resource holds its types, its request parameters and the client's methods for it. The
//! client paces its requests, repeats failed reads and never repeats a write; it knows nothing of tables.
//!
//! ```no_run
//! # async fn example() -> Result<(), hexport::client::Error> {
//! use hexport::client::{BaseUrl, Client, ClientConfig, Token};
//!
//! let token = Token::new(&std::env::var("HEX_API_TOKEN").unwrap_or_default())?;
//! let client = Client::new(ClientConfig::new(BaseUrl::default(), token))?;
//! println!("{:?}", client.me().await?);
//! # Ok(()) }
//! ```

mod announced;
mod call;
pub(crate) mod config;
#[cfg(feature = "lake")]
pub(crate) mod deliver;
mod error;
mod gauge;
pub(crate) mod http;
mod id;
mod json;
pub mod judge;
pub mod limits;
pub mod operation;
mod outage;
mod pace;
mod page;
mod request;
pub(crate) mod transport;
mod vitals;

pub mod cells;
pub mod collections;
pub mod connections;
pub mod groups;
pub mod guides;
pub mod project_file;
pub mod projects;
pub mod runs;
pub mod threads;
pub mod users;

pub use announced::{LimitHeaders, Policy};
pub use call::Call;
pub use config::{BaseUrl, DEFAULT_BASE_URL, Token, TokenFlaw, UrlFlaw};
pub use error::{ApiErrorBody, Error, TransportKind};
pub use gauge::Window;
pub use http::{Client, ClientConfig, ClientEvent, Observer, Response, RetryPolicy};
pub use id::{CellId, CollectionId, ConnectionId, GroupId, ProjectId, RunId, UserId};
pub use json::{Repair, Repairs};
pub use judge::{Verdict, identifier, judge};
pub use limits::LimitGroup;
pub use operation::Operation;
pub use pace::{Counter, Figures, GroupPace, Pace, PaceChange, Pacer};
pub use page::{List, Page, PageItems, split_page};
pub use request::{ApiRequest, Next, PageEnd};
pub use transport::{HttpError, Transport, WireAnswer, WireFailure};

/// Sort direction of a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SortDirection {
    /// Ascending.
    Asc,
    /// Descending.
    Desc,
}

impl std::fmt::Display for SortDirection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            SortDirection::Asc => "ASC",
            SortDirection::Desc => "DESC",
        })
    }
}
