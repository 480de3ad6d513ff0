//! Room on the disk that is kept free for revoking keys.

use std::fs::File;
use std::io::{self, Seek, Write};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use super::error::SqliteError;
use super::file::PinnedFile;

/// The size of the reserve in bytes. Deleting a key writes about ten pages of 4 KiB to the log.
const SIZE: usize = 1 << 20;

/// The number of bytes that are written at once, so that the reserve takes little memory.
const PART: usize = 64 << 10;

/// A file beside the database that occupies space on the disk. When the disk is full, the file is
/// emptied, so that SQLite has room for the change that revokes a key.
///
/// The file helps on file systems that write in place. A file system that copies on write may need
/// more room for emptying the file than there is.
#[derive(Debug)]
pub(super) struct Reserve {
    file: File,
    is_released: AtomicBool,
}

impl Reserve {
    /// Opens the file, readable only by its owner. If it is not full, the next
    /// [`refill`](Self::refill) fills it.
    pub(super) fn open(path: &Path) -> Result<Self, SqliteError> {
        let file = PinnedFile::open(path)?;
        file.make_private();
        let reserve = Self { file: file.into_file(), is_released: AtomicBool::new(false) };
        if reserve.file.metadata().is_ok_and(|metadata| metadata.len() < SIZE as u64) {
            reserve.is_released.store(true, Ordering::Relaxed);
        }
        Ok(reserve)
    }

    /// Empties the file. Returns whether it occupied space.
    pub(super) fn release(&self) -> bool {
        !self.is_released.swap(true, Ordering::Relaxed)
            && self.file.set_len(0).and_then(|()| self.file.sync_all()).is_ok()
    }

    /// Fills the file again if it was emptied and the disk has room for it.
    pub(super) fn refill(&self) {
        if !self.is_released.load(Ordering::Relaxed) {
            return;
        }
        match self.fill() {
            Ok(()) => self.is_released.store(false, Ordering::Relaxed),
            Err(error) => {
                tracing::debug!(%error, "there is no room for the reserve");
                let _still_empty = self.file.set_len(0);
            }
        }
    }

    fn fill(&self) -> io::Result<()> {
        // A file system may store zeros without using any space, and may compress what repeats.
        let mut part = vec![0; PART];
        let mut file = &self.file;
        file.rewind()?;
        for _ in 0..SIZE / PART {
            getrandom::fill(&mut part).map_err(io::Error::other)?;
            file.write_all(&part)?;
        }
        // The space is certain only when the file system has allocated it.
        self.file.sync_all()
    }
}
