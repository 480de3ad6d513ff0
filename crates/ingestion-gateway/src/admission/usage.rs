//! Records how a key is used: the client of each allowed request, the number of received bytes, and
//! whether the request was answered with success.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;
use http::header::{CONTENT_TYPE, USER_AGENT};
use http::{HeaderMap, StatusCode};
use hyper::body::{Body as HttpBody, Frame, SizeHint};
use ingestion_keys::cache::KeyHandle;
use opentelemetry::KeyValue;
use opentelemetry::metrics::{Counter, Meter};
use otlp_auth::Identity;

use crate::listener::client_address::ClientAddress;

/// The header, or the field of the trailers, that has the status of a gRPC call.
const GRPC_STATUS: &str = "grpc-status";

/// Counts the requests of all keys by their answers.
#[derive(Clone, Debug)]
pub(crate) struct UsageRecorder {
    requests: Counter<u64>,
}

impl UsageRecorder {
    pub(crate) fn new(meter: &Meter) -> Self {
        let requests = meter.u64_counter("ingestion.key.requests").with_unit("{request}");
        let requests = requests.with_description("Allowed requests, by their answers").build();
        Self { requests }
    }
}

/// Records the client of an allowed request, counts the bytes of its body as they arrive, and
/// counts its answer when the answer is known.
pub(crate) async fn record(
    State(recorder): State<UsageRecorder>,
    request: Request,
    next: Next,
) -> Response {
    let Some(identity) = request.extensions().get::<Identity>().cloned() else {
        return next.run(request).await;
    };
    if let Some(handle) = identity.handle::<KeyHandle>()
        && let Some(ClientAddress(address, _)) = request.extensions().get()
    {
        handle.add_client(
            *address,
            request.headers().get(USER_AGENT).and_then(|value| value.to_str().ok()),
        );
    }
    // If the connection breaks, the future is dropped here, and the request counts as failed.
    let answer = Answer { identity: identity.clone(), recorder, is_success: false };
    let counted = request.map(|body| Body::new(CountedBody { body, identity }));
    answer.follow(next.run(counted).await)
}

/// The body of an allowed request. Its bytes are counted as they arrive.
struct CountedBody {
    body: Body,
    identity: Identity,
}

impl HttpBody for CountedBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        if let Some(Ok(frame)) = &frame
            && let (Some(data), Some(handle)) =
                (frame.data_ref(), self.identity.handle::<KeyHandle>())
        {
            handle.add_bytes(data.len() as u64);
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    // The receiver refuses a body by its length.
    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// The answer to an allowed request. When this value is dropped, the answer is counted.
struct Answer {
    identity: Identity,
    recorder: UsageRecorder,
    is_success: bool,
}

impl Answer {
    /// Counts the answer when the response shows whether it is a success.
    ///
    /// A response with a status of 400 or above is a failure. So is a gRPC response with another
    /// status than 0, which is in the headers if there is no message, and otherwise in the
    /// trailers. Every other response is a success once its body has been sent to its end.
    fn follow(self, response: Response) -> Response {
        let status = grpc_status(response.headers());
        if response.status() >= StatusCode::BAD_REQUEST || status == Some(false) {
            return response;
        }
        let awaits_trailers = status.is_none() && is_grpc(response.headers());
        if !awaits_trailers && response.body().is_end_stream() {
            self.count(true);
            return response;
        }
        response.map(|body| Body::new(FollowedBody { body, awaits_trailers, answer: Some(self) }))
    }

    fn count(mut self, is_success: bool) {
        self.is_success = is_success;
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        if let Some(handle) = self.identity.handle::<KeyHandle>() {
            handle.add_answer(self.is_success);
        }
        let outcome = if self.is_success { "accepted" } else { "failed" };
        // The metrics SDK limits how many key ids the counter keeps.
        let id = self.identity.id();
        let key = id.map_or_else(|| self.identity.name().to_owned(), |id| id.to_string());
        self.recorder
            .requests
            .add(1, &[KeyValue::new("key.id", key), KeyValue::new("outcome", outcome)]);
    }
}

/// The body of a response. The answer is counted as a success when the body is sent to its end, and
/// as a failure if the body fails or is dropped before.
struct FollowedBody {
    body: Body,
    /// Whether the trailers say if the answer is a success.
    awaits_trailers: bool,
    answer: Option<Answer>,
}

impl HttpBody for FollowedBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        let is_success = match &frame {
            None => Some(!self.awaits_trailers),
            Some(Err(_)) => Some(false),
            Some(Ok(frame)) => match frame.trailers_ref() {
                Some(trailers) if self.awaits_trailers => Some(grpc_status(trailers) == Some(true)),
                Some(_) => Some(true),
                // A server may drop a body at its end instead of asking for one more frame.
                None => (!self.awaits_trailers && self.body.is_end_stream()).then_some(true),
            },
        };
        if let Some(is_success) = is_success
            && let Some(answer) = self.answer.take()
        {
            answer.count(is_success);
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

fn is_grpc(headers: &HeaderMap) -> bool {
    headers.get(CONTENT_TYPE).is_some_and(|value| value.as_bytes().starts_with(b"application/grpc"))
}

/// Returns whether the status of the gRPC call is `OK`. Returns `None` if the fields have no
/// status.
fn grpc_status(fields: &HeaderMap) -> Option<bool> {
    fields.get(GRPC_STATUS).map(|status| status == "0")
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::io;
    use std::sync::{Arc, Mutex};

    use axum::{Router, middleware};
    use http::{HeaderName, HeaderValue};
    use http_body_util::BodyExt as _;
    use opentelemetry::metrics::MeterProvider as _;
    use opentelemetry_sdk::metrics::SdkMeterProvider;
    use prometheus::Registry;
    use tower::ServiceExt;

    use super::*;

    /// A body of these frames. It does not know that it is at its end before it is asked for a
    /// further frame.
    struct Frames(VecDeque<io::Result<Frame<Bytes>>>);

    impl HttpBody for Frames {
        type Data = Bytes;
        type Error = io::Error;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
            Poll::Ready(self.0.pop_front())
        }
    }

    fn frames(frames: impl IntoIterator<Item = io::Result<Frame<Bytes>>>) -> Body {
        Body::new(Frames(frames.into_iter().collect()))
    }

    fn data() -> io::Result<Frame<Bytes>> {
        Ok(Frame::data(Bytes::from_static(b"data")))
    }

    fn trailers(status: &'static str) -> io::Result<Frame<Bytes>> {
        let status = (HeaderName::from_static(GRPC_STATUS), HeaderValue::from_static(status));
        Ok(Frame::trailers(HeaderMap::from_iter([status])))
    }

    fn response(status: u16, headers: &[(&str, &str)], body: Body) -> Response {
        let response = Response::builder().status(status);
        let response =
            headers.iter().fold(response, |response, (name, value)| response.header(*name, *value));
        response.body(body).unwrap()
    }

    /// Returns a recorder, and the registry of its metrics. They exist as long as their provider.
    fn recorder() -> (UsageRecorder, Registry, SdkMeterProvider) {
        let registry = Registry::new();
        let exporter =
            opentelemetry_prometheus::exporter().with_registry(registry.clone()).build().unwrap();
        let provider = SdkMeterProvider::builder().with_reader(exporter).build();
        (UsageRecorder::new(&provider.meter("test")), registry, provider)
    }

    /// Returns the counted requests by their outcome: accepted and failed.
    fn counted(registry: &Registry) -> [u64; 2] {
        let families = registry.gather();
        let counts = families.iter().find(|one| one.name() == "ingestion_key_requests_total");
        ["accepted", "failed"].map(|outcome| {
            let counts = counts.iter().flat_map(|counts| counts.get_metric());
            let of_outcome = counts
                .filter(|count| count.get_label().iter().any(|label| label.value() == outcome));
            of_outcome.map(|count| count.get_counter().get_value() as u64).sum()
        })
    }

    // Scenario: allowed requests get responses of every kind. Each body is read to its end, or only
    // its first frame is read, or nothing.
    // Guarantee: a request is accepted if its whole response was sent and is a success. Otherwise
    // it has failed. Every request is counted once.
    #[tokio::test]
    async fn an_answer_is_a_success_at_its_end() {
        const GRPC: (&str, &str) = ("content-type", "application/grpc+proto");
        let (recorder, registry, _provider) = recorder();
        let (all, one) = (usize::MAX, 1);
        let broken = || Err(io::Error::other("broken"));
        let cases = [
            (true, all, response(200, &[], Body::empty())),
            (true, 0, response(204, &[], Body::empty())),
            (true, one, response(200, &[], Body::from("all of it"))),
            (false, 0, response(200, &[], Body::from("all of it"))),
            (true, all, response(200, &[], frames([data(), data()]))),
            (false, one, response(200, &[], frames([data(), data()]))),
            (false, all, response(200, &[], frames([data(), broken()]))),
            (false, all, response(400, &[], Body::empty())),
            (false, all, response(503, &[], Body::from("later"))),
            (true, all, response(200, &[GRPC], frames([data(), trailers("0")]))),
            (false, all, response(200, &[GRPC], frames([data(), trailers("8")]))),
            (false, one, response(200, &[GRPC], frames([data(), trailers("0")]))),
            (false, all, response(200, &[GRPC], frames([data()]))),
            (false, all, response(200, &[GRPC], Body::empty())),
            (true, all, response(200, &[GRPC, (GRPC_STATUS, "0")], Body::empty())),
            (false, all, response(200, &[GRPC, (GRPC_STATUS, "14")], Body::empty())),
        ];
        let mut expected = [0, 0];
        for (index, (is_success, frames, response)) in cases.into_iter().enumerate() {
            let once = Arc::new(Mutex::new(Some(response)));
            let next = Router::new()
                .fallback(async move || once.lock().unwrap().take().unwrap())
                .layer(middleware::from_fn_with_state(recorder.clone(), record));
            let mut request = Request::new(Body::empty());
            request.extensions_mut().insert(Identity::new("edge").with_id(7));
            let mut body = next.oneshot(request).await.unwrap().into_body();
            for _ in 0..frames {
                if !matches!(body.frame().await, Some(Ok(_))) {
                    break;
                }
            }
            drop(body);
            expected[usize::from(!is_success)] += 1;
            assert_eq!(counted(&registry), expected, "case {index}");
        }
    }

    // Scenario: the connection breaks before a request is answered, so that the server drops the
    // future of the response.
    // Guarantee: the request has failed.
    #[tokio::test]
    async fn no_answer_is_a_failure() {
        let (recorder, registry, _provider) = recorder();
        let (began, has_begun) = tokio::sync::oneshot::channel();
        let began = Arc::new(Mutex::new(Some(began)));
        let never = async move || -> StatusCode {
            began.lock().unwrap().take().unwrap().send(()).unwrap();
            std::future::pending().await
        };
        let router =
            Router::new().fallback(never).layer(middleware::from_fn_with_state(recorder, record));
        let mut request = Request::new(Body::empty());
        request.extensions_mut().insert(Identity::new("edge"));
        tokio::select! {
            _ = router.oneshot(request) => unreachable!("no response is ever ready"),
            begun = has_begun => begun.unwrap(),
        }
        assert_eq!(counted(&registry), [0, 1]);
    }
}
