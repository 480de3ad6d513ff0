//! A small file that is followed while it changes, on a thread of its own: the watcher of both
//! ends.

use std::collections::hash_map::RandomState;
use std::error::Error;
use std::fmt;
use std::hash::BuildHasher;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread;
use std::time::{Duration, Instant};

use notify::event::{AccessKind, AccessMode};
use notify::{EventKind, RecommendedWatcher, RecursiveMode, Watcher};
use secrecy::{ExposeSecret, SecretSlice};
use tokio::sync::{oneshot, watch};

use crate::token_file::{self, TokenFileError};

/// How often the file is read besides being watched.
pub(crate) const POLL_INTERVAL: Duration = Duration::from_secs(5);

/// Shortest time between two reads that were asked for by [`WatchedFile::reload`].
const RELOAD_INTERVAL: Duration = Duration::from_secs(1);

/// A change is read when the directory has been quiet for so long, so that a rewrite in several
/// steps is seen as one..
const QUIET: Duration = Duration::from_millis(20);

/// ..but not later than this, however busy the directory is.
const MAX_UNQUIET: Duration = Duration::from_millis(200);

/// New content is taken when two reads this far apart agree: a writer in the middle of its work is
/// not overtaken.
const AGREE: Duration = Duration::from_millis(2);

/// The same for content whose last line does not end: a writer that pauses may have left half a
/// token, which is a legal one.
const AGREE_UNENDED: Duration = Duration::from_millis(500);

/// A file that is followed until this is dropped.
pub(crate) struct WatchedFile {
    path: PathBuf,
    commands: Sender<Command>,
    counts: Arc<Counts>,
}

enum Command {
    /// Something happened in the directory.
    Changed,
    /// Read, no matter what happened, and say when that is done.
    Reload(oneshot::Sender<()>),
    Stop,
}

/// What can be known of the reloads from outside.
#[derive(Default)]
struct Counts {
    generation: watch::Sender<u64>,
    failed: AtomicU64,
    #[cfg(test)]
    reads: AtomicU64,
    #[cfg(feature = "metrics")]
    metrics: std::sync::OnceLock<crate::metrics::Reloads>,
}

impl WatchedFile {
    /// Follows the file at `path`, whose content was `content`, and calls `apply` with each new
    /// one. Content that `apply` refuses is counted and logged once.
    pub(crate) fn follow<F>(
        path: &Path,
        content: &SecretSlice<u8>,
        interval: Duration,
        apply: F,
    ) -> Result<Self, TokenFileError>
    where
        F: FnMut(&SecretSlice<u8>) -> Result<(), TokenFileError> + Send + 'static,
    {
        let (commands, receiver) = mpsc::channel();
        let counts = Arc::new(Counts::default());
        let fingerprints = RandomState::new();
        let applied = fingerprints.hash_one(content.expose_secret());
        let mut follower = Follower {
            path: path.to_owned(),
            interval,
            apply,
            counts: Arc::clone(&counts),
            fingerprints,
            applied,
            last: Seen::Content(applied),
            candidate: None,
        };
        let changed = Arc::new(AtomicBool::new(false));
        let watcher = watch_directory(path, commands.clone(), Arc::clone(&changed));
        thread::Builder::new()
            .name("otlp-auth-file".to_owned())
            .spawn(move || {
                follower.run(&receiver, &changed);
                drop(watcher);
            })
            .map_err(TokenFileError::Thread)?;
        Ok(Self { path: path.to_owned(), commands, counts })
    }

    /// Resolves when a read that began after this call has ended. Reads asked for in this way are
    /// at least a second apart, and serve everyone who waits.
    pub(crate) fn reload(&self) -> impl Future<Output = ()> + Send + use<> {
        let (done, wait) = oneshot::channel();
        // A thread that is gone drops `done`, which ends the wait as well.
        let _ = self.commands.send(Command::Reload(done));
        async move { wait.await.unwrap_or_default() }
    }

    pub(crate) fn generation(&self) -> watch::Receiver<u64> {
        self.counts.generation.subscribe()
    }

    pub(crate) fn failed_reloads(&self) -> u64 {
        self.counts.failed.load(Ordering::Relaxed)
    }

    /// How often the file was read since it is followed.
    #[cfg(test)]
    pub(crate) fn reads(&self) -> u64 {
        self.counts.reads.load(Ordering::Relaxed)
    }

    #[cfg(feature = "metrics")]
    pub(crate) fn report_to(&self, meter: &opentelemetry::metrics::Meter, side: &'static str) {
        let _ = self.counts.metrics.set(crate::metrics::Reloads::new(meter, side));
    }
}

impl Drop for WatchedFile {
    fn drop(&mut self) {
        let _ = self.commands.send(Command::Stop);
    }
}

impl fmt::Debug for WatchedFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WatchedFile").field("path", &self.path).finish_non_exhaustive()
    }
}

/// Watches the directory and not the file: a file that is replaced takes its watch with it, and
/// Kubernetes swaps a symbolic link (`..data`) beside the file. Without a watcher polling has to
/// do.
fn watch_directory(
    path: &Path,
    commands: Sender<Command>,
    changed: Arc<AtomicBool>,
) -> Option<RecommendedWatcher> {
    let directory =
        path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let on_event = move |event: notify::Result<notify::Event>| {
        // Being read is no change; the watcher's own reads would call it for ever. All other kinds
        // differ between file systems.
        let only_read = |kind| matches!(kind, EventKind::Access(access) if access != AccessKind::Close(AccessMode::Write));
        let relevant = !event.is_ok_and(|event| only_read(event.kind));
        if relevant && !changed.swap(true, Ordering::AcqRel) {
            let _ = commands.send(Command::Changed);
        }
    };
    let watcher = notify::recommended_watcher(on_event).and_then(|mut watcher| {
        watcher.watch(directory, RecursiveMode::NonRecursive)?;
        Ok(watcher)
    });
    match watcher {
        Ok(watcher) => Some(watcher),
        Err(error) => {
            let error: &dyn Error = &error;
            tracing::warn!(path = %path.display(), error, "the directory of the token file cannot be watched: changes are found by polling");
            None
        }
    }
}

struct Follower<F> {
    path: PathBuf,
    interval: Duration,
    apply: F,
    counts: Arc<Counts>,
    fingerprints: RandomState,
    /// The content in force.
    applied: u64,
    /// What the last read found, so that a failure that lasts is reported once.
    last: Seen,
    /// New content that was read once.
    candidate: Option<Candidate>,
}

#[derive(Clone, Copy)]
struct Candidate {
    fingerprint: u64,
    /// When it is taken, if it is still there.
    due: Instant,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Seen {
    Content(u64),
    TooLong,
    Unreadable(std::io::ErrorKind),
}

impl<F: FnMut(&SecretSlice<u8>) -> Result<(), TokenFileError>> Follower<F> {
    fn run(&mut self, commands: &Receiver<Command>, changed: &AtomicBool) {
        // At once: the file may have changed since it was opened, before it was watched.
        let mut poll_at = Instant::now();
        let mut first_change = None;
        let mut settled_at: Option<Instant> = None;
        let mut may_reload_at = Instant::now();
        let mut waiting: Vec<oneshot::Sender<()>> = Vec::new();
        loop {
            let reload_at = (!waiting.is_empty()).then_some(may_reload_at);
            let due = match self.candidate {
                Some(candidate) => {
                    settled_at.map_or(candidate.due, |settled| settled.min(candidate.due))
                }
                None => [settled_at, reload_at].into_iter().flatten().fold(poll_at, Instant::min),
            };
            match commands.recv_timeout(due.saturating_duration_since(Instant::now())) {
                Ok(Command::Changed) => {
                    changed.store(false, Ordering::Release);
                    let now = Instant::now();
                    let first = *first_change.get_or_insert(now);
                    settled_at = Some((now + QUIET).min(first + MAX_UNQUIET));
                }
                Ok(Command::Reload(done)) => waiting.push(done),
                Ok(Command::Stop) | Err(RecvTimeoutError::Disconnected) => return,
                Err(RecvTimeoutError::Timeout) => {}
            }
            // However many commands there are, what was due is done.
            if Instant::now() < due {
                continue;
            }
            self.read();
            (first_change, settled_at) = (None, None);
            if self.candidate.is_some() {
                continue;
            }
            let now = Instant::now();
            poll_at = now + self.interval;
            if !waiting.is_empty() {
                may_reload_at = now + RELOAD_INTERVAL;
                for done in waiting.drain(..) {
                    let _ = done.send(());
                }
            }
        }
    }

    /// Reads the file, and applies its content if that is new and a second read agrees on it.
    fn read(&mut self) {
        #[cfg(test)]
        self.counts.reads.fetch_add(1, Ordering::Relaxed);
        let read = token_file::read(&self.path).map(|content| {
            let fingerprint = self.fingerprints.hash_one(content.expose_secret());
            (content, fingerprint)
        });
        let earlier = self.candidate.take();
        if let Ok((content, fingerprint)) = &read
            && Seen::Content(*fingerprint) != self.last
        {
            let now = Instant::now();
            let ended = content.expose_secret().last() == Some(&b'\n');
            let candidate = match earlier {
                Some(earlier) if earlier.fingerprint == *fingerprint => earlier,
                // A writer that is busy is not watched at every step.
                Some(_) => Candidate {
                    fingerprint: *fingerprint,
                    due: now + if ended { QUIET } else { AGREE_UNENDED },
                },
                None => Candidate {
                    fingerprint: *fingerprint,
                    due: now + if ended { AGREE } else { AGREE_UNENDED },
                },
            };
            if candidate.due > now {
                self.candidate = Some(candidate);
                return;
            }
        }
        let seen = match &read {
            Ok((_, fingerprint)) => Seen::Content(*fingerprint),
            Err(TokenFileError::Read(error)) => Seen::Unreadable(error.kind()),
            Err(_) => Seen::TooLong,
        };
        if std::mem::replace(&mut self.last, seen) == seen || seen == Seen::Content(self.applied) {
            return;
        }
        match read.and_then(|(content, fingerprint)| (self.apply)(&content).map(|()| fingerprint)) {
            Ok(fingerprint) => {
                self.applied = fingerprint;
                self.counts.generation.send_modify(|generation| *generation += 1);
                tracing::info!(path = %self.path.display(), "the token file was reloaded");
            }
            Err(error) => {
                self.counts.failed.fetch_add(1, Ordering::Relaxed);
                let error: &dyn Error = &error;
                tracing::warn!(path = %self.path.display(), error, "the token file was not reloaded: the last good tokens stay");
            }
        }
        #[cfg(feature = "metrics")]
        if let Some(metrics) = self.counts.metrics.get() {
            metrics.count(seen == Seen::Content(self.applied));
        }
    }
}

#[cfg(test)]
mod tests;
