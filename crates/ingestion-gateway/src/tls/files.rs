//! Reads files with certificates and keys.

use std::collections::hash_map::RandomState;
use std::fs::{self, File};
use std::hash::{BuildHasher as _, Hash as _, Hasher as _};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use secrecy::{ExposeSecret as _, SecretSlice};

/// The largest length of a file, in bytes. The authorities of a system have about 250 KiB together.
const MAX_LEN: u64 = 4 << 20;

/// Why a file cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// The file cannot be read.
    #[error("{path} cannot be read")]
    Read {
        /// The path of the file.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// The path leads to a directory, FIFO, socket or device.
    #[error("{path} is not a regular file")]
    NotAFile {
        /// The path of the file.
        path: PathBuf,
    },
    /// The file is too long.
    #[error("{path} is longer than {} MiB", MAX_LEN >> 20)]
    TooLong {
        /// The path of the file.
        path: PathBuf,
    },
}

/// The contents of some files at one moment. They are wiped from memory when they are dropped.
pub(crate) struct Contents(Vec<(PathBuf, SecretSlice<u8>)>);

impl Contents {
    /// Reads all these files.
    pub(super) fn read(paths: &[PathBuf]) -> Result<Self, FileError> {
        paths.iter().map(|path| Ok((path.clone(), read(path)?))).collect::<Result<_, _>>().map(Self)
    }

    /// Returns the content of a file. A file that was not read has none.
    pub(super) fn of(&self, path: &Path) -> &[u8] {
        let content = self.0.iter().find(|(read, _)| read == path);
        content.map_or(&[], |(_, content)| content.expose_secret())
    }

    /// Returns a hash with which the contents at two moments are compared, so that the earlier ones
    /// need not be kept.
    pub(super) fn fingerprint(&self, hasher: &RandomState) -> u64 {
        let mut hasher = hasher.build_hasher();
        for (_, content) in &self.0 {
            content.expose_secret().hash(&mut hasher);
        }
        hasher.finish()
    }
}

fn read(path: &Path) -> Result<SecretSlice<u8>, FileError> {
    let failed = |source| FileError::Read { path: path.to_owned(), source };
    // The type of the file is checked before it is opened, because opening a FIFO waits for its
    // writer.
    let metadata = fs::metadata(path).map_err(failed)?;
    if !metadata.is_file() {
        return Err(FileError::NotAFile { path: path.to_owned() });
    }
    // A buffer that grows while a key is read leaves copies of the key behind.
    let mut bytes = Vec::with_capacity(usize::try_from(metadata.len().min(MAX_LEN)).unwrap_or(0));
    File::open(path)
        .and_then(|file| file.take(MAX_LEN + 1).read_to_end(&mut bytes))
        .map_err(failed)?;
    if bytes.len() as u64 > MAX_LEN {
        return Err(FileError::TooLong { path: path.to_owned() });
    }
    Ok(bytes.into())
}
