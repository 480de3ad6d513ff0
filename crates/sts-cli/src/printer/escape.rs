//! Escaping of text from elsewhere. A terminal might interpret control sequences in such text.

use std::borrow::Cow;
use std::fmt::Write;

/// Returns `text` on one line. Replaces characters that a terminal would interpret, or that would
/// change the order of the text, with escape sequences such as `\n`.
pub(crate) fn escape(text: &str) -> Cow<'_, str> {
    if !text.contains(is_harmful) {
        return Cow::Borrowed(text);
    }
    let mut escaped = String::with_capacity(text.len() + 8);
    for character in text.chars() {
        match character {
            '\n' => escaped.push_str("\\n"),
            '\r' => escaped.push_str("\\r"),
            '\t' => escaped.push_str("\\t"),
            character if is_harmful(character) => {
                let _ = write!(escaped, "\\u{{{:x}}}", u32::from(character));
            }
            character => escaped.push(character),
        }
    }
    Cow::Owned(escaped)
}

/// Escapes each line of a text, but keeps the line ends.
pub(super) fn escape_lines(text: &str) -> String {
    text.split('\n').map(escape).collect::<Vec<_>>().join("\n")
}

/// Returns whether a character is a control character (C0, DEL, C1), a line or paragraph separator,
/// or invisible. Some invisible characters reorder text. Others make different texts look the same.
/// Joiners are allowed, because some scripts and emoji need them.
pub(super) fn is_harmful(character: char) -> bool {
    character.is_control()
        || matches!(
            character,
            '\u{61c}'
                | '\u{200b}'
                | '\u{200e}'
                | '\u{200f}'
                | '\u{2028}'..='\u{202e}'
                | '\u{2060}'
                | '\u{2066}'..='\u{2069}'
                | '\u{feff}'
                | '\u{e0000}'..='\u{e007f}'
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    // Scenario: some texts have terminal sequences, line ends and direction overrides. Others have
    // emoji and right-to-left letters.
    // Guarantee: terminal sequences, line ends and direction overrides are escaped. Emoji and
    // right-to-left letters are not.
    #[test]
    fn only_harmful_characters_are_escaped() {
        assert_eq!(escape("\u{1b}[31mred\n\u{9b}2J\u{7f}"), "\\u{1b}[31mred\\n\\u{9b}2J\\u{7f}");
        assert_eq!(
            escape("a\u{202e}b\u{2066}c\u{200f}d\u{2028}"),
            "a\\u{202e}b\\u{2066}c\\u{200f}d\\u{2028}"
        );
        assert_eq!(
            escape("a\u{200b}\u{2060}\u{feff}\u{e0041}"),
            "a\\u{200b}\\u{2060}\\u{feff}\\u{e0041}"
        );
        for harmless in ["\u{200c}", "🔑 key", "مفتاح", "<b>'\"; DROP TABLE", "a\\nb", "👩‍🔧"]
        {
            assert!(matches!(escape(harmless), Cow::Borrowed(text) if text == harmless));
        }
        assert_eq!(escape_lines("a\nb\rc"), "a\nb\\rc");
    }
}
