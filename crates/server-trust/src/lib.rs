//! Which TLS servers a client trusts, and why it does not trust one.
//!
//! [`server_verifier`] verifies the certificates of servers as rustls does, with one addition: a
//! server's certificate that is itself one of the trusted certificates is trusted. So the
//! certificate that `openssl req -x509` makes can be named as its own authority, as with OpenSSL,
//! with Go and with a Collector. rustls alone refuses that certificate with `CaUsedAsEndEntity`,
//! because it is marked as the certificate of an authority.
//!
//! [`TlsFailure`] says in one word why a TLS handshake failed.
//!
//! # Examples
//!
//! ```no_run
//! use std::sync::Arc;
//!
//! use rustls::ClientConfig;
//! use server_trust::{certificates_from_pem, server_verifier};
//!
//! let provider = Arc::new(rustls::crypto::ring::default_provider());
//! let roots = certificates_from_pem(&std::fs::read("ca.pem")?)?;
//! let verifier = server_verifier(roots, &provider)?;
//! let config = ClientConfig::builder_with_provider(provider)
//!     .with_safe_default_protocol_versions()?
//!     .dangerous()
//!     .with_custom_certificate_verifier(verifier)
//!     .with_no_client_auth();
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod any_name;
mod any_server;
mod failure;
mod roots;
mod verifier;

pub use any_name::any_name;
pub use any_server::any_server;
pub use failure::TlsFailure;
pub use roots::{RootsError, certificates_from_pem, system_roots};
pub use verifier::server_verifier;
