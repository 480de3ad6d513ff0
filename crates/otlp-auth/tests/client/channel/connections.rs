//! Tests connections that are lost, abandoned or no longer needed.

use std::convert::Infallible;
use std::net::{SocketAddr, TcpListener};
use std::sync::Mutex;
use std::thread;

use bytes::Bytes;
use futures_executor::block_on;
use http::{Request, Response};
use http_body::Frame;
use http_body_util::BodyExt;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_client::TraceServiceClient;
use tokio::sync::oneshot;
use tonic::Code;
use tonic::transport::Endpoint;

use super::{call, channel, collector, fixed, raw_server};
use crate::support::{BoxBody, Collector, Fed, Tokens, batch, is_followed, wait_for_end};

/// Scenario: the server stops and starts again twice, at the same address.
/// Guarantee: calls on one channel end with UNAVAILABLE, which exporters retry, while the server is
/// stopped. The calls succeed again after the server has started.
#[test]
fn the_server_comes_back() {
    // No other test uses this address, so the port stays free while the server is stopped.
    let address = TcpListener::bind("127.43.17.4:0").unwrap().local_addr().unwrap();
    let tokens = Tokens::new("token-0");
    let endpoint = Endpoint::from_shared(format!("http://{address}")).unwrap();
    for auth in [fixed(), tokens.unbound()] {
        let mut client = TraceServiceClient::new(channel(&auth, &endpoint));
        for _ in 0..2 {
            let status = block_on(client.export(batch("lost"))).unwrap_err();
            assert_eq!(status.code(), Code::Unavailable, "{status:?}");
            let collector = Collector::start_at(address, tokens.accepted(), || ());
            // The client may notice only now that it lost the connection, so the first call may
            // fail.
            let result = block_on(client.export(batch("span")));
            if let Err(status) = result {
                assert_eq!(status.code(), Code::Unavailable, "{status:?}");
                block_on(client.export(batch("span"))).unwrap();
            }
            assert_eq!(collector.received.spans(), ["span"]);
        }
    }
}

/// Scenario: the server reads a request and closes the connection without a response.
/// Guarantee: the call ends with UNAVAILABLE, so that an exporter retries its batch.
#[test]
fn a_broken_connection_is_retryable() {
    for auth in [fixed(), Tokens::new("token-0").unbound()] {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let endpoint =
            Endpoint::from_shared(format!("http://{}", listener.local_addr().unwrap())).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let server = thread::spawn(move || {
            runtime.block_on(async move {
                let (stream, _) = tokio::net::TcpListener::from_std(listener).unwrap().accept().await.unwrap();
                let (arrived, mut arrival) = tokio::sync::mpsc::unbounded_channel();
                let service = service_fn(|request: Request<hyper::body::Incoming>| {
                    let arrived = arrived.clone();
                    async move {
                        request.into_body().collect().await.unwrap();
                        arrived.send(()).unwrap();
                        std::future::pending::<Result<Response<BoxBody>, Infallible>>().await
                    }
                });
                let builder = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
                tokio::select! {
                    _ = builder.serve_connection(TokioIo::new(stream), service) => unreachable!("the client waits"),
                    _ = arrival.recv() => {}
                }
            });
        });
        let status =
            block_on(TraceServiceClient::new(channel(&auth, &endpoint)).export(batch("span")))
                .unwrap_err();
        assert_eq!(status.code(), Code::Unavailable, "{status:?}");
        server.join().unwrap();
    }
}

/// Scenario: an OTLP/gRPC client sends to the port of an HTTP server, which answers 200 over HTTP/2
/// as to an OTLP/HTTP request, with and without a body, or which knows only HTTP/1.1.
/// Guarantee: every call fails. If the server has no HTTP/2, the call ends with UNAVAILABLE, so
/// that an exporter retries its batch.
#[test]
fn a_success_of_an_http_server_is_a_failure() {
    for auth in [fixed(), Tokens::new("token-0").unbound()] {
        for (content_type, body) in [("application/x-protobuf", ""), ("text/html", "<html>")] {
            let address = http_server(move |stream| {
                let service = service_fn(move |_: Request<hyper::body::Incoming>| {
                    let response = Response::builder().header("content-type", content_type);
                    let body = http_body_util::Full::new(Bytes::from(body));
                    std::future::ready(Ok::<_, Infallible>(response.body(body).unwrap()))
                });
                let builder = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
                let served = builder.serve_connection(TokioIo::new(stream), service);
                async move { drop(served.await) }
            });
            let endpoint = Endpoint::from_shared(format!("http://{address}")).unwrap();
            let mut client = TraceServiceClient::new(channel(&auth, &endpoint));
            block_on(client.export(batch("span"))).unwrap_err();
        }
        let address = http_server(|stream| {
            let service = service_fn(|_: Request<hyper::body::Incoming>| {
                std::future::ready(Ok::<_, Infallible>(Response::new(String::new())))
            });
            let builder = hyper::server::conn::http1::Builder::new();
            let served = builder.serve_connection(TokioIo::new(stream), service);
            async move { drop(served.await) }
        });
        let endpoint = Endpoint::from_shared(format!("http://{address}")).unwrap();
        let mut client = TraceServiceClient::new(channel(&auth, &endpoint));
        let status = block_on(client.export(batch("span"))).unwrap_err();
        assert_eq!(status.code(), Code::Unavailable, "{status:?}");
    }
}

/// Starts a server that serves one connection after the other.
fn http_server<F: Future<Output = ()>>(
    serve: impl Fn(tokio::net::TcpStream) -> F + Send + 'static,
) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let address = listener.local_addr().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    thread::spawn(move || {
        runtime.block_on(async move {
            let listener = tokio::net::TcpListener::from_std(listener).unwrap();
            while let Ok((stream, _)) = listener.accept().await {
                serve(stream).await;
            }
        });
    });
    address
}

/// Scenario: the channel is dropped while a response is being received.
/// Guarantee: the whole response arrives, as with any channel of tonic.
#[test]
fn an_answer_outlives_its_channel() {
    let (frames, answer) = Fed::new();
    let endpoint = Endpoint::from_shared(format!("http://{}", raw_server(answer))).unwrap();
    let tokens = Tokens::new("token-0");
    let auth = tokens.unbound();
    let generation = auth.generation();
    let channel = channel(&auth, &endpoint);
    drop(auth);
    block_on(async {
        frames.send(Ok(Frame::data("one".into()))).unwrap();
        let mut body = call(channel).await.into_body();
        assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), Bytes::from("one"));
        // The file is still followed, because the thread of the channel still runs.
        assert!(is_followed(&generation));
        frames.send(Ok(Frame::data("two".into()))).unwrap();
        assert_eq!(
            body.frame().await.expect("there is more").expect("it is whole").into_data().unwrap(),
            Bytes::from("two")
        );
        drop(frames);
        assert!(body.frame().await.is_none_or(|frame| frame.is_ok()));
    });
    wait_for_end(generation);
}

/// Scenario: a channel is dropped, in one case before its first call, and in the other after a
/// call, while its connection is open.
/// Guarantee: the channel's thread ends, and so does the thread that follows the token file.
#[test]
fn the_thread_ends_with_the_channel() {
    let (collector, tokens) = collector();
    for used in [false, true] {
        let auth = tokens.unbound();
        let channel = channel(&auth, &collector.endpoint());
        let generation = auth.generation();
        drop(auth);
        let clone = channel.clone();
        drop(channel);
        if used {
            block_on(TraceServiceClient::new(clone.clone()).export(batch("span"))).unwrap();
        }
        assert!(is_followed(&generation));
        drop(clone);
        wait_for_end(generation);
    }
}

/// Scenario: a caller cancels a call while the server works on it.
/// Guarantee: the server notices the cancellation, as with any channel of tonic, and the channel
/// can still be used.
#[test]
fn a_call_that_is_given_up() {
    struct Gone(Option<oneshot::Sender<()>>);
    impl Drop for Gone {
        fn drop(&mut self) {
            let _ = self.0.take().map(|gone| gone.send(()));
        }
    }
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let endpoint =
        Endpoint::from_shared(format!("http://{}", listener.local_addr().unwrap())).unwrap();
    let (gone, noticed) = oneshot::channel();
    let (arrived, arrival) = oneshot::channel();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let server = thread::spawn(move || {
        runtime.block_on(async move {
            let (stream, _) =
                tokio::net::TcpListener::from_std(listener).unwrap().accept().await.unwrap();
            let signals = Mutex::new(Some((Gone(Some(gone)), arrived)));
            let service = service_fn(|_: Request<hyper::body::Incoming>| {
                let signals = signals.lock().unwrap().take();
                async move {
                    let Some((_gone, arrived)) = signals else {
                        let body = BoxBody::new(Fed::with([Frame::data("answer".into())]));
                        return Ok::<_, Infallible>(Response::new(body));
                    };
                    arrived.send(()).unwrap();
                    std::future::pending().await
                }
            });
            let _ = hyper::server::conn::http2::Builder::new(TokioExecutor::new())
                .serve_connection(TokioIo::new(stream), service)
                .await;
        });
    });
    let channel = channel(&Tokens::new("token-0").unbound(), &endpoint);
    block_on(async {
        tokio::select! {
            _ = call(channel.clone()) => unreachable!("the server does not answer"),
            arrived = arrival => arrived.unwrap(),
        }
        noticed.await.unwrap();
        let body = call(channel).await.into_body().collect().await.unwrap();
        assert_eq!(body.to_bytes(), "answer");
    });
    server.join().unwrap();
}
