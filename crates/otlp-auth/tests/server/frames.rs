//! Tests the frames of an HTTP/2 connection (RFC 9113).

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::receivers::{OUTAGE, Server, TEAM_A, layer};

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

#[derive(Debug)]
struct Frame {
    kind: u8,
    flags: u8,
    payload: Vec<u8>,
}

/// Opens a connection and sends the headers of one request. The stream of the request stays open.
async fn begin(address: std::net::SocketAddr, headers: &[(&str, &str)]) -> TcpStream {
    let mut block = Vec::new();
    let pseudo = [(":method", "POST"), (":scheme", "http"), (":authority", "localhost")];
    for (name, value) in pseudo.iter().chain(headers) {
        // Each header is a literal without indexing, in plain text (RFC 7541 section 6.2.2). This
        // form is right only if name and value are shorter than 127 bytes each.
        block.extend(
            [&[0, name.len() as u8], name.as_bytes(), &[value.len() as u8], value.as_bytes()]
                .concat(),
        );
    }
    let frame = |kind, flags, stream: u8, payload: &[u8]| {
        [&(payload.len() as u32).to_be_bytes()[1..], &[kind, flags, 0, 0, 0, stream], payload]
            .concat()
    };
    let mut connection = TcpStream::connect(address).await.unwrap();
    connection.set_nodelay(true).unwrap();
    let begin = [
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(),
        frame(SETTINGS, 0, 0, &[]),
        frame(HEADERS, END_HEADERS, 1, &block),
    ];
    connection.write_all(&begin.concat()).await.unwrap();
    connection
}

/// Reads the next frame of the request's stream.
async fn next(connection: &mut TcpStream) -> Frame {
    loop {
        let mut head = [0; 9];
        connection.read_exact(&mut head).await.unwrap();
        let mut payload = vec![0; u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize];
        connection.read_exact(&mut payload).await.unwrap();
        if head[5..] == [0, 0, 0, 1] {
            return Frame { kind: head[3], flags: head[4], payload };
        }
    }
}

const EXPORT: (&str, &str) =
    (":path", "/opentelemetry.proto.collector.trace.v1.TraceService/Export");

// Scenario: a gRPC client has sent only its headers, and the request is denied or gets no verdict.
// Guarantee: the response is one HEADERS frame that ends the stream. Only RST_STREAM follows, which
// asks the client to stop sending.
#[tokio::test]
async fn a_grpc_refusal_is_trailers_only_and_does_not_wait() {
    let outage = format!("StackState {OUTAGE}");
    for server in Server::ALL {
        let address = server.start(layer()).await;
        for credential in
            ["nonsense", "StackState iapikeyok-of-nobody", "StackState iapikeyok-revoked", &outage]
        {
            let headers = [
                EXPORT,
                ("content-type", "application/grpc"),
                ("te", "trailers"),
                ("authorization", credential),
            ];
            let mut connection = begin(address, &headers).await;
            let answer = next(&mut connection).await;
            assert_eq!(
                (answer.kind, answer.flags),
                (HEADERS, END_HEADERS | END_STREAM),
                "{server:?} {credential}"
            );
            let end = next(&mut connection).await;
            assert_eq!(
                (end.kind, end.payload.as_slice()),
                (RST_STREAM, [0; 4].as_slice()),
                "{server:?}: no error"
            );
        }
    }
}

// Scenario: an OTLP/HTTP client has sent only its headers, and the request is denied or gets no
// verdict.
// Guarantee: the whole response arrives, headers and body, before the client sends a body.
#[tokio::test]
async fn an_http_refusal_does_not_wait_for_the_body() {
    for server in Server::ALL {
        let address = server.start(layer()).await;
        for (credential, body) in [
            ("StackState iapikeyok-of-nobody", r#"{"code":16,"message":"credential refused"}"#),
            (
                "StackState iapikeyok-in-an-outage",
                r#"{"code":14,"message":"authentication unavailable"}"#,
            ),
        ] {
            let mut connection =
                begin(address, &[(":path", "/v1/traces"), ("authorization", credential)]).await;
            let headers = next(&mut connection).await;
            assert_eq!((headers.kind, headers.flags), (HEADERS, END_HEADERS), "{server:?}");
            let mut received = Vec::new();
            loop {
                let data = next(&mut connection).await;
                assert_eq!(data.kind, DATA, "{server:?}");
                received.extend(data.payload);
                if data.flags & END_STREAM != 0 {
                    break;
                }
            }
            assert_eq!(received, body.as_bytes(), "{server:?}");
        }
    }
}

// Scenario: a credential has blanks before or after it. HTTP/2 servers do not remove them.
// Guarantee: the request is allowed, and the service responds. The first byte of that response is
// the index of `:status: 200`.
#[tokio::test]
async fn blanks_at_the_ends_are_trimmed_on_http2() {
    for server in Server::ALL {
        let address = server.start(layer()).await;
        for value in [
            format!("StackState {TEAM_A}"),
            format!("StackState {TEAM_A} \t "),
            format!("\t StackState {TEAM_A}"),
        ] {
            let mut connection =
                begin(address, &[(":path", "/v1/traces"), ("authorization", &value)]).await;
            // The service responds only after the body has ended.
            connection.write_all(&[0, 0, 0, DATA, END_STREAM, 0, 0, 0, 1]).await.unwrap();
            let answer = next(&mut connection).await;
            assert_eq!(
                (answer.kind, answer.payload.first()),
                (HEADERS, Some(&0x88)),
                "{server:?} {value:?}"
            );
        }
    }
}
