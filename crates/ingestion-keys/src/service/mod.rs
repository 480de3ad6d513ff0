//! The operations on keys. All rules about which changes are allowed are in this module.

mod error;
mod rotate;
#[cfg(test)]
mod tests;
mod types;
mod validate;

use std::error::Error;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

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
use crate::cache::{KeyCache, PendingUsage};
use crate::clock::{Clock, Timestamp};
use crate::key::{KeyDigest, KeyId, KeyRecord, KeyRole, StoredKey, Usage};
use crate::store::{
    Commit, CommitError, Committed, KeyStore, StoreError, StoreErrorKind, TOMBSTONE_RETENTION,
    Write,
};

/// The largest number of attempts to make a change. An attempt fails if another change of the same
/// key comes first, or if the random id of a new key was used before.
const ATTEMPTS: usize = 16;

/// How long a call waits for another one that reads or writes usage.
const FLUSH_WAIT: Duration = Duration::from_secs(4);

/// The largest number of entries in one page of the audit log.
const AUDIT_LIMIT: u32 = 1000;

/// Creates, updates, rotates and deletes keys. When a call returns `Ok`, its change is stored and
/// in force in the cache.
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
/// let verdict = cache.decide(&presented);
/// assert!(matches!(verdict, Ok(Decision::Allow(identity)) if identity.name() == "edge"));
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

    /// Replaces the random source of the operating system, for a test. If somebody can predict the
    /// numbers of `rng`, the keys can be predicted too.
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
    /// Creates a key. Only the returned value contains the secret of the key.
    ///
    /// # Errors
    ///
    /// When the name, the description or the expiration is not allowed, or when the key could not
    /// be stored.
    pub async fn create(&self, who: &str, new: NewKey) -> Result<IssuedKey, CreateError> {
        let now = self.clock.wall();
        let name = validate::name(&new.name).map_err(InvalidKey::from)?;
        let description = new.description.map(validate::description).transpose();
        let description = description.map_err(InvalidKey::from)?;
        let expires_at = new.expires_at.map(|at| validate::expiration(at, now)).transpose();
        let expires_at = expires_at.map_err(InvalidKey::from)?;
        for _ in 0..ATTEMPTS {
            let (secret, record) =
                self.draw(new.role, name.clone(), description.clone(), expires_at, now)?;
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

    /// Returns all keys of a role, ordered by id. Each key has its usage up to now, but not the
    /// clients that used the key.
    ///
    /// # Errors
    ///
    /// When the store cannot be read.
    pub async fn list(&self, role: KeyRole) -> Result<Vec<Key>, StoreError> {
        let now = self.clock.wall();
        // The pending usage is taken before the store is read. No flush can start while `pending`
        // exists. A flush between these two steps would make usage count twice or not at all.
        let pending = self.pending_usage().await?;
        let listed = |stored| {
            let StoredKey { record, mut usage } = pending.added_to(stored, now);
            usage.clients.clear();
            Key::at(now, record, usage)
        };
        let keys = self.store.list().await?.into_iter();
        Ok(keys.filter(|key| key.record.role == role).map(listed).collect())
    }

    /// Returns one key, with the clients that used it.
    ///
    /// # Errors
    ///
    /// When there is no key with this id, or when the store cannot be read.
    pub async fn get(&self, id: KeyId) -> Result<Key, GetError> {
        let now = self.clock.wall();
        let pending = self.pending_usage().await?;
        let StoredKey { record, usage } = pending.added_to(self.find(id).await?, now);
        Ok(Key::at(now, record, usage))
    }

    /// Changes the given fields of a key.
    ///
    /// # Errors
    ///
    /// When a new value is not allowed, there is no key with this id, or the change could not be
    /// stored. Also when the key has a successor and the update would make the key valid for
    /// longer.
    pub async fn update(
        &self,
        who: &str,
        id: KeyId,
        update: KeyUpdate,
    ) -> Result<Key, UpdateError> {
        let now = self.clock.wall();
        let update = validate::update(update, now)?;
        for _ in 0..ATTEMPTS {
            let pending = self.pending_usage().await.map_err(GetError::from);
            let pending = pending.map_err(ChangeError::from)?;
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
            // An update cannot make a rotated key valid for longer, because the successor replaces
            // the rotated key.
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

    /// Deletes a key. When the call returns `Ok`, this process denies the key.
    ///
    /// # Errors
    ///
    /// When there is no key with this id, or when the change could not be stored.
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

    /// Returns the entries of the audit log after a revision, oldest first. With revision 0, the
    /// page begins with the first entry of the log. Returns at most `limit` entries, and never more
    /// than 1000.
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

    /// Removes the tombstones that are older than [`TOMBSTONE_RETENTION`].
    ///
    /// # Errors
    ///
    /// When the store cannot be written.
    pub async fn prune(&self) -> Result<(), StoreError> {
        self.store.prune(self.clock.wall().saturating_sub(TOMBSTONE_RETENTION)).await
    }

    /// Returns the usage that is not in the store yet. A store that does not answer keeps a flush
    /// or another call waiting, and must not keep every further call waiting behind it.
    async fn pending_usage(&self) -> Result<PendingUsage<'_>, StoreError> {
        let pending = tokio::time::timeout(FLUSH_WAIT, self.cache.pending_usage()).await;
        pending.map_err(|_| {
            StoreError::new(StoreErrorKind::Unavailable, "other calls wait for the store")
        })
    }

    async fn find(&self, id: KeyId) -> Result<StoredKey, GetError> {
        self.store.get(id).await?.ok_or(NotFound { id }.into())
    }

    /// Generates a key with a random id. Another key may already have this id.
    fn draw(
        &self,
        role: KeyRole,
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
            role,
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

    /// Makes a change in the store and in the cache. Returns `None` if another change came first,
    /// or if the id of a new key was used before.
    async fn commit(
        &self,
        who: &str,
        at: Timestamp,
        audit: AuditNote,
        writes: Vec<Write>,
    ) -> Result<Option<Committed>, WriteError> {
        let mut change_id = [0; 16];
        self.random(&mut change_id)?;
        let (who_changes, what) = (who.to_owned(), audit.clone());
        let commit = Commit { change_id, at, who: who_changes, audit, writes: writes.clone() };
        match self.store.commit(commit).await {
            Ok(committed) => {
                let changes: Vec<_> =
                    writes.iter().map(|write| write.change(committed.revision, at)).collect();
                // After a failover to a standby that lacked the last changes, the cache may have a
                // later revision than this change, of a history that is lost. Then it reads the
                // store first, because it would take this change for an old one.
                if self.cache.revision().is_some_and(|known| committed.revision <= known) {
                    self.cache.catch_up(&*self.store).await?;
                }
                self.cache.apply(&changes);
                log(who, &what);
                Ok(Some(committed))
            }
            Err(CommitError::Changed | CommitError::IdTaken) => Ok(None),
            Err(CommitError::Store(error)) => Err(error.into()),
        }
    }

    fn random(&self, bytes: &mut [u8]) -> Result<(), WriteError> {
        // The lock is poisoned if the random source panicked in an earlier call. The random source
        // can still be used, because no bytes of the earlier call were used.
        let mut rng = self.rng.lock().unwrap_or_else(PoisonError::into_inner);
        rng.try_fill_bytes(bytes).map_err(|error| WriteError::Random(error.into()))
    }
}

/// Logs a change that was made. The line has no name and no description, because a person may have
/// written anything there.
fn log(who: &str, what: &AuditNote) {
    let fields: Vec<_> = what.changes.iter().map(FieldChange::field).collect();
    tracing::info!(
        who,
        change = what.action.as_str(),
        key.id = what.key_id.get(),
        new_key.id = what.other_key_id.map(KeyId::get),
        fields = (!fields.is_empty()).then(|| fields.join(" ")),
        "a key was changed"
    );
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

/// Returns the fields in which two versions of a key differ.
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
    // A key for ingestion has no role in the log, as in the log of earlier versions.
    let role = |key: &KeyRecord| (key.role != KeyRole::Ingestion).then_some(key.role);
    let fields = [
        field(old, new, role, FieldChange::Role),
        field(old, new, |key| Some(key.name.clone()), FieldChange::Name),
        field(old, new, |key| key.description.clone(), FieldChange::Description),
        field(old, new, |key| key.expires_at, FieldChange::Expiration),
        field(old, new, |key| Some(key.enabled), FieldChange::Enabled),
    ];
    fields.into_iter().flatten().collect()
}
