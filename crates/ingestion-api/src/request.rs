//! The bodies and queries of requests.

use secrecy::SecretString;
use serde::{Deserialize, Deserializer, Serialize};

use crate::KeyRole;

/// The request to create a key.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "utoipa", derive(utoipa::ToSchema))]
pub struct GenerateRequest {
    /// The name. Several keys may have the same name.
    pub name: String,
    /// A description of what the key is for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// The time at which the key expires, in milliseconds since the epoch. If it is absent, the key
    /// does not expire.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expiration: Option<i64>,
    /// What the key is for. If it is absent, the key is for ingestion.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub role: Option<KeyRole>,
}

/// The query of the list of all keys.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "utoipa", derive(utoipa::IntoParams), into_params(parameter_in = Query))]
pub struct ListQuery {
    /// The list has only keys with this role. If it is absent, the list has the keys for ingestion.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub role: Option<KeyRole>,
}

/// The request to change a key. Absent fields are not changed. `null` removes an optional field.
/// For a field that is not optional, `null` is an error.
///
/// # Examples
///
/// ```
/// use ingestion_api::UpdateRequest;
///
/// let keep: UpdateRequest = serde_json::from_str(r#"{"name": "edge"}"#)?;
/// assert_eq!((keep.name.as_deref(), keep.expiration), (Some("edge"), None));
/// let clear: UpdateRequest = serde_json::from_str(r#"{"expiration": null}"#)?;
/// assert_eq!(clear.expiration, Some(None));
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(
    feature = "utoipa",
    derive(utoipa::ToSchema),
    schema(
        description = "The request to change a key. Absent fields are not changed, and `null` \
             removes an optional field."
    )
)]
#[serde(default)]
pub struct UpdateRequest {
    /// The new name.
    #[serde(deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "utoipa", schema(value_type = String, required = false))]
    pub name: Option<String>,
    /// The new description, or null to remove the description.
    #[serde(deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "utoipa", schema(value_type = Option<String>))]
    pub description: Option<Option<String>>,
    /// The new expiration in milliseconds since the epoch, or null to remove the expiration.
    #[serde(deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "utoipa", schema(value_type = Option<i64>))]
    pub expiration: Option<Option<i64>>,
    /// Whether the key is enabled. A disabled key is not accepted.
    #[serde(deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "utoipa", schema(value_type = bool, required = false))]
    pub enabled: Option<bool>,
}

/// The request to replace a key with a new one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "utoipa", derive(utoipa::ToSchema))]
#[serde(default)]
pub struct RotateRequest {
    /// How long both the old key and the new key are accepted, in milliseconds. The default is one
    /// day.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub overlap: Option<u64>,
    /// The expiration of the new key, in milliseconds since the epoch. By default, the new key gets
    /// the same lifetime as the old key had.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expiration: Option<i64>,
}

/// The request to check a key. The type is only deserialized, because an OpenTelemetry Collector
/// sends the request.
#[derive(Clone, Debug, Deserialize)]
#[cfg_attr(
    feature = "utoipa",
    derive(utoipa::ToSchema),
    schema(description = "The request to check a key.")
)]
#[serde(rename_all = "camelCase")]
pub struct AuthorizeRequest {
    /// The key to check.
    #[cfg_attr(feature = "utoipa", schema(value_type = String))]
    pub api_key: SecretString,
}

/// The query of an [`AuthorizeRequest`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "utoipa", derive(utoipa::IntoParams), into_params(parameter_in = Query))]
#[serde(rename_all = "camelCase", default)]
pub struct AuthorizeQuery {
    /// Whether the server also accepts the shared receiver API key.
    pub with_receiver_key: bool,
}

/// Deserializes a field that is present. `null` becomes `Some(None)`, so it differs from an absent
/// field.
fn present<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
    deserializer: D,
) -> Result<Option<T>, D::Error> {
    T::deserialize(deserializer).map(Some)
}

#[cfg(test)]
mod tests {
    use super::*;

    // Scenario: updates are deserialized. Their fields are absent, null, or have a value.
    // Guarantee: the three cases have different results. Null is an error for a field that must
    // have a value.
    #[test]
    fn null_and_absence_are_distinguished() {
        let read = serde_json::from_str::<UpdateRequest>;
        assert_eq!(read("{}").unwrap(), UpdateRequest::default());
        assert_eq!(read(r#"{"description":null}"#).unwrap().description, Some(None));
        assert_eq!(read(r#"{"description":"d"}"#).unwrap().description, Some(Some("d".to_owned())));
        assert_eq!(read(r#"{"expiration":5}"#).unwrap().expiration, Some(Some(5)));
        assert_eq!(read(r#"{"enabled":false,"unknown":1}"#).unwrap().enabled, Some(false));
        for refused in
            [r#"{"name":null}"#, r#"{"enabled":null}"#, r#"{"expiration":"5"}"#, r#"{"name":7}"#]
        {
            assert!(read(refused).is_err(), "{refused}");
        }
    }

    // Scenario: requests without some fields are serialized.
    // Guarantee: the JSON omits absent fields. Fields that the request removes are null.
    #[test]
    fn unset_fields_are_omitted() {
        let update = UpdateRequest { expiration: Some(None), ..UpdateRequest::default() };
        assert_eq!(serde_json::to_string(&update).unwrap(), r#"{"expiration":null}"#);
        let generate = GenerateRequest { name: "n".to_owned(), ..GenerateRequest::default() };
        assert_eq!(serde_json::to_string(&generate).unwrap(), r#"{"name":"n"}"#);
        assert_eq!(serde_json::to_string(&RotateRequest::default()).unwrap(), "{}");
    }

    // Scenario: a key to check is deserialized and formatted with `Debug`.
    // Guarantee: the `Debug` output does not contain the key.
    #[test]
    fn a_presented_key_is_not_printed() {
        let request: AuthorizeRequest =
            serde_json::from_str(r#"{"apiKey":"iapikeyok-canary"}"#).unwrap();
        assert!(!format!("{request:?}").contains("canary"));
    }
}
