//! Text files of bounded length.

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::Path;

use super::MAX_TEXT_LEN;

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

/// Reads the regular file at `path`, but never more than the longest allowed text and one byte. A
/// byte order mark is dropped.
pub(super) fn read_text(path: &Path) -> Result<String, FileError> {
    // Asked before it is opened: opening a FIFO waits for its writer. Who swaps the file in between
    // may change the configuration anyway.
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
