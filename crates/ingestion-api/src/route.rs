//! Paths of requests. The paths of the management API are relative to its base path, which is
//! [`API_PATH`] by default. Some paths belong to other listeners. The comments on these paths say
//! so.
//!
//! `{id}` is a placeholder in the notation of OpenAPI and axum. [`api_key`] and [`rotate`] replace
//! it with an id.

/// The base path of the management API.
pub const API_PATH: &str = "/api";

/// The path of information about the server: [`ServerInfo`](crate::ServerInfo).
pub const SERVER_INFO: &str = "/server/info";

/// The path of all keys. The operations are list and create.
pub const API_KEYS: &str = "/security/ingestion/api_keys";

/// The path of one key. The operations are get, update and delete.
pub const API_KEY: &str = "/security/ingestion/api_keys/{id}";

/// The path for replacing a key with a new one.
pub const ROTATE: &str = "/security/ingestion/api_keys/{id}/rotate";

/// The path of the audit log: [`AuditPage`](crate::AuditPage).
pub const AUDIT: &str = "/security/ingestion/audit";

/// The path for checking a key. The request needs an admin credential.
pub const AUTHORIZE: &str = "/security/ingestion/authorize";

/// The path of the stream of all keys and their changes: lines of
/// [`FollowEvent`](crate::FollowEvent). The request needs the token of a follower.
pub const FOLLOW: &str = "/security/ingestion/follow";

/// The path for reports of usage: [`UsageReport`](crate::UsageReport). The request needs the token
/// of a follower.
pub const FOLLOW_USAGE: &str = "/security/ingestion/follow/usage";

/// The path of the OpenAPI document of the management API.
pub const OPENAPI: &str = "/openapi.json";

/// The path for checking a key without an admin credential. It is a complete path, on the authorize
/// listener.
pub const INTERNAL_AUTHORIZE: &str = "/internal/api/security/ingestion/authorize";

/// The path for checking the key of a request with the headers of that request. Proxies call it for
/// each request, with any method. It is a complete path, on the authorize listener.
pub const FORWARD_AUTH: &str = "/authorize";

/// The prefix of the paths of agents, on the agent listener.
pub const AGENT_PREFIX: &str = "/stsAgent";

/// The prefix that senders put before [`AGENT_PREFIX`] and [`REMOTE_WRITE`]. A router may remove
/// it.
pub const RECEIVER_PREFIX: &str = "/receiver";

/// The path for checking the key of an agent. It follows [`AGENT_PREFIX`].
pub const VALIDATE: &str = "/api/v1/validate";

/// The prefix of the paths of OTLP. It follows [`AGENT_PREFIX`], and a path such as `/v1/traces`
/// follows it. Agents contain OpenTelemetry Collectors, which send to these paths.
pub const AGENT_OTLP_PREFIX: &str = "/otel";

/// The path of Prometheus remote write, on the agent listener.
pub const REMOTE_WRITE: &str = "/prometheus/api/v1/write";

/// Returns the path [`API_KEY`] with the id in it.
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

/// Returns the path [`ROTATE`] with the id in it.
#[must_use]
pub fn rotate(id: i64) -> String {
    format!("{API_KEYS}/{id}/rotate")
}
