//! Paths, as they follow the API's base path ([`API_PATH`] unless a client is told otherwise);
//! those of other listeners are whole.
//!
//! `{id}` is a placeholder in the notation of OpenAPI and of axum; [`api_key`] and [`rotate`] fill
//! it in.

/// The base path of the management API.
pub const API_PATH: &str = "/api";

/// What the server is: [`ServerInfo`](crate::ServerInfo).
pub const SERVER_INFO: &str = "/server/info";

/// All keys: list and create.
pub const API_KEYS: &str = "/security/ingestion/api_keys";

/// One key: get, update and delete.
pub const API_KEY: &str = "/security/ingestion/api_keys/{id}";

/// A new key in place of this one.
pub const ROTATE: &str = "/security/ingestion/api_keys/{id}/rotate";

/// Who changed what: [`AuditPage`](crate::AuditPage).
pub const AUDIT: &str = "/security/ingestion/audit";

/// Whether a key is good, asked with an admin credential.
pub const AUTHORIZE: &str = "/security/ingestion/authorize";

/// The management API itself, as an OpenAPI document.
pub const OPENAPI: &str = "/openapi.json";

/// Whether a key is good, asked without a credential; on the authorize listener, whole.
pub const INTERNAL_AUTHORIZE: &str = "/internal/api/security/ingestion/authorize";

/// What every route of the agents begins with, on the agent listener.
pub const AGENT_PREFIX: &str = "/stsAgent";

/// What may stand before [`AGENT_PREFIX`], as agents write it and a router takes it away.
pub const RECEIVER_PREFIX: &str = "/receiver";

/// Whether the key of an agent is good, after [`AGENT_PREFIX`].
pub const VALIDATE: &str = "/api/v1/validate";

/// [`API_KEY`] of this key.
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

/// [`ROTATE`] of this key.
#[must_use]
pub fn rotate(id: i64) -> String {
    format!("{API_KEYS}/{id}/rotate")
}
