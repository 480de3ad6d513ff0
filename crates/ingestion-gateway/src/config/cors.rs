//! `cors`: the web pages whose scripts may send telemetry over OTLP/HTTP.

use http::HeaderValue;
use otel_confmap::Map;
use serde::Serialize;

use super::read::{setting, strings};

/// The web pages whose scripts may send telemetry.
#[derive(Clone, Debug, Default, Serialize)]
pub struct CorsConfig {
    /// The origins of these pages, or `*` for all origins. The list is empty by default.
    pub allowed_origins: Vec<String>,
}

impl CorsConfig {
    pub(super) fn read(&mut self, map: &mut Map<'_>) {
        let Some(node) = setting(map, "allowed_origins") else { return };
        for (node, origin) in strings(&node) {
            let is_origin = origin == "*" || (origin.contains("://") && !origin.ends_with('/'));
            if !is_origin
                || origin.len() > 1 && origin.contains('*')
                || HeaderValue::from_str(origin).is_err()
            {
                node.problem("expected an origin as in https://shop.example.com, or `*` for all");
            }
            self.allowed_origins.push(origin.to_owned());
        }
    }
}
