//! Reads request bodies and limits their length.
//!
//! The receiver uses these functions for OTLP/HTTP bodies. Other routes of a program can use them
//! for their own bodies.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::Version;
use http::header::EXPECT;
use http::request::Parts;
use http_body::Body;
use http_body_util::BodyExt;
use tokio::runtime::Handle;
use tokio::time::timeout;

/// The largest number of bytes that are read and thrown away after a body has exceeded its limit.
/// If nothing were read, a sender that is still writing would find its connection reset before it
/// reads the response.
const MAX_DRAIN_BYTES: usize = 128 << 20;

/// The longest time for which bytes are read and thrown away after a body has exceeded its limit.
const MAX_DRAIN_TIME: Duration = Duration::from_secs(10);

/// The longest time that the next part of such a body may take to arrive.
const MAX_DRAIN_SILENCE: Duration = Duration::from_secs(2);

/// Why a body was not read to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BodyError {
    /// The body has more bytes than the limit. The rest of the body is read in the background and
    /// thrown away, for at most 10 s and 128 MiB, and until nothing arrives for 2 s.
    #[error("the body is too large")]
    TooLarge,
    /// The connection failed, or the server stopped waiting, before the whole body had arrived.
    #[error("the body ended early")]
    EndedEarly,
}

/// Reads a whole body of at most `limit` bytes. This function must run within a Tokio runtime.
///
/// # Errors
///
/// When the body has more than `limit` bytes, or does not arrive completely.
///
/// # Examples
///
/// ```
/// use http_body_util::Full;
/// use otlp_receiver::body::{self, BodyError};
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() {
/// assert_eq!(body::read(Full::from("four"), 4).await.unwrap(), "four");
/// assert_eq!(body::read(Full::from("seven.."), 4).await, Err(BodyError::TooLarge));
/// # }
/// ```
pub async fn read<B>(body: B, limit: usize) -> Result<Bytes, BodyError>
where
    B: Body<Data = Bytes> + Send + Unpin + 'static,
{
    read_while(body, limit, |_, _| Ok(())).await
}

/// Reads a body of at most `limit` bytes to its end, and keeps nothing of the body. This function
/// must run within a Tokio runtime.
///
/// # Errors
///
/// When the body has more than `limit` bytes, or does not arrive completely.
pub async fn discard<B>(body: B, limit: usize) -> Result<(), BodyError>
where
    B: Body<Data = Bytes> + Send + Unpin + 'static,
{
    for_each_chunk(body, limit, |_| Ok(())).await
}

/// Reads a whole body of at most `limit` bytes. After each chunk, `check` gets everything that has
/// arrived, and the length of the chunk. If `check` fails, the rest of the body is thrown away as
/// if the body was too large.
pub(crate) async fn read_while<B, E>(
    body: B,
    limit: usize,
    mut check: impl FnMut(&[u8], usize) -> Result<(), E>,
) -> Result<Bytes, E>
where
    B: Body<Data = Bytes> + Send + Unpin + 'static,
    E: From<BodyError>,
{
    let mut content = BytesMut::new();
    for_each_chunk(body, limit, |chunk| {
        content.extend_from_slice(&chunk);
        check(&content, chunk.len())
    })
    .await?;
    Ok(content.freeze())
}

async fn for_each_chunk<B, E>(
    mut body: B,
    limit: usize,
    mut take: impl FnMut(Bytes) -> Result<(), E>,
) -> Result<(), E>
where
    B: Body<Data = Bytes> + Send + Unpin + 'static,
    E: From<BodyError>,
{
    let mut left = limit;
    while let Some(frame) = body.frame().await {
        let Ok(chunk) = frame.map_err(|_| BodyError::EndedEarly)?.into_data() else { continue };
        let taken = match left.checked_sub(chunk.len()) {
            Some(rest) => {
                left = rest;
                take(chunk)
            }
            None => Err(BodyError::TooLarge.into()),
        };
        if taken.is_err() {
            throw_away(body);
            return taken;
        }
    }
    Ok(())
}

/// Throws away the body of a request that is refused before its body is read.
///
/// Over HTTP/2, nothing is read, because the server resets the stream without closing the
/// connection. If the sender expects `100 Continue`, nothing is read either, because reading would
/// ask the sender for the body.
pub(crate) fn throw_away_unread<B>(parts: &Parts, body: B)
where
    B: Body<Data = Bytes> + Send + Unpin + 'static,
{
    if parts.version < Version::HTTP_2 && !parts.headers.contains_key(EXPECT) {
        throw_away(body);
    }
}

/// Reads the rest of a body in the background and throws it away, for at most 10 s and 128 MiB, and
/// until nothing arrives for 2 s. Outside a Tokio runtime, nothing is read.
pub fn throw_away<B>(body: B)
where
    B: Body<Data = Bytes> + Send + Unpin + 'static,
{
    if !body.is_end_stream()
        && let Ok(runtime) = Handle::try_current()
    {
        runtime.spawn(timeout(MAX_DRAIN_TIME, drain(body)));
    }
}

async fn drain(mut body: impl Body<Data = Bytes> + Unpin) {
    let mut left = MAX_DRAIN_BYTES;
    while let Ok(Some(Ok(frame))) = timeout(MAX_DRAIN_SILENCE, body.frame()).await {
        match left.checked_sub(frame.data_ref().map_or(0, Bytes::len)) {
            Some(rest) => left = rest,
            None => return,
        }
    }
}
