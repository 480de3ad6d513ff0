//! Ingestion API keys as a domain: they are issued once, stored as digests, revoked, and decided on
//! from memory.
//!
//! - [`service::KeyService`] creates, updates, rotates and deletes keys. It is the only place of
//!   policy.
//! - [`store`] has the trait of a store, its implementations, and the contract suite that each of
//!   them passes.
//! - [`cache::KeyCache`] has every key in memory, follows a store, and is an authenticator of
//!   `otlp-auth`.
//!
//! The crate has no HTTP. It does not keep the plaintext of a key: only its SHA-256 exists after it
//! was issued.
//!
//! # Features
//!
//! | feature | adds |
//! |---|---|
//! | `sqlite` | [`store`]`::SqliteStore`, with SQLite compiled in |
//! | `testing` | a store in memory, the contract suite of stores, a clock that a test moves |
//!
//! # Errors
//!
//! | error | from | means |
//! |---|---|---|
//! | [`service::CreateError`], [`service::GetError`], [`service::UpdateError`], [`service::RotateError`], [`service::ChangeError`] | the service | what is wrong with a call, or why it could not be fulfilled |
//! | [`store::StoreError`] | stores | a store could not be read or written; its kind says what can be done |
//! | [`store::CommitError`] | stores | a change conflicts with another, or could not be made |

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
