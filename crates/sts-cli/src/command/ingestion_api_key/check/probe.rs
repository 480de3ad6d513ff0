//! What an endpoint answers to a key.

use std::fmt;

use http::header::{AUTHORIZATION, CONTENT_TYPE, TE};
use http::{HeaderValue, StatusCode};
use ingestion_api::{header, route};
use otlp_auth::Credential;
use reqwest::{RequestBuilder, Url};
use secrecy::{ExposeSecret, SecretString};

use crate::client::{Answer, Connection, Http};
use crate::error::Failure;
use crate::printer::{Printer, escape};

const EXPORT: &str = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";

/// A gRPC message of no bytes, not compressed.
const EMPTY_MESSAGE: &[u8] = &[0; 5];

/// A question to an endpoint: a request without data.
pub(super) struct Probe<'a> {
    pub(super) target: Target,
    pub(super) url: &'a Url,
    pub(super) scheme: &'a str,
    pub(super) key: &'a SecretString,
}

/// What kind of endpoint it is.
#[derive(Clone, Copy)]
pub(super) enum Target {
    OtlpGrpc,
    OtlpHttp,
    Agent,
}

/// What became of the question.
pub(super) enum Outcome {
    Accepted,
    Refused(String),
    /// It could not say; it is asked again by senders.
    Undecided(String),
    /// An answer to something else.
    Strange(String),
    /// No answer, and what to do.
    Silent(String),
    /// The key cannot be sent at all.
    Unsendable(String),
}

impl Target {
    /// As its flag is called.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::OtlpGrpc => "otlp-grpc",
            Self::OtlpHttp => "otlp-http",
            Self::Agent => "agent",
        }
    }

    fn outcome(self, answer: &Answer) -> Outcome {
        let line = answer.status_line();
        match (self, answer.status) {
            (Self::OtlpGrpc, StatusCode::OK) => grpc_outcome(answer),
            (_, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) => Outcome::Refused(line),
            (
                _,
                StatusCode::TOO_MANY_REQUESTS
                | StatusCode::BAD_GATEWAY
                | StatusCode::SERVICE_UNAVAILABLE
                | StatusCode::GATEWAY_TIMEOUT,
            ) => Outcome::Undecided(line),
            (Self::OtlpHttp, status) if status.is_success() && is_otlp(answer) => Outcome::Accepted,
            (Self::Agent, StatusCode::OK) if media_type(answer) != "text/html" => Outcome::Accepted,
            (_, status) if status.is_success() => {
                Outcome::Strange(format!("{line}, {}", answer.content_type()))
            }
            _ => Outcome::Strange(line),
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
            Ok(answer) => self.target.outcome(&answer),
            Err(trouble) => {
                Outcome::Silent(format!("{}. {}", escape(&trouble.to_string()), trouble.hint()))
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
                // The key alone, as agents send it.
                request.header(header::STS_API_KEY, bare(self.key).unwrap_or(credential))
            }
        }
    }
}

impl Outcome {
    pub(super) fn is_accepted(&self) -> bool {
        matches!(self, Self::Accepted)
    }

    pub(super) fn is_silent(&self) -> bool {
        matches!(self, Self::Silent(_))
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Accepted => f.write_str("accepted"),
            Self::Refused(answer) => write!(f, "refused ({answer})"),
            Self::Undecided(answer) => write!(f, "it could not decide ({answer}): try again"),
            Self::Strange(answer) => {
                write!(f, "an unexpected answer ({answer}): is it the right URL?")
            }
            Self::Silent(reason) => write!(f, "no answer ({reason})"),
            Self::Unsendable(reason) => write!(f, "not asked, as the key cannot be sent: {reason}"),
        }
    }
}

/// Whether a receiver of OTLP/HTTP may have answered so. A port of gRPC and a web server answer 200
/// to anything.
fn is_otlp(answer: &Answer) -> bool {
    match media_type(answer).as_str() {
        "application/x-protobuf" | "application/json" => true,
        "" => answer.body.is_empty(),
        _ => false,
    }
}

/// The content type in lower case, without its parameters; empty if there is none.
fn media_type(answer: &Answer) -> String {
    let value =
        answer.headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}

/// By the status in the trailers, or in the headers where there is nothing else.
fn grpc_outcome(answer: &Answer) -> Outcome {
    let field = |name| {
        let value = answer.trailers.get(name).or_else(|| answer.headers.get(name));
        value.map(|value| escape(&String::from_utf8_lossy(value.as_bytes())).into_owned())
    };
    let Some(code) = field("grpc-status") else {
        return Outcome::Strange("no gRPC status".to_owned());
    };
    let message = field("grpc-message").map(|message| format!(", {message}")).unwrap_or_default();
    let text = format!("gRPC status {code}{message}");
    match code.as_str() {
        "0" => Outcome::Accepted,
        "7" | "16" => Outcome::Refused(text),
        "4" | "8" | "14" => Outcome::Undecided(text),
        _ => Outcome::Strange(text),
    }
}

fn bare(key: &SecretString) -> Option<HeaderValue> {
    let mut value = HeaderValue::from_str(key.expose_secret()).ok()?;
    value.set_sensitive(true);
    Some(value)
}
