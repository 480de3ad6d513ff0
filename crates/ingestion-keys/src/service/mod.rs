//! What may be done with keys: the only place of policy.

mod error;
mod rotate;
#[cfg(test)]
mod tests;
mod types;
mod validate;

use std::error::Error;
use std::sync::{Arc, Mutex, PoisonError};

use getrandom::SysRng;
use ingestion_api::IngestionKey;
use rand_core::TryCryptoRng;

pub use self::error::{
    AlreadyRotated, ChangeError, CreateError, DescriptionError, ExpirationError, GetError,
    InvalidKey, MAX_DESCRIPTION_LEN, MAX_NAME_LEN, NameError, NotFound, RotateError, UpdateError,
    WriteError,
};
pub use self::types::{IssuedKey, Key, KeyStatus, KeyUpdate, NewKey, Rotation};
use crate::audit::{AuditAction, AuditNote, AuditPage, FieldChange, FromTo};
use crate::cache::KeyCache;
use crate::clock::{Clock, Timestamp};
use crate::key::{KeyDigest, KeyId, KeyRecord, StoredKey, Usage};
use crate::store::{
    Commit, CommitError, Committed, KeyStore, StoreError, TOMBSTONE_RETENTION, Write,
};

/// How often a change is attempted when another change of the same key comes first, or when the id
/// that was drawn is taken.
const ATTEMPTS: usize = 16;

/// The largest number of entries in one page of the audit log.
const AUDIT_LIMIT: u32 = 1000;

/// Issues, changes, rotates and deletes keys. When a call returns, its change is stored and in
/// force on the cache.
///
/// # Examples
///
/// ```
/// # #[cfg(not(feature = "testing"))]
/// # fn main() {}
/// # #[cfg(feature = "testing")]
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use std::sync::Arc;
/// use ingestion_keys::clock::SystemClock;
/// use ingestion_keys::cache::{KeyCache, KeyCacheOptions};
/// use ingestion_keys::service::{KeyService, NewKey};
/// # use ingestion_keys::store::MemoryStore;
/// use otlp_auth::server::InMemoryAuthenticator;
/// use otlp_auth::{Credential, Decision};
///
/// let store = Arc::new(MemoryStore::new([0; 16]));
/// let clock = Arc::new(SystemClock);
/// let cache = Arc::new(KeyCache::new(clock.clone(), KeyCacheOptions::default()));
/// cache.catch_up(&*store).await?;
/// let service = KeyService::new(store, Arc::clone(&cache), clock);
///
/// let new = NewKey { name: "edge".to_owned(), ..NewKey::default() };
/// let issued = service.create("ops", new).await?;
/// let presented = Credential::new("StackState", issued.secret.expose_secret())?;
/// assert!(matches!(cache.decide(&presented), Ok(Decision::Allow(identity)) if identity.name() == "edge"));
/// service.delete("ops", issued.key.record.id).await?;
/// assert!(matches!(cache.decide(&presented), Ok(Decision::Deny(_))));
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct KeyService<R = SysRng> {
    store: Arc<dyn KeyStore>,
    cache: Arc<KeyCache>,
    clock: Arc<dyn Clock>,
    rng: Arc<Mutex<R>>,
}

impl KeyService {
    /// Makes a service for the keys of `store`, which `cache` follows.
    #[must_use]
    pub fn new(store: Arc<dyn KeyStore>, cache: Arc<KeyCache>, clock: Arc<dyn Clock>) -> Self {
        Self { store, cache, clock, rng: Arc::new(Mutex::new(SysRng)) }
    }

    /// Replaces the random source of the operating system, for a test. Whoever can predict the
    /// numbers of `rng` can predict the keys.
    #[must_use]
    pub fn with_rng<R: TryCryptoRng>(self, rng: R) -> KeyService<R> {
        let Self { store, cache, clock, .. } = self;
        KeyService { store, cache, clock, rng: Arc::new(Mutex::new(rng)) }
    }
}

impl<R> KeyService<R>
where
    R: TryCryptoRng<Error: Error + Send + Sync + 'static>,
{
    /// Creates a key. Its secret is in the returned value and nowhere else.
    ///
    /// # Errors
    ///
    /// When the name, the description or the expiration is not allowed, or the key could not be
    /// stored.
    pub async fn create(&self, who: &str, new: NewKey) -> Result<IssuedKey, CreateError> {
        let now = self.clock.wall();
        let name = validate::name(&new.name).map_err(InvalidKey::from)?;
        let description = new.description.map(validate::description).transpose();
        let description = description.map_err(InvalidKey::from)?;
        let expires_at = new.expires_at.map(|at| validate::expiration(at, now)).transpose();
        let expires_at = expires_at.map_err(InvalidKey::from)?;
        for _ in 0..ATTEMPTS {
            let (secret, record) = self.draw(name.clone(), description.clone(), expires_at, now)?;
            let audit = note(AuditAction::Create, &record, changes(None, &record));
            let writes = vec![Write::Insert(record.clone())];
            if let Some(committed) = self.commit(who, now, audit, writes).await? {
                let Committed { revision, duplicate_name } = committed;
                let key = Key::at(now, KeyRecord { revision, ..record }, Usage::default());
                return Ok(IssuedKey { key, secret, duplicate_name });
            }
        }
        Err(WriteError::Contended.into())
    }

    /// Returns all keys, ordered by id, with their usage up to now and without their clients.
    ///
    /// # Errors
    ///
    /// When the store cannot be read.
    pub async fn list(&self) -> Result<Vec<Key>, StoreError> {
        let now = self.clock.wall();
        // Taken before the store is read: a flush in between would make usage count twice or not at
        // all.
        let pending = self.cache.pending_usage().await;
        let listed = |stored| {
            let StoredKey { record, mut usage } = pending.added_to(stored, now);
            usage.clients.clear();
            Key::at(now, record, usage)
        };
        Ok(self.store.list().await?.into_iter().map(listed).collect())
    }

    /// Returns one key, with the clients that used it.
    ///
    /// # Errors
    ///
    /// When there is no such key, or the store cannot be read.
    pub async fn get(&self, id: KeyId) -> Result<Key, GetError> {
        let now = self.clock.wall();
        let pending = self.cache.pending_usage().await;
        let StoredKey { record, usage } = pending.added_to(self.find(id).await?, now);
        Ok(Key::at(now, record, usage))
    }

    /// Changes the given fields of a key.
    ///
    /// # Errors
    ///
    /// When a new value is not allowed, there is no such key, the key has a successor and would be
    /// valid for longer, or the change could not be stored.
    pub async fn update(
        &self,
        who: &str,
        id: KeyId,
        update: KeyUpdate,
    ) -> Result<Key, UpdateError> {
        let now = self.clock.wall();
        let update = validate::update(update, now)?;
        for _ in 0..ATTEMPTS {
            let pending = self.cache.pending_usage().await;
            let found = self.find(id).await.map_err(ChangeError::from)?;
            let StoredKey { record: old, usage } = pending.added_to(found, now);
            drop(pending);
            let mut new = old.clone();
            new.name = update.name.clone().unwrap_or(new.name);
            new.description = update.description.clone().unwrap_or(new.description);
            new.expires_at = update.expires_at.unwrap_or(new.expires_at);
            new.enabled = update.enabled.unwrap_or(new.enabled);
            if new == old {
                return Ok(Key::at(now, old, usage));
            }
            // A rotated key ends when the rotation said: the rest of its time went to its
            // successor.
            if let Some(successor) = old.successor
                && old
                    .expires_at
                    .is_some_and(|end| new.expires_at.is_none_or(|new_end| end < new_end))
            {
                return Err(AlreadyRotated { successor }.into());
            }
            new.updated_at = now;
            let audit = note(AuditAction::Update, &new, changes(Some(&old), &new));
            let writes = vec![Write::Update(new.clone())];
            let committed = self.commit(who, now, audit, writes).await;
            if let Some(Committed { revision, .. }) = committed.map_err(ChangeError::from)? {
                return Ok(Key::at(now, KeyRecord { revision, ..new }, usage));
            }
        }
        Err(ChangeError::from(WriteError::Contended).into())
    }

    /// Deletes a key. When the call returns, the key is refused by this process.
    ///
    /// # Errors
    ///
    /// When there is no such key, or the change could not be stored.
    pub async fn delete(&self, who: &str, id: KeyId) -> Result<(), ChangeError> {
        let now = self.clock.wall();
        for _ in 0..ATTEMPTS {
            let record = self.find(id).await?.record;
            let audit = note(AuditAction::Delete, &record, Vec::new());
            if self.commit(who, now, audit, vec![Write::Delete(record)]).await?.is_some() {
                return Ok(());
            }
        }
        Err(WriteError::Contended.into())
    }

    /// Returns the entries of the audit log after a revision (0 is before the first), oldest first:
    /// at most `limit` of them, and at most 1000.
    ///
    /// # Errors
    ///
    /// When the store cannot be read.
    pub async fn audit(&self, after: i64, limit: Option<u32>) -> Result<AuditPage, StoreError> {
        let limit = limit.unwrap_or(AUDIT_LIMIT).clamp(1, AUDIT_LIMIT);
        let mut entries = self.store.audit(after, limit + 1).await?;
        let more = entries.len() > limit as usize;
        entries.truncate(limit as usize);
        let next = if more { entries.last().map(|entry| entry.revision) } else { None };
        Ok(AuditPage { entries, next })
    }

    /// Removes the tombstones of keys that were deleted before the last [`TOMBSTONE_RETENTION`].
    ///
    /// # Errors
    ///
    /// When the store cannot be written.
    pub async fn prune(&self) -> Result<(), StoreError> {
        self.store.prune(self.clock.wall().saturating_sub(TOMBSTONE_RETENTION)).await
    }

    async fn find(&self, id: KeyId) -> Result<StoredKey, GetError> {
        self.store.get(id).await?.ok_or(NotFound { id }.into())
    }

    /// Generates a key with a random id, which may be taken.
    fn draw(
        &self,
        name: String,
        description: Option<String>,
        expires_at: Option<Timestamp>,
        now: Timestamp,
    ) -> Result<(IngestionKey, KeyRecord), WriteError> {
        let key = IngestionKey::generate(|bytes| self.random(bytes))?;
        let id = loop {
            let mut bytes = [0; 8];
            self.random(&mut bytes)?;
            if let Some(id) = KeyId::from_random(bytes) {
                break id;
            }
        };
        let record = KeyRecord {
            id,
            digest: KeyDigest::of(&key),
            key_start: key.start().to_owned(),
            name,
            description,
            created_at: now,
            updated_at: now,
            expires_at,
            enabled: true,
            successor: None,
            revision: 0,
        };
        Ok((key, record))
    }

    /// Makes a change in the store and on the cache. Returns `None` if another change came first,
    /// or if the id of a new key is taken.
    async fn commit(
        &self,
        who: &str,
        at: Timestamp,
        audit: AuditNote,
        writes: Vec<Write>,
    ) -> Result<Option<Committed>, WriteError> {
        let mut change_id = [0; 16];
        self.random(&mut change_id)?;
        let commit = Commit { change_id, at, who: who.to_owned(), audit, writes: writes.clone() };
        match self.store.commit(commit).await {
            Ok(committed) => {
                let changes: Vec<_> =
                    writes.iter().map(|write| write.change(committed.revision, at)).collect();
                self.cache.apply(&changes);
                Ok(Some(committed))
            }
            Err(CommitError::Changed | CommitError::IdTaken) => Ok(None),
            Err(CommitError::Store(error)) => Err(error.into()),
        }
    }

    fn random(&self, bytes: &mut [u8]) -> Result<(), WriteError> {
        // The lock is poisoned if the source panicked. Then no bytes were used.
        let mut rng = self.rng.lock().unwrap_or_else(PoisonError::into_inner);
        rng.try_fill_bytes(bytes).map_err(|error| WriteError::Random(error.into()))
    }
}

fn note(action: AuditAction, key: &KeyRecord, changes: Vec<FieldChange>) -> AuditNote {
    AuditNote { action, key_id: key.id, key_name: key.name.clone(), other_key_id: None, changes }
}

impl<R> Clone for KeyService<R> {
    fn clone(&self) -> Self {
        Self {
            store: Arc::clone(&self.store),
            cache: Arc::clone(&self.cache),
            clock: Arc::clone(&self.clock),
            rng: Arc::clone(&self.rng),
        }
    }
}

/// The fields in which two versions of a key differ.
fn changes(old: Option<&KeyRecord>, new: &KeyRecord) -> Vec<FieldChange> {
    fn field<T: PartialEq>(
        old: Option<&KeyRecord>,
        new: &KeyRecord,
        value: impl Fn(&KeyRecord) -> Option<T>,
        change: impl Fn(FromTo<T>) -> FieldChange,
    ) -> Option<FieldChange> {
        let (from, to) = (old.and_then(&value), value(new));
        (from != to).then(|| change(FromTo { from, to }))
    }
    let fields = [
        field(old, new, |key| Some(key.name.clone()), FieldChange::Name),
        field(old, new, |key| key.description.clone(), FieldChange::Description),
        field(old, new, |key| key.expires_at, FieldChange::Expiration),
        field(old, new, |key| Some(key.enabled), FieldChange::Enabled),
    ];
    fields.into_iter().flatten().collect()
}
