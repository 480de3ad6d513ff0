//! A store in memory, for tests.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use tokio::sync::watch;

use super::{
    Change, ChangeId, Changes, Commit, CommitError, Committed, Cursor, KeyState, KeyStore,
    Snapshot, SnapshotChunk, StoreError, StoreErrorKind, UsageBatch, Write,
};
use crate::audit::AuditEntry;
use crate::clock::Timestamp;
use crate::key::{KeyId, StoredKey, Usage};

/// A store in memory. A test can make all calls of the store fail.
#[derive(Debug)]
pub struct MemoryStore {
    content: Mutex<Content>,
    revision: watch::Sender<i64>,
}

#[derive(Debug)]
struct Content {
    keys: BTreeMap<KeyId, StoredKey>,
    /// The deleted keys. The state of each deleted key has the time of the deletion.
    tombstones: BTreeMap<KeyId, Change>,
    log: BTreeMap<i64, (ChangeId, Timestamp)>,
    audit: Vec<AuditEntry>,
    /// The kind of the error with which all calls fail.
    fails: Option<StoreErrorKind>,
    /// The number of calls that have failed.
    failures: usize,
    mute: bool,
}

impl MemoryStore {
    /// Makes an empty store. `origin` is the id of the first change. Stores with different origins
    /// have different histories.
    #[must_use]
    pub fn new(origin: ChangeId) -> Self {
        let log = BTreeMap::from([(0, (origin, Timestamp::from_millis(0)))]);
        let content = Content {
            keys: BTreeMap::new(),
            tombstones: BTreeMap::new(),
            log,
            audit: Vec::new(),
            fails: None,
            failures: 0,
            mute: false,
        };
        Self { content: Mutex::new(content), revision: watch::Sender::new(0) }
    }

    /// Makes every call fail from now on if `fails` is true; otherwise makes calls succeed again.
    pub fn fail(&self, fails: bool) {
        self.lock().fails = fails.then_some(StoreErrorKind::Unavailable);
    }

    /// Makes every call fail from now on with an error of this kind.
    pub fn fail_with(&self, kind: StoreErrorKind) {
        self.lock().fails = Some(kind);
    }

    /// Returns the number of calls that have failed.
    #[must_use]
    pub fn failures(&self) -> usize {
        self.lock().failures
    }

    /// Wakes followers without a change, as a store does whose connection for notifications was
    /// lost or is back.
    pub fn wake(&self) {
        self.revision.send_modify(|_| {});
    }

    /// Stops waking followers from now on, as if notifications were lost.
    pub fn mute(&self) {
        self.lock().mute = true;
    }

    /// Removes everything and begins another history, as after a restore.
    pub fn restart(&self, origin: ChangeId) {
        let other = Self::new(origin);
        *self.lock() = other.content.into_inner().unwrap_or_else(PoisonError::into_inner);
        self.revision.send_replace(0);
    }

    fn lock(&self) -> MutexGuard<'_, Content> {
        self.content.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn content(&self) -> Result<MutexGuard<'_, Content>, StoreError> {
        let mut content = self.lock();
        match content.fails {
            Some(kind) => {
                content.failures += 1;
                Err(StoreError::new(kind, "the store fails"))
            }
            None => Ok(content),
        }
    }
}

impl Content {
    fn cursor(&self) -> Cursor {
        let (&revision, &(change_id, _)) =
            self.log.last_key_value().unwrap_or((&0, &([0; 16], Timestamp::from_millis(0))));
        Cursor { revision, change_id }
    }

    fn changes(&self, after: i64) -> Vec<Change> {
        let live = self.keys.values().map(|key| Change::from(&key.record));
        let mut changes: Vec<_> = live
            .chain(self.tombstones.values().cloned())
            .filter(|change| change.revision > after)
            .collect();
        changes.sort_by_key(|change| change.revision);
        changes
    }

    fn fits(&self, write: &Write) -> Result<(), CommitError> {
        match write {
            Write::Insert(record) => {
                let audited = self.audit.iter().any(|entry| entry.note.key_id == record.id);
                if audited || self.keys.contains_key(&record.id) {
                    Err(CommitError::IdTaken)
                } else {
                    Ok(())
                }
            }
            Write::Update(record) | Write::Delete(record) => match self.keys.get(&record.id) {
                Some(key) if key.record.revision == record.revision => Ok(()),
                _ => Err(CommitError::Changed),
            },
        }
    }

    fn write(&mut self, write: Write, revision: i64, at: Timestamp) {
        let change = write.change(revision, at);
        match write {
            Write::Insert(mut record) => {
                record.revision = revision;
                self.keys.insert(record.id, StoredKey { record, usage: Usage::default() });
            }
            Write::Update(mut record) => {
                record.revision = revision;
                if let Some(key) = self.keys.get_mut(&record.id) {
                    key.record = record;
                }
            }
            Write::Delete(record) => {
                self.keys.remove(&record.id);
                self.tombstones.insert(record.id, change);
            }
        }
    }
}

#[async_trait]
impl KeyStore for MemoryStore {
    async fn commit(&self, commit: Commit) -> Result<Committed, CommitError> {
        let mut content = self.content()?;
        commit.writes.iter().try_for_each(|write| content.fits(write))?;
        let revision = content.cursor().revision + 1;
        let mut duplicate_name = false;
        for write in commit.writes {
            if let Write::Insert(record) = &write {
                duplicate_name |=
                    content.keys.values().any(|StoredKey { record: other, .. }| {
                        (other.role, &other.name) == (record.role, &record.name)
                    });
            }
            content.write(write, revision, commit.at);
        }
        content.log.insert(revision, (commit.change_id, commit.at));
        content.audit.push(AuditEntry {
            revision,
            at: commit.at,
            who: commit.who,
            note: commit.audit,
        });
        if !content.mute {
            self.revision.send_replace(revision);
        }
        Ok(Committed { revision, duplicate_name })
    }

    async fn list(&self) -> Result<Vec<StoredKey>, StoreError> {
        let without_clients = |key: &StoredKey| {
            let usage = Usage { clients: Vec::new(), ..key.usage.clone() };
            StoredKey { record: key.record.clone(), usage }
        };
        Ok(self.content()?.keys.values().map(without_clients).collect())
    }

    async fn get(&self, id: KeyId) -> Result<Option<StoredKey>, StoreError> {
        Ok(self.content()?.keys.get(&id).cloned())
    }

    async fn snapshot(&self) -> Result<Snapshot, StoreError> {
        let (sender, snapshot) = Snapshot::channel();
        let (changes, cursor) = {
            let content = self.content()?;
            (content.changes(i64::MIN), content.cursor())
        };
        sender.send(Ok(SnapshotChunk::Changes(changes))).await;
        sender.send(Ok(SnapshotChunk::End(cursor))).await;
        Ok(snapshot)
    }

    async fn changes_since(&self, cursor: &Cursor) -> Result<Changes, StoreError> {
        let content = self.content()?;
        match content.log.get(&cursor.revision) {
            Some((change_id, _)) if *change_id == cursor.change_id => {
                Ok(Changes::Since(content.changes(cursor.revision), content.cursor()))
            }
            _ => Ok(Changes::SnapshotNeeded),
        }
    }

    async fn audit(&self, after: i64, limit: u32) -> Result<Vec<AuditEntry>, StoreError> {
        let content = self.content()?;
        let entries = content.audit.iter().filter(|entry| entry.revision > after);
        Ok(entries.take(limit as usize).cloned().collect())
    }

    fn usage_batch(&self) -> usize {
        1000
    }

    async fn add_usage(&self, batch: UsageBatch) -> Result<(), StoreError> {
        let mut content = self.content()?;
        for (id, usage) in batch.usage {
            if let Some(key) = content.keys.get_mut(&id) {
                key.usage.add(usage, batch.max_clients, batch.oldest_client);
            }
        }
        Ok(())
    }

    async fn prune(&self, before: Timestamp) -> Result<(), StoreError> {
        let mut content = self.content()?;
        let last = content.cursor().revision;
        content.log.retain(|revision, (_, at)| *revision == last || *at >= before);
        content
            .tombstones
            .retain(|_, change| !matches!(change.state, KeyState::Deleted { at } if at < before));
        Ok(())
    }

    fn revision(&self) -> watch::Receiver<i64> {
        self.revision.subscribe()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn empty() -> (MemoryStore, ()) {
        (MemoryStore::new([0; 16]), ())
    }

    crate::store_contract!(empty);
}
