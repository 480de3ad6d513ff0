//! Finds out whether the peer of an HTTP/2 connection is still there.

use std::sync::Arc;
use std::time::Duration;

use h2::{Ping, PingPong};
use tokio::time::{sleep, timeout};

use crate::listener::activity::Activity;

/// Waits until the peer has sent no request and no body for `interval`, and then does not answer a
/// ping within `patience`.
pub(super) async fn peer_is_gone(
    mut pings: PingPong,
    activity: Arc<Activity>,
    interval: Duration,
    patience: Duration,
) {
    loop {
        let before = activity.arrived();
        sleep(interval).await;
        // A ping fails only when the connection ends.
        if activity.arrived() == before
            && timeout(patience, pings.ping(Ping::opaque())).await.is_err()
        {
            return;
        }
    }
}
