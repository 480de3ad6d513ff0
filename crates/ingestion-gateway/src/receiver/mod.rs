//! The routes that receive telemetry, each behind an authenticator.

pub(crate) mod agent;
pub(crate) mod cors;
pub(crate) mod health;
pub(crate) mod otlp;
mod remote_write;

use axum::{Router, middleware};
use otlp_auth::server::{AuthenticateLayer, ServerAuthenticator};

use crate::admission::denial_log::{self, DenialLog};
use crate::admission::usage::{self, UsageRecorder};

/// Puts `authenticate` in front of a router. Records the usage of the keys that `authenticate`
/// allows, and logs the keys that `authenticate` denies.
pub(crate) fn authenticated<A>(
    router: Router,
    authenticate: AuthenticateLayer<A>,
    denial_log: DenialLog,
    usage: UsageRecorder,
) -> Router
where
    A: ServerAuthenticator + 'static,
{
    router
        .layer(middleware::from_fn_with_state(usage, usage::record))
        .layer(authenticate)
        .layer(middleware::from_fn_with_state(denial_log, denial_log::record))
}
