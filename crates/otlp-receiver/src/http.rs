//! Receives OTLP/HTTP requests.

use http::header::CONTENT_TYPE;
use http::{Method, Request, Response};
use tonic::body::Body;

use crate::encoding::Encoding;
use crate::refusal::Refusal;
use crate::response::ResponseBody;
use crate::signal::Signal;
use crate::{Receiver, Transport, body, compression};

/// Receives one request. A refusal is in JSON if the encoding of the request is unknown.
pub(crate) async fn receive(receiver: &Receiver, request: Request<Body>) -> Response<ResponseBody> {
    let encoding = Encoding::of(request.headers());
    match export(receiver, encoding, request).await {
        Ok(response) => response,
        Err(refusal) => refusal.http_response(encoding.unwrap_or(Encoding::Json)),
    }
}

async fn export(
    receiver: &Receiver,
    encoding: Result<Encoding, Refusal>,
    request: Request<Body>,
) -> Result<Response<ResponseBody>, Refusal> {
    let (parts, body) = request.into_parts();
    let signal = Signal::of_http_path(parts.uri.path()).ok_or(Refusal::UnknownPath)?;
    if parts.method != Method::POST {
        return Err(Refusal::NotPost);
    }
    let encoding = encoding?;
    let body = body::read(body, receiver.max_body).await?;
    // There is no await between decompressing and counting. Therefore each worker thread has at
    // most one decompressed body at a time.
    let content = compression::decompress(&parts.headers, body)?;
    let items = encoding.count(signal, content)?;
    receiver.accept(signal, items, Transport::Http, &parts.extensions)?;

    let mut response = Response::new(ResponseBody::full(encoding.success()));
    response.headers_mut().insert(CONTENT_TYPE, encoding.content_type());
    Ok(response)
}
