//! Who changed what.

use serde::{Deserialize, Serialize};

/// The query of [`AUDIT`](crate::route::AUDIT).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "utoipa", derive(utoipa::IntoParams), into_params(parameter_in = Query))]
pub struct AuditQuery {
    /// Entries after this revision; from the beginning without.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after: Option<i64>,
    /// At most this many entries; the server has a limit of its own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
}

/// Some entries, oldest first.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "utoipa", derive(utoipa::ToSchema))]
pub struct AuditPage {
    /// The entries.
    pub entries: Vec<AuditEntry>,
    /// What to ask for next with `after`; nothing when this was the last page.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<i64>,
}

/// One change of one key. Never a secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "utoipa", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct AuditEntry {
    /// The place of the change among all changes: later ones are larger.
    pub revision: i64,
    /// When, in milliseconds since the epoch.
    pub timestamp: i64,
    /// Who: the name of the admin token.
    pub who: String,
    /// What.
    pub action: AuditAction,
    /// The key's id.
    pub key_id: i64,
    /// The key's name after the change, or before it was deleted.
    pub key_name: String,
    /// The key that was made in place of this one, or that this one was made in place of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub other_key_id: Option<i64>,
    /// What is different.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub changes: Vec<FieldChange>,
}

/// What was done to a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "utoipa", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum AuditAction {
    /// It was created.
    Create,
    /// It was changed.
    Update,
    /// It was replaced by another, and ends at the end of the overlap.
    Rotate,
    /// It was deleted.
    Delete,
    /// Something that this version does not know; only read.
    #[serde(other)]
    Unknown,
}

/// One field of a key, before and after.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "utoipa", derive(utoipa::ToSchema))]
pub struct FieldChange {
    /// Its name on the wire.
    pub field: String,
    /// What it was, as text; nothing if it was not set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// What it is, as text; nothing if it is not set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
}
