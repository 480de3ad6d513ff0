//! Converts between the wire types of the API and the types of `ingestion-keys`.

use std::time::Duration;

use http::StatusCode;
use ingestion_api::{
    AuditAction, AuditEntry, AuditPage, FieldChange, GenerateRequest, GeneratedKey,
    IngestionApiKey, KeyRole, KeySource, KeyStatus, RotateRequest, UpdateRequest,
};
use ingestion_keys::clock::Timestamp;
use ingestion_keys::service::{self, IssuedKey, Key, KeyUpdate, NewKey, Rotation};
use ingestion_keys::{KeyClient, KeyId, audit};

use super::problem::Problem;
use crate::follow::Hub;

/// Converts the role of a request. Without one, a key is for ingestion.
pub(super) fn role(role: Option<KeyRole>) -> Result<ingestion_keys::KeyRole, Problem> {
    match role {
        None | Some(KeyRole::Ingestion) => Ok(ingestion_keys::KeyRole::Ingestion),
        Some(KeyRole::Follower) => Ok(ingestion_keys::KeyRole::Follower),
        Some(KeyRole::Unknown) => Err(unknown_role()),
    }
}

pub(super) fn unknown_role() -> Problem {
    let message = "`role`: expected ingestion or follower";
    Problem::new(StatusCode::BAD_REQUEST, "InvalidRequest", message)
}

pub(super) fn new_key(request: GenerateRequest) -> Result<NewKey, Problem> {
    Ok(NewKey {
        role: role(request.role)?,
        name: request.name,
        description: request.description,
        expires_at: request.expiration.map(Timestamp::from_millis),
    })
}

pub(super) fn key_update(request: UpdateRequest) -> KeyUpdate {
    KeyUpdate {
        name: request.name,
        description: request.description,
        expires_at: request.expiration.map(|end| end.map(Timestamp::from_millis)),
        enabled: request.enabled,
    }
}

pub(super) fn rotation(request: RotateRequest) -> Rotation {
    Rotation {
        overlap: request.overlap.map(Duration::from_millis),
        expires_at: request.expiration.map(Timestamp::from_millis),
    }
}

/// Converts a key for the list of all keys. That list does not contain the clients of a key.
pub(super) fn listed_key(key: Key, hub: &Hub) -> IngestionApiKey {
    IngestionApiKey { sources: None, ..single_key(key, hub) }
}

/// Converts a key. The token of a follower has the followers that are connected with it.
pub(super) fn single_key(Key { record, usage, status }: Key, hub: &Hub) -> IngestionApiKey {
    let (role, connections) = match record.role {
        ingestion_keys::KeyRole::Ingestion => (None, None),
        ingestion_keys::KeyRole::Follower => {
            (Some(KeyRole::Follower), Some(hub.connections(record.id.get().unsigned_abs())))
        }
    };
    IngestionApiKey {
        role,
        id: record.id.get(),
        last_update_timestamp: record.updated_at.as_millis(),
        name: record.name,
        description: record.description,
        expiration: record.expires_at.map(Timestamp::as_millis),
        created_timestamp: Some(record.created_at.as_millis()),
        last_used_timestamp: usage.last_used_at.map(Timestamp::as_millis),
        accepted: Some(usage.accepted),
        failed: Some(usage.failed),
        denied: Some(usage.denied),
        bytes: Some(usage.bytes),
        enabled: Some(record.enabled),
        status: Some(key_status(status)),
        key_start: Some(record.key_start),
        successor: record.successor.map(KeyId::get),
        sources: Some(usage.clients.into_iter().map(key_source).collect()),
        connections,
    }
}

/// Converts a new key with its secret. No other response contains the secret.
pub(super) fn generated_key(issued: IssuedKey, hub: &Hub) -> GeneratedKey {
    GeneratedKey {
        key: single_key(issued.key, hub),
        api_key: issued.secret.into_secret(),
        duplicate_name: issued.duplicate_name.then_some(true),
    }
}

pub(super) fn audit_page(page: audit::AuditPage) -> AuditPage {
    AuditPage { entries: page.entries.into_iter().map(audit_entry).collect(), next: page.next }
}

fn audit_entry(audit::AuditEntry { revision, at, who, note }: audit::AuditEntry) -> AuditEntry {
    AuditEntry {
        revision,
        timestamp: at.as_millis(),
        who,
        action: match note.action {
            audit::AuditAction::Create => AuditAction::Create,
            audit::AuditAction::Update => AuditAction::Update,
            audit::AuditAction::Rotate => AuditAction::Rotate,
            audit::AuditAction::Delete => AuditAction::Delete,
        },
        key_id: note.key_id.get(),
        key_name: note.key_name,
        other_key_id: note.other_key_id.map(KeyId::get),
        changes: note.changes.into_iter().map(field_change).collect(),
    }
}

/// Converts a changed field. The result has the name of the field in the API, and both the old and
/// the new value as text.
fn field_change(change: audit::FieldChange) -> FieldChange {
    fn texts<T>(field: &str, values: audit::FromTo<T>, text: impl Fn(T) -> String) -> FieldChange {
        let field = field.to_owned();
        FieldChange { field, from: values.from.map(&text), to: values.to.map(&text) }
    }
    match change {
        audit::FieldChange::Role(values) => texts("role", values, |role| role.as_str().to_owned()),
        audit::FieldChange::Name(values) => texts("name", values, |name| name),
        audit::FieldChange::Description(values) => texts("description", values, |text| text),
        audit::FieldChange::Expiration(values) => {
            texts("expiration", values, |at| at.as_millis().to_string())
        }
        audit::FieldChange::Enabled(values) => {
            texts("enabled", values, |enabled| enabled.to_string())
        }
    }
}

fn key_status(status: service::KeyStatus) -> KeyStatus {
    match status {
        service::KeyStatus::Active => KeyStatus::Active,
        service::KeyStatus::Expiring => KeyStatus::Expiring,
        service::KeyStatus::Expired => KeyStatus::Expired,
        service::KeyStatus::Disabled => KeyStatus::Disabled,
    }
}

fn key_source(client: KeyClient) -> KeySource {
    KeySource {
        address: client.address.to_string(),
        user_agent: client.user_agent,
        last_used_timestamp: client.last_used_at.as_millis(),
    }
}
