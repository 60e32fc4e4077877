//! Where the API is and who asks: base URL and token.

use std::fmt;
use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use url::{Host, Url};

use super::error::Error;
use super::transport::HttpError;

/// Base URL of Hex's multi-tenant service.
pub const DEFAULT_BASE_URL: &str = "https://app.hex.tech/api/v1";

/// Flaws of a token, or its absence.
#[derive(Debug, thiserror::Error)]
pub enum TokenFlaw {
    /// Nobody gave one.
    #[error("no API token")]
    Missing,
    /// It is nothing but white space.
    #[error("the token is empty")]
    Empty,
    /// No header can hold it.
    #[error("the token is malformed: it contains white space or non-ASCII characters")]
    Malformed,
    /// Its file can't be read.
    #[error("the token file {} can't be read: {source}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Error of the operating system.
        source: io::Error,
    },
    /// Its file doesn't hold a valid token.
    #[error("token file {}: {source}", path.display())]
    InFile {
        /// The file.
        path: PathBuf,
        /// The flaw.
        source: Box<Error>,
    },
}

/// Flaws of a server's address.
#[derive(Debug, thiserror::Error)]
pub enum UrlFlaw {
    /// It can't be parsed.
    #[error("is not a URL: {0}")]
    Syntax(#[from] url::ParseError),
    /// It is the URL of something else.
    #[error("is not an http or https URL")]
    Scheme,
    /// Credentials in URLs end up in logs.
    #[error("holds credentials; put {0}")]
    Credentials(&'static str),
    /// There is more behind its path.
    #[error("holds a query or a fragment")]
    Query,
    /// A secret would travel in the open.
    #[error("is plain http to another machine: {0} would be sent unencrypted")]
    Plain(&'static str),
    /// No HTTP client can be set up for it.
    #[error("can't be used: {0}")]
    Client(#[source] HttpError),
}

/// Parses the address of a server.
pub(crate) fn server_url(text: &str) -> Result<Url, UrlFlaw> {
    let url = Url::parse(text.trim())?;
    match matches!(url.scheme(), "http" | "https") && url.host().is_some() {
        true => Ok(url),
        false => Err(UrlFlaw::Scheme),
    }
}

/// Refuses a URL with a user or a password in it; `instead` says where these belong.
pub(crate) fn no_credentials(url: &Url, instead: &'static str) -> Result<(), UrlFlaw> {
    match url.username().is_empty() && url.password().is_none() {
        true => Ok(()),
        false => Err(UrlFlaw::Credentials(instead)),
    }
}

/// Refuses a URL to which a secret would travel without TLS over a network.
pub(crate) fn encrypted(url: &Url, secret: &'static str) -> Result<(), UrlFlaw> {
    match url.scheme() == "http" && !is_loopback(url) {
        true => Err(UrlFlaw::Plain(secret)),
        false => Ok(()),
    }
}

/// A bearer token. `Debug` and `Display` never show it.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(String);

impl Token {
    /// Takes a token, trimmed of surrounding white space.
    ///
    /// # Errors
    /// [`Error::Token`] if nothing is left, or if it holds white space or characters that a header can't.
    pub fn new(text: &str) -> Result<Self, Error> {
        let text = text.trim();
        if text.is_empty() {
            return Err(TokenFlaw::Empty.into());
        }
        if !text.bytes().all(|b| b.is_ascii_graphic()) {
            return Err(TokenFlaw::Malformed.into());
        }
        Ok(Self(text.to_owned()))
    }

    /// Reads a token from a file.
    ///
    /// # Errors
    /// [`Error::Token`] if the file can't be read or holds no token.
    pub fn from_file(path: &Path) -> Result<Self, Error> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| TokenFlaw::Unreadable { path: path.to_owned(), source })?;
        Self::new(&text).map_err(|e| TokenFlaw::InFile { path: path.to_owned(), source: Box::new(e) }.into())
    }

    /// Puts it into a request's header: the one place where it leaves here.
    pub(crate) fn on(&self, request: reqwest::RequestBuilder) -> reqwest::RequestBuilder {
        request.bearer_auth(&self.0)
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(hidden)")
    }
}

/// The API's base URL, checked: TLS, or a loopback address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BaseUrl(Url);

impl BaseUrl {
    /// Takes a base URL. A bare host gets `/api/v1`; `/api` gets `/v1`; any other path is kept.
    ///
    /// # Errors
    /// [`Error::BaseUrl`] for what is not an `http(s)` URL, holds credentials, a query or a fragment, or is
    /// plain `http` to a host that is not loopback.
    pub fn new(text: &str) -> Result<Self, Error> {
        let bad = |source| Error::BaseUrl { url: redact(text), source };
        let mut url = server_url(text).map_err(bad)?;
        no_credentials(&url, "the token in HEX_API_TOKEN").map_err(bad)?;
        if url.query().is_some() || url.fragment().is_some() {
            return Err(bad(UrlFlaw::Query));
        }
        encrypted(&url, "the token").map_err(bad)?;
        let path = url.path().trim_end_matches('/').to_owned();
        let path = match path.as_str() {
            "" => "/api/v1".to_owned(),
            "/api" => "/api/v1".to_owned(),
            _ => path,
        };
        url.set_path(&path);
        Ok(Self(url))
    }

    /// The URL, without a trailing slash.
    pub fn as_str(&self) -> &str {
        self.0.as_str().trim_end_matches('/')
    }

    /// The URL, taken apart.
    pub(super) fn url(&self) -> &Url {
        &self.0
    }

    /// Scheme, host and port: where a project's pages live.
    pub fn origin(&self) -> String {
        self.0.origin().ascii_serialization()
    }

    /// The URL of a path below the API root.
    pub(super) fn join(&self, path: &str) -> String {
        format!("{}{path}", self.as_str())
    }
}

impl Default for BaseUrl {
    fn default() -> Self {
        Self::new(DEFAULT_BASE_URL).expect("the default base URL is valid")
    }
}

impl fmt::Display for BaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Whether a URL is of this machine.
pub(crate) fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Ipv4(ip)) => IpAddr::V4(ip).is_loopback(),
        Some(Host::Ipv6(ip)) => IpAddr::V6(ip).is_loopback(),
        Some(Host::Domain(name)) => name.trim_end_matches('.').eq_ignore_ascii_case("localhost"),
        None => false,
    }
}

/// A URL as it may be shown: what stands before an `@` or after a `?` is cut, a token may be in it.
pub(super) fn redact(text: &str) -> String {
    let text = text.trim();
    let text = text.split(['?', '#']).next().unwrap_or_default();
    match text.rsplit_once('@') {
        Some((_, host)) => format!("'…@{host}'"),
        None => format!("'{text}'"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_gets_the_api_path_and_a_full_url_is_kept() {
        for (given, used) in [
            ("https://acme.hex.tech", "https://acme.hex.tech/api/v1"),
            ("https://acme.hex.tech/", "https://acme.hex.tech/api/v1"),
            ("https://acme.hex.tech/api", "https://acme.hex.tech/api/v1"),
            ("https://acme.hex.tech/api/v1/", "https://acme.hex.tech/api/v1"),
            ("http://127.0.0.1:8080/v1", "http://127.0.0.1:8080/v1"),
            ("http://[::1]:8080", "http://[::1]:8080/api/v1"),
        ] {
            assert_eq!(BaseUrl::new(given).unwrap().as_str(), used, "{given}");
        }
    }

    #[test]
    fn a_token_never_travels_in_the_open() {
        for url in [
            "http://app.hex.tech",
            "http://10.0.0.1/api/v1",
            "http://localhost.example",
            "ftp://app.hex.tech",
            "app.hex.tech",
        ] {
            assert!(BaseUrl::new(url).is_err(), "{url}");
        }
        let error = BaseUrl::new("https://user:hxtp_secret@app.hex.tech").unwrap_err().to_string();
        assert!(!error.contains("hxtp_secret"), "{error}");
        let error = BaseUrl::new("https://app.hex.tech/?token=hxtp_secret").unwrap_err().to_string();
        assert!(!error.contains("hxtp_secret"), "{error}");
    }

    #[test]
    fn a_token_is_trimmed_checked_and_never_shown() {
        assert_eq!(Token::new(" hxtp_abc\n").unwrap().0, "hxtp_abc");
        assert!(Token::new("  ").is_err());
        assert!(Token::new("hxtp_a b").is_err());
        assert!(Token::new("hxtp_ä").is_err());
        assert_eq!(format!("{:?}", Token::new("hxtp_abc").unwrap()), "Token(hidden)");
    }
}
