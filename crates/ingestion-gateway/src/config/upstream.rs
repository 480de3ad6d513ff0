//! `upstream`: where telemetry is forwarded to.

use otel_confmap::Map;

use super::read::not_built;

/// Reports every upstream as an error, because a setting without an effect must not be accepted.
pub(super) fn refuse(root: &mut Map<'_>) {
    not_built(root, "upstream", "without it what is received is counted and discarded");
}
