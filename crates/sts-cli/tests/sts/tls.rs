//! Tests of connections with TLS, and of certificates.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use axum::serve::Listener;
use rustls::ServerConfig;
use rustls::pki_types::PrivatePkcs8KeyDer;
use tempfile::NamedTempFile;
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::check::grpc;
use crate::mock::{INFO, KEY, LISTED, Mock, ReceivedRequest, json};
use crate::sts::Sts;

struct TlsListener {
    listener: TcpListener,
    acceptor: TlsAcceptor,
}

impl Listener for TlsListener {
    type Io = TlsStream<TcpStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        loop {
            // A client that does not trust the certificate closes the connection. The server then
            // accepts the next connection.
            if let Ok((stream, address)) = self.listener.accept().await
                && let Ok(stream) = self.acceptor.accept(stream).await
            {
                return (stream, address);
            }
        }
    }

    fn local_addr(&self) -> io::Result<Self::Addr> {
        self.listener.local_addr()
    }
}

/// Starts a server with a self-signed certificate for `127.0.0.1`. Returns the server and a file
/// with the certificate.
fn server() -> (Mock, NamedTempFile) {
    let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
    let file = NamedTempFile::new().unwrap();
    std::fs::write(file.path(), made.cert.pem()).unwrap();
    let key = PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()).into();
    let builder =
        ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()));
    let builder = builder.with_safe_default_protocol_versions().unwrap().with_no_client_auth();
    let mut config = builder.with_single_cert(vec![made.cert.der().clone()], key).unwrap();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let runtime = Runtime::new().unwrap();
    let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
    let address = listener.local_addr().unwrap();
    let listener = TlsListener { listener, acceptor: TlsAcceptor::from(Arc::new(config)) };
    let answer = |request: &ReceivedRequest| match request.line.rsplit('/').next().unwrap() {
        "info" => json(200, INFO),
        "Export" => grpc("0", ""),
        _ => json(200, LISTED),
    };
    (Mock::serve(runtime, listener, address, answer), file)
}

// Scenario: the certificate of the server is self-signed. Commands run without settings, and with
// `--ca-cert` or `--skip-ssl`. Each of these settings is given as a flag, in the environment, or in
// the file.
// Guarantee: without settings, the command fails with a hint. With one of the settings, the command
// succeeds.
#[test]
fn certificates_are_trusted_only_on_request() {
    let (mock, ca) = server();
    let (url, ca) = (format!("https://{}", mock.address), ca.path().to_str().unwrap());
    let sts = || Sts::new().with("STS_CLI_URL", &url).with("STS_CLI_API_TOKEN", "t");
    let outcome = sts().try_key(&["list"]);
    assert_eq!(outcome.code, 4);
    assert!(outcome.stderr.contains("invalid peer certificate"), "{}", outcome.stderr);
    assert!(
        outcome
            .stderr
            .ends_with("check the URL, or give the certificate authority with --ca-cert\n"),
        "{}",
        outcome.stderr
    );
    assert!(mock.request_lines().is_empty());
    sts().key(&["list", "--ca-cert", ca]);
    sts().key(&["list", "--skip-ssl"]);
    sts().with("STS_CLI_CA_CERT", ca).key(&["list"]);
    sts().with("STS_SKIP_SSL", "1").key(&["list"]);
    assert_eq!(sts().with("STS_SKIP_SSL", "true").try_key(&["list", "--skip-ssl=false"]).code, 4);
    let saved = Sts::new();
    assert_eq!(
        saved.run(&["context", "save", "--url", &url, "--api-token", "t", "--ca-cert", ca]).code,
        0
    );
    saved.key(&["list"]);
    assert_eq!(
        saved.run(&["context", "save", "--url", &url, "--api-token", "t", "--skip-ssl"]).code,
        0
    );
    saved.key(&["list"]);
}

// Scenario: endpoints with TLS are checked, with and without `--ca-cert`.
// Guarantee: gRPC and HTTP work over TLS. If the certificate of an endpoint is not trusted, the
// endpoint counts as unreachable.
#[test]
fn endpoints_behind_tls_are_checked() {
    let (mock, ca) = server();
    let url = format!("https://{}", mock.address);
    let args = ["check", "--otlp-grpc", &url, "--otlp-http", &url, "--agent", &url];
    let sts = || Sts::new().with("API_KEY", KEY);
    assert_eq!(
        sts()
            .key(&[&args[..], &["--ca-cert", ca.path().to_str().unwrap()]].concat())
            .matches(": accepted\n")
            .count(),
        3
    );
    let outcome = sts().try_key(&args);
    assert_eq!(
        (outcome.code, outcome.stdout.matches(": no response (invalid peer certificate").count()),
        (4, 3),
        "{outcome:?}"
    );
}

// Scenario: the file of `--ca-cert` has no certificate.
// Guarantee: the exit code is 1, and the message has the path of the file.
#[test]
fn a_file_without_certificates() {
    let file = NamedTempFile::new().unwrap();
    let path = file.path().to_str().unwrap();
    let outcome = Sts::new().try_key(&[
        "list",
        "--url",
        "https://127.0.0.1:1",
        "--api-token",
        "t",
        "--ca-cert",
        path,
    ]);
    assert_eq!(
        (outcome.code, outcome.stderr),
        (
            1,
            format!(
                "[ERROR] Cannot use the certificates in {path} (the file contains no certificate)\n"
            )
        )
    );
}
