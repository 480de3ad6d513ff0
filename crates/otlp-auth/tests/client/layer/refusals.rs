//! Tests which requests are sent again, and which are not.

use std::convert::Infallible;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::Poll;

use bytes::Bytes;
use futures_executor::block_on;
use http::{Request, Response, StatusCode};
use http_body::Frame;
use http_body_util::Full;
use tokio::sync::oneshot;
use tower::{Layer, Service as _, ServiceExt, service_fn};

use super::{credentials, refuses_old, send};
use crate::support::{
    BoxBody, Fed, Got, Log, Refusal, Tokens, accepted, fixed, header, receive, service, trailers,
    wait_for_header,
};

/// Scenario: the server rejects a token, in each possible way, and by then the file has a new
/// token.
/// Guarantee: the request is sent once more, with the new token and the same body and trailers. The
/// client gets only the second response.
#[test]
fn a_refused_request_is_sent_again() {
    for refusal in [Refusal::Http, Refusal::TrailersOnly, Refusal::Trailers] {
        let (tokens, log) = (Tokens::new("token-0"), Log::default());
        let server = refuses_old(&log, &tokens, "token-1", refusal);
        let body = Fed::with([
            Frame::data("one".into()),
            Frame::data(Bytes::new()),
            Frame::data("two".into()),
            Frame::trailers(trailers(&[("x-sum", "6")])),
        ]);
        let (_, answer) = block_on(send(&tokens.auth(), server, BoxBody::new(body)));
        assert_eq!(
            (answer.body(), answer.trailers),
            (b"thanks".to_vec(), Some(trailers(&[("grpc-status", "0")]))),
            "{refusal:?}"
        );
        let log = log.lock().unwrap();
        let [first, second] = &log[..] else { panic!("{refusal:?}: {log:?}") };
        assert_eq!(second.credentials(), ["StackState token-1"]);
        assert_eq!(second.frames, ["one", "", "two"]);
        assert_eq!(
            (&first.frames, &first.trailers, false),
            (&second.frames, &second.trailers, second.failed)
        );
        assert_eq!(second.trailers, Some(trailers(&[("x-sum", "6")])));
    }
}

/// Scenario: a gRPC server sends its headers at once. When it has the whole request, it sends
/// trailers that reject the token.
/// Guarantee: the layer waits for the trailers, and sends the request again.
#[test]
fn a_refusal_in_late_trailers() {
    let (tokens, log) = (Tokens::new("token-0"), Log::default());
    let (answers, answer) = Fed::new();
    let answer = Arc::new(Mutex::new(Some(answer)));
    let server = service(&log, move |_| match answer.lock().unwrap().take() {
        Some(answer) => Response::builder()
            .header("content-type", "application/grpc")
            .body(BoxBody::new(answer))
            .unwrap(),
        None => accepted(),
    });
    block_on(async {
        let body = BoxBody::new(Fed::with([Frame::data("batch".into())]));
        let mut response =
            std::pin::pin!(tokens.auth().layer().layer(server).oneshot(Request::new(body)));
        poll_fn(|cx| {
            assert!(response.as_mut().poll(cx).is_pending());
            Poll::Ready(())
        })
        .await;
        assert_eq!(log.lock().unwrap().len(), 1);
        tokens.replace("token-1");
        answers.send(Ok(Frame::trailers(trailers(&[("grpc-status", "16")])))).unwrap();
        response.await.unwrap();
    });
    assert_eq!(credentials(&log), [["StackState token-0"], ["StackState token-1"]]);
}

/// Scenario: a rejected request has a method, URI, version, headers and extensions.
/// Guarantee: the second request has all of them, except that its credential is the new token.
#[test]
fn the_second_sending_is_the_same_request() {
    let tokens = Tokens::new("token-0");
    let seen = Arc::new(Mutex::new(Vec::new()));
    let server = {
        let (seen, tokens) = (Arc::clone(&seen), tokens.clone());
        service_fn(move |request: Request<Full<Bytes>>| {
            seen.lock().unwrap().push(request.map(|_| ()));
            tokens.replace("token-1");
            std::future::ready(Ok::<_, Infallible>(Refusal::Http.response()))
        })
    };
    let request = Request::put("https://otlp.example.com/v1/traces?a=b")
        .version(http::Version::HTTP_2)
        .header("x-several", "1")
        .header("x-several", "2")
        .header("authorization", "Bearer of-somebody-else")
        .extension(7_u32);
    let auth = tokens.auth();
    block_on(auth.layer().layer(server).oneshot(request.body(Full::default()).unwrap())).unwrap();
    let seen = seen.lock().unwrap();
    let [first, second] = &seen[..] else { panic!("{seen:?}") };
    assert_eq!(
        (first.method(), first.uri(), first.version()),
        (second.method(), second.uri(), second.version())
    );
    assert_eq!(second.uri(), "https://otlp.example.com/v1/traces?a=b");
    assert_eq!(second.headers().get_all("x-several").iter().collect::<Vec<_>>(), ["1", "2"]);
    assert_eq!(
        second.headers().get_all("authorization").iter().collect::<Vec<_>>(),
        ["StackState token-1"]
    );
    assert_eq!(second.extensions().get::<u32>(), Some(&7));
}

/// Scenario: the server rejects the token in trailers that follow a message.
/// Guarantee: the request is not sent again, because the client may have acted on the message. The
/// client gets the whole response.
#[test]
fn an_answer_that_began_is_no_refusal() {
    let (tokens, log) = (Tokens::new("token-0"), Log::default());
    let server = refuses_old(&log, &tokens, "token-1", Refusal::TrailersAfterData);
    let (_, answer) = block_on(send(&tokens.auth(), server, Full::new(Bytes::from("batch"))));
    assert_eq!(answer.body(), b"answer");
    assert_eq!(answer.trailers.unwrap()["grpc-status"], "16");
    assert_eq!(log.lock().unwrap().len(), 1);
}

/// Scenario: after a rejection, the file has the same first token or no token.
/// Guarantee: the rejection is returned unchanged, and the request is sent once.
#[test]
fn a_dead_token_is_not_sent_again() {
    for refusal in [Refusal::Http, Refusal::TrailersOnly, Refusal::Trailers] {
        for next in ["token-0", "token-0\ntoken-1", ""] {
            let (tokens, log) = (Tokens::new("token-0"), Log::default());
            let server = refuses_old(&log, &tokens, next, refusal);
            let (status, answer) =
                block_on(send(&tokens.auth(), server, Full::new(Bytes::from("batch"))));
            let (parts, body) = refusal.response().into_parts();
            assert_eq!((status, answer), (parts.status, block_on(receive(parts.headers, body))));
            assert_eq!(credentials(&log), [["StackState token-0"]]);
        }
    }
}

/// Scenario: the server rejects every token, and the file has a new token each time.
/// Guarantee: the request is sent twice, and the second rejection is returned.
#[test]
fn never_a_third_time() {
    let (tokens, log) = (Tokens::new("token-0"), Log::default());
    let server = {
        let (tokens, log) = (tokens.clone(), Arc::clone(&log));
        service(&Log::default(), move |got: &Got| {
            log.lock().unwrap().push(got.clone());
            tokens.replace(format!("token-{}", log.lock().unwrap().len()));
            Refusal::Http.response()
        })
    };
    let (status, _) = block_on(send(&tokens.auth(), server, Full::new(Bytes::from("batch"))));
    assert_eq!(status, StatusCode::UNAUTHORIZED);
    let sent = credentials(&log);
    assert_eq!(sent.len(), 2);
    assert_ne!(sent[0], sent[1]);
}

/// Scenario: the server responds with 403, 503, a redirect or gRPC's PERMISSION_DENIED, or with a
/// header in which 16 does not mean UNAUTHENTICATED. By then the file has a new token.
/// Guarantee: the response is returned, and nothing is sent again.
#[test]
fn other_failures_are_passed_on() {
    let answer = |status: u16, headers: &[(&'static str, &'static str)]| {
        let mut response = Response::new(BoxBody::new(Fed::with([])));
        *response.status_mut() = StatusCode::from_u16(status).unwrap();
        response
            .headers_mut()
            .extend(trailers(headers).into_iter().map(|(name, value)| (name.unwrap(), value)));
        response
    };
    let answers: [(u16, &[(&str, &str)]); 6] = [
        (403, &[]),
        (503, &[("retry-after", "1")]),
        (307, &[("location", "/elsewhere")]),
        (200, &[("content-type", "application/grpc"), ("grpc-status", "7")]),
        (200, &[("content-type", "application/grpc"), ("grpc-status", "161")]),
        (200, &[("content-type", "application/grpc"), ("grpc-status", "0"), ("x-status", "16")]),
    ];
    for (status, headers) in answers {
        let (tokens, log) = (Tokens::new("token-0"), Log::default());
        let auth = tokens.auth();
        let server = {
            let (tokens, auth) = (tokens.clone(), auth.clone());
            service(&log, move |_| {
                tokens.replace("token-1");
                // The wait runs an executor. This thread already runs an executor, so another
                // thread waits.
                std::thread::scope(|scope| {
                    scope.spawn(|| wait_for_header(&auth, "StackState token-1")).join().unwrap()
                });
                answer(status, headers)
            })
        };
        let (got, _) = block_on(send(&auth, server, Full::new(Bytes::from("batch"))));
        assert_eq!((got.as_u16(), log.lock().unwrap().len()), (status, 1), "{headers:?}");
    }
}

/// Scenario: a request is rejected long after the token was replaced and a request with the new
/// token was accepted.
/// Guarantee: the rejected request is sent again with the new token, and the new token stays in
/// use.
#[test]
fn a_late_refusal() {
    let (tokens, log) = (Tokens::new("token-0"), Log::default());
    let auth = tokens.auth();
    let (release, released) = oneshot::channel::<()>();
    let late = {
        let log = Arc::clone(&log);
        let waiting = Arc::new(Mutex::new(Some(released)));
        service_fn(move |request: Request<Full<Bytes>>| {
            let (log, waiting) = (Arc::clone(&log), waiting.lock().unwrap().take());
            Box::pin(async move {
                let (parts, body) = request.into_parts();
                let got = receive(parts.headers, body).await;
                log.lock().unwrap().push(got);
                match waiting {
                    Some(waiting) => {
                        waiting.await.unwrap();
                        Ok::<_, Infallible>(Refusal::Http.response())
                    }
                    None => Ok(accepted()),
                }
            }) as Pin<Box<dyn Future<Output = _> + Send>>
        })
    };
    let mut client = auth.layer().layer(late);
    let first = client.call(Request::new(Full::new(Bytes::from("first"))));
    tokens.replace("token-1");
    wait_for_header(&auth, "StackState token-1");
    // The first request got its token when it was made, but it is polled only from here.
    let (first, ()) = block_on(async {
        let mut first = std::pin::pin!(first);
        poll_fn(|cx| {
            assert!(first.as_mut().poll(cx).is_pending());
            Poll::Ready(())
        })
        .await;
        client.call(Request::new(Full::new(Bytes::from("second")))).await.unwrap();
        release.send(()).unwrap();
        (first.await.unwrap(), ())
    });
    assert_eq!(first.status(), StatusCode::OK);
    assert_eq!(
        credentials(&log),
        [["StackState token-0"], ["StackState token-1"], ["StackState token-1"]]
    );
    assert_eq!(log.lock().unwrap()[2].body(), b"first");
    assert_eq!((header(&auth).as_str(), auth.failed_reloads()), ("StackState token-1", 0));
}

/// Scenario: the server rejects a fixed token, in each possible way.
/// Guarantee: the response is returned unchanged, and the request is sent once.
#[test]
fn a_fixed_token_is_not_sent_again() {
    let auth = fixed();
    for refusal in
        [Refusal::Http, Refusal::TrailersOnly, Refusal::Trailers, Refusal::TrailersAfterData]
    {
        let log = Log::default();
        let server = service(&log, move |_| refusal.response());
        let (status, answer) = block_on(send(&auth, server, Full::new(Bytes::from("batch"))));
        let (parts, body) = refusal.response().into_parts();
        assert_eq!((status, answer), (parts.status, block_on(receive(parts.headers, body))));
        assert_eq!(log.lock().unwrap().len(), 1);
    }
}
