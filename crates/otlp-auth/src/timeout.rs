//! A time limit that needs no async runtime. The export threads of an OpenTelemetry SDK have no
//! Tokio timers, and some servers have none either.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::task::Poll;
use std::time::Duration;

use futures_timer::Delay;

/// Returns the output of `work`, or `None` if `work` takes longer than `limit`.
pub(crate) async fn timeout<T>(limit: Duration, work: impl Future<Output = T>) -> Option<T> {
    let mut work = pin!(work);
    let mut delay = None;
    poll_fn(|cx| match work.as_mut().poll(cx) {
        Poll::Ready(output) => Poll::Ready(Some(output)),
        // The timer is made only if `work` has to wait.
        Poll::Pending => {
            Pin::new(delay.get_or_insert_with(|| Delay::new(limit))).poll(cx).map(|()| None)
        }
    })
    .await
}
