//! Admission: bounds how many bytes of requests are in memory, and how many requests are decoded at
//! the same time. Each bound holds for all senders together and for each sender.

#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fmt;
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use otlp_auth::Identity;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use crate::refusal::Refusal;

/// The number of bytes of bodies that may be in memory at the same time. A sender may use half of
/// them.
const MAX_BODY_BYTES: usize = 64 << 20;

/// The range of the number of requests that are decoded at the same time. A sender may use half of
/// them. Each of them takes up to 20 MiB, and about 12 MiB more if it is compressed with LZ4.
const MIN_SLOTS: usize = 2;
const MAX_SLOTS: usize = 4;

/// The number of requests of a sender that may wait for a slot at the same time.
const MAX_WAITING: usize = 256;

/// The longest time for which a request waits for a slot. It is shorter than the time for which
/// exporters wait for a response, which is 5 s in the Collector and 10 s in the SDKs.
const MAX_WAIT: Duration = Duration::from_secs(2);

/// The bounds of a receiver, and how much of them is used.
pub(crate) struct Admission {
    used: Used,
    /// The senders that have requests. Requests without an identity have one share together.
    senders: Mutex<HashMap<Option<Identity>, Sender>>,
    slots_of_a_sender: usize,
}

/// A sender that has requests.
struct Sender {
    requests: usize,
    share: Arc<Used>,
}

/// What is used by one sender, or by all of them.
struct Used {
    body_bytes: AtomicUsize,
    waiting: AtomicUsize,
    free_slots: Arc<Semaphore>,
}

/// A request that is being received. It gives back everything when it is dropped.
pub(crate) struct Admitted {
    admission: Arc<Admission>,
    sender: Option<Identity>,
    share: Arc<Used>,
    body_bytes: usize,
    max_body: usize,
}

/// The permission to decode a request. It is given back when it is dropped.
#[derive(Debug)]
pub(crate) struct Slot {
    _of_sender: OwnedSemaphorePermit,
    _of_all: OwnedSemaphorePermit,
}

impl Admission {
    pub(crate) fn new() -> Self {
        let cores = thread::available_parallelism().map_or(MIN_SLOTS, NonZeroUsize::get);
        Self::with_slots(cores.clamp(MIN_SLOTS, MAX_SLOTS))
    }

    fn with_slots(slots: usize) -> Self {
        Self {
            used: Used::new(slots),
            senders: Mutex::default(),
            slots_of_a_sender: (slots / 2).max(1),
        }
    }

    /// Begins to receive a request, whose body has at most `max_body` bytes.
    pub(crate) fn admit(self: &Arc<Self>, sender: Option<Identity>, max_body: usize) -> Admitted {
        let share = {
            let mut senders = self.senders();
            let sender = senders.entry(sender.clone()).or_insert_with(|| Sender {
                requests: 0,
                share: Arc::new(Used::new(self.slots_of_a_sender)),
            });
            sender.requests += 1;
            Arc::clone(&sender.share)
        };
        Admitted { admission: Arc::clone(self), sender, share, body_bytes: 0, max_body }
    }

    fn senders(&self) -> MutexGuard<'_, HashMap<Option<Identity>, Sender>> {
        self.senders.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Used {
    fn new(slots: usize) -> Self {
        Self {
            body_bytes: AtomicUsize::new(0),
            waiting: AtomicUsize::new(0),
            free_slots: Arc::new(Semaphore::new(slots)),
        }
    }
}

impl Admitted {
    /// Counts bytes of the body that have arrived.
    ///
    /// # Errors
    ///
    /// [`Refusal::Busy`] if too many bytes are in memory. Waiting would not help: if every body had
    /// arrived in part, each would wait for the others.
    pub(crate) fn count_body_bytes(&mut self, bytes: usize) -> Result<(), Refusal> {
        self.body_bytes += bytes;
        let of_sender = self.share.body_bytes.fetch_add(bytes, Ordering::Relaxed) + bytes;
        let of_all = self.admission.used.body_bytes.fetch_add(bytes, Ordering::Relaxed) + bytes;
        // One body of the largest size always fits, whatever its limit is.
        let limit_of_a_sender = (MAX_BODY_BYTES / 2).max(self.max_body);
        let limit = limit_of_a_sender.saturating_mul(2);
        match of_sender <= limit_of_a_sender && of_all <= limit {
            true => Ok(()),
            false => Err(Refusal::Busy),
        }
    }

    /// Waits for the permission to decode this request. Requests wait in the order in which they
    /// have come, and behind at most half of the slots' number of requests of each other sender.
    ///
    /// # Errors
    ///
    /// [`Refusal::Busy`] if too many requests of the sender wait, or if this request has waited for
    /// too long.
    pub(crate) async fn slot(&self) -> Result<Slot, Refusal> {
        let _waiting = Waiting::begin(&self.share.waiting)?;
        // A request waits first for the slots of its sender. So a sender has never more requests in
        // the common queue than it has slots.
        let permits = async {
            let of_sender = Arc::clone(&self.share.free_slots).acquire_owned().await;
            let of_all = Arc::clone(&self.admission.used.free_slots).acquire_owned().await;
            (of_sender, of_all)
        };
        match timeout(MAX_WAIT, permits).await {
            Ok((Ok(of_sender), Ok(of_all))) => Ok(Slot { _of_sender: of_sender, _of_all: of_all }),
            _ => Err(Refusal::Busy),
        }
    }
}

impl Drop for Admitted {
    fn drop(&mut self) {
        self.admission.used.body_bytes.fetch_sub(self.body_bytes, Ordering::Relaxed);
        self.share.body_bytes.fetch_sub(self.body_bytes, Ordering::Relaxed);
        if let Entry::Occupied(mut sender) = self.admission.senders().entry(self.sender.take()) {
            sender.get_mut().requests -= 1;
            if sender.get().requests == 0 {
                sender.remove();
            }
        }
    }
}

impl fmt::Debug for Admitted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Admitted")
            .field("sender", &self.sender)
            .field("body_bytes", &self.body_bytes)
            .finish_non_exhaustive()
    }
}

/// Counts a request as waiting until it is dropped.
struct Waiting<'a>(&'a AtomicUsize);

impl<'a> Waiting<'a> {
    fn begin(waiting: &'a AtomicUsize) -> Result<Self, Refusal> {
        let is_one_too_many = waiting.fetch_add(1, Ordering::Relaxed) >= MAX_WAITING;
        let this = Self(waiting);
        match is_one_too_many {
            true => Err(Refusal::Busy),
            false => Ok(this),
        }
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
