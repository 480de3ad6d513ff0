//! `receivers`: the listeners that receive telemetry.

use http::HeaderValue;
use otel_confmap::Map;
use serde::Serialize;

use super::Endpoint;
use super::read::{endpoint, section, strings};

/// The listeners that receive telemetry.
#[derive(Clone, Debug, Default, Serialize)]
pub struct ReceiversConfig {
    /// The OTLP receiver.
    pub otlp: OtlpConfig,
    /// The receiver for StackState's agents.
    pub agent: AgentConfig,
}

/// The OTLP receiver.
#[derive(Clone, Debug, Default, Serialize)]
pub struct OtlpConfig {
    /// The two transports of OTLP.
    pub protocols: Protocols,
}

/// The two transports of OTLP.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Protocols {
    /// OTLP/gRPC.
    pub grpc: GrpcConfig,
    /// OTLP/HTTP.
    pub http: HttpConfig,
}

/// OTLP/gRPC.
#[derive(Clone, Debug, Serialize)]
pub struct GrpcConfig {
    /// The address to listen on.
    pub endpoint: Endpoint,
}

/// OTLP/HTTP.
#[derive(Clone, Debug, Serialize)]
pub struct HttpConfig {
    /// The address to listen on.
    pub endpoint: Endpoint,
    /// The web pages whose scripts may send telemetry.
    pub cors: CorsConfig,
}

/// The web pages whose scripts may send telemetry.
#[derive(Clone, Debug, Default, Serialize)]
pub struct CorsConfig {
    /// The origins of these pages, or `*` for all origins. The list is empty by default.
    pub allowed_origins: Vec<String>,
}

/// The receiver for StackState's agents.
#[derive(Clone, Debug, Serialize)]
pub struct AgentConfig {
    /// The address to listen on.
    pub endpoint: Endpoint,
}

impl Default for GrpcConfig {
    fn default() -> Self {
        Self { endpoint: Endpoint::loopback(4317) }
    }
}

impl Default for HttpConfig {
    fn default() -> Self {
        Self { endpoint: Endpoint::loopback(4318), cors: CorsConfig::default() }
    }
}

impl Default for AgentConfig {
    fn default() -> Self {
        Self { endpoint: Endpoint::loopback(7077) }
    }
}

impl ReceiversConfig {
    pub(super) fn read(&mut self, map: &mut Map<'_>) {
        section(map, "otlp", |map| {
            section(map, "protocols", |map| {
                let Protocols { grpc, http } = &mut self.otlp.protocols;
                section(map, "grpc", |map| endpoint(map, &mut grpc.endpoint));
                section(map, "http", |map| {
                    endpoint(map, &mut http.endpoint);
                    section(map, "cors", |map| http.cors.read(map));
                });
            });
        });
        section(map, "agent", |map| endpoint(map, &mut self.agent.endpoint));
    }
}

impl CorsConfig {
    fn read(&mut self, map: &mut Map<'_>) {
        let Some(node) = map.get("allowed_origins") else { return };
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
