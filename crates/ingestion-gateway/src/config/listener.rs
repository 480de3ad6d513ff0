//! The listeners.

use std::path::PathBuf;

use http::HeaderValue;
use otlp_auth::confmap::{Map, Node};
use serde::Serialize;

use super::{Endpoint, NOT_BUILT, section, set, strings};

/// Where telemetry comes in.
#[derive(Clone, Debug, Default, Serialize)]
pub struct ReceiversConfig {
    /// OTLP.
    pub otlp: OtlpConfig,
    /// StackState's agents.
    pub agent: AgentConfig,
}

/// OTLP.
#[derive(Clone, Debug, Default, Serialize)]
pub struct OtlpConfig {
    /// Its two forms.
    pub protocols: Protocols,
}

/// The two forms of OTLP.
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
    /// Where it listens.
    pub endpoint: Endpoint,
}

/// OTLP/HTTP.
#[derive(Clone, Debug, Serialize)]
pub struct HttpConfig {
    /// Where it listens.
    pub endpoint: Endpoint,
    /// Which web pages may send.
    pub cors: CorsConfig,
}

/// Which web pages may send.
#[derive(Clone, Debug, Default, Serialize)]
pub struct CorsConfig {
    /// Their origins, or `*`; none by default.
    pub allowed_origins: Vec<String>,
}

/// StackState's agents.
#[derive(Clone, Debug, Serialize)]
pub struct AgentConfig {
    /// Where it listens.
    pub endpoint: Endpoint,
}

/// The management API.
#[derive(Clone, Debug, Serialize)]
pub struct ManagementConfig {
    /// Where it listens.
    pub endpoint: Endpoint,
    /// The tokens of administrators.
    pub admin_token_file: PathBuf,
}

/// The authorize endpoint.
#[derive(Clone, Debug, Serialize)]
pub struct AuthorizeConfig {
    /// Where it listens.
    pub endpoint: Endpoint,
}

/// Metrics, health and logs.
#[derive(Clone, Debug, Serialize)]
pub struct TelemetryConfig {
    /// Where it listens.
    pub endpoint: Endpoint,
    /// The gateway's own log.
    pub logs: LogsConfig,
}

/// The gateway's own log, on standard error.
#[derive(Clone, Debug, Serialize)]
pub struct LogsConfig {
    /// From which level on.
    pub level: &'static str,
    /// How lines look.
    pub format: LogFormat,
}

/// How lines of the log look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    Text,
    /// One object a line.
    Json,
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

impl Default for ManagementConfig {
    /// The token file's place depends on that of the database.
    fn default() -> Self {
        Self { endpoint: Endpoint::loopback(7070), admin_token_file: PathBuf::new() }
    }
}

impl Default for AuthorizeConfig {
    fn default() -> Self {
        Self { endpoint: Endpoint::loopback(7071) }
    }
}

impl Default for TelemetryConfig {
    fn default() -> Self {
        Self {
            endpoint: Endpoint::loopback(8888),
            logs: LogsConfig { level: "info", format: LogFormat::Text },
        }
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

impl ManagementConfig {
    pub(super) fn read(&mut self, map: &mut Map<'_>) {
        endpoint(map, &mut self.endpoint);
        if let Some(node) = map.get("admin_token_file")
            && let Some(path) = node.string()
        {
            if path.is_empty() {
                node.problem("is empty");
            }
            self.admin_token_file = path.into();
        }
    }
}

impl AuthorizeConfig {
    pub(super) fn read(&mut self, map: &mut Map<'_>) {
        endpoint(map, &mut self.endpoint);
        if !self.endpoint.is_loopback() {
            map.node().warning(
                "asks for no credential and can be reached from other hosts: keep it private",
            );
        }
    }
}

impl TelemetryConfig {
    pub(super) fn read(&mut self, map: &mut Map<'_>) {
        endpoint(map, &mut self.endpoint);
        section(map, "logs", |map| {
            set(&mut self.logs.level, map.get("level").and_then(|node| one_of(&node, LEVELS)));
            let formats = [("text", LogFormat::Text), ("json", LogFormat::Json)];
            set(&mut self.logs.format, map.get("format").and_then(|node| one_of(&node, formats)));
        });
    }
}

const LEVELS: [(&str, &str); 5] = [
    ("error", "error"),
    ("warn", "warn"),
    ("info", "info"),
    ("debug", "debug"),
    ("trace", "trace"),
];

fn endpoint(map: &mut Map<'_>, endpoint: &mut Endpoint) {
    set(endpoint, map.get("endpoint").and_then(|node| Endpoint::read(&node)));
    if let Some(node) = map.get("tls") {
        node.problem(format!("{NOT_BUILT}: put a proxy that ends TLS in front"));
    }
}

fn one_of<T: Copy, const N: usize>(node: &Node<'_>, choices: [(&str, T); N]) -> Option<T> {
    let text = node.string()?;
    let found = choices.iter().find(|(name, _)| *name == text).map(|(_, choice)| *choice);
    if found.is_none() {
        node.problem(format!("expected one of {}", choices.map(|(name, _)| name).join(", ")));
    }
    found
}
