//! The core schema of YAML 1.2 (section 10.3.2): which type a plain scalar has.

use super::value::Kind;

/// The type of a scalar that is neither quoted nor tagged.
pub(super) fn resolve(text: &str) -> Kind {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => Kind::Null,
        "true" | "True" | "TRUE" => Kind::Bool(true),
        "false" | "False" | "FALSE" => Kind::Bool(false),
        ".nan" | ".NaN" | ".NAN" => Kind::Float(f64::NAN),
        _ => int(text).or_else(|| float(text)).unwrap_or(Kind::String),
    }
}

fn int(text: &str) -> Option<Kind> {
    let digits = |digits: &str, radix| {
        // `from_str_radix` takes a second sign.
        digits
            .chars()
            .all(|digit| digit.is_digit(radix))
            .then(|| i128::from_str_radix(digits, radix).ok())
            .flatten()
    };
    if let Some(octal) = text.strip_prefix("0o") {
        return digits(octal, 8).map(Kind::Int);
    }
    if let Some(hexadecimal) = text.strip_prefix("0x") {
        return digits(hexadecimal, 16).map(Kind::Int);
    }
    match text.strip_prefix('-') {
        Some(magnitude) => digits(magnitude, 10).map(|value| Kind::Int(-value)),
        None => digits(text.strip_prefix('+').unwrap_or(text), 10).map(Kind::Int),
    }
}

fn float(text: &str) -> Option<Kind> {
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    if matches!(unsigned, ".inf" | ".Inf" | ".INF") {
        return Some(Kind::Float(if text.starts_with('-') {
            f64::NEG_INFINITY
        } else {
            f64::INFINITY
        }));
    }
    // Rust also reads `inf`, `nan` and `infinity`, which are strings here.
    let numeric = unsigned.starts_with(|first: char| first.is_ascii_digit() || first == '.')
        && unsigned
            .bytes()
            .all(|byte| byte.is_ascii_digit() || matches!(byte, b'.' | b'e' | b'E' | b'-' | b'+'));
    numeric.then(|| text.parse().ok()).flatten().map(Kind::Float)
}
