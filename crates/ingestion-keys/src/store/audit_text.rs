//! The texts that stand for actions and changed fields in the tables of the audit log. These texts
//! belong to the format of a database. They do not change when a name in the API or in the code
//! changes.

use crate::audit::{AuditAction, FieldChange, FromTo};
use crate::clock::Timestamp;
use crate::key::KeyRole;

/// A text that no version writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct NotUnderstood;

pub(super) fn action_name(action: AuditAction) -> &'static str {
    match action {
        AuditAction::Create => "create",
        AuditAction::Update => "update",
        AuditAction::Rotate => "rotate",
        AuditAction::Delete => "delete",
    }
}

pub(super) fn action(name: &str) -> Result<AuditAction, NotUnderstood> {
    match name {
        "create" => Ok(AuditAction::Create),
        "update" => Ok(AuditAction::Update),
        "rotate" => Ok(AuditAction::Rotate),
        "delete" => Ok(AuditAction::Delete),
        _ => Err(NotUnderstood),
    }
}

/// Returns the values of the columns `field`, `old_value` and `new_value` for a change.
pub(super) fn columns(change: &FieldChange) -> (&'static str, FromTo<String>) {
    fn texts<T>(values: &FromTo<T>, text: impl Fn(&T) -> String) -> FromTo<String> {
        FromTo { from: values.from.as_ref().map(&text), to: values.to.as_ref().map(&text) }
    }
    match change {
        FieldChange::Role(values) => ("role", texts(values, |role| role.as_str().to_owned())),
        FieldChange::Name(values) => ("name", values.clone()),
        FieldChange::Description(values) => ("description", values.clone()),
        FieldChange::Expiration(values) => {
            ("expiration", texts(values, |at| at.as_millis().to_string()))
        }
        FieldChange::Enabled(values) => ("enabled", texts(values, bool::to_string)),
    }
}

/// Reads a change from the values of its three columns.
pub(super) fn field_change(
    field: &str,
    values: FromTo<String>,
) -> Result<FieldChange, NotUnderstood> {
    fn parsed<T>(
        values: FromTo<String>,
        parse: impl Fn(&str) -> Option<T>,
    ) -> Result<FromTo<T>, NotUnderstood> {
        let value =
            |text: Option<String>| text.map(|text| parse(&text).ok_or(NotUnderstood)).transpose();
        Ok(FromTo { from: value(values.from)?, to: value(values.to)? })
    }
    Ok(match field {
        "role" => FieldChange::Role(parsed(values, KeyRole::named)?),
        "name" => FieldChange::Name(values),
        "description" => FieldChange::Description(values),
        "expiration" => FieldChange::Expiration(parsed(values, |text| {
            text.parse().ok().map(Timestamp::from_millis)
        })?),
        "enabled" => FieldChange::Enabled(parsed(values, |text| text.parse().ok())?),
        _ => return Err(NotUnderstood),
    })
}
