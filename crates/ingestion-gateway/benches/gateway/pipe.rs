//! A non-blocking connection with its two buffers.

use std::io::{self, ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::ops::Deref;
use std::os::fd::{AsFd, BorrowedFd};

const BUFFER: usize = 512 * 1024;

pub(crate) struct Pipe {
    tcp: TcpStream,
    input: Input,
    /// What is to be written. A caller appends to it, and [`Pipe::flush`] writes all of it at once.
    pub(crate) out: Vec<u8>,
    written: usize,
    /// The peer has closed the connection, or it broke.
    pub(crate) closed: bool,
}

/// What has been read and not consumed.
#[derive(Default)]
pub(crate) struct Input {
    buffer: Box<[u8]>,
    start: usize,
    end: usize,
}

impl Deref for Input {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.buffer[self.start..self.end]
    }
}

impl Pipe {
    pub(crate) fn connect(address: SocketAddr) -> io::Result<Self> {
        Self::new(TcpStream::connect(address)?)
    }

    pub(crate) fn new(tcp: TcpStream) -> io::Result<Self> {
        tcp.set_nonblocking(true)?;
        tcp.set_nodelay(true)?;
        let input = Input { buffer: vec![0; BUFFER].into_boxed_slice(), start: 0, end: 0 };
        Ok(Self { tcp, input, out: Vec::new(), written: 0, closed: false })
    }

    /// Reads what has arrived, up to the size of the buffer. Returns whether more may be waiting.
    pub(crate) fn fill(&mut self) -> bool {
        let Input { buffer, start, end } = &mut self.input;
        if start == end {
            (*start, *end) = (0, 0);
        } else if *start > BUFFER / 2 {
            buffer.copy_within(*start..*end, 0);
            (*start, *end) = (0, *end - *start);
        }
        let space = &mut buffer[*end..];
        match self.tcp.read(space) {
            Ok(0) => {
                self.closed = true;
                false
            }
            Ok(read) => {
                let more = read == space.len();
                *end += read;
                more
            }
            Err(error) => {
                self.closed |= error.kind() != ErrorKind::WouldBlock;
                false
            }
        }
    }

    /// Moves the input out, so that answers can be written while it is parsed.
    pub(crate) fn take_input(&mut self) -> Input {
        std::mem::take(&mut self.input)
    }

    /// Puts the input back without what has been consumed.
    pub(crate) fn put_input(&mut self, mut input: Input, consumed: usize) {
        input.start += consumed;
        self.input = input;
    }

    pub(crate) fn flush(&mut self) {
        while self.written < self.out.len() {
            match self.tcp.write(&self.out[self.written..]) {
                Ok(written) => self.written += written,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                // What the peer wrote before it closed the connection is still to be read.
                Err(_) => break,
            }
        }
        self.out.clear();
        self.written = 0;
    }
}

impl AsFd for Pipe {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.tcp.as_fd()
    }
}
