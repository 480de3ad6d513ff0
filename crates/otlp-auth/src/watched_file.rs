//! Reloads a token file when it changes, on a separate thread. Client and server use this.

mod directory_watch;

use std::collections::hash_map::RandomState;
use std::error::Error;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread;
use std::time::{Duration, Instant};

use directory_watch::DirectoryWatch;
use tokio::sync::{oneshot, watch};

use crate::generation::GenerationReceiver;
use crate::token_file::{TokenFileContent, TokenFileError};

/// The interval at which the file is read, in addition to the watch. It bounds the time until a
/// change is noticed that causes no event.
pub(crate) const POLL_INTERVAL: Duration = Duration::from_secs(5);

/// The minimum time between two reads for [`WatchedFile::reload`].
const RELOAD_INTERVAL: Duration = Duration::from_secs(1);

/// How long the directory must have been quiet before a change is read, so that a rewrite in
/// several steps is read once.
const QUIET: Duration = Duration::from_millis(20);

/// The maximum time that a change waits for the directory to become quiet.
const MAX_UNQUIET: Duration = Duration::from_millis(200);

/// The time between two reads that must find the same new content before it is applied. This
/// prevents content from being applied while its writer is still writing.
const AGREE: Duration = Duration::from_millis(2);

/// The same time as [`AGREE`], but for content whose last line does not end in a line feed. Its
/// writer may have paused in the middle of a token, and half a token looks like a whole token.
const AGREE_UNENDED: Duration = Duration::from_millis(500);

/// A file that is reloaded when it changes, until this value is dropped.
pub(crate) struct WatchedFile {
    path: PathBuf,
    commands: Sender<Command>,
    counts: Arc<Counts>,
}

enum Command {
    /// Something happened in the directory.
    Changed,
    /// Read the file even if nothing happened, and notify the sender after the read.
    Reload(oneshot::Sender<()>),
    Stop,
}

/// The counts of reloads, which the thread updates.
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
    /// Starts a thread that calls `apply` with each new content of the file at `path`. `content` is
    /// the content that the caller has read. `apply` returns whether the content changed anything
    /// for the caller; if so, the generation is incremented. If `apply` fails, the failure is
    /// counted and logged once.
    pub(crate) fn follow<F, E>(
        path: &Path,
        content: &TokenFileContent,
        interval: Duration,
        apply: F,
    ) -> Result<Self, TokenFileError>
    where
        F: FnMut(&TokenFileContent) -> Result<bool, E> + Send + 'static,
        E: Error + 'static,
    {
        let (commands, receiver) = mpsc::channel();
        let counts = Arc::new(Counts::default());
        let fingerprints = RandomState::new();
        let applied = content.fingerprint(&fingerprints);
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
        let mut watch = DirectoryWatch::new(path, {
            let (commands, changed) = (commands.clone(), Arc::clone(&changed));
            move || {
                if !changed.swap(true, Ordering::AcqRel) {
                    let _ = commands.send(Command::Changed);
                }
            }
        });
        thread::Builder::new()
            .name("otlp-auth-file".to_owned())
            .spawn(move || follower.run(&receiver, &changed, || watch.renew()))
            .map_err(TokenFileError::Thread)?;
        Ok(Self { path: path.to_owned(), commands, counts })
    }

    /// Resolves after a read that began after this call. Such reads are at least
    /// [`RELOAD_INTERVAL`] apart. One read serves all callers that wait.
    #[cfg_attr(
        not(any(feature = "client", test)),
        expect(dead_code, reason = "a server asks for no reload")
    )]
    pub(crate) fn reload(&self) -> impl Future<Output = ()> + Send + use<> {
        let (done, wait) = oneshot::channel();
        // If the thread has ended, `done` is dropped, which ends the wait too.
        let _ = self.commands.send(Command::Reload(done));
        async move { wait.await.unwrap_or_default() }
    }

    pub(crate) fn generation(&self) -> GenerationReceiver {
        GenerationReceiver::new(self.counts.generation.subscribe())
    }

    pub(crate) fn failed_reloads(&self) -> u64 {
        self.counts.failed.load(Ordering::Relaxed)
    }

    /// Returns how often the file was read since the thread started.
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

struct Follower<F> {
    path: PathBuf,
    interval: Duration,
    apply: F,
    counts: Arc<Counts>,
    fingerprints: RandomState,
    /// The fingerprint of the content that is in force.
    applied: u64,
    /// The result of the last read. It is kept so that a lasting failure is reported only once.
    last: Seen,
    /// New content that was read once and is not applied yet.
    candidate: Option<Candidate>,
}

#[derive(Clone, Copy)]
struct Candidate {
    fingerprint: u64,
    /// The time at which the content is applied if the file still has the same content.
    due: Instant,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Seen {
    Content(u64),
    TooLong,
    Unreadable(std::io::ErrorKind),
}

impl<F, E> Follower<F>
where
    F: FnMut(&TokenFileContent) -> Result<bool, E>,
    E: Error + 'static,
{
    /// Reads the file when it may have changed, until the [`WatchedFile`] is dropped.
    ///
    /// ```text
    ///          poll_at: POLL_INTERVAL after the last read, or
    ///          reload_at: a reload waits, and RELOAD_INTERVAL has passed since the last one
    ///         ┌──────────────────────────────────────────────────────────────┐
    ///         │                                                              ▼
    ///       idle ──▶ settling ─────────────────────────────────────────▶ read the file
    ///         ▲  the    │  ▲    settled_at: QUIET after the last            │      ▲
    ///         │  dir.   └──┘    change, MAX_UNQUIET after the first         │      │
    ///         │  changes again                                              │      │
    ///         ├──── content known, unreadable, applied or illegal ──────────┤      │
    ///         │                                                             ▼      │
    ///         │                           content is new and was read once: candidate
    ///         │                           candidate.due: AGREE or AGREE_UNENDED after
    ///         │                           that read, or settled_at if that is earlier
    /// ```
    ///
    /// While there is a candidate, polls and reloads wait. The read that applies or drops the
    /// candidate also serves the polls and reloads that wait.
    ///
    /// After each read, `renew_watch` looks whether the directory was replaced, and returns whether
    /// it began a new watch. In that case the file is read once more, because it may have changed
    /// before the watch began.
    fn run(
        &mut self,
        commands: &Receiver<Command>,
        changed: &AtomicBool,
        mut renew_watch: impl FnMut() -> bool,
    ) {
        // The first read is due at once, because the file may have changed after it was opened and
        // before the watch began.
        let mut poll_at = Instant::now();
        let mut first_change = None;
        let mut settled_at: Option<Instant> = None;
        let mut may_reload_at = Instant::now();
        let mut waiting: Vec<oneshot::Sender<()>> = Vec::new();
        let mut reading_again = false;
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
            // Further commands do not delay a read that is due.
            if Instant::now() < due {
                continue;
            }
            self.read();
            (first_change, settled_at) = (None, None);
            let renewed = renew_watch();
            if self.candidate.is_some() {
                continue;
            }
            let now = Instant::now();
            // A file system may report another inode at each call, so only one more read follows.
            reading_again = renewed && !reading_again;
            poll_at = if reading_again { now } else { now + self.interval };
            if !waiting.is_empty() {
                may_reload_at = now + RELOAD_INTERVAL;
                for done in waiting.drain(..) {
                    let _ = done.send(());
                }
            }
        }
    }

    /// Reads the file. New content becomes the candidate. The candidate is applied once a later
    /// read has the same content.
    fn read(&mut self) {
        #[cfg(test)]
        self.counts.reads.fetch_add(1, Ordering::Relaxed);
        let read = TokenFileContent::read(&self.path).map(|content| {
            let fingerprint = content.fingerprint(&self.fingerprints);
            (content, fingerprint)
        });
        let earlier = self.candidate.take();
        if let Ok((content, fingerprint)) = &read
            && Seen::Content(*fingerprint) != self.last
        {
            let now = Instant::now();
            let ended = content.ends_in_line_feed();
            let candidate = match earlier {
                Some(earlier) if earlier.fingerprint == *fingerprint => earlier,
                // The content differs from the candidate, so the file is still changing, and the
                // next read waits longer.
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
        let refused: Option<Box<dyn Error>> = match read {
            Ok((content, fingerprint)) => match (self.apply)(&content) {
                Ok(changed) => {
                    self.applied = fingerprint;
                    if changed {
                        self.counts.generation.send_modify(|generation| *generation += 1);
                    }
                    tracing::info!(path = %self.path.display(), "the token file was reloaded");
                    None
                }
                Err(error) => Some(error.into()),
            },
            Err(error) => Some(error.into()),
        };
        if let Some(error) = &refused {
            self.counts.failed.fetch_add(1, Ordering::Relaxed);
            tracing::warn!(path = %self.path.display(), error = &**error, "the token file was not reloaded: the last good tokens stay");
        }
        #[cfg(feature = "metrics")]
        if let Some(metrics) = self.counts.metrics.get() {
            metrics.count(refused.is_none());
        }
    }
}

#[cfg(test)]
mod tests;
