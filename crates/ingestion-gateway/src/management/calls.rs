//! The calls of the API: one function for each call.

use axum::Extension;
use axum::body::Body;
use axum::extract::{FromRequestParts, Path, Query, Request, State};
use axum::response::{IntoResponse, Response};
use http::header::CONTENT_TYPE;
use http::request::Parts;
use http::{StatusCode, Uri};
use ingestion_api::{
    AuditPage, AuditQuery, AuthorizeQuery, AuthorizeRequest, ErrorBody, GenerateRequest,
    GeneratedKey, IngestionApiKey, ListQuery, RotateRequest, ServerInfo, UpdateRequest, Version,
    route,
};
use ingestion_keys::KeyId;
use otlp_auth::Identity;

use super::problem::Problem;
use super::{Management, json, wire};

/// The version of the API, which clients compare with the version that they need. It is not the
/// version of this program.
const API_VERSION: Version =
    // The original client treats a version with a `diff` or a `commit` as an older version.
    Version {
        major: 6,
        minor: 0,
        patch: 0,
        diff: String::new(),
        commit: String::new(),
        is_dev: false,
    };

type Answer = Result<Response, Problem>;

/// Returns information about this server
#[utoipa::path(get, path = route::SERVER_INFO, responses((status = 200, description = "The version of the API and of the platform", body = ServerInfo)))]
pub(super) async fn server_info() -> Response {
    let platform_version = Some(API_VERSION.to_string());
    json::response(
        StatusCode::OK,
        &ServerInfo {
            version: API_VERSION,
            deployment_mode: "SelfHosted".to_owned(),
            platform_version,
        },
    )
}

/// Returns this document
#[utoipa::path(get, path = route::OPENAPI, responses((status = 200, description = "An OpenAPI 3.1 document", body = Object)))]
pub(super) async fn openapi() -> Response {
    // A test compares it with what the calls say of themselves.
    ([(CONTENT_TYPE, json::JSON)], include_str!("../../openapi.json")).into_response()
}

/// Lists all keys of a role, without their secrets
#[utoipa::path(
    get, path = route::API_KEYS, params(ListQuery),
    responses(
        (status = 200, description = "The keys", body = [IngestionApiKey]),
        (status = 400, description = "The query is invalid", body = ErrorBody),
    ),
)]
pub(super) async fn list(State(management): State<Management>, uri: Uri) -> Answer {
    let query = Query::<ListQuery>::try_from_uri(&uri);
    let Query(query) = query.map_err(|_| wire::unknown_role())?;
    let keys = management.service.list(wire::role(query.role)?).await?;
    let keys: Vec<_> = keys.into_iter().map(|key| wire::listed_key(key, &management.hub)).collect();
    Ok(json::response(StatusCode::OK, &keys))
}

/// Creates a key; this is the only response with its secret
#[utoipa::path(
    post, path = route::API_KEYS, request_body = GenerateRequest,
    responses(
        (status = 200, description = "The key", body = GeneratedKey),
        (status = 400, description = "A field of the request is invalid; an expiration in the past has a type of its own", body = ErrorBody),
        (status = 413, description = "The body is too large", body = ErrorBody),
    ),
)]
pub(super) async fn create(
    State(management): State<Management>,
    Extension(who): Extension<Identity>,
    body: Body,
) -> Answer {
    let request: GenerateRequest = json::read(body).await?;
    let issued = management.service.create(who.name(), wire::new_key(request)?).await?;
    Ok(json::response(StatusCode::OK, &wire::generated_key(issued, &management.hub)))
}

/// Returns one key, with the clients that used it
#[utoipa::path(
    get, path = route::API_KEY, params(("id" = i64, Path, description = "The id of the key")),
    responses(
        (status = 200, description = "The key", body = IngestionApiKey),
        (status = 400, description = "The id is not a number", body = ErrorBody),
        (status = 404, description = "There is no such key", body = ErrorBody),
    ),
)]
pub(super) async fn get(State(management): State<Management>, Id(id): Id) -> Answer {
    let key = management.service.get(id).await?;
    Ok(json::response(StatusCode::OK, &wire::single_key(key, &management.hub)))
}

/// Updates a key; a field that is absent keeps its value
#[utoipa::path(
    patch, path = route::API_KEY, params(("id" = i64, Path, description = "The id of the key")), request_body = UpdateRequest,
    responses(
        (status = 200, description = "The key with its new values", body = IngestionApiKey),
        (status = 400, description = "A field of the request is invalid", body = ErrorBody),
        (status = 404, description = "There is no such key", body = ErrorBody),
        (status = 413, description = "The body is too large", body = ErrorBody),
    ),
)]
pub(super) async fn update(
    State(management): State<Management>,
    Extension(who): Extension<Identity>,
    Id(id): Id,
    body: Body,
) -> Answer {
    let request: UpdateRequest = json::read(body).await?;
    let key = management.service.update(who.name(), id, wire::key_update(request)).await?;
    Ok(json::response(StatusCode::OK, &wire::single_key(key, &management.hub)))
}

/// Deletes a key; once the response is sent, the key is no longer valid
#[utoipa::path(
    delete, path = route::API_KEY, params(("id" = i64, Path, description = "The id of the key")),
    responses(
        (status = 204, description = "The key is deleted"),
        (status = 400, description = "The id is not a number", body = ErrorBody),
        (status = 404, description = "There is no such key", body = ErrorBody),
    ),
)]
pub(super) async fn delete(
    State(management): State<Management>,
    Extension(who): Extension<Identity>,
    Id(id): Id,
) -> Answer {
    management.service.delete(who.name(), id).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// Replaces a key by a new key; the replaced key ends after an overlap
#[utoipa::path(
    post, path = route::ROTATE, params(("id" = i64, Path, description = "The id of the key to replace")), request_body = Option<RotateRequest>,
    responses(
        (status = 200, description = "The new key", body = GeneratedKey),
        (status = 400, description = "A field of the request is invalid", body = ErrorBody),
        (status = 404, description = "There is no such key", body = ErrorBody),
        (status = 409, description = "The key has expired, is disabled, or was replaced already; then the response names its successor", body = ErrorBody),
        (status = 413, description = "The body is too large", body = ErrorBody),
    ),
)]
pub(super) async fn rotate(
    State(management): State<Management>,
    Extension(who): Extension<Identity>,
    Id(id): Id,
    body: Body,
) -> Answer {
    let request: RotateRequest = json::read(body).await?;
    let issued = management.service.rotate(who.name(), id, wire::rotation(request)).await?;
    Ok(json::response(StatusCode::OK, &wire::generated_key(issued, &management.hub)))
}

/// Lists the audit log, oldest entry first
#[utoipa::path(
    get, path = route::AUDIT, params(AuditQuery),
    responses(
        (status = 200, description = "A page of entries", body = AuditPage),
        (status = 400, description = "The query is invalid", body = ErrorBody),
    ),
)]
pub(super) async fn audit(State(management): State<Management>, uri: Uri) -> Answer {
    let invalid = |_| {
        Problem::new(
            StatusCode::BAD_REQUEST,
            "InvalidRequest",
            "`after` and `limit`: expected numbers",
        )
    };
    let Query(query) = Query::<AuditQuery>::try_from_uri(&uri).map_err(invalid)?;
    let page = management.service.audit(query.after.unwrap_or(0), query.limit).await?;
    Ok(json::response(StatusCode::OK, &wire::audit_page(page)))
}

/// Checks whether a key is valid; no response has a body
#[utoipa::path(
    post, path = route::AUTHORIZE, params(AuthorizeQuery), request_body = AuthorizeRequest,
    responses(
        (status = 204, description = "The key is valid"),
        (status = 400, description = "The query or the body is invalid"),
        (status = 403, description = "The key is not valid"),
        (status = 503, description = "It is not known whether the key is valid: ask again later", headers(("Retry-After" = u32, description = "Seconds"))),
    ),
)]
pub(super) async fn authorize(State(management): State<Management>, request: Request) -> Response {
    management.authorizer.answer(request).await
}

/// The id in the path. If the number cannot be an id, the response is the same as for an id that no
/// key has.
pub(super) struct Id(KeyId);

impl<S: Send + Sync> FromRequestParts<S> for Id {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let text = Path::<String>::from_request_parts(parts, state)
            .await
            .map(|Path(text)| text)
            .unwrap_or_default();
        let digits = text.strip_prefix('-').unwrap_or(&text);
        let is_decimal = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
        let number: Option<i64> = if is_decimal { text.parse().ok() } else { None };
        let Some(number) = number else {
            return Err(Problem::new(
                StatusCode::BAD_REQUEST,
                "InvalidRequest",
                "`id`: expected a decimal number below 2^53",
            ));
        };
        KeyId::new(number).map(Self).ok_or_else(|| Problem::no_such_key(number))
    }
}
