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

#[cfg(test)]
mod tests {
    use super::*;

    /// Takes a body that arrives in pieces. Returns its parts together, and what is left.
    fn read(pieces: &[&[u8]]) -> Result<(Vec<u8>, Bytes), Invalid> {
        let (mut chunks, mut body, mut arrived) = (Chunks::new(), Vec::new(), Vec::new());
        let mut input = Input::default();
        for piece in pieces {
            arrived.clear();
            arrived.extend_from_slice(input.bytes());
            arrived.extend_from_slice(piece);
            input = Input::of(&arrived);
            while let Some(part) = chunks.take(&mut input)? {
                body.extend_from_slice(&part);
            }
        }
        assert!(chunks.is_end(), "the body has no end");
        Ok((body, input.bytes().clone()))
    }

    // Scenario: a body comes in three chunks with an extension and trailers, and something follows.
    // It arrives at once, byte by byte, and cut in two at each place.
    // Guarantee: the content is that of the chunks, and nothing of what follows is taken.
    #[test]
    fn a_body_is_the_content_of_its_chunks() {
        let sent = b"5\r\nhello\r\n1;a=b\r\n,\r\n0B \r\n0123456789a\r\n0\r\nx: y\r\n\r\nHTTP";
        let (end, byte_by_byte) = (sent.len() - 4, sent.chunks(1).collect::<Vec<_>>());
        assert_eq!(read(&[sent]).unwrap(), (b"hello,0123456789a".to_vec(), "HTTP".into()));
        assert_eq!(read(&byte_by_byte[..end]).unwrap().0, b"hello,0123456789a");
        for cut in 1..end {
            let (body, left) = read(&[&sent[..cut], &sent[cut..]]).unwrap();
            assert_eq!((&*body, &*left), (&b"hello,0123456789a"[..], &b"HTTP"[..]), "{cut}");
        }
    }

    // Scenario: bodies have a size without digits, of 17 digits, or with a sign, a chunk that is
    // longer than its size, a size line or trailers without an end.
    // Guarantee: each of them is invalid.
    #[test]
    fn what_can_be_read_differently_is_invalid() {
        let line = [b"1;".as_slice(), &vec![b'x'; MAX_SIZE_LINE]].concat();
        let trailers = [b"0\r\nx: ".as_slice(), &vec![b'x'; MAX_TRAILERS]].concat();
        for sent in [
            b"\r\n\r\n".as_slice(),
            b"00000000000000001\r\nx\r\n0\r\n\r\n",
            b"+1\r\nx\r\n0\r\n\r\n",
            b"-1\r\nx\r\n0\r\n\r\n",
            b"1\nx\r\n0\r\n\r\n",
            b"1\r\nxx\r\n0\r\n\r\n",
            b"1\r\nx\n0\r\n\r\n",
            &line,
            &trailers,
        ] {
            assert_eq!(read(&[sent]), Err(Invalid), "{:?}", String::from_utf8_lossy(sent));
        }
    }
}
