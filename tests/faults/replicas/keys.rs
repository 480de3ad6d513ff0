//! What the gateways have acknowledged, and what must therefore be true of every key.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use super::MAX_STALENESS;

/// How far the coarse clock, by which a gateway measures its staleness, may be behind. It moves
/// every few milliseconds.
const TICK: Duration = Duration::from_millis(100);

/// A key whose last change was acknowledged.
#[derive(Clone, Debug)]
pub(super) struct Key {
    pub(super) id: i64,
    pub(super) secret: String,
    /// When the answer to the last change was read.
    changed: Instant,
    /// The gateway that answered. `None` if the change was made, but its answer was lost.
    by: Option<usize>,
}

/// Every key of a scenario.
#[derive(Clone, Debug, Default)]
pub(super) struct Keys {
    /// The keys that must be let in. A key whose deletion was requested is not among them.
    pub(super) valid: BTreeMap<i64, Key>,
    /// The keys that must be refused.
    pub(super) revoked: Vec<Key>,
    /// The ids that the list of keys must have. A key that was rotated stays in the list.
    pub(super) listed: BTreeSet<i64>,
    /// The names of keys whose creation was not answered. They may exist.
    pub(super) maybe: BTreeSet<String>,
}

impl Key {
    pub(super) fn changed_now(id: i64, secret: &str, by: Option<usize>) -> Self {
        Self { id, secret: secret.to_owned(), changed: Instant::now(), by }
    }

    /// Returns whether a gateway has to know the last change when it decides on a request that was
    /// sent at this time.
    ///
    /// The gateway that made the change knows it at once. Any other gateway decides only for
    /// `max_staleness` after the beginning of its last read, and a read that began after the change
    /// has seen it.
    pub(super) fn is_known(&self, replica: usize, sent: Instant) -> bool {
        let after = sent.saturating_duration_since(self.changed);
        self.by == Some(replica) || after > MAX_STALENESS + TICK
    }

    /// Returns the time between the answer to the last change and this time.
    pub(super) fn age(&self, at: Instant) -> Duration {
        at.saturating_duration_since(self.changed)
    }
}

impl Keys {
    /// Adds a key that was created or is the successor of another one.
    pub(super) fn add(&mut self, key: Key) {
        self.listed.insert(key.id);
        self.valid.insert(key.id, key);
    }
}
