//! The OTLP exporters of a Collector's configuration file.
//!
//! [`CollectorConfig`] reads the OTLP exporters of a file, and the `bearertokenauth` extensions
//! that these exporters use. Names and defaults are those of the Collector. The file is written in
//! the language of [`otel_confmap`]. All problems of a file are reported at once. No message
//! contains a value of the file.
//!
//! # Differences from the Collector
//!
//! The following differences are in addition to those of [the
//! language](otel_confmap#differences-from-the-collector) and of the [`bearertokenauth`
//! block](otlp_auth::config#differences-from-the-collector):
//!
//! | here | in the Collector |
//! |---|---|
//! | headers that belong to the protocol cannot be set | they are sent, and break requests |
//! | `endpoint: http://..` of an OTLP/gRPC exporter is plaintext | TLS, unless `tls.insecure` is set |
//! | `tls.insecure` with certificates is an error | TLS if there is a `ca_file`; otherwise the certificates are ignored |
//! | `tls.insecure_skip_verify: true` is an error, unless `tls.insecure` is set too | certificates are not verified |
//! | `tls.min_version: "1.3"`, `tls.cipher_suites`, `tls.curve_preferences` and `tls.tpm` are errors, because the protection would be another one | they have effect |
//! | `authority`, `middlewares` and `proxy_url` are errors, because the data would go elsewhere | they have effect |
//! | a header of `headers` that looks like a credential is not sent to another host over plaintext, and must not be empty | it is sent |
//! | blanks and line ends around the value of a header are left out | a line end breaks requests |
//! | an endpoint with user information is an error | the user information is sent as basic authentication |
//! | an authenticator missing in `service.extensions` is a warning if there is no `service` | an error |
//! | `retry_on_failure.multiplier` is at least 1 | it is at least 0, so that delays may shrink |
//! | an extension that nothing uses is not read | every extension must be valid |
//! | unknown keys outside `bearertokenauth` are warnings, unless their name says that they concern authentication or TLS | unknown keys are errors |
//! | all other keys without effect here are warnings | they have effect |

mod collector;
mod endpoint;
mod exporter;
mod header;
mod retry;
#[cfg(test)]
mod tests;
mod tls;
mod unsupported;

pub use collector::{CollectorConfig, SelectExporterError};
pub use exporter::{Compression, ExporterConfig, Protocol, Signal};
pub use retry::RetryConfig;
pub use tls::{Pem, TlsConfig, TlsIdentity};
