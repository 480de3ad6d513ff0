//! The answers to requests that do not go on.

use std::pin::Pin;
use std::task::{Context, Poll};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use bytes::Bytes;
use http::header::{CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderMap, HeaderName, HeaderValue, Response};
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;
use prost::Message;

use crate::decision::Answer;

const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");
const GRPC_MESSAGE: HeaderName = HeaderName::from_static("grpc-message");
const GRPC_STATUS_DETAILS: HeaderName = HeaderName::from_static("grpc-status-details-bin");

/// Bounds of the advice when to try again, in seconds. It is spread, so that senders do not return
/// together.
const RETRY_SECONDS: std::ops::RangeInclusive<u32> = 1..=5;

/// The form of an answer: which kind of client reads it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// gRPC: trailers only.
    Grpc,
    /// OTLP/HTTP, protobuf encoded.
    Protobuf,
    /// OTLP/HTTP, JSON encoded.
    Json,
    /// StackState's agents: a status and no body.
    Agent,
}

impl Form {
    /// The form for a request with these headers: that of its content type, and JSON if it has none
    /// or an unknown one.
    pub(crate) fn of(headers: &HeaderMap) -> Self {
        let content_type = headers.get(CONTENT_TYPE).map(HeaderValue::as_bytes).unwrap_or_default();
        // Parameters, and what gRPC puts behind a plus, make no difference.
        let end = content_type
            .iter()
            .position(|byte| b"+; ".contains(byte))
            .unwrap_or(content_type.len());
        let essence = &content_type[..end];
        if essence.eq_ignore_ascii_case(b"application/grpc") {
            Self::Grpc
        } else if essence.eq_ignore_ascii_case(b"application/x-protobuf") {
            Self::Protobuf
        } else {
            Self::Json
        }
    }

    /// The label of metrics and logs.
    pub(crate) fn transport(self) -> &'static str {
        if self == Self::Grpc { "grpc" } else { "http" }
    }
}

/// What answers a request that does not go on; `challenges` go with a 401.
pub(crate) fn refusal<B>(
    answer: Answer,
    form: Form,
    challenges: &Challenges,
) -> Response<ResponseBody<B>> {
    let retry_after = answer.retry.then(retry_seconds);
    let status =
        Status { code: answer.grpc, message: answer.message.to_owned(), details: Vec::new() };
    let (http, body) = match form {
        Form::Grpc => return trailers_only(answer, retry_after),
        Form::Agent => (answer.agent, Bytes::new()),
        Form::Protobuf => (answer.http, status.encode_to_vec().into()),
        // Neither value has a character that JSON escapes.
        Form::Json => (
            answer.http,
            format!(r#"{{"code":{},"message":"{}"}}"#, answer.grpc, answer.message).into(),
        ),
    };
    let mut response = Response::new(ResponseBody::refusal(body));
    *response.status_mut() = http;
    let headers = response.headers_mut();
    match form {
        Form::Protobuf => {
            _ = headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-protobuf"))
        }
        Form::Json => {
            _ = headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"))
        }
        Form::Grpc | Form::Agent => {}
    }
    if http == http::StatusCode::UNAUTHORIZED {
        let challenges =
            if answer.invalid_token { &challenges.invalid_token } else { &challenges.plain };
        for challenge in challenges {
            headers.append(WWW_AUTHENTICATE, challenge.clone());
        }
    }
    if let Some(seconds) = retry_after {
        headers.insert(RETRY_AFTER, seconds.into());
    }
    response
}

/// HTTP 200 with the status among the headers and no body, as the gRPC protocol has it for errors
/// without a message.
fn trailers_only<B>(answer: Answer, retry_after: Option<u32>) -> Response<ResponseBody<B>> {
    let mut response = Response::new(ResponseBody::refusal(Bytes::new()));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    headers.insert(GRPC_STATUS, answer.grpc.into());
    headers.insert(GRPC_MESSAGE, HeaderValue::from_static(answer.message));
    if let Some(seconds) = retry_after {
        let details = STANDARD_NO_PAD.encode(details(answer, seconds));
        if let Ok(details) = HeaderValue::try_from(details) {
            headers.insert(GRPC_STATUS_DETAILS, details);
        }
    }
    response
}

pub(crate) fn retry_seconds() -> u32 {
    fastrand::u32(RETRY_SECONDS)
}

/// A `google.rpc.Status` with a `google.rpc.RetryInfo` of so many seconds.
pub(crate) fn details(answer: Answer, retry_seconds: u32) -> Vec<u8> {
    let retry_info = RetryInfo { retry_delay: Some(Duration { seconds: retry_seconds.into() }) };
    let any = Any {
        type_url: "type.googleapis.com/google.rpc.RetryInfo".to_owned(),
        value: retry_info.encode_to_vec(),
    };
    Status { code: answer.grpc, message: answer.message.to_owned(), details: vec![any] }
        .encode_to_vec()
}

/// The `WWW-Authenticate` values of a 401, ready made.
#[derive(Clone, Debug)]
pub(crate) struct Challenges {
    plain: Vec<HeaderValue>,
    invalid_token: Vec<HeaderValue>,
}

impl Challenges {
    /// One for each of `schemes`, which are legal schemes.
    pub(crate) fn new(schemes: &[&str]) -> Self {
        let values = |parameters: &str| {
            let challenge =
                |scheme| HeaderValue::try_from(format!("{scheme} realm=\"otlp\"{parameters}")).ok();
            schemes.iter().filter_map(challenge).collect()
        };
        Self { plain: values(""), invalid_token: values(", error=\"invalid_token\"") }
    }
}

// The four messages of googleapis that are needed, instead of a dependency on all of them.

#[derive(Clone, PartialEq, Message)]
struct Status {
    #[prost(int32, tag = "1")]
    code: i32,
    #[prost(string, tag = "2")]
    message: String,
    #[prost(message, repeated, tag = "3")]
    details: Vec<Any>,
}

#[derive(Clone, PartialEq, Message)]
struct Any {
    #[prost(string, tag = "1")]
    type_url: String,
    #[prost(bytes = "vec", tag = "2")]
    value: Vec<u8>,
}

#[derive(Clone, PartialEq, Message)]
struct RetryInfo {
    #[prost(message, optional, tag = "1")]
    retry_delay: Option<Duration>,
}

#[derive(Clone, PartialEq, Message)]
struct Duration {
    #[prost(int64, tag = "1")]
    seconds: i64,
}

pin_project! {
    /// The body of a response: the inner service's, or that of a refusal.
    #[derive(Debug)]
    pub struct ResponseBody<B> {
        #[pin]
        inner: Option<B>,
        refusal: Bytes,
    }
}

impl<B> ResponseBody<B> {
    pub(crate) fn inner(body: B) -> Self {
        Self { inner: Some(body), refusal: Bytes::new() }
    }

    fn refusal(body: Bytes) -> Self {
        Self { inner: None, refusal: body }
    }
}

impl<B> Default for ResponseBody<B> {
    fn default() -> Self {
        Self::refusal(Bytes::new())
    }
}

impl<B: Body<Data = Bytes>> Body for ResponseBody<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let this = self.project();
        match this.inner.as_pin_mut() {
            Some(inner) => inner.poll_frame(cx),
            None if this.refusal.is_empty() => Poll::Ready(None),
            None => Poll::Ready(Some(Ok(Frame::data(std::mem::take(this.refusal))))),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.inner.as_ref().map_or(self.refusal.is_empty(), Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.inner
            .as_ref()
            .map_or_else(|| SizeHint::with_exact(self.refusal.len() as u64), Body::size_hint)
    }
}
