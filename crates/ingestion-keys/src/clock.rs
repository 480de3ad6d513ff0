//! The clocks that the crate reads: a wall clock for points in time, such as an expiration, and a
//! monotonic clock for durations. The caller passes the clocks in, so that a test can move them.

use std::fmt::Debug;
use std::time::{Duration, SystemTime};

#[cfg(target_os = "linux")]
use rustix::time::ClockId;

/// A time in milliseconds since the Unix epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(i64);

impl Timestamp {
    /// Returns the time this many milliseconds after the epoch.
    #[must_use]
    pub const fn from_millis(millis: i64) -> Self {
        Self(millis)
    }

    /// Returns the number of milliseconds since the epoch.
    #[must_use]
    pub const fn as_millis(self) -> i64 {
        self.0
    }

    /// Returns the duration from `earlier` to this time, or zero if `earlier` is later than this
    /// time.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or_default())
    }

    /// Returns the time that is later by this duration, or the latest time that can be represented.
    #[must_use]
    pub fn saturating_add(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)))
    }

    /// Returns the time that is earlier by this duration, or the earliest time that can be
    /// represented.
    #[must_use]
    pub fn saturating_sub(self, duration: Duration) -> Self {
        Self(self.0.saturating_sub(i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)))
    }
}

/// The two clocks that decisions on keys need.
pub trait Clock: Debug + Send + Sync + 'static {
    /// Returns the time of the wall clock. This clock jumps when an administrator sets it.
    fn wall(&self) -> Timestamp;

    /// Returns the time since some moment in the past. This clock never goes backwards, and it
    /// continues to run while the process is stopped. Otherwise a process that continues after a
    /// long stop would decide from keys that are too old. The clock is read for every decision. A
    /// resolution of milliseconds is enough.
    fn monotonic(&self) -> Duration;

    /// Returns how long the machine was suspended, in total, since some moment in the past. The
    /// monotonic clock has not counted this time. By default, and where the operating system does
    /// not say it, this is zero.
    fn suspended(&self) -> Duration {
        Duration::ZERO
    }
}

/// The clocks of the operating system.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn wall(&self) -> Timestamp {
        #[expect(clippy::disallowed_methods, reason = "this is what is handed in")]
        let now = SystemTime::now();
        let since_epoch = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        Timestamp(i64::try_from(since_epoch.as_millis()).unwrap_or(i64::MAX))
    }

    /// Reads the coarse clock of Linux, which is a few milliseconds behind. Unlike `Instant::now`,
    /// this does not read a hardware counter.
    ///
    /// The clock runs while the process is stopped, but not while the whole machine is suspended.
    /// `CLOCK_BOOTTIME` would run then, too. It is not used here, because it has no coarse variant:
    /// reading it would make every decision slower. Instead, a follower of a gateway compares the
    /// two clocks once a second, and a follower of a store in each poll interval
    /// ([`suspended`](Self::suspended)).
    #[cfg(target_os = "linux")]
    fn monotonic(&self) -> Duration {
        read(ClockId::MonotonicCoarse)
    }

    #[cfg(not(target_os = "linux"))]
    fn monotonic(&self) -> Duration {
        use std::sync::LazyLock;
        use std::time::Instant;

        static START: LazyLock<Instant> = LazyLock::new(Instant::now);
        START.elapsed()
    }

    #[cfg(target_os = "linux")]
    fn suspended(&self) -> Duration {
        // If the process is stopped between the two readings, the result is too small, and the next
        // one is right. In the other order it would be too large, and hide a suspension later.
        let since_boot = read(ClockId::Boottime);
        since_boot.saturating_sub(read(ClockId::Monotonic))
    }
}

#[cfg(target_os = "linux")]
fn read(clock: ClockId) -> Duration {
    let now = rustix::time::clock_gettime(clock);
    Duration::new(now.tv_sec.unsigned_abs(), u32::try_from(now.tv_nsec).unwrap_or_default())
}

/// Clocks that stand still until a test moves them.
#[cfg(any(test, feature = "testing"))]
#[derive(Debug)]
pub struct ManualClock {
    wall: std::sync::atomic::AtomicI64,
    monotonic: std::sync::atomic::AtomicU64,
    suspended: std::sync::atomic::AtomicU64,
}

#[cfg(any(test, feature = "testing"))]
impl ManualClock {
    /// Makes clocks that stand still, with the wall clock at this time.
    #[must_use]
    pub fn at(wall: Timestamp) -> Self {
        Self { wall: wall.0.into(), monotonic: 1_000_000.into(), suspended: 0.into() }
    }

    /// Moves both clocks forward by this duration.
    pub fn advance(&self, duration: Duration) {
        self.add(&self.monotonic, duration);
    }

    /// Suspends the machine for this duration: the wall clock moves forward, and the monotonic
    /// clock does not.
    pub fn suspend(&self, duration: Duration) {
        self.add(&self.suspended, duration);
    }

    /// Sets the wall clock, as an administrator does. The monotonic clock does not change.
    pub fn jump_to(&self, wall: Timestamp) {
        self.wall.store(wall.0, std::sync::atomic::Ordering::SeqCst);
    }

    fn add(&self, clock: &std::sync::atomic::AtomicU64, duration: Duration) {
        let millis = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        clock.fetch_add(millis, std::sync::atomic::Ordering::SeqCst);
        self.jump_to(self.wall().saturating_add(duration));
    }
}

#[cfg(any(test, feature = "testing"))]
impl Clock for ManualClock {
    fn wall(&self) -> Timestamp {
        Timestamp(self.wall.load(std::sync::atomic::Ordering::SeqCst))
    }

    fn monotonic(&self) -> Duration {
        Duration::from_millis(self.monotonic.load(std::sync::atomic::Ordering::SeqCst))
    }

    fn suspended(&self) -> Duration {
        Duration::from_millis(self.suspended.load(std::sync::atomic::Ordering::SeqCst))
    }
}
