//! Converts between the types of this crate and those that a gateway and its followers send each
//! other.

use ingestion_api::{FollowCursor, FollowedKey, KeySource, KeyUsage};

use crate::clock::Timestamp;
use crate::key::{KeyClient, KeyDigest, KeyId, KeyRole, Usage};
use crate::store::{Change, Cursor, KeyState};

/// Something that was received has an id or an address that is not possible.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an id or an address is not possible")]
pub struct NotPossible;

impl From<Cursor> for FollowCursor {
    fn from(Cursor { revision, change_id }: Cursor) -> Self {
        Self { revision, change_id }
    }
}

impl From<FollowCursor> for Cursor {
    fn from(FollowCursor { revision, change_id }: FollowCursor) -> Self {
        Self { revision, change_id }
    }
}

impl From<&Change> for FollowedKey {
    fn from(change: &Change) -> Self {
        let (name, expiration, disabled, deleted) = match &change.state {
            KeyState::Live { name, expires_at, enabled } => {
                (name.clone(), expires_at.map(Timestamp::as_millis), !enabled, None)
            }
            KeyState::Deleted { at } => (String::new(), None, false, Some(at.as_millis())),
        };
        let (revision, id, digest) = (change.revision, change.id.get(), *change.digest.as_bytes());
        Self { revision, id, digest, name, expiration, disabled, deleted }
    }
}

impl TryFrom<FollowedKey> for Change {
    type Error = NotPossible;

    fn try_from(key: FollowedKey) -> Result<Self, NotPossible> {
        let state = match key.deleted {
            Some(at) => KeyState::Deleted { at: Timestamp::from_millis(at) },
            None => KeyState::Live {
                name: key.name,
                expires_at: key.expiration.map(Timestamp::from_millis),
                enabled: !key.disabled,
            },
        };
        Ok(Self {
            revision: key.revision,
            id: KeyId::new(key.id).ok_or(NotPossible)?,
            // A gateway sends no tokens of followers.
            role: KeyRole::Ingestion,
            digest: KeyDigest::from_bytes(key.digest),
            state,
        })
    }
}

impl Usage {
    /// Converts the usage of a key for a report of a follower.
    #[must_use]
    pub fn into_report(self, id: KeyId) -> KeyUsage {
        let source = |client: KeyClient| KeySource {
            address: client.address.to_string(),
            user_agent: client.user_agent,
            last_used_timestamp: client.last_used_at.as_millis(),
        };
        KeyUsage {
            id: id.get(),
            accepted: self.accepted,
            failed: self.failed,
            denied: self.denied,
            bytes: self.bytes,
            last_used_timestamp: self.last_used_at.map(Timestamp::as_millis),
            sources: self.clients.into_iter().map(source).collect(),
        }
    }

    /// Converts the usage of a key from a report of a follower.
    ///
    /// # Errors
    ///
    /// When the id or an address is not possible.
    pub fn from_report(usage: KeyUsage) -> Result<(KeyId, Self), NotPossible> {
        let client = |source: KeySource| {
            Ok(KeyClient {
                address: source.address.parse().map_err(|_| NotPossible)?,
                user_agent: source.user_agent,
                last_used_at: Timestamp::from_millis(source.last_used_timestamp),
            })
        };
        let id = KeyId::new(usage.id).ok_or(NotPossible)?;
        let usage = Self {
            accepted: usage.accepted,
            failed: usage.failed,
            denied: usage.denied,
            bytes: usage.bytes,
            last_used_at: usage.last_used_timestamp.map(Timestamp::from_millis),
            clients: usage.sources.into_iter().map(client).collect::<Result<_, _>>()?,
        };
        Ok((id, usage))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // Scenario: a key in each state, and a usage with clients, are converted and converted back.
    // Guarantee: nothing is lost. Ids and addresses that are not possible are errors.
    #[test]
    fn nothing_is_lost_on_the_way() {
        let (id, digest) = (KeyId::new(7).unwrap(), KeyDigest::from_bytes([3; 32]));
        let at = Timestamp::from_millis(9);
        let live =
            |expires_at, enabled| KeyState::Live { name: "n".to_owned(), expires_at, enabled };
        for state in [live(None, true), live(Some(at), false), KeyState::Deleted { at }] {
            let change = Change { revision: 5, id, role: KeyRole::Ingestion, digest, state };
            assert_eq!(FollowedKey::from(&change).try_into(), Ok(change));
        }
        let client = KeyClient {
            address: [192, 0, 2, 7].into(),
            user_agent: Some("agent".to_owned()),
            last_used_at: at,
        };
        let usage = Usage {
            accepted: 1,
            failed: 2,
            denied: 3,
            bytes: 4,
            last_used_at: Some(at),
            clients: vec![client],
        };
        let report = usage.clone().into_report(id);
        assert_eq!(Usage::from_report(report.clone()), Ok((id, usage)));
        let no_id = KeyUsage { id: 0, ..report.clone() };
        let mut no_address = report;
        no_address.sources[0].address.clear();
        for wrong in [no_id, no_address] {
            assert_eq!(Usage::from_report(wrong), Err(NotPossible));
        }
    }
}
