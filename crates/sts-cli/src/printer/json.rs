//! JSON as the original writes it.

use std::fmt::Write;

use serde::Serialize;
use serde_json::Value;

use super::escape::is_harmful;

/// Indented by two, with the characters escaped that the original escapes, and those that a
/// terminal would act upon. Keys stay in their order.
pub(super) fn pretty(value: &impl Serialize) -> serde_json::Result<String> {
    let text = serde_json::to_string_pretty(value)?;
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '\n' => escaped.push('\n'),
            // These stand in strings only.
            '<' | '>' | '&' => write_escape(&mut escaped, character),
            character if is_harmful(character) => write_escape(&mut escaped, character),
            character => escaped.push(character),
        }
    }
    Ok(escaped)
}

/// With sorted keys.
pub(crate) fn sorted(value: &impl Serialize) -> serde_json::Result<Value> {
    let mut value = serde_json::to_value(value)?;
    // They are sorted anyway unless another crate asks serde_json for another order.
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

    // Scenario: an object with markup, a terminal sequence, an override of direction, a tag, a line
    // end and an emoji. Guarantee: it is written as the original does, is harmless, and is read as
    // the same.
    #[test]
    fn json_is_the_originals_and_harmless() {
        let value = serde_json::json!({"b": "<b>&\u{2028}", "a": ["\u{9b}\u{202e}\n\u{7f}", "🔑\u{e0041}"], "c": []});
        let text = pretty(&sorted(&value).unwrap()).unwrap();
        assert_eq!(
            text,
            "{\n  \"a\": [\n    \"\\u009b\\u202e\\n\\u007f\",\n    \"🔑\\udb40\\udc41\"\n  ],\n  \"b\": \"\\u003cb\\u003e\\u0026\\u2028\",\n  \"c\": []\n}"
        );
        assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), value);
    }
}
