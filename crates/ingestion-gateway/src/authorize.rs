//! Is this key good? Asked by what stands elsewhere in front of a receiver.
//!
//! Callers keep a 403 for good, wait for ever, and lose a connection for each body that they are
//! sent. So: 403 only if it is certain, an answer at once, and never a body.

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

/// Longest body, in bytes: sixteen times the longest token that is accepted anywhere.
const MAX_BODY: usize = 64 << 10;

/// Answers whether keys are good. That is counted as `authorize`, and not as use of the key.
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

    /// The authorize listener.
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

    /// Answers a request, whoever sent it.
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

    /// As the receivers decide, without counting a use.
    fn decide(&self, key: &str, with_receiver_key: bool) -> Answer {
        // HTTP takes blanks from the ends of a header, gRPC does not: whoever asks may pass them
        // on.
        let Ok(credential) = Credential::new("", key.trim_matches([' ', '\t'])) else {
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
    // A list would be taken for the fields in their order.
    let is_object = body.trim_ascii_start().starts_with(b"{");
    if is_object { Some((query, serde_json::from_slice(&body).ok()?)) } else { None }
}
