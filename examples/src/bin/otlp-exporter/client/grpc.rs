//! OTLP/gRPC.

use anyhow::Context;
use http::uri::Scheme;
use opentelemetry_otlp::{
    Compression, LogExporter, MetricExporter, SpanExporter, WithExportConfig, WithTonicConfig,
};
use opentelemetry_sdk::metrics::Temporality;
use otlp_auth::client::UnboundBearerTokenAuth;
use otlp_auth_examples::collector_config::ExporterConfig;
use tonic::metadata::MetadataMap;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};

use super::{Exporters, compression, explain, read, retry};

pub(super) fn exporters(
    config: &ExporterConfig,
    auth: Option<&UnboundBearerTokenAuth>,
) -> anyhow::Result<Exporters> {
    let mut endpoint = Endpoint::from(config.endpoint().context("no endpoint")?.clone());
    if let Some(timeout) = config.timeout() {
        endpoint = endpoint.connect_timeout(timeout).timeout(timeout);
    }
    if endpoint.uri().scheme() == Some(&Scheme::HTTPS) {
        endpoint = endpoint.tls_config(tls(config)?).context("TLS")?;
    }
    let channel = match auth {
        Some(auth) => auth.for_endpoint(&endpoint).map_err(explain)?.channel()?,
        None => endpoint.connect_lazy(),
    };
    let compression = compression(config);
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

fn tls(config: &ExporterConfig) -> anyhow::Result<ClientTlsConfig> {
    let mut tls = match config.tls().ca() {
        Some(ca) => ClientTlsConfig::new().ca_certificate(Certificate::from_pem(read(ca)?)),
        None => ClientTlsConfig::new().with_native_roots(),
    };
    if let Some(identity) = config.tls().identity() {
        tls = tls.identity(Identity::from_pem(read(identity.cert())?, read(identity.key())?));
    }
    if let Some(name) = config.tls().server_name() {
        tls = tls.domain_name(name);
    }
    Ok(tls)
}
