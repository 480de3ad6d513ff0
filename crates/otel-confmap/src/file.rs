//! Reads text files of limited length.

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::Path;

use crate::budget::MAX_TEXT_LEN;
use crate::{Problem, Value};

impl Value {
    /// Reads a file, and parses its text as [`parse`](Self::parse) does.
    ///
    /// # Errors
    ///
    /// Returns a problem if the file cannot be read, is not a regular file, is not UTF-8 or is
    /// longer than 1 MiB, and in every case in which `parse` does. At most one byte more than 1 MiB
    /// of the file is read.
    pub fn read_file(path: &Path) -> Result<Self, Problem> {
        let text = read_text(path).map_err(|error| {
            Problem::new("", None, format!("cannot read `{}`: {error}", path.display()))
        })?;
        Self::parse(&text)
    }
}

#[derive(Debug, thiserror::Error)]
pub(super) enum FileError {
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("it is not a regular file")]
    NotAFile,
    #[error("it is longer than {MAX_TEXT_LEN} bytes")]
    TooLong,
    #[error("it is not UTF-8 text")]
    NotUtf8,
}

/// Reads the regular file at `path` as text, without a byte order mark. Reads at most one byte more
/// than [`MAX_TEXT_LEN`].
pub(super) fn read_text(path: &Path) -> Result<String, FileError> {
    // The kind is checked before the file is opened, because opening a FIFO waits for a writer. A
    // process that can swap the file between the two calls can change the configuration anyway.
    if !fs::metadata(path)?.is_file() {
        return Err(FileError::NotAFile);
    }
    let mut bytes = Vec::new();
    File::open(path)?.take(MAX_TEXT_LEN as u64 + 1).read_to_end(&mut bytes)?;
    if bytes.len() > MAX_TEXT_LEN {
        return Err(FileError::TooLong);
    }
    let text = String::from_utf8(bytes).map_err(|_| FileError::NotUtf8)?;
    Ok(match text.strip_prefix('\u{feff}') {
        Some(text) => text.to_owned(),
        None => text,
    })
}
