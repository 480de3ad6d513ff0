//! Serves one connection: HTTP/1.1 or HTTP/2, with limits, and with an end in order.

use std::convert::Infallible;
use std::error::Error;
use std::future::poll_fn;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;

use http::{Request, Response};
use hyper::body::{Body, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use tokio::net::TcpStream;
use tokio_util::either::Either;
use tower::{Service, ServiceExt as _};

use super::activity::Activity;
use super::client_address::ClientAddress;
use super::connections::Place;
use super::request_body::RequestBody;
use super::response_body::ResponseBody;
use super::server::Server;
use super::stream::Stream;
use super::tls::ServerTls;
use crate::config::LimitsConfig;

impl Server {
    /// Serves a connection until its peer or the server ends it.
    ///
    /// The server ends a connection that is idle, whose peer does not read the responses, or that
    /// gives way to a new connection. When the server stops, the peer of an HTTP/2 connection is
    /// told (`GOAWAY`), a request in flight still gets its response, and everything else is closed
    /// after a second at the latest, whatever the peer does.
    pub(super) async fn connection<S, B>(
        self,
        stream: TcpStream,
        peer: SocketAddr,
        tls: Option<ServerTls>,
        service: S,
        place: Place,
    ) where
        S: Service<Request<RequestBody>, Response = Response<B>, Error = Infallible>,
        S: Clone + Send + 'static,
        S::Future: Send,
        B: Body<Data: Send, Error: Into<Box<dyn Error + Send + Sync>>> + Send + 'static,
    {
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "cannot set TCP_NODELAY");
        }
        let activity = place.activity();
        let (begun, trusted_proxies) = (Arc::clone(activity), Arc::clone(&self.trusted_proxies));
        let (idle_timeout, stop) = (self.limits.idle_timeout, self.stop.clone());
        let service = service_fn(move |request: Request<Incoming>| {
            let in_flight = begun.begin();
            let client = ClientAddress::of(peer.ip(), request.headers(), &trusted_proxies);
            let mut request = RequestBody::of(request, idle_timeout, stop.clone());
            request.extensions_mut().insert(client);
            let response = service.clone().oneshot(request);
            async move {
                let response = response.await?;
                let answering = in_flight.answer();
                Ok::<_, Infallible>(response.map(|body| ResponseBody::new(body, answering)))
            }
        });
        // This limit includes the handshake.
        let mut nothing_begun = pin!(activity.nothing_begun(self.limits.header_read_timeout));
        let stream = Stream::new(stream, Arc::clone(activity));
        let stream = match tls {
            None => Either::Left(stream),
            Some(tls) => tokio::select! {
                shaken = tls.accept(stream) => match shaken {
                    Ok(stream) => Either::Right(stream),
                    Err(error) => return tracing::debug!(%error, %peer, "TLS handshake failed"),
                },
                () = self.stop.cancelled() => return,
                () = activity.gives_way() => return,
                () = nothing_begun.as_mut() => {
                    return tracing::debug!(%peer, "connection closed: its TLS handshake took too long");
                }
            },
        };
        let stream = TokioIo::new(stream);
        let builder = self.builder();
        let mut connection = pin!(builder.serve_connection(stream, service));
        let ended = tokio::select! {
            ended = connection.as_mut() => ended,
            () = self.abandon.cancelled() => return,
            () = activity.gives_way() => {
                connection.as_mut().graceful_shutdown();
                poll_once(connection).await;
                return tracing::debug!(%peer, "connection closed: it gave way to a new one");
            }
            () = nothing_begun => {
                connection.as_mut().graceful_shutdown();
                poll_once(connection).await;
                return tracing::debug!(%peer, "connection closed: its peer has sent no request");
            }
            () = self.reason_to_end(activity) => {
                connection.as_mut().graceful_shutdown();
                tokio::select! {
                    ended = connection.as_mut() => ended,
                    () = self.abandon.cancelled() => return,
                    () = activity.gives_way() => return,
                    // Without this branch, a peer that never reads its responses would keep its
                    // connection open without a time limit.
                    () = activity.stalled(self.limits.idle_timeout) => {
                        return tracing::debug!(%peer, "connection dropped: its peer does not read the answers");
                    }
                    // hyper waits for the rest of a head, and for the peer of an HTTP/2 connection
                    // to answer a ping. A silent peer never sends them.
                    () = self.stopped_and_finished(activity) => {
                        return tracing::debug!(%peer, "connection dropped: the gateway stops");
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

    async fn stopped_and_finished(&self, activity: &Activity) {
        self.stop.cancelled().await;
        activity.finished().await;
    }

    fn builder(&self) -> Builder<TokioExecutor> {
        let LimitsConfig {
            max_header_size, max_streams, header_read_timeout, idle_timeout, ..
        } = self.limits;
        let mut builder = Builder::new(TokioExecutor::new());
        builder
            .http1()
            .timer(TokioTimer::new())
            // hyper counts the time between two requests as a part of this time.
            .header_read_timeout(header_read_timeout.max(idle_timeout))
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

/// Polls a future once, whether or not it is ready.
async fn poll_once<F: Future>(mut future: Pin<&mut F>) {
    poll_fn(|cx| {
        let _ = future.as_mut().poll(cx);
        Poll::Ready(())
    })
    .await;
}
