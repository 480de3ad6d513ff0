//! The threads that serve senders.

use std::io;
use std::num::NonZero;
use std::sync::mpsc::{self, Receiver};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use tokio::runtime::{Builder, Handle};
use tokio_util::sync::CancellationToken;

/// The threads that serve senders, each with a runtime of its own. A connection stays on one thread
/// for as long as it is open, and so does everything that its requests use. Therefore, no request
/// has to wake another thread, and threads share no queue.
#[derive(Debug)]
pub struct Workers {
    handles: Vec<Handle>,
    stop: CancellationToken,
    /// Closed once every thread has ended.
    ended: Mutex<Receiver<()>>,
}

impl Workers {
    /// Starts one thread for each processor that the process may use.
    ///
    /// # Errors
    ///
    /// When the operating system refuses a thread or what its runtime needs.
    pub fn start() -> io::Result<Self> {
        Self::start_threads(thread::available_parallelism().map_or(1, NonZero::get))
    }

    /// Starts `count` threads.
    ///
    /// # Errors
    ///
    /// When the operating system refuses a thread or what its runtime needs.
    pub fn start_threads(count: usize) -> io::Result<Self> {
        let stop = CancellationToken::new();
        let (running, ended) = mpsc::channel::<()>();
        let mut handles = Vec::with_capacity(count);
        for number in 0..count {
            let runtime = Builder::new_current_thread()
                .thread_name(format!("blocking-{number}"))
                .enable_all()
                .build()?;
            handles.push(runtime.handle().clone());
            let (stop, running) = (stop.clone(), running.clone());
            thread::Builder::new().name(format!("senders-{number}")).spawn(move || {
                runtime.block_on(stop.cancelled());
                runtime.shutdown_background();
                drop(running);
            })?;
        }
        Ok(Self { handles, stop, ended: Mutex::new(ended) })
    }

    /// Returns the runtimes of the threads.
    #[must_use]
    pub fn handles(&self) -> &[Handle] {
        &self.handles
    }

    /// Stops the threads, and waits until they have ended, but not longer than `timeout`. A thread
    /// that is blocked ends with the process.
    pub fn shut_down(self, timeout: Duration) {
        self.stop.cancel();
        let ended = self.ended.lock().unwrap_or_else(PoisonError::into_inner);
        let _ = ended.recv_timeout(timeout);
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}
