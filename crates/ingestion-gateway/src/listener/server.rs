//! Serves listeners: accepts connections within the limits, and stops in order.

use std::convert::Infallible;
use std::error::Error;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::serve::Listener;
use http::{Request, Response};
use hyper::body::Body;
use ipnet::IpNet;
use tokio::net::TcpListener;
use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::Service;

use super::request_body::RequestBody;
use super::sockets::Socket;
use crate::config::LimitsConfig;

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
}
