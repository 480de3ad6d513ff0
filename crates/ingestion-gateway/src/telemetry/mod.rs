//! The gateway's own metrics and health.

pub mod logs;
pub(crate) mod readiness;

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use http::StatusCode;
use http::header::CONTENT_TYPE;
use ingestion_keys::cache::KeyCache;
use opentelemetry::metrics::{Meter, MeterProvider as _};
use opentelemetry_sdk::error::OTelSdkError;
use opentelemetry_sdk::metrics::SdkMeterProvider;
use prometheus::{Encoder as _, Registry, TextEncoder};

use self::readiness::Readiness;
use crate::upstream::debug::DISCARDS;

/// The metrics of this process, and the registry from which they are scraped.
#[derive(Debug)]
pub(crate) struct Telemetry {
    registry: Registry,
    provider: SdkMeterProvider,
}

#[derive(Clone)]
struct Health {
    registry: Registry,
    /// The metrics exist only as long as their provider.
    _provider: SdkMeterProvider,
    readiness: Readiness,
}

impl Telemetry {
    pub(crate) fn new() -> Result<Self, OTelSdkError> {
        let registry = Registry::new();
        let exporter = opentelemetry_prometheus::exporter()
            .with_registry(registry.clone())
            .without_target_info()
            .build()?;
        Ok(Self { registry, provider: SdkMeterProvider::builder().with_reader(exporter).build() })
    }

    pub(crate) fn meter(&self) -> Meter {
        self.provider.meter("ingestion-gateway")
    }

    /// Creates the router of the telemetry listener. Registers a metric for the number of keys.
    pub(crate) fn router(self, cache: Arc<KeyCache>, readiness: Readiness) -> Router {
        let meter = self.meter();
        let keys = meter.u64_observable_gauge("ingestion.keys").with_unit("{key}");
        keys.with_description("Keys in memory, expired and disabled ones included")
            .with_callback(move |gauge| gauge.observe(cache.len() as u64, &[]))
            .build();
        let health = Health { registry: self.registry, _provider: self.provider, readiness };
        Router::new()
            .route("/metrics", get(metrics))
            .route("/livez", get(async || "alive\n"))
            .route("/readyz", get(ready))
            .with_state(health)
    }
}

async fn metrics(State(health): State<Health>) -> Response {
    let encoder = TextEncoder::new();
    let mut text = Vec::new();
    match encoder.encode(&health.registry.gather(), &mut text) {
        Ok(()) => ([(CONTENT_TYPE, encoder.format_type().to_owned())], text).into_response(),
        Err(error) => {
            tracing::error!(%error, "the metrics cannot be written");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}

/// Answers whether the gateway can decide about keys.
async fn ready(State(health): State<Health>) -> Response {
    match health.readiness.check() {
        Ok(()) => format!("ready\n{DISCARDS}\n").into_response(),
        Err(why) => {
            (StatusCode::SERVICE_UNAVAILABLE, format!("not ready: {why}\n")).into_response()
        }
    }
}
