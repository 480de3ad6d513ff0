//! What the service is asked for, and what it returns.

use std::time::Duration;

use ingestion_api::IngestionKey;

use crate::clock::Timestamp;
use crate::key::{KeyRecord, Usage};

/// How long before its end a key counts as expiring.
const EXPIRING: Duration = Duration::from_secs(14 * 24 * 60 * 60);

/// A key to be created.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NewKey {
    /// The name. Several keys may have the same name.
    pub name: String,
    /// The description.
    pub description: Option<String>,
    /// The end of its validity: it is valid strictly before. Without, it never expires.
    pub expires_at: Option<Timestamp>,
}

/// New values for the fields of a key. A field that is `None` keeps its value; for a field that is
/// optional itself, `Some(None)` clears it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeyUpdate {
    /// The new name.
    pub name: Option<String>,
    /// The new description.
    pub description: Option<Option<String>>,
    /// The new end of its validity.
    pub expires_at: Option<Option<Timestamp>>,
    /// Whether the key is enabled.
    pub enabled: Option<bool>,
}

/// How a key is replaced by another.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rotation {
    /// How long both keys are valid; 24 hours if it is `None`.
    pub overlap: Option<Duration>,
    /// The end of the new key's validity. If it is `None`, the new key gets as much time as the old
    /// one got.
    pub expires_at: Option<Timestamp>,
}

/// A key, how it was used, and its status at the time of the call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Key {
    /// The key.
    pub record: KeyRecord,
    /// How it was used up to now.
    pub usage: Usage,
    /// Its status.
    pub status: KeyStatus,
}

/// The effective status of a key.
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

/// A key that was just created. This is the only value with its secret; `Debug` does not print it.
#[derive(Debug)]
pub struct IssuedKey {
    /// The key.
    pub key: Key,
    /// The secret.
    pub secret: IngestionKey,
    /// Whether another key has the same name. It is `false` for a key that was created by a
    /// rotation, which has the name of the key that it replaces.
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
