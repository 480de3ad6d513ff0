//! The current token, as a header value that is ready to be sent.

use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use http::{HeaderMap, HeaderName, HeaderValue};
use subtle::ConstantTimeEq;
use tokio::sync::watch;

use crate::credential::{Credential, CredentialError, configured_token};
use crate::generation::GenerationReceiver;
use crate::scheme::Scheme;
use crate::timeout::timeout;
use crate::token_file::{TokenFileContent, TokenFileError};
use crate::watched_file::{POLL_INTERVAL, WatchedFile};

/// The maximum time that a rejected request waits for the file to be read again. A read starts at
/// most 1 s after the request for it, so one read fits into this time.
const RELOAD_BOUND: Duration = Duration::from_secs(2);

/// The header that carries the token, and its current value.
pub(crate) struct CurrentToken {
    header: HeaderName,
    source: Source,
    #[cfg(feature = "metrics")]
    resends: Option<crate::metrics::Resends>,
}

enum Source {
    /// A value that does not change, and the sender of its generation, which stays 0.
    Fixed(HeaderValue, watch::Sender<u64>),
    File {
        current: Arc<ArcSwap<TokenValue>>,
        file: WatchedFile,
    },
}

struct TokenValue {
    value: HeaderValue,
    generation: Generation,
}

/// The number of changes of the token before this value. The number distinguishes this value from
/// earlier and later values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Generation(u64);

impl CurrentToken {
    pub(crate) fn fixed(
        header: HeaderName,
        scheme: Option<&Scheme>,
        token: &str,
    ) -> Result<Self, CredentialError> {
        let value = header_value(scheme, configured_token(token)?)?;
        Ok(Self::new(header, Source::Fixed(value, watch::Sender::new(0))))
    }

    pub(crate) fn from_file(
        header: HeaderName,
        scheme: Option<Scheme>,
        path: &Path,
    ) -> Result<Self, TokenFileError> {
        let content = TokenFileContent::read(path)?;
        let value = first_token(scheme.as_ref(), &content)?;
        let first = TokenValue { value, generation: Generation(0) };
        let current = Arc::new(ArcSwap::from_pointee(first));
        let swap = Arc::clone(&current);
        let apply = move |content: &TokenFileContent| {
            let value = first_token(scheme.as_ref(), content)?;
            let old = swap.load();
            // A client uses only the first token, so a change of later lines does not count.
            let changed = bool::from(old.value.as_bytes().ct_ne(value.as_bytes()));
            if changed {
                let generation = Generation(old.generation.0 + 1);
                swap.store(Arc::new(TokenValue { value, generation }));
            }
            Ok::<_, TokenFileError>(changed)
        };
        let file = WatchedFile::follow(path, &content, POLL_INTERVAL, apply)?;
        Ok(Self::new(header, Source::File { current, file }))
    }

    fn new(header: HeaderName, source: Source) -> Self {
        Self {
            header,
            source,
            #[cfg(feature = "metrics")]
            resends: None,
        }
    }

    /// Counts reloads and resends with `meter`.
    #[cfg(feature = "metrics")]
    pub(crate) fn counted_by(mut self, meter: &opentelemetry::metrics::Meter) -> Self {
        self.resends = Some(crate::metrics::Resends::new(meter));
        if let Source::File { file, .. } = &self.source {
            file.report_to(meter, "client");
        }
        self
    }

    /// Puts the credential into `headers`, and removes every earlier value of its header.
    pub(crate) fn insert_into(&self, headers: &mut HeaderMap) -> Generation {
        match &self.source {
            Source::Fixed(value, _) => {
                headers.insert(&self.header, value.clone());
                Generation(0)
            }
            Source::File { current, .. } => {
                let current = current.load();
                headers.insert(&self.header, current.value.clone());
                current.generation
            }
        }
    }

    /// Whether the token can change. If the token cannot change, no request is sent a second time,
    /// so no request is recorded.
    pub(crate) fn can_change(&self) -> bool {
        matches!(self.source, Source::File { .. })
    }

    /// Returns whether the current token differs from the token of generation `sent`, which the
    /// server rejected. If it does not differ yet, the file is read again. The wait for this read
    /// is at most [`RELOAD_BOUND`], and at most the time that the request has `left`.
    ///
    /// A rejected token stays in force until the file has another token.
    pub(crate) async fn changed_since(&self, sent: Generation, left: Option<Duration>) -> bool {
        let Source::File { current, file } = &self.source else { return false };
        if current.load().generation == sent {
            timeout(left.map_or(RELOAD_BOUND, |left| left.min(RELOAD_BOUND)), file.reload()).await;
        }
        current.load().generation != sent
    }

    pub(crate) fn count_resend(&self, transport: &'static str) {
        tracing::debug!(
            transport,
            "the token was refused and has changed since: the request is sent again"
        );
        #[cfg(feature = "metrics")]
        if let Some(resends) = &self.resends {
            resends.count(transport);
        }
    }

    pub(crate) fn generation(&self) -> GenerationReceiver {
        match &self.source {
            Source::File { file, .. } => file.generation(),
            Source::Fixed(_, generation) => GenerationReceiver::new(generation.subscribe()),
        }
    }

    pub(crate) fn failed_reloads(&self) -> u64 {
        match &self.source {
            Source::File { file, .. } => file.failed_reloads(),
            Source::Fixed(..) => 0,
        }
    }

    /// Returns how often the file was read since the thread started.
    #[cfg(test)]
    pub(crate) fn reads(&self) -> u64 {
        match &self.source {
            Source::File { file, .. } => file.reads(),
            Source::Fixed(..) => 0,
        }
    }
}

impl fmt::Debug for CurrentToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("CurrentToken");
        debug.field("header", &self.header);
        if let Source::File { file, .. } = &self.source {
            debug.field("file", file);
        }
        debug.finish_non_exhaustive()
    }
}

/// Returns the header value of the first token in the file. The whole file must be legal, because
/// an illegal line after the first token means that the writer of the file has not finished.
fn first_token(
    scheme: Option<&Scheme>,
    content: &TokenFileContent,
) -> Result<HeaderValue, TokenFileError> {
    let lines = content.tokens()?;
    let first = lines.first().ok_or(TokenFileError::Empty)?;
    header_value(scheme, first.token)
        .map_err(|source| TokenFileError::Line { line: first.number, source })
}

fn header_value(scheme: Option<&Scheme>, token: &str) -> Result<HeaderValue, CredentialError> {
    let scheme = scheme.map_or("", Scheme::as_str);
    Ok(Credential::new(scheme, token)?.to_header_value())
}
