//! Feeds the listeners of a gateway with the bytes of whole connections, in HTTP/1.1 and in HTTP/2.

use anyhow::Result;
use fastrand::Rng;
use ingestion_api::route;

use crate::connection::exchange;
use crate::gateway::{Gateway, LISTENERS, request};
use crate::mutate::{mutate, pick};
use crate::target::{Current, Finding, Target, check};

/// How many connections are opened between two checks of the gateway.
const BETWEEN_CHECKS: u64 = 32;

/// The first bytes of a connection of HTTP/2.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// The type of a frame of HTTP/2 with headers.
const HEADERS: u8 = 1;

/// The beginnings of blocks of headers whose first header is `:status: 200` or `:status: 500`.
const STATUS_200: u8 = 0x88;
const STATUS_500: u8 = 0x8e;

/// Parts of HTTP/1.1 and HTTP/2.
const WORDS: &[&[u8]] = &[
    b"\r\n",
    b"\r\n\r\n",
    b"\n",
    b"\r",
    b" ",
    b": ",
    b"GET / HTTP/1.1\r\nhost: a\r\n\r\n",
    b"HTTP/1.0",
    b"HTTP/2.0",
    b"transfer-encoding: chunked\r\n",
    b"transfer-encoding: gzip, chunked\r\n",
    b"content-length: 5\r\n",
    b"content-length: 18446744073709551616\r\n",
    b"content-length: -1\r\n",
    b"connection: close\r\n",
    b"connection: upgrade, http2-settings\r\nupgrade: h2c\r\nhttp2-settings: AAMAAABkAAQAAP__\r\n",
    b"expect: 100-continue\r\n",
    b"content-encoding: gzip\r\n",
    b"content-type: application/grpc\r\n",
    b"x-forwarded-for: 1.2.3.4, [::1]:80\r\n",
    b"origin: null\r\naccess-control-request-method: POST\r\n",
    b"0\r\n\r\n",
    b"ffffffffffffffff\r\n",
    b"5;a=b\r\nhello\r\n",
    PREFACE,
    b"\x00\x00\x00\x04\x00\x00\x00\x00\x00",
    b"\x00\x00\x04\x08\x00\x00\x00\x00\x00\x7f\xff\xff\xff",
    b"\x00\x00\x04\x03\x00\x00\x00\x00\x01\x00\x00\x00\x08",
    b"\x00\x00\x08\x06\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00",
    b"\x00\x00\x00\x09\x04\x00\x00\x00\x01",
    b"\xff\xff\xff\x7f",
];

/// A gateway whose listeners are fed.
#[derive(Debug)]
pub(crate) struct Listener {
    gateway: Gateway,
    count: u64,
}

/// A frame of HTTP/2.
struct Frame {
    kind: u8,
    flags: u8,
    stream: u32,
    payload: Vec<u8>,
}

impl Listener {
    pub(crate) fn new() -> Result<Self> {
        Ok(Self { gateway: Gateway::start()?, count: 0 })
    }

    /// Makes the bytes of a connection of HTTP/1.1 with one or several requests.
    fn http1(&self, rng: &mut Rng) -> Vec<u8> {
        let key = format!("authorization: StackState {}\r\n", self.gateway.key());
        let json = format!("{key}content-type: application/json\r\n");
        let chunked = format!(
            "POST /v1/logs HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n{json}\r\n\
             2\r\n{{}}\r\n0\r\nx-trailer: 1\r\n\r\n"
        );
        let agent = format!("/stsAgent/intake/?api_key={}", self.gateway.key());
        let authorize = format!(r#"{{"apiKey": "{}"}}"#, self.gateway.key());
        let list = [route::API_PATH, route::API_KEYS].concat();
        let samples = [
            request("POST", "/v1/traces", &json, br#"{"resourceSpans": []}"#),
            request("POST", "/v1/logs", "", b"{}"),
            chunked.into_bytes(),
            request("POST", &agent, "", b"[1, 2]"),
            request("GET", "/receiver/stsAgent/api/v1/validate", &key, b""),
            request(
                "POST",
                route::INTERNAL_AUTHORIZE,
                "content-type: application/json\r\n",
                authorize.as_bytes(),
            ),
            request("GET", route::FORWARD_AUTH, &key, b""),
            request("POST", route::FORWARD_AUTH, &format!("x-forwarded-uri: {agent}\r\n"), b""),
            self.gateway.admin_request("GET", &list, "", b""),
            self.gateway.admin_request("POST", &list, "", b"{}"),
            request("GET", "/metrics", "", b""),
        ];
        (0..rng.u8(1..=3)).flat_map(|_| pick(rng, &samples).clone()).collect()
    }

    /// Makes the bytes of a connection of HTTP/2 with one or several requests. Mutations change
    /// single frames, so that those behind them are still read.
    fn http2(&self, rng: &mut Rng) -> Vec<u8> {
        let mut frames = vec![Frame { kind: 4, flags: 0, stream: 0, payload: Vec::new() }];
        let value = format!("StackState {}", self.gateway.key());
        for number in 0..rng.u32(1..=3) {
            let (path, content_type, message) = match rng.u8(..3) {
                0 => (
                    "/opentelemetry.proto.collector.logs.v1.LogsService/Export",
                    "application/grpc",
                    vec![0; 5],
                ),
                1 => (
                    "/envoy.service.auth.v3.Authorization/Check",
                    "application/grpc",
                    check_request(&value),
                ),
                _ => ("/v1/logs", "application/x-protobuf", Vec::new()),
            };
            let headers = [
                (":method", "POST"),
                (":scheme", "http"),
                (":path", path),
                (":authority", "gateway"),
                ("content-type", content_type),
                ("authorization", &*value),
                ("te", "trailers"),
            ];
            let stream = 2 * number + 1;
            frames.push(Frame { kind: HEADERS, flags: 4, stream, payload: block(&headers) });
            frames.push(Frame { kind: 0, flags: 1, stream, payload: message });
        }
        for _ in 0..rng.u8(..3) {
            let at = rng.usize(..frames.len());
            let frame = &mut frames[at];
            match rng.u8(..6) {
                0 => frame.kind = rng.u8(..12),
                1 => frame.flags = rng.u8(..),
                2 => frame.stream = rng.u32(..6),
                3 => drop(frames.remove(at)),
                4 => {
                    let other = rng.usize(..frames.len());
                    frames.swap(at, other);
                }
                _ => mutate(rng, &mut frame.payload, WORDS),
            }
            if frames.is_empty() {
                break;
            }
        }
        frames.iter().fold(PREFACE.to_owned(), |bytes, frame| [bytes, frame.to_bytes()].concat())
    }
}

impl Target for Listener {
    fn run(&mut self, rng: &mut Rng, current: &Current) -> Result<(), Finding> {
        let listener = *pick(rng, &LISTENERS);
        let is_http2 = rng.bool();
        let mut bytes = if is_http2 { self.http2(rng) } else { self.http1(rng) };
        if !is_http2 || rng.u8(..4) == 0 {
            mutate(rng, &mut bytes, WORDS);
        }
        current.set(&bytes);
        let address = self.gateway.address(listener).map_err(|error| error.to_string())?;
        let answer = exchange(address, &bytes)
            .map_err(|error| format!("{listener} does not end the connection: {error}"))?;
        for status in statuses(&answer) {
            if status == 200 {
                current.accept();
            }
            // 501 is the answer to an unknown transfer coding, and 503 to a body that ends early.
            let is_known = status < 500 || [501, 503].contains(&status);
            check(is_known, || format!("{listener} answered {status}"))?;
        }
        self.count += 1;
        if self.count.is_multiple_of(BETWEEN_CHECKS) { self.gateway.check() } else { Ok(()) }
    }

    fn process(&self) -> Option<u32> {
        Some(self.gateway.process())
    }
}

impl Frame {
    fn to_bytes(&self) -> Vec<u8> {
        let length = u32::try_from(self.payload.len()).unwrap_or_default().to_be_bytes();
        [&length[1..], &[self.kind, self.flags], &self.stream.to_be_bytes(), &self.payload].concat()
    }
}

/// Encodes headers without compression (RFC 7541 section 6.2.2).
fn block(headers: &[(&str, &str)]) -> Vec<u8> {
    let text = |text: &str| {
        // A length from 127 on continues in more bytes (RFC 7541 section 5.1).
        let length = text.len();
        let length = match u8::try_from(length) {
            Ok(short @ ..127) => vec![short],
            _ => vec![127, u8::try_from(length - 127).unwrap_or(127)],
        };
        [&length, text.as_bytes()].concat()
    };
    headers.iter().flat_map(|(name, value)| [vec![0], text(name), text(value)].concat()).collect()
}

/// Returns the statuses of the responses. In HTTP/2 only the statuses 200 and 500
/// are recognized.
fn statuses(answer: &[u8]) -> Vec<u16> {
    if let Some(text) = answer.strip_prefix(b"HTTP/1.") {
        let text = String::from_utf8_lossy(text);
        let status = text.split(' ').nth(1).and_then(|status| status.parse().ok());
        return status.into_iter().collect();
    }
    let (mut statuses, mut rest) = (Vec::new(), answer);
    while let Some(([a, b, c, kind, ..], payload)) = rest.split_first_chunk::<9>() {
        let length = u32::from_be_bytes([0, *a, *b, *c]) as usize;
        match payload.first() {
            Some(&STATUS_200) if *kind == HEADERS => statuses.push(200),
            Some(&STATUS_500) if *kind == HEADERS => statuses.push(500),
            _ => {}
        }
        rest = payload.get(length..).unwrap_or_default();
    }
    statuses
}

/// Returns what Envoy sends in a gRPC message about a request with this `authorization`: nested
/// messages with the fields `attributes`, `request`, `http`, and in it a header and the
/// path.
fn check_request(authorization: &str) -> Vec<u8> {
    let field = |number: u8, content: &[u8]| {
        let length = u8::try_from(content.len()).unwrap_or(u8::MAX);
        [&[number << 3 | 2, length], content].concat()
    };
    let header = [field(1, b"authorization"), field(2, authorization.as_bytes())].concat();
    let http = [field(3, &header), field(4, b"/v1/logs")].concat();
    let message = field(1, &field(4, &field(2, &http)));
    let length = u8::try_from(message.len()).unwrap_or(u8::MAX);
    [&[0, 0, 0, 0, length], &*message].concat()
}
