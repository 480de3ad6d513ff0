//! The OTLP receiver counts the items of batches, and gives the counts to the debug exporter.

use std::sync::Arc;

use axum::Router;
use otlp_auth::Identity;
use otlp_auth::server::{AuthenticateLayer, CredentialExtractor, ServerAuthenticator};
use otlp_receiver::{Receiver, Refusal};

use super::health::{self, Health};
use crate::admission::Admission;
use crate::config::AuthConfig;
use crate::item::Item;
use crate::upstream::debug::DebugExporter;

/// Returns an extractor that finds the key of an OTLP sender in `authorization`.
pub(crate) fn extractor(auth: &AuthConfig) -> CredentialExtractor {
    let schemes = auth.schemes.iter().cloned();
    schemes.fold(CredentialExtractor::empty(), CredentialExtractor::with_scheme)
}

/// Creates the receiver. The body of a request may have at most `max_body` bytes on the wire.
pub(crate) fn receiver(debug: Arc<DebugExporter>, max_body: usize) -> Receiver {
    let receiver = Receiver::new(move |batch| {
        let identity = batch.extensions.get::<Identity>();
        let identity = identity.ok_or(Refusal::Internal("the request was not authenticated"))?;
        debug.export(identity, Item::of(batch.signal), batch.items);
        Ok(())
    });
    receiver.with_max_body(max_body)
}

/// Creates the router of an OTLP listener. `health` is served without a key.
pub(crate) fn router<A>(
    receiver: Receiver,
    health: Health,
    authenticate: AuthenticateLayer<A>,
    admission: &Admission,
) -> Router
where
    A: ServerAuthenticator + 'static,
{
    let authenticate =
        health::PATHS.into_iter().fold(authenticate, AuthenticateLayer::with_exempt_path);
    let routes = health.router().fallback_service(receiver);
    Router::new().fallback_service(admission.admit(&authenticate, routes))
}
