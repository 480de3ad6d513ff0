//! A target: one part of the system, and how it is fed.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use fastrand::Rng;

/// Why an input is a finding.
pub(crate) type Finding = String;

/// A part of the system that is fuzzed.
pub(crate) trait Target {
    /// Makes an input from random numbers, passes it to the parser or the listener, and checks the
    /// result. Calls [`Current::set`] with each input before the input is used.
    fn run(&mut self, rng: &mut Rng, current: &Current) -> Result<(), Finding>;

    /// Returns the processes that work for this target beside this process.
    fn process(&self) -> Option<u32> {
        None
    }
}

/// The input that a target works on. The watchdog reads it, too.
#[derive(Clone, Debug, Default)]
pub(crate) struct Current {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    input: Mutex<Vec<u8>>,
    /// The seed of the input.
    seed: AtomicU64,
    /// How many inputs were set, so that the watchdog can tell two inputs apart.
    count: AtomicU64,
    /// How many inputs were accepted.
    accepted: AtomicU64,
    /// The files of `/proc` with the processor time that this target has used.
    stats: Mutex<Vec<PathBuf>>,
}

impl Current {
    /// Sets the input. Its time begins now.
    pub(crate) fn set(&self, input: &[u8]) {
        let mut current = self.shared.input.lock().unwrap_or_else(PoisonError::into_inner);
        current.clear();
        current.extend_from_slice(input);
        self.shared.count.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts an input that was accepted. Without such inputs, a target would only test what is
    /// done with the worst ones.
    pub(crate) fn accept(&self) {
        self.shared.accepted.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn accepted(&self) -> u64 {
        self.shared.accepted.load(Ordering::Relaxed)
    }

    /// Sets the seed of the next inputs. Their time begins when they are set.
    pub(crate) fn begin(&self, seed: u64) {
        self.shared.seed.store(seed, Ordering::Relaxed);
        self.shared.count.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn input(&self) -> Vec<u8> {
        self.shared.input.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn seed(&self) -> u64 {
        self.shared.seed.load(Ordering::Relaxed)
    }

    pub(crate) fn count(&self) -> u64 {
        self.shared.count.load(Ordering::Relaxed)
    }

    /// Names the files of `/proc` with the processor time of this target.
    pub(crate) fn set_stats(&self, paths: Vec<PathBuf>) {
        *self.shared.stats.lock().unwrap_or_else(PoisonError::into_inner) = paths;
    }

    pub(crate) fn stats(&self) -> Vec<PathBuf> {
        self.shared.stats.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Returns an error with this text unless the condition is true.
pub(crate) fn check(condition: bool, text: impl FnOnce() -> String) -> Result<(), Finding> {
    if condition { Ok(()) } else { Err(text()) }
}
