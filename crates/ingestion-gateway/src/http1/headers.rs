//! The lines of headers, and what they say about the body behind them.

use bytes::Bytes;
use http::header::{CONNECTION, CONTENT_LENGTH, TRANSFER_ENCODING};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};

/// The largest number of header lines of a head.
pub(crate) const MAX_LINES: usize = 100;

/// The length of a body as its headers state it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BodyLength {
    Bytes(u64),
    /// The body comes in chunks (RFC 9112, section 7.1).
    Chunks,
    /// No header tells.
    Unknown,
}

/// The headers do not tell in one way alone where the body ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ambiguous;

/// Makes headers of the parsed lines of `head`. Their values are parts of `head`.
pub(crate) fn of_lines(head: &Bytes, lines: &[httparse::Header<'_>]) -> Option<HeaderMap> {
    let mut headers = HeaderMap::with_capacity(lines.len());
    for line in lines {
        let name = HeaderName::from_bytes(line.name.as_bytes()).ok()?;
        let value = HeaderValue::from_maybe_shared(head.slice_ref(line.value)).ok()?;
        headers.append(name, value);
    }
    Some(headers)
}

/// Writes the headers that are `wanted` as lines, and the line that ends the head.
pub(crate) fn write(headers: &HeaderMap, wanted: impl Fn(&HeaderName) -> bool, text: &mut Vec<u8>) {
    for (name, value) in headers {
        if wanted(name) {
            write_line(name, value.as_bytes(), text);
        }
    }
    text.extend_from_slice(b"\r\n");
}

/// Writes one line.
pub(crate) fn write_line(name: &HeaderName, value: &[u8], text: &mut Vec<u8>) {
    text.extend_from_slice(name.as_str().as_bytes());
    text.extend_from_slice(b": ");
    text.extend_from_slice(value);
    text.extend_from_slice(b"\r\n");
}

/// Writes the line that tells how long a body is. Without a length, it comes in chunks.
pub(crate) fn write_length(length: Option<u64>, text: &mut Vec<u8>) {
    match length {
        Some(length) => {
            let mut digits = itoa::Buffer::new();
            write_line(&CONTENT_LENGTH, digits.format(length).as_bytes(), text);
        }
        None => write_line(&TRANSFER_ENCODING, b"chunked", text),
    }
}

/// Returns the length of the body behind these headers (RFC 9112, section 6.3).
///
/// # Errors
///
/// When two readers could disagree about it: two lengths, a length beside chunks, or an encoding
/// besides chunks.
pub(crate) fn body_length(headers: &HeaderMap) -> Result<BodyLength, Ambiguous> {
    let mut lengths = headers.get_all(CONTENT_LENGTH).iter();
    let mut codings = headers.get_all(TRANSFER_ENCODING).iter();
    match (lengths.next(), codings.next()) {
        (None, None) => Ok(BodyLength::Unknown),
        (Some(length), None) if lengths.next().is_none() => {
            digits(length).map(BodyLength::Bytes).ok_or(Ambiguous)
        }
        (None, Some(coding)) if codings.next().is_none() && is_chunked(coding) => {
            Ok(BodyLength::Chunks)
        }
        _ => Err(Ambiguous),
    }
}

fn is_chunked(coding: &HeaderValue) -> bool {
    coding.as_bytes().eq_ignore_ascii_case(b"chunked")
}

/// Reads a number that has only digits, without a sign.
fn digits(value: &HeaderValue) -> Option<u64> {
    let is_number = value.as_bytes().iter().all(u8::is_ascii_digit);
    value.to_str().ok().filter(|_| is_number)?.parse().ok()
}

/// Returns whether a response with this status never has a body (RFC 9112, section 6.3).
pub(crate) fn has_no_body(status: StatusCode) -> bool {
    status.is_informational() || matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED)
}

/// Returns whether `Connection` names an option. Names have no case.
pub(crate) fn has_connection_option(headers: &HeaderMap, option: &str) -> bool {
    let values = headers.get_all(CONNECTION).iter();
    let mut options = values.flat_map(|value| value.as_bytes().split(|byte| *byte == b','));
    options.any(|name| name.trim_ascii().eq_ignore_ascii_case(option.as_bytes()))
}
