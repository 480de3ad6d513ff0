//! An HTTP client that never repeats a request, so that a test knows which requests were answered.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};

use otlp_auth_tests::PATIENCE;
use tokio::net::TcpSocket;

/// A connection to one listener. It is opened when the first request is sent.
#[derive(Debug)]
pub(crate) struct Client {
    address: SocketAddr,
    /// The address of this client. The system chooses the address if there is none.
    source: Option<IpAddr>,
    connection: Option<BufReader<TcpStream>>,
}

/// A response.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: String,
    pub(crate) retry_after: Option<String>,
}

impl Client {
    pub(crate) fn new(address: SocketAddr) -> Self {
        Self { address, source: None, connection: None }
    }

    /// Sends from this address of the machine.
    pub(crate) fn from(self, source: IpAddr) -> Self {
        Self { source: Some(source), ..self }
    }

    pub(crate) fn call(&mut self, request: &[u8]) -> io::Result<Answer> {
        self.send(request)?;
        self.receive()
    }

    /// Sends one or several requests without waiting for the responses.
    pub(crate) fn send(&mut self, requests: &[u8]) -> io::Result<()> {
        if self.connection.is_none() {
            let stream = connect(self.address, self.source)?;
            stream.set_nodelay(true)?;
            stream.set_read_timeout(Some(PATIENCE))?;
            self.connection = Some(BufReader::new(stream));
        }
        self.on_connection(|connection| connection.get_mut().write_all(requests))
    }

    /// Waits for the next response.
    pub(crate) fn receive(&mut self) -> io::Result<Answer> {
        self.on_connection(read_answer)
    }

    /// Sends a request for each key, several at a time, and returns the statuses of the responses.
    pub(crate) fn statuses(
        &mut self,
        keys: &[&str],
        request: impl Fn(&str) -> Vec<u8>,
    ) -> Vec<u16> {
        // This many responses fit into the buffers of a connection. With more, the gateway would
        // wait until this client reads, while the client still writes.
        const AT_A_TIME: usize = 100;
        let mut statuses = Vec::with_capacity(keys.len());
        for keys in keys.chunks(AT_A_TIME) {
            self.send(&keys.iter().flat_map(|key| request(key)).collect::<Vec<_>>())
                .expect("requests");
            statuses.extend(keys.iter().map(|_| self.receive().expect("an answer").status));
        }
        statuses
    }

    fn on_connection<T>(
        &mut self,
        act: impl FnOnce(&mut BufReader<TcpStream>) -> io::Result<T>,
    ) -> io::Result<T> {
        let connection = self.connection.as_mut().ok_or(io::ErrorKind::NotConnected)?;
        act(connection).inspect_err(|_| self.connection = None)
    }
}

fn connect(address: SocketAddr, source: Option<IpAddr>) -> io::Result<TcpStream> {
    let Some(source) = source else { return TcpStream::connect(address) };
    // The standard library cannot choose the address of a client.
    let stream =
        tokio::runtime::Builder::new_current_thread().enable_io().build()?.block_on(async {
            let socket = TcpSocket::new_v4()?;
            socket.bind((source, 0).into())?;
            socket.connect(address).await?.into_std()
        })?;
    stream.set_nonblocking(false)?;
    Ok(stream)
}

pub(crate) fn request(method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Vec<u8> {
    request_with(method, path, headers, body.as_bytes())
}

/// Does the same as [`request`] with a body that is not text.
pub(crate) fn request_with(
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> Vec<u8> {
    let headers: String =
        headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    let head = format!(
        "{method} {path} HTTP/1.1\r\nhost: gateway\r\ncontent-length: {}\r\n{headers}\r\n",
        body.len()
    );
    [head.as_bytes(), body].concat()
}

fn read_answer(connection: &mut BufReader<TcpStream>) -> io::Result<Answer> {
    let mut line = String::new();
    let mut next_line = |connection: &mut BufReader<TcpStream>| {
        line.clear();
        match connection.read_line(&mut line)? {
            0 => Err(io::Error::from(io::ErrorKind::UnexpectedEof)),
            _ => Ok(line.trim_end().to_owned()),
        }
    };
    let status = next_line(connection)?;
    let status = status
        .split(' ')
        .nth(1)
        .and_then(|status| status.parse().ok())
        .ok_or(io::ErrorKind::InvalidData)?;
    let (mut length, mut retry_after) = (0, None);
    loop {
        let header = next_line(connection)?;
        match header.split_once(": ") {
            Some(("content-length", value)) => {
                length = value.parse().map_err(|_| io::ErrorKind::InvalidData)?
            }
            Some(("retry-after", value)) => retry_after = Some(value.to_owned()),
            Some(_) => {}
            None => break,
        }
    }
    let mut body = vec![0; length];
    connection.read_exact(&mut body)?;
    Ok(Answer { status, body: String::from_utf8_lossy(&body).into_owned(), retry_after })
}
