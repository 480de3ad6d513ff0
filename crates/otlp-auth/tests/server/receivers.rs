//! The three kinds of server that the layer is made for, on loopback, and an authenticator that
//! gives every outcome.

use std::net::SocketAddr;
use std::pin::Pin;
use std::time::Duration;

use axum::Router;
use axum::extract::Request;
use axum::routing::any;
use axum::serve::ListenerExt;
use bytes::Bytes;
use http::header::{RETRY_AFTER, WWW_AUTHENTICATE};
use http::request::Parts;
use http::{HeaderName, Response, StatusCode};
use http_body_util::BodyExt;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{
    TraceService, TraceServiceServer,
};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTracePartialSuccess, ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use otlp_auth::server::{
    AuthenticateLayer, Chain, CredentialExtractor, FixedTokens, Rejection, ServerAuthenticator,
};
use otlp_auth::{Credential, Decision, Denial, DenyReason, Identity, Scheme, Undecided, Verdict};
use tokio::net::TcpListener;
use tonic::service::Routes;
use tower::Layer;

pub(crate) const TEAM_A: &str = "iapikeyok-of-team-a";
pub(crate) const TEAM_B: &str = "iapikeyok-of-team-b";
pub(crate) const REVOKED: &str = "iapikeyok-revoked";
pub(crate) const EXPIRED: &str = "iapikeyok-expired";
/// A good key that does not permit the request.
pub(crate) const NOT_PERMITTED: &str = "iapikeyok-not-permitted";
/// A good key that has reached its limit.
pub(crate) const LIMITED: &str = "iapikeyok-limited";
/// A good key that has reached its limit for the next 29.5 seconds.
pub(crate) const LIMITED_30_S: &str = "iapikeyok-limited-30-s";
/// A key for which the authenticator has no verdict.
pub(crate) const OUTAGE: &str = "iapikeyok-in-an-outage";

/// An authenticator that first searches two tokens in memory. It then asks an authenticator that
/// does not decide at once.
pub(crate) type Authenticator = Chain<FixedTokens, Remote>;

pub(crate) struct Remote;

impl ServerAuthenticator for Remote {
    type Future = Pin<Box<dyn Future<Output = Verdict> + Send>>;

    fn authenticate(&self, credential: &Credential<'_>) -> Self::Future {
        let verdict = match credential.expose_token() {
            REVOKED => Ok(Decision::Deny(DenyReason::Revoked.into())),
            EXPIRED => Ok(Decision::Deny(DenyReason::Expired.into())),
            NOT_PERMITTED | LIMITED | LIMITED_30_S => Ok(Decision::Deny(denial(credential))),
            OUTAGE => Err(Undecided::new("connection refused")),
            _ => Ok(Decision::Deny(DenyReason::Unknown.into())),
        };
        Box::pin(async move {
            tokio::task::yield_now().await;
            verdict
        })
    }
}

/// Returns the denial of a good key that does not permit the request or has reached its limit.
pub(crate) fn denial(credential: &Credential<'_>) -> Denial {
    let identity = Identity::new("restricted");
    match credential.expose_token() {
        NOT_PERMITTED => Denial::new(DenyReason::NotPermitted).with_identity(identity),
        LIMITED => Denial::new(DenyReason::LimitExceeded).with_identity(identity),
        _ => Denial::new(DenyReason::LimitExceeded)
            .with_identity(identity)
            .with_retry_after(Duration::from_millis(29_500)),
    }
}

pub(crate) fn teams() -> FixedTokens {
    FixedTokens::new([("team-a", TEAM_A), ("team-b", TEAM_B)]).unwrap()
}

/// Makes an extractor that reads `StackState`, `ApiKey` and Basic in `Authorization`, a key without
/// a scheme in `sts-api-key`, and the parameter `api_key` on paths below `/stsAgent/`.
pub(crate) fn extractor() -> CredentialExtractor {
    CredentialExtractor::default()
        .with_scheme(Scheme::from_static("ApiKey"))
        .with_basic_user("apikey")
        .with_bare_header(HeaderName::from_static("sts-api-key"))
        .with_query_parameter("api_key", ["/stsAgent/"])
}

pub(crate) fn layer() -> AuthenticateLayer<Authenticator> {
    AuthenticateLayer::new(teams().or(Remote)).with_extractor(extractor())
}

/// Writes a rejection without a body. If the request had a credential, the status is 403 instead of
/// 401.
pub(crate) fn status_alone(rejection: &Rejection, _request: &Parts) -> Response<Bytes> {
    let was_presented =
        rejection.denial().is_some_and(|denial| denial.reason() != DenyReason::Missing);
    let mut response = Response::new(Bytes::new());
    *response.status_mut() = match rejection.http_status() {
        StatusCode::UNAUTHORIZED if was_presented => StatusCode::FORBIDDEN,
        status => status,
    };
    if response.status() == StatusCode::UNAUTHORIZED {
        for challenge in rejection.challenges() {
            response.headers_mut().append(WWW_AUTHENTICATE, challenge.clone());
        }
    }
    if let Some(wait) = rejection.retry_after() {
        response.headers_mut().insert(RETRY_AFTER, wait.as_secs().into());
    }
    response
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Server {
    Tonic,
    Axum,
    Hyper,
}

impl Server {
    pub(crate) const ALL: [Self; 3] = [Self::Tonic, Self::Axum, Self::Hyper];

    /// Starts this server, with `layer` around [`services`]. The server ends with the runtime of
    /// the test.
    pub(crate) async fn start<A>(self, layer: AuthenticateLayer<A>) -> SocketAddr
    where
        A: ServerAuthenticator + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        match self {
            Self::Tonic => {
                let server = tonic::transport::Server::builder()
                    .accept_http1(true)
                    .layer(layer)
                    .add_routes(Routes::from(services()));
                tokio::spawn(
                    server
                        .serve_with_incoming(tonic::transport::server::TcpIncoming::from(listener)),
                );
            }
            Self::Axum => {
                let listener = listener.tap_io(|stream| stream.set_nodelay(true).unwrap());
                tokio::spawn(axum::serve(listener, services().layer(layer)).into_future());
            }
            Self::Hyper => {
                let service = layer.layer(services());
                tokio::spawn(async move {
                    while let Ok((stream, _)) = listener.accept().await {
                        stream.set_nodelay(true).unwrap();
                        let service = TowerToHyperService::new(service.clone());
                        tokio::spawn(async move {
                            auto::Builder::new(TokioExecutor::new())
                                .serve_connection(TokioIo::new(stream), service)
                                .await
                        });
                    }
                });
            }
        }
        address
    }
}

/// Makes a service for OTLP/gRPC traces. On a few other paths, the service responds with a
/// description of the request, see [`say_what_came`].
pub(crate) fn services() -> Router {
    let http = Router::new()
        .route("/v1/traces", any(say_what_came))
        .route("/stsAgent/intake", any(say_what_came))
        .route("/health", any(say_what_came));
    Routes::new(TraceServiceServer::new(Traces)).into_axum_router().merge(http)
}

/// Writes what reached the service, one item per line: the identity, the URI, the headers that may
/// carry a credential, and the length of the body.
async fn say_what_came(request: Request) -> String {
    let (parts, body) = request.into_parts();
    let identity = parts.extensions.get::<Identity>().map_or("none", Identity::name);
    let mut text = format!(
        "identity={identity}\nuri={}\n",
        parts.uri.path_and_query().map_or("", |path| path.as_str())
    );
    for name in ["authorization", "sts-api-key", "dd-api-key"] {
        for value in parts.headers.get_all(name) {
            text.push_str(&format!("{name}={}\n", value.to_str().unwrap_or("not ASCII")));
        }
    }
    let body = body.collect().await.map_or(0, |body| body.to_bytes().len());
    text + &format!("body={body}\n")
}

pub(crate) struct Traces;

#[tonic::async_trait]
impl TraceService for Traces {
    async fn export(
        &self,
        request: tonic::Request<ExportTraceServiceRequest>,
    ) -> Result<tonic::Response<ExportTraceServiceResponse>, tonic::Status> {
        let identity = request.extensions().get::<Identity>().map_or("none", Identity::name);
        let credential = if request.metadata().contains_key("authorization") {
            " with its credential"
        } else {
            ""
        };
        let partial_success = ExportTracePartialSuccess {
            rejected_spans: 0,
            error_message: format!("{identity}{credential}"),
        };
        Ok(tonic::Response::new(ExportTraceServiceResponse {
            partial_success: Some(partial_success),
        }))
    }
}
