//! Certificates for tests of TLS: authorities, and what they issue.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore, SupportedProtocolVersion};
use tempfile::TempDir;

/// An authority, in a directory with its certificate and with everything that it issues.
pub(crate) struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    directory: TempDir,
}

/// A certificate and its key, in files.
#[derive(Clone, Debug)]
pub(crate) struct Pair {
    pub(crate) cert: PathBuf,
    pub(crate) key: PathBuf,
}

impl Authority {
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let directory = TempDir::new().unwrap();
        fs::write(directory.path().join("ca.pem"), issuer.pem()).unwrap();
        Self { issuer, directory }
    }

    /// The file with the certificate of this authority.
    pub(crate) fn file(&self) -> PathBuf {
        self.directory.path().join("ca.pem")
    }

    /// Issues a certificate for this name, and for loopback addresses.
    pub(crate) fn issue(&self, name: &str) -> Pair {
        let names = [name, "localhost", "127.0.0.1"].map(str::to_owned);
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(names).unwrap();
        let cert = params.signed_by(&key, &self.issuer).unwrap();
        let file = |kind: &str| self.directory.path().join(format!("{name}.{kind}"));
        let pair = Pair { cert: file("crt"), key: file("key") };
        fs::write(&pair.cert, cert.pem()).unwrap();
        fs::write(&pair.key, key.serialize_pem()).unwrap();
        pair
    }

    /// Returns the TLS of a client that trusts this authority, and that offers these protocols.
    pub(crate) fn client(
        &self,
        identity: Option<&Pair>,
        versions: &[&'static SupportedProtocolVersion],
        protocols: &[&[u8]],
    ) -> Arc<ClientConfig> {
        let mut roots = RootCertStore::empty();
        roots.add(self.issuer.der().clone()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(versions)
            .unwrap()
            .with_root_certificates(roots);
        let mut config = match identity {
            Some(pair) => {
                let (chain, key) = (vec![pair.der()], PrivateKeyDer::from_pem_file(&pair.key));
                builder.with_client_auth_cert(chain, key.unwrap()).unwrap()
            }
            None => builder.with_no_client_auth(),
        };
        config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
        Arc::new(config)
    }
}

impl Pair {
    pub(crate) fn der(&self) -> CertificateDer<'static> {
        CertificateDer::from_pem_file(&self.cert).unwrap()
    }

    /// Returns the option that gives a listener this certificate and further settings of `tls`.
    pub(crate) fn option(&self, listener: &str, further: &str) -> String {
        let (cert, key) = (self.cert.display(), self.key.display());
        format!("--set={listener}.tls={{cert_file: {cert}, key_file: {key}{further}}}")
    }
}

/// Replaces a file atomically by a copy of another one.
pub(crate) fn replace(file: &Path, by: &Path) {
    let new = file.with_extension("new");
    fs::copy(by, &new).unwrap();
    fs::rename(new, file).unwrap();
}
