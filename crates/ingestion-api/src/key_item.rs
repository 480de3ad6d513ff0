//! A key in responses.

use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize, Serializer};

use crate::null_as_default;

/// A key without its secret.
///
/// The original server sends `id`, `last_update_timestamp`, `name`, `description` and `expiration`.
/// The other fields are additions to that API, so they are absent in responses of the original
/// server. The original client reads an absent or null `id`, `last_update_timestamp` or `name` as
/// zero or as an empty text, and so does this type.
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
    schema(description = "A key without its secret.")
)]
#[serde(rename_all = "camelCase")]
pub struct IngestionApiKey {
    /// What the key is for. It is absent for a key for ingestion.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub role: Option<KeyRole>,
    /// The id, which is positive and below 2^53.
    #[serde(default, deserialize_with = "null_as_default")]
    #[cfg_attr(feature = "utoipa", schema(required))]
    pub id: i64,
    /// The time of the last change, in milliseconds since the epoch.
    #[serde(default, deserialize_with = "null_as_default")]
    #[cfg_attr(feature = "utoipa", schema(required))]
    pub last_update_timestamp: i64,
    /// The name. Several keys may have the same name.
    #[serde(default, deserialize_with = "null_as_default")]
    #[cfg_attr(feature = "utoipa", schema(required))]
    pub name: String,
    /// A description of what the key is for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// The time at which the key expires, in milliseconds since the epoch. If it is absent, the key
    /// does not expire.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expiration: Option<i64>,
    /// The time of the creation of the key, in milliseconds since the epoch.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub created_timestamp: Option<i64>,
    /// The time of the last allowed request, in milliseconds since the epoch. It is absent if no
    /// request was allowed yet.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_used_timestamp: Option<i64>,
    /// The number of requests that were allowed and answered with success.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub accepted: Option<u64>,
    /// The number of requests that were allowed and not answered with success: the answer was an
    /// error, or could not be sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failed: Option<u64>,
    /// The number of requests that were denied because the key was expired or disabled.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub denied: Option<u64>,
    /// The total size of the bodies of allowed requests, in bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bytes: Option<u64>,
    /// Whether the key is enabled. A disabled key is not accepted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub enabled: Option<bool>,
    /// The status that results from `enabled` and `expiration`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<KeyStatus>,
    /// The first four characters after the prefix. They help people to tell keys apart.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key_start: Option<String>,
    /// The id of the key that replaces this one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub successor: Option<i64>,
    /// The clients that used the key, sorted by last use with the latest first. Only the response
    /// for a single key has this field.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sources: Option<Vec<KeySource>>,
    /// The processes that follow the gateway that responds with this token. Only the token of a
    /// follower has this field.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connections: Option<Vec<FollowerConnection>>,
}

/// A process that follows a gateway.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "utoipa", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct FollowerConnection {
    /// The IP address of the process.
    pub address: String,
    /// The time since which the process is connected, in milliseconds since the epoch.
    pub connected_timestamp: i64,
    /// The number of changes that the process does not have yet. It is absent until the process has
    /// got all keys.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub revisions_behind: Option<i64>,
    /// The age of what the process has, in milliseconds. It is absent until the process has got all
    /// keys.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub milliseconds_behind: Option<i64>,
}

/// What a key is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "utoipa", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum KeyRole {
    /// The key is for sending telemetry.
    Ingestion,
    /// The key is the token of a process that follows a gateway. It is not accepted with telemetry.
    Follower,
    /// A role that this version does not know. It is never serialized.
    #[serde(other)]
    Unknown,
}

/// The effective status of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "utoipa", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum KeyStatus {
    /// The key is accepted.
    Active,
    /// The key is accepted, and expires within 14 days.
    Expiring,
    /// The key has expired.
    Expired,
    /// The key is disabled.
    Disabled,
    /// A status that this version does not know. It is never serialized.
    #[serde(other)]
    Unknown,
}

/// A client that used a key.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "utoipa", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct KeySource {
    /// The IP address of the client.
    pub address: String,
    /// The user agent of the client.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user_agent: Option<String>,
    /// The time of the last allowed request of the client, in milliseconds since the epoch.
    pub last_used_timestamp: i64,
}

/// A new key with its secret. The server sends it when a key is created or rotated.
///
/// The type is not `Clone`, and `Debug` does not show the secret.
#[derive(Debug, Serialize, Deserialize)]
#[cfg_attr(
    feature = "utoipa",
    derive(utoipa::ToSchema),
    schema(
        description = "A new key with its secret. It is the response when a key is created or \
             rotated."
    )
)]
#[serde(rename_all = "camelCase")]
pub struct GeneratedKey {
    /// The key without its secret.
    #[serde(flatten)]
    pub key: IngestionApiKey,
    /// The secret. No other response contains it.
    #[serde(serialize_with = "expose")]
    #[cfg_attr(feature = "utoipa", schema(value_type = String))]
    pub api_key: SecretString,
    /// Whether another key has the same name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub duplicate_name: Option<bool>,
}

/// Serializes the secret. No other function serializes a secret.
fn expose<S: Serializer>(secret: &SecretString, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(secret.expose_secret())
}

#[cfg(test)]
mod tests {
    use super::*;

    // Scenario: a key with only the fields of the original server is serialized.
    // Guarantee: the JSON has these fields only, and no null.
    #[test]
    fn absent_fields_are_omitted() {
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

    // Scenario: a key with every field is deserialized and serialized again. A key with an unknown
    // status is deserialized.
    // Guarantee: no field is lost. The unknown status is not an error.
    #[test]
    fn every_field_survives() {
        let text = r#"{"id":7,"lastUpdateTimestamp":9,"name":"n","description":"d","expiration":1,"createdTimestamp":2,"lastUsedTimestamp":3,"accepted":4,"failed":9,"denied":5,"bytes":6,"enabled":true,"status":"expiring","keyStart":"Zq3L","successor":8,"sources":[{"address":"a","userAgent":"u","lastUsedTimestamp":3}]}"#;
        let key: IngestionApiKey = serde_json::from_str(text).unwrap();
        assert_eq!(serde_json::to_string(&key).unwrap(), text);
        let newer: IngestionApiKey =
            serde_json::from_str(&text.replace("expiring", "frozen")).unwrap();
        assert_eq!(newer.status, Some(KeyStatus::Unknown));
    }

    // Scenario: a generated key is deserialized, serialized and formatted with `Debug`.
    // Guarantee: the JSON has the secret, and the `Debug` output does not.
    #[test]
    fn the_secret_is_in_the_json_only() {
        let text = r#"{"id":7,"lastUpdateTimestamp":9,"name":"n","apiKey":"iapikeyok-canary","duplicateName":true}"#;
        let generated: GeneratedKey = serde_json::from_str(text).unwrap();
        assert_eq!(serde_json::to_string(&generated).unwrap(), text);
        assert!(!format!("{generated:?}").contains("canary"));
    }

    // Scenario: the fields that the original server always sends are absent, or they are null. In
    // another case, the id is a text.
    // Guarantee: an absent field and null are zero or an empty text. A value of another type is an
    // error. A new key needs its secret.
    #[test]
    fn an_absent_field_is_zero() {
        for text in ["{}", r#"{"id":null,"lastUpdateTimestamp":null,"name":null}"#] {
            let key: IngestionApiKey = serde_json::from_str(text).unwrap();
            assert_eq!(key, IngestionApiKey::default());
        }
        let key: GeneratedKey = serde_json::from_str(r#"{"id":7,"apiKey":"k"}"#).unwrap();
        assert_eq!((key.key.id, key.key.last_update_timestamp), (7, 0));
        assert!(serde_json::from_str::<IngestionApiKey>(r#"{"id":"7"}"#).is_err());
        for text in ["{}", r#"{"id":7,"apiKey":null}"#] {
            assert!(serde_json::from_str::<GeneratedKey>(text).is_err(), "{text}");
        }
    }

    // Scenario: a key with null in its optional fields is deserialized.
    // Guarantee: the result is the same as if the fields were absent.
    #[test]
    fn null_is_an_absent_field() {
        let text = r#"{"id":7,"lastUpdateTimestamp":9,"name":"n","description":null,"expiration":null,"apiKey":"k","duplicateName":null}"#;
        let generated: GeneratedKey = serde_json::from_str(text).unwrap();
        assert_eq!(
            (generated.key.description, generated.key.expiration, generated.duplicate_name),
            (None, None, None)
        );
    }
}
