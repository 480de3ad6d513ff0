//! The keys of a gateway, in any process: a [`Follower`] has all of them in memory, and decides on
//! requests itself.

mod builder;
mod connection;
mod reporter;
mod session;
#[cfg(test)]
mod tests;

use std::fmt;
use std::future::Ready;
use std::sync::Arc;
use std::time::Duration;

use otlp_auth::server::ServerAuthenticator;
use otlp_auth::{Credential, Identity, Verdict};
use tokio::sync::watch;
use tokio::task::JoinSet;

pub use self::builder::{FollowerBuilder, StartError};
use self::reporter::Reporter;
use crate::cache::{KeyCache, Standing};

/// How long the last report of usage may take.
const LAST_REPORT: Duration = Duration::from_secs(5);

/// Follows a gateway: gets all of its keys, and every change of them, and reports how they are
/// used.
///
/// The [authenticator](Self::authenticator) decides from memory, as the gateway itself does. It is
/// undecided until the follower has got all keys, and when it could not learn for
/// [`max_staleness`](FollowerBuilder::max_staleness) whether there are changes. While the gateway
/// is gone, it decides from what it has. The follower connects again by itself.
///
/// A follower needs a token of its own, which `sts follower create` makes. With this token a
/// process can follow and report, and nothing else. The gateway sends the names of keys and their
/// SHA-256, and never a key.
///
/// When this value is dropped, it follows no more, and what was not reported is lost. See
/// [`shut_down`](Self::shut_down).
///
/// # Examples
///
/// ```no_run
/// use ingestion_keys::remote::Follower;
/// use otlp_auth::server::AuthenticateLayer;
///
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// let keys =
///     Follower::builder("https://gateway:7070").token_file("follower-token").start().await?;
/// let layer = AuthenticateLayer::new(keys.authenticator());
/// // Serve with the layer. At the end:
/// keys.shut_down().await;
/// # Ok(())
/// # }
/// ```
pub struct Follower {
    cache: Arc<KeyCache>,
    reporter: Arc<Reporter>,
    is_ready: watch::Receiver<bool>,
    /// The task that follows, and the one that notices suspensions.
    following: JoinSet<()>,
    /// The task that reports usage, until `stop` has the value `true`.
    reporting: JoinSet<()>,
    stop: watch::Sender<bool>,
}

impl Follower {
    /// Returns a builder. `url` is the URL of the management listener of a gateway, or of several
    /// gateways behind a load balancer.
    #[must_use]
    pub fn builder(url: impl Into<String>) -> FollowerBuilder {
        FollowerBuilder::new(url.into())
    }

    /// Returns the authenticator that decides on requests. It is also valid after the follower was
    /// dropped, until it is undecided.
    #[must_use]
    pub fn authenticator(&self) -> FollowedKeys {
        FollowedKeys(Arc::clone(&self.cache))
    }

    /// Waits until the follower has got all keys. Before that, the authenticator is undecided.
    pub async fn ready(&self) {
        if self.is_ready.clone().wait_for(|is_ready| *is_ready).await.is_err() {
            // The task that follows ends only with this value.
            std::future::pending().await
        }
    }

    /// Stops following, and reports the usage that was not reported yet. If the gateway does not
    /// take the report within a few seconds, the usage is lost.
    pub async fn shut_down(mut self) {
        self.following.shutdown().await;
        self.stop.send_replace(true);
        let report = async {
            // A report that is being sent is not cancelled, because it would be sent again.
            self.reporting.join_next().await;
            self.reporter.report(&self.cache, true).await;
        };
        if tokio::time::timeout(LAST_REPORT, report).await.is_err() {
            tracing::warn!("the last usage of keys was not reported in time");
        }
    }
}

/// Decides on requests from the keys that a [`Follower`] has. Clones share the keys.
#[derive(Clone, Debug)]
pub struct FollowedKeys(Arc<KeyCache>);

impl FollowedKeys {
    /// Checks whether the key of a request that is still open is still valid
    /// ([`KeyCache::standing`]).
    #[must_use]
    pub fn standing(&self, identity: &Identity) -> Standing {
        self.0.standing(identity)
    }

    /// Returns how long this authenticator would still decide if nothing came from the gateway from
    /// now on. Returns `None` if it is undecided now.
    #[must_use]
    pub fn fresh_for(&self) -> Option<Duration> {
        self.0.fresh_for()
    }
}

impl ServerAuthenticator for FollowedKeys {
    type Future = Ready<Verdict>;

    #[inline]
    fn authenticate(&self, credential: &Credential<'_>) -> Self::Future {
        self.0.authenticate(credential)
    }

    #[inline]
    fn verdict_at_once(&self, credential: &Credential<'_>) -> Result<Verdict, Self::Future> {
        self.0.verdict_at_once(credential)
    }
}

impl fmt::Debug for Follower {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Follower").field("cache", &self.cache).finish_non_exhaustive()
    }
}
