//! An authenticator that allows the tokens of a file, and reloads the file when it changes.

use std::collections::HashSet;
use std::fmt;
use std::future::Ready;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;

use super::authenticator::{InMemoryAuthenticator as _, ServerAuthenticator};
use super::fixed_tokens::{FixedTokens, FixedTokensError};
use crate::credential::Credential;
use crate::decision::Verdict;
use crate::generation::GenerationReceiver;
use crate::token_file::{TokenFileContent, TokenFileError};
use crate::watched_file::{POLL_INTERVAL, WatchedFile};

/// Allows the tokens of a file, and reloads the file when it changes. Each line of the file is a
/// token, either with a name (`name=token`) or without one.
///
/// The text before a `=` is a name if it is a letter followed by letters, digits, `.`, `_` or `-`,
/// and if a character other than `=` follows the `=`. A token without a name is named after its
/// position: `token-1` is the first token of the file. Blank lines, blanks at both ends of a line,
/// carriage returns and a byte order mark are skipped.
///
/// The directory of the file is watched, and in addition the file is read every 5 seconds. This
/// notices the update of a Kubernetes secret, a rename, a rewrite in place, and a change on a
/// network file system. If the directory is deleted and made anew, the new directory is watched. If
/// the file is missing, is empty or has an illegal line, the last good tokens stay in force, and
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

/// Why the tokens of a file cannot be used. No variant carries a part of the file's content.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenTokenFileError {
    /// The file cannot be read, or has an illegal line.
    #[error(transparent)]
    File(#[from] TokenFileError),
    /// The lines are legal, but no set can be made of their tokens.
    #[error("the tokens of the token file cannot be used together")]
    Tokens(#[from] FixedTokensError),
}

impl TokenFile {
    /// Reads the file, and starts a thread that reloads the file when it changes. The thread ends
    /// when this value is dropped.
    ///
    /// # Errors
    ///
    /// Fails when the file cannot be read, has no token, has a line that is not a token, or gives
    /// two names to one token.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, OpenTokenFileError> {
        Self::open_polled(path, POLL_INTERVAL)
    }

    /// Does the same as [`open`](Self::open), but reads the file at this interval instead of every
    /// 5 seconds.
    fn open_polled(path: impl AsRef<Path>, interval: Duration) -> Result<Self, OpenTokenFileError> {
        let path = path.as_ref();
        let content = TokenFileContent::read(path)?;
        let current = Arc::new(ArcSwap::from_pointee(tokens(&content)?));
        let file = WatchedFile::follow(path, &content, interval, {
            let current = Arc::clone(&current);
            move |content| {
                current.store(Arc::new(tokens(content)?));
                Ok::<_, OpenTokenFileError>(true)
            }
        })?;
        Ok(Self { current, file })
    }

    /// Returns a counter of the changes of the file that came into force. It is 0 for the file as
    /// it was opened.
    #[must_use]
    pub fn generation(&self) -> GenerationReceiver {
        self.file.generation()
    }

    /// Returns the number of reloads that failed, because the file was missing, empty or illegal.
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

    #[inline]
    fn verdict_at_once(&self, credential: &Credential<'_>) -> Result<Verdict, Self::Future> {
        Ok(self.decide(credential))
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

/// Makes the set of the tokens of the file. A line without a name that repeats the token of another
/// line adds nothing.
fn tokens(content: &TokenFileContent) -> Result<FixedTokens, OpenTokenFileError> {
    let lines = content.tokens()?;
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
