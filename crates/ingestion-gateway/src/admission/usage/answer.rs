//! The answer to a request, which is counted and measured once, when it ends.

use std::sync::Arc;
use std::time::Instant;

use http::{Method, Request, StatusCode};
use ingestion_keys::cache::KeyHandle;
use otlp_auth::Identity;

use crate::admission::is_grpc;
use crate::telemetry::requests::{End, RequestMetrics};
use crate::telemetry::route::Route;

/// The answer to an allowed request. When this value is dropped, the answer is counted.
pub(super) struct Answer {
    /// Whose key the request has. Requests to exempt paths have none.
    identity: Option<Identity>,
    metrics: Arc<RequestMetrics>,
    route: Route,
    method: Method,
    /// Whether the request is a gRPC call.
    is_grpc: bool,
    began: Instant,
    end: End,
}

impl Answer {
    /// Begins to wait for the answer to a request.
    pub(super) fn to<B>(
        request: &Request<B>,
        identity: Option<Identity>,
        metrics: Arc<RequestMetrics>,
    ) -> Self {
        metrics.begin();
        Self {
            identity,
            metrics,
            route: Route::of(request.uri().path()),
            method: request.method().clone(),
            is_grpc: is_grpc(request.headers()),
            began: Instant::now(),
            end: End::Incomplete,
        }
    }

    /// Counts the answer, which was sent to its end.
    pub(super) fn ended(mut self, end: End) {
        self.end = end;
    }

    /// Returns whether the request was a success.
    fn is_success(&self) -> bool {
        match self.end {
            End::Http(status) => status < StatusCode::BAD_REQUEST,
            End::Grpc(code) => code == Some(0),
            End::Incomplete => false,
        }
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        if let Some(identity) = &self.identity {
            match identity.handle::<KeyHandle>() {
                Some(handle) => handle.add_answer(self.is_success()),
                None => self.metrics.add_shared_key_answer(self.is_success()),
            }
        }
        let elapsed = self.began.elapsed();
        self.metrics.record(self.route, &self.method, self.is_grpc, self.end, elapsed);
        self.metrics.end();
    }
}
