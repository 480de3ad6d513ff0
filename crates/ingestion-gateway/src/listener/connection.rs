//! Serves one connection, with limits, and with an end in order.

use std::convert::Infallible;
use std::error::Error;
use std::future::poll_fn;
use std::net::{IpAddr, SocketAddr};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use hyper::body::Body;
use pin_project_lite::pin_project;
use tokio::net::TcpStream;
use tokio_util::either::Either;
use tower::util::Oneshot;
use tower::{Service, ServiceExt as _};

use super::activity::{Activity, InFlight};
use super::client_address::ClientAddress;
use super::connections::Place;
use super::metrics::{End, OpenConnection};
use super::protocol::Protocol;
use super::request_body::{Bodies, RequestBody, Source};
use super::request_head;
use super::response_body::{LongLived, ResponseBody};
use super::seldom::Seldom;
use super::server::Server;
use super::stream::{Connection, Stream};
use super::tls::ServerTls;
use crate::config::LimitsConfig;
use crate::http1::input::Input;

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
        mut counted: OpenConnection,
    ) where
        S: Service<Request<RequestBody>, Response = Response<B>, Error = Infallible>,
        S: Clone + Send + Sync + 'static,
        S::Future: Send,
        B: Body<Data = Bytes, Error: Into<Box<dyn Error + Send + Sync>>> + Send + 'static,
    {
        // The stream belongs to the runtime of this task, which may be another one than the runtime
        // that has accepted it.
        let stream = match TcpStream::from_std(stream) {
            Ok(stream) => stream,
            Err(error) => return tracing::debug!(%error, %peer, "connection dropped"),
        };
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "cannot set TCP_NODELAY");
        }
        let activity = place.activity();
        let stream = Stream::new(stream, Arc::clone(activity));
        let mut reason_to_end = pin!(Seldom::new(self.reason_to_end(activity)));
        let is_tls = tls.is_some();
        // Both are boxed, so that connections without TLS take no memory for them.
        let stream = match tls {
            None => Either::Left(stream),
            Some(tls) => tokio::select! {
                biased;
                shaken = Box::pin(tls.accept(stream)) => match shaken {
                    Ok(stream) => Either::Right(Box::new(stream)),
                    Err(error) => {
                        counted.end = End::TlsHandshake;
                        return tracing::debug!(%error, %peer, "TLS handshake failed");
                    }
                },
                end = reason_to_end.as_mut() => {
                    counted.end = end;
                    return tracing::debug!(reason = end.name(), %peer, "connection closed");
                }
            },
        };
        counted.end =
            self.serve_stream(stream, peer, is_tls, service, activity, reason_to_end).await;
        tracing::debug!(reason = counted.end.name(), %peer, "connection ended");
    }

    async fn serve_stream<S, B>(
        &self,
        mut stream: Connection,
        peer: SocketAddr,
        is_tls: bool,
        service: S,
        activity: &Arc<Activity>,
        mut reason_to_end: Pin<&mut impl Future<Output = End>>,
    ) -> End
    where
        S: Service<Request<RequestBody>, Response = Response<B>, Error = Infallible>,
        S: Clone + Send + Sync + 'static,
        S::Future: Send,
        B: Body<Data = Bytes, Error: Into<Box<dyn Error + Send + Sync>>> + Send + 'static,
    {
        let mut input = Input::default();
        let protocol = tokio::select! {
            biased;
            protocol = Protocol::of(&mut stream, &mut input) => protocol,
            end = reason_to_end.as_mut() => return end,
        };
        let protocol = match protocol {
            Ok(protocol) => protocol,
            Err(error) => {
                tracing::debug!(%error, %peer, "connection failed");
                return End::Failed;
            }
        };
        let handler = self.handler(service, peer.ip(), is_tls, activity);
        let mut connection = pin!(protocol.serve(stream, input, handler, &self.limits, activity));
        let end = tokio::select! {
            biased;
            ended = connection.as_mut() => return Protocol::end(ended, peer),
            end = reason_to_end => end,
        };
        if end == End::Stopped && self.abandon.is_cancelled() {
            return end;
        }
        connection.as_mut().graceful_shutdown();
        if end == End::MaxConnections || end == End::HeaderReadTimeout {
            poll_once(connection).await;
            return end;
        }
        tokio::select! {
            biased;
            ended = connection => match Protocol::end(ended, peer) {
                End::Closed => end,
                other => other,
            },
            end = pin!(Seldom::new(self.end_of_patience(activity))) => end,
        }
    }

    /// Returns what answers the requests of one connection.
    fn handler<S, B>(
        &self,
        mut service: S,
        peer: IpAddr,
        is_tls: bool,
        activity: &Arc<Activity>,
    ) -> impl FnMut(Request<Source>) -> Answer<S> + Clone + use<S, B>
    where
        S: Service<Request<RequestBody>, Response = Response<B>, Error = Infallible>,
        S: Clone + Send + 'static,
        S::Future: Send,
        B: Body,
    {
        let (activity, trusted_proxies) = (Arc::clone(activity), Arc::clone(&self.trusted_proxies));
        let bodies = Arc::clone(&activity);
        let bodies = Bodies::new(bodies, self.limits.idle_timeout, self.stop.clone());
        move |request| {
            let in_flight = activity.begin();
            let refusal = request_head::refusal(&request);
            let mut client = ClientAddress::of(peer, request.headers(), &trusted_proxies);
            client.1.is_tls = is_tls;
            let mut request = RequestBody::of(request, Arc::clone(&bodies));
            request.extensions_mut().insert(client);
            let in_flight = Some(in_flight);
            if let Some(status) = refusal {
                return Answer::Refused { status, in_flight };
            }
            // Most services are always ready.
            match service.poll_ready(&mut Context::from_waker(Waker::noop())) {
                Poll::Ready(Ok(())) => {
                    Answer::Served { response: service.call(request), in_flight }
                }
                Poll::Ready(Err(never)) => match never {},
                Poll::Pending => {
                    let response = Box::pin(service.clone().oneshot(request));
                    Answer::Waiting { response, in_flight }
                }
            }
        }
    }

    /// Waits until the server has a reason to end a connection that its peer keeps open.
    async fn reason_to_end(&self, activity: &Activity) -> End {
        let LimitsConfig { header_read_timeout, idle_timeout, .. } = self.limits;
        tokio::select! {
            biased;
            () = self.abandon.cancelled() => End::Stopped,
            () = activity.gives_way(header_read_timeout) => End::MaxConnections,
            () = activity.nothing_begun(header_read_timeout) => End::HeaderReadTimeout,
            () = self.stop.cancelled() => End::Stopped,
            () = activity.idle(idle_timeout) => End::IdleTimeout,
        }
    }

    /// Waits until a connection that ends in order has to be dropped.
    async fn end_of_patience(&self, activity: &Activity) -> End {
        let LimitsConfig { header_read_timeout, idle_timeout, .. } = self.limits;
        tokio::select! {
            biased;
            () = self.abandon.cancelled() => End::Stopped,
            () = activity.gives_way(header_read_timeout) => End::MaxConnections,
            // Without this branch, a peer that never reads its responses would keep its connection
            // open without a time limit.
            () = activity.stalled(idle_timeout) => End::Unread,
            // hyper waits for the rest of a head, and for the peer of an HTTP/2 connection to
            // answer a ping. A silent peer never sends them.
            () = self.stopped_and_finished(activity) => End::Stopped,
        }
    }

    async fn stopped_and_finished(&self, activity: &Activity) {
        self.stop.cancelled().await;
        activity.finished().await;
    }
}

pin_project! {
    /// Resolves to the response to a request, which is in flight until then.
    #[project = AnswerProjection]
    enum Answer<S>
    where
        S: Service<Request<RequestBody>>,
    {
        Served {
            #[pin]
            response: S::Future,
            in_flight: Option<InFlight>,
        },
        // The service was not ready at once.
        Waiting {
            response: Pin<Box<Oneshot<S, Request<RequestBody>>>>,
            in_flight: Option<InFlight>,
        },
        Refused { status: StatusCode, in_flight: Option<InFlight> },
    }
}

impl<S, B> Future for Answer<S>
where
    S: Service<Request<RequestBody>, Response = Response<B>, Error = Infallible>,
{
    type Output = Result<Response<ResponseBody<B>>, Infallible>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let (response, in_flight) = match self.project() {
            AnswerProjection::Served { response, in_flight } => {
                (Ok(ready!(response.poll(cx))?), in_flight)
            }
            AnswerProjection::Waiting { response, in_flight } => {
                (Ok(ready!(response.as_mut().poll(cx))?), in_flight)
            }
            AnswerProjection::Refused { status, in_flight } => (Err(*status), in_flight),
        };
        let Some(in_flight) = in_flight.take() else {
            unreachable!("a future is not polled after it has ended")
        };
        let is_long = |response: &Response<B>| response.extensions().get::<LongLived>().is_some();
        let answering = match response.as_ref().is_ok_and(is_long) {
            true => in_flight.answer_for_long(),
            false => in_flight.answer(),
        };
        Poll::Ready(Ok(match response {
            Ok(response) => response.map(|body| ResponseBody::new(body, answering)),
            Err(status) => ResponseBody::refusal(status, answering),
        }))
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
