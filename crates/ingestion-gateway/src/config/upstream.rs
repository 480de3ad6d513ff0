//! `upstream`: where telemetry is forwarded to.

use otel_confmap::Node;

use super::read::NOT_BUILT;

/// Reports every upstream as an error, because a setting without an effect must not be accepted.
pub(super) fn refuse(node: &Node<'_>) {
    node.problem(format!("{NOT_BUILT}: without it what is received is counted and discarded"));
}
