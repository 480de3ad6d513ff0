//! Answers a component that sends the key alone, as StackState's extensions of a Collector do.
//!
//! These components remember a 403 permanently, wait for a response without a time limit, and lose
//! a connection for each response with a body. Therefore the gateway responds with 403 only if the
//! key is certainly not valid. It responds at once, and never sends a body.

use axum::body::Body;
use axum::extract::{Query, Request, State};
use axum::response::{IntoResponse, Response};
use http::header::RETRY_AFTER;
use http::{HeaderValue, StatusCode, Uri};
use ingestion_api::{AuthorizeQuery, AuthorizeRequest};
use otlp_auth::server::retry_after;
use otlp_auth::{Credential, Decision};
use otlp_receiver::body;
use secrecy::ExposeSecret;

use super::{Authorizer, Outcome};

/// The largest body of a request, in bytes: 16 times the longest token that the gateway accepts.
const MAX_BODY: usize = 64 << 10;

pub(super) async fn answer(State(authorizer): State<Authorizer>, request: Request) -> Response {
    authorizer.answer(request).await
}

impl Authorizer {
    /// Answers a request without checking who sent it.
    pub(crate) async fn answer(&self, request: Request) -> Response {
        let (parts, body) = request.into_parts();
        let outcome = match read(&parts.uri, body).await {
            Some((query, request)) => {
                self.outcome(request.api_key.expose_secret(), query.with_receiver_key)
            }
            None => Outcome::Broken,
        };
        self.count(outcome);
        match outcome {
            Outcome::Allow => StatusCode::NO_CONTENT.into_response(),
            Outcome::Deny => StatusCode::FORBIDDEN.into_response(),
            Outcome::Broken => StatusCode::BAD_REQUEST.into_response(),
            Outcome::Undecided => {
                let wait = HeaderValue::from(retry_after().as_secs());
                (StatusCode::SERVICE_UNAVAILABLE, [(RETRY_AFTER, wait)]).into_response()
            }
        }
    }

    fn outcome(&self, key: &str, with_receiver_key: bool) -> Outcome {
        // HTTP servers remove blanks at both ends of a header value, but gRPC servers do not.
        // Therefore the key that a gRPC server asks about may still have such blanks.
        let Ok(credential) = Credential::trimmed("", key) else { return Outcome::Deny };
        match self.decide(&credential, with_receiver_key) {
            Ok(Decision::Allow(_)) => Outcome::Allow,
            Ok(Decision::Deny(_)) => Outcome::Deny,
            Err(_) => Outcome::Undecided,
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
