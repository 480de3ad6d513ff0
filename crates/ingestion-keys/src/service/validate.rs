//! What a name, a description and an expiration may be.

use super::error::{IssueError, MAX_DESCRIPTION_LEN, MAX_NAME_LEN};
use crate::clock::Timestamp;

/// The end of the year 9999.
const LAST_EXPIRATION: Timestamp = Timestamp::from_millis(253_402_300_799_999);

/// The name without blanks at its ends.
pub(super) fn name(name: &str) -> Result<String, IssueError> {
    let name = name.trim();
    if name.is_empty() {
        return Err(IssueError::NameEmpty);
    }
    if name.chars().nth(MAX_NAME_LEN).is_some() {
        return Err(IssueError::NameTooLong);
    }
    if name.chars().any(|character| character.is_control() || overrides_direction(character)) {
        return Err(IssueError::NameCharacter);
    }
    Ok(name.to_owned())
}

/// The description as it is.
pub(super) fn description(description: String) -> Result<String, IssueError> {
    if description.chars().nth(MAX_DESCRIPTION_LEN).is_some() {
        return Err(IssueError::DescriptionTooLong);
    }
    if description
        .chars()
        .any(|character| character.is_control() && !matches!(character, '\t' | '\n' | '\r'))
    {
        return Err(IssueError::DescriptionCharacter);
    }
    Ok(description)
}

/// The moment at which a key ends.
pub(super) fn expiration(millis: i64, now: Timestamp) -> Result<Timestamp, IssueError> {
    let expiration = Timestamp::from_millis(millis);
    if expiration <= now {
        return Err(IssueError::ExpirationPast);
    }
    not_too_late(expiration)
}

/// A moment that can be told: dates are written with four digits of the year.
pub(super) fn not_too_late(moment: Timestamp) -> Result<Timestamp, IssueError> {
    if moment <= LAST_EXPIRATION { Ok(moment) } else { Err(IssueError::ExpirationTooLate) }
}

/// Embeddings, overrides and isolates (Unicode standard annex 9): with them a name is shown as
/// another. The marks U+200E, U+200F and U+061C, which right-to-left names need, turn nothing but
/// themselves.
fn overrides_direction(character: char) -> bool {
    matches!(character, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    // Scenario: names of people who do not write ASCII, and of people who try things.
    // Guarantee: each is taken as it is, without blanks at its ends.
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

    // Scenario: names that are empty, too long, or would break or turn a line.
    // Guarantee: each is refused for what is wrong with it.
    #[test]
    fn names_are_one_readable_line() {
        assert!(matches!(name(""), Err(IssueError::NameEmpty)));
        assert!(matches!(name(" \u{a0}\n"), Err(IssueError::NameEmpty)));
        assert!(matches!(name(&"é".repeat(256)), Err(IssueError::NameTooLong)));
        for refused in
            ["a\nb", "a\0b", "a\u{1b}[31mb", "a\u{202e}b", "a\u{2066}b", "a\u{7f}", "a\u{85}b"]
        {
            assert!(matches!(name(refused), Err(IssueError::NameCharacter)), "{refused:?}");
        }
    }

    // Scenario: descriptions of several lines, too long, and with a control character.
    // Guarantee: only the first is taken, unchanged.
    #[test]
    fn descriptions_are_text() {
        assert_eq!(description(" two\r\n\tlines ".to_owned()).unwrap(), " two\r\n\tlines ");
        assert_eq!(description("é".repeat(4096)).unwrap().chars().count(), 4096);
        assert!(matches!(description("é".repeat(4097)), Err(IssueError::DescriptionTooLong)));
        assert!(matches!(description("a\0".to_owned()), Err(IssueError::DescriptionCharacter)));
    }

    // Scenario: expirations around now and around the last date that can be written.
    // Guarantee: strictly later than now, and exact.
    #[test]
    fn expirations_are_in_the_future() {
        let at = |millis| expiration(millis, Timestamp::from_millis(1000));
        assert_eq!(at(1001).unwrap(), Timestamp::from_millis(1001));
        assert_eq!(at(253_402_300_799_999).unwrap().as_millis(), 253_402_300_799_999);
        for past in [1000, 999, 0, -1, i64::MIN] {
            assert!(matches!(at(past), Err(IssueError::ExpirationPast)), "{past}");
        }
        for late in [253_402_300_800_000, 1 << 53, i64::MAX] {
            assert!(matches!(at(late), Err(IssueError::ExpirationTooLate)), "{late}");
        }
    }
}
