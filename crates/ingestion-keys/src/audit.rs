//! The record of who changed which key, and how.

use crate::clock::Timestamp;
use crate::key::{KeyId, KeyRole};

/// An entry of the audit log: one change of one key. An entry never contains a secret.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct AuditEntry {
    /// The position of the change among all changes: later changes have larger revisions.
    pub revision: i64,
    /// The time of the change.
    pub at: Timestamp,
    /// The name of the person or program that made the change.
    pub who: String,
    /// The content of the change.
    pub note: AuditNote,
}

/// The content of a change: which key was changed, and how.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct AuditNote {
    /// The kind of change.
    pub action: AuditAction,
    /// The id of the changed key.
    pub key_id: KeyId,
    /// The name of the key after the change. For a deletion, this is the last name of the key.
    pub key_name: String,
    /// The id of the new key, if the change is a rotation.
    pub other_key_id: Option<KeyId>,
    /// The fields that have a new value after the change.
    pub changes: Vec<FieldChange>,
}

/// The kind of a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AuditAction {
    /// The key was created.
    Create,
    /// A field of the key was changed.
    Update,
    /// A new key replaced the key. The old key expires when the overlap ends, or earlier if its own
    /// expiration comes first.
    Rotate,
    /// The key was deleted.
    Delete,
}

impl AuditAction {
    /// Returns the label for logs: `create`, `update`, `rotate` or `delete`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Update => "update",
            Self::Rotate => "rotate",
            Self::Delete => "delete",
        }
    }
}

/// A field of a key, with its values before and after a change.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum FieldChange {
    /// The role. Only a new key that is not for ingestion has this change.
    Role(FromTo<KeyRole>),
    /// The name.
    Name(FromTo<String>),
    /// The description.
    Description(FromTo<String>),
    /// The end of the key's validity.
    Expiration(FromTo<Timestamp>),
    /// Whether the key is enabled.
    Enabled(FromTo<bool>),
}

impl FieldChange {
    /// Returns the name of the field.
    #[must_use]
    pub fn field(&self) -> &'static str {
        match self {
            Self::Role(_) => "role",
            Self::Name(_) => "name",
            Self::Description(_) => "description",
            Self::Expiration(_) => "expiration",
            Self::Enabled(_) => "enabled",
        }
    }
}

/// The values of a field before and after a change.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
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
