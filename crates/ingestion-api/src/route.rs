//! Paths of the management API, below its base path, which is [`API_PATH`] by default. Paths of
//! other listeners are complete.
//!
//! `{id}` is a placeholder in the notation of OpenAPI and axum. [`api_key`] and [`rotate`] replace
//! it.

/// The base path of the management API.
pub const API_PATH: &str = "/api";

/// Information about the server: [`ServerInfo`](crate::ServerInfo).
pub const SERVER_INFO: &str = "/server/info";

/// All keys. The operations are list and create.
pub const API_KEYS: &str = "/security/ingestion/api_keys";

/// One key. The operations are get, update and delete.
pub const API_KEY: &str = "/security/ingestion/api_keys/{id}";

/// Replaces a key with a new one.
pub const ROTATE: &str = "/security/ingestion/api_keys/{id}/rotate";

/// The audit log: [`AuditPage`](crate::AuditPage).
pub const AUDIT: &str = "/security/ingestion/audit";

/// Checks a key. The request needs an admin credential.
pub const AUTHORIZE: &str = "/security/ingestion/authorize";

/// The OpenAPI document of the management API.
pub const OPENAPI: &str = "/openapi.json";

/// Checks a key without an admin credential. It is the complete path on the authorize listener.
pub const INTERNAL_AUTHORIZE: &str = "/internal/api/security/ingestion/authorize";

/// The prefix of every path on the agent listener.
pub const AGENT_PREFIX: &str = "/stsAgent";

/// The prefix that agents send before [`AGENT_PREFIX`], and that a router may remove.
pub const RECEIVER_PREFIX: &str = "/receiver";

/// Checks the key of an agent. The path follows [`AGENT_PREFIX`].
pub const VALIDATE: &str = "/api/v1/validate";

/// The path [`API_KEY`] of the key with this id.
///
/// # Examples
///
/// ```
/// assert_eq!(ingestion_api::route::api_key(17), "/security/ingestion/api_keys/17");
/// ```
#[must_use]
pub fn api_key(id: i64) -> String {
    format!("{API_KEYS}/{id}")
}

/// The path [`ROTATE`] of the key with this id.
#[must_use]
pub fn rotate(id: i64) -> String {
    format!("{API_KEYS}/{id}/rotate")
}
