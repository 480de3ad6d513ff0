//! The routes on which telemetry comes in, each behind an authenticator.

pub(crate) mod agent;
pub(crate) mod cors;
pub(crate) mod item;
pub(crate) mod otlp;

use axum::{Router, middleware};
use otlp_auth::server::{AuthenticateLayer, ServerAuthenticator};

use crate::admission::usage;

/// Puts `authenticate` in front of a router, and records how the keys that it lets in are used.
pub(crate) fn authenticated<A>(router: Router, authenticate: AuthenticateLayer<A>) -> Router
where
    A: ServerAuthenticator<Future: Send> + Send + Sync + 'static,
{
    router.layer(middleware::from_fn(usage::record)).layer(authenticate)
}
