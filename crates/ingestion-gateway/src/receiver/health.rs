//! The health check of gRPC, which load balancers and Kubernetes call on the OTLP port without a
//! key.

use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::{IntoResponse as _, Response};
use axum::routing::post;
use http::StatusCode;
use http::header::CONTENT_TYPE;
use otlp_receiver::Signal;
use tokio::time::timeout;
use tonic::Status;
use tonic_health::ServingStatus;
use tonic_health::pb::health_server::{self, HealthServer};
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};
use tonic_health::server::WatchStream;
use tower::ServiceExt as _;

use crate::telemetry::readiness::Readiness;

/// The paths that need no key.
pub(crate) const PATHS: [&str; 2] =
    ["/grpc.health.v1.Health/Check", "/grpc.health.v1.Health/Watch"];

/// The largest request, in bytes. Its only field is the name of a service. Anybody can send a
/// request, so it must not take much memory.
const MAX_REQUEST: usize = 1 << 10;

/// How long a request may take to arrive. A request in flight keeps the place of its connection,
/// and a caller without a key must not occupy places.
const MAX_TIME: Duration = Duration::from_secs(2);

/// Answers `grpc.health.v1.Health`.
#[derive(Clone, Debug)]
pub(crate) struct Health(Readiness);

impl Health {
    pub(crate) fn new(readiness: Readiness) -> Self {
        Self(readiness)
    }

    /// Creates a router with the two calls.
    pub(crate) fn router(self) -> Router {
        let server = HealthServer::new(self).max_decoding_message_size(MAX_REQUEST);
        let call = async |State(server): State<HealthServer<Self>>, request: Request| -> Response {
            let content_type = request.headers().get(CONTENT_TYPE);
            if !content_type.is_some_and(|value| value.as_bytes().starts_with(b"application/grpc"))
            {
                return StatusCode::UNSUPPORTED_MEDIA_TYPE.into_response();
            }
            match timeout(MAX_TIME, server.oneshot(request)).await {
                Ok(Ok(response)) => response.map(Body::new),
                Ok(Err(never)) => match never {},
                Err(_) => Status::deadline_exceeded("the request did not arrive").into_http(),
            }
        };
        PATHS
            .iter()
            .fold(Router::new(), |router, path| router.route(path, post(call)))
            .with_state(server)
    }
}

#[tonic::async_trait]
impl health_server::Health for Health {
    type WatchStream = WatchStream;

    async fn check(
        &self,
        request: tonic::Request<HealthCheckRequest>,
    ) -> Result<tonic::Response<HealthCheckResponse>, Status> {
        if !is_served(&request.get_ref().service) {
            return Err(Status::not_found("there is no such service"));
        }
        let status = match self.0.check() {
            Ok(()) => ServingStatus::Serving,
            Err(_) => ServingStatus::NotServing,
        };
        let mut response = HealthCheckResponse::default();
        response.set_status(status.into());
        Ok(tonic::Response::new(response))
    }

    /// Tells the client to use `Check`. A stream that anybody can open without a key would take
    /// memory and a connection for as long as its client wants.
    async fn watch(
        &self,
        _request: tonic::Request<HealthCheckRequest>,
    ) -> Result<tonic::Response<WatchStream>, Status> {
        Err(Status::unimplemented("use Check"))
    }
}

/// Returns whether the OTLP listeners serve this service. An empty name means the whole server.
fn is_served(service: &str) -> bool {
    let of = |signal: Signal| signal.grpc_path().split('/').nth(1) == Some(service);
    service.is_empty() || Signal::ALL.into_iter().any(of)
}
