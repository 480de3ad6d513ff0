use std::io::Write;

use flate2::write::{DeflateEncoder, GzEncoder, ZlibEncoder};
use http::HeaderValue;
use lz4_flex::frame::{BlockSize, FrameEncoder as Lz4Encoder, FrameInfo};

use super::*;

fn finish<W: Write>(
    mut encoder: W,
    content: &[u8],
    finish: fn(W) -> std::io::Result<Vec<u8>>,
) -> Vec<u8> {
    encoder.write_all(content).unwrap();
    finish(encoder).unwrap()
}

fn zlib(content: &[u8]) -> Vec<u8> {
    finish(ZlibEncoder::new(Vec::new(), flate2::Compression::fast()), content, ZlibEncoder::finish)
}

fn lz4(content: &[u8], blocks: BlockSize) -> Vec<u8> {
    let frame = FrameInfo::new().block_size(blocks);
    finish(Lz4Encoder::with_frame_info(frame, Vec::new()), content, |encoder| Ok(encoder.finish()?))
}

fn snappy_framed(content: &[u8]) -> Vec<u8> {
    let encoder = snap::write::FrameEncoder::new(Vec::new());
    finish(encoder, content, |encoder| Ok(encoder.into_inner().unwrap()))
}

/// Returns the name of every format, how a request names it, and `content` in it.
fn every_format(content: &[u8]) -> [(&'static str, Compression, Vec<u8>); 8] {
    let fast = flate2::Compression::fast();
    [
        (
            "gzip",
            Compression::Gzip,
            finish(GzEncoder::new(Vec::new(), fast), content, GzEncoder::finish),
        ),
        ("zstd", Compression::Zstd, zstd::encode_all(content, 1).unwrap()),
        (
            "a block of snappy",
            Compression::Snappy,
            snap::raw::Encoder::new().compress_vec(content).unwrap(),
        ),
        ("framed snappy", Compression::Snappy, snappy_framed(content)),
        ("x-snappy-framed", Compression::SnappyFramed, snappy_framed(content)),
        ("zlib", Compression::Deflate, zlib(content)),
        (
            "deflate",
            Compression::Deflate,
            finish(DeflateEncoder::new(Vec::new(), fast), content, DeflateEncoder::finish),
        ),
        ("lz4", Compression::Lz4, lz4(content, BlockSize::Max64KB)),
    ]
}

// Scenario: requests name no compression, on several lines and in lists, on both transports. Others
// name two compressions, or an unknown one.
// Guarantee: empty values and `identity` are skipped. Two compressions are refused, even if they
// are equal. An unknown compression is refused.
#[test]
fn a_body_has_at_most_one_compression() {
    let found = |header: HeaderName, lines: &[&'static str]| {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(&header, HeaderValue::from_static(line));
        }
        match header == CONTENT_ENCODING {
            true => Compression::of_http_body(&headers),
            false => Compression::of_grpc_call(&headers),
        }
    };
    for header in [CONTENT_ENCODING, GRPC_ENCODING] {
        for (lines, expected) in [
            (&[][..], None),
            (&[""], None),
            (&["Identity", ""], None),
            (&["identity", " GZIP"], Some(Compression::Gzip)),
            (&["identity, zstd"], Some(Compression::Zstd)),
            (&["snappy"], Some(Compression::Snappy)),
            (&["zlib"], Some(Compression::Deflate)),
            (&["deflate"], Some(Compression::Deflate)),
        ] {
            assert_eq!(found(header.clone(), lines), Ok(expected), "{lines:?}");
        }
        for lines in [&["gzip", "zstd"][..], &["gzip, gzip"], &["br"]] {
            let found = found(header.clone(), lines);
            assert_eq!(found, Err(Refusal::UnknownCompression), "{lines:?}");
        }
    }
}

// Scenario: a developer adds a compression.
// Guarantee: the message for senders that use an unsupported compression names the new
// compression.
#[test]
fn the_text_for_senders_names_every_compression() {
    for (name, _) in NAMES {
        assert!(SUPPORTED.contains(name), "{name}");
    }
}

// Scenario: a batch is compressed in every format, and is cut off at many places.
// Guarantee: the whole batch is decompressed. A part of it is refused, and is not taken for a
// smaller batch. Only the framed format of snappy has no end: a body that ends between two of its
// chunks is a smaller batch in it.
#[test]
fn a_part_of_a_body_is_not_a_body() {
    // Two blocks of 64 KiB and a part of one.
    let content = vec![7; 140_000];
    for (format, compression, body) in every_format(&content) {
        assert_eq!(compression.decompress(&body, content.len()).unwrap(), content, "{format}");
        let length = body.len();
        for end in (0..length).filter(|end| length < 2000 || end % 51 == 0 || length - end < 30) {
            match compression.decompress(&body[..end], content.len()) {
                Err(refusal) => assert_eq!(refusal, Refusal::CorruptCompression, "{format} {end}"),
                Ok(part) => {
                    assert!(
                        format.contains("snappy") && part.len() % 65_536 == 0,
                        "{format} {end}"
                    );
                }
            }
        }
    }
}

// Scenario: bodies are not compressed at all, or have one wrong byte in a format that has a
// checksum of its content.
// Guarantee: each body is refused as corrupt.
#[test]
fn corrupt_bodies_are_refused() {
    let content = b"a batch that has more than a few bytes".repeat(10);
    for (format, compression, mut body) in every_format(&content) {
        let decompressed = compression.decompress(&content, MAX_DECODED_BYTES);
        assert_eq!(decompressed, Err(Refusal::CorruptCompression), "{format}");
        if matches!(format, "gzip" | "zlib" | "framed snappy" | "x-snappy-framed") {
            let middle = body.len() / 2;
            body[middle] ^= 1;
            let decompressed = compression.decompress(&body, MAX_DECODED_BYTES);
            assert_eq!(decompressed, Err(Refusal::CorruptCompression), "{format}");
        }
    }
    let twice = lz4(&content, BlockSize::Max64KB).repeat(2);
    let decompressed = Compression::Lz4.decompress(&twice, MAX_DECODED_BYTES);
    assert_eq!(decompressed, Err(Refusal::CorruptCompression));
}

// Scenario: bodies become as large as the limit, one byte larger, and very much larger. Gzip has
// the content in several members, and zstd in several frames.
// Guarantee: only the first body is decompressed. For the others, the decoder stops at the limit:
// it never has more memory than the limit and the buffers of its format.
#[test]
fn a_decoder_stops_at_the_limit() {
    const LIMIT: usize = 512 << 10;
    let most = vec![7; LIMIT];
    for (format, compression, body) in every_format(&most) {
        assert_eq!(compression.decompress(&body, LIMIT).unwrap().len(), LIMIT, "{format}");
        assert_eq!(compression.decompress(&body, LIMIT - 1), Err(Refusal::TooLarge), "{format}");
    }
    for (format, compression, mut body) in every_format(&vec![7; 64 * LIMIT]) {
        if matches!(format, "gzip" | "zstd") {
            body = body.repeat(4);
        }
        let mut decompressed = Ok(Vec::new());
        let measured = allocation_counter::measure(|| {
            decompressed = compression.decompress(&body, LIMIT);
        });
        assert_eq!(decompressed, Err(Refusal::TooLarge), "{format}");
        let beside = measured.bytes_max.saturating_sub(LIMIT as u64);
        assert!(beside < 512 << 10, "{format}: {beside} bytes");
    }
}

// Scenario: the headers of small bodies ask for a window of 128 MiB, for 4 GiB of output, and for
// the largest blocks.
// Guarantee: no header makes a decoder allocate more than the limit and the blocks of LZ4, which
// are why LZ4 counts as a format that takes much memory.
#[test]
fn a_header_alone_allocates_little() {
    const LIMIT: usize = 64 << 10;
    let wide = {
        let mut encoder = zstd::Encoder::new(Vec::new(), 1).unwrap();
        encoder.window_log(27).unwrap();
        finish(encoder, b"a batch", zstd::Encoder::finish)
    };
    assert_eq!(Compression::Zstd.decompress(&wide, LIMIT).unwrap(), b"a batch");
    let largest_block = lz4(b"a batch", BlockSize::Max4MB);
    for (compression, body, limit) in [
        (Compression::Zstd, &wide[..], LIMIT),
        (Compression::Snappy, b"\xff\xff\xff\xff\x0f\0", LIMIT),
        (Compression::Lz4, &largest_block, LIMIT + (13 << 20)),
    ] {
        let measured = allocation_counter::measure(|| _ = compression.decompress(body, LIMIT));
        let most = limit as u64 + 1024;
        assert!(measured.bytes_max <= most, "{compression:?}: {} bytes", measured.bytes_max);
        assert_eq!(compression.takes_much_memory(), limit > LIMIT, "{compression:?}");
    }
}
