//! Answers components in front of other receivers, which ask whether a key is valid.
//!
//! These components remember a 403 permanently, wait for a response without a time limit, and lose
//! a connection for each response with a body. Therefore the gateway responds with 403 only if the
//! key is certainly not valid. It responds at once, and never sends a body.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{Query, Request, State};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use http::header::RETRY_AFTER;
use http::{HeaderValue, StatusCode, Uri};
use ingestion_api::{AuthorizeQuery, AuthorizeRequest, route};
use ingestion_keys::cache::KeyCache;
use opentelemetry::KeyValue;
use opentelemetry::metrics::{Counter, Meter};
use otlp_auth::server::{FixedTokens, InMemoryAuthenticator, retry_after};
use otlp_auth::{Credential, Decision};
use otlp_receiver::body;
use secrecy::ExposeSecret;

/// The largest body of a request, in bytes: 16 times the longest token that the gateway accepts.
const MAX_BODY: usize = 64 << 10;

/// Answers whether keys are valid. Each answer is counted in `ingestion.authorize.answers`, and not
/// as a use of the key.
#[derive(Clone, Debug)]
pub(crate) struct Authorizer {
    cache: Arc<KeyCache>,
    receiver: Option<Arc<FixedTokens>>,
    answers: Counter<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Answer {
    Good,
    Refused,
    Undecided,
    Broken,
}

impl Authorizer {
    pub(crate) fn new(
        cache: Arc<KeyCache>,
        receiver: Option<Arc<FixedTokens>>,
        meter: &Meter,
    ) -> Self {
        let answers = meter.u64_counter("ingestion.authorize.answers").with_unit("{answer}");
        Self {
            cache,
            receiver,
            answers: answers.with_description("Keys that others asked about").build(),
        }
    }

    /// Creates the router of the authorize listener.
    pub(crate) fn router(self) -> Router {
        let not_found = async || StatusCode::NOT_FOUND;
        let answer = async |State(authorizer): State<Self>, request: Request| {
            authorizer.answer(request).await
        };
        Router::new()
            .route(route::INTERNAL_AUTHORIZE, post(answer))
            .fallback(not_found)
            .with_state(self)
    }

    /// Answers a request without checking who sent it.
    pub(crate) async fn answer(&self, request: Request) -> Response {
        let (parts, body) = request.into_parts();
        let answer = match read(&parts.uri, body).await {
            Some((query, request)) => {
                self.decide(request.api_key.expose_secret(), query.with_receiver_key)
            }
            None => Answer::Broken,
        };
        let (outcome, status) = match answer {
            Answer::Good => ("allow", StatusCode::NO_CONTENT),
            Answer::Refused => ("deny", StatusCode::FORBIDDEN),
            Answer::Undecided => ("undecided", StatusCode::SERVICE_UNAVAILABLE),
            Answer::Broken => ("broken", StatusCode::BAD_REQUEST),
        };
        self.answers.add(1, &[KeyValue::new("outcome", outcome)]);
        match answer {
            Answer::Undecided => {
                (status, [(RETRY_AFTER, HeaderValue::from(retry_after().as_secs()))])
                    .into_response()
            }
            _ => status.into_response(),
        }
    }

    /// Decides as the receivers do, but counts no use of the key.
    fn decide(&self, key: &str, with_receiver_key: bool) -> Answer {
        // HTTP servers remove blanks at both ends of a header value, but gRPC servers do not.
        // Therefore the key that a gRPC server asks about may still have such blanks.
        let Ok(credential) = Credential::trimmed("", key) else {
            return Answer::Refused;
        };
        if with_receiver_key
            && let Some(receiver) = &self.receiver
            && matches!(receiver.decide(&credential), Ok(Decision::Allow(_)))
        {
            return Answer::Good;
        }
        match self.cache.peek(&credential) {
            Ok(Decision::Allow(_)) => Answer::Good,
            Ok(Decision::Deny(_)) => Answer::Refused,
            Err(_) => Answer::Undecided,
        }
    }
}

async fn read(uri: &Uri, body: Body) -> Option<(AuthorizeQuery, AuthorizeRequest)> {
    let Query(query) = Query::try_from_uri(uri).ok()?;
    let body = body::read(body, MAX_BODY).await.ok()?;
    // Only an object is accepted. serde would also accept a list, and would assign its items to the
    // fields by position.
    let is_object = body.trim_ascii_start().starts_with(b"{");
    if is_object { Some((query, serde_json::from_slice(&body).ok()?)) } else { None }
}
