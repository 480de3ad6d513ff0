//! The record of who changed which key, and how.

use crate::clock::Timestamp;
use crate::key::KeyId;

/// One change of one key, as it is read from the audit log. It never contains a secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditEntry {
    /// The position of the change among all changes: later changes have larger revisions.
    pub revision: i64,
    /// The time of the change.
    pub at: Timestamp,
    /// The name of whoever made the change.
    pub who: String,
    /// The content of the change.
    pub note: AuditNote,
}

/// The content of a change: which key was changed, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditNote {
    /// The kind of change.
    pub action: AuditAction,
    /// The id of the changed key.
    pub key_id: KeyId,
    /// The name of the key after the change, or before its deletion.
    pub key_name: String,
    /// The new key of a rotation.
    pub other_key_id: Option<KeyId>,
    /// The fields that have a new value.
    pub changes: Vec<FieldChange>,
}

/// The kind of a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AuditAction {
    /// The key was created.
    Create,
    /// A field of the key was changed.
    Update,
    /// The key was replaced by another key, and ends when their overlap ends.
    Rotate,
    /// The key was deleted.
    Delete,
}

/// A field of a key, with its values before and after a change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FieldChange {
    /// The name.
    Name(FromTo<String>),
    /// The description.
    Description(FromTo<String>),
    /// The end of the key's validity.
    Expiration(FromTo<Timestamp>),
    /// Whether the key is enabled.
    Enabled(FromTo<bool>),
}

/// Two values of one field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FromTo<T> {
    /// The value before the change; `None` if the field was not set.
    pub from: Option<T>,
    /// The value after the change; `None` if the field is not set any more.
    pub to: Option<T>,
}

/// Consecutive entries of the audit log, oldest first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AuditPage {
    /// The entries.
    pub entries: Vec<AuditEntry>,
    /// The revision after which the next page begins; `None` on the last page.
    pub next: Option<i64>,
}
