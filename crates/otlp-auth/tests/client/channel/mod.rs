//! Tests `channel()`, with real servers on loopback ports and with the tonic exporter of
//! opentelemetry-rust.

mod calls;
mod connections;
mod rotation;

use std::convert::Infallible;
use std::net::{SocketAddr, TcpListener};
use std::sync::Mutex;
use std::thread;

use http::{Request, Response};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use otlp_auth::client::{BearerTokenAuth, UnboundBearerTokenAuth};
use tonic::transport::{Channel, Endpoint};
use tower::{Service, ServiceExt};

use crate::support::{BoxBody, Collector, Fed, Tokens};

fn channel(auth: &UnboundBearerTokenAuth, endpoint: &Endpoint) -> Channel {
    auth.for_endpoint(endpoint).unwrap().channel().unwrap()
}

fn fixed() -> UnboundBearerTokenAuth {
    BearerTokenAuth::builder().token("token-0").build_unbound().unwrap()
}

/// Starts a collector that accepts `token-0`.
fn collector() -> (Collector, Tokens) {
    let tokens = Tokens::new("token-0");
    (Collector::start(tokens.accepted()), tokens)
}

/// Starts a collector that accepts only `token-1`. The client's file has `token-0` when a request
/// is sent, and changes to `token-1` before the rejection is sent.
fn rotated_collector() -> (Collector, Tokens) {
    let client_tokens = Tokens::new("token-0");
    let rotate = {
        let client_tokens = client_tokens.clone();
        move || client_tokens.replace("token-1")
    };
    let accepted = Tokens::new("token-1").accepted();
    (Collector::start_at("127.0.0.1:0".parse().unwrap(), accepted, rotate), client_tokens)
}

/// Starts an HTTP/2 server. The test sends the frames of the response body.
fn raw_server(answer: Fed) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let address = listener.local_addr().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    thread::spawn(move || {
        runtime.block_on(async move {
            let (stream, _) =
                tokio::net::TcpListener::from_std(listener).unwrap().accept().await.unwrap();
            let answer = Mutex::new(Some(answer));
            let service = service_fn(|request: Request<hyper::body::Incoming>| {
                assert_eq!(request.headers()["authorization"], "StackState token-0");
                let body = BoxBody::new(answer.lock().unwrap().take().unwrap());
                std::future::ready(Ok::<_, Infallible>(
                    Response::builder()
                        .header("content-type", "application/grpc")
                        .body(body)
                        .unwrap(),
                ))
            });
            let server = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
            // The connection ends with an error when the client is gone.
            let _ = server.serve_connection(TokioIo::new(stream), service).await;
        });
    });
    address
}

/// Sends a request over the channel without a gRPC client.
async fn call(mut channel: Channel) -> Response<tonic::body::Body> {
    let request =
        Request::post("http://localhost/a.Service/Call").header("content-type", "application/grpc");
    channel
        .ready()
        .await
        .unwrap()
        .call(request.body(tonic::body::Body::empty()).unwrap())
        .await
        .unwrap()
}
