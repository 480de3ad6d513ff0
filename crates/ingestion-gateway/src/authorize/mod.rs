//! Answers components in front of other receivers, which ask whether a key is valid.
//!
//! | endpoint | who asks | how |
//! |---|---|---|
//! | [`internal`] | extensions of a Collector | with the key alone, in a body |
//! | [`forward_auth`] | nginx, HAProxy, Caddy, Traefik | with the headers of the request |
//! | [`ext_authz`] | Envoy | with the headers of the request, in a gRPC message |
//!
//! Every answer comes from memory, at once. None of them counts as a use of the key.

mod ext_authz;
mod forward_auth;
mod internal;

use std::sync::Arc;

use axum::Router;
use axum::routing::{any, post};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Uri};
use ingestion_api::route;
use ingestion_keys::cache::KeyCache;
use opentelemetry::KeyValue;
use opentelemetry::metrics::{Counter, Meter};
use otlp_auth::server::{CredentialExtractor, FixedTokens, InMemoryAuthenticator, Rejection};
use otlp_auth::{Credential, Decision, Identity, Verdict};

use crate::admission::denial_log::Denials;
use crate::config::{Config, IdentityHeaders};
use crate::receiver::agent;
use crate::upstream::headers::identity_headers;

/// Answers whether keys are valid. Each answer is counted in `ingestion.authorize.answers`, and not
/// as a use of the key.
#[derive(Clone, Debug)]
pub(crate) struct Authorizer {
    cache: Arc<KeyCache>,
    receiver: Option<Arc<FixedTokens>>,
    /// Finds the key of a request wherever any sender puts it, because the proxies stand in front
    /// of receivers of every kind.
    extractor: Arc<CredentialExtractor>,
    /// Whether the extractor looks into the query.
    query_parameter: bool,
    identity_headers: Arc<IdentityHeaders>,
    denials: Denials,
    answers: Counter<u64>,
}

/// How an answer is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    Allow,
    Deny,
    Undecided,
    /// The question could not be read.
    Broken,
}

impl Authorizer {
    pub(crate) fn new(
        cache: Arc<KeyCache>,
        config: &Config,
        denials: Denials,
        meter: &Meter,
    ) -> Self {
        let answers = meter.u64_counter("ingestion.authorize.answers").with_unit("{answer}");
        Self {
            cache,
            receiver: config.auth.receiver.clone(),
            extractor: Arc::new(agent::extractor(&config.auth)),
            query_parameter: config.auth.query_parameter,
            identity_headers: Arc::new(config.upstream.identity_headers.with_defaults()),
            denials,
            answers: answers.with_description("Keys that others asked about").build(),
        }
    }

    /// Creates the router of the authorize listener.
    pub(crate) fn router(self) -> Router {
        Router::new()
            .route(route::INTERNAL_AUTHORIZE, post(internal::answer))
            .route(route::FORWARD_AUTH, any(forward_auth::answer))
            .route(ext_authz::PATH, post(ext_authz::answer))
            .fallback(async || StatusCode::NOT_FOUND)
            .with_state(self)
    }

    /// Decides on the request that a sender has sent to `uri` with these headers, as the receivers
    /// do.
    fn check(&self, headers: &HeaderMap, uri: &Uri) -> Result<Identity, Rejection> {
        let verdict = match self.extractor.extract(headers, uri) {
            Ok(credential) => self.decide(&credential, true),
            Err(reason) => Ok(Decision::Deny(reason.into())),
        };
        match verdict {
            Ok(Decision::Allow(identity)) => {
                self.count(Outcome::Allow);
                Ok(identity)
            }
            Ok(Decision::Deny(denial)) => {
                self.count(Outcome::Deny);
                self.denials.record(&denial);
                Err(Rejection::denied(denial, &self.extractor))
            }
            Err(_) => {
                self.count(Outcome::Undecided);
                Err(Rejection::undecided())
            }
        }
    }

    /// Decides as the receivers do, but counts no use of the key.
    fn decide(&self, credential: &Credential<'_>, with_receiver_key: bool) -> Verdict {
        if with_receiver_key
            && let Some(receiver) = &self.receiver
            && let allowed @ Ok(Decision::Allow(_)) = receiver.decide(credential)
        {
            return allowed;
        }
        self.cache.peek(credential)
    }

    /// Returns the headers that tell a receiver whose request it is.
    fn identity_headers(
        &self,
        identity: &Identity,
    ) -> impl Iterator<Item = (HeaderName, HeaderValue)> {
        identity_headers(&self.identity_headers, Some(identity))
    }

    fn count(&self, outcome: Outcome) {
        let outcome = match outcome {
            Outcome::Allow => "allow",
            Outcome::Deny => "deny",
            Outcome::Undecided => "undecided",
            Outcome::Broken => "broken",
        };
        self.answers.add(1, &[KeyValue::new("outcome", outcome)]);
    }
}
