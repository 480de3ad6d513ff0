//! The Collector's configuration of an OTLP client: one `bearertokenauth` block, or a whole
//! Collector file.
//!
//! [`BearerTokenAuthConfig`] is the block that says which credential is sent, [`CollectorConfig`] a
//! file of which the OTLP exporters are read. Both keep the Collector's names and defaults; the
//! language around them is [`confmap`](crate::confmap). Every problem of a configuration is told at
//! once ([up to a hundred](crate::confmap#limits)), and no message holds a value.
//!
//! # Differences from the Collector
//!
//! Besides those of [`confmap`](crate::confmap#differences-from-the-collector):
//!
//! | here | there |
//! |---|---|
//! | two of `token`, `tokens` and `filename` are an error | `token` with `tokens` only; next to them the file is ignored |
//! | every token must be legal in a header: visible ASCII, no comma, no quote | anything is sent |
//! | each of `tokens` may hold several lines, as `token` may; blank ones are dropped | never matches; a blank line is a token |
//! | headers that belong to the protocol cannot be set | sent, and break requests |
//! | `endpoint: http://..` of an OTLP/gRPC exporter is plaintext | TLS, unless `tls.insecure` |
//! | `tls.insecure` with certificates is an error | TLS if there is a `ca_file`, else they are ignored |
//! | `tls.insecure_skip_verify: true` is an error | certificates are not verified |
//! | an endpoint with user information is an error | sent as basic authentication |
//! | an authenticator missing in `service.extensions` is a warning if there is no `service` | an error |
//! | `compression: snappy` is gzip on OTLP/gRPC, with a warning | snappy |
//! | `retry_on_failure.multiplier` is at least 1 | at least 0: delays that shrink |
//! | an extension that nothing uses is not read | every one must be valid |
//! | unknown keys outside `bearertokenauth`, and those without effect here, are warnings | errors, and in effect |

mod bearer_token_auth;
mod collector;
mod endpoint;
mod exporter;
mod header;
mod retry;
#[cfg(test)]
mod tests;
mod tls;

use std::fmt;

pub use bearer_token_auth::{BearerTokenAuthConfig, TokenSource};
pub use collector::{CollectorConfig, SelectExporterError};
pub use exporter::{Compression, ExporterConfig, Protocol, Signal};
pub use retry::RetryConfig;
pub use tls::{Pem, TlsConfig, TlsIdentity};

use crate::confmap::Problem;

/// A configuration that cannot be used. `Display` tells every problem, one per line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    problems: Vec<Problem>,
}

impl ConfigError {
    /// What is wrong, in the order in which it was found; of more than
    /// [`MAX_PROBLEMS`](crate::confmap::MAX_PROBLEMS) the first ones, and then how many more there
    /// are.
    #[must_use]
    pub fn problems(&self) -> &[Problem] {
        &self.problems
    }
}

impl From<Problem> for ConfigError {
    fn from(problem: Problem) -> Self {
        Self { problems: vec![problem] }
    }
}

impl From<Vec<Problem>> for ConfigError {
    fn from(problems: Vec<Problem>) -> Self {
        Self { problems }
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.problems.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{problem}")?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigError {}
