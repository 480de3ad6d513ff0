//! Tests of OTLP/gRPC that is forwarded: what an upstream may do wrong, and what the sender sees.

use bytes::Bytes;
use h2::Reason;
use http::HeaderValue;
use tokio::time::timeout;

use crate::calls::{ARROW, Client, EMPTY, End, Status, TRACES};
use crate::program::{Gateway, PATIENCE};
use crate::scripted::{Upstream, trailers};

/// A gateway that forwards gRPC to a scripted upstream.
struct Forwarding {
    gateway: Gateway,
    upstream: Upstream,
    key: String,
}

impl Forwarding {
    async fn start(arguments: &[&str]) -> Self {
        let upstream = Upstream::bind().await;
        let setting = upstream.setting("otlp_grpc");
        let debug = ["--set=upstream.otlp_http=debug", "--set=upstream.agent=debug"];
        let arguments = [&[setting.as_str()], &debug[..], arguments].concat();
        let gateway = Gateway::start_with(&arguments).await;
        let key = gateway.create("edge").await.secret;
        Self { gateway, upstream, key }
    }

    async fn client(&self) -> Client {
        Client::connect(&self.gateway, "otlp_grpc").await
    }

    /// Makes a call while the upstream answers one call with success, on a new connection or on one
    /// that is there.
    async fn assert_served(&self) {
        let client = self.client().await;
        let served = async {
            let mut connection = self.upstream.accept_grpc().await;
            let mut call = connection.call().await.unwrap();
            assert_eq!(call.body().await.unwrap(), EMPTY);
            call.finish("0");
            // The end of the connection comes only after the end of the call.
            connection.call().await
        };
        tokio::select! {
            end = client.call(TRACES, &self.key) => assert_eq!(end.status, Status::OK),
            _ = served => panic!("the connection ends before the call"),
        }
    }
}

// Scenario: a call is forwarded, with metadata in both directions.
// Guarantee: the upstream gets the path, the message and the metadata, without the credential. The
// sender gets the messages and the trailers as the upstream wrote them.
#[tokio::test]
async fn a_call_passes_as_it_is() {
    let forwarding = Forwarding::start(&[]).await;
    let client = forwarding.client().await;
    let mut call = client.open(TRACES, &forwarding.key).await;
    call.messages.send_data(Bytes::from_static(b"\0\0\0\0\x02hi"), true).unwrap();
    let mut connection = forwarding.upstream.accept_grpc().await;
    let mut forwarded = connection.call().await.unwrap();
    assert_eq!(forwarded.request.uri().path(), TRACES);
    assert_eq!(forwarded.request.headers()["content-type"], "application/grpc");
    assert_eq!(forwarded.request.headers()["te"], "trailers");
    assert!(!forwarded.request.headers().contains_key("authorization"));
    assert_eq!(forwarded.request.headers()["x-ingestion-key-name"], "edge");
    assert_eq!(forwarded.body().await.unwrap(), b"\0\0\0\0\x02hi");
    let mut stream = forwarded.begin();
    stream.send_data(Bytes::from_static(b"\0\0\0\0\x01!"), false).unwrap();
    let mut last = trailers("8");
    last.insert("grpc-message", HeaderValue::from_static("too%20fast"));
    last.insert("x-own", HeaderValue::from_static("1"));
    stream.send_trailers(last.clone()).unwrap();
    let mut body = call.response().await;
    assert_eq!(body.data().await.unwrap().unwrap(), &b"\0\0\0\0\x01!"[..]);
    assert!(body.data().await.is_none());
    assert_eq!(body.trailers().await.unwrap().unwrap(), last);
}

// Scenario: upstreams answer with each status of gRPC, also with those that the gateway has for its
// own refusals.
// Guarantee: the sender gets the status of the upstream.
#[tokio::test]
async fn an_answer_of_the_upstream_passes() {
    let forwarding = Forwarding::start(&[]).await;
    let client = forwarding.client().await;
    let mut first = client.open(TRACES, &forwarding.key).await;
    first.messages.send_data(EMPTY, true).unwrap();
    let mut connection = forwarding.upstream.accept_grpc().await;
    connection.call().await.unwrap().finish("0");
    assert_eq!(first.end().await.status, Status::OK);
    for code in ["1", "2", "3", "7", "8", "12", "13", "14", "16"] {
        let mut call = client.open(TRACES, &forwarding.key).await;
        call.messages.send_data(EMPTY, true).unwrap();
        connection.call().await.unwrap().finish(code);
        let expected = Status::Code { code: code.parse().unwrap(), has_retry_info: false };
        assert_eq!(call.end().await, End { messages: EMPTY.to_vec(), status: expected });
    }
}

// Scenario: senders call services and methods that are not OTLP's, with a good key.
// Guarantee: the calls are answered as not implemented. The upstream does not see them.
#[tokio::test]
async fn an_unknown_service_is_not_forwarded() {
    let forwarding = Forwarding::start(&[]).await;
    let client = forwarding.client().await;
    for path in [
        "/opentelemetry.proto.collector.trace.v1.TraceService/Delete",
        "/opentelemetry.proto.collector.trace.v1.TraceService/Export/",
        "/opentelemetry.proto.collector.trace.v1.TraceService/export",
        "/opentelemetry.proto.collector.trace.v1.TraceService/%45xport",
        "//opentelemetry.proto.collector.trace.v1.TraceService/Export",
        "/x/../opentelemetry.proto.collector.trace.v1.TraceService/Export",
        "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
        "/envoy.service.auth.v3.Authorization/Check",
        "/jaeger.api_v2.CollectorService/PostSpans",
        "/v1/traces",
        "/",
    ] {
        let end = client.call(path, &forwarding.key).await;
        assert_eq!(end.status, Status::Code { code: 12, has_retry_info: false }, "{path}");
    }
    let end = client.call(TRACES, "svcapikey_unknown").await;
    assert_eq!(end.status, Status::UNAUTHENTICATED);
    forwarding.upstream.assert_left_alone().await;
}

// Scenario: nobody listens at the upstream's address. Other upstreams accept the connection and
// close it, answer with something that is not HTTP/2, or never say anything.
// Guarantee: the sender is told each time to try again later, so that it keeps its data.
#[tokio::test]
async fn an_upstream_that_is_not_there_is_unavailable() {
    let timeouts = [
        "--set=upstream.otlp_grpc.response_timeout=1s",
        "--set=upstream.otlp_grpc.connect_timeout=1s",
    ];
    let forwarding = Forwarding::start(&timeouts).await;
    let client = forwarding.client().await;
    let unavailable = async || {
        let end = client.call(TRACES, &forwarding.key).await;
        assert_eq!(end.status, Status::UNAVAILABLE);
    };
    for answer in ["", "HTTP/1.1 400 Bad Request\r\n\r\n", "\x15\x03\x01\x00\x02\x02\x46", "\0"] {
        let closes = async {
            loop {
                forwarding.upstream.accept().await.write(answer).await;
            }
        };
        tokio::select! {
            () = unavailable() => {}
            () = closes => {}
        }
    }
    let silent = async {
        let mut kept = Vec::new();
        loop {
            kept.push(forwarding.upstream.accept().await);
        }
    };
    tokio::select! {
        () = unavailable() => {}
        () = silent => {}
    }
    let Forwarding { gateway, upstream, key } = forwarding;
    drop(upstream);
    let end = Client::connect(&gateway, "otlp_grpc").await.call(TRACES, &key).await;
    assert_eq!(end.status, Status::UNAVAILABLE);
}

// Scenario: an upstream takes the whole call and then resets it, closes the connection, or never
// answers, before or after it has begun its response. Or its response ends without a status.
// Guarantee: the sender never sees success. Before the response begins, and if it has no status,
// the sender is told to try again later.
#[tokio::test]
async fn a_call_that_breaks_off_is_not_a_success() {
    let forwarding = Forwarding::start(&["--set=upstream.otlp_grpc.response_timeout=2s"]).await;
    let client = forwarding.client().await;
    #[derive(Clone, Copy, Debug)]
    enum Fault {
        Reset(Reason),
        Close,
        Silence,
        ResetLater,
        CloseLater,
        SilenceLater,
        NoStatus,
    }
    for fault in [
        Fault::Reset(Reason::INTERNAL_ERROR),
        Fault::Reset(Reason::CANCEL),
        Fault::Reset(Reason::ENHANCE_YOUR_CALM),
        Fault::Close,
        Fault::Silence,
        Fault::ResetLater,
        Fault::CloseLater,
        Fault::SilenceLater,
        Fault::NoStatus,
    ] {
        let mut call = client.open(TRACES, &forwarding.key).await;
        call.messages.send_data(EMPTY, true).unwrap();
        let upstream = async {
            loop {
                let mut connection = forwarding.upstream.accept_grpc().await;
                while let Some(mut call) = connection.call().await {
                    assert_eq!(call.body().await.unwrap(), EMPTY);
                    match fault {
                        Fault::Reset(reason) => call.reset(reason),
                        Fault::Close => break,
                        Fault::Silence => std::mem::forget(call),
                        Fault::ResetLater => {
                            let mut stream = call.begin();
                            stream.send_data(EMPTY, false).unwrap();
                            stream.send_reset(Reason::INTERNAL_ERROR);
                        }
                        Fault::CloseLater => {
                            let mut stream = call.begin();
                            stream.send_data(EMPTY, false).unwrap();
                            // The data is written before the connection is closed.
                            tokio::task::yield_now().await;
                            break;
                        }
                        Fault::NoStatus => call.begin().send_data(EMPTY, true).unwrap(),
                        Fault::SilenceLater => std::mem::forget((call.begin(), call)),
                    }
                }
            }
        };
        let end = tokio::select! {
            end = call.end() => end,
            () = upstream => unreachable!("the upstream never ends"),
        };
        match fault {
            Fault::Reset(_) | Fault::Close | Fault::Silence | Fault::NoStatus => {
                assert_eq!(end.status, Status::UNAVAILABLE, "{fault:?}");
            }
            _ => assert_ne!(end.status, Status::OK, "{fault:?}"),
        }
    }
    forwarding.assert_served().await;
}

// Scenario: an upstream refuses a stream without having looked at it. The sender has not sent any
// message yet.
// Guarantee: the stream reaches the upstream again, and the sender sees only the success.
#[tokio::test]
async fn a_call_that_was_not_begun_is_tried_again() {
    let forwarding = Forwarding::start(&[]).await;
    let client = forwarding.client().await;
    let mut call = client.open(ARROW, &forwarding.key).await;
    let mut connection = forwarding.upstream.accept_grpc().await;
    connection.call().await.unwrap().reset(Reason::REFUSED_STREAM);
    let mut again = connection.call().await.unwrap();
    call.messages.send_data(EMPTY, true).unwrap();
    assert_eq!(again.body().await.unwrap(), EMPTY);
    again.finish("0");
    assert_eq!(call.end().await.status, Status::OK);
}

// Scenario: an upstream closes its connection in order after each call, as servers do with a
// maximum age of connections. A sender makes 50 calls, one after the other.
// Guarantee: every call succeeds.
#[tokio::test]
async fn a_connection_that_goes_away_costs_no_call() {
    let forwarding = Forwarding::start(&[]).await;
    let client = forwarding.client().await;
    let upstream = async {
        loop {
            let mut connection = forwarding.upstream.accept_grpc().await;
            while let Some(call) = connection.call().await {
                call.finish("0");
                connection.go_away();
            }
        }
    };
    let calls = async {
        for number in 0..50 {
            let end = client.call(TRACES, &forwarding.key).await;
            assert_eq!(end.status, Status::OK, "call {number}");
        }
    };
    tokio::select! {
        () = calls => {}
        () = upstream => unreachable!("the upstream never ends"),
    }
}

// Scenario: a sender cancels calls in the middle of their messages, with `CANCEL`, and with
// `NO_ERROR`, as some proxies do. Another one closes its connection while it waits for the
// response.
// Guarantee: the upstream sees that each call is cancelled, and never its regular end.
#[tokio::test]
async fn a_sender_that_goes_away_cancels_its_call() {
    let forwarding = Forwarding::start(&[]).await;
    let client = forwarding.client().await;
    let mut connection = None;
    for reason in [Reason::CANCEL, Reason::NO_ERROR] {
        let mut call = client.open(TRACES, &forwarding.key).await;
        call.messages.send_data(Bytes::from_static(&[0, 0, 0]), false).unwrap();
        if connection.is_none() {
            connection = Some(forwarding.upstream.accept_grpc().await);
        }
        let mut forwarded = connection.as_mut().unwrap().call().await.unwrap();
        assert_eq!(forwarded.data().await.unwrap().unwrap(), &[0, 0, 0][..]);
        call.messages.send_reset(reason);
        assert!(forwarded.body().await.is_err(), "a call with {reason} ended regularly");
    }
    let mut connection = connection.unwrap();

    let mut call = client.open(TRACES, &forwarding.key).await;
    call.messages.send_data(EMPTY, true).unwrap();
    let mut forwarded = connection.call().await.unwrap();
    assert_eq!(forwarded.body().await.unwrap(), EMPTY);
    drop((call, client));
    let mut stream = forwarded.begin();
    let reset = std::future::poll_fn(|cx| stream.poll_reset(cx));
    timeout(PATIENCE, reset).await.expect("the call is cancelled").unwrap();
}

// Scenario: an upstream allows 10 calls at the same time on a connection. Senders have 90 calls in
// flight, none of which ends before all have begun.
// Guarantee: every call reaches the upstream and succeeds.
#[tokio::test]
async fn calls_share_as_many_connections_as_they_need() {
    const CALLS: usize = 90;
    let forwarding = Forwarding::start(&[]).await;
    let client = forwarding.client().await;
    let mut calls = Vec::new();
    for _ in 0..CALLS {
        let mut call = client.open(TRACES, &forwarding.key).await;
        call.messages.send_data(EMPTY, true).unwrap();
        calls.push(call);
    }
    let (arrived, mut all) = tokio::sync::mpsc::unbounded_channel();
    let upstream = async {
        let mut builder = h2::server::Builder::new();
        builder.max_concurrent_streams(10);
        loop {
            let mut connection = forwarding.upstream.accept_grpc_with(&builder).await;
            let arrived = arrived.clone();
            tokio::spawn(async move {
                while let Some(call) = connection.call().await {
                    let _ = arrived.send(call);
                }
            });
        }
    };
    let ends = async {
        let mut begun = Vec::new();
        while begun.len() < CALLS {
            begun.push(timeout(PATIENCE, all.recv()).await.unwrap().unwrap());
        }
        begun.into_iter().for_each(|call| call.finish("0"));
        for call in calls {
            assert_eq!(call.end().await.status, Status::OK);
        }
    };
    tokio::select! {
        () = ends => {}
        () = upstream => unreachable!("the upstream never ends"),
    }
}

// Scenario: a call is in flight when the gateway gets SIGTERM. The upstream answers afterwards.
// Guarantee: the sender gets its success, and the gateway ends with exit code 0.
#[tokio::test]
async fn a_call_in_flight_is_finished_at_the_end() {
    let mut forwarding = Forwarding::start(&["--set=shutdown_grace=600s"]).await;
    let client = forwarding.client().await;
    let mut call = client.open(TRACES, &forwarding.key).await;
    call.messages.send_data(EMPTY, true).unwrap();
    let mut connection = forwarding.upstream.accept_grpc().await;
    let forwarded = connection.call().await.unwrap();
    forwarding.gateway.signal();
    forwarding.gateway.log.wait_for("stopping").await;
    forwarded.finish("0");
    assert_eq!(call.end().await.status, Status::OK);
    assert_eq!(forwarding.gateway.ended().await.code(), Some(0));
}

// Scenario: a sender and an upstream exchange 100 messages on an Arrow stream, in turn. Then the
// sender ends its side, and the upstream ends the call.
// Guarantee: each message arrives before the next one is sent, on one call.
#[tokio::test]
async fn a_stream_goes_both_ways() {
    let forwarding = Forwarding::start(&[]).await;
    let client = forwarding.client().await;
    let mut call = client.open(ARROW, &forwarding.key).await;
    let mut connection = forwarding.upstream.accept_grpc().await;
    let mut forwarded = connection.call().await.unwrap();
    let mut stream = forwarded.begin();
    let mut body = call.response().await;
    for number in 0..100 {
        let message = Bytes::from(format!("message {number}"));
        call.messages.send_data(message.clone(), false).unwrap();
        assert_eq!(forwarded.data().await.unwrap().unwrap(), message);
        stream.send_data(message.clone(), false).unwrap();
        let answer = timeout(PATIENCE, body.data()).await.unwrap().unwrap().unwrap();
        body.flow_control().release_capacity(answer.len()).unwrap();
        assert_eq!(answer, message);
    }
    call.messages.send_data(Bytes::new(), true).unwrap();
    assert_eq!(forwarded.body().await.unwrap(), b"");
    stream.send_trailers(trailers("0")).unwrap();
    assert_eq!(crate::calls::end(body).await.status, Status::OK);
}
