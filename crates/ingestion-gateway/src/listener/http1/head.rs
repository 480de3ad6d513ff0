//! The heads of requests and responses.

use bytes::Bytes;
use http::header::{
    CONNECTION, CONTENT_LENGTH, DATE, EXPECT, HeaderMap, HeaderName, TRANSFER_ENCODING, UPGRADE,
};
use http::request::Parts;
use http::{HeaderValue, Method, Request, StatusCode, Uri, Version};

use crate::http1::headers::{self, BodyLength};
use crate::listener::date;

/// A header that a browser sends to ask for HTTP/2.
const HTTP2_SETTINGS: HeaderName = HeaderName::from_static("http2-settings");

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
    let asks_for_more = [EXPECT, TRANSFER_ENCODING, UPGRADE, HTTP2_SETTINGS]
        .iter()
        .any(|name| headers.contains_key(name));
    if asks_for_more || !is_plain_connection(&headers) {
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

/// Returns whether `Connection` says at most how long the connection stays open.
fn is_plain_connection(headers: &HeaderMap) -> bool {
    headers.get_all(CONNECTION).iter().all(|value| {
        let value = value.as_bytes();
        value.eq_ignore_ascii_case(b"close") || value.eq_ignore_ascii_case(b"keep-alive")
    })
}

/// Writes the head of a response whose body has this length, if it is known. With `closes`, tells
/// that the connection is closed after it.
pub(super) fn write(
    status: StatusCode,
    headers: &mut HeaderMap,
    length: Option<u64>,
    closes: bool,
    text: &mut Vec<u8>,
) {
    text.extend_from_slice(b"HTTP/1.1 ");
    text.extend_from_slice(status.as_str().as_bytes());
    text.push(b' ');
    text.extend_from_slice(status.canonical_reason().unwrap_or_default().as_bytes());
    text.extend_from_slice(b"\r\n");
    for name in [TRANSFER_ENCODING, CONTENT_LENGTH] {
        headers.remove(name);
    }
    if !headers::has_no_body(status) {
        headers::write_length(length, text);
    }
    if closes {
        headers.insert(CONNECTION, HeaderValue::from_static("close"));
    }
    if !headers.contains_key(DATE) {
        headers::write_line(&DATE, date::now().as_bytes(), text);
    }
    headers::write(headers, text);
}
