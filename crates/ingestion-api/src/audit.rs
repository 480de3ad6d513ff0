//! The audit log: who changed which key.

use serde::{Deserialize, Serialize};

/// The query of [`AUDIT`](crate::route::AUDIT).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "utoipa", derive(utoipa::IntoParams), into_params(parameter_in = Query))]
pub struct AuditQuery {
    /// The page has only entries with a larger revision than this. If this field is absent, the
    /// page begins with the first entry.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after: Option<i64>,
    /// The largest number of entries to return. The server may return fewer, because it has a limit
    /// of its own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
}

/// A page of the audit log. The oldest entry comes first.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "utoipa", derive(utoipa::ToSchema))]
pub struct AuditPage {
    /// The entries.
    pub entries: Vec<AuditEntry>,
    /// The value of `after` for the next page. It is absent on the last page.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<i64>,
}

/// A change of a key. The entry contains no secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "utoipa", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct AuditEntry {
    /// The position of the change among all changes. A later change has a larger revision.
    pub revision: i64,
    /// The time of the change, in milliseconds since the epoch.
    pub timestamp: i64,
    /// The name of the admin token that made the change.
    pub who: String,
    /// The kind of the change.
    pub action: AuditAction,
    /// The id of the key.
    pub key_id: i64,
    /// The name of the key after the change. For a deleted key, it is the last name.
    pub key_name: String,
    /// The id of the other key of a rotation. In the entry of the old key, it is the id of the new
    /// key. In the entry of the new key, it is the id of the old key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub other_key_id: Option<i64>,
    /// The fields that were changed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub changes: Vec<FieldChange>,
}

/// The kind of a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "utoipa", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum AuditAction {
    /// The key was created.
    Create,
    /// Fields of the key were changed.
    Update,
    /// The key was replaced by a new key, and expires at the end of the overlap.
    Rotate,
    /// The key was deleted.
    Delete,
    /// A kind that this version does not know. It is never serialized.
    #[serde(other)]
    Unknown,
}

/// One changed field of a key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "utoipa", derive(utoipa::ToSchema))]
pub struct FieldChange {
    /// The JSON name of the field.
    pub field: String,
    /// The value before the change, as text. It is absent if the field had no value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// The value after the change, as text. It is absent if the field has no value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
}
