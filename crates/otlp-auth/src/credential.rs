//! The credential of a request: a scheme and a token. It is read from a header value or written
//! into one.

use std::fmt;

use http::HeaderValue;
use secrecy::{ExposeSecret, SecretString};
use subtle::ConstantTimeEq;

use crate::scheme::is_tchar;

/// The longest token that is read or sent, in bytes. A longer token is an error before anything is
/// copied or hashed.
pub(crate) const MAX_TOKEN_LEN: usize = 4096;

/// The longest authentication scheme, in bytes.
pub(crate) const MAX_SCHEME_LEN: usize = 64;

/// The longest header value that is read, in bytes: scheme, blanks and token together.
const MAX_VALUE_LEN: usize = MAX_TOKEN_LEN + 2 * MAX_SCHEME_LEN;

/// The characters that are trimmed at both ends of a token that is not the value of a header. The
/// value of a header cannot have line ends.
const BLANKS: [char; 4] = [' ', '\t', '\r', '\n'];

/// An authentication scheme and a token, borrowed from the request unless the token had to be
/// decoded.
///
/// The token consists of visible ASCII characters without comma and double quote, at most 4096 of
/// them. A comma would make two values joined by an intermediary (RFC 9110 section 5.3) look like
/// one; a quote belongs to authentication parameters. The scheme is a `token` of RFC 9110 section
/// 5.6.2 and is compared without regard to case (section 11.1); it is empty if a header carries the
/// token alone.
///
/// `Debug` shows neither the scheme nor the token. The token is read with
/// [`expose_token`](Self::expose_token), so that all code that reads a token can be found.
///
/// # Examples
///
/// ```
/// use http::HeaderValue;
/// use otlp_auth::Credential;
///
/// let value = HeaderValue::from_static("StackState   iapikeyok-example");
/// let credential = Credential::from_header_value(&value)?;
/// assert!(credential.has_scheme("stackstate"));
/// assert_eq!(credential.expose_token(), "iapikeyok-example");
/// assert_eq!(credential.to_header_value(), "StackState iapikeyok-example");
/// # Ok::<(), otlp_auth::CredentialError>(())
/// ```
pub struct Credential<'a> {
    scheme: &'a str,
    /// The token in the request: legal, hence ASCII. Empty if it had to be decoded.
    token: &'a [u8],
    /// The token, if it was decoded from a percent-encoded query parameter or the password of
    /// Basic. It is a separate field instead of an `enum` with `token`, because two fields are
    /// moved in fewer instructions, and a credential is moved for every request.
    decoded: Option<SecretString>,
}

/// Why a scheme, a token or a header value is not legal. No variant carries a part of the value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CredentialError {
    /// The value is empty, or has only blanks.
    #[error("the value is empty")]
    Empty,
    /// There is no token after the scheme.
    #[error("there is no token after the scheme")]
    MissingToken,
    /// The token is longer than 4096 bytes.
    #[error("the token is longer than {MAX_TOKEN_LEN} bytes")]
    TokenTooLong,
    /// The token has a character outside visible ASCII, a comma or a double quote.
    #[error("the token has a character other than visible ASCII, or a comma or a quote")]
    IllegalToken,
    /// A configured token has a blank inside. Blanks and line ends around it are left out.
    #[error("the token has a blank inside")]
    BlankInToken,
    /// A configured token has a double quote.
    #[error("the token has a quote")]
    QuoteInToken,
    /// A configured token has a comma.
    #[error("the token has a comma")]
    CommaInToken,
    /// A configured token begins with an authentication scheme, as in a copied header.
    #[error("the token begins with a scheme such as `Bearer`: give only what follows the scheme")]
    SchemeInToken,
    /// The scheme is empty.
    #[error("the scheme is empty")]
    EmptyScheme,
    /// The scheme is longer than 64 bytes.
    #[error("the scheme is longer than {MAX_SCHEME_LEN} bytes")]
    SchemeTooLong,
    /// The scheme has a character that RFC 9110 section 5.6.2 does not allow in a token.
    #[error("the scheme has a character other than letters, digits and !#$%&'*+-.^_`|~")]
    IllegalScheme,
}

impl<'a> Credential<'a> {
    /// Makes a credential of `scheme` and `token`. `scheme` is empty for a header that carries the
    /// token alone.
    ///
    /// # Errors
    ///
    /// Fails when the scheme is not an RFC 9110 token, or the token is empty, too long or has an
    /// illegal character.
    pub fn new(scheme: &'a str, token: &'a str) -> Result<Self, CredentialError> {
        if scheme.len() > MAX_SCHEME_LEN {
            return Err(CredentialError::SchemeTooLong);
        }
        if !scheme.bytes().all(is_tchar) {
            return Err(CredentialError::IllegalScheme);
        }
        Ok(Self { scheme, token: legal_token(token.as_bytes())?, decoded: None })
    }

    /// Does the same as [`new`](Self::new), but first trims spaces, tabs and line ends at both ends
    /// of `token`. Use this for a token from a configuration or an environment variable. Such a
    /// token often ends in a line end that belongs to its file, as in a Kubernetes secret that was
    /// made with `echo KEY | base64`.
    ///
    /// # Errors
    ///
    /// Fails when the scheme is not an RFC 9110 token, or the trimmed token is empty, too long or
    /// has an illegal character. A blank inside the token is illegal.
    ///
    /// # Examples
    ///
    /// ```
    /// use otlp_auth::{Credential, CredentialError};
    ///
    /// assert_eq!(Credential::trimmed("", " iapikeyok-example\r\n")?.expose_token(), "iapikeyok-example");
    /// assert_eq!(Credential::trimmed("", "two words\n").unwrap_err(), CredentialError::IllegalToken);
    /// # Ok::<(), CredentialError>(())
    /// ```
    pub fn trimmed(scheme: &'a str, token: &'a str) -> Result<Self, CredentialError> {
        Self::new(scheme, token.trim_matches(BLANKS))
    }

    /// Reads `scheme SP+ token` (RFC 9110 section 11.4). First, spaces and tabs at both ends of the
    /// value are trimmed. HTTP/1.1 servers trim them and HTTP/2 servers do not (section 5.5), but a
    /// credential must have the same verdict with both versions. In the trimmed value, only spaces
    /// may separate the scheme from the token.
    ///
    /// # Errors
    ///
    /// Fails when the value does not have this form; see [`CredentialError`].
    pub fn from_header_value(value: &'a HeaderValue) -> Result<Self, CredentialError> {
        let bytes = trimmed(value)?;
        let Some(space) = bytes.iter().position(|&byte| byte == b' ') else {
            return Err(if bytes.len() > MAX_TOKEN_LEN {
                CredentialError::TokenTooLong
            } else {
                CredentialError::MissingToken
            });
        };
        let (scheme, rest) = bytes.split_at(space);
        if scheme.len() > MAX_SCHEME_LEN {
            return Err(CredentialError::SchemeTooLong);
        }
        if !scheme.iter().copied().all(is_tchar) {
            return Err(CredentialError::IllegalScheme);
        }
        let scheme = std::str::from_utf8(scheme).map_err(|_| CredentialError::IllegalScheme)?;
        Ok(Self { scheme, token: legal_token(without_spaces(rest))?, decoded: None })
    }

    /// Does the same as [`from_header_value`](Self::from_header_value), but only for the scheme
    /// `scheme`. Returns `None` if the value has another scheme or no token.
    // Without the attribute the result is returned through memory, and the bench case `fixed_1_hit`
    // took 20 % longer.
    #[inline(always)]
    #[cfg(feature = "server")]
    pub(crate) fn of_scheme(scheme: &'a str, value: &'a HeaderValue) -> Option<Self> {
        let bytes = trimmed(value).ok()?;
        let (presented, rest) = bytes.split_at_checked(scheme.len())?;
        let same =
            presented == scheme.as_bytes() || presented.eq_ignore_ascii_case(scheme.as_bytes());
        if !same || rest.first() != Some(&b' ') {
            return None;
        }
        Some(Self { scheme, token: legal_token(without_spaces(rest)).ok()?, decoded: None })
    }

    /// Reads a header value that is the token alone, as in `sts-api-key: <key>`. Blanks at both
    /// ends are trimmed.
    ///
    /// # Errors
    ///
    /// Fails when the token is empty, too long or has an illegal character. A blank inside the
    /// token is illegal.
    pub fn from_bare_header_value(value: &'a HeaderValue) -> Result<Self, CredentialError> {
        Ok(Self { scheme: "", token: legal_token(trimmed(value)?)?, decoded: None })
    }

    /// Makes a credential whose token had to be decoded. Spaces, tabs and line ends at both ends of
    /// the token are trimmed. The copy of the token is wiped when the credential is dropped.
    #[cfg(any(feature = "server", test))]
    pub(crate) fn decoded(scheme: &'a str, token: &str) -> Result<Self, CredentialError> {
        let token = token.trim_matches(BLANKS);
        legal_token(token.as_bytes())?;
        Ok(Self { scheme, token: b"", decoded: Some(token.into()) })
    }

    /// Returns the scheme as it was written. It is empty if the header carries the token alone.
    #[must_use]
    pub fn scheme(&self) -> &'a str {
        self.scheme
    }

    /// Whether the scheme is `scheme`, without regard to case (RFC 9110 section 11.1).
    #[must_use]
    pub fn has_scheme(&self, scheme: &str) -> bool {
        self.scheme.eq_ignore_ascii_case(scheme)
    }

    /// Returns the token, which is a secret.
    #[must_use]
    pub fn expose_token(&self) -> &str {
        match &self.decoded {
            Some(token) => token.expose_secret(),
            None => std::str::from_utf8(self.token).unwrap_or_default(),
        }
    }

    /// Returns the token, which is a secret, as bytes. This costs less than
    /// [`expose_token`](Self::expose_token), which checks for UTF-8.
    #[inline]
    #[must_use]
    pub fn expose_token_bytes(&self) -> &[u8] {
        match &self.decoded {
            Some(token) => token.expose_secret().as_bytes(),
            None => self.token,
        }
    }

    /// Whether both credentials carry the same token. The time of the comparison depends only on
    /// the lengths of the tokens. The schemes are not compared.
    #[inline]
    #[must_use]
    pub fn same_token(&self, other: &Credential<'_>) -> bool {
        self.expose_token_bytes().ct_eq(other.expose_token_bytes()).into()
    }

    /// Returns `scheme SP token`, or the token alone if the scheme is empty. The value is marked
    /// sensitive, so that `Debug` hides it and HTTP/2 does not keep it in a compression table (RFC
    /// 7541 section 7.1.3).
    #[must_use]
    pub fn to_header_value(&self) -> HeaderValue {
        let token = self.expose_token();
        let mut text = String::with_capacity(self.scheme.len() + 1 + token.len());
        if !self.scheme.is_empty() {
            text.push_str(self.scheme);
            text.push(' ');
        }
        text.push_str(token);
        #[expect(clippy::expect_used, reason = "both parts were checked to be visible ASCII")]
        let mut value = HeaderValue::try_from(text).expect("visible ASCII is a header value");
        value.set_sensitive(true);
        value
    }
}

impl fmt::Debug for Credential<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credential").finish_non_exhaustive()
    }
}

/// Returns the value without blanks at its ends. Fails if the value is empty or too long.
fn trimmed(value: &HeaderValue) -> Result<&[u8], CredentialError> {
    let blank = |byte: &u8| matches!(byte, b' ' | b'\t');
    let mut bytes = value.as_bytes();
    while let [first, rest @ ..] = bytes
        && blank(first)
    {
        bytes = rest;
    }
    while let [rest @ .., last] = bytes
        && blank(last)
    {
        bytes = rest;
    }
    match bytes.len() {
        0 => Err(CredentialError::Empty),
        1..=MAX_VALUE_LEN => Ok(bytes),
        _ => Err(CredentialError::TokenTooLong),
    }
}

/// Returns `bytes` without the spaces at the beginning.
fn without_spaces(bytes: &[u8]) -> &[u8] {
    &bytes[bytes.iter().take_while(|&&byte| byte == b' ').count()..]
}

/// Returns `token` if it is 1 to [`MAX_TOKEN_LEN`] visible ASCII characters other than comma and
/// quote.
pub(crate) fn legal_token(token: &[u8]) -> Result<&[u8], CredentialError> {
    /// The number of bytes that are checked together. A vector register of any target has room for
    /// them.
    const LANES: usize = 16;
    if token.is_empty() {
        return Err(CredentialError::MissingToken);
    }
    if token.len() > MAX_TOKEN_LEN {
        return Err(CredentialError::TokenTooLong);
    }
    // Within a chunk there is no early exit, so that the check compiles to vector instructions. The
    // last chunk overlaps the chunk before it, so that no byte is checked alone. After each chunk
    // there is an early exit. Without this exit, the compiler checks many chunks at once, in 14 kB
    // of instructions, and the bench case `malformed` took 7 % longer.
    let illegal = |bytes: &[u8]| {
        let illegal = |byte: u8| !byte.is_ascii_graphic() | (byte == b',') | (byte == b'"');
        bytes.iter().fold(false, |any, &byte| any | illegal(byte))
    };
    let any_illegal = match token.last_chunk::<LANES>() {
        Some(last) => illegal(last) || token.as_chunks::<LANES>().0.iter().any(|c| illegal(c)),
        None => illegal(token),
    };
    if any_illegal { Err(CredentialError::IllegalToken) } else { Ok(token) }
}

/// Reads a token that a person has configured. Blanks and line ends at both ends are left out,
/// because many tools append one to a secret. An error says which mistake it is.
#[cfg(any(feature = "client", feature = "yaml", all(feature = "token-file", feature = "server")))]
pub(crate) fn configured_token(text: &str) -> Result<&str, CredentialError> {
    const SCHEMES: [&str; 7] =
        ["StackState", "SUSEObservability", "Bearer", "ApiKey", "Basic", "Token", "Authorization:"];
    let token = text.trim();
    match legal_token(token.as_bytes()) {
        Ok(_) => Ok(token),
        Err(CredentialError::IllegalToken) => {
            let first = token.split_whitespace().next().unwrap_or_default();
            let is_wrong = |c: char| !c.is_ascii_graphic() || matches!(c, ',' | '"');
            Err(match token.chars().find(|&c| is_wrong(c)) {
                Some('"') => CredentialError::QuoteInToken,
                Some(',') => CredentialError::CommaInToken,
                Some(c) if c.is_whitespace() => {
                    if SCHEMES.iter().any(|scheme| scheme.eq_ignore_ascii_case(first)) {
                        CredentialError::SchemeInToken
                    } else {
                        CredentialError::BlankInToken
                    }
                }
                _ => CredentialError::IllegalToken,
            })
        }
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests;
