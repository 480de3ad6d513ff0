//! The builder of a client's authenticator.

use std::path::PathBuf;
use std::sync::Arc;

use http::HeaderName;
use http::header::AUTHORIZATION;
use secrecy::{ExposeSecret as _, SecretString};

use super::endpoint::{self, Endpoint, EndpointError};
use super::token::CurrentToken;
use super::{BearerTokenAuth, UnboundBearerTokenAuth};
use crate::credential::CredentialError;
use crate::protocol_header::is_protocol_header;
use crate::scheme::Scheme;
use crate::token_file::TokenFileError;

/// Collects the settings of a [`BearerTokenAuth`]; made by [`BearerTokenAuth::builder`].
#[derive(Debug)]
pub struct Builder {
    header: HeaderName,
    scheme: Option<Scheme>,
    source: Option<Source>,
    endpoint: Option<Result<Endpoint, EndpointError>>,
    allow_plaintext: bool,
    #[cfg(feature = "metrics")]
    meter: Option<opentelemetry::metrics::Meter>,
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
    /// No endpoint was given.
    #[error("no endpoint: give the URL that requests go to")]
    NoEndpoint,
    /// An endpoint was given to [`build_unbound`](Builder::build_unbound).
    #[error("an endpoint was given, but an unbound authenticator has no endpoint")]
    UnexpectedEndpoint,
    /// The endpoint is not a URL, or is reached over plaintext.
    #[error("the endpoint cannot be used")]
    Endpoint(#[source] EndpointError),
    /// The header is one that HTTP or gRPC needs for itself.
    #[error("the header {0} cannot carry a credential")]
    ProtocolHeader(HeaderName),
    /// The token cannot be sent in a header.
    #[error("the token cannot be used")]
    Token(#[source] CredentialError),
    /// The token file cannot be used.
    #[error("the token file {} cannot be used", path.display())]
    File {
        /// The path of the file.
        path: PathBuf,
        /// What is wrong with the file.
        source: TokenFileError,
    },
    /// The configuration has problems.
    #[cfg(feature = "yaml")]
    #[cfg_attr(docsrs, doc(cfg(feature = "yaml")))]
    #[error("the configuration cannot be used")]
    Config(#[source] otel_confmap::ConfigError),
}

impl Builder {
    pub(super) fn new() -> Self {
        Self {
            header: AUTHORIZATION,
            scheme: Some(Scheme::STACKSTATE),
            source: None,
            endpoint: None,
            allow_plaintext: false,
            #[cfg(feature = "metrics")]
            meter: None,
        }
    }

    /// Sets the endpoint that requests go to: a URL, a [`Uri`](http::Uri) or a
    /// [`tonic::transport::Endpoint`](https://docs.rs/tonic/latest/tonic/transport/struct.Endpoint.html).
    ///
    /// Over plaintext (`http`), the credential is sent only to a loopback address, unless plaintext
    /// is [allowed](Self::allow_plaintext).
    #[must_use]
    pub fn endpoint<E>(self, endpoint: E) -> Self
    where
        E: TryInto<Endpoint>,
        E::Error: Into<EndpointError>,
    {
        Self { endpoint: Some(endpoint.try_into().map_err(Into::into)), ..self }
    }

    /// Allows the token to be sent over plaintext connections to any host. This is for networks
    /// that encrypt connections themselves, such as a service mesh.
    #[must_use]
    pub fn allow_plaintext(self) -> Self {
        Self { allow_plaintext: true, ..self }
    }

    /// Sets the header that carries the credential; the default is `Authorization`.
    #[must_use]
    pub fn header(self, name: HeaderName) -> Self {
        Self { header: name, ..self }
    }

    /// Sets the scheme before the token; the default is `StackState`. With `None`, the header
    /// carries the token alone.
    #[must_use]
    pub fn scheme(self, scheme: impl Into<Option<Scheme>>) -> Self {
        Self { scheme: scheme.into(), ..self }
    }

    /// Sets a token that does not change. Blanks and line ends at both ends are left out. This call
    /// replaces an earlier `token` or [`file`](Self::file).
    #[must_use]
    pub fn token(self, token: impl Into<SecretString>) -> Self {
        Self { source: Some(Source::Token(token.into())), ..self }
    }

    /// Sets a file whose first token is sent. The file is reloaded when it changes. This call
    /// replaces an earlier [`token`](Self::token) or `file`.
    ///
    /// Each line of the file is a token, either with a name (`name=token`) or without one. A thread
    /// watches the directory of the file, and in addition reads the file every 5 seconds. The
    /// thread ends when the authenticator and all clients made from it are dropped. If the file
    /// becomes missing, empty or illegal, the last good token stays in force.
    #[must_use]
    pub fn file(self, path: impl Into<PathBuf>) -> Self {
        Self { source: Some(Source::File(path.into())), ..self }
    }

    /// Sets header, scheme and token from a `bearertokenauth` block. If the block has several
    /// tokens, the first one is sent.
    #[cfg(feature = "yaml")]
    #[cfg_attr(docsrs, doc(cfg(feature = "yaml")))]
    #[must_use]
    pub fn config(self, config: &crate::config::BearerTokenAuthConfig) -> Self {
        use crate::config::TokenSource;
        let source = match config.source() {
            TokenSource::Tokens(tokens) => tokens.first().cloned().map(Source::Token),
            TokenSource::File(path) => Some(Source::File(path.clone())),
        };
        Self { header: config.header().clone(), scheme: config.scheme().cloned(), source, ..self }
    }

    /// Counts reloads and resends with `meter`. The documentation of the crate lists the
    /// [instruments](crate#metrics).
    #[cfg(feature = "metrics")]
    #[cfg_attr(docsrs, doc(cfg(feature = "metrics")))]
    #[must_use]
    pub fn meter(self, meter: &opentelemetry::metrics::Meter) -> Self {
        Self { meter: Some(meter.clone()), ..self }
    }

    /// Makes the authenticator. If the token comes from a file, the file is read now.
    ///
    /// # Errors
    ///
    /// Fails when there is no token, the token is illegal, or the file cannot be used. Fails when
    /// HTTP or gRPC needs the header for itself. Fails when there is no endpoint, or the credential
    /// may not be sent to the endpoint.
    pub fn build(mut self) -> Result<BearerTokenAuth, BuildError> {
        let endpoint = self.endpoint.take().ok_or(BuildError::NoEndpoint)?;
        let endpoint = endpoint.map_err(BuildError::Endpoint)?;
        endpoint::check(endpoint.uri(), self.allow_plaintext).map_err(BuildError::Endpoint)?;
        self.build_unbound().map(|unbound| unbound.bind(endpoint))
    }

    /// Makes the authenticator without an endpoint. Instead, each request is checked; see
    /// [`UnboundBearerTokenAuth`].
    ///
    /// # Errors
    ///
    /// Fails when an [endpoint](Self::endpoint) was given. Otherwise fails as
    /// [`build`](Self::build) does, except that no endpoint is checked.
    pub fn build_unbound(self) -> Result<UnboundBearerTokenAuth, BuildError> {
        if self.endpoint.is_some() {
            return Err(BuildError::UnexpectedEndpoint);
        }
        if is_protocol_header(&self.header) {
            return Err(BuildError::ProtocolHeader(self.header));
        }
        let token = match self.source.ok_or(BuildError::NoToken)? {
            Source::Token(token) => {
                CurrentToken::fixed(self.header, self.scheme.as_ref(), token.expose_secret())
                    .map_err(BuildError::Token)?
            }
            Source::File(path) => {
                let token = CurrentToken::from_file(self.header, self.scheme, &path);
                token.map_err(|source| BuildError::File { path, source })?
            }
        };
        #[cfg(feature = "metrics")]
        let token = match self.meter {
            Some(meter) => token.counted_by(&meter),
            None => token,
        };
        Ok(UnboundBearerTokenAuth { token: Arc::new(token), allow_plaintext: self.allow_plaintext })
    }
}
