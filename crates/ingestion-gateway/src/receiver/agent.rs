//! The routes of StackState's agents: keys are proved, and everything else is counted and
//! discarded.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::{Router, middleware};
use bytes::Bytes;
use http::header::{RETRY_AFTER, WWW_AUTHENTICATE};
use http::request::Parts;
use http::{Method, StatusCode};
use ingestion_api::route;
use opentelemetry::metrics::Meter;
use otlp_auth::server::{AuthenticateLayer, Lookup, Rejection, ServerAuthenticator};
use otlp_auth::{DenyReason, Identity};

use crate::admission::usage;
use crate::listener::body::{self, BodyError};
use crate::upstream::debug::{DebugReceiver, Item};

#[derive(Clone)]
struct Agent {
    debug: Arc<DebugReceiver>,
    max_body: usize,
}

/// The agent listener. New versions of agents bring new routes: they are a prefix, not a list.
pub(crate) fn router<A>(
    authenticator: A,
    lookup: Lookup,
    debug: Arc<DebugReceiver>,
    max_body: usize,
    meter: &Meter,
) -> Router
where
    A: ServerAuthenticator<Future: Send> + Send + Sync + 'static,
{
    let authenticate = AuthenticateLayer::new(authenticator)
        .with_lookup(lookup)
        .with_responder(respond)
        .with_meter(meter);
    let router = Router::new().fallback(receive).with_state(Agent { debug, max_body });
    router.layer(middleware::from_fn(usage::record)).layer(authenticate)
}

/// The answer to a request that is not let in. Agents drop their data on 403, send it again on 429
/// and 503, and take 401 to mean that no key is configured. They log bodies: there is none.
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

/// The layer in front has let the request in. Bodies of answers are empty: agents log them.
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
        // Agents take it for a feature that is not there.
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
                self.debug.discard(identity, Item::AgentRequest, 1);
                StatusCode::OK
            }
            Err(BodyError::TooLarge) => StatusCode::PAYLOAD_TOO_LARGE,
            // Agents drop what they were answered 400 for, and send this again.
            Err(BodyError::Broken) => StatusCode::REQUEST_TIMEOUT,
        }
    }
}
