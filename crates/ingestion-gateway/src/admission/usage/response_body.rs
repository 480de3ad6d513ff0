//! The body of the response to an allowed request, which is followed to its end.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::{Response, StatusCode};
use hyper::body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;

use super::answer::Answer;
use crate::admission::is_grpc;
use crate::telemetry::requests::{End, grpc_status};

pin_project! {
    /// The body of a response. Its answer is counted when the body was sent to its end, or fails,
    /// or is dropped before.
    pub(crate) struct ResponseBody<B> {
        #[pin]
        body: B,
        // How the request ends if the body is sent to its end and the trailers do not say
        // otherwise.
        at_end: End,
        // Whether the trailers have the status of the call.
        awaits_trailers: bool,
        answer: Option<Answer>,
    }
}

impl<B: Body<Data = Bytes>> ResponseBody<B> {
    /// Counts `answer` when the response shows how it ends.
    ///
    /// A response with a status of 400 or above is a failure. So is a gRPC response with another
    /// status than 0, which is in the headers if there is no message, and otherwise in the
    /// trailers. Every other response is a success once its body has been sent to its end.
    pub(super) fn follow(response: Response<B>, answer: Answer) -> Response<Self> {
        let (status, code) = (response.status(), grpc_status(response.headers()));
        let awaits_trailers = code.is_none() && is_grpc(response.headers());
        let (at_end, is_known) = match code {
            _ if status >= StatusCode::BAD_REQUEST => (End::Http(status), true),
            Some(code) => (End::Grpc(Some(code)), code != 0 || response.body().is_end_stream()),
            None if awaits_trailers => (End::Grpc(None), false),
            None => (End::Http(status), response.body().is_end_stream()),
        };
        let answer = if is_known {
            answer.ended(at_end);
            None
        } else {
            Some(answer)
        };
        response.map(|body| Self { body, at_end, awaits_trailers, answer })
    }
}

impl<B: Body<Data = Bytes>> Body for ResponseBody<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let mut this = self.project();
        let frame = ready!(this.body.as_mut().poll_frame(cx));
        if this.answer.is_none() {
            return Poll::Ready(frame);
        }
        let end = match &frame {
            None => Some(*this.at_end),
            Some(Err(_)) => Some(End::Incomplete),
            Some(Ok(frame)) => match frame.trailers_ref() {
                Some(trailers) if *this.awaits_trailers => Some(End::Grpc(grpc_status(trailers))),
                Some(_) => Some(*this.at_end),
                // A server may drop a body at its end instead of asking for one more frame.
                None => {
                    (!*this.awaits_trailers && this.body.is_end_stream()).then_some(*this.at_end)
                }
            },
        };
        if let Some(end) = end
            && let Some(answer) = this.answer.take()
        {
            answer.ended(end);
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
