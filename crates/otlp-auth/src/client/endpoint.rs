//! The endpoint of requests, and the check whether a credential may be sent to it.

use std::convert::Infallible;
use std::fmt;
use std::net::IpAddr;

use http::Uri;
use http::uri::{InvalidUri, Scheme};

/// The endpoint to which an authenticator is bound. It is made from a URL, a [`Uri`] or a
/// [`tonic::transport::Endpoint`](https://docs.rs/tonic/latest/tonic/transport/struct.Endpoint.html).
///
/// A Unix socket counts as plaintext to another host, because tonic's endpoint does not show that
/// it is a Unix socket. So allow plaintext for a Unix socket.
///
/// # Examples
///
/// ```
/// use otlp_auth::client::Endpoint;
///
/// let endpoint = Endpoint::try_from("https://otlp.example.com:4317")?;
/// assert_eq!(endpoint.uri().host(), Some("otlp.example.com"));
/// # Ok::<(), otlp_auth::client::EndpointError>(())
/// ```
#[derive(Clone)]
pub struct Endpoint(Target);

#[derive(Clone)]
pub(super) enum Target {
    Uri(Uri),
    #[cfg(feature = "tonic")]
    Tonic(Box<tonic::transport::Endpoint>),
}

/// Why an authenticator was not bound to an endpoint, or why a request to an endpoint failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EndpointError {
    /// The text is not a URL.
    #[error("not a URL")]
    Invalid(#[source] InvalidUri),
    /// The URL has no scheme or no host, so that it does not say whether the connection is
    /// encrypted.
    #[error("the URL has no scheme or no host: it should begin with https://")]
    Relative,
    /// A credential would be sent over plaintext to another host.
    #[error(
        "a credential is not sent to {host} over plaintext: use https, or allow plaintext where the network encrypts"
    )]
    Plaintext {
        /// The host of the endpoint.
        host: String,
    },
    /// A gRPC server answered an OTLP/HTTP request.
    #[error(
        "a gRPC server answered the OTLP/HTTP request, so it accepted nothing: use the port for OTLP/HTTP, usually 4318"
    )]
    GrpcPort,
}

impl Endpoint {
    /// The URL of the endpoint.
    #[must_use]
    pub fn uri(&self) -> &Uri {
        match &self.0 {
            Target::Uri(uri) => uri,
            #[cfg(feature = "tonic")]
            Target::Tonic(endpoint) => endpoint.uri(),
        }
    }

    /// Checks whether a request to this endpoint may carry a credential: over TLS to every host,
    /// and over plaintext to a loopback address. An authenticator checks its own credential; this
    /// is for credentials in other headers.
    ///
    /// # Errors
    ///
    /// Returns [`EndpointError::Plaintext`] or [`EndpointError::Relative`] if it may not.
    ///
    /// # Examples
    ///
    /// ```
    /// use otlp_auth::client::Endpoint;
    ///
    /// assert!(Endpoint::try_from("https://otlp.example.com")?.may_carry_credential().is_ok());
    /// assert!(Endpoint::try_from("http://otlp.example.com")?.may_carry_credential().is_err());
    /// # Ok::<(), otlp_auth::client::EndpointError>(())
    /// ```
    pub fn may_carry_credential(&self) -> Result<(), EndpointError> {
        check(self.uri(), false)
    }

    #[cfg(feature = "tonic")]
    pub(super) fn target(&self) -> &Target {
        &self.0
    }
}

impl TryFrom<&str> for Endpoint {
    type Error = EndpointError;

    fn try_from(url: &str) -> Result<Self, EndpointError> {
        url.parse().map(|uri| Self(Target::Uri(uri))).map_err(EndpointError::Invalid)
    }
}

impl TryFrom<&String> for Endpoint {
    type Error = EndpointError;

    fn try_from(url: &String) -> Result<Self, EndpointError> {
        url.as_str().try_into()
    }
}

impl TryFrom<String> for Endpoint {
    type Error = EndpointError;

    fn try_from(url: String) -> Result<Self, EndpointError> {
        url.as_str().try_into()
    }
}

impl From<Uri> for Endpoint {
    fn from(uri: Uri) -> Self {
        Self(Target::Uri(uri))
    }
}

impl From<&Uri> for Endpoint {
    fn from(uri: &Uri) -> Self {
        uri.clone().into()
    }
}

#[cfg(feature = "tonic")]
impl From<tonic::transport::Endpoint> for Endpoint {
    fn from(endpoint: tonic::transport::Endpoint) -> Self {
        Self(Target::Tonic(Box::new(endpoint)))
    }
}

#[cfg(feature = "tonic")]
impl From<&tonic::transport::Endpoint> for Endpoint {
    fn from(endpoint: &tonic::transport::Endpoint) -> Self {
        endpoint.clone().into()
    }
}

/// `Debug` shows only the host, because a URL may contain a password or a key.
impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Endpoint").field(&self.uri().host().unwrap_or_default()).finish()
    }
}

/// Lets `endpoint` and `for_endpoint` accept types whose conversion cannot fail, such as [`Uri`].
impl From<Infallible> for EndpointError {
    fn from(never: Infallible) -> Self {
        match never {}
    }
}

/// Decides by the URI which requests may carry a credential.
#[derive(Clone, Copy, Debug)]
pub(super) struct UriPolicy {
    pub(super) allow_plaintext: bool,
    /// Whether the URI of a request may be only a path, as for a layer above a channel. Such a
    /// request is allowed, because its endpoint was checked when the authenticator was bound.
    pub(super) allow_path_alone: bool,
}

impl UriPolicy {
    pub(super) fn check(self, uri: &Uri) -> Result<(), EndpointError> {
        if self.allow_path_alone && uri.scheme().is_none() {
            return Ok(());
        }
        check(uri, self.allow_plaintext)
    }
}

/// Returns an error if a credential must not be sent to this absolute `uri`.
pub(super) fn check(uri: &Uri, allow_plaintext: bool) -> Result<(), EndpointError> {
    if uri.scheme() == Some(&Scheme::HTTPS) {
        return Ok(());
    }
    let (Some(_), Some(host)) = (uri.scheme(), uri.host()) else {
        return Err(EndpointError::Relative);
    };
    if allow_plaintext || is_loopback(host) {
        Ok(())
    } else {
        Err(EndpointError::Plaintext { host: host.to_owned() })
    }
}

fn is_loopback(host: &str) -> bool {
    let address = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    match address.parse::<IpAddr>() {
        Ok(address) => address.to_canonical().is_loopback(),
        Err(_) => host.eq_ignore_ascii_case("localhost"),
    }
}
