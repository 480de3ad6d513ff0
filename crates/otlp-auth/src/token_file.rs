//! Token files: one token a line, with a name or without.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::Path;

use secrecy::{ExposeSecret, SecretSlice};

use crate::credential::{self, CredentialError};
use crate::server::FixedTokensError;

/// Longest token file that is read, in bytes: room for 100,000 tokens of any usual length.
pub(crate) const MAX_FILE_LEN: u64 = 16 << 20;

/// A line of a token file.
#[derive(Clone, Copy)]
pub(crate) struct Line<'a> {
    pub(crate) name: Option<&'a str>,
    pub(crate) token: &'a str,
}

/// Why a token file was not taken. No variant carries anything that stands in the file.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TokenFileError {
    /// The file cannot be read.
    #[error("the token file cannot be read")]
    Read(#[source] io::Error),
    /// It is a directory, FIFO, socket or device.
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
        /// Its number, from 1.
        line: usize,
        /// What is wrong with it.
        source: CredentialError,
    },
    /// The scheme that the tokens should be sent with is none.
    #[error("the scheme for the token file is not a scheme")]
    Scheme(#[source] CredentialError),
    /// The lines cannot be used together.
    #[error("the tokens of the token file cannot be used together")]
    Tokens(#[from] FixedTokensError),
    /// The thread that follows the file could not be started.
    #[error("no thread could be started to follow the token file")]
    Thread(#[source] io::Error),
}

/// The bytes of the regular file at `path`, wiped when dropped.
pub(crate) fn read(path: &Path) -> Result<SecretSlice<u8>, TokenFileError> {
    // Asked before it is opened: opening a FIFO waits for its writer. Who swaps the file in between
    // may write tokens anyway.
    if !fs::metadata(path).map_err(TokenFileError::Read)?.is_file() {
        return Err(TokenFileError::NotAFile);
    }
    let mut bytes = Vec::new();
    File::open(path)
        .and_then(|file| file.take(MAX_FILE_LEN + 1).read_to_end(&mut bytes))
        .map_err(TokenFileError::Read)?;
    if bytes.len() as u64 > MAX_FILE_LEN { Err(TokenFileError::TooLong) } else { Ok(bytes.into()) }
}

/// The lines that carry a token. A byte order mark, carriage returns, blanks at both ends of a line
/// and blank lines are skipped; any other line has to be a token, bare or as `name=token`.
pub(crate) fn parse(
    content: &SecretSlice<u8>,
) -> impl Iterator<Item = Result<Line<'_>, TokenFileError>> {
    let bytes = content.expose_secret();
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    bytes
        .split(|&byte| byte == b'\n')
        .map(<[u8]>::trim_ascii)
        .enumerate()
        .filter(|(_, line)| !line.is_empty())
        .map(|(index, line)| {
            Line::of(line).map_err(|source| TokenFileError::Line { line: index + 1, source })
        })
}

impl<'a> Line<'a> {
    /// `name=token` only if the left side is a name and something other than `=` follows: base64
    /// padding names nothing.
    fn of(line: &'a [u8]) -> Result<Self, CredentialError> {
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
        Ok(Self { name, token: text(credential::legal_token(token)?)? })
    }
}

fn is_name(text: &[u8]) -> bool {
    let mut bytes = text.iter();
    bytes.next().is_some_and(u8::is_ascii_alphabetic)
        && bytes.all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-'))
}

#[cfg(test)]
mod tests;
