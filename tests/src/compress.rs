//! The compressions of OTLP, as senders use them.

use std::io::{self, Read, Write};

use flate2::Compression;

/// The names of the compressions in `content-encoding` and `grpc-encoding`.
pub const COMPRESSIONS: [&str; 7] =
    ["gzip", "zstd", "snappy", "x-snappy-framed", "deflate", "zlib", "lz4"];

/// Compresses the bytes. With any other name than those in [`COMPRESSIONS`], the bytes stay as they
/// are.
///
/// # Errors
///
/// When a library cannot compress the bytes.
pub fn compress(compression: &str, bytes: &[u8]) -> io::Result<Vec<u8>> {
    let mut out = Vec::new();
    match compression {
        "gzip" => {
            flate2::read::GzEncoder::new(bytes, Compression::fast()).read_to_end(&mut out)?;
        }
        "zstd" => {
            let mut encoder = zstd::Encoder::new(&mut out, 1)?;
            encoder.write_all(bytes)?;
            encoder.finish()?;
        }
        "snappy" => out = snap::raw::Encoder::new().compress_vec(bytes)?,
        "x-snappy-framed" => {
            snap::read::FrameEncoder::new(bytes).read_to_end(&mut out)?;
        }
        "deflate" | "zlib" => {
            flate2::read::ZlibEncoder::new(bytes, Compression::fast()).read_to_end(&mut out)?;
        }
        "lz4" => {
            let mut encoder = lz4_flex::frame::FrameEncoder::new(&mut out);
            encoder.write_all(bytes)?;
            encoder.finish()?;
        }
        _ => bytes.clone_into(&mut out),
    }
    Ok(out)
}

/// Puts the prefix of a gRPC message before the bytes.
pub fn grpc_frame(is_compressed: bool, message: &[u8]) -> Vec<u8> {
    let length = u32::try_from(message.len()).unwrap_or(u32::MAX).to_be_bytes();
    [&[u8::from(is_compressed)], &length[..], message].concat()
}
