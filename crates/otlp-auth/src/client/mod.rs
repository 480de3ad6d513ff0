//! The sending end: keep the current token ready, and put it on every request.

mod add_credential;
#[cfg(feature = "tonic")]
mod channel;
mod deadline;
mod endpoint;
#[cfg(feature = "opentelemetry-http")]
mod http_client;
#[cfg(feature = "tonic")]
mod interceptor;
mod record;
mod token;

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use http::HeaderName;
use http::header::{AUTHORIZATION, InvalidHeaderName};
use secrecy::{ExposeSecret, SecretString};
use tokio::sync::watch;

pub use add_credential::{AddCredential, AddCredentialLayer, ResponseBody, ResponseFuture};
pub use endpoint::{Endpoint, EndpointError};
#[cfg(feature = "opentelemetry-http")]
pub use http_client::HttpClient;
#[cfg(feature = "tonic")]
pub use interceptor::Interceptor;

use crate::credential::{CredentialError, is_protocol_header};
use crate::token_file::TokenFileError;
use token::CurrentToken;

/// A `bearertokenauth`-style authenticator: one header with the current token, for every request.
///
/// The token is fixed, or the first one of a file that is followed while it changes. All ways out
/// are made from one authenticator and share its token:
///
/// - [`layer`](Self::layer): a tower layer for any HTTP or gRPC client,
/// - `interceptor`: for tonic clients and opentelemetry-rust's OTLP/gRPC exporters (feature
///   `tonic`),
/// - `channel`: for the same exporters, surviving the refusal of a token that was replaced (feature
///   `tonic`),
/// - `http_client`: for opentelemetry-rust's OTLP/HTTP exporters (feature `opentelemetry-http`).
///
/// They send exactly one credential: whatever the header held before is replaced.
///
/// `E` is the endpoint it was bound to by [`for_endpoint`](Self::for_endpoint), and `()` before.
///
/// # Examples
///
/// ```
/// use otlp_auth::client::BearerTokenAuth;
///
/// let auth = BearerTokenAuth::builder().token("iapikeyok-of-team-a").build()?;
/// let auth = auth.for_endpoint("https://otlp.example.com")?;
/// assert!(BearerTokenAuth::builder().token("").build().is_err());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct BearerTokenAuth<E = ()> {
    token: Arc<CurrentToken>,
    endpoint: E,
    allow_plaintext: bool,
}

/// Collects what a [`BearerTokenAuth`] is made of.
#[derive(Debug)]
pub struct Builder {
    header: String,
    scheme: String,
    source: Option<Source>,
}

#[derive(Debug)]
enum Source {
    Token(SecretString),
    File(PathBuf),
}

/// Why an authenticator cannot be made. No variant carries a token.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BuildError {
    /// No token and no file was given.
    #[error("no token: give one, or a file that holds it")]
    NoToken,
    /// The header's name is none.
    #[error("not a header name")]
    Header(#[source] InvalidHeaderName),
    /// The header is one that HTTP or gRPC needs for itself.
    #[error("the header {0} cannot carry a credential")]
    ProtocolHeader(HeaderName),
    /// Scheme and token do not make a credential.
    #[error("scheme and token do not make a credential")]
    Credential(#[source] CredentialError),
    /// The token file cannot be used.
    #[error("the token file {} cannot be used", path.display())]
    File {
        /// Its path.
        path: PathBuf,
        /// What is wrong with it.
        source: TokenFileError,
    },
    /// The configuration has problems.
    #[cfg(feature = "yaml")]
    #[error("the configuration cannot be used")]
    Config(#[source] otel_confmap::ConfigError),
}

impl BearerTokenAuth {
    /// Starts from the header `Authorization` and the scheme `StackState`.
    #[must_use]
    pub fn builder() -> Builder {
        Builder {
            header: AUTHORIZATION.as_str().to_owned(),
            scheme: "StackState".to_owned(),
            source: None,
        }
    }

    /// Reads a Collector's `bearertokenauth` block, with the environment of this process for its
    /// `${env:..}`.
    ///
    /// Here, as in the Collector, the scheme is `Bearer` unless the block gives one.
    ///
    /// # Errors
    ///
    /// [`BuildError::Config`] with all problems of the block, and as [`Builder::build`].
    ///
    /// # Examples
    ///
    /// ```
    /// use otlp_auth::client::BearerTokenAuth;
    ///
    /// let auth = BearerTokenAuth::from_yaml("scheme: StackState\ntoken: \"${env:API_KEY:-iapikeyok-of-team-a}\"")?;
    /// # Ok::<(), otlp_auth::client::BuildError>(())
    /// ```
    #[cfg(feature = "yaml")]
    pub fn from_yaml(block: &str) -> Result<Self, BuildError> {
        #[expect(
            clippy::disallowed_methods,
            reason = "the documented shorthand; `from_config` takes any environment"
        )]
        let env = |name: &str| std::env::var(name).ok();
        let config = crate::config::BearerTokenAuthConfig::from_yaml(block, &env)
            .map_err(BuildError::Config)?;
        Self::from_config(&config)
    }

    /// Makes the authenticator of a `bearertokenauth` block that was read before. Of several tokens
    /// the first is sent.
    ///
    /// # Errors
    ///
    /// As [`Builder::build`].
    #[cfg(feature = "yaml")]
    pub fn from_config(config: &crate::config::BearerTokenAuthConfig) -> Result<Self, BuildError> {
        use crate::config::TokenSource;
        let builder = Self::builder().header(config.header().as_str()).scheme(config.scheme());
        let builder = match config.source() {
            TokenSource::Tokens(tokens) => match tokens.first() {
                Some(token) => builder.token(token.clone()),
                None => builder,
            },
            TokenSource::File(path) => builder.file(path),
        };
        builder.build()
    }

    /// Binds it to the endpoint that its requests will go to.
    ///
    /// A layer above a channel sees no scheme and an interceptor no address: this is where
    /// plaintext can be noticed. `endpoint` is a URL, or a
    /// [`tonic::transport::Endpoint`](https://docs.rs/tonic/latest/tonic/transport/struct.Endpoint.html),
    /// which makes `channel` available.
    ///
    /// # Errors
    ///
    /// [`EndpointError::Plaintext`] for `http` to anything but a loopback address, unless
    /// [allowed](Self::allow_plaintext); [`EndpointError::Invalid`] when it is not a URL.
    pub fn for_endpoint<E: Endpoint + ?Sized>(
        &self,
        endpoint: &E,
    ) -> Result<BearerTokenAuth<E::Bound>, EndpointError> {
        let endpoint = endpoint.bound()?;
        endpoint::check(E::uri(&endpoint), self.allow_plaintext)?;
        Ok(BearerTokenAuth {
            token: Arc::clone(&self.token),
            endpoint,
            allow_plaintext: self.allow_plaintext,
        })
    }
}

impl<E> BearerTokenAuth<E> {
    /// Sends the token over plaintext connections to any host, for a service mesh that encrypts
    /// them.
    #[must_use]
    pub fn allow_plaintext(self) -> Self {
        Self { allow_plaintext: true, ..self }
    }

    /// A tower layer that puts the credential on every request.
    ///
    /// Where the token comes from a file and the server refuses it (HTTP 401, `UNAUTHENTICATED`),
    /// the file is read again and, if it gave another token, the request is sent once more; see
    /// [`AddCredentialLayer`].
    #[must_use]
    pub fn layer(&self) -> AddCredentialLayer {
        AddCredentialLayer::new(Arc::clone(&self.token), self.allow_plaintext)
    }

    /// A tonic interceptor that puts the credential on every request.
    ///
    /// It does not see responses: a refused request is not sent again. Use [`layer`](Self::layer)
    /// or `channel` for that.
    #[cfg(feature = "tonic")]
    #[must_use]
    pub fn interceptor(&self) -> Interceptor {
        Interceptor::new(Arc::clone(&self.token))
    }

    /// Wraps an HTTP client of the opentelemetry-rust exporters.
    ///
    /// The credential replaces what `OTEL_EXPORTER_OTLP_HEADERS` or `with_headers` put there. A
    /// refused request is sent again as by the [`layer`](Self::layer). It runs without a Tokio
    /// runtime if `client` does. Give it a client that follows no redirects and, for plaintext to
    /// loopback, uses no proxy: either might lead the credential elsewhere.
    #[cfg(feature = "opentelemetry-http")]
    #[must_use]
    pub fn http_client<C: opentelemetry_http::HttpClient>(&self, client: C) -> HttpClient<C> {
        HttpClient::new(client, Arc::clone(&self.token), self.allow_plaintext)
    }

    /// Counts the changes of the token file that were taken over: 0 for the file as it was first
    /// read, and for a fixed token.
    #[must_use]
    pub fn generation(&self) -> watch::Receiver<u64> {
        self.token.generation()
    }

    /// Counts the changes of the token file that were not taken over: it was missing, empty or
    /// illegal, and the last good token stayed.
    #[must_use]
    pub fn failed_reloads(&self) -> u64 {
        self.token.failed_reloads()
    }

    /// Reports reloads and resends to `meter`: see the [instruments](crate#metrics).
    #[cfg(feature = "metrics")]
    #[must_use]
    pub fn with_meter(self, meter: &opentelemetry::metrics::Meter) -> Self {
        self.token.report_to(meter);
        self
    }
}

impl Builder {
    /// The header that carries the credential.
    #[must_use]
    pub fn header(self, name: impl Into<String>) -> Self {
        Self { header: name.into(), ..self }
    }

    /// The scheme before the token; empty for a header that carries the bare token.
    #[must_use]
    pub fn scheme(self, scheme: impl Into<String>) -> Self {
        Self { scheme: scheme.into(), ..self }
    }

    /// A token that does not change. The last one of `token` and [`file`](Self::file) counts.
    #[must_use]
    pub fn token(self, token: impl Into<SecretString>) -> Self {
        Self { source: Some(Source::Token(token.into())), ..self }
    }

    /// The first token of this file, followed while it changes.
    ///
    /// The file has one token a line, bare or as `name=token`. It is followed on a thread of its
    /// own, until everything made from the authenticator is dropped; see
    /// [`TokenFile`](crate::server::TokenFile) for what it survives.
    #[must_use]
    pub fn file(self, path: impl Into<PathBuf>) -> Self {
        Self { source: Some(Source::File(path.into())), ..self }
    }

    /// Makes the authenticator; a file is read now.
    ///
    /// # Errors
    ///
    /// When there is no token, when header, scheme or token are illegal, or when the file cannot be
    /// used.
    pub fn build(self) -> Result<BearerTokenAuth, BuildError> {
        let header = HeaderName::try_from(self.header).map_err(BuildError::Header)?;
        if is_protocol_header(&header) {
            return Err(BuildError::ProtocolHeader(header));
        }
        let token = match self.source.ok_or(BuildError::NoToken)? {
            Source::Token(token) => {
                CurrentToken::fixed(header, &self.scheme, token.expose_secret())
                    .map_err(BuildError::Credential)?
            }
            Source::File(path) => {
                let token = CurrentToken::from_file(header, self.scheme, &path);
                token.map_err(|source| BuildError::File { path, source })?
            }
        };
        Ok(BearerTokenAuth { token: Arc::new(token), endpoint: (), allow_plaintext: false })
    }
}

impl<E: Clone> Clone for BearerTokenAuth<E> {
    fn clone(&self) -> Self {
        Self {
            token: Arc::clone(&self.token),
            endpoint: self.endpoint.clone(),
            allow_plaintext: self.allow_plaintext,
        }
    }
}

impl<E> fmt::Debug for BearerTokenAuth<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BearerTokenAuth")
            .field("token", &self.token)
            .field("allow_plaintext", &self.allow_plaintext)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
