//! Snappy on OTLP/gRPC. tonic does not know it, so a layer above the channel compresses the
//! messages of requests, and decompresses those of responses.

use std::io::Read;
use std::pin::Pin;
use std::task::{Context, Poll};

use anyhow::{Context as _, bail};
use http::{HeaderMap, HeaderValue, Request, Response};
use http_body_util::{BodyExt, Full, Limited};
use opentelemetry_http::Bytes;
use snap::read::FrameDecoder;
use tonic::body::Body;
use tower::{BoxError, Service};

use super::compression::snappy_frames;

const ENCODING: &str = "grpc-encoding";
const SNAPPY: HeaderValue = HeaderValue::from_static("snappy");

/// The length of the prefix of each gRPC message: a flag that says whether the message is
/// compressed, and the length of the message in four bytes.
const PREFIX_LEN: usize = 5;

/// The size of the largest response that is read, in bytes, compressed and decompressed. It is
/// tonic's limit for a message.
const MAX_RESPONSE_LEN: usize = 4 << 20;

/// Compresses the messages of requests with snappy, in the framing format, as the Collector does.
#[derive(Clone, Debug)]
pub(super) struct GrpcSnappy<S>(pub(super) S);

impl<S> Service<Request<Body>> for GrpcSnappy<S>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = BoxError> + Clone + Send + 'static,
    S::Future: Send,
{
    type Response = Response<Body>;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, BoxError>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        // The clone takes the place of the service that is ready.
        let clone = self.0.clone();
        let mut service = std::mem::replace(&mut self.0, clone);
        Box::pin(async move {
            let (mut parts, body) = request.into_parts();
            let messages = body.collect().await?.to_bytes();
            let compressed = map_messages(&messages, compress)?;
            parts.headers.insert(ENCODING, SNAPPY);
            // Servers in Go answer with the compression of the request.
            parts.headers.insert("grpc-accept-encoding", SNAPPY);
            let request = Request::from_parts(parts, Body::new(Full::new(compressed)));
            let (mut parts, body) = service.call(request).await?.into_parts();
            if parts.headers.get(ENCODING) != Some(&SNAPPY) {
                return Ok(Response::from_parts(parts, body));
            }
            parts.headers.remove(ENCODING);
            let body = Limited::new(body, MAX_RESPONSE_LEN).collect().await?;
            let trailers = body.trailers().cloned();
            let messages = map_messages(&body.to_bytes(), decompress)?;
            Ok(Response::from_parts(parts, whole(messages, trailers)))
        })
    }
}

fn whole(messages: Bytes, trailers: Option<HeaderMap>) -> Body {
    let trailers = std::future::ready(trailers.map(Ok));
    Body::new(Full::new(messages).with_trailers(trailers))
}

/// Converts each message of a body. `convert` gets the flag of a message and its bytes, and returns
/// both as they are to be sent on.
fn map_messages(
    mut body: &[u8],
    convert: impl Fn(u8, &[u8]) -> anyhow::Result<(u8, Vec<u8>)>,
) -> anyhow::Result<Bytes> {
    let mut converted = Vec::with_capacity(body.len());
    while !body.is_empty() {
        let (prefix, rest) = body.split_first_chunk::<PREFIX_LEN>().context("a short message")?;
        let [flag, length @ ..] = *prefix;
        let length = u32::from_be_bytes(length) as usize;
        let (message, rest) = rest.split_at_checked(length).context("a short message")?;
        let (flag, message) = convert(flag, message)?;
        converted.push(flag);
        converted.extend(u32::try_from(message.len())?.to_be_bytes());
        converted.extend(message);
        body = rest;
    }
    Ok(converted.into())
}

fn compress(flag: u8, message: &[u8]) -> anyhow::Result<(u8, Vec<u8>)> {
    if flag != 0 {
        bail!("the message is compressed already");
    }
    Ok((1, snappy_frames(message)?))
}

fn decompress(flag: u8, message: &[u8]) -> anyhow::Result<(u8, Vec<u8>)> {
    if flag == 0 {
        return Ok((0, message.to_vec()));
    }
    let mut decompressed = Vec::new();
    let limit = MAX_RESPONSE_LEN as u64;
    FrameDecoder::new(message).take(limit + 1).read_to_end(&mut decompressed)?;
    if decompressed.len() > MAX_RESPONSE_LEN {
        bail!("the response is too large");
    }
    Ok((0, decompressed))
}

#[cfg(test)]
mod tests {
    use tower::{ServiceExt, service_fn};

    use super::*;

    /// Returns a body with these messages, each with its flag.
    fn body(messages: &[(u8, &[u8])]) -> Vec<u8> {
        let mut body = Vec::new();
        for (flag, message) in messages {
            body.push(*flag);
            body.extend((message.len() as u32).to_be_bytes());
            body.extend_from_slice(message);
        }
        body
    }

    fn decoded(frames: &[u8]) -> Vec<u8> {
        let mut message = Vec::new();
        FrameDecoder::new(frames).read_to_end(&mut message).unwrap();
        message
    }

    /// Sends `message` to a server that checks the request and answers `answer` with this
    /// `grpc-encoding`. Returns the response with its body and trailers.
    async fn exchange(
        message: &[u8],
        encoding: Option<&'static str>,
        answer: Vec<u8>,
    ) -> Result<(Response<()>, Vec<u8>, HeaderMap), BoxError> {
        let expected = message.to_vec();
        let server = service_fn(move |request: Request<Body>| {
            let (expected, answer) = (expected.clone(), answer.clone());
            async move {
                assert_eq!(request.headers()["grpc-encoding"], "snappy");
                assert_eq!(request.headers()["grpc-accept-encoding"], "snappy");
                let received = request.into_body().collect().await?.to_bytes();
                assert_eq!(received[0], 1);
                let length = u32::from_be_bytes(received[1..PREFIX_LEN].try_into()?);
                assert_eq!(length as usize, received.len() - PREFIX_LEN);
                assert_eq!(decoded(&received[PREFIX_LEN..]), expected);
                let trailers = HeaderMap::from_iter([(
                    http::HeaderName::from_static("grpc-status"),
                    HeaderValue::from_static("0"),
                )]);
                let mut response = Response::new(whole(answer.into(), Some(trailers)));
                if let Some(encoding) = encoding {
                    let encoding = HeaderValue::from_static(encoding);
                    response.headers_mut().insert(ENCODING, encoding);
                }
                Ok::<_, BoxError>(response)
            }
        });
        let request = Request::new(Body::new(Full::new(Bytes::from(body(&[(0, message)])))));
        let response = GrpcSnappy(server).oneshot(request).await?;
        let (parts, body) = response.into_parts();
        let body = body.collect().await?;
        let trailers = body.trailers().cloned().unwrap_or_default();
        Ok((Response::from_parts(parts, ()), body.to_bytes().to_vec(), trailers))
    }

    // Scenario: an exporter sends an empty message, a short one, and one of several frames. The
    // server answers plainly, and compressed with snappy as servers in Go do.
    // Guarantee: the server gets the message compressed with snappy. The exporter gets the answer
    // decompressed, without `grpc-encoding`, and with its trailers.
    #[tokio::test]
    async fn messages_are_compressed_both_ways() {
        let long = b"spans ".repeat(100_000);
        for message in [b"".as_slice(), b"a batch", &long] {
            let (response, answer, trailers) =
                exchange(message, None, body(&[(0, b"answer")])).await.unwrap();
            assert_eq!(answer, body(&[(0, b"answer")]));
            assert!(!response.headers().contains_key(ENCODING));
            assert_eq!(trailers["grpc-status"], "0");

            let frames = snappy_frames(b"answer").unwrap();
            for messages in [body(&[(1, &frames)]), body(&[(0, b"answer")])] {
                let (response, answer, trailers) =
                    exchange(message, Some("snappy"), messages).await.unwrap();
                assert_eq!(answer, body(&[(0, b"answer")]));
                assert!(!response.headers().contains_key(ENCODING));
                assert_eq!(trailers["grpc-status"], "0");
            }
        }
    }

    // Scenario: the server answers with a message that is cut off, that is not snappy, or that
    // decompresses to more than the limit.
    // Guarantee: each is an error.
    #[tokio::test]
    async fn bad_answers_are_errors() {
        let bomb = snappy_frames(&vec![0; MAX_RESPONSE_LEN + 1]).unwrap();
        assert!(bomb.len() < MAX_RESPONSE_LEN);
        for answer in [vec![1, 0, 0, 0, 9], body(&[(1, b"no frames")]), body(&[(1, &bomb)])] {
            assert!(exchange(b"a batch", Some("snappy"), answer).await.is_err());
        }
    }
}
