//! OTLP/gRPC: the `Export` call of the three services.
//!
//! The services that are generated from the protocol would build every message in memory, and on
//! the thread of the connection. This module reads the only message of a call itself, so that the
//! message takes the same way as the body of an OTLP/HTTP request.

use bytes::Bytes;
use http::request::Parts;
use http::{HeaderName, HeaderValue, Request, Response};
use http_body::Body;

use crate::body::{self, BodyError};
use crate::compression::Compression;
use crate::encoding::Encoding;
use crate::payload::Payload;
use crate::refusal::Refusal;
use crate::response::ResponseBody;
use crate::signal::Signal;
use crate::{Receiver, Transport};

/// The bytes in front of a message: one byte that says whether the message is compressed, and four
/// bytes with its length.
const PREFIX_LENGTH: usize = 5;

const GRPC_ACCEPT_ENCODING: HeaderName = HeaderName::from_static("grpc-accept-encoding");

/// Receives one call.
pub(crate) async fn receive<B>(receiver: &Receiver, request: Request<B>) -> Response<ResponseBody>
where
    B: Body<Data = Bytes> + Send + Unpin + 'static,
{
    let (parts, body) = request.into_parts();
    match export(receiver, &parts, body).await {
        Ok(()) => ResponseBody::grpc_success(),
        Err(refusal) => {
            let mut response = refusal.grpc_response();
            if refusal == Refusal::UnknownCompression
                && let Ok(names) = HeaderValue::try_from(Compression::grpc_accept_encoding())
            {
                response.headers_mut().insert(GRPC_ACCEPT_ENCODING, names);
            }
            response
        }
    }
}

async fn export<B>(receiver: &Receiver, parts: &Parts, body: B) -> Result<(), Refusal>
where
    B: Body<Data = Bytes> + Send + Unpin + 'static,
{
    let call = match Signal::of_grpc_path(parts.uri.path()) {
        Some(signal) => Compression::of_grpc_call(&parts.headers).map(|named| (signal, named)),
        None => Err(Refusal::UnknownCall),
    };
    let (signal, compression) = match call {
        Ok(call) => call,
        Err(refusal) => {
            body::throw_away_unread(parts, body);
            return Err(refusal);
        }
    };
    let mut admitted = receiver.admit(&parts.extensions);
    let limit = receiver.max_body.saturating_add(PREFIX_LENGTH);
    let frame = body::read_while(body, limit, |arrived, bytes| {
        admitted.count_body_bytes(bytes)?;
        match Prefix::of(arrived) {
            Some(prefix) if prefix.length > receiver.max_body => Err(Refusal::TooLarge),
            _ => Ok(()),
        }
    })
    .await?;
    let (content, is_compressed) = only_message(frame)?;
    let compression = match (is_compressed, compression) {
        (false, _) => None,
        (true, Some(compression)) => Some(compression),
        (true, None) => return Err(Refusal::MalformedFrame),
    };
    let count = move |content: &[u8]| Encoding::Protobuf.count(signal, content);
    let items = Payload { compression, content, admitted }.decode(count).await?;
    receiver.accept(signal, items, Transport::Grpc, &parts.extensions)
}

/// What stands in front of a message.
struct Prefix {
    flag: u8,
    length: usize,
}

impl Prefix {
    /// Returns the prefix at the beginning of `frame`, or `None` if it has not arrived.
    fn of(frame: &[u8]) -> Option<Self> {
        let (&[flag, a, b, c, d], _) = frame.split_first_chunk::<PREFIX_LENGTH>()?;
        let length = usize::try_from(u32::from_be_bytes([a, b, c, d])).unwrap_or(usize::MAX);
        Some(Self { flag, length })
    }
}

/// Returns the only message of a call, and whether it is compressed.
fn only_message(mut frame: Bytes) -> Result<(Bytes, bool), Refusal> {
    if frame.is_empty() {
        return Err(Refusal::NotOneMessage);
    }
    let prefix = Prefix::of(&frame).ok_or(BodyError::EndedEarly)?;
    let message = frame.split_off(PREFIX_LENGTH);
    let is_compressed = match prefix.flag {
        0 => false,
        1 => true,
        _ => return Err(Refusal::MalformedFrame),
    };
    match message.len() {
        length if length < prefix.length => Err(Refusal::EndedEarly),
        length if length > prefix.length => Err(Refusal::NotOneMessage),
        _ => Ok((message, is_compressed)),
    }
}
