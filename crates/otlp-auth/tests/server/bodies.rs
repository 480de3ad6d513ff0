//! Tests that a request is decided before its body is read, and that a sender can read the response
//! while it is still sending the body.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{Request, Response, Version};
use http_body::{Body, Frame};
use otlp_auth::server::ServerAuthenticator;
use tokio::sync::oneshot;
use tower::{Layer, ServiceExt, service_fn};

use crate::peers::{Call, Http1, head};
use crate::receivers::{OUTAGE, Server, TEAM_A, layer, teams};

/// A body that never ends. It yields frames of the same length forever, or it never yields a frame.
/// It counts the bytes that are read from it, and reports when it is dropped.
struct Endless {
    frame: Option<usize>,
    polls: Arc<AtomicUsize>,
    taken: Arc<AtomicU64>,
    _dropped: oneshot::Sender<()>,
}

/// What a test can observe of an [`Endless`] body that the layer owns.
struct Traces {
    polls: Arc<AtomicUsize>,
    taken: Arc<AtomicU64>,
    dropped: oneshot::Receiver<()>,
}

impl Endless {
    fn new(frame: Option<usize>) -> (Self, Traces) {
        let (polls, taken, (sender, dropped)) =
            (Arc::default(), Arc::default(), oneshot::channel());
        let traces = Traces { polls: Arc::clone(&polls), taken: Arc::clone(&taken), dropped };
        (Self { frame, polls, taken, _dropped: sender }, traces)
    }
}

impl Body for Endless {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.polls.fetch_add(1, Ordering::Relaxed);
        let Some(frame) = self.frame else { return Poll::Pending };
        self.taken.fetch_add(frame as u64, Ordering::Relaxed);
        Poll::Ready(Some(Ok(Frame::data(vec![0; frame].into()))))
    }
}

/// Sends a request with this body through the layer. The service behind the layer drops the body
/// unread. Returns the status and the number of calls of the service.
async fn send(version: Version, credential: &str, expect: bool, body: Endless) -> (u16, usize) {
    let calls = Arc::new(AtomicUsize::new(0));
    let service = layer().layer(service_fn({
        let calls = Arc::clone(&calls);
        move |_: Request<Endless>| {
            calls.fetch_add(1, Ordering::Relaxed);
            std::future::ready(Ok::<_, Infallible>(Response::new(String::new())))
        }
    }));
    let mut request =
        Request::post("/v1/traces").version(version).header("authorization", credential);
    if expect {
        request = request.header("expect", "100-continue");
    }
    let response = service.oneshot(request.body(body).unwrap()).await.unwrap();
    (response.status().as_u16(), calls.load(Ordering::Relaxed))
}

const REFUSED: [(&str, u16); 4] = [
    ("nonsense", 401),
    ("StackState iapikeyok-of-nobody", 401),
    ("StackState iapikeyok-revoked", 401),
    ("StackState iapikeyok-in-an-outage", 503),
];

// Scenario: a request is rejected over HTTP/2, or over HTTP/1.1 while the sender waits for `100
// Continue`.
// Guarantee: the body is dropped without being polled, and the service is not called.
#[tokio::test]
async fn a_refused_body_is_not_read() {
    for (version, expect) in
        [(Version::HTTP_2, false), (Version::HTTP_3, false), (Version::HTTP_11, true)]
    {
        for (credential, status) in REFUSED {
            let (body, traces) = Endless::new(Some(1));
            assert_eq!(
                send(version, credential, expect, body).await,
                (status, 0),
                "{version:?} {credential}"
            );
            assert!(traces.dropped.await.is_err());
            assert_eq!(traces.polls.load(Ordering::Relaxed), 0, "{version:?} {credential}");
        }
    }
}

// Scenario: a request is allowed.
// Guarantee: the layer does not read the body, but leaves it to the service.
#[tokio::test]
async fn an_allowed_body_is_left_to_the_service() {
    for version in [Version::HTTP_11, Version::HTTP_2] {
        let (body, traces) = Endless::new(Some(1));
        assert_eq!(send(version, &format!("StackState {TEAM_A}"), false, body).await, (200, 1));
        assert!(traces.dropped.await.is_err());
        assert_eq!(traces.polls.load(Ordering::Relaxed), 0);
    }
}

// Scenario: the requests of HTTP/1 senders are rejected. One sender never stops writing its body.
// Another sender writes nothing more and does not close the connection.
// Guarantee: the layer reads 128 MiB and one more frame of the first body. It reads the second body
// for a limited time. Then it drops both bodies.
#[tokio::test]
async fn a_refused_body_is_drained_within_bounds() {
    let mut waiting = Vec::new();
    for version in [Version::HTTP_10, Version::HTTP_11] {
        for (credential, status) in REFUSED {
            let (body, traces) = Endless::new(Some(1 << 20));
            assert_eq!(send(version, credential, false, body).await, (status, 0));
            assert!(traces.dropped.await.is_err());
            assert_eq!(
                traces.taken.load(Ordering::Relaxed),
                (128 << 20) + (1 << 20),
                "{credential}"
            );

            let (body, mut traces) = Endless::new(None);
            assert_eq!(send(version, credential, false, body).await, (status, 0));
            assert_eq!(
                traces.dropped.try_recv(),
                Err(oneshot::error::TryRecvError::Empty),
                "the answer does not wait"
            );
            waiting.push(traces);
        }
    }
    for traces in waiting {
        assert!(traces.dropped.await.is_err());
        assert!(traces.polls.load(Ordering::Relaxed) > 0);
    }
}

// Scenario: a client has sent only its headers, which announce a body, and waits.
// Guarantee: the client reads the whole rejection, on every server.
#[tokio::test]
async fn a_refusal_does_not_wait_for_the_body() {
    for server in Server::ALL {
        let address = server.start(layer()).await;
        for (credential, status) in REFUSED {
            let mut connection = Http1::connect(address).await;
            let call = Call::post("/v1/traces")
                .header("authorization", credential)
                .header("content-length", "1000");
            connection.write(&head(&call, Version::HTTP_11)).await;
            let answer = connection.read_answer().await;
            assert_eq!(
                (answer.status, answer.headers.len()),
                (status, if status == 401 { 5 } else { 3 }),
                "{server:?} {credential}"
            );
            assert!(answer.text().starts_with(r#"{"code":1"#), "{server:?} {answer:?}");
        }
    }
}

/// Encodes `body` in the chunked coding of HTTP/1.1.
fn chunked(body: &[u8]) -> Vec<u8> {
    let chunks = body
        .chunks(10_000)
        .map(|chunk| [format!("{:x}\r\n", chunk.len()).as_bytes(), chunk, b"\r\n"].concat());
    [chunks.collect::<Vec<_>>().concat().as_slice(), b"0\r\n\r\n"].concat()
}

// Scenario: on one connection, a client writes each request as a whole before it reads the
// response. Each body has 200 kB, with a length or in chunks. The first fifty requests are
// rejected, and the last one is allowed.
// Guarantee: the client reads every rejection. The connection stays open, so that the last request
// is served.
#[tokio::test]
async fn a_sender_in_the_middle_of_its_body_reads_the_refusal() {
    let body = vec![b'x'; 200_000];
    for server in Server::ALL {
        let address = server.start(layer()).await;
        for in_chunks in [false, true] {
            let mut connection = Http1::connect(address).await;
            for turn in 0..=50 {
                let (credential, status) = if turn < 50 {
                    REFUSED[turn % REFUSED.len()]
                } else {
                    ("StackState iapikeyok-of-team-a", 200)
                };
                let call = Call::post("/v1/traces").header("authorization", credential);
                let (call, framed) = match in_chunks {
                    true => (call.header("transfer-encoding", "chunked"), chunked(&body)),
                    false => (call.header("content-length", body.len().to_string()), body.clone()),
                };
                connection.write(&[head(&call, Version::HTTP_11), framed].concat()).await;
                let answer = connection.read_answer().await;
                assert_eq!(answer.status, status, "{server:?} in chunks: {in_chunks}, turn {turn}");
                assert_eq!(answer.header("connection"), None, "{server:?}");
                assert!(
                    status != 200 || answer.text().ends_with("body=200000\n"),
                    "{server:?} {}",
                    answer.text()
                );
            }
        }
    }
}

// Scenario: on each of fifty connections, a client writes 200 kB and asks the server to close the
// connection.
// Guarantee: every time, the client reads the rejection and then the end of the connection, never a
// reset.
#[tokio::test]
async fn a_connection_that_closes_delivers_the_refusal_first() {
    let body = vec![b'x'; 200_000];
    for server in Server::ALL {
        let address = server.start(layer()).await;
        for turn in 0..50 {
            let (credential, status) = REFUSED[turn % REFUSED.len()];
            let call = Call::post("/v1/traces")
                .header("authorization", credential)
                .header("connection", "close");
            let mut connection = Http1::connect(address).await;
            connection
                .write(
                    &[
                        head(&call.header("content-length", "200000"), Version::HTTP_11),
                        body.clone(),
                    ]
                    .concat(),
                )
                .await;
            assert_eq!(connection.read_answer().await.status, status, "{server:?} turn {turn}");
            assert_eq!(connection.read_to_end().await, b"", "{server:?} turn {turn}");
        }
    }
}

// Scenario: a client sends `Expect: 100-continue` and waits.
// Guarantee: if the request is rejected, the client reads the rejection and no `100`, and the
// connection ends. If the request is allowed, the client reads `100`, sends its body, and is
// served.
#[tokio::test]
async fn a_sender_that_asks_first_is_told() {
    for server in Server::ALL {
        let address = server.start(layer()).await;
        let call = |credential: &str| {
            let call = Call::post("/v1/traces")
                .header("authorization", credential)
                .header("expect", "100-continue");
            head(&call.header("content-length", "5"), Version::HTTP_11)
        };
        for (credential, status) in REFUSED {
            let mut connection = Http1::connect(address).await;
            connection.write(&call(credential)).await;
            assert_eq!(connection.read_answer().await.status, status, "{server:?} {credential}");
            assert_eq!(connection.read_to_end().await, b"", "{server:?} {credential}");
        }
        let mut connection = Http1::connect(address).await;
        connection.write(&call(&format!("StackState {TEAM_A}"))).await;
        assert_eq!(connection.read_head().await, (100, vec![]), "{server:?}");
        connection.write(b"12345").await;
        let answer = connection.read_answer().await;
        assert_eq!(
            (answer.status, answer.text()),
            (200, "identity=team-a\nuri=/v1/traces\nbody=5\n"),
            "{server:?}"
        );
    }
}

// Scenario: a client of HTTP/1.0 sends requests with and without a body.
// Guarantee: the client gets the same statuses as over HTTP/1.1, and the connection ends after the
// response.
#[tokio::test]
async fn http_1_0_is_answered() {
    for server in Server::ALL {
        let address = server.start(layer()).await;
        for (credential, status) in
            REFUSED.into_iter().chain([("StackState iapikeyok-of-team-a", 200)])
        {
            for body in [b"".as_slice(), &[b'x'; 100_000]] {
                let mut connection = Http1::connect(address).await;
                let call = Call::post("/v1/traces")
                    .header("authorization", credential)
                    .header("content-length", body.len().to_string());
                connection.write(&[head(&call, Version::HTTP_10).as_slice(), body].concat()).await;
                let answer = connection.read_answer().await;
                assert_eq!(answer.status, status, "{server:?} {credential}");
                assert_eq!(connection.read_to_end().await, b"", "{server:?} {credential}");
            }
        }
    }
}

// Scenario: the layer runs outside of a Tokio runtime, so that no task can read the rest of a body.
// Guarantee: a rejected request still gets its response.
#[test]
fn no_runtime_is_needed_to_refuse() {
    let service = otlp_auth::server::AuthenticateLayer::new(teams()).layer(service_fn(
        async |_: Request<Endless>| Ok::<_, Infallible>(Response::new(String::new())),
    ));
    let request = Request::post("/v1/traces").body(Endless::new(Some(1)).0).unwrap();
    let response = futures_executor::block_on(service.oneshot(request)).unwrap();
    assert_eq!(response.status(), 401);
}

// Scenario: a client goes away while its request waits for a verdict, so that the future of the
// request is dropped.
// Guarantee: the body of the request is dropped too.
#[tokio::test]
async fn a_request_that_is_given_up_is_dropped() {
    struct Never;
    impl ServerAuthenticator for Never {
        type Future = std::future::Pending<otlp_auth::Verdict>;

        fn authenticate(&self, _: &otlp_auth::Credential<'_>) -> Self::Future {
            std::future::pending()
        }
    }
    let layer = otlp_auth::server::AuthenticateLayer::new(Never);
    let service = layer.layer(service_fn(async |_: Request<Endless>| {
        Ok::<_, Infallible>(Response::new(String::new()))
    }));
    let (body, traces) = Endless::new(None);
    let request = Request::post("/")
        .header("authorization", format!("StackState {OUTAGE}"))
        .body(body)
        .unwrap();
    let mut response = Box::pin(service.oneshot(request));
    std::future::poll_fn(|cx| {
        assert!(response.as_mut().poll(cx).is_pending());
        Poll::Ready(())
    })
    .await;
    drop(response);
    assert!(traces.dropped.await.is_err());
    assert_eq!(traces.polls.load(Ordering::Relaxed), 0);
}
