//! The HTTP client for opentelemetry-rust's OTLP/HTTP exporters.

use std::sync::Arc;

use async_trait::async_trait;
use http::header::CONTENT_TYPE;
use opentelemetry_http::{Bytes, HttpError, Request, Response};

use super::endpoint::{self, EndpointError};
use super::token::CurrentToken;

/// An [`opentelemetry_http::HttpClient`] that puts the current credential on every request; made by
/// [`BearerTokenAuth::http_client`](super::BearerTokenAuth::http_client).
///
/// A request over plaintext to anything but a loopback address ends in an
/// [`EndpointError`](super::EndpointError), unless plaintext is
/// [allowed](super::Builder::allow_plaintext).
///
/// A success status whose content type is gRPC's ends in [`EndpointError::GrpcPort`], too: a gRPC
/// server answers every request with 200, and puts its error into another header, so the data was
/// not accepted. The exporters of opentelemetry-rust keep the data and send it again, as after a
/// failure of the network. They do not log this error, so it is logged here.
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
            return not_from_grpc(self.inner.send_bytes(request).await?);
        }
        // The clone shares the bytes of the body with the original request.
        let again = request.clone();
        let response = self.inner.send_bytes(request).await?;
        if response.status() != http::StatusCode::UNAUTHORIZED
            || !self.token.changed_since(sent, None).await
        {
            return not_from_grpc(response);
        }
        self.token.count_resend("http");
        let mut request = again;
        self.token.insert_into(request.headers_mut());
        not_from_grpc(self.inner.send_bytes(request).await?)
    }
}

/// Returns an error if a gRPC server answered with a success status.
fn not_from_grpc(response: Response<Bytes>) -> Result<Response<Bytes>, HttpError> {
    const GRPC: &[u8] = b"application/grpc";
    let is_grpc = |content_type: &http::HeaderValue| {
        content_type
            .as_bytes()
            .get(..GRPC.len())
            .is_some_and(|start| start.eq_ignore_ascii_case(GRPC))
    };
    if response.status().is_success() && response.headers().get(CONTENT_TYPE).is_some_and(is_grpc) {
        let error = EndpointError::GrpcPort;
        tracing::error!(error = &error as &dyn std::error::Error, "a request was not accepted");
        return Err(error.into());
    }
    Ok(response)
}
