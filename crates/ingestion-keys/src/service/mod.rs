//! What may be done with keys: the only place of policy.

mod error;
#[cfg(test)]
mod tests;
mod validate;

use std::sync::Arc;
use std::time::Duration;

use ingestion_api::{
    AuditAction, AuditPage, AuditQuery, FieldChange, GenerateRequest, GeneratedKey,
    IngestionApiKey, IngestionKey, KeyStatus, RotateRequest, UpdateRequest,
};

pub use error::{IssueError, MAX_DESCRIPTION_LEN, MAX_NAME_LEN};

use crate::clock::{Clock, Timestamp};
use crate::entropy::{Entropy, EntropyError};
use crate::key::{KeyDigest, KeyId, KeyRecord, StoredKey, Usage};
use crate::ring::Ring;
use crate::store::{AuditNote, Commit, CommitError, Committed, KeyStore, StoreError, Write};

/// How long both keys of a rotation are good, if nothing else is asked for.
const OVERLAP: Duration = Duration::from_secs(24 * 60 * 60);

/// How long before its end a key is told to be expiring.
const EXPIRING: Duration = Duration::from_secs(14 * 24 * 60 * 60);

/// How long a deleted key is remembered, so that its refusals say why.
pub(crate) const TOMBSTONES: Duration = Duration::from_secs(90 * 24 * 60 * 60);

/// How often a change is attempted that somebody else came before, and an id is drawn that was
/// taken.
const ATTEMPTS: usize = 16;

/// Most entries of one page of the audit.
const AUDIT_LIMIT: u32 = 1000;

/// Issues, changes, rotates and deletes keys. A change that was answered is kept by the store and
/// in force on the ring.
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
/// use ingestion_api::GenerateRequest;
/// use ingestion_keys::clock::SystemClock;
/// use ingestion_keys::entropy::SystemEntropy;
/// use ingestion_keys::ring::{Ring, RingOptions};
/// use ingestion_keys::service::KeyService;
/// # use ingestion_keys::store::MemoryStore;
/// use otlp_auth::server::InMemoryAuthenticator;
/// use otlp_auth::{Credential, Decision};
/// use secrecy::ExposeSecret;
///
/// let store = Arc::new(MemoryStore::new([0; 16]));
/// let clock = Arc::new(SystemClock);
/// let ring = Arc::new(Ring::new(clock.clone(), RingOptions::default()));
/// ring.catch_up(&*store).await?;
/// let service = KeyService::new(store, Arc::clone(&ring), clock, Arc::new(SystemEntropy));
///
/// let key = service.create("ops", GenerateRequest { name: "edge".to_owned(), ..Default::default() }).await?;
/// let presented = Credential::new("StackState", key.api_key.expose_secret())?;
/// assert!(matches!(ring.decide(&presented), Ok(Decision::Allow(identity)) if identity.name() == "edge"));
/// service.delete("ops", key.key.id).await?;
/// assert!(matches!(ring.decide(&presented), Ok(Decision::Deny(_))));
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct KeyService {
    store: Arc<dyn KeyStore>,
    ring: Arc<Ring>,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
}

impl KeyService {
    /// A service for the keys of `store`, which `ring` follows.
    #[must_use]
    pub fn new(
        store: Arc<dyn KeyStore>,
        ring: Arc<Ring>,
        clock: Arc<dyn Clock>,
        entropy: Arc<dyn Entropy>,
    ) -> Self {
        Self { store, ring, clock, entropy }
    }

    /// Makes a key. Its secret is in the answer and nowhere else.
    ///
    /// # Errors
    ///
    /// When the name, the description or the expiration is not allowed, or the key could not be
    /// kept.
    pub async fn create(
        &self,
        who: &str,
        request: GenerateRequest,
    ) -> Result<GeneratedKey, IssueError> {
        let now = self.clock.wall();
        let name = validate::name(&request.name)?;
        let description = request.description.map(validate::description).transpose()?;
        let expires_at =
            request.expiration.map(|millis| validate::expiration(millis, now)).transpose()?;
        for _ in 0..ATTEMPTS {
            let (key, record) = self.draw(name.clone(), description.clone(), expires_at, now)?;
            let audit = note(AuditAction::Create, &record, changes(None, &record));
            if let Some(committed) =
                self.commit(who, now, audit, vec![Write::Insert(record.clone())]).await?
            {
                let duplicate_name = committed.duplicate_name.then_some(true);
                return Ok(GeneratedKey {
                    key: item(unused(record), now),
                    api_key: key.into_secret(),
                    duplicate_name,
                });
            }
        }
        Err(IssueError::Contended)
    }

    /// All keys, by id, with their usage up to now.
    ///
    /// # Errors
    ///
    /// When the store cannot be read.
    pub async fn list(&self) -> Result<Vec<IngestionApiKey>, IssueError> {
        let now = self.clock.wall();
        // Before the store is read, so that nothing is flushed in between and counted never or
        // twice.
        let pending = self.ring.pending_usage().await;
        let keys = self.store.list().await?;
        Ok(keys
            .into_iter()
            .map(|key| item(pending.added_to(key, now), now))
            .map(without_sources)
            .collect())
    }

    /// One key, with the places it was used from.
    ///
    /// # Errors
    ///
    /// [`IssueError::NotFound`], or when the store cannot be read.
    pub async fn get(&self, id: i64) -> Result<IngestionApiKey, IssueError> {
        let now = self.clock.wall();
        let pending = self.ring.pending_usage().await;
        Ok(item(pending.added_to(self.find(id).await?, now), now))
    }

    /// Changes what is given of a key.
    ///
    /// # Errors
    ///
    /// [`IssueError::NotFound`]; [`IssueError::Rotated`] if a key that has a successor would be
    /// good for longer; as [`create`](Self::create).
    pub async fn update(
        &self,
        who: &str,
        id: i64,
        request: UpdateRequest,
    ) -> Result<IngestionApiKey, IssueError> {
        let now = self.clock.wall();
        let name = request.name.as_deref().map(validate::name).transpose()?;
        let description = request
            .description
            .map(|text| text.map(validate::description).transpose())
            .transpose()?;
        let expires_at = request
            .expiration
            .map(|millis| millis.map(|millis| validate::expiration(millis, now)).transpose())
            .transpose()?;
        for _ in 0..ATTEMPTS {
            let pending = self.ring.pending_usage().await;
            let StoredKey { record: old, usage } = pending.added_to(self.find(id).await?, now);
            drop(pending);
            let mut new = old.clone();
            new.name = name.clone().unwrap_or(new.name);
            new.description = description.clone().unwrap_or(new.description);
            new.expires_at = expires_at.unwrap_or(new.expires_at);
            new.enabled = request.enabled.unwrap_or(new.enabled);
            if new == old {
                return Ok(item(StoredKey { record: old, usage }, now));
            }
            // Its time was given to the key in its place.
            if let Some(successor) = old.successor
                && old
                    .expires_at
                    .is_some_and(|end| new.expires_at.is_none_or(|new_end| end < new_end))
            {
                return Err(IssueError::Rotated { successor });
            }
            new.updated_at = now;
            let audit = note(AuditAction::Update, &new, changes(Some(&old), &new));
            if self.commit(who, now, audit, vec![Write::Update(new.clone())]).await?.is_some() {
                return Ok(item(StoredKey { record: new, usage }, now));
            }
        }
        Err(IssueError::Contended)
    }

    /// Ends a key for good. From the moment this returns it is refused here.
    ///
    /// # Errors
    ///
    /// [`IssueError::NotFound`], or when it could not be kept.
    pub async fn delete(&self, who: &str, id: i64) -> Result<(), IssueError> {
        let now = self.clock.wall();
        for _ in 0..ATTEMPTS {
            let record = self.find(id).await?.record;
            let audit = note(AuditAction::Delete, &record, Vec::new());
            if self.commit(who, now, audit, vec![Write::Delete(record)]).await?.is_some() {
                return Ok(());
            }
        }
        Err(IssueError::Contended)
    }

    /// Makes a key in place of another, with its name and description. It lives as long as the old
    /// one was given, from now, unless the request says until when; the old one ends after the
    /// overlap if it does not end before.
    ///
    /// # Errors
    ///
    /// [`IssueError::Rotated`], [`IssueError::Expired`] or [`IssueError::Disabled`] if there is
    /// nothing to rotate; as [`create`](Self::create).
    pub async fn rotate(
        &self,
        who: &str,
        id: i64,
        request: RotateRequest,
    ) -> Result<GeneratedKey, IssueError> {
        let now = self.clock.wall();
        let expires_at =
            request.expiration.map(|millis| validate::expiration(millis, now)).transpose()?;
        let overlap = request.overlap.map_or(OVERLAP, Duration::from_millis);
        for _ in 0..ATTEMPTS {
            let old = self.find(id).await?.record;
            if let Some(successor) = old.successor {
                return Err(IssueError::Rotated { successor });
            }
            if old.expires_at.is_some_and(|expires_at| expires_at <= now) {
                return Err(IssueError::Expired);
            }
            if !old.enabled {
                return Err(IssueError::Disabled);
            }
            let end = now.saturating_add(overlap);
            let ends_at = match old.expires_at {
                Some(expires_at) if expires_at <= end => expires_at,
                _ => validate::not_too_late(end)?,
            };
            let lifetime = old.expires_at.map(|expires_at| expires_at.since(old.created_at));
            let same_lifetime = lifetime
                .map(|lifetime| validate::not_too_late(now.saturating_add(lifetime)))
                .transpose()?;
            let (key, new) = self.draw(
                old.name.clone(),
                old.description.clone(),
                expires_at.or(same_lifetime),
                now,
            )?;
            if new.expires_at.is_some_and(|expires_at| expires_at <= now) {
                return Err(IssueError::ExpirationPast);
            }
            let ended = KeyRecord {
                expires_at: Some(ends_at),
                successor: Some(new.id),
                updated_at: now,
                ..old.clone()
            };
            let mut audit = note(AuditAction::Rotate, &old, changes(Some(&old), &ended));
            audit.other_key_id = Some(new.id);
            if self
                .commit(who, now, audit, vec![Write::Update(ended), Write::Insert(new.clone())])
                .await?
                .is_some()
            {
                return Ok(GeneratedKey {
                    key: item(unused(new), now),
                    api_key: key.into_secret(),
                    duplicate_name: None,
                });
            }
        }
        Err(IssueError::Contended)
    }

    /// Who changed what, after a revision.
    ///
    /// # Errors
    ///
    /// When the store cannot be read.
    pub async fn audit(&self, query: AuditQuery) -> Result<AuditPage, IssueError> {
        let limit = query.limit.unwrap_or(AUDIT_LIMIT).clamp(1, AUDIT_LIMIT);
        let mut entries = self.store.audit(query.after.unwrap_or(0), limit + 1).await?;
        let more = entries.len() > limit as usize;
        entries.truncate(limit as usize);
        let next = if more { entries.last().map(|entry| entry.revision) } else { None };
        Ok(AuditPage { entries, next })
    }

    /// Forgets the tombstones of keys deleted more than 90 days ago.
    ///
    /// # Errors
    ///
    /// When the store cannot be written.
    pub async fn prune(&self) -> Result<(), StoreError> {
        self.store.prune(self.clock.wall().saturating_sub(TOMBSTONES)).await
    }

    async fn find(&self, id: i64) -> Result<StoredKey, IssueError> {
        let not_found = IssueError::NotFound { id };
        let Some(id) = KeyId::new(id) else { return Err(not_found) };
        self.store.get(id).await?.ok_or(not_found)
    }

    /// A key that nobody has.
    fn draw(
        &self,
        name: String,
        description: Option<String>,
        expires_at: Option<Timestamp>,
        now: Timestamp,
    ) -> Result<(IngestionKey, KeyRecord), EntropyError> {
        let key = IngestionKey::generate(|bytes| self.entropy.fill(bytes))?;
        let id = loop {
            let mut bytes = [0; 8];
            self.entropy.fill(&mut bytes)?;
            if let Some(id) = KeyId::from_random(bytes) {
                break id;
            }
        };
        let (digest, key_start) = (KeyDigest::of(&key), key.start().to_owned());
        let (created_at, updated_at, enabled, successor, revision) = (now, now, true, None, 0);
        let record = KeyRecord {
            id,
            digest,
            key_start,
            name,
            description,
            created_at,
            updated_at,
            expires_at,
            enabled,
            successor,
            revision,
        };
        Ok((key, record))
    }

    /// Makes a change, here and in the store; nothing if somebody else came before.
    async fn commit(
        &self,
        who: &str,
        at: Timestamp,
        audit: AuditNote,
        writes: Vec<Write>,
    ) -> Result<Option<Committed>, IssueError> {
        let mut change_id = [0; 16];
        self.entropy.fill(&mut change_id)?;
        let commit = Commit { change_id, at, who: who.to_owned(), audit, writes: writes.clone() };
        match self.store.commit(commit).await {
            Ok(committed) => {
                let changes: Vec<_> =
                    writes.iter().map(|write| write.change(committed.revision, at)).collect();
                self.ring.apply(&changes);
                Ok(Some(committed))
            }
            Err(CommitError::Changed | CommitError::IdTaken) => Ok(None),
            Err(CommitError::Store(error)) => Err(error.into()),
        }
    }
}

fn unused(record: KeyRecord) -> StoredKey {
    StoredKey { record, usage: Usage::default() }
}

/// A key as it is answered.
fn item(StoredKey { record, usage }: StoredKey, now: Timestamp) -> IngestionApiKey {
    let status = match record.expires_at {
        _ if !record.enabled => KeyStatus::Disabled,
        Some(expires_at) if expires_at <= now => KeyStatus::Expired,
        Some(expires_at) if expires_at <= now.saturating_add(EXPIRING) => KeyStatus::Expiring,
        _ => KeyStatus::Active,
    };
    IngestionApiKey {
        id: record.id.get(),
        last_update_timestamp: record.updated_at.as_millis(),
        name: record.name,
        description: record.description,
        expiration: record.expires_at.map(Timestamp::as_millis),
        created_timestamp: Some(record.created_at.as_millis()),
        last_used_timestamp: usage.last_used_at.map(Timestamp::as_millis),
        accepted: Some(usage.accepted),
        denied: Some(usage.denied),
        bytes: Some(usage.bytes),
        enabled: Some(record.enabled),
        status: Some(status),
        key_start: Some(record.key_start),
        successor: record.successor.map(KeyId::get),
        sources: Some(usage.sources),
    }
}

fn without_sources(key: IngestionApiKey) -> IngestionApiKey {
    IngestionApiKey { sources: None, ..key }
}

fn note(action: AuditAction, key: &KeyRecord, changes: Vec<FieldChange>) -> AuditNote {
    AuditNote { action, key_id: key.id, key_name: key.name.clone(), other_key_id: None, changes }
}

/// What is different of a key, by the names of the wire.
fn changes(old: Option<&KeyRecord>, new: &KeyRecord) -> Vec<FieldChange> {
    let field = |field: &str, value: &dyn Fn(&KeyRecord) -> Option<String>| {
        let (from, to) = (old.and_then(value), value(new));
        (from != to).then(|| FieldChange { field: field.to_owned(), from, to })
    };
    let fields = [
        field("name", &|key| Some(key.name.clone())),
        field("description", &|key| key.description.clone()),
        field("expiration", &|key| {
            key.expires_at.map(|expires_at| expires_at.as_millis().to_string())
        }),
        field("enabled", &|key| Some(key.enabled.to_string())),
    ];
    fields.into_iter().flatten().collect()
}
