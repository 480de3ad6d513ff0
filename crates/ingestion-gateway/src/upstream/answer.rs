//! The answers to requests that the upstream does not answer.

use http::header::{CONTENT_TYPE, RETRY_AFTER};
use http::request::Parts;
use http::{HeaderMap, HeaderName, Request, Response, StatusCode, Version};
use otlp_auth::DenyReason;
use otlp_auth::server::{
    CredentialExtractor, OtlpResponder, Rejection, Responder as _, retry_after,
};
use otlp_receiver::{Refusal, ResponseFormat};

use super::body::ResponseBody;

pub(super) const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");

/// Why the gateway answers a request itself, or ends the answer of the upstream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Failure {
    /// The request cannot be forwarded, or its answer does not come.
    Refused(Refusal),
    /// The key of the request has become invalid while the request was open.
    Denied(DenyReason),
    /// While the request was open, the keys have become too old to know whether its key is valid.
    Undecided,
}

impl Failure {
    pub(super) const UNAVAILABLE: Self = Self::Refused(Refusal::UpstreamUnavailable);

    /// Returns the label for metrics: who is the cause.
    pub(super) fn label(self) -> &'static str {
        match self {
            Self::Refused(Refusal::UpstreamUnavailable) => "unavailable",
            Self::Refused(_) => "request",
            Self::Denied(_) => "key",
            Self::Undecided => "undecided",
        }
    }
}

/// The form of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    /// The answer of an OTLP receiver.
    Otlp(ResponseFormat),
    /// A status without a body, as agents expect it.
    Bare,
}

impl Format {
    /// Makes the answer to a request.
    pub(super) fn answer(
        self,
        failure: Failure,
        extractor: &CredentialExtractor,
    ) -> Response<ResponseBody> {
        match (self, failure) {
            (Self::Otlp(format), Failure::Refused(refusal)) => {
                refusal.response(format).map(ResponseBody::Receiver)
            }
            (Self::Otlp(format), Failure::Denied(reason)) => {
                reject(&Rejection::denied(reason.into(), extractor), format)
            }
            (Self::Otlp(format), Failure::Undecided) => reject(&Rejection::undecided(), format),
            (Self::Bare, Failure::Refused(refusal)) => bare(refusal.http_status()),
            (Self::Bare, Failure::Undecided) => bare(StatusCode::SERVICE_UNAVAILABLE),
            // Agents understand 401 as "no key is configured".
            (Self::Bare, Failure::Denied(_)) => bare(StatusCode::FORBIDDEN),
        }
    }
}

/// Makes an answer without a body. A sender that should try again is told when.
fn bare(status: StatusCode) -> Response<ResponseBody> {
    let mut response = Response::new(ResponseBody::Empty);
    *response.status_mut() = status;
    if status == StatusCode::SERVICE_UNAVAILABLE {
        response.headers_mut().insert(RETRY_AFTER, retry_after().as_secs().into());
    }
    response
}

fn reject(rejection: &Rejection, format: ResponseFormat) -> Response<ResponseBody> {
    OtlpResponder.respond(rejection, &head(format)).map(ResponseBody::full)
}

/// Makes the head of a request that is answered in this format.
fn head(format: ResponseFormat) -> Parts {
    let (mut parts, ()) = Request::new(()).into_parts();
    parts.version = Version::HTTP_2;
    parts.headers.insert(CONTENT_TYPE, format.content_type());
    parts
}

/// Makes the trailers that end a call of gRPC whose head was already sent.
pub(super) fn trailers(failure: Failure, extractor: &CredentialExtractor) -> HeaderMap {
    let rejection = match failure {
        Failure::Refused(refusal) => return refusal.grpc_trailers(),
        Failure::Denied(reason) => Rejection::denied(reason.into(), extractor),
        Failure::Undecided => Rejection::undecided(),
    };
    let mut trailers = reject(&rejection, ResponseFormat::Grpc).into_parts().0.headers;
    trailers.remove(CONTENT_TYPE);
    trailers
}
