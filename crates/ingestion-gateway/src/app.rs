//! The composition root: it creates the parts of the gateway from the configuration and connects
//! them.

use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use ingestion_keys::cache::{KeyCache, KeyCacheOptions};
use ingestion_keys::clock::{Clock, SystemClock};
use ingestion_keys::service::KeyService;
use ingestion_keys::store::{KeyStore, StoreError};
use opentelemetry::metrics::Meter;
use otlp_auth::Identity;
use otlp_auth::server::{AuthenticateLayer, FixedTokens, ServerAuthenticator};
use tokio::runtime::Handle;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tower::Layer as _;
use tower::util::option_layer;

use crate::admission::log_throttle::LogThrottle;
use crate::admission::{Admission, admin_tokens};
use crate::authorize::Authorizer;
use crate::config::{Config, Database, ManagementConfig};
use crate::error::RunError;
use crate::follow::Hub;
use crate::key_store::{self, OpenStore};
use crate::listener::descriptors::{self, Capacity};
use crate::listener::ready::{self, Addresses};
use crate::listener::server::{Group, Server};
use crate::listener::sockets::Sockets;
use crate::listener::tls;
use crate::listener::workers::Workers;
use crate::management;
use crate::receiver::agent::Agent;
use crate::receiver::health::Health;
use crate::receiver::otlp::Otlp;
use crate::receiver::{agent, cors, otlp};
use crate::telemetry::Telemetry;
use crate::telemetry::keys::{self, SharedKeyUse};
use crate::telemetry::readiness::Readiness;
use crate::telemetry::route::Route;
use crate::telemetry::store::MeteredStore;
use crate::tls::Reloads;
use crate::upstream::debug::{self, DebugExporter};
use crate::upstream::targets::{self, Targets};
use crate::upstream::{ForwardGrpc, ForwardHttp};

/// How long the listeners wait until the keys were read from a PostgreSQL database. If it takes
/// longer, the database is down or has very many keys, and the listeners begin without keys.
const FIRST_READ: Duration = Duration::from_secs(2);

/// Reads the keys for the first time.
pub(crate) type FirstRead = Pin<Box<dyn Future<Output = Result<(), StoreError>> + Send>>;

/// A running gateway: its listeners accept connections.
pub(crate) struct App {
    pub(crate) addresses: Addresses,
    pub(crate) server: Server,
    pub(crate) store: OpenStore,
    /// The same store, with its errors counted.
    pub(crate) keys: Arc<dyn KeyStore>,
    pub(crate) cache: Arc<KeyCache>,
    /// What is left of reading the keys for the first time.
    pub(crate) first_read: Option<FirstRead>,
    pub(crate) service: KeyService,
    pub(crate) hub: Arc<Hub>,
    pub(crate) debug: Arc<DebugExporter>,
    /// The throttles of log lines about refused callers.
    pub(crate) log_throttles: [Arc<LogThrottle>; 2],
    /// The tasks that look at the files of TLS again.
    pub(crate) reloads: JoinSet<()>,
}

impl App {
    /// Opens the key database, reads every key, binds every listener, and starts to serve. A
    /// PostgreSQL database that is down is not waited for.
    ///
    /// The listeners for senders are served on the threads `senders`, and all others on the current
    /// runtime, so that no sender can keep operators and other components waiting.
    pub(crate) async fn start(
        config: &Config,
        ready_file: Option<&Path>,
        senders: &Workers,
    ) -> Result<Self, RunError> {
        let (open_files, max) = (descriptors::raise_limit(), config.limits.max_connections);
        let workers = senders.handles().len();
        let to_upstreams = targets::max_connections(&config.upstream) * workers;
        let capacity = Capacity::divide(open_files, max, to_upstreams);
        let http_connections =
            targets::http_connections(capacity.upstreams / workers.max(1), &config.upstream);
        capacity.warn(open_files, max);
        let senders =
            Group { runtimes: senders.handles().to_vec(), max_connections: capacity.senders };
        let control =
            Group { runtimes: vec![Handle::current()], max_connections: capacity.control };
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let telemetry = Telemetry::new()?;
        let meter = telemetry.meter();
        let Keys { store, metered: key_store, cache, first_read } =
            open_keys(config, &clock, &meter, ready_file).await?;
        let service =
            KeyService::new(Arc::clone(&key_store), Arc::clone(&cache), Arc::clone(&clock));
        let server = Server::new(config.limits, &config.trusted_proxies, &meter);
        let (followed, stopping) = (Arc::clone(&key_store), server.stopping().clone());
        let max_followers = capacity.followers();
        let (followers, clock_of_hub) = (Arc::clone(&cache), Arc::clone(&clock));
        let hub = Hub::start(followers, followed, clock_of_hub, stopping, max_followers, &meter);
        let admin_tokens = match &config.management {
            Some(management) => {
                let default = ManagementConfig::default_in(config.storage.directory());
                let default = default.admin_token_file;
                Some(admin_tokens::open(&management.admin_token_file, &default)?)
            }
            None => None,
        };
        let tls_reloads = Reloads::new(&meter);
        let (tls, mut reloads) = tls::open_all(config, &meter, &tls_reloads)?;
        let sockets = Sockets::bind(config, tls).await?;
        let addresses = sockets.addresses();

        let max_body = config.limits.max_request_body_size.bytes();
        let authenticator = authenticator(config, &cache)?;
        let (key_lines, call_lines) =
            (LogThrottle::for_keys(), LogThrottle::for_management_calls());
        let log_throttles = [Arc::clone(&key_lines), Arc::clone(&call_lines)];
        let shared_key = Arc::<SharedKeyUse>::default();
        keys::observe(&cache, &*key_store, Arc::clone(&shared_key), &meter);
        let admission = Admission::new(key_lines, shared_key, &meter);
        let authorizer = Authorizer::new(Arc::clone(&cache), config, admission.denials(), &meter);
        if config.upstream.discards() {
            tracing::warn!("{}", debug::DISCARDS);
        }
        let debug = Arc::new(DebugExporter::new(&meter));

        let readiness = Readiness::new(Arc::clone(&cache), server.stopping().clone());
        let health = Health::new(readiness.clone());
        let receiver = otlp::receiver(Arc::clone(&debug), max_body);
        // Each worker has layers of its own, so that workers do not wait for each other at a
        // reference count.
        let authenticate = |extractor| {
            AuthenticateLayer::new(authenticator.clone())
                .with_extractor(extractor)
                .with_meter(&meter)
                .with_routes(Route::names(), Route::index_of)
        };
        let standing = Arc::clone(&cache);
        let standing = Arc::new(move |identity: &Identity| standing.standing(identity));
        let targets =
            Targets::open(config, &otlp::extractor(&config.auth), standing, &tls_reloads, &meter)?;
        reloads.extend(targets.reloads);
        // Each worker has its own connections to the upstreams, which all listeners use. The
        // listeners of OTLP serve both transports, so that a sender with swapped ports loses
        // nothing.
        let key_places = agent::key_places(&config.auth);
        let forward_http = |target| ForwardHttp::new(target, http_connections);
        let (otlp, agent): (Vec<_>, Vec<_>) = (0..senders.runtimes.len())
            .map(|_| {
                let otlp = Otlp {
                    grpc: targets.otlp_grpc.map(ForwardGrpc::new),
                    http: targets.otlp_http.map(forward_http),
                    receiver: receiver.clone(),
                };
                let agent = Agent {
                    otlp: otlp.clone(),
                    upstream: targets.agent.map(forward_http),
                    receiver: receiver.clone(),
                    debug: Arc::clone(&debug),
                    max_body,
                    key_places: key_places.clone(),
                };
                (otlp, agent)
            })
            .unzip();
        let authenticate_otlp = || authenticate(otlp::extractor(&config.auth));
        let otlp = |worker: usize, authenticate| {
            let (otlp, health) = (otlp[worker].clone(), health.clone());
            otlp::service(otlp, health, authenticate, &admission.for_worker())
        };
        let grpc = |worker| {
            let authenticate = authenticate_otlp();
            #[cfg(all(feature = "_bench", not(debug_assertions)))]
            let authenticate = without_authentication(authenticate, config);
            otlp(worker, authenticate)
        };
        let http = config.receivers.otlp.protocols.http.as_ref();
        let cors = http.and_then(|http| cors::layer(&http.cors));
        let http = |worker| option_layer(cors.clone()).layer(otlp(worker, authenticate_otlp()));
        let agent = |worker: usize| {
            let authenticate = authenticate(agent::extractor(&config.auth));
            agent::service(agent[worker].clone(), authenticate, &admission.for_worker())
        };
        let telemetry = telemetry.router(readiness, config.upstream.discards());

        if let (Some(socket), Some(tokens)) = (sockets.management, admin_tokens) {
            let (service, authorizer, hub) =
                (service.clone(), authorizer.clone(), Arc::clone(&hub));
            let management =
                management::router(service, authorizer, hub, tokens, call_lines, clock, &meter);
            server
                .serve(&control, Some(socket), |_| management.clone())
                .map_err(RunError::Listener)?;
        }
        server.serve(&senders, sockets.otlp_grpc, grpc).map_err(RunError::Listener)?;
        server.serve(&senders, sockets.otlp_http, http).map_err(RunError::Listener)?;
        server.serve(&senders, sockets.agent, agent).map_err(RunError::Listener)?;
        let authorize = authorizer.router();
        server
            .serve(&control, sockets.authorize, |_| authorize.clone())
            .map_err(RunError::Listener)?;
        server
            .serve(&control, sockets.telemetry, |_| telemetry.clone())
            .map_err(RunError::Listener)?;
        let reloads = reloads.into_iter().collect();
        Ok(Self {
            addresses,
            server,
            store,
            keys: key_store,
            cache,
            first_read,
            service,
            hub,
            debug,
            log_throttles,
            reloads,
        })
    }
}

/// The key database, and the keys in memory.
struct Keys {
    store: OpenStore,
    metered: Arc<dyn KeyStore>,
    cache: Arc<KeyCache>,
    first_read: Option<FirstRead>,
}

/// Opens the key database and reads every key into memory.
///
/// An SQLite database that cannot be read ends the start. So does a PostgreSQL database, unless it
/// is only unavailable: then what is left of the first read is returned.
///
/// Also removes the ready file of an earlier run, but only once the database is locked. Before
/// that, the ready file may belong to a gateway that is still running. If both the database and the
/// ready file cause errors, the error of the database is returned.
async fn open_keys(
    config: &Config,
    clock: &Arc<dyn Clock>,
    meter: &Meter,
    ready_file: Option<&Path>,
) -> Result<Keys, RunError> {
    let storage = &config.storage;
    let unusable = |source| RunError::Store { database: storage.database.to_string(), source };
    let store = key_store::open(storage).await?;
    let prepared = ready_file.map(ready::prepare).transpose();
    let metered: Arc<dyn KeyStore> = Arc::new(MeteredStore::new(Arc::clone(&store.store), meter));
    let options = KeyCacheOptions {
        max_staleness: storage.max_staleness,
        max_clients: config.usage.sources,
        retain_clients: config.usage.retain,
        answers_are_reported: true,
    };
    let cache = Arc::new(KeyCache::new(Arc::clone(clock), options));
    let mut first_read = None;
    match &storage.database {
        Database::Sqlite(_) => cache.catch_up(&*metered).await.map_err(unusable)?,
        Database::Postgres(_) => {
            let (keys, from) = (Arc::clone(&cache), Arc::clone(&metered));
            let poll_interval = storage.poll_interval;
            let mut read: FirstRead =
                Box::pin(async move { keys.read_first(&*from, poll_interval).await });
            match timeout(FIRST_READ, &mut read).await {
                Ok(read) => read.map_err(unusable)?,
                Err(_) => {
                    tracing::warn!("the keys were not read yet: the listeners begin without them");
                    first_read = Some(read);
                }
            }
        }
    }
    prepared?;
    Ok(Keys { store, metered, cache, first_read })
}

/// Lets the requests of the benchmark in without looking at them, if the setting says so. Only the
/// listener for gRPC does, so that the benchmark compares two listeners of one process.
#[cfg(all(feature = "_bench", not(debug_assertions)))]
fn without_authentication<A>(layer: AuthenticateLayer<A>, config: &Config) -> AuthenticateLayer<A> {
    const EXPORT: &str = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";
    if config.auth.off { layer.with_exempt_path(EXPORT) } else { layer }
}

/// Returns an authenticator that first compares a credential with the receiver API key, and then
/// with the keys in memory.
fn authenticator(
    config: &Config,
    cache: &Arc<KeyCache>,
) -> Result<impl ServerAuthenticator + Clone + use<>, RunError> {
    let receiver = match &config.auth.receiver {
        Some(tokens) => Arc::clone(tokens),
        None => Arc::new(FixedTokens::new(std::iter::empty::<(String, String)>())?),
    };
    Ok(receiver.or(Arc::clone(cache)))
}
