//! Serves connections: applies limits, finds the client's address, and stops in order.

use std::convert::Infallible;
use std::error::Error;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::serve::Listener;
use http::{Request, Response};
use hyper::body::{Body, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use ipnet::IpNet;
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::io::InspectWriter;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::{Service, ServiceExt as _};
use tower_http::timeout::TimeoutBody;

use super::activity::Activity;
use super::client_address::ClientAddress;
use super::sockets::Socket;
use crate::config::LimitsConfig;

/// The body of a request as a service receives it. Reading the body fails after
/// `limits.idle_timeout` without progress.
pub(crate) type RequestBody = TimeoutBody<Incoming>;

/// How long connections may take to end after their requests were dropped. They take longer only if
/// a thread of their runtime is blocked.
const ABANDON_TIMEOUT: Duration = Duration::from_secs(1);

/// Serves connections with HTTP/1.1 and HTTP/2 until the server is stopped.
#[derive(Clone, Debug)]
pub(crate) struct Server {
    limits: LimitsConfig,
    trusted_proxies: Arc<[IpNet]>,
    /// Cancelled when the server begins to stop. From then on, the server accepts no more
    /// connections, but requests in flight may still end.
    stop: CancellationToken,
    /// Cancelled when the server drops the requests that are still in flight.
    abandon: CancellationToken,
    connections: TaskTracker,
}

impl Server {
    pub(crate) fn new(limits: LimitsConfig, trusted_proxies: &[IpNet]) -> Self {
        Self {
            limits,
            trusted_proxies: trusted_proxies.into(),
            stop: CancellationToken::new(),
            abandon: CancellationToken::new(),
            connections: TaskTracker::new(),
        }
    }

    /// Returns a token that is cancelled once [`shut_down`](Self::shut_down) is called.
    pub(crate) fn stopping(&self) -> &CancellationToken {
        &self.stop
    }

    /// Serves `service` in the background, on `runtime`. `service` is any HTTP service, for example
    /// an axum router.
    ///
    /// # Errors
    ///
    /// When the socket cannot be registered with the runtime.
    pub(crate) fn serve<S, B>(&self, runtime: &Handle, socket: Socket, service: S) -> io::Result<()>
    where
        S: Service<Request<RequestBody>, Response = Response<B>, Error = Infallible>,
        S: Clone + Send + 'static,
        S::Future: Send,
        B: Body<Data: Send, Error: Into<Box<dyn Error + Send + Sync>>> + Send + 'static,
    {
        let listener = {
            let listener = socket.listener.into_std()?;
            let _runtime = runtime.enter();
            TcpListener::from_std(listener)?
        };
        let server = self.clone();
        let task = async move {
            tokio::select! {
                () = server.stop.cancelled() => {}
                () = server.accept(listener, service) => {}
            }
        };
        self.connections.spawn_on(task, runtime);
        Ok(())
    }

    /// Stops accepting connections, and waits for requests in flight. Returns whether all of these
    /// requests ended within `grace`.
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

    async fn accept<S, B>(&self, mut listener: TcpListener, service: S)
    where
        S: Service<Request<RequestBody>, Response = Response<B>, Error = Infallible>,
        S: Clone + Send + 'static,
        S::Future: Send,
        B: Body<Data: Send, Error: Into<Box<dyn Error + Send + Sync>>> + Send + 'static,
    {
        let permits = Arc::new(Semaphore::new(self.limits.max_connections));
        // The semaphore is never closed, so acquiring does not fail.
        while let Ok(permit) = Arc::clone(&permits).acquire_owned().await {
            // axum's `accept` waits a second when the process has no file descriptors left.
            let (stream, peer) = Listener::accept(&mut listener).await;
            self.connections.spawn(self.clone().connection(stream, peer, service.clone(), permit));
        }
    }

    async fn connection<S, B>(
        self,
        stream: TcpStream,
        peer: SocketAddr,
        service: S,
        _permit: OwnedSemaphorePermit,
    ) where
        S: Service<Request<RequestBody>, Response = Response<B>, Error = Infallible>,
        S: Clone + Send + 'static,
        S::Future: Send,
        B: Body<Data: Send, Error: Into<Box<dyn Error + Send + Sync>>> + Send + 'static,
    {
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "cannot set TCP_NODELAY");
        }
        let activity = Arc::new(Activity::default());
        let (begun, trusted_proxies) = (Arc::clone(&activity), Arc::clone(&self.trusted_proxies));
        let service = service_fn(move |request: Request<Incoming>| {
            let in_flight = begun.begin();
            let client = ClientAddress::of(peer.ip(), request.headers(), &trusted_proxies);
            let mut request = request.map(|body| TimeoutBody::new(self.limits.idle_timeout, body));
            request.extensions_mut().insert(client);
            let response = service.clone().oneshot(request);
            async move {
                let _in_flight = in_flight;
                response.await
            }
        });
        let answers = Arc::clone(&activity);
        let stream = InspectWriter::new(stream, move |written: &[u8]| answers.wrote(written.len()));
        let builder = self.builder();
        let mut connection = pin!(builder.serve_connection(TokioIo::new(stream), service));
        let ended = tokio::select! {
            ended = connection.as_mut() => ended,
            () = self.abandon.cancelled() => return,
            () = self.reason_to_end(&activity) => {
                connection.as_mut().graceful_shutdown();
                tokio::select! {
                    ended = connection.as_mut() => ended,
                    () = self.abandon.cancelled() => return,
                    // Without this branch, a peer that never reads its responses would keep its
                    // connection open without a time limit.
                    () = activity.stalled(self.limits.idle_timeout) => {
                        return tracing::debug!(%peer, "connection dropped: its peer does not read the answers");
                    }
                }
            }
        };
        if let Err(error) = ended {
            tracing::debug!(%error, %peer, "connection failed");
        }
    }

    /// Waits until the connection is idle or the server stops.
    async fn reason_to_end(&self, activity: &Activity) {
        tokio::select! {
            () = self.stop.cancelled() => {}
            () = activity.idle(self.limits.idle_timeout) => {}
        }
    }

    fn builder(&self) -> Builder<TokioExecutor> {
        let LimitsConfig {
            max_header_size, max_streams, header_read_timeout, idle_timeout, ..
        } = self.limits;
        let mut builder = Builder::new(TokioExecutor::new());
        builder
            .http1()
            .timer(TokioTimer::new())
            .header_read_timeout(header_read_timeout)
            .max_buf_size(max_header_size.bytes());
        builder
            .http2()
            .timer(TokioTimer::new())
            .max_concurrent_streams(max_streams)
            .max_header_list_size(u32::try_from(max_header_size.bytes()).unwrap_or(u32::MAX))
            // Pings detect that a peer is gone.
            .keep_alive_interval(idle_timeout)
            .keep_alive_timeout(header_read_timeout);
        builder
    }
}
