//! Wakes waiting requests a few times a second.
//!
//! A timer for each request would be set and removed with each request. Each time, the runtime may
//! have to be told that it must wake up earlier, which is a system call.

use std::cell::RefCell;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Waker};
use std::time::Duration;

use slab::Slab;
use tokio::time::{Instant, sleep};

/// The time between two ticks.
const TICK: Duration = Duration::from_millis(200);

/// The number of ticks without a waiting request after which the ticker of a thread stops.
const IDLE_TICKS: u32 = 25;

/// Wakes a task from time to time for as long as this value lives.
#[derive(Debug, Default)]
pub(crate) struct Alarm(Option<Place>);

/// The place of an alarm in the ticker of the thread on which it was first set.
#[derive(Debug)]
struct Place {
    ticker: Arc<Ticker>,
    key: usize,
}

struct Ticker {
    began: Instant,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// The number of ticks until now, while the ticker runs.
    now: u64,
    waiting: Slab<Waiting>,
    is_running: bool,
}

struct Waiting {
    task: Waker,
    /// The tick at which the task is woken next, and the number of ticks until it is woken again.
    due: u64,
    period: u64,
}

thread_local! {
    static TICKER: RefCell<Option<Arc<Ticker>>> = const { RefCell::new(None) };
}

/// Returns how much time has passed at least between two ticks. The first one may have been almost
/// over.
pub(crate) fn passed_between(since: u64, now: u64) -> Duration {
    let ticks = now.saturating_sub(since).saturating_sub(1);
    TICK.saturating_mul(u32::try_from(ticks).unwrap_or(u32::MAX))
}

impl Alarm {
    /// Lets the task be woken each time `period` ticks have passed. Returns the number of the
    /// current tick, which is a clock that costs nothing to read.
    pub(crate) fn set(&mut self, cx: &Context<'_>, period: u64) -> u64 {
        if let Some(Place { ticker, key }) = &self.0 {
            let mut state = ticker.lock();
            let now = state.now;
            if let Some(waiting) = state.waiting.get_mut(*key)
                && !waiting.task.will_wake(cx.waker())
            {
                waiting.task.clone_from(cx.waker());
            }
            return now;
        }
        let ticker = TICKER.with_borrow_mut(|ticker| Arc::clone(ticker.get_or_insert_default()));
        let mut state = ticker.lock();
        if !state.is_running {
            state.is_running = true;
            state.now = ticker.count();
            tokio::spawn(Run(Arc::clone(&ticker)).run());
        }
        let now = state.now;
        let waiting = Waiting { task: cx.waker().clone(), due: now + period, period };
        let key = state.waiting.insert(waiting);
        drop(state);
        self.0 = Some(Place { ticker, key });
        now
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let removed = self.ticker.lock().waiting.try_remove(self.key);
        // The lock is free again when the waker is dropped, and with it perhaps a task.
        drop(removed);
    }
}

impl Default for Ticker {
    fn default() -> Self {
        Self { began: Instant::now(), state: Mutex::default() }
    }
}

impl Ticker {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts the ticks until now.
    fn count(&self) -> u64 {
        let ticks = self.began.elapsed().as_nanos() / TICK.as_nanos();
        u64::try_from(ticks).unwrap_or(u64::MAX)
    }
}

/// A ticker that runs until this value is dropped, perhaps together with its runtime.
struct Run(Arc<Ticker>);

impl Run {
    async fn run(self) {
        let (mut idle_ticks, mut woken) = (0, Vec::new());
        while idle_ticks < IDLE_TICKS {
            sleep(TICK).await;
            let now = self.0.count();
            let mut state = self.0.lock();
            state.now = now;
            idle_ticks = if state.waiting.is_empty() { idle_ticks + 1 } else { 0 };
            for (_, waiting) in &mut state.waiting {
                if waiting.due <= now {
                    waiting.due = now + waiting.period;
                    woken.push(waiting.task.clone());
                }
            }
            drop(state);
            woken.drain(..).for_each(Waker::wake);
        }
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        self.0.lock().is_running = false;
    }
}

impl fmt::Debug for Ticker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ticker").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::task::Poll;

    use super::*;

    /// Counts how often a task is woken until `end`.
    async fn count_wakes(period: u64, end: Duration) -> usize {
        let (mut alarm, mut polls) = (Alarm::default(), 0);
        let woken = poll_fn(|cx| {
            alarm.set(cx, period);
            polls += 1;
            Poll::<()>::Pending
        });
        assert!(tokio::time::timeout(end, woken).await.is_err());
        // The first poll and the one at the end are no wakes by the ticker.
        polls - 2
    }

    // Scenario: two tasks wait for 100 ticks, one with an alarm for each second tick, and one with
    // an alarm for each tenth. After a pause of an hour, another task waits.
    // Guarantee: each task is woken as often as it has asked for, even after the pause, in which the
    // ticker has stopped.
    #[tokio::test(start_paused = true)]
    async fn tasks_are_woken_again_and_again() {
        let end = TICK * 100 + TICK / 2;
        let (often, seldom) =
            (tokio::spawn(count_wakes(2, end)), tokio::spawn(count_wakes(10, end)));
        let (often, seldom) = (often.await.unwrap(), seldom.await.unwrap());
        assert!((49..=51).contains(&often) && (9..=11).contains(&seldom), "{often} {seldom}");
        sleep(Duration::from_secs(3600)).await;
        let often = count_wakes(2, end).await;
        assert!((49..=51).contains(&often), "{often}");
    }

    // Scenario: a thousand tasks set an alarm and end.
    // Guarantee: nothing is left of them, and the ticker stops.
    #[tokio::test(start_paused = true)]
    async fn what_has_ended_is_forgotten() {
        for _ in 0..1000 {
            let mut alarm = Alarm::default();
            poll_fn(|cx| Poll::Ready(alarm.set(cx, 2))).await;
        }
        let ticker = TICKER.with_borrow(|ticker| ticker.clone().unwrap());
        assert!(ticker.lock().waiting.is_empty() && ticker.lock().is_running);
        sleep(TICK * (IDLE_TICKS + 2)).await;
        assert!(!ticker.lock().is_running);
    }
}
