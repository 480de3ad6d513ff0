//! The types of a stored key. None of them contains the plaintext of the key.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::net::IpAddr;

use ingestion_api::IngestionKey;
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq;

use crate::clock::Timestamp;
use crate::sha256_block::sha256_of_key_len;

/// The id of a key: a random positive number below 2^53. No other key ever gets the same id, even
/// after the key was deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyId(i64);

impl KeyId {
    /// The smallest number that is too large for an id: 2^53. Ids are smaller, so that every JSON
    /// parser reads them exactly.
    pub const END: i64 = 1 << 53;

    /// Makes an id from a number. Returns `None` if the number is out of range.
    ///
    /// # Examples
    ///
    /// ```
    /// use ingestion_keys::KeyId;
    ///
    /// assert_eq!(KeyId::new(250_558_013_078_953).map(KeyId::get), Some(250_558_013_078_953));
    /// assert!([0, -1, 1 << 53, i64::MAX].into_iter().all(|number| KeyId::new(number).is_none()));
    /// ```
    #[must_use]
    pub const fn new(number: i64) -> Option<Self> {
        if number > 0 && number < Self::END { Some(Self(number)) } else { None }
    }

    /// Makes an id from random bytes. Returns `None` if the id would be zero, which happens in one
    /// of 2^53 cases.
    #[must_use]
    pub fn from_random(bytes: [u8; 8]) -> Option<Self> {
        Self::new(i64::from_le_bytes(bytes) & (Self::END - 1))
    }

    /// Returns the id as a number.
    #[must_use]
    pub const fn get(self) -> i64 {
        self.0
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The SHA-256 of a key, which is stored instead of the key. A slow hash, as for passwords, is not
/// needed, because a key has 142 random bits.
///
/// Digests are compared in constant time.
#[derive(Clone, Copy)]
pub struct KeyDigest([u8; 32]);

impl KeyDigest {
    /// Computes the digest of a key.
    #[must_use]
    pub fn of(key: &IngestionKey) -> Self {
        Self::of_bytes(key.expose_secret().as_bytes())
    }

    /// Computes the digest of a presented token that has the format of a key.
    #[inline]
    pub(crate) fn of_bytes(presented: &[u8]) -> Self {
        Self(match presented.try_into() {
            Ok(key) => sha256_of_key_len(key),
            Err(_) => Sha256::digest(presented).into(),
        })
    }

    /// Makes a digest from its stored bytes.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// Returns the bytes to be stored.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl PartialEq for KeyDigest {
    fn eq(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl Eq for KeyDigest {}

impl Hash for KeyDigest {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.hash(state);
    }
}

impl fmt::Debug for KeyDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("KeyDigest").finish_non_exhaustive()
    }
}

/// What a key is for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum KeyRole {
    /// The key is for sending telemetry. It cannot follow a gateway.
    #[default]
    Ingestion,
    /// The key is the token of a process that follows a gateway and decides on keys itself. It is
    /// not accepted with telemetry.
    Follower,
}

impl KeyRole {
    /// All roles.
    pub(crate) const ALL: [Self; 2] = [Self::Ingestion, Self::Follower];

    /// Returns the name of the role: `ingestion` or `follower`. The name belongs to the format of a
    /// database.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ingestion => "ingestion",
            Self::Follower => "follower",
        }
    }

    /// Returns the role with this name.
    #[cfg(any(feature = "postgres", feature = "sqlite"))]
    pub(crate) fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|role| role.as_str() == name)
    }
}

/// A key in a store, without its usage.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct KeyRecord {
    /// The id.
    pub id: KeyId,
    /// What the key is for. It never changes.
    pub role: KeyRole,
    /// The digest by which a presented key is recognised.
    pub digest: KeyDigest,
    /// The first four characters of the key after its prefix. People tell keys apart by these
    /// characters.
    pub key_start: String,
    /// The name. Several keys may have the same name.
    pub name: String,
    /// The description.
    pub description: Option<String>,
    /// The time at which the key was created.
    pub created_at: Timestamp,
    /// The time of the last change of the key.
    pub updated_at: Timestamp,
    /// The end of the validity. The key is valid only before this time. With `None`, the key never
    /// expires.
    pub expires_at: Option<Timestamp>,
    /// Whether the key is enabled. A disabled key is denied.
    pub enabled: bool,
    /// The key that replaced this key in a rotation.
    pub successor: Option<KeyId>,
    /// The revision of the last change of the key. The store sets this field.
    pub revision: i64,
}

/// A key and its usage.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct StoredKey {
    /// The key.
    pub record: KeyRecord,
    /// The usage that is in the store. Usage since the last flush is not included.
    pub usage: Usage,
}

/// The usage of a key: how often, when and by which clients the key was used.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Usage {
    /// The number of requests that were allowed and answered with success. In a cache that does not
    /// learn the answers, every allowed request is counted here
    /// ([`KeyCacheOptions`](crate::cache::KeyCacheOptions)).
    pub accepted: u64,
    /// The number of requests that were allowed and not answered with success.
    pub failed: u64,
    /// The number of requests that were denied because the key had expired or was disabled.
    pub denied: u64,
    /// The number of bytes in the allowed requests.
    pub bytes: u64,
    /// The time of the last allowed request.
    pub last_used_at: Option<Timestamp>,
    /// The clients that used the key, the latest first. This field is empty if the key was read as
    /// part of a list of keys.
    pub clients: Vec<KeyClient>,
}

/// A client that used a key.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct KeyClient {
    /// The address that the requests came from.
    pub address: IpAddr,
    /// The user agent that the client sends.
    pub user_agent: Option<String>,
    /// The time of the last allowed request of the client. What a store has can be a minute older,
    /// because a cache writes it at most once a minute.
    pub last_used_at: Timestamp,
}

impl Usage {
    /// Adds later usage to this usage. Keeps at most `max_clients` clients, and no client that was
    /// last seen before `oldest_client`.
    pub fn add(&mut self, later: Self, max_clients: usize, oldest_client: Option<Timestamp>) {
        self.accepted = self.accepted.saturating_add(later.accepted);
        self.failed = self.failed.saturating_add(later.failed);
        self.denied = self.denied.saturating_add(later.denied);
        self.bytes = self.bytes.saturating_add(later.bytes);
        self.last_used_at = self.last_used_at.max(later.last_used_at);
        let mut all = std::mem::take(&mut self.clients);
        all.extend(later.clients);
        all.retain(|client| Some(client.last_used_at) >= oldest_client);
        // Clients of the same flush have the same time. The sort is stable, so that these clients
        // keep their order.
        all.sort_by_key(|client| std::cmp::Reverse(client.last_used_at));
        for client in all {
            if self.clients.len() == max_clients {
                break;
            }
            let same = |known: &KeyClient| {
                known.address == client.address && known.user_agent == client.user_agent
            };
            if !self.clients.iter().any(same) {
                self.clients.push(client);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        // Scenario: the digests of two texts are computed. One text has the length of a key, and
        // the other text has any length.
        // Guarantee: each digest is the SHA-256 of its text.
        #[test]
        fn a_digest_is_sha_256(key: [u8; 32], rest: [u8; 11], other: Vec<u8>) {
            for text in [[&key[..], &rest].concat(), other] {
                let sha_256: [u8; 32] = Sha256::digest(&text).into();
                prop_assert_eq!(*KeyDigest::of_bytes(&text).as_bytes(), sha_256);
            }
        }

        // Scenario: two digests differ in one bit, at a random position.
        // Guarantee: the two digests are not equal. A digest equals itself.
        #[test]
        fn digests_are_compared_whole(digest: [u8; 32], bit in 0..256_usize) {
            let mut other = digest;
            other[bit / 8] ^= 1 << (bit % 8);
            prop_assert_ne!(KeyDigest::from_bytes(digest), KeyDigest::from_bytes(other));
            prop_assert_eq!(KeyDigest::from_bytes(digest), KeyDigest::from_bytes(digest));
        }
    }

    // Scenario: ids are made from zero bytes, from bytes with all 64 bits set, and from bytes with
    // only the bits above the lowest 53 bits set.
    // Guarantee: an id is positive and below 2^53. No id is made if the lowest 53 bits are zero.
    #[test]
    fn ids_are_exact_in_json() {
        assert_eq!(KeyId::from_random([0; 8]), None);
        assert_eq!(KeyId::from_random([0xff; 8]).map(KeyId::get), Some(KeyId::END - 1));
        assert_eq!(KeyId::from_random([0, 0, 0, 0, 0, 0, 0xe0, 0xff]), None);
    }
}
