//! The answers to requests that the upstream does not answer.

use http::header::{CONTENT_TYPE, RETRY_AFTER};
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode, Version};
use otlp_auth::DenyReason;
use otlp_auth::server::{
    CredentialExtractor, OtlpResponder, Rejection, Responder as _, retry_after,
};
use otlp_receiver::{Refusal, ResponseFormat};

use super::body::ResponseBody;

pub(super) const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");
const GRPC_MESSAGE: HeaderName = HeaderName::from_static("grpc-message");

/// Why the gateway answers a request itself, or ends the answer of the upstream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Failure {
    /// The request cannot be forwarded, or its answer does not come.
    Refused(Refusal),
    /// The key of the request has become invalid while the request was open.
    Denied(DenyReason),
}

impl Failure {
    pub(super) const UNAVAILABLE: Self = Self::Refused(Refusal::UpstreamUnavailable);

    /// Returns the label for metrics: who is the cause.
    pub(super) fn label(self) -> &'static str {
        match self {
            Self::Refused(Refusal::UpstreamUnavailable) => "unavailable",
            Self::Refused(_) => "request",
            Self::Denied(_) => "key",
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
                let rejection = Rejection::denied(reason.into(), extractor);
                OtlpResponder.respond(&rejection, &head(format)).map(ResponseBody::full)
            }
            (Self::Bare, Failure::Refused(refusal)) => {
                let status = refusal.http_status();
                let mut response = bare(status);
                if status == StatusCode::SERVICE_UNAVAILABLE {
                    response.headers_mut().insert(RETRY_AFTER, retry_after().as_secs().into());
                }
                response
            }
            // Agents understand 401 as "no key is configured".
            (Self::Bare, Failure::Denied(_)) => bare(StatusCode::FORBIDDEN),
        }
    }
}

fn bare(status: StatusCode) -> Response<ResponseBody> {
    let mut response = Response::new(ResponseBody::Empty);
    *response.status_mut() = status;
    response
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
    match failure {
        Failure::Refused(refusal) => refusal.grpc_trailers(),
        Failure::Denied(reason) => {
            let rejection = Rejection::denied(reason.into(), extractor);
            let message = HeaderValue::from_static(rejection.message());
            HeaderMap::from_iter([
                (GRPC_STATUS, rejection.grpc_code().into()),
                (GRPC_MESSAGE, message),
            ])
        }
    }
}
