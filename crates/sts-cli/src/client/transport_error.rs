//! The error of a request that has no response.

use std::error::Error;
use std::fmt;
use std::io;

use crate::error::chain;

const TIMEOUT_HINT: &str = "Check that the server is running, or allow it more time with --timeout";

/// The reason why a request has no response.
#[derive(Debug)]
pub(crate) enum TransportError {
    /// The request could not be sent, or no response arrived.
    Send(reqwest::Error),
    /// The connection failed while the response was received, or the response is too large.
    Receive(Box<dyn Error + Send + Sync>),
}

impl fmt::Display for TransportError {
    /// Writes the reason on one line, without the URL.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Send(error) if error.is_timeout() => f.write_str("no response in time"),
            // The text of a `reqwest::Error` contains the URL, which may contain a secret. The
            // direct cause of this error only says that there was no connection. So the text begins
            // with the cause of the direct cause, if there is one.
            Self::Send(error) => {
                let cause = error.source();
                let cause = cause.and_then(Error::source).or(cause);
                f.write_str(
                    &cause.map_or_else(|| "the request could not be sent".to_owned(), chain),
                )
            }
            Self::Receive(error) => write!(f, "the response is incomplete: {}", chain(&**error)),
        }
    }
}

impl TransportError {
    /// Returns what the user can do about the error.
    pub(crate) fn hint(&self) -> &'static str {
        match self {
            Self::Send(error) if error.is_timeout() => TIMEOUT_HINT,
            Self::Send(error) => match tls_error(error) {
                Some(rustls::Error::InvalidCertificate(_)) => {
                    "The certificate of the server is not trusted or is for another host: check \
                     the URL, or give the certificate authority with --ca-cert"
                }
                Some(_) => {
                    "Check that the server uses TLS: if it does not, the URL must begin with \
                     http://"
                }
                None => {
                    "Check the URL, that the server is running, and the proxy settings of the \
                     environment"
                }
            },
            Self::Receive(error) if is_timeout(&**error) => TIMEOUT_HINT,
            Self::Receive(_) => "Try again",
        }
    }
}

fn is_timeout(error: &(dyn Error + 'static)) -> bool {
    error.downcast_ref().is_some_and(reqwest::Error::is_timeout)
}

/// Finds the TLS error among the causes of `error`.
fn tls_error<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a rustls::Error> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(error) = error.downcast_ref() {
            return Some(error);
        }
        // `source` of an I/O error skips the error that the I/O error wraps. So `get_ref` gets the
        // wrapped error.
        let inner = error
            .downcast_ref::<io::Error>()
            .and_then(io::Error::get_ref)
            .map(|inner| inner as &(dyn Error + 'static));
        next = inner.or_else(|| error.source());
    }
    None
}
