//! The formats of responses, and how the format for a request is found.

use http::{HeaderMap, HeaderValue, Version};

use crate::encoding::Encoding;
use crate::transport::Transport;

/// The format in which the sender of a request expects the response.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ResponseFormat {
    /// OTLP/gRPC.
    Grpc,
    /// OTLP/HTTP, encoded in protobuf.
    Protobuf,
    /// OTLP/HTTP, encoded in JSON.
    Json,
}

impl ResponseFormat {
    /// Returns the format for a request. The content type decides; if it is absent or unknown, the
    /// format is JSON. The content type of gRPC counts as unknown over HTTP/1.1.
    #[must_use]
    pub fn of(headers: &HeaderMap, version: Version) -> Self {
        match (Transport::of(headers, version), Encoding::of(headers)) {
            (Transport::Grpc, _) => Self::Grpc,
            (Transport::Http, Ok(Encoding::Protobuf)) => Self::Protobuf,
            (Transport::Http, _) => Self::Json,
        }
    }

    /// Returns the content type of a response in this format.
    #[must_use]
    pub fn content_type(self) -> HeaderValue {
        match self {
            Self::Grpc => HeaderValue::from_static("application/grpc"),
            Self::Protobuf => Encoding::Protobuf.content_type(),
            Self::Json => Encoding::Json.content_type(),
        }
    }
}
