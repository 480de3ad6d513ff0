//! Time, handed in: the wall clock for what people agreed on, a steady one for how long ago
//! something was.

use std::fmt::Debug;
use std::time::{Duration, SystemTime};

/// A moment, in milliseconds since the Unix epoch: what the API and the store use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(i64);

impl Timestamp {
    /// The moment this many milliseconds after the epoch.
    #[must_use]
    pub const fn from_millis(millis: i64) -> Self {
        Self(millis)
    }

    /// Milliseconds since the epoch.
    #[must_use]
    pub const fn as_millis(self) -> i64 {
        self.0
    }

    /// How long ago `earlier` was; nothing if it was later.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or_default())
    }

    /// This much later, or the last moment there is.
    #[must_use]
    pub fn saturating_add(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)))
    }

    /// This much earlier, or the first moment there is.
    #[must_use]
    pub fn saturating_sub(self, duration: Duration) -> Self {
        Self(self.0.saturating_sub(i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)))
    }
}

/// The two clocks.
pub trait Clock: Debug + Send + Sync + 'static {
    /// The wall clock, which may jump.
    fn wall(&self) -> Timestamp;

    /// Time since some moment in the past. It goes on while the process is stopped, never
    /// backwards, and is read for every decision: a resolution of milliseconds is enough.
    fn steady(&self) -> Duration;
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

    /// The coarse clock on Linux: it is a few milliseconds behind and costs a fifth.
    #[cfg(target_os = "linux")]
    fn steady(&self) -> Duration {
        let now = rustix::time::clock_gettime(rustix::time::ClockId::MonotonicCoarse);
        Duration::new(now.tv_sec.unsigned_abs(), u32::try_from(now.tv_nsec).unwrap_or_default())
    }

    #[cfg(not(target_os = "linux"))]
    fn steady(&self) -> Duration {
        use std::sync::LazyLock;
        use std::time::Instant;

        static START: LazyLock<Instant> = LazyLock::new(Instant::now);
        START.elapsed()
    }
}

/// Clocks that are moved by hand.
#[cfg(any(test, feature = "testing"))]
#[derive(Debug)]
pub struct ManualClock {
    wall: std::sync::atomic::AtomicI64,
    steady: std::sync::atomic::AtomicU64,
}

#[cfg(any(test, feature = "testing"))]
impl ManualClock {
    /// Clocks that stand, the wall clock at this moment.
    #[must_use]
    pub fn at(wall: Timestamp) -> Self {
        Self { wall: wall.0.into(), steady: 1_000_000.into() }
    }

    /// Lets time pass on both.
    pub fn advance(&self, duration: Duration) {
        let millis = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        self.steady.fetch_add(millis, std::sync::atomic::Ordering::SeqCst);
        self.jump_to(self.wall().saturating_add(duration));
    }

    /// Sets the wall clock and nothing else, as an administrator does.
    pub fn jump_to(&self, wall: Timestamp) {
        self.wall.store(wall.0, std::sync::atomic::Ordering::SeqCst);
    }
}

#[cfg(any(test, feature = "testing"))]
impl Clock for ManualClock {
    fn wall(&self) -> Timestamp {
        Timestamp(self.wall.load(std::sync::atomic::Ordering::SeqCst))
    }

    fn steady(&self) -> Duration {
        Duration::from_millis(self.steady.load(std::sync::atomic::Ordering::SeqCst))
    }
}
