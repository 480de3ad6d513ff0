//! Makes the configuration of TLS anew when its files change.

use std::collections::hash_map::RandomState;
use std::error::Error;
use std::hash::BuildHasher as _;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use opentelemetry::KeyValue;
use opentelemetry::metrics::{Counter, Meter};

use super::TlsError;
use super::files::{Contents, FileError};

/// The time between two reads that must find the same new contents before they are applied. This
/// prevents files from being used while their writer is still writing.
const AGREE: Duration = Duration::from_millis(100);

/// A task that looks at the files of one section again and again. It never ends.
pub(crate) type Reload = Pin<Box<dyn Future<Output = ()> + Send + Sync>>;

/// Counts what became of changes of files.
#[derive(Clone, Debug)]
pub(crate) struct Reloads(Counter<u64>);

/// The files of one `tls` section, and what is made of them.
struct Follower<T, M> {
    /// The path of the section in the configuration.
    section: &'static str,
    files: Arc<[PathBuf]>,
    make: M,
    current: Arc<ArcSwap<T>>,
    reloads: Reloads,
    hasher: RandomState,
    /// The fingerprint of the contents that are in force.
    applied: u64,
    /// The fingerprint of the last read. It is kept so that a lasting failure is reported once.
    seen: u64,
}

impl Reloads {
    pub(crate) fn new(meter: &Meter) -> Self {
        let reloads = meter.u64_counter("ingestion.tls.reloads").with_unit("{reload}");
        Self(reloads.with_description("Changes of certificates and keys that were read").build())
    }

    fn count(&self, section: &'static str, outcome: &'static str) {
        self.0.add(1, &[KeyValue::new("section", section), KeyValue::new("outcome", outcome)]);
    }
}

/// Reads the files and calls `make` with their contents. Returns the result, and a task that looks
/// at the files again every `interval`. If they have changed, the task replaces the result. If they
/// cannot be used, the last good result stays.
///
/// The files are read, and not watched: a certificate is replaced long before it expires, so a few
/// seconds do not matter, and reading notices every kind of change on every file system.
pub(crate) fn open<T, M>(
    section: &'static str,
    files: Vec<PathBuf>,
    interval: Duration,
    reloads: &Reloads,
    make: M,
) -> Result<(Arc<ArcSwap<T>>, Reload), TlsError>
where
    T: Send + Sync + 'static,
    M: Fn(&Contents) -> Result<T, TlsError> + Send + Sync + 'static,
{
    let contents = Contents::read(&files)?;
    let current = Arc::new(ArcSwap::from_pointee(make(&contents)?));
    let hasher = RandomState::new();
    let applied = contents.fingerprint(&hasher);
    let follower = Follower {
        section,
        files: files.into(),
        make,
        current: Arc::clone(&current),
        reloads: reloads.clone(),
        hasher,
        applied,
        seen: applied,
    };
    Ok((current, Box::pin(follower.follow(interval))))
}

impl<T, M: Fn(&Contents) -> Result<T, TlsError>> Follower<T, M> {
    async fn follow(mut self, interval: Duration) {
        loop {
            tokio::time::sleep(interval).await;
            let mut read = self.read().await;
            if self.fingerprint(&read) == self.seen {
                continue;
            }
            let mut seen = self.fingerprint(&read);
            loop {
                tokio::time::sleep(AGREE).await;
                read = self.read().await;
                let again = self.fingerprint(&read);
                if std::mem::replace(&mut seen, again) == again {
                    break;
                }
            }
            self.seen = seen;
            if seen != self.applied {
                self.apply(read, seen);
            }
        }
    }

    /// Reads the files on a blocking thread.
    async fn read(&self) -> Result<Contents, FileError> {
        let files = Arc::clone(&self.files);
        match tokio::task::spawn_blocking(move || Contents::read(&files)).await {
            Ok(read) => read,
            // The runtime ends, and this task with it.
            Err(_) => std::future::pending().await,
        }
    }

    fn fingerprint(&self, read: &Result<Contents, FileError>) -> u64 {
        match read {
            Ok(contents) => contents.fingerprint(&self.hasher),
            Err(error) => self.hasher.hash_one(format!("{error:?}")),
        }
    }

    fn apply(&mut self, read: Result<Contents, FileError>, seen: u64) {
        let section = self.section;
        match read.map_err(TlsError::from).and_then(|contents| (self.make)(&contents)) {
            Ok(new) => {
                self.current.store(Arc::new(new));
                self.applied = seen;
                self.reloads.count(section, "success");
                tracing::info!(section, "the TLS files were reloaded");
            }
            Err(error) => {
                self.reloads.count(section, "failure");
                let error: &dyn Error = &error;
                tracing::warn!(
                    section,
                    error,
                    "the TLS files were not reloaded: the last good ones stay in force"
                );
            }
        }
    }
}
