//! Forwards calls of gRPC to an upstream, over HTTP/2.

mod call;
mod pool;
mod upload;

use std::convert::Infallible;
use std::sync::Arc;

use http::{Request, Response};

pub(crate) use self::call::GrpcBody;
pub(super) use self::pool::MAX_CONNECTIONS;
use self::pool::Pool;
use super::body::ResponseBody;
use super::target::Target;
use crate::upstream::body::Payload;

/// What a call of gRPC consists of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Call {
    /// One message in each direction.
    Unary,
    /// Any number of messages in both directions, for any time.
    Stream,
}

/// Forwards calls of gRPC. Clones share their connections.
#[derive(Clone, Debug)]
pub(crate) struct ForwardGrpc {
    pool: Arc<Pool>,
}

impl ForwardGrpc {
    pub(crate) fn new(target: Arc<Target>) -> Self {
        Self { pool: Arc::new(Pool::new(target)) }
    }

    /// Forwards a call and resolves to its answer.
    pub(crate) fn forward<B>(
        &self,
        request: Request<B>,
        call: Call,
    ) -> impl Future<Output = Result<Response<ResponseBody>, Infallible>> + Send + 'static + use<B>
    where
        B: Payload,
    {
        call::forward(Arc::clone(&self.pool), request, call)
    }
}
