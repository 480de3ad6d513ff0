//! Where requests go, and whether a credential may go there.

use std::net::IpAddr;

use http::Uri;
use http::uri::{InvalidUri, Scheme};

/// What an authenticator can be bound to.
///
/// | endpoint | gives |
/// |---|---|
/// | `str`, `String`, [`Uri`] | `BearerTokenAuth<Uri>` |
/// | `tonic::transport::Endpoint` | `BearerTokenAuth<tonic::transport::Endpoint>`, which has `channel` |
///
/// A Unix socket counts as plaintext to another host, because tonic does not tell it from one:
/// allow plaintext for it.
pub trait Endpoint: sealed::Sealed {
    /// What the authenticator keeps of it.
    type Bound;

    #[doc(hidden)]
    fn bound(&self) -> Result<Self::Bound, EndpointError>;

    #[doc(hidden)]
    fn uri(bound: &Self::Bound) -> &Uri;
}

/// Why an authenticator was not bound to an endpoint, or a request not sent to one.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EndpointError {
    /// It is not a URL.
    #[error("not a URL")]
    Invalid(#[source] InvalidUri),
    /// It has no scheme or no host, so that nobody can tell whether it is encrypted.
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
}

impl Endpoint for str {
    type Bound = Uri;

    fn bound(&self) -> Result<Uri, EndpointError> {
        self.parse().map_err(EndpointError::Invalid)
    }

    fn uri(bound: &Uri) -> &Uri {
        bound
    }
}

impl Endpoint for String {
    type Bound = Uri;

    fn bound(&self) -> Result<Uri, EndpointError> {
        self.as_str().bound()
    }

    fn uri(bound: &Uri) -> &Uri {
        bound
    }
}

impl Endpoint for Uri {
    type Bound = Self;

    fn bound(&self) -> Result<Self, EndpointError> {
        Ok(self.clone())
    }

    fn uri(bound: &Self) -> &Self {
        bound
    }
}

#[cfg(feature = "tonic")]
impl Endpoint for tonic::transport::Endpoint {
    type Bound = Self;

    fn bound(&self) -> Result<Self, EndpointError> {
        Ok(self.clone())
    }

    fn uri(bound: &Self) -> &Uri {
        bound.uri()
    }
}

mod sealed {
    pub trait Sealed {}

    impl Sealed for str {}
    impl Sealed for String {}
    impl Sealed for http::Uri {}
    #[cfg(feature = "tonic")]
    impl Sealed for tonic::transport::Endpoint {}
}

/// Whether a credential may be sent to this absolute `uri`.
pub(crate) fn check(uri: &Uri, allow_plaintext: bool) -> Result<(), EndpointError> {
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
