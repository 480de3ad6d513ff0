//! The body of a request: how it is decoded beside the connections.

use bytes::Bytes;

use crate::admission::Admitted;
use crate::compression::{Compression, MAX_DECODED_BYTES};
use crate::refusal::Refusal;

/// The largest number of decompressed bytes that are decoded on the thread of a connection. That
/// takes less than 1 ms, so that other connections of the thread are not kept waiting.
const MAX_INLINE_BYTES: usize = 64 << 10;

/// The message of a request, as it arrived.
#[derive(Debug)]
pub(crate) struct Payload {
    pub(crate) compression: Option<Compression>,
    pub(crate) content: Bytes,
    /// Keeps the bytes of `content` counted for as long as they are in memory.
    pub(crate) admitted: Admitted,
}

impl Payload {
    /// Decompresses the message and calls `decode` with it. A small message is decoded at once, and
    /// a large one on a thread for blocking work. If the future is dropped, such a thread finishes
    /// its message and then gives back what the message has used.
    pub(crate) async fn decode<T, F>(self, decode: F) -> Result<T, Refusal>
    where
        T: Send + 'static,
        F: Fn(&[u8]) -> Result<T, Refusal> + Send + 'static,
    {
        if self.may_be_small() {
            match self.decode_at_most(MAX_INLINE_BYTES, &decode) {
                // The message is small on the wire, but not when it is decompressed.
                Err(Refusal::TooLarge) => {}
                decoded => return decoded,
            }
        }
        let slot = self.admitted.slot().await?;
        let decoding = tokio::task::spawn_blocking(move || {
            let decoded = self.decode_at_most(MAX_DECODED_BYTES, &decode);
            // The message is freed before another one takes the slot.
            drop(self);
            drop(slot);
            decoded
        });
        match decoding.await {
            Ok(decoded) => decoded,
            Err(error) => match error.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                // The runtime is shutting down.
                Err(_) => Err(Refusal::EndedEarly),
            },
        }
    }

    fn may_be_small(&self) -> bool {
        self.content.len() <= MAX_INLINE_BYTES
            && !self.compression.is_some_and(Compression::takes_much_memory)
    }

    /// Decompresses the message to at most `limit` bytes, and calls `decode`. The length of a
    /// message that is not compressed was limited when it was read.
    fn decode_at_most<T>(
        &self,
        limit: usize,
        decode: impl Fn(&[u8]) -> Result<T, Refusal>,
    ) -> Result<T, Refusal> {
        match self.compression {
            Some(compression) => decode(&compression.decompress(&self.content, limit)?),
            None => decode(&self.content),
        }
    }
}
