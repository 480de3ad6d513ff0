//! The compressions of OTLP/HTTP bodies. To add one, add its coding to [`CODINGS`] and to
//! [`SUPPORTED`].
//!
//! The compressions of OTLP/gRPC messages are tonic's, and [`grpc`](crate::grpc) lists them.

use std::io::Read;

use bytes::Bytes;
use http::HeaderMap;
use http::header::CONTENT_ENCODING;

use crate::refusal::Refusal;

/// How many bytes a request may have once it is decompressed: 20 MiB, the limit that the OTLP
/// specification recommends.
pub const MAX_DECODED_BYTES: usize = 20 << 20;

/// The text for senders that use another compression.
pub(crate) const SUPPORTED: &str = "use gzip, zstd, snappy or no compression";

/// Decompresses a body. It must stop at [`MAX_DECODED_BYTES`] and not only check the length at the
/// end, because a small body may become a very large one.
type Decompress = fn(&[u8]) -> Result<Bytes, Refusal>;

/// Each value of `content-encoding`, and how its bodies are decompressed.
const CODINGS: [(&str, Decompress); 3] = [("gzip", gunzip), ("zstd", unzstd), ("snappy", unsnappy)];

/// The memory that a zstd frame may ask for, as a power of two: 32 MiB, which is more than a
/// request may have. Without it a frame of a few bytes may ask for 128 MiB.
const MAX_ZSTD_WINDOW_LOG: u32 = 25;

/// Decompresses a body as the `content-encoding` of its request says.
pub(crate) fn decompress(headers: &HeaderMap, body: Bytes) -> Result<Bytes, Refusal> {
    match decompression(headers)? {
        Some(decompress) => decompress(&body),
        None => Ok(body),
    }
}

/// The one compression of a body, if it has one. Empty values and `identity` count for nothing,
/// wherever they stand; two compressions are refused.
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

/// The Collector's `snappy` is the block format, which states its length at the beginning.
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

/// Reads at most one byte more than is allowed.
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

    /// The name of the compression that is found in these lines of `content-encoding`.
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

    // Scenario: `content-encoding` without a value, on several lines, as a list, and with more than
    // one compression.
    // Guarantee: empty values and `identity` are skipped; two compressions are refused, whichever
    // they are.
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

    // Scenario: a compression is added.
    // Guarantee: the text for senders that use an unknown compression names it.
    #[test]
    fn the_text_for_senders_names_every_compression() {
        for (name, _) in CODINGS {
            assert!(SUPPORTED.contains(name), "{name}");
        }
    }
}
