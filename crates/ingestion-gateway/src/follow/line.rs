//! Writes events as lines of JSON.

use bytes::Bytes;
use ingestion_api::{FollowEvent, FollowHello, FollowPosition, FollowedKey};
use ingestion_keys::KeyRole;
use ingestion_keys::store::Change;

/// The largest number of keys in one line.
pub(super) const GROUP: usize = 256;

/// Lines that belong together.
#[derive(Debug, Default)]
pub(super) struct Lines(Vec<u8>);

impl Lines {
    pub(super) fn hello(now: i64, snapshot: bool) -> Self {
        Self::default().with(&FollowEvent::Hello(FollowHello { now, snapshot }))
    }

    /// Adds the keys for ingestion that were changed. Followers learn nothing about tokens.
    pub(super) fn keys(mut self, changes: &[Change]) -> Self {
        let mut keys = changes.iter().filter(|change| change.role == KeyRole::Ingestion);
        loop {
            let group: Vec<_> = keys.by_ref().take(GROUP).map(FollowedKey::from).collect();
            if group.is_empty() {
                return self;
            }
            self = self.with(&FollowEvent::Keys(group));
        }
    }

    pub(super) fn position(self, position: FollowPosition) -> Self {
        self.with(&FollowEvent::Position(position))
    }

    fn with(mut self, event: &FollowEvent) -> Self {
        let start = self.0.len();
        match serde_json::to_writer(&mut self.0, event) {
            Ok(()) => self.0.push(b'\n'),
            Err(error) => {
                self.0.truncate(start);
                tracing::error!(%error, "an event for followers cannot be written as JSON");
            }
        }
        self
    }
}

impl From<Lines> for Bytes {
    fn from(Lines(text): Lines) -> Self {
        text.into_boxed_slice().into()
    }
}
