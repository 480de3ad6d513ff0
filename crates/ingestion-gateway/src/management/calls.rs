//! What each call does.

use axum::Extension;
use axum::body::Body;
use axum::extract::{FromRequestParts, Path, Query, Request, State};
use axum::response::{IntoResponse, Response};
use http::request::Parts;
use http::{StatusCode, Uri};
use ingestion_api::{AuditQuery, GenerateRequest, RotateRequest, ServerInfo, UpdateRequest, Version};
use otlp_auth::Identity;

use super::problem::Problem;
use super::{Management, json};

/// The version that clients compare with the one they need; the number of the API, not of this program.
const API_VERSION: (i32, i32, i32) = (6, 0, 0);

type Answer = Result<Response, Problem>;

pub(super) async fn server_info() -> Response {
    let (major, minor, patch) = API_VERSION;
    // Anything in `diff` or `commit` would make it older than it is, to the original client.
    let version = Version { major, minor, patch, ..Version::default() };
    let platform_version = Some(version.to_string());
    json::answer(StatusCode::OK, &ServerInfo { version, deployment_mode: "SelfHosted".to_owned(), platform_version })
}

pub(super) async fn list(State(management): State<Management>) -> Answer {
    Ok(json::answer(StatusCode::OK, &management.service.list().await?))
}

pub(super) async fn create(State(management): State<Management>, Extension(who): Extension<Identity>, body: Body) -> Answer {
    let request: GenerateRequest = json::read(body).await?;
    Ok(json::answer(StatusCode::OK, &management.service.create(who.name(), request).await?))
}

pub(super) async fn get(State(management): State<Management>, Id(id): Id) -> Answer {
    Ok(json::answer(StatusCode::OK, &management.service.get(id).await?))
}

pub(super) async fn update(
    State(management): State<Management>,
    Extension(who): Extension<Identity>,
    Id(id): Id,
    body: Body,
) -> Answer {
    let request: UpdateRequest = json::read(body).await?;
    Ok(json::answer(StatusCode::OK, &management.service.update(who.name(), id, request).await?))
}

pub(super) async fn delete(State(management): State<Management>, Extension(who): Extension<Identity>, Id(id): Id) -> Answer {
    management.service.delete(who.name(), id).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

pub(super) async fn rotate(
    State(management): State<Management>,
    Extension(who): Extension<Identity>,
    Id(id): Id,
    body: Body,
) -> Answer {
    let request: RotateRequest = json::read(body).await?;
    Ok(json::answer(StatusCode::OK, &management.service.rotate(who.name(), id, request).await?))
}

pub(super) async fn audit(State(management): State<Management>, uri: Uri) -> Answer {
    let invalid = |_| Problem::new(StatusCode::BAD_REQUEST, "InvalidRequest", "`after` and `limit`: expected numbers");
    let Query(query) = Query::<AuditQuery>::try_from_uri(&uri).map_err(invalid)?;
    Ok(json::answer(StatusCode::OK, &management.service.audit(query).await?))
}

pub(super) async fn authorize(State(management): State<Management>, request: Request) -> Response {
    management.authorizer.answer(request).await
}

/// The key that the path names: decimal digits; whether there is such a key is the service's to say.
pub(super) struct Id(i64);

impl<S: Send + Sync> FromRequestParts<S> for Id {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let text = Path::<String>::from_request_parts(parts, state).await.map(|Path(text)| text).unwrap_or_default();
        let digits = text.strip_prefix('-').unwrap_or(&text);
        let is_number = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
        let id = if is_number { text.parse().ok() } else { None };
        let expected = || Problem::new(StatusCode::BAD_REQUEST, "InvalidRequest", "`id`: expected a decimal number below 2^53");
        id.map(Self).ok_or_else(expected)
    }
}
