//! The headers of requests and responses that are forwarded.

use http::header::{
    CONNECTION, EXPECT, HeaderMap, HeaderValue, PROXY_AUTHENTICATE, PROXY_AUTHORIZATION, TE,
    TRAILER, TRANSFER_ENCODING, UPGRADE,
};
use http::request::Parts;
use otlp_auth::client::BearerTokenAuth;

/// What is done with the headers of requests to one upstream.
pub(crate) struct HeaderRules {
    auth: Option<BearerTokenAuth>,
}

impl HeaderRules {
    pub(crate) fn new(auth: Option<BearerTokenAuth>) -> Self {
        Self { auth }
    }

    /// Prepares the headers of a request.
    pub(crate) fn prepare(&self, parts: &mut Parts) {
        let is_grpc = parts.headers.contains_key(TE);
        strip_hop_by_hop(&mut parts.headers);
        parts.headers.remove(EXPECT);
        if is_grpc {
            parts.headers.insert(TE, HeaderValue::from_static("trailers"));
        }
        let _ = &self.auth;
    }
}

/// Removes the headers that are about one connection.
pub(crate) fn strip_hop_by_hop(headers: &mut HeaderMap) {
    for name in [
        CONNECTION,
        PROXY_AUTHENTICATE,
        PROXY_AUTHORIZATION,
        TE,
        TRAILER,
        TRANSFER_ENCODING,
        UPGRADE,
    ] {
        headers.remove(name);
    }
    headers.remove("keep-alive");
    headers.remove("proxy-connection");
}
