//! What a gateway and its followers send each other. A follower is a process that has all keys of a
//! gateway in memory, and decides on requests itself.
//!
//! The response to [`FOLLOW`](crate::route::FOLLOW) does not end. It consists of lines. Each line
//! is a [`FollowEvent`] in JSON. The first line is a hello. Then keys come, and a position after
//! them. The follower has everything up to a position once it has applied all keys before the
//! position. From then on, keys come when they change, always with a position after them. A
//! position without keys comes every few seconds. A follower ignores events and fields that it does
//! not know.
//!
//! ```text
//! {"hello":{"now":81000,"snapshot":true}}
//! {"keys":[{"revision":5,"id":250558013078953,"digest":"9f86..","name":"edge"}]}
//! {"position":{"cursor":"7.0f1e..","asOf":80990}}
//! {"position":{"cursor":"7.0f1e..","asOf":85400}}
//! ```

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

use crate::KeySource;

/// The query of [`FOLLOW`](crate::route::FOLLOW).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "utoipa", derive(utoipa::IntoParams), into_params(parameter_in = Query))]
pub struct FollowQuery {
    /// The last cursor of the follower: it has everything up to there. If it is absent, or if the
    /// gateway does not know it any more, the gateway sends all keys.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "utoipa", param(value_type = Option<String>))]
    pub after: Option<FollowCursor>,
}

/// One line of the response to [`FOLLOW`](crate::route::FOLLOW). Later versions can have other
/// events, which a follower ignores.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "utoipa", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase", try_from = "Line")]
#[non_exhaustive]
pub enum FollowEvent {
    /// The first line.
    Hello(FollowHello),
    /// Keys in their current state.
    Keys(Vec<FollowedKey>),
    /// The end of a group of keys, or a sign of life.
    Position(FollowPosition),
    /// An event of a later version. It is only received, and never sent.
    #[serde(skip)]
    Unknown,
}

/// A line as it is received. Unlike an enum, it accepts an event of any kind.
#[derive(Deserialize)]
struct Line {
    hello: Option<FollowHello>,
    keys: Option<Vec<FollowedKey>>,
    position: Option<FollowPosition>,
}

/// A line has several events.
#[derive(Debug, thiserror::Error)]
#[error("expected one event")]
struct SeveralEvents;

/// The first line of a response.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "utoipa", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct FollowHello {
    /// The time of the gateway's monotonic clock in milliseconds, at a moment after the request had
    /// arrived. The zero of this clock has no meaning, and times may be negative.
    pub now: i64,
    /// Whether the keys before the next position are all keys. Any other key of the follower does
    /// not exist any more.
    pub snapshot: bool,
}

/// A position in the history of the gateway's store, and its age.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "utoipa", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct FollowPosition {
    /// The keys before this line are everything up to this cursor.
    #[cfg_attr(feature = "utoipa", schema(value_type = String))]
    pub cursor: FollowCursor,
    /// The time at which the gateway began to read its store when it last found nothing newer, in
    /// milliseconds of the clock of [`FollowHello::now`].
    pub as_of: i64,
}

/// A key of the gateway in its current state. The key itself is not part of it.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "utoipa", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct FollowedKey {
    /// The revision of the last change of the key. For each key, the largest revision counts.
    pub revision: i64,
    /// The id of the key.
    pub id: i64,
    /// The SHA-256 of the key, in hexadecimal.
    #[serde(with = "hexadecimal")]
    #[cfg_attr(feature = "utoipa", schema(value_type = String))]
    pub digest: [u8; 32],
    /// The name. It is empty for a deleted key.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// The time at which the key expires, in milliseconds since the epoch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expiration: Option<i64>,
    /// Whether the key is disabled.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub disabled: bool,
    /// The time of the deletion, in milliseconds since the epoch. It is absent for a key that
    /// exists.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deleted: Option<i64>,
}

/// A position in the history of a store: a revision, and the id of the change with this revision.
/// The text is the revision, a dot, and the id in hexadecimal.
///
/// # Examples
///
/// ```
/// use ingestion_api::FollowCursor;
///
/// let cursor = FollowCursor { revision: 7, change_id: [0x0f; 16] };
/// assert_eq!(cursor.to_string(), "7.0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f");
/// assert_eq!("7.0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f".parse(), Ok(cursor));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FollowCursor {
    /// The revision.
    pub revision: i64,
    /// The id of the change.
    pub change_id: [u8; 16],
}

/// A text is not a [`FollowCursor`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a cursor: expected a revision, a dot and 32 hexadecimal digits")]
pub struct FollowCursorError;

/// How a follower has let requests in since its last report. It is the body of a request to
/// [`FOLLOW_USAGE`](crate::route::FOLLOW_USAGE).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "utoipa", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct UsageReport {
    /// 32 random hexadecimal digits, which the process has chosen when it started.
    pub source: String,
    /// The number of the report. A process increases it with each report. A report whose number is
    /// not larger than that of an earlier report of the same process was counted before, and is
    /// ignored.
    pub number: u64,
    /// The time of the report by the clock of the process, in milliseconds since the epoch. The
    /// gateway compares it with its own clock, and corrects the other times.
    pub timestamp: i64,
    /// The usage of each key.
    pub keys: Vec<KeyUsage>,
}

/// How one key was used since the last report.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "utoipa", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct KeyUsage {
    /// The id of the key. A key that does not exist any more is ignored.
    pub id: i64,
    /// The number of requests that were allowed and answered with success.
    #[serde(default)]
    pub accepted: u64,
    /// The number of requests that were allowed and not answered with success.
    #[serde(default)]
    pub failed: u64,
    /// The number of requests that were denied because the key was expired or disabled.
    #[serde(default)]
    pub denied: u64,
    /// The size of the bodies of allowed requests, in bytes.
    #[serde(default)]
    pub bytes: u64,
    /// The time of the last allowed request, in milliseconds since the epoch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_used_timestamp: Option<i64>,
    /// The clients that used the key.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sources: Vec<KeySource>,
}

impl TryFrom<Line> for FollowEvent {
    type Error = SeveralEvents;

    fn try_from(line: Line) -> Result<Self, SeveralEvents> {
        match line {
            Line { hello: Some(hello), keys: None, position: None } => Ok(Self::Hello(hello)),
            Line { hello: None, keys: Some(keys), position: None } => Ok(Self::Keys(keys)),
            Line { hello: None, keys: None, position: Some(position) } => {
                Ok(Self::Position(position))
            }
            Line { hello: None, keys: None, position: None } => Ok(Self::Unknown),
            _ => Err(SeveralEvents),
        }
    }
}

impl fmt::Debug for FollowedKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("FollowedKey");
        debug.field("revision", &self.revision).field("id", &self.id).finish_non_exhaustive()
    }
}

impl fmt::Display for FollowCursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.revision, hexadecimal::text(&self.change_id))
    }
}

impl FromStr for FollowCursor {
    type Err = FollowCursorError;

    fn from_str(text: &str) -> Result<Self, FollowCursorError> {
        let (revision, change_id) = text.split_once('.').ok_or(FollowCursorError)?;
        let revision = revision.parse().map_err(|_| FollowCursorError)?;
        let change_id = hexadecimal::bytes(change_id).ok_or(FollowCursorError)?;
        Ok(Self { revision, change_id })
    }
}

impl Serialize for FollowCursor {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for FollowCursor {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(D::Error::custom)
    }
}

/// Bytes as hexadecimal digits.
mod hexadecimal {
    use std::borrow::Cow;

    use serde::{Deserialize as _, Deserializer, Serializer, de::Error as _};

    pub(super) fn text(bytes: &[u8]) -> String {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let mut text = String::with_capacity(2 * bytes.len());
        for byte in bytes {
            for digit in [byte >> 4, byte & 15] {
                text.push(char::from(DIGITS[usize::from(digit)]));
            }
        }
        text
    }

    pub(super) fn bytes<const N: usize>(text: &str) -> Option<[u8; N]> {
        let digit =
            |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
        let mut bytes = [0; N];
        let pairs = text.as_bytes().as_chunks::<2>();
        if pairs.0.len() != N || !pairs.1.is_empty() {
            return None;
        }
        for (byte, [high, low]) in bytes.iter_mut().zip(pairs.0) {
            *byte = digit(*high)? << 4 | digit(*low)?;
        }
        Some(bytes)
    }

    pub(super) fn serialize<S: Serializer>(
        digest: &[u8; 32],
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&text(digest))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<[u8; 32], D::Error> {
        let text = Cow::<'de, str>::deserialize(deserializer)?;
        bytes(&text).ok_or_else(|| D::Error::custom("not 64 hexadecimal digits"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // Scenario: each kind of event is serialized and deserialized again.
    // Guarantee: the texts are as documented, have no line end, and lose nothing. `Debug` does not
    // show a digest.
    #[test]
    fn events_are_lines_of_json() {
        let cursor = FollowCursor { revision: 7, change_id: [0xa5; 16] };
        let live = FollowedKey {
            revision: 5,
            id: 6,
            digest: [0x1f; 32],
            name: "a\n\"b\"".to_owned(),
            expiration: Some(9),
            disabled: true,
            deleted: None,
        };
        let plain =
            FollowedKey { name: "n".to_owned(), expiration: None, disabled: false, ..live.clone() };
        let deleted = FollowedKey { name: String::new(), deleted: Some(8), ..plain.clone() };
        let digest = "1f".repeat(32);
        let id = "a5".repeat(16);
        for (event, expected) in [
            (
                FollowEvent::Hello(FollowHello { now: -3, snapshot: true }),
                r#"{"hello":{"now":-3,"snapshot":true}}"#.to_owned(),
            ),
            (
                FollowEvent::Position(FollowPosition { cursor, as_of: 4 }),
                format!(r#"{{"position":{{"cursor":"7.{id}","asOf":4}}}}"#),
            ),
            (
                FollowEvent::Keys(vec![live, plain, deleted]),
                format!(
                    r#"{{"keys":[{{"revision":5,"id":6,"digest":"{digest}","name":"a\n\"b\"","expiration":9,"disabled":true}},{{"revision":5,"id":6,"digest":"{digest}","name":"n"}},{{"revision":5,"id":6,"digest":"{digest}","deleted":8}}]}}"#
                ),
            ),
        ] {
            let text = serde_json::to_string(&event).unwrap();
            assert_eq!(text, expected);
            assert!(!text.contains('\n'));
            assert!(!format!("{event:?}").contains(&format!("{:?}", [0x1f_u8; 2])[1..7]));
            assert_eq!(serde_json::from_str::<FollowEvent>(&text).unwrap(), event);
        }
    }

    // Scenario: a gateway of a later version sends an event of another kind, and events with more
    // fields. Then a line has two events, and another one a key without a digest.
    // Guarantee: what is known is received, and the rest is passed over. A line that could hide
    // what is known is an error.
    #[test]
    fn events_of_later_versions_are_passed_over() {
        let parse = |text: &str| serde_json::from_str::<FollowEvent>(text).ok();
        let hello = FollowEvent::Hello(FollowHello { now: 1, snapshot: false });
        for (text, event) in [
            (r#"{"groups":[{"keys":1}]}"#, Some(FollowEvent::Unknown)),
            (r#"{"hello":{"now":1,"snapshot":false,"version":2},"more":0}"#, Some(hello)),
            (r#"{"keys":[],"hello":{"now":1,"snapshot":false}}"#, None),
            (r#"{"keys":[{"revision":5,"id":6}]}"#, None),
            (r#"{"keys":[]"#, None),
        ] {
            assert_eq!(parse(text), event, "{text}");
        }
    }

    // Scenario: texts that are almost cursors are parsed.
    // Guarantee: none of them is a cursor.
    #[test]
    fn a_cursor_is_parsed_strictly() {
        let id = "0".repeat(32);
        assert!(format!("7.{id}").parse::<FollowCursor>().is_ok());
        for text in [
            "",
            "7",
            ".",
            &format!(".{id}"),
            &format!("7.{id}0"),
            &format!("7.{id}00"),
            &format!("7.g{}", &id[1..]),
            &format!("7.é{}", &id[2..]),
        ] {
            assert_eq!(text.parse::<FollowCursor>(), Err(FollowCursorError), "{text}");
        }
    }
}
