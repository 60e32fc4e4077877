//! The simulated server without a network: under a paused clock, hours of a crawl pass in moments.

use std::sync::Arc;

use axum::http::header;
use bytes::Bytes;
use futures::future::BoxFuture;

use super::faults::Fault;
use super::server::{Sim, SimServer};
use crate::client::{ApiRequest, Transport, TransportKind, WireAnswer, WireFailure};

/// Carries a client's requests straight to a simulated server.
pub struct InProcess(Arc<Sim>);

impl InProcess {
    /// A transport to `server`.
    pub fn to(server: &SimServer) -> Self {
        Self(server.sim.clone())
    }
}

impl Transport for InProcess {
    fn exchange<'a>(&'a self, request: &'a ApiRequest) -> BoxFuture<'a, Result<WireAnswer, WireFailure>> {
        let query =
            url::form_urlencoded::Serializer::new(String::new()).extend_pairs(request.query_pairs()).finish();
        Box::pin(async move {
            let body = request.json_body().map_or_else(Bytes::new, |body| Bytes::from(body.to_string()));
            let mut wire = axum::http::Request::builder()
                .method(request.operation().method.as_str())
                .uri(format!("/api/v1{}?{query}", request.path()))
                .header(header::AUTHORIZATION, "Bearer in-process");
            for (name, value) in request.operation().headers {
                wire = wire.header(*name, *value);
            }
            let wire = wire.body(()).map_err(|e| WireFailure::new(TransportKind::Interrupted, e))?;
            let (parts, ()) = wire.into_parts();
            let reply = self
                .0
                .exchange(&parts, body)
                .await
                .map_err(|e| WireFailure::new(TransportKind::Interrupted, e))?;
            if reply.fault == Fault::Truncate {
                return Err(WireFailure::new(TransportKind::Interrupted, "the body ended early"));
            }
            Ok(WireAnswer { status: reply.status, headers: reply.headers, body: reply.text })
        })
    }
}
