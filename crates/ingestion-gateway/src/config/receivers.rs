//! `receivers`: the listeners that receive telemetry.

use otel_confmap::Map;
use serde::Serialize;

use super::read::{endpoint, listener, section, switchable};
use super::{CorsConfig, Endpoint, ServerTlsConfig};

/// The listeners that receive telemetry. A listener without settings is off.
#[derive(Clone, Debug, Serialize)]
pub struct ReceiversConfig {
    /// The OTLP receiver.
    pub otlp: OtlpConfig,
    /// The receiver for StackState's agents.
    pub agent: Option<AgentConfig>,
}

/// The OTLP receiver.
#[derive(Clone, Debug, Serialize)]
pub struct OtlpConfig {
    /// The two transports of OTLP.
    pub protocols: Protocols,
}

/// The two transports of OTLP.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Protocols {
    /// OTLP/gRPC.
    pub grpc: Option<GrpcConfig>,
    /// OTLP/HTTP.
    pub http: Option<HttpConfig>,
}

/// OTLP/gRPC.
#[derive(Clone, Debug, Serialize)]
pub struct GrpcConfig {
    /// The address to listen on.
    pub endpoint: Endpoint,
    /// The certificate of the listener. Without it, the listener is plaintext.
    pub tls: Option<ServerTlsConfig>,
}

/// OTLP/HTTP.
#[derive(Clone, Debug, Serialize)]
pub struct HttpConfig {
    /// The address to listen on.
    pub endpoint: Endpoint,
    /// The certificate of the listener. Without it, the listener is plaintext.
    pub tls: Option<ServerTlsConfig>,
    /// The web pages whose scripts may send telemetry.
    pub cors: CorsConfig,
}

/// The receiver for StackState's agents.
#[derive(Clone, Debug, Serialize)]
pub struct AgentConfig {
    /// The address to listen on.
    pub endpoint: Endpoint,
    /// The certificate of the listener. Without it, the listener is plaintext.
    pub tls: Option<ServerTlsConfig>,
}

impl Default for ReceiversConfig {
    fn default() -> Self {
        let grpc = GrpcConfig { endpoint: Endpoint::loopback(4317), tls: None };
        let endpoint = Endpoint::loopback(4318);
        let http = HttpConfig { endpoint, tls: None, cors: CorsConfig::default() };
        let agent = AgentConfig { endpoint: Endpoint::loopback(7077), tls: None };
        let protocols = Protocols { grpc: Some(grpc), http: Some(http) };
        Self { otlp: OtlpConfig { protocols }, agent: Some(agent) }
    }
}

impl ReceiversConfig {
    /// Reads the section. `None` switches every receiver off.
    pub(super) fn read(&mut self, map: Option<&mut Map<'_>>) {
        let Self { otlp: OtlpConfig { protocols }, agent } = self;
        let Some(map) = map else {
            (*protocols, *agent) = (Protocols::default(), None);
            return;
        };
        switchable(map, "otlp", |map| match map {
            Some(map) => switchable(map, "protocols", |map| protocols.read(map)),
            None => *protocols = Protocols::default(),
        });
        listener(map, "agent", agent, |agent, map| {
            endpoint(map, &mut agent.endpoint, &mut agent.tls);
        });
    }

    /// Returns whether no receiver is on.
    pub(super) fn are_off(&self) -> bool {
        let Protocols { grpc, http } = &self.otlp.protocols;
        grpc.is_none() && http.is_none() && self.agent.is_none()
    }
}

impl Protocols {
    fn read(&mut self, map: Option<&mut Map<'_>>) {
        let Some(map) = map else {
            *self = Self::default();
            return;
        };
        listener(map, "grpc", &mut self.grpc, |grpc, map| {
            endpoint(map, &mut grpc.endpoint, &mut grpc.tls);
        });
        listener(map, "http", &mut self.http, |http, map| {
            endpoint(map, &mut http.endpoint, &mut http.tls);
            section(map, "cors", |map| http.cors.read(map));
        });
    }
}
