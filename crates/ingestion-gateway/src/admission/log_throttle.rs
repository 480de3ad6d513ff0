//! Limits how many lines about refused callers are logged. Anybody can be refused as often as they
//! like, and must not be able to fill the log.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use otlp_auth::DenyReason;

/// The length of an interval. The limits hold for each interval.
const INTERVAL: Duration = Duration::from_secs(60);

/// The largest number of lines within an interval, for all callers together. It also bounds the
/// memory of a throttle, because a throttle remembers only callers about whom it permitted a line.
const MAX_LINES: usize = 128;

/// The number of leading bits that the addresses of one IPv6 network have in common. A host can
/// choose the other 64 bits of its address, and choose them anew for each request.
const IPV6_NETWORK_BITS: u32 = 64;

/// Permits a limited number of lines about refused callers within each interval, and counts the
/// lines that it does not permit.
#[derive(Debug)]
pub(crate) struct LogThrottle {
    /// What the lines are about.
    about: &'static str,
    /// The largest number of lines about one caller and one reason within an interval.
    max_lines_per_caller: usize,
    interval: Mutex<Interval>,
    /// The number of the current interval. The first one has the number 1.
    number: AtomicU64,
    left_out: AtomicU64,
}

/// The lines of the current interval.
#[derive(Debug, Default)]
struct Interval {
    permitted: HashMap<(Caller, DenyReason), usize>,
    permitted_sum: usize,
}

/// Notes in which interval lines about one caller were last asked for, so that a caller who comes
/// back costs no lock.
#[derive(Debug, Default)]
pub(crate) struct LastAsked(AtomicU64);

/// A refused caller, as far as it can be told apart from others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Caller {
    /// A caller with a key that the gateway knows by this id.
    Key(u64),
    /// Any caller from an IPv4 address or from an IPv6 network.
    Network(IpAddr),
    /// A caller whose address is not known.
    Unknown,
}

impl Caller {
    /// Returns the caller for an address. All addresses of an IPv6 network (/64) are one caller.
    pub(crate) fn at(address: IpAddr) -> Self {
        Self::Network(match address {
            IpAddr::V4(_) => address,
            IpAddr::V6(address) => {
                let mask = u128::MAX << (Ipv6Addr::BITS - IPV6_NETWORK_BITS);
                Ipv6Addr::from_bits(address.to_bits() & mask).into()
            }
        })
    }
}

impl LogThrottle {
    /// Creates the throttle for lines about known keys that are denied. The sender of such a key
    /// tries again with each batch, so one line a minute is enough.
    pub(crate) fn for_keys() -> Arc<Self> {
        Arc::new(Self::new("requests with a known key", 1))
    }

    /// Creates the throttle for lines about refused management calls. A person who tries a few
    /// tokens finds each of these calls in the log.
    pub(crate) fn for_management_calls() -> Arc<Self> {
        Arc::new(Self::new("management calls", 10))
    }

    fn new(about: &'static str, max_lines_per_caller: usize) -> Self {
        let (interval, left_out) = (Mutex::default(), AtomicU64::new(0));
        Self { about, max_lines_per_caller, interval, number: AtomicU64::new(1), left_out }
    }

    /// Does the same as [`permits`](Self::permits), for a caller about whom at most one line is
    /// logged within an interval, and who has a place for a note. Takes no lock for further
    /// requests within an interval.
    pub(crate) fn permits_once(
        &self,
        caller: Caller,
        reason: DenyReason,
        last_asked: &LastAsked,
    ) -> bool {
        let number = self.number.load(Ordering::Relaxed);
        if last_asked.0.load(Ordering::Relaxed) == number {
            self.left_out.fetch_add(1, Ordering::Relaxed);
            return false;
        }
        last_asked.0.store(number, Ordering::Relaxed);
        self.permits(caller, reason)
    }

    /// Returns whether a line about this caller and this reason may be logged now. If not, the line
    /// is counted as left out.
    pub(crate) fn permits(&self, caller: Caller, reason: DenyReason) -> bool {
        let mut interval = self.lock();
        let about_caller = interval.permitted.get(&(caller, reason)).copied().unwrap_or_default();
        if interval.permitted_sum == MAX_LINES || about_caller == self.max_lines_per_caller {
            self.left_out.fetch_add(1, Ordering::Relaxed);
            return false;
        }
        interval.permitted.insert((caller, reason), about_caller + 1);
        interval.permitted_sum += 1;
        true
    }

    /// Begins the next interval. Logs how many lines the last interval has left out, if any.
    pub(crate) fn begin_interval(&self) {
        *self.lock() = Interval::default();
        self.number.fetch_add(1, Ordering::Relaxed);
        let left_out = self.left_out.swap(0, Ordering::Relaxed);
        if left_out > 0 {
            tracing::warn!(
                about = self.about,
                left_out,
                "more callers were refused than are logged"
            );
        }
    }

    fn lock(&self) -> MutexGuard<'_, Interval> {
        self.interval.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Begins an interval of every throttle each minute. This function never returns.
pub(crate) async fn begin_intervals(throttles: &[Arc<LogThrottle>]) {
    loop {
        tokio::time::sleep(INTERVAL).await;
        throttles.iter().for_each(|throttle| throttle.begin_interval());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // Scenario: callers are refused more often than one caller is logged, for two reasons. Then
    // more callers are refused than are logged within one interval. A new interval begins.
    // Guarantee: each caller gets at most its number of lines for each reason, and all callers
    // together get at most the largest number of lines. Every other line is counted as left out,
    // and the throttle remembers no more callers than it has permitted lines. In the new interval,
    // lines are permitted again.
    #[test]
    fn lines_are_limited_by_caller_and_in_sum() {
        let throttle = LogThrottle::new("tests", 2);
        let left_out = || throttle.left_out.load(Ordering::Relaxed);
        let permitted =
            |caller, reason| (0..5).filter(|_| throttle.permits(caller, reason)).count();
        assert_eq!(permitted(Caller::Key(1), DenyReason::Revoked), 2);
        assert_eq!(permitted(Caller::Key(1), DenyReason::Expired), 2);
        assert_eq!(permitted(Caller::Key(2), DenyReason::Expired), 2);
        assert_eq!(left_out(), 9);
        let others = (3..1000).map(|id| permitted(Caller::Key(id), DenyReason::Revoked));
        assert_eq!(others.sum::<usize>(), MAX_LINES - 6);
        assert_eq!(throttle.lock().permitted.len(), MAX_LINES / 2);
        assert_eq!(left_out(), 9 + 997 * 5 - (MAX_LINES as u64 - 6));
        throttle.begin_interval();
        assert_eq!(left_out(), 0);
        assert_eq!(permitted(Caller::Key(1), DenyReason::Revoked), 2);
    }

    // Scenario: a caller with a note is refused several times within an interval, and then in the
    // next one. Another caller shares no note with it.
    // Guarantee: each interval has one line about each caller. The other requests are counted as
    // left out.
    #[test]
    fn a_note_permits_one_line_in_each_interval() {
        let throttle = LogThrottle::for_keys();
        let notes = [LastAsked::default(), LastAsked::default()];
        for _ in 0..2 {
            for (id, note) in notes.iter().enumerate() {
                let caller = Caller::Key(id as u64);
                let permits = || throttle.permits_once(caller, DenyReason::Revoked, note);
                assert_eq!([permits(), permits(), permits()], [true, false, false]);
            }
            assert_eq!(throttle.left_out.load(Ordering::Relaxed), 4);
            throttle.begin_interval();
        }
    }

    // Scenario: callers have two addresses of one IPv6 network, an address of another IPv6 network,
    // and two IPv4 addresses.
    // Guarantee: only the two addresses of one IPv6 network are one caller.
    #[test]
    fn an_ipv6_network_is_one_caller() {
        let at = |address: &str| Caller::at(address.parse().unwrap());
        assert_eq!(at("2001:db8:0:1::1"), at("2001:db8:0:1:ffff:ffff:ffff:ffff"));
        assert_ne!(at("2001:db8:0:1::1"), at("2001:db8:0:2::1"));
        assert_ne!(at("192.0.2.1"), at("192.0.2.2"));
    }
}
