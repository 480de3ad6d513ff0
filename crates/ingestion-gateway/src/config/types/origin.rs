//! Origins of web pages, exact or with a wildcard.

use std::fmt;

use otel_confmap::Node;
use serde::{Serialize, Serializer};

/// One origin, as in `https://shop.example.com`, or a pattern of origins with one `*`, as in
/// `https://*.example.com`. The `*` stands for any text, even for none. A `*` alone is every origin.
/// A Collector reads the same patterns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OriginPattern {
    /// The text before the `*`, or the whole origin.
    start: String,
    /// The text after the `*`, if there is one.
    end: Option<String>,
}

impl OriginPattern {
    pub(in crate::config) fn read(node: &Node<'_>) -> Option<Self> {
        let text = node.string()?;
        let pattern = Self::parse(text);
        if pattern.is_none() {
            node.problem(
                "expected an origin without a path, as in https://shop.example.com or \
                 https://*.example.com; it may have one `*`, and `*` alone is every origin",
            );
        }
        pattern
    }

    fn parse(text: &str) -> Option<Self> {
        let is_visible = text.bytes().all(|byte| byte.is_ascii_graphic());
        let (start, end) = match text.split_once('*') {
            Some((start, end)) => (start, Some(end)),
            None => (text, None),
        };
        let has_path =
            |text: &str| text.split_once("://").map_or(text, |(_, host)| host).contains('/');
        let is_origin = match end {
            // A `*` can stand for the scheme, or for a part of it.
            Some(end) => !end.contains('*') && !has_path(start) && !has_path(end),
            None => text.split_once("://").is_some_and(|(scheme, host)| {
                !scheme.is_empty() && !host.is_empty() && !host.contains('/')
            }),
        };
        let pattern = Self { start: start.to_owned(), end: end.map(str::to_owned) };
        (is_visible && is_origin).then_some(pattern)
    }

    /// Returns whether every origin matches.
    #[must_use]
    pub fn is_any(&self) -> bool {
        self.start.is_empty() && self.end.as_deref() == Some("")
    }

    /// Returns whether this origin matches. Upper and lower case are the same.
    #[must_use]
    pub fn matches(&self, origin: &[u8]) -> bool {
        let Self { start, end } = self;
        let Some(end) = end else { return origin.eq_ignore_ascii_case(start.as_bytes()) };
        let Some((given, rest)) = origin.split_at_checked(start.len()) else { return false };
        given.eq_ignore_ascii_case(start.as_bytes())
            && rest.len() >= end.len()
            && rest[rest.len() - end.len()..].eq_ignore_ascii_case(end.as_bytes())
    }
}

impl fmt::Display for OriginPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.start)?;
        self.end.as_ref().map_or(Ok(()), |end| write!(f, "*{end}"))
    }
}

impl Serialize for OriginPattern {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // Scenario: patterns with and without a `*` are compared with origins.
    // Guarantee: the `*` stands for any text, even for none, and the texts before and after it do
    // not overlap. Without a `*`, only the same origin matches.
    #[test]
    fn one_wildcard_matches_anything() {
        for (pattern, origin, expected) in [
            ("https://shop.example.com", "https://shop.example.com", true),
            ("https://shop.example.com", "HTTPS://Shop.Example.com", true),
            ("https://shop.example.com", "https://shop.example.com:8443", false),
            ("https://shop.example.com", "http://shop.example.com", false),
            ("https://*.example.com", "https://shop.example.com", true),
            ("https://*.example.com", "https://a.b.EXAMPLE.com", true),
            ("https://*.example.com", "https://example.com", false),
            ("https://*.example.com", "https://example.com.evil.org", false),
            ("https://*.example.com", "https://.example.com", true),
            ("http://localhost:*", "http://localhost:3000", true),
            ("http://localhost:*", "http://localhost", false),
            ("*://shop.example.com", "app://shop.example.com", true),
            ("https://aa*aa", "https://aaa", false),
            ("*", "null", true),
            ("*", "", true),
        ] {
            let matches = OriginPattern::parse(pattern).unwrap().matches(origin.as_bytes());
            assert_eq!(matches, expected, "{pattern} {origin}");
        }
    }

    // Scenario: texts that no origin can equal, because they have a path, no scheme, two wildcards
    // or characters that no origin has.
    // Guarantee: none of them is a pattern.
    #[test]
    fn a_pattern_that_cannot_match_is_refused() {
        for text in [
            "",
            "shop.example.com",
            "https://",
            "://shop.example.com",
            "https://shop.example.com/",
            "https://shop.example.com/page",
            "https://*.example.com/",
            "https://*/page",
            "https://*.*.example.com",
            "**",
            "https://shop example.com",
            "https://sh\u{f6}p.example.com",
        ] {
            assert_eq!(OriginPattern::parse(text), None, "{text}");
        }
    }
}
