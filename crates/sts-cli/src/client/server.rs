//! A client of the management API.

use http::{HeaderValue, Method, StatusCode};
use ingestion_api::{
    GenerateRequest, GeneratedKey, IngestionApiKey, RotateRequest, ServerInfo, UpdateRequest,
    header, route,
};
use reqwest::{RequestBuilder, Url};
use secrecy::ExposeSecret;
use semver::Version;
use serde::Serialize;

use super::{Connection, Http, Response, TransportError, warn_if_unencrypted};
use crate::config::{Settings, Token};
use crate::error::{Failure, FailureKind};
use crate::printer::{Printer, escape};

/// The oldest server that the commands on keys work with.
pub(crate) const MINIMUM_SERVER: &str = "5.0.0";

/// The hint for a request that may have created a key, although no valid response arrived.
const KEY_MAY_EXIST: &str =
    "A key may have been created nevertheless: check with `sts ingestion-api-key list`";

/// A client of the management API of one server.
pub(crate) struct Server {
    http: Http,
    /// The URL of the API, without a slash at its end.
    url: String,
    /// The URL of the API, escaped for messages.
    display_url: String,
    token: (&'static str, HeaderValue),
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
        let mut value = HeaderValue::from_str(token.expose_secret()).map_err(|_| {
            Failure::new(
                FailureKind::Configuration,
                format!("the {kind} has a character that is not allowed in an HTTP header"),
            )
        })?;
        value.set_sensitive(true);
        let http = Http::new(&base, connection, false, printer)?;
        Ok(Self { http, display_url: escape(&url).into_owned(), url, token: (name, value) })
    }

    /// Requests information about the server. Every failure has the kind
    /// [`Connection`](FailureKind::Connection).
    pub(crate) fn info(&self) -> Result<ServerInfo, Failure> {
        let response = self.send(self.request(Method::GET, route::SERVER_INFO))?;
        if response.status == StatusCode::UNAUTHORIZED {
            return Err(self.invalid_token());
        }
        let result = if response.status.is_success() {
            response.deserialize()
        } else {
            Err(response.failure(FailureKind::Connection))
        };
        result.map_err(|failure| self.connection_failure(&failure))
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

    pub(crate) fn list(&self) -> Result<Vec<IngestionApiKey>, Failure> {
        self.call(self.request(Method::GET, route::API_KEYS))?.deserialize()
    }

    pub(crate) fn create(&self, key: &GenerateRequest) -> Result<GeneratedKey, Failure> {
        self.generate(self.request(Method::POST, route::API_KEYS), key)
    }

    pub(crate) fn rotate(&self, id: i64, rotation: RotateRequest) -> Result<GeneratedKey, Failure> {
        self.generate(self.request(Method::POST, &route::rotate(id)), &rotation)
    }

    /// Requests one key. Returns `None` if the server does not know this operation.
    pub(crate) fn get(&self, id: i64) -> Result<Option<IngestionApiKey>, Failure> {
        let response = self.send(self.request(Method::GET, &route::api_key(id)))?;
        if response.is_unknown_operation() {
            Ok(None)
        } else {
            self.successful(response)?.deserialize().map(Some)
        }
    }

    pub(crate) fn update(
        &self,
        id: i64,
        change: &UpdateRequest,
    ) -> Result<IngestionApiKey, Failure> {
        let request = self.request(Method::PATCH, &route::api_key(id));
        self.call(with_body(request, change)?)?.deserialize()
    }

    pub(crate) fn delete(&self, id: i64) -> Result<(), Failure> {
        self.call(self.request(Method::DELETE, &route::api_key(id))).map(|_| ())
    }

    /// Sends a request that creates a key. If the response is lost, the key may exist although
    /// nobody knows its secret. In this case, a hint says that a key may exist.
    fn generate(
        &self,
        request: RequestBuilder,
        body: &impl Serialize,
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
        let key = self.successful(response)?.deserialize();
        key.map_err(|failure: Failure| failure.with_hint(KEY_MAY_EXIST))
    }

    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let (name, token) = &self.token;
        let request = self.http.client().request(method, format!("{}{path}", self.url));
        request.header(*name, token).header(http::header::ACCEPT, "application/json")
    }

    /// Sends a request and returns the response. A response without a success status is a failure.
    fn call(&self, request: RequestBuilder) -> Result<Response, Failure> {
        let response = self.send(request)?;
        self.successful(response)
    }

    fn send(&self, request: RequestBuilder) -> Result<Response, Failure> {
        self.http.send(request).map_err(|error| self.transport_failure(&error))
    }

    fn successful(&self, response: Response) -> Result<Response, Failure> {
        match response.status {
            status if status.is_success() => Ok(response),
            StatusCode::UNAUTHORIZED => Err(self.invalid_token()),
            _ if response.is_unknown_operation() => Err(response
                .failure(FailureKind::Response)
                .with_hint("The server may be too old for this operation")),
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

    fn invalid_token(&self) -> Failure {
        let message = format!("could not connect to {}: invalid api-token", self.display_url);
        Failure::new(FailureKind::Connection, message).with_hint(
            "Check the token and its kind (API token, service token or Kubernetes token); to save \
             another one see `sts context save --help`",
        )
    }
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
