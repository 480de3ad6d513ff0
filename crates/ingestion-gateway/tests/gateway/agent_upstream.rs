//! Tests of what reaches the upstreams of the agent listener.

use axum::Router;
use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use http::{HeaderMap, Method, StatusCode, Uri};
use prost::Message as _;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::time::timeout;

use crate::program::{Gateway, Key, PATIENCE, traces};

/// The gateway's own credential.
const OWN_KEY: &str = "own-key-of-the-gateway";

/// An upstream that remembers what it receives.
struct Upstream {
    address: String,
    received: mpsc::UnboundedReceiver<Received>,
}

/// A request as the upstream has received it.
#[derive(Debug)]
struct Received {
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
}

impl Upstream {
    /// Starts an upstream with an answer of its own for every request.
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let (sender, received) = mpsc::unbounded_channel();
        let router = Router::new().fallback(receive).with_state(sender);
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { address, received }
    }

    async fn next(&mut self) -> Received {
        timeout(PATIENCE, self.received.recv()).await.unwrap().unwrap()
    }
}

async fn receive(
    State(received): State<mpsc::UnboundedSender<Received>>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    received.send(Received { method, uri, headers, body }).unwrap();
    let headers = [("x-upstream", "yes"), ("connection", "x-hop"), ("x-hop", "1")];
    (StatusCode::IM_A_TEAPOT, headers, "of the upstream").into_response()
}

impl Received {
    fn header(&self, name: &str) -> &str {
        let mut values = self.headers.get_all(name).iter();
        let value = values.next().map_or("", |value| value.to_str().unwrap());
        assert!(values.next().is_none(), "{name} is there twice: {self:?}");
        value
    }
}

/// Starts a gateway in front of an upstream for agents and one for OTLP/HTTP.
async fn start(agent: &Upstream, otlp: &Upstream, path: &str) -> (Gateway, Key) {
    let agent = format!(
        "--set=upstream.agent={{endpoint: 'http://{}{path}', auth: {{token: {OWN_KEY}}}}}",
        agent.address
    );
    let otlp = format!("--set=upstream.otlp_http.endpoint=http://{}", otlp.address);
    let gateway = Gateway::start_with(&[&agent, &otlp, "--set=upstream.otlp_grpc=debug"]).await;
    let key = gateway.create("t\u{e9}am a").await;
    (gateway, key)
}

// Scenario: an agent sends a compressed payload with its key in each place that agents use, in
// header and query together, with and without `/receiver`. It also sends the key of another service
// and forged identity headers.
// Guarantee: the upstream receives the payload as it is, on the path without `/receiver`, with the
// rest of the query. It receives the gateway's own key, the identity of the sender, and no other
// key. The agent receives the answer of the upstream, without what concerns its connection.
#[tokio::test]
async fn a_payload_is_forwarded_without_its_key() {
    let (mut upstream, otlp) = (Upstream::start().await, Upstream::start().await);
    let (gateway, key) = start(&upstream, &otlp, "").await;
    let secret = key.secret.as_str();
    let basic = gateway.client.get("http://a").basic_auth("apikey", Some(secret)).build().unwrap();
    let basic = basic.headers()["authorization"].to_str().unwrap();
    let (api_key, stackstate) = (format!("ApiKey {secret}"), format!("StackState {secret}"));
    let in_query = format!("&api_key={secret}");
    let places: [(&str, &str, &str); 7] = [
        ("sts-api-key", secret, ""),
        ("DD-API-KEY", secret, ""),
        ("authorization", &api_key, ""),
        ("authorization", &stackstate, ""),
        ("authorization", basic, ""),
        ("user-agent", "agent", &in_query),
        ("sts-api-key", secret, &in_query),
    ];
    let payload = Bytes::from_static(b"\x28\xb5\x2f\xfd not decompressed by anybody\0\xff");
    for (name, value, query) in places {
        for prefix in ["", "/receiver"] {
            let path = format!("{prefix}/stsAgent/api/v1/collector?a=%20b{query}");
            let url = gateway.url("agent", &path);
            let request = gateway.client.post(url).header("content-encoding", "x-zip");
            let request = request.header("x-ingestion-key-id", "1").header("x-hop", "1");
            let request = request.header("X_Ingestion_Key_Name", "admin");
            let request = request.header("connection", "x-hop, sts-api-key");
            let request = request.header(name, value).body(payload.clone());
            let response = request.send().await.unwrap();
            assert_eq!(response.status(), StatusCode::IM_A_TEAPOT);
            assert_eq!(response.headers()["x-upstream"], "yes");
            assert!(!response.headers().contains_key("x-hop"));
            assert_eq!(response.text().await.unwrap(), "of the upstream");

            let received = upstream.next().await;
            assert_eq!(received.method, Method::POST);
            assert_eq!(received.uri, "/stsAgent/api/v1/collector?a=%20b");
            assert_eq!(received.body, payload);
            for (name, value) in [
                ("host", upstream.address.as_str()),
                ("content-encoding", "x-zip"),
                ("content-length", &payload.len().to_string()),
                ("sts-api-key", OWN_KEY),
                ("dd-api-key", ""),
                ("authorization", ""),
                ("x-ingestion-key-id", &key.id.to_string()),
                ("x-ingestion-key-name", "t%C3%A9am%20a"),
                ("x_ingestion_key_name", ""),
                ("x-forwarded-for", "127.0.0.1"),
                ("x-forwarded-host", &gateway.address("agent")),
                ("x-hop", ""),
            ] {
                assert_eq!(received.header(name), value, "{name}: {received:?}");
            }
            assert!(!format!("{received:?}").contains(secret), "{received:?}");
        }
    }
    assert!(!gateway.log.all().contains(secret));
}

// Scenario: requests are not for the upstream: checks of a key, paths that servers may read in
// different ways, paths that nobody uses, and methods that are not about a resource. Then an agent
// asks which features the server has.
// Guarantee: the gateway answers all of them itself, and a wrong key is refused as always. Only the
// last request reaches the upstream.
#[tokio::test]
async fn some_requests_are_answered_here() {
    let (mut upstream, otlp) = (Upstream::start().await, Upstream::start().await);
    let (gateway, key) = start(&upstream, &otlp, "").await;
    assert_eq!(gateway.validate(&key.secret).await, StatusCode::OK);
    assert_eq!(gateway.validate("wrong").await, StatusCode::FORBIDDEN);
    for (method, path, status) in [
        ("POST", "/receiver/stsAgent/api/v1/validate", 200),
        ("GET", "/stsAgent/../admin", 404),
        ("POST", "/stsAgent/%2e%2E/admin", 404),
        ("POST", "/receiver/stsAgent/a/..", 404),
        ("POST", "/stsAgent/..;/admin", 404),
        ("POST", "/stsAgent/a%2f..%2fadmin", 404),
        ("POST", "/stsAgent/.\\..\\admin", 404),
        ("POST", "/stsAgentX/intake", 404),
        ("POST", "/receiver/receiver/stsAgent/intake", 404),
        ("POST", "/stsagent/intake", 404),
        ("POST", "/api/v1/series", 404),
        ("TRACE", "/stsAgent/intake", 404),
        ("GET", "/prometheus/api/v1/query", 404),
        ("GET", "/receiver/prometheus/api/v1/write", 405),
        ("POST", "/stsAgent/otel/v1/../admin", 404),
        ("POST", "/stsAgent/otel/v1/traces/", 404),
    ] {
        // A client library would change the path.
        let head = format!(
            "{method} {path} HTTP/1.1\r\nhost: gateway\r\nsts-api-key: {}\r\ncontent-type: application/json\r\ncontent-length: 0\r\nconnection: close\r\n\r\n",
            key.secret
        );
        let answer = raw(&gateway, &head).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{method} {path}: {answer}");
    }
    let url = gateway.url("agent", "/receiver/stsAgent/features");
    let request = gateway.client.get(url).header("sts-api-key", &key.secret);
    assert_eq!(request.send().await.unwrap().status(), StatusCode::IM_A_TEAPOT);
    let received = upstream.next().await;
    assert_eq!((received.method, received.uri.path()), (Method::GET, "/stsAgent/features"));
}

/// Sends a request as it is, and returns the response.
async fn raw(gateway: &Gateway, request: &str) -> String {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let mut stream = gateway.connect("agent").await;
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    timeout(PATIENCE, stream.read_to_string(&mut answer)).await.unwrap().unwrap();
    answer
}

// Scenario: an agent sends OTLP below its prefix, and Prometheus writes, both with a key in a place
// of agents.
// Guarantee: OTLP reaches the upstream of OTLP/HTTP on its own path, and remote write that of
// agents, below the path of its endpoint. Neither has the key of the sender.
#[tokio::test]
async fn otlp_and_remote_write_have_their_upstreams() {
    let (mut upstream, mut otlp) = (Upstream::start().await, Upstream::start().await);
    let (gateway, key) = start(&upstream, &otlp, "/base/").await;
    let batch = traces(3).encode_to_vec();
    for prefix in ["/stsAgent/otel", "/receiver/stsAgent/otel"] {
        let url = gateway.url("agent", &format!("{prefix}/v1/traces"));
        let request = gateway.client.post(url).header("content-type", "application/x-protobuf");
        let request = request.header("authorization", format!("SUSEObservability {}", key.secret));
        let response = request.body(batch.clone()).send().await.unwrap();
        assert_eq!(response.status(), StatusCode::IM_A_TEAPOT);
        let received = otlp.next().await;
        assert_eq!((received.uri.to_string().as_str(), &*received.body), ("/v1/traces", &*batch));
        assert_eq!(received.header("x-ingestion-key-id"), key.id.to_string());
        assert_eq!((received.header("authorization"), received.header("sts-api-key")), ("", ""));

        let prefix = prefix.strip_suffix("/stsAgent/otel").unwrap();
        let path = format!("{prefix}/prometheus/api/v1/write?api_key={}", key.secret);
        let url = gateway.url("agent", &path);
        let request = gateway.client.post(url).basic_auth("apikey", Some(&key.secret));
        let response = request.body("written").send().await.unwrap();
        assert_eq!(response.status(), StatusCode::IM_A_TEAPOT);
        let received = upstream.next().await;
        assert_eq!(received.uri.to_string(), "/base/prometheus/api/v1/write");
        assert_eq!(
            (received.header("sts-api-key"), &*received.body),
            (OWN_KEY, b"written".as_slice())
        );
        assert!(!format!("{received:?}").contains(&key.secret), "{received:?}");
    }
}

// Scenario: the upstreams are down.
// Guarantee: an agent gets 503 with the time to come back and without a body. A sender of OTLP
// below the prefix of agents gets 503 with a status in its encoding. The check of a key is
// answered.
#[tokio::test]
async fn an_agent_keeps_its_payload_while_the_upstream_is_down() {
    let (upstream, otlp) =
        (TcpListener::bind("127.0.0.1:0").await.unwrap(), Upstream::start().await);
    let address = upstream.local_addr().unwrap().to_string();
    drop(upstream);
    let (_, received) = mpsc::unbounded_channel();
    let down = Upstream { address, received };
    let (gateway, key) = start(&down, &down, "").await;
    drop(otlp);
    for (path, length) in [("/stsAgent/intake", 0), ("/stsAgent/otel/v1/traces", 1)] {
        let request = gateway.client.post(gateway.url("agent", path)).body("{}");
        let request = request.header("content-type", "application/json");
        let response = request.header("sts-api-key", &key.secret).send().await.unwrap();
        assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE, "{path}");
        let wait: u64 = response.headers()["retry-after"].to_str().unwrap().parse().unwrap();
        assert!((1..=5).contains(&wait), "{path}: {wait}");
        assert_eq!(response.bytes().await.unwrap().len().min(1), length, "{path}");
    }
    assert_eq!(gateway.validate(&key.secret).await, StatusCode::OK);
}
