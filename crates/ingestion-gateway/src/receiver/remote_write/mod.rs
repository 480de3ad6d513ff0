//! Prometheus remote write, version 1.0: what a request must look like, and how it is refused.
//!
//! A sender repeats its samples after 429 and 5xx, and drops them after every other status that is
//! not a success.

use axum::response::{IntoResponse as _, Response};
use http::header::{ALLOW, CONTENT_ENCODING, CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use otlp_auth::server::retry_after;

const CONTENT: &str = "application/x-protobuf";
const COMPRESSION: &str = "snappy";

/// The message of version 1.0, as the parameter `proto` of the content type names it. Version 2.0
/// has another message.
const MESSAGE: &str = "prometheus.WriteRequest";

/// Checks the head of a request.
///
/// Senders of other versions and with other compressions get 415, because this status tells them to
/// try again with version 1.0 and snappy.
pub(super) fn check(method: &Method, headers: &HeaderMap) -> Result<(), StatusCode> {
    if method != Method::POST {
        return Err(StatusCode::METHOD_NOT_ALLOWED);
    }
    // Without a content type or a compression, a request means the ones of version 1.0.
    let text = |value: Option<&HeaderValue>, default| match value {
        Some(value) => value.to_str().unwrap_or_default().trim().to_owned(),
        None => String::from(default),
    };
    let content_type = text(headers.get(CONTENT_TYPE), CONTENT);
    let mut parts = content_type.split(';').map(str::trim);
    let is_protobuf = parts.next().is_some_and(|part| part.eq_ignore_ascii_case(CONTENT));
    let is_version_1 = parts
        .filter_map(|parameter| parameter.split_once('='))
        .filter(|(name, _)| name.eq_ignore_ascii_case("proto"))
        .all(|(_, message)| message.trim_matches('"') == MESSAGE);
    let is_snappy =
        text(headers.get(CONTENT_ENCODING), COMPRESSION).eq_ignore_ascii_case(COMPRESSION);
    match is_protobuf && is_version_1 && is_snappy {
        true => Ok(()),
        false => Err(StatusCode::UNSUPPORTED_MEDIA_TYPE),
    }
}

/// Creates the response to a request that is not accepted. Prometheus logs its text.
pub(super) fn refuse(status: StatusCode) -> Response {
    let text = match status {
        StatusCode::METHOD_NOT_ALLOWED => "use POST",
        StatusCode::UNSUPPORTED_MEDIA_TYPE => "use remote write 1.0 with snappy",
        StatusCode::PAYLOAD_TOO_LARGE => "the request is too large",
        StatusCode::SERVICE_UNAVAILABLE => "the body ended early",
        _ => "",
    };
    let mut response = (status, text).into_response();
    match status {
        StatusCode::METHOD_NOT_ALLOWED => {
            response.headers_mut().insert(ALLOW, HeaderValue::from_static("POST"));
        }
        StatusCode::SERVICE_UNAVAILABLE => {
            response.headers_mut().insert(RETRY_AFTER, retry_after().as_secs().into());
        }
        _ => {}
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    // Scenario: requests name the message and the compression of version 1.0 in different ways, or
    // leave them out. Other requests name version 2.0, another format or another compression.
    // Guarantee: only the requests of version 1.0 are accepted. All others are refused with 415,
    // which lets their sender try version 1.0 with snappy.
    #[test]
    fn only_version_1_with_snappy_is_accepted() {
        let version_2 = "application/x-protobuf;proto=io.prometheus.write.v2.Request";
        for (content_type, compression, accepted) in [
            ("application/x-protobuf", "snappy", true),
            ("", "", true),
            ("Application/X-Protobuf; proto=prometheus.WriteRequest", "Snappy", true),
            ("application/x-protobuf;proto=\"prometheus.WriteRequest\"", "snappy", true),
            (version_2, "snappy", false),
            ("application/json", "snappy", false),
            ("application/x-protobuf", "zstd", false),
            ("application/x-protobuf", "identity", false),
        ] {
            let mut headers = HeaderMap::new();
            for (name, value) in [(CONTENT_TYPE, content_type), (CONTENT_ENCODING, compression)] {
                if !value.is_empty() {
                    headers.insert(name, HeaderValue::from_static(value));
                }
            }
            let checked = check(&Method::POST, &headers);
            let expected = if accepted { Ok(()) } else { Err(StatusCode::UNSUPPORTED_MEDIA_TYPE) };
            assert_eq!(checked, expected, "{content_type} {compression}");
        }
        assert_eq!(check(&Method::GET, &HeaderMap::new()), Err(StatusCode::METHOD_NOT_ALLOWED));
    }
}
