//! The chunks of a body whose length is not known before (RFC 9112, section 7.1).

use bytes::Bytes;
use httparse::Status;

use super::input::Input;

/// The largest length of a line that says how long a chunk is.
const MAX_SIZE_LINE: usize = 1 << 10;

/// The largest length of the trailers.
const MAX_TRAILERS: usize = 16 << 10;

/// What is expected next of a body in chunks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Chunks {
    Size,
    /// So many bytes of a chunk.
    Data(u64),
    EndOfData,
    Trailers,
    End,
}

/// The body breaks the rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Invalid;

impl Chunks {
    pub(crate) fn new() -> Self {
        Self::Size
    }

    pub(crate) fn is_end(self) -> bool {
        self == Self::End
    }

    /// Takes the next part of the body. Without one, more must be read, unless this is the end.
    /// Trailers are skipped.
    pub(crate) fn take(&mut self, input: &mut Input) -> Result<Option<Bytes>, Invalid> {
        loop {
            match *self {
                Self::Size => match httparse::parse_chunk_size(input.bytes()) {
                    // A line without a digit counts as 0 otherwise.
                    Ok(Status::Complete((line, size))) if begins_with_digit(input.bytes()) => {
                        input.take(line);
                        *self = if size == 0 { Self::Trailers } else { Self::Data(size) };
                    }
                    Ok(Status::Partial) if input.bytes().len() < MAX_SIZE_LINE => return Ok(None),
                    _ => return Err(Invalid),
                },
                Self::Data(left) => {
                    let part = input.take(usize::try_from(left).unwrap_or(usize::MAX));
                    if part.is_empty() {
                        return Ok(None);
                    }
                    let left = left - part.len() as u64;
                    *self = if left == 0 { Self::EndOfData } else { Self::Data(left) };
                    return Ok(Some(part));
                }
                Self::EndOfData => match &**input.bytes() {
                    [b'\r', b'\n', ..] => {
                        input.take(2);
                        *self = Self::Size;
                    }
                    [] | [b'\r'] => return Ok(None),
                    _ => return Err(Invalid),
                },
                Self::Trailers => match httparse::parse_headers(input.bytes(), &mut trailers()) {
                    Ok(Status::Complete((length, _))) => {
                        input.take(length);
                        *self = Self::End;
                    }
                    Ok(Status::Partial) if input.bytes().len() < MAX_TRAILERS => return Ok(None),
                    _ => return Err(Invalid),
                },
                Self::End => return Ok(None),
            }
        }
    }
}

fn begins_with_digit(line: &[u8]) -> bool {
    line.first().is_some_and(u8::is_ascii_hexdigit)
}

fn trailers<'a>() -> [httparse::Header<'a>; 32] {
    [httparse::EMPTY_HEADER; 32]
}
