//! Sending messages: webhooks over HTTP, with retries and at the pace that receivers allow.

use std::time::Duration;

use reqwest::StatusCode;
use reqwest::header::CONTENT_TYPE;
use url::Url;

use super::{Channel, Error, Mail, Message, To, email};
use crate::client::config::{UrlFlaw, encrypted, server_url};
use crate::client::deliver::{self, Patience, deliver};
use crate::client::transport::{HttpError, plain};

/// Slack accepts one message per second, Teams four.
const BETWEEN: Duration = Duration::from_millis(1100);
/// Retry policy for receivers.
const PATIENCE: Patience = Patience {
    tries: 5,
    first_wait: Duration::from_millis(500),
    longest_wait: Duration::from_secs(60),
    said: 200,
};

/// Reasons for not delivering a message. They name the host only: the rest of a webhook's address is its secret.
#[derive(Debug, thiserror::Error)]
pub enum Undelivered {
    /// The receiver refused it.
    #[error("{host} answered {status}: {said}")]
    Refused {
        /// Host of the receiver.
        host: String,
        /// HTTP status.
        status: StatusCode,
        /// The beginning of its answer.
        said: String,
    },
    /// No answer came.
    #[error("{host} can't be reached: {source}")]
    Unreachable {
        /// Host of the receiver.
        host: String,
        /// The HTTP client's error.
        source: HttpError,
    },
    /// The address is invalid.
    #[error("the address {0}")]
    Address(#[source] UrlFlaw),
    /// The mail server refused it, or could not be reached.
    #[error(transparent)]
    Mail(#[from] email::Error),
}

/// A webhook's address. The error doesn't repeat it.
pub(super) fn check(address: &str) -> Result<Url, UrlFlaw> {
    let url = server_url(address)?;
    encrypted(&url, "it")?;
    Ok(url)
}

/// Sends messages to an address, one after the other.
pub(super) async fn all(channel: &Channel, messages: &[Message], mail: &Mail) -> Result<(), Error> {
    let to = channel.to.name();
    for (i, message) in messages.iter().enumerate() {
        if i > 0 && channel.to != To::Email {
            tokio::time::sleep(BETWEEN).await;
        }
        let sent = match message {
            Message::Json(body) => post(&channel.address, &body.to_string()).await,
            Message::Mail { subject, text } => {
                email::send(mail, &channel.address, subject, text).await.map_err(Undelivered::from)
            }
        };
        sent.map_err(|source| Error::Undelivered { to, source })?;
    }
    Ok(())
}

async fn post(address: &str, body: &str) -> Result<(), Undelivered> {
    let url = check(address).map_err(Undelivered::Address)?;
    let host = url.host_str().unwrap_or_default().to_owned();
    let http = plain(&url, Duration::from_secs(20))
        .map_err(|e| Undelivered::Unreachable { host: host.clone(), source: e.into() })?;
    let request = || http.post(url.clone()).header(CONTENT_TYPE, "application/json").body(body.to_owned());
    deliver(request, PATIENCE).await.map_err(|failure| match failure {
        deliver::Undelivered::Refused(status, said) => Undelivered::Refused { host, status, said },
        deliver::Undelivered::Unreachable(source) => Undelivered::Unreachable { host, source },
    })
}
