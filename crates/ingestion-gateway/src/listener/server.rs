//! Serves listeners: accepts connections within the limits, and stops in order.

use std::convert::Infallible;
use std::error::Error;
use std::io::{self, ErrorKind};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use hyper::body::Body;
use ipnet::IpNet;
use opentelemetry::metrics::Meter;
use tokio::net::TcpListener;
use tokio::runtime::Handle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::Service;

use super::connections::Connections;
use super::metrics::ConnectionMetrics;
use super::request_body::RequestBody;
use super::sockets::Socket;
use super::tls::ServerTls;
use crate::config::LimitsConfig;

/// How long a listener waits after the operating system has refused a connection, for example
/// because the process has no file descriptors left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// The shortest time between two warnings about refused connections of one listener.
const ACCEPT_WARNING_INTERVAL: Duration = Duration::from_secs(60);

/// How long connections may take to end after their requests were dropped. They take longer only if
/// a thread of their runtime is blocked.
const ABANDON_TIMEOUT: Duration = Duration::from_secs(1);

/// Serves connections with HTTP/1.1 and HTTP/2 until the server is stopped.
#[derive(Clone, Debug)]
pub(crate) struct Server {
    pub(super) limits: LimitsConfig,
    pub(super) trusted_proxies: Arc<[IpNet]>,
    /// Cancelled when the server begins to stop. From then on, the server accepts no more
    /// connections, but requests in flight may still end.
    pub(super) stop: CancellationToken,
    /// Cancelled when the server drops the requests that are still in flight.
    pub(super) abandon: CancellationToken,
    connections: TaskTracker,
    metrics: ConnectionMetrics,
}

/// What the listeners of one kind have: the threads that serve them, and a limit.
#[derive(Clone, Debug)]
pub(crate) struct Group {
    /// The runtimes that serve the connections.
    pub(crate) runtimes: Vec<Handle>,
    /// The largest number of open connections of each listener.
    pub(crate) max_connections: usize,
}

impl Server {
    pub(crate) fn new(limits: LimitsConfig, trusted_proxies: &[IpNet], meter: &Meter) -> Self {
        Self {
            limits,
            trusted_proxies: trusted_proxies.into(),
            stop: CancellationToken::new(),
            abandon: CancellationToken::new(),
            connections: TaskTracker::new(),
            metrics: ConnectionMetrics::new(meter),
        }
    }

    /// Returns a token that is cancelled once [`shut_down`](Self::shut_down) is called.
    pub(crate) fn stopping(&self) -> &CancellationToken {
        &self.stop
    }

    /// Serves connections in the background, on the runtimes of `group`. `service` gets the number
    /// of a runtime, and returns what serves the connections of this runtime, which is any HTTP
    /// service, for example an axum router. Without a socket, the listener is off, and nothing is
    /// served.
    ///
    /// # Errors
    ///
    /// When the socket cannot be registered with a runtime.
    pub(crate) fn serve<S, B>(
        &self,
        group: &Group,
        socket: Option<Socket>,
        service: impl FnMut(usize) -> S,
    ) -> io::Result<()>
    where
        S: Service<Request<RequestBody>, Response = Response<B>, Error = Infallible>,
        S: Clone + Send + Sync + 'static,
        S::Future: Send,
        B: Body<Data = Bytes, Error: Into<Box<dyn Error + Send + Sync>>> + Send + 'static,
    {
        let (Some(socket), Some(runtime)) = (socket, group.runtimes.first()) else { return Ok(()) };
        let Socket { listener, tls, .. } = socket;
        let listener = {
            let listener = listener.into_std()?;
            let _runtime = runtime.enter();
            TcpListener::from_std(listener)?
        };
        let services = (0..group.runtimes.len()).map(service);
        let threads = group.runtimes.iter().cloned().zip(services).map(Thread::new).collect();
        let slow = self.limits.header_read_timeout;
        let places = Connections::new(group.max_connections, slow);
        let (server, name) = (self.clone(), socket.name);
        let task = async move {
            tokio::select! {
                () = server.stop.cancelled() => {}
                () = server.accept(name, listener, tls, places, threads) => {}
            }
        };
        self.connections.spawn_on(task, runtime);
        Ok(())
    }

    /// Stops accepting connections, closes those that are idle, and waits for requests in flight.
    /// Returns whether all of these requests ended within `grace`.
    pub(crate) async fn shut_down(&self, grace: Duration) -> bool {
        self.stop.cancel();
        self.connections.close();
        let all_ended = tokio::time::timeout(grace, self.connections.wait()).await.is_ok();
        self.abandon.cancel();
        if tokio::time::timeout(ABANDON_TIMEOUT, self.connections.wait()).await.is_err() {
            tracing::warn!("connections did not end, because their threads are blocked");
        }
        all_ended
    }

    async fn accept<S, B>(
        &self,
        name: &'static str,
        listener: TcpListener,
        tls: Option<ServerTls>,
        connections: Arc<Connections>,
        mut threads: Vec<Thread<S>>,
    ) where
        S: Service<Request<RequestBody>, Response = Response<B>, Error = Infallible>,
        S: Clone + Send + Sync + 'static,
        S::Future: Send,
        B: Body<Data = Bytes, Error: Into<Box<dyn Error + Send + Sync>>> + Send + 'static,
    {
        let mut refusals = Refusals::default();
        loop {
            let (stream, peer) = match listener.accept().await {
                Ok(accepted) => accepted,
                Err(error) if is_about_one_connection(&error) => continue,
                Err(error) => {
                    refusals.warn(&error);
                    connections.ask_one_to_give_way();
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            };
            // Takes the stream from the runtime of this task.
            let Ok(stream) = stream.into_std() else { continue };
            let place = connections.place().await;
            // The others get their turns before this one gets another.
            let next = threads.iter_mut().min_by_key(|thread| (thread.open(), thread.served));
            let Some(thread) = next else { return };
            thread.served += 1;
            let (open, service) = (Arc::clone(&thread.open), thread.service.clone());
            let connection = {
                let (counted, tls) = (self.metrics.begin(name), tls.clone());
                self.clone().connection(stream, peer, tls, service, place, counted)
            };
            let task = async move {
                connection.await;
                drop(open);
            };
            self.connections.spawn_on(task, &thread.runtime);
        }
    }
}

/// A runtime, and what serves the connections that it gets from one listener.
struct Thread<S> {
    runtime: Handle,
    service: S,
    /// Each open connection has a clone.
    open: Arc<()>,
    /// The number of connections so far.
    served: u64,
}

impl<S> Thread<S> {
    fn new((runtime, service): (Handle, S)) -> Self {
        Self { runtime, service, open: Arc::new(()), served: 0 }
    }

    /// Returns the number of open connections.
    fn open(&self) -> usize {
        Arc::strong_count(&self.open)
    }
}

/// Returns whether `accept` failed because the peer of one connection is already gone.
fn is_about_one_connection(error: &io::Error) -> bool {
    use ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}

/// Warns about connections that the operating system refused, but not about each of them.
#[derive(Default)]
struct Refusals {
    last_warning: Option<Instant>,
}

impl Refusals {
    fn warn(&mut self, error: &io::Error) {
        let recent = |last: Instant| last.elapsed() < ACCEPT_WARNING_INTERVAL;
        if !self.last_warning.is_some_and(recent) {
            self.last_warning = Some(Instant::now());
            tracing::warn!(%error, "connections cannot be accepted for now");
        }
    }
}
