//! Ingestion API keys as a domain: issued once, kept as digests, revoked, and decided on from
//! memory.
//!
//! - [`service::KeyService`] is the only place of policy: it creates, changes, rotates and deletes
//!   keys.
//! - [`store`] is where they are kept: one trait, one contract that every store fulfils.
//! - [`cache::KeyCache`] has every key in memory, follows a store, and is an authenticator of
//!   `otlp-auth`.
//!
//! It knows no HTTP, and no key: a plaintext exists while it is issued, and as its SHA-256 from
//! then on.
//!
//! # Features
//!
//! | feature | adds |
//! |---|---|
//! | `sqlite` | [`store`]`::SqliteStore`, with SQLite compiled in |
//! | `testing` | a store in memory, a clock that is moved by hand |
//!
//! # Errors
//!
//! | error | from | means |
//! |---|---|---|
//! | [`service::IssueError`] | the service | what is wrong with a request, or that it could not be kept |
//! | [`store::StoreError`] | stores | a store could not be read or written, and why |
//! | [`store::CommitError`] | stores | a change does not fit what is there, or could not be made |

pub mod audit;
pub mod cache;
pub mod clock;
#[cfg(test)]
mod fixture;
mod key;
pub mod service;
mod sha256_block;
pub mod store;

pub use key::{KeyClient, KeyDigest, KeyId, KeyRecord, StoredKey, Usage};
