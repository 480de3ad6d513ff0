//! OTLP/HTTP.

use std::net::ToSocketAddrs;
use std::sync::Arc;

use anyhow::Context;
use async_trait::async_trait;
use http::header::{CONTENT_ENCODING, HOST};
use http::uri::{Authority, Scheme};
use http::{HeaderMap, HeaderValue, Request, Response, Uri};
use opentelemetry_http::{Bytes, HttpClient, HttpError};
use opentelemetry_otlp::{
    Compression, LogExporter, MetricExporter, Protocol, SpanExporter, WithExportConfig,
    WithHttpConfig,
};
use opentelemetry_sdk::metrics::Temporality;
use otlp_auth::client::UnboundBearerTokenAuth;
use otlp_auth_examples::collector_config::{self, ExporterConfig, Signal};

use super::{Exporters, compression, explain, read, retry};

pub(super) fn exporters(
    config: &ExporterConfig,
    auth: Option<&UnboundBearerTokenAuth>,
) -> anyhow::Result<Exporters> {
    let for_signal = |signal| {
        let uri = config.signal_endpoint(signal)?;
        Some(client(config, auth, &uri).map(|client| (client, uri.to_string())))
    };
    let compression = compression(config);
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
    }
    if let Some(ca) = config.tls().ca() {
        builder = builder.tls_certs_only(
            reqwest::Certificate::from_pem_bundle(&read(ca)?).context("tls.ca_file")?,
        );
    }
    if let Some(identity) = config.tls().identity() {
        let pem = [read(identity.cert())?, read(identity.key())?].join(&b'\n');
        builder = builder
            .identity(reqwest::Identity::from_pem(&pem).context("tls.cert_file, tls.key_file")?);
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
        None => Arc::new(client),
    };
    Ok(Arc::new(Configured {
        client,
        headers: config.headers().clone(),
        snappy: config.compression() == collector_config::Compression::Snappy,
        named,
    }))
}

/// Adds the configured headers and snappy compression to each request, and applies the server name.
/// Neither the exporter nor the client has suitable settings for this.
#[derive(Debug)]
struct Configured {
    client: SharedClient,
    /// On the exporter, environment variables would override these headers.
    headers: HeaderMap,
    snappy: bool,
    named: Option<Named>,
}

#[async_trait]
impl HttpClient for Configured {
    async fn send_bytes(&self, mut request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        request.headers_mut().extend(self.headers.clone());
        // If the environment sets a compression, the exporter has already applied it.
        if self.snappy && !request.headers().contains_key(CONTENT_ENCODING) {
            // The Collector uses snappy's block format.
            *request.body_mut() = snap::raw::Encoder::new().compress_vec(request.body())?.into();
            request.headers_mut().insert(CONTENT_ENCODING, HeaderValue::from_static("snappy"));
        }
        if let Some(named) = &self.named {
            named.apply(&mut request)?;
        }
        self.client.send_bytes(request).await
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
