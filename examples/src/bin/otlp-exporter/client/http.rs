//! OTLP/HTTP.

use std::error::Error;
use std::net::ToSocketAddrs;
use std::sync::Arc;

use anyhow::Context;
use async_trait::async_trait;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE, HOST};
use http::uri::{Authority, Scheme};
use http::{HeaderMap, HeaderValue, Request, Response, Uri};
use opentelemetry_http::{Bytes, HttpClient, HttpError};
use opentelemetry_otlp::{
    Compression, LogExporter, MetricExporter, Protocol, SpanExporter, WithExportConfig,
    WithHttpConfig,
};
use opentelemetry_sdk::metrics::Temporality;
use otlp_auth::client::{EndpointError, UnboundBearerTokenAuth};
use otlp_auth_examples::collector_config::{self, ExporterConfig, Signal};

use super::{Exporters, compression, explain, retry, tls};

pub(super) fn exporters(
    config: &ExporterConfig,
    auth: Option<&UnboundBearerTokenAuth>,
) -> anyhow::Result<Exporters> {
    let for_signal = |signal| {
        let uri = config.signal_endpoint(signal)?;
        Some(client(config, auth, &uri).map(|client| (client, uri.to_string())))
    };
    let compression = compression::of_sdk(config);
    let [spans, metrics, logs] = [Signal::Traces, Signal::Metrics, Signal::Logs]
        .map(|signal| for_signal(signal).transpose());
    let spans = spans?.map(|client| {
        configured(SpanExporter::builder().with_http(), config, compression, client).build()
    });
    let metrics = metrics?.map(|client| {
        configured(MetricExporter::builder().with_http(), config, compression, client)
            .with_temporality(Temporality::Cumulative)
            .build()
    });
    let logs = logs?.map(|client| {
        configured(LogExporter::builder().with_http(), config, compression, client).build()
    });
    Ok(Exporters {
        spans: spans.transpose()?,
        metrics: metrics.transpose()?,
        logs: logs.transpose()?,
        generation: None,
    })
}

type SharedClient = Arc<dyn HttpClient>;

fn configured<B>(
    builder: B,
    config: &ExporterConfig,
    compression: Option<Compression>,
    (client, endpoint): (SharedClient, String),
) -> B
where
    B: WithHttpConfig + WithExportConfig,
{
    let (retry, budget) = retry(config);
    let builder = builder
        .with_protocol(Protocol::HttpBinary)
        .with_endpoint(endpoint)
        .with_shared_http_client(client)
        .with_retry_policy(retry)
        .with_timeout(budget);
    match compression {
        Some(compression) => builder.with_compression(compression),
        None => builder,
    }
}

/// Makes the client for one endpoint. The client applies the settings of the configuration, adds
/// the credential, and sends the request.
fn client(
    config: &ExporterConfig,
    auth: Option<&UnboundBearerTokenAuth>,
    uri: &Uri,
) -> anyhow::Result<SharedClient> {
    // The blocking client is used, because the SDK exports on threads without a Tokio runtime. The
    // client follows no redirects, because a redirected request might send the credential to
    // another host.
    let mut builder = reqwest::blocking::Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .timeout(config.timeout());
    if uri.scheme() == Some(&Scheme::HTTP) {
        // Plaintext to a loopback address must not go through a proxy.
        builder = builder.no_proxy();
    } else {
        builder = builder.tls_backend_preconfigured(tls::client_config(config)?);
    }
    let named = config
        .tls()
        .server_name()
        .map(|name| Named::new(name, uri))
        .transpose()
        .context("tls.server_name_override")?;
    if let Some(named) = &named {
        let host = uri.host().unwrap_or_default();
        let addresses = (host.trim_matches(['[', ']']), 0)
            .to_socket_addrs()
            .with_context(|| format!("cannot resolve {host}"))?;
        builder = builder.resolve_to_addrs(named.name.host(), &addresses.collect::<Vec<_>>());
    }
    let client = builder.build().context("no HTTP client")?;
    let client: SharedClient = match auth {
        Some(auth) => Arc::new(auth.for_endpoint(uri).map_err(explain)?.http_client(client)),
        None => Arc::new(Unauthenticated(client)),
    };
    Ok(Arc::new(Configured {
        client,
        headers: config.headers().clone(),
        compression: config.compression(),
        named,
    }))
}

/// Adds the configured headers and compression to each request, and applies the server name.
/// Neither the exporter nor the client has suitable settings for this. Also logs why a request
/// failed, because the SDK logs only that it failed.
#[derive(Debug)]
struct Configured {
    client: SharedClient,
    /// On the exporter, environment variables would override these headers.
    headers: HeaderMap,
    compression: collector_config::Compression,
    named: Option<Named>,
}

#[async_trait]
impl HttpClient for Configured {
    async fn send_bytes(&self, mut request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        request.headers_mut().extend(self.headers.clone());
        if let Some((encoding, body)) = compression::encode(self.compression, request.body())? {
            *request.body_mut() = body;
            request.headers_mut().insert(CONTENT_ENCODING, encoding);
        }
        if let Some(named) = &self.named {
            named.apply(&mut request)?;
        }
        match self.client.send_bytes(request).await {
            Ok(response) => Ok(response),
            Err(error) => {
                // The text of an error of reqwest may contain the URL, which may contain a key.
                let error = match error.downcast::<reqwest::Error>() {
                    Ok(error) => Box::new(error.without_url()),
                    Err(error) => error,
                };
                tracing::warn!(error = &*error as &dyn Error, "a request did not arrive");
                tls::log_hint(&*error);
                Err(error)
            }
        }
    }
}

/// A client without an authenticator. It has the check that otlp-auth's client has: a gRPC server
/// answers every request with the status 200, so its answer is no success.
#[derive(Debug)]
struct Unauthenticated(reqwest::blocking::Client);

#[async_trait]
impl HttpClient for Unauthenticated {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let response = self.0.send_bytes(request).await?;
        let content_type = response.headers().get(CONTENT_TYPE).map(HeaderValue::as_bytes);
        if content_type.is_some_and(|value| value.starts_with(b"application/grpc")) {
            return Err(EndpointError::GrpcPort.into());
        }
        Ok(response)
    }
}

/// The name that the server's certificate must have, if this name is not the host of the endpoint.
/// reqwest takes this name only from the URL. So the URL contains this name, the name resolves to
/// the addresses of the endpoint's host, and the `Host` header contains the endpoint's host.
#[derive(Debug)]
struct Named {
    name: Authority,
    host: HeaderValue,
}

impl Named {
    fn new(name: &str, uri: &Uri) -> anyhow::Result<Self> {
        let authority = uri.authority().context("no host")?;
        let name =
            authority.port().map_or_else(|| name.to_owned(), |port| format!("{name}:{port}"));
        Ok(Self { name: name.parse()?, host: authority.as_str().parse()? })
    }

    fn apply(&self, request: &mut Request<Bytes>) -> Result<(), HttpError> {
        let mut parts = request.uri().clone().into_parts();
        parts.authority = Some(self.name.clone());
        *request.uri_mut() = Uri::from_parts(parts)?;
        request.headers_mut().insert(HOST, self.host.clone());
        Ok(())
    }
}
