//! HTTP/2 connections of peers that do as little as the protocol allows. No client library behaves
//! like this.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const HEADERS: u8 = 1;
const SETTINGS: u8 = 4;
const GOAWAY: u8 = 7;
const END_HEADERS: u8 = 4;

/// The length of the head of a frame, in bytes.
const FRAME_HEAD: usize = 9;

/// A peer that has sent its preface and its settings. It answers no ping, and confirms nothing.
pub(crate) struct Peer(TcpStream);

impl Peer {
    /// Connects, and waits for the settings of the gateway.
    pub(crate) async fn connect(address: &str) -> Self {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await.unwrap();
        stream.write_all(&frame(SETTINGS, 0, 0, &[])).await.unwrap();
        let mut peer = Self(stream);
        assert_eq!(peer.read_frame().await, Some(SETTINGS));
        peer
    }

    /// Opens a stream with a request whose body never comes.
    pub(crate) async fn open_stream(&mut self, path: &str, authorization: &str) {
        // HPACK's static table has `:method: POST`, `:scheme: http` and the name of `:path`.
        let mut block = vec![0x83, 0x86, 0x04];
        push(&mut block, path);
        for (name, value) in
            [("content-type", "application/json"), ("authorization", authorization)]
        {
            block.push(0x00);
            push(&mut block, name);
            push(&mut block, value);
        }
        self.0.write_all(&frame(HEADERS, END_HEADERS, 1, &block)).await.unwrap();
    }

    /// Reads until the gateway says that it goes away. Returns whether it said so before the end of
    /// the connection.
    pub(crate) async fn is_sent_away(&mut self) -> bool {
        while let Some(kind) = self.read_frame().await {
            if kind == GOAWAY {
                return true;
            }
        }
        false
    }

    /// Reads until a frame with the headers of a response. Returns whether one came.
    pub(crate) async fn is_answered(&mut self) -> bool {
        while let Some(kind) = self.read_frame().await {
            if kind == HEADERS {
                return true;
            }
        }
        false
    }

    /// Reads a frame and returns its type, or `None` at the end of the connection.
    async fn read_frame(&mut self) -> Option<u8> {
        let mut head = [0; FRAME_HEAD];
        self.0.read_exact(&mut head).await.ok()?;
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        let mut payload = vec![0; length as usize];
        self.0.read_exact(&mut payload).await.ok()?;
        Some(head[3])
    }
}

/// Adds a string of HPACK, which has fewer than 127 bytes.
fn push(block: &mut Vec<u8>, text: &str) {
    block.push(u8::try_from(text.len()).unwrap());
    block.extend_from_slice(text.as_bytes());
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut frame = length[1..].to_vec();
    frame.extend([kind, flags]);
    frame.extend(stream.to_be_bytes());
    frame.extend_from_slice(payload);
    frame
}
