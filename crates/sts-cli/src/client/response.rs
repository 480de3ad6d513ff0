//! The response of a server.

use http::header::{CONTENT_TYPE, LOCATION, WWW_AUTHENTICATE};
use http::{HeaderMap, StatusCode};
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::error::{Failure, FailureKind};
use crate::printer::escape;

/// The size of the longest plain text body that is printed as the message of an error, in bytes.
const MAX_MESSAGE_LEN: usize = 300;

/// A response with its complete body.
pub(crate) struct Response {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) trailers: HeaderMap,
    pub(crate) body: Vec<u8>,
}

impl Response {
    /// Returns the status and its name, as in `404 Not Found`.
    pub(crate) fn status_line(&self) -> String {
        let reason =
            self.status.canonical_reason().map(|reason| format!(" {reason}")).unwrap_or_default();
        format!("{}{reason}", self.status.as_u16())
    }

    /// Returns the content type, escaped.
    pub(crate) fn content_type(&self) -> String {
        self.headers
            .get(CONTENT_TYPE)
            .map_or_else(|| "no content type".to_owned(), |value| escape_bytes(value.as_bytes()))
    }

    /// Deserializes the body of a response whose status is a success.
    pub(crate) fn deserialize<T: DeserializeOwned>(&self) -> Result<T, Failure> {
        // The original client also replaces bytes that are not UTF-8.
        let text = String::from_utf8_lossy(&self.body);
        serde_json::from_str(&text).map_err(|error| {
            let status = self.status_line();
            // The text of the error may quote the body, and the body may contain a secret.
            let message = match text.trim() {
                "" => format!("the response of the server is empty ({status})"),
                "null" => format!("the response of the server is null ({status})"),
                _ if error.is_data() => format!(
                    "the response of the server does not have the expected fields ({status}, \
                     line {}, column {})",
                    error.line(),
                    error.column()
                ),
                _ => {
                    let content_type = self.content_type();
                    format!("the response of the server is not JSON ({status}, {content_type})")
                }
            };
            Failure::new(FailureKind::Response, message)
                .with_hint("Check that the URL and the API path are those of the API of StackState")
        })
    }

    /// Converts a response with an error status to the failure that is reported.
    pub(crate) fn failure(&self, kind: FailureKind) -> Failure {
        self.failure_with(kind, self.status.is_server_error())
    }

    /// Does the same as [`failure`](Self::failure), but does not advise to try again. Use this
    /// function for requests that may do harm if they are repeated.
    pub(crate) fn failure_without_retry(&self, kind: FailureKind) -> Failure {
        self.failure_with(kind, false)
    }

    /// Returns whether the server does not know the operation. If the server knows the operation
    /// but not the key, the result is false.
    pub(crate) fn is_unknown_operation(&self) -> bool {
        let has_message = self.json().is_some_and(|body| !messages(&body).is_empty());
        match self.status {
            StatusCode::NOT_FOUND => !has_message,
            status => {
                matches!(status, StatusCode::METHOD_NOT_ALLOWED | StatusCode::NOT_IMPLEMENTED)
            }
        }
    }

    /// Returns whether the content type is that of a web page.
    pub(crate) fn is_web_page(&self) -> bool {
        self.content_type().contains("html")
    }

    /// Returns whether the response is that of a receiver of telemetry.
    pub(crate) fn is_of_receiver(&self) -> bool {
        let mut challenges = self.headers.get_all(WWW_AUTHENTICATE).iter();
        let media_type = self.content_type();
        challenges.any(|value| value.to_str().is_ok_and(|text| text.contains("realm=\"otlp\"")))
            || media_type.starts_with("application/grpc")
            || media_type.starts_with("application/x-protobuf")
            // The status of OTLP has a number of gRPC as its code.
            || self.json().is_some_and(|body| body.get("code").is_some_and(Value::is_u64))
    }

    fn failure_with(&self, kind: FailureKind, may_retry: bool) -> Failure {
        let json = self.json();
        let messages = json.as_ref().map(messages).unwrap_or_default();
        let detail = match (messages.is_empty(), self.plain_text()) {
            (false, _) => format!(" ({})", messages.join("; ")),
            (true, Some(text)) => format!(" ({text})"),
            (true, None) => String::new(),
        };
        let failure = Failure::new(kind, self.status_line() + &detail);
        let failure = match self.hint(json.is_some(), may_retry) {
            Some(hint) => failure.with_hint(&hint),
            None => failure,
        };
        failure.with_body(json)
    }

    fn hint(&self, is_json: bool, may_retry: bool) -> Option<String> {
        if self.status.is_redirection() {
            let location = self.headers.get(LOCATION).map(|value| escape_bytes(value.as_bytes()));
            let to = location.map(|location| format!(" to {location}")).unwrap_or_default();
            return Some(format!(
                "The server redirects{to}. Redirects are not followed, because the token would be \
                 sent there: correct the URL"
            ));
        }
        if !is_json && self.is_web_page() {
            return Some(
                "The response is a web page: check that the URL and the API path are those of the \
                 API, and that no proxy responds instead"
                    .to_owned(),
            );
        }
        match self.status {
            StatusCode::FORBIDDEN => {
                Some("The token is valid but does not have the permission: use another one".into())
            }
            _ if may_retry => {
                Some("Try again; if the error persists, see the log of the server".to_owned())
            }
            _ => None,
        }
    }

    /// Returns the body as JSON, if it is an object or an array.
    fn json(&self) -> Option<Value> {
        serde_json::from_slice(&self.body)
            .ok()
            .filter(|value: &Value| value.is_object() || value.is_array())
    }

    /// Returns the body, escaped, if it is a short plain text.
    fn plain_text(&self) -> Option<String> {
        let text = std::str::from_utf8(&self.body).ok()?.trim();
        let is_message = !text.is_empty()
            && text.len() <= MAX_MESSAGE_LEN
            && self.content_type().starts_with("text/plain");
        is_message.then(|| escape(text).into_owned())
    }
}

/// Returns the messages of an error body. The body has either the field `message`, or the field
/// `errors` with a list of objects that have `message`.
fn messages(body: &Value) -> Vec<String> {
    let errors =
        body.get("errors").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let all = std::iter::once(body)
        .chain(errors)
        .filter_map(|error| error.get("message").and_then(Value::as_str));
    all.map(|message| escape(message).into_owned()).collect()
}

fn escape_bytes(bytes: &[u8]) -> String {
    escape(&String::from_utf8_lossy(bytes)).into_owned()
}
