//! Counts the answers, the bytes, the denied requests and the clients of a key.

use std::any::Any;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, OnceLock};

use ingestion_api::KEY_PREFIX;

use super::digest_prefix::DigestPrefix;
use crate::clock::Timestamp;

/// The largest number of characters that are kept of a user agent.
const USER_AGENT_LEN: usize = 128;

/// The number of answers to requests with a key, since the last flush of the usage, up to which the
/// client of every request is noted.
const ALL_NOTED: u64 = 64;

/// Of the requests with a busy key, the clients of one in this many are noted.
const SAMPLED: u64 = 16;

/// Adds answers, bytes and clients to the usage of a key. The identity of an allowed request has
/// this value as its [handle](otlp_auth::Identity::handle).
///
/// # Examples
///
/// ```
/// use ingestion_keys::cache::KeyHandle;
/// use otlp_auth::Identity;
///
/// fn received(identity: &Identity, bytes: u64, from: std::net::IpAddr, user_agent: Option<&str>) {
///     if let Some(handle) = identity.handle::<KeyHandle>() {
///         handle.add_bytes(bytes);
///         if handle.notes_client() {
///             handle.add_client(from, user_agent);
///         }
///     }
/// }
///
/// fn answered(identity: &Identity, success: bool) {
///     if let Some(handle) = identity.handle::<KeyHandle>() {
///         handle.add_answer(success);
///     }
/// }
/// ```
#[derive(Debug)]
pub struct KeyHandle {
    pub(super) accepted: AtomicU64,
    pub(super) failed: AtomicU64,
    pub(super) bytes: AtomicU64,
    pub(super) denied: AtomicU64,
    pub(super) clients: Mutex<Vec<SeenClient>>,
    max_clients: usize,
    /// The digest of the key, by which the cache finds the key again.
    pub(super) digest: DigestPrefix,
    note: OnceLock<Box<dyn Any + Send + Sync>>,
}

/// A client that used the key.
#[derive(Debug)]
pub(super) struct SeenClient {
    pub(super) address: IpAddr,
    pub(super) user_agent: Option<Box<str>>,
    /// Whether the client was seen since the last flush of the usage.
    pub(super) is_fresh: bool,
    /// The time of the last use, if it was left for a later flush.
    pub(super) unflushed: Option<Timestamp>,
    /// Whether the client was flushed before.
    pub(super) is_known: bool,
}

impl KeyHandle {
    pub(super) fn new(max_clients: usize, digest: DigestPrefix) -> Self {
        Self {
            accepted: AtomicU64::new(0),
            failed: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            denied: AtomicU64::new(0),
            clients: Mutex::default(),
            max_clients,
            digest,
            note: OnceLock::new(),
        }
    }

    /// Returns a value that the program keeps with the key, such as instruments that are bound to
    /// the id of the key. The first call makes the value. Returns `None` if a value of another type
    /// was made.
    ///
    /// The value lives as long as the handle. A key that is busy, was renamed or changed its state
    /// may have several handles.
    pub fn note<T: Any + Send + Sync>(&self, make: impl FnOnce() -> T) -> Option<&T> {
        self.note.get_or_init(|| Box::new(make())).downcast_ref()
    }

    /// Adds the answer to an allowed request, and says whether the answer was a success. The cache
    /// counts answers if [`answers_are_reported`](super::KeyCacheOptions::answers_are_reported). A
    /// request whose answer was never sent, or only in part, is not a success.
    pub fn add_answer(&self, success: bool) {
        let counter = if success { &self.accepted } else { &self.failed };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    /// Returns whether the program should note the client of this request. While the key has few
    /// requests, each of them is noted. A busy key is sampled: after 64 answers since
    /// the last flush of the usage, one of 16 requests is noted.
    ///
    /// The number of answers decides, so a program that reports no answers notes every client.
    #[inline]
    #[must_use]
    pub fn notes_client(&self) -> bool {
        let answers =
            self.accepted.load(Ordering::Relaxed).wrapping_add(self.failed.load(Ordering::Relaxed));
        self.max_clients > 0 && (answers < ALL_NOTED || answers.is_multiple_of(SAMPLED))
    }

    /// Adds the bytes of an allowed request.
    pub fn add_bytes(&self, bytes: u64) {
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Notes the client of an allowed request. The call never waits. If several requests add a
    /// client at the same moment, some of the clients are not noted.
    ///
    /// A user agent that contains a key is not noted, because clients are stored and shown. One
    /// with other characters than those that are visible in ASCII is not noted either.
    pub fn add_client(&self, address: IpAddr, user_agent: Option<&str>) {
        if self.max_clients == 0 {
            return;
        }
        let Ok(mut clients) = self.clients.try_lock() else { return };
        let user_agent = user_agent.and_then(kept);
        let same = |known: &SeenClient| {
            known.address == address && known.user_agent.as_deref() == user_agent
        };
        if let Some(known) = clients.iter_mut().find(|known| same(known)) {
            known.is_fresh = true;
        } else {
            if clients.len() == self.max_clients {
                clients.remove(0);
            }
            let user_agent = user_agent.map(Into::into);
            let (unflushed, is_known) = (None, false);
            clients.push(SeenClient { address, user_agent, is_fresh: true, unflushed, is_known });
        }
    }
}

/// Returns what is kept of a user agent: its first characters, or nothing if it contains a key or a
/// character that is not visible in ASCII. HTTP has no other characters, and stores and terminals
/// could take them for something else.
pub(super) fn kept(user_agent: &str) -> Option<&str> {
    let is_kept = user_agent.bytes().all(|byte| matches!(byte, b' '..=b'~'))
        && !user_agent.contains(KEY_PREFIX);
    is_kept.then(|| &user_agent[..user_agent.len().min(USER_AGENT_LEN)])
}
