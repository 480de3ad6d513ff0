//! File descriptors: how many the process may have, and how many of them each listener gets.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Descriptors that connections never get: those of the database, of files that are followed, of
/// logs, of listeners and of runtimes, and one for a connection of each listener that waits for a
/// place.
const RESERVED: usize = 64;

/// The number of listeners for senders: OTLP/gRPC, OTLP/HTTP and agents.
const SENDERS: usize = 3;

/// The number of other listeners: management, authorize and telemetry.
const CONTROL: usize = 3;

/// The largest number of open connections of each listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Capacity {
    /// For each listener for senders.
    pub(crate) senders: usize,
    /// For each other listener. Senders cannot use this part.
    pub(crate) control: usize,
}

/// Raises the soft limit of open files to the hard limit. Returns the limit that is in force, or
/// `None` if there is none.
pub(crate) fn raise_limit() -> Option<u64> {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    match setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }) {
        Ok(()) => maximum,
        Err(error) => {
            tracing::warn!(%error, "the limit of open files cannot be raised");
            current
        }
    }
}

impl Capacity {
    /// Divides `open_files` among the listeners, of which each gets at most `max_connections`. If
    /// there are too few, the listeners that are not for senders get a quarter of them.
    pub(crate) fn divide(open_files: Option<u64>, max_connections: usize) -> Self {
        let open_files = open_files.and_then(|files| usize::try_from(files).ok());
        let left = open_files.unwrap_or(usize::MAX).saturating_sub(RESERVED);
        if left / (SENDERS + CONTROL) >= max_connections {
            return Self { senders: max_connections, control: max_connections };
        }
        let control = (left / 4 / CONTROL).clamp(1, max_connections);
        let senders = left.saturating_sub(control * CONTROL) / SENDERS;
        Self { senders: senders.clamp(1, max_connections), control }
    }

    /// Warns if a listener gets fewer connections than are configured.
    pub(crate) fn warn(self, open_files: Option<u64>, max_connections: usize) {
        let Self { senders, control } = self;
        if senders.min(control) < max_connections {
            let open_files = open_files.unwrap_or(u64::MAX);
            tracing::warn!(
                "limits.max_connections is {max_connections}, but the process may open only \
                 {open_files} files: each listener for senders gets {senders} connections, and \
                 each other listener gets {control}; raise the hard limit of open files, or lower \
                 limits.max_connections"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // Scenario: listeners for which 10,000 connections are configured share different numbers of
    // descriptors.
    // Guarantee: the connections of all listeners and the reserved descriptors are never more than
    // there are, except that each listener may have one connection. With enough descriptors, each
    // listener gets what is configured.
    #[test]
    fn connections_leave_descriptors_for_everything_else() {
        let capacity = |open_files| Capacity::divide(open_files, 10_000);
        for open_files in [0, 64, 256, 1024, 4096, 20_000, 60_063, 60_064, 1 << 20] {
            let Capacity { senders, control } = capacity(Some(open_files));
            let used = senders * SENDERS + control * CONTROL;
            assert!(used <= 6 || used + RESERVED <= open_files as usize, "{open_files}: {used}");
            assert!(senders >= 1 && control >= 1);
        }
        assert_eq!(capacity(Some(1024)), Capacity { senders: 240, control: 80 });
        let configured = Capacity { senders: 10_000, control: 10_000 };
        assert_eq!((capacity(Some(60_064)), capacity(None)), (configured, configured));
    }
}
