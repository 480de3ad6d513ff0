//! Reading bodies of bounded length.

use std::time::Duration;

use axum::body::Body;
use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;

/// How much of a body that is too large is read and thrown away, so that a sender in the middle of
/// writing it reads the answer instead of a reset..
const DRAIN_BYTES: usize = 32 << 20;

/// ..and for how long.
const DRAIN_TIME: Duration = Duration::from_secs(1);

/// Why a body was not read to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BodyError {
    /// It has more bytes than are allowed.
    TooLarge,
    /// It ended early, or made no progress for too long.
    Broken,
}

/// The whole of a body.
pub(crate) async fn read(body: Body, limit: usize) -> Result<Bytes, BodyError> {
    let mut content = BytesMut::new();
    each(body, limit, |data| content.extend_from_slice(&data)).await?;
    Ok(content.freeze())
}

/// Reads a body to its end and keeps nothing.
pub(crate) async fn discard(body: Body, limit: usize) -> Result<(), BodyError> {
    each(body, limit, drop).await
}

async fn each(mut body: Body, limit: usize, mut take: impl FnMut(Bytes)) -> Result<(), BodyError> {
    let mut left = limit;
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.map_err(|_| BodyError::Broken)?.into_data() else { continue };
        let Some(rest) = left.checked_sub(data.len()) else {
            tokio::spawn(tokio::time::timeout(DRAIN_TIME, drain(body)));
            return Err(BodyError::TooLarge);
        };
        left = rest;
        take(data);
    }
    Ok(())
}

async fn drain(mut body: Body) {
    let mut left = DRAIN_BYTES;
    while let Some(Ok(frame)) = body.frame().await {
        match left.checked_sub(frame.data_ref().map_or(0, Bytes::len)) {
            Some(rest) => left = rest,
            None => return,
        }
    }
}
