//! The files of a database: their permissions, the lock file, and the check that they are still at
//! their paths.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use super::error::SqliteError;

/// The interval between two attempts to take a lock that another process holds.
const TRY_INTERVAL: Duration = Duration::from_millis(50);

/// An open file. [`verify`](Self::verify) checks that it is still the file at its path.
#[derive(Debug)]
pub(super) struct PinnedFile {
    path: PathBuf,
    /// The file stays open as long as SQLite has it open, because closing any descriptor of a file
    /// releases all locks of the process on that file (POSIX).
    file: File,
}

impl PinnedFile {
    /// Opens the file. If the file does not exist, creates it so that only its owner can read it.
    pub(super) fn open(path: &Path) -> Result<Self, SqliteError> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false);
        private(&mut options);
        let file = options.open(path).map_err(|error| match error.kind() {
            io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
                SqliteError::ReadOnly
            }
            _ => SqliteError::Io { action: "open the files of the database", source: error },
        })?;
        Ok(Self { path: path.to_owned(), file })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn file(&self) -> &File {
        &self.file
    }

    pub(super) fn into_file(self) -> File {
        self.file
    }

    /// Returns the length of the file and the time at which it was last written to.
    pub(super) fn stamp(&self) -> Result<Stamp, SqliteError> {
        let stamp = self.file.metadata().and_then(|metadata| Stamp::of(&metadata));
        stamp.map_err(|source| SqliteError::Io { action: "look at the open database file", source })
    }

    /// Fails if the file has a second name (a hard link).
    #[cfg(unix)]
    pub(super) fn has_one_name(&self) -> Result<(), SqliteError> {
        use std::os::unix::fs::MetadataExt;
        let links = self.file.metadata().map(|metadata| metadata.nlink());
        match links.map_err(|source| SqliteError::Io {
            action: "look at the open database file",
            source,
        })? {
            0 | 1 => Ok(()),
            _ => Err(SqliteError::Linked),
        }
    }

    #[cfg(not(unix))]
    pub(super) fn has_one_name(&self) -> Result<(), SqliteError> {
        Ok(())
    }

    /// Removes all permissions that other users have on the file.
    #[cfg(unix)]
    pub(super) fn make_private(&self) {
        use std::os::unix::fs::PermissionsExt;
        let is_private =
            self.file.metadata().is_ok_and(|metadata| metadata.permissions().mode() & 0o077 == 0);
        if !is_private
            && let Err(error) = self.file.set_permissions(fs::Permissions::from_mode(0o600))
        {
            let path = self.path.display();
            tracing::warn!(%path, %error, "the database file is open to other users");
        }
    }

    #[cfg(not(unix))]
    pub(super) fn make_private(&self) {}

    /// Opens the file as [`open`](Self::open) does, and locks it until the returned value is
    /// dropped. Waits for at most `wait` while another process has the lock.
    pub(super) fn lock(path: &Path, wait: Duration) -> Result<Self, SqliteError> {
        // The deadline is `None` if it cannot be represented. Then the loop waits without a limit.
        let deadline = Instant::now().checked_add(wait);
        loop {
            let held = Self::open(path)?;
            match held.file.try_lock() {
                // The file may have been removed while this process waited for its lock.
                Ok(()) if held.verify().is_ok() => return Ok(held),
                Ok(()) | Err(TryLockError::WouldBlock) => {}
                Err(TryLockError::Error(source)) => {
                    return Err(SqliteError::Io { action: "lock the lock file", source });
                }
            }
            if deadline.is_some_and(|deadline| deadline <= Instant::now()) {
                return Err(SqliteError::Locked);
            }
            thread::sleep(TRY_INTERVAL);
        }
    }

    /// Fails unless the file at the path is still this file.
    pub(super) fn verify(&self) -> Result<(), SqliteError> {
        let io = |source| SqliteError::Io { action: "look at the open database file", source };
        match fs::metadata(&self.path) {
            Ok(there) if is_same(&there, &self.file.metadata().map_err(io)?) => Ok(()),
            Ok(_) => Err(SqliteError::Replaced),
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
                ) =>
            {
                Err(SqliteError::Replaced)
            }
            Err(source) => Err(SqliteError::Io { action: "look at the database file", source }),
        }
    }
}

/// The length of a file and the time of the last write to the file. A stamp does not change while
/// nobody writes to the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stamp {
    /// The length in bytes.
    pub(super) len: u64,
    written_at: SystemTime,
}

impl Stamp {
    pub(super) fn of(metadata: &fs::Metadata) -> io::Result<Self> {
        Ok(Self { len: metadata.len(), written_at: metadata.modified()? })
    }
}

/// Reads `len` bytes of a file.
#[cfg(unix)]
pub(super) fn read_at(file: &File, offset: u64, len: usize) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; len];
    std::os::unix::fs::FileExt::read_exact_at(file, &mut bytes, offset)?;
    Ok(bytes)
}

#[cfg(not(unix))]
pub(super) fn read_at(mut file: &File, offset: u64, len: usize) -> io::Result<Vec<u8>> {
    use io::{Read, Seek};
    let mut bytes = vec![0; len];
    file.seek(io::SeekFrom::Start(offset))?;
    file.read_exact(&mut bytes)?;
    Ok(bytes)
}

/// Returns the path of the database file after all symbolic links are followed. Every path to the
/// database therefore leads to the same log and the same lock file, which are beside the database
/// file. Creates the file if it does not exist.
pub(super) fn resolved(path: &Path) -> Result<PathBuf, SqliteError> {
    PinnedFile::open(path)?;
    fs::canonicalize(path)
        .map_err(|source| SqliteError::Io { action: "find the database file", source })
}

/// Appends a suffix to the path of the database.
pub(super) fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// Creates the directory of the file, readable only by its owner. An existing directory is left as
/// it is.
pub(super) fn make_directory(path: &Path) -> Result<(), SqliteError> {
    let Some(directory) = path.parent().filter(|directory| !directory.as_os_str().is_empty())
    else {
        return Ok(());
    };
    if directory.is_dir() {
        if is_open_to_others(directory) {
            let path = directory.display();
            tracing::warn!(%path, "the directory of the database is open to other users: chmod 700");
        }
        return Ok(());
    }
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder
        .create(directory)
        .map_err(|source| SqliteError::Io { action: "make the directory of the database", source })
}

#[cfg(unix)]
fn private(options: &mut OpenOptions) {
    std::os::unix::fs::OpenOptionsExt::mode(options, 0o600);
}

#[cfg(not(unix))]
fn private(_: &mut OpenOptions) {}

#[cfg(unix)]
fn is_open_to_others(directory: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    fs::metadata(directory).is_ok_and(|metadata| metadata.permissions().mode() & 0o077 != 0)
}

#[cfg(not(unix))]
fn is_open_to_others(_: &Path) -> bool {
    false
}

#[cfg(unix)]
fn is_same(there: &fs::Metadata, open: &fs::Metadata) -> bool {
    use std::os::unix::fs::MetadataExt;
    (there.dev(), there.ino()) == (open.dev(), open.ino())
}

/// Returns `true`, because on other systems an open file cannot be replaced.
#[cfg(not(unix))]
fn is_same(_: &fs::Metadata, _: &fs::Metadata) -> bool {
    true
}
