//! A token file that is followed while it changes.

use std::collections::HashSet;
use std::fmt;
use std::future::Ready;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use secrecy::SecretSlice;
use tokio::sync::watch;

use super::authenticator::ServerAuthenticator;
use super::fixed_tokens::FixedTokens;
use crate::credential::Credential;
use crate::decision::Verdict;
use crate::token_file::{self, TokenFileError};
use crate::watched_file::{POLL_INTERVAL, WatchedFile};

/// The tokens of a file: one a line, bare or as `name=token`, followed while the file changes.
///
/// The left side of a `=` is a name if it is a letter followed by letters, digits, `.`, `_` or `-`,
/// and something other than `=` follows. A bare token is named after its place: `token-1` is the
/// first of the file. Blank lines, blanks at both ends of a line, carriage returns and a byte order
/// mark are skipped.
///
/// The directory of the file is watched and the file is read every few seconds besides, so that a
/// Kubernetes secret, a rename, a rewrite in place and a network file system are all followed. A
/// file that is missing, empty or has an illegal line changes nothing: the last good tokens stay,
/// the failure is counted and logged.
///
/// # Examples
///
/// ```
/// use otlp_auth::server::{AuthenticateLayer, TokenFile};
///
/// let directory = tempfile::tempdir()?;
/// let path = directory.path().join("tokens");
/// std::fs::write(&path, "team-a=iapikeyok-of-team-a\nteam-b=iapikeyok-of-team-b\n")?;
/// let layer = AuthenticateLayer::new(TokenFile::open(&path)?);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct TokenFile {
    current: Arc<ArcSwap<FixedTokens>>,
    file: WatchedFile,
}

impl TokenFile {
    /// Reads the file and follows it from then on, on a thread of its own that ends when this is
    /// dropped.
    ///
    /// # Errors
    ///
    /// When the file cannot be read, has no token, or has a line that is none.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, TokenFileError> {
        Self::open_polled(path, POLL_INTERVAL)
    }

    /// As [`open`](Self::open), reading the file this often besides watching it.
    fn open_polled(path: impl AsRef<Path>, interval: Duration) -> Result<Self, TokenFileError> {
        let path = path.as_ref();
        let content = token_file::read(path)?;
        let current = Arc::new(ArcSwap::from_pointee(tokens(&content)?));
        let file = WatchedFile::follow(path, &content, interval, {
            let current = Arc::clone(&current);
            move |content| {
                current.store(Arc::new(tokens(content)?));
                Ok(())
            }
        })?;
        Ok(Self { current, file })
    }

    /// Counts the changes that were taken over: 0 for the file as it was opened. A receiver that
    /// waits for a number here knows that the tokens written before are in force.
    #[must_use]
    pub fn generation(&self) -> watch::Receiver<u64> {
        self.file.generation()
    }

    /// Counts the reloads that failed: the file was missing, empty or illegal.
    #[must_use]
    pub fn failed_reloads(&self) -> u64 {
        self.file.failed_reloads()
    }

    /// Reports reloads to `meter`.
    #[cfg(feature = "metrics")]
    #[must_use]
    pub fn with_meter(self, meter: &opentelemetry::metrics::Meter) -> Self {
        self.file.report_to(meter, "server");
        self
    }
}

impl ServerAuthenticator for TokenFile {
    type Future = Ready<Verdict>;

    fn authenticate(&self, credential: &Credential<'_>) -> Self::Future {
        self.current.load().authenticate(credential)
    }
}

impl fmt::Debug for TokenFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenFile")
            .field("file", &self.file)
            .field("tokens", &self.current.load())
            .finish()
    }
}

/// The tokens of the file. A bare line that repeats another one says nothing new.
fn tokens(content: &SecretSlice<u8>) -> Result<FixedTokens, TokenFileError> {
    let lines = token_file::parse(content).collect::<Result<Vec<_>, _>>()?;
    if lines.is_empty() {
        return Err(TokenFileError::Empty);
    }
    let mut seen: HashSet<&str> =
        lines.iter().filter(|line| line.name.is_some()).map(|line| line.token).collect();
    let named = lines.iter().enumerate().filter_map(|(index, line)| match line.name {
        Some(name) => Some((name.to_owned(), line.token)),
        None => seen.insert(line.token).then(|| (format!("token-{}", index + 1), line.token)),
    });
    Ok(FixedTokens::new(named.collect::<Vec<_>>())?)
}

#[cfg(test)]
mod tests;
