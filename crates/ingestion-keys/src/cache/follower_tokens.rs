//! Decides on the tokens of followers.

use std::fmt;
use std::future::{Ready, ready};
use std::sync::Arc;

use otlp_auth::server::ServerAuthenticator;
use otlp_auth::{Credential, Verdict};

use super::KeyCache;

/// An authenticator for the endpoints that followers use. It allows the tokens of followers, and
/// denies every key for ingestion as unknown.
#[derive(Clone)]
pub struct FollowerTokens(Arc<KeyCache>);

impl FollowerTokens {
    /// Makes an authenticator that decides from the tokens in this cache.
    #[must_use]
    pub fn new(cache: Arc<KeyCache>) -> Self {
        Self(cache)
    }
}

impl ServerAuthenticator for FollowerTokens {
    type Future = Ready<Verdict>;

    fn authenticate(&self, credential: &Credential<'_>) -> Self::Future {
        let cache = &*self.0;
        ready(cache.verdict(&cache.follower_tokens, credential, |entry, digest| {
            cache.usage.leave_out(entry.id, digest);
            entry.decide(&*cache.clock, digest, &cache.usage)
        }))
    }
}

impl fmt::Debug for FollowerTokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FollowerTokens")
            .field("tokens", &self.0.follower_tokens.len())
            .finish_non_exhaustive()
    }
}
