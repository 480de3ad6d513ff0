//! Functions with which several sections of the configuration read values.

use std::time::Duration;

use otel_confmap::{Map, Node};

use super::Endpoint;

/// Part of the message about a setting that is documented but not built yet.
pub(super) const NOT_BUILT: &str = "not built yet in this version";

/// If `map` contains a section `key`, calls `read` with this section. Then reports every key of the
/// section that `read` did not ask for.
pub(super) fn section<'a>(map: &mut Map<'a>, key: &str, read: impl FnOnce(&mut Map<'a>)) {
    if let Some(mut section) = map.get(key).and_then(|node| node.map()) {
        read(&mut section);
        section.deny_unknown();
    }
}

/// Sets `setting` to `given`, if `given` has a value.
pub(super) fn set<T>(setting: &mut T, given: Option<T>) {
    if let Some(given) = given {
        *setting = given;
    }
}

/// Reads the settings that every listener has.
pub(super) fn endpoint(map: &mut Map<'_>, endpoint: &mut Endpoint) {
    set(endpoint, map.get("endpoint").and_then(|node| Endpoint::read(&node)));
    if let Some(node) = map.get("tls") {
        node.problem(format!("{NOT_BUILT}: put a proxy that ends TLS in front"));
    }
}

/// Reads a duration that is longer than zero.
pub(super) fn positive_duration(node: &Node<'_>) -> Option<Duration> {
    let duration = node.duration()?;
    if duration.is_zero() {
        node.problem("must be longer than 0 s");
        return None;
    }
    Some(duration)
}

/// Reads an integer from 1 to the largest `u32`.
pub(super) fn positive(node: &Node<'_>) -> Option<u32> {
    node.integer(1..=u32::MAX.into()).and_then(|number| number.try_into().ok())
}

/// Reads one of the words in `choices`, and returns the value of that word.
pub(super) fn one_of<T: Copy, const N: usize>(
    node: &Node<'_>,
    choices: [(&str, T); N],
) -> Option<T> {
    let text = node.string()?;
    let found = choices.iter().find(|(name, _)| *name == text).map(|(_, choice)| *choice);
    if found.is_none() {
        node.problem(format!("expected one of {}", choices.map(|(name, _)| name).join(", ")));
    }
    found
}

/// Reads a list of strings. Returns each string with its node, so that problems can name its path.
pub(super) fn strings<'a>(node: &Node<'a>) -> Vec<(Node<'a>, &'a str)> {
    let items = node.list().unwrap_or_default();
    items.into_iter().filter_map(|item| item.string().map(|text| (item, text))).collect()
}
