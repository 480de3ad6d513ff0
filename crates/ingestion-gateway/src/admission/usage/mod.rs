//! Records how a key is used: the client of each allowed request, the number of received bytes, and
//! whether the request was answered with success. Also measures these requests.
//!
//! The layer is behind an [`AuthenticateLayer`](otlp_auth::server::AuthenticateLayer). It allocates
//! nothing and takes no lock, except that it seldom notes a client.

mod answer;
mod request_body;
mod response_body;
#[cfg(test)]
mod tests;

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::header::USER_AGENT;
use http::{Request, Response};
use hyper::body::Body;
use ingestion_keys::cache::KeyHandle;
use otlp_auth::Identity;
use pin_project_lite::pin_project;
use tower::{Layer, Service};

use self::answer::Answer;
pub(crate) use self::request_body::RequestBody;
pub(crate) use self::response_body::ResponseBody;
use crate::listener::client_address::ClientAddress;
use crate::telemetry::requests::RequestMetrics;

/// Records the usage of keys.
#[derive(Clone, Debug)]
pub(crate) struct UsageLayer {
    metrics: Arc<RequestMetrics>,
}

/// A service whose requests are recorded; made by [`UsageLayer`].
#[derive(Clone, Debug)]
pub(crate) struct Usage<S> {
    inner: S,
    metrics: Arc<RequestMetrics>,
}

pin_project! {
    /// Resolves to the response of the inner service, whose body is followed to its end.
    pub(crate) struct ResponseFuture<F> {
        #[pin]
        response: F,
        // If the connection breaks, the future is dropped here, and the request counts as failed.
        answer: Option<Answer>,
    }
}

impl UsageLayer {
    pub(crate) fn new(metrics: Arc<RequestMetrics>) -> Self {
        Self { metrics }
    }
}

impl<S> Layer<S> for UsageLayer {
    type Service = Usage<S>;

    fn layer(&self, inner: S) -> Usage<S> {
        Usage { inner, metrics: Arc::clone(&self.metrics) }
    }
}

impl<S, B, RB> Service<Request<B>> for Usage<S>
where
    S: Service<Request<RequestBody<B>>, Response = Response<RB>>,
    RB: Body<Data = Bytes>,
{
    type Response = Response<ResponseBody<RB>>;
    type Error = S::Error;
    type Future = ResponseFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let identity = request.extensions().get::<Identity>();
        if let Some(handle) = identity.and_then(Identity::handle::<KeyHandle>)
            && handle.notes_client()
            && let Some(client) = request.extensions().get::<ClientAddress>()
        {
            let user_agent = request.headers().get(USER_AGENT);
            handle.add_client(client.0, user_agent.and_then(|value| value.to_str().ok()));
        }
        let identity = identity.cloned();
        let answer = Answer::to(&request, identity.clone(), Arc::clone(&self.metrics));
        let request = request.map(|body| RequestBody::new(body, identity));
        ResponseFuture { response: self.inner.call(request), answer: Some(answer) }
    }
}

impl<F, RB, E> Future for ResponseFuture<F>
where
    F: Future<Output = Result<Response<RB>, E>>,
    RB: Body<Data = Bytes>,
{
    type Output = Result<Response<ResponseBody<RB>>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let response = ready!(this.response.poll(cx))?;
        let Some(answer) = this.answer.take() else {
            unreachable!("a future is not polled after it has ended")
        };
        Poll::Ready(Ok(ResponseBody::follow(response, answer)))
    }
}
