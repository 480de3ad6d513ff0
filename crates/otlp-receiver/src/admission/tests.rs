use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::Full;
use tower::ServiceExt;

use super::*;
use crate::{Receiver, Signal};

fn identity(name: &str) -> Option<Identity> {
    Some(Identity::new(name))
}

fn poll<F: Future>(future: Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}

// Scenario: a sender decodes as many requests as it may, and more of its requests wait. One of
// those that wait is cancelled. Then another sender sends a request.
// Guarantee: the other sender gets a slot at once. When a slot of the first sender becomes free,
// its oldest request that still waits gets the slot.
#[tokio::test]
async fn a_sender_takes_half_of_the_slots() {
    let admission = Arc::new(Admission::with_slots(4));
    let (greedy, other) = (admission.admit(identity("greedy"), 1), admission.admit(None, 1));
    let slots = [greedy.slot().await.unwrap(), greedy.slot().await.unwrap()];
    {
        let mut cancelled = pin!(greedy.slot());
        assert!(poll(cancelled.as_mut()).is_pending());
    }
    let (mut first, mut second) = (pin!(greedy.slot()), pin!(greedy.slot()));
    assert!(poll(first.as_mut()).is_pending() && poll(second.as_mut()).is_pending());
    let others = [other.slot().await.unwrap(), other.slot().await.unwrap()];
    drop(slots);
    let slots = [first.await.unwrap(), second.await.unwrap()];
    assert_eq!(admission.used.free_slots.available_permits(), 0);
    drop((slots, others));
    assert_eq!(admission.used.free_slots.available_permits(), 4);
}

// Scenario: more requests of a sender wait than may wait, and none of them gets a slot in time.
// Guarantee: the request that is one too many is refused at once, and the others after the time for
// which a request may wait.
#[tokio::test(start_paused = true)]
async fn waiting_is_bounded() {
    let admission = Arc::new(Admission::with_slots(2));
    let admitted = admission.admit(None, 1);
    let _slot = admitted.slot().await.unwrap();
    let mut waiting: Vec<_> = (0..MAX_WAITING).map(|_| Box::pin(admitted.slot())).collect();
    for slot in &mut waiting {
        assert!(poll(slot.as_mut()).is_pending());
    }
    assert_eq!(admitted.slot().await.unwrap_err(), Refusal::Busy);
    for slot in waiting {
        assert_eq!(slot.await.unwrap_err(), Refusal::Busy);
    }
    assert_eq!(admitted.share.waiting.load(Ordering::Relaxed), 0);
}

// Scenario: two senders have bodies in memory. One of them exceeds its share, and then both
// together exceed the bound of the receiver.
// Guarantee: what exceeds a bound is refused. Dropping a request gives its bytes back, and a sender
// without requests is forgotten.
#[test]
fn bytes_of_bodies_are_bounded() {
    let admission = Arc::new(Admission::with_slots(2));
    let admit = |sender| admission.admit(identity(sender), 1);
    let (mut a, mut b) = (admit("a"), admit("b"));
    assert_eq!(a.count_body_bytes(MAX_BODY_BYTES / 2), Ok(()));
    assert_eq!(admit("a").count_body_bytes(1), Err(Refusal::Busy));
    assert_eq!(b.count_body_bytes(MAX_BODY_BYTES / 2), Ok(()));
    assert_eq!(admit("c").count_body_bytes(1), Err(Refusal::Busy));
    drop(a);
    assert_eq!(admit("a").count_body_bytes(MAX_BODY_BYTES / 2), Ok(()));
    drop(b);
    assert_eq!(admission.used.body_bytes.load(Ordering::Relaxed), 0);
    assert!(admission.senders().is_empty());
}

// Scenario: bodies may be larger than the bound for a sender, or have any length.
// Guarantee: one body of the largest size is received.
#[test]
fn one_body_always_fits() {
    let admission = Arc::new(Admission::with_slots(2));
    let mut admitted = admission.admit(None, MAX_BODY_BYTES);
    assert_eq!(admitted.count_body_bytes(MAX_BODY_BYTES), Ok(()));
    assert_eq!(admitted.count_body_bytes(1), Err(Refusal::Busy));
    assert_eq!(admission.admit(None, usize::MAX).count_body_bytes(1), Ok(()));
}

// Scenario: one sender decodes as many requests as it may. It sends another large request and a
// small one, and another sender sends a large request.
// Guarantee: the large request of the other sender and the small request are received, while the
// large request of the first sender waits. It is received when a slot of its sender is free.
#[tokio::test]
async fn other_senders_and_small_requests_do_not_wait() {
    let receiver = Receiver::new(|_| Ok(()));
    let post = |sender: &str, spans: usize| {
        let request = Request::post(Signal::Traces.http_path())
            .header("content-type", "application/x-protobuf")
            .extension(Identity::new(sender))
            .body(Full::new(Bytes::from([0x0a, 0].repeat(spans))));
        receiver.clone().oneshot(request.unwrap())
    };
    let (large, small) = (100_000, 10);
    let greedy = receiver.admission.admit(identity("greedy"), 1);
    let mut slots = Vec::new();
    for _ in 0..receiver.admission.slots_of_a_sender {
        slots.push(greedy.slot().await.unwrap());
    }
    let mut waiting = pin!(post("greedy", large));
    assert!(poll(waiting.as_mut()).is_pending());
    assert_eq!(post("greedy", small).await.unwrap().status(), StatusCode::OK);
    assert_eq!(post("other", large).await.unwrap().status(), StatusCode::OK);
    assert!(poll(waiting.as_mut()).is_pending());
    drop(slots);
    assert_eq!(waiting.await.unwrap().status(), StatusCode::OK);
}
