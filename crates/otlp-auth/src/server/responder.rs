//! Writes the response to a request that is not allowed.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use bytes::Bytes;
use http::header::{CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use http::request::Parts;
use http::{HeaderName, HeaderValue, Response, Version};

use super::rejection::Rejection;
use super::status;

const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");
const GRPC_MESSAGE: HeaderName = HeaderName::from_static("grpc-message");
const GRPC_STATUS_DETAILS: HeaderName = HeaderName::from_static("grpc-status-details-bin");

/// Writes the response to a request that is not allowed. Implement this trait if the clients of a
/// service expect a response other than OTLP's.
///
/// A closure can be a responder. The layer adds the [`Denial`](crate::Denial) to the extensions of
/// the response.
///
/// # Examples
///
/// A response with a status and no body:
///
/// ```
/// use bytes::Bytes;
/// use http::Response;
/// use http::header::{HeaderValue, RETRY_AFTER};
/// use http::request::Parts;
/// use otlp_auth::server::{AuthenticateLayer, FixedTokens, Rejection};
///
/// let layer = AuthenticateLayer::new(FixedTokens::new([("team-a", "iapikeyok-of-team-a")])?)
///     .with_responder(|rejection: &Rejection, _request: &Parts| {
///         let mut response = Response::new(Bytes::new());
///         *response.status_mut() = rejection.http_status();
///         if let Some(wait) = rejection.retry_after() {
///             response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(wait.as_secs()));
///         }
///         response
///     });
/// # Ok::<(), otlp_auth::server::FixedTokensError>(())
/// ```
pub trait Responder {
    /// Returns the response to `request`. The body of the request was not read.
    fn respond(&self, rejection: &Rejection, request: &Parts) -> Response<Bytes>;
}

impl<F: Fn(&Rejection, &Parts) -> Response<Bytes>> Responder for F {
    fn respond(&self, rejection: &Rejection, request: &Parts) -> Response<Bytes> {
        self(rejection, request)
    }
}

/// Responds as the OTLP specification demands. The layer uses this responder by default.
///
/// On gRPC, which is always over HTTP/2, the response is trailers-only. On HTTP its body is a
/// `google.rpc.Status` in the encoding of the request. A 401 response has a challenge for each
/// accepted scheme (RFC 9110 section 15.5.2). The response contains nothing from the request.
#[derive(Clone, Copy, Debug, Default)]
pub struct OtlpResponder;

impl Responder for OtlpResponder {
    fn respond(&self, rejection: &Rejection, request: &Parts) -> Response<Bytes> {
        let (content_type, body) = match ResponseFormat::of(request) {
            ResponseFormat::Grpc => return trailers_only(rejection),
            ResponseFormat::Protobuf => (
                "application/x-protobuf",
                status::encode(rejection.grpc_code(), rejection.message(), None),
            ),
            ResponseFormat::Json => (
                "application/json",
                format!(
                    r#"{{"code":{},"message":"{}"}}"#,
                    rejection.grpc_code(),
                    rejection.message()
                )
                .into_bytes(),
            ),
        };
        let mut response = Response::new(Bytes::from(body));
        *response.status_mut() = rejection.http_status();
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
        for challenge in rejection.challenges() {
            headers.append(WWW_AUTHENTICATE, challenge.clone());
        }
        if let Some(wait) = rejection.retry_after() {
            headers.insert(RETRY_AFTER, wait.as_secs().into());
        }
        response
    }
}

/// Makes a trailers-only response: HTTP 200, the gRPC status among the headers, and no body. This
/// is how gRPC reports an error before the first message.
fn trailers_only(rejection: &Rejection) -> Response<Bytes> {
    let mut response = Response::new(Bytes::new());
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    headers.insert(GRPC_STATUS, rejection.grpc_code().into());
    headers.insert(GRPC_MESSAGE, HeaderValue::from_static(rejection.message()));
    if rejection.retry_after().is_some() {
        let details =
            status::encode(rejection.grpc_code(), rejection.message(), rejection.retry_after());
        if let Ok(details) = HeaderValue::try_from(STANDARD_NO_PAD.encode(details)) {
            headers.insert(GRPC_STATUS_DETAILS, details);
        }
    }
    response
}

/// The format in which the client expects the response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ResponseFormat {
    /// gRPC.
    Grpc,
    /// OTLP/HTTP, protobuf encoded.
    Protobuf,
    /// OTLP/HTTP, JSON encoded.
    Json,
}

impl ResponseFormat {
    /// Returns the format for a request. The content type decides; if it is absent or unknown, the
    /// format is JSON.
    ///
    /// The content type of gRPC counts as unknown over HTTP/1.1. A sender that speaks HTTP/1.1
    /// would see only the HTTP status of a gRPC response, which is always 200, and would take its
    /// request for accepted.
    pub(super) fn of(request: &Parts) -> Self {
        let content_type =
            request.headers.get(CONTENT_TYPE).map(HeaderValue::as_bytes).unwrap_or_default();
        // Parameters after `;` do not matter, nor does the message format that gRPC adds after `+`.
        let end = content_type
            .iter()
            .position(|byte| b"+; ".contains(byte))
            .unwrap_or(content_type.len());
        let essence = &content_type[..end];
        if essence.eq_ignore_ascii_case(b"application/grpc") {
            match request.version >= Version::HTTP_2 {
                true => Self::Grpc,
                false => Self::Json,
            }
        } else if essence.eq_ignore_ascii_case(b"application/x-protobuf") {
            Self::Protobuf
        } else {
            Self::Json
        }
    }

    /// Returns the name of the transport for metrics and logs.
    pub(super) fn transport(self) -> &'static str {
        if self == Self::Grpc { "grpc" } else { "http" }
    }
}
