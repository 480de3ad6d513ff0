//! Forward authentication: a proxy sends the headers of a request, in a request of its own, and
//! passes the first request on if the answer is a success. nginx calls this `auth_request`, Caddy
//! `forward_auth` and Traefik `forwardAuth`.
//!
//! The status of the answer is the status for the sender over HTTP, because Caddy and Traefik pass
//! the answer on as it is. If the sender speaks gRPC, the answer also has the headers with which
//! gRPC reports an error. Clients and proxies that know gRPC read these first.

use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use http::header::{RETRY_AFTER, WWW_AUTHENTICATE};
use http::request::Parts;
use http::{HeaderName, HeaderValue, StatusCode, Uri, Version};
use otlp_auth::server::{OtlpResponder, Rejection, Responder as _};

use super::Authorizer;
use crate::receiver::agent;

/// The header in which a proxy sends the path and the query of the sender's request. Caddy and
/// Traefik always send it; nginx and HAProxy send it if they are configured to.
const FORWARDED_URI: HeaderName = HeaderName::from_static("x-forwarded-uri");

/// Answers a request of any method. The body is not read.
pub(super) async fn answer(State(authorizer): State<Authorizer>, request: Request) -> Response {
    let (mut parts, _) = request.into_parts();
    let uri = parts.headers.get(FORWARDED_URI).map(HeaderValue::as_bytes);
    parts.uri = uri.and_then(|uri| Uri::try_from(uri).ok()).unwrap_or_default();
    match authorizer.check(&parts.headers, &parts.uri) {
        Ok(identity) => {
            let mut response = StatusCode::NO_CONTENT.into_response();
            response.headers_mut().extend(authorizer.identity_headers(&identity));
            response
        }
        Err(rejection) => refuse(&rejection, parts).map(Body::from),
    }
}

/// Creates the answer to a rejected request of a sender, of which `parts` has the URI and the
/// headers. The status of the answer is never 200.
pub(super) fn refuse(rejection: &Rejection, mut parts: Parts) -> http::Response<Bytes> {
    if agent::is_route(parts.uri.path()) {
        return agent::respond(rejection, &parts);
    }
    // The version with which the proxy asks says nothing about the version of the sender.
    parts.version = Version::HTTP_2;
    let mut response = OtlpResponder.respond(rejection, &parts);
    if response.status() == StatusCode::OK {
        *response.status_mut() = rejection.http_status();
        let headers = response.headers_mut();
        headers
            .extend(rejection.challenges().iter().map(|value| (WWW_AUTHENTICATE, value.clone())));
        if let Some(wait) = rejection.retry_after() {
            headers.insert(RETRY_AFTER, wait.as_secs().into());
        }
    }
    response
}
