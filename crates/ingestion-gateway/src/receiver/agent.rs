//! Serves StackState's agents: validates their keys, and counts and discards everything that they
//! send.

use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use bytes::Bytes;
use http::header::{RETRY_AFTER, WWW_AUTHENTICATE};
use http::request::Parts;
use http::{HeaderName, Method, StatusCode};
use ingestion_api::{header, route};
use otlp_auth::server::{AuthenticateLayer, CredentialExtractor, Rejection, ServerAuthenticator};
use otlp_auth::{DenyReason, Identity, Scheme};
use otlp_receiver::body::{self, BodyError};

use super::otlp;
use crate::admission::denial_log::DenialLog;
use crate::admission::usage::UsageRecorder;
use crate::config::AuthConfig;
use crate::item::Item;
use crate::upstream::debug::DebugExporter;

const API_KEY_SCHEME: Scheme = Scheme::from_static(header::API_KEY_SCHEME);
const STS_API_KEY: HeaderName = HeaderName::from_static(header::STS_API_KEY);
const DD_API_KEY: HeaderName = HeaderName::from_static(header::DD_API_KEY);

#[derive(Clone)]
struct Agent {
    debug: Arc<DebugExporter>,
    max_body: usize,
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

/// Creates the router of the agent listener. The router accepts every path below the prefix for
/// agents, because new versions of agents use new paths.
pub(crate) fn router<A>(
    authenticate: AuthenticateLayer<A>,
    denial_log: DenialLog,
    usage: UsageRecorder,
    debug: Arc<DebugExporter>,
    max_body: usize,
) -> Router
where
    A: ServerAuthenticator + 'static,
{
    let router = Router::new().fallback(receive).with_state(Agent { debug, max_body });
    super::authenticated(router, authenticate.with_responder(respond), denial_log, usage)
}

/// Creates the response to a rejected request. Agents drop their data after 403, and send their
/// data again after 429 and 503. Agents understand 401 as "no key is configured". The response has
/// no body, because agents log bodies.
fn respond(rejection: &Rejection, _request: &Parts) -> http::Response<Bytes> {
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
async fn receive(State(agent): State<Agent>, request: Request) -> StatusCode {
    let path = request.uri().path();
    let path = path.strip_prefix(route::RECEIVER_PREFIX).unwrap_or(path);
    match path.strip_prefix(route::AGENT_PREFIX) {
        Some(route::VALIDATE) if matches!(*request.method(), Method::GET | Method::HEAD) => {
            StatusCode::OK
        }
        Some(rest) if rest.starts_with('/') && request.method() == Method::POST => {
            agent.discard(request).await
        }
        // Agents conclude from 404 that the server does not have the feature.
        _ => StatusCode::NOT_FOUND,
    }
}

impl Agent {
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

    // Scenario: agents send no key, keys that are denied for each kind of reason, and a key about
    // which the authenticator cannot decide.
    // Guarantee: each response has the status that agents understand, and no body. Only a 401 has a
    // challenge. Only 429 and 503 have `Retry-After`.
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
        for (authorization, status, challenges, has_wait) in [
            (None, 401, 1, false),
            (Some("StackState"), 403, 0, false),
            (Some("StackState unknown"), 403, 0, false),
            (Some("StackState revoked"), 403, 0, false),
            (Some("StackState not-permitted"), 403, 0, false),
            (Some("StackState limited"), 429, 0, true),
            (Some("StackState outage"), 503, 0, true),
        ] {
            let mut request = Request::post("/stsAgent/intake");
            if let Some(authorization) = authorization {
                request = request.header("authorization", authorization);
            }
            let request = request.body(String::new()).unwrap();
            let response = service.clone().oneshot(request).await.unwrap();
            let headers = response.headers();
            assert_eq!(response.status().as_u16(), status, "{authorization:?}");
            assert_eq!(headers.get_all(WWW_AUTHENTICATE).iter().count(), challenges);
            assert_eq!(headers.contains_key(RETRY_AFTER), has_wait);
            assert!(hyper::body::Body::is_end_stream(response.body()), "{authorization:?}");
        }
    }
}
