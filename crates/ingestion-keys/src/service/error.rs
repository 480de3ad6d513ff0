//! Why a key was not issued or changed.

use crate::entropy::EntropyError;
use crate::key::KeyId;
use crate::store::StoreError;

/// Longest name, in characters.
pub const MAX_NAME_LEN: usize = 255;

/// Longest description, in characters.
pub const MAX_DESCRIPTION_LEN: usize = 4096;

/// A request was not fulfilled. No message repeats what was asked for.
#[derive(Debug, thiserror::Error)]
pub enum IssueError {
    /// The name is empty, or nothing but blanks.
    #[error("the name is empty")]
    NameEmpty,
    /// The name is longer than [`MAX_NAME_LEN`] characters.
    #[error("the name is longer than {MAX_NAME_LEN} characters")]
    NameTooLong,
    /// The name has a control character, or one that turns the direction of text.
    #[error("the name has a control character or one that overrides the direction of text")]
    NameCharacter,
    /// The description is longer than [`MAX_DESCRIPTION_LEN`] characters.
    #[error("the description is longer than {MAX_DESCRIPTION_LEN} characters")]
    DescriptionTooLong,
    /// The description has a control character other than tab and line ends.
    #[error("the description has a control character")]
    DescriptionCharacter,
    /// The expiration is not in the future.
    #[error("the expiration is not in the future")]
    ExpirationPast,
    /// The expiration is later than a date can say.
    #[error("the expiration is too far in the future")]
    ExpirationTooLate,
    /// There is no key of this id.
    #[error("there is no key {id}")]
    NotFound {
        /// The number that was asked for.
        id: i64,
    },
    /// The key was rotated before.
    #[error("the key was rotated already: its successor is {successor}")]
    Rotated {
        /// The key in its place.
        successor: KeyId,
    },
    /// The key has ended, and is not rotated.
    #[error("the key has expired")]
    Expired,
    /// The key is disabled, and is not rotated.
    #[error("the key is disabled")]
    Disabled,
    /// The key was changed by somebody else again and again.
    #[error("the key is being changed by others")]
    Contended,
    /// There are no random bytes.
    #[error("no key can be made")]
    Entropy(#[from] EntropyError),
    /// The store failed: nothing was acknowledged.
    #[error("the keys cannot be reached")]
    Store(#[from] StoreError),
}
