//! Serves one connection, with limits, and with an end in order.

use std::convert::Infallible;
use std::error::Error;
use std::future::poll_fn;
use std::net::{IpAddr, SocketAddr};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;

use http::{Request, Response};
use hyper::body::{Body, Incoming};
use hyper::service::service_fn;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_util::either::Either;
use tower::{Service, ServiceExt as _};

use super::activity::Activity;
use super::client_address::ClientAddress;
use super::connections::Place;
use super::protocol::Protocol;
use super::request_body::RequestBody;
use super::request_head;
use super::response_body::ResponseBody;
use super::seldom::Seldom;
use super::server::Server;
use super::stream::Stream;
use super::tls::ServerTls;
use crate::io::ReadAhead;

/// Why the server ends a connection that its peer keeps open.
#[derive(Clone, Copy, Debug)]
enum End {
    /// The server drops the requests that are still in flight.
    Abandoned,
    /// The connection gives way to a new one.
    GivesWay,
    /// No request has begun in time.
    Silent,
    /// The connection is idle, or the server stops.
    InOrder,
}

impl Server {
    /// Serves a connection until its peer or the server ends it.
    ///
    /// The server ends a connection that is idle, whose peer does not read the responses, or that
    /// gives way to a new connection. When the server stops, the peer of an HTTP/2 connection is
    /// told (`GOAWAY`), a request in flight still gets its response, and everything else is closed
    /// after a second at the latest, whatever the peer does.
    pub(super) async fn connection<S, B>(
        self,
        stream: std::net::TcpStream,
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
        // The stream belongs to the runtime of this task, which is not the one that has accepted
        // it.
        let stream = match TcpStream::from_std(stream) {
            Ok(stream) => stream,
            Err(error) => return tracing::debug!(%error, %peer, "connection dropped"),
        };
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "cannot set TCP_NODELAY");
        }
        let activity = place.activity();
        let stream = Stream::new(stream, Arc::clone(activity));
        let mut end = pin!(Seldom::new(self.end(activity)));
        let is_tls = tls.is_some();
        // Both are boxed, so that connections without TLS take no memory for them.
        let stream = match tls {
            None => Either::Left(stream),
            Some(tls) => tokio::select! {
                biased;
                shaken = Box::pin(tls.accept(stream)) => match shaken {
                    Ok(stream) => Either::Right(Box::new(stream)),
                    Err(error) => return tracing::debug!(%error, %peer, "TLS handshake failed"),
                },
                end = end.as_mut() => return tracing::debug!(?end, %peer, "connection closed"),
            },
        };
        self.serve_stream(stream, peer, is_tls, service, activity, end).await;
    }

    async fn serve_stream<T, S, B>(
        &self,
        stream: T,
        peer: SocketAddr,
        is_tls: bool,
        service: S,
        activity: &Arc<Activity>,
        mut end: Pin<&mut impl Future<Output = End>>,
    ) where
        T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
        S: Service<Request<RequestBody>, Response = Response<B>, Error = Infallible>,
        S: Clone + Send + 'static,
        S::Future: Send,
        B: Body<Data: Send, Error: Into<Box<dyn Error + Send + Sync>>> + Send + 'static,
    {
        let mut stream = ReadAhead::new(stream);
        let protocol = tokio::select! {
            biased;
            protocol = Protocol::of(&mut stream) => protocol,
            end = end.as_mut() => return tracing::debug!(?end, %peer, "connection closed"),
        };
        let protocol = match protocol {
            Ok(protocol) => protocol,
            Err(error) => return tracing::debug!(%error, %peer, "connection failed"),
        };
        let service = self.service(service, peer.ip(), is_tls, activity);
        let mut connection = pin!(protocol.serve(stream, service, &self.limits));
        let ended = tokio::select! {
            biased;
            ended = connection.as_mut() => ended,
            end = end => match end {
                End::Abandoned => return,
                End::GivesWay | End::Silent => {
                    connection.as_mut().graceful_shutdown();
                    poll_once(connection).await;
                    return tracing::debug!(?end, %peer, "connection closed");
                }
                End::InOrder => {
                    connection.as_mut().graceful_shutdown();
                    tokio::select! {
                        biased;
                        ended = connection => ended,
                        why = pin!(Seldom::new(self.end_of_patience(activity))) => {
                            return tracing::debug!(why, %peer, "connection dropped");
                        }
                    }
                }
            }
        };
        if let Err(error) = ended {
            tracing::debug!(%error, %peer, "connection failed");
        }
    }

    /// Returns what serves the requests of one connection.
    fn service<S, B>(
        &self,
        service: S,
        peer: IpAddr,
        is_tls: bool,
        activity: &Arc<Activity>,
    ) -> impl hyper::service::Service<
        Request<Incoming>,
        Response = Response<ResponseBody<B>>,
        Error = Infallible,
        Future: Send + 'static,
    > + use<S, B>
    where
        S: Service<Request<RequestBody>, Response = Response<B>, Error = Infallible>,
        S: Clone + Send + 'static,
        S::Future: Send,
        B: Body,
    {
        let (activity, trusted_proxies) = (Arc::clone(activity), Arc::clone(&self.trusted_proxies));
        let (idle_timeout, stop) = (self.limits.idle_timeout, self.stop.clone());
        service_fn(move |request: Request<Incoming>| {
            let in_flight = activity.begin();
            let refusal = request_head::refusal(&request);
            let mut client = ClientAddress::of(peer, request.headers(), &trusted_proxies);
            client.1.is_tls = is_tls;
            let mut request = RequestBody::of(request, idle_timeout, stop.clone());
            request.extensions_mut().insert(client);
            let response = match refusal {
                Some(status) => Err(status),
                None => Ok(service.clone().oneshot(request)),
            };
            async move {
                let response = match response {
                    Ok(response) => response.await?,
                    Err(status) => return Ok(ResponseBody::refusal(status, in_flight.answer())),
                };
                let answering = in_flight.answer();
                Ok::<_, Infallible>(response.map(|body| ResponseBody::new(body, answering)))
            }
        })
    }

    /// Waits until the server has a reason to end the connection.
    async fn end(&self, activity: &Activity) -> End {
        tokio::select! {
            biased;
            () = self.abandon.cancelled() => End::Abandoned,
            () = activity.gives_way() => End::GivesWay,
            () = activity.nothing_begun(self.limits.header_read_timeout) => End::Silent,
            () = self.stop.cancelled() => End::InOrder,
            () = activity.idle(self.limits.idle_timeout) => End::InOrder,
        }
    }

    /// Waits until a connection that ends in order is dropped. Returns the reason.
    async fn end_of_patience(&self, activity: &Activity) -> &'static str {
        tokio::select! {
            biased;
            () = self.abandon.cancelled() => "its requests were abandoned",
            () = activity.gives_way() => "it gave way to a new one",
            // Without this branch, a peer that never reads its responses would keep its connection
            // open without a time limit.
            () = activity.stalled(self.limits.idle_timeout) => "its peer does not read the answers",
            // hyper waits for the rest of a head, and for the peer of an HTTP/2 connection to
            // answer a ping. A silent peer never sends them.
            () = self.stopped_and_finished(activity) => "the gateway stops",
        }
    }

    async fn stopped_and_finished(&self, activity: &Activity) {
        self.stop.cancelled().await;
        activity.finished().await;
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
