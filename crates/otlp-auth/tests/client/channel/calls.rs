//! Tests that calls and their responses are the same as over a direct channel.

use std::convert::Infallible;
use std::net::TcpListener;
use std::time::Duration;

use bytes::Bytes;
use futures_executor::block_on;
use http::{Request, Response};
use http_body::Frame;
use http_body_util::{BodyExt, Empty};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_client::TraceServiceClient;
use otlp_auth::client::UnboundBearerTokenAuth;
use tonic::Code;
use tonic::codec::CompressionEncoding;
use tonic::metadata::MetadataValue;
use tonic::transport::{Channel, Endpoint};
use tower::ServiceExt;

use super::{call, channel, collector, fixed, raw_server, rotated_collector};
use crate::support::{Fed, Tokens, batch, trailers};

/// Scenario: a client sends from a thread without a runtime, from a current-thread runtime and from
/// a multi-thread runtime. The token is fixed or comes from a file.
/// Guarantee: every batch arrives.
#[test]
fn sends_from_anywhere() {
    let (collector, tokens) = collector();
    for auth in [fixed(), tokens.unbound()] {
        let send = async || {
            let mut client = TraceServiceClient::new(channel(&auth, &collector.endpoint()));
            client.export(batch("span")).await.unwrap();
            client.export(batch("span")).await.unwrap();
        };
        block_on(send());
        tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(send());
        tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .build()
            .unwrap()
            .block_on(send());
    }
    assert_eq!(collector.received.spans().len(), 2 * 3 * 2);
}

/// Scenario: a request already has credentials and other metadata.
/// Guarantee: the authenticator's credential replaces them. The other metadata and a user agent
/// arrive too.
#[test]
fn replaces_the_credential_only() {
    let (collector, _) = collector();
    let mut client = TraceServiceClient::new(channel(&fixed(), &collector.endpoint()));
    let mut request = tonic::Request::new(batch("span"));
    request.metadata_mut().append("authorization", MetadataValue::from_static("Bearer a"));
    request.metadata_mut().append("authorization", MetadataValue::from_static("Bearer b"));
    request.metadata_mut().insert("x-echo", MetadataValue::from_static("metadata"));
    let response = block_on(client.export(request)).unwrap();
    assert_eq!(response.metadata().get("x-echo").unwrap(), "metadata");
    assert!(
        response.metadata().get("x-user-agent").unwrap().to_str().unwrap().starts_with("tonic/")
    );
}

/// Scenario: the server accepts connections and never responds, and the endpoint has a timeout.
/// Guarantee: the call ends with the same status as over a direct channel.
#[test]
fn the_endpoints_timeout_holds() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint =
        Endpoint::from_shared(format!("http://{}", silent.local_addr().unwrap())).unwrap();
    let endpoint = endpoint.timeout(Duration::from_millis(10));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let status = |channel: Channel| {
        let status =
            runtime.block_on(TraceServiceClient::new(channel).export(batch("span"))).unwrap_err();
        (status.code(), status.message().to_owned())
    };
    let direct = {
        let _entered = runtime.enter();
        endpoint.connect_lazy()
    };
    let expected = status(direct);
    for auth in [fixed(), Tokens::new("token-0").unbound()] {
        assert_eq!(status(channel(&auth, &endpoint)), expected);
    }
}

/// Scenario: the server fails a call. Its status has a code, a message that is not ASCII, details,
/// metadata and binary metadata.
/// Guarantee: all parts of the status arrive as over a direct channel.
#[test]
fn a_status_passes_unchanged() {
    let (collector, tokens) = collector();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let status = |channel: Channel, credential: Option<&'static str>| {
        let mut request = tonic::Request::new(batch("span"));
        request.metadata_mut().insert("x-fail", MetadataValue::from_static("yes"));
        if let Some(credential) = credential {
            request.metadata_mut().insert("authorization", MetadataValue::from_static(credential));
        }
        runtime.block_on(TraceServiceClient::new(channel).export(request)).unwrap_err()
    };
    let direct = status(
        runtime.block_on(collector.endpoint().connect()).unwrap(),
        Some("StackState token-0"),
    );
    assert_eq!((direct.code(), direct.message()), (Code::DataLoss, "lost: 100 % \u{fc}"));
    assert_eq!(direct.details(), [1, 2, 0, 255]);
    for auth in [fixed(), tokens.unbound()] {
        let status = status(channel(&auth, &collector.endpoint()), None);
        assert_eq!(
            (status.code(), status.message(), status.details()),
            (direct.code(), direct.message(), direct.details())
        );
        let without_date = |status: &tonic::Status| {
            let mut headers = status.metadata().clone().into_headers();
            headers.remove("date");
            headers
        };
        assert_eq!(without_date(&status), without_date(&direct));
        assert_eq!(
            status.metadata().get_bin("x-reason-bin").unwrap().to_bytes().unwrap(),
            &[0, 255][..]
        );
    }
}

/// Scenario: requests of 3 MiB and of 8 MiB are sent, plain and compressed. The server accepts the
/// tokens of some requests, and at first rejects the tokens of the others.
/// Guarantee: every accepted request arrives whole. A rejected request is sent again if the channel
/// could record all of it. Otherwise the call ends with the rejection.
#[test]
fn large_and_compressed_messages() {
    let large = |len: usize| {
        batch(
            (0..len)
                .map(|index| char::from(b'a' + (index * index / 7 % 26) as u8))
                .collect::<String>(),
        )
    };
    for compressed in [false, true] {
        let (collector, tokens) = rotated_collector();
        let client = |auth: &UnboundBearerTokenAuth| {
            let client = TraceServiceClient::new(channel(auth, &collector.endpoint()));
            if compressed { client.send_compressed(CompressionEncoding::Gzip) } else { client }
        };
        let mut sending = client(&tokens.unbound());
        block_on(sending.export(large(3 << 20))).unwrap();
        block_on(sending.export(large(8 << 20))).unwrap();
        assert_eq!(
            collector.received.spans().iter().map(String::len).collect::<Vec<_>>(),
            [3 << 20, 8 << 20]
        );
        // This request is larger than the part that the channel records. How much of the request
        // has been sent before the rejection depends on the machine. If more has been sent than is
        // recorded, the request is not sent again.
        tokens.replace("token-2");
        let whole = match block_on(client(&tokens.unbound()).export(large(8 << 20))) {
            Ok(_) => true,
            Err(status) => {
                assert!(!compressed && status.code() == Code::Unauthenticated, "{status:?}");
                false
            }
        };
        // The request arrives as a whole or not at all.
        let expected = [3 << 20, 8 << 20, 8 << 20];
        assert_eq!(
            collector.received.spans().iter().map(String::len).collect::<Vec<_>>(),
            expected[..2 + usize::from(whole)]
        );
    }
}

/// Scenario: the server streams messages, and then sends trailers of its own.
/// Guarantee: each message arrives before the next one is sent, and the trailers arrive at the end.
#[test]
fn streams_and_trailers_pass() {
    let (frames, answer) = Fed::new();
    let endpoint = Endpoint::from_shared(format!("http://{}", raw_server(answer))).unwrap();
    let channel = channel(&fixed(), &endpoint);
    block_on(async {
        frames.send(Ok(Frame::data("one".into()))).unwrap();
        let mut body = call(channel).await.into_body();
        assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), "one");
        frames.send(Ok(Frame::data("two".into()))).unwrap();
        assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), "two");
        let last = trailers(&[("grpc-status", "0"), ("x-sum", "6"), ("x-sum", "7")]);
        frames.send(Ok(Frame::trailers(last.clone()))).unwrap();
        assert_eq!(body.frame().await.unwrap().unwrap().into_trailers().unwrap(), last);
        assert!(body.frame().await.is_none());
    });
}

/// Scenario: a request with large metadata is sent over the channel, to a server that accepts so
/// much metadata.
/// Guarantee: the metadata arrives whole, with the same user agent as over a direct channel.
#[tokio::test]
async fn the_pipe_leaves_no_trace() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        let service = service_fn(async |request: Request<hyper::body::Incoming>| {
            let headers = request.headers();
            let response = Response::builder()
                .header("seen-agent", &headers["user-agent"])
                .header("seen-large", &headers["x-large"]);
            Ok::<_, Infallible>(response.body(Empty::<Bytes>::new()).unwrap())
        });
        let mut server = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
        server.max_header_list_size(1 << 20).serve_connection(TokioIo::new(stream), service).await
    });
    let endpoint =
        Endpoint::try_from(format!("http://{address}")).unwrap().user_agent("my-app/1").unwrap();
    let endpoint = endpoint.http2_max_header_list_size(1 << 20);

    let large = "x".repeat(20_000);
    let request = Request::post("http://localhost/a.Service/Call").header("x-large", &large);
    let response = channel(&fixed(), &endpoint)
        .oneshot(request.body(tonic::body::Body::empty()).unwrap())
        .await
        .unwrap();
    assert_eq!(response.headers()["seen-large"], large);
    let agent = response.headers()["seen-agent"].to_str().unwrap();
    assert!(
        agent.starts_with("my-app/1 tonic/") && agent.matches("tonic/").count() == 1,
        "{agent}"
    );
}
