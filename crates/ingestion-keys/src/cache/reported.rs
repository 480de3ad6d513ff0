//! The usage that followers have reported, until it is in the store.

use std::collections::HashMap;
use std::sync::Mutex;

use super::KeyCache;
use super::key_handle::kept;
use super::usage::{lock, room_in_batch};
use crate::key::{KeyId, Usage};

/// The largest number of keys with reported usage that is not in the store yet.
const MAX_REPORTED: usize = 200_000;

/// There is reported usage of too many keys that could not be written yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there is usage of too many keys that could not be written yet")]
pub struct TooMuchUsage;

/// The usage that followers have reported.
#[derive(Debug, Default)]
pub(super) struct Reported(Mutex<Parts>);

#[derive(Debug, Default)]
struct Parts {
    waiting: HashMap<KeyId, Usage>,
    /// What is being written to the store, or could not be written. It is apart, so that a write
    /// that was cancelled loses nothing.
    taken: Vec<(KeyId, Usage)>,
}

impl KeyCache {
    /// Adds usage that a follower has reported. The next flush writes it to the store together with
    /// the usage of this process. Usage of a key that does not exist is ignored then.
    ///
    /// # Errors
    ///
    /// [`TooMuchUsage`] if there is usage of too many keys that could not be written yet. Nothing
    /// is added then.
    pub fn report_usage(&self, mut usage: Vec<(KeyId, Usage)>) -> Result<(), TooMuchUsage> {
        for client in usage.iter_mut().flat_map(|(_, usage)| &mut usage.clients) {
            client.user_agent =
                client.user_agent.take().and_then(|agent| kept(&agent).map(Into::into));
        }
        let waiting = &mut lock(&self.usage.reported.0).waiting;
        if waiting.len() + usage.len() > MAX_REPORTED {
            return Err(TooMuchUsage);
        }
        for (id, usage) in usage {
            waiting.entry(id).or_default().add(usage, self.options.max_clients, None);
        }
        Ok(())
    }
}

impl Reported {
    /// Returns usage of at most `limit` keys, and of no more clients than a batch may have, to be
    /// written. Returns what was returned last, unless it was [written](Self::written).
    pub(super) fn take(&self, limit: usize) -> Vec<(KeyId, Usage)> {
        let Parts { waiting, taken } = &mut *lock(&self.0);
        if taken.is_empty() {
            let mut fits = room_in_batch();
            let waiting_now = waiting.iter().take(limit).take_while(|(_, usage)| fits(usage));
            let ids: Vec<_> = waiting_now.map(|(id, _)| *id).collect();
            taken.extend(ids.into_iter().filter_map(|id| waiting.remove_entry(&id)));
        }
        taken.clone()
    }

    /// Notes that what was taken is in the store.
    pub(super) fn written(&self) {
        lock(&self.0).taken.clear();
    }

    /// Adds the reported usage of a key to its usage in the store.
    pub(super) fn add_to(&self, id: KeyId, usage: &mut Usage, max_clients: usize) {
        let parts = lock(&self.0);
        let taken = parts.taken.iter().filter(|(taken, _)| *taken == id).map(|(_, usage)| usage);
        for reported in taken.chain(parts.waiting.get(&id)) {
            usage.add(reported.clone(), max_clients, None);
        }
    }
}
