//! Names of headers and of a query parameter in which a credential is sent. Header names are in
//! lower case.

/// The header with an API token of the management API. The value has no scheme such as `Bearer`.
pub const API_TOKEN: &str = "x-api-token";

/// The header with a service token of the management API. The value has no scheme.
pub const API_KEY: &str = "x-api-key";

/// The header with a Kubernetes service account token for the management API. The value has no
/// scheme.
pub const SERVICE_BEARER: &str = "x-api-servicebearer";

/// The scheme of a service token in the header `authorization`.
pub const API_KEY_SCHEME: &str = "ApiKey";

/// The header in which an agent sends its key. The value has no scheme.
pub const STS_API_KEY: &str = "sts-api-key";

/// The header in which some parts of agents still send their key. The value has no scheme. The name
/// comes from Datadog, because the agents were derived from those of Datadog.
pub const DD_API_KEY: &str = "dd-api-key";

/// The user name of Basic authentication if the password is a key. Prometheus remote write sends a
/// key in this way.
pub const BASIC_USER: &str = "apikey";

/// The query parameter in which agents send their key.
pub const QUERY_PARAMETER: &str = "api_key";
