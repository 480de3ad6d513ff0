//! Forwards requests to an upstream of HTTP/1.1.

mod connection;
mod exchange;
mod pool;
mod upload;

use std::convert::Infallible;
use std::fmt;
use std::sync::Arc;

use http::{Request, Response};

use self::exchange::Exchange;
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

    /// Forwards a request and resolves to its answer.
    pub(crate) fn forward<B>(
        &self,
        request: Request<B>,
    ) -> impl Future<Output = Result<Response<ResponseBody>, Infallible>> + Send + use<B>
    where
        B: Payload,
    {
        let (pool, (parts, body)) = (Arc::clone(&self.pool), request.into_parts());
        let format = pool.target.format_of(&parts);
        // The exchange stays where it is while it runs, because a move of it costs.
        let mut exchange = Exchange::new(&pool.target, parts, body);
        async move {
            let answered = match &mut exchange {
                Ok(exchange) => exchange.run(&pool).await,
                Err(failure) => Err(*failure),
            };
            Ok(answered.unwrap_or_else(|failure| format.answer(failure, &pool.target.extractor)))
        }
    }
}

impl fmt::Debug for ForwardHttp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ForwardHttp").field("pool", &self.pool).finish()
    }
}
