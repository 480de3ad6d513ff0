//! The upstreams of the configuration.

use std::sync::Arc;

use opentelemetry::metrics::Meter;
use otlp_auth::server::CredentialExtractor;

use super::grpc;
use super::headers::{HeaderRules, Transport};
use super::target::{Address, Answers, CheckStanding, Target};
use super::tls::{Alpn, ClientTls};
use crate::config::{Config, DestinationConfig, EndpointConfig, UpstreamConfig};
use crate::error::RunError;
use crate::telemetry::upstream::UpstreamMetrics;
use crate::tls::{Reload, Reloads};

const OTLP_GRPC: &str = "upstream.otlp_grpc";
const OTLP_HTTP: &str = "upstream.otlp_http";
const AGENT: &str = "upstream.agent";

/// The largest number of connections of a worker to an upstream of HTTP/1.1.
const MAX_HTTP_CONNECTIONS: usize = 640;

/// The smallest number of these connections, however few files the process may open.
const MIN_HTTP_CONNECTIONS: usize = 5;

/// Returns how many connections each worker may have to all upstreams together.
pub(crate) fn max_connections(config: &UpstreamConfig) -> usize {
    let of = |destination: &Option<_>, max| match destination {
        Some(DestinationConfig::Forward(_)) => max,
        _ => 0,
    };
    of(&config.otlp_grpc, grpc::MAX_CONNECTIONS)
        + of(&config.otlp_http, MAX_HTTP_CONNECTIONS)
        + of(&config.agent, MAX_HTTP_CONNECTIONS)
}

/// Returns how many connections a worker may have to an upstream of HTTP/1.1, if it may have
/// `granted` of [`max_connections`] together.
pub(crate) fn http_connections(granted: usize, config: &UpstreamConfig) -> usize {
    let share = MAX_HTTP_CONNECTIONS * granted / max_connections(config).max(1);
    share.clamp(MIN_HTTP_CONNECTIONS, MAX_HTTP_CONNECTIONS)
}

/// Where the requests of one kind go.
#[derive(Clone, Debug)]
pub(crate) enum Destination<T> {
    /// They are forwarded.
    Forward(T),
    /// They are decoded, counted and discarded.
    Debug,
    /// They are refused, because no listener for this kind is on.
    Nowhere,
}

impl<T: Clone> Destination<T> {
    /// Makes what forwards the requests of one worker, if they are forwarded.
    pub(crate) fn map<F>(&self, forward: impl FnOnce(Arc<T>) -> F) -> Destination<F> {
        match self {
            Self::Forward(target) => Destination::Forward(forward(Arc::new(target.clone()))),
            Self::Debug => Destination::Debug,
            Self::Nowhere => Destination::Nowhere,
        }
    }
}

/// Where the requests of each kind go.
pub(crate) struct Targets {
    pub(crate) otlp_grpc: Destination<Target>,
    pub(crate) otlp_http: Destination<Target>,
    pub(crate) agent: Destination<Target>,
    /// The tasks that look at the files of TLS again.
    pub(crate) reloads: Vec<Reload>,
}

impl Targets {
    /// Opens the files that the upstreams need. `extractor` finds the keys of OTLP.
    ///
    /// # Errors
    ///
    /// When a file cannot be used.
    pub(crate) fn open(
        config: &Config,
        extractor: &CredentialExtractor,
        standing: Arc<CheckStanding>,
        reloads: &Reloads,
        meter: &Meter,
    ) -> Result<Self, RunError> {
        let context = Context { config, extractor, standing, reloads, meter };
        let upstream = &config.upstream;
        let mut tasks = Vec::new();
        Ok(Self {
            otlp_grpc: context.open(OTLP_GRPC, &upstream.otlp_grpc, &mut tasks)?,
            otlp_http: context.open(OTLP_HTTP, &upstream.otlp_http, &mut tasks)?,
            agent: context.open(AGENT, &upstream.agent, &mut tasks)?,
            reloads: tasks,
        })
    }
}

/// What all upstreams have in common.
struct Context<'a> {
    config: &'a Config,
    extractor: &'a CredentialExtractor,
    standing: Arc<CheckStanding>,
    reloads: &'a Reloads,
    meter: &'a Meter,
}

impl Context<'_> {
    fn open(
        &self,
        section: &'static str,
        destination: &Option<DestinationConfig>,
        tasks: &mut Vec<Reload>,
    ) -> Result<Destination<Target>, RunError> {
        let endpoint = match destination {
            None => return Ok(Destination::Nowhere),
            Some(DestinationConfig::Debug) => return Ok(Destination::Debug),
            Some(DestinationConfig::Forward(endpoint)) => endpoint,
        };
        let (transport, alpn) = match section {
            OTLP_GRPC => (Transport::Grpc, Alpn::H2),
            _ => (Transport::Http, Alpn::Http1),
        };
        let tls = endpoint.client_tls();
        let tls = tls.map(|tls| ClientTls::open(section, tls, alpn, self.reloads)).transpose();
        let tls = tls.map_err(|source| RunError::Tls { section, source: source.into() })?;
        let (tls, task) = tls.unzip();
        tasks.extend(task);
        let identity_headers = &self.config.upstream.identity_headers;
        let rules = HeaderRules::new(transport, endpoint, identity_headers, self.meter)
            .map_err(|source| RunError::UpstreamAuth { section, source })?;
        let (is_grpc, authority) = (section == OTLP_GRPC, endpoint.endpoint.authority());
        let target = Target {
            metrics: Arc::new(UpstreamMetrics::new(self.meter, is_grpc, authority)),
            outages: Arc::default(),
            section,
            config: EndpointConfig::clone(endpoint),
            address: Address::of(&endpoint.endpoint).map_err(RunError::Upstream)?,
            tls,
            rules,
            answers: if section == AGENT { Answers::Agent } else { Answers::Otlp },
            extractor: self.extractor.clone(),
            standing: Arc::clone(&self.standing),
            max_body: self.config.limits.max_request_body_size.bytes() as u64,
        };
        Ok(Destination::Forward(target))
    }
}
