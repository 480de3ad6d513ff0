//! Receives OTLP/HTTP requests.

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::request::Parts;
use http::{Method, Request, Response};
use http_body::Body;

use crate::compression::Compression;
use crate::encoding::Encoding;
use crate::payload::Payload;
use crate::refusal::Refusal;
use crate::response::ResponseBody;
use crate::signal::Signal;
use crate::transport::is_grpc;
use crate::{Receiver, Transport, body};

/// Receives one request. A refusal is in JSON if the encoding of the request is unknown.
pub(crate) async fn receive<B>(receiver: &Receiver, request: Request<B>) -> Response<ResponseBody>
where
    B: Body<Data = Bytes> + Send + Unpin + 'static,
{
    let (parts, body) = request.into_parts();
    let encoding = Encoding::of(&parts.headers);
    match export(receiver, &parts, body).await {
        Ok(response) => response,
        Err(refusal) => refusal.http_response(encoding.unwrap_or(Encoding::Json)),
    }
}

async fn export<B>(
    receiver: &Receiver,
    parts: &Parts,
    body: B,
) -> Result<Response<ResponseBody>, Refusal>
where
    B: Body<Data = Bytes> + Send + Unpin + 'static,
{
    let (signal, encoding) = match signal_and_encoding(parts) {
        Ok(known) => known,
        Err(refusal) => {
            body::throw_away_unread(parts, body);
            return Err(refusal);
        }
    };
    let count = move |content: &[u8]| encoding.count(signal, content);
    let items = decode(receiver, parts, body, count).await?;
    receiver.accept(signal, items, Transport::Http, &parts.extensions)?;

    let mut response = Response::new(ResponseBody::full(encoding.success()));
    response.headers_mut().insert(CONTENT_TYPE, encoding.content_type());
    Ok(response)
}

/// Reads the body of any HTTP request, decompresses it as its `content-encoding` says, and calls
/// `decode` with it.
pub(crate) async fn decode<B, T, F>(
    receiver: &Receiver,
    parts: &Parts,
    body: B,
    decode: F,
) -> Result<T, Refusal>
where
    B: Body<Data = Bytes> + Send + Unpin + 'static,
    T: Send + 'static,
    F: Fn(&[u8]) -> Result<T, Refusal> + Send + 'static,
{
    // A length that the head states as too large is refused before the sender writes the body.
    let is_too_large = body.size_hint().lower() > receiver.max_body as u64;
    let compression = match Compression::of_http_body(&parts.headers) {
        Ok(_) if is_too_large => {
            body::throw_away_unread(parts, body);
            return Err(Refusal::TooLarge);
        }
        Ok(compression) => compression,
        Err(refusal) => {
            body::throw_away_unread(parts, body);
            return Err(refusal);
        }
    };
    let mut admitted = receiver.admit(&parts.extensions);
    let count = |_: &[u8], bytes| admitted.count_body_bytes(bytes);
    let content = body::read_while(body, receiver.max_body, count).await?;
    Payload { compression, content, admitted }.decode(decode).await
}

/// Returns what the head of an OTLP/HTTP request says about its message.
fn signal_and_encoding(parts: &Parts) -> Result<(Signal, Encoding), Refusal> {
    let path = parts.uri.path();
    let signal = match (Signal::of_http_path(path), Signal::of_grpc_path(path)) {
        (None, None) => return Err(Refusal::UnknownPath),
        (None, Some(_)) if !is_grpc(&parts.headers) => return Err(Refusal::NotGrpc),
        (Some(signal), _) | (_, Some(signal)) => signal,
    };
    if parts.method != Method::POST {
        return Err(Refusal::NotPost);
    }
    // Over HTTP/2, the content type of gRPC would have made the request a call.
    if is_grpc(&parts.headers) {
        return Err(Refusal::GrpcWithoutHttp2);
    }
    Ok((signal, Encoding::of(&parts.headers)?))
}
