//! One request of an HTTP/2 connection, and its response.

use std::convert::Infallible;
use std::error::Error;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use h2::server::SendResponse;
use h2::{Reason, SendStream};
use http::header::{CONNECTION, CONTENT_LENGTH, DATE, HeaderName, TE, TRANSFER_ENCODING, UPGRADE};
use http::{HeaderMap, Response};
use hyper::body::Body;
use pin_project_lite::pin_project;

use crate::listener::date;

/// The headers of a response that belong to a connection of HTTP/1.1 (RFC 9113 section 8.2.2).
static OF_HTTP1: [HeaderName; 6] = [
    CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    TE,
    TRANSFER_ENCODING,
    UPGRADE,
];

pin_project! {
    /// Serves one request. When it is dropped before its end, the stream is reset.
    pub(super) struct Exchange<F, B> {
        respond: SendResponse<Bytes>,
        is_head: bool,
        #[pin]
        state: State<F, B>,
    }
}

pin_project! {
    #[project = StateProjection]
    enum State<F, B> {
        Answering { #[pin] answer: F },
        Sending {
            stream: SendStream<Bytes>,
            // A part of the body that waits for room, and whether it is the last one.
            part: Option<(Bytes, bool)>,
            #[pin]
            body: B,
        },
    }
}

impl<F, B> Exchange<F, B> {
    /// Sends what `answer` resolves to. The response to `HEAD` has no body.
    pub(super) fn new(answer: F, respond: SendResponse<Bytes>, is_head: bool) -> Self {
        Self { respond, is_head, state: State::Answering { answer } }
    }
}

impl<F, B> Exchange<F, B>
where
    F: Future<Output = Result<Response<B>, Infallible>>,
    B: Body<Data = Bytes, Error: Into<Box<dyn Error + Send + Sync>>>,
{
    /// Serves the request to its end, which is an error if the peer has reset the stream, or the
    /// body of the response fails.
    pub(super) fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), h2::Error>> {
        let mut this = self.project();
        loop {
            match this.state.as_mut().project() {
                StateProjection::Answering { answer } => {
                    let Poll::Ready(Ok(response)) = answer.poll(cx) else {
                        return this.respond.poll_reset(cx)?.map(|reason| Err(reason.into()));
                    };
                    let (mut head, body) = response.into_parts();
                    complete(&mut head.headers, &body);
                    let is_end = *this.is_head || body.is_end_stream();
                    let head = Response::from_parts(head, ());
                    let stream = this.respond.send_response(head, is_end)?;
                    if is_end {
                        return Poll::Ready(Ok(()));
                    }
                    this.state.set(State::Sending { stream, part: None, body });
                }
                StateProjection::Sending { stream, part, body } => {
                    return poll_send(stream, part, body, cx);
                }
            }
        }
    }
}

/// Sends the rest of the body of a response.
fn poll_send<B>(
    stream: &mut SendStream<Bytes>,
    part: &mut Option<(Bytes, bool)>,
    mut body: Pin<&mut B>,
    cx: &mut Context<'_>,
) -> Poll<Result<(), h2::Error>>
where
    B: Body<Data = Bytes, Error: Into<Box<dyn Error + Send + Sync>>>,
{
    loop {
        if let Some((waiting, is_last)) = part.take() {
            if !waiting.is_empty() && stream.capacity() == 0 {
                match stream.poll_capacity(cx)? {
                    Poll::Ready(Some(_)) => {}
                    Poll::Ready(None) => return Poll::Ready(Err(Reason::STREAM_CLOSED.into())),
                    Poll::Pending => {
                        *part = Some((waiting, is_last));
                        return Poll::Pending;
                    }
                }
                *part = Some((waiting, is_last));
                continue;
            }
            stream.send_data(waiting, is_last)?;
            if is_last {
                return Poll::Ready(Ok(()));
            }
        }
        let frame = match body.as_mut().poll_frame(cx) {
            Poll::Ready(Some(Ok(frame))) => frame,
            Poll::Ready(Some(Err(error))) => {
                let error: Box<dyn Error + Send + Sync> = error.into();
                tracing::debug!(%error, "the body of a response has failed");
                stream.send_reset(Reason::INTERNAL_ERROR);
                return Poll::Ready(Err(Reason::INTERNAL_ERROR.into()));
            }
            Poll::Ready(None) => return Poll::Ready(stream.send_data(Bytes::new(), true)),
            Poll::Pending => return stream.poll_reset(cx)?.map(|reason| Err(reason.into())),
        };
        match frame.into_data() {
            Ok(data) => {
                // The rest of a part waits in `h2`, which holds one part at most.
                stream.reserve_capacity(1);
                *part = Some((data, body.is_end_stream()));
            }
            Err(frame) => {
                if let Ok(trailers) = frame.into_trailers() {
                    return Poll::Ready(stream.send_trailers(trailers));
                }
            }
        }
    }
}

/// Completes the headers of a response, and removes those that HTTP/2 does not allow.
fn complete(headers: &mut HeaderMap, body: &impl Body) {
    if headers.keys().any(|name| OF_HTTP1.contains(name)) {
        for value in headers.get_all(CONNECTION).iter().cloned().collect::<Vec<_>>() {
            let names = value.as_bytes().split(|byte| *byte == b',').map(<[u8]>::trim_ascii);
            for name in names.filter_map(|name| HeaderName::from_bytes(name).ok()) {
                headers.remove(name);
            }
        }
        for name in &OF_HTTP1 {
            headers.remove(name);
        }
    }
    if !headers.contains_key(DATE) {
        headers.insert(DATE, date::now());
    }
    if !body.is_end_stream()
        && let Some(length) = body.size_hint().exact()
        && !headers.contains_key(CONTENT_LENGTH)
    {
        headers.insert(CONTENT_LENGTH, length.into());
    }
}
