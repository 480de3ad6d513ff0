//! One call: the request on its way to the upstream, and the answer on its way back.

use std::convert::Infallible;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use h2::{Reason, RecvStream, SendStream};
use http::{Request, Response, StatusCode};
use hyper::body::Frame;
use tokio::task::JoinHandle;

use super::super::answer::{self, Failure, GRPC_STATUS};
use super::super::body::ResponseBody;
use super::super::watch::Watch;
use super::Call;
use super::pool::{Place, Pool, Stream};
use super::upload::{Upload, UploadError};
use crate::upstream::body::Payload;

/// Forwards a call and resolves to its answer.
///
/// A future keeps twice what it passes on to another one, so everything is made here, and used
/// where it is.
pub(super) fn forward<B>(
    pool: Arc<Pool>,
    request: Request<B>,
    call: Call,
) -> impl Future<Output = Result<Response<ResponseBody>, Infallible>> + Send + 'static
where
    B: Payload,
{
    let (parts, body) = request.into_parts();
    let format = pool.target.format_of(&parts);
    let mut watch = pool.target.watch(&parts);
    let mut head = Some(pool.target.grpc_head(parts));
    let began = std::time::Instant::now();
    let length = pool.target.check_length(&body);
    let mut upload = Upload::new(body, call, &pool.target);
    async move {
        let exchange = async {
            if call == Call::Unary {
                length?;
            }
            // A unary call is nothing without its message. Its head goes out together with the
            // body, and it takes no place at the upstream before. The head of a stream goes out at
            // once.
            poll_fn(|cx| match upload.poll_read(&pool.target, cx) {
                Poll::Ready(read) => Poll::Ready(read),
                Poll::Pending if call == Call::Stream => Poll::Ready(Ok(())),
                Poll::Pending => watch.poll(cx).map(Err),
            })
            .await?;
            // Only a call whose body is not read from can be made again.
            let mut again = if upload.has_read() { None } else { head.clone() };
            loop {
                let begun = begin(&pool, &mut head, &mut upload, &mut watch, call).await;
                match begun {
                    Ok(begun) => return Ok(begun),
                    Err(Ended { was_refused: true, .. })
                        if again.is_some() && !upload.has_read() =>
                    {
                        head = again.take();
                    }
                    Err(ended) => return Err(ended.failure),
                }
            }
        };
        let metrics = &pool.target.metrics;
        Ok(match exchange.await {
            Ok(begun) => {
                metrics.answered(begun.response.status(), began.elapsed());
                begun.answer(upload, watch).map(ResponseBody::Grpc)
            }
            Err(failure) => {
                metrics.failed(failure.label(), began.elapsed());
                format.answer(failure, &pool.target.extractor)
            }
        })
    }
}

/// A call whose answer has begun.
struct Begun {
    response: Response<RecvStream>,
    /// Where the rest of the body goes, if it is not sent to its end.
    send: Option<SendStream<Bytes>>,
    place: Place,
}

impl Begun {
    /// Makes the answer, and lets the rest of the body be sent.
    fn answer<B>(self, upload: Upload<B>, mut watch: Watch) -> Response<GrpcBody>
    where
        B: Payload,
    {
        let Self { response, send, place } = self;
        if send.is_some() {
            // The sender may take its time for the rest of the body.
            watch.await_client();
        }
        let awaits_status =
            response.status() == StatusCode::OK && !response.headers().contains_key(GRPC_STATUS);
        response.map(|receive| {
            let is_open = !receive.is_end_stream();
            let stream = is_open.then(|| {
                let companion = send
                    .map(|send| Companion(tokio::spawn(send_rest(upload, send, watch.another()))));
                let has_data_ended = false;
                Box::new(Receiving {
                    receive,
                    awaits_status,
                    has_data_ended,
                    companion,
                    watch,
                    _place: place,
                })
            });
            GrpcBody { stream }
        })
    }
}

/// A call that has ended without an answer.
struct Ended {
    failure: Failure,
    /// Whether the upstream has said that it has not looked at the call.
    was_refused: bool,
}

impl From<Failure> for Ended {
    fn from(failure: Failure) -> Self {
        Self { failure, was_refused: false }
    }
}

impl Ended {
    fn by(error: &h2::Error) -> Self {
        let is_refusal = error.is_go_away() || error.reason() == Some(Reason::REFUSED_STREAM);
        Self { failure: Failure::UNAVAILABLE, was_refused: error.is_remote() && is_refusal }
    }
}

/// Sends a call, and waits for the head of its answer.
async fn begin<B>(
    pool: &Arc<Pool>,
    head: &mut Option<Request<()>>,
    upload: &mut Upload<B>,
    watch: &mut Watch,
    call: Call,
) -> Result<Begun, Ended>
where
    B: Payload,
{
    let is_empty = upload.is_ended() && !upload.has_read();
    let stream = pool.begin(head, is_empty).await.map_err(|_| Failure::UNAVAILABLE)?;
    let Stream { mut response, send, place } = stream;
    let mut send = (!is_empty).then_some(send);
    let mut sent_before = 0;
    let response = poll_fn(|cx| {
        if let Some(stream) = &mut send {
            match upload.poll(stream, &pool.target, cx) {
                Poll::Ready(Ok(()) | Err(UploadError::Upstream)) => send = None,
                Poll::Ready(Err(UploadError::Failed(failure))) => {
                    return Poll::Ready(Err(failure.into()));
                }
                Poll::Pending => {}
            }
        }
        if let Poll::Ready(answered) = Pin::new(&mut response).poll(cx) {
            return Poll::Ready(answered.map_err(|error| Ended::by(&error)));
        }
        // On a stream, the upstream may be silent for any time.
        if call == Call::Unary {
            let sent = upload.sent();
            if send.is_some() && upload.waits_for_client() {
                watch.await_client();
            } else {
                watch.await_upstream(sent != sent_before);
            }
            sent_before = sent;
        }
        watch.poll(cx).map(|failure| {
            if failure == Failure::UNAVAILABLE {
                // Perhaps nobody is there any more. The next call finds out.
                place.retire_connection();
            }
            Err(failure.into())
        })
    })
    .await?;
    Ok(Begun { response, send, place })
}

/// Sends the rest of the body of a call that is already being answered. After the end of the body,
/// watches the call further. Returns why the call must end.
///
/// This runs in a task of its own, so that a client that does not read the answer can go on to
/// send.
async fn send_rest<B>(mut upload: Upload<B>, send: SendStream<Bytes>, mut watch: Watch) -> Failure
where
    B: Payload,
{
    let mut send = Some(send);
    poll_fn(|cx| {
        if let Some(stream) = &mut send {
            match upload.poll(stream, &watch.target, cx) {
                Poll::Ready(Ok(()) | Err(UploadError::Upstream)) => send = None,
                Poll::Ready(Err(UploadError::Failed(failure))) => return Poll::Ready(failure),
                Poll::Pending => {}
            }
        }
        let failure = ready!(watch.poll(cx));
        if let Some(stream) = &mut send {
            stream.send_reset(Reason::CANCEL);
        }
        Poll::Ready(failure)
    })
    .await
}

/// The task that sends the rest of a body. It ends when this value is dropped.
struct Companion(JoinHandle<Failure>);

impl Drop for Companion {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// The answer of an upstream to a call.
///
/// If it breaks off, or ends without a status, trailers end it and ask the client to send again. A
/// client takes a stream that is reset, or has no status, for an error of its own.
pub(crate) struct GrpcBody {
    /// The stream, until its end. Boxed, because responses are moved several times.
    stream: Option<Box<Receiving>>,
}

struct Receiving {
    receive: RecvStream,
    /// Whether the answer must not end without trailers.
    awaits_status: bool,
    has_data_ended: bool,
    companion: Option<Companion>,
    watch: Watch,
    _place: Place,
}

impl GrpcBody {
    pub(in crate::upstream) fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Frame<Bytes>>> {
        let Some(stream) = &mut self.stream else { return Poll::Ready(None) };
        let frame = ready!(stream.poll_frame(cx));
        let frame = match frame {
            Ok(Some(frame)) if frame.is_data() => return Poll::Ready(Some(frame)),
            Ok(last) => last,
            Err(failure) => {
                Some(Frame::trailers(answer::trailers(failure, &stream.watch.target.extractor)))
            }
        };
        self.stream = None;
        Poll::Ready(frame)
    }

    pub(in crate::upstream) fn is_end_stream(&self) -> bool {
        self.stream.is_none()
    }
}

impl Receiving {
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Frame<Bytes>>, Failure>> {
        if let Some(Companion(task)) = &mut self.companion
            && let Poll::Ready(ended) = Pin::new(task).poll(cx)
        {
            self.companion = None;
            return Poll::Ready(Err(ended.unwrap_or(Failure::UNAVAILABLE)));
        }
        if !self.has_data_ended {
            match self.receive.poll_data(cx) {
                Poll::Ready(Some(Ok(data))) => {
                    // It fails only if the stream has ended.
                    let _ = self.receive.flow_control().release_capacity(data.len());
                    return Poll::Ready(Ok(Some(Frame::data(data))));
                }
                Poll::Ready(Some(Err(_))) => return Poll::Ready(Err(Failure::UNAVAILABLE)),
                Poll::Ready(None) => self.has_data_ended = true,
                Poll::Pending => return self.watch.poll(cx).map(Err),
            }
        }
        match self.receive.poll_trailers(cx) {
            Poll::Ready(Ok(None)) if self.awaits_status => Poll::Ready(Err(Failure::UNAVAILABLE)),
            Poll::Ready(Ok(trailers)) => Poll::Ready(Ok(trailers.map(Frame::trailers))),
            Poll::Ready(Err(_)) => Poll::Ready(Err(Failure::UNAVAILABLE)),
            Poll::Pending => self.watch.poll(cx).map(Err),
        }
    }
}
