//! JSON as the original command writes it.

use std::fmt::Write;

use serde::Serialize;
use serde_json::Value;

use super::escape::is_harmful;

/// Formats JSON with an indentation of two spaces. Escapes the characters that the original command
/// escapes, and the characters that a terminal would interpret. Keys keep their order.
pub(super) fn pretty(value: &impl Serialize) -> serde_json::Result<String> {
    let text = serde_json::to_string_pretty(value)?;
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '\n' => escaped.push('\n'),
            // In JSON, these characters occur only inside strings, where they can be escaped.
            '<' | '>' | '&' => write_escape(&mut escaped, character),
            character if is_harmful(character) => write_escape(&mut escaped, character),
            character => escaped.push(character),
        }
    }
    Ok(escaped)
}

/// Converts a value to JSON with sorted keys.
pub(crate) fn sorted(value: &impl Serialize) -> serde_json::Result<Value> {
    let mut value = serde_json::to_value(value)?;
    // The keys are already sorted unless another crate enables `preserve_order` of serde_json.
    value.sort_all_objects();
    Ok(value)
}

fn write_escape(text: &mut String, character: char) {
    for unit in character.encode_utf16(&mut [0; 2]) {
        let _ = write!(text, "\\u{unit:04x}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // Scenario: an object has markup, a terminal sequence, a direction override, a Unicode tag, a
    // line end and an emoji.
    // Guarantee: the text is the same as that of the original command. It has no harmful character,
    // and parses to the same object.
    #[test]
    fn json_is_as_in_the_original_and_harmless() {
        let value = serde_json::json!({
            "b": "<b>&\u{2028}",
            "a": ["\u{9b}\u{202e}\n\u{7f}", "🔑\u{e0041}"],
            "c": []
        });
        let text = pretty(&sorted(&value).unwrap()).unwrap();
        assert_eq!(
            text,
            "{\n  \"a\": [\n    \"\\u009b\\u202e\\n\\u007f\",\n    \"🔑\\udb40\\udc41\"\n  ],\n  \
             \"b\": \"\\u003cb\\u003e\\u0026\\u2028\",\n  \"c\": []\n}"
        );
        assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), value);
    }
}
