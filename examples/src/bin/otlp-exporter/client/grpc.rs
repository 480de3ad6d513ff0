//! OTLP/gRPC.

use anyhow::Context;
use http::uri::Scheme;
use opentelemetry_otlp::{
    Compression, LogExporter, MetricExporter, SpanExporter, WithExportConfig, WithTonicConfig,
};
use opentelemetry_sdk::metrics::Temporality;
use otlp_auth::client::{BearerTokenAuth, UnboundBearerTokenAuth, channel_to};
use otlp_auth_examples::collector_config::{self, ExporterConfig};
use tonic::body::Body;
use tonic::metadata::MetadataMap;
use tonic::transport::{Channel, Endpoint};
use tower::util::BoxCloneService;
use tower::{BoxError, ServiceBuilder, ServiceExt};

use super::grpc_snappy::GrpcSnappy;
use super::{Exporters, compression, explain, retry, tls};

pub(super) fn exporters(
    config: &ExporterConfig,
    auth: Option<&UnboundBearerTokenAuth>,
) -> anyhow::Result<Exporters> {
    let mut endpoint = Endpoint::from(config.endpoint().context("no endpoint")?.clone());
    if let Some(timeout) = config.timeout() {
        endpoint = endpoint.connect_timeout(timeout).timeout(timeout);
    }
    if endpoint.uri().scheme() == Some(&Scheme::HTTPS) {
        endpoint = tls::grpc_endpoint(config, endpoint)?;
    }
    let auth = auth.map(|auth| auth.for_endpoint(&endpoint)).transpose().map_err(explain)?;
    let channel = channel_to(|| service(config, auth.as_ref(), &endpoint))?;
    let compression = compression::of_sdk(config);
    Ok(Exporters {
        spans: Some(
            configured(SpanExporter::builder().with_tonic(), config, compression, &channel)
                .build()?,
        ),
        metrics: Some(
            configured(MetricExporter::builder().with_tonic(), config, compression, &channel)
                .with_temporality(Temporality::Cumulative)
                .build()?,
        ),
        logs: Some(
            configured(LogExporter::builder().with_tonic(), config, compression, &channel)
                .build()?,
        ),
        generation: None,
    })
}

fn configured<B: WithTonicConfig + WithExportConfig>(
    builder: B,
    config: &ExporterConfig,
    compression: Option<Compression>,
    channel: &Channel,
) -> B {
    let (retry, budget) = retry(config);
    let headers = config.headers().clone();
    let builder = builder
        .with_channel(channel.clone())
        .with_retry_policy(retry)
        .with_timeout(budget)
        // With `with_metadata` the environment variables of the SDK would override these headers.
        .with_interceptor(move |mut request: tonic::Request<()>| {
            let mut all = std::mem::take(request.metadata_mut()).into_headers();
            all.extend(headers.clone());
            *request.metadata_mut() = MetadataMap::from_headers(all);
            Ok(request)
        });
    match compression {
        Some(compression) => builder.with_compression(compression),
        None => builder,
    }
}

type Service = BoxCloneService<http::Request<Body>, http::Response<Body>, BoxError>;

/// Makes the service that sends requests: with the credential, and compressed with snappy if the
/// configuration says so. The SDK applies all other compressions.
fn service(
    config: &ExporterConfig,
    auth: Option<&BearerTokenAuth>,
    endpoint: &Endpoint,
) -> Service {
    // The hint is logged here, because the SDK gets only the text of an error.
    let channel = endpoint.connect_lazy().map_err(|error| {
        tls::log_hint(&error);
        BoxError::from(error)
    });
    let service = match auth {
        Some(auth) => ServiceBuilder::new()
            .map_response(|response: http::Response<_>| response.map(Body::new))
            .layer(auth.layer())
            .service(channel)
            .boxed_clone(),
        None => channel.boxed_clone(),
    };
    match config.compression() {
        collector_config::Compression::Snappy => GrpcSnappy(service).boxed_clone(),
        _ => service,
    }
}
