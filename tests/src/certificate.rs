//! A certificate for `localhost`, made for one test.

use std::fs;
use std::path::{Path, PathBuf};

use rcgen::{BasicConstraints, CertificateParams, IsCa, KeyPair};
use tempfile::TempDir;

/// A self-signed certificate and its key in files, which are deleted when this value is dropped.
#[derive(Debug)]
pub struct Certificate {
    directory: TempDir,
}

impl Certificate {
    pub fn new() -> Self {
        Self::with(|_| ())
    }

    /// Makes a certificate that is marked as an authority's, as `openssl req -x509` does.
    pub fn authority() -> Self {
        Self::with(|params| params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained))
    }

    /// Makes a certificate after `change` has changed its parameters.
    pub fn with(change: impl FnOnce(&mut CertificateParams)) -> Self {
        let names = ["localhost".to_owned(), "127.0.0.1".to_owned()];
        let mut params = CertificateParams::new(names).expect("names");
        change(&mut params);
        let key = KeyPair::generate().expect("a key");
        let made = params.self_signed(&key).expect("a certificate");
        let certificate = Self { directory: tempfile::tempdir().expect("a directory") };
        fs::write(certificate.cert(), made.pem()).expect("the certificate's file");
        fs::write(certificate.key(), key.serialize_pem()).expect("the key's file");
        certificate
    }

    pub fn cert(&self) -> PathBuf {
        self.path().join("cert.pem")
    }

    pub fn key(&self) -> PathBuf {
        self.path().join("key.pem")
    }

    fn path(&self) -> &Path {
        self.directory.path()
    }
}

impl Default for Certificate {
    fn default() -> Self {
        Self::new()
    }
}
