//! The management API.

mod admit;
mod calls;
mod json;
mod problem;

use std::sync::Arc;

use axum::Router;
use axum::middleware;
use axum::routing::{get, post};
use http::StatusCode;
use ingestion_api::route;
use ingestion_keys::clock::Clock;
use ingestion_keys::service::KeyService;
use opentelemetry::metrics::Meter;
use otlp_auth::server::{LookupError, TokenFile};

use self::admit::Admission;
use self::problem::Problem;
use crate::authorize::Authorizer;

/// What every call has at hand.
#[derive(Clone, Debug)]
struct Management {
    service: KeyService,
    authorizer: Authorizer,
}

/// The management listener: no call without the token of an administrator, not even one that is not there.
pub(crate) fn router(
    service: KeyService,
    authorizer: Authorizer,
    tokens: TokenFile,
    clock: Arc<dyn Clock>,
    meter: &Meter,
) -> Result<Router, LookupError> {
    let admission = Arc::new(Admission::new(tokens, meter)?);
    let api = Router::new()
        .route(route::SERVER_INFO, get(calls::server_info))
        .route(route::API_KEYS, get(calls::list).post(calls::create))
        .route(route::API_KEY, get(calls::get).patch(calls::update).delete(calls::delete))
        .route(route::ROTATE, post(calls::rotate))
        .route(route::AUDIT, get(calls::audit))
        .route(route::AUTHORIZE, post(calls::authorize));
    Ok(Router::new()
        .nest(route::API_PATH, api)
        .fallback(async || Problem::new(StatusCode::NOT_FOUND, "NotFound", "there is no such call"))
        .method_not_allowed_fallback(async || {
            Problem::new(StatusCode::METHOD_NOT_ALLOWED, "MethodNotAllowed", "the call does not have this method")
        })
        .layer(middleware::from_fn_with_state(admission, admit::admit))
        .layer(middleware::from_fn_with_state(clock, problem::tell))
        .with_state(Management { service, authorizer }))
}
