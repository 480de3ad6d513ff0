//! Tests of requests of HTTP/1.1 that are not requests, or that two readers could read differently.

use crate::program::Gateway;
use crate::raw::Answer;

/// The body of an export without any item.
const EMPTY: &str = "{}";

/// A request that would be answered with 401 if the gateway took it for one.
const NEXT: &str = "GET /smuggled HTTP/1.1\r\nhost: g\r\nconnection: close\r\n\r\n";

/// The gateway with the head of a request that it allows.
struct Target {
    gateway: Gateway,
    key: String,
}

impl Target {
    async fn start() -> Self {
        let gateway = Gateway::start().await;
        let key = gateway.create("edge").await.secret;
        Self { gateway, key }
    }

    /// Returns the head of an export up to its last header, with an end of its own for each line.
    fn head(&self) -> String {
        format!(
            "POST /v1/traces HTTP/1.1\r\nhost: g\r\nauthorization: StackState {}\r\ncontent-type: application/json\r\n",
            self.key
        )
    }

    async fn statuses(&self, request: &str) -> Vec<u16> {
        self.gateway.statuses("otlp_http", request.as_bytes()).await
    }

    /// Sends a request with these last headers and this body, followed by the next request.
    async fn answer_to(&self, rest: &str) -> Vec<u16> {
        self.statuses(&format!("{}{rest}{NEXT}", self.head())).await
    }

    /// Asserts that the gateway still serves.
    async fn assert_served(&self) {
        assert_eq!(self.gateway.send_http(&self.key).await.status(), 200);
    }
}

// Scenario: requests have lengths that contradict each other, that are not lengths, or that are not
// allowed. They carry a good key, and another request follows each of them.
// Guarantee: each request is refused with 400, and nothing after it is read as a request.
#[tokio::test]
async fn a_body_without_one_length_is_refused() {
    let target = Target::start().await;
    for headers in [
        "content-length: 2\r\ncontent-length: 3\r\n",
        "content-length: 2, 3\r\n",
        "content-length: 2,2\r\n",
        "content-length: +2\r\n",
        "content-length: -2\r\n",
        "content-length: 0x2\r\n",
        "content-length: 2 2\r\n",
        "content-length:\r\n",
        "content-length: 18446744073709551618\r\n",
        "content-length : 2\r\n",
        "transfer-encoding: gzip\r\n",
        "transfer-encoding: chunked, gzip\r\n",
        "transfer-encoding: xchunked\r\n",
        "transfer-encoding: chunked\r\ntransfer-encoding: identity\r\n",
        "content-length: 2\r\ntransfer-encoding: gzip\r\n",
        "transfer-encoding : chunked\r\n",
        "transfer-encoding: \u{b}chunked\r\n",
    ] {
        let statuses = target.answer_to(&format!("{headers}\r\n{EMPTY}")).await;
        assert_eq!(statuses, [400], "{headers:?}");
    }
    target.assert_served().await;
}

// Scenario: a request has both `transfer-encoding: chunked` and a `content-length`, in both orders
// and with lengths that end before, within and after the next request.
// Guarantee: the gateway reads the chunked body, or refuses the request with 400. It closes the
// connection after its response, so that nothing after the body is read as a request.
#[tokio::test]
async fn a_length_beside_chunks_is_not_used() {
    let target = Target::start().await;
    for length in [0, 2, 12, 30, 1000] {
        let (chunked, length) =
            ("transfer-encoding: chunked\r\n", format!("content-length: {length}\r\n"));
        for headers in [format!("{chunked}{length}"), format!("{length}{chunked}")] {
            let rest = format!("{headers}\r\n2\r\n{EMPTY}\r\n0\r\n\r\n");
            let statuses = target.answer_to(&rest).await;
            assert!(matches!(statuses[..], [200] | [400]), "{headers:?}: {statuses:?}");
        }
    }
    target.assert_served().await;
}

// Scenario: chunked bodies have sizes that are not sizes, chunks longer or shorter than their
// sizes, and line ends that only some readers take for line ends.
// Guarantee: none of them is accepted, and nothing after them is read as a request.
#[tokio::test]
async fn a_malformed_chunk_ends_the_connection() {
    let target = Target::start().await;
    for body in [
        "2 \n{}\r\n0\r\n\r\n",
        "x\r\n{}\r\n0\r\n\r\n",
        "-2\r\n{}\r\n0\r\n\r\n",
        "+2\r\n{}\r\n0\r\n\r\n",
        "0x2\r\n{}\r\n0\r\n\r\n",
        "\r\n{}\r\n0\r\n\r\n",
        "10000000000000002\r\n{}\r\n0\r\n\r\n",
        "2\n{}\n0\n\n",
        "2\r{}\r\n0\r\n\r\n",
        "2\r\n{}0\r\n\r\n",
        "1\r\n{}\r\n0\r\n\r\n",
        "2;a\n{}\r\n0\r\n\r\n",
        "2;a\nb\r\n{}\r\n0\r\n\r\n",
        "2;a=\"\r\n{}\r\n0\r\n\r\n\"\r\n{}\r\n",
        "2\r\n{}\r\n0\r\na b\r\n\r\n",
    ] {
        let rest = format!("transfer-encoding: chunked\r\n\r\n{body}");
        let statuses = target.answer_to(&rest).await;
        // A reader that takes the body for complete goes on with the next request.
        let expected = match body {
            // The quote has no meaning, so this body ends within the quotes.
            _ if body.contains('"') => matches!(statuses[..], [200, 400] | [400]),
            _ => !statuses.contains(&401) && !statuses.contains(&200),
        };
        assert!(expected, "{body:?}: {statuses:?}");
    }
    target.assert_served().await;
}

// Scenario: chunks have extensions, and a chunked body has trailers.
// Guarantee: the body is read as if there were none, and the next request is the next request.
// Megabytes of extensions or trailers are refused.
#[tokio::test]
async fn extensions_and_trailers_are_bounded() {
    let target = Target::start().await;
    let chunked = "transfer-encoding: chunked\r\n\r\n";
    for body in
        ["2;name=\"value\"\r\n{}\r\n0;last\r\n\r\n", "2\r\n{}\r\n0\r\nx-checksum: 1\r\n\r\n"]
    {
        let statuses = target.answer_to(&format!("{chunked}{body}")).await;
        assert_eq!(statuses, [200, 401], "{body:?}");
    }
    let megabytes = "x".repeat(4 << 20);
    for body in [
        format!("2;{megabytes}\r\n{{}}\r\n0\r\n\r\n"),
        format!("{}0\r\n\r\n", format!("1;{}\r\n \r\n", "x".repeat(1000)).repeat(4000)),
        format!("2\r\n{{}}\r\n0\r\nx: {megabytes}\r\n\r\n"),
        format!("2\r\n{{}}\r\n0\r\n{}\r\n", "x: y\r\n".repeat(1 << 20)),
    ] {
        let statuses = target.answer_to(&format!("{chunked}{body}")).await;
        assert!(!statuses.contains(&200) && !statuses.contains(&401), "{statuses:?}");
    }
    target.assert_served().await;
}

// Scenario: heads of requests have folded headers, control characters, names without a value,
// targets with blanks, and versions that nobody speaks.
// Guarantee: each request is refused with 400, and nothing after it is read as a request.
#[tokio::test]
async fn a_malformed_head_is_refused() {
    let target = Target::start().await;
    let headers = [
        "x: a\r\n b\r\n",
        "x: a\r\n\tcontent-length: 5\r\n",
        "x: a\rcontent-length: 5\r\n",
        "x: a\0b\r\n",
        "x: a\u{7f}b\r\n",
        "x\r\n",
        ": x\r\n",
        "x y: z\r\n",
        "x\t: z\r\n",
        "\u{e4}: z\r\n",
        " x: y\r\n",
    ];
    for header in headers {
        let statuses = target.answer_to(&format!("{header}content-length: 2\r\n\r\n{EMPTY}")).await;
        assert_eq!(statuses, [400], "{header:?}");
    }
    for line in [
        "POST /v1/traces HTTP/1.2",
        "POST /v1/traces HTTP/3.0",
        "POST /v1/traces http/1.1",
        "POST /v1/traces",
        "POST /v1/tra ces HTTP/1.1",
        "POST /v1/traces\u{1} HTTP/1.1",
        "POST  HTTP/1.1",
        "PO{}ST /v1/traces HTTP/1.1",
        "\u{1}\u{2}\u{3}",
        "PRI * HTTP/2.0",
    ] {
        let request = target.head().replacen("POST /v1/traces HTTP/1.1", line, 1);
        let statuses = target.statuses(&format!("{request}content-length: 0\r\n\r\n{NEXT}")).await;
        assert!(matches!(statuses[..], [] | [400]), "{line:?}: {statuses:?}");
    }
    target.assert_served().await;
}

// Scenario: the listener for agents gets requests whose end or head two readers could read
// differently. They carry a good key, and another request follows each of them.
// Guarantee: each request is refused with 400, and nothing after it is read as a request.
#[tokio::test]
async fn agents_are_read_as_strictly() {
    let target = Target::start().await;
    let head = target.head().replacen("/v1/traces", "/stsAgent/intake", 1);
    for header in [
        "content-length: 2\r\ncontent-length: 3\r\n",
        "content-length: +2\r\n",
        "content-length : 2\r\n",
        "transfer-encoding: xchunked\r\n",
        "x: a\r\n content-length: 2\r\n",
        "x\r\n",
    ] {
        let request = format!("{head}{header}\r\n{EMPTY}{NEXT}");
        let statuses = target.gateway.statuses("agent", request.as_bytes()).await;
        assert_eq!(statuses, [400], "{header:?}");
    }
    target.assert_served().await;
}

// Scenario: heads are larger than `limits.max_header_size`, in one header, in many, and in the
// target. One never ends.
// Guarantee: each is refused with 431 or 414, or the connection is closed. The gateway keeps
// nothing of them.
#[tokio::test]
async fn a_giant_head_is_refused() {
    let target = Target::start().await;
    let one = format!("x: {}\r\n", "x".repeat(1 << 20));
    let many = "x: y\r\n".repeat(1 << 17);
    for headers in [one, many] {
        let statuses = target.answer_to(&format!("{headers}content-length: 0\r\n\r\n")).await;
        assert!(matches!(statuses[..], [] | [431]), "{statuses:?}");
    }
    let long = format!("POST /{}", "x".repeat(1 << 20));
    let request = target.head().replacen("POST /v1/traces", &long, 1);
    let statuses = target.statuses(&format!("{request}\r\n")).await;
    assert!(matches!(statuses[..], [] | [414 | 431]), "{statuses:?}");
    let endless = format!("{}x: {}", target.head(), "x".repeat(16 << 20));
    let statuses = target.statuses(&endless).await;
    assert!(matches!(statuses[..], [] | [431]), "{statuses:?}");
    target.assert_served().await;
    let memory = target.gateway.peak_memory();
    assert!(memory < 100 << 20, "{memory} bytes");
}

// Scenario: requests of HTTP/1.0 and HTTP/1.1 have a transfer coding besides `chunked`, or a
// transfer coding that their version does not have.
// Guarantee: each of them is refused, because nobody would decode their bodies.
#[tokio::test]
async fn only_chunked_is_a_transfer_coding() {
    let target = Target::start().await;
    let chunked = "2\r\n{}\r\n0\r\n\r\n";
    for coding in ["gzip, chunked", "gzip\r\ntransfer-encoding: chunked", "chunked, chunked"] {
        let rest = format!("transfer-encoding: {coding}\r\n\r\n{chunked}");
        let statuses = target.answer_to(&rest).await;
        assert_eq!(statuses, [501], "{coding}");
    }
    let old = target.head().replace("HTTP/1.1", "HTTP/1.0");
    let request = format!("{old}transfer-encoding: chunked\r\n\r\n{chunked}{NEXT}");
    assert_eq!(target.statuses(&request).await, [400]);
    target.assert_served().await;
}

// Scenario: requests of HTTP/1.1 have no `host`, two of them, or one that is not a host.
// Guarantee: each of them is refused with 400, because two readers could choose different hosts.
#[tokio::test]
async fn a_request_has_one_host() {
    let target = Target::start().await;
    for hosts in ["", "host: g\r\nhost: g\r\n", "host: g\r\nhost: other\r\n", "host: g h\r\n"] {
        let request = target.head().replacen("host: g\r\n", hosts, 1);
        let request = format!("{request}content-length: 2\r\n\r\n{EMPTY}{NEXT}");
        let statuses = target.statuses(&request).await;
        assert_eq!(statuses, [400], "{hosts:?}");
    }
    target.assert_served().await;
}

// Scenario: the length of a request is larger than its body, and its sender closes its side of the
// connection. The length of another request is smaller than its body.
// Guarantee: the first is not accepted. What is left of the second is not a part of it.
#[tokio::test]
async fn a_lying_length_gains_nothing() {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let target = Target::start().await;
    let request = format!("{}content-length: 1000\r\n\r\n{EMPTY}", target.head());
    let mut stream = target.gateway.connect("otlp_http").await;
    stream.write_all(request.as_bytes()).await.unwrap();
    stream.shutdown().await.unwrap();
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    assert!(!String::from_utf8_lossy(&answer).contains("200"), "{answer:?}");

    let statuses = target.answer_to(&format!("content-length: 2\r\n\r\n{EMPTY}")).await;
    assert_eq!(statuses, [200, 401]);
    let statuses = target.answer_to("content-length: 2\r\n\r\n{}GARBAGE\r\n\r\n").await;
    assert_eq!(statuses, [200, 400]);
}

// Scenario: requests with a good key have targets that a proxy, a router or a file system could
// normalise to the path of OTLP, and targets in forms that only some requests may have.
// Guarantee: the exact path is the only one that is served, also in absolute form. Every other
// target is answered with 404.
#[tokio::test]
async fn only_the_exact_path_is_served() {
    let target = Target::start().await;
    let mut statuses = Vec::new();
    for path in [
        "/v1/traces/",
        "//v1/traces",
        "/v1//traces",
        "/v1/./traces",
        "/v1/x/../traces",
        "/../v1/traces",
        "/v1%2ftraces",
        "/v1%2Ftraces",
        "/v1/%74races",
        "/v1/traces%00",
        "/v1/traces%20",
        "/v1/traces;x=y",
        "/V1/traces",
        "/v1\\traces",
        "/api/security/ingestion/api_keys",
        "/metrics",
        "/authorize",
        "http://g/v1/../v1/traces",
        "*",
    ] {
        let request = target.head().replacen("/v1/traces", path, 1);
        let request = format!("{request}content-length: 2\r\nconnection: close\r\n\r\n{EMPTY}");
        statuses.push((path, target.statuses(&request).await));
    }
    // A backslash is not a character of a target, and only `OPTIONS` may have `*` as its target.
    let expected = |path: &str, statuses: &[u16]| {
        statuses == [404] || path.contains(['\\', '*']) && statuses == [400]
    };
    assert!(statuses.iter().all(|(path, statuses)| expected(path, statuses)), "{statuses:?}");

    for served in ["http://g/v1/traces", "HTTP://other.example:80/v1/traces", "/v1/traces?x=../y"] {
        let request = target.head().replacen("/v1/traces", served, 1);
        let request = format!("{request}content-length: 2\r\nconnection: close\r\n\r\n{EMPTY}");
        assert_eq!(target.statuses(&request).await, [200], "{served}");
    }
}

// Scenario: requests with a good key have methods other than `POST`, known and unknown ones, and
// `CONNECT` to another host.
// Guarantee: each is refused, and the answer to a known path says which method is allowed.
#[tokio::test]
async fn only_post_is_served() {
    let target = Target::start().await;
    let send = async |request: String| -> Answer {
        let answers = target.gateway.exchange("otlp_http", request.as_bytes()).await;
        let [answer] = <[_; 1]>::try_from(answers).unwrap();
        answer
    };
    for method in ["GET", "HEAD", "PUT", "DELETE", "PATCH", "TRACE", "OPTIONS", "post", "PROPFIND"]
    {
        let request = target.head().replacen("POST", method, 1);
        let answer = send(format!("{request}connection: close\r\n\r\n")).await;
        assert_eq!((answer.status, answer.header("allow")), (405, Some("POST")), "{method}");
    }
    let request = target.head().replacen("POST /v1/traces", "CONNECT other.example:443", 1);
    let answer = send(format!("{request}connection: close\r\n\r\n")).await;
    assert!([400, 404, 405].contains(&answer.status), "{answer:?}");
}
