//! HTTP/2 with prior knowledge, as gRPC uses it: the sender's side and the sink's.
//!
//! The frames are written by hand, because the sender and the sink share one processor: what they
//! cost bounds how many requests a proxy can be given.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Instant;

use crate::hpack::{Blocks, Decoder, Status, blocks};
use crate::job::{Job, Protocol};
use crate::load::{Expected, Tally};
use crate::pipe::Pipe;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;

/// The flag of an acknowledgement, and of the end of a stream.
const ACK: u8 = 1;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
const PADDED: u8 = 8;
const PRIORITY: u8 = 0x20;

/// The code of a reset by a peer that has not looked at the stream.
const REFUSED_STREAM: u32 = 7;

const HEADER_TABLE_SIZE: u16 = 1;
const MAX_CONCURRENT_STREAMS: u16 = 3;
const INITIAL_WINDOW_SIZE: u16 = 4;

const MAX_FRAME: usize = 16_384;
const DEFAULT_WINDOW: i64 = 65_535;

/// The windows that the sink gives: one request fits in the window of its stream.
const STREAM_WINDOW: u32 = 1 << 20;
const CONNECTION_WINDOW: u32 = 16 << 20;

fn frame(out: &mut Vec<u8>, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    out.extend_from_slice(&[length[1], length[2], length[3], kind, flags]);
    out.extend_from_slice(&stream.to_be_bytes());
    out.extend_from_slice(payload);
}

fn settings(out: &mut Vec<u8>, values: &[(u16, u32)]) {
    let mut payload = Vec::new();
    for (name, value) in values {
        payload.extend_from_slice(&name.to_be_bytes());
        payload.extend_from_slice(&value.to_be_bytes());
    }
    frame(out, SETTINGS, 0, 0, &payload);
}

/// A frame that has arrived whole.
#[derive(Clone, Copy)]
struct Frame<'a> {
    kind: u8,
    flags: u8,
    stream: u32,
    payload: &'a [u8],
}

impl<'a> Frame<'a> {
    fn parse(input: &'a [u8]) -> Option<(usize, Self)> {
        let (head, rest) = input.split_at_checked(9)?;
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
        let payload = rest.get(..length)?;
        let stream = u32::from_be_bytes([head[5], head[6], head[7], head[8]]) & 0x7fff_ffff;
        Some((9 + length, Self { kind: head[3], flags: head[4], stream, payload }))
    }

    fn ends_stream(&self) -> bool {
        matches!(self.kind, DATA | HEADERS) && self.flags & END_STREAM != 0
    }

    /// The content of a DATA or HEADERS frame, without padding and priority.
    fn content(&self) -> &'a [u8] {
        let mut content = self.payload;
        if self.flags & PADDED != 0 {
            let padding = usize::from(content[0]);
            content = &content[1..content.len() - padding];
        }
        if self.kind == HEADERS && self.flags & PRIORITY != 0 {
            content = &content[5..];
        }
        content
    }

    fn number(&self) -> u32 {
        self.payload.first_chunk().map_or(0, |bytes| u32::from_be_bytes(*bytes))
    }

    fn settings(&self) -> impl Iterator<Item = (u16, u32)> + 'a {
        let entry = |entry: &[u8]| {
            let value = u32::from_be_bytes([entry[2], entry[3], entry[4], entry[5]]);
            (u16::from_be_bytes([entry[0], entry[1]]), value)
        };
        self.payload.chunks_exact(6).map(entry)
    }
}

/// A connection of a sender.
pub(crate) struct Client {
    pub(crate) pipe: Pipe,
    job: Rc<Job>,
    address: SocketAddr,
    /// Made when the settings of the peer have arrived.
    blocks: Option<Blocks>,
    is_first: bool,
    decoder: Decoder,
    next_stream: u32,
    streams: Vec<Stream>,
    backlog: VecDeque<Instant>,
    window: i64,
    initial_window: i64,
    going_away: bool,
    max_streams: usize,
}

struct Stream {
    id: u32,
    due: Instant,
    sent: usize,
    window: i64,
    status: Status,
}

impl Client {
    pub(crate) fn new(address: SocketAddr, job: &Rc<Job>) -> io::Result<Self> {
        let mut pipe = Pipe::connect(address)?;
        pipe.out.extend_from_slice(PREFACE);
        settings(&mut pipe.out, &[(2, 0)]);
        frame(&mut pipe.out, WINDOW_UPDATE, 0, 0, &0x7000_0000_u32.to_be_bytes());
        pipe.flush();
        Ok(Self {
            pipe,
            job: Rc::clone(job),
            address,
            blocks: None,
            is_first: true,
            decoder: Decoder::default(),
            next_stream: 1,
            streams: Vec::new(),
            backlog: VecDeque::new(),
            window: DEFAULT_WINDOW,
            initial_window: DEFAULT_WINDOW,
            going_away: false,
            max_streams: usize::MAX,
        })
    }

    pub(crate) fn demand(&mut self, due: Instant) {
        self.backlog.push_back(due);
        self.start();
    }

    pub(crate) fn in_flight(&self) -> usize {
        self.streams.len() + self.backlog.len()
    }

    pub(crate) fn take_backlog(&mut self) -> VecDeque<Instant> {
        std::mem::take(&mut self.backlog)
    }

    fn start(&mut self) {
        let Some(blocks) = &self.blocks else { return };
        while self.streams.len() < self.max_streams && !self.going_away {
            let Some(due) = self.backlog.pop_front() else { break };
            let block = if self.is_first { &blocks.first } else { &blocks.later };
            self.is_first = false;
            frame(&mut self.pipe.out, HEADERS, END_HEADERS, self.next_stream, block);
            self.streams.push(Stream {
                id: self.next_stream,
                due,
                sent: 0,
                window: self.initial_window,
                status: Status::default(),
            });
            self.next_stream += 2;
        }
        self.send();
    }

    /// Sends as much of the bodies as the windows allow.
    fn send(&mut self) {
        let body = &self.job.grpc_body;
        for stream in &mut self.streams {
            while stream.sent < body.len() {
                let left = (body.len() - stream.sent).min(MAX_FRAME) as i64;
                let now = left.min(stream.window).min(self.window);
                if now <= 0 {
                    break;
                }
                let end = stream.sent + now as usize;
                let flags = if end == body.len() { END_STREAM } else { 0 };
                frame(&mut self.pipe.out, DATA, flags, stream.id, &body[stream.sent..end]);
                stream.sent = end;
                stream.window -= now;
                self.window -= now;
            }
        }
    }

    /// Reads answers. Returns whether the connection can be used for another request.
    pub(crate) fn read(&mut self, tally: &mut Tally) -> bool {
        loop {
            let more = self.pipe.fill();
            let mut consumed = 0;
            let input = self.pipe.take_input();
            while let Some((length, frame)) = Frame::parse(&input[consumed..]) {
                let Frame { kind, flags, stream, payload: _ } = frame;
                consumed += length;
                match kind {
                    HEADERS => {
                        if let Some(status) = self.decoder.decode(frame.content()) {
                            let ended = frame.ends_stream();
                            self.status(stream, status);
                            if ended {
                                self.end(stream, tally);
                            }
                        } else {
                            tally.fail("an answer with a malformed header block");
                        }
                    }
                    DATA if flags & END_STREAM != 0 => self.end(stream, tally),
                    RST_STREAM => {
                        let code = frame.number();
                        if let Some(at) = self.streams.iter().position(|known| known.id == stream) {
                            let stream = self.streams.swap_remove(at);
                            if code == REFUSED_STREAM {
                                self.backlog.push_front(stream.due);
                            } else {
                                tally.fail(&format!("a stream was reset with {code}"));
                            }
                        }
                    }
                    SETTINGS if flags & ACK == 0 => {
                        let values: Vec<_> = frame.settings().collect();
                        self.settings(&values);
                    }
                    PING if flags & ACK == 0 => {
                        let payload: [u8; 8] = frame.payload.try_into().unwrap_or_default();
                        self::frame(&mut self.pipe.out, PING, ACK, 0, &payload);
                    }
                    GOAWAY => {
                        self.going_away = true;
                        // The peer has not looked at later streams. Another connection takes them.
                        let last = frame.number() & 0x7fff_ffff;
                        let unread = self.streams.extract_if(.., |stream| stream.id > last);
                        self.backlog.extend(unread.map(|stream| stream.due));
                    }
                    WINDOW_UPDATE => {
                        let more = i64::from(frame.number());
                        if stream == 0 {
                            self.window += more;
                        } else if let Some(known) =
                            self.streams.iter_mut().find(|known| known.id == stream)
                        {
                            known.window += more;
                        }
                    }
                    _ => {}
                }
            }
            self.pipe.put_input(input, consumed);
            if !more {
                break;
            }
        }
        self.start();
        if self.pipe.closed {
            for _ in self.streams.drain(..) {
                tally.fail("the connection was closed before an answer");
            }
            return false;
        }
        !(self.going_away && self.streams.is_empty())
    }

    fn settings(&mut self, values: &[(u16, u32)]) {
        let mut table = true;
        for &(name, value) in values {
            match name {
                HEADER_TABLE_SIZE => table = value >= 4096,
                MAX_CONCURRENT_STREAMS => self.max_streams = value as usize,
                INITIAL_WINDOW_SIZE => {
                    for stream in &mut self.streams {
                        stream.window += i64::from(value) - self.initial_window;
                    }
                    self.initial_window = i64::from(value);
                }
                _ => {}
            }
        }
        frame(&mut self.pipe.out, SETTINGS, ACK, 0, &[]);
        if self.blocks.is_none() {
            let authority = self.address.to_string();
            let mut fields = vec![(":authority", authority.as_str())];
            fields.extend(self.job.grpc_fields());
            // `:method: POST` and `:scheme: http`.
            self.blocks = Some(blocks(&[3, 6], &fields, table));
        }
    }

    fn status(&mut self, stream: u32, status: Status) {
        if let Some(known) = self.streams.iter_mut().find(|known| known.id == stream) {
            known.status.http = status.http.or(known.status.http);
            known.status.grpc = status.grpc.or(known.status.grpc);
        }
    }

    fn end(&mut self, stream: u32, tally: &mut Tally) {
        let Some(at) = self.streams.iter().position(|known| known.id == stream) else { return };
        let stream = self.streams.swap_remove(at);
        if stream.sent < self.job.grpc_body.len() {
            // The answer needs no more of the body. Clients of gRPC tell so with NO_ERROR.
            frame(&mut self.pipe.out, RST_STREAM, 0, stream.id, &0_u32.to_be_bytes());
        }
        let status = stream.status;
        tally.answer(self.job.is_expected_grpc(status), stream.due, || format!("{status:?}"));
    }
}

/// A connection of the sink.
pub(crate) struct Server {
    pub(crate) pipe: Pipe,
    preface: bool,
    answers: Option<[Blocks; 2]>,
    is_first: bool,
    streams: Vec<(u32, usize)>,
    /// What has been received since the last update of the connection's window.
    received: u32,
}

impl Server {
    pub(crate) fn new(mut pipe: Pipe) -> Self {
        let values = [(MAX_CONCURRENT_STREAMS, 1000), (INITIAL_WINDOW_SIZE, STREAM_WINDOW)];
        settings(&mut pipe.out, &values);
        let more = CONNECTION_WINDOW - DEFAULT_WINDOW as u32;
        frame(&mut pipe.out, WINDOW_UPDATE, 0, 0, &more.to_be_bytes());
        Self {
            pipe,
            preface: false,
            answers: None,
            is_first: true,
            streams: Vec::new(),
            received: 0,
        }
    }

    /// Reads requests and answers them. Returns whether the connection is still open.
    pub(crate) fn read(&mut self, expected: &mut Expected) -> bool {
        loop {
            let more = self.pipe.fill();
            let mut consumed = 0;
            let input = self.pipe.take_input();
            if !self.preface && input.len() >= PREFACE.len() {
                consumed = PREFACE.len();
                self.preface = true;
            }
            while self.preface
                && let Some((length, frame)) = Frame::parse(&input[consumed..])
            {
                let Frame { kind, flags, stream, payload } = frame;
                consumed += length;
                match kind {
                    HEADERS => self.streams.push((stream, 0)),
                    DATA => {
                        self.received += payload.len() as u32;
                        let content = frame.content();
                        if let Some((_, received)) =
                            self.streams.iter_mut().find(|(id, _)| *id == stream)
                        {
                            expected.part(Protocol::Grpc, *received, content);
                            *received += content.len();
                        }
                    }
                    RST_STREAM => {
                        let before = self.streams.len();
                        self.streams.retain(|(id, _)| *id != stream);
                        if self.streams.len() < before {
                            expected.fail("a request was reset at the sink");
                        }
                    }
                    SETTINGS if flags & ACK == 0 => {
                        let table = frame
                            .settings()
                            .all(|(name, value)| name != HEADER_TABLE_SIZE || value >= 4096);
                        if self.answers.is_none() {
                            self.answers = Some(answers(table));
                        }
                        self::frame(&mut self.pipe.out, SETTINGS, ACK, 0, &[]);
                    }
                    PING if flags & ACK == 0 => {
                        let payload: [u8; 8] = payload.try_into().unwrap_or_default();
                        self::frame(&mut self.pipe.out, PING, ACK, 0, &payload);
                    }
                    _ => {}
                }
                let (ends, stream) = (flags & END_STREAM != 0, stream);
                if matches!(kind, DATA | HEADERS) && ends {
                    self.answer(stream, expected);
                }
            }
            self.pipe.put_input(input, consumed);
            if !more {
                break;
            }
        }
        if self.received > CONNECTION_WINDOW / 2 {
            let more = std::mem::take(&mut self.received);
            frame(&mut self.pipe.out, WINDOW_UPDATE, 0, 0, &more.to_be_bytes());
        }
        if self.pipe.closed && !self.streams.is_empty() {
            expected.fail("a request ended early at the sink");
        }
        !self.pipe.closed
    }

    fn answer(&mut self, stream: u32, expected: &mut Expected) {
        let Some(at) = self.streams.iter().position(|(id, _)| *id == stream) else { return };
        let (_, received) = self.streams.swap_remove(at);
        expected.request(Protocol::Grpc, received);
        let Some([head, trailers]) = &self.answers else { return };
        let [head, trailers] = if self.is_first {
            [&head.first, &trailers.first]
        } else {
            [&head.later, &trailers.later]
        };
        self.is_first = false;
        let out = &mut self.pipe.out;
        frame(out, HEADERS, END_HEADERS, stream, head);
        frame(out, DATA, 0, stream, &[0, 0, 0, 0, 2, 0x0a, 0]);
        frame(out, HEADERS, END_HEADERS | END_STREAM, stream, trailers);
    }
}

/// Returns the header and the trailers of every answer of the sink.
fn answers(table: bool) -> [Blocks; 2] {
    // `:status: 200`. After both blocks the table has two entries, the newest first.
    let mut head = blocks(&[8], &[("content-type", "application/grpc")], table);
    let trailers = blocks(&[], &[("grpc-status", "0")], table);
    if table {
        head.later = vec![0x88, 0x80 | 63];
    } else {
        // The writer confirms the size 0 that the reader asked for.
        head.first.insert(0, 0x20);
    }
    [head, trailers]
}
