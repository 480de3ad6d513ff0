//! TLS for the receivers.

use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_stream::{Stream, StreamExt, wrappers::ReceiverStream};

use crate::{Connection, Listener};

/// The time that a client may take for its handshake.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// Creates the configuration of a server with this certificate. The server offers HTTP/2, which
/// OTLP/gRPC needs, and HTTP/1.1, because many OTLP/HTTP senders support no other version.
///
/// # Errors
///
/// When the certificate or the key cannot be read, or when they do not belong together.
pub fn server_config(cert: &Path, key: &Path) -> anyhow::Result<Arc<ServerConfig>> {
    let unreadable = |path: &Path| format!("cannot read {}", path.display());
    let chain = CertificateDer::pem_file_iter(cert)
        .and_then(Iterator::collect)
        .with_context(|| unreadable(cert))?;
    let key = PrivateKeyDer::from_pem_file(key).with_context(|| unreadable(key))?;
    // The provider is named explicitly, because rustls has no default in a process that links two
    // providers.
    let builder =
        ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()));
    let mut config = builder
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(chain, key)?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

/// A listener that accepts connections and completes their TLS handshakes. The handshakes run
/// concurrently, so that a slow client does not delay others.
#[derive(Debug)]
pub struct TlsListener {
    accepted: mpsc::Receiver<(TlsStream<Connection>, SocketAddr)>,
    address: SocketAddr,
}

impl TlsListener {
    /// Accepts connections from `listener` until the returned listener is dropped.
    ///
    /// # Errors
    ///
    /// When the address of `listener` cannot be read.
    pub fn new(listener: TcpListener, config: Arc<ServerConfig>) -> io::Result<Self> {
        let address = listener.local_addr()?;
        let (sender, accepted) = mpsc::channel(16);
        tokio::spawn(async move {
            tokio::select! {
                () = sender.closed() => {}
                () = accept(Listener(listener), config.into(), &sender) => {}
            }
        });
        Ok(Self { accepted, address })
    }

    /// Returns the connections as a stream, which tonic's server requires.
    pub fn into_stream(self) -> impl Stream<Item = io::Result<TlsStream<Connection>>> {
        ReceiverStream::new(self.accepted).map(|(stream, _)| Ok(stream))
    }
}

/// The trait that axum's server requires.
impl axum::serve::Listener for TlsListener {
    type Io = TlsStream<Connection>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, SocketAddr) {
        match self.accepted.recv().await {
            Some(connection) => connection,
            // This is unreachable, because the sender lives until the listener is dropped.
            None => std::future::pending().await,
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.address)
    }
}

async fn accept(
    mut listener: Listener,
    acceptor: TlsAcceptor,
    sender: &mpsc::Sender<(TlsStream<Connection>, SocketAddr)>,
) {
    loop {
        let (stream, address) = axum::serve::Listener::accept(&mut listener).await;
        let (handshake, sender) = (acceptor.accept(stream), sender.clone());
        tokio::spawn(async move {
            match timeout(HANDSHAKE_TIMEOUT, handshake).await {
                // An error of sending is ignored. It only means that the server has stopped.
                Ok(Ok(stream)) => drop(sender.send((stream, address)).await),
                Ok(Err(error)) => tracing::debug!(%error, %address, "TLS handshake failed"),
                Err(_) => tracing::debug!(%address, "TLS handshake timed out"),
            }
        });
    }
}
