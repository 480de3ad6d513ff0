//! Certificates.

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
use crate::mock::{Asked, INFO, KEY, LISTED, Mock, json};
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
            // A client that does not like the certificate goes away.
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

/// A server with a certificate of its own for `127.0.0.1`, and the file with it.
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
    let answer = |asked: &Asked| match asked.line.rsplit('/').next().unwrap() {
        "info" => json(200, INFO),
        "Export" => grpc("0", ""),
        _ => json(200, LISTED),
    };
    (Mock::on(runtime, listener, address, answer), file)
}

// Scenario: a server with a certificate that nobody vouches for, without more, with `--ca-cert`,
// with `--skip-ssl`, and each by environment and file. Guarantee: it is refused with what to do,
// unless it was told to trust it.
#[test]
fn certificates_are_trusted_when_told() {
    let (mock, ca) = server();
    let (url, ca) = (format!("https://{}", mock.address), ca.path().to_str().unwrap());
    let sts = || Sts::new().with("STS_CLI_URL", &url).with("STS_CLI_API_TOKEN", "t");
    let outcome = sts().try_key(&["list"]);
    assert_eq!(outcome.code, 4);
    assert!(outcome.stderr.contains("invalid peer certificate"), "{}", outcome.stderr);
    assert!(
        outcome.stderr.ends_with("check the URL, or name the authority with --ca-cert\n"),
        "{}",
        outcome.stderr
    );
    assert!(mock.lines().is_empty());
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

// Scenario: endpoints behind TLS are checked, without more, and with the authority named.
// Guarantee: gRPC and HTTP are spoken over TLS; a certificate that nobody vouches for is no answer.
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
        (outcome.code, outcome.stdout.matches(": no answer (invalid peer certificate").count()),
        (4, 3),
        "{outcome:?}"
    );
}

// Scenario: the file with authorities has none.
// Guarantee: exit code 1, and the file is named.
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
        (1, format!("[ERROR] Cannot use the certificates of {path} (there is none in it)\n"))
    );
}
