//! Follows a gateway: one connection after the other.

use std::convert::Infallible;
use std::error::Error;
use std::mem::{Discriminant, discriminant};
use std::time::Duration;

use ingestion_api::{FollowCursor, FollowEvent, FollowHello, FollowPosition};
use reqwest::Response;
use tokio::sync::watch;
use tokio::time::timeout;

use super::connection::{Gateway, RequestError};
use crate::cache::KeyCache;
use crate::clock::Clock;
use crate::store::Change;
use crate::wire::NotPossible;

/// The gateway sends something every 5 seconds. If nothing comes for this long, the connection is
/// broken.
const SILENCE: Duration = Duration::from_secs(20);

/// The largest line, in bytes. A gateway sends lines of at most 256 keys.
const MAX_LINE: usize = 4 << 20;

/// The time before the first attempt to connect again, and the longest time between two attempts.
/// Each time is shortened at random by up to a half, so that followers do not come back together.
const FIRST_DELAY: Duration = Duration::from_millis(100);
const MAX_DELAY: Duration = Duration::from_secs(10);

/// A connection has ended.
#[derive(Debug, thiserror::Error)]
enum Ended {
    #[error("the gateway cannot be followed")]
    Request(#[from] RequestError),
    #[error("the connection broke")]
    Broken(#[source] reqwest::Error),
    #[error("nothing came from the gateway for {SILENCE:?}")]
    Silent,
    #[error("the gateway has ended the connection")]
    Closed,
    #[error("the gateway sent a line with more than {MAX_LINE} bytes")]
    LongLine,
    #[error("the gateway sent a line that is no event")]
    NoEvent(#[source] serde_json::Error),
    #[error("the gateway sent a key that is not possible")]
    NotPossible(#[from] NotPossible),
    #[error("the gateway sent no hello, or a second one")]
    Hello,
}

/// What a follower knows between two connections.
struct Session<'a> {
    gateway: &'a Gateway,
    cache: &'a KeyCache,
    clock: &'a dyn Clock,
    ready: &'a watch::Sender<bool>,
    cursor: Option<FollowCursor>,
    /// Whether the last connection has reached a position.
    has_progressed: bool,
}

/// Follows the gateway. The future never ends.
pub(super) async fn follow(
    gateway: &Gateway,
    cache: &KeyCache,
    clock: &dyn Clock,
    ready: &watch::Sender<bool>,
) {
    let (cursor, has_progressed) = (None, false);
    let mut session = Session { gateway, cache, clock, ready, cursor, has_progressed };
    let (mut delay, mut logged) = (FIRST_DELAY, None);
    loop {
        session.has_progressed = false;
        let Err(ended) = session.connect().await;
        if session.has_progressed {
            (delay, logged) = (FIRST_DELAY, None);
        }
        log(&ended, &mut logged, cache);
        tokio::time::sleep(shortened(delay)).await;
        delay = (delay * 2).min(MAX_DELAY);
    }
}

impl Session<'_> {
    /// Connects, and applies what the gateway sends until the connection ends.
    async fn connect(&mut self) -> Result<Infallible, Ended> {
        let asked_at = self.clock.monotonic();
        let response = self.gateway.follow(self.cursor).await?;
        let mut lines = Lines { response, received: Vec::new() };
        let FollowEvent::Hello(hello) = lines.next().await? else { return Err(Ended::Hello) };
        let mut in_snapshot = hello.snapshot;
        if in_snapshot {
            self.cache.begin_snapshot();
        }
        loop {
            match lines.next().await? {
                FollowEvent::Hello(_) => return Err(Ended::Hello),
                FollowEvent::Keys(keys) => {
                    let changes: Result<Vec<Change>, _> =
                        keys.into_iter().map(Change::try_from).collect();
                    self.cache.apply(&changes?);
                }
                FollowEvent::Position(position) => {
                    if std::mem::take(&mut in_snapshot) {
                        self.cache.end_snapshot();
                    }
                    self.cursor = Some(position.cursor);
                    let now = self.clock.monotonic();
                    let as_of = as_of(asked_at, &hello, &position).min(now);
                    self.cache.refresh(position.cursor.revision, as_of);
                    if !std::mem::replace(&mut self.has_progressed, true) {
                        tracing::info!(
                            revision = position.cursor.revision,
                            "following the gateway"
                        );
                        self.ready.send_replace(true);
                    }
                }
                // A later version of the gateway sends events that this version does not need.
                _ => {}
            }
        }
    }
}

/// Returns the time of a position on the clock of this process.
///
/// The clocks of the two processes are not compared. The gateway said its `now` after the request
/// had been sent. So the gateway's times, measured from its `now`, are no later than the same times
/// measured from the moment before the request. The result is too early by as long as the request
/// took, and never too late, however long the position was on its way.
fn as_of(asked_at: Duration, hello: &FollowHello, position: &FollowPosition) -> Duration {
    let since = position.as_of.saturating_sub(hello.now);
    let distance = Duration::from_millis(since.unsigned_abs());
    match since < 0 {
        true => asked_at.saturating_sub(distance),
        false => asked_at.saturating_add(distance),
    }
}

/// The kind of a reason.
type Kind = (Discriminant<Ended>, Option<Discriminant<RequestError>>);

/// The lines of a response.
struct Lines {
    response: Response,
    received: Vec<u8>,
}

impl Lines {
    async fn next(&mut self) -> Result<FollowEvent, Ended> {
        let mut searched = 0;
        loop {
            if let Some(end) = self.received[searched..].iter().position(|&byte| byte == b'\n') {
                let end = searched + end;
                let event = serde_json::from_slice(&self.received[..end]);
                self.received.drain(..=end);
                return event.map_err(Ended::NoEvent);
            }
            searched = self.received.len();
            if searched > MAX_LINE {
                return Err(Ended::LongLine);
            }
            let chunk = timeout(SILENCE, self.response.chunk()).await;
            let chunk = chunk.map_err(|_| Ended::Silent)?;
            let chunk = chunk.map_err(|error| Ended::Broken(error.without_url()))?;
            self.received.extend_from_slice(&chunk.ok_or(Ended::Closed)?);
        }
    }
}

/// Logs why a connection has ended. Of several equal reasons in a row, only the first one is an
/// error. A gateway that ends a connection in order, for example because it stops, is no error.
fn log(ended: &Ended, logged: &mut Option<Kind>, cache: &KeyCache) {
    let (error, fresh_for): (&dyn Error, _) = (ended, cache.fresh_for().unwrap_or_default());
    let kind = match ended {
        Ended::Request(request) => (discriminant(ended), Some(discriminant(request))),
        _ => (discriminant(ended), None),
    };
    let is_known = logged.replace(kind) == Some(kind);
    match ended {
        _ if is_known => tracing::debug!(error, ?fresh_for, "the gateway is not followed"),
        Ended::Closed => tracing::info!(?fresh_for, "the gateway has ended the connection"),
        _ => tracing::error!(error, ?fresh_for, "the gateway is not followed: trying again"),
    }
}

/// Shortens a delay at random by up to a half.
fn shortened(delay: Duration) -> Duration {
    delay.mul_f64(1.0 - fastrand::f64() / 2.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    // Scenario: positions are as of a time before and after the hello.
    // Guarantee: the age is measured from the moment before the request, however long the request
    // and the positions were on their way.
    #[test]
    fn the_age_counts_from_the_request() {
        let asked_at = Duration::from_secs(100);
        let hello = FollowHello { now: 5000, snapshot: false };
        let cursor = FollowCursor { revision: 1, change_id: [0; 16] };
        let at = |as_of| as_of_secs(asked_at, &hello, &FollowPosition { cursor, as_of });
        assert_eq!([at(4000), at(5000), at(65_000), at(-200_000)], [99.0, 100.0, 160.0, 0.0]);
    }

    fn as_of_secs(asked_at: Duration, hello: &FollowHello, position: &FollowPosition) -> f64 {
        as_of(asked_at, hello, position).as_secs_f64()
    }
}
