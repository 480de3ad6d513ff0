//! Tests bodies of requests and responses that are recorded, streamed or broken.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use futures_executor::block_on;
use http::{Request, Response, StatusCode};
use http_body::{Body, Frame};
use http_body_util::combinators::{BoxBody as SyncBoxBody, UnsyncBoxBody};
use http_body_util::{BodyExt, Empty, Full};
use tower::{Layer, Service as _, ServiceExt, service_fn};

use super::{refuses_old, send};
use crate::support::{
    BoxBody, BoxError, Fed, Log, Refusal, Tokens, accepted, receive, service, trailers,
};

const MIB: usize = 1 << 20;

/// Scenario: rejected requests have a body, of each type that the layer can record.
/// Guarantee: each request is sent again with its whole body.
#[test]
fn every_recorded_type_is_sent_again() {
    fn sent_again<B: Body<Data = Bytes> + Send + 'static>(body: B, expected: &[u8]) {
        let (tokens, log) = (Tokens::new("token-0"), Log::default());
        let server = refuses_old(&log, &tokens, "token-1", Refusal::TrailersOnly);
        block_on(send(&tokens.auth(), server, body));
        let log = log.lock().unwrap();
        assert_eq!(log.len(), 2, "{}", std::any::type_name::<B>());
        assert!(log.iter().all(|got| got.body() == expected), "{}", std::any::type_name::<B>());
    }
    let full =
        || Full::new(Bytes::from_static(b"batch")).map_err(|error| -> BoxError { match error {} });
    sent_again(Full::new(Bytes::from_static(b"batch")), b"batch");
    sent_again(Empty::<Bytes>::new(), b"");
    sent_again(UnsyncBoxBody::<Bytes, BoxError>::new(full()), b"batch");
    sent_again(SyncBoxBody::<Bytes, BoxError>::new(full()), b"batch");
    sent_again(tonic::body::Body::new(full()), b"batch");
    sent_again(tonic::body::Body::empty(), b"");
}

/// Scenario: a rejected request has a body of a type that the layer cannot rebuild.
/// Guarantee: the request is not sent again, and the rejection is returned.
#[test]
fn other_bodies_are_sent_once() {
    let (tokens, log) = (Tokens::new("token-0"), Log::default());
    let server = refuses_old(&log, &tokens, "token-1", Refusal::Http);
    let (status, _) =
        block_on(send(&tokens.auth(), server, Fed::with([Frame::data("batch".into())])));
    assert_eq!(status, StatusCode::UNAUTHORIZED);
    assert_eq!(log.lock().unwrap()[0].body(), b"batch");
    assert_eq!(log.lock().unwrap().len(), 1);
}

/// Scenario: requests with streamed bodies of 4 MiB, and of more than 4 MiB, are rejected.
/// Guarantee: the request with 4 MiB is sent again. The longer ones arrive whole, but are not sent
/// again.
#[test]
fn four_mebibytes_are_recorded() {
    for (len, sendings) in [(4 * MIB, 2), (4 * MIB + 1, 1), (9 * MIB + 5, 1)] {
        let (tokens, log) = (Tokens::new("token-0"), Log::default());
        let server = refuses_old(&log, &tokens, "token-1", Refusal::Http);
        let data: Bytes = (0..len).map(|index| (index / 1000) as u8).collect();
        let body = Fed::with(
            (0..len).step_by(MIB).map(|at| Frame::data(data.slice(at..len.min(at + MIB)))),
        );
        let (status, _) = block_on(send(&tokens.auth(), server, BoxBody::new(body)));
        assert_eq!(status == StatusCode::OK, sendings == 2);
        let log = log.lock().unwrap();
        assert_eq!(log.len(), sendings, "{len}");
        assert!(log.iter().all(|got| got.body() == data && !got.failed));
    }
}

/// Scenario: the server sends a rejection after the first frame of a body that is still being sent,
/// and continues to read.
/// Guarantee: the second request has the whole body. The body of the first request ends with an
/// error, so that the server does not take half a body for the whole.
#[test]
fn an_early_refusal() {
    for refusal in [Refusal::Http, Refusal::TrailersOnly, Refusal::Trailers] {
        let (tokens, log) = (Tokens::new("token-0"), Log::default());
        let (frames, body) = Fed::new();
        let (abandoned, rest) = std::sync::mpsc::channel();
        let server = {
            let accepting = service(&log, |_| accepted());
            let tokens = tokens.clone();
            service_fn(move |request: Request<BoxBody>| {
                let (mut accepting, tokens, abandoned) =
                    (accepting.clone(), tokens.clone(), abandoned.clone());
                Box::pin(async move {
                    if request.headers()["authorization"] == "StackState token-1" {
                        return accepting.call(request).await;
                    }
                    let mut body = request.into_body();
                    assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), "one");
                    abandoned.send(body).unwrap();
                    tokens.replace("token-1");
                    Ok::<_, Infallible>(refusal.response())
                }) as Pin<Box<dyn Future<Output = _> + Send>>
            })
        };
        frames.send(Ok(Frame::data("one".into()))).unwrap();
        let auth = tokens.auth();
        let sender = std::thread::spawn(move || {
            let body = rest.recv().unwrap();
            // While the server waits for more of the first body, the second request takes the rest
            // of that body.
            let got = block_on(receive(http::HeaderMap::new(), body));
            frames.send(Ok(Frame::data("two".into()))).unwrap();
            frames.send(Ok(Frame::trailers(trailers(&[("x-sum", "6")])))).unwrap();
            got
        });
        let (status, _) = block_on(send(&auth, server, BoxBody::new(body)));
        let first = sender.join().unwrap();
        assert!(first.failed && first.frames.is_empty(), "{refusal:?}: {first:?}");
        assert_eq!(status, StatusCode::OK);
        let log = log.lock().unwrap();
        assert_eq!(log[0].frames, ["one", "two"]);
        assert_eq!((log.len(), &log[0].trailers), (1, &Some(trailers(&[("x-sum", "6")]))));
    }
}

/// Scenario: a body fails while it is sent, and the server rejects what has arrived.
/// Guarantee: the half body is not sent again, and the rejection is returned.
#[test]
fn a_failed_body_is_not_sent_again() {
    let (tokens, log) = (Tokens::new("token-0"), Log::default());
    let server = refuses_old(&log, &tokens, "token-1", Refusal::Http);
    let (frames, body) = Fed::new();
    frames.send(Ok(Frame::data("half".into()))).unwrap();
    frames.send(Err("the disk is gone".into())).unwrap();
    let (status, _) = block_on(send(&tokens.auth(), server, BoxBody::new(body)));
    assert_eq!(status, StatusCode::UNAUTHORIZED);
    assert_eq!(log.lock().unwrap().len(), 1);
    assert!(log.lock().unwrap()[0].failed);
}

/// Scenario: a gRPC server sends its headers before it has the whole request, as for a
/// bidirectional stream.
/// Guarantee: the client gets the headers at once, and then the whole rest of the response.
#[test]
fn headers_are_not_held_back_from_a_stream() {
    let tokens = Tokens::new("token-0");
    let (answers, answer) = Fed::new();
    let answer = Arc::new(Mutex::new(Some(answer)));
    let (keep, _kept) = std::sync::mpsc::channel();
    let server = service_fn(move |request: Request<BoxBody>| {
        keep.send(request).unwrap();
        let body = BoxBody::new(answer.lock().unwrap().take().unwrap());
        std::future::ready(Ok::<_, Infallible>(
            Response::builder().header("content-type", "application/grpc").body(body).unwrap(),
        ))
    });
    let (_frames, body) = Fed::new();
    let auth = tokens.auth();
    let response =
        block_on(auth.layer().layer(server).oneshot(Request::new(BoxBody::new(body)))).unwrap();
    answers.send(Ok(Frame::data("first".into()))).unwrap();
    answers.send(Ok(Frame::trailers(trailers(&[("grpc-status", "16")])))).unwrap();
    drop(answers);
    let got = block_on(receive(http::HeaderMap::new(), response.into_body()));
    assert_eq!(
        (got.frames, got.trailers),
        (vec![Bytes::from("first")], Some(trailers(&[("grpc-status", "16")])))
    );
}

/// Scenario: the body of a response fails, at its first frame or later.
/// Guarantee: the client gets the frames before the failure, and then the error.
#[test]
fn a_failed_answer_is_passed_on() {
    for frames_before in [0, 1] {
        let tokens = Tokens::new("token-0");
        let server = service(&Log::default(), move |_| {
            let (answers, answer) = Fed::new();
            (0..frames_before).for_each(|_| answers.send(Ok(Frame::data("part".into()))).unwrap());
            answers.send(Err("connection reset".into())).unwrap();
            Response::builder()
                .header("content-type", "application/grpc")
                .body(BoxBody::new(answer))
                .unwrap()
        });
        let (_, answer) = block_on(send(&tokens.auth(), server, Full::new(Bytes::new())));
        assert_eq!((answer.frames.len(), answer.failed), (frames_before, true));
    }
}
