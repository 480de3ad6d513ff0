//! A bound on waiting that needs no runtime: neither the export threads of an SDK nor every server
//! has Tokio's timers.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::task::Poll;
use std::time::Duration;

use futures_timer::Delay;

/// What `work` gives, unless it takes longer than `limit`.
pub(crate) async fn timeout<T>(limit: Duration, work: impl Future<Output = T>) -> Option<T> {
    let mut work = pin!(work);
    let mut delay = None;
    poll_fn(|cx| match work.as_mut().poll(cx) {
        Poll::Ready(output) => Poll::Ready(Some(output)),
        // Only what has to wait pays for a timer.
        Poll::Pending => {
            Pin::new(delay.get_or_insert_with(|| Delay::new(limit))).poll(cx).map(|()| None)
        }
    })
    .await
}
