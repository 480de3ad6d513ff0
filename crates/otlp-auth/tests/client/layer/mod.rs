//! Tests of the resends of the layer: which rejected requests it sends again. The services are
//! scripted, and most tests have no Tokio runtime.

mod bodies;
mod refusals;
mod services;

use bytes::Bytes;
use http::{Request, StatusCode};
use http_body::Body;
use otlp_auth::client::BearerTokenAuth;
use tower::{Layer, ServiceExt};

use crate::support::{Got, Log, Refusal, Tokens, accepted, receive, service};

/// Sends a request and reads the response completely.
async fn send<B>(
    auth: &BearerTokenAuth,
    server: impl crate::support::Service<B>,
    body: B,
) -> (StatusCode, Got)
where
    B: Send + 'static,
{
    let response =
        auth.layer().layer(server).oneshot(Request::post("/").body(body).unwrap()).await.unwrap();
    let (parts, body) = response.into_parts();
    (parts.status, receive(parts.headers, body).await)
}

/// Makes a server that rejects `token-0`. The server changes the client's file to `next` before it
/// sends the rejection.
fn refuses_old<B>(
    log: &Log,
    tokens: &Tokens,
    next: &str,
    refusal: Refusal,
) -> impl crate::support::Service<B> + use<B>
where
    B: Body<Data = Bytes> + Send + 'static,
{
    let (tokens, next) = (tokens.clone(), next.to_owned());
    service(log, move |got| {
        if got.credentials() != ["StackState token-0"] {
            return accepted();
        }
        tokens.replace(&next);
        refusal.response()
    })
}

fn credentials(log: &Log) -> Vec<Vec<String>> {
    log.lock()
        .unwrap()
        .iter()
        .map(|got| got.credentials().into_iter().map(str::to_owned).collect())
        .collect()
}
