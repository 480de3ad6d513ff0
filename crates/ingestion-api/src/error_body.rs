//! The bodies of error responses.

use serde::{Deserialize, Serialize};

/// The body of an error response. The field `_type` names the kind of the body.
///
/// Ids are strings, because the original client prints numbers as floating point numbers. The time
/// is a number nevertheless, because the original client cannot read the body otherwise. Messages
/// contain no `<` and no `>`, because the original client interprets these characters as colors.
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
    schema(description = "The body of an error response. The field `_type` is its kind. Ids are \
             strings.")
)]
#[serde(tag = "_type")]
pub enum ErrorBody {
    /// 400 on create: the expiration is in the past.
    #[serde(rename = "IngestionApiKeyInvalidExpiryError")]
    InvalidExpiry {
        /// A description of the error.
        message: String,
    },
    /// Every other error.
    ErrorsResponse(ErrorsResponse),
}

/// The errors of a request, with the id of the request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "utoipa", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct ErrorsResponse {
    /// The id of the request, which is also in the log of the server.
    pub tracking_key: String,
    /// The time of the error, in milliseconds since the epoch.
    pub server_timestamp: i64,
    /// The errors.
    pub errors: Vec<ApiError>,
}

/// One error.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "utoipa", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct ApiError {
    /// A stable name of the error. The original server sends `InternalError`.
    #[serde(rename = "_type", default)]
    pub kind: String,
    /// A description of the error, for people to read.
    pub message: String,
    /// An error number. Only the original server sends it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error_code: Option<i64>,
    /// The id of the key that replaced the requested one.
    #[serde(default, with = "optional_text", skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "utoipa", schema(value_type = Option<String>))]
    pub successor: Option<i64>,
}

impl ErrorBody {
    /// Returns the description of each error.
    pub fn messages(&self) -> impl Iterator<Item = &str> {
        let (one, many) = match self {
            Self::InvalidExpiry { message } => (Some(message.as_str()), &[][..]),
            Self::ErrorsResponse(response) => (None, &response.errors[..]),
        };
        one.into_iter().chain(many.iter().map(|error| error.message.as_str()))
    }
}

/// Serializes an optional number as a string.
mod optional_text {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Number {
        Number(i64),
        Text(String),
    }

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
        Ok(match Option::deserialize(deserializer)? {
            None => None,
            Some(Number::Number(number)) => Some(number),
            Some(Number::Text(text)) => {
                Some(text.parse().map_err(|_| D::Error::custom("not an integer"))?)
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // Scenario: an error with an id and a time is serialized and deserialized again. In another
    // case, an error of the original server is deserialized.
    // Guarantee: the id is a string in JSON. The time is a number, because the original client
    // fails to read a text. Every field of the original server's error is read.
    #[test]
    fn the_id_is_a_string_and_the_time_is_a_number() {
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
        let expected = r#"{"_type":"ErrorsResponse","trackingKey":"t","serverTimestamp":1590105600000,"errors":[{"_type":"Conflict","message":"rotated","successor":"4503599627370496"}]}"#;
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

    // Scenario: the messages of both variants of `ErrorBody` are read.
    // Guarantee: the result has the description of every error.
    #[test]
    fn messages_are_the_descriptions_of_all_errors() {
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
