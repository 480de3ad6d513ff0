//! Clients that send exactly the bytes that they are given, and return everything that they
//! receive.

use std::net::SocketAddr;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Version};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

/// A request to be sent.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    pub(crate) method: Method,
    pub(crate) path: String,
    pub(crate) headers: Vec<(&'static str, Vec<u8>)>,
    pub(crate) body: Vec<u8>,
}

/// A response that was received. Its headers are sorted by name, and `date` is left out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
    pub(crate) trailers: Option<HeaderMap>,
}

impl Call {
    pub(crate) fn post(path: &str) -> Self {
        Self {
            method: Method::POST,
            path: path.to_owned(),
            headers: Vec::new(),
            body: b"{}".to_vec(),
        }
    }

    /// Makes a gRPC request that exports no traces.
    pub(crate) fn grpc() -> Self {
        let mut call = Self::post("/opentelemetry.proto.collector.trace.v1.TraceService/Export");
        call.body = vec![0; 5];
        call.header("content-type", "application/grpc").header("te", "trailers")
    }

    pub(crate) fn header(mut self, name: &'static str, value: impl AsRef<[u8]>) -> Self {
        self.headers.push((name, value.as_ref().to_vec()));
        self
    }

    pub(crate) fn method(self, method: Method) -> Self {
        Self { method, ..self }
    }
}

impl Answer {
    fn new(
        status: u16,
        headers: impl Iterator<Item = (String, String)>,
        body: Vec<u8>,
        trailers: Option<HeaderMap>,
    ) -> Self {
        let mut headers: Vec<_> = headers.filter(|(name, _)| name != "date").collect();
        // The sort is stable, so that several values of one header keep their order.
        headers.sort_by(|one, other| one.0.cmp(&other.0));
        Self { status, headers, body, trailers }
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|header| header.0 == name).map(|header| header.1.as_str())
    }

    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }
}

/// Opens a connection that sends small writes without delay.
async fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).await.unwrap();
    stream.set_nodelay(true).unwrap();
    stream
}

/// A connection of HTTP/1 to which the tests write bytes themselves.
pub(crate) struct Http1(BufReader<TcpStream>);

impl Http1 {
    pub(crate) async fn connect(address: SocketAddr) -> Self {
        Self(BufReader::new(connect(address).await))
    }

    pub(crate) async fn call(&mut self, call: &Call) -> Answer {
        let length = call.body.len().to_string();
        let mut bytes = head(&call.clone().header("content-length", length), Version::HTTP_11);
        bytes.extend_from_slice(&call.body);
        self.write(&bytes).await;
        self.read_answer().await
    }

    pub(crate) async fn write(&mut self, bytes: &[u8]) {
        self.try_write(bytes).await.unwrap();
    }

    pub(crate) async fn try_write(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.0.get_mut().write_all(bytes).await
    }

    /// Reads a response. If the response has no `content-length`, its body ends when the connection
    /// ends.
    pub(crate) async fn read_answer(&mut self) -> Answer {
        let (status, headers) = self.read_head().await;
        let mut body = Vec::new();
        match headers.iter().find(|(name, _)| name == "content-length") {
            Some((_, length)) => {
                body.resize(length.parse().unwrap(), 0);
                self.0.read_exact(&mut body).await.unwrap();
            }
            None => _ = self.0.read_to_end(&mut body).await.unwrap(),
        }
        Answer::new(status, headers.into_iter(), body, None)
    }

    /// Reads the status and the headers of a response, which may be an informational one such as
    /// `100`.
    pub(crate) async fn read_head(&mut self) -> (u16, Vec<(String, String)>) {
        let status = self.read_line().await;
        let status = status
            .split(' ')
            .nth(1)
            .unwrap_or_else(|| panic!("not a status: {status:?}"))
            .parse()
            .unwrap();
        let mut headers = Vec::new();
        loop {
            let line = self.read_line().await;
            match line.split_once(':') {
                Some((name, value)) => {
                    headers.push((name.to_ascii_lowercase(), value.trim().to_owned()))
                }
                None => return (status, headers),
            }
        }
    }

    pub(crate) async fn read_line(&mut self) -> String {
        let mut line = String::new();
        self.0.read_line(&mut line).await.unwrap();
        line.trim_end().to_owned()
    }

    /// Reads until the connection ends, and ignores an error at its end.
    pub(crate) async fn read_to_end(&mut self) -> Vec<u8> {
        let mut bytes = Vec::new();
        let _ = self.0.read_to_end(&mut bytes).await;
        bytes
    }
}

/// Writes the request line and the headers of an HTTP/1 request.
pub(crate) fn head(call: &Call, version: Version) -> Vec<u8> {
    let mut bytes =
        format!("{} {} {version:?}\r\nhost: localhost\r\n", call.method, call.path).into_bytes();
    for (name, value) in &call.headers {
        bytes.extend([name.as_bytes(), b": ", value, b"\r\n"].concat());
    }
    bytes.extend(b"\r\n");
    bytes
}

/// A connection that speaks HTTP/2 from its first byte, without an upgrade.
pub(crate) struct Http2(http2::SendRequest<Full<Bytes>>);

impl Http2 {
    pub(crate) async fn connect(address: SocketAddr) -> Self {
        let stream = TokioIo::new(connect(address).await);
        let (sender, connection) = http2::handshake(TokioExecutor::new(), stream).await.unwrap();
        tokio::spawn(connection);
        Self(sender)
    }

    pub(crate) async fn call(&mut self, call: &Call) -> Answer {
        self.try_call(call).await.unwrap()
    }

    pub(crate) async fn try_call(&mut self, call: &Call) -> Result<Answer, hyper::Error> {
        let mut request = Request::new(Full::new(Bytes::from(call.body.clone())));
        *request.method_mut() = call.method.clone();
        *request.uri_mut() = format!("http://localhost{}", call.path).parse().unwrap();
        for (name, value) in &call.headers {
            request
                .headers_mut()
                .append(HeaderName::from_static(name), HeaderValue::from_bytes(value).unwrap());
        }
        self.0.ready().await?;
        let (parts, body) = self.0.send_request(request).await?.into_parts();
        let headers = parts
            .headers
            .iter()
            .map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned()));
        let body = body.collect().await?;
        let trailers = body.trailers().cloned();
        Ok(Answer::new(parts.status.as_u16(), headers, body.to_bytes().to_vec(), trailers))
    }
}
