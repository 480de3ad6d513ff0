//! Serves StackState's agents, and Prometheus: validates keys, receives OTLP and remote write, and
//! counts and discards everything else that agents send.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use http::header::{RETRY_AFTER, WWW_AUTHENTICATE};
use http::request::Parts;
use http::uri::PathAndQuery;
use http::{HeaderName, Method, StatusCode, Uri};
use ingestion_api::{header, route};
use otlp_auth::server::{
    AuthenticateLayer, CredentialExtractor, OtlpResponder, Rejection, Responder as _,
    ServerAuthenticator,
};
use otlp_auth::{DenyReason, Identity, Scheme};
use otlp_receiver::Receiver;
use otlp_receiver::body::{self, BodyError};
use tower::ServiceExt as _;

use super::{otlp, remote_write};
use crate::admission::Admission;
use crate::config::AuthConfig;
use crate::item::Item;
use crate::upstream::debug::DebugExporter;

const API_KEY_SCHEME: Scheme = Scheme::from_static(header::API_KEY_SCHEME);
const STS_API_KEY: HeaderName = HeaderName::from_static(header::STS_API_KEY);
const DD_API_KEY: HeaderName = HeaderName::from_static(header::DD_API_KEY);

#[derive(Clone)]
struct Agent {
    receiver: Receiver,
    debug: Arc<DebugExporter>,
    max_body: usize,
}

/// What a path on the agent listener is for.
#[derive(Debug, PartialEq, Eq)]
enum Route<'a> {
    /// OTLP, with the path of the request as an OTLP receiver expects it.
    Otlp(&'a str),
    /// Prometheus remote write.
    RemoteWrite,
    /// The check of a key.
    Validate,
    /// Anything else that agents send. New versions of agents use new paths.
    Intake,
    /// A path that nobody uses.
    Unknown,
}

impl<'a> Route<'a> {
    fn of(path: &'a str) -> Self {
        let path = path.strip_prefix(route::RECEIVER_PREFIX).unwrap_or(path);
        if path == route::REMOTE_WRITE {
            return Self::RemoteWrite;
        }
        let Some(path) = path.strip_prefix(route::AGENT_PREFIX) else { return Self::Unknown };
        match path.strip_prefix(route::AGENT_OTLP_PREFIX) {
            Some("") => Self::Otlp("/"),
            Some(otlp) if otlp.starts_with('/') => Self::Otlp(otlp),
            _ if path == route::VALIDATE => Self::Validate,
            _ if path.starts_with('/') => Self::Intake,
            _ => Self::Unknown,
        }
    }
}

/// Returns an extractor that finds the key wherever agents send it. Different parts of an agent use
/// different headers, or a query parameter.
pub(crate) fn extractor(auth: &AuthConfig) -> CredentialExtractor {
    let extractor = otlp::extractor(auth)
        .with_scheme(API_KEY_SCHEME)
        .with_basic_user(header::BASIC_USER)
        .with_bare_header(STS_API_KEY)
        .with_bare_header(DD_API_KEY);
    if !auth.query_parameter {
        return extractor;
    }
    let paths =
        ["", route::RECEIVER_PREFIX].map(|prefix| format!("{prefix}{}/", route::AGENT_PREFIX));
    extractor.with_query_parameter(header::QUERY_PARAMETER, paths)
}

/// Creates the router of the agent listener. `receiver` gets the OTLP requests.
pub(crate) fn router<A>(
    receiver: Receiver,
    authenticate: AuthenticateLayer<A>,
    admission: &Admission,
    debug: Arc<DebugExporter>,
    max_body: usize,
) -> Router
where
    A: ServerAuthenticator + 'static,
{
    let router = Router::new().fallback(receive).with_state(Agent { receiver, debug, max_body });
    let authenticate = authenticate.with_responder(respond);
    Router::new().fallback_service(admission.admit(&authenticate, router))
}

/// Returns whether the path is one of the agent listener.
pub(crate) fn is_route(path: &str) -> bool {
    Route::of(path) != Route::Unknown
}

/// Creates the response to a rejected request. The response to OTLP is that of every OTLP receiver,
/// because its sender is an OTLP exporter.
///
/// Agents drop their data after 403, and send their data again after 429 and 503. Agents understand
/// 401 as "no key is configured". Other responses than those to OTLP have no body, because agents
/// log bodies.
pub(crate) fn respond(rejection: &Rejection, request: &Parts) -> http::Response<Bytes> {
    if let Route::Otlp(_) = Route::of(request.uri.path()) {
        return OtlpResponder.respond(rejection, request);
    }
    let was_presented =
        rejection.denial().is_some_and(|denial| denial.reason() != DenyReason::Missing);
    let mut response = http::Response::new(Bytes::new());
    *response.status_mut() = match rejection.http_status() {
        StatusCode::UNAUTHORIZED if was_presented => StatusCode::FORBIDDEN,
        status => status,
    };
    let headers = response.headers_mut();
    if !was_presented {
        headers
            .extend(rejection.challenges().iter().map(|value| (WWW_AUTHENTICATE, value.clone())));
    }
    if let Some(wait) = rejection.retry_after() {
        headers.insert(RETRY_AFTER, wait.as_secs().into());
    }
    response
}

/// Answers an allowed request.
async fn receive(State(agent): State<Agent>, request: Request) -> Response {
    let (uri, method) = (request.uri().clone(), request.method());
    match Route::of(uri.path()) {
        Route::Otlp(path) => agent.receive_otlp(path, request).await,
        Route::RemoteWrite => remote_write::receive(&agent.receiver, &agent.debug, request).await,
        Route::Validate if matches!(*method, Method::GET | Method::HEAD) => {
            StatusCode::OK.into_response()
        }
        Route::Validate | Route::Intake if *method == Method::POST => {
            agent.discard(request).await.into_response()
        }
        // Agents conclude from 404 that the server does not have the feature.
        _ => StatusCode::NOT_FOUND.into_response(),
    }
}

impl Agent {
    async fn receive_otlp(self, path: &str, mut request: Request) -> Response {
        // The end of a legal path is legal.
        *request.uri_mut() = PathAndQuery::try_from(path).map(Uri::from).unwrap_or_default();
        match self.receiver.oneshot(request).await {
            Ok(response) => response.map(Body::new),
            Err(never) => match never {},
        }
    }

    async fn discard(&self, request: Request) -> StatusCode {
        let (parts, body) = request.into_parts();
        let Some(identity) = parts.extensions.get::<Identity>() else {
            return StatusCode::INTERNAL_SERVER_ERROR;
        };
        match body::discard(body, self.max_body).await {
            Ok(()) => {
                self.debug.export(identity, Item::AgentRequest, 1);
                StatusCode::OK
            }
            Err(BodyError::TooLarge) => StatusCode::PAYLOAD_TOO_LARGE,
            // Agents send the payload again after 408, and drop it after 400.
            Err(BodyError::EndedEarly) => StatusCode::REQUEST_TIMEOUT,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::ready;

    use http::Request;
    use otlp_auth::server::authenticator_fn;
    use otlp_auth::{Credential, Decision, Undecided};
    use tower::{Layer, ServiceExt, service_fn};

    use super::*;

    // Scenario: paths with and without `/receiver`, below and beside the prefixes.
    // Guarantee: OTLP is recognized by its whole prefix, and its path is what follows the prefix.
    // Other paths below the prefix of agents are for agents, and all other paths for nobody.
    #[test]
    fn a_path_decides_what_a_request_is() {
        for (path, expected) in [
            ("/stsAgent/otel/v1/traces", Route::Otlp("/v1/traces")),
            ("/stsAgent/otel//v1/traces", Route::Otlp("//v1/traces")),
            ("/stsAgent/otel/", Route::Otlp("/")),
            ("/stsAgent/otel", Route::Otlp("/")),
            ("/stsAgent/otelcol", Route::Intake),
            ("/stsAgent/api/v1/validate", Route::Validate),
            ("/stsAgent/api/v1/series", Route::Intake),
            ("/stsAgent/", Route::Intake),
            ("/stsAgent", Route::Unknown),
            ("/stsAgents/intake", Route::Unknown),
            ("/prometheus/api/v1/write", Route::RemoteWrite),
            ("/prometheus/api/v1/write/", Route::Unknown),
            ("/stsAgent/prometheus/api/v1/write", Route::Intake),
            ("/otel/v1/traces", Route::Unknown),
            ("/v1/traces", Route::Unknown),
            ("/", Route::Unknown),
        ] {
            assert_eq!(Route::of(path), expected, "{path}");
            assert_eq!(Route::of(&format!("/receiver{path}")), expected, "{path}");
        }
    }

    // Scenario: agents send no key, keys that are denied for each kind of reason, and a key about
    // which the authenticator cannot decide.
    // Guarantee: each response has the status that agents understand, and no body. Only a 401 has a
    // challenge. Only 429 and 503 have `Retry-After`. On a path of OTLP, each response has the
    // status of OTLP and a body.
    #[tokio::test]
    async fn agents_are_answered_with_a_status_alone() {
        let authenticate = AuthenticateLayer::new(authenticator_fn(|key: &Credential<'_>| {
            let deny = |reason: DenyReason| ready(Ok(Decision::Deny(reason.into())));
            match key.expose_token() {
                "revoked" => deny(DenyReason::Revoked),
                "not-permitted" => deny(DenyReason::NotPermitted),
                "limited" => deny(DenyReason::LimitExceeded),
                "outage" => ready(Err(Undecided::new("the store is unavailable"))),
                _ => deny(DenyReason::Unknown),
            }
        }));
        let service =
            authenticate.with_responder(respond).layer(service_fn(async |_: Request<String>| {
                Ok::<_, std::convert::Infallible>(http::Response::new(String::new()))
            }));
        let send = |path: &str, authorization: Option<&str>| {
            let mut request = Request::post(path);
            if let Some(authorization) = authorization {
                request = request.header("authorization", authorization);
            }
            service.clone().oneshot(request.body(String::new()).unwrap())
        };
        for (authorization, status, challenges, has_wait, otlp_status) in [
            (None, 401, 1, false, 401),
            (Some("StackState"), 403, 0, false, 401),
            (Some("StackState unknown"), 403, 0, false, 401),
            (Some("StackState revoked"), 403, 0, false, 401),
            (Some("StackState not-permitted"), 403, 0, false, 403),
            (Some("StackState limited"), 429, 0, true, 429),
            (Some("StackState outage"), 503, 0, true, 503),
        ] {
            let otlp = send("/receiver/stsAgent/otel/v1/traces", authorization).await.unwrap();
            assert_eq!(otlp.status().as_u16(), otlp_status, "{authorization:?}");
            assert!(!hyper::body::Body::is_end_stream(otlp.body()), "{authorization:?}");
            let response = send("/stsAgent/intake", authorization).await.unwrap();
            let headers = response.headers();
            assert_eq!(response.status().as_u16(), status, "{authorization:?}");
            assert_eq!(headers.get_all(WWW_AUTHENTICATE).iter().count(), challenges);
            assert_eq!(headers.contains_key(RETRY_AFTER), has_wait);
            assert!(hyper::body::Body::is_end_stream(response.body()), "{authorization:?}");
        }
    }
}
