//! Tests of connections of HTTP/1.1 on which the gateway serves some requests itself, and leaves
//! others to its library.

use crate::program::Gateway;
use crate::scripted::Upstream;

// Scenario: exports follow each other on one connection without waiting. Some have a length, some
// are chunked, expect a go-ahead, come without a body, or have no key and a large
// body. The upstream answers each export with what it got.
// Guarantee: each gets its own answer, in order, wherever the first unusual one stands.
#[tokio::test]
async fn every_request_gets_its_own_answer() {
    let upstream = Upstream::bind().await;
    let setting = upstream.setting("otlp_http");
    let debug = ["--set=upstream.otlp_grpc=debug", "--set=upstream.agent=debug"];
    let gateway = Gateway::start_with(&[&[setting.as_str()], &debug[..]].concat()).await;
    let echo = tokio::spawn(async move {
        loop {
            let mut connection = upstream.accept().await;
            tokio::spawn(async move {
                while let Some(request) = connection.arrived().await {
                    let head = format!("content-length: {}\r\n\r\n", request.body.len());
                    let answer = [b"HTTP/1.1 200 OK\r\n", head.as_bytes(), &request.body].concat();
                    connection.write(answer).await;
                }
            });
        }
    });
    let key = gateway.create("edge").await.secret;
    let request = |method: &str, rest: &str| {
        let key = format!("authorization: StackState {key}\r\ncontent-type: application/json");
        format!("{method} /v1/traces HTTP/1.1\r\nhost: g\r\n{key}\r\n{rest}")
    };
    let large = "x".repeat(200_000);
    let plain = |body: &str| {
        let length = body.len();
        (request("POST", &format!("content-length: {length}\r\n\r\n{body}")), 200, body.to_owned())
    };
    let others = [
        (request("POST", "transfer-encoding: chunked\r\n\r\n3\r\none\r\n0\r\n\r\n"), 200, "one"),
        (request("POST", "expect: 100-continue\r\ncontent-length: 3\r\n\r\ntwo"), 200, "two"),
        (request("POST", "\r\n"), 200, ""),
    ];
    let refused = format!(
        "POST /v1/traces HTTP/1.1\r\nhost: g\r\ncontent-length: {}\r\n\r\n{large}",
        large.len()
    );
    for other in others {
        let other = (other.0, other.1, other.2.to_owned());
        let sent = [
            plain("first"),
            (refused.clone(), 401, String::new()),
            plain(&large),
            other,
            plain(&large),
            (refused.clone(), 401, String::new()),
            plain("last"),
        ];
        let mut bytes: String = sent.iter().map(|(request, ..)| request.as_str()).collect();
        bytes += "GET /v1/traces HTTP/1.1\r\nhost: g\r\nconnection: close\r\n\r\n";
        let answers = gateway.exchange("otlp_http", bytes.as_bytes()).await;
        let answers: Vec<_> = answers.iter().filter(|answer| answer.status != 100).collect();
        assert_eq!(answers.len(), sent.len() + 1);
        for (answer, (request, status, body)) in answers.iter().zip(&sent) {
            assert_eq!(answer.status, *status, "{request:.200}");
            assert!(*status != 200 || answer.body == body.as_bytes(), "{request:.200}");
        }
    }
    echo.abort();
}
