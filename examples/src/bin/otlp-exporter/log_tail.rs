//! The lines of a log file, as log records.

use std::fs::{File, Metadata};
use std::io::{self, BufRead, BufReader, Seek, SeekFrom};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use anyhow::Context;
use opentelemetry::logs::{AnyValue, LogRecord, Logger};

const DEFAULTS: [&str; 3] = ["/var/log/syslog", "/var/log/messages", "/var/log/dpkg.log"];

/// The limits of the first round: it reads this number of bytes at the end of the file, and sends
/// at most [`FIRST_LINES`] lines.
const FIRST_BYTES: u64 = 64 << 10;
const FIRST_LINES: usize = 10;

/// The largest number of lines that a round sends. The next round continues after these lines. This
/// many lines fit into the queue of the SDK.
const ROUND_LINES: usize = 1000;

/// A log file whose new lines are read, even after it was replaced or truncated.
pub(crate) struct LogTail {
    path: PathBuf,
    position: Position,
}

enum Position {
    /// The start of the next read is near the end of the file, because nothing has been read yet.
    End,
    /// The file up to this offset has been read.
    At { file: u64, offset: u64 },
}

impl LogTail {
    /// Opens the given file, or otherwise the first readable log file of the system; `None` if
    /// there is no such file.
    pub(crate) fn open(path: Option<&Path>) -> anyhow::Result<Option<Self>> {
        let path = match path {
            Some(path) => {
                File::open(path).with_context(|| format!("--log-file {}", path.display()))?;
                Some(path)
            }
            None => DEFAULTS.iter().map(Path::new).find(|path| File::open(path).is_ok()),
        };
        Ok(path.map(|path| Self { path: path.to_owned(), position: Position::End }))
    }

    /// Emits the lines that are new since the last call. The first call emits the last lines of the
    /// file. Returns the number of lines.
    pub(crate) fn emit(&mut self, logger: &impl Logger) -> usize {
        let lines = self.read().unwrap_or_else(|error| {
            // The file may be missing for a moment while it is replaced.
            tracing::warn!(%error, path = %self.path.display(), "the log file cannot be read");
            Vec::new()
        });
        for line in &lines {
            let mut record = logger.create_log_record();
            record.set_body(AnyValue::from(line.clone()));
            record.add_attribute("log.file.path", self.path.to_string_lossy().into_owned());
            logger.emit(record);
        }
        lines.len()
    }

    fn read(&mut self) -> io::Result<Vec<String>> {
        let mut file = File::open(&self.path)?;
        let metadata = file.metadata()?;
        let start = self.start(&metadata);
        file.seek(SeekFrom::Start(start))?;
        let mut lines = Vec::new();
        let (mut reader, mut offset) = (BufReader::new(file), start);
        let first = matches!(self.position, Position::End);
        while first || lines.len() < ROUND_LINES {
            let mut line = Vec::new();
            let length = reader.read_until(b'\n', &mut line)?;
            // A line without a line feed is still being written. A later round reads the complete
            // line.
            if line.pop() != Some(b'\n') {
                break;
            }
            offset += length as u64;
            lines.push(String::from_utf8_lossy(&line).trim_end_matches('\r').to_owned());
        }
        if first {
            lines.drain(..lines.len().saturating_sub(FIRST_LINES));
        }
        self.position = Position::At { file: metadata.ino(), offset };
        Ok(lines)
    }

    fn start(&self, metadata: &Metadata) -> u64 {
        match self.position {
            Position::End => metadata.len().saturating_sub(FIRST_BYTES),
            Position::At { file, offset } if file == metadata.ino() && offset <= metadata.len() => {
                offset
            }
            Position::At { .. } => 0,
        }
    }
}
