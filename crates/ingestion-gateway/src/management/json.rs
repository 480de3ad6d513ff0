//! Reads and writes JSON bodies.

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use http::header::CONTENT_TYPE;
use http::{HeaderValue, StatusCode};
use otlp_receiver::body::{self, BodyError};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// The largest body of a call, in bytes, unless the call allows more.
const MAX_BODY: usize = 64 << 10;

/// The content type of every response. The original client compares this value byte by byte.
pub(super) const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// Why a body could not be read as JSON. The messages do not repeat what the caller sent.
#[derive(Debug, thiserror::Error)]
pub(super) enum JsonRejection {
    /// The body is larger than the limit.
    #[error("the body has more than {0} bytes")]
    TooLarge(usize),
    /// The connection ended before the whole body had arrived.
    #[error("the body ended early")]
    EndedEarly,
    /// The body is not JSON, or a field is missing or has another type.
    #[error("{0}")]
    Invalid(String),
}

/// Reads a body. An empty body counts as an empty object.
pub(super) async fn read<T: DeserializeOwned>(body: Body) -> Result<T, JsonRejection> {
    read_up_to(MAX_BODY, body).await
}

/// Reads a body with at most `limit` bytes. An empty body counts as an empty object.
pub(super) async fn read_up_to<T: DeserializeOwned>(
    limit: usize,
    body: Body,
) -> Result<T, JsonRejection> {
    let body = match body::read(body, limit).await {
        Ok(body) => body,
        Err(BodyError::TooLarge) => return Err(JsonRejection::TooLarge(limit)),
        Err(BodyError::EndedEarly) => return Err(JsonRejection::EndedEarly),
    };
    let body = if body.is_empty() { &b"{}"[..] } else { &body };
    // Only an object is accepted. serde would also accept a list, and would assign its items to the
    // fields by position.
    if body.trim_ascii_start().first().is_some_and(|first| b"[\"0123456789-tfn".contains(first)) {
        return Err(JsonRejection::Invalid("the body: expected an object".to_owned()));
    }
    let mut deserializer = serde_json::Deserializer::from_slice(body);
    let read = serde_path_to_error::deserialize(&mut deserializer).map_err(|error| {
        let path = error.path().to_string();
        wrong(&path, error.inner())
    });
    let value = read.map_err(JsonRejection::Invalid)?;
    deserializer.end().map_err(|error| JsonRejection::Invalid(wrong(".", &error)))?;
    Ok(value)
}

/// Returns a message that names the invalid field and says what is wrong. The message does not
/// repeat what the caller sent.
fn wrong(path: &str, error: &serde_json::Error) -> String {
    if !error.is_data() {
        return format!("the body is not JSON (line {}, column {})", error.line(), error.column());
    }
    let text = error.to_string();
    let text = text.rsplit_once(" at line ").map_or(&*text, |(text, _)| text);
    let field = if path == "." { "the body".to_owned() } else { format!("`{path}`") };
    if let Some(missing) = text.strip_prefix("missing field ") {
        return format!("{missing} is required");
    }
    match text.rsplit_once("expected ") {
        Some((_, expected)) => format!("{field}: expected {expected}"),
        None if text.starts_with("duplicate field") => {
            format!("{field}: a field is given twice")
        }
        None => format!("{field}: not as expected"),
    }
}

/// Makes a response with a JSON body.
pub(super) fn response(status: StatusCode, body: &impl Serialize) -> Response {
    match serde_json::to_vec(body) {
        Ok(text) => (status, [(CONTENT_TYPE, JSON)], text).into_response(),
        Err(error) => {
            tracing::error!(%error, "a response cannot be written as JSON");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}

#[cfg(test)]
mod tests {
    use ingestion_api::{GenerateRequest, RotateRequest, UpdateRequest};

    use super::*;

    async fn message<T: DeserializeOwned + std::fmt::Debug>(body: impl Into<Body>) -> String {
        read::<T>(body.into()).await.unwrap_err().to_string()
    }

    // Scenario: bodies have a field of a wrong type, lack a field, are not JSON, are too large, or
    // are empty.
    // Guarantee: the message names the field and does not repeat its value. Unknown fields are
    // accepted. An empty body counts as an empty object.
    #[tokio::test]
    async fn the_message_names_the_invalid_field() {
        assert_eq!(message::<GenerateRequest>(r#"{"name": 7}"#).await, "`name`: expected a string");
        assert_eq!(
            message::<GenerateRequest>(r#"{"name": "n", "expiration": "soon"}"#).await,
            "`expiration`: expected i64"
        );
        assert_eq!(
            message::<GenerateRequest>(r#"{"name": "n", "expiration": 9223372036854775808}"#).await,
            "`expiration`: expected i64"
        );
        assert_eq!(
            message::<GenerateRequest>(r#"{"description": "x"}"#).await,
            "`name` is required"
        );
        assert_eq!(message::<GenerateRequest>("").await, "`name` is required");
        assert_eq!(message::<GenerateRequest>("[1]").await, "the body: expected an object");
        assert_eq!(
            message::<UpdateRequest>(r#"{"enabled": "canary"}"#).await,
            "`enabled`: expected a boolean"
        );
        assert_eq!(message::<RotateRequest>(r#"{"overlap": -1}"#).await, "`overlap`: expected u64");
        assert_eq!(
            message::<GenerateRequest>("{\"name\":\n").await,
            "the body is not JSON (line 2, column 0)"
        );
        assert_eq!(
            message::<GenerateRequest>("{\"name\": \"n\"} x").await,
            "the body is not JSON (line 1, column 15)"
        );
        assert_eq!(
            message::<GenerateRequest>(vec![b' '; MAX_BODY + 1]).await,
            "the body has more than 65536 bytes"
        );
        assert_eq!(read::<RotateRequest>(Body::empty()).await.unwrap(), RotateRequest::default());
        assert_eq!(
            read::<GenerateRequest>(Body::from(r#"{"name":"n","more":{}}"#)).await.unwrap().name,
            "n"
        );
    }
}
