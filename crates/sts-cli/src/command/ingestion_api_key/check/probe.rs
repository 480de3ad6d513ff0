//! Asks an endpoint whether it accepts a key.

use std::fmt;

use http::header::{AUTHORIZATION, CONTENT_TYPE, TE};
use http::{HeaderValue, StatusCode};
use ingestion_api::{header, route};
use otlp_auth::Credential;
use percent_encoding::percent_decode;
use reqwest::{RequestBuilder, Url};
use secrecy::{ExposeSecret, SecretString};

use crate::client::{Connection, Http, Response};
use crate::error::Failure;
use crate::printer::{Printer, escape};

const EXPORT: &str = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";

/// An empty, uncompressed gRPC message. It consists only of the prefix of five bytes.
const EMPTY_MESSAGE: &[u8] = &[0; 5];

/// A request to an endpoint, with the key and without telemetry.
pub(super) struct Probe<'a> {
    pub(super) target: Target,
    pub(super) url: &'a Url,
    pub(super) scheme: &'a str,
    pub(super) key: &'a SecretString,
}

/// The kind of an endpoint.
#[derive(Clone, Copy)]
pub(super) enum Target {
    OtlpGrpc,
    OtlpHttp,
    Agent,
}

/// What the response to a probe means.
pub(super) enum Outcome {
    Accepted,
    Refused(String),
    /// The endpoint cannot decide about the key, or cannot pass telemetry on. Senders of telemetry
    /// retry in this case.
    Undecided(String),
    /// An endpoint of the requested kind does not send such a response.
    Unexpected(String),
    /// There is no response. The text says why, and what the user can do.
    Unreachable(String),
    /// The key cannot be sent in a header.
    Unsendable(String),
}

impl Target {
    /// Returns the name of the endpoint, which is also the name of its flag.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::OtlpGrpc => "otlp-grpc",
            Self::OtlpHttp => "otlp-http",
            Self::Agent => "agent",
        }
    }

    fn outcome(self, response: &Response) -> Outcome {
        let line = response.status_line();
        match (self, response.status) {
            (Self::OtlpGrpc, StatusCode::OK) => grpc_outcome(response),
            (_, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) => Outcome::Refused(line),
            (
                _,
                StatusCode::TOO_MANY_REQUESTS
                | StatusCode::BAD_GATEWAY
                | StatusCode::SERVICE_UNAVAILABLE
                | StatusCode::GATEWAY_TIMEOUT,
            ) => Outcome::Undecided(line),
            (Self::OtlpHttp, status) if status.is_success() && is_otlp(response) => {
                Outcome::Accepted
            }
            (Self::Agent, StatusCode::OK) if media_type(response) != "text/html" => {
                Outcome::Accepted
            }
            (_, status) if status.is_success() => {
                Outcome::Unexpected(format!("{line}, {}", response.content_type()))
            }
            _ => Outcome::Unexpected(line),
        }
    }
}

impl Probe<'_> {
    pub(super) fn run(
        &self,
        connection: &Connection,
        printer: Printer,
    ) -> Result<Outcome, Failure> {
        let value = match Credential::new(self.scheme, self.key.expose_secret()) {
            Ok(credential) => credential.to_header_value(),
            Err(error) => return Ok(Outcome::Unsendable(error.to_string())),
        };
        let http =
            Http::new(self.url, connection, matches!(self.target, Target::OtlpGrpc), printer)?;
        Ok(match http.send(self.request(&http, value)) {
            Ok(response) => self.target.outcome(&response),
            Err(error) => {
                Outcome::Unreachable(format!("{}. {}", escape(&error.to_string()), error.hint()))
            }
        })
    }

    fn request(&self, http: &Http, credential: HeaderValue) -> RequestBuilder {
        let path = self.url.path().trim_end_matches('/');
        let to = |path: String| {
            let mut url = self.url.clone();
            url.set_path(&path);
            url
        };
        match self.target {
            Target::OtlpGrpc => {
                let request = http
                    .client()
                    .post(to(format!("{path}{EXPORT}")))
                    .header(AUTHORIZATION, credential);
                request
                    .header(CONTENT_TYPE, "application/grpc")
                    .header(TE, "trailers")
                    .body(EMPTY_MESSAGE)
            }
            Target::OtlpHttp => {
                let path = if path.ends_with("/v1/traces") {
                    path.to_owned()
                } else {
                    format!("{path}/v1/traces")
                };
                let request = http.client().post(to(path)).header(AUTHORIZATION, credential);
                request.header(CONTENT_TYPE, "application/x-protobuf").body("")
            }
            Target::Agent => {
                let prefix =
                    if path.ends_with(route::AGENT_PREFIX) { "" } else { route::AGENT_PREFIX };
                let request = http.client().get(to(format!("{path}{prefix}{}", route::VALIDATE)));
                // Agents send the key without a scheme.
                request.header(header::STS_API_KEY, raw_key(self.key).unwrap_or(credential))
            }
        }
    }
}

impl Outcome {
    pub(super) fn is_accepted(&self) -> bool {
        matches!(self, Self::Accepted)
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Accepted => f.write_str("accepted"),
            Self::Refused(response) => write!(f, "refused ({response})"),
            Self::Undecided(response) => {
                write!(
                    f,
                    "the endpoint cannot accept or refuse it now ({response}): try again later"
                )
            }
            Self::Unexpected(response) => {
                write!(f, "unexpected response ({response}): check the URL")
            }
            Self::Unreachable(reason) => write!(f, "no response ({reason})"),
            Self::Unsendable(reason) => {
                write!(f, "not checked, because the key cannot be sent in a header: {reason}")
            }
        }
    }
}

/// Returns whether an OTLP/HTTP receiver may send this response. The status 200 is not sufficient,
/// because a gRPC port and some web servers respond with 200 to every request.
fn is_otlp(response: &Response) -> bool {
    match media_type(response).as_str() {
        "application/x-protobuf" | "application/json" => true,
        "" => response.body.is_empty(),
        _ => false,
    }
}

/// Returns the content type in lower case, without parameters such as `charset`. If the response
/// has no content type, the result is empty.
fn media_type(response: &Response) -> String {
    let value = response
        .headers
        .get(CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}

/// Converts the gRPC status to an outcome. The status is in the trailers, or in the headers if the
/// response has no body.
fn grpc_outcome(response: &Response) -> Outcome {
    let field = |name| {
        let value = response.trailers.get(name).or_else(|| response.headers.get(name));
        // gRPC percent-encodes messages.
        let text = value.map(|value| percent_decode(value.as_bytes()).decode_utf8_lossy());
        text.map(|text| escape(&text).into_owned())
    };
    let Some(code) = field("grpc-status") else {
        return Outcome::Unexpected("no gRPC status".to_owned());
    };
    let message = field("grpc-message").filter(|message| !message.is_empty());
    let message = message.map(|message| format!(", {message}")).unwrap_or_default();
    let text = format!("gRPC status {code}{message}");
    match code.as_str() {
        "0" => Outcome::Accepted,
        "7" | "16" => Outcome::Refused(text),
        "4" | "8" | "14" => Outcome::Undecided(text),
        _ => Outcome::Unexpected(text),
    }
}

/// Converts the key to a header value without a scheme.
fn raw_key(key: &SecretString) -> Option<HeaderValue> {
    let mut value = HeaderValue::from_str(key.expose_secret()).ok()?;
    value.set_sensitive(true);
    Some(value)
}
