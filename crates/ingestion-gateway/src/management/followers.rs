//! The calls of followers: processes that follow the keys of this gateway.

use std::sync::Arc;

use axum::Extension;
use axum::body::Body;
use axum::extract::{Query, State};
use axum::response::{IntoResponse, Response};
use http::header::{CACHE_CONTROL, CONTENT_TYPE, USER_AGENT};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Uri};
use ingestion_api::{ErrorBody, FollowEvent, FollowQuery, UsageReport, route};
use ingestion_keys::cache::KeyHandle;
use otlp_auth::Identity;

use super::json;
use super::problem::Problem;
use crate::follow::{Hub, JoinError, ReportError};
use crate::listener::client_address::ClientAddress;
use crate::listener::response_body::LongLived;

/// The largest report, in bytes.
const MAX_REPORT: usize = 1 << 20;

/// Sends all keys, and from then on every change; the response does not end
#[utoipa::path(
    get, path = route::FOLLOW, params(FollowQuery), security(("FollowerToken" = [])),
    responses(
        (status = 200, description = "Lines with one event each", body = FollowEvent, content_type = "application/x-ndjson"),
        (status = 400, description = "The query is invalid", body = ErrorBody),
        (status = 401, description = "There is no follower token, or it is not accepted", body = ErrorBody),
    ),
)]
pub(super) async fn follow(
    State(hub): State<Arc<Hub>>,
    Extension(who): Extension<Identity>,
    Extension(ClientAddress(address, _)): Extension<ClientAddress>,
    headers: HeaderMap,
    uri: Uri,
) -> Result<Response, Problem> {
    let invalid = |_| invalid("`after`: expected a cursor");
    let Query(query) = Query::<FollowQuery>::try_from_uri(&uri).map_err(invalid)?;
    let stream = hub.join(query.after.map(Into::into), who.clone(), Some(address)).await?;
    count(&who, address, &headers);
    // A proxy that collects the response before it passes it on would hold back every change.
    let headers = [
        (CONTENT_TYPE, HeaderValue::from_static("application/x-ndjson")),
        (CACHE_CONTROL, HeaderValue::from_static("no-store")),
        (HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no")),
    ];
    Ok((Extension(LongLived), headers, Body::from_stream(stream)).into_response())
}

/// Adds usage that a follower reports; a report that is sent again counts once
#[utoipa::path(
    post, path = route::FOLLOW_USAGE, request_body = UsageReport, security(("FollowerToken" = [])),
    responses(
        (status = 204, description = "The usage is counted"),
        (status = 400, description = "A field of the request is invalid", body = ErrorBody),
        (status = 401, description = "There is no follower token, or it is not accepted", body = ErrorBody),
        (status = 413, description = "The body is too large", body = ErrorBody),
    ),
)]
pub(super) async fn report(
    State(hub): State<Arc<Hub>>,
    Extension(who): Extension<Identity>,
    Extension(ClientAddress(address, _)): Extension<ClientAddress>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let report: UsageReport = json::read_up_to(MAX_REPORT, body).await?;
    hub.report(who.id(), report)?;
    count(&who, address, &headers);
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// Counts a use of the token.
fn count(who: &Identity, address: std::net::IpAddr, headers: &HeaderMap) {
    let Some(handle) = who.handle::<KeyHandle>() else { return };
    handle.add_answer(true);
    if handle.notes_client() {
        let user_agent = headers.get(USER_AGENT).and_then(|value| value.to_str().ok());
        handle.add_client(address, user_agent);
    }
}

fn invalid(message: impl Into<String>) -> Problem {
    Problem::new(StatusCode::BAD_REQUEST, "InvalidRequest", message)
}

impl From<JoinError> for Problem {
    fn from(error: JoinError) -> Self {
        Self::unavailable(error.to_string()).retried()
    }
}

impl From<ReportError> for Problem {
    fn from(error: ReportError) -> Self {
        match error {
            ReportError::Source
            | ReportError::TooManyKeys
            | ReportError::TooManyClients
            | ReportError::NotPossible(_) => invalid(error.to_string()),
            ReportError::TooManySources | ReportError::TooMuchUsage(_) => {
                Self::unavailable(error.to_string()).retried()
            }
        }
    }
}
