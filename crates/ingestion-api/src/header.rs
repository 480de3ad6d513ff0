//! Names of headers in lower case, and of other places in which a credential is sent.

/// The header with an API token of the management API, without a scheme.
pub const API_TOKEN: &str = "x-api-token";

/// The header with a service token of the management API, without a scheme.
pub const API_KEY: &str = "x-api-key";

/// The header with a Kubernetes service account token for the management API. It has no scheme such
/// as `Bearer`.
pub const SERVICE_BEARER: &str = "x-api-servicebearer";

/// The scheme of a service token in the header `authorization`.
pub const API_KEY_SCHEME: &str = "ApiKey";

/// The header with the key of an agent, without a scheme.
pub const STS_API_KEY: &str = "sts-api-key";

/// The header in which some parts of agents still send their key, without a scheme. It has the name
/// that it had at Datadog, from which the agents were derived.
pub const DD_API_KEY: &str = "dd-api-key";

/// The user name of Basic authentication with a key as the password, as in Prometheus remote write.
pub const BASIC_USER: &str = "apikey";

/// The query parameter in which agents send their key.
pub const QUERY_PARAMETER: &str = "api_key";
