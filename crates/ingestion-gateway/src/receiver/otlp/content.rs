//! The content of OTLP/HTTP requests and answers: protobuf or JSON, compressed or not.

use std::io::Read;

use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use http::header::{ALLOW, CONTENT_ENCODING, CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderMap, HeaderValue, StatusCode};
use tonic::Code;

use super::MAX_DECODED;
use super::batch::Signal;
use crate::authorize::retry_after;
use crate::listener::body::{self, BodyError};

/// The memory that a zstd frame may ask for, as a power of two: 32 MiB, more than a request may
/// have. That of gRPC is tonic's, and has the library's own limit of 128 MiB.
const MAX_WINDOW_LOG: u32 = 25;

/// How messages are written.
#[derive(Clone, Copy)]
pub(super) enum Encoding {
    Protobuf,
    Json,
}

/// Why a request is not taken, as the OTLP specification has it.
pub(super) struct Refusal {
    status: StatusCode,
    message: &'static str,
}

impl Refusal {
    pub(super) const NOT_FOUND: Self =
        Self::new(StatusCode::NOT_FOUND, "use /v1/traces, /v1/metrics or /v1/logs");
    pub(super) const NOT_POST: Self = Self::new(StatusCode::METHOD_NOT_ALLOWED, "use POST");
    pub(super) const NO_IDENTITY: Self =
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "nobody authenticated the request");
    const TYPE: Self = Self::new(
        StatusCode::UNSUPPORTED_MEDIA_TYPE,
        "use application/x-protobuf or application/json",
    );
    const COMPRESSION: Self =
        Self::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "use gzip, zstd, snappy or no compression");
    const TOO_LARGE: Self = Self::new(StatusCode::PAYLOAD_TOO_LARGE, "the request is too large");
    /// The network's fault and not the batch's, which a sender would drop after a 400.
    const UNREADABLE: Self = Self::new(StatusCode::SERVICE_UNAVAILABLE, "the body ended early");
    const NOT_COMPRESSED: Self =
        Self::new(StatusCode::BAD_REQUEST, "the body is not what content-encoding says");
    const NOT_A_BATCH: Self = Self::new(StatusCode::BAD_REQUEST, "the body is not an OTLP request");

    const fn new(status: StatusCode, message: &'static str) -> Self {
        Self { status, message }
    }

    /// The answer. The specification demands a `google.rpc.Status` in the encoding of the request.
    pub(super) fn response(&self, encoding: Encoding) -> Response {
        let code = match self.status {
            StatusCode::INTERNAL_SERVER_ERROR => Code::Internal,
            StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED => Code::Unimplemented,
            StatusCode::SERVICE_UNAVAILABLE => Code::Unavailable,
            _ => Code::InvalidArgument,
        };
        let status = tonic_types::Status {
            code: code.into(),
            message: self.message.to_owned(),
            details: Vec::new(),
        };
        let body = match encoding {
            Encoding::Protobuf => prost::Message::encode_to_vec(&status),
            Encoding::Json => serde_json::json!({"code": status.code, "message": status.message})
                .to_string()
                .into_bytes(),
        };
        let mut response = encoding.response(self.status, body);
        if self.status == StatusCode::METHOD_NOT_ALLOWED {
            response.headers_mut().insert(ALLOW, HeaderValue::from_static("POST"));
        }
        if self.status == StatusCode::SERVICE_UNAVAILABLE
            && let Ok(seconds) = retry_after().parse()
        {
            response.headers_mut().insert(RETRY_AFTER, seconds);
        }
        response
    }
}

impl Encoding {
    /// What a request asks for; answers to those that ask for anything else are JSON.
    pub(super) fn of(headers: &HeaderMap) -> Result<Self, Refusal> {
        let value =
            headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
        match value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase().as_str() {
            "application/x-protobuf" => Ok(Self::Protobuf),
            "application/json" => Ok(Self::Json),
            _ => Err(Refusal::TYPE),
        }
    }

    /// How many items there are in a request.
    pub(super) fn count(self, signal: &Signal, content: Bytes) -> Result<usize, Refusal> {
        match self {
            Self::Protobuf => signal.count_protobuf(content).map_err(|_| Refusal::NOT_A_BATCH),
            Self::Json => signal.count_json(&content).map_err(|_| Refusal::NOT_A_BATCH),
        }
    }

    /// An `Export..ServiceResponse` without a field: full success.
    pub(super) fn success(self) -> Response {
        self.response(
            StatusCode::OK,
            match self {
                Self::Protobuf => Vec::new(),
                Self::Json => b"{}".to_vec(),
            },
        )
    }

    fn response(self, status: StatusCode, body: Vec<u8>) -> Response {
        let mut response = Response::new(Body::from(body));
        *response.status_mut() = status;
        response.headers_mut().insert(
            CONTENT_TYPE,
            HeaderValue::from_static(match self {
                Self::Protobuf => "application/x-protobuf",
                Self::Json => "application/json",
            }),
        );
        response
    }
}

/// Reads a body, and undoes its compression. It may have `max_body` bytes on the wire, and
/// [`MAX_DECODED`] then.
pub(super) async fn read(
    headers: &HeaderMap,
    body: Body,
    max_body: usize,
) -> Result<Bytes, Refusal> {
    let body = match body::read(body, max_body).await {
        Ok(body) => body,
        Err(BodyError::TooLarge) => return Err(Refusal::TOO_LARGE),
        Err(BodyError::Broken) => return Err(Refusal::UNREADABLE),
    };
    match compression(headers)?.as_slice() {
        b"identity" => Ok(body),
        b"gzip" => inflate(flate2::read::MultiGzDecoder::new(&body[..])),
        b"zstd" => {
            let mut decoder =
                zstd::Decoder::with_buffer(&body[..]).map_err(|_| Refusal::NOT_COMPRESSED)?;
            decoder.window_log_max(MAX_WINDOW_LOG).map_err(|_| Refusal::NOT_COMPRESSED)?;
            inflate(decoder)
        }
        b"snappy" => unsnap(&body),
        _ => Err(Refusal::COMPRESSION),
    }
}

/// The one coding of a body, in lower case; nothing counts as `identity`.
fn compression(headers: &HeaderMap) -> Result<Vec<u8>, Refusal> {
    let lines = headers
        .get_all(CONTENT_ENCODING)
        .iter()
        .flat_map(|value| value.as_bytes().split(|byte| *byte == b','));
    let codings = lines.map(|coding| coding.trim_ascii().to_ascii_lowercase());
    let mut codings = codings.filter(|coding| !coding.is_empty() && coding != b"identity");
    match (codings.next(), codings.next()) {
        (None, _) => Ok(b"identity".to_vec()),
        (Some(coding), None) => Ok(coding),
        _ => Err(Refusal::COMPRESSION),
    }
}

/// Reads one byte more than is allowed at most: a small body may become a very large one.
fn inflate(decoder: impl Read) -> Result<Bytes, Refusal> {
    let mut content = Vec::new();
    match decoder.take(MAX_DECODED as u64 + 1).read_to_end(&mut content) {
        Ok(length) if length > MAX_DECODED => Err(Refusal::TOO_LARGE),
        Ok(_) => Ok(content.into()),
        Err(_) => Err(Refusal::NOT_COMPRESSED),
    }
}

/// The Collector's `snappy` is the block format, which says its length at the beginning.
fn unsnap(body: &[u8]) -> Result<Bytes, Refusal> {
    match snap::raw::decompress_len(body) {
        Ok(length) if length > MAX_DECODED => Err(Refusal::TOO_LARGE),
        Ok(_) => snap::raw::Decoder::new()
            .decompress_vec(body)
            .map(Bytes::from)
            .map_err(|_| Refusal::NOT_COMPRESSED),
        Err(_) => Err(Refusal::NOT_COMPRESSED),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // Scenario: `content-encoding` without a value, several times, in a list, and with more than
    // one coding. Guarantee: what says nothing is nothing; two codings are refused, whichever they
    // are.
    #[test]
    fn there_is_one_compression() {
        let found = |values: &[&'static str]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(CONTENT_ENCODING, HeaderValue::from_static(value));
            }
            compression(&headers).ok()
        };
        for (values, expected) in [
            (&[][..], "identity"),
            (&[""], "identity"),
            (&["Identity", ""], "identity"),
            (&["identity", " GZIP"], "gzip"),
            (&["identity, zstd"], "zstd"),
        ] {
            assert_eq!(found(values), Some(expected.as_bytes().to_vec()), "{values:?}");
        }
        for values in [&["gzip", "zstd"][..], &["gzip, gzip"]] {
            assert_eq!(found(values), None, "{values:?}");
        }
    }
}
