//! The wire types, routes and key format of ingestion API keys, which a server and its clients
//! share.
//!
//! The crate does no I/O and sets no rules. For example, the server decides whether a name is too
//! long. In comments, the original server and the original client are those of StackState.
//!
//! The types are those of StackState's own API with additional fields. Every additional field is
//! optional when it is deserialized, so a client also works with a server that does not send the
//! field. Unknown fields are ignored. Ids are integers below 2^53, and times are milliseconds since
//! the Unix epoch, so JSON parsers do not round them. In error bodies, ids are strings
//! ([`ApiError`]).
//!
//! | item | is |
//! |---|---|
//! | [`IngestionApiKey`], [`GeneratedKey`] | a key without its secret, and a new key with its secret |
//! | [`GenerateRequest`], [`UpdateRequest`], [`RotateRequest`], [`AuthorizeRequest`] | the bodies of requests |
//! | [`AuditPage`], [`AuditEntry`] | the audit log |
//! | [`FollowEvent`], [`UsageReport`] | what a gateway and the processes that follow it send each other |
//! | [`ServerInfo`], [`ErrorBody`] | information about the server, and the bodies of error responses |
//! | [`IngestionKey`], [`KeyFormatError`] | the format of a key: generating, parsing and checking it |
//! | [`route`], [`header`] | paths and names of headers |
//!
//! | feature | adds |
//! |---|---|
//! | `utoipa` | OpenAPI schemas of the wire types |

mod audit;
mod error_body;
mod follow;
pub mod header;
mod key_format;
mod key_item;
mod request;
pub mod route;
mod server_info;

pub use audit::{AuditAction, AuditEntry, AuditPage, AuditQuery, FieldChange};
pub use error_body::{ApiError, ErrorBody, ErrorsResponse};
pub use follow::{
    FollowCursor, FollowCursorError, FollowEvent, FollowHello, FollowPosition, FollowQuery,
    FollowedKey, KeyUsage, UsageReport,
};
pub use key_format::{IngestionKey, KEY_LEN, KEY_PATTERN, KEY_PREFIX, KeyFormatError};
pub use key_item::{
    FollowerConnection, GeneratedKey, IngestionApiKey, KeyRole, KeySource, KeyStatus,
};
pub use request::{
    AuthorizeQuery, AuthorizeRequest, GenerateRequest, ListQuery, RotateRequest, UpdateRequest,
};
pub use server_info::{ServerInfo, Version};

use serde::{Deserialize, Deserializer};

/// Deserializes null as the default value, as the original client does.
fn null_as_default<'de, D: Deserializer<'de>, T: Default + Deserialize<'de>>(
    deserializer: D,
) -> Result<T, D::Error> {
    Option::deserialize(deserializer).map(Option::unwrap_or_default)
}
