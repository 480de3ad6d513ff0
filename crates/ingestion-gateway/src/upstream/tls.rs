//! TLS to an upstream: whom this gateway trusts, and how it identifies itself.

use std::io;
use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls::ClientConfig;
use rustls::client::danger::ServerCertVerifier;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::ServerName;
use server_trust::{RootsError, any_server, server_verifier, system_roots};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::config::ClientTlsConfig;
use crate::tls::{self, Contents, Reload, Reloads, TlsError};

/// The one protocol that is offered to an upstream (ALPN).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Alpn {
    /// HTTP/2.
    H2,
    /// HTTP/1.1.
    Http1,
}

/// The TLS of one upstream. A clone has the same certificates.
#[derive(Clone, Debug)]
pub(crate) struct ClientTls {
    current: Arc<ArcSwap<ClientConfig>>,
    /// The name that the certificate must have, if it is not the host of the endpoint.
    name: Option<ServerName<'static>>,
}

impl ClientTls {
    /// Reads the files of the upstream at this path of the configuration. Returns also the task
    /// that looks at these files again.
    ///
    /// # Errors
    ///
    /// Fails if the files cannot be used, or if there is no authority to trust.
    pub(crate) fn open(
        upstream: &'static str,
        config: &ClientTlsConfig,
        alpn: Alpn,
        reloads: &Reloads,
    ) -> Result<(Self, Reload), TlsError> {
        let files = [&config.ca_file, &config.cert_file, &config.key_file];
        let files = files.into_iter().flatten().cloned().collect();
        let name = config.server_name_override.as_deref().and_then(server_name);
        let (config, interval) = (config.clone(), config.reload_interval);
        let make = move |contents: &Contents| client_config(&config, alpn, contents);
        let (current, reload) = tls::open(upstream, files, interval, reloads, make)?;
        Ok((Self { current, name }, reload))
    }

    /// Makes the handshake with the upstream at `host`, a name or an address. The caller limits how
    /// long this may take.
    ///
    /// # Errors
    ///
    /// Fails if the upstream is not trusted or does not use TLS.
    pub(crate) async fn connect<S>(&self, host: &str, stream: S) -> io::Result<TlsStream<S>>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let invalid = || io::Error::new(io::ErrorKind::InvalidInput, "not the name of a host");
        let name = match &self.name {
            Some(name) => name.clone(),
            None => server_name(host).ok_or_else(invalid)?,
        };
        TlsConnector::from(self.current.load_full()).connect(name, stream).await
    }
}

/// Reads the name of a host, or an address. An IPv6 address may have brackets, as in a URL.
fn server_name(host: &str) -> Option<ServerName<'static>> {
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    ServerName::try_from(bare.to_owned()).ok()
}

fn client_config(
    config: &ClientTlsConfig,
    alpn: Alpn,
    contents: &Contents,
) -> Result<ClientConfig, TlsError> {
    let provider = tls::provider();
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(tls::versions(config.min_version))
        .map_err(TlsError::SetUp)?
        .dangerous()
        .with_custom_certificate_verifier(verifier(config, contents, &provider)?);
    let mut client = match (&config.cert_file, &config.key_file) {
        (Some(cert), Some(key)) => {
            let chain = tls::certificates(contents, cert)?;
            builder
                .with_client_auth_cert(chain, tls::private_key(contents, key)?)
                .map_err(|source| TlsError::Pair { cert: cert.clone(), key: key.clone(), source })?
        }
        _ => builder.with_no_client_auth(),
    };
    client.alpn_protocols = vec![match alpn {
        Alpn::H2 => b"h2".to_vec(),
        Alpn::Http1 => b"http/1.1".to_vec(),
    }];
    Ok(client)
}

fn verifier(
    config: &ClientTlsConfig,
    contents: &Contents,
    provider: &Arc<CryptoProvider>,
) -> Result<Arc<dyn ServerCertVerifier>, TlsError> {
    if config.insecure_skip_verify {
        return Ok(any_server(provider));
    }
    let mut roots = match &config.ca_file {
        Some(path) => tls::certificates(contents, path)?,
        None => Vec::new(),
    };
    // The authorities of the system come last, so that the number in an error is that of the file.
    if config.ca_file.is_none() || config.include_system_ca_certs_pool {
        roots.extend(system_roots());
    }
    server_verifier(roots, provider).map_err(|source| match (source, &config.ca_file) {
        (RootsError::Empty, _) | (_, None) => TlsError::NoAuthority,
        (source, Some(path)) => TlsError::Certificates { path: path.clone(), source },
    })
}
