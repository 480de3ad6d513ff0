use proptest::prelude::*;

use super::{Node, Report, Value, expand, show};

/// Generates texts out of the characters that have a meaning in YAML or in `${..}`.
fn soup() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        Just("${env:A}"),
        Just("${"),
        Just("}"),
        Just("$"),
        Just("${B:-x}"),
        Just("a"),
        Just(": "),
        Just("- "),
        Just("\n"),
        Just("  "),
        Just("["),
        Just("]"),
        Just("{"),
        Just(","),
        Just("\""),
        Just("'"),
        Just("&a "),
        Just("*a"),
        Just("!"),
        Just("|"),
        Just(">"),
        Just("#"),
        Just("---"),
        Just("..."),
        Just("? "),
        Just("<<"),
        Just("%"),
        Just("\t"),
        Just("\u{feff}"),
        Just("\0"),
    ];
    prop::collection::vec(piece, 0..40).prop_map(|pieces| pieces.concat())
}

/// Writes `text` as a double-quoted YAML scalar.
fn quoted(text: &str) -> String {
    let mut quoted = String::from('"');
    for character in text.chars() {
        quoted.push_str(&format!("\\U{:08X}", u32::from(character)));
    }
    quoted + "\""
}

fn without_dollar() -> impl Strategy<Value = String> {
    any::<String>().prop_map(|text| text.replace('$', ""))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    /// Scenario: any text, or a text that is nearly YAML, is parsed, expanded and read.
    /// Guarantee: nothing panics.
    #[test]
    fn never_panics(text in prop_oneof![any::<String>(), soup()], variable in prop_oneof![any::<String>(), soup()]) {
        if let Ok(value) = Value::parse(&text) {
            let value = value.expand(&|name| (name == "A").then(|| variable.clone()));
            let report = Report::new();
            let root = Node::root(&value, &report);
            let _ = (root.string(), root.bool(), root.integer(0..=999), root.f64(), root.duration());
            if let Some(map) = root.map() {
                map.deny_unknown();
            }
            prop_assert!(show(&value).len() < 10 << 20);
        }
    }

    /// Scenario: a text without `$` is expanded.
    /// Guarantee: expansion does not change the text.
    #[test]
    fn expansion_without_dollar_is_identity(text in prop_oneof![without_dollar(), soup().prop_map(|text| text.replace('$', ""))]) {
        if let Ok(value) = Value::parse(&text) {
            let before = show(&value);
            prop_assert_eq!(show(&value.expand(&|_| None)), before);
        }
    }

    /// Scenario: every `$` of a text is doubled, and the result is expanded.
    /// Guarantee: expansion gives the original text.
    #[test]
    fn doubled_dollars_are_halved(text in "[a${}:env]{0,12}") {
        let value = expand(&quoted(&text.replace('$', "$$")), &[("a", "x"), ("env", "y")]);
        prop_assert_eq!(show(&value), format!("'{text}'"));
    }

    /// Scenario: any text is put in quotes and parsed.
    /// Guarantee: the result is a string with the same text.
    #[test]
    fn quoting_round_trip(text in any::<String>()) {
        let value = Value::parse(&quoted(&text)).unwrap();
        prop_assert_eq!(show(&value), format!("'{text}'"));
    }

    /// Scenario: a variable has any value without `$`.
    /// Guarantee: a setting that is read as a string has exactly that value.
    #[test]
    fn variables_are_exact(text in prop_oneof![without_dollar(), soup().prop_map(|text| text.replace('$', ""))]) {
        let value = expand("${env:X}", &[("X", &text)]);
        prop_assert!(value.substituted);
        let report = Report::new();
        prop_assert_eq!(Node::root(&value, &report).string(), Some(text.as_str()));
    }

    /// Scenario: a variable contains a secret between any other texts.
    /// Guarantee: no message shows the secret, whatever type is expected.
    #[test]
    fn problems_never_hold_a_secret(before in soup(), after in soup(), wrapped in soup()) {
        let secret = format!("{before}canary{after}");
        let value = expand(&quoted(&format!("{wrapped}${{env:A}}")), &[("A", &secret), ("B", &secret)]);
        let report = Report::new();
        let mut nodes = vec![Node::root(&value, &report)];
        while let Some(node) = nodes.pop() {
            let _ = (node.bool(), node.integer(0..=999), node.f64(), node.duration(), node.map());
            nodes.extend(node.list().into_iter().flatten());
            if let Some(mut map) = node.map() {
                map.clone().deny_unknown();
                map.clone().warn_unknown();
                map.required("absent");
                nodes.extend(map.entries().into_iter().map(|(_, node)| node));
            }
        }
        let told = format!("{report:?} {value:?}");
        prop_assert!(!told.contains("canary"), "{told}");
    }
}
