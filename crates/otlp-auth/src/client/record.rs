//! Records a request's body while it is sent, so that it can be sent once more.

use std::any::Any;
use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};
use http_body_util::combinators::{BoxBody, UnsyncBoxBody};
use http_body_util::{Empty, Full};

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// The maximum number of bytes of a body that are recorded.
const MAX_RECORDED: usize = 4 << 20;

/// The maximum number of frames of a body that are recorded. A frame takes memory besides its
/// bytes, so many small frames would take more memory than [`MAX_RECORDED`].
const MAX_FRAMES: usize = 1 << 16;

/// Records a body of type `B`, and makes a second body with the same frames.
pub(crate) trait Recording<B>: Send + Sync {
    /// Whether the body has been sent completely.
    fn is_complete(&self) -> bool;

    /// Returns a second body with all frames of the first body, unless the first body was too
    /// large. If the first request is still sending its body, the second body takes the rest of
    /// that body, and the first request ends in an error.
    fn replay(self: Box<Self>) -> Option<B>;
}

/// Prepares `body` for being sent twice, if its type can be rebuilt: tonic's body, and the boxed,
/// full and empty bodies of `http-body-util`. A body of another type is returned unchanged, without
/// a recording.
pub(crate) fn record<B: Send + 'static>(body: B) -> (B, Option<Box<dyn Recording<B>>>) {
    #[cfg(feature = "tonic")]
    let body = match record_as::<tonic::body::Body, B>(body) {
        Ok((body, recording)) => return (body, Some(recording)),
        Err(body) => body,
    };
    let body = match record_as::<UnsyncBoxBody<Bytes, BoxError>, B>(body) {
        Ok((body, recording)) => return (body, Some(recording)),
        Err(body) => body,
    };
    let body = match record_as::<BoxBody<Bytes, BoxError>, B>(body) {
        Ok((body, recording)) => return (body, Some(recording)),
        Err(body) => body,
    };
    let body = match keep_as::<Full<Bytes>, B>(body) {
        Ok((body, recording)) => return (body, Some(recording)),
        Err(body) => body,
    };
    match keep_as::<Empty<Bytes>, B>(body) {
        Ok((body, recording)) => (body, Some(recording)),
        Err(body) => (body, None),
    }
}

/// A body type that can be made from any other body.
trait Rebuild: Body<Data = Bytes> + Send + Unpin + 'static {
    fn rebuild<B: Body<Data = Bytes, Error = Self::Error> + Send + Sync + 'static>(body: B)
    -> Self;
    /// Returns the error with which the first request ends after the replay has taken its body.
    fn taken_over() -> Self::Error;
}

#[cfg(feature = "tonic")]
impl Rebuild for tonic::body::Body {
    fn rebuild<B: Body<Data = Bytes, Error = Self::Error> + Send + 'static>(body: B) -> Self {
        Self::new(body)
    }

    fn taken_over() -> Self::Error {
        tonic::Status::cancelled(TAKEN_OVER)
    }
}

impl Rebuild for UnsyncBoxBody<Bytes, BoxError> {
    fn rebuild<B: Body<Data = Bytes, Error = Self::Error> + Send + 'static>(body: B) -> Self {
        Self::new(body)
    }

    fn taken_over() -> Self::Error {
        TAKEN_OVER.into()
    }
}

impl Rebuild for BoxBody<Bytes, BoxError> {
    fn rebuild<B: Body<Data = Bytes, Error = Self::Error> + Send + Sync + 'static>(
        body: B,
    ) -> Self {
        Self::new(body)
    }

    fn taken_over() -> Self::Error {
        TAKEN_OVER.into()
    }
}

const TAKEN_OVER: &str = "the request was refused and is being sent again";

/// Records `body` if `B` is `T`.
fn record_as<T: Rebuild, B: 'static>(body: B) -> Result<(B, Box<dyn Recording<B>>), B> {
    let body: T = try_downcast(body)?;
    let fits = body.size_hint().lower() <= MAX_RECORDED as u64;
    let frames = fits.then(VecDeque::new);
    // An empty body is complete from the beginning, because a client need not poll it.
    let complete = body.is_end_stream();
    let shared = Arc::new(Mutex::new(Shared {
        body: Some(body),
        frames,
        recorded: 0,
        complete,
        waiting: None,
    }));
    let sending = T::rebuild(Recorded { shared: Arc::clone(&shared) });
    let recording: Box<dyn Recording<T>> = Box::new(Handle { shared });
    Ok((same(sending), same(recording)))
}

/// Keeps a clone of `body` if `B` is `T`. Clones of a `T` share their bytes.
fn keep_as<T: Body<Data = Bytes> + Clone + Send + Sync + 'static, B: 'static>(
    body: B,
) -> Result<(B, Box<dyn Recording<B>>), B> {
    let body: T = try_downcast(body)?;
    let recording: Box<dyn Recording<T>> = Box::new(Kept(body.clone()));
    Ok((same(body), same(recording)))
}

/// Returns `value` as a `U` if `T` is `U`; otherwise returns `value` itself as the error.
fn try_downcast<T: 'static, U: 'static>(value: T) -> Result<U, T> {
    let mut value = Some(value);
    match (&mut value as &mut dyn Any).downcast_mut::<Option<U>>().and_then(Option::take) {
        Some(value) => Ok(value),
        None => value.map_or_else(|| unreachable!("only a `U` was taken"), Err),
    }
}

/// Returns `value` as a `U`. The caller knows that `T` is `U`.
fn same<T: 'static, U: 'static>(value: T) -> U {
    try_downcast(value).unwrap_or_else(|_| unreachable!("called where both are one type"))
}

struct Kept<B>(B);

impl<B: Send + Sync> Recording<B> for Kept<B> {
    fn is_complete(&self) -> bool {
        true
    }

    fn replay(self: Box<Self>) -> Option<B> {
        Some(self.0)
    }
}

/// A body that is being sent and recorded. The first request reads the body until a replay takes
/// the body.
struct Shared<B> {
    body: Option<B>,
    /// The frames that were sent so far. `None` if the frames were too large or too many, if the
    /// body failed, or if no replay can follow.
    frames: Option<VecDeque<RecordedFrame>>,
    recorded: usize,
    complete: bool,
    /// The task of the first request, which waits for the body's next frame.
    waiting: Option<Waker>,
}

enum RecordedFrame {
    Data(Bytes),
    Trailers(HeaderMap),
}

impl RecordedFrame {
    fn len(&self) -> usize {
        match self {
            Self::Data(data) => data.len(),
            Self::Trailers(_) => 0,
        }
    }

    fn into_frame(self) -> Frame<Bytes> {
        match self {
            Self::Data(data) => Frame::data(data),
            Self::Trailers(trailers) => Frame::trailers(trailers),
        }
    }
}

impl<B> Shared<B> {
    fn record(&mut self, frame: &Frame<Bytes>) {
        let Some(frames) = &mut self.frames else { return };
        if let Some(data) = frame.data_ref() {
            self.recorded += data.len();
            frames.push_back(RecordedFrame::Data(data.clone()));
        } else if let Some(trailers) = frame.trailers_ref() {
            frames.push_back(RecordedFrame::Trailers(trailers.clone()));
        }
        if self.recorded > MAX_RECORDED || frames.len() > MAX_FRAMES {
            self.frames = None;
        }
    }
}

struct Handle<B> {
    shared: Arc<Mutex<Shared<B>>>,
}

impl<B: Rebuild> Recording<B> for Handle<B> {
    fn is_complete(&self) -> bool {
        lock(&self.shared).complete
    }

    fn replay(self: Box<Self>) -> Option<B> {
        let mut shared = lock(&self.shared);
        let frames = shared.frames.take()?;
        let rest = if shared.complete { None } else { shared.body.take().map(Mutex::new) };
        // From now on the body wakes only the task of the replay. So the task of the first request
        // is woken here, and then sees its error.
        let waiting = shared.waiting.take();
        drop(shared);
        if let Some(waiting) = waiting {
            waiting.wake();
        }
        Some(B::rebuild(Replay { frames, rest }))
    }
}

impl<B> Drop for Handle<B> {
    fn drop(&mut self) {
        // Without the recording's handle, nobody can ask for a replay, so the recording ends.
        lock(&self.shared).frames = None;
    }
}

struct Recorded<B> {
    shared: Arc<Mutex<Shared<B>>>,
}

impl<B: Rebuild> Body for Recorded<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let mut shared = lock(&self.shared);
        let Some(body) = &mut shared.body else { return Poll::Ready(Some(Err(B::taken_over()))) };
        let polled = Pin::new(&mut *body).poll_frame(cx);
        let ended = body.is_end_stream();
        match &polled {
            Poll::Ready(Some(Ok(frame))) => {
                shared.record(frame);
                shared.complete = ended;
            }
            // A body that failed cannot be sent again.
            Poll::Ready(Some(Err(_))) => shared.frames = None,
            Poll::Ready(None) => shared.complete = true,
            Poll::Pending => shared.waiting = Some(cx.waker().clone()),
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        lock(&self.shared).body.as_ref().is_some_and(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        lock(&self.shared).body.as_ref().map_or_else(SizeHint::default, Body::size_hint)
    }
}

/// The body of the second request: the frames that were sent, followed by the rest of the body.
struct Replay<B> {
    frames: VecDeque<RecordedFrame>,
    /// In a mutex, because `BoxBody` must be `Sync`. The mutex is never contended.
    rest: Option<Mutex<B>>,
}

impl<B: Rebuild> Body for Replay<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        if let Some(frame) = self.frames.pop_front() {
            return Poll::Ready(Some(Ok(frame.into_frame())));
        }
        match &mut self.rest {
            Some(rest) => {
                Pin::new(rest.get_mut().unwrap_or_else(PoisonError::into_inner)).poll_frame(cx)
            }
            None => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.frames.is_empty() && self.rest.as_ref().is_none_or(|rest| lock(rest).is_end_stream())
    }

    fn size_hint(&self) -> SizeHint {
        let recorded: usize = self.frames.iter().map(RecordedFrame::len).sum();
        let rest = self
            .rest
            .as_ref()
            .map_or_else(|| SizeHint::with_exact(0), |rest| lock(rest).size_hint());
        let mut hint = SizeHint::new();
        hint.set_lower(recorded as u64 + rest.lower());
        if let Some(upper) = rest.upper() {
            hint.set_upper(recorded as u64 + upper);
        }
        hint
    }
}

/// Locks `mutex` even if it is poisoned, because a panic while it is locked leaves no value half
/// changed.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
