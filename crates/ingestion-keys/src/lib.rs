//! The domain of ingestion API keys, without HTTP. A key is issued once, stored as a digest, and
//! can be revoked. Requests are decided on from memory.
//!
//! - [`service::KeyService`] creates, updates, rotates and deletes keys. All rules about which
//!   changes are allowed are in it.
//! - [`store`] has the trait of a store, the implementations of the trait, and the contract suite:
//!   tests that every implementation has to pass.
//! - [`cache::KeyCache`] has every key in memory and follows the changes of a store. It implements
//!   the authenticator trait of `otlp-auth`.
//!
//! The crate does not keep the plaintext of a key. After a key was issued, the crate has only the
//! SHA-256 of the key.
//!
//! # Features
//!
//! | feature | adds |
//! |---|---|
//! | `postgres` | [`store`]`::PostgresStore`, for many processes that share their keys |
//! | `remote` | [`remote`]: the keys of a gateway in another process |
//! | `sqlite` | [`store`]`::SqliteStore`, with SQLite compiled in |
//! | `testing` | a store in memory, the contract suite of stores, and a clock that a test moves |
//!
//! # Errors
//!
//! | error | from | means |
//! |---|---|---|
//! | [`service::CreateError`], [`service::GetError`], [`service::UpdateError`], [`service::RotateError`], [`service::ChangeError`] | the service | the call is not valid, or could not be carried out |
//! | `remote::StartError` | a follower | the URL, the token, the certificates or a duration cannot be used |
//! | [`store::StoreError`] | stores | a store could not be read or written; the kind of the error says what can be done |
//! | [`store::CommitError`] | stores | a change conflicts with another change, or could not be stored |

pub mod audit;
mod backoff;
pub mod cache;
pub mod clock;
#[cfg(test)]
mod fixture;
mod key;
#[cfg(feature = "remote")]
pub mod remote;
pub mod service;
mod sha256_block;
pub mod store;
mod wire;

pub use key::{KeyClient, KeyDigest, KeyId, KeyRecord, KeyRole, StoredKey, Usage};
pub use wire::NotPossible;
