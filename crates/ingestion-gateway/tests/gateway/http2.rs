//! HTTP/2 connections of peers that write exactly the frames that a test gives them. No client
//! library behaves like this.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::program::PATIENCE;

pub(crate) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

pub(crate) const DATA: u8 = 0;
pub(crate) const HEADERS: u8 = 1;
pub(crate) const RST_STREAM: u8 = 3;
pub(crate) const SETTINGS: u8 = 4;
pub(crate) const PUSH_PROMISE: u8 = 5;
pub(crate) const PING: u8 = 6;
pub(crate) const GOAWAY: u8 = 7;
pub(crate) const WINDOW_UPDATE: u8 = 8;
pub(crate) const CONTINUATION: u8 = 9;

pub(crate) const END_STREAM: u8 = 1;
pub(crate) const END_HEADERS: u8 = 4;

/// The length of the head of a frame, in bytes.
const FRAME_HEAD: usize = 9;

/// HPACK's code for a header whose name and value both follow.
const LITERAL: u8 = 0x00;

/// HPACK's code for `:status: 200`.
const STATUS_200: u8 = 0x88;

/// A peer that has sent its preface and its settings. It answers no ping, and confirms nothing.
pub(crate) struct Peer(TcpStream);

/// What the gateway does with a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// It answers with 200.
    Accepted,
    /// It answers with another status.
    Refused,
    /// It resets the stream with this error code.
    Reset(u32),
    /// It ends the connection, with or without `GOAWAY`.
    Closed,
}

impl Peer {
    /// Connects, and waits for the settings of the gateway.
    pub(crate) async fn connect(address: &str) -> Self {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(PREFACE).await.unwrap();
        stream.write_all(&frame(SETTINGS, 0, 0, &[])).await.unwrap();
        let mut peer = Self(stream);
        assert_eq!(peer.read_frame().await.map(|frame| frame.kind), Some(SETTINGS));
        peer
    }

    /// Opens a stream with a request whose body never comes.
    pub(crate) async fn open_stream(&mut self, path: &str, authorization: &str) {
        let headers = [
            (":method", "POST"),
            (":scheme", "http"),
            (":path", path),
            ("content-type", "application/json"),
            ("authorization", authorization),
        ];
        assert!(self.write(HEADERS, END_HEADERS, 1, &block(&headers)).await);
    }

    /// Writes a frame. Returns whether the connection still takes bytes.
    pub(crate) async fn write(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) -> bool {
        self.write_bytes(&frame(kind, flags, stream, payload)).await
    }

    /// Does the same with bytes that may be anything.
    pub(crate) async fn write_bytes(&mut self, bytes: &[u8]) -> bool {
        timeout(PATIENCE, self.0.write_all(bytes)).await.unwrap().is_ok()
    }

    /// Reads until the gateway says that it goes away. Returns whether it said so before the end of
    /// the connection.
    pub(crate) async fn is_sent_away(&mut self) -> bool {
        while let Some(frame) = self.read_frame().await {
            if frame.kind == GOAWAY {
                return true;
            }
        }
        false
    }

    /// Reads until a frame with the headers of a response. Returns whether one came.
    pub(crate) async fn is_answered(&mut self) -> bool {
        while let Some(frame) = self.read_frame().await {
            if frame.kind == HEADERS {
                return true;
            }
        }
        false
    }

    /// Reads until the gateway has answered or reset this stream, or has ended the connection.
    pub(crate) async fn outcome(&mut self, stream: u32) -> Outcome {
        let read = async {
            while let Some(frame) = self.read_frame().await {
                match frame.kind {
                    GOAWAY => return Outcome::Closed,
                    RST_STREAM if frame.stream == stream => {
                        let code = <[u8; 4]>::try_from(&frame.payload[..4]).unwrap();
                        return Outcome::Reset(u32::from_be_bytes(code));
                    }
                    HEADERS if frame.stream == stream => return frame.outcome(),
                    _ => {}
                }
            }
            Outcome::Closed
        };
        timeout(PATIENCE, read).await.expect("the gateway does something with the stream")
    }

    /// Reads until the end of the connection.
    pub(crate) async fn wait_for_end(&mut self) {
        let end = async { while self.read_frame().await.is_some() {} };
        timeout(PATIENCE, end).await.expect("the gateway ends the connection");
    }

    /// Reads a frame, or `None` at the end of the connection.
    async fn read_frame(&mut self) -> Option<Frame> {
        let mut head = [0; FRAME_HEAD];
        self.0.read_exact(&mut head).await.ok()?;
        let [_, _, _, kind, _, stream @ ..] = head;
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        let mut payload = vec![0; length as usize];
        self.0.read_exact(&mut payload).await.ok()?;
        Some(Frame { kind, stream: u32::from_be_bytes(stream), payload })
    }
}

struct Frame {
    kind: u8,
    stream: u32,
    payload: Vec<u8>,
}

impl Frame {
    /// Reads the status, which is the first header of a response.
    fn outcome(&self) -> Outcome {
        match self.payload.first() {
            Some(&STATUS_200) => Outcome::Accepted,
            _ => Outcome::Refused,
        }
    }
}

/// Encodes headers without a table and without compression.
pub(crate) fn block(headers: &[(&str, &str)]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in headers {
        block.push(LITERAL);
        push(&mut block, name.as_bytes());
        push(&mut block, value.as_bytes());
    }
    block
}

/// Adds a string of HPACK.
fn push(block: &mut Vec<u8>, text: &[u8]) {
    /// The largest length that fits into the first byte.
    const SHORT: usize = 127;
    match text.len().checked_sub(SHORT) {
        None => block.push(u8::try_from(text.len()).unwrap()),
        Some(mut rest) => {
            block.push(127);
            while rest >= 128 {
                block.push(u8::try_from(rest % 128).unwrap() | 128);
                rest /= 128;
            }
            block.push(u8::try_from(rest).unwrap());
        }
    }
    block.extend_from_slice(text);
}

pub(crate) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut frame = length[1..].to_vec();
    frame.extend([kind, flags]);
    frame.extend(stream.to_be_bytes());
    frame.extend_from_slice(payload);
    frame
}
