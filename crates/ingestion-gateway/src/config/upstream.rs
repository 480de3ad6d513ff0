//! `upstream`: where telemetry is sent on to.

use otel_confmap::Node;

use super::read::NOT_BUILT;

/// Refuses every upstream: a setting without an effect must not be accepted.
pub(super) fn refuse(node: &Node<'_>) {
    node.problem(format!("{NOT_BUILT}: without it what is received is counted and discarded"));
}
