//! A key as it is answered.

use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize, Serializer};

/// A key as it is listed: never its secret.
///
/// `id`, `last_update_timestamp`, `name`, `description` and `expiration` are the original's;
/// everything else is ours, and missing from another server's answer.
///
/// # Examples
///
/// ```
/// use ingestion_api::IngestionApiKey;
///
/// let text = r#"{"id": 250558013078953, "lastUpdateTimestamp": 1590105600000, "name": "my-ingestion-api-key", "anything": {}}"#;
/// let key: IngestionApiKey = serde_json::from_str(text)?;
/// assert_eq!((key.id, key.expiration, key.status), (250558013078953, None, None));
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(
    feature = "utoipa",
    derive(utoipa::ToSchema),
    schema(description = "A key as it is listed: never its secret.")
)]
#[serde(rename_all = "camelCase")]
pub struct IngestionApiKey {
    /// Positive, below 2^53.
    pub id: i64,
    /// When it was last changed, in milliseconds since the epoch.
    pub last_update_timestamp: i64,
    /// Its name. Several keys may have the same.
    pub name: String,
    /// What it is for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// When it ends: it is good strictly before. It never ends without.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expiration: Option<i64>,
    /// When it was created.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub created_timestamp: Option<i64>,
    /// When it was last let in; nothing if it never was.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_used_timestamp: Option<i64>,
    /// How many requests were let in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub accepted: Option<u64>,
    /// How many were refused since it ended or was disabled.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub denied: Option<u64>,
    /// How many bytes came with the requests that were let in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bytes: Option<u64>,
    /// Whether it is let in at all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub enabled: Option<bool>,
    /// What it is worth now.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<KeyStatus>,
    /// The first four characters after the prefix, to tell keys apart by.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key_start: Option<String>,
    /// The key that was made in place of this one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub successor: Option<i64>,
    /// Where it was used from, the latest first; only where a single key is asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sources: Option<Vec<KeySource>>,
}

/// What a key is worth now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "utoipa", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum KeyStatus {
    /// It is let in.
    Active,
    /// It is let in, and ends within 14 days.
    Expiring,
    /// Its time is over.
    Expired,
    /// It was disabled.
    Disabled,
    /// Something that this version does not know; only read.
    #[serde(other)]
    Unknown,
}

/// Where a key was used from.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "utoipa", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct KeySource {
    /// The address of the sender.
    pub address: String,
    /// What it calls itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user_agent: Option<String>,
    /// When it was last let in.
    pub last_used_timestamp: i64,
}

/// A key as it is answered once, when it is created or rotated: with its secret.
///
/// It is not `Clone`, and `Debug` does not show the secret.
#[derive(Debug, Serialize, Deserialize)]
#[cfg_attr(
    feature = "utoipa",
    derive(utoipa::ToSchema),
    schema(
        description = "A key as it is answered once, when it is created or rotated: with its secret."
    )
)]
#[serde(rename_all = "camelCase")]
pub struct GeneratedKey {
    /// What will be listed.
    #[serde(flatten)]
    pub key: IngestionApiKey,
    /// The secret.
    #[serde(serialize_with = "expose")]
    #[cfg_attr(feature = "utoipa", schema(value_type = String))]
    pub api_key: SecretString,
    /// Whether another key has the same name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub duplicate_name: Option<bool>,
}

/// The one place where a secret is written.
fn expose<S: Serializer>(secret: &SecretString, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(secret.expose_secret())
}

#[cfg(test)]
mod tests {
    use super::*;

    // Scenario: a key with only the original's fields is written.
    // Guarantee: nothing of ours appears, and no null.
    #[test]
    fn what_is_not_known_is_omitted() {
        let key = IngestionApiKey {
            id: 7,
            last_update_timestamp: 9,
            name: "n".to_owned(),
            ..IngestionApiKey::default()
        };
        assert_eq!(
            serde_json::to_string(&key).unwrap(),
            r#"{"id":7,"lastUpdateTimestamp":9,"name":"n"}"#
        );
    }

    // Scenario: every field is written and read again; a status is one that nobody knows.
    // Guarantee: nothing is lost, and the unknown is no error.
    #[test]
    fn every_field_survives() {
        let text = r#"{"id":7,"lastUpdateTimestamp":9,"name":"n","description":"d","expiration":1,"createdTimestamp":2,"lastUsedTimestamp":3,"accepted":4,"denied":5,"bytes":6,"enabled":true,"status":"expiring","keyStart":"Zq3L","successor":8,"sources":[{"address":"a","userAgent":"u","lastUsedTimestamp":3}]}"#;
        let key: IngestionApiKey = serde_json::from_str(text).unwrap();
        assert_eq!(serde_json::to_string(&key).unwrap(), text);
        let newer: IngestionApiKey =
            serde_json::from_str(&text.replace("expiring", "frozen")).unwrap();
        assert_eq!(newer.status, Some(KeyStatus::Unknown));
    }

    // Scenario: a generated key is written, read and printed for debugging.
    // Guarantee: the secret is beside the listed fields on the wire, and nowhere else.
    #[test]
    fn the_secret_is_on_the_wire_only() {
        let text = r#"{"id":7,"lastUpdateTimestamp":9,"name":"n","apiKey":"iapikeyok-canary","duplicateName":true}"#;
        let generated: GeneratedKey = serde_json::from_str(text).unwrap();
        assert_eq!(serde_json::to_string(&generated).unwrap(), text);
        assert!(!format!("{generated:?}").contains("canary"));
    }

    // Scenario: a server sends null for everything that may be missing.
    // Guarantee: it is read as missing.
    #[test]
    fn null_is_missing() {
        let text = r#"{"id":7,"lastUpdateTimestamp":9,"name":"n","description":null,"expiration":null,"apiKey":"k","duplicateName":null}"#;
        let generated: GeneratedKey = serde_json::from_str(text).unwrap();
        assert_eq!(
            (generated.key.description, generated.key.expiration, generated.duplicate_name),
            (None, None, None)
        );
    }
}
