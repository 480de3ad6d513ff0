//! The command line of the receivers.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context;
use clap::Args;
use otlp_auth::Scheme;
use otlp_auth::server::CredentialExtractor;
use rustls::ServerConfig;
use tokio::net::TcpListener;

/// The options that all receivers have.
#[derive(Args, Clone, Debug)]
pub struct ReceiverArgs {
    /// File with the accepted tokens: one a line, bare or as name=token. It is followed while it
    /// changes
    #[arg(long, value_name = "FILE")]
    pub tokens: PathBuf,
    /// Address for both OTLP/gRPC and OTLP/HTTP; port 0 takes a free one
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:4317")]
    pub listen: SocketAddr,
    /// Accepted scheme of the Authorization header; may be repeated
    #[arg(long, value_name = "SCHEME", default_value = "StackState")]
    pub scheme: Vec<Scheme>,
    /// PEM file with the server's certificate chain
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    pub tls_cert: Option<PathBuf>,
    /// PEM file with the server's private key
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    pub tls_key: Option<PathBuf>,
}

impl ReceiverArgs {
    /// Returns an extractor that reads credentials from `Authorization`, with the given schemes.
    #[must_use]
    pub fn extractor(&self) -> CredentialExtractor {
        let schemes = self.scheme.iter().cloned();
        schemes.fold(CredentialExtractor::empty(), CredentialExtractor::with_scheme)
    }

    /// Binds the socket and prints its address.
    ///
    /// # Errors
    ///
    /// When the address cannot be bound.
    pub async fn bind(&self) -> anyhow::Result<TcpListener> {
        bind(self.listen).await
    }

    /// Returns the TLS configuration, if the options name a certificate.
    ///
    /// # Errors
    ///
    /// When the certificate or the key cannot be used.
    pub fn tls(&self) -> anyhow::Result<Option<Arc<ServerConfig>>> {
        match (&self.tls_cert, &self.tls_key) {
            (Some(cert), Some(key)) => crate::server_config(cert, key).map(Some),
            _ => Ok(None),
        }
    }
}

/// Binds a socket to this address and prints the address.
///
/// # Errors
///
/// When the address cannot be bound.
pub async fn bind(listen: SocketAddr) -> anyhow::Result<TcpListener> {
    let listener =
        TcpListener::bind(listen).await.with_context(|| format!("cannot listen on {listen}"))?;
    crate::print_line(format_args!("listening on {}", listener.local_addr()?));
    Ok(listener)
}
