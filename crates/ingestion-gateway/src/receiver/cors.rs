//! Cross-origin requests (CORS): says which web pages may send to the OTLP/HTTP receiver.

use axum::Router;
use http::header::RETRY_AFTER;
use http::{HeaderValue, Method};
use tower_http::cors::{AllowHeaders, AllowOrigin, CorsLayer};

use crate::config::CorsConfig;

/// Allows web pages of the configured origins to send telemetry. The layer must be in front of the
/// authenticator, because browsers ask for permission without a credential.
pub(crate) fn allow_origins(router: Router, config: &CorsConfig) -> Router {
    let origins = &config.allowed_origins;
    if origins.is_empty() {
        return router;
    }
    let origins = match origins.iter().any(|origin| origin == "*") {
        true => AllowOrigin::any(),
        false => AllowOrigin::list(
            origins.iter().filter_map(|origin| HeaderValue::from_str(origin).ok()),
        ),
    };
    let cors = CorsLayer::new()
        .allow_origin(origins)
        .allow_methods([Method::POST])
        .allow_headers(AllowHeaders::mirror_request())
        .expose_headers([RETRY_AFTER]);
    router.layer(cors)
}
