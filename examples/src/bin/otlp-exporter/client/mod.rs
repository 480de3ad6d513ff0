//! The exporters of opentelemetry-rust, as a Collector's exporter says.

mod grpc;
mod http;

use std::time::Duration;

use anyhow::Context;
use opentelemetry_otlp::{Compression, LogExporter, MetricExporter, RetryPolicy, SpanExporter};
use otlp_auth::client::{BearerTokenAuth, EndpointError};
use otlp_auth_examples::collector_config::{self, ExporterConfig, Pem, Protocol};
use secrecy::ExposeSecret;
use tokio::sync::watch;

/// One exporter for each signal that the configuration has an endpoint for.
pub(crate) struct Exporters {
    pub(crate) spans: Option<SpanExporter>,
    pub(crate) metrics: Option<MetricExporter>,
    pub(crate) logs: Option<LogExporter>,
    /// Counts the changes of the token, if there is one.
    pub(crate) generation: Option<watch::Receiver<u64>>,
}

pub(crate) fn exporters(
    config: &ExporterConfig,
    allow_plaintext: bool,
) -> anyhow::Result<Exporters> {
    let auth =
        config.auth().map(BearerTokenAuth::from_config).transpose().context("no authenticator")?;
    let auth = if allow_plaintext { auth.map(BearerTokenAuth::allow_plaintext) } else { auth };
    let generation = auth.as_ref().map(BearerTokenAuth::generation);
    let exporters = match config.protocol() {
        Protocol::Grpc => grpc::exporters(config, auth.as_ref())?,
        Protocol::Http => http::exporters(config, auth.as_ref())?,
    };
    Ok(Exporters { generation, ..exporters })
}

/// The SDK's policy and its budget. It always doubles the delay: `multiplier` has no counterpart.
fn retry(config: &ExporterConfig) -> (RetryPolicy, Duration) {
    let retry = config.retry();
    let policy = if retry.enabled {
        RetryPolicy::recommended()
            .with_max_retries(usize::MAX)
            .with_initial_delay(retry.initial_interval)
            .with_max_delay(retry.max_interval)
            .with_max_jitter(retry.initial_interval.mul_f64(retry.randomization_factor))
    } else {
        RetryPolicy::disabled()
    };
    (policy, retry.max_elapsed_time.unwrap_or(Duration::MAX))
}

/// What the exporters of the SDK compress with. They have no snappy: on OTLP/HTTP the client does
/// it.
fn compression(config: &ExporterConfig) -> Option<Compression> {
    match config.compression() {
        collector_config::Compression::Gzip => Some(Compression::Gzip),
        collector_config::Compression::Zstd => Some(Compression::Zstd),
        collector_config::Compression::Snappy | collector_config::Compression::None => None,
    }
}

fn read(pem: &Pem) -> anyhow::Result<Vec<u8>> {
    match pem {
        Pem::File(path) => {
            std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))
        }
        Pem::Text(text) => Ok(text.expose_secret().as_bytes().to_vec()),
    }
}

fn explain(error: EndpointError) -> anyhow::Error {
    match error {
        EndpointError::Plaintext { .. } => anyhow::anyhow!("{error} (--allow-plaintext)"),
        error => error.into(),
    }
}
