//! The errors of a store.

use std::borrow::Cow;
use std::error::Error;
use std::fmt;

/// A store could not be read or written.
///
/// The message tells an operator what is wrong, and what to do about it if that is known. The
/// [`kind`](Self::kind) gives a program the same information. No message contains a statement, a
/// row or a credential.
///
/// # Examples
///
/// ```
/// use std::error::Error;
/// use ingestion_keys::store::{StoreError, StoreErrorKind};
///
/// let cause = std::io::Error::other("connection reset");
/// let error = StoreError::new(StoreErrorKind::Unavailable, "the database cannot be reached")
///     .with_source(cause);
/// assert_eq!(error.kind(), StoreErrorKind::Unavailable);
/// assert_eq!(error.to_string(), "the database cannot be reached");
/// assert_eq!(error.source().map(ToString::to_string).as_deref(), Some("connection reset"));
/// ```
#[derive(Debug)]
pub struct StoreError {
    kind: StoreErrorKind,
    message: Cow<'static, str>,
    source: Option<Box<dyn Error + Send + Sync>>,
}

/// What an operator can do about a [`StoreError`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum StoreErrorKind {
    /// Another process is writing to the store: stop that process, or wait until it ends.
    Locked,
    /// A newer version of this program made the store: use that version.
    TooNew,
    /// The store belongs to another program: configure another path.
    NotOurs,
    /// The store was removed, replaced or overwritten: restore it and restart. Most often this
    /// happens while the store is in use, but it can also be found at the start.
    Replaced,
    /// The store is set up in a way that would lose changes: the message says what to change.
    Misconfigured,
    /// There is no space left for the store.
    Full,
    /// This process is not allowed to write to the store.
    ReadOnly,
    /// The content of the store is damaged: restore a backup.
    Corrupt,
    /// The store cannot be used at the moment: the same call may succeed later.
    Unavailable,
    /// The operating system reported an error when a file was opened, read or written. The source
    /// of this error says how.
    Io,
    /// The store failed in a way that this program does not expect. The source of this error says
    /// how.
    Internal,
}

impl StoreErrorKind {
    /// Returns the label for metrics, such as `locked` or `unavailable`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Locked => "locked",
            Self::TooNew => "too_new",
            Self::NotOurs => "not_ours",
            Self::Replaced => "replaced",
            Self::Misconfigured => "misconfigured",
            Self::Full => "full",
            Self::ReadOnly => "read_only",
            Self::Corrupt => "corrupt",
            Self::Unavailable => "unavailable",
            Self::Io => "io",
            Self::Internal => "internal",
        }
    }
}

/// A change was not made.
#[derive(Debug, thiserror::Error)]
pub enum CommitError {
    /// The key to be updated or deleted has changed or does not exist any more: read the key again.
    #[error("the key has changed meanwhile")]
    Changed,
    /// The id of a new key was used before.
    #[error("the id was used before")]
    IdTaken,
    /// The store failed.
    #[error("the change could not be kept")]
    Store(#[from] StoreError),
}

impl StoreError {
    /// Makes an error of this kind. The message is a lower-case phrase for an operator. The message
    /// does not contain the text of the cause.
    #[must_use]
    pub fn new(kind: StoreErrorKind, message: impl Into<Cow<'static, str>>) -> Self {
        Self { kind, message: message.into(), source: None }
    }

    /// Adds the cause of the error.
    #[must_use]
    pub fn with_source(self, source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self { source: Some(source.into()), ..self }
    }

    /// Returns the kind of the error, which says what an operator can do about the error.
    #[must_use]
    pub fn kind(&self) -> StoreErrorKind {
        self.kind
    }

    /// Makes the error of a store that was closed, or whose reading thread has ended.
    pub(super) fn closed() -> Self {
        Self::new(StoreErrorKind::Unavailable, "the store is closed")
    }
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl Error for StoreError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.source.as_ref().map(|source| &**source as _)
    }
}
