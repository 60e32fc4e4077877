//! Handing something to another server than Hex: a webhook, a catalog.

use std::time::Duration;

use reqwest::{RequestBuilder, StatusCode};

use super::announced::retry_after;
use super::transport::HttpError;

/// Retry policy of a delivery.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Patience {
    /// Times that it is sent before it is given up.
    pub tries: u32,
    /// Wait after the first failure; it doubles with each.
    pub first_wait: Duration,
    /// The longest wait, however long the receiver asks for.
    pub longest_wait: Duration,
    /// Characters of a refusal that are kept.
    pub said: usize,
}

/// Reason for a failed delivery.
#[derive(Debug)]
pub(crate) enum Undelivered {
    /// The receiver refused it, with the beginning of its answer.
    Refused(StatusCode, String),
    /// No answer came.
    Unreachable(HttpError),
}

/// Sends a request until the receiver takes it. Busy receivers and broken connections are tried again, later and
/// later; a receiver's `Retry-After` is obeyed.
pub(crate) async fn deliver(
    request: impl Fn() -> RequestBuilder,
    patience: Patience,
) -> Result<(), Undelivered> {
    let mut wait = patience.first_wait;
    for attempt in 1..=patience.tries {
        let is_last = attempt == patience.tries;
        let pause = match request().send().await {
            Ok(answer) if answer.status().is_success() => return Ok(()),
            Ok(answer) => {
                let status = answer.status();
                let after = retry_after(answer.headers());
                let is_busy = status.is_server_error() || matches!(status.as_u16(), 408 | 425 | 429);
                if !is_busy || is_last {
                    let said = answer.text().await.unwrap_or_default();
                    return Err(Undelivered::Refused(status, said.chars().take(patience.said).collect()));
                }
                after.unwrap_or(wait)
            }
            Err(e) if is_last => return Err(Undelivered::Unreachable(e.into())),
            Err(_) => wait,
        };
        tokio::time::sleep(pause.min(patience.longest_wait)).await;
        wait *= 2;
    }
    unreachable!("the last try returns")
}
