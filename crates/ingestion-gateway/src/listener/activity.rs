//! Finds out what a connection is doing: whether it is idle, whether its peer has stalled, and
//! whether it may give way to another connection.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

/// A peer counts as stalled if it takes fewer bytes than this within an idle timeout. HTTP/2 pings,
/// which the gateway sends even to a peer that reads nothing, do not add up to this number.
const PROGRESS: u64 = 4 << 10;

/// How long nothing must happen on a connection until it counts as finished. A peer that is alive
/// answers the ping of an HTTP/2 connection that closes within this time.
const QUIET: Duration = Duration::from_secs(1);

/// How long a peer may take no byte of a response on a connection that closes.
const UNREAD: Duration = Duration::from_secs(5);

/// What happens on one connection.
#[derive(Debug, Default)]
pub(crate) struct Activity {
    /// The number of requests that have no response yet.
    in_flight: AtomicUsize,
    /// The number of responses whose bodies are not completely handed over to the connection.
    answering: AtomicUsize,
    /// The number of those whose requests stay in flight, because the bodies do not end by
    /// themselves.
    long_lived: AtomicUsize,
    /// The number of requests that wait for their bodies.
    awaiting: AtomicUsize,
    begun: AtomicU64,
    /// The number of bytes of bodies that have arrived.
    received: AtomicU64,
    written: AtomicU64,
    /// Whether the operating system takes no more bytes, because the peer does not read.
    blocked: AtomicBool,
    /// Whether the write side is closed. The connection only reads what the peer still sends.
    closing: AtomicBool,
    /// Whether the connection was asked to give way and has not answered yet.
    asked: AtomicBool,
    ask: Notify,
    /// Since when all requests in flight wait for their bodies.
    slow_since: Mutex<Option<Slow>>,
}

/// The moment since which bodies have made too little progress, and how much had arrived then.
#[derive(Clone, Copy, Debug)]
struct Slow {
    since: Instant,
    received: u64,
}

/// The requests of a connection at one moment.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Requests {
    begun: u64,
    in_flight: usize,
}

/// Says how much a connection would lose by giving way. The connection with the smallest rank gives
/// way first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Rank {
    state: State,
    begun: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum State {
    Closing,
    Quiet,
    Answering,
    /// Requests are in flight, but their peer does not send their bodies.
    Slow,
}

/// A guard that counts a request as in flight until the guard is dropped.
#[derive(Debug)]
pub(crate) struct InFlight(Arc<Activity>);

/// A guard that counts a request as waiting for its body until the guard is dropped.
#[derive(Debug)]
pub(crate) struct Awaiting(Arc<Activity>);

/// A guard that counts a response as being written until the guard is dropped.
#[derive(Debug)]
pub(crate) struct Answering {
    activity: Arc<Activity>,
    /// The guard of a request that stays in flight until its response is written.
    in_flight: Option<InFlight>,
}

impl Activity {
    /// Counts a request as in flight until the returned guard is dropped.
    pub(crate) fn begin(self: &Arc<Self>) -> InFlight {
        self.begun.fetch_add(1, Relaxed);
        self.in_flight.fetch_add(1, Relaxed);
        InFlight(Arc::clone(self))
    }

    /// Counts a request as waiting for its body until the returned guard is dropped.
    pub(crate) fn wait(self: &Arc<Self>) -> Awaiting {
        self.awaiting.fetch_add(1, Relaxed);
        Awaiting(Arc::clone(self))
    }

    /// Counts bytes of bodies that have arrived.
    pub(crate) fn received(&self, bytes: usize) {
        self.received.fetch_add(bytes as u64, Relaxed);
    }

    /// Returns numbers that change when a request or a part of a body arrives.
    pub(crate) fn arrived(&self) -> (u64, u64) {
        (self.begun.load(Relaxed), self.received.load(Relaxed))
    }

    /// Counts bytes of responses that the operating system has accepted from this process.
    pub(crate) fn wrote(&self, bytes: usize) {
        self.written.fetch_add(bytes as u64, Relaxed);
    }

    /// Notes whether the operating system takes no more bytes for now.
    pub(crate) fn set_blocked(&self, blocked: bool) {
        self.blocked.store(blocked, Relaxed);
    }

    /// Notes that the write side is closed.
    pub(crate) fn set_closing(&self) {
        self.closing.store(true, Relaxed);
    }

    /// Returns whether the write side is closed.
    fn is_closing(&self) -> bool {
        self.closing.load(Relaxed)
    }

    /// Waits until no request is in flight and no request has begun for `timeout`. Returns at most
    /// twice `timeout` after the last request has ended. A connection whose write side is closed is
    /// not idle; it has an end of its own.
    pub(crate) async fn idle(&self, timeout: Duration) {
        let mut before = self.requests();
        loop {
            tokio::time::sleep(timeout).await;
            let now = self.requests();
            // A request that was in flight before may have ended only just now.
            if now == before && now.in_flight == 0 && !self.is_closing() {
                return;
            }
            before = now;
        }
    }

    /// Waits for `timeout`, and then for ever if a request has begun within that time, or if the
    /// write side is closed, because what was sent is no request.
    pub(crate) async fn nothing_begun(&self, timeout: Duration) {
        tokio::time::sleep(timeout).await;
        if self.begun.load(Relaxed) != 0 || self.is_closing() {
            std::future::pending().await
        }
    }

    /// Waits until the connection is [`idle`](Self::idle). If the peer has taken at least
    /// `PROGRESS` bytes during this wait, waits again.
    pub(crate) async fn stalled(&self, timeout: Duration) {
        loop {
            let written = self.written.load(Relaxed);
            self.idle(timeout).await;
            if self.written.load(Relaxed) - written < PROGRESS {
                return;
            }
        }
    }

    /// Waits until a connection that closes has nothing left to do: for 1 s, no request was in
    /// flight and none began, and every response is written. If the peer takes no byte of a
    /// response for 5 s, the response is given up. A response that does not end by itself is given
    /// up in the same way, because a peer that takes nothing keeps it from ending.
    pub(crate) async fn finished(&self) {
        let (mut before, mut written) = (self.requests(), self.written.load(Relaxed));
        let mut writes_before = self.writes();
        let mut progress = Instant::now();
        loop {
            tokio::time::sleep(QUIET).await;
            let (now, written_now) = (self.requests(), self.written.load(Relaxed));
            if written_now != written {
                progress = Instant::now();
            }
            let writes = self.writes();
            // What was under way before may have ended only just now. The connection may not have
            // written the end of it yet.
            let busy = now.in_flight > self.long_lived.load(Relaxed) || now != before;
            let writing = (writes || writes_before) && progress.elapsed() < UNREAD;
            if !busy && !writing {
                return;
            }
            (before, written, writes_before) = (now, written_now, writes);
        }
    }

    fn requests(&self) -> Requests {
        Requests { begun: self.begun.load(Relaxed), in_flight: self.in_flight.load(Relaxed) }
    }

    /// Returns whether a response is being written.
    fn writes(&self) -> bool {
        self.answering.load(Relaxed) != 0 || self.blocked.load(Relaxed)
    }

    /// Returns whether a response is being written that does not end by itself.
    pub(crate) fn answers_for_long(&self) -> bool {
        self.long_lived.load(Relaxed) != 0
    }

    /// Looks whether every request in flight waits for its body, and too little of the bodies has
    /// arrived within `timeout`. The time begins with the first look.
    pub(crate) fn is_slow(&self, timeout: Duration) -> bool {
        let in_flight = self.in_flight.load(Relaxed);
        let mut slow_since = self.slow_since.lock().unwrap_or_else(PoisonError::into_inner);
        if in_flight == 0 || self.awaiting.load(Relaxed) < in_flight {
            *slow_since = None;
            return false;
        }
        let (now, received) = (Instant::now(), self.received.load(Relaxed));
        match *slow_since {
            Some(slow) if received - slow.received < PROGRESS => now >= slow.since + timeout,
            _ => {
                *slow_since = Some(Slow { since: now, received });
                false
            }
        }
    }

    /// Returns the rank of the connection, or `None` if it cannot give way: it was already asked,
    /// or a request is in flight, and the connection [`is_slow`](Self::is_slow) only for a shorter
    /// time than `timeout`.
    pub(crate) fn rank(&self, timeout: Duration) -> Option<Rank> {
        if self.asked.load(Relaxed) {
            return None;
        }
        let state = if self.in_flight.load(Relaxed) != 0 {
            self.is_slow(timeout).then_some(State::Slow)?
        } else if self.is_closing() {
            State::Closing
        } else if self.writes() {
            State::Answering
        } else {
            State::Quiet
        };
        Some(Rank { state, begun: self.begun.load(Relaxed) })
    }

    /// Asks the connection to give way to another one.
    pub(crate) fn ask_to_give_way(&self) {
        self.asked.store(true, Relaxed);
        self.ask.notify_one();
    }

    /// Waits until the connection is asked to give way, and can: no request is in flight, or the
    /// connection [`is_slow`](Self::is_slow).
    pub(crate) async fn gives_way(&self, timeout: Duration) {
        loop {
            self.ask.notified().await;
            if self.in_flight.load(Relaxed) == 0 || self.is_slow(timeout) {
                return;
            }
            self.asked.store(false, Relaxed);
        }
    }
}

impl InFlight {
    /// Counts the request as answered, and its response as being written.
    pub(crate) fn answer(self) -> Answering {
        self.0.answering.fetch_add(1, Relaxed);
        Answering { activity: Arc::clone(&self.0), in_flight: None }
    }

    /// Counts the response as being written, and the request as in flight until then.
    pub(crate) fn answer_for_long(self) -> Answering {
        self.0.answering.fetch_add(1, Relaxed);
        self.0.long_lived.fetch_add(1, Relaxed);
        Answering { activity: Arc::clone(&self.0), in_flight: Some(self) }
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Relaxed);
    }
}

impl Drop for Awaiting {
    fn drop(&mut self) {
        self.0.awaiting.fetch_sub(1, Relaxed);
    }
}

impl Drop for Answering {
    fn drop(&mut self) {
        if self.in_flight.is_some() {
            self.activity.long_lived.fetch_sub(1, Relaxed);
        }
        self.activity.answering.fetch_sub(1, Relaxed);
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

    // Scenario: a connection closes while a request is in flight for 100 s. Then its response is
    // written for 100 s, with a byte every second. Then the peer takes no byte.
    // Guarantee: the connection counts as finished once the peer has taken no byte for 5 s, and not
    // before.
    #[tokio::test(start_paused = true)]
    async fn a_response_under_way_is_waited_for() {
        let activity = Arc::new(Activity::default());
        let mut finished = std::pin::pin!(activity.finished());
        let mut has_finished = async || {
            tokio::time::advance(QUIET).await;
            finished.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_ready()
        };
        let request = activity.begin();
        for _ in 0..100 {
            assert!(!has_finished().await);
        }
        let response = request.answer();
        for _ in 0..100 {
            activity.wrote(1);
            assert!(!has_finished().await);
        }
        for _ in 1..UNREAD.as_secs() {
            assert!(!has_finished().await);
        }
        assert!(has_finished().await);
        drop(response);
    }

    // Scenario: a connection closes while a response is written that does not end by itself. The
    // peer takes a byte every second for 100 s, and then nothing. On another connection, an
    // ordinary request is in flight, too.
    // Guarantee: the first connection counts as finished once the peer has taken no byte for 5 s,
    // and not before. The other one does not.
    #[tokio::test(start_paused = true)]
    async fn a_long_response_that_nobody_takes_is_not_waited_for() {
        let activities = [Arc::new(Activity::default()), Arc::new(Activity::default())];
        let [alone, both] = &activities;
        let _responses = activities.each_ref().map(|activity| activity.begin().answer_for_long());
        let _request = both.begin();
        assert!(alone.answers_for_long() && both.answers_for_long());
        let mut finished = [alone, both].map(|activity| Box::pin(activity.finished()));
        let mut have_finished = async || {
            tokio::time::advance(QUIET).await;
            finished.each_mut().map(|finished| {
                finished.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_ready()
            })
        };
        assert_eq!(have_finished().await, [false; 2]);
        for _ in 0..100 {
            alone.wrote(1);
            assert_eq!(have_finished().await, [false; 2]);
        }
        for _ in 1..UNREAD.as_secs() {
            assert_eq!(have_finished().await, [false; 2]);
        }
        assert_eq!(have_finished().await, [true, false]);
    }

    // Scenario: a connection closes while a request is in flight. The request ends, and so does its
    // response, at the moment of the look at the connection.
    // Guarantee: the connection counts as finished a second later, and not before, because it may
    // not have written the response yet.
    #[tokio::test(start_paused = true)]
    async fn a_response_that_has_just_ended_is_waited_for() {
        let activity = Arc::new(Activity::default());
        let mut finished = std::pin::pin!(activity.finished());
        let mut has_finished =
            || finished.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_ready();
        let request = activity.begin();
        assert!(!has_finished());
        for _ in 0..2 {
            tokio::time::advance(QUIET).await;
            assert!(!has_finished());
        }
        tokio::time::advance(QUIET).await;
        drop(request.answer());
        assert!(!has_finished());
        tokio::time::advance(QUIET).await;
        assert!(has_finished());
    }

    // Scenario: a connection has a request in flight, writes a response, is quiet, begins another
    // request, and closes.
    // Guarantee: the connection never gives way while a request is in flight. A connection that
    // closes goes before one that is quiet, and a quiet one goes before one that writes a response.
    // Of two connections in the same state, the one with fewer requests goes first.
    #[test]
    fn who_says_least_gives_way() {
        let (activity, silent) = (Arc::new(Activity::default()), Arc::new(Activity::default()));
        let first = activity.begin();
        assert_eq!(activity.rank(TIMEOUT), None);
        let response = first.answer();
        let answering = activity.rank(TIMEOUT).unwrap();
        drop(response);
        // The operating system takes the end of the response later.
        activity.set_blocked(true);
        assert_eq!(activity.rank(TIMEOUT).unwrap(), answering);
        activity.set_blocked(false);
        let quiet = activity.rank(TIMEOUT).unwrap();
        drop(activity.begin());
        let quiet_later = activity.rank(TIMEOUT).unwrap();
        activity.set_closing();
        let closing = activity.rank(TIMEOUT).unwrap();
        let silent = silent.rank(TIMEOUT).unwrap();
        let mut ranks = [answering, quiet, quiet_later, closing, silent];
        ranks.sort();
        assert_eq!(ranks, [closing, silent, quiet, quiet_later, answering]);
    }

    // Scenario: a connection has two requests in flight. At first, one of them waits for its body,
    // and then both. A timeout later, 4 KiB arrive, and then a byte in each of ten timeouts. Then
    // the body of one request has arrived.
    // Guarantee: the connection is slow only once both have waited for a timeout since the 4 KiB,
    // and until one of them waits no more.
    #[tokio::test(start_paused = true)]
    async fn a_peer_that_sends_too_little_is_slow() {
        let activity = Arc::new(Activity::default());
        let _requests = [activity.begin(), activity.begin()];
        let one = activity.wait();
        assert!(!activity.is_slow(TIMEOUT));
        tokio::time::advance(TIMEOUT).await;
        assert!(!activity.is_slow(TIMEOUT));
        let other = activity.wait();
        assert!(!activity.is_slow(TIMEOUT));
        activity.received(4 << 10);
        tokio::time::advance(TIMEOUT).await;
        assert!(!activity.is_slow(TIMEOUT));
        for _ in 0..10 {
            activity.received(1);
            tokio::time::advance(TIMEOUT).await;
            assert!(activity.is_slow(TIMEOUT));
            assert_eq!(activity.rank(TIMEOUT).unwrap().state, State::Slow);
        }
        drop((one, other));
        assert_eq!((activity.is_slow(TIMEOUT), activity.rank(TIMEOUT)), (false, None));
    }
}
