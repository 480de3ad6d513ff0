//! The arguments and the results of the service.

use std::time::Duration;

use ingestion_api::IngestionKey;

use crate::clock::Timestamp;
use crate::key::{KeyRecord, KeyRole, Usage};

/// A key has the status [`KeyStatus::Expiring`] for this long before it expires.
const EXPIRING: Duration = Duration::from_secs(14 * 24 * 60 * 60);

/// A key to be created.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NewKey {
    /// What the key is for.
    pub role: KeyRole,
    /// The name. Several keys may have the same name.
    pub name: String,
    /// The description.
    pub description: Option<String>,
    /// The end of the validity. The key is valid only before this time. With `None`, the key never
    /// expires.
    pub expires_at: Option<Timestamp>,
}

/// New values for the fields of a key. A field that is `None` keeps its value. `Some(None)` clears
/// an optional field.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeyUpdate {
    /// The new name.
    pub name: Option<String>,
    /// The new description.
    pub description: Option<Option<String>>,
    /// The new end of the validity.
    pub expires_at: Option<Option<Timestamp>>,
    /// Whether the key is enabled.
    pub enabled: Option<bool>,
}

/// The options of a rotation, which replaces a key by a new key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rotation {
    /// How long both keys are valid. `None` means 24 hours.
    pub overlap: Option<Duration>,
    /// The end of the validity of the new key. With `None`, the lifetime of the new key is the time
    /// from the creation to the expiration of the old key. If the old key never expires, the new
    /// key never expires either.
    pub expires_at: Option<Timestamp>,
}

/// A key with its usage and its status at the time of the call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Key {
    /// The key.
    pub record: KeyRecord,
    /// The usage of the key up to the time of the call.
    pub usage: Usage,
    /// The status of the key.
    pub status: KeyStatus,
}

/// The status of a key, which follows from its fields and the current time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum KeyStatus {
    /// The key is valid.
    Active,
    /// The key is valid and expires within 14 days.
    Expiring,
    /// The key has expired.
    Expired,
    /// The key is disabled.
    Disabled,
}

/// A key that was just created, with its secret. The secret is not stored and cannot be read again.
/// `Debug` does not print the secret.
#[derive(Debug)]
pub struct IssuedKey {
    /// The key.
    pub key: Key,
    /// The secret.
    pub secret: IngestionKey,
    /// Whether another key has the same name. After a rotation this is always `false`, although the
    /// new key has the name of the old key.
    pub duplicate_name: bool,
}

impl Key {
    pub(super) fn at(now: Timestamp, record: KeyRecord, usage: Usage) -> Self {
        let status = match record.expires_at {
            _ if !record.enabled => KeyStatus::Disabled,
            Some(expires_at) if expires_at <= now => KeyStatus::Expired,
            Some(expires_at) if expires_at <= now.saturating_add(EXPIRING) => KeyStatus::Expiring,
            _ => KeyStatus::Active,
        };
        Self { record, usage, status }
    }
}
