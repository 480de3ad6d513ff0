//! The decoders. Each of them stops at the limit of its output, because a small body may become a
//! very large one. None of them allocates what only a header asks for, except for the blocks of
//! LZ4.

use std::io::{self, Read};

use lz4_flex::frame::FrameDecoder as Lz4Decoder;
use zstd::zstd_safe::zstd_sys::ZSTD_ErrorCode;
use zstd::zstd_safe::{DCtx, ErrorCode};

use super::Compression;
use crate::refusal::Refusal;

/// The chunk with which a stream in the framed format of snappy begins.
const SNAPPY_STREAM_IDENTIFIER: &[u8] = b"\xff\x06\0\0sNaPpY";

pub(super) fn decompress(
    compression: Compression,
    body: &[u8],
    limit: usize,
) -> Result<Vec<u8>, Refusal> {
    if body.is_empty() {
        return Err(Refusal::CorruptCompression);
    }
    match compression {
        Compression::Gzip => read_bounded(flate2::bufread::MultiGzDecoder::new(body), limit),
        Compression::Deflate if has_zlib_header(body) => {
            read_bounded(flate2::bufread::ZlibDecoder::new(body), limit)
        }
        Compression::Deflate => read_bounded(flate2::bufread::DeflateDecoder::new(body), limit),
        Compression::Zstd => zstd(body, limit),
        Compression::Snappy if !body.starts_with(SNAPPY_STREAM_IDENTIFIER) => {
            snappy_block(body, limit)
        }
        Compression::Snappy | Compression::SnappyFramed => {
            read_bounded(snap::read::FrameDecoder::new(body), limit)
        }
        Compression::Lz4 => lz4(body, limit),
    }
}

/// Decompresses zstd frames in one pass. The output is the window at the same time, so that a frame
/// may have any window and costs no memory besides the output.
fn zstd(body: &[u8], limit: usize) -> Result<Vec<u8>, Refusal> {
    const TOO_SMALL: ErrorCode =
        (ZSTD_ErrorCode::ZSTD_error_dstSize_tooSmall as ErrorCode).wrapping_neg();

    let mut content = Vec::with_capacity(capacity(limit));
    let mut decoder = DCtx::try_create().ok_or(Refusal::Busy)?;
    match decoder.decompress(&mut content, body) {
        Ok(_) if content.len() <= limit => Ok(content),
        Ok(_) | Err(TOO_SMALL) => Err(Refusal::TooLarge),
        Err(_) => Err(Refusal::CorruptCompression),
    }
}

/// Decompresses the block format of snappy. A block states its decompressed length at the
/// beginning.
fn snappy_block(body: &[u8], limit: usize) -> Result<Vec<u8>, Refusal> {
    match snap::raw::decompress_len(body) {
        Ok(length) if length > limit => Err(Refusal::TooLarge),
        Ok(_) => {
            snap::raw::Decoder::new().decompress_vec(body).map_err(|_| Refusal::CorruptCompression)
        }
        Err(_) => Err(Refusal::CorruptCompression),
    }
}

/// Decompresses one LZ4 frame. What follows the frame is refused, because each further frame could
/// make the decoder fill several megabytes with zeros.
fn lz4(body: &[u8], limit: usize) -> Result<Vec<u8>, Refusal> {
    let mut rest = body;
    // The decoder takes a frame without its end for a whole frame. So the body is followed by bytes
    // that are not a frame: read as the length of a block, they are too large.
    let endless = (&mut rest).chain(io::repeat(0x7f));
    let content = read_bounded(Lz4Decoder::new(endless), limit)?;
    match rest {
        [] => Ok(content),
        _ => Err(Refusal::CorruptCompression),
    }
}

/// Returns the capacity of the buffer for an output of at most `most` bytes. The buffer is
/// allocated at once, because a buffer that grows is in memory twice while it is copied.
///
/// A large buffer has a capacity of 33 MiB. glibc gives an allocation of more than 32 MiB back to
/// the operating system as soon as it is freed, and keeps a smaller one for the threads that it
/// assigns to the same arena, so that each of many arenas might keep 20 MiB. Pages that are not
/// written take no memory.
fn capacity(most: usize) -> usize {
    const LARGE: usize = 1 << 20;
    const GIVEN_BACK: usize = 33 << 20;

    match most {
        ..LARGE => most,
        _ => most.max(GIVEN_BACK),
    }
}

/// Returns whether a body begins as RFC 1950 section 2.2 demands: with the method 8, a window of at
/// most 32 KiB, and a check value.
fn has_zlib_header(body: &[u8]) -> bool {
    match *body {
        [method, flags, ..] => {
            method & 0x0f == 8
                && method >> 4 <= 7
                && u16::from_be_bytes([method, flags]).is_multiple_of(31)
        }
        _ => false,
    }
}

/// Reads to the end, but at most one byte more than `limit`.
fn read_bounded(decoder: impl Read, limit: usize) -> Result<Vec<u8>, Refusal> {
    let most = limit.saturating_add(1);
    let mut content = Vec::with_capacity(capacity(most));
    match decoder.take(most as u64).read_to_end(&mut content) {
        Ok(length) if length > limit => Err(Refusal::TooLarge),
        Ok(_) => Ok(content),
        Err(_) => Err(Refusal::CorruptCompression),
    }
}
