//! The content of OTLP/HTTP requests and answers: protobuf or JSON, compressed or not.

use std::io::Read;

use bytes::Bytes;
use http::header::{ALLOW, CONTENT_ENCODING, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, Response, StatusCode};
use http_body::Body;
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use tonic::Code;
use tower::BoxError;

use crate::otlp::Batch;
use crate::receiver::MAX_BATCH_BYTES;

/// How messages are written.
#[derive(Clone, Copy)]
pub(crate) enum Encoding {
    Protobuf,
    Json,
}

/// Why a request is not taken, as the OTLP specification has it.
pub(crate) struct Refusal {
    status: StatusCode,
    message: &'static str,
}

impl Refusal {
    pub(crate) const NOT_FOUND: Self =
        Self::new(StatusCode::NOT_FOUND, "use /v1/traces, /v1/metrics or /v1/logs");
    pub(crate) const NOT_POST: Self = Self::new(StatusCode::METHOD_NOT_ALLOWED, "use POST");
    pub(crate) const NO_IDENTITY: Self =
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "nobody authenticated the request");
    const TYPE: Self = Self::new(
        StatusCode::UNSUPPORTED_MEDIA_TYPE,
        "use application/x-protobuf or application/json",
    );
    const COMPRESSION: Self =
        Self::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "use gzip, zstd, snappy or no compression");
    const TOO_LARGE: Self = Self::new(StatusCode::PAYLOAD_TOO_LARGE, "a request may have 20 MiB");
    const UNREADABLE: Self = Self::new(StatusCode::BAD_REQUEST, "the body ended early");
    const NOT_COMPRESSED: Self =
        Self::new(StatusCode::BAD_REQUEST, "the body is not what content-encoding says");
    const NOT_A_BATCH: Self = Self::new(StatusCode::BAD_REQUEST, "the body is not an OTLP request");

    const fn new(status: StatusCode, message: &'static str) -> Self {
        Self { status, message }
    }

    /// The answer. The specification demands a `google.rpc.Status` in the encoding of the request.
    pub(crate) fn response(&self, encoding: Encoding) -> Response<Full<Bytes>> {
        let code = match self.status {
            StatusCode::INTERNAL_SERVER_ERROR => Code::Internal,
            StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED => Code::Unimplemented,
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
        response
    }
}

impl Encoding {
    /// What a request asks for; answers to those that ask for anything else are protobuf.
    pub(crate) fn of(headers: &HeaderMap) -> Result<Self, Refusal> {
        let value =
            headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
        match value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase().as_str() {
            "application/x-protobuf" => Ok(Self::Protobuf),
            "application/json" => Ok(Self::Json),
            _ => Err(Refusal::TYPE),
        }
    }

    pub(crate) fn decode<T: Batch>(self, content: &[u8]) -> Result<T, Refusal> {
        match self {
            Self::Protobuf => T::decode(content).map_err(|_| Refusal::NOT_A_BATCH),
            Self::Json => serde_json::from_slice(content).map_err(|_| Refusal::NOT_A_BATCH),
        }
    }

    /// An `Export..ServiceResponse` without a field: full success.
    pub(crate) fn success(self) -> Response<Full<Bytes>> {
        self.response(
            StatusCode::OK,
            match self {
                Self::Protobuf => Vec::new(),
                Self::Json => b"{}".to_vec(),
            },
        )
    }

    fn response(self, status: StatusCode, body: Vec<u8>) -> Response<Full<Bytes>> {
        let mut response = Response::new(Full::from(body));
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

/// Reads a body, and undoes its compression. Neither form may be larger than [`MAX_BATCH_BYTES`].
pub(crate) async fn read<B>(headers: &HeaderMap, body: B) -> Result<Bytes, Refusal>
where
    B: Body,
    B::Error: Into<BoxError>,
{
    let body = match Limited::new(body, MAX_BATCH_BYTES).collect().await {
        Ok(body) => body.to_bytes(),
        Err(error) if error.is::<LengthLimitError>() => return Err(Refusal::TOO_LARGE),
        Err(_) => return Err(Refusal::UNREADABLE),
    };
    let compression = headers.get(CONTENT_ENCODING).map_or(&b"identity"[..], HeaderValue::as_bytes);
    match compression.to_ascii_lowercase().as_slice() {
        b"identity" => Ok(body),
        b"gzip" => inflate(flate2::read::MultiGzDecoder::new(&body[..])),
        b"zstd" => {
            inflate(zstd::Decoder::with_buffer(&body[..]).map_err(|_| Refusal::NOT_COMPRESSED)?)
        }
        b"snappy" => unsnap(&body),
        _ => Err(Refusal::COMPRESSION),
    }
}

/// Reads one byte more than is allowed at most: a small body may become a very large one.
fn inflate(decoder: impl Read) -> Result<Bytes, Refusal> {
    let mut content = Vec::new();
    match decoder.take(MAX_BATCH_BYTES as u64 + 1).read_to_end(&mut content) {
        Ok(length) if length > MAX_BATCH_BYTES => Err(Refusal::TOO_LARGE),
        Ok(_) => Ok(content.into()),
        Err(_) => Err(Refusal::NOT_COMPRESSED),
    }
}

/// The Collector's `snappy` is the block format, which says its length at the beginning.
fn unsnap(body: &[u8]) -> Result<Bytes, Refusal> {
    match snap::raw::decompress_len(body) {
        Ok(length) if length > MAX_BATCH_BYTES => Err(Refusal::TOO_LARGE),
        Ok(_) => snap::raw::Decoder::new()
            .decompress_vec(body)
            .map(Bytes::from)
            .map_err(|_| Refusal::NOT_COMPRESSED),
        Err(_) => Err(Refusal::NOT_COMPRESSED),
    }
}
