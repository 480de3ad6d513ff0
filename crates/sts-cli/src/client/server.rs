//! A client of the management API.

use http::{HeaderValue, Method, StatusCode};
use ingestion_api::{
    GenerateRequest, GeneratedKey, IngestionApiKey, KeyRole, RotateRequest, ServerInfo,
    UpdateRequest, header, route,
};
use reqwest::{RequestBuilder, Url};
use secrecy::ExposeSecret;
use semver::Version;
use serde::Serialize;

use super::{Connection, Http, Response, TransportError, warn_if_unencrypted};
use crate::config::{Settings, Token, problem};
use crate::error::{Failure, FailureKind};
use crate::printer::{Printer, escape};

/// The oldest server that the commands on keys work with.
pub(crate) const MINIMUM_SERVER: &str = "5.0.0";

/// The hint for a request that may have created a key, although no valid response arrived.
const KEY_MAY_EXIST: &str =
    "A key may have been created nevertheless: check with `sts ingestion-api-key list`";

/// The hints for an operation that the server does not know. StackState has no operation to change
/// or to rotate a key.
const TOO_OLD: &str = "The server may be too old for this operation";
const NEEDS_GATEWAY: &str =
    "The server does not know this operation: it needs the ingestion gateway";

/// The hint for a response that the management API does not send.
const NOT_MANAGEMENT: &str = "The management API is not there: check the host, the port and the API path (the gateway has \
     it at port 7070, unless it is configured otherwise)";

/// A client of the management API of one server.
pub(crate) struct Server {
    http: Http,
    /// The URL of the API, without a slash at its end.
    url: String,
    /// The URL of the API, escaped for messages.
    display_url: String,
    token: (&'static str, HeaderValue),
    /// A hint for the case that the URL of the server already ends with the path of the API.
    doubled_path: Option<String>,
}

impl Server {
    /// Makes a client without sending a request.
    pub(crate) fn new(
        settings: &Settings,
        connection: &Connection,
        printer: Printer,
    ) -> Result<Self, Failure> {
        let invalid = |error: &dyn std::fmt::Display| {
            Failure::new(
                FailureKind::Configuration,
                format!("the URL of the API is invalid ({error})"),
            )
            .with_hint("Give a URL such as https://stackstate.example and an API path such as /api")
        };
        let base = Url::parse(&settings.url).map_err(|error| invalid(&error))?;
        let url = api_url(&settings.url, &settings.api_path);
        Url::parse(&url).map_err(|error| invalid(&error))?;
        warn_if_unencrypted(&base, &printer);
        let (name, token, kind) = match &settings.token {
            Token::Api(token) => (header::API_TOKEN, token, "api-token"),
            Token::Service(token) => (header::API_KEY, token, "service-token"),
            Token::Kubernetes(token) => (header::SERVICE_BEARER, token, "k8s-sa-token"),
        };
        let refused =
            |problem| Failure::new(FailureKind::Configuration, format!("the {kind} {problem}"));
        if let Some(problem) = problem(token.expose_secret()) {
            return Err(refused(problem));
        }
        let mut value = HeaderValue::from_str(token.expose_secret())
            .map_err(|_| refused("cannot be sent in an HTTP header"))?;
        value.set_sensitive(true);
        let http = Http::new(&base, connection, false, printer)?;
        let doubled_path = doubled_path(&settings.url, &base, &settings.api_path);
        let display_url = escape(&url).into_owned();
        Ok(Self { http, display_url, url, token: (name, value), doubled_path })
    }

    /// Requests information about the server. Every failure has the kind
    /// [`Connection`](FailureKind::Connection).
    pub(crate) fn info(&self) -> Result<ServerInfo, Failure> {
        let response = self.send(self.request(Method::GET, route::SERVER_INFO))?;
        let result = match response.status {
            status if status.is_success() => response.deserialize(),
            StatusCode::UNAUTHORIZED if !response.is_of_receiver() => {
                return Err(self.with_path_hint(self.invalid_token()));
            }
            StatusCode::UNAUTHORIZED
            | StatusCode::NOT_FOUND
            | StatusCode::METHOD_NOT_ALLOWED
            | StatusCode::UNSUPPORTED_MEDIA_TYPE
                if self.doubled_path.is_none() && !response.is_web_page() =>
            {
                Err(response.failure(FailureKind::Connection).with_hint(NOT_MANAGEMENT))
            }
            _ => Err(response.failure(FailureKind::Connection)),
        };
        result.map_err(|failure| self.with_path_hint(self.connection_failure(&failure)))
    }

    /// Checks that the server can be reached, accepts the token, and is not too old.
    pub(crate) fn connect(&self) -> Result<(), Failure> {
        let version = self.info()?.version.to_string();
        let minimum = Version::parse(MINIMUM_SERVER).ok();
        let is_new_enough = Version::parse(&version).is_ok_and(|version| {
            minimum.is_some_and(|minimum| version.cmp_precedence(&minimum).is_ge())
        });
        if is_new_enough {
            return Ok(());
        }
        let text = format!(
            "this command needs StackState {MINIMUM_SERVER} or later, but {} has version {}",
            self.display_url,
            escape(&version)
        );
        Err(Failure::new(FailureKind::ServerTooOld, text).with_hint("Upgrade the server"))
    }

    /// Lists the keys for ingestion.
    pub(crate) fn list(&self) -> Result<Vec<IngestionApiKey>, Failure> {
        self.list_at(route::API_KEYS)
    }

    /// Lists the tokens of followers.
    pub(crate) fn list_tokens(&self) -> Result<Vec<IngestionApiKey>, Failure> {
        let mut tokens = self.list_at(&format!("{}?role=follower", route::API_KEYS))?;
        // A server that does not know roles lists the keys for ingestion.
        tokens.retain(|token| token.role == Some(KeyRole::Follower));
        Ok(tokens)
    }

    fn list_at(&self, path: &str) -> Result<Vec<IngestionApiKey>, Failure> {
        let response = self.call(self.request(Method::GET, path), TOO_OLD)?;
        // The original client reads an empty body and null as an empty list, and a null in the list
        // as a key whose fields are empty.
        if response.body.is_empty() {
            return Ok(Vec::new());
        }
        let keys: Option<Vec<Option<_>>> = response.deserialize()?;
        Ok(keys.into_iter().flatten().map(Option::unwrap_or_default).collect())
    }

    pub(crate) fn create(&self, key: &GenerateRequest) -> Result<GeneratedKey, Failure> {
        self.generate(self.request(Method::POST, route::API_KEYS), key, TOO_OLD)
    }

    pub(crate) fn rotate(&self, id: i64, rotation: RotateRequest) -> Result<GeneratedKey, Failure> {
        self.generate(self.request(Method::POST, &route::rotate(id)), &rotation, NEEDS_GATEWAY)
    }

    /// Requests one key. Returns `None` if the server does not know this operation.
    pub(crate) fn get(&self, id: i64) -> Result<Option<IngestionApiKey>, Failure> {
        let response = self.send(self.request(Method::GET, &route::api_key(id)))?;
        if response.is_unknown_operation() {
            Ok(None)
        } else {
            self.successful(response, TOO_OLD)?.deserialize().map(Some)
        }
    }

    pub(crate) fn update(
        &self,
        id: i64,
        change: &UpdateRequest,
    ) -> Result<IngestionApiKey, Failure> {
        let request = self.request(Method::PATCH, &route::api_key(id));
        self.call(with_body(request, change)?, NEEDS_GATEWAY)?.deserialize()
    }

    pub(crate) fn delete(&self, id: i64) -> Result<(), Failure> {
        self.call(self.request(Method::DELETE, &route::api_key(id)), TOO_OLD).map(|_| ())
    }

    /// Sends a request that creates a key. If the response is lost, the key may exist although
    /// nobody knows its secret. In this case, a hint says that a key may exist.
    fn generate(
        &self,
        request: RequestBuilder,
        body: &impl Serialize,
        unknown: &str,
    ) -> Result<GeneratedKey, Failure> {
        let request = with_body(request, body)?;
        let response = self.http.send(request).map_err(|error| {
            let failure = self.transport_failure(&error);
            // If there was no connection, the request was not sent, so no key was created.
            if matches!(&error, TransportError::Send(error) if error.is_connect()) {
                failure
            } else {
                failure.with_hint(KEY_MAY_EXIST)
            }
        })?;
        if matches!(response.status.as_u16(), 500 | 502 | 504) {
            // The server may have created the key before the error occurred. If the error comes
            // from a proxy, the server may still have received the request. A second request would
            // create a second key.
            let failure = response.failure_without_retry(FailureKind::Response);
            return Err(failure.with_hint(KEY_MAY_EXIST));
        }
        let response = self.successful(response, unknown)?;
        let key = response.deserialize().and_then(|key: GeneratedKey| {
            if key.api_key.expose_secret().is_empty() {
                let status = response.status_line();
                let message = format!("the response of the server has an empty key ({status})");
                return Err(Failure::new(FailureKind::Response, message));
            }
            Ok(key)
        });
        key.map_err(|failure| failure.with_hint(KEY_MAY_EXIST))
    }

    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let (name, token) = &self.token;
        let request = self.http.client().request(method, format!("{}{path}", self.url));
        request.header(*name, token).header(http::header::ACCEPT, "application/json")
    }

    /// Sends a request and returns the response. A response without a success status is a failure.
    /// If the server does not know the operation, `unknown` is the hint.
    fn call(&self, request: RequestBuilder, unknown: &str) -> Result<Response, Failure> {
        let response = self.send(request)?;
        self.successful(response, unknown)
    }

    fn send(&self, request: RequestBuilder) -> Result<Response, Failure> {
        self.http.send(request).map_err(|error| self.transport_failure(&error))
    }

    fn successful(&self, response: Response, unknown: &str) -> Result<Response, Failure> {
        match response.status {
            status if status.is_success() => Ok(response),
            StatusCode::UNAUTHORIZED => Err(self.invalid_token()),
            _ if response.is_unknown_operation() => {
                Err(response.failure(FailureKind::Response).with_hint(unknown))
            }
            _ => Err(response.failure(FailureKind::Response)),
        }
    }

    fn transport_failure(&self, error: &TransportError) -> Failure {
        let reason = error.to_string();
        let message = format!("could not connect to {} ({})", self.display_url, escape(&reason));
        Failure::new(FailureKind::Connection, message).with_hint(error.hint())
    }

    /// Converts the failure of a request for information about the server to a failure to connect.
    fn connection_failure(&self, failure: &Failure) -> Failure {
        let (reason, hints) = failure.message.split_once('\n').unwrap_or((&failure.message, ""));
        let message = format!("could not connect to {} ({reason})", self.display_url);
        let connection =
            Failure::new(FailureKind::Connection, message).with_body(failure.body.clone());
        if hints.is_empty() { connection } else { connection.with_hint(hints) }
    }

    fn with_path_hint(&self, failure: Failure) -> Failure {
        match &self.doubled_path {
            Some(hint) => failure.with_hint(hint),
            None => failure,
        }
    }

    fn invalid_token(&self) -> Failure {
        let message = format!("could not connect to {}: invalid api-token", self.display_url);
        Failure::new(FailureKind::Connection, message).with_hint(
            "Check the token and its kind (API token, service token or Kubernetes token); to save \
             another one see `sts context save --help`",
        )
    }
}

/// Returns a hint if the URL of the server already ends with the path of the API, so that the URL
/// of the API has the path twice. `base` is `url`, parsed.
fn doubled_path(url: &str, base: &Url, api_path: &str) -> Option<String> {
    let api_path = format!("/{}", api_path.trim_matches('/'));
    if api_path == "/" || !base.path().trim_end_matches('/').ends_with(&api_path) {
        return None;
    }
    let without = url.trim_end_matches('/').strip_suffix(&api_path)?;
    Some(format!(
        "The URL ends with {api_path}, and the API path {api_path} is added to it: write --url {}",
        escape(without)
    ))
}

/// Joins the URL of a server and the path of its API. The result has no slash at the end.
fn api_url(url: &str, api_path: &str) -> String {
    format!("{}/{}", url.trim_end_matches('/'), api_path.trim_start_matches('/'))
        .trim_matches('/')
        .to_owned()
}

/// Adds a JSON body to a request. The body ends with a line end, as in the original command.
fn with_body(request: RequestBuilder, body: &impl Serialize) -> Result<RequestBuilder, Failure> {
    let mut text = serde_json::to_string(body).map_err(std::io::Error::from)?;
    text.push('\n');
    Ok(request.header(http::header::CONTENT_TYPE, "application/json").body(text))
}
