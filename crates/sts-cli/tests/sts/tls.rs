//! Tests of connections with TLS, and of certificates.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use axum::serve::Listener;
use rcgen::{
    BasicConstraints, Certificate, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair,
    date_time_ymd,
};
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

/// The parameters of the certificate that `openssl req -x509` makes for `127.0.0.1`: it is marked
/// as the certificate of an authority.
fn params() -> CertificateParams {
    let mut params = CertificateParams::new(["127.0.0.1".to_owned()]).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params
}

/// Starts a server with a self-signed certificate. Returns the server and a file with the
/// certificate.
fn server(params: &CertificateParams) -> (Mock, NamedTempFile) {
    let key = KeyPair::generate().unwrap();
    let certificate = params.self_signed(&key).unwrap();
    let file = NamedTempFile::new().unwrap();
    std::fs::write(file.path(), certificate.pem()).unwrap();
    (serve(&certificate, &key), file)
}

/// Starts a server with a certificate and its key.
fn serve(certificate: &Certificate, key: &KeyPair) -> Mock {
    let key = PrivatePkcs8KeyDer::from(key.serialize_der()).into();
    let builder =
        ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()));
    let builder = builder.with_safe_default_protocol_versions().unwrap().with_no_client_auth();
    let mut config = builder.with_single_cert(vec![certificate.der().clone()], key).unwrap();
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
    Mock::serve(runtime, listener, address, answer)
}

/// Runs `list` against a server that has TLS, and returns the reason and the hint of the failure.
fn refusal(mock: &Mock, ca: &NamedTempFile) -> (String, String) {
    let args = ["--url", &format!("https://{}", mock.address), "--api-token", "t"];
    let ca = ["--ca-cert", ca.path().to_str().unwrap()];
    let outcome = Sts::new().try_key(&[&["list"], &args[..], &ca].concat());
    assert_eq!(outcome.code, 4, "{outcome:?}");
    assert!(mock.request_lines().is_empty());
    let (message, hint) = outcome.stderr.trim_end().split_once('\n').unwrap();
    let reason = message.split_once("(invalid peer certificate: ").unwrap().1;
    (reason.strip_suffix(')').unwrap().to_owned(), hint.to_owned())
}

// Scenario: the certificate of a server is not accepted, for a different reason each time.
// Guarantee: the message has the reason, with the names of the certificate if the name is wrong.
// The hint says what to do about this reason. A self-signed certificate is checked although the
// user named it.
#[test]
fn the_hint_says_what_is_wrong_with_a_certificate() {
    let unrelated = server(&params()).1;
    let (mock, _) = server(&params());
    let self_signed = refusal(&mock, &unrelated);
    assert_eq!(
        (self_signed.0.as_str(), self_signed.1.as_str()),
        (
            "self-signed certificate",
            "The certificate of the server is self-signed: if it is the right one, give this \
             certificate with --ca-cert"
        )
    );
    let mut leaf = params();
    leaf.is_ca = IsCa::NoCa;
    leaf.distinguished_name.push(DnType::CommonName, "issued");
    let mut authority = params();
    authority.distinguished_name.push(DnType::CommonName, "authority");
    let issuer = CertifiedIssuer::self_signed(authority, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let (reason, hint) = refusal(&serve(&leaf.signed_by(&key, &issuer).unwrap(), &key), &unrelated);
    assert_eq!(reason, "UnknownIssuer");
    assert!(hint.starts_with("No trusted authority issued the certificate"), "{hint}");
    let mut expired = params();
    (expired.not_before, expired.not_after) =
        (date_time_ymd(2000, 1, 1), date_time_ymd(2001, 1, 1));
    let mut early = params();
    early.not_before = date_time_ymd(4000, 1, 1);
    let mut named = CertificateParams::new(["sts.example".to_owned()]).unwrap();
    named.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    for (params, in_reason, in_hint) in [
        (expired, "certificate expired: ", "has expired: renew it"),
        (early, "certificate not valid yet: ", "is not valid yet: check the clock"),
        (named, "is only valid for DnsName(\"sts.example\")", "is for other names: use one"),
    ] {
        let (mock, ca) = server(&params);
        let (reason, hint) = refusal(&mock, &ca);
        assert!(reason.contains(in_reason) && hint.contains(in_hint), "{reason}: {hint}");
    }
}

// Scenario: the certificate of the server is self-signed, with and without the mark of an
// authority. Commands run without settings, and with `--ca-cert` or `--skip-ssl`. Each of these
// settings is given as a flag, in the environment, or in the file. In one case, the variable of
// OpenSSL names the certificate.
// Guarantee: without settings, the command fails with a hint. With one of the settings, the command
// succeeds.
#[test]
fn certificates_are_trusted_only_on_request() {
    for is_ca in [IsCa::Ca(BasicConstraints::Unconstrained), IsCa::NoCa] {
        let mut params = params();
        params.is_ca = is_ca;
        trusted_only_on_request(&params);
    }
}

fn trusted_only_on_request(params: &CertificateParams) {
    let (mock, ca) = server(params);
    let (url, ca) = (format!("https://{}", mock.address), ca.path().to_str().unwrap());
    let sts = || Sts::new().with("STS_CLI_URL", &url).with("STS_CLI_API_TOKEN", "t");
    let outcome = sts().try_key(&["list"]);
    assert_eq!(outcome.code, 4);
    assert!(outcome.stderr.contains("invalid peer certificate"), "{}", outcome.stderr);
    assert!(outcome.stderr.ends_with("with --ca-cert\n"), "{}", outcome.stderr);
    assert!(mock.request_lines().is_empty());
    sts().key(&["list", "--ca-cert", ca]);
    sts().key(&["list", "--skip-ssl"]);
    sts().with("STS_CLI_CA_CERT", ca).key(&["list"]);
    sts().with("SSL_CERT_FILE", ca).key(&["list"]);
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
    let (mock, ca) = server(&params());
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

// Scenario: the system has no certificate that can be used, because the variable of OpenSSL names
// an empty file. The URL has https, and then http.
// Guarantee: with https, the message says that no server can be trusted. With http, no certificate
// is needed.
#[test]
fn a_system_without_certificates() {
    let file = NamedTempFile::new().unwrap();
    let sts = || Sts::new().with("SSL_CERT_FILE", file.path().to_str().unwrap());
    let outcome = sts().try_key(&["list", "--url", "https://127.0.0.1:1", "--api-token", "t"]);
    let message =
        "[ERROR] No certificate of this system can be used, so no server can be trusted\n";
    assert!(outcome.code == 1 && outcome.stderr.starts_with(message), "{outcome:?}");
    let mock = Mock::contract();
    sts().key(&["list", "--url", &mock.url(), "--api-token", "t"]);
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
                "[ERROR] Cannot use the certificates in {path} (there is no certificate)\nGive a \
                 file in which each certificate begins with -----BEGIN CERTIFICATE-----\n"
            )
        )
    );
}
