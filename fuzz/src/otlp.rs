//! Feeds the OTLP receiver: protobuf, JSON, compressed bodies and gRPC frames.
//!
//! The same bytes must have the same verdict and the same number of items on both transports, with
//! every compression.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context as TaskContext, Poll};

use anyhow::Result;
use bytes::Bytes;
use fastrand::Rng;
use http::{Request, Version};
use http_body::{Body, Frame};
use http_body_util::BodyExt as _;
use otlp_auth_tests::{COMPRESSIONS, compress, grpc_frame};
use otlp_receiver::{MAX_DECODED_BYTES, Receiver, Signal};
use tokio::runtime::Runtime;
use tower::ServiceExt as _;

use crate::mutate::{mutate, pick};
use crate::samples::{self, SIGNALS};
use crate::target::{Current, Finding, Target, check};

/// The statuses that a complete OTLP/HTTP request may get.
const HTTP_STATUSES: [u16; 6] = [200, 400, 404, 405, 413, 415];

/// The statuses that an OTLP/gRPC request may get: `OK`, `INVALID_ARGUMENT`, `RESOURCE_EXHAUSTED`,
/// `UNIMPLEMENTED`, `INTERNAL` for what is not compressed or framed as it says, and `UNAVAILABLE`
/// for a message that ends early.
const GRPC_STATUSES: [u16; 6] = [0, 3, 8, 12, 13, 14];

/// One in so many inputs is a request that becomes very large.
const BOMBS: u32 = 2000;

/// Parts of protobuf and JSON.
const WORDS: &[&[u8]] = &[
    b"\x0a\x00",
    b"\x12\x00",
    b"\x0a\xff\xff\xff\xff\x0f",
    b"\x0b",
    b"\x0c",
    b"\x1b",
    b"\x7a\x01a",
    b"{}",
    b"[]",
    b"null",
    b"1e999",
    b"\"\\ud83d\"",
    b"\"resourceSpans\":",
    b"\"scopeSpans\":[",
    b"\"spans\":",
    b"\"dataPoints\":[{}]",
    b"\xef\xbb\xbf",
    b"\x1f\x8b\x08",
    b"\x28\xb5\x2f\xfd",
    b"\x50\x2a\x4d\x18\x08\x00\x00\x00",
    b"\xff\x06\x00\x00sNaPpY",
];

/// The receiver, and what its sink has counted.
pub(crate) struct Otlp {
    runtime: Runtime,
    receiver: Receiver,
    items: Arc<AtomicUsize>,
    /// Compressed requests that have exactly as many bytes as is allowed, and some more.
    bombs: Vec<Bomb>,
}

struct Bomb {
    coding: &'static str,
    compressed: Vec<u8>,
    is_allowed: bool,
}

/// The answer to a request: whether and with how many items it was accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Answer {
    status: u16,
    items: Option<usize>,
}

/// The encoding of a request.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Content {
    Protobuf,
    Json,
}

impl Otlp {
    pub(crate) fn new(name: &str) -> Result<Self> {
        let items = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&items);
        let receiver = Receiver::new(move |batch| {
            counted.store(batch.items, Ordering::Relaxed);
            Ok(())
        });
        let mut bombs = Vec::new();
        for coding in COMPRESSIONS {
            for is_allowed in [true, false] {
                // Empty resources have two bytes each.
                let resources = MAX_DECODED_BYTES / 2 + usize::from(!is_allowed);
                let compressed = compress(coding, &b"\x0a\x00".repeat(resources))?;
                bombs.push(Bomb { coding, compressed, is_allowed });
            }
        }
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_all().thread_name(name).build()?;
        Ok(Self { runtime, receiver, items, bombs })
    }

    fn http(
        &self,
        path: &str,
        content: Content,
        coding: &str,
        body: Chunks,
    ) -> Result<Answer, Finding> {
        let content_type = match content {
            Content::Protobuf => "application/x-protobuf",
            Content::Json => "application/json",
        };
        let request = Request::post(path)
            .header("content-type", content_type)
            .header("content-encoding", coding);
        let request = request.body(body).map_err(|error| error.to_string())?;
        self.answer(request, &HTTP_STATUSES)
    }

    fn grpc(&self, path: &str, coding: &str, body: Chunks) -> Result<Answer, Finding> {
        let request = Request::post(path)
            .version(Version::HTTP_2)
            .header("content-type", "application/grpc")
            .header("te", "trailers")
            .header("grpc-encoding", coding);
        let request = request.body(body).map_err(|error| error.to_string())?;
        self.answer(request, &GRPC_STATUSES)
    }

    fn answer(&self, request: Request<Chunks>, table: &[u16]) -> Result<Answer, Finding> {
        let shown = format!("{:?}", request.headers());
        let is_grpc = table == GRPC_STATUSES;
        let status = self.runtime.block_on(async {
            let Ok(response) = self.receiver.clone().oneshot(request).await;
            let (parts, body) = response.into_parts();
            let body = body.collect().await.map_err(|error| format!("the answer: {error}"))?;
            if !is_grpc {
                return Ok(parts.status.as_u16());
            }
            let trailers = body.trailers().and_then(|trailers| trailers.get("grpc-status"));
            let status = parts.headers.get("grpc-status").or(trailers);
            let status = status.and_then(|status| status.to_str().ok()?.parse().ok());
            status.ok_or_else(|| format!("no grpc-status in {parts:?}"))
        })?;
        let is_accepted = status == if is_grpc { 0 } else { 200 };
        let items = is_accepted.then(|| self.items.load(Ordering::Relaxed));
        check(table.contains(&status), || format!("answered {status} for {shown}"))?;
        // An item has at least two bytes in both encodings.
        check(items.is_none_or(|items| items <= MAX_DECODED_BYTES / 2), || {
            format!("{items:?} items are more than fit into the limit")
        })?;
        Ok(Answer { status, items })
    }

    /// The same content must be accepted or refused with every compression on both transports.
    fn check_content(
        &self,
        rng: &mut Rng,
        current: &Current,
        signal: usize,
        content: Content,
        plain: &[u8],
    ) -> Result<(), Finding> {
        let (signal, http_path, grpc_path) = SIGNALS[signal];
        current.set(plain);
        let expected = self.http(http_path, content, "", Chunks::new(rng, plain))?;
        if expected.items.is_some() {
            current.accept();
        }
        if content == Content::Protobuf {
            let decoded = samples::decoded_items(signal, Bytes::copy_from_slice(plain));
            check(decoded.is_none() || decoded == expected.items, || {
                format!("{expected:?}, but another decoder finds {decoded:?} items")
            })?;
            let grpc =
                self.grpc(grpc_path, "identity", Chunks::new(rng, &grpc_frame(false, plain)))?;
            same("plain", expected, grpc)?;
        }
        let coding = *pick(rng, &COMPRESSIONS);
        let compressed = compress(coding, plain).map_err(|error| error.to_string())?;
        if compressed.is_empty() {
            // Nothing in the framed format of snappy is no bytes, which are not a compressed body.
            return Ok(());
        }
        let http = self.http(http_path, content, coding, Chunks::new(rng, &compressed))?;
        check(http == expected, || format!("{expected:?} plain, {http:?} in {coding}"))?;
        if content == Content::Protobuf {
            let framed = grpc_frame(true, &compressed);
            same(coding, expected, self.grpc(grpc_path, coding, Chunks::new(rng, &framed))?)?;
        }
        Ok(())
    }

    /// Compressed bytes that were changed must have the same verdict on both transports.
    fn check_compressed(
        &self,
        rng: &mut Rng,
        current: &Current,
        signal: usize,
        plain: &[u8],
    ) -> Result<(), Finding> {
        let (_, http_path, grpc_path) = SIGNALS[signal];
        let coding = *pick(rng, &COMPRESSIONS);
        let mut compressed = compress(coding, plain).map_err(|error| error.to_string())?;
        mutate(rng, &mut compressed, WORDS);
        current.set(&compressed);
        let http =
            self.http(http_path, Content::Protobuf, coding, Chunks::new(rng, &compressed))?;
        let framed = grpc_frame(true, &compressed);
        same(coding, http, self.grpc(grpc_path, coding, Chunks::new(rng, &framed))?)
    }

    /// Frames that were changed must get an answer of the table.
    fn check_frames(
        &self,
        rng: &mut Rng,
        current: &Current,
        signal: usize,
        plain: &[u8],
    ) -> Result<(), Finding> {
        let coding = *pick(rng, &["", "identity", "gzip", "lz4", "snappy", "br", "gzip,gzip"]);
        let content = match compress(coding, plain) {
            Ok(compressed) if rng.bool() => compressed,
            _ => plain.to_owned(),
        };
        let mut framed = grpc_frame(rng.bool(), &content);
        if rng.bool() {
            framed.truncate(rng.usize(..=5));
        }
        mutate(rng, &mut framed, WORDS);
        current.set(&framed);
        self.grpc(SIGNALS[signal].2, coding, Chunks::new(rng, &framed)).map(drop)
    }

    /// A request of the largest allowed size is accepted, and a larger one is refused.
    fn check_bomb(&self, rng: &mut Rng, current: &Current) -> Result<(), Finding> {
        let Bomb { coding, compressed, is_allowed } = pick(rng, &self.bombs);
        let (_, http_path, grpc_path) = *pick(rng, &SIGNALS);
        current.set(compressed);
        let (answer, refused) = if rng.bool() {
            let body = Chunks::new(rng, compressed);
            (self.http(http_path, Content::Protobuf, coding, body)?, 413)
        } else {
            (self.grpc(grpc_path, coding, Chunks::new(rng, &grpc_frame(true, compressed)))?, 8)
        };
        let is_right = match is_allowed {
            true => answer.items == Some(0),
            false => answer.status == refused,
        };
        check(is_right, || format!("{coding}, allowed: {is_allowed}: {answer:?}"))
    }
}

impl Target for Otlp {
    fn run(&mut self, rng: &mut Rng, current: &Current) -> Result<(), Finding> {
        if rng.u32(..BOMBS) == 0 {
            return self.check_bomb(rng, current);
        }
        let index = rng.usize(..SIGNALS.len());
        let signal = SIGNALS[index].0;
        let request = samples::request(rng, signal);
        let mut plain = protobuf(signal, &request)?;
        match rng.u8(..8) {
            0..=2 => {
                if rng.u8(..8) > 0 {
                    mutate(rng, &mut plain, WORDS);
                }
                self.check_content(rng, current, index, Content::Protobuf, &plain)
            }
            3 | 4 => {
                let mut text = request.to_string().into_bytes();
                mutate(rng, &mut text, WORDS);
                self.check_content(rng, current, index, Content::Json, &text)
            }
            5 | 6 => self.check_compressed(rng, current, index, &plain),
            _ => self.check_frames(rng, current, index, &plain),
        }
    }
}

fn protobuf(signal: Signal, request: &serde_json::Value) -> Result<Vec<u8>, Finding> {
    samples::protobuf(signal, request).map_err(|error| format!("a sample is not valid: {error}"))
}

/// Checks that both transports accept the same items, or refuse for the same reason.
fn same(coding: &str, http: Answer, grpc: Answer) -> Result<(), Finding> {
    let expected = match http.status {
        200 => 0,
        400 if grpc.status == 13 => 13,
        400 => 3,
        413 => 8,
        _ => 12,
    };
    check(grpc.status == expected && grpc.items == http.items, || {
        format!("{coding}: {http:?} over HTTP, {grpc:?} over gRPC")
    })
}

/// A body that arrives in several chunks.
struct Chunks(VecDeque<Bytes>);

impl Chunks {
    fn new(rng: &mut Rng, body: &[u8]) -> Self {
        let body = Bytes::copy_from_slice(body);
        let (first, second) = (rng.usize(..=body.len()), rng.usize(..=body.len()));
        let (first, second) = (first.min(second), first.max(second));
        Self([body.slice(..first), body.slice(first..second), body.slice(second..)].into())
    }
}

impl Body for Chunks {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _cx: &mut TaskContext<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(self.0.pop_front().map(|chunk| Ok(Frame::data(chunk))))
    }
}
