//! Everything the gateway consists of, from start to stop.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use ingestion_keys::clock::{Clock, SystemClock};
use ingestion_keys::entropy::SystemEntropy;
use ingestion_keys::ring::{Ring, RingOptions};
use ingestion_keys::service::KeyService;
use ingestion_keys::store::{KeyStore, SqliteOptions, SqliteStore, StoreError};
use opentelemetry::metrics::Meter;
use opentelemetry_sdk::error::OTelSdkError;
use otlp_auth::server::{
    AuthenticateLayer, FixedTokens, FixedTokensError, ServerAuthenticator, TokenFile,
};
use otlp_receiver::Transport;
use tokio::net::TcpListener;
use tokio::task::{JoinError, JoinSet};

use crate::admission::admin_tokens::{self, AdminTokensError};
use crate::admission::denial_log::TellingRing;
use crate::authorize::Authorizer;
use crate::config::{Config, Endpoint};
use crate::listener::ready::{self, Addresses};
use crate::listener::server::{self, Server};
use crate::management;
use crate::management::SetUpError;
use crate::receiver::agent;
use crate::receiver::{cors, otlp};
use crate::telemetry::Telemetry;
use crate::upstream::debug::{self, DebugExporter};

/// How often tombstones that are old enough are forgotten.
const PRUNE_INTERVAL: Duration = Duration::from_secs(60 * 60);

/// How long the last flush may take.
const LAST_FLUSH: Duration = Duration::from_secs(5);

/// Why the gateway did not start, or had to stop.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The keys cannot be opened or read.
    #[error("the key database {path} cannot be used")]
    Store {
        /// Where it is.
        path: PathBuf,
        /// Why not.
        source: StoreError,
    },
    /// Nobody could manage anything.
    #[error(transparent)]
    AdminTokens(#[from] AdminTokensError),
    /// A listener has no address.
    #[error("{listener}: cannot listen on {endpoint}")]
    Bind {
        /// The path of the listener in the configuration.
        listener: &'static str,
        /// Where it should listen.
        endpoint: String,
        /// Why not.
        source: io::Error,
    },
    /// Nobody could be told that everything listens.
    #[error("the ready file cannot be written")]
    ReadyFile(#[source] io::Error),
    /// The metrics cannot be set up.
    #[error("the metrics cannot be set up")]
    Metrics(#[from] OTelSdkError),
    /// The operating system gave no random bytes.
    #[error("no tokens can be checked")]
    Tokens(#[from] FixedTokensError),
    /// There is no management API: an error in this program.
    #[error("the management API cannot be set up")]
    Management(#[from] SetUpError),
    /// A part that runs for ever ended: an error in this program.
    #[error("a part of the gateway ended")]
    Ended(#[from] JoinError),
}

impl RunError {
    /// What the process ends with: 69 for what somebody has to make available, 70 for what is wrong
    /// in here.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Store { .. } | Self::AdminTokens(_) | Self::Bind { .. } | Self::ReadyFile(_) => {
                69
            }
            Self::Metrics(_) | Self::Tokens(_) | Self::Management(_) | Self::Ended(_) => 70,
        }
    }
}

/// Runs until `stop` resolves: then nothing is accepted any more, requests in flight end within the
/// grace, usage is flushed.
///
/// # Errors
///
/// When it cannot start, or something within it fails that never should.
pub async fn run(
    config: Config,
    ready_file: Option<&Path>,
    stop: impl Future<Output = ()>,
) -> Result<(), RunError> {
    let mut stop = std::pin::pin!(stop);
    let gateway = tokio::select! {
        () = &mut stop => return Ok(()),
        gateway = Gateway::start(&config, ready_file) => gateway?,
    };
    gateway.addresses.tell(ready_file).map_err(RunError::ReadyFile)?;
    gateway.until(stop, config.shutdown_grace).await
}

/// A gateway that serves.
struct Gateway {
    addresses: Addresses,
    server: Server,
    store: Arc<SqliteStore>,
    ring: Arc<Ring>,
    background: JoinSet<()>,
}

impl Gateway {
    async fn start(config: &Config, ready_file: Option<&Path>) -> Result<Self, RunError> {
        let unusable = |source| RunError::Store { path: config.storage.path.clone(), source };
        let store = Arc::new(open(&config.storage.path).await?.map_err(unusable)?);
        // Who waits for the file must not find that of the last run. Before the lock is held, it
        // may be that of a gateway that runs.
        let prepared = ready_file.map(ready::prepare).transpose();
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let options = RingOptions {
            max_staleness: config.storage.max_staleness,
            sources: config.usage.sources,
            retain_sources: config.usage.retain,
        };
        let ring = Arc::new(Ring::new(Arc::clone(&clock), options));
        ring.catch_up(&*store).await.map_err(unusable)?;
        // It hides nothing that is wrong with the database.
        prepared.map_err(RunError::ReadyFile)?;
        let service = KeyService::new(
            store.clone(),
            Arc::clone(&ring),
            Arc::clone(&clock),
            Arc::new(SystemEntropy),
        );
        let admin_tokens = admin_tokens::open(&config.management.admin_token_file)?;
        let sockets = Sockets::bind(config).await?;
        let addresses = sockets.addresses(config)?;
        tracing::warn!("{}", debug::DISCARDS);

        let server = Server::new(config.limits, &config.trusted_proxies);
        let telemetry = Telemetry::new()?;
        let debug = Arc::new(DebugExporter::new(&telemetry.meter()));
        let gateway = Self { addresses, server, store, ring, background: JoinSet::new() };
        gateway.serve(
            sockets,
            config,
            Parts {
                service: service.clone(),
                admin_tokens,
                clock,
                telemetry,
                debug: Arc::clone(&debug),
            },
        )?;
        Ok(gateway.with_background(config, service, debug))
    }

    fn serve(&self, sockets: Sockets, config: &Config, parts: Parts) -> Result<(), RunError> {
        let Parts { service, admin_tokens, clock, telemetry, debug } = parts;
        let meter = telemetry.meter();
        let max_body = config.limits.max_request_body_size.bytes();
        let authenticator = self.authenticator(config, &meter)?;
        let authorizer =
            Authorizer::new(Arc::clone(&self.ring), config.auth.receiver.clone(), &meter);

        let receiver = otlp::receiver(Arc::clone(&debug), max_body);
        let authenticate = AuthenticateLayer::new(authenticator.clone())
            .with_lookup(config.auth.otlp.clone())
            .with_meter(&meter);
        let grpc = otlp::router(receiver.clone().only(Transport::Grpc), authenticate.clone());
        let http = otlp::router(receiver.only(Transport::Http), authenticate);
        let http = cors::allow_origins(http, &config.receivers.otlp.protocols.http.cors);
        let agent =
            agent::router(authenticator, config.auth.agent.clone(), debug, max_body, &meter);
        let management =
            management::router(service, authorizer.clone(), admin_tokens, clock, &meter)?;
        let telemetry = telemetry.router(Arc::clone(&self.ring), self.server.stopping().clone());

        self.server.serve(sockets.otlp_grpc, grpc);
        self.server.serve(sockets.otlp_http, http);
        self.server.serve(sockets.agent, agent);
        self.server.serve(sockets.management, management);
        self.server.serve(sockets.authorize, authorizer.router());
        self.server.serve(sockets.telemetry, telemetry);
        Ok(())
    }

    /// The shared key first, then every key.
    fn authenticator(
        &self,
        config: &Config,
        meter: &Meter,
    ) -> Result<impl ServerAuthenticator<Future: Send> + Clone + Send + Sync + use<>, RunError>
    {
        let receiver = match &config.auth.receiver {
            Some(tokens) => Arc::clone(tokens),
            None => Arc::new(FixedTokens::new(std::iter::empty::<(String, String)>())?),
        };
        Ok(receiver.or(TellingRing::new(Arc::clone(&self.ring), meter)))
    }

    fn with_background(
        mut self,
        config: &Config,
        service: KeyService,
        debug: Arc<DebugExporter>,
    ) -> Self {
        let (store, ring, poll_interval) =
            (Arc::clone(&self.store), Arc::clone(&self.ring), config.storage.poll_interval);
        self.background.spawn(async move { match ring.follow(&*store, poll_interval).await {} });
        let stop = self.server.stopping().clone();
        self.background.spawn(async move {
            debug.print(&stop).await;
            std::future::pending().await
        });
        let (store, ring, interval) =
            (Arc::clone(&self.store), Arc::clone(&self.ring), config.usage.flush_interval);
        let stop = self.server.stopping().clone();
        self.background.spawn(async move {
            // A flush is never dropped in the middle: some of it might be counted twice.
            while tokio::time::timeout(interval, stop.cancelled()).await.is_err() {
                flush(&ring, &*store).await;
            }
            std::future::pending().await
        });
        self.background.spawn(async move {
            loop {
                if let Err(error) = service.prune().await {
                    tracing::warn!(
                        error = &error as &dyn std::error::Error,
                        "old tombstones cannot be forgotten"
                    );
                }
                tokio::time::sleep(PRUNE_INTERVAL).await;
            }
        });
        self
    }

    async fn until(
        mut self,
        stop: impl Future<Output = ()>,
        grace: Duration,
    ) -> Result<(), RunError> {
        let failed = tokio::select! {
            () = stop => None,
            ended = self.background.join_next() => ended.and_then(Result::err),
        };
        tracing::info!(?grace, "stopping");
        if !self.server.shut_down(grace).await {
            tracing::warn!(
                ?grace,
                "requests were still in flight after the grace: they were dropped"
            );
        }
        // Waits for one that is being written.
        if tokio::time::timeout(LAST_FLUSH, flush(&self.ring, &*self.store)).await.is_err() {
            tracing::error!("the last usage was not written in time");
        }
        self.background.shutdown().await;
        tracing::info!("stopped");
        failed.map_or(Ok(()), |error| Err(error.into()))
    }
}

/// What the routers are made of.
struct Parts {
    service: KeyService,
    admin_tokens: TokenFile,
    clock: Arc<dyn Clock>,
    telemetry: Telemetry,
    debug: Arc<DebugExporter>,
}

/// A socket for each listener.
struct Sockets {
    otlp_grpc: TcpListener,
    otlp_http: TcpListener,
    agent: TcpListener,
    management: TcpListener,
    authorize: TcpListener,
    telemetry: TcpListener,
}

impl Sockets {
    async fn bind(config: &Config) -> Result<Self, RunError> {
        let protocols = &config.receivers.otlp.protocols;
        Ok(Self {
            otlp_grpc: bind("receivers.otlp.protocols.grpc", &protocols.grpc.endpoint).await?,
            otlp_http: bind("receivers.otlp.protocols.http", &protocols.http.endpoint).await?,
            agent: bind("receivers.agent", &config.receivers.agent.endpoint).await?,
            management: bind("management", &config.management.endpoint).await?,
            authorize: bind("authorize", &config.authorize.endpoint).await?,
            telemetry: bind("telemetry", &config.telemetry.endpoint).await?,
        })
    }

    fn addresses(&self, config: &Config) -> Result<Addresses, RunError> {
        let address = |socket: &TcpListener| {
            socket.local_addr().map_err(|source| RunError::Bind {
                listener: "receivers",
                endpoint: config.management.endpoint.to_string(),
                source,
            })
        };
        Ok(Addresses {
            otlp_grpc: address(&self.otlp_grpc)?,
            otlp_http: address(&self.otlp_http)?,
            agent: address(&self.agent)?,
            management: address(&self.management)?,
            authorize: address(&self.authorize)?,
            telemetry: address(&self.telemetry)?,
        })
    }
}

async fn bind(listener: &'static str, endpoint: &Endpoint) -> Result<TcpListener, RunError> {
    let result = server::bind(endpoint).await;
    result.map_err(|source| RunError::Bind { listener, endpoint: endpoint.to_string(), source })
}

/// Waits for the lock on a thread that may block.
async fn open(path: &Path) -> Result<Result<SqliteStore, StoreError>, JoinError> {
    tracing::info!(path = %path.display(), "opening the key database; another process may have to end first");
    let options = SqliteOptions::new(path);
    tokio::task::spawn_blocking(move || SqliteStore::open(&options)).await
}

async fn flush(ring: &Ring, store: &dyn KeyStore) {
    if let Err(error) = ring.flush_usage(store).await {
        tracing::warn!(
            error = &error as &dyn std::error::Error,
            "usage cannot be written: it is kept for the next time"
        );
    }
}
