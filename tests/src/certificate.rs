//! A certificate for `localhost`, made for one test.

use std::fs;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

/// A self-signed certificate and its key in files, which are deleted when this value is dropped.
#[derive(Debug)]
pub struct Certificate {
    directory: TempDir,
}

impl Certificate {
    pub fn new() -> Self {
        let made =
            rcgen::generate_simple_self_signed(["localhost".to_owned(), "127.0.0.1".to_owned()])
                .expect("a certificate");
        let certificate = Self { directory: tempfile::tempdir().expect("a directory") };
        fs::write(certificate.cert(), made.cert.pem()).expect("the certificate's file");
        fs::write(certificate.key(), made.signing_key.serialize_pem()).expect("the key's file");
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
