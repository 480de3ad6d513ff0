//! The verifier of servers' certificates.

use std::sync::Arc;
use std::time::Duration;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{WebPkiServerVerifier, verify_server_name};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{
    CertificateError, DigitallySignedStruct, Error, OtherError, RootCertStore, SignatureScheme,
};
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer;
use x509_parser::time::ASN1Time;

use crate::RootsError;

/// Makes a verifier that trusts these certificates in two ways:
///
/// - as authorities: it trusts a server's certificate that one of them issued, as rustls does;
/// - as themselves: it trusts a server's certificate that is one of them, byte for byte. Its dates,
///   its names and its purpose are checked, and the server must have its key.
///
/// # Errors
///
/// Fails if there is no certificate, or if one of them cannot be used.
pub fn server_verifier(
    roots: Vec<CertificateDer<'static>>,
    provider: &Arc<CryptoProvider>,
) -> Result<Arc<dyn ServerCertVerifier>, RootsError> {
    let mut store = RootCertStore::empty();
    for (index, root) in roots.iter().enumerate() {
        store
            .add(root.clone())
            .map_err(|source| RootsError::Certificate { number: index + 1, source })?;
    }
    // There are no revocation lists, so the only possible error is that there is no root.
    let issued = WebPkiServerVerifier::builder_with_provider(store.into(), Arc::clone(provider))
        .build()
        .map_err(|_| RootsError::Empty)?;
    Ok(Arc::new(ServerVerifier { roots, issued }))
}

#[derive(Debug)]
struct ServerVerifier {
    roots: Vec<CertificateDer<'static>>,
    /// Verifies a certificate that one of the roots issued, and the signatures of the handshake.
    issued: Arc<WebPkiServerVerifier>,
}

impl ServerCertVerifier for ServerVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        if self.roots.iter().any(|root| root == end_entity) {
            let certificate = parse(end_entity)?;
            check_dates(&certificate, now)?;
            check_purpose(&certificate)?;
            verify_server_name(&ParsedCertificate::try_from(end_entity)?, server_name)?;
            return Ok(ServerCertVerified::assertion());
        }
        self.issued
            .verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)
            .map_err(|error| untrusted(error, end_entity))
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.issued.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.issued.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.issued.supported_verify_schemes()
    }
}

/// The issuer of a certificate is unknown, because the certificate is its own issuer.
#[derive(Debug, thiserror::Error)]
#[error("self-signed certificate")]
pub(crate) struct SelfSigned;

/// The certificate is that of an authority, and is not itself trusted.
#[derive(Debug, thiserror::Error)]
#[error("the certificate is that of an authority")]
pub(crate) struct Authority;

/// Returns the error of a certificate without a known issuer, or else `error` as it is.
fn untrusted(error: Error, certificate: &CertificateDer<'_>) -> Error {
    let Ok(certificate) = parse(certificate) else { return error };
    let is_self_signed = certificate.subject() == certificate.issuer();
    let Error::InvalidCertificate(reason) = &error else { return error };
    match reason {
        // The signature is wrong if a trusted certificate has the name of the issuer, but another
        // key. An older self-signed certificate of the same server is such a certificate.
        CertificateError::UnknownIssuer | CertificateError::BadSignature if !is_self_signed => {
            CertificateError::UnknownIssuer.into()
        }
        CertificateError::UnknownIssuer | CertificateError::BadSignature => self_signed(),
        // webpki refuses the certificate of an authority before it looks for its issuer. So it is
        // unknown whether the issuer is trusted, unless the certificate is its own issuer.
        CertificateError::Other(_) if certificate.is_ca() && is_self_signed => self_signed(),
        CertificateError::Other(_) if certificate.is_ca() => {
            CertificateError::Other(OtherError(Arc::new(Authority))).into()
        }
        _ => error,
    }
}

fn self_signed() -> Error {
    CertificateError::Other(OtherError(Arc::new(SelfSigned))).into()
}

fn parse<'a>(certificate: &'a CertificateDer<'_>) -> Result<X509Certificate<'a>, Error> {
    let (_, certificate) =
        X509Certificate::from_der(certificate).map_err(|_| CertificateError::BadEncoding)?;
    Ok(certificate)
}

fn check_dates(certificate: &X509Certificate<'_>, now: UnixTime) -> Result<(), CertificateError> {
    let validity = certificate.validity();
    let (not_before, not_after) = (unix_time(validity.not_before), unix_time(validity.not_after));
    if now < not_before {
        Err(CertificateError::NotValidYetContext { time: now, not_before })
    } else if now > not_after {
        Err(CertificateError::ExpiredContext { time: now, not_after })
    } else {
        Ok(())
    }
}

/// Returns the time; a time before 1970 counts as 1970.
fn unix_time(time: ASN1Time) -> UnixTime {
    let seconds = u64::try_from(time.timestamp()).unwrap_or_default();
    UnixTime::since_unix_epoch(Duration::from_secs(seconds))
}

/// Checks that the certificate, if it lists its purposes at all, is meant for servers.
fn check_purpose(certificate: &X509Certificate<'_>) -> Result<(), CertificateError> {
    match certificate.extended_key_usage() {
        Ok(None) => Ok(()),
        Ok(Some(usage)) if usage.value.any || usage.value.server_auth => Ok(()),
        Ok(Some(_)) => Err(CertificateError::InvalidPurpose),
        Err(_) => Err(CertificateError::BadEncoding),
    }
}
