//! Which certificates of servers are trusted.

#![expect(clippy::expect_used, reason = "a failure here is a failed test")]

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair, date_time_ymd,
};
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{CertificateError, ClientConfig, ClientConnection, RootCertStore};
use rustls::{ServerConfig, ServerConnection};
use server_trust::{RootsError, TlsFailure, certificates_from_pem, server_verifier};

const NAME: &str = "otlp.example.com";

/// 2026-01-01, within the validity of [`params`].
const NOW: u64 = 1_767_225_600;

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

/// The parameters of the certificate that `openssl req -x509` makes: it is self-signed, and marked
/// as the certificate of an authority.
fn params() -> CertificateParams {
    let mut params = CertificateParams::new([NAME.to_owned()]).expect("a name");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.not_before = date_time_ymd(2025, 1, 1);
    params.not_after = date_time_ymd(2027, 1, 1);
    params
}

fn self_signed(params: CertificateParams) -> CertifiedIssuer<'static, KeyPair> {
    CertifiedIssuer::self_signed(params, KeyPair::generate().expect("a key"))
        .expect("a certificate")
}

fn verifier(root: &CertifiedIssuer<'_, KeyPair>) -> Arc<dyn ServerCertVerifier> {
    server_verifier(vec![root.der().clone()], &provider()).expect("a verifier")
}

fn verify(
    verifier: &dyn ServerCertVerifier,
    certificate: &CertificateDer<'_>,
    name: &str,
    now: u64,
) -> Result<(), rustls::Error> {
    let name = ServerName::try_from(name).expect("a name");
    let now = UnixTime::since_unix_epoch(Duration::from_secs(now));
    verifier.verify_server_cert(certificate, &[], &name, &[], now).map(|_| ())
}

fn failure(result: Result<(), rustls::Error>) -> TlsFailure {
    TlsFailure::find(&result.expect_err("the certificate is trusted")).expect("a TLS failure")
}

// Scenario: a client trusts a self-signed certificate that is its own authority, and the server
// presents this certificate.
// Guarantee: the certificate is trusted, although rustls alone refuses it.
#[test]
fn a_self_signed_certificate_is_its_own_authority() {
    let root = self_signed(params());
    let mut store = RootCertStore::empty();
    store.add(root.der().clone()).expect("a root");
    let alone =
        WebPkiServerVerifier::builder_with_provider(store.into(), provider()).build().expect("one");
    let error = verify(&*alone, root.der(), NAME, NOW).expect_err("rustls trusts the certificate");
    assert!(format!("{error:?}").contains("CaUsedAsEndEntity"), "{error:?}");

    assert_eq!(verify(&*verifier(&root), root.der(), NAME, NOW), Ok(()));
}

// Scenario: a client trusts a self-signed certificate. The certificate has expired, or is not valid
// yet, or is for another name, or is meant for clients.
// Guarantee: the certificate is refused, and the failure says which of these is wrong.
#[test]
fn a_trusted_certificate_is_checked() {
    let root = self_signed(params());
    let verifier_of_root = verifier(&root);
    let year = 366 * 24 * 60 * 60;
    let check = |name, now| failure(verify(&*verifier_of_root, root.der(), name, now));
    assert_eq!(check(NAME, NOW + year), TlsFailure::Expired);
    assert_eq!(check(NAME, NOW - year), TlsFailure::NotYetValid);
    assert_eq!(check("other.example.com", NOW), TlsFailure::WrongName);
    assert_eq!(check("127.0.0.1", NOW), TlsFailure::WrongName);

    let mut params = params();
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    let root = self_signed(params);
    assert_eq!(failure(verify(&*verifier(&root), root.der(), NAME, NOW)), TlsFailure::WrongPurpose);
}

// Scenario: a client trusts a self-signed certificate. The server presents another self-signed
// certificate with the same names, and with the same or another subject.
// Guarantee: the other certificate is not trusted, and the failure says that it is self-signed,
// whether it is marked as the certificate of an authority or not.
#[test]
fn another_certificate_of_the_same_name_is_not_trusted() {
    let root = self_signed(params());
    for is_ca in [IsCa::Ca(BasicConstraints::Unconstrained), IsCa::ExplicitNoCa, IsCa::NoCa] {
        let mut same = params();
        same.is_ca = is_ca;
        let mut other = same.clone();
        other.distinguished_name.push(DnType::CommonName, "other");
        for params in [same, other] {
            let other = self_signed(params);
            let result = verify(&*verifier(&root), other.der(), NAME, NOW);
            assert_eq!(failure(result), TlsFailure::SelfSigned);
        }
    }
}

// Scenario: a client trusts an authority. The server presents a certificate that the authority
// issued.
// Guarantee: the certificate is trusted for its name only, as with rustls alone.
#[test]
fn an_authority_is_trusted_for_what_it_issued() {
    let root = self_signed(params());
    let mut params = params();
    params.is_ca = IsCa::NoCa;
    let issued = params.signed_by(&KeyPair::generate().expect("a key"), &root).expect("issued");
    let verifier = verifier(&root);
    assert_eq!(verify(&*verifier, issued.der(), NAME, NOW), Ok(()));
    assert_eq!(
        failure(verify(&*verifier, issued.der(), "other.example.com", NOW)),
        TlsFailure::WrongName
    );
}

// Scenario: a client trusts an authority. The server presents a certificate that the authority
// issued, and that is itself marked as the certificate of an authority.
// Guarantee: the failure does not say that the issuer is not trusted. The certificate is trusted
// once it is itself one of the trusted certificates.
#[test]
fn an_issued_authority_is_trusted_only_as_itself() {
    let root = self_signed(params());
    let mut params = params();
    params.distinguished_name.push(DnType::CommonName, "server");
    let issued = params.signed_by(&KeyPair::generate().expect("a key"), &root).expect("issued");
    let result = verify(&*verifier(&root), issued.der(), NAME, NOW);
    assert_eq!(failure(result), TlsFailure::Authority);
    let roots = vec![root.der().clone(), issued.der().clone()];
    let both = server_verifier(roots, &provider()).expect("a verifier");
    assert_eq!(verify(&*both, issued.der(), NAME, NOW), Ok(()));
}

// Scenario: a server presents a certificate that the client trusts, with the key of the certificate
// and with another key.
// Guarantee: the handshake succeeds with the key of the certificate only.
#[test]
fn the_server_must_have_the_key_of_the_certificate() {
    let mut params = params();
    params.not_after = date_time_ymd(4096, 1, 1);
    let root = self_signed(params);
    assert_eq!(handshake(&root, root.key()), Ok(()));
    let error = handshake(&root, &KeyPair::generate().expect("a key"));
    assert_eq!(error, Err(rustls::Error::InvalidCertificate(CertificateError::BadSignature)),);
}

// Scenario: a server answers in plaintext where TLS is expected; then the same error inside I/O
// errors, as HTTP clients wrap it; then an I/O error that has nothing to do with TLS.
// Guarantee: the failure says that the server does not use TLS, and the last error is no failure of
// TLS.
#[test]
fn a_plaintext_server_is_recognised() {
    let root = self_signed(params());
    let mut client = client(&root);
    let mut answer = b"HTTP/1.1 400 Bad Request\r\n\r\n".as_slice();
    client.read_tls(&mut answer).expect("bytes");
    let error = client.process_new_packets().expect_err("plaintext was accepted");
    assert_eq!(TlsFailure::find(&error), Some(TlsFailure::NotTls));

    let wrapped = std::io::Error::other(std::io::Error::other(error));
    assert_eq!(TlsFailure::find(&wrapped), Some(TlsFailure::NotTls));
    let refused = std::io::Error::from(std::io::ErrorKind::ConnectionRefused);
    assert_eq!(TlsFailure::find(&refused), None);
}

// Scenario: the text with the trusted certificates is empty, has no certificate, or has a damaged
// one.
// Guarantee: it is refused, and a damaged certificate is named by its position.
#[test]
fn useless_texts_are_refused() {
    assert!(matches!(certificates_from_pem(b""), Err(RootsError::Empty)));
    let key = KeyPair::generate().expect("a key").serialize_pem();
    assert!(matches!(certificates_from_pem(key.as_bytes()), Err(RootsError::Empty)));
    let root = self_signed(params());
    let roots = vec![root.der().clone(), CertificateDer::from(vec![1, 2, 3])];
    let error = server_verifier(roots, &provider()).expect_err("it is damaged");
    assert_eq!(error.to_string(), "certificate 2 cannot be used");
    assert!(error.source().is_some());
}

fn client(root: &CertifiedIssuer<'_, KeyPair>) -> ClientConnection {
    let config = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .expect("versions")
        .dangerous()
        .with_custom_certificate_verifier(verifier(root))
        .with_no_client_auth();
    let name = ServerName::try_from(NAME).expect("a name");
    ClientConnection::new(Arc::new(config), name).expect("a client")
}

/// Runs the handshake with a server that presents the certificate and signs with `key`. Returns the
/// client's result.
fn handshake(
    certificate: &CertifiedIssuer<'_, KeyPair>,
    key: &KeyPair,
) -> Result<(), rustls::Error> {
    let key = PrivateKeyDer::try_from(key.serialize_der()).expect("a key");
    let key = provider().key_provider.load_private_key(key).expect("a key");
    let config = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(Fixed(Arc::new(CertifiedKey::new(
            vec![certificate.der().clone()],
            key,
        )))));
    let mut server = ServerConnection::new(Arc::new(config)).expect("a server");
    let mut client = client(certificate);
    while client.is_handshaking() {
        let mut bytes = Vec::new();
        client.write_tls(&mut bytes).expect("bytes");
        server.read_tls(&mut bytes.as_slice()).expect("bytes");
        server.process_new_packets().expect("the client's messages");
        let mut bytes = Vec::new();
        while server.wants_write() {
            server.write_tls(&mut bytes).expect("bytes");
        }
        client.read_tls(&mut bytes.as_slice()).expect("bytes");
        client.process_new_packets()?;
    }
    Ok(())
}

#[derive(Debug)]
struct Fixed(Arc<CertifiedKey>);

impl ResolvesServerCert for Fixed {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0))
    }
}
