//! Forwards requests to an upstream of HTTP/1.1.

mod exchange;
mod pool;

use std::fmt;
use std::sync::Arc;

use http::{Request, Response};

pub(crate) use self::exchange::HttpBody;
use self::pool::Pool;
use super::body::ResponseBody;
use super::target::Target;
use crate::upstream::body::Payload;

/// Forwards requests over HTTP/1.1. Clones share their connections.
pub(crate) struct ForwardHttp<B>
where
    B: Payload,
{
    pool: Arc<Pool<B>>,
}

impl<B> ForwardHttp<B>
where
    B: Payload,
{
    /// Forwards to `target` over at most so many connections.
    pub(crate) fn new(target: Arc<Target>, max_connections: usize) -> Self {
        Self { pool: Arc::new(Pool::new(target, max_connections)) }
    }

    /// Forwards a request and returns its answer.
    pub(crate) async fn forward(self, request: Request<B>) -> Response<ResponseBody<B>> {
        exchange::forward(&self.pool, request).await
    }
}

impl<B> Clone for ForwardHttp<B>
where
    B: Payload,
{
    fn clone(&self) -> Self {
        Self { pool: Arc::clone(&self.pool) }
    }
}

impl<B> fmt::Debug for ForwardHttp<B>
where
    B: Payload,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ForwardHttp").field("pool", &self.pool).finish()
    }
}
