//! `upstream`: where telemetry is forwarded to.

use std::time::Duration;

use http::HeaderName;
use ingestion_api::header::STS_API_KEY;
use otel_confmap::{Map, Node, Problem, Report, ScalarKind};
use serde::Serialize;

use super::read::{positive_duration, section, set, setting};
use super::tls::ClientTlsConfig;
use super::upstream_auth::UpstreamAuth;
use super::{IdentityHeaders, ReceiversConfig, UpstreamUrl, print};

/// The word in place of an endpoint that says that telemetry is counted and discarded.
const DEBUG: &str = "debug";

/// Where telemetry is forwarded to. If nothing is forwarded, all telemetry is counted and
/// discarded, and every destination is [`Debug`](DestinationConfig::Debug).
#[derive(Clone, Debug, Serialize)]
pub struct UpstreamConfig {
    /// The destination of OTLP/gRPC. `None` only if no listener for OTLP/gRPC is on.
    pub otlp_grpc: Option<DestinationConfig>,
    /// The destination of OTLP/HTTP, which agents send too. `None` only if neither a listener for
    /// OTLP/HTTP nor one for agents is on.
    pub otlp_http: Option<DestinationConfig>,
    /// The destination of what agents send and of Prometheus remote write. `None` only if no
    /// listener for agents is on.
    pub agent: Option<DestinationConfig>,
    /// The headers that tell the upstreams whose request it is.
    pub identity_headers: IdentityHeaders,
}

/// Where one kind of telemetry goes.
#[derive(Clone, Debug, Serialize)]
#[serde(untagged)]
pub enum DestinationConfig {
    /// It is decoded, counted, printed and discarded.
    #[serde(serialize_with = "print_debug")]
    Debug,
    /// It is forwarded.
    Forward(Box<EndpointConfig>),
}

/// An upstream.
#[derive(Clone, Debug, Serialize)]
pub struct EndpointConfig {
    /// Where the upstream is.
    pub endpoint: UpstreamUrl,
    /// The gateway's own credential for the upstream.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub auth: Option<UpstreamAuth>,
    /// How the upstream is verified. It is never `None` if the endpoint is `https`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls: Option<ClientTlsConfig>,
    /// How long connecting may take, TLS included.
    #[serde(serialize_with = "print::duration")]
    pub connect_timeout: Duration,
    /// How long the upstream may take to answer: until the head of the response, and for a call of
    /// gRPC without a stream, until its end.
    #[serde(serialize_with = "print::duration")]
    pub response_timeout: Duration,
}

/// The kinds of telemetry that have an upstream of their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    OtlpGrpc,
    OtlpHttp,
    Agent,
}

impl Default for UpstreamConfig {
    fn default() -> Self {
        let debug = || Some(DestinationConfig::Debug);
        Self {
            otlp_grpc: debug(),
            otlp_http: debug(),
            agent: debug(),
            identity_headers: IdentityHeaders::default(),
        }
    }
}

impl UpstreamConfig {
    /// Reads the section. Once one upstream is set, each listener that is on needs one, so that
    /// nothing is discarded by mistake.
    pub(super) fn read(root: &mut Map<'_>, receivers: &ReceiversConfig, report: &Report) -> Self {
        let mut config = Self { otlp_grpc: None, otlp_http: None, agent: None, ..Self::default() };
        // A kind whose value has a problem counts as set, so that each problem is reported once.
        let mut is_set = [false; 3];
        section(root, "upstream", |map| {
            for (kind, is_set) in Kind::ALL.into_iter().zip(&mut is_set) {
                let Some(node) = map.get_nullable(kind.key()) else { continue };
                // `null` is the same as no key.
                if !node.is_null() || node.is_empty() {
                    *is_set = true;
                    *config.of(kind) = DestinationConfig::read(&node, kind);
                }
            }
            let headers = setting(map, "identity_headers");
            set(
                &mut config.identity_headers,
                headers.and_then(|node| IdentityHeaders::read(&node)),
            );
        });
        config.check_headers(report);
        if is_set == [false; 3] {
            return Self { identity_headers: config.identity_headers, ..Self::default() };
        }
        for (kind, is_set) in Kind::ALL.into_iter().zip(is_set) {
            let path = format!("upstream.{}", kind.key());
            match (is_set, kind.listener(receivers)) {
                (false, Some(listener)) => report.problem(Problem::new(
                    path,
                    None,
                    format!(
                        "is required: another upstream is set, and {listener}; `{DEBUG}` counts \
                         and discards"
                    ),
                )),
                (true, None) => {
                    let message = "has no effect: no listener that is on receives this";
                    report.warning(Problem::new(path, None, message));
                }
                _ => {}
            }
        }
        config
    }

    /// Returns whether anything is counted and discarded instead of being forwarded.
    #[must_use]
    pub fn discards(&self) -> bool {
        let destinations = [&self.otlp_grpc, &self.otlp_http, &self.agent];
        destinations.into_iter().flatten().any(|to| matches!(to, DestinationConfig::Debug))
    }

    /// Reports credentials that would replace an identity header.
    fn check_headers(&mut self, report: &Report) {
        for kind in Kind::ALL {
            let Some(DestinationConfig::Forward(endpoint)) = self.of(kind) else { continue };
            let header = endpoint.auth.as_ref().map(|auth| auth.header().clone());
            let is_identity =
                |name: &HeaderName| self.identity_headers.removed().any(|it| it == name);
            if header.as_ref().is_some_and(is_identity) {
                let path = format!("upstream.{}.auth", kind.key());
                let message = "its header tells whose request it is: use another one";
                report.problem(Problem::new(path, None, message));
            }
        }
    }

    fn of(&mut self, kind: Kind) -> &mut Option<DestinationConfig> {
        match kind {
            Kind::OtlpGrpc => &mut self.otlp_grpc,
            Kind::OtlpHttp => &mut self.otlp_http,
            Kind::Agent => &mut self.agent,
        }
    }
}

impl Kind {
    const ALL: [Self; 3] = [Self::OtlpGrpc, Self::OtlpHttp, Self::Agent];

    fn key(self) -> &'static str {
        match self {
            Self::OtlpGrpc => "otlp_grpc",
            Self::OtlpHttp => "otlp_http",
            Self::Agent => "agent",
        }
    }

    /// Returns the listener that is on and receives this kind, as a part of a message.
    fn listener(self, receivers: &ReceiversConfig) -> Option<&'static str> {
        const AGENT: &str = "`receivers.agent` is on";
        let protocols = &receivers.otlp.protocols;
        let agent = receivers.agent.as_ref();
        match self {
            Self::OtlpGrpc => {
                protocols.grpc.as_ref().map(|_| "`receivers.otlp.protocols.grpc` is on")
            }
            Self::OtlpHttp if protocols.http.is_some() => {
                Some("`receivers.otlp.protocols.http` is on")
            }
            Self::OtlpHttp => {
                agent.map(|_| "`receivers.agent` is on, whose OTLP below /stsAgent/otel/ goes here")
            }
            Self::Agent => agent.map(|_| AGENT),
        }
    }
}

impl DestinationConfig {
    fn read(node: &Node<'_>, kind: Kind) -> Option<Self> {
        const EXPECTED: &str = "expected an endpoint, as in {endpoint: 'http://collector:4317'}, \
                                or `debug`, which counts and discards";
        match node.scalar_kind() {
            Some(ScalarKind::String) if node.string() == Some(DEBUG) => Some(Self::Debug),
            Some(_) => {
                node.problem(EXPECTED);
                None
            }
            None => {
                let mut map = node.map()?;
                let endpoint = EndpointConfig::read(&mut map, kind);
                map.deny_unknown();
                endpoint.map(|endpoint| Self::Forward(Box::new(endpoint)))
            }
        }
    }
}

impl EndpointConfig {
    /// Returns how the upstream is verified, or `None` if it is plaintext.
    #[must_use]
    pub fn client_tls(&self) -> Option<&ClientTlsConfig> {
        self.tls.as_ref().filter(|_| self.endpoint.is_tls())
    }

    const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
    const RESPONSE_TIMEOUT: Duration = Duration::from_secs(30);

    fn read(map: &mut Map<'_>, kind: Kind) -> Option<Self> {
        let endpoint = map.get_nullable("endpoint");
        let endpoint = match endpoint.filter(|node| !node.is_null()) {
            Some(node) => UpstreamUrl::read(&node, kind != Kind::OtlpGrpc),
            None => {
                map.node().problem("has no `endpoint`, as in endpoint: http://collector:4317");
                None
            }
        };
        let is_https = endpoint.as_ref().map(UpstreamUrl::is_tls);
        let tls = ClientTlsConfig::read(map, is_https);
        let insecure = tls.as_ref().is_some_and(|tls| tls.insecure);
        let auth = setting(map, "auth").and_then(|node| {
            let bare_header = (kind == Kind::Agent).then_some(STS_API_KEY);
            UpstreamAuth::read(&node, bare_header, endpoint.as_ref(), insecure)
        });
        let (mut connect_timeout, mut response_timeout) =
            (Self::CONNECT_TIMEOUT, Self::RESPONSE_TIMEOUT);
        set(
            &mut connect_timeout,
            setting(map, "connect_timeout").and_then(|node| positive_duration(&node)),
        );
        set(
            &mut response_timeout,
            setting(map, "response_timeout").and_then(|node| positive_duration(&node)),
        );
        Some(Self { endpoint: endpoint?, auth, tls, connect_timeout, response_timeout })
    }
}

fn print_debug<S: serde::Serializer>(serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(DEBUG)
}
