//! The headers that name the sender of a request.

use http::{HeaderName, HeaderValue};
use otlp_auth::Identity;
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};

const UNSAFE: &AsciiSet = &CONTROLS.add(b' ').add(b'%').add(b'"').add(b',').add(b';');

pub(super) fn identity_headers(
    identity: &Identity,
) -> impl Iterator<Item = (HeaderName, HeaderValue)> {
    let id = identity.id().map(HeaderValue::from).unwrap_or(HeaderValue::from_static(""));
    let name = utf8_percent_encode(identity.name(), UNSAFE).to_string();
    let name = HeaderValue::try_from(name).unwrap_or(HeaderValue::from_static(""));
    [
        (HeaderName::from_static("x-ingestion-key-id"), id),
        (HeaderName::from_static("x-ingestion-key-name"), name),
    ]
    .into_iter()
}
