//! The gateway's own metrics and health.

pub(crate) mod keys;
pub mod logs;
pub(crate) mod readiness;
pub(crate) mod requests;
pub(crate) mod route;
pub(crate) mod store;
pub(crate) mod upstream;

use axum::Router;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use http::StatusCode;
use http::header::CONTENT_TYPE;
use opentelemetry::metrics::{Meter, MeterProvider as _};
use opentelemetry_sdk::error::OTelSdkError;
use opentelemetry_sdk::metrics::{Instrument, SdkMeterProvider, Stream};
use prometheus::{Encoder as _, Registry, TextEncoder};

use self::readiness::Readiness;
use crate::upstream::debug::DISCARDS;

/// The largest number of series of an instrument whose attributes come from fixed sets.
const MAX_SERIES: usize = 500;

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
    /// Whether anything that is received is discarded.
    discards: bool,
}

impl Telemetry {
    pub(crate) fn new() -> Result<Self, OTelSdkError> {
        let registry = Registry::new();
        let exporter = opentelemetry_prometheus::exporter()
            .with_registry(registry.clone())
            .without_target_info()
            .build()?;
        let provider = SdkMeterProvider::builder().with_reader(exporter).with_view(bounded).build();
        Ok(Self { registry, provider })
    }

    pub(crate) fn meter(&self) -> Meter {
        self.provider.meter("ingestion-gateway")
    }

    /// Creates the router of the telemetry listener. `discards` says whether anything that is
    /// received is discarded, which `/readyz` then says.
    pub(crate) fn router(self, readiness: Readiness, discards: bool) -> Router {
        let health =
            Health { registry: self.registry, _provider: self.provider, readiness, discards };
        Router::new()
            .route("/metrics", get(metrics))
            .route("/livez", get(async || "alive\n"))
            .route("/readyz", get(ready))
            .with_state(health)
    }
}

/// Bounds the series of an instrument whose attributes come from fixed sets. The SDK reserves
/// memory for as many series as there may be. Instruments with the ids of keys have the SDK's
/// bound.
fn bounded(instrument: &Instrument) -> Option<Stream> {
    let name = instrument.name();
    if name.starts_with("ingestion.key.") || name == "ingestion.debug.items" {
        return None;
    }
    Stream::builder().with_cardinality_limit(MAX_SERIES).build().ok()
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
        Ok(()) if health.discards => format!("ready\n{DISCARDS}\n").into_response(),
        Ok(()) => "ready\n".into_response(),
        Err(why) => {
            (StatusCode::SERVICE_UNAVAILABLE, format!("not ready: {why}\n")).into_response()
        }
    }
}
