//! The core schema of YAML 1.2 (section 10.3.2), which gives a plain scalar its type.

/// The type of a scalar by the core schema of YAML 1.2. For a boolean or a number, the variant
/// contains the value. [`Node::scalar_kind`](crate::Node::scalar_kind) returns this type.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum ScalarKind {
    /// `null`, `~`, or nothing at all.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// An integer: decimal, hexadecimal after `0x` or octal after `0o`.
    Int(i128),
    /// A number with a fraction or an exponent, an infinity or `.nan`.
    Float(f64),
    /// Any other text, and every quoted text. [`Node::string`](crate::Node::string) returns it.
    String,
}

/// Returns the type of a scalar that is neither quoted nor tagged.
pub(super) fn resolve(text: &str) -> ScalarKind {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => ScalarKind::Null,
        "true" | "True" | "TRUE" => ScalarKind::Bool(true),
        "false" | "False" | "FALSE" => ScalarKind::Bool(false),
        ".nan" | ".NaN" | ".NAN" => ScalarKind::Float(f64::NAN),
        _ => int(text).or_else(|| float(text)).unwrap_or(ScalarKind::String),
    }
}

fn int(text: &str) -> Option<ScalarKind> {
    let digits = |digits: &str, radix| {
        // `from_str_radix` would accept a second sign, as in `+-1`.
        digits
            .chars()
            .all(|digit| digit.is_digit(radix))
            .then(|| i128::from_str_radix(digits, radix).ok())
            .flatten()
    };
    if let Some(octal) = text.strip_prefix("0o") {
        return digits(octal, 8).map(ScalarKind::Int);
    }
    if let Some(hexadecimal) = text.strip_prefix("0x") {
        return digits(hexadecimal, 16).map(ScalarKind::Int);
    }
    match text.strip_prefix('-') {
        Some(magnitude) => digits(magnitude, 10).map(|value| ScalarKind::Int(-value)),
        None => digits(text.strip_prefix('+').unwrap_or(text), 10).map(ScalarKind::Int),
    }
}

fn float(text: &str) -> Option<ScalarKind> {
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    if matches!(unsigned, ".inf" | ".Inf" | ".INF") {
        return Some(ScalarKind::Float(if text.starts_with('-') {
            f64::NEG_INFINITY
        } else {
            f64::INFINITY
        }));
    }
    // Rust's parser also accepts `inf`, `nan` and `infinity`, which are strings in YAML.
    let numeric = unsigned.starts_with(|first: char| first.is_ascii_digit() || first == '.')
        && unsigned
            .bytes()
            .all(|byte| byte.is_ascii_digit() || matches!(byte, b'.' | b'e' | b'E' | b'-' | b'+'));
    numeric.then(|| text.parse().ok()).flatten().map(ScalarKind::Float)
}
