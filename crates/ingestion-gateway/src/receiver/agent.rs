//! Serves StackState's agents, and Prometheus: validates keys, takes OTLP to the receiver of OTLP,
//! and forwards everything else that agents send.
//!
//! Without an upstream, remote write is decoded and counted, and everything else is counted.

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::header::{RETRY_AFTER, WWW_AUTHENTICATE};
use http::request::Parts;
use http::uri::PathAndQuery;
use http::{HeaderName, Method, Request, Response, StatusCode, Uri};
use ingestion_api::{header, route};
use otlp_auth::server::{
    AuthenticateLayer, CredentialExtractor, OtlpResponder, Rejection, Responder as _,
};
use otlp_auth::{DenyReason, Identity, Scheme};
use otlp_receiver::Receiver;
use otlp_receiver::body::{self, BodyError};
use tower::Service;

use super::otlp::{self, Otlp};
use super::remote_write;
use crate::admission::{Admission, Admitted};
use crate::config::AuthConfig;
use crate::item::Item;
use crate::upstream::debug::DebugExporter;
use crate::upstream::{Destination, ForwardHttp, Payload, ResponseBody};

const API_KEY_SCHEME: Scheme = Scheme::from_static(header::API_KEY_SCHEME);
const STS_API_KEY: HeaderName = HeaderName::from_static(header::STS_API_KEY);
const DD_API_KEY: HeaderName = HeaderName::from_static(header::DD_API_KEY);

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
            _ if path.starts_with('/') && is_plain(path) => Self::Intake,
            _ => Self::Unknown,
        }
    }
}

/// Returns whether all servers read a path in the same way. Otherwise a path below the prefix of
/// agents might be another one for the upstream, as `/stsAgent/../admin` is. Agents use letters,
/// digits, `-`, `_` and `.` in their paths.
fn is_plain(path: &str) -> bool {
    let is_dots = |segment: &str| matches!(segment, "." | "..");
    !path.contains(['%', ';', '\\']) && !path.split('/').any(is_dots)
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

/// Takes requests on the agent listener to where they belong.
#[derive(Clone)]
pub(crate) struct Agent {
    pub(crate) otlp: Otlp,
    pub(crate) upstream: Destination<ForwardHttp>,
    pub(crate) receiver: Receiver,
    pub(crate) debug: Arc<DebugExporter>,
    /// The largest number of bytes of a body.
    pub(crate) max_body: usize,
    /// Every place in which a key may be. No key reaches an upstream, even if it is not read.
    pub(crate) key_places: CredentialExtractor,
}

/// Returns every place in which an agent may send a key.
pub(crate) fn key_places(auth: &AuthConfig) -> CredentialExtractor {
    extractor(auth).with_query_parameter(header::QUERY_PARAMETER, ["/"])
}

/// Creates the service of the agent listener.
pub(crate) fn service<A>(
    agent: Agent,
    authenticate: AuthenticateLayer<A>,
    admission: &Admission,
) -> Admitted<Agent, A> {
    admission.admit(&authenticate.with_responder(respond), agent)
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
pub(crate) fn respond(rejection: &Rejection, request: &Parts) -> Response<Bytes> {
    if let Route::Otlp(_) = Route::of(request.uri.path()) {
        return OtlpResponder.respond(rejection, request);
    }
    let was_presented =
        rejection.denial().is_some_and(|denial| denial.reason() != DenyReason::Missing);
    let mut response = Response::new(Bytes::new());
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

impl<B> Service<Request<B>> for Agent
where
    B: Payload,
{
    type Response = Response<ResponseBody>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    /// Answers an allowed request.
    fn call(&mut self, request: Request<B>) -> Self::Future {
        let (mut parts, body) = request.into_parts();
        self.key_places.strip(&mut parts.headers, &mut parts.uri);
        let mut request = Request::from_parts(parts, body);
        let method = request.method();
        let path = match Route::of(request.uri().path()) {
            Route::Otlp(path) => {
                let path = path.to_owned();
                set_path(request.uri_mut(), &path);
                return self.otlp.call(request);
            }
            Route::Validate if matches!(*method, Method::GET | Method::HEAD | Method::POST) => {
                let read = body::discard(request.into_body(), self.max_body);
                return Box::pin(async { answer(status_of(read.await)).await });
            }
            Route::RemoteWrite if *method != Method::POST => {
                return Box::pin(ready(Ok(remote_write::not_post().map(ResponseBody::full))));
            }
            Route::RemoteWrite => route::REMOTE_WRITE.to_owned(),
            // What a server answers to these methods is not about a resource of its own.
            Route::Intake if !matches!(*method, Method::CONNECT | Method::TRACE) => {
                let path = request.uri().path();
                path.strip_prefix(route::RECEIVER_PREFIX).unwrap_or(path).to_owned()
            }
            // Agents conclude from 404 that the server does not have the feature.
            _ => return Box::pin(answer(StatusCode::NOT_FOUND)),
        };
        match &self.upstream {
            Destination::Forward(upstream) => {
                set_path(request.uri_mut(), &path);
                Box::pin(upstream.forward(request))
            }
            Destination::Debug if path == route::REMOTE_WRITE => {
                let (receiver, debug) = (self.receiver.clone(), Arc::clone(&self.debug));
                Box::pin(async move {
                    let written = remote_write::receive(&receiver, &debug, request).await;
                    Ok(written.map(ResponseBody::full))
                })
            }
            Destination::Debug if *method == Method::POST => {
                let (debug, max_body) = (Arc::clone(&self.debug), self.max_body);
                Box::pin(async move { answer(discard(&debug, max_body, request).await).await })
            }
            Destination::Debug | Destination::Nowhere => Box::pin(answer(StatusCode::NOT_FOUND)),
        }
    }
}

/// Answers with a status alone, because agents log bodies.
fn answer(status: StatusCode) -> Ready<Result<Response<ResponseBody>, Infallible>> {
    let mut response = Response::new(ResponseBody::Empty);
    *response.status_mut() = status;
    ready(Ok(response))
}

/// Puts a path in place of that of the URI. The query stays.
fn set_path(uri: &mut Uri, path: &str) {
    if uri.path() == path {
        return;
    }
    let path_and_query = match uri.query() {
        Some(query) => PathAndQuery::try_from(format!("{path}?{query}")),
        None => PathAndQuery::try_from(path),
    };
    let mut parts = std::mem::take(uri).into_parts();
    // The end of a legal path is legal.
    parts.path_and_query = path_and_query.ok();
    *uri = Uri::from_parts(parts).unwrap_or_default();
}

/// Counts the request of an agent, and discards it.
async fn discard<B>(debug: &DebugExporter, max_body: usize, request: Request<B>) -> StatusCode
where
    B: Payload,
{
    let (parts, body) = request.into_parts();
    let Some(identity) = parts.extensions.get::<Identity>() else {
        return StatusCode::INTERNAL_SERVER_ERROR;
    };
    let read = body::discard(body, max_body).await;
    if read.is_ok() {
        debug.export(identity, Item::AgentRequest, 1);
    }
    status_of(read)
}

/// Returns the status after which an agent does the right thing with its payload.
fn status_of(read: Result<(), BodyError>) -> StatusCode {
    match read {
        Ok(()) => StatusCode::OK,
        Err(BodyError::TooLarge) => StatusCode::PAYLOAD_TOO_LARGE,
        // Agents send the payload again after 408, and drop it after 400.
        Err(BodyError::EndedEarly) => StatusCode::REQUEST_TIMEOUT,
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
    // Other paths below the prefix of agents are for agents, and all other paths for nobody, nor
    // are those that lead out of the prefix for some servers.
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
            ("/stsAgent/../admin", Route::Unknown),
            ("/stsAgent/a/.", Route::Unknown),
            ("/stsAgent/%2e%2e/admin", Route::Unknown),
            ("/stsAgent/..;/admin", Route::Unknown),
            ("/stsAgent/..\\admin", Route::Unknown),
            ("/stsAgent/..a/.b.", Route::Intake),
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
