//! Allows a call only with the token that it needs. The calls of administrators need a token from
//! the admin token file, and the calls of followers need the token of a follower.

use std::sync::Arc;

use axum::response::IntoResponse;
use bytes::Bytes;
use http::header::{RETRY_AFTER, WWW_AUTHENTICATE};
use http::request::Parts;
use http::{HeaderName, HeaderValue, Response, StatusCode};
use ingestion_api::header;
use ingestion_keys::cache::FollowerTokens;
use opentelemetry::KeyValue;
use opentelemetry::metrics::{Counter, Meter};
use otlp_auth::server::{AuthenticateLayer, CredentialExtractor, Rejection, Responder, TokenFile};
use otlp_auth::{DenyReason, Scheme};

use super::problem::{Problem, TrackingKey, call};
use crate::admission::log_throttle::{Caller, LogThrottle};
use crate::listener::client_address::ClientAddress;

/// The scheme with which StackState's own clients send a Kubernetes token in `authorization`.
const SERVICE_BEARER_SCHEME: Scheme = Scheme::from_static("ServiceBearer");

const API_KEY_SCHEME: Scheme = Scheme::from_static(header::API_KEY_SCHEME);

/// Returns a layer that passes on the calls of administrators, each with the
/// [`Identity`](otlp_auth::Identity) of its administrator. The layer rejects every other call with
/// a [`Problem`].
pub(super) fn require_admin(
    tokens: TokenFile,
    throttle: Arc<LogThrottle>,
    meter: &Meter,
) -> AuthenticateLayer<TokenFile> {
    let extractor = CredentialExtractor::empty()
        .with_bare_header(HeaderName::from_static(header::API_TOKEN))
        .with_bare_header(HeaderName::from_static(header::API_KEY))
        .with_bare_header(HeaderName::from_static(header::SERVICE_BEARER))
        .with_scheme(API_KEY_SCHEME)
        .with_scheme(SERVICE_BEARER_SCHEME);
    AuthenticateLayer::new(tokens.with_meter(meter))
        .with_extractor(extractor)
        .with_responder(ProblemResponder::new(&ADMIN, throttle, meter))
}

/// Returns a layer that passes on the calls of followers, each with the
/// [`Identity`](otlp_auth::Identity) of its token. The layer rejects every other call with a
/// [`Problem`].
pub(super) fn require_follower(
    tokens: FollowerTokens,
    throttle: Arc<LogThrottle>,
    meter: &Meter,
) -> AuthenticateLayer<FollowerTokens> {
    AuthenticateLayer::new(tokens)
        .with_extractor(CredentialExtractor::empty().with_scheme(Scheme::STACKSTATE))
        .with_responder(ProblemResponder::new(&FOLLOWER, throttle, meter))
}

/// What callers are told about the token that they need.
struct Needed {
    challenge: &'static str,
    missing: &'static str,
    not_accepted: &'static str,
    /// Whether the callers are programs that try again.
    by_program: bool,
}

const ADMIN: Needed = Needed {
    challenge: "ApiKey realm=\"management\"",
    missing: "an admin token is required",
    not_accepted: "the admin token is not accepted",
    by_program: false,
};

const FOLLOWER: Needed = Needed {
    challenge: "StackState realm=\"management\"",
    missing: "a follower token is required",
    not_accepted: "the follower token is not accepted",
    by_program: true,
};

/// Responds to rejected calls. Calls that were denied are also counted, and logged at a limited
/// rate.
struct ProblemResponder {
    needed: &'static Needed,
    throttle: Arc<LogThrottle>,
    refusals: Counter<u64>,
}

impl ProblemResponder {
    fn new(needed: &'static Needed, throttle: Arc<LogThrottle>, meter: &Meter) -> Self {
        let refusals = meter.u64_counter("ingestion.management.refusals").with_unit("{request}");
        let refusals = refusals
            .with_description("Calls without the token of an administrator or of a follower")
            .build();
        Self { needed, throttle, refusals }
    }

    fn record(&self, reason: DenyReason, request: &Parts) {
        self.refusals.add(1, &[KeyValue::new("deny.reason", reason.as_str())]);
        let address = request.extensions.get().map(|ClientAddress(address, _)| *address);
        if !self.throttle.permits(address.map_or(Caller::Unknown, Caller::at), reason) {
            return;
        }
        tracing::warn!(
            tracking_key = request.extensions.get::<TrackingKey>().map(tracing::field::display),
            reason = reason.as_str(),
            source = address.map(tracing::field::display),
            call = call(&request.method, &request.extensions),
            "a management call was refused"
        );
    }
}

impl Responder for ProblemResponder {
    fn respond(&self, rejection: &Rejection, request: &Parts) -> Response<Bytes> {
        let reason = rejection.denial().map(|denial| denial.reason());
        if let Some(reason) = reason {
            self.record(reason, request);
        }
        let (kind, message) = match rejection.http_status() {
            StatusCode::UNAUTHORIZED if reason == Some(DenyReason::Missing) => {
                ("Unauthorized", self.needed.missing)
            }
            StatusCode::UNAUTHORIZED => ("Unauthorized", self.needed.not_accepted),
            StatusCode::FORBIDDEN => ("Forbidden", rejection.message()),
            StatusCode::TOO_MANY_REQUESTS => ("TooManyRequests", rejection.message()),
            _ => ("Unavailable", rejection.message()),
        };
        // `render_and_log_problem` writes the body, because the body contains the tracking key.
        let problem = Problem::new(rejection.http_status(), kind, message);
        let is_retried = self.needed.by_program && rejection.http_status().is_server_error();
        let problem = if is_retried { problem.retried() } else { problem };
        let mut response = problem.into_response().map(|_| Bytes::new());
        if rejection.http_status() == StatusCode::UNAUTHORIZED {
            let challenge = HeaderValue::from_static(self.needed.challenge);
            response.headers_mut().insert(WWW_AUTHENTICATE, challenge);
        }
        if let Some(wait) = rejection.retry_after() {
            response.headers_mut().insert(RETRY_AFTER, wait.as_secs().into());
        }
        response
    }
}
