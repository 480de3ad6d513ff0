//! `tls`: the certificates of a listener, and how an upstream is verified. The keys are those of a
//! Collector.

use std::path::PathBuf;
use std::time::Duration;

use otel_confmap::{Map, Node, ScalarKind};
use serde::{Serialize, Serializer};

use super::print;
use super::read::{positive_duration, set, setting};

/// The default of `reload_interval`.
const RELOAD_INTERVAL: Duration = Duration::from_secs(5);

/// How a listener uses TLS. Without this section, the listener is plaintext.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ServerTlsConfig {
    /// The PEM file with the certificate of the listener, followed by those that lead to its
    /// authority.
    pub cert_file: PathBuf,
    /// The PEM file with the private key of the certificate.
    pub key_file: PathBuf,
    /// The PEM file with the authorities of clients. If it is given, a client needs a certificate
    /// that one of them has issued.
    pub client_ca_file: Option<PathBuf>,
    /// The oldest version of TLS that is accepted.
    pub min_version: TlsVersion,
    /// The time between two looks at the files. A change comes into force without a restart.
    #[serde(serialize_with = "print::duration")]
    pub reload_interval: Duration,
}

/// How an upstream is verified, and how this gateway identifies itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ClientTlsConfig {
    /// Whether a credential is sent although the endpoint is plaintext. With an `https` endpoint it
    /// is false, and with an `http` endpoint there is no other setting.
    pub insecure: bool,
    /// The PEM file with the authorities of the upstream. Without it, the authorities of the system
    /// are trusted.
    pub ca_file: Option<PathBuf>,
    /// Whether the authorities of the system are trusted besides those of `ca_file`.
    pub include_system_ca_certs_pool: bool,
    /// The PEM file with the certificate of this gateway, if the upstream asks for one.
    pub cert_file: Option<PathBuf>,
    /// The PEM file with the private key of the certificate of this gateway.
    pub key_file: Option<PathBuf>,
    /// The name that the certificate of the upstream must have, if it is not the host of the
    /// endpoint.
    pub server_name_override: Option<String>,
    /// Whether any certificate of the upstream is accepted.
    pub insecure_skip_verify: bool,
    /// The oldest version of TLS that is accepted.
    pub min_version: TlsVersion,
    /// The time between two looks at the files. A change comes into force without a restart.
    #[serde(serialize_with = "print::duration")]
    pub reload_interval: Duration,
}

/// A version of TLS. TLS 1.1 and older versions are never accepted (RFC 8996).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TlsVersion {
    /// TLS 1.2.
    #[default]
    V1_2,
    /// TLS 1.3.
    V1_3,
}

impl ServerTlsConfig {
    /// Reads the key `tls` of a listener. Without this key, or with null, the listener is
    /// plaintext. An empty key is a problem, because its settings may be there by mistake as
    /// comments.
    pub(super) fn read(listener: &mut Map<'_>) -> Option<Self> {
        let mut map = nullable_map(listener)?;
        let cert_file = required_file(&mut map, "cert_file");
        let key_file = required_file(&mut map, "key_file");
        let client_ca_file = file(&mut map, "client_ca_file");
        let min_version = TlsVersion::read(&mut map);
        let reload_interval = reload_interval(&mut map);
        map.deny_unknown();
        Some(Self {
            cert_file: cert_file?,
            key_file: key_file?,
            client_ca_file,
            min_version,
            reload_interval,
        })
    }
}

impl Default for ClientTlsConfig {
    /// Returns a configuration that trusts the authorities of the system.
    fn default() -> Self {
        Self {
            insecure: false,
            ca_file: None,
            include_system_ca_certs_pool: false,
            cert_file: None,
            key_file: None,
            server_name_override: None,
            insecure_skip_verify: false,
            min_version: TlsVersion::default(),
            reload_interval: RELOAD_INTERVAL,
        }
    }
}

impl ClientTlsConfig {
    /// Reads the key `tls` of an upstream with an `https` endpoint or with an `http` endpoint.
    /// Without this key, or with null, returns the defaults for `https`, and nothing for `http`. If
    /// the endpoint has a problem, `is_https` is `None`, and nothing is compared with it.
    pub(super) fn read(upstream: &mut Map<'_>, is_https: Option<bool>) -> Option<Self> {
        let Some(mut map) = nullable_map(upstream) else {
            return is_https.unwrap_or_default().then(Self::default);
        };
        let mut tls = Self {
            ca_file: file(&mut map, "ca_file"),
            cert_file: file(&mut map, "cert_file"),
            key_file: file(&mut map, "key_file"),
            server_name_override: server_name(&mut map),
            min_version: TlsVersion::read(&mut map),
            reload_interval: reload_interval(&mut map),
            ..Self::default()
        };
        set(
            &mut tls.include_system_ca_certs_pool,
            setting(&mut map, "include_system_ca_certs_pool").and_then(|node| node.bool()),
        );
        if let Some(node) = setting(&mut map, "insecure_skip_verify") {
            set(&mut tls.insecure_skip_verify, node.bool());
            if tls.insecure_skip_verify {
                node.warning("accepts every certificate: whoever is in between can read keys");
            }
        }
        let insecure = setting(&mut map, "insecure");
        set(&mut tls.insecure, insecure.as_ref().and_then(Node::bool));
        let others = Self { insecure: true, ..Self::default() };
        match (is_https, tls.insecure) {
            (Some(true), true) => insecure
                .as_ref()
                .unwrap_or(map.node())
                .problem("contradicts the `endpoint`: let it begin with http://"),
            (Some(false), true) if tls == others => {}
            (Some(false), _) => map.node().problem(
                "contradicts the `endpoint`: let it begin with https://, or let `insecure: true` be \
                 the only setting",
            ),
            (Some(true), false) | (None, _) => {}
        }
        if tls.cert_file.is_some() != tls.key_file.is_some() {
            map.node().problem("a client certificate needs both `cert_file` and `key_file`");
        }
        map.deny_unknown();
        Some(tls)
    }
}

impl TlsVersion {
    fn read(map: &mut Map<'_>) -> Self {
        let Some(node) = setting(map, "min_version") else { return Self::default() };
        // YAML reads 1.2 without quotes as a number. The Collector accepts it.
        let version = match node.scalar_kind() {
            Some(ScalarKind::Float(1.2)) => Some("1.2"),
            Some(ScalarKind::Float(1.3)) => Some("1.3"),
            _ => node.string(),
        };
        match version {
            Some("1.2") | None => Self::V1_2,
            Some("1.3") => Self::V1_3,
            Some("1.0" | "1.1") => {
                node.problem("TLS 1.2 is the oldest version here: expected \"1.2\" or \"1.3\"");
                Self::V1_2
            }
            Some(_) => {
                node.problem("expected \"1.2\" or \"1.3\"");
                Self::V1_2
            }
        }
    }
}

impl Serialize for TlsVersion {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(match self {
            Self::V1_2 => "1.2",
            Self::V1_3 => "1.3",
        })
    }
}

/// Returns the map of the key `tls`, or `None` if there is none or if it is null.
fn nullable_map<'a>(map: &mut Map<'a>) -> Option<Map<'a>> {
    let node = map.get_nullable("tls")?;
    if node.is_empty() {
        node.problem("expected a map or null, found nothing: `null` is the same as no `tls`");
        return None;
    }
    node.map()
}

fn required_file(map: &mut Map<'_>, key: &str) -> Option<PathBuf> {
    path(&map.required(key)?)
}

/// Reads the path of a file. Null is the same as no path.
fn file(map: &mut Map<'_>, key: &str) -> Option<PathBuf> {
    path(&not_null(map, key)?)
}

/// Reads a path. An empty one is a problem: it may come from a variable that is not set, and
/// without the file the protection would be a weaker one.
fn path(node: &Node<'_>) -> Option<PathBuf> {
    let path = node.string()?;
    if path.is_empty() {
        node.problem("is empty: expected the path of a file");
        return None;
    }
    Some(path.into())
}

fn server_name(map: &mut Map<'_>) -> Option<String> {
    let node = not_null(map, "server_name_override")?;
    let name = node.string()?;
    if rustls::pki_types::ServerName::try_from(name).is_err() {
        node.problem("expected the name of a host, as in otlp.example.com, or an address");
        return None;
    }
    Some(name.to_owned())
}

fn not_null<'a>(map: &mut Map<'a>, key: &str) -> Option<Node<'a>> {
    let node = map.get_nullable(key)?;
    if node.is_empty() {
        node.problem("expected a value or null, found nothing");
        return None;
    }
    Some(node).filter(|node| !node.is_null())
}

fn reload_interval(map: &mut Map<'_>) -> Duration {
    let given = setting(map, "reload_interval").and_then(|node| positive_duration(&node));
    given.unwrap_or(RELOAD_INTERVAL)
}
