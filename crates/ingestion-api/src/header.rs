//! Header names, in lower case, and the schemes that may stand in `authorization`.

/// An API token of the management API, raw.
pub const API_TOKEN: &str = "x-api-token";

/// A service token of the management API, raw.
pub const API_KEY: &str = "x-api-key";

/// A Kubernetes service account's token for the management API, raw: no `Bearer` before it.
pub const SERVICE_BEARER: &str = "x-api-servicebearer";

/// The scheme of a service token in `authorization`.
pub const API_KEY_SCHEME: &str = "ApiKey";

/// The key of an agent, raw.
pub const STS_API_KEY: &str = "sts-api-key";

/// The key of an agent that was not renamed, raw.
pub const DD_API_KEY: &str = "dd-api-key";

/// The user of Basic authentication whose password is a key (Prometheus remote write).
pub const BASIC_USER: &str = "apikey";

/// The query parameter in which agents send their key.
pub const QUERY_PARAMETER: &str = "api_key";
