//! The sending end. It keeps the current token ready, and puts the token on every request.

mod add_credential;
mod builder;
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
use std::sync::Arc;

pub use add_credential::{AddCredential, AddCredentialLayer, ResponseBody, ResponseFuture};
pub use builder::{BuildError, Builder};
#[cfg(feature = "tonic")]
#[cfg_attr(docsrs, doc(cfg(feature = "tonic")))]
pub use channel::channel_to;
pub use endpoint::{Endpoint, EndpointError};
#[cfg(feature = "opentelemetry-http")]
#[cfg_attr(docsrs, doc(cfg(feature = "opentelemetry-http")))]
pub use http_client::HttpClient;
#[cfg(feature = "tonic")]
#[cfg_attr(docsrs, doc(cfg(feature = "tonic")))]
pub use interceptor::Interceptor;

use http::HeaderMap;

use crate::generation::GenerationReceiver;
use endpoint::UriPolicy;
use token::CurrentToken;

/// Puts one header with the current token on every request to one endpoint, as the Collector's
/// `bearertokenauth` does.
///
/// The token is fixed, or it is the first token of a file, which is reloaded when it changes. All
/// clients that are made from one authenticator share its token:
///
/// - [`layer`](Self::layer): a tower layer for any HTTP or gRPC client,
/// - `interceptor` (feature `tonic`): for tonic clients and opentelemetry-rust's OTLP/gRPC
///   exporters,
/// - `channel` (feature `tonic`): for the same exporters, if the server may reject a token before
///   the client has its replacement,
/// - `http_client` (feature `opentelemetry-http`): for opentelemetry-rust's OTLP/HTTP exporters.
///
/// Each client sends exactly one credential, which replaces every earlier value of the header.
///
/// # Plaintext
///
/// A layer above a channel does not see the scheme of the URL, and an interceptor does not see the
/// address. So neither can notice that a connection is plaintext. Therefore an authenticator knows
/// its endpoint:
///
/// | made by | type | plaintext to another host |
/// |---|---|---|
/// | [`Builder::build`] | `BearerTokenAuth` | is an error of `build` |
/// | [`Builder::build_unbound`], `from_yaml` | [`UnboundBearerTokenAuth`], which has no interceptor and no channel | is an error of each such request |
/// | [`UnboundBearerTokenAuth::for_endpoint`] | `BearerTokenAuth` | is an error of `for_endpoint` |
///
/// A request with an absolute URI is checked in addition, because it may go to another host.
/// Loopback addresses are always allowed, and [`Builder::allow_plaintext`] allows every host.
///
/// # Examples
///
/// ```
/// use otlp_auth::client::BearerTokenAuth;
///
/// let builder = || BearerTokenAuth::builder().token("iapikeyok-of-team-a");
/// let auth = builder().endpoint("https://otlp.example.com").build()?;
/// assert!(builder().endpoint("http://otlp.example.com").build().is_err());
/// # Ok::<(), otlp_auth::client::BuildError>(())
/// ```
#[derive(Clone)]
pub struct BearerTokenAuth {
    token: Arc<CurrentToken>,
    allow_plaintext: bool,
    endpoint: Endpoint,
}

/// A [`BearerTokenAuth`] that is not bound to an endpoint yet.
///
/// It can be bound to several endpoints. The resulting authenticators share its token. Without an
/// endpoint, it serves clients whose requests have absolute URIs, and checks each request. A
/// request whose URI is only a path is not sent.
///
/// # Examples
///
/// ```
/// use otlp_auth::client::BearerTokenAuth;
///
/// let auth = BearerTokenAuth::builder().token("iapikeyok-of-team-a").build_unbound()?;
/// let traces = auth.for_endpoint("https://traces.example.com")?;
/// let metrics = auth.for_endpoint("https://metrics.example.com")?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct UnboundBearerTokenAuth {
    token: Arc<CurrentToken>,
    allow_plaintext: bool,
}

impl BearerTokenAuth {
    /// Returns a builder that starts with the header `Authorization` and the scheme `StackState`.
    #[must_use]
    pub fn builder() -> Builder {
        Builder::new()
    }

    /// Reads a Collector's `bearertokenauth` block. The environment of this process replaces each
    /// `${env:..}`. The block names no endpoint, so [bind](UnboundBearerTokenAuth::for_endpoint)
    /// the result to an endpoint.
    ///
    /// As in the Collector, the scheme is `Bearer` unless the block names another one.
    /// [`Builder::config`] takes a block that was read with any other environment.
    ///
    /// # Errors
    ///
    /// Returns [`BuildError::Config`] with all problems of the block, or an error of
    /// [`Builder::build_unbound`].
    ///
    /// # Examples
    ///
    /// ```
    /// use otlp_auth::client::BearerTokenAuth;
    ///
    /// let auth = BearerTokenAuth::from_yaml("scheme: StackState\ntoken: \"${env:API_KEY:-iapikeyok-of-team-a}\"")?;
    /// let auth = auth.for_endpoint("https://otlp.example.com")?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[cfg(feature = "yaml")]
    #[cfg_attr(docsrs, doc(cfg(feature = "yaml")))]
    pub fn from_yaml(block: &str) -> Result<UnboundBearerTokenAuth, BuildError> {
        #[expect(
            clippy::disallowed_methods,
            reason = "the documented shorthand; `Builder::config` takes any environment"
        )]
        let env = |name: &str| std::env::var(name).ok();
        let config = crate::config::BearerTokenAuthConfig::from_yaml(block, &env)
            .map_err(BuildError::Config)?;
        Self::builder().config(&config).build_unbound()
    }

    /// Returns a tower layer that puts the credential on every request.
    ///
    /// If the token comes from a file and the server rejects the token (HTTP 401,
    /// `UNAUTHENTICATED`), the file is read again. If the file then has another token, the request
    /// is sent once more; see [`AddCredentialLayer`].
    #[must_use]
    pub fn layer(&self) -> AddCredentialLayer {
        let policy = UriPolicy { allow_plaintext: self.allow_plaintext, allow_path_alone: true };
        AddCredentialLayer::new(Arc::clone(&self.token), policy)
    }

    /// Puts the current credential on one request to the endpoint, in place of any other value of
    /// its header. This is for clients that are not tower services, such as a proxy that passes on
    /// the bodies of others.
    ///
    /// A request that is rejected is not sent again, because the response is not seen. For that,
    /// use [`layer`](Self::layer).
    ///
    /// # Examples
    ///
    /// ```
    /// use http::{HeaderMap, header::AUTHORIZATION};
    /// use otlp_auth::client::BearerTokenAuth;
    ///
    /// let builder = BearerTokenAuth::builder().token("iapikeyok-of-team-a");
    /// let auth = builder.endpoint("https://otlp.example.com").build()?;
    /// let mut headers = HeaderMap::new();
    /// auth.add_to(&mut headers);
    /// assert!(headers[AUTHORIZATION].is_sensitive());
    /// # Ok::<(), otlp_auth::client::BuildError>(())
    /// ```
    pub fn add_to(&self, headers: &mut HeaderMap) {
        self.token.insert_into(headers);
    }

    /// Returns a tonic interceptor that puts the credential on every request.
    ///
    /// An interceptor does not see responses, so it does not send a rejected request again. For
    /// that, use [`layer`](Self::layer) or [`channel`](Self::channel).
    #[cfg(feature = "tonic")]
    #[cfg_attr(docsrs, doc(cfg(feature = "tonic")))]
    #[must_use]
    pub fn interceptor(&self) -> Interceptor {
        Interceptor::new(Arc::clone(&self.token))
    }

    /// Wraps an HTTP client for the opentelemetry-rust exporters, so that each request carries the
    /// credential.
    ///
    /// The credential replaces any credential that `OTEL_EXPORTER_OTLP_HEADERS` or `with_headers`
    /// set. As with the [`layer`](Self::layer), a rejected request is sent again. The wrapped
    /// client needs no Tokio runtime unless `client` needs one. Give it a client that follows no
    /// redirects and, for plaintext to loopback, uses no proxy, because a redirect or a proxy might
    /// take the credential to another host.
    #[cfg(feature = "opentelemetry-http")]
    #[cfg_attr(docsrs, doc(cfg(feature = "opentelemetry-http")))]
    #[must_use]
    pub fn http_client<C: opentelemetry_http::HttpClient>(&self, client: C) -> HttpClient<C> {
        HttpClient::new(client, Arc::clone(&self.token), self.allow_plaintext)
    }

    /// Returns a counter of the changes of the token. It is 0 for the file as it was first read,
    /// and for a fixed token. A change of the file that leaves its first token as it is does not
    /// count.
    #[must_use]
    pub fn generation(&self) -> GenerationReceiver {
        self.token.generation()
    }

    /// Returns the number of reloads that failed, because the token file was missing, empty or
    /// illegal. The last good token stays in force.
    #[must_use]
    pub fn failed_reloads(&self) -> u64 {
        self.token.failed_reloads()
    }
}

impl UnboundBearerTokenAuth {
    /// Binds the authenticator to the endpoint that its requests go to: a URL, a [`Uri`](http::Uri)
    /// or a
    /// [`tonic::transport::Endpoint`](https://docs.rs/tonic/latest/tonic/transport/struct.Endpoint.html).
    ///
    /// # Errors
    ///
    /// Returns [`EndpointError::Plaintext`] if the URL has the scheme `http` and the host is not a
    /// loopback address, unless plaintext is [allowed](Self::allow_plaintext). Returns
    /// [`EndpointError::Invalid`] or [`EndpointError::Relative`] if the endpoint is not a URL with
    /// a scheme and a host.
    pub fn for_endpoint<E>(&self, endpoint: E) -> Result<BearerTokenAuth, EndpointError>
    where
        E: TryInto<Endpoint>,
        E::Error: Into<EndpointError>,
    {
        let endpoint = endpoint.try_into().map_err(Into::into)?;
        endpoint::check(endpoint.uri(), self.allow_plaintext)?;
        Ok(self.clone().bind(endpoint))
    }

    /// Allows the token to be sent over plaintext connections to any host. This is for networks
    /// that encrypt connections themselves, such as a service mesh.
    #[must_use]
    pub fn allow_plaintext(self) -> Self {
        Self { allow_plaintext: true, ..self }
    }

    /// Returns the same layer as [`BearerTokenAuth::layer`], but only for requests with absolute
    /// URIs. A request whose URI is only a path ends in [`EndpointError::Relative`].
    #[must_use]
    pub fn layer(&self) -> AddCredentialLayer {
        let policy = UriPolicy { allow_plaintext: self.allow_plaintext, allow_path_alone: false };
        AddCredentialLayer::new(Arc::clone(&self.token), policy)
    }

    /// Wraps a client as [`BearerTokenAuth::http_client`] does.
    #[cfg(feature = "opentelemetry-http")]
    #[cfg_attr(docsrs, doc(cfg(feature = "opentelemetry-http")))]
    #[must_use]
    pub fn http_client<C: opentelemetry_http::HttpClient>(&self, client: C) -> HttpClient<C> {
        HttpClient::new(client, Arc::clone(&self.token), self.allow_plaintext)
    }

    /// Returns the same counter as [`BearerTokenAuth::generation`].
    #[must_use]
    pub fn generation(&self) -> GenerationReceiver {
        self.token.generation()
    }

    /// Returns the same number as [`BearerTokenAuth::failed_reloads`].
    #[must_use]
    pub fn failed_reloads(&self) -> u64 {
        self.token.failed_reloads()
    }

    fn bind(self, endpoint: Endpoint) -> BearerTokenAuth {
        BearerTokenAuth { token: self.token, allow_plaintext: self.allow_plaintext, endpoint }
    }
}

impl fmt::Debug for BearerTokenAuth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BearerTokenAuth")
            .field("token", &self.token)
            .field("allow_plaintext", &self.allow_plaintext)
            .field("endpoint", &self.endpoint)
            .finish()
    }
}

impl fmt::Debug for UnboundBearerTokenAuth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UnboundBearerTokenAuth")
            .field("token", &self.token)
            .field("allow_plaintext", &self.allow_plaintext)
            .finish()
    }
}

#[cfg(test)]
mod tests;
