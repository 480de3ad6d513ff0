//! The error of a request that has no response.

use std::error::Error;
use std::fmt;

use server_trust::TlsFailure;

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
            // rustls has no texts for these errors, only the names of types.
            Self::Send(error) if TlsFailure::find(error) == Some(TlsFailure::SelfSigned) => {
                f.write_str("invalid peer certificate: self-signed certificate")
            }
            Self::Send(error) if TlsFailure::find(error) == Some(TlsFailure::Authority) => {
                f.write_str("invalid peer certificate: certificate of an authority")
            }
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
            Self::Send(error) => match TlsFailure::find(error) {
                Some(failure) => tls_hint(failure),
                None if error.is_connect() => {
                    "Check the URL, that the server is running, and the proxy settings of the \
                     environment"
                }
                None => {
                    "The server does not respond with HTTP: check the port, and whether the URL \
                     must begin with https://"
                }
            },
            Self::Receive(error) if is_timeout(&**error) => TIMEOUT_HINT,
            Self::Receive(_) => "Try again",
        }
    }
}

/// Returns what the user can do about a failed TLS handshake. The text of the error has the
/// details, such as the names of the certificate.
fn tls_hint(failure: TlsFailure) -> &'static str {
    match failure {
        TlsFailure::Expired => {
            "The certificate of the server has expired: renew it, and check the clock of this \
             computer"
        }
        TlsFailure::NotYetValid => {
            "The certificate of the server is not valid yet: check the clock of this computer"
        }
        TlsFailure::WrongName => {
            "The certificate of the server is for other names: use one of them in the URL"
        }
        TlsFailure::WrongPurpose => {
            "The certificate is not meant for servers: give the server another one"
        }
        TlsFailure::Untrusted => {
            "No trusted authority issued the certificate of the server: give the certificate of \
             its authority with --ca-cert"
        }
        TlsFailure::SelfSigned => {
            "The certificate of the server is self-signed: if it is the right one, give this \
             certificate with --ca-cert"
        }
        TlsFailure::Authority => {
            "The certificate of the server is marked as that of an authority: if it is the right \
             one, give this certificate with --ca-cert"
        }
        TlsFailure::Certificate => "Give the server another certificate",
        TlsFailure::NotTls => {
            "Check that the server uses TLS: if it does not, the URL must begin with http://"
        }
        TlsFailure::Refused => {
            "The server ended the TLS handshake: it may demand a certificate of the client, which \
             sts does not have"
        }
        TlsFailure::Other => {
            "Check the port, and which versions of TLS the server accepts (sts has 1.2 and 1.3)"
        }
    }
}

fn is_timeout(error: &(dyn Error + 'static)) -> bool {
    error.downcast_ref().is_some_and(reqwest::Error::is_timeout)
}
