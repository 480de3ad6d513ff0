//! The two transports of OTLP, and how the transport of a request is found.

use std::fmt;

use http::header::CONTENT_TYPE;
use http::{HeaderMap, Version};

/// One of the two transports of OTLP.
///
/// `Display` writes the transport in lower case: `grpc` or `http`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Transport {
    /// OTLP/gRPC.
    Grpc,
    /// OTLP/HTTP, with protobuf or JSON in the body.
    Http,
}

impl Transport {
    /// Returns the transport of a request. The transport is gRPC if the content type is gRPC's and
    /// the request came over HTTP/2.
    ///
    /// The same content type over HTTP/1.1 is not gRPC, because a response to gRPC has its status
    /// in headers or trailers of gRPC. A sender that speaks HTTP/1.1 would see only the HTTP
    /// status, which is always 200, and would take its batch for accepted.
    pub(crate) fn of(headers: &HeaderMap, version: Version) -> Self {
        match version >= Version::HTTP_2 && is_grpc(headers) {
            true => Self::Grpc,
            false => Self::Http,
        }
    }
}

/// Returns whether the content type is `application/grpc`, with or without a codec (`+proto`).
pub(crate) fn is_grpc(headers: &HeaderMap) -> bool {
    let content_type = headers.get(CONTENT_TYPE).map_or(&b""[..], |value| value.as_bytes());
    let essence = content_type.split(|byte| b"+; ".contains(byte)).next().unwrap_or_default();
    essence.eq_ignore_ascii_case(b"application/grpc")
}

impl fmt::Display for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Grpc => "grpc",
            Self::Http => "http",
        })
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    // Scenario: requests have content types of OTLP/gRPC, of OTLP/HTTP and of gRPC-Web, over HTTP/2
    // and over HTTP/1.1.
    // Guarantee: only the content types of OTLP/gRPC over HTTP/2 mean gRPC, whatever their case and
    // their codec.
    #[test]
    fn the_content_type_decides() {
        for (content_type, expected) in [
            ("application/grpc", Transport::Grpc),
            ("Application/gRPC+proto", Transport::Grpc),
            ("application/grpc; charset=utf-8", Transport::Grpc),
            ("application/grpc-web", Transport::Http),
            ("application/x-protobuf", Transport::Http),
            ("", Transport::Http),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
            assert_eq!(Transport::of(&headers, Version::HTTP_2), expected, "{content_type}");
            assert_eq!(Transport::of(&headers, Version::HTTP_11), Transport::Http);
        }
        assert_eq!(Transport::of(&HeaderMap::new(), Version::HTTP_2), Transport::Http);
    }
}
