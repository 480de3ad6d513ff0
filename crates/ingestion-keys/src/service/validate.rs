//! The rules for names, descriptions and expirations.

use super::error::{
    DescriptionError, ExpirationError, InvalidKey, MAX_DESCRIPTION_LEN, MAX_NAME_LEN, NameError,
};
use super::types::KeyUpdate;
use crate::clock::Timestamp;

/// The end of the year 9999.
const LAST_EXPIRATION: Timestamp = Timestamp::from_millis(253_402_300_799_999);

/// Checks a name, and removes the white space at its ends.
pub(super) fn name(name: &str) -> Result<String, NameError> {
    let name = name.trim();
    if name.is_empty() {
        return Err(NameError::Empty);
    }
    if name.chars().nth(MAX_NAME_LEN).is_some() {
        return Err(NameError::TooLong);
    }
    if name.chars().any(|character| character.is_control() || overrides_direction(character)) {
        return Err(NameError::Character);
    }
    Ok(name.to_owned())
}

/// Checks a description, and returns it unchanged.
pub(super) fn description(description: String) -> Result<String, DescriptionError> {
    if description.chars().nth(MAX_DESCRIPTION_LEN).is_some() {
        return Err(DescriptionError::TooLong);
    }
    if description
        .chars()
        .any(|character| character.is_control() && !matches!(character, '\t' | '\n' | '\r'))
    {
        return Err(DescriptionError::Character);
    }
    Ok(description)
}

/// Checks the expiration of a key, which has to be in the future.
pub(super) fn expiration(at: Timestamp, now: Timestamp) -> Result<Timestamp, ExpirationError> {
    if at <= now {
        return Err(ExpirationError::Past);
    }
    not_too_late(at)
}

/// Checks that a time is not after the year 9999, because a date is written with four digits for
/// the year.
pub(super) fn not_too_late(at: Timestamp) -> Result<Timestamp, ExpirationError> {
    if at <= LAST_EXPIRATION { Ok(at) } else { Err(ExpirationError::TooLate) }
}

/// Checks every field that the update changes.
pub(super) fn update(update: KeyUpdate, now: Timestamp) -> Result<KeyUpdate, InvalidKey> {
    let description = |text: Option<String>| text.map(description).transpose();
    let expiration = |at: Option<Timestamp>| at.map(|at| expiration(at, now)).transpose();
    Ok(KeyUpdate {
        name: update.name.as_deref().map(name).transpose()?,
        description: update.description.map(description).transpose()?,
        expires_at: update.expires_at.map(expiration).transpose()?,
        enabled: update.enabled,
    })
}

/// Returns whether a character controls the direction of the text after it: an embedding, an
/// override or an isolate (Unicode standard annex 9). With these characters, a name can look like
/// another name. The marks U+200E, U+200F and U+061C are allowed: right-to-left names need them,
/// and they do not change the direction of other characters.
fn overrides_direction(character: char) -> bool {
    matches!(character, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    // Scenario: names contain HTML, SQL or characters outside ASCII, have the largest length, or
    // have white space at their ends.
    // Guarantee: each name is allowed. Only the white space at its ends is removed.
    #[test]
    fn names_may_be_nearly_anything() {
        for accepted in [
            "edge",
            " edge\t",
            "🦀 ключ",
            "مفتاح\u{200f}",
            "<b>x</b>",
            "it's \"quoted\"",
            "'; DROP TABLE keys; --",
            &"é".repeat(255),
        ] {
            assert_eq!(name(accepted).unwrap(), accepted.trim());
        }
    }

    // Scenario: names are empty, are too long, or have control characters or characters that change
    // the direction of text.
    // Guarantee: no name is allowed. Each error says what is wrong with the name.
    #[test]
    fn names_are_one_readable_line() {
        assert!(matches!(name(""), Err(NameError::Empty)));
        assert!(matches!(name(" \u{a0}\n"), Err(NameError::Empty)));
        assert!(matches!(name(&"é".repeat(256)), Err(NameError::TooLong)));
        for refused in
            ["a\nb", "a\0b", "a\u{1b}[31mb", "a\u{202e}b", "a\u{2066}b", "a\u{7f}", "a\u{85}b"]
        {
            assert!(matches!(name(refused), Err(NameError::Character)), "{refused:?}");
        }
    }

    // Scenario: one description has several lines, one has the largest length, one is too long, and
    // one has a control character.
    // Guarantee: the first two are allowed and returned unchanged. The other two are not allowed.
    #[test]
    fn descriptions_are_text() {
        assert_eq!(description(" two\r\n\tlines ".to_owned()).unwrap(), " two\r\n\tlines ");
        assert_eq!(description("é".repeat(4096)).unwrap().chars().count(), 4096);
        assert!(matches!(description("é".repeat(4097)), Err(DescriptionError::TooLong)));
        assert!(matches!(description("a\0".to_owned()), Err(DescriptionError::Character)));
    }

    // Scenario: expirations are just before and just after now, and just before and just after the
    // end of the year 9999.
    // Guarantee: an expiration is allowed if it is later than now and not after the year 9999. The
    // check is exact to the millisecond.
    #[test]
    fn expirations_are_in_the_future() {
        let at = |millis| expiration(Timestamp::from_millis(millis), Timestamp::from_millis(1000));
        assert_eq!(at(1001).unwrap(), Timestamp::from_millis(1001));
        assert_eq!(at(253_402_300_799_999).unwrap().as_millis(), 253_402_300_799_999);
        for past in [1000, 999, 0, -1, i64::MIN] {
            assert!(matches!(at(past), Err(ExpirationError::Past)), "{past}");
        }
        for late in [253_402_300_800_000, 1 << 53, i64::MAX] {
            assert!(matches!(at(late), Err(ExpirationError::TooLate)), "{late}");
        }
    }
}
