//! An authenticator that allows a set of named tokens in memory.

mod digest_table;

use std::error::Error;
use std::fmt;
use std::future::{Ready, ready};

use siphasher::sip128::SipHasher13;

use self::digest_table::{Digest, DigestTable};
use super::authenticator::{InMemoryAuthenticator as _, ServerAuthenticator};
use crate::credential::{Credential, CredentialError};
use crate::decision::{Decision, Verdict};
use crate::denial::DenyReason;
use crate::identity::Identity;

/// A token with fewer characters than this can be guessed. Such a token is accepted with a warning.
const SHORT_TOKEN: usize = 16;

/// Allows a set of named tokens. A decision takes the same time whether the set has one token or
/// 100,000 tokens.
///
/// The set keeps no token. Each token is stored as its 128-bit SipHash under a random key of this
/// set, and hashes are compared in constant time. Several tokens may have the same name, for
/// example while a new token replaces an old one.
///
/// # Examples
///
/// ```
/// use otlp_auth::server::{FixedTokens, InMemoryAuthenticator};
/// use otlp_auth::{Credential, Decision};
///
/// let tokens = FixedTokens::new([("team-a", "iapikeyok-of-team-a"), ("team-b", "iapikeyok-of-team-b")])?;
/// match tokens.decide(&Credential::new("StackState", "iapikeyok-of-team-b")?) {
///     Ok(Decision::Allow(identity)) => assert_eq!(identity.name(), "team-b"),
///     other => panic!("{other:?}"),
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct FixedTokens {
    hasher: SipHasher13,
    identities: DigestTable,
}

/// Why a set of tokens cannot be made. No variant carries a token.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FixedTokensError {
    /// The text is not a token.
    #[error("the token named {name} is not a token")]
    Token {
        /// The name that was given to the text.
        name: String,
        /// Why the text is not a token.
        source: CredentialError,
    },
    /// The same token was given two names.
    #[error("one token has two names, {first} and {second}")]
    TwoNames {
        /// The name given first.
        first: String,
        /// The name given second.
        second: String,
    },
    /// The operating system gave no random bytes for the key.
    #[error("the operating system gave no random bytes")]
    Random(#[source] Box<dyn Error + Send + Sync>),
}

impl FixedTokens {
    /// Makes the set of these names and tokens.
    ///
    /// # Errors
    ///
    /// Fails when a text is not a token, when one token has two names, or when the operating system
    /// gives no random bytes.
    pub fn new<N: Into<String>, T: AsRef<str>>(
        tokens: impl IntoIterator<Item = (N, T)>,
    ) -> Result<Self, FixedTokensError> {
        let mut key = [0; 16];
        getrandom::fill(&mut key).map_err(|error| FixedTokensError::Random(error.into()))?;
        let mut set =
            Self { hasher: SipHasher13::new_with_key(&key), identities: DigestTable::default() };
        for (name, token) in tokens {
            set.insert(name.into(), token.as_ref())?;
        }
        Ok(set)
    }

    fn insert(&mut self, name: String, token: &str) -> Result<(), FixedTokensError> {
        let credential = match Credential::new("", token) {
            Ok(credential) => credential,
            Err(source) => return Err(FixedTokensError::Token { name, source }),
        };
        if token.len() < SHORT_TOKEN {
            tracing::warn!(
                name,
                "a token is shorter than {SHORT_TOKEN} characters and can be guessed"
            );
        }
        let digest = self.digest(&credential);
        match self.identities.get(digest).map(Identity::name) {
            None => {
                self.identities.insert(digest, Identity::new(name));
                Ok(())
            }
            Some(first) if first == name => Ok(()),
            Some(first) => {
                Err(FixedTokensError::TwoNames { first: first.to_owned(), second: name })
            }
        }
    }

    /// Returns the number of tokens.
    #[must_use]
    pub fn len(&self) -> usize {
        self.identities.len()
    }

    /// Whether the set has no token. Such a set denies every request.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn digest(&self, credential: &Credential<'_>) -> Digest {
        Digest(self.hasher.hash(credential.expose_token_bytes()).as_u128())
    }
}

impl ServerAuthenticator for FixedTokens {
    type Future = Ready<Verdict>;

    #[inline]
    fn authenticate(&self, credential: &Credential<'_>) -> Self::Future {
        ready(match self.identities.get(self.digest(credential)) {
            Some(identity) => Ok(Decision::Allow(identity.clone())),
            None => Ok(Decision::Deny(DenyReason::Unknown.into())),
        })
    }

    #[inline]
    fn verdict_at_once(&self, credential: &Credential<'_>) -> Result<Verdict, Self::Future> {
        Ok(self.decide(credential))
    }
}

impl fmt::Debug for FixedTokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FixedTokens").field("len", &self.len()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
