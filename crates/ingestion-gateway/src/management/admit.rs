//! Who may call.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::header::{AUTHORIZATION, WWW_AUTHENTICATE};
use http::{HeaderValue, StatusCode};
use ingestion_api::header;
use opentelemetry::KeyValue;
use opentelemetry::metrics::{Counter, Meter};
use otlp_auth::server::{InMemoryAuthenticator, Lookup, LookupError, TokenFile};
use otlp_auth::{Decision, DenyReason};

use super::problem::{Problem, TrackingKey, call};
use crate::listener::client_address::ClientAddress;

const CHALLENGE: HeaderValue = HeaderValue::from_static("ApiKey realm=\"management\"");

/// The scheme of a Kubernetes token in `authorization`, as StackState's own clients write it.
const SERVICE_BEARER_SCHEME: &str = "ServiceBearer";

/// Admin tokens, and where they stand in a request.
pub(super) struct Admission {
    tokens: TokenFile,
    lookup: Lookup,
    refusals: Counter<u64>,
}

impl Admission {
    pub(super) fn new(tokens: TokenFile, meter: &Meter) -> Result<Self, LookupError> {
        let lookup = Lookup::nowhere()
            .with_bare_header(header::API_TOKEN)?
            .with_bare_header(header::API_KEY)?
            .with_bare_header(header::SERVICE_BEARER)?
            .with_header(AUTHORIZATION.as_str(), header::API_KEY_SCHEME)?
            .with_header(AUTHORIZATION.as_str(), SERVICE_BEARER_SCHEME)?;
        let refusals = meter.u64_counter("ingestion.management.refusals").with_unit("{request}");
        let refusals =
            refusals.with_description("Calls without the token of an administrator").build();
        Ok(Self { tokens: tokens.with_meter(meter), lookup, refusals })
    }
}

/// Lets a call go on with the [`Identity`](otlp_auth::Identity) of its administrator.
pub(super) async fn admit(
    State(admission): State<Arc<Admission>>,
    mut request: Request,
    next: Next,
) -> Response {
    let decision = match admission.lookup.find(request.headers(), request.uri()) {
        Ok(credential) => admission.tokens.decide(&credential),
        Err(reason) => Ok(Decision::Deny(reason.into())),
    };
    match decision {
        Ok(Decision::Allow(identity)) => {
            request.extensions_mut().insert(identity);
            next.run(request).await
        }
        Ok(Decision::Deny(denial)) => {
            let reason = denial.reason();
            let source = request
                .extensions()
                .get::<ClientAddress>()
                .map(|ClientAddress(address)| address.to_string());
            admission.refusals.add(1, &[KeyValue::new("deny.reason", reason.as_str())]);
            let call = call(&request);
            let tracking_key =
                request.extensions().get::<TrackingKey>().map(tracing::field::display);
            tracing::warn!(
                tracking_key,
                reason = reason.as_str(),
                source,
                call,
                "a management call was refused"
            );
            let message = if reason == DenyReason::Missing {
                "an admin token is required"
            } else {
                "the admin token is not accepted"
            };
            let problem = Problem::new(StatusCode::UNAUTHORIZED, "Unauthorized", message);
            ([(WWW_AUTHENTICATE, CHALLENGE)], problem).into_response()
        }
        Err(undecided) => Problem::unavailable(undecided.to_string()).into_response(),
    }
}
