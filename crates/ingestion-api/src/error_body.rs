//! What a server says when it refuses.

use serde::{Deserialize, Serialize};

/// The body of an error, told apart by `_type`.
///
/// Ids and times in it are strings: the original client shows the body with its numbers rounded to
/// floating point. Messages are free of `<` and `>`, which it takes for colours.
///
/// # Examples
///
/// ```
/// use ingestion_api::ErrorBody;
///
/// let body = ErrorBody::InvalidExpiry { message: "the expiration is in the past".to_owned() };
/// let text = serde_json::to_string(&body)?;
/// assert_eq!(text, r#"{"_type":"IngestionApiKeyInvalidExpiryError","message":"the expiration is in the past"}"#);
/// assert_eq!(serde_json::from_str::<ErrorBody>(&text)?, body);
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(
    feature = "utoipa",
    derive(utoipa::ToSchema),
    schema(
        description = "The body of an error, told apart by `_type`. Ids and times in it are strings."
    )
)]
#[serde(tag = "_type")]
pub enum ErrorBody {
    /// 400 on create: the expiration is in the past.
    #[serde(rename = "IngestionApiKeyInvalidExpiryError")]
    InvalidExpiry {
        /// What is wrong.
        message: String,
    },
    /// Everything else.
    ErrorsResponse(ErrorsResponse),
}

/// The envelope of errors.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "utoipa", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct ErrorsResponse {
    /// Finds the request in the server's log.
    pub tracking_key: String,
    /// The server's clock in milliseconds since the epoch; written as a string, read from a number
    /// too.
    #[serde(with = "text")]
    #[cfg_attr(feature = "utoipa", schema(value_type = String))]
    pub server_timestamp: i64,
    /// What is wrong.
    pub errors: Vec<ApiError>,
}

/// One error of the envelope.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "utoipa", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct ApiError {
    /// A stable name, `InternalError` in the original.
    #[serde(rename = "_type", default)]
    pub kind: String,
    /// What is wrong, for people.
    pub message: String,
    /// A number for it; the original's, not ours.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error_code: Option<i64>,
    /// The key that took the place of the one asked for.
    #[serde(default, with = "optional_text", skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "utoipa", schema(value_type = Option<String>))]
    pub successor: Option<i64>,
}

impl ErrorBody {
    /// What is wrong, each in a sentence.
    pub fn messages(&self) -> impl Iterator<Item = &str> {
        let (one, many) = match self {
            Self::InvalidExpiry { message } => (Some(message.as_str()), &[][..]),
            Self::ErrorsResponse(response) => (None, &response.errors[..]),
        };
        one.into_iter().chain(many.iter().map(|error| error.message.as_str()))
    }
}

/// A number as a string.
mod text {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    #[derive(Deserialize)]
    #[serde(untagged)]
    pub(super) enum Number {
        Number(i64),
        Text(String),
    }

    impl Number {
        pub(super) fn read<E: Error>(self) -> Result<i64, E> {
            match self {
                Self::Number(number) => Ok(number),
                Self::Text(text) => text.parse().map_err(|_| E::custom("not an integer")),
            }
        }
    }

    pub(super) fn serialize<S: Serializer>(number: &i64, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(number)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<i64, D::Error> {
        Number::deserialize(deserializer)?.read()
    }
}

/// A number as a string, or nothing.
mod optional_text {
    use serde::{Deserialize, Deserializer, Serializer};

    use super::text::Number;

    pub(super) fn serialize<S: Serializer>(
        number: &Option<i64>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        match number {
            Some(number) => serializer.collect_str(number),
            None => serializer.serialize_none(),
        }
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<i64>, D::Error> {
        Option::<Number>::deserialize(deserializer)?.map(Number::read).transpose()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // Scenario: the envelope is written with an id and a time, and read again; the original's is
    // read. Guarantee: both are strings on the wire; numbers are understood.
    #[test]
    fn ids_and_times_are_strings() {
        let error = ApiError {
            kind: "Conflict".to_owned(),
            message: "rotated".to_owned(),
            error_code: None,
            successor: Some(1 << 52),
        };
        let response = ErrorsResponse {
            tracking_key: "t".to_owned(),
            server_timestamp: 1_590_105_600_000,
            errors: vec![error],
        };
        let body = ErrorBody::ErrorsResponse(response);
        let text = serde_json::to_string(&body).unwrap();
        let expected = r#"{"_type":"ErrorsResponse","trackingKey":"t","serverTimestamp":"1590105600000","errors":[{"_type":"Conflict","message":"rotated","successor":"4503599627370496"}]}"#;
        assert_eq!(text, expected);
        assert_eq!(serde_json::from_str::<ErrorBody>(&text).unwrap(), body);
        let original = r#"{"_type":"ErrorsResponse","trackingKey":"t","serverTimestamp":1590105600000,"errors":[{"_type":"InternalError","message":"m","errorCode":7}]}"#;
        let ErrorBody::ErrorsResponse(original) = serde_json::from_str(original).unwrap() else {
            panic!("an envelope")
        };
        assert_eq!(
            (original.server_timestamp, original.errors[0].error_code),
            (1_590_105_600_000, Some(7))
        );
    }

    // Scenario: both kinds of body are asked what is wrong.
    // Guarantee: every message is told.
    #[test]
    fn messages_are_told() {
        let one = ErrorBody::InvalidExpiry { message: "a".to_owned() };
        assert_eq!(one.messages().collect::<Vec<_>>(), ["a"]);
        let error = |message: &str| ApiError {
            kind: String::new(),
            message: message.to_owned(),
            error_code: None,
            successor: None,
        };
        let errors = vec![error("b"), error("c")];
        let many = ErrorBody::ErrorsResponse(ErrorsResponse {
            tracking_key: String::new(),
            server_timestamp: 0,
            errors,
        });
        assert_eq!(many.messages().collect::<Vec<_>>(), ["b", "c"]);
    }
}
