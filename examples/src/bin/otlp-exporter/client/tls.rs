//! TLS, configured like the exporter of a Collector.

use std::error::Error;
use std::sync::Arc;

use anyhow::Context;
use otlp_auth_examples::collector_config::ExporterConfig;
use rustls::ClientConfig;
use rustls::client::danger::ServerCertVerifier;
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject;
use server_trust::{TlsFailure, certificates_from_pem, server_verifier, system_roots};
use tonic::transport::{ClientTlsConfig, Endpoint, Identity};

use super::read;

/// Returns the configuration for HTTP/1.1 over TLS.
pub(super) fn client_config(config: &ExporterConfig) -> anyhow::Result<ClientConfig> {
    let provider = provider();
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()?
        .dangerous()
        .with_custom_certificate_verifier(verifier(config, &provider)?);
    let mut tls = match config.tls().identity() {
        Some(identity) => {
            let chain = certificates_from_pem(&read(identity.cert())?).context("tls.cert_file")?;
            let key = PrivateKeyDer::from_pem_slice(&read(identity.key())?);
            let key = key.context("tls.key_file")?;
            builder.with_client_auth_cert(chain, key).context("tls.cert_file, tls.key_file")?
        }
        None => builder.with_no_client_auth(),
    };
    tls.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(tls)
}

/// Sets up TLS for an OTLP/gRPC endpoint.
pub(super) fn grpc_endpoint(
    config: &ExporterConfig,
    endpoint: Endpoint,
) -> anyhow::Result<Endpoint> {
    let mut tls = ClientTlsConfig::new();
    if let Some(identity) = config.tls().identity() {
        tls = tls.identity(Identity::from_pem(read(identity.cert())?, read(identity.key())?));
    }
    if let Some(name) = config.tls().server_name() {
        tls = tls.domain_name(name);
    }
    let verifier = verifier(config, &provider())?;
    endpoint.tls_config_with_verifier(tls, verifier).context("TLS")
}

/// Logs what to do about an error, if it is a failure of TLS.
pub(super) fn log_hint(error: &(dyn Error + 'static)) {
    let hint = match TlsFailure::find(error) {
        Some(TlsFailure::Expired) => "the server's certificate has expired: renew it",
        Some(TlsFailure::NotYetValid) => {
            "the server's certificate is not valid yet: check the clock of this machine"
        }
        Some(TlsFailure::WrongName) => {
            "the server's certificate is for another name: check `endpoint`, or set `tls.server_name_override` to a name of the certificate"
        }
        Some(TlsFailure::WrongPurpose) => "the server's certificate is not meant for servers",
        Some(TlsFailure::Untrusted) => {
            "the server's certificate is not trusted: name the certificate of its authority in `tls.ca_file`"
        }
        Some(TlsFailure::SelfSigned) => {
            "the server's self-signed certificate is not trusted: name this certificate in `tls.ca_file`"
        }
        Some(TlsFailure::Authority) => {
            "the server's certificate is marked as that of an authority: name this certificate in `tls.ca_file`"
        }
        Some(TlsFailure::Certificate) => "the server's certificate cannot be accepted",
        Some(TlsFailure::NotTls) => {
            "the server does not seem to use TLS: check the port of `endpoint`; for plaintext, begin it with http://"
        }
        Some(TlsFailure::Refused) => {
            "the server refused the TLS connection: it may demand a certificate in `tls.cert_file` and `tls.key_file`"
        }
        Some(TlsFailure::Other) | None => return,
    };
    tracing::error!("{hint}");
}

fn provider() -> Arc<CryptoProvider> {
    // The provider is named explicitly, because rustls has no default in a process that links two
    // providers.
    Arc::new(ring::default_provider())
}

/// Returns the verifier of the server's certificate. It trusts the certificates of the
/// configuration, or those of the system, and a self-signed certificate that is one of them.
fn verifier(
    config: &ExporterConfig,
    provider: &Arc<CryptoProvider>,
) -> anyhow::Result<Arc<dyn ServerCertVerifier>> {
    let mut roots = match config.tls().ca() {
        Some(ca) => certificates_from_pem(&read(ca)?).context("tls.ca_file")?,
        None => Vec::new(),
    };
    if config.tls().system_roots() {
        roots.extend(system_roots());
    }
    server_verifier(roots, provider).context("tls.ca_file, or the authorities of the system")
}
