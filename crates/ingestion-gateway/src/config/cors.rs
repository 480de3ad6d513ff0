//! `cors`: the web pages whose scripts may send telemetry over OTLP/HTTP.

use http::HeaderName;
use otel_confmap::Map;
use serde::Serialize;

use super::read::{set, setting, strings};
use super::{OriginPattern, print};

/// The web pages whose scripts may send telemetry.
#[derive(Clone, Debug, Default, Serialize)]
pub struct CorsConfig {
    /// The origins of these pages. The list is empty by default, so no page may send.
    pub allowed_origins: Vec<OriginPattern>,
    /// The headers of a request that these pages may set besides those that OTLP needs. The name
    /// `*` stands for every header.
    #[serde(serialize_with = "print::list")]
    pub allowed_headers: Vec<HeaderName>,
    /// For how many seconds a browser may keep the answer to a preflight request. With 0, the
    /// answer does not say, and the browser decides.
    pub max_age: u32,
}

impl CorsConfig {
    pub(super) fn read(&mut self, map: &mut Map<'_>) {
        let origins = setting(map, "allowed_origins").map(|node| strings(&node));
        let origins = origins.unwrap_or_default();
        self.allowed_origins =
            origins.iter().filter_map(|(node, _)| OriginPattern::read(node)).collect();
        if let Some(node) = setting(map, "allowed_headers") {
            for (node, name) in strings(&node) {
                match HeaderName::from_bytes(name.as_bytes()) {
                    Ok(name) => self.allowed_headers.push(name),
                    Err(_) => {
                        node.problem("expected the name of a header, or `*` for every header")
                    }
                }
            }
        }
        let max_age = setting(map, "max_age").and_then(|node| node.integer(0..=u32::MAX.into()));
        set(&mut self.max_age, max_age.and_then(|seconds| seconds.try_into().ok()));
        let has_details = !self.allowed_headers.is_empty() || self.max_age > 0;
        if has_details && origins.is_empty() {
            map.node().problem("has no effect without `allowed_origins`");
        }
    }
}
