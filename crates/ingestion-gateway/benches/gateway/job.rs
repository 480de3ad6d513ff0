//! The request that is sent, and the answer that is expected.

use std::net::SocketAddr;
use std::rc::Rc;

use crate::hpack::Status;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Protocol {
    Grpc,
    Http,
}

/// The request that is sent again and again, and the answer that is expected.
pub(crate) struct Job {
    pub(crate) protocol: Protocol,
    /// The value of `Authorization`.
    pub(crate) credential: String,
    pub(crate) is_gzip: bool,
    pub(crate) http_body: Rc<[u8]>,
    /// The same with the prefix of a gRPC message.
    pub(crate) grpc_body: Rc<[u8]>,
    pub(crate) is_refused: bool,
}

impl Job {
    /// Returns the fields of a gRPC request besides the method, the scheme and the authority.
    pub(crate) fn grpc_fields(&self) -> impl Iterator<Item = (&str, &str)> {
        let encoding = self.is_gzip.then_some(("grpc-encoding", "gzip"));
        [
            (":path", "/opentelemetry.proto.collector.trace.v1.TraceService/Export"),
            ("content-type", "application/grpc"),
            ("user-agent", "OpenTelemetry Collector/1.0.0 (linux/amd64) grpc-go/1.80.0"),
            ("te", "trailers"),
            ("grpc-accept-encoding", "gzip"),
            ("authorization", &self.credential),
        ]
        .into_iter()
        .chain(encoding)
    }

    /// Returns a whole request over HTTP/1.1.
    pub(crate) fn http1(&self, address: SocketAddr) -> Rc<[u8]> {
        let encoding = if self.is_gzip { "Content-Encoding: gzip\r\n" } else { "" };
        let head = format!(
            "POST /v1/traces HTTP/1.1\r\nHost: {address}\r\n\
             User-Agent: OpenTelemetry Collector/1.0.0 (linux/amd64)\r\n\
             Content-Length: {}\r\nAuthorization: {}\r\n{encoding}\
             Content-Type: application/x-protobuf\r\nAccept-Encoding: gzip\r\n\r\n",
            self.http_body.len(),
            self.credential,
        );
        [head.as_bytes(), &self.http_body].concat().into()
    }

    pub(crate) fn is_expected_http(&self, status: u16) -> bool {
        if self.is_refused { matches!(status, 401 | 403) } else { status == 200 }
    }

    pub(crate) fn is_expected_grpc(&self, status: Status) -> bool {
        match (status.http, status.grpc) {
            (Some(200), Some(0)) => !self.is_refused,
            // A client reads the status 401 of an answer that is not gRPC as UNAUTHENTICATED.
            (Some(200), Some(16)) | (Some(401 | 403), None | Some(7 | 16)) => self.is_refused,
            _ => false,
        }
    }
}
