//! Cross-origin requests (CORS): says which web pages may send to the OTLP/HTTP receiver.

use std::time::Duration;

use http::header::{ACCEPT, AUTHORIZATION, CONTENT_ENCODING, CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderName, Method};
use tower_http::cors::{AllowHeaders, AllowOrigin, CorsLayer};

use crate::config::{CorsConfig, OriginPattern};

/// The headers that every allowed page may set. A Collector allows `Accept`, `Content-Type` and
/// `X-Requested-With` by default. Here each request needs `Authorization` as well, and a compressed
/// request needs `Content-Encoding`.
const HEADERS: [HeaderName; 5] = [
    ACCEPT,
    AUTHORIZATION,
    CONTENT_ENCODING,
    CONTENT_TYPE,
    HeaderName::from_static("x-requested-with"),
];

/// Returns the layer that allows web pages of the configured origins to send telemetry. The layer
/// must be in front of the authenticator, because browsers ask for permission without a credential,
/// and because a script can read a refusal only if the refusal has the headers of this layer too.
pub(crate) fn layer(config: &CorsConfig) -> Option<CorsLayer> {
    let CorsConfig { allowed_origins, allowed_headers, max_age } = config;
    if allowed_origins.is_empty() {
        return None;
    }
    let headers = match allowed_headers.iter().any(|name| name == "*") {
        // A literal `*` in the answer would not include `Authorization`.
        true => AllowHeaders::mirror_request(),
        false => AllowHeaders::list(HEADERS.iter().chain(allowed_headers).cloned()),
    };
    let cors = CorsLayer::new()
        .allow_methods([Method::POST])
        .allow_headers(headers)
        .expose_headers([RETRY_AFTER]);
    let cors = match allowed_origins.iter().any(OriginPattern::is_any) {
        true => cors.allow_origin(AllowOrigin::any()),
        // Some scripts send with the credentials mode `include`. A browser hides the answer from
        // them if it does not allow credentials.
        false => cors.allow_origin(listed(allowed_origins.clone())).allow_credentials(true),
    };
    Some(match max_age {
        0 => cors,
        seconds => cors.max_age(Duration::from_secs((*seconds).into())),
    })
}

fn listed(patterns: Vec<OriginPattern>) -> AllowOrigin {
    AllowOrigin::predicate(move |origin, _| {
        patterns.iter().any(|pattern| pattern.matches(origin.as_bytes()))
    })
}
