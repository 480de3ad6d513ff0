//! No answer.

use std::error::Error;
use std::fmt;
use std::io;

use crate::error::chain;

const TOO_LATE: &str = "Check that the server is up, or give it more time with --timeout";

/// Why there is no answer.
#[derive(Debug)]
pub(crate) enum Trouble {
    /// The request was not sent, or nothing came back.
    Send(reqwest::Error),
    /// The answer broke off, or is too large.
    Receive(Box<dyn Error + Send + Sync>),
}

impl fmt::Display for Trouble {
    /// On one line, without the URL.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Send(error) if error.is_timeout() => f.write_str("no answer in time"),
            // The error names the URL, with whatever stands in it, and its cause says no more than
            // that there was no connection.
            Self::Send(error) => {
                let cause = error.source();
                let cause = cause.and_then(Error::source).or(cause);
                f.write_str(&cause.map_or_else(|| "the request cannot be sent".to_owned(), chain))
            }
            Self::Receive(error) => write!(f, "the answer broke off: {}", chain(&**error)),
        }
    }
}

impl Trouble {
    /// What to do about it.
    pub(crate) fn hint(&self) -> &'static str {
        match self {
            Self::Send(error) if error.is_timeout() => TOO_LATE,
            Self::Send(error) => match tls_error(error) {
                Some(rustls::Error::InvalidCertificate(_)) => {
                    "Its certificate is not trusted, or is another host's: check the URL, or name the authority with --ca-cert"
                }
                Some(_) => {
                    "Check that the server speaks TLS: the URL may have to begin with http://"
                }
                None => {
                    "Check the URL, that the server is up, and the proxy settings of the environment"
                }
            },
            Self::Receive(error) if is_timeout(&**error) => TOO_LATE,
            Self::Receive(_) => "Try again",
        }
    }
}

fn is_timeout(error: &(dyn Error + 'static)) -> bool {
    error.downcast_ref().is_some_and(reqwest::Error::is_timeout)
}

fn tls_error<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a rustls::Error> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(error) = error.downcast_ref() {
            return Some(error);
        }
        // An I/O error does not name what it carries as its source.
        let inner = error
            .downcast_ref::<io::Error>()
            .and_then(io::Error::get_ref)
            .map(|inner| inner as &(dyn Error + 'static));
        next = inner.or_else(|| error.source());
    }
    None
}
