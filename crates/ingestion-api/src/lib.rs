//! The wire types, routes and key format of ingestion API keys: what a server and its clients have
//! to agree on.
//!
//! It does no I/O and knows no policy: whether a name is too long is the server's to say.
//!
//! The types are those of StackState's own API with fields of ours in addition. Every one of these
//! is optional when it is read, so that a client works against a server that sends only the
//! original's; unknown fields are ignored. Ids are integers below 2^53 and times milliseconds since
//! the Unix epoch, so that no JSON parser rounds them; in error bodies both are strings
//! ([`ErrorsResponse`]).
//!
//! | item | is |
//! |---|---|
//! | [`IngestionApiKey`], [`GeneratedKey`] | a key as it is listed, and as it is answered once, with its secret |
//! | [`GenerateRequest`], [`UpdateRequest`], [`RotateRequest`], [`AuthorizeRequest`] | what is asked for |
//! | [`AuditPage`], [`AuditEntry`] | who changed what |
//! | [`ServerInfo`], [`ErrorBody`] | what the server is, and what it says when it refuses |
//! | [`IngestionKey`], [`KeyFormatError`] | the format of a key: generated, parsed, checked |
//! | [`route`], [`header`] | paths and header names |
//!
//! | feature | adds |
//! |---|---|
//! | `utoipa` | schemas of the wire types, for an OpenAPI document |

mod audit;
mod error_body;
pub mod header;
mod key_format;
mod key_item;
mod request;
pub mod route;
mod server_info;

pub use audit::{AuditAction, AuditEntry, AuditPage, AuditQuery, FieldChange};
pub use error_body::{ApiError, ErrorBody, ErrorsResponse};
pub use key_format::{IngestionKey, KEY_LEN, KEY_PATTERN, KEY_PREFIX, KeyFormatError};
pub use key_item::{GeneratedKey, IngestionApiKey, KeySource, KeyStatus};
pub use request::{
    AuthorizeQuery, AuthorizeRequest, GenerateRequest, RotateRequest, UpdateRequest,
};
pub use server_info::{ServerInfo, Version};
