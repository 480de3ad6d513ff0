//! The receiver behind the authenticator.

use std::fmt;
use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::routing::any;
use bytes::Bytes;
use http::{Extensions, Method, Request, Response};
use http_body::Body;
use http_body_util::Full;
use opentelemetry_proto::tonic::collector::logs::v1::logs_service_server::{
    LogsService, LogsServiceServer,
};
use opentelemetry_proto::tonic::collector::logs::v1::{
    ExportLogsServiceRequest, ExportLogsServiceResponse,
};
use opentelemetry_proto::tonic::collector::metrics::v1::metrics_service_server::{
    MetricsService, MetricsServiceServer,
};
use opentelemetry_proto::tonic::collector::metrics::v1::{
    ExportMetricsServiceRequest, ExportMetricsServiceResponse,
};
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{
    TraceService, TraceServiceServer,
};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use otlp_auth::Identity;
use tonic::Status;
use tonic::codec::CompressionEncoding::{Gzip, Zstd};
use tonic::service::Routes;
use tower::BoxError;

use crate::content::{self, Encoding, Refusal};
use crate::otlp::{Accepted, Batch, Transport};

/// How large a request may be, compressed or not: what the OTLP specification recommends.
pub const MAX_BATCH_BYTES: usize = 20 << 20;

/// Takes OTLP batches over gRPC and HTTP, and tells a sink about each.
///
/// It relies on the [`Identity`] that an authenticator in front of it put into the request, and
/// fails requests without one.
#[derive(Clone)]
pub struct Receiver {
    sink: Arc<dyn Fn(Accepted) + Send + Sync>,
}

impl Receiver {
    /// Calls `sink` for each accepted batch before its sender is answered.
    pub fn new(sink: impl Fn(Accepted) + Send + Sync + 'static) -> Self {
        Self { sink: Arc::new(sink) }
    }

    /// Prints one line for each accepted batch.
    #[must_use]
    pub fn printing() -> Self {
        Self::new(crate::print_line)
    }

    /// The three gRPC services.
    #[must_use]
    pub fn grpc_routes(&self) -> Routes {
        macro_rules! service {
            ($server:ident) => {
                $server::new(self.clone())
                    .accept_compressed(Gzip)
                    .accept_compressed(Zstd)
                    .max_decoding_message_size(MAX_BATCH_BYTES)
            };
        }
        Routes::new(service!(TraceServiceServer))
            .add_service(service!(MetricsServiceServer))
            .add_service(service!(LogsServiceServer))
    }

    /// [`http`](Self::http) at the paths of OTLP/HTTP.
    pub fn http_routes(&self) -> Router {
        let handler = async |State(receiver): State<Self>, request: axum::extract::Request| {
            receiver.http(request).await
        };
        let routes = ["/v1/traces", "/v1/metrics", "/v1/logs"];
        routes
            .into_iter()
            .fold(Router::new(), |router, path| router.route(path, any(handler)))
            .with_state(self.clone())
    }

    /// Answers an OTLP/HTTP request.
    pub async fn http<B>(&self, request: Request<B>) -> Response<Full<Bytes>>
    where
        B: Body,
        B::Error: Into<BoxError>,
    {
        let encoding = Encoding::of(request.headers());
        let answer = match request.uri().path() {
            "/v1/traces" => self.http_batch::<ExportTraceServiceRequest, B>(request).await,
            "/v1/metrics" => self.http_batch::<ExportMetricsServiceRequest, B>(request).await,
            "/v1/logs" => self.http_batch::<ExportLogsServiceRequest, B>(request).await,
            _ => Err(Refusal::NOT_FOUND),
        };
        answer.unwrap_or_else(|refusal| refusal.response(encoding.unwrap_or(Encoding::Protobuf)))
    }

    async fn http_batch<T: Batch, B>(
        &self,
        request: Request<B>,
    ) -> Result<Response<Full<Bytes>>, Refusal>
    where
        B: Body,
        B::Error: Into<BoxError>,
    {
        let (parts, body) = request.into_parts();
        if parts.method != Method::POST {
            return Err(Refusal::NOT_POST);
        }
        let encoding = Encoding::of(&parts.headers)?;
        let batch: T = encoding.decode(&content::read(&parts.headers, body).await?)?;
        self.accept(&batch, &parts.extensions, Transport::Http).ok_or(Refusal::NO_IDENTITY)?;
        Ok(encoding.success())
    }

    fn grpc_batch<T: Batch>(
        &self,
        request: &tonic::Request<T>,
    ) -> Result<tonic::Response<T::Response>, Status> {
        let response = self.accept(request.get_ref(), request.extensions(), Transport::Grpc);
        response
            .map(tonic::Response::new)
            .ok_or_else(|| Status::internal("nobody authenticated the request"))
    }

    /// Where the identity is used. `None` means that there is no authenticator in front of this
    /// receiver.
    fn accept<T: Batch>(
        &self,
        batch: &T,
        extensions: &Extensions,
        transport: Transport,
    ) -> Option<T::Response> {
        let identity = extensions.get::<Identity>()?.clone();
        (self.sink)(Accepted { signal: T::SIGNAL, items: batch.items(), identity, transport });
        Some(T::Response::default())
    }
}

impl fmt::Debug for Receiver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Receiver").finish_non_exhaustive()
    }
}

#[tonic::async_trait]
impl TraceService for Receiver {
    async fn export(
        &self,
        request: tonic::Request<ExportTraceServiceRequest>,
    ) -> Result<tonic::Response<ExportTraceServiceResponse>, Status> {
        self.grpc_batch(&request)
    }
}

#[tonic::async_trait]
impl MetricsService for Receiver {
    async fn export(
        &self,
        request: tonic::Request<ExportMetricsServiceRequest>,
    ) -> Result<tonic::Response<ExportMetricsServiceResponse>, Status> {
        self.grpc_batch(&request)
    }
}

#[tonic::async_trait]
impl LogsService for Receiver {
    async fn export(
        &self,
        request: tonic::Request<ExportLogsServiceRequest>,
    ) -> Result<tonic::Response<ExportLogsServiceResponse>, Status> {
        self.grpc_batch(&request)
    }
}
