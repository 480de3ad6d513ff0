//! One OTLP exporter.

use std::time::Duration;

use http::{HeaderMap, HeaderName, Uri};
use otel_confmap::{Map, Node};
use otlp_auth::config::BearerTokenAuthConfig;

use super::endpoint::{self, Endpoint};
use super::header::{self, Headers};
use super::{RetryConfig, TlsConfig, unsupported};

/// An OTLP exporter of a Collector's file. `Debug` hides tokens, private keys, the values of
/// headers and the queries of endpoints, because they may be secret.
#[derive(Clone, Debug)]
pub struct ExporterConfig {
    id: String,
    protocol: Protocol,
    endpoint: Option<Endpoint>,
    signal_endpoints: [Option<Endpoint>; 3],
    auth: Option<BearerTokenAuthConfig>,
    tls: TlsConfig,
    compression: Compression,
    headers: Headers,
    timeout: Option<Duration>,
    retry: RetryConfig,
}

/// The transport of OTLP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Protocol {
    /// OTLP/gRPC: exporters of type `otlp` and `otlp_grpc`.
    Grpc,
    /// OTLP/HTTP: exporters of type `otlphttp` and `otlp_http`.
    Http,
}

/// A kind of telemetry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Signal {
    /// Spans.
    Traces,
    /// Metrics.
    Metrics,
    /// Log records.
    Logs,
}

/// How requests are compressed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Compression {
    /// gzip, which is the default.
    #[default]
    Gzip,
    /// Zstandard.
    Zstd,
    /// Snappy: blocks on OTLP/HTTP, and the framing format on OTLP/gRPC, as in the Collector.
    Snappy,
    /// Snappy's framing format, `x-snappy-framed`; on OTLP/HTTP only.
    SnappyFramed,
    /// zlib; on OTLP/HTTP only.
    Zlib,
    /// `deflate`, which is zlib under another name (RFC 9110 section 8.4.1.2); on OTLP/HTTP only.
    Deflate,
    /// LZ4's frame format; on OTLP/HTTP only.
    Lz4,
    /// No compression.
    None,
}

impl Protocol {
    /// Returns the protocol of exporters of this type.
    pub(super) fn of_type(exporter_type: &str) -> Option<Self> {
        match exporter_type {
            "otlp" | "otlp_grpc" => Some(Self::Grpc),
            "otlphttp" | "otlp_http" => Some(Self::Http),
            _ => None,
        }
    }
}

impl Signal {
    /// All signals.
    pub const ALL: [Self; 3] = [Self::Traces, Self::Metrics, Self::Logs];

    fn name(self) -> &'static str {
        match self {
            Self::Traces => "traces",
            Self::Metrics => "metrics",
            Self::Logs => "logs",
        }
    }
}

impl ExporterConfig {
    /// The name in the file: the type, and after a slash the name that distinguishes exporters of
    /// one type, as in `otlp/stackstate`.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The transport.
    #[must_use]
    pub fn protocol(&self) -> Protocol {
        self.protocol
    }

    /// The endpoint as an absolute URI whose scheme says whether the connection is plaintext.
    /// OTLP/gRPC always has an endpoint; OTLP/HTTP may have only
    /// [endpoints of signals](Self::signal_endpoint).
    #[must_use]
    pub fn endpoint(&self) -> Option<&Uri> {
        self.endpoint.as_ref().map(Endpoint::uri)
    }

    /// The URL that a signal is sent to. On OTLP/gRPC it is the endpoint. On OTLP/HTTP it is
    /// `traces_endpoint`, `metrics_endpoint` or `logs_endpoint`; if that is not set, it is
    /// `endpoint` with the path `/v1/traces`, `/v1/metrics` or `/v1/logs` appended. `None` if the
    /// exporter does not send this signal.
    #[must_use]
    pub fn signal_endpoint(&self, signal: Signal) -> Option<Uri> {
        let endpoint = self.endpoint();
        match self.protocol {
            Protocol::Grpc => endpoint.cloned(),
            Protocol::Http => {
                let own = self.signal_endpoints[signal as usize].as_ref().map(Endpoint::uri);
                own.cloned().or_else(|| endpoint::join(endpoint?, &format!("v1/{}", signal.name())))
            }
        }
    }

    /// The authenticator that `auth` names.
    #[must_use]
    pub fn auth(&self) -> Option<&BearerTokenAuthConfig> {
        self.auth.as_ref()
    }

    /// How the connection is secured.
    #[must_use]
    pub fn tls(&self) -> &TlsConfig {
        &self.tls
    }

    /// How requests are compressed.
    #[must_use]
    pub fn compression(&self) -> Compression {
        self.compression
    }

    /// Headers that every request carries besides the credential. The values are marked sensitive.
    #[must_use]
    pub fn headers(&self) -> &HeaderMap {
        &self.headers.map
    }

    /// The first of the [`headers`](Self::headers) that looks like a credential, by its name or by
    /// its value. If there is one, requests must not go to another host over plaintext.
    #[must_use]
    pub fn credential_header(&self) -> Option<&HeaderName> {
        self.headers.credential.as_ref()
    }

    /// How long a request may take; `None` means that there is no limit. The default is 5 s on
    /// OTLP/gRPC and 30 s on OTLP/HTTP.
    #[must_use]
    pub fn timeout(&self) -> Option<Duration> {
        self.timeout
    }

    /// When a failed request is sent again.
    #[must_use]
    pub fn retry(&self) -> &RetryConfig {
        &self.retry
    }

    /// Reads the exporter at `node`. `auth` finds the authenticator whose name is the value of a
    /// node. Returns `None` if `node` is not a map, and reports that problem.
    pub(super) fn read<'a>(
        id: &str,
        protocol: Protocol,
        node: &Node<'a>,
        auth: &dyn Fn(&Node<'a>) -> Option<BearerTokenAuthConfig>,
    ) -> Option<Self> {
        if node.is_null() {
            node.problem("has no settings: give an `endpoint`");
        }
        let mut map = node.map()?;
        let auth = map.get("auth").and_then(|node| {
            let mut map = node.map()?;
            let authenticator = map.required("authenticator");
            map.warn_unknown();
            auth(&authenticator?)
        });
        let tls = map.get("tls").and_then(|node| TlsConfig::read(&node)).unwrap_or_default();
        let (endpoint, signal_endpoints) = endpoints(&mut map, protocol, tls.is_insecure());
        let compression = map
            .get("compression")
            .and_then(|node| compression(&node, protocol))
            .unwrap_or_default();
        let headers = map.get("headers").map(|node| header::map(&node)).unwrap_or_default();
        if let Some(auth) = &auth
            && headers.map.contains_key(auth.header())
        {
            map.node().warning(format!(
                "the authenticator replaces the header `{}` that `headers` sets",
                auth.header()
            ));
        }
        let timeout = map.get("timeout").and_then(|node| node.duration());
        let timeout =
            timeout.unwrap_or(Duration::from_secs(if protocol == Protocol::Grpc { 5 } else { 30 }));
        let retry = map
            .get("retry_on_failure")
            .and_then(|node| RetryConfig::read(&node))
            .unwrap_or_default();
        unsupported::report(map);
        Some(Self {
            id: id.to_owned(),
            protocol,
            endpoint,
            signal_endpoints,
            auth,
            tls,
            compression,
            headers,
            timeout: (!timeout.is_zero()).then_some(timeout),
            retry,
        })
    }
}

fn endpoints(
    map: &mut Map<'_>,
    protocol: Protocol,
    insecure: bool,
) -> (Option<Endpoint>, [Option<Endpoint>; 3]) {
    if protocol == Protocol::Grpc {
        return (
            map.required("endpoint").and_then(|node| endpoint::grpc(&node, insecure)),
            [None, None, None],
        );
    }
    let base = map.get("endpoint");
    let signals = Signal::ALL.map(|signal| map.get(&format!("{}_endpoint", signal.name())));
    if base.is_none() && signals.iter().all(Option::is_none) {
        map.required("endpoint");
    }
    let base = base.and_then(|node| endpoint::http(&node, false));
    (base, signals.map(|node| endpoint::http(&node?, true)))
}

fn compression(node: &Node<'_>, protocol: Protocol) -> Option<Compression> {
    let compression = match node.string()? {
        "gzip" => Compression::Gzip,
        "zstd" => Compression::Zstd,
        "snappy" => Compression::Snappy,
        "x-snappy-framed" => Compression::SnappyFramed,
        "zlib" => Compression::Zlib,
        "deflate" => Compression::Deflate,
        "lz4" => Compression::Lz4,
        "none" | "" => Compression::None,
        _ => {
            node.problem(match protocol {
                Protocol::Grpc => "expected one of gzip, zstd, snappy, none",
                Protocol::Http => {
                    "expected one of gzip, zstd, snappy, x-snappy-framed, zlib, deflate, lz4, none"
                }
            });
            return None;
        }
    };
    let is_grpc = matches!(
        compression,
        Compression::Gzip | Compression::Zstd | Compression::Snappy | Compression::None
    );
    if protocol == Protocol::Grpc && !is_grpc {
        node.problem("is for OTLP/HTTP only: expected one of gzip, zstd, snappy, none");
        return None;
    }
    Some(compression)
}
