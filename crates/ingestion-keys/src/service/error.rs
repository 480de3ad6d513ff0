//! The errors of the service. The error type of each call has only the errors that can occur in
//! that call.

use std::error::Error;

use crate::key::KeyId;
use crate::store::StoreError;

/// The largest number of characters in a name.
pub const MAX_NAME_LEN: usize = 255;

/// The largest number of characters in a description.
pub const MAX_DESCRIPTION_LEN: usize = 4096;

/// The name of a key is not allowed. The messages do not contain the name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// The name has no character other than white space.
    #[error("the name is empty")]
    Empty,
    /// The name has more than [`MAX_NAME_LEN`] characters.
    #[error("the name is longer than {MAX_NAME_LEN} characters")]
    TooLong,
    /// The name has a control character, or a character that changes the direction of the text.
    #[error("the name has a control character or one that overrides the direction of text")]
    Character,
}

/// The description of a key is not allowed. The messages do not contain the description.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DescriptionError {
    /// The description has more than [`MAX_DESCRIPTION_LEN`] characters.
    #[error("the description is longer than {MAX_DESCRIPTION_LEN} characters")]
    TooLong,
    /// The description has a control character other than a tab or a line end.
    #[error("the description has a control character")]
    Character,
}

/// The end of a key's validity is not allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ExpirationError {
    /// The expiration is not in the future.
    #[error("the expiration is not in the future")]
    Past,
    /// The expiration is after the year 9999.
    #[error("the expiration is too far in the future")]
    TooLate,
}

/// A field of a key is not allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidKey {
    /// The name is not allowed.
    #[error(transparent)]
    Name(#[from] NameError),
    /// The description is not allowed.
    #[error(transparent)]
    Description(#[from] DescriptionError),
    /// The expiration is not allowed.
    #[error(transparent)]
    Expiration(#[from] ExpirationError),
}

/// No key has this id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there is no key {id}")]
pub struct NotFound {
    /// The requested id.
    pub id: KeyId,
}

/// Another key has already replaced this key in a rotation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the key was rotated already: its successor is {successor}")]
pub struct AlreadyRotated {
    /// The key that replaced this key.
    pub successor: KeyId,
}

/// A change could not be stored. No part of the change is in force.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// Every attempt failed, because another change came first each time.
    #[error("the key is being changed by others")]
    Contended,
    /// There were no random bytes for the key, its id or the id of the change.
    #[error("no key can be made")]
    Random(#[source] Box<dyn Error + Send + Sync>),
    /// The store failed.
    #[error("the keys cannot be reached")]
    Store(#[from] StoreError),
}

/// A key was not created.
#[derive(Debug, thiserror::Error)]
pub enum CreateError {
    /// A field of the key is not allowed.
    #[error(transparent)]
    Invalid(#[from] InvalidKey),
    /// The key could not be stored.
    #[error(transparent)]
    Write(#[from] WriteError),
}

/// A key was not found.
#[derive(Debug, thiserror::Error)]
pub enum GetError {
    /// No key has this id.
    #[error(transparent)]
    NotFound(#[from] NotFound),
    /// The store failed.
    #[error("the keys cannot be reached")]
    Store(#[from] StoreError),
}

/// An existing key was not changed. Updates, rotations and deletions have these errors in common. A
/// deletion has no other errors.
#[derive(Debug, thiserror::Error)]
pub enum ChangeError {
    /// No key has this id.
    #[error(transparent)]
    NotFound(#[from] NotFound),
    /// The change could not be stored.
    #[error(transparent)]
    Write(#[from] WriteError),
}

impl From<GetError> for ChangeError {
    fn from(error: GetError) -> Self {
        match error {
            GetError::NotFound(error) => Self::NotFound(error),
            GetError::Store(error) => Self::Write(error.into()),
        }
    }
}

/// A key was not updated.
#[derive(Debug, thiserror::Error)]
pub enum UpdateError {
    /// A new value is not allowed.
    #[error(transparent)]
    Invalid(#[from] InvalidKey),
    /// The key has a successor, and the update would make the key valid for longer.
    #[error(transparent)]
    Rotated(#[from] AlreadyRotated),
    /// The key does not exist, or the change could not be stored.
    #[error(transparent)]
    Change(#[from] ChangeError),
}

/// A key was not rotated.
#[derive(Debug, thiserror::Error)]
pub enum RotateError {
    /// The new key or the old key would expire at a time that is not allowed.
    #[error(transparent)]
    Expiration(#[from] ExpirationError),
    /// The key has a successor already.
    #[error(transparent)]
    Rotated(#[from] AlreadyRotated),
    /// The key has expired.
    #[error("the key has expired")]
    Expired,
    /// The key is disabled.
    #[error("the key is disabled")]
    Disabled,
    /// The key does not exist, or the change could not be stored.
    #[error(transparent)]
    Change(#[from] ChangeError),
}
