//! The HTTP client for opentelemetry-rust's OTLP/HTTP exporters.

use std::sync::Arc;

use async_trait::async_trait;
use opentelemetry_http::{Bytes, HttpError, Request, Response};

use super::endpoint;
use super::token::CurrentToken;

/// An [`opentelemetry_http::HttpClient`] that puts the current credential on every request; made by
/// [`BearerTokenAuth::http_client`](super::BearerTokenAuth::http_client).
///
/// A request over plaintext to anything but a loopback address ends in an
/// [`EndpointError`](super::EndpointError), unless plaintext is
/// [allowed](super::Builder::allow_plaintext).
#[derive(Clone, Debug)]
pub struct HttpClient<C> {
    inner: C,
    token: Arc<CurrentToken>,
    allow_plaintext: bool,
}

impl<C> HttpClient<C> {
    pub(super) fn new(inner: C, token: Arc<CurrentToken>, allow_plaintext: bool) -> Self {
        Self { inner, token, allow_plaintext }
    }
}

#[async_trait]
impl<C: opentelemetry_http::HttpClient> opentelemetry_http::HttpClient for HttpClient<C> {
    async fn send_bytes(&self, mut request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        endpoint::check(request.uri(), self.allow_plaintext)?;
        let sent = self.token.insert_into(request.headers_mut());
        if !self.token.can_change() {
            return self.inner.send_bytes(request).await;
        }
        // The clone shares the bytes of the body with the original request.
        let again = request.clone();
        let response = self.inner.send_bytes(request).await?;
        if response.status() != http::StatusCode::UNAUTHORIZED
            || !self.token.changed_since(sent, None).await
        {
            return Ok(response);
        }
        self.token.count_resend("http");
        let mut request = again;
        self.token.insert_into(request.headers_mut());
        self.inner.send_bytes(request).await
    }
}
