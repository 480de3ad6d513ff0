//! Reads token files. Each line is a token, with or without a name. Client and server read the same
//! format.

use std::fs::{self, File};
use std::hash::BuildHasher;
use std::io::{self, Read as _};
use std::path::Path;

use secrecy::{ExposeSecret as _, SecretSlice};

use crate::credential::{self, CredentialError};

/// The maximum length of a token file, in bytes. This is enough for 100,000 tokens of 160 bytes
/// each.
pub(crate) const MAX_FILE_LEN: u64 = 16 << 20;

/// The content of a token file. It is wiped from memory when it is dropped.
pub(crate) struct TokenFileContent(SecretSlice<u8>);

/// A line of a token file that has a token.
#[derive(Clone, Copy)]
#[cfg_attr(
    not(all(feature = "client", feature = "server")),
    expect(dead_code, reason = "a client reads no names, and a server no line numbers")
)]
pub(crate) struct Line<'a> {
    /// The number of the line, beginning at 1.
    pub(crate) number: usize,
    pub(crate) name: Option<&'a str>,
    pub(crate) token: &'a str,
}

/// Why a token file cannot be used. No variant carries a part of the file's content.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TokenFileError {
    /// The file cannot be read.
    #[error("the token file cannot be read")]
    Read(#[source] io::Error),
    /// The path leads to a directory, FIFO, socket or device.
    #[error("the token file is not a regular file")]
    NotAFile,
    /// The file is longer than 16 MiB.
    #[error("the token file is longer than {} MiB", MAX_FILE_LEN >> 20)]
    TooLong,
    /// The file has no line with a token.
    #[error("the token file has no token: write one a line, bare or as name=token")]
    Empty,
    /// A line is not a token.
    #[error("line {line} of the token file is not a token")]
    Line {
        /// The number of the line, beginning at 1.
        line: usize,
        /// What is wrong with the line.
        source: CredentialError,
    },
    /// The thread that follows the file could not be started.
    #[error("no thread could be started to follow the token file")]
    Thread(#[source] io::Error),
}

impl TokenFileContent {
    /// Reads the regular file at `path`.
    pub(crate) fn read(path: &Path) -> Result<Self, TokenFileError> {
        // The file type is checked before the file is opened, because opening a FIFO waits for its
        // writer. A process could replace the file between the two calls. This adds no risk,
        // because such a process could also write tokens.
        if !fs::metadata(path).map_err(TokenFileError::Read)?.is_file() {
            return Err(TokenFileError::NotAFile);
        }
        let mut bytes = Vec::new();
        File::open(path)
            .and_then(|file| file.take(MAX_FILE_LEN + 1).read_to_end(&mut bytes))
            .map_err(TokenFileError::Read)?;
        if bytes.len() as u64 > MAX_FILE_LEN {
            return Err(TokenFileError::TooLong);
        }
        Ok(bytes.into())
    }

    /// Returns the lines that have a token, or an error if no line has a token. A byte order mark,
    /// carriage returns, blanks at both ends of a line and blank lines are skipped. Every other
    /// line must be `token` or `name=token`.
    pub(crate) fn tokens(&self) -> Result<Vec<Line<'_>>, TokenFileError> {
        let bytes = self.0.expose_secret();
        let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
        let lines: Vec<_> = bytes
            .split(|&byte| byte == b'\n')
            .map(<[u8]>::trim_ascii)
            .zip(1..)
            .filter(|(line, _)| !line.is_empty())
            .map(|(line, number)| {
                Line::parse(line, number)
                    .map_err(|source| TokenFileError::Line { line: number, source })
            })
            .collect::<Result<_, _>>()?;
        if lines.is_empty() { Err(TokenFileError::Empty) } else { Ok(lines) }
    }

    /// Returns a hash with which two contents are compared, so that the first content need not be
    /// kept.
    pub(crate) fn fingerprint(&self, hasher: &impl BuildHasher) -> u64 {
        hasher.hash_one(self.0.expose_secret())
    }

    /// Whether the last line ends in a line feed. Without a line feed, the writer of the file may
    /// have paused in the middle of a token.
    pub(crate) fn ends_in_line_feed(&self) -> bool {
        self.0.expose_secret().last() == Some(&b'\n')
    }
}

impl From<Vec<u8>> for TokenFileContent {
    fn from(bytes: Vec<u8>) -> Self {
        Self(bytes.into())
    }
}

impl<'a> Line<'a> {
    /// Reads `name=token` if the text before the first `=` is a name and a character other than `=`
    /// follows the `=`. So the padding of base64 is not a separator. Every other line is a token
    /// without a name.
    fn parse(line: &'a [u8], number: usize) -> Result<Self, CredentialError> {
        let text = |bytes| std::str::from_utf8(bytes).map_err(|_| CredentialError::IllegalToken);
        let (name, token) = match line
            .iter()
            .position(|&byte| byte == b'=')
            .map(|equals| (&line[..equals], &line[equals + 1..]))
        {
            Some((name, token))
                if is_name(name) && !token.is_empty() && !token.starts_with(b"=") =>
            {
                (Some(text(name)?), token)
            }
            _ => (None, line),
        };
        Ok(Self { number, name, token: credential::configured_token(text(token)?)? })
    }
}

fn is_name(text: &[u8]) -> bool {
    let mut bytes = text.iter();
    bytes.next().is_some_and(u8::is_ascii_alphabetic)
        && bytes.all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-'))
}

#[cfg(test)]
mod tests;
