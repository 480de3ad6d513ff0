//! Receives Prometheus remote write, versions 1.0 and 2.0: counts what is written, and gives the
//! counts to the debug exporter.
//!
//! A sender repeats its samples after 429 and 5xx, and drops them after every other status that is
//! not a success.

mod message;

use bytes::Bytes;
use http::header::{ALLOW, CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode};
use hyper::body::Body;
use otlp_auth::Identity;
use otlp_auth::server::retry_after;
use otlp_receiver::{Receiver, Refusal};

use self::message::{Message, Written};
use crate::item::Item;
use crate::upstream::debug::DebugExporter;

/// The content type of both versions. Its parameter `proto` names the message.
const CONTENT: &str = "application/x-protobuf";

/// The headers with which a response of version 2.0 must say what was written. Senders of version
/// 1.0 ignore them.
const SAMPLES_WRITTEN: HeaderName =
    HeaderName::from_static("x-prometheus-remote-write-samples-written");
const HISTOGRAMS_WRITTEN: HeaderName =
    HeaderName::from_static("x-prometheus-remote-write-histograms-written");
const EXEMPLARS_WRITTEN: HeaderName =
    HeaderName::from_static("x-prometheus-remote-write-exemplars-written");

/// Receives one request, within the limits of `receiver`.
pub(super) async fn receive<B>(
    receiver: &Receiver,
    debug: &DebugExporter,
    request: Request<B>,
) -> Response<Bytes>
where
    B: Body<Data = Bytes> + Send + Unpin + 'static,
{
    let Some(message) = message(request.headers()) else {
        let text = "use application/x-protobuf with a message of remote write 1.0 or 2.0";
        return answer(StatusCode::UNSUPPORTED_MEDIA_TYPE, text);
    };
    let Some(identity) = request.extensions().get::<Identity>().cloned() else {
        return answer(StatusCode::INTERNAL_SERVER_ERROR, "");
    };
    let count = move |content: &[u8]| message.count(content).map_err(|_| Refusal::Malformed);
    match receiver.decode(request, count).await {
        Ok(written) => {
            debug.export(&identity, Item::DataPoint, written.samples + written.histograms);
            success(written)
        }
        Err(refusal) => refuse(refusal),
    }
}

/// Creates the response to a request that is not a `POST`.
pub(super) fn not_post() -> Response<Bytes> {
    let mut response = answer(StatusCode::METHOD_NOT_ALLOWED, "use POST");
    response.headers_mut().insert(ALLOW, HeaderValue::from_static("POST"));
    response
}

/// Returns the message that the content type names. Without a parameter, it is that of version 1.0.
fn message(headers: &HeaderMap) -> Option<Message> {
    let content_type = headers.get(CONTENT_TYPE)?.to_str().ok()?;
    let mut parts = content_type.split(';').map(str::trim);
    if !parts.next()?.eq_ignore_ascii_case(CONTENT) {
        return None;
    }
    let mut parameters = parts.filter_map(|parameter| parameter.split_once('='));
    match parameters.find(|(name, _)| name.eq_ignore_ascii_case("proto")) {
        None => Some(Message::V1),
        Some((_, name)) => Message::named(name.trim_matches('"')),
    }
}

fn success(written: Written) -> Response<Bytes> {
    let mut response = answer(StatusCode::NO_CONTENT, "");
    response.headers_mut().extend([
        (SAMPLES_WRITTEN, HeaderValue::from(written.samples)),
        (HISTOGRAMS_WRITTEN, written.histograms.into()),
        (EXEMPLARS_WRITTEN, written.exemplars.into()),
    ]);
    response
}

/// Creates the response to a request that is not accepted. Prometheus logs its text.
fn refuse(refusal: Refusal) -> Response<Bytes> {
    let status = refusal.http_status();
    let text = match refusal {
        Refusal::Malformed => "the body is not a request of remote write".to_owned(),
        refusal => refusal.to_string(),
    };
    let mut response = answer(status, text);
    if status == StatusCode::SERVICE_UNAVAILABLE {
        response.headers_mut().insert(RETRY_AFTER, retry_after().as_secs().into());
    }
    response
}

fn answer(status: StatusCode, text: impl Into<Bytes>) -> Response<Bytes> {
    let text = text.into();
    let is_empty = text.is_empty();
    let mut response = Response::new(text);
    *response.status_mut() = status;
    if !is_empty {
        let plain = HeaderValue::from_static("text/plain; charset=utf-8");
        response.headers_mut().insert(CONTENT_TYPE, plain);
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    // Scenario: content types name the message of each version in different ways, name no message,
    // or name another message or format.
    // Guarantee: each message is found by its name, and no name means version 1.0. With another
    // name or format there is no message, so that the response is 415.
    #[test]
    fn the_content_type_names_the_message() {
        for (content_type, expected) in [
            ("application/x-protobuf", Some(Message::V1)),
            ("Application/X-Protobuf; proto=prometheus.WriteRequest", Some(Message::V1)),
            ("application/x-protobuf;proto=\"prometheus.WriteRequest\"", Some(Message::V1)),
            ("application/x-protobuf;proto=io.prometheus.write.v2.Request", Some(Message::V2)),
            ("application/x-protobuf;proto=io.prometheus.write.v3.Request", None),
            ("application/json", None),
        ] {
            let value = HeaderValue::from_static(content_type);
            let headers = HeaderMap::from_iter([(CONTENT_TYPE, value)]);
            assert_eq!(message(&headers), expected, "{content_type}");
        }
        assert_eq!(message(&HeaderMap::new()), None);
    }
}
