//! The current token: a header value that is ready to be sent, swapped whole.

use std::fmt;
use std::path::Path;
use std::sync::Arc;
#[cfg(feature = "metrics")]
use std::sync::OnceLock;
use std::time::Duration;

use arc_swap::ArcSwap;
use http::{HeaderMap, HeaderName, HeaderValue};
use secrecy::SecretSlice;
use subtle::ConstantTimeEq;
use tokio::sync::watch;

use crate::credential::{Credential, CredentialError};
use crate::timeout::timeout;
use crate::token_file::{self, TokenFileError};
use crate::watched_file::{POLL_INTERVAL, WatchedFile};

/// How long a refused request waits for its source to be read again. Reads are at most a second
/// apart, so this is enough for one.
const RELOAD_BOUND: Duration = Duration::from_secs(2);

/// The header, and the value that it has now.
pub(crate) struct CurrentToken {
    header: HeaderName,
    source: Source,
    #[cfg(feature = "metrics")]
    resends: OnceLock<crate::metrics::Resends>,
}

enum Source {
    /// With the generation that it stays in.
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

/// Tells a value from its successors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Generation(u64);

impl CurrentToken {
    pub(crate) fn fixed(
        header: HeaderName,
        scheme: &str,
        token: &str,
    ) -> Result<Self, CredentialError> {
        Ok(Self::new(
            header,
            Source::Fixed(Credential::new(scheme, token)?.to_header_value(), watch::Sender::new(0)),
        ))
    }

    pub(crate) fn from_file(
        header: HeaderName,
        scheme: String,
        path: &Path,
    ) -> Result<Self, TokenFileError> {
        let content = token_file::read(path)?;
        let first =
            TokenValue { value: first_token(&scheme, &content)?, generation: Generation(0) };
        let current = Arc::new(ArcSwap::from_pointee(first));
        let swap = Arc::clone(&current);
        let apply = move |content: &SecretSlice<u8>| {
            let value = first_token(&scheme, content)?;
            let old = swap.load();
            // A change further down in the file is none for a client.
            if bool::from(old.value.as_bytes().ct_ne(value.as_bytes())) {
                let generation = Generation(old.generation.0 + 1);
                swap.store(Arc::new(TokenValue { value, generation }));
            }
            Ok(())
        };
        let file = WatchedFile::follow(path, &content, POLL_INTERVAL, apply)?;
        Ok(Self::new(header, Source::File { current, file }))
    }

    fn new(header: HeaderName, source: Source) -> Self {
        Self {
            header,
            source,
            #[cfg(feature = "metrics")]
            resends: OnceLock::new(),
        }
    }

    /// Puts the credential into `headers`, in place of whatever stood there.
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

    /// Whether another token can come after a refusal; otherwise there is no point in preparing for
    /// one.
    pub(crate) fn can_change(&self) -> bool {
        matches!(self.source, Source::File { .. })
    }

    /// After the server refused the token of generation `sent`: whether there is another one now.
    /// Unless there already is, the source is read again; the wait for that is bounded, and no
    /// longer than the request has time `left`.
    ///
    /// A refusal takes nothing away: the token stays until its source gives another one.
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
        if let Some(resends) = self.resends.get() {
            resends.count(transport);
        }
    }

    pub(crate) fn generation(&self) -> watch::Receiver<u64> {
        match &self.source {
            Source::File { file, .. } => file.generation(),
            Source::Fixed(_, generation) => generation.subscribe(),
        }
    }

    pub(crate) fn failed_reloads(&self) -> u64 {
        match &self.source {
            Source::File { file, .. } => file.failed_reloads(),
            Source::Fixed(..) => 0,
        }
    }

    /// How often the file was read since it is followed.
    #[cfg(test)]
    pub(crate) fn reads(&self) -> u64 {
        match &self.source {
            Source::File { file, .. } => file.reads(),
            Source::Fixed(..) => 0,
        }
    }

    #[cfg(feature = "metrics")]
    pub(crate) fn report_to(&self, meter: &opentelemetry::metrics::Meter) {
        let _ = self.resends.set(crate::metrics::Resends::new(meter));
        if let Source::File { file, .. } = &self.source {
            file.report_to(meter, "client");
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

/// The header value of the first token in the file.
fn first_token(scheme: &str, content: &SecretSlice<u8>) -> Result<HeaderValue, TokenFileError> {
    let mut lines = token_file::parse(content);
    let first = lines.next().ok_or(TokenFileError::Empty)??;
    // A file that is no token file further down was caught in the middle of being written.
    lines.try_for_each(|line| line.map(drop))?;
    let credential = Credential::new(scheme, first.token).map_err(TokenFileError::Scheme)?;
    Ok(credential.to_header_value())
}
