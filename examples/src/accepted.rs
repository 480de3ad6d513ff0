//! The sink of the example receivers. It prints the sender, the number of items and the signal of
//! each batch.

use std::fmt;

use otlp_auth::Identity;
use otlp_receiver::{Batch, Receiver, Refusal, Signal, Transport};

/// A batch from an authenticated sender. `Display` is the line that the receivers print.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Accepted {
    /// The kind of telemetry.
    pub signal: Signal,
    /// The number of spans, metric data points or log records in the batch.
    pub items: usize,
    /// The sender.
    pub identity: Identity,
    /// The transport on which the batch arrived.
    pub transport: Transport,
}

/// Creates a receiver that calls `sink` for each batch before the sender gets its response.
///
/// A request without an [`Identity`] gets an error response. A receiver without an authentication
/// layer in front of it therefore accepts nothing.
pub fn receiver(sink: impl Fn(Accepted) + Send + Sync + 'static) -> Receiver {
    Receiver::new(move |batch: &Batch<'_>| {
        // The authentication layer in front of the receiver has added the identity.
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
