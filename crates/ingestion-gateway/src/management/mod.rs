//! The management API.

mod calls;
mod followers;
mod json;
#[cfg(test)]
mod openapi;
mod problem;
mod require_token;
mod wire;

use std::sync::Arc;

use axum::Router;
use axum::middleware;
use http::StatusCode;
use ingestion_api::route;
use ingestion_keys::clock::Clock;
use ingestion_keys::service::KeyService;
use opentelemetry::metrics::Meter;
use otlp_auth::server::TokenFile;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use self::problem::Problem;
use crate::admission::log_throttle::LogThrottle;
use crate::authorize::Authorizer;
use crate::follow::Hub;

/// The state that all calls share.
#[derive(Clone, Debug)]
struct Management {
    service: KeyService,
    authorizer: Authorizer,
    hub: Arc<Hub>,
}

/// Creates the router of the management listener. Every request needs the token of an
/// administrator, even a request for a call that does not exist. The calls of followers need the
/// token of a follower instead.
pub(crate) fn router(
    service: KeyService,
    authorizer: Authorizer,
    hub: Arc<Hub>,
    admin_tokens: TokenFile,
    throttle: Arc<LogThrottle>,
    clock: Arc<dyn Clock>,
    meter: &Meter,
) -> Router {
    let require_follower =
        require_token::require_follower(hub.tokens(), Arc::clone(&throttle), meter);
    let require_admin = require_token::require_admin(admin_tokens, throttle, meter);
    let followers = Router::from(follower_calls())
        .method_not_allowed_fallback(method_not_allowed)
        .layer(require_follower)
        .with_state(Arc::clone(&hub));
    Router::from(admin_calls())
        .fallback(async || Problem::new(StatusCode::NOT_FOUND, "NotFound", "there is no such call"))
        .method_not_allowed_fallback(method_not_allowed)
        .layer(require_admin)
        .with_state(Management { service, authorizer, hub })
        .merge(followers)
        .layer(middleware::from_fn_with_state(clock, problem::render_and_log_problem))
}

fn admin_calls() -> OpenApiRouter<Management> {
    let calls = OpenApiRouter::new()
        .routes(routes!(calls::server_info))
        .routes(routes!(calls::list, calls::create))
        .routes(routes!(calls::get, calls::update, calls::delete))
        .routes(routes!(calls::rotate))
        .routes(routes!(calls::audit))
        .routes(routes!(calls::authorize))
        .routes(routes!(calls::openapi));
    OpenApiRouter::new().nest(route::API_PATH, calls)
}

fn follower_calls() -> OpenApiRouter<Arc<Hub>> {
    let calls =
        OpenApiRouter::new().routes(routes!(followers::follow)).routes(routes!(followers::report));
    OpenApiRouter::new().nest(route::API_PATH, calls)
}

async fn method_not_allowed() -> Problem {
    let message = "the call does not have this method";
    Problem::new(StatusCode::METHOD_NOT_ALLOWED, "MethodNotAllowed", message)
}
