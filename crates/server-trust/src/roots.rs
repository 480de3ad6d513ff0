//! The certificates that a client trusts.

use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::{self, PemObject};

/// Why there are no certificates to trust.
#[derive(Debug, thiserror::Error)]
pub enum RootsError {
    /// The text is not PEM.
    #[error("the certificates are not valid PEM")]
    Pem(#[source] pem::Error),
    /// The text has no certificate.
    #[error("there is no certificate")]
    Empty,
    /// A certificate is damaged, or it is of a kind that cannot be trusted.
    #[error("certificate {number} cannot be used")]
    Certificate {
        /// The position of the certificate. The first has the number 1.
        number: usize,
        /// The reason.
        source: rustls::Error,
    },
}

/// Reads all certificates of a PEM text. Other sections of the text, such as keys, are ignored.
///
/// # Errors
///
/// Fails if the text is not PEM, or if it has no certificate.
pub fn certificates_from_pem(text: &[u8]) -> Result<Vec<CertificateDer<'static>>, RootsError> {
    let certificates: Vec<_> =
        CertificateDer::pem_slice_iter(text).collect::<Result<_, _>>().map_err(RootsError::Pem)?;
    if certificates.is_empty() { Err(RootsError::Empty) } else { Ok(certificates) }
}

/// Returns the certificate authorities that the system trusts. The environment variables
/// `SSL_CERT_FILE` and `SSL_CERT_DIR` replace them, as with OpenSSL. Files and certificates that
/// cannot be read are left out.
#[must_use]
pub fn system_roots() -> Vec<CertificateDer<'static>> {
    let mut roots = rustls_native_certs::load_native_certs().certs;
    roots.retain(|root| RootCertStore::empty().add(root.clone()).is_ok());
    roots
}
