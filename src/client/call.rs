//! An API call that hasn't been sent yet.

use std::future::IntoFuture;

use futures::FutureExt;
use futures::future::BoxFuture;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::page::decode;
use super::{ApiRequest, Client, Error, Response};

/// A call that is made, and not sent yet. Awaiting it sends it and decodes the answer; [`Call::request`] shows what
/// would be sent, and [`Call::json`] sends it for the answer as the server gives it.
///
/// ```
/// # hexport::sim::try_out(async |client, world| {
/// let call = client.create_collection("Board decks", None);
/// assert_eq!(call.request().key(), "POST /collections");
/// assert_eq!(call.await?.name, "Board decks");
/// # Ok(()) });
/// ```
#[must_use = "a call is sent when it is awaited"]
pub struct Call<T> {
    client: Client,
    request: ApiRequest,
    decode: fn(&ApiRequest, &Response) -> Result<T, Error>,
}

impl<T> std::fmt::Debug for Call<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Call").field(&self.request).finish()
    }
}

impl<T> Call<T> {
    /// The request that the call sends.
    pub fn request(&self) -> &ApiRequest {
        &self.request
    }

    /// Sends the call and gives the answer as the server sent it; null where it sent none.
    ///
    /// # Errors
    /// Any of [`Error`].
    pub async fn json(&self) -> Result<Value, Error> {
        self.client.send_json(&self.request).await
    }
}

impl<T: 'static> IntoFuture for Call<T> {
    type Output = Result<T, Error>;
    type IntoFuture = BoxFuture<'static, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        async move {
            let response = self.client.send(&self.request).await?;
            (self.decode)(&self.request, &response)
        }
        .boxed()
    }
}

impl Client {
    /// A call whose answer is JSON.
    pub(super) fn call<T: DeserializeOwned>(&self, request: ApiRequest) -> Call<T> {
        Call {
            client: self.clone(),
            request,
            decode: |request, response| decode(request.operation(), response),
        }
    }

    /// A call whose answer says nothing.
    pub(super) fn order(&self, request: ApiRequest) -> Call<()> {
        Call { client: self.clone(), request, decode: |_, _| Ok(()) }
    }
}
