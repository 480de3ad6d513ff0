//! The reasons to refuse a request, and the responses to refused requests.

#[cfg(test)]
mod tests;

use http::header::{ALLOW, CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderMap, HeaderValue, Response, StatusCode};
use otlp_auth::server::retry_after;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};

use crate::body::BodyError;
use crate::encoding::Encoding;
use crate::response::ResponseBody;
use crate::response_format::ResponseFormat;
use crate::{compression, status};

/// Why the receiver does not accept an OTLP request.
///
/// A refusal is not a rejection. An authentication layer rejects a request before the receiver gets
/// it.
///
/// `Display` writes the text that the sender reads. The [crate's documentation](crate#errors) has a
/// table of the codes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// OTLP/HTTP has no such path.
    #[error("use /v1/traces, /v1/metrics or /v1/logs")]
    UnknownPath,
    /// OTLP/gRPC has no such service or method.
    #[error("there is no such call")]
    UnknownCall,
    /// A request has the path of an OTLP/gRPC call, and is not gRPC.
    #[error("use application/grpc, or OTLP/HTTP at /v1/traces, /v1/metrics or /v1/logs")]
    NotGrpc,
    /// A request has the content type of gRPC, and did not come over HTTP/2.
    #[error("gRPC needs HTTP/2; over HTTP/1.1, use application/x-protobuf or application/json")]
    GrpcWithoutHttp2,
    /// A request has a method other than `POST`.
    #[error("use POST")]
    NotPost,
    /// An OTLP/HTTP request is encoded neither in protobuf nor in JSON.
    #[error("use application/x-protobuf or application/json")]
    UnknownContentType,
    /// A request is compressed twice, or in a way that is not supported.
    #[error("{}", compression::SUPPORTED)]
    UnknownCompression,
    /// The body is larger than the limit, on the wire or decompressed.
    #[error("the request is too large")]
    TooLarge,
    /// The connection failed before the whole body had arrived. The batch may be good, so the
    /// response asks the sender to send the batch again.
    #[error("the body ended early")]
    EndedEarly,
    /// The receiver has too many requests, or too many of this sender, to receive this one now. The
    /// response asks the sender to send the batch again.
    #[error("the receiver is busy")]
    Busy,
    /// A request is not compressed as its `content-encoding` or `grpc-encoding` says.
    #[error("the body is not compressed as its headers say")]
    CorruptCompression,
    /// The message of an OTLP/gRPC call is flagged as compressed without a `grpc-encoding`, or has
    /// a flag that gRPC does not define.
    #[error("the message is not framed as gRPC demands")]
    MalformedFrame,
    /// An OTLP/gRPC call has no message, or several.
    #[error("send exactly one message in a call")]
    NotOneMessage,
    /// The body is not an OTLP request of the signal.
    #[error("the body is not an OTLP request")]
    Malformed,
    /// The server to which the batch is passed on cannot be reached, has failed, or has not
    /// answered in time. The response asks the sender to send the batch again.
    #[error("the upstream is unavailable")]
    UpstreamUnavailable,
    /// The sink cannot accept the batch, because of an error in the receiving program. The text is
    /// sent to the sender.
    #[error("{0}")]
    Internal(&'static str),
}

/// The codes of a refusal on both transports.
struct Codes {
    /// The HTTP status.
    http: StatusCode,
    /// The code in the `google.rpc.Status` of the HTTP body.
    http_code: Code,
    /// The gRPC status.
    grpc: Code,
}

impl Refusal {
    fn codes(self) -> Codes {
        let (http, http_code, grpc) = match self {
            Self::UnknownPath | Self::UnknownCall => {
                (StatusCode::NOT_FOUND, Code::Unimplemented, Code::Unimplemented)
            }
            Self::NotPost => {
                (StatusCode::METHOD_NOT_ALLOWED, Code::Unimplemented, Code::Unimplemented)
            }
            Self::NotGrpc
            | Self::GrpcWithoutHttp2
            | Self::UnknownContentType
            | Self::UnknownCompression => {
                (StatusCode::UNSUPPORTED_MEDIA_TYPE, Code::InvalidArgument, Code::Unimplemented)
            }
            Self::TooLarge => {
                (StatusCode::PAYLOAD_TOO_LARGE, Code::InvalidArgument, Code::ResourceExhausted)
            }
            Self::EndedEarly | Self::Busy | Self::UpstreamUnavailable => {
                (StatusCode::SERVICE_UNAVAILABLE, Code::Unavailable, Code::Unavailable)
            }
            Self::CorruptCompression => {
                (StatusCode::BAD_REQUEST, Code::InvalidArgument, Code::Internal)
            }
            Self::MalformedFrame => (StatusCode::BAD_REQUEST, Code::Internal, Code::Internal),
            Self::NotOneMessage => {
                (StatusCode::BAD_REQUEST, Code::Unimplemented, Code::Unimplemented)
            }
            Self::Malformed => {
                (StatusCode::BAD_REQUEST, Code::InvalidArgument, Code::InvalidArgument)
            }
            Self::Internal(_) => {
                (StatusCode::INTERNAL_SERVER_ERROR, Code::Internal, Code::Internal)
            }
        };
        Codes { http, http_code, grpc }
    }

    /// Returns the status of the OTLP/HTTP response.
    #[must_use]
    pub fn http_status(self) -> StatusCode {
        self.codes().http
    }

    /// Creates the response in this format.
    #[must_use]
    pub fn response(self, format: ResponseFormat) -> Response<ResponseBody> {
        match format {
            ResponseFormat::Grpc => self.grpc_response(),
            ResponseFormat::Protobuf => self.http_response(Encoding::Protobuf),
            ResponseFormat::Json => self.http_response(Encoding::Json),
        }
    }

    /// Creates the trailers that end a response to OTLP/gRPC whose head was already sent.
    #[must_use]
    pub fn grpc_trailers(self) -> HeaderMap {
        let mut trailers = self.grpc_response().into_parts().0.headers;
        trailers.remove(CONTENT_TYPE);
        trailers
    }

    /// Creates the OTLP/HTTP response. Its body is a `google.rpc.Status` in `encoding`.
    pub(crate) fn http_response(self, encoding: Encoding) -> Response<ResponseBody> {
        let codes = self.codes();
        let body = status::encode(codes.http_code, &self.to_string(), encoding);
        let mut response = Response::new(ResponseBody::full(body));
        *response.status_mut() = codes.http;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, encoding.content_type());
        match codes.http {
            StatusCode::METHOD_NOT_ALLOWED => {
                headers.insert(ALLOW, HeaderValue::from_static("POST"));
            }
            StatusCode::SERVICE_UNAVAILABLE => {
                headers.insert(RETRY_AFTER, retry_after().as_secs().into());
            }
            _ => {}
        }
        response
    }

    /// Creates the OTLP/gRPC response, which has no messages, and its status in the headers.
    pub(crate) fn grpc_response(self) -> Response<ResponseBody> {
        let (code, text) = (self.codes().grpc, self.to_string());
        let status = match code {
            Code::Unavailable => {
                let details = ErrorDetails::with_retry_info(Some(retry_after()));
                Status::with_error_details(code, text, details)
            }
            _ => Status::new(code, text),
        };
        status.into_http()
    }
}

impl From<BodyError> for Refusal {
    fn from(error: BodyError) -> Self {
        match error {
            BodyError::TooLarge => Self::TooLarge,
            BodyError::EndedEarly => Self::EndedEarly,
        }
    }
}
