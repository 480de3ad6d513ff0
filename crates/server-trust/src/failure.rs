//! Why a TLS handshake failed.

use std::error::Error;
use std::io;

use rustls::CertificateError;

use crate::verifier::{Authority, SelfSigned};

/// The reason why the TLS handshake with a server failed, in one word. The error that it was found
/// in has the details, for example the names of the certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TlsFailure {
    /// The server's certificate has expired.
    Expired,
    /// The server's certificate is not valid yet, or the client's clock is behind.
    NotYetValid,
    /// The server's certificate is for other names.
    WrongName,
    /// The server's certificate is not meant for servers.
    WrongPurpose,
    /// The server's certificate is not trusted: no trusted authority issued it, and it is not
    /// itself a trusted certificate.
    Untrusted,
    /// The server's certificate is self-signed, and it is not itself a trusted certificate.
    SelfSigned,
    /// The server's certificate is marked as the certificate of an authority, and it is not itself
    /// a trusted certificate.
    Authority,
    /// The server's certificate cannot be accepted for another reason, for example because it has
    /// been revoked.
    Certificate,
    /// The server sent something other than TLS, or it closed the connection during the handshake.
    /// Most probably it does not use TLS.
    NotTls,
    /// The server ended the handshake with an alert, for example because it demands a certificate
    /// of the client.
    Refused,
    /// The handshake failed for another reason, for example because client and server have no
    /// version of TLS in common.
    Other,
}

impl TlsFailure {
    /// Finds the TLS failure among the causes of `error`. Returns `None` if the error has another
    /// cause.
    #[must_use]
    pub fn find(error: &(dyn Error + 'static)) -> Option<Self> {
        let mut next = Some(error);
        while let Some(error) = next {
            if let Some(error) = error.downcast_ref::<rustls::Error>() {
                return Some(Self::of(error));
            }
            next = error.source();
            if let Some(error) = error.downcast_ref::<io::Error>() {
                if is_handshake_eof(error) {
                    return Some(Self::NotTls);
                }
                // `source` of an I/O error skips the error that the I/O error wraps.
                next = error.get_ref().map(|inner| inner as &(dyn Error + 'static)).or(next);
            }
        }
        None
    }

    fn of(error: &rustls::Error) -> Self {
        match error {
            rustls::Error::InvalidCertificate(error) => match error {
                CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
                    Self::Expired
                }
                CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
                    Self::NotYetValid
                }
                CertificateError::NotValidForName
                | CertificateError::NotValidForNameContext { .. } => Self::WrongName,
                CertificateError::InvalidPurpose
                | CertificateError::InvalidPurposeContext { .. } => Self::WrongPurpose,
                CertificateError::Other(error) if error.0.is::<SelfSigned>() => Self::SelfSigned,
                CertificateError::Other(error) if error.0.is::<Authority>() => Self::Authority,
                CertificateError::UnknownIssuer | CertificateError::BadSignature => Self::Untrusted,
                _ => Self::Certificate,
            },
            rustls::Error::InvalidMessage(_) => Self::NotTls,
            rustls::Error::AlertReceived(_) => Self::Refused,
            _ => Self::Other,
        }
    }
}

/// Whether this is tokio-rustls' error for a connection that was closed during the handshake. It
/// has no type of its own.
fn is_handshake_eof(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::UnexpectedEof
        && error.get_ref().is_some_and(|inner| inner.to_string() == "tls handshake eof")
}
