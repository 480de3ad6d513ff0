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

/// The largest number of open connections of each listener, and of those to the upstreams.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Capacity {
    /// For each listener for senders.
    pub(crate) senders: usize,
    /// For each other listener. Senders cannot use this part.
    pub(crate) control: usize,
    /// For all upstreams and workers together.
    pub(crate) upstreams: usize,
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
    /// Divides `open_files` among the listeners, of which each gets at most `max_connections`, and
    /// the upstreams, which together get at most `upstreams`. If there are too few, the listeners
    /// that are not for senders get a quarter of them, and the upstreams a third of the rest.
    pub(crate) fn divide(
        open_files: Option<u64>,
        max_connections: usize,
        upstreams: usize,
    ) -> Self {
        let open_files = open_files.and_then(|files| usize::try_from(files).ok());
        let left = open_files.unwrap_or(usize::MAX).saturating_sub(RESERVED);
        if left.saturating_sub(upstreams) / (SENDERS + CONTROL) >= max_connections {
            return Self { senders: max_connections, control: max_connections, upstreams };
        }
        let control = (left / 4 / CONTROL).clamp(1, max_connections);
        let rest = left.saturating_sub(control * CONTROL);
        let upstreams = upstreams.min(rest / 3);
        let senders = (rest - upstreams) / SENDERS;
        Self { senders: senders.clamp(1, max_connections), control, upstreams }
    }

    /// Returns the largest number of followers. They do not give way, so the other connections of
    /// the management listener are for administrators, and for what followers report.
    pub(crate) fn followers(self) -> usize {
        self.control / 4 * 3
    }

    /// Warns if a listener gets fewer connections than are configured.
    pub(crate) fn warn(self, open_files: Option<u64>, max_connections: usize) {
        let Self { senders, control, .. } = self;
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
    // descriptors, with and without upstreams.
    // Guarantee: the connections of all listeners and upstreams and the reserved descriptors are
    // never more than there are, except that each listener may have one connection. With enough
    // descriptors, each listener gets what is configured.
    #[test]
    fn connections_leave_descriptors_for_everything_else() {
        for max in [0, 2000] {
            let capacity = |open_files| Capacity::divide(open_files, 10_000, max);
            for open_files in [0, 64, 256, 1024, 4096, 20_000, 60_063, 60_064, 1 << 20] {
                let Capacity { senders, control, upstreams } = capacity(Some(open_files));
                let used = senders * SENDERS + control * CONTROL + upstreams;
                assert!(used <= 6 || used + RESERVED <= open_files as usize, "{open_files}");
                assert!(senders >= 1 && control >= 1 && upstreams <= max);
            }
            let configured = Capacity { senders: 10_000, control: 10_000, upstreams: max };
            let enough = 60_064 + max as u64;
            assert_eq!((capacity(Some(enough)), capacity(None)), (configured, configured));
        }
        let capacity = |upstreams| Capacity::divide(Some(1024), 10_000, upstreams);
        assert_eq!(capacity(0), Capacity { senders: 240, control: 80, upstreams: 0 });
        assert_eq!(capacity(2000), Capacity { senders: 160, control: 80, upstreams: 240 });
    }

    // Scenario: the process may open as many files as in the example of the documentation.
    // Guarantee: there are as many places for followers as the documentation says.
    #[test]
    fn followers_have_the_documented_places() {
        let document = include_str!("../../../../docs/follow-the-gateway.md");
        let places = Capacity::divide(Some(20_000), 10_000, 0).followers();
        let (thousands, rest) = (places / 1000, places % 1000);
        let text =
            format!("20,000 open files there are places for {thousands},{rest:03} followers");
        assert!(document.contains(&text), "{text}");
    }
}
