//! The receiver behind the proxies.

use axum::Router;
use axum::extract::Request;
use axum::middleware::{self, Next};
use axum::response::Response;
use http::{HeaderMap, Uri};
use otlp_auth::Identity;
use otlp_auth_examples::{Accepted, receiver};
use tokio::net::TcpListener;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

/// The headers in which a key could still stand.
const KEYS: [&str; 3] = ["authorization", "sts-api-key", "dd-api-key"];

/// Starts a receiver without authentication, for gRPC and HTTP on one port. The sender of a batch
/// is the one that the identity headers name. Requests that still have a key, and requests without
/// exactly one name and one id, are from nobody.
pub(super) async fn start() -> (u16, UnboundedReceiver<Accepted>) {
    let (accepted, batches) = unbounded_channel();
    let receiver = receiver(move |batch| _ = accepted.send(batch));
    let router = Router::new().fallback_service(receiver).layer(middleware::from_fn(identify));
    let router = Router::new().fallback_service(router);
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = listener.local_addr().expect("an address").port();
    tokio::spawn(axum::serve(listener, router).into_future());
    (port, batches)
}

async fn identify(mut request: Request, next: Next) -> Response {
    let has_key = request.uri().query().is_some_and(|query| query.contains("api_key"));
    let identity = identity(request.headers()).filter(|_| !has_key);
    let identity = identity.unwrap_or_else(|| Identity::new("nobody"));
    request.extensions_mut().insert(identity);
    // An agent sends OTLP below a prefix.
    if let Some(path) = request.uri().path().strip_prefix("/stsAgent/otel") {
        *request.uri_mut() = path.parse::<Uri>().expect("a path");
    }
    next.run(request).await
}

fn identity(headers: &HeaderMap) -> Option<Identity> {
    let only = |name: &str| {
        let mut values = headers.get_all(name).iter();
        let value = values.next()?.to_str().ok()?;
        if values.next().is_none() { Some(value) } else { None }
    };
    if KEYS.iter().any(|name| headers.contains_key(*name)) {
        return None;
    }
    let (id, name) = (only("x-ingestion-key-id")?, only("x-ingestion-key-name")?);
    Some(Identity::new(name).with_id(id.parse().ok()?))
}
