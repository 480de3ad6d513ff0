//! Finds out whether a connection is idle, and whether its peer has stalled.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

/// A peer counts as stalled if it takes fewer bytes than this within an idle timeout. HTTP/2 pings,
/// which the gateway sends even to a peer that reads nothing, do not add up to this number.
const PROGRESS: u64 = 4 << 10;

/// Counts the requests and the written bytes of one connection.
#[derive(Default)]
pub(crate) struct Activity {
    in_flight: AtomicUsize,
    begun: AtomicU64,
    written: AtomicU64,
}

/// A guard that counts a request as in flight until the guard is dropped.
pub(crate) struct InFlight(Arc<Activity>);

impl Activity {
    /// Counts a request as in flight until the returned guard is dropped.
    pub(crate) fn begin(self: &Arc<Self>) -> InFlight {
        self.begun.fetch_add(1, Ordering::Relaxed);
        self.in_flight.fetch_add(1, Ordering::Relaxed);
        InFlight(Arc::clone(self))
    }

    /// Counts bytes of responses that the operating system has accepted from this process.
    pub(crate) fn wrote(&self, bytes: usize) {
        self.written.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// Waits until no request is in flight and no request has begun for `timeout`. Returns at most
    /// twice `timeout` after the last request has ended.
    pub(crate) async fn idle(&self, timeout: Duration) {
        let mut begun = self.begun.load(Ordering::Relaxed);
        loop {
            tokio::time::sleep(timeout).await;
            let now = self.begun.load(Ordering::Relaxed);
            if now == begun && self.in_flight.load(Ordering::Relaxed) == 0 {
                return;
            }
            begun = now;
        }
    }

    /// Waits until the connection is [`idle`](Self::idle). If the peer has taken at least
    /// `PROGRESS` bytes during this wait, waits again.
    pub(crate) async fn stalled(&self, timeout: Duration) {
        loop {
            let written = self.written.load(Ordering::Relaxed);
            self.idle(timeout).await;
            if self.written.load(Ordering::Relaxed) - written < PROGRESS {
                return;
            }
        }
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use std::future::Future;
    use std::task::{Context, Waker};

    use super::*;

    const TIMEOUT: Duration = Duration::from_secs(60);

    // Scenario: a connection has a request in flight for five timeouts. Then the peer reads 5,000
    // bytes of the response in each of five timeouts, and 17 bytes in the next timeout.
    // Guarantee: the connection counts as stalled after the last of these timeouts, and not before.
    #[tokio::test(start_paused = true)]
    async fn a_connection_without_progress_has_stalled() {
        let activity = Arc::new(Activity::default());
        let mut stalled = std::pin::pin!(activity.stalled(TIMEOUT));
        let mut has_stalled = async || {
            tokio::time::advance(TIMEOUT).await;
            stalled.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_ready()
        };
        let request = activity.begin();
        for _ in 0..5 {
            assert!(!has_stalled().await);
        }
        drop(request);
        for _ in 0..5 {
            activity.wrote(5000);
            assert!(!has_stalled().await);
        }
        activity.wrote(17);
        assert!(has_stalled().await);
    }
}
