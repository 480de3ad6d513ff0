//! What a server answered.

use http::header::{CONTENT_TYPE, LOCATION};
use http::{HeaderMap, StatusCode};
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::error::{Failure, Kind};
use crate::printer::escape;

/// A text of the server that is longer is no message.
const MAX_TEXT: usize = 300;

/// An answer, read to its end.
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) trailers: HeaderMap,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    /// As in `404 Not Found`.
    pub(crate) fn status_line(&self) -> String {
        let reason =
            self.status.canonical_reason().map(|reason| format!(" {reason}")).unwrap_or_default();
        format!("{}{reason}", self.status.as_u16())
    }

    pub(crate) fn content_type(&self) -> String {
        self.headers
            .get(CONTENT_TYPE)
            .map_or_else(|| "no content type".to_owned(), |value| lossy(value.as_bytes()))
    }

    /// The body as JSON, if it is an object or a list.
    pub(crate) fn json(&self) -> Option<Value> {
        serde_json::from_slice(&self.body)
            .ok()
            .filter(|value: &Value| value.is_object() || value.is_array())
    }

    /// The body, when the status says that all is well.
    pub(crate) fn read<T: DeserializeOwned>(&self) -> Result<T, Failure> {
        serde_json::from_slice(&self.body).map_err(|error| {
            // Its text may quote the body, and a secret with it.
            let place = format!("line {}, column {}", error.line(), error.column());
            let message = match error.is_data() {
                true => format!(
                    "the server's answer has not the expected form ({} at {place})",
                    self.status_line()
                ),
                false => format!(
                    "the server's answer is not JSON ({}, {})",
                    self.status_line(),
                    self.content_type()
                ),
            };
            Failure::new(Kind::Answer, message)
                .with_hint("Check that --url and the API path lead to the API of StackState")
        })
    }

    /// What is wrong, when the status says that something is.
    pub(crate) fn failure(&self, kind: Kind) -> Failure {
        self.failure_with(kind, self.status.is_server_error())
    }

    /// The same, where trying again is not harmless.
    pub(crate) fn failure_without_retry(&self, kind: Kind) -> Failure {
        self.failure_with(kind, false)
    }

    fn failure_with(&self, kind: Kind, may_retry: bool) -> Failure {
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

    /// Whether the server has no such call, and not just no such thing.
    pub(crate) fn is_unknown_call(&self) -> bool {
        let has_message = self.json().is_some_and(|body| !messages(&body).is_empty());
        match self.status {
            StatusCode::NOT_FOUND => !has_message,
            status => {
                matches!(status, StatusCode::METHOD_NOT_ALLOWED | StatusCode::NOT_IMPLEMENTED)
            }
        }
    }

    fn hint(&self, is_json: bool, may_retry: bool) -> Option<String> {
        if self.status.is_redirection() {
            let location = self.headers.get(LOCATION).map(|value| lossy(value.as_bytes()));
            let to = location.map(|location| format!(" to {location}")).unwrap_or_default();
            return Some(format!(
                "The server redirects{to}. That is not followed, as the token would go there: give the right --url"
            ));
        }
        if !is_json && self.content_type().contains("html") {
            return Some(
                "The answer is a web page: check that --url and the API path lead to the API, and what stands in between"
                    .to_owned(),
            );
        }
        match self.status {
            StatusCode::FORBIDDEN => Some("The token is valid but may not do this".to_owned()),
            _ if may_retry => {
                Some("Try again; if it stays, look for it in the server's log".to_owned())
            }
            _ => None,
        }
    }

    /// A body that is a short text.
    fn plain_text(&self) -> Option<String> {
        let text = std::str::from_utf8(&self.body).ok()?.trim();
        let fits = !text.is_empty()
            && text.len() <= MAX_TEXT
            && self.content_type().starts_with("text/plain");
        fits.then(|| escape(text).into_owned())
    }
}

/// What an error body says, in any of the forms that servers have.
fn messages(body: &Value) -> Vec<String> {
    let errors =
        body.get("errors").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let all = std::iter::once(body)
        .chain(errors)
        .filter_map(|error| error.get("message").and_then(Value::as_str));
    all.map(|message| escape(message).into_owned()).collect()
}

fn lossy(bytes: &[u8]) -> String {
    escape(&String::from_utf8_lossy(bytes)).into_owned()
}
