//! Records who used a key and how much: the client of each allowed request, and the number of
//! received bytes.

use axum::body::Body;
use axum::extract::Request;
use axum::middleware::Next;
use axum::response::Response;
use http::header::USER_AGENT;
use http_body_util::BodyExt;
use ingestion_keys::cache::KeyHandle;
use otlp_auth::Identity;

use crate::listener::client_address::ClientAddress;

/// Records the client of an allowed request, and counts the bytes of its body as they arrive.
pub(crate) async fn record(request: Request, next: Next) -> Response {
    let Some(identity) = request.extensions().get::<Identity>().cloned() else {
        return next.run(request).await;
    };
    if let Some(handle) = identity.handle::<KeyHandle>()
        && let Some(ClientAddress(address)) = request.extensions().get()
    {
        handle.add_client(
            *address,
            request.headers().get(USER_AGENT).and_then(|value| value.to_str().ok()),
        );
    }
    let counted = request.map(|body| {
        Body::new(body.map_frame(move |frame| {
            if let (Some(data), Some(handle)) = (frame.data_ref(), identity.handle::<KeyHandle>()) {
                handle.add_bytes(data.len() as u64);
            }
            frame
        }))
    });
    next.run(counted).await
}
