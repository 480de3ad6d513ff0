//! Watches the directory of a file, also after another directory has taken its place.

use std::error::Error;
use std::fs::Metadata;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::SystemTime;

use notify::event::{AccessKind, AccessMode, EventKind, ModifyKind};
use notify::{Event, RecommendedWatcher, RecursiveMode, Watcher};

/// Watches the directory instead of the file, because the watch of a file ends when the file is
/// replaced. Also, Kubernetes does not replace the file, but a symbolic link (`..data`) beside it.
///
/// The watch of a directory ends, too, when the directory is deleted, and it follows a directory
/// that is renamed. So [`renew`](Self::renew) is called regularly. While the directory does not
/// exist, the nearest directory above it that exists is watched instead.
pub(super) struct DirectoryWatch<F> {
    directory: PathBuf,
    on_change: F,
    watched: Option<Watched>,
    /// Whether the last attempt to watch failed. It is kept so that a lasting failure is reported
    /// only once.
    failed: bool,
}

/// A watch that was begun.
struct Watched {
    target: Target,
    /// Whether the directory was deleted or renamed.
    ended: Arc<AtomicBool>,
    /// Watches until it is dropped.
    _watcher: RecommendedWatcher,
}

/// A directory that exists. Two values differ if another directory has taken the place of the
/// first.
#[derive(PartialEq, Eq)]
struct Target {
    path: PathBuf,
    inode: Option<(u64, u64)>,
    /// Many file systems give the inode number of a deleted directory to the next one.
    created: Option<SystemTime>,
}

impl<F: Fn() + Clone + Send + 'static> DirectoryWatch<F> {
    /// Begins to watch the directory of the file at `path`. `on_change` is called for each event.
    pub(super) fn new(path: &Path, on_change: F) -> Self {
        let directory = path.parent().unwrap_or(path).to_owned();
        let mut watch = Self { directory, on_change, watched: None, failed: false };
        watch.renew();
        watch
    }

    /// Begins a new watch if the path now leads to another directory than the watched one. Returns
    /// whether it began one. If so, there may have been changes before.
    ///
    /// If nothing can be watched, changes are found by polling alone, and the next call tries
    /// again.
    pub(super) fn renew(&mut self) -> bool {
        let Some(target) = Target::nearest(&self.directory) else {
            self.watched = None;
            return false;
        };
        if let Some(watched) = &self.watched
            && watched.target == target
            && !watched.ended.load(Ordering::Acquire)
        {
            return false;
        }
        match watch(&target.path, self.on_change.clone()) {
            Ok((watcher, ended)) => {
                self.watched = Some(Watched { target, ended, _watcher: watcher });
                self.failed = false;
                true
            }
            Err(error) => {
                self.watched = None;
                if !std::mem::replace(&mut self.failed, true) {
                    let error: &dyn Error = &error;
                    tracing::warn!(path = %target.path.display(), error, "the directory of the token file cannot be watched: changes are found by polling");
                }
                false
            }
        }
    }
}

impl Target {
    /// Finds the directory, or the nearest directory above it that exists.
    fn nearest(directory: &Path) -> Option<Self> {
        directory.ancestors().find_map(|path| {
            let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
            let metadata = std::fs::metadata(path).ok().filter(Metadata::is_dir)?;
            Some(Self {
                path: path.to_owned(),
                inode: inode(&metadata),
                created: metadata.created().ok(),
            })
        })
    }
}

#[cfg(unix)]
fn inode(metadata: &Metadata) -> Option<(u64, u64)> {
    use std::os::unix::fs::MetadataExt;
    Some((metadata.dev(), metadata.ino()))
}

#[cfg(not(unix))]
fn inode(_: &Metadata) -> Option<(u64, u64)> {
    None
}

/// Watches a directory. The flag that it returns becomes true when the directory is deleted or
/// renamed.
fn watch(
    directory: &Path,
    on_change: impl Fn() + Send + 'static,
) -> notify::Result<(RecommendedWatcher, Arc<AtomicBool>)> {
    let ended = Arc::new(AtomicBool::new(false));
    let on_event = {
        let (directory, ended) = (directory.to_owned(), Arc::clone(&ended));
        move |event: notify::Result<Event>| {
            if event.as_ref().is_ok_and(|event| only_read(event.kind)) {
                return;
            }
            if event.is_ok_and(|event| is_end(&event, &directory)) {
                ended.store(true, Ordering::Release);
            }
            on_change();
        }
    };
    let mut watcher = notify::recommended_watcher(on_event)?;
    watcher.watch(directory, RecursiveMode::NonRecursive)?;
    Ok((watcher, ended))
}

/// Whether the event only says that a file was read. Such events are ignored, because otherwise our
/// own reads would cause further reads without end. Every other kind of event counts, because file
/// systems report different kinds.
fn only_read(kind: EventKind) -> bool {
    matches!(kind, EventKind::Access(access) if access != AccessKind::Close(AccessMode::Write))
}

fn is_end(event: &Event, directory: &Path) -> bool {
    matches!(event.kind, EventKind::Remove(_) | EventKind::Modify(ModifyKind::Name(_)))
        && event.paths.iter().any(|path| path == directory)
}
