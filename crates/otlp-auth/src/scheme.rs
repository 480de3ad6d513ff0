//! The authentication scheme.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use crate::credential::{CredentialError, MAX_SCHEME_LEN};

/// An authentication scheme: the word before the token in `Authorization: Bearer <token>`.
///
/// A scheme consists of 1 to 64 letters, digits and `` !#$%&'*+-.^_`|~ `` (a `token` of RFC 9110
/// section 5.6.2). A scheme is sent as it was written, and compared without regard to case (section
/// 11.1). If a header carries the token alone, there is no scheme, and the functions of this crate
/// take `None` as the scheme.
///
/// # Examples
///
/// ```
/// use otlp_auth::Scheme;
///
/// const API_KEY: Scheme = Scheme::from_static("ApiKey");
/// assert_eq!(API_KEY, "apikey".parse::<Scheme>()?);
/// assert_eq!(Scheme::BEARER.as_str(), "Bearer");
/// assert!(Scheme::try_from("two words").is_err());
/// # Ok::<(), otlp_auth::CredentialError>(())
/// ```
#[derive(Clone, Debug)]
pub struct Scheme(Cow<'static, str>);

impl Scheme {
    /// `Bearer` (RFC 6750), the Collector's default.
    pub const BEARER: Self = Self::from_static("Bearer");

    /// `StackState`, the default of this crate's clients and servers.
    pub const STACKSTATE: Self = Self::from_static("StackState");

    /// Makes a scheme from a text that is known when the program is compiled.
    ///
    /// # Panics
    ///
    /// Panics when `scheme` is not legal as a scheme. In a `const`, this is a compiler error.
    #[must_use]
    pub const fn from_static(scheme: &'static str) -> Self {
        match check(scheme) {
            Ok(()) => Self(Cow::Borrowed(scheme)),
            Err(_) => panic!("not an authentication scheme (RFC 9110 section 11.1)"),
        }
    }

    /// Returns the scheme as it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for Scheme {
    type Error = CredentialError;

    fn try_from(scheme: String) -> Result<Self, CredentialError> {
        check(&scheme)?;
        Ok(Self(Cow::Owned(scheme)))
    }
}

impl TryFrom<&str> for Scheme {
    type Error = CredentialError;

    fn try_from(scheme: &str) -> Result<Self, CredentialError> {
        scheme.to_owned().try_into()
    }
}

impl FromStr for Scheme {
    type Err = CredentialError;

    fn from_str(scheme: &str) -> Result<Self, CredentialError> {
        scheme.try_into()
    }
}

impl PartialEq for Scheme {
    fn eq(&self, other: &Self) -> bool {
        self.0.eq_ignore_ascii_case(&other.0)
    }
}

impl Eq for Scheme {}

impl fmt::Display for Scheme {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

const fn check(scheme: &str) -> Result<(), CredentialError> {
    let bytes = scheme.as_bytes();
    if bytes.is_empty() {
        return Err(CredentialError::EmptyScheme);
    }
    if bytes.len() > MAX_SCHEME_LEN {
        return Err(CredentialError::SchemeTooLong);
    }
    let mut index = 0;
    while index < bytes.len() {
        if !is_tchar(bytes[index]) {
            return Err(CredentialError::IllegalScheme);
        }
        index += 1;
    }
    Ok(())
}

/// Whether a `token` of RFC 9110 section 5.6.2 may contain `byte`.
pub(crate) const fn is_tchar(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(
            byte,
            b'!' | b'#'
                | b'$'
                | b'%'
                | b'&'
                | b'\''
                | b'*'
                | b'+'
                | b'-'
                | b'.'
                | b'^'
                | b'_'
                | b'`'
                | b'|'
                | b'~'
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    // Scenario: texts are parsed. Some are legal schemes, and some are not.
    // Guarantee: a scheme keeps its spelling, and is equal to itself in upper case. Every other
    // text gives the expected error.
    #[test]
    fn only_rfc_9110_tokens_are_schemes() {
        let longest = "s".repeat(MAX_SCHEME_LEN);
        for scheme in ["Bearer", "x", "!#$%&'*+-.^_`|~09", &longest] {
            let parsed = Scheme::try_from(scheme).unwrap();
            assert_eq!((parsed.as_str(), parsed.to_string().as_str()), (scheme, scheme));
            assert_eq!(parsed, Scheme::try_from(scheme.to_ascii_uppercase()).unwrap());
        }
        assert_ne!(Scheme::BEARER, Scheme::STACKSTATE);
        for (text, error) in [
            ("", CredentialError::EmptyScheme),
            (&"s".repeat(MAX_SCHEME_LEN + 1), CredentialError::SchemeTooLong),
            ("Stack State", CredentialError::IllegalScheme),
            ("Bearer\r\n", CredentialError::IllegalScheme),
            ("a,b", CredentialError::IllegalScheme),
            ("a/b", CredentialError::IllegalScheme),
            ("\u{e4}", CredentialError::IllegalScheme),
        ] {
            assert_eq!(text.parse::<Scheme>(), Err(error), "{text:?}");
        }
    }
}
