//! What both sides of TLS have in common: the crypto provider, and the files with certificates and
//! keys. `listener/tls.rs` is the side of a server, and `upstream/tls.rs` the side of a client.

mod files;
mod reload;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::SupportedProtocolVersion;
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::{self, PemObject as _};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::version::{TLS12, TLS13};
use server_trust::{RootsError, certificates_from_pem};

pub(crate) use self::files::Contents;
pub use self::files::FileError;
pub(crate) use self::reload::{Reload, Reloads, open};
use crate::config::TlsVersion;

/// Why the files of a `tls` section cannot be used. No variant carries a part of their content.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read.
    #[error(transparent)]
    File(#[from] FileError),
    /// A file has no certificates, or a certificate of it cannot be used.
    #[error("the certificates in {path} cannot be used")]
    Certificates {
        /// The path of the file.
        path: PathBuf,
        /// The cause.
        source: RootsError,
    },
    /// A file has no private key.
    #[error("{path} has no private key in PEM")]
    Key {
        /// The path of the file.
        path: PathBuf,
        /// The cause.
        source: pem::Error,
    },
    /// A certificate and a key do not belong together, or are of a kind that is not supported.
    #[error("the certificate in {cert} and the key in {key} cannot be used together")]
    Pair {
        /// The path of the certificate.
        cert: PathBuf,
        /// The path of the key.
        key: PathBuf,
        /// The cause.
        source: rustls::Error,
    },
    /// The system has no certificate of an authority, and no file names one.
    #[error("there is no certificate of an authority: set `ca_file`")]
    NoAuthority,
    /// TLS cannot be set up, for example because the operating system returns no random bytes.
    #[error("TLS cannot be set up")]
    SetUp(#[source] rustls::Error),
}

/// Returns the crypto provider. It is always named, because rustls panics without a default if a
/// process has two of them.
pub(crate) fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}

/// Returns the versions of TLS that are accepted.
pub(crate) fn versions(min: TlsVersion) -> &'static [&'static SupportedProtocolVersion] {
    static ONLY_1_3: [&SupportedProtocolVersion; 1] = [&TLS13];
    static SINCE_1_2: [&SupportedProtocolVersion; 2] = [&TLS13, &TLS12];
    match min {
        TlsVersion::V1_2 => &SINCE_1_2,
        TlsVersion::V1_3 => &ONLY_1_3,
    }
}

/// Returns all certificates of a file that was read.
pub(crate) fn certificates(
    contents: &Contents,
    path: &Path,
) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    certificates_from_pem(contents.of(path))
        .map_err(|source| TlsError::Certificates { path: path.to_owned(), source })
}

/// Returns the private key of a file that was read.
pub(crate) fn private_key(
    contents: &Contents,
    path: &Path,
) -> Result<PrivateKeyDer<'static>, TlsError> {
    PrivateKeyDer::from_pem_slice(contents.of(path))
        .map_err(|source| TlsError::Key { path: path.to_owned(), source })
}
