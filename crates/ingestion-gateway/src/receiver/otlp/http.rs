//! OTLP/HTTP.

use axum::Router;
use axum::extract::{Request, State};
use axum::response::Response;
use http::{HeaderName, HeaderValue, Method};
use tower_http::cors::{AllowHeaders, AllowOrigin, CorsLayer};

use super::Receiver;
use super::batch::{self, Signal};
use super::content::{self, Encoding, Refusal};
use crate::config::CorsConfig;

const RETRY_AFTER: HeaderName = http::header::RETRY_AFTER;

impl Receiver {
    /// The three paths.
    pub(crate) fn http(&self) -> Router {
        let receive =
            async |State(receiver): State<Self>, request: Request| receiver.receive(request).await;
        Router::new().fallback(receive).with_state(self.clone())
    }

    async fn receive(&self, request: Request) -> Response {
        let encoding = Encoding::of(request.headers());
        let answer = match request.uri().path() {
            "/v1/traces" => self.http_batch(&batch::TRACES, request).await,
            "/v1/metrics" => self.http_batch(&batch::METRICS, request).await,
            "/v1/logs" => self.http_batch(&batch::LOGS, request).await,
            _ => Err(Refusal::NOT_FOUND),
        };
        answer.unwrap_or_else(|refusal| refusal.response(encoding.unwrap_or(Encoding::Json)))
    }

    async fn http_batch(&self, signal: &Signal, request: Request) -> Result<Response, Refusal> {
        let (parts, body) = request.into_parts();
        if parts.method != Method::POST {
            return Err(Refusal::NOT_POST);
        }
        let encoding = Encoding::of(&parts.headers)?;
        // What it becomes is counted before anything else is waited for: there is never more of it
        // than threads.
        let items =
            encoding.count(signal, content::read(&parts.headers, body, self.max_body).await?)?;
        self.accept(signal, items, &parts.extensions).ok_or(Refusal::NO_IDENTITY)?;
        Ok(encoding.success())
    }
}

/// Lets web pages of these origins send. It stands in front of the authenticator: browsers ask
/// first, without a credential.
pub(crate) fn cors(router: Router, config: &CorsConfig) -> Router {
    let origins = &config.allowed_origins;
    let origin = match origins.iter().any(|origin| origin == "*") {
        true => AllowOrigin::any(),
        false => AllowOrigin::list(
            origins.iter().filter_map(|origin| HeaderValue::from_str(origin).ok()),
        ),
    };
    match origins.is_empty() {
        true => router,
        false => router.layer(
            CorsLayer::new()
                .allow_origin(origin)
                .allow_methods([Method::POST])
                .allow_headers(AllowHeaders::mirror_request())
                .expose_headers([RETRY_AFTER]),
        ),
    }
}
