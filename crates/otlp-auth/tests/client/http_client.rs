//! Tests the wrapper around the HTTP client of OTLP/HTTP exporters. The inner client is a scripted
//! client, or reqwest with a real server.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use futures_executor::block_on;
use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use opentelemetry_http::{HttpClient, HttpError};
use opentelemetry_otlp::{SpanExporter, WithExportConfig, WithHttpConfig};
use otlp_auth::client::{BearerTokenAuth, EndpointError};
use otlp_auth::server::AuthenticateLayer;
use tower::Layer;

use crate::support::{Tokens, fixed, header, http_client, sdk_span};

type Answer = Box<dyn Fn(&Request<Bytes>) -> Result<Response<Bytes>, HttpError> + Send + Sync>;

/// A client that responds without a server, and records the requests.
#[derive(Clone)]
struct Scripted {
    sent: Arc<Mutex<Vec<Request<Bytes>>>>,
    answer: Arc<Answer>,
}

impl Scripted {
    fn new(
        answer: impl Fn(&Request<Bytes>) -> Result<Response<Bytes>, HttpError> + Send + Sync + 'static,
    ) -> Self {
        Self { sent: Arc::default(), answer: Arc::new(Box::new(answer)) }
    }

    /// Returns the credentials of each request that was sent.
    fn credentials(&self) -> Vec<Vec<String>> {
        let sent = self.sent.lock().unwrap();
        let of = |headers: &HeaderMap| {
            headers
                .get_all("authorization")
                .iter()
                .map(|value| value.to_str().unwrap().to_owned())
                .collect()
        };
        sent.iter().map(|request| of(request.headers())).collect()
    }
}

impl std::fmt::Debug for Scripted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Scripted").finish_non_exhaustive()
    }
}

#[async_trait::async_trait]
impl HttpClient for Scripted {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let answer = (self.answer)(&request);
        self.sent.lock().unwrap().push(request);
        answer
    }
}

fn answer(status: StatusCode) -> Result<Response<Bytes>, HttpError> {
    Ok(Response::builder().status(status).body(Bytes::from_static(b"said the server")).unwrap())
}

fn request() -> Request<Bytes> {
    Request::post("https://otlp.example.com/v1/traces")
        .header("x-tenant", "a")
        .body(Bytes::from_static(b"batch"))
        .unwrap()
}

/// Scenario: an exporter has put the headers of `OTEL_EXPORTER_OTLP_HEADERS` on a request, and one
/// of these headers is a credential.
/// Guarantee: the credential is replaced, and the other headers stay.
#[test]
fn replaces_every_earlier_value() {
    for auth in [fixed(), Tokens::new("token-0").auth()] {
        let inner = Scripted::new(|_| answer(StatusCode::OK));
        let mut request = request();
        request.headers_mut().append("authorization", "Bearer a".parse().unwrap());
        request.headers_mut().append("authorization", "Bearer b".parse().unwrap());
        block_on(auth.http_client(inner.clone()).send_bytes(request)).unwrap();
        assert_eq!(inner.credentials(), [["StackState token-0"]]);
        assert_eq!(inner.sent.lock().unwrap()[0].headers()["x-tenant"], "a");
    }
}

/// Scenario: the server rejects the token, and by then the file has a new token. There is no Tokio
/// runtime.
/// Guarantee: the same request is sent once more with the new token. The second response is
/// returned, even if it is another failure.
#[test]
fn a_refused_request_is_sent_again() {
    for second in [StatusCode::OK, StatusCode::UNAUTHORIZED, StatusCode::SERVICE_UNAVAILABLE] {
        let tokens = Tokens::new("token-0");
        let inner = Scripted::new({
            let tokens = tokens.clone();
            move |request| match request.headers()["authorization"].as_bytes() {
                b"StackState token-0" => {
                    tokens.replace("token-1");
                    answer(StatusCode::UNAUTHORIZED)
                }
                _ => answer(second),
            }
        });
        let response =
            block_on(tokens.auth().http_client(inner.clone()).send_bytes(request())).unwrap();
        assert_eq!(response.status(), second);
        assert_eq!(inner.credentials(), [["StackState token-0"], ["StackState token-1"]]);
        let sent = inner.sent.lock().unwrap();
        assert!(sent.iter().all(|sent| (sent.method(), sent.uri(), sent.body())
            == (request().method(), request().uri(), request().body())));
        assert_eq!(sent[1].headers()["x-tenant"], "a");
    }
}

/// Scenario: the server rejects a fixed token, or a token whose file has not changed. Or the server
/// responds with another failure, or the inner client returns an error.
/// Guarantee: the response or error is returned unchanged, and the request is sent once.
#[test]
fn nothing_else_is_sent_again() {
    let fixed = fixed();
    for auth in [fixed, Tokens::new("token-0").auth()] {
        for status in
            [StatusCode::UNAUTHORIZED, StatusCode::FORBIDDEN, StatusCode::SERVICE_UNAVAILABLE]
        {
            let inner = Scripted::new(move |_| answer(status));
            let response = block_on(auth.http_client(inner.clone()).send_bytes(request())).unwrap();
            assert_eq!(
                (response.status(), &response.body()[..]),
                (status, &b"said the server"[..])
            );
            assert_eq!(inner.credentials().len(), 1);
        }
        let inner = Scripted::new(|_| Err("no route".into()));
        let error = block_on(auth.http_client(inner.clone()).send_bytes(request())).unwrap_err();
        assert_eq!(error.to_string(), "no route");
        assert_eq!(inner.credentials().len(), 1);
    }
}

/// Scenario: a gRPC server answers the request with HTTP status 200, and has put its error into the
/// header `grpc-status`. The content type has several spellings.
/// Guarantee: the request is an error that names the cause, and not a success. Responses of an
/// OTLP/HTTP server, and refusals, are returned unchanged.
#[test]
fn a_success_of_a_grpc_server_is_a_failure() {
    let send = |auth: &BearerTokenAuth, status: StatusCode, content_type: &'static str| {
        let inner = Scripted::new(move |_| {
            let response = Response::builder().status(status).header("content-type", content_type);
            Ok(response.header("grpc-status", "12").body(Bytes::new()).unwrap())
        });
        block_on(auth.http_client(inner).send_bytes(request()))
    };
    for auth in [fixed(), Tokens::new("token-0").auth()] {
        for content_type in ["application/grpc", "Application/GRPC+proto", "application/grpc; a=b"]
        {
            let error = send(&auth, StatusCode::OK, content_type).unwrap_err();
            assert!(error.to_string().contains("port for OTLP/HTTP"), "{error}");
            let error = error.downcast::<EndpointError>().expect("it is our error");
            assert!(matches!(*error, EndpointError::GrpcPort));
            let response = send(&auth, StatusCode::UNAUTHORIZED, content_type).unwrap();
            assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
        }
        for content_type in ["application/x-protobuf", "application/json", ""] {
            assert!(send(&auth, StatusCode::OK, content_type).is_ok(), "{content_type}");
        }
    }
}

/// Scenario: the token is rejected and has changed, and a gRPC server answers the second request.
/// Guarantee: the second response is checked, too.
#[test]
fn the_second_response_is_checked() {
    let tokens = Tokens::new("token-0");
    let inner = Scripted::new({
        let tokens = tokens.clone();
        move |request| match request.headers()["authorization"].as_bytes() {
            b"StackState token-0" => {
                tokens.replace("token-1");
                answer(StatusCode::UNAUTHORIZED)
            }
            _ => Ok(Response::builder()
                .header("content-type", "application/grpc")
                .body(Bytes::new())
                .unwrap()),
        }
    });
    let error = block_on(tokens.auth().http_client(inner).send_bytes(request())).unwrap_err();
    assert!(error.is::<EndpointError>(), "{error}");
}

/// Scenario: the OTLP/HTTP exporter of opentelemetry-rust sends to a server that first answers as a
/// gRPC server does, and then as an OTLP/HTTP server, as if its port was corrected meanwhile.
/// Guarantee: the exporter keeps the batch and sends it again, so nothing is lost.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_exporter_sends_again_after_a_grpc_answer() {
    let answers = std::sync::atomic::AtomicUsize::new(0);
    let inner = Scripted::new(move |_| {
        let first = answers.fetch_add(1, std::sync::atomic::Ordering::Relaxed) == 0;
        let content_type = if first { "application/grpc" } else { "application/x-protobuf" };
        Ok(Response::builder().header("content-type", content_type).body(Bytes::new()).unwrap())
    });
    let exporter = SpanExporter::builder()
        .with_http()
        .with_endpoint("https://otlp.example.com/v1/traces")
        .with_retry_policy(opentelemetry_otlp::RetryPolicy::recommended())
        .with_http_client(fixed().http_client(inner.clone()))
        .build()
        .unwrap();
    opentelemetry_sdk::trace::SpanExporter::export(&exporter, sdk_span("span")).await.unwrap();
    let sent = inner.sent.lock().unwrap();
    assert_eq!(sent.len(), 2);
    assert_eq!(sent[0].body(), sent[1].body());
}

/// Scenario: requests go to this machine and to others, over TLS and over plaintext. The URI of one
/// more request is only a path.
/// Guarantee: a credential is sent over plaintext only to this machine, unless plaintext is
/// allowed. The request whose URI is only a path is an error.
#[test]
fn each_request_is_checked() {
    let auth = fixed();
    let inner = Scripted::new(|_| answer(StatusCode::OK));
    let client = auth.http_client(inner.clone());
    let allowing = BearerTokenAuth::builder().token("token-0").allow_plaintext();
    let allowing = allowing.build_unbound().unwrap().http_client(inner.clone());
    let send = |client: &dyn HttpClient, uri: &str| {
        let sent = inner.credentials().len();
        let result = block_on(client.send_bytes(Request::post(uri).body(Bytes::new()).unwrap()));
        assert_eq!(inner.credentials().len(), sent + usize::from(result.is_ok()), "{uri}");
        result
            .map(drop)
            .map_err(|error| *error.downcast::<EndpointError>().expect("it is our error"))
    };
    for uri in [
        "https://otlp.example.com/",
        "http://127.0.0.1:1/",
        "http://[::1]/",
        "http://LOCALHOST/v1/traces",
    ] {
        send(&client, uri).unwrap();
    }
    for uri in ["http://otlp.example.com/", "http://127.0.0.1@evil.example/"] {
        assert!(matches!(send(&client, uri), Err(EndpointError::Plaintext { .. })), "{uri}");
        send(&allowing, uri).unwrap();
    }
    assert!(matches!(send(&client, "/v1/traces"), Err(EndpointError::Relative)));
    assert!(matches!(send(&allowing, "/v1/traces"), Err(EndpointError::Relative)));
}

/// Starts a real HTTP/1.1 server behind the authentication of this library. The server calls
/// `on_refusal` before it sends a rejection.
async fn serve(
    tokens: &Tokens,
    on_refusal: impl Fn() + Clone + Send + 'static,
) -> (SocketAddr, Arc<Mutex<Vec<Bytes>>>) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let accepted = Arc::new(Mutex::new(Vec::new()));
    let service = tower::service_fn({
        let accepted = Arc::clone(&accepted);
        move |request: Request<hyper::body::Incoming>| {
            let accepted = Arc::clone(&accepted);
            async move {
                let body = request.into_body().collect().await.unwrap().to_bytes();
                accepted.lock().unwrap().push(body);
                Ok::<_, Infallible>(Response::new(Full::<Bytes>::default()))
            }
        }
    });
    let service = AuthenticateLayer::new(tokens.accepted()).layer(service);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (service, on_refusal) = (service.clone(), on_refusal.clone());
            let service = service_fn(move |request| {
                let (service, on_refusal) = (service.clone(), on_refusal.clone());
                async move {
                    let response = tower::ServiceExt::oneshot(service, request).await?;
                    if response.status() == StatusCode::UNAUTHORIZED {
                        on_refusal();
                    }
                    Ok::<_, Infallible>(response)
                }
            });
            tokio::spawn(
                hyper::server::conn::http1::Builder::new()
                    .serve_connection(TokioIo::new(stream), service),
            );
        }
    });
    (address, accepted)
}

/// Scenario: reqwest sends a request to a real server that knows only the new token. The client's
/// file gets the new token after the request was sent.
/// Guarantee: the request arrives once. If the client has no token that the server knows, the
/// rejection is returned.
#[tokio::test]
async fn reqwest_before_a_real_server() {
    let (server_tokens, client_tokens) = (Tokens::new("token-1"), Tokens::new("token-0"));
    let rotate = {
        let client_tokens = client_tokens.clone();
        move || client_tokens.replace("token-1")
    };
    let (address, accepted) = serve(&server_tokens, rotate).await;
    let auth = client_tokens.auth();
    let reqwest = http_client();
    let client = auth.http_client(reqwest.clone());
    let request = || {
        Request::post(format!("http://{address}/v1/traces"))
            .body(Bytes::from_static(b"batch"))
            .unwrap()
    };
    let response = client.send_bytes(request()).await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!(*accepted.lock().unwrap(), ["batch"]);
    assert_eq!(header(&auth), "StackState token-1");
    let dead = Tokens::new("token-2").auth().http_client(reqwest);
    assert_eq!(dead.send_bytes(request()).await.unwrap().status(), StatusCode::UNAUTHORIZED);
    assert_eq!(accepted.lock().unwrap().len(), 1);
}

/// Scenario: the OTLP/HTTP exporter of opentelemetry-rust sends a span through the wrapper, while
/// the token is rotated. The exporter is configured with a credential of its own.
/// Guarantee: the span arrives, so the exporter's credential was replaced.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_exporter_of_opentelemetry() {
    let (server_tokens, client_tokens) = (Tokens::new("token-1"), Tokens::new("token-0"));
    let rotate = {
        let client_tokens = client_tokens.clone();
        move || client_tokens.replace("token-1")
    };
    let (address, accepted) = serve(&server_tokens, rotate).await;
    let reqwest = http_client();
    let exporter = SpanExporter::builder()
        .with_http()
        .with_endpoint(format!("http://{address}/v1/traces"))
        .with_headers([("authorization".to_owned(), "Bearer of-somebody-else".to_owned())].into())
        .with_http_client(client_tokens.auth().http_client(reqwest))
        .build()
        .unwrap();
    opentelemetry_sdk::trace::SpanExporter::export(&exporter, sdk_span("span")).await.unwrap();
    assert_eq!(accepted.lock().unwrap().len(), 1);
}
