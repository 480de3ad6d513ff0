//! Reading and writing the configuration file.

use std::fs::{self, TryLockError};
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;

use super::{Config, NamedContext, StsContext};
use crate::environment::Environment;
use crate::error::{Failure, FailureKind};
use crate::printer::escape;

/// The largest number of symbolic links that are followed. Linux has the same limit.
const MAX_LINKS: usize = 40;

/// How long a command waits for the lock. Other commands hold it for milliseconds.
const LOCK_PATIENCE: Duration = Duration::from_secs(5);

/// The time between two tries to lock.
const LOCK_RETRY: Duration = Duration::from_millis(20);

/// The configuration file, which may not exist yet.
pub(crate) struct ConfigFile {
    path: PathBuf,
}

/// The lock of the configuration file. A command holds it from reading the file until writing it.
/// The operating system releases it when the process ends.
pub(crate) struct Lock(
    #[expect(dead_code, reason = "the file is locked as long as it is open")] fs::File,
);

/// The reason why the configuration file could not be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReadError {
    #[error("the file {} does not exist", .0.display())]
    Missing(PathBuf),
    #[error("cannot read {} ({source})", path.display())]
    Unreadable { path: PathBuf, source: io::Error },
    /// The file cannot be parsed. The variant has only the position of the error, because the text
    /// of the error may quote a token.
    #[error("{} is not a valid configuration file (line {line}, column {column})", path.display())]
    Malformed { path: PathBuf, line: u64, column: u64 },
}

impl ConfigFile {
    /// Returns the file with the path `named`. Without `named`, returns the default file of the
    /// user.
    pub(crate) fn locate(
        named: Option<PathBuf>,
        environment: &Environment,
    ) -> Result<Self, Failure> {
        let directory = || {
            environment
                .path("XDG_CONFIG_HOME")
                .or_else(|| Some(environment.path("HOME")?.join(".config")))
        };
        let path = named.or_else(|| Some(directory()?.join("stackstate-cli").join("config.yaml")));
        let path = path.ok_or_else(|| {
            Failure::new(
                FailureKind::Configuration,
                "the location of the configuration file is unknown: set HOME, or use --config",
            )
        })?;
        Ok(Self { path })
    }

    /// Reads the file.
    pub(crate) fn read(&self) -> Result<Config, ReadError> {
        let path = || self.path.clone();
        let text = match fs::read_to_string(&self.path) {
            Ok(text) => text,
            Err(error) if error.kind() == ErrorKind::NotFound => {
                return Err(ReadError::Missing(path()));
            }
            Err(source) => return Err(ReadError::Unreadable { path: path(), source }),
        };
        parse(&text).map_err(|error| {
            let (line, column) = error.location().map_or((0, 0), |at| (at.line(), at.column()));
            ReadError::Malformed { path: path(), line, column }
        })
    }

    /// Reads the file for a command that needs the file to exist.
    pub(crate) fn require(&self) -> Result<Config, Failure> {
        self.read().map_err(|error| error.to_failure())
    }

    /// Prevents other processes from changing the file until the lock is dropped. The lock file is
    /// never removed, because another process may have it open.
    ///
    /// If another process holds the lock for five seconds, it is a failure.
    pub(crate) fn lock(&self) -> Result<Lock, Failure> {
        self.lock_within(LOCK_PATIENCE)
    }

    fn lock_within(&self, patience: Duration) -> Result<Lock, Failure> {
        let (file, path) = self.open_lock().map_err(|error| self.write_failure(&error))?;
        let mut waited = Duration::ZERO;
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(Lock(file)),
                Err(TryLockError::Error(error)) => return Err(self.write_failure(&error)),
                Err(TryLockError::WouldBlock) if waited < patience => {
                    std::thread::sleep(LOCK_RETRY);
                    waited += LOCK_RETRY;
                }
                Err(TryLockError::WouldBlock) => {
                    let path = path.to_string_lossy();
                    let path = escape(&path);
                    let message = format!(
                        "the configuration file was not changed, because another process has \
                         locked {path} for more than {} s",
                        patience.as_secs()
                    );
                    return Err(Failure::new(FailureKind::Write, message).with_hint(&format!(
                        "Try again when that process has ended; `fuser {path}` prints its id"
                    )));
                }
            }
        }
    }

    /// Reads the file, or returns an empty configuration if it does not exist. A file that cannot
    /// be read is an error, because writing would destroy it.
    pub(crate) fn read_or_default(&self) -> Result<Config, Failure> {
        match self.read() {
            Err(ReadError::Missing(_)) => Ok(Config::default()),
            result => result.map_err(|error| error.to_failure()),
        }
    }

    /// Replaces the file atomically. Only the owner can read the new file.
    pub(crate) fn write(&self, config: &Config) -> Result<(), Failure> {
        self.replace(config).map_err(|error| self.write_failure(&error))
    }

    fn write_failure(&self, error: &io::Error) -> Failure {
        Failure::new(
            FailureKind::Write,
            format!("cannot write to file {} ({error})", escape(&self.path.to_string_lossy())),
        )
    }

    /// Opens the lock file, and creates it if it does not exist.
    fn open_lock(&self) -> io::Result<(fs::File, PathBuf)> {
        let path = self.target();
        fs::create_dir_all(directory(&path))?;
        let mut name = path.into_os_string();
        name.push(".lock");
        let path = PathBuf::from(name);
        let file = fs::File::options().create(true).truncate(false).write(true).open(&path)?;
        Ok((file, path))
    }

    /// Follows symbolic links and returns the path of the final target, whether a file exists there
    /// or not. Writing replaces the file at this path, so that the links stay.
    fn target(&self) -> PathBuf {
        let mut path = self.path.clone();
        for _ in 0..MAX_LINKS {
            let Ok(next) = fs::read_link(&path) else { break };
            path = directory(&path).join(next);
        }
        path
    }

    fn replace(&self, config: &Config) -> io::Result<()> {
        let options = serde_saphyr::ser_options! {
            indent_step: 4, compact_list_indent: false, prefer_block_scalars: false
        };
        let text =
            serde_saphyr::to_string_with_options(config, options).map_err(io::Error::other)?;
        let text = outdent_contexts(&text);
        let path = self.target();
        let directory = directory(&path);
        fs::create_dir_all(directory)?;
        // The new file has mode 0600. After it is on the disk, it is renamed to the path of the old
        // file.
        let mut file = tempfile::NamedTempFile::new_in(directory)?;
        file.write_all(text.as_bytes())?;
        file.as_file().sync_all()?;
        file.persist(&path).map_err(|error| error.error)?;
        Ok(())
    }
}

impl ReadError {
    pub(crate) fn to_failure(&self) -> Failure {
        let failure = Failure::new(
            FailureKind::Configuration,
            format!("could not load StackState CLI config\n{self}"),
        );
        match self {
            Self::Missing(_) => failure.with_hint(
                "You do not have a config file. To create one try running `sts context save \
                     --help`",
            ),
            Self::Unreadable { .. } => {
                failure.with_hint("Make the file readable, or give another one with --config")
            }
            Self::Malformed { .. } => failure
                .with_hint("Correct the file, or move it away and see `sts context save --help`"),
        }
    }
}

/// Removes four columns of indentation from the fields of each context. So the file has the same
/// layout as a file of the original command.
fn outdent_contexts(text: &str) -> String {
    let mut is_contexts = false;
    let lines = text.split_inclusive('\n').map(|line| {
        if !line.starts_with(' ') {
            is_contexts = line.starts_with("contexts:");
        }
        if is_contexts && line.starts_with("            ") { &line[4..] } else { line }
    });
    lines.collect()
}

fn directory(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Parses both formats of the original command. In the current format, the file has a list of
/// contexts. In the old format, the whole file is one context.
fn parse(text: &str) -> Result<Config, serde_saphyr::Error> {
    #[derive(Deserialize)]
    struct Probe {
        contexts: Option<Value>,
    }
    let Some(probe) = serde_saphyr::from_str::<Option<Probe>>(text)? else {
        return Ok(Config::default());
    };
    if probe.contexts.is_some() {
        return serde_saphyr::from_str(text);
    }
    let name = "default".to_owned();
    let context: StsContext = serde_saphyr::from_str(text)?;
    Ok(Config {
        contexts: vec![NamedContext { name: name.clone(), context }],
        current_context: name,
        ..Config::default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    // Scenario: another open file has the lock. Then that file is closed.
    // Guarantee: a command does not wait without an end. The message has the path of the lock file.
    // After the file is closed, the lock is free.
    #[test]
    fn a_held_lock_is_an_error_after_a_while() {
        let directory = tempfile::TempDir::new().unwrap();
        let file = ConfigFile { path: directory.path().join("config.yaml") };
        let held = file.lock().ok().unwrap();
        let failure = file.lock_within(Duration::from_millis(50)).err().unwrap();
        let lock = format!("{}.lock", file.path.display());
        assert_eq!(failure.kind, FailureKind::Write);
        assert!(failure.message.contains(&format!("has locked {lock} for")), "{failure:?}");
        assert!(failure.message.ends_with(&format!("`fuser {lock}` prints its id")), "{failure:?}");
        drop(held);
        assert!(file.lock().is_ok());
    }
}
