//! What is asked for.

use secrecy::SecretString;
use serde::{Deserialize, Deserializer, Serialize};

/// Asks for a new key.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "utoipa", derive(utoipa::ToSchema))]
pub struct GenerateRequest {
    /// Its name. Several keys may have the same.
    pub name: String,
    /// What it is for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// When it ends, in milliseconds since the epoch: it is good strictly before. It never ends
    /// without.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expiration: Option<i64>,
}

/// Asks for a key to be changed: what is absent stays as it is. `null` takes away what may be
/// missing, and is an error for the rest.
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
        description = "Asks for a key to be changed: what is absent stays as it is; `null` takes away what may be missing."
    )
)]
#[serde(default)]
pub struct UpdateRequest {
    /// A new name.
    #[serde(deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "utoipa", schema(value_type = String, required = false))]
    pub name: Option<String>,
    /// A new description, or none.
    #[serde(deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "utoipa", schema(value_type = Option<String>))]
    pub description: Option<Option<String>>,
    /// A new end, or none.
    #[serde(deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "utoipa", schema(value_type = Option<i64>))]
    pub expiration: Option<Option<i64>>,
    /// Whether it is let in.
    #[serde(deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "utoipa", schema(value_type = bool, required = false))]
    pub enabled: Option<bool>,
}

/// Asks for a new key in place of another.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "utoipa", derive(utoipa::ToSchema))]
#[serde(default)]
pub struct RotateRequest {
    /// How long both are good, in milliseconds; a day without.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub overlap: Option<u64>,
    /// When the new one ends; without, it lives as long as the old one was given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expiration: Option<i64>,
}

/// Asks whether a key is good. Only read: who asks is a Collector.
#[derive(Clone, Debug, Deserialize)]
#[cfg_attr(
    feature = "utoipa",
    derive(utoipa::ToSchema),
    schema(description = "Asks whether a key is good.")
)]
#[serde(rename_all = "camelCase")]
pub struct AuthorizeRequest {
    /// The key.
    #[cfg_attr(feature = "utoipa", schema(value_type = String))]
    pub api_key: SecretString,
}

/// The query of an [`AuthorizeRequest`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "utoipa", derive(utoipa::IntoParams), into_params(parameter_in = Query))]
#[serde(rename_all = "camelCase", default)]
pub struct AuthorizeQuery {
    /// Whether the shared receiver API key is good too.
    pub with_receiver_key: bool,
}

/// A field that is there, so that `null` is told from absence.
fn present<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
    deserializer: D,
) -> Result<Option<T>, D::Error> {
    T::deserialize(deserializer).map(Some)
}

#[cfg(test)]
mod tests {
    use super::*;

    // Scenario: an update with each field absent, null and given.
    // Guarantee: the three are told apart; null is refused where there must be a value.
    #[test]
    fn null_is_not_absence() {
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

    // Scenario: what is not set is written.
    // Guarantee: its key is omitted, except for null.
    #[test]
    fn what_is_not_set_is_omitted() {
        let update = UpdateRequest { expiration: Some(None), ..UpdateRequest::default() };
        assert_eq!(serde_json::to_string(&update).unwrap(), r#"{"expiration":null}"#);
        let generate = GenerateRequest { name: "n".to_owned(), ..GenerateRequest::default() };
        assert_eq!(serde_json::to_string(&generate).unwrap(), r#"{"name":"n"}"#);
        assert_eq!(serde_json::to_string(&RotateRequest::default()).unwrap(), "{}");
    }

    // Scenario: a key to be authorized is read and printed for debugging.
    // Guarantee: it is not printed.
    #[test]
    fn a_presented_key_is_not_printed() {
        let request: AuthorizeRequest =
            serde_json::from_str(r#"{"apiKey":"iapikeyok-canary"}"#).unwrap();
        assert!(!format!("{request:?}").contains("canary"));
    }
}
