//! The exporters of opentelemetry-rust, configured like the exporter of a Collector.

mod compression;
mod grpc;
mod grpc_snappy;
mod http;
mod tls;

use std::time::Duration;

use anyhow::Context;
use opentelemetry_otlp::{LogExporter, MetricExporter, RetryPolicy, SpanExporter};
use otlp_auth::GenerationReceiver;
use otlp_auth::client::{BearerTokenAuth, Endpoint, EndpointError, UnboundBearerTokenAuth};
use otlp_auth_examples::collector_config::{ExporterConfig, Pem, Protocol, Signal};
use secrecy::ExposeSecret;

/// One exporter for each signal that has an endpoint in the configuration.
pub(crate) struct Exporters {
    pub(crate) spans: Option<SpanExporter>,
    pub(crate) metrics: Option<MetricExporter>,
    pub(crate) logs: Option<LogExporter>,
    /// Counts the changes of the token, if there is an authenticator.
    pub(crate) generation: Option<GenerationReceiver>,
}

pub(crate) fn exporters(
    config: &ExporterConfig,
    allow_plaintext: bool,
) -> anyhow::Result<Exporters> {
    let auth =
        config.auth().map(|config| BearerTokenAuth::builder().config(config).build_unbound());
    let mut auth = auth.transpose().context("no authenticator")?;
    if allow_plaintext {
        auth = auth.map(UnboundBearerTokenAuth::allow_plaintext);
    }
    if !allow_plaintext && let Some(header) = config.credential_header() {
        for uri in Signal::ALL.into_iter().filter_map(|signal| config.signal_endpoint(signal)) {
            let checked = Endpoint::from(uri).may_carry_credential();
            checked.map_err(explain).with_context(|| format!("the header {header}"))?;
        }
    }
    let generation = auth.as_ref().map(UnboundBearerTokenAuth::generation);
    let exporters = match config.protocol() {
        Protocol::Grpc => grpc::exporters(config, auth.as_ref())?,
        Protocol::Http => http::exporters(config, auth.as_ref())?,
    };
    Ok(Exporters { generation, ..exporters })
}

/// Returns the SDK's retry policy, and the time limit for all attempts together. The SDK always
/// doubles the delay, so `multiplier` has no effect.
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
