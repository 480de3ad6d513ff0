//! The sink of the receivers: it prints who sent how many items of which signal.

use std::fmt;

use otlp_auth::Identity;
use otlp_receiver::{Batch, Receiver, Refusal, Signal, Transport};

/// A batch from an authenticated sender. `Display` is the line that the receivers print.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Accepted {
    /// The kind of telemetry.
    pub signal: Signal,
    /// How many spans, metric data points or log records the batch has.
    pub items: usize,
    /// Who sent it.
    pub identity: Identity,
    /// How it came.
    pub transport: Transport,
}

/// Creates a receiver that calls `sink` for each batch before its sender is answered.
///
/// Requests without an [`Identity`] are answered with an error: a receiver that somebody forgot to
/// put behind an authenticator accepts nothing.
pub fn receiver(sink: impl Fn(Accepted) + Send + Sync + 'static) -> Receiver {
    Receiver::new(move |batch: &Batch<'_>| {
        // The authentication layer in front of the receiver has put the identity here.
        let identity = batch.extensions.get::<Identity>().cloned();
        let identity = identity.ok_or(Refusal::Internal("the request was not authenticated"))?;
        let Batch { signal, items, transport, .. } = *batch;
        sink(Accepted { signal, items, identity, transport });
        Ok(())
    })
}

impl fmt::Display for Accepted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { signal, items, identity, transport } = self;
        write!(
            f,
            "accepted signal={signal} items={items} identity={} transport={transport}",
            identity.name()
        )
    }
}
