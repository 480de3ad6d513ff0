//! Tests of how often the token file is read after rejections. They need access to internal
//! counters.

use std::convert::Infallible;
use std::fs;
use std::future::ready;
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use bytes::Bytes;
use http::header::AUTHORIZATION;
use http::{Request, Response, StatusCode};
use http_body_util::Full;
use tempfile::TempDir;
use tower::{Service, service_fn};
use tower_layer::Layer;

use super::*;

fn bound(builder: Builder) -> BearerTokenAuth {
    builder.endpoint("https://otlp.example.com").build().unwrap()
}

/// Makes an authenticator with a file of one token, and returns it with the directory of the file.
fn from_file() -> (BearerTokenAuth, TempDir) {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("token"), "token-0\n").unwrap();
    let auth = bound(BearerTokenAuth::builder().file(directory.path().join("token")));
    (auth, directory)
}

/// Renames a new file with `token` over the token file.
fn rotate(directory: &TempDir, token: &str) {
    fs::write(directory.path().join("next"), token).unwrap();
    fs::rename(directory.path().join("next"), directory.path().join("token")).unwrap();
}

/// Sends 200 requests at once. The server rejects all of them.
async fn refused_200_times(auth: &BearerTokenAuth) {
    let refuse = service_fn(|_: Request<Full<Bytes>>| {
        ready(Ok::<_, Infallible>(
            Response::builder()
                .status(StatusCode::UNAUTHORIZED)
                .body(Full::new(Bytes::from_static(b"no")))
                .unwrap(),
        ))
    });
    let mut service = auth.layer().layer(refuse);
    let mut under_way: Vec<_> =
        (0..200).map(|_| Box::pin(service.call(Request::new(Full::default())))).collect();
    std::future::poll_fn(|cx| {
        under_way.retain_mut(|request| match request.as_mut().poll(cx) {
            Poll::Ready(response) => {
                assert_eq!(response.unwrap().status(), StatusCode::UNAUTHORIZED);
                false
            }
            Poll::Pending => true,
        });
        if under_way.is_empty() { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
}

/// Scenario: 200 requests are rejected at the same time. There is no Tokio runtime, or a runtime
/// without timers.
/// Guarantee: the requests share one or two reads of the file, because rejections cause at most one
/// read per second. Every request ends.
#[test]
fn refusals_share_their_reads() {
    fn counted(refuse: impl FnOnce(&BearerTokenAuth)) {
        let (auth, _directory) = from_file();
        let started = Instant::now();
        refuse(&auth);
        let reads = auth.token.reads();
        // One read happens at once, and one for the requests that came after the first read had
        // begun. A slow machine may add one for each second.
        assert!((1..=2 + started.elapsed().as_secs()).contains(&reads), "{reads} reads");
    }
    counted(|auth| futures_executor::block_on(refused_200_times(auth)));
    let no_timers = tokio::runtime::Builder::new_current_thread().build().unwrap();
    counted(|auth| no_timers.block_on(refused_200_times(auth)));
}

/// Scenario: a request is sent with the old token. The token changes, and then the request is
/// rejected.
/// Guarantee: the current token is used at once, without a read of the file.
#[test]
fn a_late_refusal_reads_nothing() {
    let (auth, directory) = from_file();
    let sent = auth.token.insert_into(&mut http::HeaderMap::new());
    rotate(&directory, "token-1");
    futures_executor::block_on(auth.generation().wait_for(1)).unwrap();
    let changed = pin!(auth.token.changed_since(sent, None));
    assert_eq!(changed.poll(&mut Context::from_waker(Waker::noop())), Poll::Ready(true));
    let mut headers = http::HeaderMap::new();
    auth.token.insert_into(&mut headers);
    assert_eq!(headers[AUTHORIZATION], "StackState token-1");
}

/// Scenario: a line is added after the first token, and the next request is rejected.
/// Guarantee: the token and its generation stay, so the request is not sent again. A change of the
/// first token counts.
#[test]
fn a_change_below_the_first_line_is_no_new_token() {
    let (auth, directory) = from_file();
    let sent = auth.token.insert_into(&mut http::HeaderMap::new());
    rotate(&directory, "token-0\ntoken-1\n");
    assert!(!futures_executor::block_on(auth.token.changed_since(sent, None)));
    assert_eq!(auth.generation().current(), 0);
    rotate(&directory, "token-1\ntoken-0\n");
    assert_eq!(futures_executor::block_on(auth.generation().wait_for(1)), Some(1));
    assert!(futures_executor::block_on(auth.token.changed_since(sent, None)));
}

/// Scenario: the server rejects a fixed token.
/// Guarantee: no file is read, and the response is returned at once.
#[test]
fn a_fixed_token_does_not_change() {
    let auth = bound(BearerTokenAuth::builder().token("token-0"));
    let sent = auth.token.insert_into(&mut http::HeaderMap::new());
    assert!(!auth.token.can_change());
    let changed = pin!(auth.token.changed_since(sent, None));
    assert_eq!(changed.poll(&mut Context::from_waker(Waker::noop())), Poll::Ready(false));
    assert_eq!((auth.generation().current(), auth.failed_reloads()), (0, 0));
}
