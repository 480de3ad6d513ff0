//! The compressions that the exporters of opentelemetry-rust do not have.

use std::io::{self, Write};

use flate2::write::ZlibEncoder;
use http::HeaderValue;
use lz4_flex::frame::FrameEncoder as Lz4Encoder;
use opentelemetry_http::Bytes;
use otlp_auth_examples::collector_config::{Compression, ExporterConfig};
use snap::write::FrameEncoder as SnappyEncoder;

/// Returns the compression that the exporters of the SDK apply themselves.
pub(super) fn of_sdk(config: &ExporterConfig) -> Option<opentelemetry_otlp::Compression> {
    match config.compression() {
        Compression::Gzip => Some(opentelemetry_otlp::Compression::Gzip),
        Compression::Zstd => Some(opentelemetry_otlp::Compression::Zstd),
        _ => None,
    }
}

/// Compresses the body of an OTLP/HTTP request in the formats of the Collector. Returns the body
/// with its content encoding, or `None` if the SDK compresses the body or nothing does.
pub(super) fn encode(
    compression: Compression,
    body: &[u8],
) -> io::Result<Option<(HeaderValue, Bytes)>> {
    let (encoding, body) = match compression {
        Compression::Gzip | Compression::Zstd | Compression::None => return Ok(None),
        Compression::Snappy => ("snappy", snap::raw::Encoder::new().compress_vec(body)?),
        Compression::SnappyFramed => ("x-snappy-framed", snappy_frames(body)?),
        Compression::Zlib => ("zlib", zlib(body)?),
        Compression::Deflate => ("deflate", zlib(body)?),
        Compression::Lz4 => ("lz4", lz4(body)?),
    };
    Ok(Some((HeaderValue::from_static(encoding), body.into())))
}

/// Compresses with snappy's framing format.
pub(super) fn snappy_frames(body: &[u8]) -> io::Result<Vec<u8>> {
    let mut encoder = SnappyEncoder::new(Vec::new());
    encoder.write_all(body)?;
    encoder.into_inner().map_err(|error| error.into_error())
}

fn zlib(body: &[u8]) -> io::Result<Vec<u8>> {
    let mut encoder = ZlibEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(body)?;
    encoder.finish()
}

fn lz4(body: &[u8]) -> io::Result<Vec<u8>> {
    let mut encoder = Lz4Encoder::new(Vec::new());
    encoder.write_all(body)?;
    encoder.finish().map_err(io::Error::other)
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    // Scenario: bodies of several lengths are compressed with each format, and decoded again. The
    // longest body needs several frames or blocks of each format.
    // Guarantee: each format has the content encoding of the Collector, and decodes to the body.
    #[test]
    fn every_format_decodes_to_the_body() {
        fn all(mut decoder: impl Read) -> Vec<u8> {
            let mut body = Vec::new();
            decoder.read_to_end(&mut body).unwrap();
            body
        }
        type Decode = fn(&[u8]) -> Vec<u8>;
        let formats: [(Compression, &str, Decode); 5] = [
            (Compression::Snappy, "snappy", |body| {
                snap::raw::Decoder::new().decompress_vec(body).unwrap()
            }),
            (Compression::SnappyFramed, "x-snappy-framed", |body| {
                all(snap::read::FrameDecoder::new(body))
            }),
            (Compression::Zlib, "zlib", |body| all(flate2::read::ZlibDecoder::new(body))),
            (Compression::Deflate, "deflate", |body| all(flate2::read::ZlibDecoder::new(body))),
            (Compression::Lz4, "lz4", |body| all(lz4_flex::frame::FrameDecoder::new(body))),
        ];
        let long: Vec<u8> = (0..100_000_u32).flat_map(|n| (n / 7).to_le_bytes()).collect();
        for body in [b"".as_slice(), b"a batch of spans", &long] {
            for (compression, name, decode) in formats {
                let (encoding, encoded) = encode(compression, body).unwrap().expect(name);
                assert_eq!(encoding, name);
                assert!(decode(&encoded) == body, "{name}");
            }
        }
        for compression in [Compression::Gzip, Compression::Zstd, Compression::None] {
            assert!(encode(compression, b"body").unwrap().is_none());
        }
    }
}
