//! Connections: limits, the client's address, stopping.

use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::serve::Listener;
use http::Request;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use ipnet::IpNet;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::io::InspectWriter;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::ServiceExt as _;
use tower_http::timeout::TimeoutBody;

use crate::config::{Endpoint, LimitsConfig};
use crate::listener::activity::Activity;
use crate::listener::client_address::ClientAddress;

/// Serves routers until it is told to stop.
#[derive(Clone, Debug)]
pub(crate) struct Server {
    limits: LimitsConfig,
    trusted_proxies: Arc<[IpNet]>,
    /// Nothing new is accepted any more, and what is in flight ends.
    stop: CancellationToken,
    /// What is still in flight is dropped.
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

    /// Whether it was told to stop.
    pub(crate) fn stopping(&self) -> &CancellationToken {
        &self.stop
    }

    /// Serves `router` on HTTP/1.1 and HTTP/2, in the background.
    pub(crate) fn serve(&self, listener: TcpListener, router: Router) {
        let server = self.clone();
        self.connections.spawn(async move {
            tokio::select! {
                () = server.stop.cancelled() => {}
                () = server.accept(listener, router) => {}
            }
        });
    }

    /// Stops accepting, and waits for what is in flight; returns whether all of it ended within
    /// `grace`.
    pub(crate) async fn shut_down(&self, grace: Duration) -> bool {
        self.stop.cancel();
        self.connections.close();
        let all_ended = tokio::time::timeout(grace, self.connections.wait()).await.is_ok();
        self.abandon.cancel();
        self.connections.wait().await;
        all_ended
    }

    async fn accept(&self, mut listener: TcpListener, router: Router) {
        let permits = Arc::new(Semaphore::new(self.limits.max_connections));
        // Nobody closes the semaphore.
        while let Ok(permit) = Arc::clone(&permits).acquire_owned().await {
            // axum's `accept` waits a little when the process has no file descriptors left.
            let (stream, peer) = Listener::accept(&mut listener).await;
            self.connections.spawn(self.clone().connection(stream, peer, router.clone(), permit));
        }
    }

    async fn connection(
        self,
        stream: TcpStream,
        peer: SocketAddr,
        router: Router,
        _permit: OwnedSemaphorePermit,
    ) {
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "cannot set TCP_NODELAY");
        }
        let activity = Arc::new(Activity::default());
        let service = service_fn(|request: Request<Incoming>| {
            let busy = activity.begin();
            let client = ClientAddress::of(peer.ip(), request.headers(), &self.trusted_proxies);
            let mut request =
                request.map(|body| Body::new(TimeoutBody::new(self.limits.idle_timeout, body)));
            request.extensions_mut().insert(client);
            let response = router.clone().oneshot(request);
            async move {
                let _busy = busy;
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
            () = self.end(&activity) => {
                connection.as_mut().graceful_shutdown();
                tokio::select! {
                    ended = connection.as_mut() => ended,
                    () = self.abandon.cancelled() => return,
                    // A peer that does not read what it was answered would keep its connection for
                    // ever.
                    () = activity.stalled(self.limits.idle_timeout) => {
                        return tracing::debug!(%peer, "connection dropped: what was answered is not read");
                    }
                }
            }
        };
        if let Err(error) = ended {
            tracing::debug!(%error, %peer, "connection failed");
        }
    }

    /// Waits for a reason to end a connection: it is idle, or everything stops.
    async fn end(&self, activity: &Activity) {
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
            // A peer that is gone is noticed.
            .keep_alive_interval(idle_timeout)
            .keep_alive_timeout(header_read_timeout);
        builder
    }
}

/// Binds an endpoint; of a name, the first address that can be bound.
pub(crate) async fn bind(endpoint: &Endpoint) -> io::Result<TcpListener> {
    TcpListener::bind(endpoint.host_and_port()).await
}
