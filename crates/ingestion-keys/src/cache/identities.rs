//! The identities that a key is allowed with, each with its own counters.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use otlp_auth::{CountedIdentity, Identity};

use super::key_handle::KeyHandle;

/// The identity of a key, once or several times. All of them name the same key, and each has its
/// own counters.
#[derive(Clone)]
pub(super) enum Identities {
    One(CountedIdentity),
    /// One identity for each core. A key gets them when it is so busy that cores would wait for
    /// each other to count it.
    Each(Arc<[CountedIdentity]>),
}

impl Identities {
    /// Counts a request that is allowed, and returns the identity for it.
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

/// A small number for this thread. Two threads that run at the same time seldom have the same
/// number modulo the number of cores.
#[inline]
fn this_thread() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    thread_local! {
        static NUMBER: usize = NEXT.fetch_add(1, Ordering::Relaxed);
    }
    NUMBER.with(|number| *number)
}
