//! Telling an API that is down from a request that never succeeds.

use super::error::Error;
use super::http::{Client, Response};
use super::operation;
use super::request::ApiRequest;

impl Client {
    /// Sends a request as [`send`](Self::send) does, and goes on through an outage of the whole API: a request
    /// that fails while nothing else is answered either says nothing about what it asks for. Ends when the API
    /// was silent for too long.
    ///
    /// # Errors
    /// Any of [`Error`]; [`Error::Silent`] if the outage lasts.
    pub async fn send_through_outages(&self, request: &ApiRequest) -> Result<Response, Error> {
        loop {
            let accepted = self.answers_accepted();
            let error = match self.send(request).await {
                Ok(response) => return Ok(response),
                Err(error) => error,
            };
            let transient = match &error {
                Error::Transport { .. } => true,
                Error::Api { status, .. } => matches!(status, 408 | 429) || *status >= 500,
                _ => false,
            };
            // Something that is whole and no answer of Hex's comes from a server that is up.
            let answers = self.answers_accepted() > accepted;
            if !transient || answers || !self.was_reached() || self.answers_a_probe().await {
                return Err(error);
            }
            self.check_alive()?;
            tokio::time::sleep(self.retry_policy().cap).await;
        }
    }

    /// Whether the API answers the one request that every crawl depends on, be it with a refusal.
    async fn answers_a_probe(&self) -> bool {
        let accepted = self.answers_accepted();
        let probe = ApiRequest::new(&operation::LIST_PROJECTS, &[]).query("limit", 1);
        self.send_once(&probe).await.is_ok() || self.answers_accepted() > accepted
    }
}
