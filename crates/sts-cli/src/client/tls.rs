//! Which servers a client trusts over TLS.

use std::path::Path;
use std::sync::Arc;

use reqwest::Url;
use rustls::{ClientConfig, RootCertStore};
use server_trust::{RootsError, certificates_from_pem, server_verifier, system_roots};

use crate::error::{Failure, FailureKind, chain};
use crate::printer::escape;

/// The hint for a file in which no certificate is found. It may be in the binary form of
/// certificates, DER.
const PEM: &str = "Give a file in which each certificate begins with -----BEGIN CERTIFICATE-----";

/// Makes the configuration of TLS. Servers are trusted if the system or the file `ca_cert` has
/// their certificate, or the certificate of its authority. With `http2`, the client offers only
/// HTTP/2.
///
/// If there is no certificate at all, no server is trusted. This is a failure if the URL of the
/// server has https.
pub(super) fn client_config(
    url: &Url,
    ca_cert: Option<&Path>,
    http2: bool,
) -> Result<ClientConfig, Failure> {
    let mut roots = system_roots();
    if let Some(path) = ca_cert {
        let text = std::fs::read(path).map_err(|error| failure(path, &error.to_string()))?;
        let certificates = certificates_from_pem(&text)
            .map_err(|error| failure(path, &chain(&error)).with_hint(PEM))?;
        // The certificates of the system can be used, so an error is about the file.
        server_verifier(certificates.clone(), &provider())
            .map_err(|error| failure(path, &chain(&error)))?;
        roots.extend(certificates);
    }
    let provider = provider();
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|error| configuration(error.to_string()))?;
    let builder = match server_verifier(roots, &provider) {
        Ok(verifier) => builder.dangerous().with_custom_certificate_verifier(verifier),
        Err(RootsError::Empty) if url.scheme() == "https" => return Err(no_authority()),
        Err(RootsError::Empty) => builder.with_root_certificates(RootCertStore::empty()),
        Err(error) => return Err(configuration(chain(&error))),
    };
    let mut config = builder.with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec()];
    if !http2 {
        config.alpn_protocols.push(b"http/1.1".to_vec());
    }
    Ok(config)
}

fn provider() -> Arc<rustls::crypto::CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

fn no_authority() -> Failure {
    configuration(
        "no certificate of this system can be used, so no server can be trusted".to_owned(),
    )
    .with_hint(
        "Give the certificate authority of the server with --ca-cert, or check the files that \
             SSL_CERT_FILE and SSL_CERT_DIR name",
    )
}

fn failure(path: &Path, reason: &str) -> Failure {
    let path = path.to_string_lossy();
    configuration(format!("cannot use the certificates in {} ({reason})", escape(&path)))
}

fn configuration(message: String) -> Failure {
    Failure::new(FailureKind::Configuration, message)
}
