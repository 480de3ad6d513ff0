//! What only the inside knows: how often the source is read, and for how long nobody waits.

use std::convert::Infallible;
use std::fs;
use std::future::ready;
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::Full;
use tempfile::TempDir;
use tower::{Service, service_fn};
use tower_layer::Layer;

use super::*;

/// An authenticator of a file with one token, and its directory.
fn from_file() -> (BearerTokenAuth, TempDir) {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("token"), "token-0\n").unwrap();
    let auth = BearerTokenAuth::builder().file(directory.path().join("token")).build().unwrap();
    (auth, directory)
}

/// Replaces the token at one stroke.
fn rotate(directory: &TempDir, token: &str) {
    fs::write(directory.path().join("next"), token).unwrap();
    fs::rename(directory.path().join("next"), directory.path().join("token")).unwrap();
}

/// 200 requests at once, all refused.
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

/// 200 requests with a dead key are refused at the same time, where there is no Tokio runtime, and
/// where it has no timers. They share a read of the file, or two: it is not read more often than
/// once a second for any number of refusals, and all of them end.
#[test]
fn refusals_share_their_reads() {
    fn counted(refuse: impl FnOnce(&BearerTokenAuth)) {
        let (auth, _directory) = from_file();
        let started = Instant::now();
        refuse(&auth);
        let reads = auth.token.reads();
        // One at once, one for those who came after it had begun; and whatever a very slow machine
        // gives time for.
        assert!((1..=2 + started.elapsed().as_secs()).contains(&reads), "{reads} reads");
    }
    counted(|auth| futures_executor::block_on(refused_200_times(auth)));
    let no_timers = tokio::runtime::Builder::new_current_thread().build().unwrap();
    counted(|auth| no_timers.block_on(refused_200_times(auth)));
}

/// A request was sent with the token before the current one and is refused late. The current token
/// is used at once: the source is not read again for it, and nothing is waited for.
#[test]
fn a_late_refusal_reads_nothing() {
    let (auth, directory) = from_file();
    let sent = auth.token.insert_into(&mut http::HeaderMap::new());
    rotate(&directory, "token-1");
    let mut generation = auth.generation();
    futures_executor::block_on(generation.wait_for(|&generation| generation == 1)).unwrap();
    let changed = pin!(auth.token.changed_since(sent, None));
    assert_eq!(changed.poll(&mut Context::from_waker(Waker::noop())), Poll::Ready(true));
    let mut headers = http::HeaderMap::new();
    auth.token.insert_into(&mut headers);
    assert_eq!(headers[AUTHORIZATION], "StackState token-1");
}

/// A line is added below the first one, and the request that follows is refused. The file was taken
/// over, but there is no other token for a client: the request need not be sent again.
#[test]
fn a_change_below_the_first_line_is_no_new_token() {
    let (auth, directory) = from_file();
    let sent = auth.token.insert_into(&mut http::HeaderMap::new());
    rotate(&directory, "token-0\ntoken-1\n");
    futures_executor::block_on(auth.generation().wait_for(|&generation| generation == 1)).unwrap();
    assert!(!futures_executor::block_on(auth.token.changed_since(sent, None)));
    rotate(&directory, "token-1\ntoken-0\n");
    assert!(futures_executor::block_on(auth.token.changed_since(sent, None)));
}

/// A fixed token is refused.
/// There is nothing to read and nothing to wait for.
#[test]
fn a_fixed_token_does_not_change() {
    let auth = BearerTokenAuth::builder().token("token-0").build().unwrap();
    let sent = auth.token.insert_into(&mut http::HeaderMap::new());
    assert!(!auth.token.can_change());
    let changed = pin!(auth.token.changed_since(sent, None));
    assert_eq!(changed.poll(&mut Context::from_waker(Waker::noop())), Poll::Ready(false));
    assert_eq!((*auth.generation().borrow(), auth.failed_reloads()), (0, 0));
}
