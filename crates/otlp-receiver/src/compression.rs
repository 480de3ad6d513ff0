//! Decompresses OTLP/HTTP bodies. To add a compression, add its name to [`CODINGS`] and to
//! [`SUPPORTED`].
//!
//! tonic decompresses OTLP/gRPC messages. [`grpc`](crate::grpc) lists their compressions.

use std::io::Read;

use bytes::Bytes;
use http::HeaderMap;
use http::header::CONTENT_ENCODING;

use crate::refusal::Refusal;

/// The largest number of bytes of a decompressed request: 20 MiB, the limit that the OTLP
/// specification recommends.
pub const MAX_DECODED_BYTES: usize = 20 << 20;

/// The message for senders that use an unsupported compression.
pub(crate) const SUPPORTED: &str = "use gzip, zstd, snappy or no compression";

/// A function that decompresses a body. It must stop as soon as the output is larger than
/// [`MAX_DECODED_BYTES`]. A check at the end would be too late, because a small body may become a
/// very large one.
type Decompress = fn(&[u8]) -> Result<Bytes, Refusal>;

/// The supported values of `content-encoding`, each with the function that decompresses its bodies.
const CODINGS: [(&str, Decompress); 3] = [("gzip", gunzip), ("zstd", unzstd), ("snappy", unsnappy)];

/// The largest window that a zstd frame may ask for, as a power of two: 2^25 bytes are 32 MiB,
/// which is more than a decompressed request may have. Without this limit, a frame of a few bytes
/// could make the decoder allocate 128 MiB.
const MAX_ZSTD_WINDOW_LOG: u32 = 25;

/// Decompresses a body as the `content-encoding` of its request says.
pub(crate) fn decompress(headers: &HeaderMap, body: Bytes) -> Result<Bytes, Refusal> {
    match decompression(headers)? {
        Some(decompress) => decompress(&body),
        None => Ok(body),
    }
}

/// Returns the function that decompresses a body, or `None` if the body is not compressed. Empty
/// values and `identity` are ignored in every position. A body with two compressions is refused.
fn decompression(headers: &HeaderMap) -> Result<Option<Decompress>, Refusal> {
    let mut codings = headers
        .get_all(CONTENT_ENCODING)
        .iter()
        .flat_map(|line| line.as_bytes().split(|byte| *byte == b','))
        .map(<[u8]>::trim_ascii)
        .filter(|coding| !coding.is_empty() && !coding.eq_ignore_ascii_case(b"identity"));
    let Some(coding) = codings.next() else { return Ok(None) };
    if codings.next().is_some() {
        return Err(Refusal::UnknownCompression);
    }
    let known = CODINGS.iter().find(|(name, _)| coding.eq_ignore_ascii_case(name.as_bytes()));
    known.map(|(_, decompress)| Some(*decompress)).ok_or(Refusal::UnknownCompression)
}

fn gunzip(body: &[u8]) -> Result<Bytes, Refusal> {
    read_bounded(flate2::read::MultiGzDecoder::new(body))
}

fn unzstd(body: &[u8]) -> Result<Bytes, Refusal> {
    let mut decoder = zstd::Decoder::with_buffer(body).map_err(|_| Refusal::CorruptCompression)?;
    decoder.window_log_max(MAX_ZSTD_WINDOW_LOG).map_err(|_| Refusal::CorruptCompression)?;
    read_bounded(decoder)
}

/// Decompresses the block format of snappy, which is the format that the Collector sends. A block
/// states its decompressed length at the beginning.
fn unsnappy(body: &[u8]) -> Result<Bytes, Refusal> {
    match snap::raw::decompress_len(body) {
        Ok(length) if length > MAX_DECODED_BYTES => Err(Refusal::TooLarge),
        Ok(_) => snap::raw::Decoder::new()
            .decompress_vec(body)
            .map(Bytes::from)
            .map_err(|_| Refusal::CorruptCompression),
        Err(_) => Err(Refusal::CorruptCompression),
    }
}

/// Reads to the end, but at most one byte more than [`MAX_DECODED_BYTES`].
fn read_bounded(decoder: impl Read) -> Result<Bytes, Refusal> {
    let mut content = Vec::new();
    match decoder.take(MAX_DECODED_BYTES as u64 + 1).read_to_end(&mut content) {
        Ok(length) if length > MAX_DECODED_BYTES => Err(Refusal::TooLarge),
        Ok(_) => Ok(content.into()),
        Err(_) => Err(Refusal::CorruptCompression),
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    /// Returns the name of the compression that is found in these lines of `content-encoding`.
    fn found(lines: &[&'static str]) -> Result<&'static str, Refusal> {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(CONTENT_ENCODING, HeaderValue::from_static(line));
        }
        let found = decompression(&headers)?;
        let named = |decompress: Decompress| {
            CODINGS.iter().find(|(_, known)| std::ptr::fn_addr_eq(*known, decompress)).unwrap().0
        };
        Ok(found.map_or("identity", named))
    }

    // Scenario: requests have `content-encoding` without a value, on several lines, as a list, and
    // with two compressions.
    // Guarantee: empty values and `identity` are skipped. Two compressions are refused, even if
    // they are equal. An unknown compression is refused.
    #[test]
    fn a_body_has_at_most_one_compression() {
        for (lines, expected) in [
            (&[][..], "identity"),
            (&[""], "identity"),
            (&["Identity", ""], "identity"),
            (&["identity", " GZIP"], "gzip"),
            (&["identity, zstd"], "zstd"),
            (&["snappy"], "snappy"),
        ] {
            assert_eq!(found(lines), Ok(expected), "{lines:?}");
        }
        for lines in [&["gzip", "zstd"][..], &["gzip, gzip"], &["br"]] {
            assert_eq!(found(lines), Err(Refusal::UnknownCompression), "{lines:?}");
        }
    }

    // Scenario: a developer adds a compression.
    // Guarantee: the message for senders that use an unsupported compression names the new
    // compression.
    #[test]
    fn the_text_for_senders_names_every_compression() {
        for (name, _) in CODINGS {
            assert!(SUPPORTED.contains(name), "{name}");
        }
    }
}
