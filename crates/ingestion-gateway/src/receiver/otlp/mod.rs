//! The OTLP receivers.

mod batch;
mod content;
mod grpc;
pub(crate) mod http;

use std::sync::Arc;

use ::http::Extensions;
use axum::extract::DefaultBodyLimit;
use axum::{Router, middleware};
use opentelemetry::metrics::Meter;
use otlp_auth::Identity;
use otlp_auth::server::{AuthenticateLayer, Lookup, ServerAuthenticator};

use self::batch::Signal;
use crate::admission::usage;
use crate::upstream::debug::DebugReceiver;

/// How large a request may be once it is decompressed: what the OTLP specification recommends.
const MAX_DECODED: usize = 20 << 20;

/// Counts batches and hands the numbers over, behind an authenticator.
#[derive(Clone, Debug)]
pub(crate) struct Receiver {
    debug: Arc<DebugReceiver>,
    /// How large a request may be on the wire.
    max_body: usize,
}

impl Receiver {
    pub(crate) fn new(debug: Arc<DebugReceiver>, max_body: usize) -> Self {
        Self { debug, max_body }
    }

    /// Puts an authenticator in front of one of the routers.
    pub(crate) fn behind<A>(
        router: Router,
        authenticator: A,
        lookup: Lookup,
        meter: &Meter,
    ) -> Router
    where
        A: ServerAuthenticator<Future: Send> + Send + Sync + 'static,
    {
        let authenticate =
            AuthenticateLayer::new(authenticator).with_lookup(lookup).with_meter(meter);
        router
            .layer(middleware::from_fn(usage::record))
            .layer(DefaultBodyLimit::disable())
            .layer(authenticate)
    }

    /// Nothing if nobody authenticated the request.
    fn accept(&self, signal: &Signal, items: usize, extensions: &Extensions) -> Option<()> {
        self.debug.discard(extensions.get::<Identity>()?, signal.item, items);
        Some(())
    }
}
