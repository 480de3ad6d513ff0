//! Text from elsewhere, made harmless for a terminal and for a line.

use std::borrow::Cow;
use std::fmt::Write;

/// `text` on one line, with everything that a terminal would act upon, or that would reorder it,
/// spelled out.
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

/// The same for each line of a text that has lines.
pub(super) fn escape_lines(text: &str) -> String {
    text.split('\n').map(escape).collect::<Vec<_>>().join("\n")
}

/// Controls (C0, DEL, C1), line and paragraph separators, and what is invisible: by it text is
/// reordered, or differs from text that looks the same. Joiners stay, as scripts and emoji need
/// them.
pub(super) fn is_harmful(character: char) -> bool {
    character.is_control()
        || matches!(
            character,
            '\u{61c}' | '\u{200b}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}' | '\u{2066}'..='\u{2069}' | '\u{feff}' | '\u{e0000}'..='\u{e007f}'
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    // Scenario: text with terminal sequences, line ends and overrides of direction, and text with
    // emoji and right-to-left letters. Guarantee: the former is spelled out, the latter is left
    // alone.
    #[test]
    fn only_what_does_harm_is_escaped() {
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
