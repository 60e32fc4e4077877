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
        let mut accepted = self.answers_accepted();
        loop {
            let (error, before_last) = match self.send_counting(request).await {
                Ok(response) => return Ok(response),
                Err(failure) => failure,
            };
            let transient = match &error {
                Error::Transport { .. } => true,
                Error::Api { status, .. } => matches!(status, 408 | 429) || *status >= 500,
                _ => false,
            };
            // An attempt that failed though something had been answered before it: the API is up, and it is
            // the request that fails. An answer after the last attempt says less, for an outage may have ended
            // in between.
            if !transient || before_last > accepted || !self.was_reached() {
                return Err(error);
            }
            if !self.answers_a_probe().await {
                self.check_alive()?;
                tokio::time::sleep(self.retry_policy().cap).await;
                accepted = self.answers_accepted();
            }
        }
    }

    /// Whether the API answers the one request that every crawl depends on, be it with a refusal.
    async fn answers_a_probe(&self) -> bool {
        let accepted = self.answers_accepted();
        let probe = ApiRequest::new(&operation::LIST_PROJECTS, &[]).query("limit", 1);
        self.send_once(&probe).await.is_ok() || self.answers_accepted() > accepted
    }
}
