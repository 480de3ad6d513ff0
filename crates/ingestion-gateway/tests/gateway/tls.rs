//! Tests of TLS on the listeners: protocols, versions, client certificates, reloads, and peers that
//! do not finish their handshakes.

use std::fs;
use std::io;
use std::sync::Arc;

use reqwest::{Response, StatusCode, Version};
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, DEFAULT_VERSIONS};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::certificates::{Authority, Pair, replace};
use crate::program::{Gateway, PATIENCE, client, free_ports, run_to_end};

const LISTENERS: [(&str, &str); 6] = [
    ("receivers.otlp.protocols.grpc", "otlp_grpc"),
    ("receivers.otlp.protocols.http", "otlp_http"),
    ("receivers.agent", "agent"),
    ("management", "management"),
    ("authorize", "authorize"),
    ("telemetry", "telemetry"),
];

const H2: &[u8] = b"h2";
const HTTP1: &[u8] = b"http/1.1";

/// How often the gateways of these tests look at their files.
const OFTEN: &str = ", reload_interval: 20ms";

/// Creates an HTTP client with this TLS.
fn https(tls: &Arc<ClientConfig>) -> reqwest::Client {
    client();
    let tls = ClientConfig::clone(tls);
    reqwest::Client::builder().tls_backend_preconfigured(tls).build().unwrap()
}

async fn get(
    gateway: &Gateway,
    tls: &Arc<ClientConfig>,
    listener: &str,
    path: &str,
) -> reqwest::Result<Response> {
    let url = format!("https://{}{path}", gateway.address(listener));
    timeout(PATIENCE, https(tls).get(url).send()).await.unwrap()
}

/// Makes a handshake, and then waits until the gateway writes or closes: with TLS 1.3, a client
/// learns only then whether its certificate is accepted.
async fn handshake(
    gateway: &Gateway,
    tls: &Arc<ClientConfig>,
    listener: &str,
) -> io::Result<TlsStream<TcpStream>> {
    let stream = gateway.connect(listener).await;
    let name = "localhost".try_into().unwrap();
    let handshake = async {
        let mut stream = TlsConnector::from(Arc::clone(tls)).connect(name, stream).await?;
        stream.write_all(b"GET /livez HTTP/1.1\r\nhost: g\r\n\r\n").await?;
        if stream.read(&mut [0; 1024]).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(stream)
    };
    timeout(PATIENCE, handshake).await.unwrap()
}

/// Waits until the peer's certificate of a new connection is `expected`.
fn presents(stream: &TlsStream<TcpStream>, expected: &Pair) -> bool {
    let (_, session) = stream.get_ref();
    session.peer_certificates().unwrap()[0] == expected.der()
}

// Scenario: every listener has TLS. Clients offer HTTP/2 and HTTP/1.1, HTTP/1.1 alone, no protocol,
// and a protocol that does not exist, with TLS 1.2 and with TLS 1.3.
// Guarantee: each listener answers over the protocol that it has agreed on, HTTP/2 if the client
// offers it. Without an agreement there is no connection.
#[tokio::test]
async fn every_listener_serves_tls() {
    let authority = Authority::new();
    let pair = authority.issue("gateway");
    let options = LISTENERS.map(|(listener, _)| pair.option(listener, ""));
    let options: Vec<&str> = options.iter().map(String::as_str).collect();
    let gateway = Gateway::start_with(&options).await;
    for (_, listener) in LISTENERS {
        for version in [&TLS12, &TLS13] {
            for (protocols, expected) in [
                (&[H2, HTTP1][..], Version::HTTP_2),
                (&[HTTP1], Version::HTTP_11),
                (&[], Version::HTTP_11),
            ] {
                let tls = authority.client(None, &[version], protocols);
                let response = get(&gateway, &tls, listener, "/livez").await.unwrap();
                assert_eq!(response.version(), expected, "{listener}");
                let is_alive = response.status() == StatusCode::OK;
                assert_eq!(is_alive, listener == "telemetry", "{listener}");
            }
        }
        let tls = authority.client(None, DEFAULT_VERSIONS, &[b"spdy/3"]);
        assert!(handshake(&gateway, &tls, listener).await.is_err(), "{listener}");
        // A client without TLS gets no response of HTTP.
        let plaintext = client().get(gateway.url(listener, "/livez")).send();
        assert!(timeout(PATIENCE, plaintext).await.unwrap().is_err(), "{listener}");
    }
    let tls = authority.client(None, DEFAULT_VERSIONS, &[]);
    let metrics = get(&gateway, &tls, "telemetry", "/metrics").await.unwrap().text().await.unwrap();
    for reason in ["incompatible", "not_tls"] {
        let counted = metrics.lines().any(|line| {
            line.starts_with("ingestion_tls_handshakes_total{")
                && line.contains(&format!("error_type=\"{reason}\""))
                && line.contains("listener=\"management\"")
                && line.ends_with(" 1")
        });
        assert!(counted, "{reason}: {metrics}");
    }
}

// Scenario: behind a handshake, clients send requests that two readers could read differently, each
// with another request behind it, and junk in place of frames of HTTP/2.
// Guarantee: each request is refused with 400 and nothing after it is read as a request, junk ends
// the connection, and the gateway still serves.
#[tokio::test]
async fn malformed_requests_are_refused_behind_tls() {
    let authority = Authority::new();
    let option = authority.issue("gateway").option("receivers.otlp.protocols.http", "");
    let gateway = Gateway::start_with(&[&option]).await;
    let head = "POST /v1/traces HTTP/1.1\r\nhost: g\r\n";
    let next = "{}GET /smuggled HTTP/1.1\r\nhost: g\r\nconnection: close\r\n\r\n";
    for (protocol, sent, refusals) in [
        (HTTP1, format!("{head}content-length: 2\r\ncontent-length: 3\r\n\r\n{next}"), 1),
        (HTTP1, format!("{head}transfer-encoding: xchunked\r\n\r\n{next}"), 1),
        (HTTP1, format!("{head}x: a\r\n content-length: 2\r\n\r\n{next}"), 1),
        (H2, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\njunk and more junk".to_owned(), 0),
    ] {
        let tls = authority.client(None, DEFAULT_VERSIONS, &[protocol]);
        let stream = gateway.connect("otlp_http").await;
        let name = "localhost".try_into().unwrap();
        let mut stream = TlsConnector::from(tls).connect(name, stream).await.unwrap();
        stream.write_all(sent.as_bytes()).await.unwrap();
        let mut read = Vec::new();
        // The gateway may close the connection without an alert.
        let _ = timeout(PATIENCE, stream.read_to_end(&mut read)).await.unwrap();
        let read = String::from_utf8_lossy(&read);
        assert_eq!(read.matches("HTTP/1.1 ").count(), refusals, "{sent:?}: {read}");
        assert_eq!(read.matches("HTTP/1.1 400 ").count(), refusals, "{sent:?}: {read}");
    }
    let tls = authority.client(None, DEFAULT_VERSIONS, &[HTTP1]);
    let served = get(&gateway, &tls, "otlp_http", "/v1/traces").await.unwrap();
    assert_eq!(served.status(), StatusCode::UNAUTHORIZED);
}

// Scenario: a client offers TLS 1.1 at most. Another one offers TLS 1.2 at most, to a listener with
// `min_version: "1.3"`.
// Guarantee: both are refused with a fatal alert.
#[tokio::test]
async fn old_versions_are_refused() {
    let authority = Authority::new();
    let pair = authority.issue("gateway");
    let gateway = Gateway::start_with(&[
        &pair.option("management", ""),
        &pair.option("telemetry", ", min_version: '1.3'"),
    ])
    .await;
    let tls = authority.client(None, &[&TLS13], &[]);
    assert!(handshake(&gateway, &tls, "telemetry").await.is_ok());
    let tls = authority.client(None, &[&TLS12], &[]);
    let error = handshake(&gateway, &tls, "telemetry").await.unwrap_err();
    assert!(error.to_string().contains("ProtocolVersion"), "{error}");

    // A hello of TLS 1.1 with one cipher suite and no extension.
    let mut hello = vec![22, 3, 1, 0, 45, 1, 0, 0, 41, 3, 2];
    hello.extend([7; 32]);
    hello.extend([0, 0, 2, 0, 0x2f, 1, 0]);
    let mut stream = gateway.connect("management").await;
    stream.write_all(&hello).await.unwrap();
    let mut alert = Vec::new();
    // The connection may end with a reset.
    let _ = timeout(PATIENCE, stream.read_to_end(&mut alert)).await.unwrap();
    // A record of alerts with one that is fatal (RFC 8446, section 6).
    assert!(alert.len() == 7 && (alert[0], alert[5]) == (21, 2), "{alert:?}");
}

// Scenario: a listener asks for client certificates. Clients have none, one of the authority, and
// one of another authority. Then the file of the authorities is replaced by the other authority,
// and the first client, which may resume its session, comes again.
// Guarantee: exactly the clients are let in whose authority is trusted at that moment.
#[tokio::test]
async fn clients_need_a_certificate() {
    let (authority, other) = (Authority::new(), Authority::new());
    let trusted = authority.file().with_file_name("clients.pem");
    fs::copy(authority.file(), &trusted).unwrap();
    let further = format!(", client_ca_file: {}{OFTEN}", trusted.display());
    let option = authority.issue("gateway").option("telemetry", &further);
    let gateway = Gateway::start_with(&[&option]).await;
    for version in [&TLS12, &TLS13] {
        let tls = |identity: Option<&Pair>| authority.client(identity, &[version], &[]);
        assert!(handshake(&gateway, &tls(None), "telemetry").await.is_err());
        let (stranger, known) = (other.issue("stranger"), authority.issue("known"));
        assert!(handshake(&gateway, &tls(Some(&stranger)), "telemetry").await.is_err());
        let known = tls(Some(&known));
        for _ in 0..2 {
            handshake(&gateway, &known, "telemetry").await.unwrap();
        }
    }
    let known = authority.client(Some(&authority.issue("known")), DEFAULT_VERSIONS, &[]);
    handshake(&gateway, &known, "telemetry").await.unwrap();
    replace(&trusted, &other.file());
    gateway.log.wait_for("the TLS files were reloaded").await;
    assert!(handshake(&gateway, &known, "telemetry").await.is_err());
    let new = authority.client(Some(&other.issue("new")), DEFAULT_VERSIONS, &[]);
    handshake(&gateway, &new, "telemetry").await.unwrap();
}

// Scenario: a certificate is renewed while the gateway runs: first its key is replaced, and then
// the certificate. Then the files are deleted.
// Guarantee: a new connection gets the last pair that belongs together, and the log and the metrics
// say what became of each change. A connection that was open before stays open.
#[tokio::test]
async fn a_renewed_certificate_comes_into_force() {
    let authority = Authority::new();
    let (old, new) = (authority.issue("old"), authority.issue("new"));
    let served = authority.issue("served");
    replace(&served.cert, &old.cert);
    replace(&served.key, &old.key);
    let gateway = Gateway::start_with(&[&served.option("telemetry", OFTEN)]).await;
    let tls = authority.client(None, DEFAULT_VERSIONS, &[HTTP1]);
    let connect = async || handshake(&gateway, &tls, "telemetry").await.unwrap();
    let mut kept = connect().await;
    assert!(presents(&kept, &old));

    replace(&served.key, &new.key);
    let line = gateway.log.wait_for("the TLS files were not reloaded").await;
    assert!(line.contains("telemetry") && line.contains("cannot be used together"), "{line}");
    assert!(presents(&connect().await, &old));

    replace(&served.cert, &new.cert);
    gateway.log.wait_for("the TLS files were reloaded").await;
    assert!(presents(&connect().await, &new));

    fs::remove_file(&served.cert).unwrap();
    gateway.log.wait_for("served.crt cannot be read").await;
    assert!(presents(&connect().await, &new));

    kept.write_all(b"GET /metrics HTTP/1.1\r\nhost: g\r\nconnection: close\r\n\r\n").await.unwrap();
    let mut metrics = Vec::new();
    timeout(PATIENCE, kept.read_to_end(&mut metrics)).await.unwrap().unwrap();
    let metrics = String::from_utf8(metrics).unwrap();
    for (outcome, count) in [("success", 1), ("failure", 2)] {
        let counted = metrics.lines().any(|line| {
            line.starts_with("ingestion_tls_reloads_total{")
                && line.contains(&format!("outcome=\"{outcome}\""))
                && line.ends_with(&format!(" {count}"))
        });
        assert!(counted, "{outcome}: {metrics}");
    }
}

// Scenario: clients connect to a listener with TLS and send nothing, or a part of a hello. The
// first ones wait until `limits.header_read_timeout` is over. The next ones fill the listener, and
// another client arrives.
// Guarantee: the first ones are closed, and the next ones give way to the other client.
#[tokio::test]
async fn a_handshake_has_the_limits_of_a_request() {
    let authority = Authority::new();
    let option = authority.issue("gateway").option("telemetry", "");
    let tls = authority.client(None, DEFAULT_VERSIONS, &[HTTP1]);
    let begun = [&b""[..], b"\x16", b"\x16\x03\x01\x00\x2d\x01\x00\x00\x29\x03\x03"];

    let gateway = Gateway::start_with(&[&option, "--set=limits.header_read_timeout=200ms"]).await;
    for begun in begun {
        let mut silent = gateway.connect("telemetry").await;
        silent.write_all(begun).await.unwrap();
        let _ = timeout(PATIENCE, silent.read_to_end(&mut Vec::new())).await.unwrap();
    }

    let gateway = Gateway::start_with(&[&option, "--set=limits.max_connections=3"]).await;
    let mut silent = Vec::new();
    for begun in begun {
        let mut stream = gateway.connect("telemetry").await;
        stream.write_all(begun).await.unwrap();
        silent.push(stream);
    }
    handshake(&gateway, &tls, "telemetry").await.unwrap();
}

// Scenario: the gateway gets SIGTERM while one client is in its handshake, and another one has sent
// a part of a request over TLS.
// Guarantee: the gateway ends at once with exit code 0.
#[tokio::test]
async fn a_handshake_does_not_delay_the_end() {
    let authority = Authority::new();
    let option = authority.issue("gateway").option("telemetry", "");
    let mut gateway = Gateway::start_with(&[&option, "--set=shutdown_grace=600s"]).await;
    let tls = authority.client(None, DEFAULT_VERSIONS, &[HTTP1]);
    let mut half = handshake(&gateway, &tls, "telemetry").await.unwrap();
    half.write_all(b"GET /livez HTTP/1.1\r\nhost:").await.unwrap();
    let mut silent = gateway.connect("telemetry").await;
    silent.write_all(b"\x16\x03\x01").await.unwrap();
    gateway.signal();
    assert_eq!(gateway.ended().await.code(), Some(0));
}

// Scenario: the files of a listener are missing, have no certificate, have no key, or do not belong
// together; then the file of the client authorities is no file.
// Guarantee: the exit code is 69, and the log names the listener and the file.
#[tokio::test]
async fn files_that_cannot_be_used_are_named() {
    let directory = TempDir::new().unwrap();
    let authority = Authority::new();
    let (pair, other) = (authority.issue("gateway"), authority.issue("other"));
    let with = |cert: &Pair, key: &Pair| Pair { cert: cert.cert.clone(), key: key.key.clone() };
    let missing = Pair { cert: "/nowhere.crt".into(), key: "/nowhere.key".into() };
    let swapped = Pair { cert: pair.key.clone(), key: pair.cert.clone() };
    for (pair, further, expected) in [
        (with(&missing, &pair), "", "/nowhere.crt cannot be read"),
        (with(&pair, &missing), "", "/nowhere.key cannot be read"),
        (with(&swapped, &pair), "", "gateway.key cannot be used"),
        (with(&pair, &swapped), "", "gateway.crt has no private key"),
        (with(&pair, &other), "", "cannot be used together"),
        (pair.clone(), ", client_ca_file: /dev", "/dev is not a regular file"),
    ] {
        let option = pair.option("receivers.agent", further);
        let free_ports = free_ports();
        let mut arguments: Vec<&str> = free_ports.iter().map(String::as_str).collect();
        arguments.push(&option);
        let (code, _, errors) = run_to_end(directory.path(), &arguments).await;
        assert_eq!(code, 69, "{errors}");
        assert!(errors.contains("receivers.agent.tls") && errors.contains(expected), "{errors}");
    }
}
