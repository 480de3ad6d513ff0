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
use crate::backoff;
use crate::cache::KeyCache;
use crate::clock::Clock;
use crate::store::Change;
use crate::wire::NotPossible;

/// The gateway sends something every 5 seconds. If nothing comes for this long, the connection is
/// broken.
const SILENCE: Duration = Duration::from_secs(20);

/// The largest line, in bytes. A gateway sends lines of at most 256 keys.
const MAX_LINE: usize = 4 << 20;

/// The longest time for which a connection is used. Each time is shortened at random by up to a
/// half. Times of the gateway are measured from the beginning of a connection, and the clocks of
/// two machines do not run equally fast, above all while one of them is being corrected.
const LIFETIME: Duration = Duration::from_secs(180);

/// The longest time before the first attempt to connect again. A gateway that stops disconnects all
/// of its followers at once, so each of them waits for a random part of this time.
const SPREAD: Duration = Duration::from_secs(1);

/// The longest time between two attempts, unless the gateway asks for more, and the longest time
/// that a gateway can ask for.
const MAX_PAUSE: Duration = Duration::from_secs(10);
const MAX_RETRY_AFTER: Duration = Duration::from_secs(60);

/// The time between two looks at whether the machine was suspended.
const LOOK: Duration = Duration::from_secs(1);

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
    #[error("the connection was used for long enough")]
    Renewed,
    #[error("the gateway sent a line with more than {MAX_LINE} bytes")]
    LongLine,
    /// The text of the error would have a part of the line.
    #[error("the gateway sent a line that is no event, because of column {0}")]
    NoEvent(usize),
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
    /// Whether it was logged that the gateway is followed.
    is_following: bool,
}

/// Follows the gateway. The future never ends.
pub(super) async fn follow(
    gateway: &Gateway,
    cache: &KeyCache,
    clock: &dyn Clock,
    ready: &watch::Sender<bool>,
) {
    let (cursor, has_progressed, is_following) = (None, false, false);
    let mut session =
        Session { gateway, cache, clock, ready, cursor, has_progressed, is_following };
    let (mut failures, mut logged) = (0_u32, None);
    loop {
        session.has_progressed = false;
        let Err(ended) = session.connect().await;
        if let Ended::Renewed = ended {
            continue;
        }
        session.is_following = false;
        if session.has_progressed {
            (failures, logged) = (0, None);
        }
        log(&ended, &mut logged, cache);
        tokio::time::sleep(wait(&ended, failures, backoff::random())).await;
        failures = failures.saturating_add(1);
    }
}

/// Looks again and again at whether the machine was suspended. The future never ends.
pub(super) async fn notice_suspensions(cache: &KeyCache) {
    loop {
        tokio::time::sleep(LOOK).await;
        cache.notice_suspension();
    }
}

impl Session<'_> {
    /// Connects, and applies what the gateway sends until the connection ends.
    async fn connect(&mut self) -> Result<Infallible, Ended> {
        let asked_at = self.elapsed();
        let lifetime = backoff::jittered(LIFETIME, backoff::random());
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
                    let since_asked = self.elapsed().saturating_sub(asked_at);
                    self.reach(position.cursor, age(since_asked, &hello, &position));
                    if since_asked >= lifetime {
                        return Err(Ended::Renewed);
                    }
                }
                // A later version of the gateway sends events that this version does not need.
                _ => {}
            }
        }
    }

    /// Notes that the keys are everything up to a cursor, and how old they are.
    fn reach(&mut self, cursor: FollowCursor, age: Duration) {
        self.cache.refresh(cursor.revision, self.clock.monotonic(), age);
        self.cursor = Some(cursor);
        self.has_progressed = true;
        if !std::mem::replace(&mut self.is_following, true) {
            tracing::info!(revision = cursor.revision, "following the gateway");
            self.ready.send_replace(true);
        }
    }

    /// Returns the time since some moment in the past. It also counts the time in which the machine
    /// was suspended.
    fn elapsed(&self) -> Duration {
        self.clock.monotonic().saturating_add(self.clock.suspended())
    }
}

/// Returns the age of a position, which was received this long after the moment before the request.
///
/// The clocks of the two processes are not compared. The gateway said its `now` after the request
/// had been sent. So the position is no older than the result, and younger by at most as long as
/// the request took, however long the position was on its way.
fn age(since_asked: Duration, hello: &FollowHello, position: &FollowPosition) -> Duration {
    let since_hello = position.as_of.saturating_sub(hello.now);
    let distance = Duration::from_millis(since_hello.unsigned_abs());
    match since_hello < 0 {
        true => since_asked.saturating_add(distance),
        false => since_asked.saturating_sub(distance),
    }
}

/// Returns how long to wait after a connection has ended, if as many attempts as `failures` have
/// failed since a connection reached a position. `random` is between 0 and 1.
fn wait(ended: &Ended, failures: u32, random: f64) -> Duration {
    let pause = match failures {
        0 => SPREAD.mul_f64(random),
        _ => backoff::jittered(backoff::pause(failures, MAX_PAUSE), random),
    };
    let asked = match ended {
        Ended::Request(RequestError::Refused { retry_after, .. }) => *retry_after,
        _ => None,
    };
    pause + asked.unwrap_or_default().min(MAX_RETRY_AFTER)
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
                return event.map_err(|error: serde_json::Error| Ended::NoEvent(error.column()));
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

#[cfg(test)]
mod tests {
    use http::StatusCode;

    use super::*;

    // Scenario: positions are as of a time before and after the hello.
    // Guarantee: the age is measured from the moment before the request, however long the request
    // and the positions were on their way. No position is younger than nothing.
    #[test]
    fn the_age_counts_from_the_request() {
        let hello = FollowHello { now: 5000, snapshot: false };
        let cursor = FollowCursor { revision: 1, change_id: [0; 16] };
        let age = |since_asked, as_of| {
            let position = FollowPosition { cursor, as_of };
            age(Duration::from_secs(since_asked), &hello, &position).as_secs()
        };
        assert_eq!([age(7, 4000), age(7, 5000), age(7, 10_000), age(7, 13_000)], [8, 7, 2, 0]);
        assert!(age(7, i64::MIN) > 1 << 50 && age(7, i64::MAX) == 0);
    }

    // Scenario: a connection that was used ends, attempts fail again and again, and a gateway asks
    // for a pause.
    // Guarantee: the first attempts of many followers are spread over a second. Later pauses grow
    // up to ten seconds. A pause that the gateway asks for comes on top, up to a minute.
    #[test]
    fn followers_come_back_one_by_one() {
        let millis = |ended: &Ended, failures| {
            [0.0, 0.5, 1.0].map(|random| wait(ended, failures, random).as_millis())
        };
        assert_eq!(millis(&Ended::Closed, 0), [0, 500, 1000]);
        assert_eq!(millis(&Ended::Silent, 1), [50, 75, 100]);
        assert_eq!(millis(&Ended::Silent, u32::MAX), [5000, 7500, 10_000]);
        let refused = |retry_after| {
            let (status, retry_after) = (StatusCode::SERVICE_UNAVAILABLE, Some(retry_after));
            Ended::from(RequestError::Refused { status, retry_after })
        };
        assert_eq!(millis(&refused(Duration::from_secs(3)), 1), [3050, 3075, 3100]);
        assert_eq!(millis(&refused(Duration::MAX), 0), [60_000, 60_500, 61_000]);
    }
}
