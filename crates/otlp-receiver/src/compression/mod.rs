//! The compressions of OTLP requests, which are the same on both transports.
//!
//! To add a compression, add its name to [`NAMES`] and to [`SUPPORTED`], and its decoder to
//! [`decompress`].

mod decompress;
#[cfg(test)]
mod tests;

use http::header::CONTENT_ENCODING;
use http::{HeaderMap, HeaderName};

use crate::refusal::Refusal;

/// The largest number of bytes of a decompressed request: 20 MiB, the limit that the OTLP
/// specification recommends.
pub const MAX_DECODED_BYTES: usize = 20 << 20;

/// The message for senders that use an unsupported compression.
pub(crate) const SUPPORTED: &str =
    "use gzip, zstd, snappy, x-snappy-framed, deflate, zlib, lz4 or no compression";

/// The header that names the compression of the messages of a gRPC call.
const GRPC_ENCODING: HeaderName = HeaderName::from_static("grpc-encoding");

/// How a body or a message is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Compression {
    Gzip,
    Zstd,
    /// The block format or the framed format of snappy. The Collector has sent both under the same
    /// name.
    Snappy,
    SnappyFramed,
    /// The zlib format, which RFC 9110 section 8.4.1.2 names `deflate`. Some senders leave the
    /// header and the checksum of that format out.
    Deflate,
    /// The frame format of LZ4.
    Lz4,
}

/// The names of the compressions in `content-encoding` and in `grpc-encoding`.
const NAMES: [(&str, Compression); 7] = [
    ("gzip", Compression::Gzip),
    ("zstd", Compression::Zstd),
    ("snappy", Compression::Snappy),
    ("x-snappy-framed", Compression::SnappyFramed),
    ("deflate", Compression::Deflate),
    ("zlib", Compression::Deflate),
    ("lz4", Compression::Lz4),
];

impl Compression {
    /// Returns the compression that the `content-encoding` of an OTLP/HTTP request names, or `None`
    /// if the body is not compressed. A body with two compressions is refused.
    pub(crate) fn of_http_body(headers: &HeaderMap) -> Result<Option<Self>, Refusal> {
        Self::named_in(headers, &CONTENT_ENCODING)
    }

    /// Returns the compression that the `grpc-encoding` of a call names, or `None` if no message of
    /// the call is compressed.
    pub(crate) fn of_grpc_call(headers: &HeaderMap) -> Result<Option<Self>, Refusal> {
        Self::named_in(headers, &GRPC_ENCODING)
    }

    /// Empty values and `identity` are ignored in every position.
    fn named_in(headers: &HeaderMap, header: &HeaderName) -> Result<Option<Self>, Refusal> {
        let mut names = headers
            .get_all(header)
            .iter()
            .flat_map(|line| line.as_bytes().split(|byte| *byte == b','))
            .map(<[u8]>::trim_ascii)
            .filter(|name| !name.is_empty() && !name.eq_ignore_ascii_case(b"identity"));
        let Some(name) = names.next() else { return Ok(None) };
        if names.next().is_some() {
            return Err(Refusal::UnknownCompression);
        }
        let known = NAMES.iter().find(|(known, _)| name.eq_ignore_ascii_case(known.as_bytes()));
        known.map(|(_, compression)| Some(*compression)).ok_or(Refusal::UnknownCompression)
    }

    /// Returns the value of `grpc-accept-encoding`: every compression, separated by commas.
    pub(crate) fn grpc_accept_encoding() -> String {
        NAMES.map(|(name, _)| name).join(",")
    }

    /// Returns whether a decoder takes much memory, whatever the length of the body is. The header
    /// of an LZ4 frame asks for blocks of up to 8 MiB, and the decoder fills two of them with zeros
    /// before it reads on.
    pub(crate) fn takes_much_memory(self) -> bool {
        self == Self::Lz4
    }

    /// Decompresses a body that may become at most `limit` bytes. The decoder stops when it has
    /// written more than that.
    pub(crate) fn decompress(self, body: &[u8], limit: usize) -> Result<Vec<u8>, Refusal> {
        decompress::decompress(self, body, limit)
    }
}
