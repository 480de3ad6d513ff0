//! Forwards requests to an upstream of HTTP/1.1.

mod connection;
mod exchange;
mod pool;
mod upload;

use std::fmt;
use std::sync::Arc;

use http::{Request, Response};

pub(crate) use self::exchange::HttpBody;
use self::pool::Pool;
use super::body::ResponseBody;
use super::target::Target;
use crate::upstream::body::Payload;

/// Forwards requests over HTTP/1.1. Clones share their connections.
#[derive(Clone)]
pub(crate) struct ForwardHttp {
    pool: Arc<Pool>,
}

impl ForwardHttp {
    /// Forwards to `target` over at most so many connections.
    pub(crate) fn new(target: Arc<Target>, max_connections: usize) -> Self {
        Self { pool: Arc::new(Pool::new(target, max_connections)) }
    }

    /// Forwards a request and returns its answer.
    pub(crate) async fn forward<B>(self, request: Request<B>) -> Response<ResponseBody>
    where
        B: Payload,
    {
        exchange::forward(&self.pool, request).await
    }
}

impl fmt::Debug for ForwardHttp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ForwardHttp").field("pool", &self.pool).finish()
    }
}
