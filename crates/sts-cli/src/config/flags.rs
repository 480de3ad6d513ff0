//! The flags that choose the server, the credential and the connection.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use secrecy::SecretString;

/// The flags of every command that concern its connection to a server.
#[derive(Args)]
pub(crate) struct ConnectionFlags {
    /// URL of the StackState server
    #[arg(long, global = true, value_name = "string")]
    pub(crate) url: Option<String>,
    /// API token for the StackState server
    #[arg(long, global = true, value_name = "string")]
    pub(crate) api_token: Option<SecretString>,
    /// Service token for the StackState server
    #[arg(long, global = true, value_name = "string")]
    pub(crate) service_token: Option<SecretString>,
    /// Kubernetes service account token for the StackState server
    #[arg(long, global = true, value_name = "string")]
    pub(crate) k8s_sa_token: Option<SecretString>,
    /// File with a Kubernetes service account token for the StackState server
    #[arg(long, global = true, value_name = "path")]
    pub(crate) k8s_sa_token_path: Option<PathBuf>,
    /// PEM file with certificate authorities, or with a self-signed certificate of the server, to
    /// trust in addition to those of the system
    #[arg(long, global = true, alias = "ca-cert-path", value_name = "path")]
    pub(crate) ca_cert: Option<PathBuf>,
    /// Do not verify the certificate of the server
    #[arg(
        long,
        global = true,
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "true",
        value_name = "bool"
    )]
    pub(crate) skip_ssl: Option<bool>,
    /// How long to wait for each response (default "30s")
    #[arg(
        long,
        global = true,
        value_name = "duration",
        value_parser = timeout,
        default_value = "30s",
        hide_default_value = true
    )]
    pub(crate) timeout: Duration,
    /// Configuration file to use instead of the default one
    #[arg(long, global = true, value_name = "path")]
    pub(crate) config: Option<PathBuf>,
    /// Context to use instead of the current one
    #[arg(long, short, global = true, value_name = "string")]
    pub(crate) context: Option<String>,
}

/// Parses a timeout. Zero is an error.
fn timeout(text: &str) -> Result<Duration, String> {
    let duration =
        humantime::parse_duration(text.trim()).ok().filter(|duration| !duration.is_zero());
    duration.ok_or_else(|| "expected a duration longer than zero, such as 30s".to_owned())
}
