//! TLS of a listener: its certificate, the certificates of its clients, and the handshake.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;

use arc_swap::ArcSwap;
use opentelemetry::KeyValue;
use opentelemetry::metrics::{Counter, Meter};
use rustls::crypto::ring::Ticketer;
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use server_trust::RootsError;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::config::{Config, Protocols, ServerTlsConfig};
use crate::error::RunError;
use crate::tls::{self, Contents, Reload, Reloads, TlsError};

/// The protocols that are offered to clients (ALPN). OTLP/gRPC needs HTTP/2, and many senders of
/// OTLP/HTTP support HTTP/1.1 alone.
const ALPN: [&[u8]; 2] = [b"h2", b"http/1.1"];

/// The TLS of one listener. A clone has the same certificate.
#[derive(Clone, Debug)]
pub(crate) struct ServerTls {
    current: Arc<ArcSwap<ServerConfig>>,
    handshakes: Handshakes,
}

/// The TLS of every listener that has it, by the path of the listener in the configuration.
pub(crate) type ListenerTls = HashMap<&'static str, ServerTls>;

/// Reads the files of all listeners that have TLS. Returns also the tasks that look at these files
/// again.
///
/// # Errors
///
/// When the files of a listener cannot be used.
pub(crate) fn open_all(
    config: &Config,
    meter: &Meter,
    reloads: &Reloads,
) -> Result<(ListenerTls, Vec<Reload>), RunError> {
    let Config { receivers, management, authorize, telemetry, .. } = config;
    let Protocols { grpc, http } = &receivers.otlp.protocols;
    let listeners = [
        ("receivers.otlp.protocols.grpc", grpc.as_ref().and_then(|grpc| grpc.tls.as_ref())),
        ("receivers.otlp.protocols.http", http.as_ref().and_then(|http| http.tls.as_ref())),
        ("receivers.agent", receivers.agent.as_ref().and_then(|agent| agent.tls.as_ref())),
        ("management", management.as_ref().and_then(|management| management.tls.as_ref())),
        ("authorize", authorize.as_ref().and_then(|authorize| authorize.tls.as_ref())),
        ("telemetry", telemetry.endpoint.as_ref().and(telemetry.tls.as_ref())),
    ];
    let mut all = ListenerTls::new();
    let mut tasks = Vec::new();
    for (listener, config) in listeners {
        let Some(config) = config else { continue };
        let (tls, reload) = ServerTls::open(listener, config, meter, reloads)
            .map_err(|source| RunError::Tls { section: listener, source: source.into() })?;
        all.insert(listener, tls);
        tasks.push(reload);
    }
    Ok((all, tasks))
}

impl ServerTls {
    fn open(
        listener: &'static str,
        config: &ServerTlsConfig,
        meter: &Meter,
        reloads: &Reloads,
    ) -> Result<(Self, Reload), TlsError> {
        let mut files = vec![config.cert_file.clone(), config.key_file.clone()];
        files.extend(config.client_ca_file.clone());
        let (config, interval) = (config.clone(), config.reload_interval);
        let make = move |contents: &Contents| server_config(&config, contents);
        let (current, reload) = tls::open(listener, files, interval, reloads, make)?;
        Ok((Self { current, handshakes: Handshakes::new(listener, meter) }, reload))
    }

    /// Answers the handshake of a client. The caller limits how long this may take.
    ///
    /// # Errors
    ///
    /// Fails if the client sends something other than TLS, or if the two sides do not agree.
    pub(crate) async fn accept<S>(&self, stream: S) -> io::Result<TlsStream<S>>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let mut handshake = self.handshakes.begin();
        let accepted = TlsAcceptor::from(self.current.load_full()).accept(stream).await;
        handshake.failure = accepted.as_ref().err().map(failure);
        accepted
    }
}

/// A new configuration has its own tickets. So a session that began with an authority which is no
/// longer trusted cannot be resumed.
fn server_config(config: &ServerTlsConfig, contents: &Contents) -> Result<ServerConfig, TlsError> {
    let provider = tls::provider();
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(tls::versions(config.min_version))
        .map_err(TlsError::SetUp)?;
    let builder = match &config.client_ca_file {
        None => builder.with_no_client_auth(),
        Some(path) => {
            let unusable = |source| TlsError::Certificates { path: path.clone(), source };
            let mut roots = RootCertStore::empty();
            for (index, root) in tls::certificates(contents, path)?.into_iter().enumerate() {
                roots.add(root).map_err(|source| {
                    unusable(RootsError::Certificate { number: index + 1, source })
                })?;
            }
            let verifier = WebPkiClientVerifier::builder_with_provider(roots.into(), provider);
            // There are no revocation lists, so the only possible error is that there is no root.
            let verifier = verifier.build().map_err(|_| unusable(RootsError::Empty))?;
            builder.with_client_cert_verifier(verifier)
        }
    };
    let (cert, key) = (&config.cert_file, &config.key_file);
    let chain = tls::certificates(contents, cert)?;
    let mut server = builder
        .with_single_cert(chain, tls::private_key(contents, key)?)
        .map_err(|source| TlsError::Pair { cert: cert.clone(), key: key.clone(), source })?;
    server.alpn_protocols = ALPN.map(<[u8]>::to_vec).into();
    // Tickets need no memory here, however many clients come back.
    server.ticketer = Ticketer::new().map_err(TlsError::SetUp)?;
    Ok(server)
}

/// Counts the handshakes of a listener.
#[derive(Clone, Debug)]
struct Handshakes {
    listener: &'static str,
    counter: Counter<u64>,
}

/// A handshake that is counted when this value is dropped.
struct Handshake<'a> {
    handshakes: &'a Handshakes,
    failure: Option<&'static str>,
}

impl Handshakes {
    fn new(listener: &'static str, meter: &Meter) -> Self {
        let counter = meter.u64_counter("ingestion.tls.handshakes").with_unit("{handshake}");
        let counter = counter.with_description("TLS handshakes of clients").build();
        Self { listener, counter }
    }

    fn begin(&self) -> Handshake<'_> {
        Handshake { handshakes: self, failure: Some("abandoned") }
    }
}

impl Drop for Handshake<'_> {
    fn drop(&mut self) {
        let Handshakes { listener, counter } = self.handshakes;
        let listener = KeyValue::new("listener", *listener);
        match self.failure {
            None => counter.add(1, &[listener, KeyValue::new("outcome", "success")]),
            Some(reason) => counter.add(
                1,
                &[
                    listener,
                    KeyValue::new("outcome", "failure"),
                    KeyValue::new("error.type", reason),
                ],
            ),
        }
    }
}

/// Says in one word why a handshake failed.
fn failure(error: &io::Error) -> &'static str {
    use rustls::Error::{
        AlertReceived, InvalidCertificate, InvalidMessage, NoApplicationProtocol,
        NoCertificatesPresented, PeerIncompatible,
    };
    match error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
        // The client does not trust the certificate, or has closed the connection.
        Some(AlertReceived(_)) => "refused_by_client",
        Some(InvalidCertificate(_)) => "client_certificate",
        Some(NoCertificatesPresented) => "no_client_certificate",
        Some(InvalidMessage(_)) => "not_tls",
        Some(NoApplicationProtocol | PeerIncompatible(_)) => "incompatible",
        Some(_) => "protocol",
        None => "disconnected",
    }
}
