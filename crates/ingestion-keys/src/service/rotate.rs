//! The rotation of a key: a new key replaces the key.

use std::error::Error;
use std::time::Duration;

use rand_core::TryCryptoRng;

use super::error::{AlreadyRotated, ChangeError, ExpirationError, RotateError, WriteError};
use super::types::{IssuedKey, Key, Rotation};
use super::{ATTEMPTS, KeyService, changes, note, validate};
use crate::audit::AuditAction;
use crate::key::{KeyId, KeyRecord, Usage};
use crate::store::{Committed, Write};

/// How long both keys of a rotation are valid, if the caller does not set the overlap.
const OVERLAP: Duration = Duration::from_secs(24 * 60 * 60);

impl<R> KeyService<R>
where
    R: TryCryptoRng<Error: Error + Send + Sync + 'static>,
{
    /// Replaces a key by a new key with the same name and description. The old key expires at the
    /// end of the overlap, or at its own expiration if that is earlier.
    ///
    /// # Errors
    ///
    /// [`RotateError::Rotated`], [`RotateError::Expired`] or [`RotateError::Disabled`] if the key
    /// cannot be rotated. [`RotateError::Expiration`] if the new key or the old key would expire at
    /// a time that is not allowed. [`RotateError::Change`] if there is no key with this id, or if
    /// the change could not be stored.
    pub async fn rotate(
        &self,
        who: &str,
        id: KeyId,
        rotation: Rotation,
    ) -> Result<IssuedKey, RotateError> {
        let now = self.clock.wall();
        let expires_at = rotation.expires_at.map(|at| validate::expiration(at, now)).transpose()?;
        let overlap = rotation.overlap.unwrap_or(OVERLAP);
        for _ in 0..ATTEMPTS {
            let old = self.find(id).await.map_err(ChangeError::from)?.record;
            if let Some(successor) = old.successor {
                return Err(AlreadyRotated { successor }.into());
            }
            if old.expires_at.is_some_and(|expires_at| expires_at <= now) {
                return Err(RotateError::Expired);
            }
            if !old.enabled {
                return Err(RotateError::Disabled);
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
            let new_end = expires_at.or(same_lifetime);
            let (secret, new) = self
                .draw(old.role, old.name.clone(), old.description.clone(), new_end, now)
                .map_err(ChangeError::from)?;
            if new.expires_at.is_some_and(|expires_at| expires_at <= now) {
                return Err(ExpirationError::Past.into());
            }
            let ended = KeyRecord {
                expires_at: Some(ends_at),
                successor: Some(new.id),
                updated_at: now,
                ..old.clone()
            };
            let mut audit = note(AuditAction::Rotate, &old, changes(Some(&old), &ended));
            audit.other_key_id = Some(new.id);
            let writes = vec![Write::Update(ended), Write::Insert(new.clone())];
            let committed = self.commit(who, now, audit, writes).await;
            if let Some(Committed { revision, .. }) = committed.map_err(ChangeError::from)? {
                let key = Key::at(now, KeyRecord { revision, ..new }, Usage::default());
                return Ok(IssuedKey { key, secret, duplicate_name: false });
            }
        }
        Err(ChangeError::from(WriteError::Contended).into())
    }
}
