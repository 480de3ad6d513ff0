//! The format of a key. Do not change the prefix or the alphabet, because a change would invalidate
//! all issued keys and break secret scanners.

use std::fmt;

use secrecy::{ExposeSecret, SecretString};
use zeroize::Zeroizing;

/// Expands to the prefix as a literal. It is a macro because `concat!` does not accept a constant.
macro_rules! prefix {
    () => {
        "iapikeyok-"
    };
}

/// The prefix of every key.
pub const KEY_PREFIX: &str = prefix!();

/// The length of a key in characters.
pub const KEY_LEN: usize = CHECKSUM_AT + CHECKSUM_LEN;

/// A regular expression for secret scanners. It matches every key, and few texts that are not keys.
pub const KEY_PATTERN: &str = concat!(r"\b", prefix!(), r"(?:[0-9A-Za-z]{8}-){3}[0-9A-Za-z]{6}\b");

const GROUPS: usize = 3;
const GROUP_LEN: usize = 8;
const CHECKSUM_AT: usize = KEY_PREFIX.len() + GROUPS * (GROUP_LEN + 1);
const CHECKSUM_LEN: usize = 6;

/// The digits of base 62 in ascending order.
const ALPHABET: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// An ingestion API key, which is a secret.
///
/// A key begins with [`KEY_PREFIX`]. Three groups of eight random characters of base 62 (0-9, A-Z,
/// a-z) follow, each with a `-` after it. The last six characters are the checksum: the CRC-32
/// (IEEE 802.3) of the 37 characters before it, in base 62 with the most significant digit first.
///
/// `Debug` does not show the key. The memory of the key is cleared when the key is dropped.
///
/// # Examples
///
/// ```
/// use ingestion_api::{IngestionKey, KEY_LEN};
///
/// // A server uses random bytes of the operating system.
/// let mut next = 0;
/// let random = |bytes: &mut [u8]| -> Result<(), std::io::Error> {
///     bytes.fill_with(|| {
///         next += 1;
///         next
///     });
///     Ok(())
/// };
/// let key = IngestionKey::generate(random)?;
/// assert_eq!(key.expose_secret(), "iapikeyok-12345678-9ABCDEFG-HIJKLMNO-4UUaeN");
/// assert_eq!(key.expose_secret().len(), KEY_LEN);
/// assert_eq!(key.start(), "1234");
/// assert!(IngestionKey::parse(key.expose_secret()).is_ok());
/// # Ok::<(), std::io::Error>(())
/// ```
pub struct IngestionKey(SecretString);

/// The reason why a text is not an ingestion API key. No variant contains the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyFormatError {
    /// The text does not begin with [`KEY_PREFIX`].
    #[error("it does not begin with {KEY_PREFIX}")]
    Prefix,
    /// The text is not [`KEY_LEN`] characters long.
    #[error("it is not {KEY_LEN} characters long")]
    Length,
    /// A group is not followed by a `-`.
    #[error("its groups do not have eight characters")]
    Grouping,
    /// A group has a character other than 0-9, A-Z and a-z.
    #[error("it has a character other than letters and digits in a group")]
    Character,
    /// The last six characters are not the checksum of the others. Probably the key was mistyped.
    #[error("its checksum is wrong")]
    Checksum,
}

impl IngestionKey {
    /// Generates a key. `random` must fill the given bytes with random bytes of the operating
    /// system.
    ///
    /// # Errors
    ///
    /// Returns the error of `random`.
    pub fn generate<E>(mut random: impl FnMut(&mut [u8]) -> Result<(), E>) -> Result<Self, E> {
        // The largest multiple of 62 that fits into a byte. Bytes from this value on are skipped,
        // because they would make some characters more likely than others.
        const FAIR: u8 = 248;
        let is_full = |text: &str| text.len() == CHECKSUM_AT;
        // The capacity is the final length. Otherwise the text could be reallocated, which would
        // leave a copy of the key in memory.
        let mut text = String::with_capacity(KEY_LEN);
        text.push_str(KEY_PREFIX);
        let mut bytes = Zeroizing::new([0; GROUPS * GROUP_LEN]);
        while !is_full(&text) {
            random(&mut *bytes)?;
            for byte in bytes.iter().filter(|byte| **byte < FAIR) {
                if is_full(&text) {
                    break;
                }
                text.push(char::from(ALPHABET[usize::from(*byte) % ALPHABET.len()]));
                if (text.len() - KEY_PREFIX.len()) % (GROUP_LEN + 1) == GROUP_LEN {
                    text.push('-');
                }
            }
        }
        let checksum = digits(crc32fast::hash(text.as_bytes()));
        text.extend(checksum.map(char::from));
        Ok(Self(text.into()))
    }

    /// Parses a key.
    ///
    /// # Errors
    ///
    /// Returns the error of [`check`](Self::check).
    pub fn parse(text: &str) -> Result<Self, KeyFormatError> {
        Self::check(text.as_bytes())?;
        Ok(Self(text.into()))
    }

    /// Checks that `text` is a key. The check does not allocate.
    ///
    /// # Errors
    ///
    /// Returns the first error, in the order of the variants of [`KeyFormatError`].
    #[inline]
    pub fn check(text: &[u8]) -> Result<(), KeyFormatError> {
        let Some(rest) = text.strip_prefix(KEY_PREFIX.as_bytes()) else {
            return Err(KeyFormatError::Prefix);
        };
        let Ok(rest) = <&[u8; KEY_LEN - KEY_PREFIX.len()]>::try_from(rest) else {
            return Err(KeyFormatError::Length);
        };
        let (groups, checksum) = rest.split_at(GROUPS * (GROUP_LEN + 1));
        // The loops do not end early, so that they compile to vector instructions.
        let (groups, _) = groups.as_chunks::<{ GROUP_LEN + 1 }>();
        if groups.iter().fold(false, |any, group| any | (group[GROUP_LEN] != b'-')) {
            return Err(KeyFormatError::Grouping);
        }
        let illegal = |group: &[u8]| {
            group.iter().fold(false, |any, byte| any | !byte.is_ascii_alphanumeric())
        };
        if groups.iter().fold(false, |any, group| any | illegal(&group[..GROUP_LEN])) {
            return Err(KeyFormatError::Character);
        }
        if number(checksum) != Some(crc32fast::hash(&text[..CHECKSUM_AT])) {
            return Err(KeyFormatError::Checksum);
        }
        Ok(())
    }

    /// Returns whether `text` has the length, the prefix and the checksum of a key. The result is
    /// true for every key, and for few other texts. Unlike [`check`](Self::check), this function
    /// does not look at every character. It suffices if the text is looked up among known keys
    /// afterwards.
    #[inline]
    #[must_use]
    pub fn has_checksum(text: &[u8]) -> bool {
        let Ok(text) = <&[u8; KEY_LEN]>::try_from(text) else { return false };
        let (checked, checksum) = text.split_at(CHECKSUM_AT);
        checked.starts_with(KEY_PREFIX.as_bytes())
            && number(checksum) == Some(crc32fast::hash(checked))
    }

    /// Returns the first four characters after the prefix. They suffice to tell keys apart, but not
    /// to guess a key.
    #[must_use]
    pub fn start(&self) -> &str {
        &self.expose_secret()[KEY_PREFIX.len()..][..4]
    }

    /// Returns the text of the key.
    #[must_use]
    pub fn expose_secret(&self) -> &str {
        self.0.expose_secret()
    }

    /// Converts the key to a secret text that can be put into a response.
    #[must_use]
    pub fn into_secret(self) -> SecretString {
        self.0
    }
}

impl fmt::Debug for IngestionKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("IngestionKey").finish_non_exhaustive()
    }
}

/// Formats `number` in base 62, with the most significant digit first.
fn digits(mut number: u32) -> [u8; CHECKSUM_LEN] {
    let mut digits = [0; CHECKSUM_LEN];
    for digit in digits.iter_mut().rev() {
        *digit = ALPHABET[number as usize % ALPHABET.len()];
        number /= ALPHABET.len() as u32;
    }
    digits
}

/// Parses a number in base 62. Returns `None` if a character is not a digit, or if the number is
/// too large.
#[inline]
fn number(digits: &[u8]) -> Option<u32> {
    const NO_DIGIT: u8 = 0x80;
    /// The value of each byte as a digit of base 62.
    const VALUES: [u8; 256] = {
        let mut values = [NO_DIGIT; 256];
        let mut value = 0;
        while value < ALPHABET.len() {
            values[ALPHABET[value] as usize] = value as u8;
            value += 1;
        }
        values
    };
    let (mut number, mut any) = (0_u64, 0);
    for digit in digits {
        let value = VALUES[usize::from(*digit)];
        // Six digits of base 62 do not overflow 64 bits.
        number = number.wrapping_mul(ALPHABET.len() as u64).wrapping_add(value.into());
        any |= value;
    }
    if any & NO_DIGIT == 0 { u32::try_from(number).ok() } else { None }
}

#[cfg(test)]
mod tests;
