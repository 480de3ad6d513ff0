//! The two transports of OTLP, and how the transport of a request is found.

use std::fmt;

use http::HeaderMap;
use http::header::CONTENT_TYPE;

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
    /// Returns the transport of a request with these headers. The transport is gRPC if the content
    /// type is `application/grpc`, with or without a codec (`+proto`), and HTTP otherwise.
    pub(crate) fn of(headers: &HeaderMap) -> Self {
        let content_type = headers.get(CONTENT_TYPE).map_or(&b""[..], |value| value.as_bytes());
        let essence = content_type.split(|byte| b"+; ".contains(byte)).next().unwrap_or_default();
        match essence.eq_ignore_ascii_case(b"application/grpc") {
            true => Self::Grpc,
            false => Self::Http,
        }
    }
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

    // Scenario: requests have content types of OTLP/gRPC, of OTLP/HTTP and of gRPC-Web.
    // Guarantee: only the content types of OTLP/gRPC mean gRPC, whatever their case and their
    // codec.
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
            assert_eq!(Transport::of(&headers), expected, "{content_type}");
        }
        assert_eq!(Transport::of(&HeaderMap::new()), Transport::Http);
    }
}
