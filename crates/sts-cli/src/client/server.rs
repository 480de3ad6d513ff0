//! The management API.

use http::{HeaderValue, Method, StatusCode};
use ingestion_api::{
    GenerateRequest, GeneratedKey, IngestionApiKey, RotateRequest, ServerInfo, UpdateRequest,
    header, route,
};
use reqwest::{RequestBuilder, Url};
use secrecy::ExposeSecret;
use semver::Version;
use serde::Serialize;

use super::{Answer, Connection, Http, Trouble, warn_of_plaintext};
use crate::config::{Settings, Token};
use crate::error::{Failure, Kind};
use crate::printer::{Printer, escape};

/// The oldest server that the commands on keys work with.
pub(crate) const MINIMUM_SERVER: &str = "5.0.0";

/// A server, asked with a token.
pub(crate) struct Server {
    http: Http,
    /// The URL of the API, without a slash at its end.
    url: String,
    /// The same for messages.
    shown: String,
    token: (&'static str, HeaderValue),
}

impl Server {
    /// Nothing is asked yet.
    pub(crate) fn new(
        settings: &Settings,
        connection: &Connection,
        printer: Printer,
    ) -> Result<Self, Failure> {
        let join = |url: &str| {
            format!("{}/{}", url.trim_end_matches('/'), settings.api_path.trim_start_matches('/'))
                .trim_matches('/')
                .to_owned()
        };
        let invalid = |error: &dyn std::fmt::Display| {
            Failure::new(Kind::Configuration, format!("the URL is none ({error})"))
        };
        let base = Url::parse(&settings.url).map_err(|error| invalid(&error))?;
        let url = join(&settings.url);
        Url::parse(&url).map_err(|error| invalid(&error))?;
        warn_of_plaintext(&base, &printer);
        let (name, token, what) = match &settings.token {
            Token::Api(token) => (header::API_TOKEN, token, "api-token"),
            Token::Service(token) => (header::API_KEY, token, "service-token"),
            Token::Kubernetes(token) => (header::SERVICE_BEARER, token, "k8s-sa-token"),
        };
        let mut value = HeaderValue::from_str(token.expose_secret()).map_err(|_| {
            Failure::new(
                Kind::Configuration,
                format!("the {what} has a character that no header can carry"),
            )
        })?;
        value.set_sensitive(true);
        let http = Http::new(&base, connection, false, printer)?;
        Ok(Self { http, shown: escape(&url).into_owned(), url, token: (name, value) })
    }

    /// What the server is. Any failure means that there is no connection.
    pub(crate) fn info(&self) -> Result<ServerInfo, Failure> {
        let answer = self.send(self.request(Method::GET, route::SERVER_INFO))?;
        if answer.status == StatusCode::UNAUTHORIZED {
            return Err(self.bad_token());
        }
        let result = if answer.status.is_success() {
            answer.read()
        } else {
            Err(answer.failure(Kind::Connection))
        };
        result.map_err(|failure| self.no_connection(&failure))
    }

    /// Makes sure that the server is there, takes the token, and is not too old.
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
            "this command needs StackState {MINIMUM_SERVER} or newer, and {} is {}",
            self.shown,
            escape(&version)
        );
        Err(Failure::new(Kind::ServerTooOld, text))
    }

    pub(crate) fn list(&self) -> Result<Vec<IngestionApiKey>, Failure> {
        self.call(self.request(Method::GET, route::API_KEYS))?.read()
    }

    pub(crate) fn create(&self, key: &GenerateRequest) -> Result<GeneratedKey, Failure> {
        self.generate(self.request(Method::POST, route::API_KEYS), key)
    }

    pub(crate) fn rotate(&self, id: i64, rotation: RotateRequest) -> Result<GeneratedKey, Failure> {
        self.generate(self.request(Method::POST, &route::rotate(id)), &rotation)
    }

    /// The key; nothing if the server has no call for a single one.
    pub(crate) fn get(&self, id: i64) -> Result<Option<IngestionApiKey>, Failure> {
        let answer = self.send(self.request(Method::GET, &route::api_key(id)))?;
        if answer.is_unknown_call() { Ok(None) } else { self.checked(answer)?.read().map(Some) }
    }

    pub(crate) fn update(
        &self,
        id: i64,
        change: &UpdateRequest,
    ) -> Result<IngestionApiKey, Failure> {
        self.call(with_body(self.request(Method::PATCH, &route::api_key(id)), change)?)?.read()
    }

    pub(crate) fn delete(&self, id: i64) -> Result<(), Failure> {
        self.call(self.request(Method::DELETE, &route::api_key(id))).map(|_| ())
    }

    /// A call that makes a key. If its answer is lost, so is the key, and not its effect.
    fn generate(
        &self,
        request: RequestBuilder,
        body: &impl Serialize,
    ) -> Result<GeneratedKey, Failure> {
        let request = with_body(request, body)?;
        let lost = "A key may have been created all the same: look for it with `sts ingestion-api-key list`";
        let answer = self.http.send(request).map_err(|trouble| {
            let failure = self.unreachable(&trouble);
            // Without a connection nothing was sent.
            if matches!(&trouble, Trouble::Send(error) if error.is_connect()) {
                failure
            } else {
                failure.with_hint(lost)
            }
        })?;
        if matches!(answer.status.as_u16(), 500 | 502 | 504) {
            // Whoever answers so may have done it, or passed it on. Trying again would make another
            // key.
            return Err(answer.failure_without_retry(Kind::Answer).with_hint(lost));
        }
        self.checked(answer)?.read().map_err(|failure: Failure| failure.with_hint(lost))
    }

    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let (name, token) = &self.token;
        let request = self.http.client().request(method, format!("{}{path}", self.url));
        request.header(*name, token).header(http::header::ACCEPT, "application/json")
    }

    fn call(&self, request: RequestBuilder) -> Result<Answer, Failure> {
        let answer = self.send(request)?;
        self.checked(answer)
    }

    fn send(&self, request: RequestBuilder) -> Result<Answer, Failure> {
        self.http.send(request).map_err(|trouble| self.unreachable(&trouble))
    }

    fn checked(&self, answer: Answer) -> Result<Answer, Failure> {
        match answer.status {
            status if status.is_success() => Ok(answer),
            StatusCode::UNAUTHORIZED => Err(self.bad_token()),
            _ if answer.is_unknown_call() => {
                Err(answer.failure(Kind::Answer).with_hint("The server may not know this call"))
            }
            _ => Err(answer.failure(Kind::Answer)),
        }
    }

    fn unreachable(&self, trouble: &Trouble) -> Failure {
        let message =
            format!("could not connect to {} ({})", self.shown, escape(&trouble.to_string()));
        Failure::new(Kind::Connection, message).with_hint(trouble.hint())
    }

    fn no_connection(&self, failure: &Failure) -> Failure {
        let (reason, hints) = failure.message.split_once('\n').unwrap_or((&failure.message, ""));
        let message = format!("could not connect to {} ({reason})", self.shown);
        let connection = Failure::new(Kind::Connection, message).with_body(failure.body.clone());
        if hints.is_empty() { connection } else { connection.with_hint(hints) }
    }

    fn bad_token(&self) -> Failure {
        Failure::new(Kind::Connection, format!("could not connect to {}: invalid api-token", self.shown))
            .with_hint("Check the token and that it is of the right kind; save another one with `sts context save --help`")
    }
}

/// JSON with a line end, as the original sends it.
fn with_body(request: RequestBuilder, body: &impl Serialize) -> Result<RequestBuilder, Failure> {
    let mut text = serde_json::to_string(body).map_err(std::io::Error::from)?;
    text.push('\n');
    Ok(request.header(http::header::CONTENT_TYPE, "application/json").body(text))
}
