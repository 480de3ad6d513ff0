//! The heads of requests and responses.

use bytes::Bytes;
use http::header::{CONNECTION, CONTENT_LENGTH, DATE, HeaderMap, HeaderName, TRANSFER_ENCODING};
use http::request::Parts;
use http::{HeaderValue, Method, Request, StatusCode, Uri, Version};

use crate::http1::headers::{self, BodyLength};
use crate::listener::date;

/// Returns the head of a plain request, and the length of its body. The values of the headers are
/// parts of `bytes`.
///
/// A request is plain if it has the version 1.1, a path, and a body whose length is known, asks for
/// nothing but its response, and leaves the connection open or closes it. This is how exporters and
/// agents send.
pub(super) fn plain(bytes: &Bytes, parsed: &httparse::Request<'_, '_>) -> Option<(Parts, u64)> {
    if parsed.version != Some(1) {
        return None;
    }
    let method = Method::from_bytes(parsed.method?.as_bytes()).ok()?;
    if method == Method::HEAD || method == Method::CONNECT {
        return None;
    }
    let path = parsed.path.filter(|path| path.starts_with('/'))?;
    let uri = Uri::from_maybe_shared(bytes.slice_ref(path.as_bytes())).ok()?;
    let headers = headers::of_lines(bytes, parsed.headers)?;
    if !headers.iter().all(|(name, value)| is_plain(name, value)) {
        return None;
    }
    let length = match headers::body_length(&headers).ok()? {
        BodyLength::Bytes(length) => length,
        BodyLength::Unknown => 0,
        BodyLength::Chunks => return None,
    };
    let (mut parts, ()) = Request::new(()).into_parts();
    parts.method = method;
    parts.uri = uri;
    parts.version = Version::HTTP_11;
    parts.headers = headers;
    Some((parts, length))
}

/// Returns whether a header asks for nothing but a response. `Connection` may say how long the
/// connection stays open. A browser asks for HTTP/2 with `HTTP2-Settings`.
fn is_plain(name: &HeaderName, value: &HeaderValue) -> bool {
    match name.as_str() {
        "expect" | "http2-settings" | "transfer-encoding" | "upgrade" => false,
        "connection" => {
            let value = value.as_bytes();
            value.eq_ignore_ascii_case(b"close") || value.eq_ignore_ascii_case(b"keep-alive")
        }
        _ => true,
    }
}

/// Writes the head of a response whose body has this length, if it is known. With `closes`, tells
/// that the connection is closed after it.
pub(super) fn write(
    status: StatusCode,
    headers: &HeaderMap,
    length: Option<u64>,
    closes: bool,
    text: &mut Vec<u8>,
) {
    text.extend_from_slice(b"HTTP/1.1 ");
    text.extend_from_slice(status.as_str().as_bytes());
    text.push(b' ');
    text.extend_from_slice(status.canonical_reason().unwrap_or_default().as_bytes());
    text.extend_from_slice(b"\r\n");
    if !headers::has_no_body(status) {
        headers::write_length(length, text);
    }
    if closes {
        headers::write_line(&CONNECTION, b"close", text);
    }
    if !headers.contains_key(DATE) {
        headers::write_line(&DATE, date::now().as_bytes(), text);
    }
    let is_ours = |name: &HeaderName| {
        *name == TRANSFER_ENCODING || *name == CONTENT_LENGTH || closes && *name == CONNECTION
    };
    headers::write(headers, |name| !is_ours(name), text);
}
