//! The server's side of TLS.

use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_stream::{Stream, StreamExt, wrappers::ReceiverStream};

/// A client that does not go on with its handshake is dropped after this time.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// Serves this certificate, for HTTP/2 and HTTP/1.1: OTLP/gRPC needs the one, and many OTLP/HTTP
/// senders know only the other.
///
/// # Errors
///
/// When certificate or key cannot be read, or do not fit together.
pub fn server_config(cert: &Path, key: &Path) -> anyhow::Result<Arc<ServerConfig>> {
    let unreadable = |path: &Path| format!("cannot read {}", path.display());
    let chain = CertificateDer::pem_file_iter(cert)
        .and_then(Iterator::collect)
        .with_context(|| unreadable(cert))?;
    let key = PrivateKeyDer::from_pem_file(key).with_context(|| unreadable(key))?;
    // The provider is named: a process that links two of them has no default one.
    let builder =
        ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()));
    let mut config = builder
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(chain, key)?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

/// A listener whose connections have their handshake behind them. No client waits for the handshake
/// of another.
#[derive(Debug)]
pub struct TlsListener {
    accepted: mpsc::Receiver<(TlsStream<TcpStream>, SocketAddr)>,
    address: SocketAddr,
}

impl TlsListener {
    /// Accepts connections from `listener` until this is dropped.
    ///
    /// # Errors
    ///
    /// When the address of `listener` cannot be found out.
    pub fn new(listener: TcpListener, config: Arc<ServerConfig>) -> io::Result<Self> {
        let address = listener.local_addr()?;
        let (sender, accepted) = mpsc::channel(16);
        tokio::spawn(async move {
            tokio::select! {
                () = sender.closed() => {}
                () = accept(listener, config.into(), &sender) => {}
            }
        });
        Ok(Self { accepted, address })
    }

    /// The connections, as tonic's server takes them.
    pub fn into_stream(self) -> impl Stream<Item = io::Result<TlsStream<TcpStream>>> {
        ReceiverStream::new(self.accepted).map(|(stream, _)| Ok(stream))
    }
}

/// As axum's server takes them.
impl axum::serve::Listener for TlsListener {
    type Io = TlsStream<TcpStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, SocketAddr) {
        match self.accepted.recv().await {
            Some(connection) => connection,
            // The sender lives as long as this.
            None => std::future::pending().await,
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.address)
    }
}

async fn accept(
    mut listener: TcpListener,
    acceptor: TlsAcceptor,
    sender: &mpsc::Sender<(TlsStream<TcpStream>, SocketAddr)>,
) {
    loop {
        // axum's `accept` waits a little when the process has no file descriptors left.
        let (stream, address) = axum::serve::Listener::accept(&mut listener).await;
        let (handshake, sender) = (acceptor.accept(stream), sender.clone());
        tokio::spawn(async move {
            match timeout(HANDSHAKE_TIMEOUT, handshake).await {
                // The send fails when the server has stopped.
                Ok(Ok(stream)) => drop(sender.send((stream, address)).await),
                Ok(Err(error)) => tracing::debug!(%error, %address, "TLS handshake failed"),
                Err(_) => tracing::debug!(%address, "TLS handshake timed out"),
            }
        });
    }
}
