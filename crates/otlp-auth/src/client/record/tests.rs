//! Tests of recording and replaying, with bodies for which a script sets the result of every poll.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Wake, Waker};

use proptest::prelude::*;

use super::*;

/// A frame that can be compared.
#[derive(Clone, Debug, PartialEq)]
enum Item {
    Data(Bytes),
    Trailers(HeaderMap),
}

#[derive(Clone, Debug)]
enum Step {
    Give(Item),
    Wait,
    Fail,
}

/// A body that does one step of its script at each poll.
#[derive(Clone, Debug)]
struct Script {
    steps: VecDeque<Step>,
    /// Whether `is_end_stream` returns true as soon as the last frame was polled.
    tells_end: bool,
}

impl Script {
    fn of_data(frames: impl IntoIterator<Item = Bytes>) -> Self {
        Self {
            steps: frames.into_iter().map(|data| Step::Give(Item::Data(data))).collect(),
            tells_end: true,
        }
    }

    fn then(mut self, step: Step) -> Self {
        self.steps.push_back(step);
        self
    }

    fn items(&self) -> Vec<Item> {
        self.steps
            .iter()
            .filter_map(|step| if let Step::Give(item) = step { Some(item.clone()) } else { None })
            .collect()
    }
}

impl Body for Script {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        match self.steps.pop_front() {
            Some(Step::Give(Item::Data(data))) => Poll::Ready(Some(Ok(Frame::data(data)))),
            Some(Step::Give(Item::Trailers(trailers))) => {
                Poll::Ready(Some(Ok(Frame::trailers(trailers))))
            }
            Some(Step::Wait) => Poll::Pending,
            Some(Step::Fail) => Poll::Ready(Some(Err("the source of the body is gone".into()))),
            None => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.tells_end && self.steps.is_empty()
    }
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum End {
    StillOpen,
    Ended,
    Failed,
}

/// Polls `body` at most `polls` times.
fn poll<B: Body<Data = Bytes> + Unpin>(body: &mut B, polls: usize) -> (Vec<Item>, End) {
    let mut items = Vec::new();
    for _ in 0..polls {
        let said_end = body.is_end_stream();
        match Pin::new(&mut *body).poll_frame(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(Some(Ok(frame))) => {
                assert!(!said_end, "a body that has ended has no more frames");
                items.push(match frame.into_data() {
                    Ok(data) => Item::Data(data),
                    Err(frame) => {
                        Item::Trailers(frame.into_trailers().expect("there are only two kinds"))
                    }
                });
            }
            Poll::Ready(Some(Err(_))) => return (items, End::Failed),
            Poll::Ready(None) => return (items, End::Ended),
            Poll::Pending => assert!(!said_end, "a body that has ended does not wait"),
        }
    }
    (items, End::StillOpen)
}

/// A number of polls that is enough for any script in this file.
const TO_THE_END: usize = 1000;

fn recorded<B: Send + 'static>(body: B) -> (B, Box<dyn Recording<B>>) {
    let (body, recording) = record(body);
    (body, recording.expect("a body of this type can be recorded"))
}

fn tonic_body(script: Script) -> tonic::body::Body {
    tonic::body::Body::new(script)
}

fn unsync_box(script: Script) -> UnsyncBoxBody<Bytes, BoxError> {
    UnsyncBoxBody::new(script)
}

fn sync_box(script: Script) -> BoxBody<Bytes, BoxError> {
    BoxBody::new(script)
}

fn replays_what_was_sent<B>(body: B, all: &[Item], polls: usize) -> Result<(), TestCaseError>
where
    B: Body<Data = Bytes> + Send + Unpin + 'static,
{
    let (mut sending, recording) = recorded(body);
    let (sent, end) = poll(&mut sending, polls);
    prop_assert!(all.starts_with(&sent));
    prop_assert!(end != End::Ended || (sent == all && recording.is_complete()));
    prop_assert!(!recording.is_complete() || sent == all);
    let mut replay = recording.replay().expect("it is small");
    let (again, end) = poll(&mut replay, TO_THE_END);
    prop_assert_eq!(&again[..], all);
    prop_assert_eq!(end, End::Ended);
    let (rest, end) = poll(&mut sending, TO_THE_END);
    prop_assert_eq!(rest, vec![], "no frame is sent by both");
    prop_assert!(sent == all || end == End::Failed, "half a body does not look like a whole one");
    Ok(())
}

fn script() -> impl Strategy<Value = Script> {
    let data = prop::collection::vec(any::<u8>(), 0..64)
        .prop_map(|data| Step::Give(Item::Data(data.into())));
    let frames = prop::collection::vec(prop_oneof![3 => data, 1 => Just(Step::Wait)], 0..40);
    let trailers =
        prop::option::of(prop::collection::vec("[!-~]{0,20}", 0..3).prop_map(|values| {
            let values = values.iter().map(|value| {
                (http::HeaderName::from_static("x-sum"), value.parse().expect("it is legal"))
            });
            Step::Give(Item::Trailers(values.collect()))
        }));
    (frames, trailers, any::<bool>()).prop_map(|(frames, trailers, tells_end)| Script {
        steps: frames.into_iter().chain(trailers).collect(),
        tells_end,
    })
}

proptest! {
    /// Scenario: a body with any frames is polled any number of times, and then replayed.
    /// Guarantee: the replay has the same frames with the same bytes and trailers, and the first
    /// request gets no further frame.
    #[test]
    fn any_body_is_replayed_whole(script in script(), polls in 0..60_usize) {
        let all = script.items();
        replays_what_was_sent(tonic_body(script.clone()), &all, polls)?;
        replays_what_was_sent(unsync_box(script.clone()), &all, polls)?;
        replays_what_was_sent(sync_box(script), &all, polls)?;
    }

    /// Scenario: a body with data frames of any size, up to 9 MiB in all, is polled any number of
    /// times, and then replayed.
    /// Guarantee: there is a replay exactly if at most 4 MiB were sent. Without a replay, the first
    /// request gets the whole body.
    #[test]
    fn only_so_much_is_kept(pieces in prop::collection::vec(0..=1_usize << 20, 0..9), polls in 0..10_usize) {
        static ZEROS: [u8; 1 << 20] = [0; 1 << 20];
        // The body does not announce its end or its size, so the recording knows only the
        // frames that were polled.
        let script = Script { tells_end: false, ..Script::of_data(pieces.iter().map(|&len| Bytes::from_static(&ZEROS[..len]))) };
        let all = script.items();
        let (mut sending, recording) = recorded(unsync_box(script));
        let (mut sent, _) = poll(&mut sending, polls);
        let bytes: usize = pieces.iter().take(polls).sum();
        let replay = recording.replay();
        prop_assert_eq!(replay.is_some(), bytes <= MAX_RECORDED);
        match replay {
            Some(mut replay) => prop_assert_eq!(poll(&mut replay, TO_THE_END), (all, End::Ended)),
            None => {
                sent.extend(poll(&mut sending, TO_THE_END).0);
                prop_assert_eq!(sent, all);
            }
        }
    }
}

/// Scenario: a body announces more than 4 MiB.
/// Guarantee: the body is not recorded, and is sent completely.
#[test]
fn a_body_that_says_it_is_too_large_is_not_begun() {
    struct Announced(Script);
    impl Body for Announced {
        type Data = Bytes;
        type Error = BoxError;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            cx: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
            Pin::new(&mut self.0).poll_frame(cx)
        }

        fn size_hint(&self) -> SizeHint {
            SizeHint::with_exact(MAX_RECORDED as u64 + 1)
        }
    }
    let script = Script::of_data([Bytes::from_static(b"the first of many")]);
    let all = script.items();
    let (mut sending, recording) = recorded(UnsyncBoxBody::new(Announced(script)));
    assert_eq!(sending.size_hint().exact(), Some(MAX_RECORDED as u64 + 1));
    assert!(recording.replay().is_none());
    assert_eq!(poll(&mut sending, TO_THE_END), (all, End::Ended));
}

/// Scenario: a body is recorded and replayed.
/// Guarantee: the first body and its replay share the same bytes in memory.
#[test]
fn nothing_is_copied() {
    let data = Bytes::from(vec![7; 100]);
    let (mut sending, recording) = recorded(unsync_box(Script::of_data([data.clone()])));
    let (sent, _) = poll(&mut sending, TO_THE_END);
    let (again, _) = poll(&mut recording.replay().expect("it is small"), TO_THE_END);
    for items in [sent, again] {
        assert!(matches!(&items[..], [Item::Data(bytes)] if bytes.as_ptr() == data.as_ptr()));
    }
}

/// Scenario: a body fails after a frame.
/// Guarantee: there is no replay.
#[test]
fn a_failed_body_is_not_replayed() {
    for polls in [2, TO_THE_END] {
        let script = Script::of_data([Bytes::from_static(b"half")]).then(Step::Fail);
        let (mut sending, recording) = recorded(tonic_body(script));
        assert_eq!(poll(&mut sending, polls).1, End::Failed);
        assert!(recording.replay().is_none());
    }
}

/// Scenario: a replay takes the rest of a body, and then the body fails.
/// Guarantee: the second request fails with the error that the first request would have got.
#[test]
fn a_body_that_fails_later_fails_its_replay() {
    let script = Script::of_data([Bytes::from_static(b"half")]).then(Step::Fail);
    let (mut sending, recording) = recorded(sync_box(script.clone()));
    assert_eq!(poll(&mut sending, 1).1, End::StillOpen);
    assert_eq!(
        poll(&mut recording.replay().expect("it did not fail yet"), TO_THE_END),
        (script.items(), End::Failed)
    );
}

/// Scenario: a body has no frames, and `is_end_stream` says so. Therefore the body is never polled.
/// Guarantee: the request counts as complete, so the client waits for a rejection in the trailers
/// of the response.
#[test]
fn an_empty_body_is_complete_from_the_start() {
    let (sending, recording) = recorded(tonic_body(Script::of_data([])));
    assert!(sending.is_end_stream());
    assert!(recording.is_complete());
    let (_, recording) = recorded(Empty::<Bytes>::new());
    assert!(recording.is_complete());
}

#[derive(Default)]
struct CountsWakes(AtomicUsize);

impl Wake for CountsWakes {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

/// Scenario: a replay takes the rest of the body while the first request waits for the next frame.
/// Guarantee: the first request is woken and ends in an error. Its stream does not stay open.
#[test]
fn the_first_sending_is_woken_when_it_is_taken_over() {
    let script = Script::of_data([Bytes::from_static(b"half")])
        .then(Step::Wait)
        .then(Step::Give(Item::Data("rest".into())));
    let (mut sending, recording) = recorded(unsync_box(script));
    let wakes = Arc::new(CountsWakes::default());
    let waker = Waker::from(Arc::clone(&wakes));
    let mut cx = Context::from_waker(&waker);
    assert!(Pin::new(&mut sending).poll_frame(&mut cx).is_ready());
    assert!(Pin::new(&mut sending).poll_frame(&mut cx).is_pending());
    let replay = recording.replay();
    assert_eq!(wakes.0.load(Ordering::Relaxed), 1);
    assert_eq!(poll(&mut sending, 1), (vec![], End::Failed));
    drop(replay);
}

/// Scenario: the recording is dropped while the body is still being sent.
/// Guarantee: the recorded frames are freed, and no further frame is recorded.
#[test]
fn nothing_is_kept_when_nobody_can_ask_for_it() {
    let (mut sending, recording) =
        recorded(unsync_box(Script::of_data([vec![1; 10].into(), vec![2; 10].into()])));
    let (first, _) = poll(&mut sending, 1);
    let Some(Item::Data(first)) = first.into_iter().next() else { panic!("a frame was sent") };
    assert!(!first.is_unique(), "it was recorded");
    drop(recording);
    assert!(first.is_unique());
    let (second, _) = poll(&mut sending, 1);
    assert!(matches!(&second[..], [Item::Data(second)] if second.is_unique()));
}

/// Scenario: bodies have types that cannot be rebuilt.
/// Guarantee: the bodies are returned unchanged.
#[test]
fn other_types_are_left_alone() {
    let (text, recording) = record(String::from("a body of some sort"));
    assert_eq!(text, "a body of some sort");
    assert!(recording.is_none());
    assert!(record(()).1.is_none());
    assert!(
        record(Full::new(std::io::Cursor::new(vec![1_u8]))).1.is_none(),
        "other data than `Bytes`"
    );
}

/// Scenario: `Full` and `Empty` bodies are recorded.
/// Guarantee: each replay is equal to the body that was recorded.
#[test]
fn full_and_empty_are_kept() {
    let (mut sending, recording) = recorded(Full::new(Bytes::from_static(b"all of it")));
    let (sent, _) = poll(&mut sending, TO_THE_END);
    assert_eq!(sent, [Item::Data(Bytes::from_static(b"all of it"))]);
    assert_eq!(poll(&mut recording.replay().expect("it is kept"), TO_THE_END), (sent, End::Ended));
    let (_, recording) = recorded(Empty::<Bytes>::new());
    assert_eq!(
        poll(&mut recording.replay().expect("it is kept"), TO_THE_END),
        (vec![], End::Ended)
    );
}
