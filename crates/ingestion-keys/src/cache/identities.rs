//! The identities of a key. Each allowed request with the key gets one of these identities. Each
//! identity has its own counters.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use otlp_auth::{CountedIdentity, Identity};

use super::key_handle::KeyHandle;

/// The identities of a key: either one identity, or one identity for each core. All identities of a
/// key name that key, and each identity has its own counters.
#[derive(Clone)]
pub(super) enum Identities {
    One(CountedIdentity),
    /// One identity for each core. A key gets several identities when it is so busy that the cores
    /// would wait for each other at a shared counter.
    Each(Arc<[CountedIdentity]>),
}

impl Identities {
    /// Counts a request that is allowed, and returns the identity for the request.
    #[inline]
    pub(super) fn for_request(&self) -> Identity {
        match self {
            Self::One(identity) => identity.for_request(),
            Self::Each(identities) => identities[this_thread() % identities.len()].for_request(),
        }
    }

    /// Returns an identity without counting a request.
    pub(super) fn identity(&self) -> &Identity {
        match self {
            Self::One(identity) => identity.identity(),
            Self::Each(identities) => identities[this_thread() % identities.len()].identity(),
        }
    }

    /// Counts a request that is denied.
    pub(super) fn count_refusal(&self) {
        if let Some(handle) = self.identity().handle::<KeyHandle>() {
            handle.denied.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// Returns a small number for this thread. Two threads that run at the same time seldom have the
/// same number modulo the number of cores, so that they seldom share a counter.
#[inline]
fn this_thread() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    thread_local! {
        static NUMBER: usize = NEXT.fetch_add(1, Ordering::Relaxed);
    }
    NUMBER.with(|number| *number)
}
