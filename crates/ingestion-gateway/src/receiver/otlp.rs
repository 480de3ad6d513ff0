//! The routes of OTLP. Requests are forwarded, or their items are counted for the debug exporter.

use std::convert::Infallible;
use std::future::ready;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::Router;
use http::{Method, Request, Response};
use otlp_auth::Identity;
use otlp_auth::server::{AuthenticateLayer, CredentialExtractor};
use otlp_receiver::{Receiver, Refusal, ResponseFormat};
use tower::{BoxError, Service};

use super::health::{self, Health};
use crate::admission::{Admission, Admitted};
use crate::config::AuthConfig;
use crate::item::Item;
use crate::upstream::debug::DebugExporter;
use crate::upstream::{Call, Destination, ForwardGrpc, ForwardHttp, Payload, ResponseBody};

/// Returns an extractor that finds the key of an OTLP sender in `authorization`.
pub(crate) fn extractor(auth: &AuthConfig) -> CredentialExtractor {
    let schemes = auth.schemes.iter().cloned();
    schemes.fold(CredentialExtractor::empty(), CredentialExtractor::with_scheme)
}

/// Creates the receiver. The body of a request may have at most `max_body` bytes on the wire.
pub(crate) fn receiver(debug: Arc<DebugExporter>, max_body: usize) -> Receiver {
    let receiver = Receiver::new(move |batch| {
        let identity = batch.extensions.get::<Identity>();
        let identity = identity.ok_or(Refusal::Internal("the request was not authenticated"))?;
        debug.export(identity, Item::of(batch.signal), batch.items);
        Ok(())
    });
    receiver.with_max_body(max_body)
}

/// The calls of OTLP/gRPC that are forwarded: `Export` of each signal, and the streams of
/// OpenTelemetry Arrow.
const GRPC_PATHS: [(&str, Call); 7] = [
    ("/opentelemetry.proto.collector.trace.v1.TraceService/Export", Call::Unary),
    ("/opentelemetry.proto.collector.metrics.v1.MetricsService/Export", Call::Unary),
    ("/opentelemetry.proto.collector.logs.v1.LogsService/Export", Call::Unary),
    ("/opentelemetry.proto.collector.profiles.v1development.ProfilesService/Export", Call::Unary),
    ("/opentelemetry.proto.experimental.arrow.v1.ArrowTracesService/ArrowTraces", Call::Stream),
    ("/opentelemetry.proto.experimental.arrow.v1.ArrowMetricsService/ArrowMetrics", Call::Stream),
    ("/opentelemetry.proto.experimental.arrow.v1.ArrowLogsService/ArrowLogs", Call::Stream),
];

/// The paths of OTLP/HTTP that are forwarded.
const HTTP_PATHS: [&str; 4] = ["/v1/traces", "/v1/metrics", "/v1/logs", "/v1development/profiles"];

/// Takes requests of OTLP over both transports to where they belong.
///
/// Only requests with these paths are forwarded, and a path is compared as it was sent, without
/// decoding it. The upstream may have other routes, for which a key is no permission.
#[derive(Clone)]
pub(crate) struct Otlp {
    pub(crate) grpc: Destination<ForwardGrpc>,
    pub(crate) http: Destination<ForwardHttp>,
    pub(crate) receiver: Receiver,
}

/// What is forwarded.
#[derive(Debug, PartialEq, Eq)]
enum Route {
    Grpc(Call),
    Http,
}

/// Finds the route of a request.
fn route<B>(request: &Request<B>, format: ResponseFormat) -> Result<Route, Refusal> {
    let path = request.uri().path();
    let call = || GRPC_PATHS.iter().find(|(known, _)| *known == path).map(|(_, call)| *call);
    let is_post = request.method() == Method::POST;
    // Every call of gRPC is a `POST`, so other methods are answered over HTTP.
    if format == ResponseFormat::Grpc && is_post {
        return call().map(Route::Grpc).ok_or(Refusal::UnknownCall);
    }
    if !HTTP_PATHS.contains(&path) {
        let is_call = call().is_some();
        return Err(if is_call { Refusal::NotGrpc } else { Refusal::UnknownPath });
    }
    if is_post { Ok(Route::Http) } else { Err(Refusal::NotPost) }
}

/// Resolves to the answer to a request. It is boxed, because it is moved several times before it is
/// polled, and the answers of some routes take a few KiB.
type Answer = Pin<Box<dyn Future<Output = Result<Response<ResponseBody>, Infallible>> + Send>>;

impl<B> Service<Request<B>> for Otlp
where
    B: Payload,
{
    type Response = Response<ResponseBody>;
    type Error = Infallible;
    type Future = Answer;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Answer {
        self.answer(request)
    }
}

impl Otlp {
    fn answer<B>(&self, request: Request<B>) -> Answer
    where
        B: Payload,
    {
        let format = ResponseFormat::of(request.headers(), request.version());
        let is_grpc = format == ResponseFormat::Grpc && request.method() == Method::POST;
        let is_debug = match is_grpc {
            true => matches!(self.grpc, Destination::Debug),
            false => matches!(self.http, Destination::Debug),
        };
        if is_debug {
            let received = self.receiver.clone().call(request);
            return Box::pin(async { Ok(received.await?.map(ResponseBody::Receiver)) });
        }
        let refusal = match (route(&request, format), &self.grpc, &self.http) {
            (Ok(Route::Grpc(call)), Destination::Forward(grpc), _) => {
                return Box::pin(grpc.forward(request, call));
            }
            (Ok(Route::Http), _, Destination::Forward(http)) => {
                return Box::pin(http.forward(request));
            }
            (Ok(Route::Grpc(_)), ..) => Refusal::UnknownCall,
            (Ok(Route::Http), ..) => Refusal::UnknownPath,
            (Err(refusal), ..) => refusal,
        };
        let response = refusal.response(format).map(ResponseBody::Receiver);
        Box::pin(ready(Ok(response)))
    }
}

/// The routes of an OTLP listener: OTLP, and the health check, which needs no key. Clones share
/// them, because each request takes some.
#[derive(Clone)]
pub(crate) struct Routes(Arc<(Otlp, Router)>);

/// Creates the service of an OTLP listener.
pub(crate) fn service<A>(
    otlp: Otlp,
    health: Health,
    authenticate: AuthenticateLayer<A>,
    admission: &Admission,
) -> Admitted<Routes, A> {
    let authenticate =
        health::PATHS.into_iter().fold(authenticate, AuthenticateLayer::with_exempt_path);
    admission.admit(&authenticate, Routes(Arc::new((otlp, health.router()))))
}

impl<B> Service<Request<B>> for Routes
where
    B: Payload<Error: Into<BoxError>>,
{
    type Response = Response<ResponseBody>;
    type Error = Infallible;
    type Future = Answer;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Answer {
        let (otlp, health) = &*self.0;
        if !health::PATHS.contains(&request.uri().path()) {
            return otlp.answer(request);
        }
        // A router is always ready.
        let checked = health.clone().call(request);
        Box::pin(async { Ok(checked.await?.map(ResponseBody::Boxed)) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // Scenario: requests have paths of OTLP, the same paths spelled differently, and other paths,
    // with the methods and the formats of both transports.
    // Guarantee: exactly the paths of OTLP are forwarded, each over its own transport and by `POST`
    // alone. Every other request is refused.
    #[test]
    fn only_exact_paths_are_forwarded() {
        use ResponseFormat::{Grpc, Json, Protobuf};
        let route = |method: Method, path: &str, format| {
            let request = Request::builder().method(method).uri(path).body(()).unwrap();
            super::route(&request, format)
        };
        for (path, call) in GRPC_PATHS {
            assert_eq!(route(Method::POST, path, Grpc), Ok(Route::Grpc(call)));
            assert_eq!(route(Method::POST, path, Protobuf), Err(Refusal::NotGrpc));
            assert_eq!(route(Method::GET, path, Grpc), Err(Refusal::NotGrpc));
            let (service, method) = path.rsplit_once('/').unwrap();
            for path in [
                format!("{path}/"),
                format!("/{path}"),
                format!("{service}/{}", method.to_lowercase()),
                format!("{service}%2F{method}"),
                format!("{service}/../{}/{method}", service.trim_start_matches('/')),
                format!("{service}/"),
            ] {
                assert_eq!(route(Method::POST, &path, Grpc), Err(Refusal::UnknownCall), "{path}");
            }
        }
        for path in HTTP_PATHS {
            for format in [Protobuf, Json] {
                assert_eq!(route(Method::POST, path, format), Ok(Route::Http));
                assert_eq!(route(Method::PUT, path, format), Err(Refusal::NotPost));
                let with_query = format!("{path}?a=b");
                assert_eq!(route(Method::POST, &with_query, format), Ok(Route::Http));
            }
            assert_eq!(route(Method::POST, path, Grpc), Err(Refusal::UnknownCall));
            for path in [
                format!("{path}/"),
                format!("/{path}"),
                format!("/.{path}"),
                format!("/x/..{path}"),
                path.replace("/v1", "/v1%2F"),
                path.to_uppercase(),
                format!("{path};a=b"),
            ] {
                assert_eq!(
                    route(Method::POST, &path, Protobuf),
                    Err(Refusal::UnknownPath),
                    "{path}"
                );
            }
        }
        assert_eq!(route(Method::POST, "/", Json), Err(Refusal::UnknownPath));
        assert_eq!(route(Method::OPTIONS, "/v1/traces", Json), Err(Refusal::NotPost));
    }
}
