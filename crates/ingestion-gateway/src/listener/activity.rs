//! What happens on a connection, and when it is nothing.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

/// Fewer bytes written in an idle timeout than this are no answer that somebody reads: peers that
/// read nothing are still asked whether they are there.
const PROGRESS: u64 = 4 << 10;

/// What happens on a connection.
#[derive(Default)]
pub(crate) struct Activity {
    in_flight: AtomicUsize,
    begun: AtomicU64,
    written: AtomicU64,
}

/// A request in flight.
pub(crate) struct Busy(Arc<Activity>);

impl Activity {
    /// A request begins; it is in flight until what is returned is dropped.
    pub(crate) fn begin(self: &Arc<Self>) -> Busy {
        self.begun.fetch_add(1, Ordering::Relaxed);
        self.in_flight.fetch_add(1, Ordering::Relaxed);
        Busy(Arc::clone(self))
    }

    /// So many bytes of answers were taken by the operating system.
    pub(crate) fn wrote(&self, bytes: usize) {
        self.written.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// Waits until nothing was in flight for this long, or up to twice as long.
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

    /// Waits until nothing was in flight for this long or twice as long, and next to nothing was
    /// written of what is answered already.
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

impl Drop for Busy {
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

    // Scenario: on a connection that is to end a request goes on, then its answer is read slowly,
    // then there are only a few bytes. Guarantee: it has stalled after the last of these, and not
    // before.
    #[tokio::test(start_paused = true)]
    async fn only_what_makes_no_progress_has_stalled() {
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
