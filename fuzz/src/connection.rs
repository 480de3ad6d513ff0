//! A connection to a listener: writes bytes, and reads responses of HTTP/1.1.

use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

/// The time after which a response counts as lost. It is long, because the machine may be busy.
const PATIENCE: Duration = Duration::from_secs(30);

/// A connection that is opened again when it is closed.
#[derive(Debug)]
pub(crate) struct Connection {
    address: SocketAddr,
    stream: Option<BufReader<TcpStream>>,
}

/// A response of HTTP/1.1.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: Vec<u8>,
}

impl Connection {
    pub(crate) fn new(address: SocketAddr) -> Self {
        Self { address, stream: None }
    }

    /// Sends a request and reads its response. If the server has closed the connection since the
    /// last response, the request is sent on a new connection.
    pub(crate) fn call(&mut self, request: &[u8]) -> io::Result<Answer> {
        if let Some(stream) = self.stream.take()
            && let Ok(answer) = self.call_on(stream, request)
        {
            return Ok(answer);
        }
        self.call_on(BufReader::new(connect(self.address)?), request)
    }

    fn call_on(&mut self, mut stream: BufReader<TcpStream>, request: &[u8]) -> io::Result<Answer> {
        stream.get_mut().write_all(request)?;
        let (answer, is_reusable) = read_answer(&mut stream)?;
        self.stream = is_reusable.then_some(stream);
        Ok(answer)
    }
}

/// Writes all bytes to a new connection, ends the writing side, and returns what the server writes
/// until it closes the connection.
///
/// # Errors
///
/// When the server does not close the connection. A connection that the server resets has ended,
/// too.
pub(crate) fn exchange(address: SocketAddr, bytes: &[u8]) -> io::Result<Vec<u8>> {
    let mut stream = connect(address)?;
    // The server may close the connection before it has read everything.
    let _ = stream.write_all(bytes);
    let _ = stream.shutdown(Shutdown::Write);
    let mut read = Vec::new();
    match stream.read_to_end(&mut read) {
        Err(error)
            if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) =>
        {
            Err(error)
        }
        _ => Ok(read),
    }
}

fn connect(address: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    Ok(stream)
}

/// Reads a response. Also returns whether the connection can carry another request.
fn read_answer(stream: &mut BufReader<TcpStream>) -> io::Result<(Answer, bool)> {
    let invalid = |what: &str| io::Error::new(io::ErrorKind::InvalidData, what.to_owned());
    let mut line = String::new();
    stream.read_line(&mut line)?;
    let status = line.split(' ').nth(1).and_then(|status| status.parse().ok());
    let status = status.ok_or_else(|| invalid(&format!("not a status line: {line:?}")))?;
    let (mut length, mut is_chunked, mut is_reusable) = (0, false, true);
    loop {
        line.clear();
        stream.read_line(&mut line)?;
        let header = line.trim_end().to_ascii_lowercase();
        match header.split_once(": ") {
            Some(("content-length", value)) => {
                length = value.parse().map_err(|_| invalid("content-length"))?;
            }
            Some(("transfer-encoding", _)) => is_chunked = true,
            Some(("connection", "close")) => is_reusable = false,
            Some(_) => {}
            None => break,
        }
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body)?;
    while is_chunked {
        line.clear();
        stream.read_line(&mut line)?;
        let size = usize::from_str_radix(line.trim_end(), 16).map_err(|_| invalid("a chunk"))?;
        let mut chunk = vec![0; size + 2];
        stream.read_exact(&mut chunk)?;
        body.extend_from_slice(&chunk[..size]);
        is_chunked = size > 0;
    }
    Ok((Answer { status, body }, is_reusable))
}
