//! Functions with which several sections of the configuration read values.

use std::time::Duration;

use otel_confmap::{Map, Node};

use super::{Endpoint, ServerTlsConfig};

/// Part of the message about a null that would have no effect.
const DEFAULT: &str = "remove the key to keep the default";

/// Returns the value of `key`. Null is a problem, because it would have no effect.
pub(super) fn setting<'a>(map: &mut Map<'a>, key: &str) -> Option<Node<'a>> {
    let node = map.get_nullable(key)?;
    if node.is_null() {
        node.problem(format!("expected a value, found nothing: {DEFAULT}"));
        return None;
    }
    Some(node)
}

/// If `map` contains a section `key`, calls `read` with this section. Then reports every key of the
/// section that `read` did not ask for. A section is empty while all its settings are comments.
pub(super) fn section<'a>(map: &mut Map<'a>, key: &str, read: impl FnOnce(&mut Map<'a>)) {
    match map.get_nullable(key) {
        Some(node) if node.is_empty() => {}
        Some(node) if node.is_null() => {
            node.problem(format!(
                "expected a map, found null, which switches nothing off: {DEFAULT}"
            ));
        }
        Some(node) => read_map(&node, read),
        None => {}
    }
}

/// Does the same as [`section`] for a section that null switches off. For null, calls `read` with
/// `None`.
///
/// A key behind whose colon nothing is written is a problem. In YAML it is null too, but a
/// Collector reads it as a section with all its defaults.
pub(super) fn switchable<'a>(
    map: &mut Map<'a>,
    key: &str,
    read: impl FnOnce(Option<&mut Map<'a>>),
) {
    match map.get_nullable(key) {
        Some(node) if node.is_empty() => node.problem(
            "expected a map or null, found nothing: `{}` is on with the defaults, `null` is off",
        ),
        Some(node) if node.is_null() => read(None),
        Some(node) => read_map(&node, |map| read(Some(map))),
        None => {}
    }
}

/// Reads the section of a listener with `read`. Null switches the listener off.
pub(super) fn listener<'a, T>(
    map: &mut Map<'a>,
    key: &str,
    settings: &mut Option<T>,
    read: impl FnOnce(&mut T, &mut Map<'a>),
) {
    switchable(map, key, |map| match (map, settings) {
        (Some(map), Some(settings)) => read(settings, map),
        (_, settings) => *settings = None,
    });
}

fn read_map<'a>(node: &Node<'a>, read: impl FnOnce(&mut Map<'a>)) {
    if let Some(mut map) = node.map() {
        read(&mut map);
        map.deny_unknown();
    }
}

/// Sets `setting` to `given`, if `given` has a value.
pub(super) fn set<T>(setting: &mut T, given: Option<T>) {
    if let Some(given) = given {
        *setting = given;
    }
}

/// Reads the settings that every listener has.
pub(super) fn endpoint(
    map: &mut Map<'_>,
    endpoint: &mut Endpoint,
    tls: &mut Option<ServerTlsConfig>,
) {
    match map.get_nullable("endpoint") {
        Some(node) if node.is_null() => node.problem(format!(
            "expected host:port, found nothing: `{}: null` switches the listener off",
            map.node().path()
        )),
        Some(node) => set(endpoint, Endpoint::read(&node)),
        None => {}
    }
    read_tls(map, Some(endpoint), tls);
}

/// Does the same as [`endpoint`] for a listener that is off without an address, because its section
/// has settings that do not belong to the listener.
pub(super) fn endpoint_or_null(
    map: &mut Map<'_>,
    endpoint: &mut Option<Endpoint>,
    tls: &mut Option<ServerTlsConfig>,
) {
    match map.get_nullable("endpoint") {
        Some(node) if node.is_empty() => {
            node.problem("expected host:port or null, which switches the listener off");
        }
        Some(node) if node.is_null() => *endpoint = None,
        Some(node) => set(endpoint, Endpoint::read(&node).map(Some)),
        None => {}
    }
    read_tls(map, endpoint.as_ref(), tls);
    if endpoint.is_none() && tls.is_some() {
        map.node().warning("`tls` has no effect: the listener is off");
    }
}

/// Reads the TLS of a listener. Warns if other hosts can reach the listener in plaintext.
fn read_tls(map: &mut Map<'_>, endpoint: Option<&Endpoint>, tls: &mut Option<ServerTlsConfig>) {
    *tls = ServerTlsConfig::read(map);
    if tls.is_none() && endpoint.is_some_and(|endpoint| !endpoint.is_loopback()) {
        map.node().warning(
            "is plaintext and can be reached from other hosts: set `tls`, or let only a proxy \
             that ends TLS reach it",
        );
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
    let items = node.list().unwrap_or_default().into_iter();
    let string = |item: Node<'a>| {
        if item.is_null() {
            item.problem("expected a string, found nothing");
            return None;
        }
        item.string().map(|text| (item, text))
    };
    items.filter_map(string).collect()
}
