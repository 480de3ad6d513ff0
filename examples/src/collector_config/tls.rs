//! The `tls` block of an exporter.

use std::path::PathBuf;

use otel_confmap::{Map, Node};
use secrecy::SecretString;

use super::unsupported::is_empty;

/// The Collector's settings that have no effect here. None of them weakens the protection by being
/// ignored.
const NO_EFFECT: [&str; 3] = ["include_insecure_cipher_suites", "max_version", "reload_interval"];

/// The Collector's settings that are errors, because the protection would be another one.
const UNSUPPORTED: [&str; 2] = ["cipher_suites", "curve_preferences"];

/// How an exporter secures its connection.
#[derive(Clone, Debug, Default)]
pub struct TlsConfig {
    insecure: bool,
    ca: Option<Pem>,
    system_roots: bool,
    identity: Option<TlsIdentity>,
    server_name: Option<String>,
}

/// Certificates or a private key. `Debug` hides PEM text.
#[derive(Clone, Debug)]
pub enum Pem {
    /// A PEM file. Its content has not been read yet.
    File(PathBuf),
    /// PEM text. Its content has not been checked.
    Text(SecretString),
}

/// The certificate of a client and its private key.
#[derive(Clone, Debug)]
pub struct TlsIdentity {
    cert: Pem,
    key: Pem,
}

impl TlsIdentity {
    /// The certificate chain: `cert_file` or `cert_pem`.
    #[must_use]
    pub fn cert(&self) -> &Pem {
        &self.cert
    }

    /// The private key: `key_file` or `key_pem`.
    #[must_use]
    pub fn key(&self) -> &Pem {
        &self.key
    }
}

impl TlsConfig {
    /// Whether `insecure` is set. If so, the connection to an OTLP/gRPC endpoint without a scheme
    /// is plaintext.
    #[must_use]
    pub fn is_insecure(&self) -> bool {
        self.insecure
    }

    /// The certificate authorities that the server is verified with: `ca_file` or `ca_pem`. `None`
    /// means the certificate authorities of the system.
    #[must_use]
    pub fn ca(&self) -> Option<&Pem> {
        self.ca.as_ref()
    }

    /// Whether the certificate authorities of the system are trusted, too: always if there is no
    /// [`ca`](Self::ca), and otherwise with `include_system_ca_certs_pool`.
    #[must_use]
    pub fn system_roots(&self) -> bool {
        self.system_roots || self.ca.is_none()
    }

    /// The client's certificate and key.
    #[must_use]
    pub fn identity(&self) -> Option<&TlsIdentity> {
        self.identity.as_ref()
    }

    /// The name that the server's certificate must have, if it is not the host of the endpoint:
    /// `server_name_override`.
    #[must_use]
    pub fn server_name(&self) -> Option<&str> {
        self.server_name.as_deref()
    }

    pub(super) fn read(node: &Node<'_>) -> Option<Self> {
        let mut map = node.map()?;
        let insecure = map.get("insecure").and_then(|node| node.bool()).unwrap_or_default();
        if let Some(node) = map.get("insecure_skip_verify")
            && node.bool() == Some(true)
            && !insecure
        {
            node.problem("not supported: certificates are always verified; name the server's authority in `ca_file`");
        }
        let ca = pem(&mut map, "ca_file", "ca_pem");
        let cert = pem(&mut map, "cert_file", "cert_pem");
        let key = pem(&mut map, "key_file", "key_pem");
        if cert.is_some() != key.is_some() {
            node.problem("a client certificate needs both `cert_file` or `cert_pem`, and `key_file` or `key_pem`");
        }
        if insecure && (ca.is_some() || cert.is_some()) {
            node.problem("`insecure` and certificates contradict each other: remove one of them");
        }
        let server_name = map
            .get("server_name_override")
            .and_then(|node| node.string())
            .filter(|name| !name.is_empty());
        let system_roots = map.get("include_system_ca_certs_pool").and_then(|node| node.bool());
        if let Some(node) = map.get("min_version") {
            match node.string() {
                Some("1.0" | "1.1") => {
                    node.warning("has no effect: TLS 1.2 is the oldest version here")
                }
                Some("1.2" | "") | None => {}
                Some("1.3") => node.problem("not supported: TLS 1.2 would be accepted, too"),
                Some(_) => node.problem("expected one of \"1.0\", \"1.1\", \"1.2\", \"1.3\""),
            }
        }
        for key in UNSUPPORTED {
            if let Some(node) = map.get(key).filter(|node| !is_empty(node)) {
                node.problem("not supported: the connection would be protected in another way");
            }
        }
        if let Some(mut tpm) = map.get("tpm").and_then(|node| node.map())
            && let Some(node) = tpm.get("enabled")
            && node.bool() == Some(true)
        {
            node.problem("not supported: the key of the TPM would not be used");
        }
        for key in NO_EFFECT {
            if let Some(node) = map.get(key) {
                node.warning("has no effect here");
            }
        }
        map.warn_unknown();
        let identity = cert.zip(key).map(|(cert, key)| TlsIdentity { cert, key });
        Some(Self {
            insecure,
            ca,
            system_roots: system_roots.unwrap_or_default(),
            identity,
            server_name: server_name.map(str::to_owned),
        })
    }
}

/// Reads PEM from the path of a file or from a text. As in the Collector, an empty setting counts
/// as absent.
fn pem(map: &mut Map<'_>, file: &str, text: &str) -> Option<Pem> {
    let (file_node, text_node) = (map.get(file), map.get(text));
    let path = file_node.and_then(|node| node.string()).filter(|path| !path.is_empty());
    let pem = text_node.and_then(|node| node.string()).filter(|pem| !pem.is_empty());
    match (path, pem) {
        (Some(_), Some(_)) => {
            map.node().problem(format!("both `{file}` and `{text}` are given: keep one"));
            None
        }
        (Some(path), None) => Some(Pem::File(PathBuf::from(path))),
        (None, pem) => pem.map(|pem| Pem::Text(SecretString::from(pem))),
    }
}
